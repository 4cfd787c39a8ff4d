"""Keep the sessions of a directory: from its info file, with the rebindings that this run has made."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from vdbevents.cloud import CloudSession
from vdbevents.events import envelope
from vdbevents.journal import files, locks
from vdbevents.recovery.context import RecoveryContext
from vdbevents.sessions.plan import Pipeline, objects_in
from vdbevents.sessions.recorded_session import RecordedSession, session_from_info

_Change = Callable[[dict[str, Any]], Mapping[str, Any]]


class KnownSessions:
    """The sessions that the info file named during this run.

    Attributes:
        by_id: all of them, as they were last.
        current: the one that the info file names now.
        unwritten: its rebound pipelines that the info file does not have yet.
    """

    def __init__(self, context: RecoveryContext) -> None:
        self._context = context
        self._rebound: dict[tuple[str, str, str], Pipeline] = {}
        self._ended_ms: dict[str, int] = {}
        self.by_id: dict[str, RecordedSession] = {}
        self.current: RecordedSession | None = None
        self.unwritten: list[Pipeline] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the info file again."""
        session = session_from_info(files.read_object(self._context.directory.capture_info))
        self.unwritten = []
        if session is not None:
            pipelines = tuple(self._newest(session.id, pipeline) for pipeline in session.pipelines)
            session = replace(session, pipelines=pipelines)
            if session.ended_ms is None and not session.may_run:
                session = replace(session, ended_ms=self._ended_ms.get(session.id))
            self.by_id[session.id] = session
        self.current = session

    def had_ended_before(self, session_id: str, since_ms: int) -> bool:
        """Return whether a session is known here, and had ended before a time (Unix ms)."""
        session = self.by_id.get(session_id)
        return session is not None and session.had_ended_before(since_ms)

    def _newest(self, session_id: str, written: Pipeline) -> Pipeline:
        rebound = self._rebound.get((session_id, written.kind, written.stream.id))
        if rebound is None or rebound.bindings <= written.bindings:
            return written
        self.unwritten.append(replace(rebound, status="stopped") if written.status == "stopped" else rebound)
        return self.unwritten[-1]

    async def save(self, session_id: str, pipeline: Pipeline) -> None:
        """Write a rebound pipeline to the info file; remember it even if that fails.

        Raises:
            OSError: the file cannot be written now.
        """
        key = (pipeline.kind, pipeline.stream.id)
        self._rebound[session_id, *key] = pipeline

        def change(info: dict[str, Any]) -> Mapping[str, Any]:
            pipelines = [
                pipeline.to_dict() if (item.get("kind"), item.get("stream_id")) == key else item
                for item in objects_in(info, "pipelines")
            ]
            return {**info, "pipelines": pipelines, "written": envelope.utc_text(files.wall_ms())}

        await self._context.in_thread(partial(self._change, session_id, change))
        self.refresh()

    async def mark_ended(self, session: CloudSession) -> None:
        """Write a session's final status to the info file, unless a capture runs that will do so.

        The file may name another session by now; then only this run remembers the end.
        """
        ended_ms = self._ended_ms.setdefault(session.id, files.wall_ms())
        known = self.by_id.get(session.id)
        if known is not None and known is not self.current:
            ended_ms = ended_ms if known.ended_ms is None else known.ended_ms
            self.by_id[session.id] = replace(known, status=session.status, ended_ms=ended_ms)
        await self._context.in_thread(partial(self._mark_ended, session))

    def _mark_ended(self, session: CloudSession) -> None:
        if not locks.capture_runs(self._context.directory):
            status = {"status": session.status}
            self._change(session.id, lambda info: {**info, "session": {**info["session"], **status}})

    def _change(self, session_id: str, change: _Change) -> None:
        def changed(info: dict[str, Any]) -> Mapping[str, Any] | None:
            entry = info.get("session")
            is_same = isinstance(entry, dict) and entry.get("id") == session_id
            return change(info) if is_same else None

        directory = self._context.directory
        locks.change_object(directory.capture_info, directory.capture_info_lock, changed)
