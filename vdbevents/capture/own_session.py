"""A capture with the user's own account: listener, session, pipelines, video."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from vdbevents import cloud
from vdbevents.capture.capture_context import CaptureContext, CaptureObserver, CaptureOptions
from vdbevents.capture.capture_info_file import CaptureInfoFile
from vdbevents.capture.ending import SessionEnd
from vdbevents.capture.listener_control import ListenerControl
from vdbevents.capture.pipeline_tasks import PipelineTasks
from vdbevents.capture.recording import SessionRecording
from vdbevents.capture.runtime import CaptureRuntime
from vdbevents.errors import (
    CaptureError,
    InputError,
    ServiceRefusedError,
    ServiceUnreachableError,
    VdbeventsError,
)
from vdbevents.journal import files, locks
from vdbevents.sessions import plan
from vdbevents.sessions.capture_info import CaptureInfo, unended_sessions
from vdbevents.sessions.interfaces import OwnListener

_POLL_SECONDS: Final = 2.0
_CALM_POLL_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class OwnSession:
    """The session to create, and its pipelines.

    Attributes:
        account: the API, with the time limit of one call.
        token_seconds: the lifetime of the runtime's token.
        listener: started if none runs; None: fail without a listener.
    """

    account: cloud.Account
    end_user_id: str
    collection_id: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict)
    token_seconds: int = 86_400
    pipelines: plan.PipelineSettings = field(default_factory=plan.PipelineSettings)
    listener: OwnListener | None = None


class OwnRecording(SessionRecording):
    """Records a new session."""

    def __init__(self, own: OwnSession, options: CaptureOptions, observer: CaptureObserver) -> None:
        """Begin as `SessionRecording`; create nothing yet."""
        info = CaptureInfo(own.end_user_id, own.collection_id, own.metadata, own.pipelines.alerts)
        context = CaptureContext(options, info, observer)
        super().__init__(context)
        self._own = own
        self._account = own.account
        self._control = self._listener = ListenerControl(context, own.listener)
        self._pipelines = PipelineTasks(context, own.account, own.pipelines)
        context.write_info = CaptureInfoFile(context, self._log).write

    async def _obtain_session(self) -> cloud.Token:
        journal_end = self._events.journal_end()
        await self._control.connect()
        self._events.follow(journal_end)
        await self._end_leftovers()
        return await self._create_session()

    async def _end_leftovers(self) -> None:
        """Stop sessions that a killed capture has left running, and paid for, on the server."""
        if locks.backend_runs(self._directory):
            return  # the sessions in this directory are the backend's
        for session_id, collection_id in unended_sessions(files.read_object(self._directory.capture_info)):
            try:
                get_session = partial(self._account.get_session, session_id, collection_id)
                session = await self._context.call(get_session)
                if session.status in ("starting", "active"):
                    self._say(f"stopping session {session_id}, which an earlier capture left running")
                    await self._context.call(partial(self._account.stop_session, session_id))
            except (InputError, ServiceRefusedError):
                continue  # it does not exist
            except ServiceUnreachableError as error:
                self._info.unended.append((session_id, collection_id))
                self._say(f"{session_id}: {error.message}", problem=True, hint="the next capture retries")

    async def _create_session(self) -> cloud.Token:
        own, info = self._own, self._info
        session = await self._context.call(
            partial(
                self._account.create_session, own.end_user_id, own.collection_id, info.ws_id, own.metadata
            )
        )
        info.session_id, info.collection_id = session.id, session.collection_id
        self._events.apply_status(session.status or "created")
        self._events.apply_early()
        self._say(f"session {session.id} for {own.end_user_id}")
        self._context.write_info()
        token = await self._context.call(partial(self._account.create_token, own.token_seconds))
        info.token_expires_ms = token.expires_ms
        self._context.write_info()
        self._context.start_task(self._poll(), self._tasks)
        self._context.start_task(self._control.watch(), self._tasks)
        return token

    def _get_session(self) -> cloud.CloudSession:
        return self._account.get_session(self._info.session_id, self._info.collection_id)

    async def _poll(self) -> None:
        """Ask the API for the session's status from time to time, in case an event does not arrive."""
        while True:
            calm = self._info.phase in ("preparing", "recording")
            seconds = _CALM_POLL_SECONDS if calm else min(_POLL_SECONDS, self._limits.step / 4)
            if await self._phase_changes(seconds) or not self._start_tried:
                continue
            with contextlib.suppress(VdbeventsError):
                session = await self._waiting.in_thread(self._get_session)
                self._events.apply_status(session.status, session.streams, session.error)

    async def _phase_changes(self, seconds: float) -> bool:
        changed = self._context.phase_changed
        changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await changed.wait()
        return False

    async def _confirm_begin(self, runtime: CaptureRuntime) -> str:
        life, seconds = self._life, self._limits.active
        begun = self._waiting.until(
            lambda: life.status == "active" or life.is_over or runtime.ended.done(), seconds
        )
        await self._waiting.unless_stopping(begun)
        self._check_running(runtime)
        if life.status != "active":
            raise CaptureError(
                f"the session is not active after {seconds:g} s: its status is {life.status}",
                "check that the network lets video out, or raise --active-timeout",
                error_id="session-not-active",
            )
        if not life.streams:
            session = await self._context.call(self._get_session)
            self._events.apply_status(session.status, session.streams)
        return f"active: {', '.join(stream.name for stream in life.streams)}"

    async def _end_session(self, *, asked: bool) -> None:
        end = SessionEnd(self._context, self._account)
        await end.stop(asked=asked)
        stored = any(choice.store for choice in self._info.choices)
        stopped = self._life.status in ("stopped", "exported")
        if stored and stopped and self._info.began_ms is not None and not self._waiting.hurried:
            self._context.set_phase("exporting")
            self._context.write_info()
            await end.export()
