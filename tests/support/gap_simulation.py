"""A listener that can be made blind in every way: its clock, its disk and its service are simulated.

The machine, the reconciler and all that they decide are the real ones. What is simulated is what a daemon
does around them (`listener/daemon.py`), the thread that writes (`journal.JournalWriter`), and VideoDB.
Nothing goes on by itself: every step of every part is taken by who drives it, in any order.
"""

import asyncio
import contextlib
import json
import os
import random
import tempfile
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from vdbevents import cloud
from vdbevents.errors import ServiceUnreachableError
from vdbevents.events import envelope, fields, gaps, identity as events_identity, lifecycle
from vdbevents.journal import files, state, writer
from vdbevents.listener import counters, machine as listener_machine, protocol as m
from vdbevents.listener.recovery_hook import RecoveryHost
from vdbevents.recovery import context, gap_filler
from vdbevents.recovery.reconciler import Reconciler

EPOCH_MS = 1_772_446_530_123
IN_FLIGHT_SECONDS = 3.0
PAGE = 3
MIC = lifecycle.Stream("rts-mic", "mic:default", "mic", "audio")
DISPLAY = lifecycle.Stream("rts-display", "display:1", "screen", "video")


@dataclass
class Made:
    """A pipeline at the service."""

    id: str
    kind: str
    stream_id: str
    ws_id: str
    name: str
    runs: bool = True
    records: list[tuple[int, int, str]] = field(default_factory=list)


class Service:
    """What `cloud.Account` answers, as far as it is asked here."""

    def __init__(self, world):
        self._world = world
        self.pipelines: dict[str, Made] = {}
        self.streams: dict[str, tuple[lifecycle.Stream, ...]] = {}
        self.status: dict[str, str] = {}
        self.connection: str | None = None
        self.on_its_way: deque[tuple[float, bytes]] = deque()
        self.made: set[events_identity.Identity] = set()
        self.calls = 0
        self.fails_at: set[int] = set()
        self._unfinished: list[tuple[float, Made, tuple[int, int, str]]] = []

    # What happens there.

    def says(self, source, seconds, late=0.0):
        """All pipelines on a stream make a record of the next seconds, known that much after their end."""
        stream = next(it for it in self._world.streams if it.source == source)
        start_ms = self._world.service_ms
        self._world.passes(seconds)
        end_ms = self._world.service_ms
        for made in self.pipelines.values():
            if made.runs and made.stream_id == stream.id:
                told = (start_ms, end_ms, f"{made.kind} of {stream.id} at {start_ms}")
                self._unfinished.append((self._world.now + late, made, told))
        self.finishes(self._world.now)

    def finishes(self, now):
        for one in sorted((it for it in self._unfinished if it[0] <= now), key=lambda it: it[0]):
            self._unfinished.remove(one)
            _, made, told = one
            made.records = sorted([*made.records, told])
            event = self._event(made, told)
            identity = events_identity.identity_of(event)
            assert identity is not None
            self.made.add(identity)
            if self.connection is not None and made.ws_id == self.connection:
                self.on_its_way.append((now, json.dumps(event).encode()))

    @property
    def is_still(self):
        return not self.on_its_way and not self._unfinished

    @property
    def next_finish(self):
        return min((it[0] for it in self._unfinished), default=None)

    def _event(self, made, told):
        start_ms, end_ms, text = told
        final = {"is_final": True} if made.kind == "transcript" else {}
        data = {"text": text, **final, "start": start_ms, "end": end_ms}
        return {"channel": made.kind, "rtstream_id": made.stream_id, "rtstream_name": "…", "data": data}

    def add(self, kind, stream_id, ws_id, name=""):
        made = Made(f"{kind}-{len(self.pipelines)}", kind, stream_id, ws_id, name)
        self.pipelines[made.id] = made
        return made

    def _transcript(self, stream_id):
        found = (it for it in self.pipelines.values() if (it.kind, it.stream_id) == ("transcript", stream_id))
        return next(found, None)

    # What can be asked.

    def _called(self):
        self.calls += 1
        if self.calls in self.fails_at:
            raise ServiceUnreachableError("no answer")

    def get_session(self, session_id, collection_id):
        self._called()
        return cloud.CloudSession(session_id, collection_id, self.status[session_id], "user", "",
                             self.streams[session_id], "", "", "", {})  # fmt: skip

    def start_transcript(self, stream_id, ws_id, _engine):
        self._called()
        made = self._transcript(stream_id)
        assert made is not None
        if not made.runs:
            made.runs, made.ws_id = True, ws_id

    def stop_transcript(self, stream_id, _engine):
        self._called()
        made = self._transcript(stream_id)
        assert made is not None
        made.runs = False

    def create_index(self, stream_id, channel, *, name, ws_id, **_):
        self._called()
        return self._index(self.add(channel, stream_id, ws_id, name))

    def list_indexes(self, stream_id):
        self._called()
        return [
            self._index(it)
            for it in self.pipelines.values()
            if it.stream_id == stream_id and it.kind != "transcript"
        ]

    def _index(self, made):
        status = "running" if made.runs else "stopped"
        return cloud.Index(made.id, made.stream_id, made.kind, made.name, "", status, {})

    def stop_index(self, _stream_id, index_id):
        self._called()
        self.pipelines[index_id].runs = False

    def list_alerts(self, _stream_id, _index_id):
        self._called()
        return []

    def get_records(self, _stream_id, index_id, page, _size, *, start, end):
        self._called()
        return self._page(self.pipelines[index_id], page, start, end, "description")

    def get_transcript(self, stream_id, page, _size, *, start, end, **_):
        self._called()
        made = self._transcript(stream_id)
        return cloud.Page([], more=False) if made is None else self._page(made, page, start, end, "text")

    def _page(self, made, page, start, end, name):
        found = [
            {"start": start_ms / 1000, "end": end_ms / 1000, name: text}
            for start_ms, end_ms, text in made.records
            if (start is None or start_ms / 1000 >= start) and (end is None or start_ms / 1000 <= end)
        ]
        first = (page - 1) * PAGE
        return cloud.Page(found[first : first + PAGE], more=first + PAGE < len(found))


