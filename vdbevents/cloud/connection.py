"""How the service is reached: the key, the address, one connection of the SDK, and threads to call it in."""

import asyncio
import ipaddress
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from vdbevents.errors import InputError, ServiceRefusedError

DEFAULT_BASE_URL = "https://api.videodb.io"
KEY_HINT = (
    "get a key at https://console.videodb.io and set it: export VIDEO_DB_API_KEY=sk-… "
    "(or put VIDEO_DB_API_KEY=sk-… into a .env file in the current directory)"
)
ADDRESS_HINT = "check VIDEO_DB_API, the base URL of the service"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the service. The key is kept out of `repr`."""

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL


def credentials_from(environ: Mapping[str, str]) -> Credentials:
    """The key from `VIDEO_DB_API_KEY`, and the base URL as `base_url_from` has it.

    Raises:
        ServiceRefusedError: there is no key, or it cannot be one.
        InputError: the base URL is none.
    """
    key = environ.get("VIDEO_DB_API_KEY", "").strip()
    if not key:
        raise ServiceRefusedError("there is no API key: VIDEO_DB_API_KEY is not set", KEY_HINT)
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ServiceRefusedError("VIDEO_DB_API_KEY holds characters that no key has", KEY_HINT)
    return Credentials(key, base_url_from(environ))


def base_url_from(environ: Mapping[str, str]) -> str:
    """Where the service is: `VIDEO_DB_API` (or `VIDEO_DB_BASE_URL`), else VideoDB's own address.

    Raises:
        InputError: it is no address.
    """
    url = (environ.get("VIDEO_DB_API") or environ.get("VIDEO_DB_BASE_URL") or DEFAULT_BASE_URL).strip()
    if not url.startswith(("http://", "https://")):
        # Not shown: it may be the key, set in the wrong place.
        raise InputError("VIDEO_DB_API is no http:// or https:// address", ADDRESS_HINT)
    return url.rstrip("/")


def shown_address(base_url: str) -> str:
    """A base URL without the name and password that it may hold."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, and nobody else's."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect(credentials: Credentials, seconds: float) -> Any:  # noqa: ANN401 - the SDK has no types
    """The SDK's connection, each of whose calls is made once and with a time limit. Asks nothing yet."""
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
    """As many threads as there are calls at a time, and nobody waits for them in the end.

    asyncio's own executor is joined when the program exits: one look-up of a name that hangs would hold up
    a signal for as long. A thread that is done takes another call: for each that there ever was, the C
    library keeps memory.
    """

    def __init__(self, most: int | None = None) -> None:
        """Starts none yet; with `most`, further calls wait for one of so many threads."""
        super().__init__()
        self._most = most
        self._count = 0
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:  # noqa: ANN401
        """Starts the call at once, where there is a thread for it."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*arguments, **options))
                except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
                    future.set_exception(error)

        if not self._idle.acquire(blocking=False) and (self._most is None or self._count < self._most):
            threading.Thread(target=self._work, name="vdbevents call", daemon=True).start()
            self._count += 1
        # Last: a call for which no thread can be started is not made later either.
        self._calls.put(run)
        return future

    def _work(self) -> None:
        # One call for what it was started for, and one for each time that it was idle: were a thread to look
        # for more, it might take the call of another and count as idle meanwhile: the next would wait.
        while True:
            run = self._calls.get()
            run()
            # What a call has held is not kept until the next one.
            del run
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Nothing to wait for."""


THREADS = DaemonThreads()


async def websocket_url(credentials: Credentials, seconds: float) -> str:
    """Asks the service for the address of a new WebSocket.

    Args:
        credentials: with which key, and where.
        seconds: the time limit.

    Raises:
        Exception: whatever the SDK raises, or TimeoutError; `classify` says what it means.
    """

    def ask() -> str:
        url = connect(credentials, seconds).connect_websocket().url
        if not isinstance(url, str) or not url.startswith(("ws://", "wss://")):
            raise ConnectionError("the service answered without the address of a WebSocket")
        return url

    async with asyncio.timeout(seconds):
        return await asyncio.get_running_loop().run_in_executor(THREADS, ask)
