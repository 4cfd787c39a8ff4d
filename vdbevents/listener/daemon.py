"""The listener in the world: sockets, signals, threads and files around `machine.Machine`."""

import asyncio
import contextlib
import errno
import itertools
import json
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from vdbevents import __version__, cloud
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import InputError, StorageError
from vdbevents.events import envelope, fields, gaps, identity
from vdbevents.journal import append, files, locks, reader, state, writer
from vdbevents.listener import counters, machine as listener_machine, protocol as m
from vdbevents.listener.recovery_hook import Recovery

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

# While the journal keeps up, reading waits for it beyond this: memory stays flat in a flood.
_BACKLOG_BYTES = 1 << 20
_FAREWELL_SECONDS = 0.7
_LAST_WRITE_SECONDS = 0.8
# A sync may take seconds where others write, too. `vdbevents stop` waits for ten in all.
_SLOW_WRITE_SECONDS = 4.0
_RECOUNT_BYTES = 64 << 20
_TICK_SECONDS = 2.0
_SHORTEST_POLL_SECONDS = 0.002
_LONGEST_POLL_SECONDS = 0.5
_IDS_KEPT = 100
_GAPS_TOLD = 1000
_END_OF_TIME = 253402300800  # the year 10000, which no RFC 3339 text can tell


class ListenerObserver(Protocol):
    """Who is told what the listener does. Nothing here may block or raise."""

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """The state changed, or something went wrong."""

    @property
    def shows_events(self) -> bool:
        """Whether `show` is to be called."""

    def show(self, made: envelope.Record, received_ms: int) -> None:
        """An event came."""

    def announce(self, ws_id: str) -> None:
        """The first connection stands, and the files say so."""


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """What to listen to, and where to write it.

    Attributes:
        directory: the state directory; it exists.
        credentials: for the service.
        settings: times and retries.
        clear: empty the journal first.
        hold_bytes: how much to hold in memory while the disk refuses.
        sync_seconds: how long a written line may stay unsynced.
        recovery: makes good what was missed; None leaves it at marking it.
    """

    directory: state.StateDirectory
    credentials: cloud.Credentials
    settings: m.ConnectionSettings = field(default_factory=m.ConnectionSettings)
    clear: bool = False
    hold_bytes: int = 64 << 20
    sync_seconds: float = 1.0
    recovery: Recovery | None = None


def listen(options: ListenerOptions, observer: ListenerObserver) -> signal.Signals:
    """Records until a signal asks to end, and answers which one it was.

    Raises:
        ListenerStateError: another listener has this directory. Nothing was touched.
        InputError: the directory's files cannot be written.
        ServiceRefusedError, ServiceUnreachableError: there is no connection to be had.
    """
    lock = locks.ProcessLock(
        options.directory.listener_lock, lambda: locks.already_listening(options.directory)
    )
    try:
        return asyncio.run(_Daemon(options, observer).run())
    finally:
        lock.release()


