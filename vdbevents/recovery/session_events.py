"""Make the events of a capture session that the journal lacks, and find those that it has."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from vdbevents.cloud import CloudSession
from vdbevents.events import envelope, lifecycle
from vdbevents.journal import reader

_STEPS: Final = ("created", "starting", "active", "stopping", "stopped", "exported")


def missing_events(session: CloudSession, known: Iterable[str]) -> list[dict[str, Any]]:
    """Return the `capture_session` events that go further than the journal.

    Args:
        session: as the API returns it.
        known: the statuses that the journal has.
    """
    statuses = set(known)
    events: list[dict[str, Any]] = []
    furthest = max(map(_step, statuses), default=-1)
    step = len(_STEPS) if session.status == "failed" else _step(session.status)
    if step > furthest and session.status not in statuses:
        events.append(_event(session, session.status, _data(session)))
    if session.export_status == "exported" and session.video_id and "exported" not in statuses:
        events.append(_event(session, "exported", {"exported_video_id": session.video_id}))
    return events


def _step(status: str) -> int:
    return _STEPS.index(status) if status in _STEPS else -1


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
    for line in reader.backward(journal, [session_id.encode()]):
        step = lifecycle.lifecycle_of(envelope.parse_line(line) or {})
        if step is not None and step.session_id == session_id:
            statuses.add(step.status)
        if "created" in statuses:
            break
    return statuses
