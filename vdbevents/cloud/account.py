"""The API's calls for capture, and what they answer."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from vdbevents.cloud.connection import THREADS, Credentials, connect
from vdbevents.cloud.retry import refusal
from vdbevents.errors import InputError
from vdbevents.events import lifecycle

_Answer = TypeVar("_Answer")

_END_OF_TIME = 9_999_999_999


@dataclass(frozen=True, slots=True)
class Token:
    """A client token: it lets the capture runtime record, and nothing else.

    Attributes:
        value: kept out of `repr`.
        expires_ms: in Unix ms; 0 where whoever made it did not say.
    """

    value: str = field(repr=False)
    expires_ms: int


@dataclass(frozen=True, slots=True)
class CloudSession:
    """A capture session as the service tells of it.

    Attributes:
        status: `created`, `starting`, `active`, `stopping`, `stopped`, `failed`; empty if it does not say.
        streams: what it records, once it is active.
        export_status: `exporting`, `exported`, `failed`, or empty.
        video_id: of the exported video, or empty.
        error: of a failed one, the service's reason.
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
    """How far the video of a session is: `exporting`, `exported`, `failed`."""

    status: str
    video_id: str = ""
    stream_url: str = ""
    player_url: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """A scene index, which describes what is said (`audio_index`) or shown (`visual_index`)."""

    id: str
    stream_id: str
    channel: str
    name: str
    prompt: str
    status: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of what a pipeline has made.

    Attributes:
        records: each with `start` and `end` in Unix seconds, and a `text` or a `description`.
        more: whether there is another page after it.
    """

    records: list[Mapping[str, Any]]
    more: bool


@dataclass(frozen=True, slots=True)
class Shot:
    """Something that the semantic search found; times in Unix seconds, `score` the better the higher."""

    stream_id: str
    start: float | None
    end: float | None
    text: str
    score: float | None
    index_id: str


class Account:
    """The API's calls for capture. Each is made once, with a time limit, and may be made from any thread.

    Every method raises ServiceRefusedError for an answer that waiting will not change, with the service's own
    reason, and ServiceUnreachableError for everything else that keeps an answer away.
    """

    def __init__(self, credentials: Credentials, seconds: float) -> None:
        """Calls nothing yet.

        Args:
            credentials: with which key, and where.
            seconds: the time limit of each call.
        """
        self._credentials = credentials
        self._seconds = seconds

    # Sessions.

    def create_session(
        self,
        end_user_id: str,
        collection_id: str,
        ws_id: str | None,
        metadata: Mapping[str, Any],
        callback_url: str | None = None,
    ) -> CloudSession:
        """A new session, whose life is told to the WebSocket with `ws_id`, and by webhooks to an address."""
        body = {
            "end_user_id": end_user_id,
            "ws_connection_id": ws_id,
            "callback_url": callback_url,
            "metadata": dict(metadata),
        }
        path = f"{_sessions(collection_id)}"

        # Not the SDK's own method: it raises TypeError when the answer lists streams, and loses the id.
        def ask(connection: Any) -> CloudSession:  # noqa: ANN401 - the SDK has no types
            answer = connection.post(path, data={name: value for name, value in body.items() if value})
            return _session(answer, collection_id)

        return self._ask("create a capture session", ask)

    def get_session(self, session_id: str, collection_id: str) -> CloudSession:
        """One session, with its streams."""
        path = f"{_sessions(collection_id)}/{_part(session_id)}"
        return self._ask(
            f"ask for the session {session_id}",
            lambda connection: _session(connection.get(path), collection_id, session_id),
        )

    def list_sessions(self, collection_id: str, status: str | None = None) -> list[CloudSession]:
        """The sessions of a collection, in the service's order."""
        params = {"status": status} if status else {}

        def ask(connection: Any) -> list[CloudSession]:  # noqa: ANN401
            answer = connection.get(_sessions(collection_id), params=params)
            return [_session(item, collection_id) for item in answer.get("sessions") or []]

        return self._ask("list the capture sessions", ask)

    def stop_session(self, session_id: str) -> None:
        """Ends a session on the server, as its runtime would."""
        path = f"capture/session/{_part(session_id)}/stop"
        self._ask(f"end the session {session_id}", lambda connection: connection.post(path))

    def export_session(self, session_id: str, collection_id: str, ws_id: str | None = None) -> Export:
        """Asks for the video of a stopped session: begins its export, or tells how far that is."""
        path = f"{_sessions(collection_id)}/{_part(session_id)}/export"
        body = {"connection_id": ws_id} if ws_id else {}

        def ask(connection: Any) -> Export:  # noqa: ANN401
            return export_from(connection.post(path, data=body) or {})

        return self._ask(f"export the session {session_id}", ask)

    def create_token(self, seconds: int) -> Token:
        """A client token that is good for so many seconds."""
        expires_ms = time.time_ns() // 1_000_000 + seconds * 1000

        def ask(connection: Any) -> Token:  # noqa: ANN401
            token = connection.generate_client_token(expires_in=seconds)
            if not isinstance(token, str) or not token:
                raise TypeError
            return Token(token, expires_ms)

        return self._ask("make a client token", ask)

    # Pipelines.

    def start_transcript(self, stream_id: str, ws_id: str | None, engine: str | None) -> None:
        """Has what is said on a stream written down. One that runs already stays bound to its first id."""
        self._ask(
            f"start the transcript of {stream_id}",
            lambda connection: _stream(connection, stream_id).start_transcript(ws_id, engine),
        )

    def stop_transcript(self, stream_id: str, engine: str | None = None) -> None:
        """Ends the transcript of a stream."""
        self._ask(
            f"stop the transcript of {stream_id}",
            lambda connection: _stream(connection, stream_id).stop_transcript(engine),
        )

    def transcript_status(self, stream_id: str) -> Mapping[str, Any]:
        """`status` (`running`, `stopped`, `not_configured`), `engine`, and what else the service says."""
        path = f"rtstream/{_part(stream_id)}/transcription/status"
        return self._ask(
            f"ask for the transcript of {stream_id}", lambda connection: _object(connection.get(path))
        )

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
        """A page, numbered from 1, of the final transcripts of a stream that begin within two times."""

        def ask(connection: Any) -> Page:  # noqa: ANN401
            stream = _stream(connection, stream_id)
            answer = stream.get_transcript(page, page_size, start=start, end=end, engine=engine)
            return _page(answer, "transcription_records")

        return self._ask(f"fetch the transcript of {stream_id}", ask)

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
        """Has a stream described.

        Args:
            stream_id: which one.
            channel: `audio_index` or `visual_index`, as its kind of stream allows.
            prompt: what the model is asked.
            batch: how much goes into one record: `type` (`time`, `word`, `sentence`), `value`, and for a
                visual index `frame_count`; None is the service's own choice.
            model: None is the service's own choice.
            name: of the index.
            ws_id: the WebSocket that its records are sent to.
        """

        def ask(connection: Any) -> Index:  # noqa: ANN401
            stream = _stream(connection, stream_id)
            method = stream.index_visuals if channel == "visual_index" else stream.index_audio
            options = {"model_name": model, "name": name, "ws_connection_id": ws_id}
            return _index(method(prompt=prompt, batch_config=batch, **options), stream_id)

        return self._ask(f"start the {channel} of {stream_id}", ask)

    def list_indexes(self, stream_id: str) -> list[Index]:
        """The indexes of a stream."""
        return self._ask(
            f"list the indexes of {stream_id}",
            lambda connection: [
                _index(it, stream_id) for it in _stream(connection, stream_id).list_scene_indexes()
            ],
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
        """A page, numbered from 1, of the records of an index that begin within two times."""

        def ask(connection: Any) -> Page:  # noqa: ANN401
            index = _scene_index(connection, stream_id, index_id)
            # The SDK sends both bounds or none, and takes zero for none.
            bounds = (start or 1, end or _END_OF_TIME) if start or end else (None, None)
            return _page(index.get_scenes(*bounds, page, page_size), "scenes")

        return self._ask(f"fetch the records of {index_id}", ask)

    def stop_index(self, stream_id: str, index_id: str) -> None:
        """Ends an index. Its records stay."""
        self._ask(
            f"stop the index {index_id}",
            lambda connection: _scene_index(connection, stream_id, index_id).stop(),
        )

    # Alerts.

    def list_events(self) -> list[Mapping[str, Any]]:
        """What can be watched for: `event_id`, `label`, `event_prompt`."""
        return self._ask("list the events", lambda connection: _objects(connection.list_events()))

    def create_event(self, label: str, prompt: str) -> str:
        """Something to be watched for; answers with its id."""
        return self._ask(
            f"create the event {label!r}", lambda connection: _text(connection.create_event(prompt, label))
        )

    def list_alerts(self, stream_id: str, index_id: str) -> list[Mapping[str, Any]]:
        """The alerts of an index: `alert_id`, `event_id`, `label`, `prompt`, `status`."""
        return self._ask(
            f"list the alerts of {index_id}",
            lambda connection: _objects(_scene_index(connection, stream_id, index_id).list_alerts()),
        )

    def create_alert(
        self,
        stream_id: str,
        index_id: str,
        event_id: str,
        ws_id: str | None,
        callback_url: str | None = None,
    ) -> str:
        """Watches an index for an event; answers with the alert's id."""
        return self._ask(
            f"create an alert on {index_id}",
            lambda connection: _text(
                _scene_index(connection, stream_id, index_id).create_alert(event_id, callback_url, ws_id)
            ),
        )

    def set_alert(self, stream_id: str, index_id: str, alert_id: str, *, enabled: bool) -> None:
        """Enables or disables an alert."""

        def ask(connection: Any) -> None:  # noqa: ANN401
            index = _scene_index(connection, stream_id, index_id)
            (index.enable_alert if enabled else index.disable_alert)(_part(alert_id))

        self._ask(f"{'enable' if enabled else 'disable'} the alert {alert_id}", ask)

    # What was recorded.

    def playable(self, stream_id: str, start: int, end: int) -> Export:
        """Addresses that play a stretch of a stream, from and to in Unix seconds."""

        def ask(connection: Any) -> Export:  # noqa: ANN401
            stream = _stream(connection, stream_id)
            stream.generate_stream(start, end)
            return Export("exported", "", _or_empty(stream.stream_url), _or_empty(stream.player_url))

        return self._ask(f"make a clip of {stream_id}", ask)

    def search(self, stream_id: str, query: str, *, most: int | None) -> list[Shot]:
        """What VideoDB's semantic search finds on a stream, best first."""

        def ask(connection: Any) -> list[Shot]:  # noqa: ANN401
            options = {"result_threshold": most}
            found = _stream(connection, stream_id).search(query, **options).get_shots()
            return [
                Shot(
                    stream_id,
                    _number(shot.start),
                    _number(shot.end),
                    _or_empty(shot.text),
                    _number(shot.search_score),
                    _or_empty(shot.scene_index_id),
                )
                for shot in found
            ]

        return self._ask(f"search {stream_id}", ask)

    def _ask(self, what: str, ask: Callable[[Any], _Answer]) -> _Answer:
        # Before the `try`: an error in here is a bug, and no answer that makes no sense.
        connection = connect(self._credentials, self._seconds)

        def call() -> _Answer:
            with contextlib.closing(connection.session):
                return ask(connection)

        future = THREADS.submit(call)
        try:
            answer: _Answer = future.result(self._seconds)
        except Exception as error:
            raise refusal(what, error, self._credentials.api_key) from error
        return answer


def _part(identifier: str) -> str:
    """An id as a part of a path: what a user typed may hold anything.

    Raises:
        InputError: it would be no part of a path, however it is written.
    """
    try:
        quoted = quote(identifier, safe="")
    except UnicodeEncodeError:
        quoted = ""
    if quoted in ("", ".", ".."):
        raise InputError(f"{identifier!r} is no id", "see the ids with: vdbevents session list --json")
    return quoted


def _sessions(collection_id: str) -> str:
    return f"collection/{_part(collection_id)}/capture/session"


def _stream(connection: Any, stream_id: str) -> Any:  # noqa: ANN401 - the SDK has no types
    from videodb.rtstream import RTStream

    return RTStream(connection, _part(stream_id))


def _scene_index(connection: Any, stream_id: str, index_id: str) -> Any:  # noqa: ANN401
    from videodb.rtstream import RTStreamSceneIndex

    return RTStreamSceneIndex(connection, _part(index_id), _part(stream_id))


def _session(answer: Any, collection_id: str, session_id: str = "") -> CloudSession:  # noqa: ANN401
    told = answer["data"] if isinstance(answer.get("data"), dict) else answer
    session_id = _or_empty(told.get("session_id") or told.get("id")) or session_id
    if not session_id:
        raise KeyError("session_id")
    return CloudSession(
        id=session_id,
        collection_id=_or_empty(told.get("collection_id")) or collection_id,
        status=_or_empty(told.get("status")),
        end_user_id=_or_empty(told.get("end_user_id")),
        created=_or_empty(told.get("created_at")),
        streams=lifecycle.streams_of(told),
        export_status=_or_empty(told.get("export_status")),
        video_id=_or_empty(told.get("exported_video_id")),
        error=lifecycle.error_in(told.get("error") or told.get("failure_reason")),
        metadata=_object(told.get("metadata") or {}),
    )


def _index(index: Any, stream_id: str) -> Index:  # noqa: ANN401 - the SDK's RTStreamSceneIndex, or None
    spoken = index.extraction_type == "transcript"
    return Index(
        id=_text(index.rtstream_index_id),
        stream_id=stream_id,
        channel="audio_index" if spoken else "visual_index",
        name=_or_empty(index.name),
        prompt=_or_empty(index.prompt),
        status=_or_empty(index.status),
        settings=_object(index.extraction_config or {}),
    )


def _page(answer: Any, name: str) -> Page:  # noqa: ANN401
    told = _object(answer or {})
    return Page(_objects(told.get(name) or []), bool(told.get("next_page")))


def export_from(told: Mapping[str, Any]) -> Export:
    """The video in an answer, or in the `data` of a `capture_session.exported` event."""
    video_id = _or_empty(told.get("video_id") or told.get("exported_video_id"))
    status = _or_empty(told.get("export_status")) or ("exported" if video_id else "")
    return Export(status, video_id, _or_empty(told.get("stream_url")), _or_empty(told.get("player_url")))


def _object(value: Any) -> Mapping[str, Any]:  # noqa: ANN401
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _objects(values: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [_object(value) for value in values]


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _or_empty(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:  # noqa: ANN401
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_one else None
