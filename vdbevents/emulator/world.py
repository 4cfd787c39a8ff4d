"""What VideoDB's cloud keeps of a capture, and what it says about it.

Plain state: the time and new ids are passed in, and what is to be pushed is put into an outbox. Shapes of
answers are the OpenAPI file's where it has them, and else what the SDK (`videodb` 0.5.1) reads.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vdbevents.emulator.replay import Utterance, stream_kind, utterance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Json = dict[str, Any]
_Kind = TypeVar("_Kind")

_RECORDS_KEPT: Final = 100_000
_REMEMBERED: Final = 10_000
_CLOSED_CONNECTIONS_KEPT: Final = 1_000
_LARGEST_PAGE: Final = 1_000
_PROMPT_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_QUERY_WORD: Final = re.compile(r"[^\W_]{3,}")
_RESULTS: Final = 10
_OVER: Final = ("stopped", "failed")
_LIFECYCLE: Final = "capture_session."
_TOLD_BY_WEBHOOK: Final = ("active", "stopping", "stopped", "exported", "failed")
_MILLISECONDS: Final = 1000.0


class ApiError(Exception):
    """A request that is refused: `{"success": false, "message", "error_code"}` with this status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = status.name


@dataclass(slots=True)
class Connection:
    """A WebSocket that was accepted, open or not; times in Unix seconds."""

    id: str
    opened_at: float
    closed_at: float | None = None
    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0

    def described(self) -> Json:
        """As the control endpoint reports it."""
        return {
            "connection_id": self.id,
            "open": self.closed_at is None,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "frames_sent": self.frames_sent,
            "bytes_sent": self.bytes_sent,
            "frames_received": self.frames_received,
        }


@dataclass(slots=True)
class Session:
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
    told_exported: list[str] = field(default_factory=list)
    """The connection ids that asked to be told of the export, beside the session's own."""


@dataclass(slots=True)
class Stream:
    """An RTStream. `replayed` is whether a replay is what speaks on it."""

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
    heard: dict[str, float] = field(default_factory=dict)
    """When the first pipeline of a channel was started: from there on the script runs, listened to or not."""

    @property
    def kind(self) -> str:
        """`mic`, `system_audio`, `screen`, `camera` or `other`."""
        return stream_kind(self.channel_id or self.name)


