"""Describe a capture, as its info file and its summary have it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vdbevents.events import envelope
from vdbevents.sessions import plan
from vdbevents.sessions.progress import ENDED, SessionProgress, SessionTally


@dataclass(slots=True)
class CaptureInfo:
    """The state of a capture.

    Attributes:
        phase: `preparing`, `starting`, `recording`, `stopping`, `exporting`, `ended`, `failed`.
        recording_since: by the monotonic clock, once it records.
        unended: (session, collection) of earlier captures that may still run on the service.
        event_ids: the id of each alert's event, by label.
        listener_trouble: why the listener receives nothing now; empty if it does, as far as is known.
        troubled_since: since when, by the monotonic clock.
    """

    end_user_id: str
    collection_id: str
    metadata: Mapping[str, str]
    alerts: Sequence[tuple[str, str]]
    phase: str = "preparing"
    recording_since: float | None = None
    session_id: str = ""
    ws_id: str = ""
    token_expires_ms: int | None = None
    runtime_pid: int | None = None
    began_ms: int | None = None
    ended_ms: int | None = None
    error: str = ""
    choices: Sequence[plan.Choice] = ()
    pipelines: list[plan.Pipeline] = field(default_factory=list)
    event_ids: dict[str, str] = field(default_factory=dict)
    unended: list[tuple[str, str]] = field(default_factory=list)
    listener_trouble: str = ""
    troubled_since: float = 0.0
    life: SessionProgress = field(default_factory=SessionProgress)
    tally: SessionTally = field(default_factory=SessionTally)

    @property
    def streams(self) -> list[dict[str, Any]]:
        """The session's streams, in JSON's types."""
        return [stream._asdict() for stream in self.life.streams]

    def update_pipeline(self, position: int, pipeline: plan.Pipeline) -> bool:
        """Replace a pipeline; return False if it was rebound meanwhile."""
        if self.pipelines[position].bindings > pipeline.bindings:
            return False
        self.pipelines[position] = pipeline
        return True

    def to_dict(self, *, pid: int, version: str, now_ms: int) -> dict[str, Any]:
        """Return the content of `videodb_capture_info.json`, which docs/events-format.md specifies."""
        return {
            "version": version,
            "pid": pid,
            "runtime_pid": self.runtime_pid,
            "status": self.phase,
            "session": {
                "id": self.session_id,
                "collection_id": self.collection_id,
                "end_user_id": self.end_user_id,
                "metadata": dict(self.metadata),
                "ws_id": self.ws_id,
                "status": self.life.status,
            },
            "token": {"expires": _text(self.token_expires_ms)},
            "channels": [
                {**asdict(choice.channel), "store": choice.store, "primary": choice.primary}
                for choice in self.choices
            ],
            "streams": self.streams,
            "pipelines": [pipeline.to_dict() for pipeline in self.pipelines],
            "alerts": [
                {"label": label, "prompt": prompt, "event_id": self.event_ids.get(label)}
                for label, prompt in self.alerts
            ],
            "started": _text(self.began_ms),
            "ended": _text(self.ended_ms),
            "export": {name: value or None for name, value in asdict(self.life.export).items()},
            "unended": [{"id": session, "collection_id": collection} for session, collection in self.unended],
            "error": self.error or None,
            "written": envelope.utc_text(now_ms),
        }

    def summary(self, journal: str) -> dict[str, Any]:
        """Return what `vdbevents capture` prints at the end."""
        began, ended, export = self.began_ms, self.ended_ms, self.life.export
        return {
            "session_id": self.session_id,
            "collection_id": self.collection_id or None,
            "status": self.life.status or None,
            "started": _text(began),
            "ended": _text(ended),
            "duration_seconds": None if began is None or ended is None else (ended - began) / 1000,
            "streams": self.streams,
            "pipelines": [
                {
                    "kind": pipeline.kind,
                    "stream_id": pipeline.stream.id,
                    "id": pipeline.id or None,
                    "error": pipeline.error or None,
                }
                for pipeline in self.pipelines
            ],
            "events": dict(sorted(self.tally.counts.items())),
            "video_id": export.video_id or None,
            "stream_url": export.stream_url or None,
            "player_url": export.player_url or None,
            "journal": journal,
            "error": self.error or None,
        }

    def apply_rebinding(self, data: Mapping[str, Any]) -> None:
        """Replace a pipeline that the listener has rebound, from the data of its `listener.rebound` line."""
        streams = {stream.id: stream for stream in self.life.streams}
        bound = plan.pipeline_from(data, streams)
        if bound is None or data.get("capture_session_id") != self.session_id:
            return
        for position, pipeline in enumerate(self.pipelines):
            is_same = (pipeline.kind, pipeline.stream) == (bound.kind, bound.stream)
            if is_same and bound.bindings > pipeline.bindings:
                self.pipelines[position] = bound


def merge_bindings(mine: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return an info file's new content: `mine`, with the newer bindings of what is `written` there."""
    if _session_id(mine) != _session_id(written):
        return dict(mine)
    theirs = {_key(pipeline): pipeline for pipeline in plan.objects_in(written, "pipelines")}
    pipelines = [_newer(ours, theirs.get(_key(ours), {})) for ours in plan.objects_in(mine, "pipelines")]
    return {**mine, "pipelines": pipelines}


def _newer(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Mapping[str, Any]:
    if _bindings(theirs) <= _bindings(ours):
        return ours
    # A listener that saw the end late must not restart a stopped pipeline.
    return {**theirs, "status": "stopped"} if ours.get("status") == "stopped" else theirs


def _session_id(info: Mapping[str, Any]) -> object:
    session = info.get("session")
    return session.get("id") if isinstance(session, Mapping) else None


def _key(pipeline: Mapping[str, Any]) -> tuple[str, str]:
    return str(pipeline.get("kind")), str(pipeline.get("stream_id"))


def _bindings(pipeline: Mapping[str, Any]) -> int:
    bindings = pipeline.get("bindings")
    return bindings if type(bindings) is int else 0


def unended_sessions(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sessions (id, collection) that an info file does not know to have ended, each once."""
    session = info.get("session")
    sessions = plan.objects_in(info, "unended")
    if isinstance(session, Mapping) and str(session.get("status")) not in ENDED:
        sessions.append(session)
    ids = ((session.get("id"), session.get("collection_id")) for session in sessions)
    return list(
        dict.fromkeys(
            (session_id, collection if collection and isinstance(collection, str) else "default")
            for session_id, collection in ids
            if session_id and isinstance(session_id, str)
        )
    )


def _text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else envelope.utc_text(milliseconds)
