"""The API's calls for capture, and their answers."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote

from vdbevents.cloud.connection import THREADS, Credentials, connect
from vdbevents.cloud.retry import refusal
from vdbevents.cloud.scrub import without_secret
from vdbevents.errors import InputError
from vdbevents.events import lifecycle

_Answer = TypeVar("_Answer")
_Sdk = Any  # the SDK's objects, which have no types
_Json = Any

_END_OF_TIME: Final = 9_999_999_999


@dataclass(frozen=True, slots=True)
class Token:
    """A client token, with which the capture runtime may record, and do nothing else.

    Attributes:
        value: kept out of `repr`.
        expires_ms: Unix ms; 0 if unknown.
    """

    value: str = field(repr=False)
    expires_ms: int


@dataclass(frozen=True, slots=True)
class CloudSession:
    """A capture session as the service reports it.

    Attributes:
        status: `created`, `starting`, `active`, `stopping`, `stopped`, `failed`; empty if not reported.
        streams: its channels on the server, once it is active.
        export_status: `exporting`, `exported`, `failed`, or empty.
        video_id: of the exported video, or empty.
        error: why it failed.
    """

    id: str
    collection_id: str
    status: str
    end_user_id: str
    created: str
    streams: tuple[lifecycle.Stream, ...]
    export_status: str
    video_id: str
    error: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """The export of a session's video; `status` is `exporting`, `exported`, `failed`, or empty."""

    status: str
    video_id: str = ""
    stream_url: str = ""
    player_url: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """A scene index; `channel` is `audio_index` or `visual_index`."""

    id: str
    stream_id: str
    channel: str
    name: str
    prompt: str
    status: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a pipeline's records.

    Attributes:
        records: each with `start` and `end` in Unix seconds, and a `text` or a `description`.
        more: whether another page follows.
    """

    records: list[Mapping[str, Any]]
    more: bool


@dataclass(frozen=True, slots=True)
class Shot:
    """A result of the semantic search; times in Unix seconds, a higher `score` is better."""

    stream_id: str
    start: float | None
    end: float | None
    text: str
    score: float | None
    index_id: str


class Account:
    """Call the API for capture: each call once, with a time limit, from any thread.

    Every method raises ServiceRefusedError, with the service's own reason, if a retry will not help, and
    ServiceUnreachableError for any other failure.
    """

    def __init__(self, credentials: Credentials, seconds: float) -> None:
        """Send nothing yet; `seconds` limits each call."""
        self._credentials = credentials
        self._seconds = seconds

    def without_key(self, content: bytes) -> bytes:
        """Return what somebody sent, with a mark in place of the API key."""
        return without_secret(content, self._credentials.api_key)

    # Sessions.

    def create_session(
        self,
        end_user_id: str,
        collection_id: str,
        ws_id: str | None,
        metadata: Mapping[str, Any],
        callback_url: str | None = None,
    ) -> CloudSession:
        """Create a session that reports to the WebSocket with `ws_id`, and to a webhook."""
        path = _sessions_path(collection_id)
        body = {
            "end_user_id": end_user_id,
            "ws_connection_id": ws_id,
            "callback_url": callback_url,
            "metadata": dict(metadata),
        }
        given = {name: value for name, value in body.items() if value}
        # Not the SDK's own method: it raises TypeError when the answer lists streams, and loses the id.
        return self._call(
            "create a capture session", lambda sdk: _session(sdk.post(path, data=given), collection_id)
        )

    def get_session(self, session_id: str, collection_id: str) -> CloudSession:
        """Return a session with its streams."""
        path = f"{_sessions_path(collection_id)}/{_path_part(session_id)}"
        return self._call(
            f"get the session {session_id}",
            lambda sdk: _session(sdk.get(path), collection_id, session_id),
            missing=f"session {session_id} in collection {collection_id}",
        )

    def list_sessions(self, collection_id: str, status: str | None = None) -> list[CloudSession]:
        """Return the sessions of a collection, in the service's order."""
        path, params = _sessions_path(collection_id), {"status": status} if status else {}
        return self._call(
            "list the capture sessions",
            lambda sdk: [
                _session(item, collection_id) for item in sdk.get(path, params=params).get("sessions") or []
            ],
        )

    def stop_session(self, session_id: str) -> None:
        """Stop a session on the server, as its runtime would."""
        path = f"capture/session/{_path_part(session_id)}/stop"
        self._call(
            f"stop the session {session_id}", lambda sdk: sdk.post(path), missing=f"session {session_id}"
        )

    def export_session(self, session_id: str, collection_id: str, ws_id: str | None = None) -> Export:
        """Start the export of a stopped session's video, or return how far it is."""
        path = f"{_sessions_path(collection_id)}/{_path_part(session_id)}/export"
        body = {"connection_id": ws_id} if ws_id else {}
        return self._call(
            f"export the session {session_id}",
            lambda sdk: export_from(sdk.post(path, data=body) or {}),
            missing=f"session {session_id} in collection {collection_id}",
        )

    def create_token(self, seconds: int) -> Token:
        """Create a client token that expires after some seconds."""
        expires_ms = time.time_ns() // 1_000_000 + seconds * 1000
        return self._call(
            "create a client token",
            lambda sdk: Token(_text(sdk.generate_client_token(expires_in=seconds)), expires_ms),
        )

    # Pipelines.

    def start_transcript(self, stream_id: str, ws_id: str | None, engine: str | None) -> None:
        """Start a stream's transcript. One that runs already stays bound to its first WebSocket."""
        self._on_stream(
            "start the transcript of", stream_id, lambda stream: stream.start_transcript(ws_id, engine)
        )

    def stop_transcript(self, stream_id: str, engine: str | None = None) -> None:
        """Stop a stream's transcript."""
        self._on_stream("stop the transcript of", stream_id, lambda stream: stream.stop_transcript(engine))

    def transcript_status(self, stream_id: str) -> Mapping[str, Any]:
        """Return `status` (`running`, `stopped`, `not_configured`), `engine`, and more."""
        path = f"rtstream/{_path_part(stream_id)}/transcription/status"
        return self._call(f"get the transcript status of {stream_id}", lambda sdk: _object(sdk.get(path)))

    def get_transcript(
        self,
        stream_id: str,
        page: int,
        page_size: int,
        *,
        start: float | None,
        end: float | None,
        engine: str | None,
    ) -> Page:
        """Return a page, from 1, of a stream's final transcripts that begin between two times."""
        options = {"start": start, "end": end, "engine": engine}
        return self._on_stream(
            "fetch the transcript of",
            stream_id,
            lambda stream: _page(stream.get_transcript(page, page_size, **options), "transcription_records"),
        )

    def create_index(
        self,
        stream_id: str,
        channel: str,
        *,
        prompt: str,
        batch: Mapping[str, Any] | None,
        model: str | None,
        name: str | None,
        ws_id: str | None,
    ) -> Index:
        """Create an index on a stream, and start it.

        Args:
            stream_id: the stream.
            channel: `audio_index` or `visual_index`, as the stream allows.
            prompt: the instruction to the model.
            batch: how much goes into one record: `type` (`time`, `word`, `sentence`), `value`, and for a
                visual index `frame_count`; None for the service's default.
            model: None for the service's default.
            name: of the index.
            ws_id: the WebSocket that its records are sent to.
        """

        def create(stream: _Sdk) -> Index:
            method = stream.index_visuals if channel == "visual_index" else stream.index_audio
            options = {"model_name": model, "name": name, "ws_connection_id": ws_id}
            return _index(method(prompt=prompt, batch_config=batch, **options), stream_id)

        return self._on_stream(f"start the {channel} of", stream_id, create)

    def list_indexes(self, stream_id: str) -> list[Index]:
        """Return the indexes of a stream."""
        return self._on_stream(
            "list the indexes of",
            stream_id,
            lambda stream: [_index(index, stream_id) for index in stream.list_scene_indexes()],
        )

    def get_records(
        self,
        stream_id: str,
        index_id: str,
        page: int,
        page_size: int,
        *,
        start: float | None,
        end: float | None,
    ) -> Page:
        """Return a page, from 1, of an index's records that begin between two times."""
        # The SDK sends both bounds or none, and takes zero for none.
        bounds = (start or 1, end or _END_OF_TIME) if start or end else (None, None)
        return self._on_index(
            "fetch the records of",
            stream_id,
            index_id,
            lambda index: _page(index.get_scenes(*bounds, page, page_size), "scenes"),
        )

    def stop_index(self, stream_id: str, index_id: str) -> None:
        """Stop an index; its records stay."""
        self._on_index("stop the index", stream_id, index_id, lambda index: index.stop())

    # Alerts.

    def list_events(self) -> list[Mapping[str, Any]]:
        """Return the events to watch for: `event_id`, `label`, `event_prompt`."""
        return self._call("list the events", lambda sdk: _objects(sdk.list_events()))

    def create_event(self, label: str, prompt: str) -> str:
        """Create an event to watch for; return its id."""
        return self._call(f"create the event {label!r}", lambda sdk: _text(sdk.create_event(prompt, label)))

    def list_alerts(self, stream_id: str, index_id: str) -> list[Mapping[str, Any]]:
        """Return the alerts of an index: `alert_id`, `event_id`, `label`, `prompt`, `status`."""
        return self._on_index(
            "list the alerts of", stream_id, index_id, lambda index: _objects(index.list_alerts())
        )

    def create_alert(
        self, stream_id: str, index_id: str, event_id: str, ws_id: str | None, callback_url: str | None = None
    ) -> str:
        """Create an alert for an event on an index; return its id."""
        return self._on_index(
            "create an alert on",
            stream_id,
            index_id,
            lambda index: _text(index.create_alert(event_id, callback_url, ws_id)),
        )

    def set_alert(self, stream_id: str, index_id: str, alert_id: str, *, enabled: bool) -> None:
        """Enable or disable an alert."""
        name = _path_part(alert_id)
        self._on_index(
            f"{'enable' if enabled else 'disable'} the alert {alert_id} of",
            stream_id,
            index_id,
            lambda index: (index.enable_alert if enabled else index.disable_alert)(name),
        )

    # Recordings.

    def playable(self, stream_id: str, start: int, end: int) -> Export:
        """Return URLs that play a stream between two times, in Unix seconds."""

        def generate(stream: _Sdk) -> Export:
            stream.generate_stream(start, end)
            return Export("exported", "", _or_empty(stream.stream_url), _or_empty(stream.player_url))

        return self._on_stream("make a clip of", stream_id, generate)

    def search(self, stream_id: str, query: str, *, most: int | None) -> list[Shot]:
        """Return the results of VideoDB's semantic search on a stream, best first."""
        return self._on_stream(
            "search",
            stream_id,
            lambda stream: [
                Shot(
                    stream_id,
                    _number(shot.start),
                    _number(shot.end),
                    _or_empty(shot.text),
                    _number(shot.search_score),
                    _or_empty(shot.scene_index_id),
                )
                for shot in stream.search(query, result_threshold=most).get_shots()
            ],
        )

    def _on_stream(self, what: str, stream_id: str, ask: Callable[[_Sdk], _Answer]) -> _Answer:
        from videodb.rtstream import RTStream

        part = _path_part(stream_id)
        return self._call(f"{what} {stream_id}", lambda sdk: ask(RTStream(sdk, part)))

    def _on_index(self, what: str, stream_id: str, index_id: str, ask: Callable[[_Sdk], _Answer]) -> _Answer:
        from videodb.rtstream import RTStreamSceneIndex

        parts = _path_part(index_id), _path_part(stream_id)
        return self._call(f"{what} {index_id}", lambda sdk: ask(RTStreamSceneIndex(sdk, *parts)))

    def _call(self, what: str, ask: Callable[[_Sdk], _Answer], *, missing: str = "") -> _Answer:
        """Return what `ask` makes of a connection; see `refusal` for `what` and `missing`."""
        # Before the `try`: an error in here is a bug, not an unexpected answer.
        connection = connect(self._credentials, self._seconds)

        def call() -> _Answer:
            with contextlib.closing(connection.session):
                return ask(connection)

        future = THREADS.submit(call)
        try:
            answer: _Answer = future.result(self._seconds)
        except Exception as error:
            raise refusal(what, error, self._credentials.api_key, missing) from error
        return answer


