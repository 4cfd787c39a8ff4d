"""What every capture does: files, signals, the runtime from permissions to end, and the order of it all.

Whose session it is, is another matter: one of the own account (`orchestrator`), or a backend's (`client`).
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from vdbevents import cloud
from vdbevents.capture import selection
from vdbevents.capture.ending import end_runtime
from vdbevents.capture.runtime import Runtime, where_to_grant
from vdbevents.errors import CaptureError, VdbeventsError
from vdbevents.events import envelope, fields, lifecycle
from vdbevents.journal import append, files, locks, reader, state, writer
from vdbevents.sessions import plan
from vdbevents.sessions.capture_info import CaptureInfo
from vdbevents.sessions.waiting import StepAborted, Waiting

_Answer = TypeVar("_Answer")

_FOLLOW_SECONDS: Final = 0.05
_LAST_WRITE_SECONDS: Final = 2.0
_HOLD_BYTES: Final = 8 << 20
_FOR_EVER: Final = 1e9


class Observer(Protocol):
    """Who is told what the capture does. Nothing here may block or raise."""

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """A step was made, or something went wrong."""

    def watch(self, info: CaptureInfo) -> None:
        """From now on `info` tells how things are, whenever one looks."""

    def abandon(self) -> None:
        """The process is about to end without another word."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each step may take, in seconds."""

    step: float = 30.0
    permission: float = 120.0
    active: float = 60.0
    export: float = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to record, and where.

    Attributes:
        directory: the state directory; it exists.
        base_url: of the service, for the runtime.
        runtime: another one than VideoDB's own, or None.
        require_all: a denied permission or a missing device ends the capture.
        duration: seconds to record, None until a signal.
    """

    directory: state.StateDirectory
    base_url: str
    runtime: Path | None = None
    wanted: selection.Wanted = field(default_factory=selection.Wanted)
    require_all: bool = False
    duration: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a capture ended.

    Attributes:
        summary: for stdout; None where no session came into being.
        failure: what went wrong, if anything did; a bug is the exception that nobody foresaw.
        interrupted: the waiting for the end was skipped.
    """

    summary: dict[str, Any] | None
    failure: BaseException | None
    interrupted: bool


def carry_out(options: Options, make: Callable[[], "Recording"]) -> Outcome:
    """Makes a recording and goes with it to its end; one at a time in a directory.

    Raises:
        CaptureError: there is no runtime, or another capture has this directory. Nothing was touched.
        InputError: the directory's files cannot be written.
    """
    cloud.find_runtime(options.runtime)
    directory = options.directory
    lock = locks.ProcessLock(directory.capture_lock, lambda: locks.already_capturing(directory))
    try:
        return asyncio.run(make().run())
    finally:
        lock.release()


