"""A capture from its first step to its last: listener, session, permissions, channels, pipelines, video.

Whatever happens on the way, it ends in order: the session on the server, the runtime, and the files.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from vdbevents import __version__, cloud, journal, record
from vdbevents.capture import pipelines as p, plan
from vdbevents.capture.ending import SessionEnd
from vdbevents.capture.info import CaptureInfo, left_running, merged
from vdbevents.capture.runtime import Runtime, where_to_grant
from vdbevents.capture.waiting import AskedToEnd, Waiting
from vdbevents.errors import (
    CaptureError,
    InputError,
    ListenerStateError,
    ServiceRefusedError,
    ServiceUnreachableError,
    VdbeventsError,
)

_Answer = TypeVar("_Answer")

_FOLLOW_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 2.0
_CALM_POLL_SECONDS: Final = 15.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_LAST_WRITE_SECONDS: Final = 2.0
_LISTENER_SECONDS: Final = 10.0
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


class OwnListener(Protocol):
    """A listener that a capture may start for itself."""

    def start(self, cancelled: threading.Event) -> None:
        """Returns when it is connected; gives up when the event is set."""

    def stop(self, seconds: float) -> bool:
        """Ends it if it was started and is still there, and says whether it was; 0 s does not wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each step may take, in seconds."""

    step: float = 30.0
    permission: float = 120.0
    active: float = 60.0
    export: float = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to capture, and where.

    Attributes:
        directory: the state directory; it exists.
        account: the API, with the limit of one call.
        base_url: for the runtime.
        runtime: another one than VideoDB's own, or None.
        listener: to be started where none runs; None: refuse to go on without one.
        require_all: a denied permission or a missing device ends the capture.
        token_seconds: how long the client token is good.
        duration: seconds to record, None until a signal.
    """

    directory: journal.StateDirectory
    account: cloud.Account
    base_url: str
    end_user_id: str
    collection_id: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict)
    token_seconds: int = 86_400
    runtime: Path | None = None
    wanted: plan.Wanted = field(default_factory=plan.Wanted)
    pipelines: plan.PipelineSettings = field(default_factory=plan.PipelineSettings)
    require_all: bool = False
    duration: float | None = None
    limits: Limits = field(default_factory=Limits)
    listener: OwnListener | None = None


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


def capture(options: Options, observer: Observer) -> Outcome:
    """Records a session until its duration is over, a signal asks to end, or it ends by itself.

    Raises:
        CaptureError: there is no runtime, or another capture has this directory. Nothing was touched.
        InputError: the directory's files cannot be written.
    """
    cloud.find_runtime(options.runtime)
    directory = options.directory
    lock = journal.ProcessLock(directory.capture_lock, lambda: journal.already_capturing(directory))
    try:
        return asyncio.run(_Capture(options, observer).run())
    finally:
        lock.release()


