"""Follow a session over the API: its events go to the connection that created it, and to no other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from vdbevents.cloud import CloudSession
from vdbevents.errors import ServiceRefusedError
from vdbevents.events import envelope, lifecycle
from vdbevents.journal import reader
from vdbevents.recovery.context import RecoveryContext
from vdbevents.recovery.known_sessions import KnownSessions
from vdbevents.sessions.progress import ENDED, STEPS
from vdbevents.sessions.recorded_session import RecordedSession

_POLL_SECONDS: Final = 15.0
_POLL_AFTER_END_SECONDS: Final = 900.0
_RUNNING: Final = ("starting", "active")


@dataclass(slots=True)
class SessionFollower:
    """What the API says about the sessions; `ended_at` is when the end of each was noticed (monotonic)."""

    context: RecoveryContext
    sessions: KnownSessions
    ended_at: dict[str, float] = field(default_factory=dict)
    _statuses: dict[str, set[str]] = field(default_factory=dict)
    _poll_at: float = 0.0

    def note_end(self, session_id: str) -> None:
        """Note that a session has ended, or will."""
        self.ended_at.setdefault(session_id, self.context.now())

    async def is_running(self, session: RecordedSession) -> bool:
        """Return whether the API says that a session runs; one that has ended must not be touched."""
        answer = await self._get(session)
        return answer is not None and answer.status in _RUNNING

    async def _get(self, session: RecordedSession) -> CloudSession | None:
        get = partial(self.context.account.get_session, session.id, session.collection_id)
        try:
            answer = await self.context.ask(get)
        except ServiceRefusedError as error:
            if session.id not in self.ended_at:
                self.context.host.say(error.message, problem=True, hint=error.hint)
            self.note_end(session.id)
            return None
        if answer.status not in ("created", *_RUNNING):
            self.note_end(session.id)
        if answer.status in ENDED and session.may_run:
            await self.sessions.mark_ended(answer)
        return answer

    async def poll(self) -> None:
        """Journal the current session's missing events, if it is time to ask again."""
        session, now = self.sessions.current, self.context.now()
        if session is None or session.ws_id in ("", self.context.ws_id) or now < self._poll_at:
            return
        if now > self.ended_at.get(session.id, now) + _POLL_AFTER_END_SECONDS:
            return
        self._poll_at = now + _POLL_SECONDS
        if await self.context.is_own(session.ws_id):
            await self.write_missing(session)

    async def write_missing(self, session: RecordedSession) -> None:
        """Journal the events of a session that the journal lacks."""
        answer = await self._get(session)
        if answer is None:
            return
        known = self._statuses.setdefault(session.id, set())
        if not missing_events(answer, known):
            return
        await self.context.flushed()
        journal = self.context.directory.journal
        known |= await self.context.in_thread(partial(journaled_statuses, journal, session.id))
        events = missing_events(answer, known)
        known.update(event["status"] for event in events)
        dropped = self.context.host.counts.dropped
        self.context.write_fetched(events)
        if self.context.host.counts.dropped != dropped:
            del self._statuses[session.id]


def missing_events(session: CloudSession, known: Iterable[str]) -> list[dict[str, Any]]:
    """Return the `capture_session` events of a session that go further than the known statuses."""
    statuses = set(known)
    events: list[dict[str, Any]] = []
    furthest = max(map(_step, statuses), default=-1)
    step = len(STEPS) if session.status == "failed" else _step(session.status)
    if step > furthest and session.status not in statuses:
        events.append(_event(session, session.status, _data(session)))
    if session.export_status == "exported" and session.video_id and "exported" not in statuses:
        events.append(_event(session, "exported", {"exported_video_id": session.video_id}))
    return events


def _step(status: str) -> int:
    return STEPS.index(status) if status in STEPS else -1


def _event(session: CloudSession, status: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event": f"capture_session.{status}",
        "capture_session_id": session.id,
        "status": status,
        "data": dict(data),
    }


def _data(session: CloudSession) -> dict[str, Any]:
    if session.status == "active":
        streams = [
            {"rtstream_id": stream.id, "name": stream.name, "media_types": [stream.media]}
            for stream in session.streams
        ]
        return {"rtstreams": streams}
    return {"error": {"message": session.error}} if session.status == "failed" and session.error else {}


def journaled_statuses(journal: Path, session_id: str) -> set[str]:
    """Return the statuses of a session that a journal has."""
    statuses: set[str] = set()
    for line in reader.backward(journal, [session_id.encode("utf-8", "backslashreplace")]):
        step = lifecycle.lifecycle_of(envelope.parse_line(line) or {})
        if step is not None and step.session_id == session_id:
            statuses.add(step.status)
        if "created" in statuses:
            break
    return statuses
