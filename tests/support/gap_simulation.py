"""Simulate a listener with gaps of any kind: its clock, its disk and its service are stand-ins.

The machine, the reconciler and all that they decide are the real ones. Simulated are the daemon around
them (`listener/daemon.py`), the writing thread (`journal.JournalWriter`) and VideoDB.
Nothing happens by itself: the test takes every step of every part, in any order.
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
from vdbevents.journal import files, state
from vdbevents.journal.dropped_events import DroppedEvents
from vdbevents.listener import counters, machine as listener_machine, protocol as m
from vdbevents.listener.outage import Outage
from vdbevents.listener.recovery_hook import RecoveryHost
from vdbevents.recovery import context, gap_filler
from vdbevents.recovery.reconciler import Reconciler

EPOCH_MS = 1_772_446_530_123
IN_FLIGHT_SECONDS = 3.0
PAGE = 3
MIC = lifecycle.Stream("rts-mic", "mic:default", "mic", "audio")
DISPLAY = lifecycle.Stream("rts-display", "display:1", "screen", "video")


@dataclass
class ServicePipeline:
    """A pipeline of the service."""

    id: str
    kind: str
    stream_id: str
    ws_id: str
    name: str
    runs: bool = True
    records: list[tuple[int, int, str]] = field(default_factory=list)


class Service:
    """Stand in for `cloud.Account`."""

    def __init__(self, world):
        self._world = world
        self.pipelines: dict[str, ServicePipeline] = {}
        self.streams: dict[str, tuple[lifecycle.Stream, ...]] = {}
        self.status: dict[str, str] = {}
        self.connection: str | None = None
        self.in_flight: deque[tuple[float, bytes]] = deque()
        self.made: set[events_identity.Identity] = set()
        self.calls = 0
        self.fails_at: set[int] = set()
        self._unfinished: list[tuple[float, ServicePipeline, tuple[int, int, str]]] = []

    # What happens at the service.

    def speak(self, source, seconds, late=0.0):
        """Let all pipelines on a stream make a record of the next seconds, `late` seconds after their end."""
        stream = next(it for it in self._world.streams if it.source == source)
        start_ms = self._world.service_ms
        self._world.advance(seconds)
        end_ms = self._world.service_ms
        for made in self.pipelines.values():
            if made.runs and made.stream_id == stream.id:
                record = (start_ms, end_ms, f"{made.kind} of {stream.id} at {start_ms}")
                self._unfinished.append((self._world.now + late, made, record))
        self.finish_records(self._world.now)

    def finish_records(self, now):
        for one in sorted((it for it in self._unfinished if it[0] <= now), key=lambda it: it[0]):
            self._unfinished.remove(one)
            _, made, record = one
            made.records = sorted([*made.records, record])
            event = self._event(made, record)
            identity = events_identity.identity_of(event)
            assert identity is not None
            self.made.add(identity)
            if self.connection is not None and made.ws_id == self.connection:
                self.in_flight.append((now, json.dumps(event).encode()))

    @property
    def is_idle(self):
        return not self.in_flight and not self._unfinished

    @property
    def next_finish(self):
        return min((it[0] for it in self._unfinished), default=None)

    def _event(self, made, record):
        start_ms, end_ms, text = record
        final = {"is_final": True} if made.kind == "transcript" else {}
        data = {"text": text, **final, "start": start_ms, "end": end_ms}
        return {"channel": made.kind, "rtstream_id": made.stream_id, "rtstream_name": "…", "data": data}

    def add(self, kind, stream_id, ws_id, name=""):
        made = ServicePipeline(f"{kind}-{len(self.pipelines)}", kind, stream_id, ws_id, name)
        self.pipelines[made.id] = made
        return made

    def _transcript(self, stream_id):
        found = (it for it in self.pipelines.values() if (it.kind, it.stream_id) == ("transcript", stream_id))
        return next(found, None)

    # The API.

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
    """Stand in for `journal.JournalWriter`: flush on request."""

    def __init__(self, path, clock_ms):
        self._path, self._clock_ms = path, clock_ms
        self._lines: deque[bytes] = deque()
        self._dropped: DroppedEvents | None = None
        self.room: int | None = None
        """How many lines are held while the disk is full; None: it is not."""
        self.put_bytes = self.done_bytes = 0
        self.reported: deque[DroppedEvents] = deque()

    def put(self, line, *, keep):
        full = self.room is not None and len(self._lines) >= self.room
        if not keep and (self._dropped is not None or full):
            self._dropped = self._dropped or DroppedEvents(since_ms=self._clock_ms())
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
        return bool(self._lines or self._dropped or self.reported)

    def flush(self):
        if self.room is not None or not (self._lines or self._dropped):
            return
        with self._path.open("ab") as handle:
            handle.writelines(self._lines)
        self.done_bytes = self.put_bytes
        self._lines.clear()
        if self._dropped is not None:
            dropped, self._dropped = self._dropped, None
            data = {"count": dropped.count, "since": envelope.utc_text(dropped.since_ms),
                    "until": envelope.utc_text(dropped.until_ms)}  # fmt: skip
            self._hold(envelope.own_record("listener.dropped", data, self._clock_ms()).line)
            self.reported.append(dropped)


class Wait:
    """What a coroutine waits for."""

    def __init__(self, kind, what=None):
        self.kind, self.what = kind, what
        self.answer: Any = None

    def __await__(self):
        return (yield self)


class Listener:
    """One run of a listener: what the daemon does, one step at a time."""

    def __init__(self, world, outage):
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
        self.feed(m.Started(1, "1", outage))
        host = RecoveryHost(self.machine, self.feed, self._flushed, lambda *_, **__: None)
        self._running = self.reconciler.run(host)
        self._waits: Wait = self._running.send(None)
        self._until = world.monotonic + self._waits.what

    def feed(self, input_):
        now = m.Moment(self._world.monotonic, self._world.wall_ms())
        for action in self.machine.handle(input_, now):
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

    # The steps.

    def step(self):
        """Take the reconciler's next step: a call starts, a call returns, or a wait ends."""
        waits, outcome = self._waits, None
        if waits.kind == "thread" and waits.answer is None:
            waits.answer = _outcome(waits.what)
            return
        if waits.kind == "flush" and self.writer.done_bytes < waits.what:
            return
        if waits.kind == "sleep" or (waits.kind == "wait" and not self.reconciler._connected.is_set()):
            self._world.advance(max(0.0, self._until - self._world.monotonic))
        if waits.kind == "wait":
            self.reconciler._connected.clear()
        if waits.answer is None:
            self._waits = self._running.send(None)
        else:
            try:
                outcome = waits.answer()
            except Exception as error:  # noqa: BLE001 - any error of the call
                self._waits = self._running.throw(error)
            else:
                self._waits = self._running.send(outcome)
        if self._waits.kind in ("sleep", "wait"):
            self._until = self._world.monotonic + self._waits.what

    def report_dropped(self):
        """Report to the loop what the writer's thread has dropped."""
        while self.writer.reported:
            dropped = self.writer.reported.popleft()
            self.feed(m.EventsDropped(dropped.count, dropped.since_ms, dropped.until_ms))

    def stop(self):
        self._running.close()


