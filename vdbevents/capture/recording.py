"""The steps of every capture, from permissions to the end.

What differs by whose session it is: `own_session` (created with the user's API key), and `backend_session`.
"""

import asyncio
import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from vdbevents import cloud
from vdbevents.capture import selection
from vdbevents.capture.capture_context import (
    CaptureContext,
    CaptureObserver,
    CaptureOptions,
    CaptureOutcome,
    cancel_tasks,
)
from vdbevents.capture.capture_events import CaptureEvents
from vdbevents.capture.capture_log import CaptureLog
from vdbevents.capture.ending import end_runtime
from vdbevents.capture.runtime import CaptureRuntime, where_to_grant
from vdbevents.capture.stop_signals import StopSignals
from vdbevents.errors import CaptureError, VdbeventsError
from vdbevents.events import lifecycle
from vdbevents.journal import files, locks
from vdbevents.sessions import plan
from vdbevents.sessions.waiting import StepAborted

if TYPE_CHECKING:
    from vdbevents.capture.listener_control import ListenerControl
    from vdbevents.capture.pipeline_tasks import PipelineTasks

_FOR_EVER: Final = 1e9


def run_capture(
    options: CaptureOptions,
    observer: CaptureObserver,
    make: Callable[[CaptureOptions, CaptureObserver], "SessionRecording"],
) -> CaptureOutcome:
    """Record a session until its duration is over, a signal comes, or the session ends.

    Raises:
        CaptureError: there is no runtime, or another capture has this directory. Nothing was touched.
        InputError: the directory's files cannot be written.
    """
    cloud.find_runtime(options.runtime)
    directory = options.directory
    lock = locks.ProcessLock(directory.capture_lock, lambda: locks.already_capturing(directory))

    async def run() -> CaptureOutcome:
        asyncio.get_running_loop().set_default_executor(cloud.DaemonThreads())
        return await make(options, observer).run()

    try:
        return asyncio.run(run())
    finally:
        lock.release()