class _Daemon:
    def __init__(self, options: ListenerOptions, observer: ListenerObserver) -> None:
        self._options = options
        self._directory = options.directory
        self._observer = observer
        self._shows_events = observer.shows_events
        self._cleared_ids: tuple[str, ...] = ()
        self._journal = append.Journal(self._directory, clock_ms=files.wall_ms, on_repair=self._repaired)
        last = self._prepare()
        counts = self._counts_so_far(last)
        self._recovery = options.recovery
        is_known = None if self._recovery is None else self._recovery.is_known
        self._machine = listener_machine.ListenerMachine(
            options.settings, random.SystemRandom().random, counts, is_known
        )
        self._start = m.Started(os.getpid(), __version__, self._left_unmarked(last), self._cleared_ids)
        self._writer = writer.JournalWriter(
            self._journal,
            hold_bytes=options.hold_bytes,
            sync_seconds=options.sync_seconds,
            clock_ms=files.wall_ms,
            on_trouble=lambda trouble: self._from_writer(self._disk_trouble, trouble),
            on_dropped=lambda dropped: self._from_writer(self._lines_dropped, dropped),
            on_crash=lambda error: self._from_writer(self._crash, error),
        )
        self._recovering: asyncio.Task[None] | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._signal: signal.Signals | None = None
        self._missing_id: bytes | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._connecting: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._status_at = 0.0
        self._state_trouble: str | None = None

    def _prepare(self) -> dict[str, Any]:
        """Leaves the directory as a new run wants to find it, and answers with the last run's status."""
        directory = self._directory
        try:
            # First of all: with the lock held, a PID of a dead run would be taken for ours.
            files.replace_file(directory.ws_pid, str(os.getpid()).encode())
            files.remove_file(directory.ws_id)
            if self._options.clear:
                # What was bound to them still runs, whatever the journal tells.
                self._cleared_ids = tuple(
                    itertools.islice(reader.connection_ids(directory.journal), _IDS_KEPT)
                )
                self._journal.clear()
                files.remove_file(directory.listener_status)
            self._journal.repair()
        except OSError as error:
            files.remove_file(directory.ws_pid)
            reason = error.strerror or str(error)
            kind = StorageError if error.errno in (errno.ENOSPC, errno.EDQUOT) else InputError
            raise kind(
                f"cannot write to {directory.path}: {reason}", "make room there, or name another directory"
            ) from error
        return files.read_object(directory.listener_status)

    def _counts_so_far(self, last: dict[str, Any]) -> counters.ListenerCounts:
        """What the journal holds, as the last run counted it, and what was written since."""
        counts = counters.ListenerCounts()
        size = self._journal.size
        counted = last.get("journal_bytes")
        start = counted if isinstance(counted, int) and counted <= size else 0
        if start:
            _restore(counts, last)
        if size - start > _RECOUNT_BYTES:
            return counters.ListenerCounts()
        for line in reader.follow(self._directory.journal, from_end=False, wait=lambda: False, start=start):
            _count(counts, line)
        return counts

    def _left_unmarked(self, last: dict[str, Any]) -> m.Outage | None:
        blind = _left_unmarked(last)
        stopped_ms = _milliseconds(last.get("written"))
        if blind is not None or stopped_ms is None or self._recovery is None:
            return blind
        # Who ends a listener in the middle of a session misses it no less than who loses it.
        is_missed = self._recovery.was_live(stopped_ms)
        return m.Outage(stopped_ms, "no listener ran") if is_missed else None

    async def run(self) -> signal.Signals:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(cloud.DaemonThreads())
        self._loop = loop
        self._outcome: asyncio.Future[None] = loop.create_future()
        self._handle_signals()
        try:
            self._feed(self._start)
            self._tick()
            if self._recovery is not None:
                self._recovering = loop.create_task(self._recovery.run(self))
                self._recovering.add_done_callback(self._task_ended)
            await self._outcome
        finally:
            await self._leave()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        return self._signal or signal.SIGTERM

    def _handle_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._loop.add_signal_handler(number, self._interrupt, number)
            except NotImplementedError:  # Windows' event loop knows no signals
                signal.signal(number, lambda n, _: self._loop.call_soon_threadsafe(self._interrupt, n))
        # A terminal that closes, or that lets no background job write, is no reason to stop recording.
        for name in ("SIGHUP", "SIGTTOU"):
            if hasattr(signal, name):
                number = getattr(signal, name)
                self._handlers[number] = signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, number: int) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = signal.Signals(number)
        self._ending = self._loop.create_task(self._say_farewell())

    async def _say_farewell(self) -> None:
        # What has arrived is still read and written; then the machine may end.
        if self._socket is not None and self._connecting is not None:
            closing = self._loop.create_task(self._socket.close())
            await asyncio.wait({closing, self._connecting}, timeout=_FAREWELL_SECONDS)
            closing.cancel()
        assert self._signal is not None  # noqa: S101 - set by the only caller
        self._feed(m.StopRequested(self._signal.name))

    def _now(self) -> m.Moment:
        return m.Moment(time.monotonic(), files.wall_ms())

    def _tick(self) -> None:
        self._feed(m.Ticked())
        self._tick_timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _feed(self, happening: m.Input) -> None:
        actions = self._machine.handle(happening, self._now())
        for action in actions:
            self._carry_out(action)
        if actions and self._status_timer is None:
            delay = max(0.0, self._status_at + 1.0 - time.monotonic())
            self._status_timer = self._loop.call_later(delay, self._write_status)

    def _carry_out(self, action: m.Action) -> None:  # noqa: C901, PLR0912 - one case an action
        match action:
            case m.Append(channel, made):
                once = None
                # Where no backend ever served there are no webhooks to look for.
                if channel in identity.SHARED_CHANNELS and self._directory.backend_credentials.exists():
                    once = identity.once_received(made.event)
                # Without the recorder's own words nobody would know what is missing, or why.
                keep = channel == fields.OWN_CHANNEL
                if not self._writer.put(made.line, channel, keep=keep, once=once):
                    self._machine.counts.dropped += 1
                if self._shows_events and channel != fields.OWN_CHANNEL:
                    # What cannot be shown has been recorded all the same.
                    with contextlib.suppress(Exception):
                        self._observer.show(made, files.wall_ms())
            case m.ShowMessage(text, problem, hint):
                self._observer.say(text, problem=problem, hint=hint)
            case m.Connect():
                self._connecting = self._loop.create_task(self._connect())
                self._connecting.add_done_callback(self._task_ended)
            case m.Disconnect():
                if self._connecting is not None:
                    self._connecting.cancel()
            case m.Announce(ws_id):
                self._writer.run(lambda: self._announce(action))
                if self._recovery is not None:
                    self._recovery.connected(ws_id)
            case m.Withdraw():
                self._writer.run(self._withdraw)
                if self._recovery is not None:
                    self._recovery.disconnected()
            case m.WakeAt(monotonic):
                if self._timer is not None:
                    self._timer.cancel()
                delay = max(0.0, monotonic - time.monotonic())
                self._timer = self._loop.call_later(delay, self._feed, m.TimeReached())
            case m.End(error):
                if not self._outcome.done():
                    if error is None:
                        self._outcome.set_result(None)
                    else:
                        self._outcome.set_exception(error)

    # What the recovery may do.

    @property
    def open_gaps(self) -> Mapping[str, gaps.Gap]:
        return self._machine.counts.open_gaps

    @property
    def last_seen(self) -> Mapping[str, float]:
        return self._machine.last_seen

    @property
    def ended_sessions(self) -> Collection[str]:
        return self._machine.ended_sessions

    @property
    def dropped(self) -> int:
        return self._machine.counts.dropped

    def supply(self, records: Sequence[envelope.Record]) -> None:
        if records:
            self._feed(m.Supplied(records))

    def new_gap_id(self) -> str:
        return self._machine.new_gap_id()

    async def flushed(self) -> None:
        # What is held in memory is not in the file, which is read to know what is missing.
        size, polls = self._writer.put_bytes, Backoff(_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS)
        # The thread that writes has no cheaper way to wake a coroutine.
        while self._writer.done_bytes < size:  # noqa: ASYNC110
            await asyncio.sleep(polls.next())

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        self._observer.say(text, problem=problem, hint=hint)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        # A task that dies unseen would leave a listener that neither listens nor tries to.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash(error)

    async def _connect(self) -> None:
        limit = self._options.settings.step_limit
        try:
            url = await cloud.websocket_url(self._options.credentials, limit)
            self._socket = await _open(url, self._options.settings)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - `classify` knows all of them, a bug of the SDK's included
            self._feed(m.Failed(cloud.classify(error, datetime.now(UTC))))
            return
        try:
            await self._receive(self._socket)
        finally:
            self._abandon(self._socket)

    def _abandon(self, socket: "ClientConnection") -> None:
        self._socket = None
        # Closed already, or given up: nobody waits for the other side's farewell.
        socket.transport.abort()

    async def _receive(self, socket: "ClientConnection") -> None:
        from websockets.exceptions import ConnectionClosed

        self._feed(m.Opened())
        try:
            while True:
                payload = await socket.recv(decode=False)
                self._feed(m.Received(payload))
                # The thread that writes has no way to wake a coroutine that is cheaper than this.
                while self._writer.backlog_bytes > _BACKLOG_BYTES and self._writer.flows:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        except ConnectionClosed as closed:
            if self._signal is None:
                self._feed(_closed(closed))

    def _announce(self, announcement: m.Announce) -> None:
        self._missing_id = announcement.ws_id.encode()
        self._write_missing_id()
        if announcement.first:
            # Who reads the line finds the file that it is about.
            self._loop.call_soon_threadsafe(self._observer.announce, announcement.ws_id)

    def _withdraw(self) -> None:
        self._missing_id = None
        files.remove_file(self._directory.ws_id)

    def _write_missing_id(self) -> None:
        # A full disk may refuse it now: it is tried again with each status.
        if self._missing_id is not None and self._write_state("videodb_ws_id", self._missing_id):
            self._missing_id = None

    def _write_state(self, name: str, content: bytes) -> bool:
        try:
            files.replace_file(self._directory.path / name, content)
        except OSError as error:
            reason = f"cannot write {name}: {error.strerror or error}"
            if reason != self._state_trouble:
                self._state_trouble = reason
                self._from_writer(lambda text: self._observer.say(text, problem=True), reason)
            return False
        self._state_trouble = None
        return True

    def _write_status(self) -> None:
        self._status_timer = None
        self._status_at = time.monotonic()
        content = self._status_content()

        def write() -> None:
            self._write_missing_id()
            self._write_state(self._directory.listener_status.name, content)

        self._writer.run(write)

    def _status_content(self) -> bytes:
        return json.dumps(self._status(), ensure_ascii=False, indent=1).encode()

    def _status(self) -> dict[str, Any]:
        machine = self._machine
        counts = machine.counts
        return {
            "version": __version__,
            "pid": os.getpid(),
            "state": machine.state,
            "since": envelope.utc_text(machine.since_ms),
            "ws_id": machine.ws_id,
            "reconnects": machine.reconnects,
            "last_error": machine.last_error,
            "next_attempt": _text_or_none(machine.next_attempt_ms),
            "events": {
                "total": sum(channel.count for channel in counts.channels.values()),
                "since": envelope.utc_text(counts.since_ms),
                "channels": {
                    name: {"count": channel.count, "last": envelope.utc_text(channel.last_ms)}
                    for name, channel in counts.channels.items()
                },
            },
            "gaps": counts.gaps,
            "unrecovered": counts.unrecovered,
            "open_gaps": [gap.told() for gap in itertools.islice(counts.open_gaps.values(), _GAPS_TOLD)],
            "stale": self._recovery.stale if self._recovery is not None else [],
            "dropped": counts.dropped,
            "disk_trouble": self._writer.trouble,
            "unwritten_since": _text_or_none(self._writer.waiting_since_ms),
            "blind_since": _text_or_none(machine.blind.since_ms if machine.blind else None),
            "blind_reason": machine.blind.reason if machine.blind else None,
            "journal_bytes": self._writer.expected_size,
            "written": envelope.utc_text(files.wall_ms()),
        }

    def _from_writer(self, told: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(told, *arguments)

    def _repaired(self, torn_bytes: int) -> None:
        kept = self._directory.torn
        self._observer.say(
            f"the journal's last line was torn: its {torn_bytes} bytes are kept in {kept}", problem=True
        )

    def _disk_trouble(self, trouble: str | None) -> None:
        if trouble is None:
            self._observer.say("the journal can be written again; what was held in memory is in it")
        else:
            held = f"{self._options.hold_bytes / (1 << 20):g} MiB"
            self._observer.say(
                f"cannot write {self._directory.journal}: {trouble}; holding up to {held} in memory",
                problem=True,
                hint="make room, or bring the file system back: recording goes on by itself",
            )
        self._write_status_soon()

    def _write_status_soon(self) -> None:
        if self._status_timer is None:
            self._status_timer = self._loop.call_later(0, self._write_status)

    def _lines_dropped(self, dropped: writer.Dropped) -> None:
        self._observer.say(
            f"{dropped.count} events ({dropped.size} bytes) were dropped while the disk took none: "
            "the journal says so in a listener.dropped line",
            problem=True,
            hint="a larger --hold keeps more of them",
        )
        self._feed(m.EventsDropped(dropped.count, dropped.since_ms, dropped.until_ms))

    def _crash(self, error: BaseException) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)

    async def _leave(self) -> None:
        for timer in (self._timer, self._status_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.wait({self._recovering}, timeout=0.1)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting}, timeout=0.1)
        self._writer.run(lambda: files.remove_file(self._directory.ws_pid))
        self._write_status()
        unwritten = await self._loop.run_in_executor(
            None, self._writer.close, _LAST_WRITE_SECONDS, _SLOW_WRITE_SECONDS
        )
        if unwritten:
            reason = self._writer.trouble or "the disk does not answer"
            self._observer.say(
                f"{unwritten} events could not be written: {reason}",
                problem=True,
            )
            # The next run marks them as a gap, where the disk takes this at least.
            since_ms = self._writer.waiting_since_ms or files.wall_ms()
            self._machine.blind = m.Outage(since_ms, f"{unwritten} events could not be written: {reason}")
            telling = self._loop.run_in_executor(
                None, self._write_state, self._directory.listener_status.name, self._status_content()
            )
            await asyncio.wait({telling}, timeout=0.2)


