"""The sessions that this backend created, as the journal and the info file record them."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vdbevents.events import fields, lifecycle
from vdbevents.journal import files
from vdbevents.sessions.capture_info import CaptureInfo
from vdbevents.sessions.plan import objects_in
from vdbevents.sessions.progress import SessionProgress
from vdbevents.sessions.recorded_session import REBOUND_EVENT, session_from_info

SERVING_EVENT: Final = "backend.serving"
SESSION_EVENT: Final = "backend.session"
STARTED_EVENT: Final = "backend.started"
ENDED_EVENT: Final = "backend.ended"

# An unused session, or one whose video never comes, is forgotten after this time.
_REMEMBERED_MS: Final = 7 * 86_400_000


@dataclass(slots=True, eq=False)
class ServedSession:
    """A session that this backend created.

    Attributes:
        created_ms: Unix ms.
        served: ids of the streams whose pipelines run.
        is_end_recorded: `backend.ended` is in the journal.
        is_video_recorded: the video is in the info file, unless that is about another session.
        unconfirmed: reports of its end that came by webhook alone; the API is still to be asked.
        serving: starts the pipelines.
        ending: records the end.
    """

    info: CaptureInfo
    created_ms: int
    served: set[str] = field(default_factory=set)
    is_end_recorded: bool = False
    is_video_recorded: bool = False
    unconfirmed: list[lifecycle.Lifecycle] = field(default_factory=list)
    serving: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.info.session_id

    @property
    def progress(self) -> SessionProgress:
        return self.info.life

    @property
    def is_active(self) -> bool:
        return self.progress.status == "active"

    @property
    def is_stopping(self) -> bool:
        """Return whether its end has begun and is not over."""
        return self.progress.is_over and not self.progress.is_ended

    @property
    def is_served(self) -> bool:
        """Return whether the pipelines of all its streams run."""
        return bool(self.served) and all(stream.id in self.served for stream in self.progress.streams)

    @property
    def is_remembered(self) -> bool:
        """Return whether something may still have to be done for it."""
        progress = self.progress
        is_over = progress.status == "failed" or progress.is_export_decided
        is_old = files.wall_ms() - self.created_ms > _REMEMBERED_MS and not self.is_active
        return not (is_old or (is_over and self.is_end_recorded))

    def to_dict(self) -> dict[str, Any]:
        """Return its entry in a `backend.serving` event."""
        return {
            "capture_session_id": self.id,
            "collection_id": self.info.collection_id,
            "end_user_id": self.info.end_user_id,
            "ws_id": self.info.ws_id or None,
            "since": self.created_ms / 1000,
            "status": self.progress.status,
            "served": sorted(self.served),
            "ended": self.is_end_recorded,
        }


@dataclass(slots=True)
class SessionRegistry:
    """The sessions that this backend created, which have these settings in common."""

    end_user_id: str
    metadata: Mapping[str, str]
    alerts: Sequence[tuple[str, str]]
    _sessions: dict[str, ServedSession] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ServedSession]:
        return iter(list(self._sessions.values()))

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def get(self, session_id: str) -> ServedSession | None:
        """Return a session, or None if this backend did not create it."""
        return self._sessions.get(session_id)

    def apply(self, event: str, data: Mapping[str, Any]) -> None:
        """Update the sessions from an event that this backend or its listener wrote."""
        if event == SERVING_EVENT:
            for entry in objects_in(data, "sessions"):
                self.add(entry)
        elif event == SESSION_EVENT:
            self.add(data)
        session = self.get(str(data.get("capture_session_id")))
        if session is None:
            return
        if event == STARTED_EVENT:
            session.served.update(_texts(data.get("served")))
        elif event == ENDED_EVENT:
            session.is_end_recorded = True
        elif event == REBOUND_EVENT:
            session.info.apply_rebinding(data)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add the session of a `backend.session` or `backend.serving` event, and forget old ones.

        No-op for a session that is known.
        """
        session_id = entry.get("capture_session_id")
        if not isinstance(session_id, str) or session_id in self._sessions:
            return
        info = CaptureInfo(
            str(entry.get("end_user_id") or self.end_user_id),
            str(entry.get("collection_id") or "default"),
            self.metadata,
            self.alerts,
        )
        info.session_id, info.ws_id = session_id, str(entry.get("ws_id") or "")
        info.life.take(str(entry.get("status") or "created"))
        created_ms = fields.unix_ms(entry.get("since")) or files.wall_ms()
        served = set(_texts(entry.get("served")))
        self._sessions[session_id] = ServedSession(info, created_ms, served, entry.get("ended") is True)
        self._sessions = {key: session for key, session in self._sessions.items() if session.is_remembered}

    def restore_info(self, content: Mapping[str, Any]) -> None:
        """Update the session that an info file describes, if it is one of these."""
        recorded = session_from_info(content)
        session = self.get(recorded.id) if recorded is not None else None
        if recorded is None or session is None:
            return
        info = session.info
        info.life.take(info.life.status, lifecycle.streams_of(content))
        info.pipelines, info.began_ms = list(recorded.pipelines), recorded.began_ms
        info.event_ids.update(recorded.events)
        export = content.get("export")
        session.is_video_recorded = isinstance(export, Mapping) and export.get("status") == "exported"


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