def _outcome(call):
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - raised again where the call returns
        caught = error

        def fail():
            raise caught

        return fail
    return lambda: answer


class World:
    """A running session, and a listener with the connection that its pipelines send to."""

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
        self.connect()
        # An id is announced once it is journaled.
        self.listener.writer.flush()
        self.start_session("s-1", self.streams)

    def start_session(self, session_id, streams):
        """Start a session and its pipelines, bound to the current connection, as a capture does."""
        self.end_session()
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

    def end_session(self):
        """End the running session and its pipelines."""
        for made in self.service.pipelines.values():
            made.runs = False
        self.service.status = dict.fromkeys(self.service.status, "stopped")
        info = files.read_object(self.directory.capture_info)
        if info:
            info["session"]["status"], info["ended"] = "stopped", envelope.utc_text(self.wall_ms())
            files.replace_file(self.directory.capture_info, json.dumps(info).encode())

    def start_another_session(self):
        """Start another session, once the events of this one are journaled or known to be missing."""
        reported = {
            gap_id
            for event in self.lines
            if event.get("event") == "listener.backfill"
            for gap_id in event["data"]["gaps"]
        }
        is_reported = self.listener.open_gaps.keys() <= reported and not self.listener.writer.is_behind
        if self.is_connected and self.service.connection and self.service.is_idle and is_reported:
            self.listener.reconciler._sessions.refresh()
            self.replace_session()

    def replace_session(self):
        """Start another session, whose info file replaces the one before."""
        self.advance(1)
        number = len(self.service.streams) + 1
        self.streams = tuple(it._replace(id=f"{it.id}-{number}") for it in (MIC, DISPLAY))
        self.start_session(f"s-{number}", self.streams)

    # The clocks.

    @property
    def service_ms(self):
        return EPOCH_MS + round(self.now * 1000)

    def wall_ms(self):
        return self.service_ms + self.skew_ms

    @property
    def monotonic(self):
        return 1000 + self.now - self.asleep

    def advance(self, seconds):
        """Let time pass: events arrive and records are finished when due."""
        until = self.now + seconds
        while True:
            in_flight = self.service.in_flight
            arrives = in_flight[0][0] + IN_FLIGHT_SECONDS if in_flight else None
            finishes = self.service.next_finish
            then = min((it for it in (arrives, finishes) if it is not None), default=None)
            if then is None or then > until:
                break
            self.now = max(self.now, then)
            if then == finishes:
                self.service.finish_records(self.now)
            else:
                self.receive()
        self.now = until

    # What can happen.

    @property
    def is_connected(self):
        return self.listener.machine.state is m.ListenerState.CONNECTED

    def receive(self):
        """Deliver the next event."""
        if self.service.in_flight and self.is_connected:
            _, payload = self.service.in_flight.popleft()
            self.listener.feed(m.Received([payload]))

    def go_silent(self):
        """Break the connection without the listener's notice."""
        self.service.connection = None
        self.service.in_flight.clear()

    def lose_connection(self):
        """Close the connection."""
        if self.is_connected:
            self.go_silent()
            self.listener.feed(m.Closed(1006, "dropped"))

    def connect(self):
        machine = self.listener.machine
        if machine.state is m.ListenerState.WAITING:
            self.listener.feed(m.Woken())
        if machine.state is m.ListenerState.CONNECTING:
            self.connections += 1
            self.service.connection = f"ws-{self.connections}"
            self.service.in_flight.clear()
            self.listener.feed(m.Opened())
            message = {"connection_id": self.service.connection}
            self.listener.feed(m.Received([json.dumps(message).encode()]))

    def sleep(self, seconds):
        """Let the machine sleep: its monotonic clock stands still."""
        self.listener.feed(m.Ticked())
        self.go_silent()
        self.asleep += seconds
        self.advance(seconds)
        self.listener.feed(m.Ticked())

    def kill(self, meanwhile=lambda: None):
        """Kill the listener with all it holds in memory, and start another one."""
        self.listener.stop()
        self.go_silent()
        killed_ms = self.wall_ms()
        meanwhile()
        self.listener = Listener(self, Outage(killed_ms, "killed"))

    def fill_disk(self, room):
        self.listener.writer.room = room

    def free_disk(self):
        self.listener.writer.room = None

    def settle(self):
        """Let everything succeed until nothing is left to do."""
        self.free_disk()
        self.service.fails_at.clear()
        if self.service.connection is None:
            self.lose_connection()
        quiet = 0
        for _ in range(3000):
            self.connect()
            self.listener.writer.flush()
            self.listener.report_dropped()
            self.listener.step()
            busy = self.listener.open_gaps or self.listener.reconciler._context.duplicates.is_active
            quiet = 0 if busy or not self.is_connected else quiet + 1
            if quiet > 20:
                break
        self.advance(2 * IN_FLIGHT_SECONDS)
        self.listener.writer.flush()

    # The result.

    @property
    def lines(self):
        found = map(envelope.parse_line, self.directory.journal.read_bytes().splitlines())
        return [event for event in found if event is not None]

    def assert_complete(self):
        written = Counter(
            it for event in self.lines if (it := events_identity.identity_of(event)) is not None
        )
        missing = sorted(it.start_ms - EPOCH_MS for it in self.service.made - set(written))
        assert missing == [], "records that are not in the journal"
        twice = sorted((it.start_ms or EPOCH_MS) - EPOCH_MS for it, count in written.items() if count > 1)
        assert twice == [], "records that are in the journal more than once"
        found = gaps.latest_gaps(self.lines)
        assert [gap for gap in found if gap.status != "recovered"] == []
        counts = self.listener.machine.counts
        assert (dict(counts.open_gaps), counts.unrecovered, counts.gaps) == ({}, 0, len(found))


@contextlib.contextmanager
def world(**options):
    """Return a context with a world, whose clock the whole package uses."""
    with tempfile.TemporaryDirectory() as path, contextlib.ExitStack() as patches:
        sim = None

        def patch(owner, name, stand_in):
            patches.enter_context(mock.patch.object(owner, name, stand_in))

        patch(asyncio, "sleep", partial(Wait, "sleep"))
        patch(gap_filler, "_PAGES_PER_PROGRESS_LINE", 2)
        patch(context, "time", mock.Mock(monotonic=lambda: 1000.0 if sim is None else sim.monotonic))
        patch(files, "wall_ms", lambda: EPOCH_MS if sim is None else sim.wall_ms())
        patch(os, "fsync", lambda _: None)
        sim = World(Path(path) / "state", **options)
        yield sim
        sim.listener.stop()