@dataclass(slots=True)
class Pipeline:
    """A transcription, a scene index or an understanding: keeps records, pushes to the one id it was given.

    `starts` counts how often it was started, so that a player knows when it has been replaced.
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
    records: deque[tuple[float, float, str]] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT))
    """(start, end, text), times in Unix seconds."""

    @property
    def hears(self) -> str:
        """The channel of the script that it is fed from."""
        return "visual_index" if self.channel == "scene_index" else self.channel


@dataclass(slots=True)
class Alert:
    """An event that a scene index is watched for."""

    id: str
    event_id: str
    pipeline_id: str
    connection_id: str | None
    callback_url: str | None
    enabled: bool = True


class World:
    """Everything the service knows.

    `clock` gives Unix seconds; `new_id(prefix)` an id that was not given before. Methods that change
    something put what has to be pushed into `outbox` as (connection id, message), and what has to be posted
    into `webhooks` as (address, event, message).
    """

    def __init__(self, clock: Callable[[], float], new_id: Callable[[str], str]) -> None:
        self._clock = clock
        self._new_id = new_id
        self.outbox: list[tuple[str, Json]] = []
        self.webhooks: list[tuple[str, str, Json]] = []
        self.connections: dict[str, Connection] = {}
        self.collections: dict[str, Json] = {}
        self.sessions: dict[str, Session] = {}
        self.streams: dict[str, Stream] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.events: dict[str, Json] = {}
        self.alerts: dict[str, Alert] = {}
        self._tickets: dict[str, None] = {}
        self._tokens: dict[str, float] = {}
        self._add_collection(
            "default", "Default Collection", "The collection every account starts with", public=False
        )

    # Connections.

    def issue_ticket(self) -> str:
        """A ticket that opens one WebSocket."""
        ticket = self._new_id("tkt")
        self._tickets[ticket] = None
        _forget_oldest(self._tickets, _REMEMBERED)
        return ticket

    def redeem_ticket(self, ticket: str) -> bool:
        """Whether the ticket is good; it is not, the next time."""
        if ticket not in self._tickets:
            return False
        del self._tickets[ticket]
        return True

    def open_connection(self) -> Connection:
        """A new WebSocket, with an id that no other ever had."""
        connection = Connection(self._new_id("ws"), self._clock())
        self.connections[connection.id] = connection
        closed = [known.id for known in self.connections.values() if known.closed_at is not None]
        for connection_id in closed[: max(0, len(closed) - _CLOSED_CONNECTIONS_KEPT)]:
            del self.connections[connection_id]
        return connection

    def close_connection(self, connection_id: str) -> None:
        """From now on nothing is pushed to this id."""
        connection = self.connections.get(connection_id)
        if connection is not None and connection.closed_at is None:
            connection.closed_at = self._clock()

    # Collections and tokens.

    def list_collections(self) -> Json:
        """All collections."""
        return {"collections": list(self.collections.values()), "default_collection": "default"}

    def create_collection(self, body: Json) -> Json:
        """A new, empty collection."""
        name, description = _text(body, "name"), _text(body, "description", required=False)
        return self._add_collection(self._new_id("c"), name, description, public=bool(body.get("is_public")))

    def collection(self, collection_id: str) -> Json:
        """One collection."""
        return _found(self.collections, collection_id, "collection")

    def generate_token(self, body: Json) -> Json:
        """A client token; `expires_in` in seconds."""
        seconds = body.get("expires_in", 86_400)
        if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds <= 0:
            raise _invalid("expires_in has to be a positive number of seconds.")
        token, expires_at = self._new_id("st"), self._clock() + seconds
        self._tokens[token] = expires_at
        _forget_oldest(self._tokens, _REMEMBERED)
        return {"token": token, "expires_at": expires_at, "expires_in": seconds}

    def is_token_good(self, token: str) -> bool:
        """Whether it is a client token that has not run out."""
        return self._clock() < self._tokens.get(token, 0.0)

    # Capture sessions.

    def create_session(self, collection_id: str, body: Json) -> Json:
        """A session, `created`; its lifecycle is pushed to the `ws_connection_id` of this call, for ever."""
        self.collection(collection_id)
        session = Session(
            id=self._new_id("cap"),
            collection_id=collection_id,
            end_user_id=_text(body, "end_user_id"),
            connection_id=_optional_text(body, "ws_connection_id"),
            created_at=self._clock(),
            callback_url=_optional_text(body, "callback_url"),
            metadata=_object(body, "metadata"),
        )
        self.sessions[session.id] = session
        self._tell(session, "created", {})
        # The SDK's `create_capture_session` cannot take streams that say `rtstream_id`: it gets none.
        return self._session_answer(session, with_streams=False)

    def list_sessions(self, collection_id: str, status: str | None) -> Json:
        """The sessions of a collection, newest first."""
        self.collection(collection_id)
        found = [
            self._session_answer(session)
            for session in reversed(self.sessions.values())
            if session.collection_id == collection_id and status in {None, session.status}
        ]
        return {"sessions": found, "next_page": None}

    def get_session(self, collection_id: str, session_id: str) -> Json:
        """One session with its streams."""
        self.collection(collection_id)
        session = self._session(session_id)
        if session.collection_id != collection_id:
            raise ApiError(
                HTTPStatus.NOT_FOUND, f"There is no capture session {session_id!r} in this collection."
            )
        return self._session_answer(session)

    def start_session(self, body: Json) -> Json:
        """`created` becomes `starting`; `activate_session` is next."""
        session = self._session(_text(body, "session_id"))
        channels = body.get("channels")
        if not isinstance(channels, list) or not channels:
            raise _invalid("channels has to be a list with at least one channel.")
        if session.status != "created":
            raise _invalid(f"The capture session is {session.status}, and can be started only once.")
        session.channels = [_channel(channel, position) for position, channel in enumerate(channels)]
        session.connection_id = _optional_text(body, "ws_connection_id") or session.connection_id
        session.callback_url = _optional_text(body, "callback_url") or session.callback_url
        session.status = "starting"
        self._tell(session, "starting", {})
        return {"session_id": session.id, "status": session.status}

    def activate_session(self, session_id: str) -> None:
        """`starting` becomes `active`, with a stream for each channel."""
        session = self.sessions[session_id]
        if session.status != "starting":
            return
        for channel in session.channels:
            stream = Stream(
                id=self._new_id("rts"),
                name=channel["channel_id"],
                collection_id=session.collection_id,
                media_types=[channel["type"]],
                created_at=self._clock(),
                channel_id=channel["channel_id"],
                store=channel["store"],
                session_id=session.id,
            )
            self.streams[stream.id] = stream
            session.stream_ids.append(stream.id)
        session.status = "active"
        streams = [self.streams[stream_id] for stream_id in session.stream_ids]
        listed = [{"rtstream_id": it.id, "name": it.name, "media_types": it.media_types} for it in streams]
        self._tell(session, "active", {"rtstreams": listed})

    def session_addresses(self, session_id: str) -> Json:
        """What the vendor's runtime asks for: where to publish each channel. Nothing listens there."""
        session = self._session(session_id)
        by_channel = {self.streams[stream_id].channel_id: stream_id for stream_id in session.stream_ids}
        channels = [
            {
                "channel_id": channel["channel_id"],
                "rtsp_url": f"rtsp://127.0.0.1:8554/{by_channel.get(channel['channel_id'], session.id)}",
            }
            for channel in session.channels
        ]
        return {"session_id": session.id, "status": session.status, "channels": channels}

    def stop_session(self, session_id: str) -> bool:
        """`stopping`; returns whether `finish_session` is next, False for one that was stopped before."""
        session = self._session(session_id)
        if session.status == "created":
            raise _invalid("The capture session was never started.")
        if session.status not in {"starting", "active"}:
            return False
        session.status = "stopping"
        self._tell(session, "stopping", {})
        return True

    def finish_session(self, session_id: str) -> bool:
        """`stopped`; returns whether a channel was stored and `finish_export` is next."""
        session = self.sessions[session_id]
        if session.status != "stopping":
            return False
        self._end_session(session, "stopped", {})
        if any(channel["store"] for channel in session.channels):
            session.export_status = "exporting"
        return session.export_status == "exporting"

    def fail_session(self, session_id: str, error: Json) -> None:
        """`failed`, with an error that has a `message`; for one that is over already, `ApiError`."""
        session = self._session(session_id)
        if session.status in _OVER:
            raise _invalid(f"The capture session is {session.status} already.")
        self._end_session(session, "failed", {"error": error})

    def expire_session(self, session_id: str) -> bool:
        """`stopped` without a word before; returns as `finish_session`."""
        session = self._session(session_id)
        if session.status not in {"starting", "active"}:
            raise _invalid(f"The capture session is {session.status}, and does not run.")
        session.status = "stopping"
        return self.finish_session(session_id)

    def finish_export(self, session_id: str) -> None:
        """`exporting` becomes `exported`."""
        session = self.sessions[session_id]
        if session.export_status != "exporting":
            return
        session.export_status, session.exported = "exported", self._exported()
        for connection_id in dict.fromkeys([session.connection_id, *session.told_exported]):
            self._tell_exported(session, connection_id)
        self._post(session, "exported", session.exported)

    def fail_export(self, session_id: str) -> None:
        """`exporting` becomes `failed`, which nobody is told."""
        if self.sessions[session_id].export_status == "exporting":
            self.sessions[session_id].export_status = "failed"

    def export_session(self, collection_id: str, session_id: str, body: Json) -> tuple[Json, bool]:
        """The export of a stopped session, and whether this has begun it, so that `finish_export` is next.

        The `connection_id` given is told when it is done, at once where it is done already.
        """
        self.get_session(collection_id, session_id)
        session = self.sessions[session_id]
        if session.status != "stopped":
            raise _invalid(f"The capture session is {session.status}; it can be exported when it is stopped.")
        stored = [channel["channel_id"] for channel in session.channels if channel["store"]]
        channel_id = _optional_text(body, "video_channel_id") or (stored[0] if stored else "")
        if channel_id not in stored and (stored or session.exported is None):
            raise _invalid("Nothing of this channel was stored: there is nothing to export.")
        begun = session.export_status is None
        if begun:
            session.export_status = "exporting"
        connection_id = _optional_text(body, "connection_id")
        answer = {
            "session_id": session.id,
            "video_channel_id": channel_id,
            "export_status": session.export_status,
        }
        if session.exported is not None:
            self._tell_exported(session, connection_id)
            return answer | _export_urls(session.exported, "video_id"), begun
        if connection_id is not None:
            session.told_exported.append(connection_id)
        return answer, begun

    # Streams.

    def list_streams(self, query: Mapping[str, str]) -> Json:
        """A page of streams: `limit`, `offset`, `status`, `name` (a part of it), `ordering`."""
        limit, offset = _integer(query, "limit", 10, least=1), _integer(query, "offset", 0)
        found = [
            stream
            for stream in self.streams.values()
            if query.get("status") in {None, stream.status}
            and query.get("name", "").lower() in stream.name.lower()
        ]
        ordering = query.get("ordering", "")
        if ordering:
            name = ordering.removeprefix("-")
            if name not in {"created_at", "name", "status"}:
                raise _invalid(f"Streams cannot be ordered by {name!r}.")
            found.sort(key=lambda stream: str(getattr(stream, name)), reverse=ordering.startswith("-"))
        page = [self._stream_answer(stream) for stream in found[offset : offset + limit]]
        more = f"/rtstream/?limit={limit}&offset={offset + limit}" if offset + limit < len(found) else None
        less = f"/rtstream/?limit={limit}&offset={max(0, offset - limit)}" if offset else None
        return {"results": page, "count": len(found), "next": more, "previous": less}

    def get_stream(self, stream_id: str) -> Json:
        """One stream."""
        return self._stream_answer(self._stream(stream_id))

    def create_stream(self, body: Json) -> Json:
        """A stream from an address; nothing is fetched from it, the script is what is heard on it."""
        media_types = body.get("media_types", ["video"])
        known = isinstance(media_types, list) and {"audio", "video"}.issuperset(map(str, media_types))
        if not known or not media_types:
            raise _invalid("media_types has to be a list of 'audio' and 'video'.")
        collection_id = _optional_text(body, "collection_id") or "default"
        self.collection(collection_id)
        url = _text(body, "url")
        stream = Stream(
            id=self._new_id("rts"),
            name=_optional_text(body, "name") or url,
            collection_id=collection_id,
            media_types=[str(kind) for kind in media_types],
            created_at=self._clock(),
            sample_rate=_integer(body, "sample_rate", 30, least=1),
            store=bool(body.get("store")),
            url=url,
        )
        self.streams[stream.id] = stream
        return self._stream_answer(stream)

    def change_stream(self, stream_id: str, body: Json) -> None:
        """Starts or stops a stream; its pipelines end with it."""
        stream = self._stream(stream_id)
        if _action(body, ("start", "stop")) == "stop":
            self._stop_stream(stream)
        else:
            stream.status = "connected"

    def export_stream(self, stream_id: str, body: Json) -> Json:
        """The recording of a stopped stream that was stored."""
        stream = self._stream(stream_id)
        if not stream.store or stream.status != "stopped":
            raise _invalid("No recordings available: the stream has to be stored, and stopped.")
        name = _optional_text(body, "name") or f"{stream.name} - Recording"
        duration = round(self._clock() - stream.created_at, 3)
        return {
            **_export_urls({"exported_video_id": f"m-{stream.id}"}, "video_id"),
            "name": name,
            "duration": duration,
        }

    def locate_stream(self, stream_id: str, query: Mapping[str, str]) -> Json:
        """Where `start` to `end` (Unix seconds) of a stream could be seen again; nothing is behind it."""
        stream = self._stream(stream_id)
        start, end = _moment(query, "start"), _moment(query, "end")
        if start is None or end is None or not -math.inf < start < end < math.inf:
            raise _invalid("start and end have to be Unix times in seconds, and end the later one.")
        return _part_urls(stream, start, end)

    def search_stream(self, stream_id: str, body: Json) -> Json:
        """The records of a stream's scene indexes that hold words of the `query`, the best first.

        The score is the share of the query's words of three or more letters that occur in the text.
        """
        stream, query = self._stream(stream_id), _text(body, "query")
        most = _integer(body, "result_threshold", _RESULTS, least=1)
        least = body.get("score_threshold", 0)
        if isinstance(least, bool) or not isinstance(least, (int, float)):
            raise _invalid("score_threshold has to be a number.")
        index_id = _optional_text(body, "scene_index_id")
        indexes = self._indexes(stream) if index_id is None else [self._index(stream_id, index_id)]
        words = set(_QUERY_WORD.findall(query.lower()))
        found = [
            {
                "start": start,
                "end": end,
                "text": text,
                "score": round(score, 4),
                "scene_index_id": index.id,
                "scene_index_name": index.details["name"],
                "metadata": {},
            }
            for index in indexes
            for start, end, text in index.records
            if (score := _share(words, text)) > 0 and score >= least
        ]
        found.sort(key=lambda result: (-result["score"], result["start"]))
        return {"results": found[:most]}

    # Transcripts.

    def change_transcript(self, stream_id: str, body: Json) -> tuple[Json, Pipeline | None]:
        """Starts or stops the transcription; returns the answer, and the pipeline where one was started.

        One that runs already keeps the connection id it was started with: no call re-binds it.
        """
        stream = self._stream(stream_id)
        if "audio" not in stream.media_types:
            raise _invalid("The stream has no audio that could be transcribed.")
        action, known = _action(body, ("start", "stop")), self._transcription(stream)
        engine = _optional_text(body, "engine") or "default"
        started = None
        if action == "start" and (known is None or known.status != "running"):
            connection_id = _optional_text(body, "ws_connection_id")
            if known is None:
                known = self._add_pipeline(stream, "transcript", connection_id, {"engine": engine})
            else:
                self._start(known)
                known.connection_id, known.details["engine"] = connection_id, engine
            started = known
        elif action == "stop" and known is not None:
            self._stop(known)
        return self._transcription_answer(known, engine), started

    def transcript_status(self, stream_id: str) -> Json:
        """`running`, `stopped` or `not_configured`."""
        known = self._transcription(self._stream(stream_id))
        answer = self._transcription_answer(known, "default")
        return answer if known is None else {**answer, "language": "en", "created_at": _iso(known.created_at)}

    def get_transcript(self, stream_id: str, query: Mapping[str, str]) -> Json:
        """A page of final transcripts, oldest first, times in Unix seconds."""
        pipeline = self._transcription(self._stream(stream_id))
        records, answer = _page(() if pipeline is None else pipeline.records, query)
        found = [
            {"start": start, "end": end, "text": text, "word_timestamps": []} for start, end, text in records
        ]
        return {"transcription_records": found, **answer}

    # Scene indexes.

    def create_index(self, stream_id: str, body: Json) -> tuple[Json, Pipeline]:
        """An index: `extraction_type` `time` is a visual one, `transcript` one of what is said."""
        stream = self._stream(stream_id)
        extraction_type = body.get("extraction_type") or "time"
        if extraction_type not in {"time", "transcript"}:
            raise _invalid("extraction_type has to be 'time' or 'transcript'.")
        channel, media = ("visual_index", "video") if extraction_type == "time" else ("audio_index", "audio")
        if media not in stream.media_types:
            raise _invalid(f"The stream has no {media} that could be indexed.")
        details = {
            "extraction_type": extraction_type,
            "extraction_config": _object(body, "extraction_config"),
            "prompt": _optional_text(body, "prompt") or "Describe the scene",
            "name": _optional_text(body, "name") or f"{channel} of {stream.name}",
            "sandbox_id": _optional_text(body, "sandbox_id"),
        }
        pipeline = self._add_pipeline(stream, channel, _optional_text(body, "ws_connection_id"), details)
        return self._index_answer(pipeline), pipeline

    def list_indexes(self, stream_id: str) -> Json:
        """The scene indexes of a stream."""
        stream = self._stream(stream_id)
        return {"scene_indexes": [self._index_answer(index) for index in self._indexes(stream)]}

    def get_index(self, stream_id: str, index_id: str) -> Json:
        """One scene index."""
        return self._index_answer(self._index(stream_id, index_id))

    def get_scenes(self, stream_id: str, index_id: str, query: Mapping[str, str]) -> Json:
        """A page of an index's records, oldest first, times in Unix seconds."""
        records, answer = _page(self._index(stream_id, index_id).records, query)
        found = [{"start": start, "end": end, "description": text} for start, end, text in records]
        return {"scene_index_records": found, "next_page": answer["next_page"]}

    def change_prompt(self, stream_id: str, index_id: str, body: Json) -> None:
        """Another prompt for an index."""
        self._index(stream_id, index_id).details["prompt"] = _text(body, "prompt")

    def change_index(self, stream_id: str, index_id: str, body: Json) -> Pipeline | None:
        """Starts or stops an index, which keeps its connection id; returns it where it was started."""
        return self._change_pipeline(self._index(stream_id, index_id), body)

    # Understandings.

    def create_understanding(self, stream_id: str, body: Json) -> tuple[Json, Pipeline]:
        """An understanding with its one `vlm` analyzer."""
        stream = self._stream(stream_id)
        analyzers = body.get("analyzers")
        one = isinstance(analyzers, list) and len(analyzers) == 1 and isinstance(analyzers[0], dict)
        if not isinstance(analyzers, list) or not one or analyzers[0].get("type") != "vlm":
            raise _invalid("analyzers has to hold exactly one analyzer of type 'vlm'.")
        details = {
            "segmentation": _object(body, "segmentation"),
            "analyzers": analyzers,
            "store": body.get("store", True) is not False,
            "output": str(analyzers[0].get("name") or "scene"),
        }
        pipeline = self._add_pipeline(
            stream, "scene_index", _optional_text(body, "ws_connection_id"), details
        )
        return self._understanding_answer(pipeline), pipeline

    def list_understandings(self, stream_id: str) -> Json:
        """The understandings of a stream."""
        self._stream(stream_id)
        found = [
            it for it in self.pipelines.values() if it.stream_id == stream_id and it.channel == "scene_index"
        ]
        return {"understandings": [self._understanding_answer(pipeline) for pipeline in found]}

    def get_understanding(self, stream_id: str, understanding_id: str) -> Json:
        """One understanding."""
        return self._understanding_answer(self._understanding(stream_id, understanding_id))

    def change_understanding(self, stream_id: str, understanding_id: str, body: Json) -> Pipeline | None:
        """Starts or stops one; returns it where it was started."""
        return self._change_pipeline(self._understanding(stream_id, understanding_id), body)

    def get_understood(self, stream_id: str, understanding_id: str, query: Mapping[str, str]) -> Json:
        """A page of records of an output (`output`, by default `scene`)."""
        pipeline = self._understanding(stream_id, understanding_id)
        wanted = query.get("output", "scene") == pipeline.details["output"] and pipeline.details["store"]
        records, answer = _page(pipeline.records if wanted else (), query)
        found = [{"start": start, "end": end, "description": text} for start, end, text in records]
        return {"records": found, "next_page": answer["next_page"]}

    # Events and alerts.

    def create_event(self, body: Json) -> Json:
        """Something to be watched for."""
        event = {"event_prompt": _text(body, "event_prompt"), "label": _text(body, "label")}
        event_id = self._new_id("event")
        self.events[event_id] = {"event_id": event_id, **event}
        return {"event_id": event_id}

    def list_events(self) -> Json:
        """Everything that can be watched for."""
        return {"events": list(self.events.values())}

    def create_alert(self, stream_id: str, index_id: str, body: Json) -> Json:
        """Watches an index for an event."""
        pipeline = self._index(stream_id, index_id)
        event_id = _text(body, "event_id")
        _found(self.events, event_id, "event")
        alert = Alert(
            id=self._new_id("alert"),
            event_id=event_id,
            pipeline_id=pipeline.id,
            connection_id=_optional_text(body, "ws_connection_id"),
            callback_url=_optional_text(body, "callback_url"),
        )
        self.alerts[alert.id] = alert
        return {"alert_id": alert.id}

    def list_alerts(self, stream_id: str, index_id: str) -> Json:
        """The alerts of an index."""
        self._index(stream_id, index_id)
        found = [
            {
                "alert_id": alert.id,
                "event_id": alert.event_id,
                "prompt": self.events[alert.event_id]["event_prompt"],
                "label": self.events[alert.event_id]["label"],
                "callback_url": alert.callback_url,
                "status": "enabled" if alert.enabled else "disabled",
            }
            for alert in self.alerts.values()
            if alert.pipeline_id == index_id
        ]
        return {"alerts": found}

    def change_alert(self, stream_id: str, index_id: str, alert_id: str, body: Json) -> None:
        """Enables or disables: the SDK says {"action": "enable"}, the OpenAPI file {"status": "enabled"}."""
        self._index(stream_id, index_id)
        alert = _found(self.alerts, alert_id, "alert")
        wanted = body.get("action", body.get("status"))
        if wanted not in {"enable", "enabled", "disable", "disabled"}:
            raise _invalid("action has to be 'enable' or 'disable'.")
        alert.enabled = wanted in {"enable", "enabled"}

    # What the script says.

    def deliver(self, pipeline: Pipeline, said: Utterance) -> None:
        """A pipeline has heard or seen something: it keeps a record and pushes, and alerts may fire."""
        stream = self.streams[pipeline.stream_id]
        self._keep(pipeline, said)
        data: Json = {"text": said.text}
        if pipeline.channel == "transcript":
            data["is_final"] = said.is_final
        data |= {"start": said.start, "end": said.end}
        self._push(pipeline.connection_id, _stream_event(pipeline.channel, stream, data))
        self._fire(pipeline, said)

    def observe(self, event: Json, connection_id: str) -> list[str]:
        """Takes a replayed message into the world; returns the connection ids that it is to be sent to.

        Streams, sessions and pipelines that it speaks of come into being, bound to `connection_id` as if they
        had been created with it. What was stopped or started since over REST is respected.
        """
        name = event.get("event") or event.get("type")
        if isinstance(name, str) and name.startswith(_LIFECYCLE):
            self._observe_session(name.removeprefix(_LIFECYCLE), event, connection_id)
            return [connection_id]
        said, stream_id = utterance(event), event.get("rtstream_id", event.get("rtstreamId"))
        if said is None or not isinstance(stream_id, str):
            return [connection_id]
        stream = self._observe_stream(
            stream_id, event, "video" if said.channel == "visual_index" else "audio"
        )
        fed = [it for it in self.pipelines.values() if it.stream_id == stream_id and it.hears == said.channel]
        if not fed:
            fed = [
                self._add_pipeline(stream, said.channel, connection_id, self._implied(said.channel, stream))
            ]
            fed[0].implicit = True
        targets: list[str] = []
        for pipeline in fed:
            if pipeline.implicit:
                pipeline.connection_id = connection_id
            if pipeline.status == "running":
                self._keep(pipeline, said)
                self._fire(pipeline, said)
                targets += [pipeline.connection_id] if pipeline.connection_id is not None else []
        return targets

    def described_sessions(self) -> list[Json]:
        """Each session in short, for the control endpoint."""
        return [
            {"session_id": it.id, "status": it.status, "exported": it.exported is not None}
            for it in self.sessions.values()
        ]

    def described_pipelines(self) -> list[Json]:
        """Each pipeline in short, for the control endpoint."""
        return [
            {
                "id": it.id,
                "stream_id": it.stream_id,
                "channel": it.channel,
                "status": it.status,
                "ws_connection_id": it.connection_id,
            }
            for it in self.pipelines.values()
        ]

    def described_records(self, session_id: str | None) -> list[Json]:
        """What all pipelines have kept, or those of a session, each once, in the order of start."""
        streams = self.streams if session_id is None else self._session(session_id).stream_ids
        found = {
            (start, end, pipeline.stream_id, pipeline.channel, text): None
            for pipeline in self.pipelines.values()
            if pipeline.stream_id in streams
            for start, end, text in pipeline.records
        }
        return [
            {"rtstream_id": stream_id, "channel": channel, "start": start, "end": end, "text": text}
            for start, end, stream_id, channel, text in sorted(found)
        ]

    def totals(self) -> dict[str, int]:
        """How much of everything there is."""
        return {
            "sessions": len(self.sessions),
            "rtstreams": len(self.streams),
            "pipelines": len(self.pipelines),
            "records": sum(len(pipeline.records) for pipeline in self.pipelines.values()),
            "events": len(self.events),
            "alerts": len(self.alerts),
        }

    # Inside.

    def _add_collection(self, collection_id: str, name: str, description: str, *, public: bool) -> Json:
        self.collections[collection_id] = {
            "id": collection_id,
            "name": name,
            "description": description,
            "is_public": public,
            "owner": "u-emulator",
            "created_at": _iso(self._clock()),
        }
        return self.collections[collection_id]

    def _session(self, session_id: str) -> Session:
        return _found(self.sessions, session_id, "capture session")

    def _stream(self, stream_id: str) -> Stream:
        return _found(self.streams, stream_id, "rtstream")

    def _indexes(self, stream: Stream) -> list[Pipeline]:
        channels = {"visual_index", "audio_index"}
        return [it for it in self.pipelines.values() if it.stream_id == stream.id and it.channel in channels]

    def _index(self, stream_id: str, index_id: str) -> Pipeline:
        known = {index.id: index for index in self._indexes(self._stream(stream_id))}
        return _found(known, index_id, "scene index")

    def _understanding(self, stream_id: str, understanding_id: str) -> Pipeline:
        self._stream(stream_id)
        pipeline = _found(self.pipelines, understanding_id, "understanding")
        if pipeline.stream_id != stream_id or pipeline.channel != "scene_index":
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no understanding {understanding_id!r}.")
        return pipeline

    def _transcription(self, stream: Stream) -> Pipeline | None:
        return self.pipelines.get(f"transcription-{stream.id}")

    def _add_pipeline(
        self, stream: Stream, channel: str, connection_id: str | None, details: Json
    ) -> Pipeline:
        now = self._clock()
        prefix = "und" if channel == "scene_index" else "scene-idx"
        pipeline_id = f"transcription-{stream.id}" if channel == "transcript" else self._new_id(prefix)
        pipeline = Pipeline(pipeline_id, stream.id, channel, connection_id, now, details, created_at=now)
        self.pipelines[pipeline.id] = pipeline
        stream.heard.setdefault(pipeline.hears, now)
        return pipeline

    def _change_pipeline(self, pipeline: Pipeline, body: Json) -> Pipeline | None:
        if _action(body, ("start", "stop")) == "stop":
            self._stop(pipeline)
            return None
        if pipeline.status == "running":
            return None
        self._start(pipeline)
        return pipeline

    def _start(self, pipeline: Pipeline) -> None:
        pipeline.status, pipeline.started_at, pipeline.stopped_at = "running", self._clock(), None
        pipeline.starts += 1
        pipeline.implicit = False

    def _stop(self, pipeline: Pipeline) -> None:
        if pipeline.status == "running":
            pipeline.status, pipeline.stopped_at = "stopped", self._clock()

    def _stop_stream(self, stream: Stream) -> None:
        stream.status = "stopped"
        for pipeline in self.pipelines.values():
            if pipeline.stream_id == stream.id:
                self._stop(pipeline)

    def _keep(self, pipeline: Pipeline, said: Utterance) -> None:
        if not said.is_final:
            return
        pipeline.records.append((*_span(said, self._clock()), said.text))

    def _fire(self, pipeline: Pipeline, said: Utterance) -> None:
        stream = self.streams[pipeline.stream_id]
        for alert in self.alerts.values():
            if alert.pipeline_id != pipeline.id or not alert.enabled:
                continue
            event = self.events[alert.event_id]
            if not _is_mentioned(event, said.text):
                continue
            now = self._clock()
            timestamp = int(now * _MILLISECONDS)
            data = {"event_label": event["label"], "timestamp": timestamp, "text": said.text}
            self._push(alert.connection_id, _stream_event("alert", stream, data))
            if alert.callback_url is not None:
                self.webhooks.append((alert.callback_url, "alert", _flat_alert(event, stream, said, now)))

    def _observe_session(self, status: str, event: Json, connection_id: str) -> None:
        session_id = event.get("capture_session_id", event.get("session_id"))
        if not isinstance(session_id, str):
            return
        session = self.sessions.get(session_id)
        if session is None:
            session = Session(session_id, "default", "replay", connection_id, self._clock())
            self.sessions[session_id] = session
        session.connection_id = connection_id
        found = event.get("data")
        data: Json = found if isinstance(found, dict) else {}
        if status == "exported":
            session.exported = {
                "exported_video_id": data.get("exported_video_id", data.get("video_id")),
                **data,
            }
            session.export_status = "exported"
        else:
            session.status = status
        if status == "active":
            self._observe_streams(session, data)
        for stream_id in session.stream_ids if status == "stopped" else ():
            self.streams[stream_id].status = "stopped"

    def _observe_streams(self, session: Session, data: Json) -> None:
        names = ("rtstreams", "streams", "rt_streams", "channels")
        listed: list[Any] = next((data[name] for name in names if isinstance(data.get(name), list)), [])
        for item in listed:
            stream_id = item.get("rtstream_id", item.get("id")) if isinstance(item, dict) else None
            if not isinstance(stream_id, str):
                continue
            name = str(item.get("name") or item.get("channel_id") or stream_id)
            kinds = item.get("media_types", [item.get("type", "audio")])
            stream = self._observe_stream(stream_id, {"rtstream_name": name}, "audio")
            stream.media_types = [str(kind) for kind in kinds] if isinstance(kinds, list) else ["audio"]
            stream.session_id, stream.collection_id = session.id, session.collection_id
            stream.status = "connected"
            if stream_id not in session.stream_ids:
                session.stream_ids.append(stream_id)
                kind = "video" if "video" in stream.media_types else "audio"
                session.channels.append({"channel_id": name, "name": name, "type": kind, "store": True})

    def _observe_stream(self, stream_id: str, event: Json, media: str) -> Stream:
        stream = self.streams.get(stream_id)
        if stream is None:
            name = str(event.get("rtstream_name") or event.get("rtstreamName") or stream_id)
            stream = Stream(stream_id, name, "default", [media], self._clock(), channel_id=name)
            self.streams[stream_id] = stream
        stream.replayed = True
        return stream

    def _implied(self, channel: str, stream: Stream) -> Json:
        if channel == "transcript":
            return {"engine": "default"}
        extraction_type = "time" if channel == "visual_index" else "transcript"
        return {
            "extraction_type": extraction_type,
            "extraction_config": {},
            "prompt": "Describe the scene",
            "name": f"{channel} of {stream.name}",
            "sandbox_id": None,
        }

    def _end_session(self, session: Session, status: str, data: Json) -> None:
        for stream_id in session.stream_ids:
            self._stop_stream(self.streams[stream_id])
        session.status = status
        self._tell(session, status, data)

    def _exported(self) -> Json:
        video_id = self._new_id("m")
        return {"exported_video_id": video_id, **_export_urls({"exported_video_id": video_id})}

    def _tell_exported(self, session: Session, connection_id: str | None) -> None:
        self._push(connection_id, _lifecycle(session.id, "exported", session.exported or {}))

    def _tell(self, session: Session, status: str, data: Json) -> None:
        self._push(session.connection_id, _lifecycle(session.id, status, data))
        self._post(session, status, data)

    def _post(self, session: Session, status: str, data: Json) -> None:
        if session.callback_url is not None and status in _TOLD_BY_WEBHOOK:
            message = _lifecycle(session.id, status, data)
            self.webhooks.append((session.callback_url, message["event"], message))

    def _push(self, connection_id: str | None, message: Json) -> None:
        connection = None if connection_id is None else self.connections.get(connection_id)
        if connection is not None and connection.closed_at is None:
            self.outbox.append((connection.id, message))

    def _session_answer(self, session: Session, *, with_streams: bool = True) -> Json:
        answer = {
            "session_id": session.id,
            "end_user_id": session.end_user_id,
            "status": session.status,
            "collection_id": session.collection_id,
            "ws_connection_id": session.connection_id,
            "callback_url": session.callback_url,
            "metadata": session.metadata,
            "created_at": _iso(session.created_at),
            "channels": session.channels,
            "primary_video_channel_id": next(
                (channel["channel_id"] for channel in session.channels if channel.get("is_primary")), None
            ),
            "export_status": session.export_status,
            "exported_video_id": (session.exported or {}).get("exported_video_id"),
        }
        if with_streams:
            answer["rtstreams"] = [
                {"rtstream_id": stream_id, **_without(self._stream_answer(self.streams[stream_id]), "id")}
                for stream_id in session.stream_ids
            ]
        return answer

    def _stream_answer(self, stream: Stream) -> Json:
        return {
            "id": stream.id,
            "name": stream.name,
            "status": stream.status,
            "sample_rate": stream.sample_rate,
            "media_types": stream.media_types,
            "collection_id": stream.collection_id,
            "channel_id": stream.channel_id or None,
            "store": stream.store,
            "created_at": _iso(stream.created_at),
        }

    def _index_answer(self, pipeline: Pipeline) -> Json:
        return {"rtstream_index_id": pipeline.id, "status": pipeline.status, **pipeline.details}

    def _understanding_answer(self, pipeline: Pipeline) -> Json:
        output = pipeline.details["output"]
        return {
            "understanding_id": pipeline.id,
            "rtstream_id": pipeline.stream_id,
            "status": pipeline.status,
            **_without(pipeline.details, "output"),
            "outputs": {output: {"type": "understanding", "understanding_id": pipeline.id, "output": output}},
        }

    def _transcription_answer(self, pipeline: Pipeline | None, engine: str) -> Json:
        if pipeline is None:
            return {"status": "not_configured", "engine": engine}
        changed = pipeline.started_at if pipeline.stopped_at is None else pipeline.stopped_at
        answer = {
            "status": pipeline.status,
            "engine": pipeline.details["engine"],
            "updated_at": _iso(changed),
            "start_time": pipeline.started_at,
        }
        return answer if pipeline.stopped_at is None else {**answer, "end_time": pipeline.stopped_at}


