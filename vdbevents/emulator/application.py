"""The emulator: HTTP and WebSockets on loopback, as VideoDB's cloud speaks them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import signal
import socket
import ssl
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import WebSocketRoute
from uvicorn.config import Config
from uvicorn.server import ServerState

from vdbevents.emulator.control import ControlApi
from vdbevents.emulator.control_sockets import SocketControl
from vdbevents.emulator.emulated_cloud import EmulatedCloud
from vdbevents.emulator.http_gate import HttpGate
from vdbevents.emulator.replay_file import load_recording
from vdbevents.emulator.request_checks import ApiError
from vdbevents.emulator.rest import RestApi, error_response, respond_refused
from vdbevents.emulator.runtime_link import RuntimeControl
from vdbevents.emulator.service_clock import ServiceClock
from vdbevents.emulator.websocket_endpoint import serve_websocket
from vdbevents.emulator.websocket_protocol import EmulatorProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp
    from starlette.websockets import WebSocket

_RUNTIME: Final = "vdbevents-capture-runtime"
_LARGEST_MESSAGE: Final = 256 * 1024 * 1024
_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 2048
_CLOSING_SECONDS: Final = 0.2
_REOPEN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Settings of the server.

    Attributes:
        host: A loopback address.
        port: 0 for a free one.
        api_key: The only key that is accepted.
        replay: A journal, None for the bundled real session.
        autoplay: Whether the first WebSocket that connects starts the replay.
        speed: How many times as fast as recorded; 0 or infinity is as fast as possible.
        loop: Whether the replay starts over at its end.
        numbered: Play an endless script of numbered events instead; nothing is replayed.
        secrets: Have a made-up secret in the text of each numbered event.
        clock_rate: How many times as fast the service's clock runs.
        faults: Faults in force from the start, as `POST /emulator/faults` takes them.
        certificate: Serve https and wss with it.
        private_key: Its key, unless it is in the certificate's file.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str = "sk-emulator"
    replay: Path | None = None
    autoplay: bool = True
    speed: float = 1.0
    loop: bool = False
    numbered: bool = False
    secrets: bool = False
    clock_rate: float = 1.0
    faults: Mapping[str, Any] = field(default_factory=dict)
    certificate: Path | None = None
    private_key: Path | None = None


def installed_path() -> Path | None:
    """Return the path of the capture runtime's command, beside this interpreter or on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / (_RUNTIME + (".exe" if sys.platform == "win32" else ""))
    if beside.is_file():
        return beside
    on_path = shutil.which(_RUNTIME)
    return None if on_path is None else Path(on_path)


