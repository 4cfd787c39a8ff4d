"""State that all parts of the emulated service share: entities, and what is due to be sent. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.request_checks import find
from vdbevents.emulator.utterances import stream_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from vdbevents.emulator.request_checks import Json

Record = tuple[float, float, str]
"""(start, end, text), times in Unix seconds."""

LIFECYCLE: Final = "capture_session."
INDEX_CHANNELS: Final = ("visual_index", "audio_index")
_RECORDS_KEPT: Final = 100_000
_STATUSES_WITH_WEBHOOK: Final = ("active", "stopping", "stopped", "exported", "failed")


@dataclass(slots=True)
class EmulatedConnection:
    """An accepted WebSocket, open or closed; times in Unix seconds."""

    id: str
    opened_at: float
    closed_at: float | None = None
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0


@dataclass(slots=True)
class EmulatedSession:
    """A capture session."""

    id: str
    collection_id: str
    end_user_id: str
    connection_id: str | None
    created_at: float
    status: str = "created"
    callback_url: str | None = None
    metadata: Json = field(default_factory=dict)
    channels: list[Json] = field(default_factory=list)
    stream_ids: list[str] = field(default_factory=list)
    export_status: str | None = None
    exported: Json | None = None
    export_listeners: list[str] = field(default_factory=list)
    """Connection ids that asked for the export's event, besides the session's own."""


@dataclass(slots=True)
class EmulatedStream:
    """An RTStream. `replayed` is whether a replay feeds it."""

    id: str
    name: str
    collection_id: str
    media_types: list[str]
    created_at: float
    channel_id: str = ""
    status: str = "connected"
    sample_rate: int = 30
    store: bool = False
    url: str | None = None
    session_id: str | None = None
    replayed: bool = False
    script_origins: dict[str, float] = field(default_factory=dict)
    """When the first pipeline of each channel was started: the channel's script runs from then on."""

    @property
    def kind(self) -> str:
        """Return `mic`, `system_audio`, `screen`, `camera` or `other`."""
        return stream_kind(self.channel_id or self.name)


@dataclass(slots=True)
class EmulatedPipeline:
    """A transcription, scene index or understanding: keeps records, and pushes to one connection id.

    `starts` counts its starts, so that a player sees when another one has taken over.
    `implicit` marks one that a replay brought into being.
    """

    id: str
    stream_id: str
    channel: str
    connection_id: str | None
    started_at: float
    details: Json
    status: str = "running"
    implicit: bool = False
    starts: int = 1
    created_at: float = 0.0
    stopped_at: float | None = None
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT))

    @property
    def script_channel(self) -> str:
        """Return the channel of the script that feeds it."""
        return "visual_index" if self.channel == "scene_index" else self.channel


@dataclass(slots=True)
class EmulatedAlert:
    """An alert: an event that a scene index is watched for."""

    id: str
    event_id: str
    pipeline_id: str
    connection_id: str | None
    callback_url: str | None
    enabled: bool = True


class EmulatedStore:
    """All entities by id, and queues of the messages and webhooks that changes cause.

    `clock` returns Unix seconds; `new_id(prefix)` returns an unused id.
    """

    def __init__(self, clock: Callable[[], float], new_id: Callable[[str], str]) -> None:
        self.clock = clock
        self.new_id = new_id
        self.connections: dict[str, EmulatedConnection] = {}
        self.collections: dict[str, Json] = {}
        self.sessions: dict[str, EmulatedSession] = {}
        self.streams: dict[str, EmulatedStream] = {}
        self.pipelines: dict[str, EmulatedPipeline] = {}
        self.events: dict[str, Json] = {}
        self.alerts: dict[str, EmulatedAlert] = {}
        self.tickets: dict[str, None] = {}
        self.token_expiries: dict[str, float] = {}
        self.messages: list[tuple[str, Json]] = []
        """Due on WebSockets: (connection id, message)."""
        self.callbacks: list[tuple[str, str, Json]] = []
        """Due as webhooks: (URL, event, message)."""
        self.started: list[EmulatedPipeline] = []
        """Pipelines that a script is due to feed."""
        self.transitions: list[tuple[str, str]] = []
        """Due in a moment: (`activate`, `finish` or `export`, session id)."""

    def push(self, connection_id: str | None, message: Json) -> None:
        """Queue a message for a connection that is open; no-op for any other."""
        connection = self.connections.get(connection_id or "")
        if connection is not None and connection.closed_at is None:
            self.messages.append((connection.id, message))

    def announce(self, session: EmulatedSession, status: str, data: Json) -> None:
        """Queue a lifecycle message for a session's WebSocket and webhook."""
        self.push(session.connection_id, lifecycle_event(session, status, data))
        self.call_back(session, status, data)

    def call_back(self, session: EmulatedSession, status: str, data: Json) -> None:
        """Queue a lifecycle message for a session's webhook; no-op for a status without one."""
        if session.callback_url is not None and status in _STATUSES_WITH_WEBHOOK:
            message = lifecycle_event(session, status, data)
            self.callbacks.append((session.callback_url, message["event"], message))

    def collection(self, collection_id: str) -> Json:
        """Return a collection; raise 404."""
        return find(self.collections, collection_id, "collection")

    def session(self, session_id: str) -> EmulatedSession:
        """Return a capture session; raise 404."""
        return find(self.sessions, session_id, "capture session")

    def stream(self, stream_id: str) -> EmulatedStream:
        """Return a stream; raise 404."""
        return find(self.streams, stream_id, "rtstream")

    def pipelines_of(self, stream_id: str, channels: Collection[str]) -> list[EmulatedPipeline]:
        """Return a stream's pipelines of these channels; raise 404 for the stream."""
        self.stream(stream_id)
        return [
            pipeline
            for pipeline in self.pipelines.values()
            if pipeline.stream_id == stream_id and pipeline.channel in channels
        ]

    def pipeline(
        self, stream_id: str, pipeline_id: str, channels: Collection[str], subject: str
    ) -> EmulatedPipeline:
        """Return a stream's pipeline; raise 404 when it is not the stream's, or of another channel."""
        known = {pipeline.id: pipeline for pipeline in self.pipelines_of(stream_id, channels)}
        return find(known, pipeline_id, subject)

    def index(self, stream_id: str, index_id: str) -> EmulatedPipeline:
        """Return a stream's scene index; raise 404."""
        return self.pipeline(stream_id, index_id, INDEX_CHANNELS, "scene index")


def lifecycle_event(session: EmulatedSession, status: str, data: Json) -> Json:
    """Return a lifecycle message, in the documented shape."""
    return {"event": LIFECYCLE + status, "capture_session_id": session.id, "status": status, "data": data}


def stream_event(channel: str, stream: EmulatedStream, data: Json) -> Json:
    """Return a message about a stream, in the documented shape."""
    return {"channel": channel, "rtstream_id": stream.id, "rtstream_name": stream.name, "data": data}


def iso_time(unix_seconds: float) -> str:
    """Format a time as the API does, in UTC with milliseconds."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def part_urls(stream: EmulatedStream, start: float, end: float) -> Json:
    """Return the stream URL and player URL of a part of a stream; times in Unix seconds."""
    name = f"{stream.id}-{start:.0f}-{end:.0f}"
    return {
        "stream_url": f"https://stream.example/{name}.m3u8",
        "player_url": f"https://player.example/watch?v={name}",
    }
