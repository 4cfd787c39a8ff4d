"""What is known of a capture, and how it is told: to programs in files and on stdout, to a live display."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vdbevents.cloud import Export
from vdbevents.events import envelope
from vdbevents.sessions import plan, progress
from vdbevents.sessions.progress import ENDED, SessionProgress


@dataclass(slots=True)
class CaptureInfo:
    """A capture as it goes.

    Attributes:
        phase: `preparing`, `starting`, `recording`, `stopping`, `exporting`, `ended`, `failed`.
        recording_since: by the monotonic clock, once it records.
        unended: (session, collection) of earlier captures that may still run on the server.
        event_ids: of each alert's label, the id of its event.
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
    life: SessionProgress = field(default_factory=SessionProgress)
    tally: progress.SessionTally = field(default_factory=progress.SessionTally)

    @property
    def streams(self) -> list[dict[str, Any]]:
        """The session's streams, in JSON's types."""
        return [stream._asdict() for stream in self.life.streams]

    def update_pipeline(self, position: int, pipeline: plan.Pipeline) -> bool:
        """Takes note of how a pipeline is; False where it is another one by now."""
        if self.pipelines[position].bindings > pipeline.bindings:
            return False
        self.pipelines[position] = pipeline
        return True

    def to_dict(self, *, pid: int, version: str, now_ms: int) -> dict[str, Any]:
        """As `videodb_capture_info.json` has it; docs/events-format.md is the normative text."""
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
                {
                    "id": choice.channel.id,
                    "name": choice.channel.name,
                    "kind": choice.channel.kind,
                    "store": choice.store,
                    "primary": choice.primary,
                }
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
            "export": _exported(self.life.export),
            "unended": [{"id": session, "collection_id": collection} for session, collection in self.unended],
            "error": self.error or None,
            "written": envelope.utc_text(now_ms),
        }

    def summary(self, journal: str) -> dict[str, Any]:
        """As `vdbevents capture` prints it in the end."""
        began, ended = self.began_ms, self.ended_ms
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
            "video_id": self.life.export.video_id or None,
            "stream_url": self.life.export.stream_url or None,
            "player_url": self.life.export.player_url or None,
            "journal": journal,
            "error": self.error or None,
        }

    def apply_rebinding(self, told: Mapping[str, Any]) -> None:
        """Takes note of a pipeline that the listener has bound anew, as its `listener.rebound` line tells."""
        streams = {stream.id: stream for stream in self.life.streams}
        bound = (
            plan.pipeline_from(told, streams) if told.get("capture_session_id") == self.session_id else None
        )
        for position, pipeline in enumerate(self.pipelines):
            same = bound is not None and (pipeline.kind, pipeline.stream) == (bound.kind, bound.stream)
            if bound is not None and same and bound.bindings > pipeline.bindings:
                self.pipelines[position] = bound


def merge_bindings(mine: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """What an info file is to hold: `mine`, with the bindings of `there` where those are newer."""
    if _session_id(mine) != _session_id(there):
        return dict(mine)
    later = {_key(pipeline): pipeline for pipeline in objects_in(there, "pipelines")}
    pipelines = [_newer(ours, later.get(_key(ours), {})) for ours in objects_in(mine, "pipelines")]
    return {**mine, "pipelines": pipelines}


def _newer(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Mapping[str, Any]:
    if _bindings(theirs) <= _bindings(ours):
        return ours
    # What has ended is not begun again by who was late to see it.
    return {**theirs, "status": "stopped"} if ours.get("status") == "stopped" else theirs


def objects_in(told: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in a list that an info file has, whoever wrote it."""
    found = told.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _session_id(told: Mapping[str, Any]) -> object:
    session = told.get("session")
    return session.get("id") if isinstance(session, Mapping) else None


def _key(pipeline: Mapping[str, Any]) -> tuple[str, str]:
    return str(pipeline.get("kind")), str(pipeline.get("stream_id"))


def _bindings(pipeline: Mapping[str, Any]) -> int:
    bindings = pipeline.get("bindings")
    return bindings if type(bindings) is int else 0


def unended_sessions(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sessions (id, collection) that an info file does not know to have ended, each once."""
    return list(dict.fromkeys(_left_running(told)))


def _left_running(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    unended = told.get("unended")
    session = told.get("session")
    ended = isinstance(session, Mapping) and str(session.get("status")) in ENDED
    for one in [*(unended if isinstance(unended, list) else ()), *(() if ended else (session,))]:
        if isinstance(one, Mapping) and isinstance(one.get("id"), str) and one["id"]:
            collection = one.get("collection_id")
            yield one["id"], collection if isinstance(collection, str) and collection else "default"


def _exported(export: Export) -> dict[str, Any]:
    return {
        "status": export.status or None,
        "video_id": export.video_id or None,
        "stream_url": export.stream_url or None,
        "player_url": export.player_url or None,
    }


def _text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else envelope.utc_text(milliseconds)