class Writer:
    """As `journal.JournalWriter`, written to a file when it is told to."""

    def __init__(self, path, clock_ms):
        self._path, self._clock_ms = path, clock_ms
        self._lines: deque[bytes] = deque()
        self._dropped: writer.Dropped | None = None
        self.room: int | None = None
        """How many lines are held while the disk takes none; None: it takes them."""
        self.put_bytes = self.done_bytes = 0
        self.told: deque[writer.Dropped] = deque()

    def put(self, line, *, keep):
        full = self.room is not None and len(self._lines) >= self.room
        if not keep and (self._dropped is not None or full):
            self._dropped = self._dropped or writer.Dropped(since_ms=self._clock_ms())
            self._dropped.count += 1
            self._dropped.until_ms = self._clock_ms()
            return False
        self._hold(line)
        return True

    def _hold(self, line):
        self.put_bytes += len(line)
        self._lines.append(line)

    @property
    def is_behind(self):
        return bool(self._lines or self._dropped or self.told)

    def writes(self):
        if self.room is not None or not (self._lines or self._dropped):
            return
        with self._path.open("ab") as handle:
            handle.writelines(self._lines)
        self.done_bytes = self.put_bytes
        self._lines.clear()
        if self._dropped is not None:
            dropped, self._dropped = self._dropped, None
            told = {"count": dropped.count, "since": envelope.utc_text(dropped.since_ms),
                    "until": envelope.utc_text(dropped.until_ms)}  # fmt: skip
            self._hold(envelope.own_record("listener.dropped", told, self._clock_ms()).line)
            self.told.append(dropped)


class Wait:
    """What a coroutine waits for, until it is told that it came."""

    def __init__(self, kind, what=None):
        self.kind, self.what = kind, what
        self.answer: Any = None

    def __await__(self):
        return (yield self)


class Listener:
    """One run of a listener: what `daemon` does, one step at a time."""

    def __init__(self, world, blind):
        self._world = world
        self.reconciler = Reconciler(
            world.directory, world.service, stale_seconds=world.stale_seconds, linger_seconds=60
        )
        self.reconciler._context.in_thread = partial(Wait, "thread")
        self.reconciler._wait = partial(Wait, "wait")
        self.writer = Writer(world.directory.journal, world.wall_ms)
        counts = counters.ListenerCounts()
        for event in world.lines:
            if event.get("channel") == fields.OWN_CHANNEL:
                counts.note_own(event)
        draw = world.random.random
        self.machine = listener_machine.ListenerMachine(
            m.ConnectionSettings(), draw, counts, self.reconciler.is_known
        )
        self.feed(m.Started(1, "1", blind))
        host = RecoveryHost(self.machine, self.feed, self._flushed, lambda *_, **__: None)
        self._running = self.reconciler.run(host)
        self._waits: Wait = self._running.send(None)
        self._until = world.monotonic + self._waits.what

    def feed(self, happening):
        now = m.Moment(self._world.monotonic, self._world.wall_ms())
        for action in self.machine.handle(happening, now):
            match action:
                case m.Append(_, made):
                    if not self.writer.put(made.line, keep=made.event.get("channel") == "vdbevents"):
                        self.machine.counts.dropped += 1
                case m.Announce(ws_id):
                    self.reconciler.connected(ws_id)
                case m.Withdraw():
                    self.reconciler.disconnected()

    @property
    def open_gaps(self):
        return self.machine.counts.open_gaps

    async def _flushed(self):
        await Wait("flush", self.writer.put_bytes)

    # What is done with it.

    def goes_on(self):
        """The reconciler's next step: a call is made, its answer is heard, or a while is over."""
        waits, outcome = self._waits, None
        if waits.kind == "thread" and waits.answer is None:
            waits.answer = _outcome(waits.what)
            return
        if waits.kind == "flush" and self.writer.done_bytes < waits.what:
            return
        if waits.kind == "sleep" or (waits.kind == "wait" and not self.reconciler._connected.is_set()):
            self._world.passes(max(0.0, self._until - self._world.monotonic))
        if waits.kind == "wait":
            self.reconciler._connected.clear()
        if waits.answer is None:
            self._waits = self._running.send(None)
        else:
            try:
                outcome = waits.answer()
            except Exception as error:  # noqa: BLE001 - whatever the call raised
                self._waits = self._running.throw(error)
            else:
                self._waits = self._running.send(outcome)
        if self._waits.kind in ("sleep", "wait"):
            self._until = self._world.monotonic + self._waits.what

    def is_told(self):
        """The loop hears of what the writer's thread has dropped."""
        while self.writer.told:
            dropped = self.writer.told.popleft()
            self.feed(m.EventsDropped(dropped.count, dropped.since_ms, dropped.until_ms))

    def ends(self):
        self._running.close()


