"""VideoDB's API as the listener needs it: the only file that imports `videodb`.

The SDK blocks for up to 30 s in each call, retries by itself, and turns most errors into one
(`InvalidRequestError`). Here its calls run in threads with a time limit, once, and one function, `classify`,
says of any error whether waiting will mend it.
"""

import asyncio
import math
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from vdbevents.errors import InputError, ServiceRefusedError

DEFAULT_BASE_URL = "https://api.videodb.io"
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_KEY_HINT = (
    "get a key at https://console.videodb.io and set it: export VIDEO_DB_API_KEY=sk-… "
    "(or put VIDEO_DB_API_KEY=sk-… into a .env file in the current directory)"
)
_ADDRESS_HINT = "check VIDEO_DB_API, the base URL of the service"


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
