"""Connect to the service: the API key, the base URL, the SDK's connection, and threads for its calls."""

import asyncio
import importlib
import ipaddress
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from vdbevents.cloud.key_sources import find_key
from vdbevents.cloud.proxies import proxy_for
from vdbevents.errors import InputError

DEFAULT_BASE_URL = "https://api.videodb.io"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The API key, kept out of `repr`, and the service's base URL."""

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL


def credentials_from(environ: Mapping[str, str], key_file: Path | None = None) -> Credentials:
    """Return the key that `find_key` finds, and the base URL.

    Raises:
        ServiceRefusedError: the key is missing or malformed.
        ServiceUnreachableError: the keyring that may have the key is locked.
        InputError: the base URL is malformed, its proxy or the key's file cannot be used.
    """
    base_url = base_url_from(environ)
    found = find_key(environ, base_url, key_file)
    # Now: a listener would retry for ever.
    proxy_for(base_url)
    return Credentials(found.key, base_url)


def base_url_from(environ: Mapping[str, str]) -> str:
    """Return `VIDEO_DB_API`, else `VIDEO_DB_BASE_URL`, else VideoDB's own base URL.

    Raises:
        InputError: it is malformed.
    """
    url = (environ.get("VIDEO_DB_API") or environ.get("VIDEO_DB_BASE_URL") or DEFAULT_BASE_URL).strip()
    if not url.startswith(("http://", "https://")):
        # Not shown: it may be the key, set in the wrong place.
        raise InputError(
            "VIDEO_DB_API: not an http:// or https:// URL",
            f"unset it to use {DEFAULT_BASE_URL}",
            error_id="base-url-invalid",
        )
    return url.rstrip("/")


def shown_address(base_url: str) -> str:
    """Return a base URL without the user name and password that it may hold."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect(credentials: Credentials, seconds: float, *, scrub: bool = True) -> Any:  # noqa: ANN401 - no types
    """Return an SDK connection whose calls are made once, each with a time limit. Send nothing yet.

    With `scrub`, the API key is taken out of all answers.
    """
    import videodb

    from vdbevents.cloud.transport import ServiceAdapter

    connection = videodb.connect(api_key=credentials.api_key, base_url=credentials.base_url)
    adapter = ServiceAdapter(credentials.base_url, seconds, credentials.api_key if scrub else "")
    connection.session.mount("http://", adapter)
    connection.session.mount("https://", adapter)
    return connection


def load_sdk() -> None:
    """Import the SDK and its libraries, before several threads need them.

    Of two threads that import a package at once, Python may give one an unfinished module.
    """
    importlib.import_module("videodb.capture")


class DaemonThreads(ThreadPoolExecutor):
    """An executor whose threads never delay the exit of the program.

    asyncio's own is joined at exit: a name look-up that hangs would delay the reaction to a signal. Threads
    are reused, because the C library keeps memory for every thread that ever existed.
    """

    def __init__(self, most: int | None = None) -> None:
        """Start no thread yet; run at most `most` calls at a time."""
        super().__init__()
        self._most = most
        self._count = 0
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:  # noqa: ANN401
        """Run a call in a thread, at once if one is available."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*arguments, **options))
                except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
                    future.set_exception(error)

        if not self._idle.acquire(blocking=False) and (self._most is None or self._count < self._most):
            threading.Thread(target=self._work, name="vdbevents call", daemon=True).start()
            self._count += 1
        # Last: if no thread can be started, the call must not be made later either.
        self._calls.put(run)
        return future

    def _work(self) -> None:
        # One call for the start, and one for each time that it was idle. A thread that looked for more calls
        # might take another's and count as idle meanwhile: the next call would wait.
        while True:
            run = self._calls.get()
            run()
            # Do not keep what the call holds until the next one.
            del run
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """No-op: there is nothing to wait for."""


THREADS = DaemonThreads()


async def websocket_url(credentials: Credentials, seconds: float) -> str:
    """Return the URL of a new WebSocket from the service, within a time limit.

    Raises:
        Exception: whatever the SDK raises, or TimeoutError; `classify` explains it.
    """

    def ask() -> str:
        # The URL may be signed with the key.
        url = connect(credentials, seconds, scrub=False).connect_websocket().url
        if not isinstance(url, str) or not url.startswith(("ws://", "wss://")):
            raise ConnectionError("the service answered without a WebSocket URL")
        return url

    async with asyncio.timeout(seconds):
        return await asyncio.get_running_loop().run_in_executor(THREADS, ask)