def _outcome(call):
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - it is raised again where the answer is heard
        caught = error

        def fail():
            raise caught

        return fail
    return lambda: answer


class World:
    """A session that runs, and a listener with the connection that its pipelines send to."""

    def __init__(self, path, *, skew_ms=0, seed=0, stale_seconds=0):
        self.now, self.stale_seconds = 0.0, stale_seconds
        self.asleep = 0.0
        self.skew_ms = skew_ms
        self.random = random.Random(seed)
        self.directory = state.StateDirectory(path)
        self.directory.create()
        self.directory.journal.touch()
        self.service = Service(self)
        self.connections = 0
        self.streams = (MIC, DISPLAY)
        self.listener = Listener(self, None)
        self.connects()
        # An id is made known once it is written down.
        self.listener.writer.writes()
        self.begins("s-1", self.streams)

    def begins(self, session_id, streams):
        """A capture starts a session and its pipelines, bound to the connection that stands."""
        self.ends()
        ws_id = f"ws-{self.connections}"
        self.service.streams[session_id], self.service.status[session_id] = streams, "active"
        made = [
            self.service.add("transcript", it.id, ws_id)
            if it.media == "audio"
            else self.service.add("visual_index", it.id, ws_id, f"vdbevents visual_index {session_id}")
            for it in streams
        ]
        started = envelope.own_record("capture.started", {"capture_session_id": session_id}, self.wall_ms())
        with self.directory.journal.open("ab") as handle:
            handle.write(started.line)
        info = {
            "session": {"id": session_id, "collection_id": "default", "ws_id": ws_id, "status": "active"},
            "streams": [it._asdict() for it in streams],
            "started": envelope.utc_text(self.wall_ms()),
            "pipelines": [
                {"kind": it.kind, "id": None if it.kind == "transcript" else it.id, "settings": {},
                 "stream_id": it.stream_id, "ws_id": ws_id, "status": "running"}
                for it in made
            ],
        }  # fmt: skip
        files.replace_file(self.directory.capture_info, json.dumps(info).encode())

    def ends(self):
        """The session that runs is over, and its pipelines with it."""
        for made in self.service.pipelines.values():
            made.runs = False
        self.service.status = dict.fromkeys(self.service.status, "stopped")
        there = files.read_object(self.directory.capture_info)
        if there:
            there["session"]["status"], there["ended"] = "stopped", envelope.utc_text(self.wall_ms())
            files.replace_file(self.directory.capture_info, json.dumps(there).encode())

    def begins_another(self):
        """Another capture follows the one that ran, all of which is there, or is known to be missing."""
        told = {
            it
            for event in self.lines
            if event.get("event") == "listener.backfill"
            for it in event["data"]["gaps"]
        }
        is_told = self.listener.open_gaps.keys() <= told and not self.listener.writer.is_behind
        if self.is_connected and self.service.connection and self.service.is_still and is_told:
            self.listener.reconciler._sessions.refresh()
            self.takes_its_place()

    def takes_its_place(self):
        """Another capture begins, and its info file is there instead of the one before."""
        self.passes(1)
        number = len(self.service.streams) + 1
        self.streams = tuple(it._replace(id=f"{it.id}-{number}") for it in (MIC, DISPLAY))
        self.begins(f"s-{number}", self.streams)

    # Its clocks.

    @property
    def service_ms(self):
        return EPOCH_MS + round(self.now * 1000)

    def wall_ms(self):
        return self.service_ms + self.skew_ms

    @property
    def monotonic(self):
        return 1000 + self.now - self.asleep

    def passes(self, seconds):
        """Time goes by, in which nothing stays on its way, or unfinished, for ever."""
        until = self.now + seconds
        while True:
            on_its_way = self.service.on_its_way
            arrives = on_its_way[0][0] + IN_FLIGHT_SECONDS if on_its_way else None
            finishes = self.service.next_finish
            then = min((it for it in (arrives, finishes) if it is not None), default=None)
            if then is None or then > until:
                break
            self.now = max(self.now, then)
            if then == finishes:
                self.service.finishes(self.now)
            else:
                self.receives()
        self.now = until

    # What can happen.

    @property
    def is_connected(self):
        return self.listener.machine.state is m.ListenerState.CONNECTED

    def receives(self):
        """The next event comes over the connection."""
        if self.service.on_its_way and self.is_connected:
            _, payload = self.service.on_its_way.popleft()
            self.listener.feed(m.Received(payload))

    def falls_silent(self):
        """The connection is dead, and only the service would know."""
        self.service.connection = None
        self.service.on_its_way.clear()

    def loses(self):
        """The connection is closed."""
        if self.is_connected:
            self.falls_silent()
            self.listener.feed(m.Closed(1006, "dropped"))

    def connects(self):
        machine = self.listener.machine
        if machine.state is m.ListenerState.WAITING:
            self.listener.feed(m.Woken())
        if machine.state is m.ListenerState.CONNECTING:
            self.connections += 1
            self.service.connection = f"ws-{self.connections}"
            self.service.on_its_way.clear()
            self.listener.feed(m.Opened())
            told = {"connection_id": self.service.connection}
            self.listener.feed(m.Received(json.dumps(told).encode()))

    def sleeps(self, seconds):
        """The machine sleeps: the world goes on, its monotonic clock does not."""
        self.listener.feed(m.Ticked())
        self.falls_silent()
        self.asleep += seconds
        self.passes(seconds)
        self.listener.feed(m.Ticked())

    def is_killed(self, meanwhile=lambda: None):
        """The listener is gone, with all that was in its memory, and another one begins, after a while."""
        self.listener.ends()
        self.falls_silent()
        killed_ms = self.wall_ms()
        meanwhile()
        self.listener = Listener(self, m.Outage(killed_ms, "killed"))

    def fills_up(self, room):
        self.listener.writer.room = room

    def takes_lines_again(self):
        self.listener.writer.room = None

    def comes_to_rest(self):
        """Nothing more goes wrong, until nothing more is to be done."""
        self.takes_lines_again()
        self.service.fails_at.clear()
        if self.service.connection is None:
            self.loses()
        quiet = 0
        for _ in range(3000):
            self.connects()
            self.listener.writer.writes()
            self.listener.is_told()
            self.listener.goes_on()
            busy = self.listener.open_gaps or self.listener.reconciler._context.duplicates.is_active
            quiet = 0 if busy or not self.is_connected else quiet + 1
            if quiet > 20:
                break
        self.passes(2 * IN_FLIGHT_SECONDS)
        self.listener.writer.writes()

    # What is left of it.

    @property
    def lines(self):
        found = map(envelope.parse_line, self.directory.journal.read_bytes().splitlines())
        return [event for event in found if event is not None]

    def assert_complete(self):
        written = Counter(
            it for event in self.lines if (it := events_identity.identity_of(event)) is not None
        )
        missing = sorted(it.start_ms - EPOCH_MS for it in self.service.made - set(written))
        assert missing == [], "these were made and are not there"
        twice = sorted((it.start_ms or EPOCH_MS) - EPOCH_MS for it, count in written.items() if count > 1)
        assert twice == [], "these are there more than once"
        found = gaps.fold(self.lines)
        assert [gap for gap in found if gap.status != "recovered"] == []
        counts = self.listener.machine.counts
        assert (dict(counts.open_gaps), counts.unrecovered, counts.gaps) == ({}, 0, len(found))


@contextlib.contextmanager
def world(**options):
    """A world of its own, in whose time alone everything happens."""
    with tempfile.TemporaryDirectory() as path, contextlib.ExitStack() as patches:
        there = None

        def patch(owner, name, stand_in):
            patches.enter_context(mock.patch.object(owner, name, stand_in))

        patch(asyncio, "sleep", partial(Wait, "sleep"))
        patch(gap_filler, "_PAGES_PER_PROGRESS_LINE", 2)
        patch(context, "time", mock.Mock(monotonic=lambda: 1000.0 if there is None else there.monotonic))
        patch(files, "wall_ms", lambda: EPOCH_MS if there is None else there.wall_ms())
        patch(os, "fsync", lambda _: None)
        there = World(Path(path) / "state", **options)
        yield there
        there.listener.ends()