async def _open(url: str, settings: m.ConnectionSettings) -> "ClientConnection":
    from websockets.asyncio.client import connect

    # What goes wrong with a connection is said by `classify` and the machine, once.
    quiet = logging.getLogger("vdbevents.websocket")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    return await connect(
        url,
        max_size=None,
        max_queue=256,
        open_timeout=settings.step_limit,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_interval,
        close_timeout=1,
        user_agent_header=f"vdbevents/{__version__}",
        logger=quiet,
    )


def _closed(closed: Any) -> m.Closed:  # noqa: ANN401 - ConnectionClosed; importing it costs start-up time
    if closed.rcvd is not None:
        return m.Closed(closed.rcvd.code, closed.rcvd.reason)
    # 1011 that we sent and nobody answered is how the library says that pings went unanswered.
    silent = closed.sent is not None and closed.sent.code == 1011  # noqa: PLR2004
    if closed.sent is not None and not silent:
        return m.Closed(1006, f"given up: {closed.sent.reason or closed.sent.code}")
    return m.Closed(1006, "pings went unanswered" if silent else "dropped without a word", silent)


def _left_unmarked(last: dict[str, Any]) -> m.Outage | None:
    """Since when nothing is received that no `listener.gap` tells of, from the last status of a run."""
    since = [_milliseconds(last.get("blind_since"))]
    reason = str(last.get("blind_reason"))
    if last.get("state") not in (None, m.ListenerState.STOPPED):
        # What it had in memory is gone with it, although it lived on for a while.
        since += [_milliseconds(last.get("unwritten_since")), _milliseconds(last.get("written"))]
        reason = f"the listener with PID {last.get('pid')} ended without a word"
    known = [moment for moment in since if moment is not None]
    return m.Outage(min(known), reason) if known else None