class SessionRecording(ABC):
    """One recording; the abstract methods differ by whose session it is."""

    def __init__(self, context: CaptureContext) -> None:
        """Handle signals, write the PID file and open the journal.

        Raises:
            InputError: the directory's files cannot be written.
        """
        self._context = context
        self._options = context.options
        self._directory = context.directory
        self._limits = context.limits
        self._waiting = context.waiting
        self._say = context.say
        self._info = context.info
        self._life = context.info.life
        self._listener: ListenerControl | None = None
        self._pipelines: PipelineTasks | None = None
        self._start_tried = self._records = False
        self._tasks: set[asyncio.Task[None]] = set()
        context.observer.watch(self._info)
        self._signals = StopSignals(self._waiting, self._say, self._leave)
        try:
            files.replace_file(self._directory.capture_pid, str(os.getpid()).encode())
        except OSError as error:
            raise files.unusable(self._directory.capture_pid, error) from error
        self._log = CaptureLog(context)
        self._events = CaptureEvents(context, self._start_pipelines)

    async def run(self) -> CaptureOutcome:
        """Make all steps, and end what was begun."""
        context = self._context
        try:
            runtime = self._prepare_runtime()
            denied = await self._request_permissions(runtime)
            await self._choose_channels(runtime, denied)
            # Only now is known that there is something to record.
            runtime.use_token((await self._obtain_session()).value)
            await self._begin(runtime)
            await self._record(runtime)
        except StepAborted:
            pass
        except Exception as error:  # noqa: BLE001 - also after a bug, end what was begun
            context.fail(error)
        await self._end()
        self._signals.release()
        summary = self._info.summary(str(self._directory.journal)) if self._info.session_id else None
        return CaptureOutcome(summary, context.bug or context.failure, self._waiting.hurried)

    @abstractmethod
    async def _obtain_session(self) -> cloud.Token:
        """Create the session, set its id, and return the runtime's token."""

    @abstractmethod
    async def _confirm_begin(self, runtime: CaptureRuntime) -> str:
        """Wait until the session counts as recorded; return the message for the user."""

    @abstractmethod
    async def _end_session(self, *, asked: bool) -> None:
        """End the session after the runtime is closed.

        Args:
            asked: the runtime has confirmed that it stopped the session.
        """

    def _prepare_runtime(self) -> CaptureRuntime:
        client = cloud.capture_client(None, self._options.base_url)
        runtime = self._context.runtime = CaptureRuntime(client, self._log.write_runtime_event)
        runtime.ended.add_done_callback(self._note_runtime_end)
        return runtime

    def _note_runtime_end(self, ended: "asyncio.Future[int | None]") -> None:
        self._log.write_runtime_event("runtime:ended", {"code": ended.result()})
        self._waiting.notify()

    async def _request_permissions(self, runtime: CaptureRuntime) -> list[str]:
        """Return the kinds of channel that may not be recorded."""
        wanted = self._options.wanted
        needed: dict[str, tuple[str, ...]] = {}
        if wanted.mic:
            needed["microphone"] = ("mic",)
        if wanted.system_audio or wanted.display != "none":
            # The system asks for one permission for the screen and for what the machine plays.
            needed["screen_capture"] = ("display", "system_audio")
        denied: list[str] = []
        for permission, kinds in needed.items():
            request = runtime.permit(permission, self._limits.permission)
            if await self._waiting.unless_stopping(request):
                continue
            message = f"permission {permission.replace('_', ' ')}: denied"
            is_named = any(selection.named(wanted, kind) for kind in kinds)
            if self._options.require_all or is_named:
                raise CaptureError(message, where_to_grant(permission), error_id="permission-denied")
            self._say(message, problem=True, hint=where_to_grant(permission))
            denied += kinds
        return denied

    async def _choose_channels(self, runtime: CaptureRuntime, denied: Sequence[str]) -> None:
        available = await self._waiting.unless_stopping(runtime.channels(self._limits.step))
        choices, remarks = selection.choose(self._options.wanted, available, denied)
        for remark in remarks:
            if self._options.require_all:
                raise CaptureError(remark, "list channels: vdbevents channels", error_id="channel-missing")
            self._say(remark, problem=True)
        if not choices:
            raise CaptureError(
                "nothing to record: no channel is left",
                "list channels: vdbevents channels, and grant the permissions that were denied",
                error_id="channels-none",
            )
        self._info.choices = choices

    async def _begin(self, runtime: CaptureRuntime) -> None:
        choices = self._info.choices
        kept = [choice.channel.id for choice in choices if choice.store]
        stored = f"; kept for the video: {', '.join(kept)}" if kept else "; no video is kept"
        self._say(f"recording {', '.join(choice.channel.id for choice in choices)}{stored}")
        self._start_tried = True
        self._context.set_phase("starting")
        start = runtime.start(self._info.session_id, self._info.choices, self._limits.step)
        await self._waiting.unless_stopping(start)
        self._records = True
        message = await self._confirm_begin(runtime)
        self._info.began_ms, self._info.recording_since = files.wall_ms(), time.monotonic()
        self._context.set_phase("recording")
        self._log.write_status("capture.started")
        self._context.write_info()
        self._say(message)
        self._start_pipelines(self._life.streams)

    def _start_pipelines(self, streams: Sequence[lifecycle.Stream]) -> None:
        if self._pipelines is not None:
            self._pipelines.start(streams)

    def _check_running(self, runtime: CaptureRuntime) -> None:
        """Raise if the session has failed or the runtime has ended."""
        if self._life.status == "failed":
            raise CaptureError(
                f"session failed: {self._life.error or 'no reason given'}", error_id="session-failed"
            )
        if runtime.ended.done():
            raise CaptureError(
                f"the capture runtime has ended (exit code {runtime.ended.result()})",
                "start the recording again; see the runtime's last messages: "
                f"vdbevents query {self._directory.path} --channel capture_client",
                error_id="runtime-ended",
            )

    async def _record(self, runtime: CaptureRuntime) -> None:
        seconds = self._options.duration
        over = self._waiting.until(
            lambda: runtime.ended.done() or self._life.is_over, _FOR_EVER if seconds is None else seconds
        )
        if not await self._waiting.unless_stopping(over):
            self._say(f"recorded for {seconds:g} s: stopping")
            return
        self._check_running(runtime)
        self._say("the session has ended")

    async def _end(self) -> None:
        self._waiting.abort_steps()
        if self._info.began_ms is not None:
            self._info.ended_ms = files.wall_ms()
        failure = self._context.failure
        if failure is not None and self._info.session_id:
            self._say(f"{failure.message}: ending the capture", problem=True)
        self._context.set_phase("stopping")
        steps = (
            self._end_pipelines,
            self._end_recording,
            self._end_tasks,
            self._report_end,
            self._end_listener,
        )
        for step in steps:
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - make the other steps also after a bug
                self._context.fail(error)
        self._events.stop()
        with contextlib.suppress(OSError):
            files.remove_file(self._directory.capture_pid)

    async def _end_pipelines(self) -> None:
        if self._pipelines is not None:
            await self._pipelines.end()

    async def _end_recording(self) -> None:
        asked = await end_runtime(self._context, recording=self._records and not self._life.is_over)
        if self._start_tried:
            await self._end_session(asked=asked)

    async def _end_tasks(self) -> None:
        await cancel_tasks(self._tasks)

    async def _report_end(self) -> None:
        context = self._context
        self._info.pipelines = [plan.mark_stopped(pipeline) for pipeline in self._info.pipelines]
        self._info.runtime_pid = None
        context.set_phase("failed" if context.failure or context.bug else "ended")
        if self._info.session_id:
            self._log.write_status("capture.ended")
            context.write_info()
        await self._log.close()

    async def _end_listener(self) -> None:
        if self._listener is not None:
            await self._listener.end()

    def _leave(self) -> None:
        """Clean up what can be without waiting: the process exits now."""
        with contextlib.suppress(OSError, VdbeventsError):
            if self._listener is not None:
                self._listener.drop()
        with contextlib.suppress(OSError):
            files.remove_file(self._directory.capture_pid)
        self._context.observer.abandon()