class Recording(ABC):
    """One capture. What is abstract differs by whose session it is."""

    def __init__(self, options: Options, info: CaptureInfo, observer: Observer) -> None:
        """Touches nothing yet.

        Args:
            options: what to record.
            info: what is known of the session before there is one.
            observer: who is told.
        """
        self._options = options
        self._directory = options.directory
        self._limits = options.limits
        self._observer = observer
        self._say = observer.say
        self._info = info
        self._life = info.life
        self._runtime: Runtime | None = None
        self._start_tried = self._records = False
        self._failure: VdbeventsError | None = None
        self._crash: BaseException | None = None
        self._handled: list[signal.Signals] = []
        self._tail_ended = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[Mapping[str, Any]] = []

    async def run(self) -> Outcome:
        """Makes all steps, and ends what was begun."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(cloud.DaemonThreads())
        self._waiting = Waiting()
        self._phase_changed = asyncio.Event()
        self._observer.watch(self._info)
        self._handle_signals()
        self._open_files()
        try:
            await self._make_steps()
        except StepAborted:
            pass
        except VdbeventsError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - what was begun is ended in order, also after a bug
            self._crash = error
        await self._end()
        self._let_go_of_signals()
        summary = self._info.summary(str(self._directory.journal)) if self._info.session_id else None
        return Outcome(summary, self._crash or self._failure, self._waiting.hurried)

    async def _make_steps(self) -> None:
        token = await self._obtain_session()
        runtime = self._runtime = self._prepare_runtime(token)
        denied = await self._ask_permissions(runtime)
        await self._choose_channels(runtime, denied)
        await self._begin(runtime)
        await self._record(runtime)

    # Whose session it is.

    @abstractmethod
    async def _obtain_session(self) -> cloud.Token:
        """Sees to a session, whose id is then known, and answers with the runtime's token for it."""

    @abstractmethod
    async def _confirm_begin(self, runtime: Runtime) -> str:
        """Returns when what the runtime has begun counts as recorded, with what is to be said of it."""

    @abstractmethod
    def _start_pipelines(self, streams: Sequence[lifecycle.Stream]) -> None:
        """The session records these, and is recorded: has them transcribed and described."""

    @abstractmethod
    def _write_info(self) -> None:
        """Something is known that was not before: tells other programs."""

    @abstractmethod
    async def _end_pipelines(self) -> None:
        """The end has begun: no pipeline is started any more."""

    @abstractmethod
    async def _end_session(self, *, asked: bool) -> None:
        """The runtime is closed; sees to what is left of the session that it has tried to begin.

        Args:
            asked: the runtime has said that it stopped it.
        """

    @abstractmethod
    async def _end_listener(self) -> None:
        """Ends the listener that was started for this, if any was: the last of all."""

    @abstractmethod
    def _drop_listener(self) -> None:
        """Tells that listener to end, and does not wait: the process leaves at once."""

    # Files and signals.

    def _open_files(self) -> None:
        directory = self._directory
        try:
            files.replace_file(directory.capture_pid, str(os.getpid()).encode())
        except OSError as error:
            raise files.unusable(directory.capture_pid, error) from error
        self._writer = writer.JournalWriter(
            append.Journal(directory, clock_ms=files.wall_ms),
            hold_bytes=_HOLD_BYTES,
            sync_seconds=1.0,
            clock_ms=files.wall_ms,
        )

    def _journal_size(self) -> int:
        return self._directory.journal.stat().st_size if self._directory.journal.exists() else 0

    def _begin_to_follow(self, start: int) -> None:
        threading.Thread(target=self._follow, args=(start,), daemon=True).start()

    def _handle_signals(self) -> None:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Whoever has it ignored, as `nohup` does, wants it so.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue
            self._handled.append(number)
            try:
                self._loop.add_signal_handler(number, self._interrupt, number)
            except NotImplementedError:  # Windows' event loop knows no signals
                signal.signal(number, lambda n, _: self._loop.call_soon_threadsafe(self._interrupt, n))

    def _let_go_of_signals(self) -> None:
        """All is done: one more signal changes nothing, unless the summary finds nobody who reads it."""
        seen: list[int] = []

        def handle(number: int, _: object) -> None:
            seen.append(number)
            if len(seen) > 1:
                os._exit(128 + number)

        for number in self._handled:
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            signal.signal(number, handle)

    def _interrupt(self, number: int) -> None:
        self._waiting.request_stop()
        if self._waiting.stop_requests == 1:
            self._say("asked to end: ending the session in order (once more skips the waiting)")
        elif self._waiting.stop_requests == 2:  # noqa: PLR2004 - one ends, one skips the waiting, one leaves
            self._say("skipping the waiting (once more leaves everything as it is)")
        else:
            self._leave_at_once(number)

    def _leave_at_once(self, number: int) -> None:
        with contextlib.suppress(OSError, VdbeventsError):
            self._drop_listener()
        with contextlib.suppress(OSError):
            files.remove_file(self._directory.capture_pid)
        self._observer.abandon()
        os._exit(128 + number)

    def _fail(self, error: VdbeventsError) -> None:
        # The first failure is the cause; what follows from it is only said.
        if self._failure is None:
            self._failure = error
            self._info.error = error.message
        else:
            self._say(error.message, problem=True, hint=error.hint)

    def _set_phase(self, phase: str) -> None:
        self._info.phase = phase
        self._phase_changed.set()
        self._waiting.notify()

    async def _call(self, call: Callable[[], _Answer]) -> _Answer:
        """A call of the API within a step: made again while it fails for a passing reason."""
        pause = self._waiting.cancelled.wait
        again = partial(cloud.persist, call, self._limits.step, pause=pause)
        return await self._waiting.unless_stopping(self._waiting.in_thread(again))

    def _begin_task(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]]) -> None:
        task = self._loop.create_task(work)
        group.add(task)
        task.add_done_callback(partial(self._task_ended, group))

    def _task_ended(self, group: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        group.discard(task)
        # A task that dies unseen would leave a capture that does a part of its work.
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, VdbeventsError):
                self._fail(error)
            else:
                self._crash = self._crash or error
            self._waiting.abort_steps()

    def _follow(self, start: int) -> None:
        def wait() -> bool:
            return not self._tail_ended.wait(_FOLLOW_SECONDS)

        try:
            for line in reader.follow(self._directory.journal, from_end=False, wait=wait, start=start):
                event = envelope.parse_line(line)
                if event is not None:
                    self._loop.call_soon_threadsafe(self._take, event)
        except OSError as error:
            # What it would have told is asked for.
            self._say(f"the journal cannot be read: {error.strerror or error}", problem=True)
        except RuntimeError:
            return  # the loop has ended

    def _take(self, event: Mapping[str, Any]) -> None:
        session_id = self._info.session_id
        if not session_id:
            # What is told of a session may overtake the answer that names it.
            if lifecycle.lifecycle_of(event) is not None:
                self._early.append(event)
            return
        self._take_early()
        self._info.tally.take(event, session_id)
        if event.get("event") == "listener.rebound" and isinstance(event.get("data"), Mapping):
            self._info.apply_rebinding(event["data"])
        life = lifecycle.lifecycle_of(event)
        if life is None or not session_id or life.session_id != session_id:
            return
        if life.status == "exported":
            self._life.take_export(cloud.export_from(life.data))
        self._move(life.status, life.streams, life.error)

    def _take_early(self) -> None:
        """Takes what was told before it was known whose it is."""
        early, self._early = self._early, []
        for event in early:
            self._take(event)

    def _move(self, status: str, streams: Sequence[lifecycle.Stream] = (), error: str = "") -> None:
        new = self._life.take(status, streams, error)
        self._info.tally.expect(new)
        if new and self._info.phase == "recording":
            self._start_pipelines(new)
        self._waiting.notify()

    def _prepare_runtime(self, token: cloud.Token) -> Runtime:
        runtime = Runtime(cloud.capture_client(token, self._options.base_url), self._runtime_event)
        runtime.ended.add_done_callback(self._runtime_ended)
        return runtime

    async def _ask_permissions(self, runtime: Runtime) -> list[str]:
        """The kinds of channel that may not be recorded."""
        wanted = self._options.wanted
        needed: dict[str, tuple[str, ...]] = {}
        if wanted.mic:
            needed["microphone"] = ("mic",)
        if wanted.system_audio or wanted.display != "none":
            # What a machine plays is recorded along with its screen, under one permission.
            needed["screen_capture"] = ("display", "system_audio")
        denied: list[str] = []
        for permission, kinds in needed.items():
            asking = runtime.permit(permission, self._limits.permission)
            if await self._waiting.unless_stopping(asking):
                continue
            message = f"the permission {permission.replace('_', ' ')} is denied"
            if self._options.require_all:
                raise CaptureError(message, where_to_grant(permission))
            self._say(message, problem=True, hint=where_to_grant(permission))
            denied += kinds
        return denied

    async def _choose_channels(self, runtime: Runtime, denied: Sequence[str]) -> None:
        available = await self._waiting.unless_stopping(runtime.channels(self._limits.step))
        choices, remarks = selection.choose(self._options.wanted, available, denied)
        for remark in remarks:
            if self._options.require_all:
                raise CaptureError(remark, "see what there is: vdbevents channels")
            self._say(remark, problem=True)
        if not choices:
            raise CaptureError(
                "there is nothing to record: no channel is left",
                "see what there is with: vdbevents channels, and grant the permissions that were denied",
            )
        self._info.choices = choices
        kept = [choice.channel.id for choice in choices if choice.store]
        stored = f"; kept for the video: {', '.join(kept)}" if kept else "; nothing of it is kept"
        self._say(f"recording {', '.join(choice.channel.id for choice in choices)}{stored}")
        self._write_info()

    def _runtime_event(self, name: str, payload: Any) -> None:  # noqa: ANN401 - whatever the runtime tells
        self._append(name, payload, envelope.CAPTURE_CHANNEL)
        if name in ("recording:error", "error"):
            reason = lifecycle.error_in(payload) or "it gives no reason"
            self._say(f"the capture runtime reports an error: {reason}", problem=True)

    def _runtime_ended(self, ended: "asyncio.Future[int | None]") -> None:
        self._append("runtime:ended", {"code": ended.result()}, envelope.CAPTURE_CHANNEL)
        self._waiting.notify()

    def _append(self, event: str, data: Any, channel: str = fields.OWN_CHANNEL) -> None:  # noqa: ANN401
        session = {"capture_session_id": self._info.session_id}
        told = {**data, **session} if isinstance(data, Mapping) else {"payload": data, **session}
        try:
            made = envelope.own_record(event, told, files.wall_ms(), channel)
        except TypeError:  # what the runtime says may be no text that can be written
            told = {"payload": ascii(data), **session}
            made = envelope.own_record(ascii(event), told, files.wall_ms(), channel)
        self._writer.put(made.line, channel)

    async def _begin(self, runtime: Runtime) -> None:
        self._start_tried = True
        self._set_phase("starting")
        await self._waiting.unless_stopping(
            runtime.start(self._info.session_id, self._info.choices, self._limits.step)
        )
        self._records = True
        told = await self._confirm_begin(runtime)
        self._info.began_ms, self._info.recording_since = files.wall_ms(), time.monotonic()
        self._set_phase("recording")
        self._append("capture.started", self._told_of_session())
        self._write_info()
        self._say(told)
        self._start_pipelines(self._life.streams)

    def _check_that_it_runs(self, runtime: Runtime) -> None:
        if self._life.status == "failed":
            raise CaptureError(f"the session failed: {self._life.error or 'the server gives no reason'}")
        if runtime.ended.done():
            raise CaptureError(
                f"the capture runtime has ended by itself (exit code {runtime.ended.result()})",
                "start the recording anew; its last words: "
                f"vdbevents query {self._directory.path} --channel capture_client",
            )

    async def _record(self, runtime: Runtime) -> None:
        seconds = self._options.duration
        over = self._waiting.until(
            lambda: runtime.ended.done() or self._life.is_over, _FOR_EVER if seconds is None else seconds
        )
        if not await self._waiting.unless_stopping(over):
            self._say(f"recorded for {seconds:g} s: ending the session")
            return
        self._check_that_it_runs(runtime)
        self._say("the session has ended by itself")

    async def _end(self) -> None:
        self._waiting.abort_steps()
        if self._info.began_ms is not None:
            self._info.ended_ms = files.wall_ms()
        if self._failure is not None and self._info.session_id:
            self._say(f"{self._failure.message}: ending what was begun", problem=True)
        self._set_phase("stopping")
        for step in (
            self._end_pipelines,
            self._end_recording,
            self._end_tasks,
            self._tell_end,
            self._end_listener,
        ):
            try:
                await step()
            except VdbeventsError as error:
                self._fail(error)
            except Exception as error:  # noqa: BLE001 - a bug in one step is no reason to leave out the others
                self._crash = self._crash or error
        self._tail_ended.set()
        with contextlib.suppress(OSError):
            files.remove_file(self._directory.capture_pid)

    async def _end_recording(self) -> None:
        asked = await end_runtime(
            self._runtime,
            self._waiting,
            self._say,
            self._limits.step,
            recording=self._records and not self._life.is_over,
        )
        if self._start_tried:
            await self._end_session(asked=asked)

    async def _end_tasks(self) -> None:
        await cancelled(self._tasks)

    async def _tell_end(self) -> None:
        self._info.pipelines = [plan.mark_stopped(pipeline) for pipeline in self._info.pipelines]
        self._info.runtime_pid = None
        self._set_phase("failed" if self._failure or self._crash else "ended")
        if self._info.session_id:
            self._append("capture.ended", self._told_of_session())
            self._write_info()
        # Before the listener says its last word.
        unwritten = await self._waiting.in_thread(partial(self._writer.close, _LAST_WRITE_SECONDS))
        if unwritten:
            reason = self._writer.trouble or "the disk does not answer"
            self._say(f"{unwritten} lines of the runtime could not be written: {reason}", problem=True)

    def _told_of_session(self) -> dict[str, Any]:
        return {
            "status": self._life.status or None,
            "streams": self._info.streams,
            "error": self._info.error or None,
        }


async def cancelled(tasks: set[asyncio.Task[None]]) -> None:
    """Ends tasks, and waits a moment for it."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=_LAST_WRITE_SECONDS)