def _path_part(identifier: str) -> str:
    """Return an id, which a user may have typed, as one part of a path.

    Raises:
        InputError: it cannot be quoted.
    """
    try:
        quoted = quote(identifier, safe="")
    except UnicodeEncodeError:
        quoted = ""
    if quoted in ("", ".", ".."):
        raise InputError(
            f"not an id: {identifier!r}",
            "list ids with: vdbevents session list --json",
            error_id="id-invalid",
        )
    return quoted


def _sessions_path(collection_id: str) -> str:
    return f"collection/{_path_part(collection_id)}/capture/session"


# Readers of answers. They raise TypeError, KeyError or AttributeError, which `refusal` explains.


def _session(answer: _Json, collection_id: str, session_id: str = "") -> CloudSession:
    content = answer["data"] if isinstance(answer.get("data"), dict) else answer
    session_id = _or_empty(content.get("session_id") or content.get("id")) or session_id
    if not session_id:
        raise KeyError("session_id")
    return CloudSession(
        id=session_id,
        collection_id=_or_empty(content.get("collection_id")) or collection_id,
        status=_or_empty(content.get("status")),
        end_user_id=_or_empty(content.get("end_user_id")),
        created=_or_empty(content.get("created_at")),
        streams=lifecycle.streams_of(content),
        export_status=_or_empty(content.get("export_status")),
        video_id=_or_empty(content.get("exported_video_id")),
        error=lifecycle.error_in(content.get("error") or content.get("failure_reason")),
        metadata=_object(content.get("metadata") or {}),
    )


