"""Follow each session that the backend created to its end, and do what its events call for.

It follows the journal, which holds every event before it is answered, from a webhook or the WebSocket.
After a crash it continues from there, and every step may be repeated.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from vdbevents import cloud
from vdbevents.backend.journal_follower import JournalFollower
from vdbevents.backend.listener_keeper import ListenerKeeper
from vdbevents.backend.pipeline_starter import PipelineStarter
from vdbevents.backend.served_info import ServedInfoFile
from vdbevents.backend.served_session import SERVING_EVENT, SESSION_EVENT, ServedSession, SessionRegistry
from vdbevents.backend.session_end import LONGEST_SHOWN, EndRecorder
from vdbevents.backend.status_checks import StatusChecks
from vdbevents.backend.tasks import BackgroundTasks
from vdbevents.events import envelope, fields, lifecycle
from vdbevents.journal import files, state
from vdbevents.sessions import plan
from vdbevents.sessions.interfaces import OwnListener, Reporter

_PREPARE_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """How sessions are created, and which pipelines they get.

    Attributes:
        directory: the state directory; it exists.
        account: the API, with the time limit of one call.
        token_seconds: lifetime of a client's token.
        step_seconds: how long the listener may take to connect.
    """

    directory: state.StateDirectory
    account: cloud.Account
    end_user_id: str
    listener: OwnListener
    collection_id: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict)
    token_seconds: int = 86_400
    pipelines: plan.PipelineSettings = field(default_factory=plan.PipelineSettings)
    step_seconds: float = 30.0


class Supervisor:
    """Supervise the sessions of one backend, on the running loop."""

    def __init__(
        self, options: SupervisorOptions, say: Reporter, append: Callable[[envelope.Record], object]
    ) -> None:
        """Do nothing before `restore`; `append` writes a line to the journal, blocks, and raises OSError."""
        self._options = options
        self._say = say
        self._append = append
        self._stopped = threading.Event()
        self._is_restored = False
        self._tasks = BackgroundTasks(say)
        self._sessions = SessionRegistry(options.end_user_id, options.metadata, options.pipelines.alerts)
        self._journal = JournalFollower(options.directory.journal, say, self._stopped)
        self._info_file = ServedInfoFile(options.directory, self._sessions)
        self._listener = ListenerKeeper(
            options.directory, options.listener, options.step_seconds, say, self._stopped
        )
        self._starter = PipelineStarter(
            options.account,
            options.pipelines,
            listener=self._listener,
            info_file=self._info_file,
            record=self._record,
            say=say,
        )
        self._ends = EndRecorder(self._info_file, self._record, say)
        self._checks = StatusChecks(options.account, self._tasks, self._decide, self._learn)

    async def restore(self, serving: Mapping[str, Any]) -> None:
        """Restore the sessions of earlier runs, and record in the journal that this backend serves.

        Raises:
            OSError: the journal cannot be read or written.
        """
        for event in await asyncio.to_thread(self._journal.read_past):
            self._take(event)
        self._is_restored = True
        self._sessions.restore_info(files.read_object(self._options.directory.capture_info))
        kept = [session.to_dict() for session in self._sessions if session.is_remembered]
        await self._record(SERVING_EVENT, {**serving, "sessions": kept})

    async def run(self) -> None:
        """Follow the journal until cancelled."""
        for session in self._sessions:
            if session.is_active and not session.is_served:
                self._say(f"session {session.id} has no pipelines yet: starting them")
            self._decide(session)
            self._checks.confirm(session)
            if session.progress.export.video_id and not session.is_video_recorded:
                self._record_video(session)
        self._journal.follow(self._take)
        self._tasks.start(self._listener.watch(lambda: any(session.is_active for session in self._sessions)))
        try:
            await self._checks.poll(self._sessions)
        finally:
            self._stopped.set()
            self._tasks.cancel_all()

    async def create(self, webhook_url: str) -> cloud.BackendSession:
        """Create a session that reports to a webhook address, and a token to record it.

        Raises:
            ServiceRefusedError, ServiceUnreachableError: the service created none.
            OSError: the journal cannot be written.
        """
        options = self._options
        # A session's events go to the WebSocket connection it is created with, and to no other.
        await asyncio.wait({self._tasks.start(self._listener.prepare())}, timeout=_PREPARE_SECONDS)
        token = await asyncio.to_thread(options.account.create_token, options.token_seconds)
        ws_id = files.read_small_file(options.directory.ws_id)
        session = await asyncio.to_thread(
            options.account.create_session,
            options.end_user_id,
            options.collection_id,
            ws_id,
            options.metadata,
            webhook_url,
        )
        entry = {
            "capture_session_id": session.id,
            "collection_id": session.collection_id,
            "end_user_id": options.end_user_id,
            "ws_id": ws_id,
            "since": files.wall_ms() / 1000,
        }
        await self._record(SESSION_EVENT, entry)
        self._sessions.add(entry)
        if (served := self._sessions.get(session.id)) is not None:
            served.info.token_expires_ms = token.expires_ms
        self._say(f"session {session.id} for {options.end_user_id}")
        return cloud.BackendSession(session.id, token)

    async def close(self, seconds: float) -> None:
        """Stop the listener that was started for this, unless a session is still active."""
        await self._listener.close(self._active(), seconds)

    def drop(self) -> None:
        """Signal that listener to end, without waiting; under the same condition."""
        self._listener.drop(self._active())

    def _active(self) -> list[str]:
        return [session.id for session in self._sessions if session.is_active]

    async def _record(self, event: str, data: Mapping[str, Any]) -> None:
        record = envelope.own_record(event, data, files.wall_ms())
        await asyncio.to_thread(self._append, record)

    def _take(self, event: Mapping[str, Any]) -> None:
        """Update the sessions from an event of the journal."""
        if fields.is_own(event):
            name, data = str(event.get("event")), event.get("data")
            if isinstance(data, Mapping) and not (self._is_restored and name == SERVING_EVENT):
                self._sessions.apply(name, data)
            return
        report = lifecycle.lifecycle_of(event)
        session = self._sessions.get(report.session_id) if report is not None else None
        if report is None or session is None:
            return
        if "via" not in event:
            self._learn(session, report, report.streams)
        elif report.status == "active":
            # Somebody who found out the webhook's address must not name streams of others.
            self._learn(session, report)
        else:
            session.unconfirmed.append(report)
            if self._is_restored:
                self._checks.confirm(session)

    def _learn(
        self, session: ServedSession, report: lifecycle.Lifecycle, streams: Sequence[lifecycle.Stream] = ()
    ) -> None:
        """Update a session from a report that can be believed, and do what follows from it."""
        progress = session.progress
        is_new_export = report.status == "exported" and not progress.is_export_decided
        progress.take(report.status, streams, report.error[:LONGEST_SHOWN])
        if is_new_export:
            progress.take_export(cloud.export_from(report.data))
        if not self._is_restored:
            return
        if is_new_export:
            self._record_video(session)
        self._decide(session)

    def _decide(self, session: ServedSession) -> None:
        """Start the tasks that a session's status calls for."""
        if session.progress.is_over:
            if session.serving is not None:
                session.serving.cancel()
                session.serving = None
            if not session.is_end_recorded and (session.ending is None or session.ending.done()):
                session.ending = self._tasks.start(self._end(session))
            if session.progress.is_ended:
                self._checks.confirm(session)
        elif session.is_active and not session.is_served and session.serving is None:
            session.serving = self._tasks.start(self._serve(session))

    async def _serve(self, session: ServedSession) -> None:
        step = partial(self._start_pipelines, session)
        await self._tasks.retry(f"session {session.id}: pipelines not started", step)
        session.serving = None
        if session.progress.is_over or not session.is_served:
            self._decide(session)

    async def _start_pipelines(self, session: ServedSession) -> None:
        if not (session.progress.streams and session.is_served):
            # After a crash, or when an event came late, it may be over by now.
            await self._checks.fetch(session)
        if not session.progress.is_over:
            await self._starter.start(session)

    async def _end(self, session: ServedSession) -> None:
        status = ""
        # It can end while it is recorded that it is stopping.
        while status != session.progress.status:
            status = session.progress.status
            step = partial(self._ends.record_end, session)
            await self._tasks.retry(f"session {session.id}: end not recorded", step)
        session.ending = None

    def _record_video(self, session: ServedSession) -> None:
        step = partial(self._ends.record_video, session)
        self._tasks.start(self._tasks.retry(f"session {session.id}: video not recorded", step))