def serve(settings: EmulatorSettings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `announce` with the base URL when it is ready.

    Raises:
        OSError: The port is in use.
        ValueError: A setting cannot be used.
    """
    server = _Server(settings)
    with _signals(server.stop):
        asyncio.run(server.run(announce))


@contextlib.contextmanager
def running(settings: EmulatorSettings) -> Iterator[str]:
    """Run the server in a thread during the context, and yield its base URL; raises as `serve` does."""
    server = _Server(settings)
    first: SimpleQueue[str | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            asyncio.run(server.run(first.put))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            first.put(error)

    thread = threading.Thread(target=run, name="vdbevents-emulator", daemon=True)
    thread.start()
    url = first.get()
    if isinstance(url, BaseException):
        thread.join()
        raise url
    try:
        yield url
    finally:
        server.stop()
        thread.join()


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGINT and SIGTERM; no-op outside the main thread, which alone gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(_: int, __: FrameType | None) -> None:
        stop()

    previous = {number: signal.signal(number, ended) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Server:
    """The listening socket, and the application behind it."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self._host = _loopback(settings.host)
        self._port = settings.port
        if settings.numbered and settings.replay is not None:
            raise ValueError("numbered, replay: give one of them")
        self._cloud = EmulatedCloud(
            load_recording(settings.replay),
            ServiceClock(time.time, settings.clock_rate),
            numbered=settings.numbered,
            has_secrets=settings.secrets,
            speed=settings.speed,
            loop=settings.loop,
            autoplay=settings.autoplay,
        )
        self._cloud.faults.change(settings.faults)
        self._config = _configuration(_application(self._cloud, self._go_down, settings.api_key), settings)
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event = asyncio.Event()
        self._ended = False

    def stop(self) -> None:
        """Stop the server soon; may be called from any thread and from a signal handler."""
        self._ended = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serve until `stop` is called."""
        self._loop = asyncio.get_running_loop()
        await self._open()
        try:
            scheme = "https" if self._config.ssl else "http"
            announce(f"{scheme}://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}")
            if self._is_down:
                self._go_down()
            if not self._ended:
                await self._stopped.wait()
        finally:
            await self._close()

    @property
    def _is_down(self) -> bool:
        return self._cloud.faults.peek("down") is not None

    async def _open(self) -> None:
        # Made as a TCP socket, so that asyncio disables Nagle's algorithm: an answer is two writes.
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        endpoint = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if sys.platform != "win32":
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            endpoint.bind((self._host, self._port))
            self._port = endpoint.getsockname()[1]
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(
                self._protocol, sock=endpoint, ssl=self._config.ssl, backlog=_BACKLOG
            )
        except BaseException:
            endpoint.close()
            raise

    def _protocol(self) -> asyncio.Protocol:
        kind = cast("Callable[..., asyncio.Protocol]", self._config.http_protocol_class)
        return kind(config=self._config, server_state=self._state, app_state={})

    def _go_down(self) -> None:
        """Refuse connections until the fault `down` has ended; open WebSockets stay open."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for protocol in list(self._state.connections):
            # An idle kept-alive connection would go on answering.
            if not isinstance(protocol, EmulatorProtocol):
                protocol.shutdown()
        self._cloud.start(self._come_back())

    async def _come_back(self) -> None:
        while self._is_down:  # noqa: ASYNC110 - it ends with the time
            await asyncio.sleep(_REOPEN_SECONDS)
        while self._listener is None:
            # Another program may have taken the port in the meantime: wait for it.
            with contextlib.suppress(OSError):
                await self._open()
                break
            await asyncio.sleep(_REOPEN_SECONDS)

    async def _close(self) -> None:
        await self._cloud.end()
        if self._listener is not None:
            # A connection that was just accepted is set up in the loop's next turns; asyncio does not close
            # it if the server is closed before. So stop accepting first.
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().remove_reader(self._listener.sockets[0].fileno())
            await asyncio.sleep(_CLOSING_SECONDS / 10)
            self._listener.close()
        for protocol in list(self._state.connections):
            protocol.shutdown()
        deadline = time.monotonic() + _CLOSING_SECONDS
        while self._state.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
        for task in list(self._state.tasks):
            task.cancel()
        for protocol in list(self._state.connections):
            protocol.transport.abort()
        await asyncio.sleep(0.01)


def _loopback(host: str) -> str:
    """Return a loopback address; raise ValueError for others: no other machine is to connect."""
    address = "127.0.0.1" if host == "localhost" else host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address).is_loopback:
            return address
    raise ValueError(f"host: must be a loopback address, got {host!r}")


def _configuration(application: ASGIApp, settings: EmulatorSettings) -> Config:
    config = Config(
        application,
        http="h11",
        ws=EmulatorProtocol,
        ws_max_size=_LARGEST_MESSAGE,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        ssl_certfile=None if settings.certificate is None else str(settings.certificate),
        ssl_keyfile=None if settings.private_key is None else str(settings.private_key),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"certificate {settings.certificate}: cannot be used ({error})") from error
    return config


def _application(cloud: EmulatedCloud, go_down: Callable[[], None], api_key: str) -> ASGIApp:
    async def websocket(connection: WebSocket) -> None:
        await serve_websocket(cloud, connection)

    application = Starlette(
        routes=[
            *ControlApi(cloud, go_down).routes(),
            *SocketControl(cloud).routes(),
            *RuntimeControl(cloud).routes(),
            *RestApi(cloud, api_key).routes(),
            WebSocketRoute("/ws", websocket),
        ],
        exception_handlers={
            ApiError: respond_refused,
            HTTPException: _respond_unknown,
            Exception: _respond_defect,
        },
    )
    application.router.redirect_slashes = False
    return HttpGate(application, cloud)


async def _respond_unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    message = f"The emulator has no {request.method} {request.url.path}."
    return error_response(status, message, HTTPStatus(status).name)


async def _respond_defect(_: Request, error: Exception) -> Response:
    return error_response(500, f"The emulator has a defect: {error!r}.", "INTERNAL_SERVER_ERROR")
