"""Start the pipelines of a session that records, and their alerts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from vdbevents import cloud
from vdbevents.backend.listener_keeper import ListenerKeeper
from vdbevents.backend.served_info import ServedInfoFile
from vdbevents.backend.served_session import STARTED_EVENT, ServedSession
from vdbevents.errors import ServiceUnreachableError, VdbeventsError
from vdbevents.journal import files
from vdbevents.sessions import pipelines, plan
from vdbevents.sessions.interfaces import Reporter

Record = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Append an event of the recorder's own to the journal; raise OSError if that fails."""


@dataclass(frozen=True, slots=True)
class PipelineStarter:
    """Start pipelines; every step may be repeated."""

    account: cloud.Account
    settings: plan.PipelineSettings
    listener: ListenerKeeper
    info_file: ServedInfoFile
    record: Record
    say: Reporter
    event_guard: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self, session: ServedSession) -> None:
        """Start the pipelines that do not run yet, and record that they run.

        Raises:
            VdbeventsError: some could not be started; the others were.
            OSError: the info file or the journal cannot be written.
        """
        info, progress = session.info, session.progress
        if not progress.streams:
            raise ServiceUnreachableError("the session has no streams yet", error_id="streams-missing")
        ws_id = await self.listener.connection_id()
        new_streams = [stream for stream in progress.streams if stream.id not in session.served]
        known = {(pipeline.kind, pipeline.stream.id) for pipeline in info.pipelines}
        planned = plan.pipelines_for(new_streams, self.settings)
        info.pipelines += [
            pipeline for pipeline in planned if (pipeline.kind, pipeline.stream.id) not in known
        ]
        # Before the start: an attempt without an answer may have bound them, for good.
        info.pipelines = [replace(pipeline, ws_id=pipeline.ws_id or ws_id) for pipeline in info.pipelines]
        info.phase, info.began_ms = "recording", info.began_ms or files.wall_ms()
        await self.info_file.write(session, take_over=True)
        starts = (self._start_one(session, position) for position in range(len(info.pipelines)))
        failures = await asyncio.gather(*starts, return_exceptions=True)
        await self.info_file.write(session, take_over=True)
        for failure in failures:
            if failure is not None:
                raise failure
        served = session.served | {stream.id for stream in new_streams}
        await self.record(STARTED_EVENT, {"capture_session_id": session.id, "served": sorted(served)})
        session.served |= served

    async def _start_one(self, session: ServedSession, position: int) -> None:
        info = session.info
        pipeline = info.pipelines[position]
        try:
            if pipeline.status != "running":
                started = await asyncio.to_thread(
                    pipelines.start_pipeline,
                    self.account,
                    pipeline,
                    ws_id=pipeline.ws_id,
                    name=pipelines.index_name(pipeline.kind, session.id),
                    again=True,
                )
                info.update_pipeline(position, started)
                self.say(f"session {session.id}: started the {pipeline.title}")
            while not await self._attach_alerts(session, position):
                """Repeat: meanwhile the listener has rebound it, as another index."""
        except VdbeventsError as error:
            current = info.pipelines[position]
            status = "failed" if current.status != "running" else current.status
            info.update_pipeline(position, replace(current, status=status, error=error.message))
            raise

    async def _attach_alerts(self, session: ServedSession, position: int) -> bool:
        """Attach the missing alerts; return False if the pipeline was replaced meanwhile."""
        info, pipeline = session.info, session.info.pipelines[position]
        alerts = self.settings.alerts
        if pipeline.kind == "transcript" or all(label in pipeline.alerts for label, _ in alerts):
            return True
        async with self.event_guard:
            events = await asyncio.to_thread(pipelines.find_events, self.account, alerts, info.event_ids)
        attached = await asyncio.to_thread(
            pipelines.attach_alerts, self.account, pipeline.stream.id, pipeline.id, events, pipeline.ws_id
        )
        return info.update_pipeline(position, replace(pipeline, alerts=attached, error=""))
