"""A capture from its first step to its last: listener, session, permissions, channels, pipelines, video.

Whatever happens on the way, it ends in order: the session on the server, the runtime, and the files.
"""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from vdbevents import __version__, cloud, journal, record
from vdbevents.capture import pipelines as p, plan
from vdbevents.capture.runtime import Runtime, where_to_grant
from vdbevents.errors import (
    CaptureError,
    ListenerStateError,
    ServiceRefusedError,
    ServiceUnreachableError,
    VdbeventsError,
)

_Answer = TypeVar("_Answer")

_FOLLOW_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 2.0
_CALM_POLL_SECONDS: Final = 15.0
_EXPORT_BY_ITSELF_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 30.0
_FAREWELL_SECONDS: Final = 5.0
_HURRIED_SECONDS: Final = 2.0
_HOLD_BYTES: Final = 8 << 20

_STEPS: Final = ("created", "starting", "active", "stopping", "stopped", "exported")
_OVER: Final = frozenset({"stopping", "stopped", "exported", "failed"})


class Observer(Protocol):
    """Who is told what the capture does. Nothing here may block or raise."""

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """A step was made, or something went wrong."""

    def watch(self, progress: "Progress") -> None:
        """From now on `progress` tells how things are, whenever one looks."""


@dataclass(slots=True)
class Progress:
    """How a capture is going: for a live display.

    Attributes:
        phase: `preparing`, `starting`, `recording`, `stopping`, `exporting`, `ended`.
        recording_since: by the monotonic clock, once it records.
    """

    phase: str = "preparing"
    recording_since: float | None = None
    session_id: str = ""
    choices: Sequence[plan.Choice] = ()
    pipelines: list[plan.Pipeline] = field(default_factory=list)
    tally: plan.Tally = field(default_factory=plan.Tally)


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
        start_listener: starts one in the background and returns when it is connected; it gives up when the
            event is set. None: refuse to go on without one.
        stop_listener: ends the one that was started.
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
    start_listener: Callable[[threading.Event], None] | None = None
    stop_listener: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a capture ended.

    Attributes:
        summary: for stdout; None where no session came into being.
        failure: what went wrong, if anything did.
        interrupted: the waiting for the end was skipped.
    """

    summary: dict[str, Any] | None
    failure: VdbeventsError | None
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


class _AskedToEnd(Exception):  # noqa: N818 - it is no error
    """A signal came in the middle of a step."""


class _Capture:
    def __init__(self, options: Options, observer: Observer) -> None:
        self._options = options
        self._directory = options.directory
        self._account = options.account
        self._limits = options.limits
        self._observer = observer
        self._progress = Progress()
        self._tally = self._progress.tally
        self._token: cloud.Token | None = None
        self._collection_id = options.collection_id
        self._ws_id = ""
        self._owns_listener = False
        self._runtime: Runtime | None = None
        self._status = ""
        self._status_error = ""
        self._streams: tuple[record.Stream, ...] = ()
        self._export = cloud.Export("")
        self._crash: BaseException | None = None
        self._denied: list[str] = []
        self._runtime_started = False
        self._stopped_at: float | None = None
        self._start_tried = False
        self._began_ms: int | None = None
        self._ended_ms: int | None = None
        self._failure: VdbeventsError | None = None
        self._signals = 0
        self._phase_state = "starting"
        self._info_trouble = ""
        self._cancelled = threading.Event()
        self._tail_ended = threading.Event()

    # The whole.

    async def run(self) -> Outcome:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(cloud.DaemonThreads())
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._event_guard = asyncio.Lock()
        self._event_ids: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._observer.watch(self._progress)
        self._open_files()
        self._handle_signals()
        try:
            await self._make_steps()
        except _AskedToEnd:
            pass
        except VdbeventsError as error:
            self._fail(error)
        finally:
            await self._end()
        if self._crash is not None:
            raise self._crash
        return Outcome(
            self._summary() if self._progress.session_id else None, self._failure, self._signals > 1
        )

    async def _make_steps(self) -> None:
        await self._find_listener()
        await self._end_leftover()
        await self._create_session()
        await self._ask_permissions()
        await self._choose_channels()
        await self._begin()
        self._start_pipelines()
        await self._record()

    def _open_files(self) -> None:
        directory = self._directory
        self._leftover = journal.read_object(directory.capture_info)
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
            if not hasattr(signal, name):
                continue
            number = getattr(signal, name)
            try:
                self._loop.add_signal_handler(number, self._interrupt, number)
            except NotImplementedError:  # Windows' event loop knows no signals
                signal.signal(number, lambda n, _: self._loop.call_soon_threadsafe(self._interrupt, n))

    def _interrupt(self, number: int) -> None:
        self._signals += 1
        if self._signals > 2:  # noqa: PLR2004 - one to end, one to skip the waiting, one to end at once
            os._exit(128 + number)
        if self._signals == 1:
            self._say("asked to end: ending the session in order (once more skips the waiting)")
        self._cancelled.set()
        self._asked.set()
        self._changed.set()

    @property
    def _hurried(self) -> bool:
        return self._signals > 1

    def _fail(self, error: VdbeventsError) -> None:
        # The first failure is the cause; what follows from it is only said.
        if self._failure is None:
            self._failure = error
        else:
            self._say(error.message, problem=True, hint=error.hint)

    def _say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        self._observer.say(text, problem=problem, hint=hint)

    # Waiting.

    async def _in_thread(self, call: Callable[[], _Answer]) -> _Answer:
        return await self._loop.run_in_executor(None, call)

    async def _unless_asked(self, work: Awaitable[_Answer]) -> _Answer:
        """The outcome of some work; a signal to end comes first."""
        task = asyncio.ensure_future(work)
        asked = self._loop.create_task(self._asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_HURRIED_SECONDS)
            raise _AskedToEnd
        return task.result()

    async def _call(self, call: Callable[[], _Answer]) -> _Answer:
        """A call of the API within a step: made again while it fails for a passing reason."""
        return await self._unless_asked(
            self._in_thread(lambda: cloud.persist(call, self._limits.step, pause=self._cancelled.wait))
        )

    async def _until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Whether something came to be within a time; looked at whenever anything has changed."""
        deadline = self._loop.time() + seconds
        while not reached():
            left = deadline - self._loop.time()
            if left <= 0:
                return False
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which loses a cancellation that comes together with the event.
                async with asyncio.timeout(left):
                    await self._changed.wait()
        return True

    def _begin_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = error
            self._asked.set()
            self._changed.set()

    # 1. The listener.

    async def _find_listener(self) -> None:
        directory = self._directory
        journal_size = directory.journal.stat().st_size if directory.journal.exists() else 0
        if journal.listener_runs(directory):
            self._say(f"a listener records into {directory.path} (PID {journal.listener_pid(directory)})")
        else:
            start = self._options.start_listener
            if start is None:
                raise ListenerStateError(
                    f"no listener runs on {directory.path}",
                    f"start one with: vdbevents listen {directory.path}, or leave out --no-listen",
                )
            self._say(f"starting a listener on {directory.path}")
            # Whatever becomes of it: from here on it is ours to end.
            self._owns_listener = True
            await self._unless_asked(self._in_thread(lambda: start(self._cancelled)))
        self._ws_id = await self._unless_asked(self._connection_id())
        self._say(f"the listener is connected as {self._ws_id}")
        self._tail = threading.Thread(target=self._follow, args=(journal_size,), daemon=True)
        self._tail.start()

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

        for line in journal.follow(self._directory.journal, from_end=False, wait=wait, start=start):
            event = record.parse_line(line)
            if event is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: Mapping[str, Any]) -> None:
        session_id = self._progress.session_id
        self._tally.take(event, session_id)
        life = record.lifecycle_of(event)
        if life is None or not session_id or life.session_id != session_id:
            return
        if life.status == "exported":
            self._export = cloud.export_from(life.data)
        self._move(life.status, life.streams, life.error)

    def _move(self, status: str, streams: Sequence[record.Stream], error: str = "") -> None:
        """Takes note of the session's status, forward only: answers and events overtake each other."""
        if status == "failed":
            self._status, self._status_error = status, error or self._status_error
        elif status in _STEPS and self._status != "failed":
            known = _STEPS.index(self._status) if self._status in _STEPS else -1
            self._status = _STEPS[max(known, _STEPS.index(status))]
        if streams and not self._streams:
            self._streams = tuple(streams)
            self._tally.expect(streams)
        if self._status in ("stopped", "exported") and self._stopped_at is None:
            self._stopped_at = self._loop.time()
        self._changed.set()

    # 2. The session.

    async def _end_leftover(self) -> None:
        """A capture that was killed has left its session running, and paid for, on the server."""
        left = self._leftover
        session = left.get("session")
        session_id = session.get("id") if isinstance(session, dict) else None
        if left.get("status") in ("ended", "failed", None) or not isinstance(session_id, str):
            return
        self._say(f"the last capture ended without a word: ending its session {session_id}", problem=True)
        try:
            await self._call(lambda: self._account.stop_session(session_id))
        except ServiceRefusedError:
            pass  # it has ended already
        except ServiceUnreachableError as error:
            self._say(error.message, problem=True, hint=f"try: vdbevents session end {session_id}")

    async def _create_session(self) -> None:
        options = self._options
        session = await self._call(
            lambda: self._account.create_session(
                options.end_user_id, options.collection_id, self._ws_id, options.metadata
            )
        )
        self._progress.session_id = session.id
        self._collection_id = session.collection_id
        self._move(session.status or "created", ())
        self._say(f"session {session.id} for {options.end_user_id}")
        self._write_info()
        self._token = await self._call(lambda: self._account.create_token(options.token_seconds))
        self._write_info()
        self._begin_task(self._poll_for_ever())
        self._begin_task(self._watch_listener())

    async def _poll_for_ever(self) -> None:
        """Asks for what an event that never comes would have told."""
        while True:
            calm = self._progress.phase == "recording"
            await asyncio.sleep(_CALM_POLL_SECONDS if calm else min(_POLL_SECONDS, self._limits.step / 4))
            if self._start_tried:
                with contextlib.suppress(VdbeventsError):
                    await self._in_thread(self._poll)

    async def _watch_listener(self) -> None:
        """A recording that nobody writes down is worth a word."""
        while journal.listener_runs(self._directory):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(_POLL_SECONDS)
        self._say(
            f"no listener runs on {self._directory.path} any more: nothing is written down",
            problem=True,
            hint=f"start one with: vdbevents listen {self._directory.path}",
        )

    def _poll(self) -> None:
        session_id = self._progress.session_id
        session = self._account.get_session(session_id, self._collection_id)
        told = self._loop.call_soon_threadsafe
        told(self._move, session.status, session.streams, session.error)
        if self._progress.phase != "exporting" or self._export.status in ("exported", "failed"):
            return
        if session.export_status == "failed":
            told(self._take_export, cloud.Export("failed"))
            return
        waited = time.monotonic() - (self._stopped_at or time.monotonic())
        done = session.export_status == "exported" or bool(session.video_id)
        if done or (waited > _EXPORT_BY_ITSELF_SECONDS and session.status == "stopped"):
            told(self._take_export, self._account.export_session(session_id, self._collection_id))

    def _take_export(self, export: cloud.Export) -> None:
        if self._export.status != "exported":
            self._export = export
        self._changed.set()

    # 3. and 4. Permissions and channels.

    async def _ask_permissions(self) -> None:
        assert self._token is not None  # noqa: S101 - made in the step before
        wanted = self._options.wanted
        self._runtime = Runtime(
            cloud.capture_client(self._token, self._options.base_url), self._runtime_event
        )
        self._runtime.ended.add_done_callback(lambda _: self._runtime_ended())
        needed: dict[str, tuple[str, ...]] = {}
        if wanted.mic:
            needed["microphone"] = ("mic",)
        if wanted.system_audio or wanted.display != "none":
            # What a machine plays is recorded along with its screen, under one permission.
            needed["screen_capture"] = ("display", "system_audio")
        for permission, kinds in needed.items():
            if await self._unless_asked(self._runtime.permit(permission, self._limits.permission)):
                continue
            message = f"the permission {permission.replace('_', ' ')} is denied"
            if self._options.require_all:
                raise CaptureError(message, where_to_grant(permission))
            self._say(message, problem=True, hint=where_to_grant(permission))
            self._denied += kinds

    async def _choose_channels(self) -> None:
        available = await self._unless_asked(self._held_runtime.channels(self._limits.step))
        choices, remarks = plan.choose(self._options.wanted, available, self._denied)
        for remark in remarks:
            if self._options.require_all:
                raise CaptureError(remark, "see what there is: vdbevents channels")
            self._say(remark, problem=True)
        if not choices:
            raise CaptureError(
                "there is nothing to record: no channel is left",
                "see what there is with: vdbevents channels, and grant the permissions that were denied",
            )
        self._progress.choices = choices
        kept = [choice.channel.id for choice in choices if choice.store]
        stored = f"; kept for the video: {', '.join(kept)}" if kept else "; nothing of it is kept"
        self._say(f"recording {', '.join(choice.channel.id for choice in choices)}{stored}")
        self._write_info()

    @property
    def _held_runtime(self) -> Runtime:
        assert self._runtime is not None  # noqa: S101 - made in the step before
        return self._runtime

    def _runtime_event(self, name: str, payload: Any) -> None:  # noqa: ANN401 - whatever the runtime tells
        self._append(name, payload, record.CAPTURE_CHANNEL)
        if name in ("recording:error", "error"):
            reason = record.error_in(payload) or "it gives no reason"
            self._say(f"the capture runtime reports an error: {reason}", problem=True)

    def _runtime_ended(self) -> None:
        code = self._held_runtime.ended.result()
        self._append("runtime:ended", {"code": code}, record.CAPTURE_CHANNEL)
        self._changed.set()

    def _append(self, event: str, data: Any, channel: str = record.OWN_CHANNEL) -> None:  # noqa: ANN401
        session = {"capture_session_id": self._progress.session_id}
        told = {**data, **session} if isinstance(data, Mapping) else {"payload": data, **session}
        try:
            made = record.own_record(event, told, journal.wall_ms(), channel)
        except TypeError:  # what the runtime says may be no text that can be written
            made = record.own_record(event, {"payload": repr(data), **session}, journal.wall_ms(), channel)
        self._writer.put(made.line, channel)

    # 5. The recording begins.

    async def _begin(self) -> None:
        runtime, session_id = self._held_runtime, self._progress.session_id
        self._progress.phase = "starting"
        self._start_tried = True
        await self._unless_asked(runtime.start(session_id, self._progress.choices, self._limits.step))
        self._runtime_started = True
        known = frozenset({"active", *_OVER})
        await self._unless_asked(
            self._until(lambda: self._status in known or runtime.ended.done(), self._limits.active)
        )
        if self._status == "failed":
            raise CaptureError(f"the session failed: {self._status_error or 'the server gives no reason'}")
        if runtime.ended.done():
            raise self._runtime_death()
        if self._status != "active":
            if self._status in _OVER:
                raise CaptureError(f"the session has ended before it was active: it is {self._status}")
            raise CaptureError(
                f"the session has not become active in {self._limits.active:g} s: it is {self._status}",
                "see whether the network lets video out, or give it longer: --active-timeout",
            )
        self._began_ms = journal.wall_ms()
        self._progress.phase, self._progress.recording_since = "recording", time.monotonic()
        if not self._streams:
            await self._unless_asked(self._fetch_streams())
        self._append("capture.started", self._told_of_session())
        self._phase_state = "active"
        self._write_info()
        self._say(f"active: {', '.join(stream.name for stream in self._streams)}")

    async def _fetch_streams(self) -> None:
        session_id = self._progress.session_id
        session = await self._call(lambda: self._account.get_session(session_id, self._collection_id))
        self._move(session.status, session.streams)

    def _runtime_death(self) -> CaptureError:
        code = self._held_runtime.ended.result()
        return CaptureError(
            f"the capture runtime has ended by itself (exit code {code})",
            "start the recording anew; see its last words with: vdbevents query --channel capture_client",
        )

    # 6. Pipelines.

    def _start_pipelines(self) -> None:
        if not self._streams:
            self._say("the session has no streams: nothing is transcribed or described", problem=True)
        self._progress.pipelines = plan.pipelines_for(self._streams, self._options.pipelines)
        indexed = any(pipeline.kind != "transcript" for pipeline in self._progress.pipelines)
        if self._options.pipelines.alerts and not indexed:
            self._say("there is no index that the alerts could watch: they are left out", problem=True)
        for position in range(len(self._progress.pipelines)):
            self._begin_task(self._run_pipeline(position))

    async def _run_pipeline(self, position: int) -> None:
        wait, tries = 1.0, 0
        while True:
            pipeline = self._progress.pipelines[position]
            ws_id = journal.read_small_file(self._directory.ws_id) or self._ws_id
            name = f"vdbevents {pipeline.kind} {self._progress.session_id}"
            try:
                if pipeline.status != "running":
                    again = tries > 0
                    start = partial(p.start_pipeline, ws_id=ws_id, name=name, again=again)
                    pipeline = await self._in_thread(partial(start, self._account, pipeline))
                    self._note(position, pipeline)
                    self._say(f"started the {pipeline.title}")
                if pipeline.kind != "transcript" and self._options.pipelines.alerts:
                    self._note(position, await self._with_alerts(pipeline, ws_id))
            except ServiceRefusedError as error:
                running = pipeline.status == "running"
                status = "running" if running else "failed"
                self._note(position, replace(pipeline, status=status, error=error.message))
                what = f"alerts on the {pipeline.title}" if running else f"the {pipeline.title}"
                self._say(f"{what}: {error.message}; the others go on", problem=True, hint=error.hint)
            except ServiceUnreachableError as error:
                self._note(position, replace(pipeline, error=error.message))
                if not tries:
                    self._say(f"the {pipeline.title}: {error.message}; trying again", problem=True)
                tries += 1
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
                continue
            return

    async def _with_alerts(self, pipeline: plan.Pipeline, ws_id: str) -> plan.Pipeline:
        alerts = self._options.pipelines.alerts
        async with self._event_guard:
            for label, prompt in alerts:
                if label not in self._event_ids:
                    find = partial(p.find_event, self._account, label, prompt)
                    self._event_ids[label] = await self._in_thread(find)
        events = [(label, self._event_ids[label]) for label, _ in alerts]
        attached = await self._in_thread(
            lambda: p.attach_alerts(self._account, pipeline.stream.id, pipeline.id, events, ws_id)
        )
        self._say(f"alerts on the {pipeline.title}: {', '.join(attached)}")
        return replace(pipeline, alerts=attached, error="")

    def _note(self, position: int, pipeline: plan.Pipeline) -> None:
        self._progress.pipelines[position] = pipeline
        self._write_info()

    # 8. Recording.

    async def _record(self) -> None:
        runtime = self._held_runtime
        seconds = self._options.duration
        over = self._until(lambda: runtime.ended.done() or self._status in _OVER, seconds or 10**9)
        if not await self._unless_asked(over):
            self._say(f"recorded for {seconds:g} s: ending the session")
            return
        if self._status == "failed":
            raise CaptureError(f"the session failed: {self._status_error or 'the server gives no reason'}")
        if runtime.ended.done():
            raise self._runtime_death()
        self._say("the session has ended by itself")

    # 9. The end.

    async def _end(self) -> None:
        if self._failure is not None:
            self._say(f"{self._failure.message}: ending what was begun", problem=True)
        self._progress.phase = "stopping"
        self._phase_state = "stopping"
        self._cancelled.set()
        self._asked.set()
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._stop_session,
            self._close_runtime,
            self._await_stopped,
            self._await_export,
            self._end_tasks,
        )
        for step in steps:
            try:
                await step()
            except VdbeventsError as error:
                self._fail(error)
        self._progress.phase = "ended"
        self._progress.pipelines = [plan.stopped(pipeline) for pipeline in self._progress.pipelines]
        if self._progress.session_id:
            self._phase_state = "failed" if self._failure else "ended"
            self._append("capture.ended", self._told_of_session())
            self._write_info()
        await self._stop_listener()
        self._tail_ended.set()
        await self._in_thread(lambda: self._writer.close(_HURRIED_SECONDS))
        journal.remove_file(self._directory.capture_pid)

    async def _stop_session(self) -> None:
        if self._began_ms is not None:
            self._ended_ms = journal.wall_ms()
        if not self._start_tried or self._status in _OVER:
            return
        self._write_info()
        seconds = _HURRIED_SECONDS if self._hurried else self._limits.step
        if self._runtime is not None and self._runtime.runs and self._runtime_started:
            try:
                await self._unless_hurried(self._runtime.stop(seconds))
            except CaptureError as error:
                self._say(error.message, problem=True)
            else:
                return
        await self._stop_over_rest()

    async def _stop_over_rest(self) -> None:
        session_id = self._progress.session_id
        limit = _HURRIED_SECONDS if self._hurried else self._limits.step
        call = self._in_thread(lambda: cloud.persist(lambda: self._account.stop_session(session_id), limit))
        try:
            await asyncio.wait_for(call, limit + _HURRIED_SECONDS)
        except ServiceRefusedError as error:
            if self._status in ("", "created"):
                # It was never started: there is nothing to end.
                self._start_tried = False
                return
            raise ServiceRefusedError(
                f"the session {session_id} may still run on the server: {error.message}", error.hint
            ) from error
        except (VdbeventsError, TimeoutError) as error:
            reason = error.message if isinstance(error, VdbeventsError) else "the service does not answer"
            raise ServiceUnreachableError(
                f"the session {session_id} may still run on the server: {reason}",
                f"end it with: vdbevents session end {session_id}",
            ) from error

    async def _unless_hurried(self, work: Awaitable[None]) -> None:
        """Some work of the end; a second signal skips it."""
        task = asyncio.ensure_future(work)
        while not task.done() and not self._hurried:
            self._changed.clear()
            changed = self._loop.create_task(self._changed.wait())
            await asyncio.wait({task, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_HURRIED_SECONDS)
            return
        task.result()

    async def _close_runtime(self) -> None:
        if self._runtime is not None:
            await self._runtime.close(_HURRIED_SECONDS if self._hurried else _FAREWELL_SECONDS)

    async def _await_stopped(self) -> None:
        if not self._start_tried:
            return

        def over() -> bool:
            return self._hurried or self._status in ("stopped", "exported", "failed")

        if await self._until(over, self._limits.step):
            return
        if self._status == "stopping":
            raise CaptureError(
                f"the session has not stopped in {self._limits.step:g} s: it is {self._status}",
                f"look again later: vdbevents session show {self._progress.session_id}",
            )
        # Whoever should have ended it has not.
        await self._stop_over_rest()
        if not await self._until(over, self._limits.step):
            raise CaptureError(
                f"the session has not stopped in {self._limits.step:g} s: it is {self._status}",
                f"end it with: vdbevents session end {self._progress.session_id}",
            )

    async def _await_export(self) -> None:
        stored = any(choice.store for choice in self._progress.choices)
        if not stored or self._began_ms is None or self._hurried or self._status == "failed":
            return
        if self._status not in ("stopped", "exported"):
            return
        self._progress.phase = "exporting"
        self._say("the session has stopped; waiting for its video")
        await self._until(
            lambda: self._hurried or self._export.status in ("exported", "failed"), self._limits.export
        )
        session_id = self._progress.session_id
        if self._export.status == "exported":
            self._say(f"exported: video {self._export.video_id}, {self._export.player_url}")
        elif self._export.status == "failed":
            raise CaptureError(
                "the export of the video failed", f"try it again: vdbevents session export {session_id}"
            )
        elif not self._hurried:
            raise CaptureError(
                f"the video has not been exported in {self._limits.export:g} s",
                f"ask for it later: vdbevents session export {session_id}",
            )

    async def _end_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=_HURRIED_SECONDS)

    async def _stop_listener(self) -> None:
        if not self._owns_listener or not journal.listener_runs(self._directory):
            return
        try:
            await self._in_thread(self._options.stop_listener)
        except VdbeventsError as error:
            self._fail(error)
        else:
            self._say("stopped the listener that was started for this")

    # What is written down.

    def _told_of_session(self) -> dict[str, Any]:
        return {
            "status": self._status,
            "streams": [stream._asdict() for stream in self._streams],
            "error": None if self._failure is None else self._failure.message,
        }

    def _write_info(self) -> None:
        content = json.dumps(self._info(), ensure_ascii=False, indent=1).encode("utf-8", "replace")
        try:
            journal.replace_file(self._directory.capture_info, content)
        except OSError as error:
            reason = f"cannot write {self._directory.capture_info.name}: {error.strerror or error}"
            if reason != self._info_trouble:
                self._say(reason, problem=True, hint="make room: it is tried again with the next change")
            self._info_trouble = reason
        else:
            self._info_trouble = ""

    def _info(self) -> dict[str, Any]:
        """What `videodb_capture_info.json` says; docs/events-format.md is the normative text."""
        options = self._options
        return {
            "version": __version__,
            "pid": os.getpid(),
            "runtime_pid": None if self._runtime is None else self._runtime.pid,
            "status": self._phase_state,
            "session": {
                "id": self._progress.session_id,
                "collection_id": self._collection_id,
                "end_user_id": options.end_user_id,
                "metadata": dict(options.metadata),
                "ws_id": self._ws_id,
                "status": self._status,
            },
            "token": {"expires": _text(None if self._token is None else self._token.expires_ms)},
            "channels": [
                {
                    "id": choice.channel.id,
                    "name": choice.channel.name,
                    "kind": choice.channel.kind,
                    "store": choice.store,
                    "primary": choice.primary,
                }
                for choice in self._progress.choices
            ],
            "streams": [stream._asdict() for stream in self._streams],
            "pipelines": [pipeline.described() for pipeline in self._progress.pipelines],
            "alerts": [
                {"label": label, "prompt": prompt, "event_id": self._event_ids.get(label)}
                for label, prompt in options.pipelines.alerts
            ],
            "started": _text(self._began_ms),
            "ended": _text(self._ended_ms),
            "export": self._exported(),
            "error": None if self._failure is None else self._failure.message,
            "written": record.utc_text(journal.wall_ms()),
        }

    def _exported(self) -> dict[str, Any]:
        export = self._export
        return {
            "status": export.status or None,
            "video_id": export.video_id or None,
            "stream_url": export.stream_url or None,
            "player_url": export.player_url or None,
        }

    def _summary(self) -> dict[str, Any]:
        began, ended = self._began_ms, self._ended_ms
        return {
            "session_id": self._progress.session_id,
            "collection_id": self._collection_id,
            "status": self._status,
            "started": _text(began),
            "ended": _text(ended),
            "duration_seconds": None if began is None or ended is None else (ended - began) / 1000,
            "streams": [stream._asdict() for stream in self._streams],
            "pipelines": [
                {"kind": pipeline.kind, "stream_id": pipeline.stream.id, "id": pipeline.id or None,
                 "error": pipeline.error or None}
                for pipeline in self._progress.pipelines
            ],
            "events": dict(sorted(self._tally.counts.items())),
            "video_id": self._export.video_id or None,
            "stream_url": self._export.stream_url or None,
            "player_url": self._export.player_url or None,
            "journal": str(self._directory.journal),
            "error": None if self._failure is None else self._failure.message,
        }  # fmt: skip


def _text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else record.utc_text(milliseconds)