class _Capture:
    def __init__(self, options: Options, observer: Observer) -> None:
        self._options = options
        self._directory = options.directory
        self._account = options.account
        self._limits = options.limits
        self._observer = observer
        self._say = observer.say
        self._info = CaptureInfo(
            options.end_user_id, options.collection_id, options.metadata, options.pipelines.alerts
        )
        self._life = self._info.life
        self._runtime: Runtime | None = None
        self._start_tried = self._records = self._has_own_listener = False
        self._failure: VdbeventsError | None = None
        self._crash: BaseException | None = None
        self._info_trouble = ""
        self._handled: list[signal.Signals] = []
        self._tail_ended = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pipeline_tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Outcome:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(cloud.DaemonThreads())
        self._waiting = Waiting()
        self._phase_changed = asyncio.Event()
        self._event_guard = asyncio.Lock()
        self._observer.watch(self._info)
        self._handle_signals()
        self._open_files()
        try:
            await self._make_steps()
        except AskedToEnd:
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
        await self._find_listener()
        await self._end_leftovers()
        token = await self._create_session()
        runtime = self._runtime = self._prepare_runtime(token)
        denied = await self._ask_permissions(runtime)
        await self._choose_channels(runtime, denied)
        await self._begin(runtime)
        self._start_pipelines(self._life.streams)
        await self._record(runtime)

    def _open_files(self) -> None:
        directory = self._directory
        self._leftovers = left_running(journal.read_object(directory.capture_info))
        try:
            journal.replace_file(directory.capture_pid, str(os.getpid()).encode())
        except OSError as error:
            raise journal.unusable(directory.capture_pid, error) from error
        self._writer = journal.JournalWriter(
            journal.Journal(directory, clock_ms=journal.wall_ms),
            hold_bytes=_HOLD_BYTES,
            sync_seconds=1.0,
            clock_ms=journal.wall_ms,
        )

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
        self._waiting.ask_to_end()
        if self._waiting.times_asked == 1:
            self._say("asked to end: ending the session in order (once more skips the waiting)")
        elif self._waiting.times_asked == 2:  # noqa: PLR2004 - one ends, one skips the waiting, one leaves
            self._say("skipping the waiting (once more leaves everything as it is)")
        else:
            self._leave_at_once(number)

    def _leave_at_once(self, number: int) -> None:
        with contextlib.suppress(OSError, VdbeventsError):
            if self._options.listener is not None:
                self._options.listener.stop(0)
        with contextlib.suppress(OSError):
            journal.remove_file(self._directory.capture_pid)
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
        return await self._waiting.unless_asked(self._waiting.in_thread(again))

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
            self._waiting.refuse_steps()

    # 1. The listener.

    async def _find_listener(self) -> None:
        directory = self._directory
        journal_size = directory.journal.stat().st_size if directory.journal.exists() else 0
        if journal.listener_runs(directory) or not await self._start_listener():
            self._say(f"a listener records into {directory.path} (PID {journal.listener_pid(directory)})")
        self._info.ws_id = await self._waiting.unless_asked(self._connection_id())
        self._say(f"the listener is connected as {self._info.ws_id}")
        threading.Thread(target=self._follow, args=(journal_size,), daemon=True).start()

    async def _start_listener(self) -> bool:
        """Starts one; False where another was faster, and serves as well."""
        own = self._options.listener
        if own is None:
            raise ListenerStateError(
                f"no listener runs on {self._directory.path}",
                f"start one with: vdbevents listen {self._directory.path}, or leave out --no-listen",
            )
        self._say(f"starting a listener on {self._directory.path}")
        try:
            # Not left in the middle, whatever signal comes: what it has started has to be known, to be ended.
            await self._waiting.in_thread(partial(own.start, self._waiting.cancelled))
        except ListenerStateError:
            if not journal.listener_runs(self._directory):
                raise
            return False
        self._has_own_listener = True
        return True

    async def _connection_id(self) -> str:
        deadline = self._loop.time() + self._limits.step
        while not (ws_id := journal.read_small_file(self._directory.ws_id)):
            if self._loop.time() > deadline:
                raise ServiceUnreachableError(
                    f"the listener has not been connected for {self._limits.step:g} s",
                    f"see why with: vdbevents status {self._directory.path}",
                )
            await asyncio.sleep(_FOLLOW_SECONDS)
        return ws_id

    def _follow(self, start: int) -> None:
        def wait() -> bool:
            return not self._tail_ended.wait(_FOLLOW_SECONDS)

        try:
            for line in journal.follow(self._directory.journal, from_end=False, wait=wait, start=start):
                event = record.parse_line(line)
                if event is not None:
                    self._loop.call_soon_threadsafe(self._take, event)
        except OSError as error:
            # What it would have told is asked for.
            self._say(f"the journal cannot be read: {error.strerror or error}", problem=True)
        except RuntimeError:
            return  # the loop has ended

    def _take(self, event: Mapping[str, Any]) -> None:
        session_id = self._info.session_id
        self._info.tally.take(event, session_id)
        if event.get("event") == "listener.rebound" and isinstance(event.get("data"), Mapping):
            self._info.take_binding(event["data"])
        life = record.lifecycle_of(event)
        if life is None or not session_id or life.session_id != session_id:
            return
        if life.status == "exported":
            self._life.take_export(cloud.export_from(life.data))
        self._move(life.status, life.streams, life.error)

    def _move(self, status: str, streams: Sequence[record.Stream] = (), error: str = "") -> None:
        new = self._life.take(status, streams, error)
        self._info.tally.expect(new)
        if new and self._info.phase == "recording":
            self._start_pipelines(new)
        self._waiting.notify()

    async def _watch_listener(self) -> None:
        """A recording that nobody writes down is worth a word."""
        runs = True
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with contextlib.suppress(InputError):
                before, runs = runs, journal.listener_runs(self._directory)
                if before and not runs:
                    self._say(
                        f"no listener runs on {self._directory.path} any more: nothing is written down",
                        problem=True,
                        hint=f"start one with: vdbevents listen {self._directory.path}",
                    )

    # 2. The session.

    async def _end_leftovers(self) -> None:
        """A capture that was killed has left its session running, and paid for, on the server."""
        for session_id, collection_id in self._leftovers:
            try:
                session = await self._call(partial(self._account.get_session, session_id, collection_id))
                if session.status in ("starting", "active"):
                    self._say(f"an earlier capture has left its session {session_id} running: ending it")
                    await self._call(partial(self._account.stop_session, session_id))
            except (InputError, ServiceRefusedError):
                continue  # it is not there any more, or never was
            except ServiceUnreachableError as error:
                self._info.unended.append((session_id, collection_id))
                self._say(f"{session_id}: {error.message}", problem=True, hint="the next capture tries again")

    async def _create_session(self) -> cloud.Token:
        options = self._options
        create = partial(
            self._account.create_session,
            options.end_user_id,
            options.collection_id,
            self._info.ws_id,
            options.metadata,
        )
        session = await self._call(create)
        self._info.session_id, self._info.collection_id = session.id, session.collection_id
        self._move(session.status or "created")
        self._say(f"session {session.id} for {options.end_user_id}")
        self._write_info()
        token = await self._call(partial(self._account.create_token, options.token_seconds))
        self._info.token_expires_ms = token.expires_ms
        self._write_info()
        self._begin_task(self._poll_for_ever(), self._tasks)
        self._begin_task(self._watch_listener(), self._tasks)
        return token

    async def _poll_for_ever(self) -> None:
        """Asks for what an event that never comes would have told."""
        while True:
            calm = self._info.phase in ("preparing", "recording")
            seconds = _CALM_POLL_SECONDS if calm else min(_POLL_SECONDS, self._limits.step / 4)
            self._phase_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._phase_changed.wait()
                    continue
            if self._start_tried:
                ask = partial(self._account.get_session, self._info.session_id, self._info.collection_id)
                with contextlib.suppress(VdbeventsError):
                    session = await self._waiting.in_thread(ask)
                    self._move(session.status, session.streams, session.error)

    # 3. and 4. Permissions and channels.

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
            if await self._waiting.unless_asked(asking):
                continue
            message = f"the permission {permission.replace('_', ' ')} is denied"
            if self._options.require_all:
                raise CaptureError(message, where_to_grant(permission))
            self._say(message, problem=True, hint=where_to_grant(permission))
            denied += kinds
        return denied

    async def _choose_channels(self, runtime: Runtime, denied: Sequence[str]) -> None:
        available = await self._waiting.unless_asked(runtime.channels(self._limits.step))
        choices, remarks = plan.choose(self._options.wanted, available, denied)
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
        self._append(name, payload, record.CAPTURE_CHANNEL)
        if name in ("recording:error", "error"):
            reason = record.error_in(payload) or "it gives no reason"
            self._say(f"the capture runtime reports an error: {reason}", problem=True)

    def _runtime_ended(self, ended: "asyncio.Future[int | None]") -> None:
        self._append("runtime:ended", {"code": ended.result()}, record.CAPTURE_CHANNEL)
        self._waiting.notify()

    def _append(self, event: str, data: Any, channel: str = record.OWN_CHANNEL) -> None:  # noqa: ANN401
        session = {"capture_session_id": self._info.session_id}
        told = {**data, **session} if isinstance(data, Mapping) else {"payload": data, **session}
        try:
            made = record.own_record(event, told, journal.wall_ms(), channel)
        except TypeError:  # what the runtime says may be no text that can be written
            told = {"payload": ascii(data), **session}
            made = record.own_record(ascii(event), told, journal.wall_ms(), channel)
        self._writer.put(made.line, channel)

    # 5. The recording begins.

    async def _begin(self, runtime: Runtime) -> None:
        life, session_id, active_seconds = self._life, self._info.session_id, self._limits.active
        self._start_tried = True
        self._set_phase("starting")
        await self._waiting.unless_asked(runtime.start(session_id, self._info.choices, self._limits.step))
        self._records = True
        begun = self._waiting.until(
            lambda: life.status == "active" or life.is_over or runtime.ended.done(), active_seconds
        )
        await self._waiting.unless_asked(begun)
        self._check_that_it_runs(runtime)
        if life.status != "active":
            raise CaptureError(
                f"the session has not become active in {active_seconds:g} s: it is {life.status}",
                "see whether the network lets video out, or give it longer: --active-timeout",
            )
        if not life.streams:
            ask = partial(self._account.get_session, session_id, self._info.collection_id)
            session = await self._call(ask)
            self._move(session.status, session.streams)
        self._info.began_ms, self._info.recording_since = journal.wall_ms(), time.monotonic()
        self._set_phase("recording")
        self._append("capture.started", self._told_of_session())
        self._write_info()
        self._say(f"active: {', '.join(stream.name for stream in life.streams)}")

    def _check_that_it_runs(self, runtime: Runtime) -> None:
        if self._life.status == "failed":
            raise CaptureError(f"the session failed: {self._life.error or 'the server gives no reason'}")
        if runtime.ended.done():
            raise CaptureError(
                f"the capture runtime has ended by itself (exit code {runtime.ended.result()})",
                "start the recording anew; its last words: "
                f"vdbevents query {self._directory.path} --channel capture_client",
            )

    # 6. Pipelines.

    def _start_pipelines(self, streams: Sequence[record.Stream]) -> None:
        settings, found = self._options.pipelines, self._info.pipelines
        if not self._life.streams:
            self._say("the session has no streams: nothing is transcribed or described", problem=True)
        first = len(found)
        found += plan.pipelines_for(streams, settings)
        if settings.alerts and not first and all(pipeline.kind == "transcript" for pipeline in found):
            self._say("there is no index that the alerts could watch: they are left out", problem=True)
        for position in range(first, len(found)):
            self._begin_task(self._run_pipeline(position), self._pipeline_tasks)

    async def _run_pipeline(self, position: int) -> None:
        """Starts a pipeline and its alerts, for as long as the recording goes on."""
        pause, complained = 1.0, ""
        while True:
            pipeline = self._info.pipelines[position]
            try:
                await self._start_pipeline(position, again=bool(complained))
            except VdbeventsError as error:
                refused = not isinstance(error, ServiceUnreachableError) and pipeline.status != "running"
                status = "failed" if refused else self._info.pipelines[position].status
                self._note(
                    position, replace(self._info.pipelines[position], status=status, error=error.message)
                )
                if error.message != complained:
                    self._say(
                        f"the {pipeline.title}: {error.message}; trying again, the others go on",
                        problem=True,
                        hint=error.hint if refused else "",
                    )
                complained = error.message
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                return

    async def _start_pipeline(self, position: int, *, again: bool) -> None:
        pipeline = self._info.pipelines[position]
        if pipeline.status != "running":
            # An attempt that got no answer may have bound it, for good: all of them name the same connection.
            ws_id = pipeline.ws_id or self._current_ws_id()
            self._info.pipelines[position] = replace(pipeline, ws_id=ws_id)
            name = p.index_name(pipeline.kind, self._info.session_id)
            start = partial(p.start_pipeline, self._account, pipeline, ws_id=ws_id, name=name, again=again)
            pipeline = await self._waiting.in_thread(start)
            self._note(position, pipeline)
            self._say(f"started the {pipeline.title}")
        if pipeline.kind == "transcript" or not self._options.pipelines.alerts:
            return
        while not self._note(position, await self._with_alerts(self._info.pipelines[position])):
            """The listener has bound it anew meanwhile, as another index."""

    def _current_ws_id(self) -> str:
        return journal.read_small_file(self._directory.ws_id) or self._info.ws_id

    async def _with_alerts(self, pipeline: plan.Pipeline) -> plan.Pipeline:
        alerts, event_ids = self._options.pipelines.alerts, self._info.event_ids
        async with self._event_guard:
            for label, prompt in alerts:
                if label not in event_ids:
                    find = partial(p.find_event, self._account, label, prompt)
                    event_ids[label] = await self._waiting.in_thread(find)
        events = [(label, event_ids[label]) for label, _ in alerts]
        stream_id, ws_id = pipeline.stream.id, self._current_ws_id()
        attach = partial(p.attach_alerts, self._account, stream_id, pipeline.id, events, ws_id)
        attached = await self._waiting.in_thread(attach)
        self._say(f"alerts on the {pipeline.title}: {', '.join(attached)}")
        return replace(pipeline, alerts=attached, error="")

    def _note(self, position: int, pipeline: plan.Pipeline) -> bool:
        """Takes note of how a pipeline is; False where it is another one by now."""
        if self._info.pipelines[position].bindings > pipeline.bindings:
            return False
        self._info.pipelines[position] = pipeline
        self._write_info()
        return True

    # 8. Recording.

    async def _record(self, runtime: Runtime) -> None:
        seconds = self._options.duration
        over = self._waiting.until(
            lambda: runtime.ended.done() or self._life.is_over, _FOR_EVER if seconds is None else seconds
        )
        if not await self._waiting.unless_asked(over):
            self._say(f"recorded for {seconds:g} s: ending the session")
            return
        self._check_that_it_runs(runtime)
        self._say("the session has ended by itself")

    # 9. The end.

    async def _end(self) -> None:
        self._waiting.refuse_steps()
        if self._info.began_ms is not None:
            self._info.ended_ms = journal.wall_ms()
        if self._failure is not None and self._info.session_id:
            self._say(f"{self._failure.message}: ending what was begun", problem=True)
        self._set_phase("stopping")
        for step in (
            self._end_pipelines,
            self._end_session,
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
            journal.remove_file(self._directory.capture_pid)

    async def _end_pipelines(self) -> None:
        await _cancelled(self._pipeline_tasks)
        if self._info.session_id:
            self._write_info()

    async def _end_session(self) -> None:
        end = SessionEnd(
            self._info,
            self._account,
            self._waiting,
            self._say,
            self._limits.step,
            self._limits.export,
            self._later,
        )
        if not self._start_tried:
            await end.close(self._runtime)
            return
        await end.stop(self._runtime, recording=self._records)
        stored = any(choice.store for choice in self._info.choices)
        stopped = self._life.status in ("stopped", "exported")
        if stored and stopped and self._info.began_ms is not None and not self._waiting.hurried:
            self._set_phase("exporting")
            self._write_info()
            await end.export()

    def _later(self, command: str) -> str:
        """The command that does later what was not done now."""
        collection = self._info.collection_id
        where = "" if collection == "default" else f" --collection {collection}"
        return f"vdbevents {command} {self._info.session_id}{where}"

    async def _end_tasks(self) -> None:
        await _cancelled(self._tasks)

    async def _tell_end(self) -> None:
        self._info.pipelines = [plan.stopped(pipeline) for pipeline in self._info.pipelines]
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

    async def _end_listener(self) -> None:
        own = self._options.listener
        if self._has_own_listener:
            await self._waiting.unless_hurried(self._gaps_filled())
        if own is not None and await self._waiting.in_thread(partial(own.stop, _LISTENER_SECONDS)):
            self._say("stopped the listener that was started for this")

    async def _gaps_filled(self) -> None:
        """Returns when the listener has fetched what it had missed, or cannot in a while."""
        deadline = self._loop.time() + self._limits.step
        told = False
        while journal.read_object(self._directory.listener_status).get("open_gaps"):
            if not told:
                self._say("the listener is fetching what it had missed")
                told = True
            if self._loop.time() > deadline:
                self._say(
                    "the listener has not yet fetched all that it had missed",
                    problem=True,
                    hint=f"the next one does: vdbevents listen {self._directory.path}",
                )
                return
            await asyncio.sleep(_FOLLOW_SECONDS)

    # What is written down.

    def _told_of_session(self) -> dict[str, Any]:
        return {"status": self._life.status, "streams": self._info.streams, "error": self._info.error or None}

    def _write_info(self) -> None:
        if self._runtime is not None and self._runtime.runs:
            self._info.runtime_pid = self._runtime.pid
        told = self._info.described(pid=os.getpid(), version=__version__, now_ms=journal.wall_ms())
        # A disk that does not answer must not keep a signal from being heard.
        self._writer.run(partial(self._replace_info, told))

    def _replace_info(self, told: Mapping[str, Any]) -> None:
        directory = self._directory
        try:
            # The listener writes it, too: it binds the pipelines anew when it has been connected anew.
            journal.change_object(directory.capture_info, directory.capture_info_lock, partial(merged, told))
        except OSError as error:
            reason = f"cannot write {self._directory.capture_info.name}: {error.strerror or error}"
            if reason != self._info_trouble:
                self._say(reason, problem=True, hint="make room: it is tried again with the next change")
            self._info_trouble = reason
        else:
            self._info_trouble = ""


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=_LAST_WRITE_SECONDS)
