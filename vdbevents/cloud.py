"""VideoDB's API for capture: the only file that imports `videodb`.

The SDK blocks for up to 30 s in each call, retries by itself, and turns most errors into one
(`InvalidRequestError`). Here its calls run in threads with a time limit, once, and one function, `classify`,
says of any error whether waiting will mend it.
"""

import asyncio
import contextlib
import logging
import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from vdbevents import record
from vdbevents.errors import CaptureError, InputError, ServiceRefusedError, ServiceUnreachableError

DEFAULT_BASE_URL = "https://api.videodb.io"
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_KEY_HINT = (
    "get a key at https://console.videodb.io and set it: export VIDEO_DB_API_KEY=sk-… "
    "(or put VIDEO_DB_API_KEY=sk-… into a .env file in the current directory)"
)
_ADDRESS_HINT = "check VIDEO_DB_API, the base URL of the service"

_Answer = TypeVar("_Answer")
_LONGEST_REASON = 300
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the service. The key is kept out of `repr`."""

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error means for who wants to connect.

    Attributes:
        message: what failed, for a person; holds no secret.
        fatal: waiting will not mend it.
        hint: the cure, where one is known.
        retry_after: seconds that the service asked to wait, if it did.
    """

    message: str
    fatal: bool = False
    hint: str = ""
    retry_after: float | None = None