def _invalid(message: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message)


def _found(known: Mapping[str, _Kind], wanted: str, what: str) -> _Kind:
    try:
        return known[wanted]
    except KeyError:
        raise ApiError(HTTPStatus.NOT_FOUND, f"There is no {what} {wanted!r}.") from None


def _text(body: Json, name: str, *, required: bool = True) -> str:
    value = body.get(name)
    if isinstance(value, str) and (value or not required):
        return value
    if value is None and not required:
        return ""
    raise _invalid(f"{name} is required, and has to be a text.")


def _optional_text(body: Json, name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise _invalid(f"{name} has to be a text.")
    return value or None


def _object(body: Json, name: str) -> Json:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise _invalid(f"{name} has to be an object.")
    return value or {}


def _integer(values: Mapping[str, Any], name: str, default: int, *, least: int = 0) -> int:
    try:
        value = int(values.get(name, default))
    except (TypeError, ValueError):
        value = least - 1
    if value < least:
        raise _invalid(f"{name} has to be a whole number from {least}.")
    return value


def _moment(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise _invalid(f"{name} has to be a Unix time in seconds.") from None


def _action(body: Json, known: tuple[str, str]) -> str:
    action = body.get("action")
    if action not in known:
        raise _invalid(f"action has to be {known[0]!r} or {known[1]!r}.")
    return str(action)


def _channel(channel: object, position: int) -> Json:
    if not isinstance(channel, dict):
        raise _invalid("A channel has to be an object.")
    channel_id, kind = _text(channel, "channel_id"), channel.get("type", "audio")
    if kind not in {"audio", "video"}:
        raise _invalid(f"The type of channel {position + 1} has to be 'audio' or 'video'.")
    return {
        "channel_id": channel_id,
        "name": _optional_text(channel, "channel_name") or _optional_text(channel, "name") or channel_id,
        "type": kind,
        "store": channel.get("store", True) is not False,
        "is_primary": channel.get("is_primary", False) is True,
    }


def _page(
    records: Iterable[tuple[float, float, str]], query: Mapping[str, str]
) -> tuple[list[tuple[float, float, str]], Json]:
    """A page of what begins in start..end and ends after `since`; the page is numbered from 1."""
    page, size = _integer(query, "page", 1, least=1), _integer(query, "page_size", 100, least=1)
    if size > _LARGEST_PAGE:
        raise _invalid(f"page_size can be {_LARGEST_PAGE} at most.")
    start, end, since = (_moment(query, name) for name in ("start", "end", "since"))
    found = [
        record
        for record in records
        if (start is None or record[0] >= start)
        and (end is None or record[0] <= end)
        and (since is None or record[1] > since)
    ]
    first = (page - 1) * size
    answer = {
        "next_page": first + size < len(found),
        "total_count": len(found),
        "page": page,
        "page_size": size,
    }
    return found[first : first + size], answer


def _export_urls(exported: Json, name: str = "exported_video_id") -> Json:
    video_id = exported["exported_video_id"]
    stream_url = exported.get("stream_url", f"https://stream.example/{video_id}.m3u8")
    player_url = exported.get("player_url", f"https://player.example/watch?v={video_id}")
    return {name: video_id, "stream_url": stream_url, "player_url": player_url}


def _lifecycle(session_id: str, status: str, data: Json) -> Json:
    """As the seed document has it."""
    return {"event": _LIFECYCLE + status, "capture_session_id": session_id, "status": status, "data": data}


def _stream_event(channel: str, stream: Stream, data: Json) -> Json:
    """As the seed document has it."""
    return {"channel": channel, "rtstream_id": stream.id, "rtstream_name": stream.name, "data": data}


def _flat_alert(event: Json, stream: Stream, said: Utterance, now: float) -> Json:
    """An alert as webhooks have it."""
    start, end = _span(said, now)
    return {
        "event_id": event["event_id"],
        "label": event["label"],
        "confidence": 1.0,
        "explanation": said.text,
        "timestamp": _iso(now),
        "start_time": start,
        "end_time": end,
        **_part_urls(stream, start, end),
    }


def _span(said: Utterance, now: float) -> tuple[float, float]:
    """From when to when it was said, in Unix seconds."""
    start = now if said.start is None else said.start / _MILLISECONDS
    return start, start if said.end is None else said.end / _MILLISECONDS


def _part_urls(stream: Stream, start: float, end: float) -> Json:
    name = f"{stream.id}-{start:.0f}-{end:.0f}"
    return {
        "stream_url": f"https://stream.example/{name}.m3u8",
        "player_url": f"https://player.example/watch?v={name}",
    }


def _is_mentioned(event: Json, text: str) -> bool:
    lowered = text.lower()
    words = {word.lower() for word in _PROMPT_WORD.findall(event["event_prompt"])}
    return event["label"].lower() in lowered or any(word in lowered for word in words)


def _share(words: set[str], text: str) -> float:
    lowered = text.lower()
    return sum(word in lowered for word in words) / len(words) if words else 0.0


def _without(answer: Json, name: str) -> Json:
    return {key: value for key, value in answer.items() if key != name}


def _forget_oldest(known: dict[str, Any], most: int) -> None:
    while len(known) > most:
        del known[next(iter(known))]


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