def _index(index: _Sdk, stream_id: str) -> Index:
    is_audio = index.extraction_type == "transcript"
    return Index(
        id=_text(index.rtstream_index_id),
        stream_id=stream_id,
        channel="audio_index" if is_audio else "visual_index",
        name=_or_empty(index.name),
        prompt=_or_empty(index.prompt),
        status=_or_empty(index.status),
        settings=_object(index.extraction_config or {}),
    )


def _page(answer: _Json, name: str) -> Page:
    content = _object(answer or {})
    return Page(_objects(content.get(name) or []), bool(content.get("next_page")))


def export_from(content: Mapping[str, Any]) -> Export:
    """Return the export in an answer, or in the `data` of a `capture_session.exported` event."""
    video_id = _or_empty(content.get("video_id") or content.get("exported_video_id"))
    status = _or_empty(content.get("export_status")) or ("exported" if video_id else "")
    return Export(
        status, video_id, _or_empty(content.get("stream_url")), _or_empty(content.get("player_url"))
    )


def _object(value: _Json) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _objects(values: Sequence[_Json]) -> list[Mapping[str, Any]]:
    return [_object(value) for value in values]


def _text(value: _Json) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _or_empty(value: _Json) -> str:
    return value if isinstance(value, str) else ""


def _number(value: _Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None