def _text_or_none(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else envelope.utc_text(milliseconds)


def _milliseconds(text: object) -> int | None:
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        return None


def _restore(counts: counters.ListenerCounts, status: dict[str, Any]) -> None:
    with contextlib.suppress(AttributeError, TypeError, KeyError, ValueError):
        counts.since_ms = _milliseconds(status["events"]["since"]) or 0
        for name, channel in status["events"]["channels"].items():
            counts.channels[name] = counters.ChannelCount(
                int(channel["count"]), _milliseconds(channel["last"]) or 0
            )
        counts.gaps = int(status["gaps"])
        counts.dropped = int(status["dropped"])
        counts.unrecovered = int(status["unrecovered"])
        for told in status["open_gaps"]:
            gap = gaps.gap_from({"channel": fields.OWN_CHANNEL, "event": gaps.EVENT, "data": told})
            if gap is not None:
                counts.open_gaps[gap.id] = gap


def _count(counts: counters.ListenerCounts, line: bytes) -> None:
    event = envelope.parse_line(line)
    if event is None:
        return
    stamp = event.get("unix_ts")
    # Other recorders write here, too: a stamp may be in microseconds, or no time at all.
    at_ms = round(stamp * 1000) if isinstance(stamp, int | float) and 0 <= stamp < _END_OF_TIME else 0
    counts.since_ms = counts.since_ms or at_ms
    channel = fields.channel_of(event)
    if channel == fields.OWN_CHANNEL:
        counts.note_own(event)
        return
    counted = counts.channels.setdefault(channel, counters.ChannelCount())
    counted.count += 1
    counted.last_ms = max(counted.last_ms, at_ms)
