"""Run the listener: the state machine with a socket, a journal, state files and signals around it."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from vdbevents import __version__
from vdbevents.cloud import DaemonThreads
from vdbevents.cloud.backoff import Backoff
from vdbevents.events import duplicate_check, envelope, fields
from vdbevents.journal import append, files, locks, rotation, writer
from vdbevents.journal.dropped_events import DroppedEvents
from vdbevents.listener import protocol
from vdbevents.listener.listener_options import ListenerObserver, ListenerOptions
from vdbevents.listener.listener_status import DiskState, in_words, is_ready, status_of
from vdbevents.listener.machine import ListenerMachine
from vdbevents.listener.outage import Outage, earlier, unwritten_since
from vdbevents.listener.pause_watch import PauseWatch
from vdbevents.listener.protocol import ListenerState
from vdbevents.listener.recovery_hook import RecoveryHost
from vdbevents.listener.service_socket import ServiceSocket
from vdbevents.listener.signals import stop_signals
from vdbevents.listener.startup import prepare
from vdbevents.listener.state_files import StateFiles
from vdbevents.privacy.pauses import PAUSED, RESUMED
from vdbevents.terminal import byte_size

# Beyond this, reading waits for the journal as long as that keeps up.
_BACKLOG_BYTES = 1 << 20
_LAST_WRITE_SECONDS = 0.8
# A sync may take seconds where others write, too. `vdbevents stop` waits for ten in all.
_SLOW_WRITE_SECONDS = 4.0
_TICK_SECONDS = 2.0
_PAUSE_LOOK_SECONDS = 0.2
# A reader takes a much older status for that of a listener that hangs.
_HEARTBEAT_SECONDS = 9.0
_SHORTEST_POLL_SECONDS = 0.002
_LONGEST_POLL_SECONDS = 0.5
_SHARED = duplicate_check.SHARED_CHANNELS
_LINES_ALONE = {protocol.Append}


def listen(options: ListenerOptions, observer: ListenerObserver) -> signal.Signals:
    """Record until a signal asks to stop; return that signal.

    Raises:
        ListenerStateError: another listener has this directory. Nothing was touched.
        InputError, StorageError: the directory's files cannot be written.
        ServiceRefusedError, ServiceUnreachableError: no connection can be made.
    """
    directory = options.directory
    lock = locks.ProcessLock(directory.listener_lock, lambda: locks.already_listening(directory))
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
        self._rules = options.rules
        self._pauses = PauseWatch(self._directory, forget_current=options.clear is not None)
        self._rules.pauses = self._pauses.last
        journal = append.Journal(self._directory, clock_ms=files.wall_ms, on_repair=self._repaired)
        startup = prepare(options, journal)
        self._start = protocol.Started(os.getpid(), __version__, startup.outage, startup.cleared_ids)
        self._recovery = options.recovery
        is_known = None if self._recovery is None else self._recovery.is_known
        draw = random.SystemRandom().random
        self._machine = ListenerMachine(options.settings, draw, startup.counts, is_known, self._rules)
        self._writer = writer.JournalWriter(
            journal,
            hold_bytes=options.hold_bytes,
            sync_seconds=options.sync_seconds,
            clock_ms=files.wall_ms,
            on_trouble=partial(self._on_loop, self._disk_trouble),
            on_dropped=partial(self._on_loop, self._lines_dropped),
            on_crash=partial(self._on_loop, self._end),
            rotator=self._rotator(journal),
        )
        self._files = StateFiles(self._directory, partial(self._on_loop, partial(self._say, problem=True)))
        self._socket = ServiceSocket(options.credentials, options.settings, self._heard, self._is_behind)
        self._recovering: asyncio.Task[None] | None = None
        self._alive: asyncio.Task[None] | None = None
        self._signal: signal.Signals | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._pause_timer: asyncio.TimerHandle | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._status_at = 0.0

    async def run(self) -> signal.Signals:
        loop = self._loop = asyncio.get_running_loop()
        loop.set_default_executor(DaemonThreads())
        self._outcome: asyncio.Future[None] = loop.create_future()
        with stop_signals(self._interrupt):
            try:
                self._feed(self._start)
                self._tick()
                self._look_at_pauses()
                self._alive = loop.create_task(self._options.manager.keep_alive(self._writer.run))
                self._alive.add_done_callback(self._task_ended)
                if self._recovery is not None:
                    host = RecoveryHost(self._machine, self._feed, self._flushed, self._say)
                    self._recovering = loop.create_task(self._recovery.run(host))
                    self._recovering.add_done_callback(self._task_ended)
                await self._outcome
            finally:
                await self._leave()
        return self._signal or signal.SIGTERM

    def _interrupt(self, number: int) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = signal.Signals(number)
        self._socket.is_leaving = True
        self._stopping = self._loop.create_task(self._stop(self._signal.name))

    async def _stop(self, by: str) -> None:
        await self._socket.leave()
        self._feed(protocol.StopRequested(by))

    # Inputs and actions.

    def _tick(self) -> None:
        self._feed(protocol.Ticked())
        if time.monotonic() - self._status_at > _HEARTBEAT_SECONDS:
            self._write_status_in(0)
        self._tick_timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _look_at_pauses(self) -> None:
        is_new, now_ms = self._pauses.refresh(), files.wall_ms()
        for pause, noted in self._pauses.unnoted(now_ms):
            event = PAUSED if noted == "paused" else RESUMED
            self._feed(protocol.Supplied([envelope.own_record(event, pause.data(), now_ms)]))
            # After the line: a run that ends before it is written leaves it to the next.
            self._writer.run(partial(self._pauses.note, pause.id, noted))
            self._say("paused: nothing is written" if noted == "paused" else "resumed")
            is_new = True
        if is_new:
            # `vdbevents pause` waits for it.
            self._write_status()
        self._pause_timer = self._loop.call_later(_PAUSE_LOOK_SECONDS, self._look_at_pauses)

    def _heard(self, input_: protocol.Input) -> None:
        """Feed what happened on the socket; until the connection has its id, one message at a time.

        The recovery must know of a connection before what arrives over it is compared with what was fetched.
        """
        if isinstance(input_, protocol.Received):
            payloads, number = input_.payloads, 0
            while number < len(payloads) and self._machine.state is not ListenerState.CONNECTED:
                self._feed(protocol.Received(payloads[number : number + 1]))
                number += 1
            input_ = protocol.Received(payloads[number:] if number else payloads)
            if number == len(payloads):
                return
        self._feed(input_)

    def _feed(self, input_: protocol.Input) -> None:
        before = self._machine.state
        actions = self._machine.handle(input_, protocol.Moment(time.monotonic(), files.wall_ms()))
        if self._machine.state is not before:
            # Before the connection is announced: whoever waited for that may ask for the status next.
            self._write_status()
        kinds = set(map(type, actions))
        # Most inputs are messages, and all that comes of them is lines.
        groups = [(protocol.Append, actions)] if kinds == _LINES_ALONE else itertools.groupby(actions, type)
        for kind, group in groups:
            if kind is protocol.Append:
                self._append(list(group))  # type: ignore[arg-type]
            else:
                for action in group:
                    self._carry_out(action)
        if actions:
            self._write_status_in(max(0.0, self._status_at + 1.0 - time.monotonic()))

    def _carry_out(self, action: protocol.Action) -> None:  # noqa: C901 - one case an action
        match action:
            case protocol.ShowMessage(text, problem, hint):
                self._say(text, problem=problem, hint=hint)
            case protocol.Connect():
                self._socket.connect().add_done_callback(self._task_ended)
            case protocol.Disconnect():
                self._socket.disconnect()
            case protocol.Announce():
                self._writer.run(partial(self._announce, action))
                if self._recovery is not None:
                    self._recovery.connected(action.ws_id)
            case protocol.Withdraw():
                self._writer.run(self._files.withdraw)
                if self._recovery is not None:
                    self._recovery.disconnected()
            case protocol.WakeAt(monotonic):
                if self._wake_timer is not None:
                    self._wake_timer.cancel()
                delay = max(0.0, monotonic - time.monotonic())
                self._wake_timer = self._loop.call_later(delay, self._feed, protocol.Woken())
            case protocol.End(error):
                self._end(error)

    def _append(self, appends: Sequence[protocol.Append]) -> None:
        """Hand over lines of the journal, in order; those between two that are special, at once."""
        channels = {channel for channel, _ in appends}
        special = {fields.OWN_CHANNEL}
        # Without a backend in this directory there are no webhooks, and so no second copies.
        if not channels.isdisjoint(_SHARED) and self._directory.backend_credentials.exists():
            special |= _SHARED
        put_all, dropped = self._writer.put_all, 0
        if channels.isdisjoint(special):
            dropped = put_all([record.line for _, record in appends], [channel for channel, _ in appends])
        else:
            for is_special, group in itertools.groupby(appends, lambda append: append.channel in special):
                if is_special:
                    dropped += sum(not self._put_special(append) for append in group)
                else:
                    plain = list(group)
                    dropped += put_all(
                        [record.line for _, record in plain], [channel for channel, _ in plain]
                    )
        self._machine.counts.dropped += dropped
        if self._shows_events:
            self._show(record for channel, record in appends if channel != fields.OWN_CHANNEL)

    def _put_special(self, append: protocol.Append) -> bool:
        channel, record = append
        # The recorder's own lines are never dropped: without them nobody would know what is missing, or why.
        is_own = channel == fields.OWN_CHANNEL
        duplicate = None if is_own else duplicate_check.check_received(record)
        return self._writer.put(record.line, channel, keep=is_own, duplicate=duplicate)

    def _show(self, records: Iterable[envelope.Record]) -> None:
        now_ms = files.wall_ms()
        for record in records:
            # An event that cannot be shown is recorded all the same.
            with contextlib.suppress(Exception):
                self._observer.show(record, now_ms)

    def _announce(self, action: protocol.Announce) -> None:
        self._files.announce(action.ws_id)
        if action.first:
            # After the file: a program that reads the printed line must find it.
            self._loop.call_soon_threadsafe(self._observer.announce, action.ws_id)

    def _say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        self._observer.say(self._rules.redactor.words(text), problem=problem, hint=hint)

    # The journal and the status.

    def _rotator(self, journal: append.Journal) -> rotation.Rotator | None:
        rule = self._options.rotation
        if rule is None:
            return None
        return rotation.Rotator(journal, rule, partial(self._on_loop, self._rotation_failed))

    def _rotation_failed(self, reason: str) -> None:
        self._observer.say(
            f"cannot rotate {self._directory.journal}: {reason}; it goes on in the same file",
            problem=True,
            hint=f"free disk space, or check {self._directory.archive}; it is tried again",
        )

    def _is_behind(self) -> bool:
        return self._writer.backlog_bytes > _BACKLOG_BYTES and self._writer.flows

    async def _flushed(self) -> None:
        size, polls = self._writer.put_bytes, Backoff(_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS)
        # The thread that writes has no cheaper way to wake a coroutine.
        while self._writer.done_bytes < size:  # noqa: ASYNC110
            await asyncio.sleep(polls.next())

    def _write_status_in(self, seconds: float) -> None:
        if self._status_timer is None:
            self._status_timer = self._loop.call_later(seconds, self._write_status)

    def _write_status(self) -> None:
        if self._status_timer is not None:
            self._status_timer.cancel()
            self._status_timer = None
        self._status_at = time.monotonic()
        self._writer.run(self._files.retry_ids)
        self._writer.run(partial(self._files.write_status, self._status()))
        words = in_words(self._machine, self._writer.trouble)
        self._options.manager.show(words, is_ready=is_ready(self._machine))

    def _status(self) -> dict[str, Any]:
        writer = self._writer
        journal = writer.expected_size, writer.journal_head, writer.journal_inode
        disk = DiskState(writer.trouble, self._unwritten_since_ms(), *journal)
        stale = self._recovery.stale if self._recovery is not None else []
        pause = self._pauses.last().status(files.wall_ms())
        settings = {**self._options.report_settings(), **self._rules.to_dict(), **pause}
        return status_of(self._machine, disk, stale, settings, pid=os.getpid(), now_ms=files.wall_ms())

    def _unwritten_since_ms(self) -> int | None:
        return unwritten_since(self._writer.waiting_since_ms, self._machine.counts.open_gaps.values())

    def _on_loop(self, report: Callable[..., object], *arguments: object) -> None:
        """Call `report` from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(report, *arguments)

    def _repaired(self, torn_bytes: int) -> None:
        kept = self._directory.torn
        self._say(
            f"the journal's last line was torn: moved its {byte_size(torn_bytes)} to {kept}", problem=True
        )

    def _disk_trouble(self, trouble: str | None) -> None:
        if trouble is None:
            self._say("the journal can be written again, with all lines held in memory")
        else:
            held = byte_size(self._options.hold_bytes)
            self._say(
                f"cannot write {self._directory.journal}: {trouble}; holding up to {held} in memory",
                problem=True,
                hint="free disk space; recording resumes by itself",
            )
        self._write_status_in(0)

    def _lines_dropped(self, dropped: DroppedEvents) -> None:
        self._say(
            f"dropped {dropped.count} events ({dropped.size} bytes) while the disk refused writes: "
            "see the listener.dropped line in the journal",
            problem=True,
            hint="raise --hold to keep more in memory",
        )
        self._feed(protocol.EventsDropped(dropped.count, dropped.since_ms, dropped.until_ms))

    # The end.

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        # A task that dies unseen would leave a listener that neither listens nor retries.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._outcome.done():
            return
        if error is None:
            self._outcome.set_result(None)
        else:
            self._outcome.set_exception(error)

    async def _leave(self) -> None:
        self._options.manager.stopping()
        for timer in (self._wake_timer, self._status_timer, self._tick_timer, self._pause_timer):
            if timer is not None:
                timer.cancel()
        for task in (self._alive, self._recovering, self._socket.task):
            if task is not None:
                task.cancel()
                await asyncio.wait({task}, timeout=0.1)
        self._writer.run(partial(files.remove_file, self._directory.ws_pid))
        self._write_status()
        unwritten = await self._loop.run_in_executor(
            None, self._writer.close, _LAST_WRITE_SECONDS, _SLOW_WRITE_SECONDS
        )
        if unwritten:
            reason = f"{unwritten} events could not be written: {self._writer.trouble or 'the disk hangs'}"
            self._say(reason, problem=True)
            # The next run marks them as a gap, if the disk accepts at least this.
            lost = Outage(self._unwritten_since_ms() or files.wall_ms(), reason)
            # It may have been disconnected before.
            self._machine.outage = earlier(self._machine.outage, lost)
            last = self._loop.run_in_executor(None, self._files.write_status, self._status())
            await asyncio.wait({last}, timeout=0.2)