def shown_address(base_url: str) -> str:
    """A base URL without the name and password that it may hold."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def credentials_from(environ: Mapping[str, str]) -> Credentials:
    """The key and the base URL from `VIDEO_DB_API_KEY` and `VIDEO_DB_API` (or `VIDEO_DB_BASE_URL`).

    Raises:
        ServiceRefusedError: there is no key, or it cannot be one.
        InputError: the base URL is none.
    """
    key = environ.get("VIDEO_DB_API_KEY", "").strip()
    if not key:
        raise ServiceRefusedError("there is no API key: VIDEO_DB_API_KEY is not set", _KEY_HINT)
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ServiceRefusedError("VIDEO_DB_API_KEY holds characters that no key has", _KEY_HINT)
    url = (environ.get("VIDEO_DB_API") or environ.get("VIDEO_DB_BASE_URL") or DEFAULT_BASE_URL).strip()
    if not url.startswith(("http://", "https://")):
        # Not shown: it may be the key, set in the wrong place.
        raise InputError("VIDEO_DB_API is no http:// or https:// address", _ADDRESS_HINT)
    return Credentials(key, url.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Token:
    """A client token: it lets the capture runtime record, and nothing else. Kept out of `repr`."""

    value: str = field(repr=False)
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Session:
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
    streams: tuple[record.Stream, ...]
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
        self, end_user_id: str, collection_id: str, ws_id: str | None, metadata: Mapping[str, Any]
    ) -> Session:
        """A new session, whose life is told to the WebSocket with `ws_id`."""
        body = {"end_user_id": end_user_id, "ws_connection_id": ws_id, "metadata": dict(metadata)}
        path = f"{_sessions(collection_id)}"

        # Not the SDK's own method: it raises TypeError when the answer lists streams, and loses the id.
        def ask(connection: Any) -> Session:  # noqa: ANN401 - the SDK has no types
            answer = connection.post(path, data={name: value for name, value in body.items() if value})
            return _session(answer, collection_id)

        return self._ask("create a capture session", ask)

    def get_session(self, session_id: str, collection_id: str) -> Session:
        """One session, with its streams."""
        path = f"{_sessions(collection_id)}/{_part(session_id)}"
        return self._ask(
            f"ask for the session {session_id}",
            lambda connection: _session(connection.get(path), collection_id, session_id),
        )

    def list_sessions(self, collection_id: str, status: str | None = None) -> list[Session]:
        """The sessions of a collection, in the service's order."""
        params = {"status": status} if status else {}

        def ask(connection: Any) -> list[Session]:  # noqa: ANN401
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

    def create_alert(self, stream_id: str, index_id: str, event_id: str, ws_id: str | None) -> str:
        """Watches an index for an event; answers with the alert's id."""
        return self._ask(
            f"create an alert on {index_id}",
            lambda connection: _text(
                _scene_index(connection, stream_id, index_id).create_alert(event_id, None, ws_id)
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

    def search(self, stream_id: str, query: str, *, most: int | None, index_id: str | None) -> list[Shot]:
        """What VideoDB's semantic search finds on a stream, best first."""

        def ask(connection: Any) -> list[Shot]:  # noqa: ANN401
            options = {"result_threshold": most, "index_id": index_id}
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
        def call() -> _Answer:
            connection = _connect(self._credentials, self._seconds)
            with contextlib.closing(connection.session):
                return ask(connection)

        future = _THREADS.submit(call)
        try:
            answer: _Answer = future.result(self._seconds)
        except Exception as error:
            raise _refusal(what, error, self._credentials.api_key) from error
        return answer


def persist(
    call: Callable[[], _Answer],
    seconds: float,
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> _Answer:
    """Makes a call again while it fails for a reason that passes, and time is left.

    Args:
        call: raises ServiceUnreachableError for such a reason.
        seconds: after these nothing is begun any more, and the last error is raised.
        pause: waits so many seconds; what it answers ends the waiting if it is true, as `Event.wait` does.
        clock: seconds that only go forward.
    """
    deadline, wait = clock() + seconds, _FIRST_WAIT_SECONDS
    while True:
        try:
            return call()
        except ServiceUnreachableError:
            if clock() + wait >= deadline or pause(wait):
                raise
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _refusal(
    what: str, error: Exception, api_key: str
) -> InputError | ServiceRefusedError | ServiceUnreachableError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, AttributeError | KeyError | TypeError | IndexError):
        # The SDK takes for granted what an answer holds, even one that refuses.
        answered = next((cause for cause in _causes(error) if _answer_of(cause)[0] is not None), None)
        if not isinstance(answered, Exception):
            return ServiceUnreachableError(f"could not {what}: the service's answer makes no sense")
        error = answered
    failure = classify(error, datetime.now(UTC))
    status, _ = _answer_of(error)
    known = status in (None, 401, 402, 403)
    reason = failure.message if known and failure.fatal else _own_words(error, api_key) or failure.message
    if failure.fatal:
        # The service's own words name the argument that it did not like; our hint would be about the address.
        return ServiceRefusedError(f"could not {what}: {reason}", failure.hint if known else "")
    return ServiceUnreachableError(
        f"could not {what}: {failure.message if status is None or status >= 400 else reason}",  # noqa: PLR2004
        "try again later, or see: vdbevents status",
    )


def _own_words(error: Exception, api_key: str) -> str:
    """What the service says of its refusal, in one line, without the key that it may repeat."""
    from videodb.exceptions import VideodbError

    if not isinstance(error, VideodbError):
        return ""
    text = " ".join(str(error).split()).removeprefix("Invalid request:").removeprefix("Error:").strip()
    # The SDK's own words for an answer without any.
    return "" if text in ("None", "Unknown error") else text.replace(api_key, "…")[:_LONGEST_REASON]


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


def _session(answer: Any, collection_id: str, session_id: str = "") -> Session:  # noqa: ANN401
    told = answer["data"] if isinstance(answer.get("data"), dict) else answer
    session_id = _or_empty(told.get("session_id") or told.get("id")) or session_id
    if not session_id:
        raise KeyError("session_id")
    return Session(
        id=session_id,
        collection_id=_or_empty(told.get("collection_id")) or collection_id,
        status=_or_empty(told.get("status")),
        end_user_id=_or_empty(told.get("end_user_id")),
        created=_or_empty(told.get("created_at")),
        streams=record.streams_of(told),
        export_status=_or_empty(told.get("export_status")),
        video_id=_or_empty(told.get("exported_video_id")),
        error=record.error_in(told.get("error") or told.get("failure_reason")),
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


def find_runtime(named: Path | None) -> Path:
    """The capture runtime that a `CaptureClient` will start.

    Args:
        named: an executable to use instead of the one that VideoDB ships.

    Raises:
        CaptureError: there is none.
    """
    import os
    import sys
    import types

    if named is not None:
        # A name without a folder would be looked for on the PATH.
        named = named.absolute()
        if not os.access(named, os.X_OK) or named.is_dir():
            raise CaptureError(
                f"the capture runtime {named} is no program that can be run", "set VDBEVENTS_CAPTURE_RUNTIME"
            )
        # The SDK asks this module where its runtime is.
        module = types.ModuleType("videodb_capture_bin")
        module.get_binary_path = lambda: str(named)  # type: ignore[attr-defined]
        sys.modules["videodb_capture_bin"] = module
    from videodb.capture import get_capture_binary_path

    # It reports what it raises; here it is said once.
    logging.getLogger("videodb.capture").addHandler(logging.NullHandler())
    try:
        return Path(get_capture_binary_path())
    except Exception as error:
        if sys.platform not in ("darwin", "win32"):
            raise CaptureError(
                "there is no capture runtime: VideoDB ships its runtime for macOS and Windows only",
                "record on such a machine; to try it on this one, run vdbevents emulator and export what it "
                "prints, VDBEVENTS_CAPTURE_RUNTIME among it",
            ) from error
        raise CaptureError(
            f"VideoDB's capture runtime cannot be used: {error}", "install it: pip install 'videodb[capture]'"
        ) from error


def capture_client(token: Token, base_url: str) -> Any:  # noqa: ANN401
    """The SDK's `CaptureClient`, which starts the runtime that `find_runtime` found with its first call.

    Args:
        token: a client token; it is all that the runtime gets to know.
        base_url: of the service.
    """
    from videodb.capture import CaptureClient

    return CaptureClient(client_token=token.value, base_url=base_url)


async def websocket_url(credentials: Credentials, seconds: float) -> str:
    """Asks the service for the address of a new WebSocket.

    Args:
        credentials: with which key, and where.
        seconds: the time limit.

    Raises:
        Exception: whatever the SDK raises, or TimeoutError; `classify` says what it means.
    """

    def ask() -> str:
        url = _connect(credentials, seconds).connect_websocket().url
        if not isinstance(url, str) or not url.startswith(("ws://", "wss://")):
            raise ConnectionError("the service answered without the address of a WebSocket")
        return url

    async with asyncio.timeout(seconds):
        return await asyncio.get_running_loop().run_in_executor(_THREADS, ask)


def _connect(credentials: Credentials, seconds: float) -> Any:  # noqa: ANN401 - the SDK has no types
    import requests
    import videodb

    class OnceAdapter(requests.adapters.HTTPAdapter):
        # The SDK's own adapter retries 502 to 504 by itself: it sleeps through `Retry-After`, then raises
        # without the answer. And its calls would go on for 30 s after nobody waits for them any more.
        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
            return super().send(request, **{**options, "timeout": seconds})

    connection = videodb.connect(api_key=credentials.api_key, base_url=credentials.base_url)
    connection.session.mount("http://", OnceAdapter(max_retries=0))
    connection.session.mount("https://", OnceAdapter(max_retries=0))
    return connection


class DaemonThreads(ThreadPoolExecutor):
    """A thread a call, and nobody waits for it in the end.

    asyncio's own executor is joined when the program exits: one look-up of a name that hangs would hold up
    a signal for as long.
    """

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:  # noqa: ANN401
        """Starts the call at once."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*arguments, **options))
                except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
                    future.set_exception(error)

        threading.Thread(target=run, name="vdbevents call", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Nothing to wait for."""


_THREADS = DaemonThreads()


def classify(error: BaseException, now: datetime) -> Failure:
    """Says whether waiting will mend an error, in words for a person.

    Final are an answer of 4xx (but 408, 425 and 429) and a certificate that does not verify; all else passes.
    It looks at types and at the answer's status, never for words in a text.

    Args:
        error: from the SDK's HTTP call, the WebSocket's handshake, or the connection.
        now: to make seconds of a `Retry-After` that is a date.
    """
    chain = list(_causes(error))
    certificate = next((e for e in chain if isinstance(e, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return Failure(
            f"the service's certificate does not verify: {certificate.verify_message}",
            fatal=True,
            hint="check the system's clock, the certificate authorities (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), "
            "and that nobody stands between",
        )
    status, headers = _answer_of(error)
    if status is not None and status >= 400:  # noqa: PLR2004 - HTTP's errors
        return _classify_status(status, _retry_after(headers, now))
    return Failure(_describe(chain))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, by chaining or as urllib3 does it: in attributes and arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]


def _answer_of(error: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """The HTTP status and headers: of `requests` (`status_code`), or of `websockets`' refused upgrade."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    return (status if isinstance(status, int) else None), (headers if headers is not None else {})


def _classify_status(status: int, retry_after: float | None) -> Failure:
    if status == 401:  # noqa: PLR2004
        return Failure("the service refused the API key (401)", fatal=True, hint=_KEY_HINT)
    if status == 403:  # noqa: PLR2004
        return Failure("the API key has no right to this (403)", fatal=True, hint=_KEY_HINT)
    if status == 402:  # noqa: PLR2004
        hint = "see your balance at https://console.videodb.io"
        return Failure("the account has no credit left (402)", fatal=True, hint=hint)
    if status >= 500 or status in (408, 425, 429):  # noqa: PLR2004
        return Failure(f"the service answered {status}", retry_after=retry_after)
    return Failure(f"the service refused the request ({status})", fatal=True, hint=_ADDRESS_HINT)


def _retry_after(headers: Any, now: datetime) -> float | None:  # noqa: ANN401 - of either library
    # websockets refuses to choose between two headers of a name, requests has joined them.
    values = headers.get_all("Retry-After") if hasattr(headers, "get_all") else [headers.get("Retry-After")]
    value = str(next(iter(values), None) or "")
    try:
        seconds = float(value.partition(",")[0])
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def _describe(chain: list[BaseException]) -> str:
    """The innermost cause that says something: `[Errno 111] Connection refused` and not its wrappings."""
    import socket

    for error in chain:
        if isinstance(error, socket.gaierror):
            return f"the service's name cannot be resolved: {error.strerror}"
    for error in chain:
        if isinstance(error, OSError) and error.strerror:
            return f"no connection: {error.strerror}"
    if any(isinstance(error, TimeoutError) or "Timeout" in type(error).__name__ for error in chain):
        return "no answer in time"
    text = str(chain[0]).strip() or type(chain[0]).__name__
    # The WebSocket's address is as good as a key to the connection.
    return re.sub(r"\bwss?://\S+", "the WebSocket's address", text.splitlines()[0][:200])
