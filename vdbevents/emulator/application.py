"""The embedded server: HTTP and WebSockets on loopback, as VideoDB's cloud speaks them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
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
from starlette.responses import JSONResponse, Response
from starlette.routing import WebSocketRoute
from uvicorn.config import Config
from uvicorn.server import ServerState

from vdbevents.emulator.clock import Clock
from vdbevents.emulator.control import PREFIX, Control
from vdbevents.emulator.playback import Service, usable_speed
from vdbevents.emulator.replay import load_recording
from vdbevents.emulator.rest import Api, NoData, answer_nothing, error_answer, refuse
from vdbevents.emulator.sockets import PROTOCOL, EmulatorProtocol
from vdbevents.emulator.world import ApiError, Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from vdbevents.emulator.faults import Options


_RUNTIME: Final = "vdbevents-capture-runtime"
_LARGEST_MESSAGE: Final = 256 * 1024 * 1024
_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 2048
_FAREWELL_SECONDS: Final = 0.2
_REOPEN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """What the server is to be.

    `port` 0 is a free one. `replay` is a journal, None the real session that is bundled; with `autoplay` it
    is played to the first WebSocket that connects, `speed` times as fast as it was recorded (0 or inf: as
    fast as it goes), with `loop` again and again. `numbered` puts an endless script of numbered events in its
    place, and nothing is replayed. `clock_rate` is how many times as fast the service's clock runs. `faults`
    are in force from the start, as `POST /emulator/faults` takes them. With a `certificate` (and a
    `private_key`, unless both are in one file) it speaks https and wss.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str = "sk-emulator"
    replay: Path | None = None
    autoplay: bool = True
    speed: float = 1.0
    loop: bool = False
    numbered: bool = False
    clock_rate: float = 1.0
    faults: Mapping[str, Any] = field(default_factory=dict)
    certificate: Path | None = None
    private_key: Path | None = None


def installed_path() -> Path | None:
    """Where the capture runtime's command is, beside this interpreter or on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / (_RUNTIME + (".exe" if sys.platform == "win32" else ""))
    if beside.is_file():
        return beside
    found = shutil.which(_RUNTIME)
    return None if found is None else Path(found)


def serve(settings: EmulatorSettings, announce: Callable[[str], None]) -> None:
    """Runs until SIGINT or SIGTERM; `announce` is called once with the base URL when requests are answered.

    Raises:
        OSError: The port is in use.
        ValueError: The host is not this machine's own, the recording or the certificate cannot be read, a
            fault is none, the speed or the rate of the clock makes no sense, or `numbered` meets a `replay`.
    """
    server = _Server(settings)
    with _signals(server.stop):
        asyncio.run(server.run(announce))


@contextlib.contextmanager
def running(settings: EmulatorSettings) -> Iterator[str]:
    """Runs the server in a thread while the context lasts, and gives its base URL; errors as of `serve`."""
    server = _Server(settings)
    news: SimpleQueue[str | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            asyncio.run(server.run(news.put))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            news.put(error)

    thread = threading.Thread(target=run, name="vdbevents-emulator", daemon=True)
    thread.start()
    first = news.get()
    if isinstance(first, BaseException):
        thread.join()
        raise first
    try:
        yield first
    finally:
        server.stop()
        thread.join()


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ends on SIGINT and SIGTERM; only the main thread may ask for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(_: int, __: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, ended) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server:
    """The listening socket, and the application behind it."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self._host = _loopback(settings.host)
        self._port = settings.port
        if settings.numbered and settings.replay is not None:
            raise ValueError("Numbered events take the place of a recording: there cannot be both.")
        recording = load_recording(settings.replay)
        usable_speed(settings.speed)
        self._service = Service(
            recording,
            Clock(time.time, settings.clock_rate),
            numbered=settings.numbered,
            speed=settings.speed,
            loop=settings.loop,
            autoplay=settings.autoplay,
        )
        self._control = Control(self._service, self._go_down)
        self._service.faults.change(settings.faults)
        self._config = _configuration(_application(self._service, self._control, settings.api_key), settings)
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event = asyncio.Event()
        self._ended = False

    def stop(self) -> None:
        """Ends the server soon; may be called from any thread and from a signal handler."""
        self._ended = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serves until it is stopped."""
        self._loop = asyncio.get_running_loop()
        await self._open()
        try:
            scheme = "https" if self._config.ssl else "http"
            announce(f"{scheme}://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}")
            if self._service.faults.peek("down") is not None:
                self._go_down()
            if not self._ended:
                await self._stopped.wait()
        finally:
            await self._close()

    async def _open(self) -> None:
        # Named as TCP, so that asyncio switches Nagle's algorithm off: an answer is written in two pieces.
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
        """Refuses connections for a while, then is back on the same port; open WebSockets stay open."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for protocol in list(self._state.connections):
            # An idle connection that is kept alive would go on answering.
            if not isinstance(protocol, EmulatorProtocol):
                protocol.shutdown()
        self._service.start(self._come_back())

    async def _come_back(self) -> None:
        while self._service.faults.peek("down") is not None:  # noqa: ASYNC110 - it ends with the time
            await asyncio.sleep(_REOPEN_SECONDS)
        while self._listener is None:
            # Somebody may have been given the port in the meantime: it is waited for.
            with contextlib.suppress(OSError):
                await self._open()
                break
            await asyncio.sleep(_REOPEN_SECONDS)

    async def _close(self) -> None:
        await self._service.end()
        if self._listener is not None:
            # What was accepted a moment ago becomes a connection in the loop's next turns; asyncio forgets to
            # close it if the server is closed before. So accepting ends first.
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().remove_reader(self._listener.sockets[0].fileno())
            await asyncio.sleep(_FAREWELL_SECONDS / 10)
            self._listener.close()
        for protocol in list(self._state.connections):
            protocol.shutdown()
        moment = time.monotonic() + _FAREWELL_SECONDS
        while self._state.connections and time.monotonic() < moment:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        for task in list(self._state.tasks):
            task.cancel()
        for protocol in list(self._state.connections):
            protocol.transport.abort()
        await asyncio.sleep(0.01)


def _loopback(host: str) -> str:
    """The address of a host that is this machine; it would be a bad idea to let others in."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"The emulator is for this machine only: {host!r} is not a loopback address.")
    return address


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
        raise ValueError(f"The certificate {settings.certificate} cannot be used: {error}.") from error
    return config


def _application(service: Service, control: Control, api_key: str) -> ASGIApp:
    async def websocket(connection: WebSocket) -> None:
        await _WebSocketEndpoint(service, connection).run()

    application = Starlette(
        routes=[*control.routes(), *Api(service, api_key).routes(), WebSocketRoute("/ws", websocket)],
        exception_handlers={
            ApiError: refuse,
            NoData: answer_nothing,
            HTTPException: _unknown,
            Exception: _broken,
        },
    )
    application.router.redirect_slashes = False
    return _Gate(application, service)


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    message = f"The emulator has no {request.method} {request.url.path}."
    return error_answer(status, message, HTTPStatus(status).name)


async def _broken(_: Request, error: Exception) -> Response:
    return error_answer(500, f"The emulator has a defect: {error!r}.", "INTERNAL_SERVER_ERROR")


class _Gate:
    """What happens to a request before it is looked at: counting, the last slash of a path, faults."""

    def __init__(self, application: ASGIApp, service: Service) -> None:
        self._application = application
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] = scope["path"].rstrip("/") or "/"
        if scope["type"] != "http" or path.startswith(PREFIX + "/"):
            await self._application(scope, receive, send)
            return
        self._service.count(scope["method"], path)
        faults = self._service.faults
        slow = faults.strike("slow", path, scope["method"])
        if slow is not None:
            await asyncio.sleep(slow["seconds"])
        if faults.strike("hang", path, scope["method"]) is not None:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        refused = faults.strike("http", path, scope["method"])
        application = self._application if refused is None else _refusal(refused)
        late = faults.strike("late", path, scope["method"])
        await application(scope, receive, send if late is None else _held(send, late["seconds"]))


def _held(send: Send, seconds: float) -> Send:
    """Sends the answer so much later: what was asked for is done by then."""

    async def send_late(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return send_late


def _refusal(fault: Options) -> Response:
    """The answer of the faults `http` and `upgrade`."""
    status = fault["status"]
    headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
    if "body" in fault:
        return Response(fault["body"], status, headers, media_type="text/plain")
    try:
        name, phrase = HTTPStatus(status).name, HTTPStatus(status).phrase
    except ValueError:
        name, phrase = "UNKNOWN", "Unknown"
    message = {"success": False, "message": f"{phrase} (a fault that was asked for)", "error_code": name}
    return JSONResponse(message, status, headers)


class _WebSocketEndpoint:
    """One WebSocket from its handshake to its end."""

    def __init__(self, service: Service, websocket: WebSocket) -> None:
        self._service = service
        self._websocket = websocket

    async def run(self) -> None:
        """Accepts or refuses it, names it, and then listens until it is closed."""
        service, websocket = self._service, self._websocket
        service.count("WEBSOCKET", "/ws")
        refused = service.faults.strike("upgrade")
        if refused is not None:
            await websocket.send_denial_response(_refusal(refused))
            return
        if not service.world.redeem_ticket(websocket.query_params.get("ticket", "")):
            await websocket.send_denial_response(error_answer(403, "The ticket is not good.", "FORBIDDEN"))
            return
        await websocket.accept()
        connection = service.attach(cast("EmulatorProtocol", websocket.scope["state"][PROTOCOL]))
        greeting = asyncio.create_task(self._greet(connection))
        try:
            await self._listen(connection)
        finally:
            greeting.cancel()
            service.detach(connection.id)

    async def _listen(self, connection: Connection) -> None:
        """What a client says is counted, and has no meaning to this service."""
        while (await self._websocket.receive())["type"] != "websocket.disconnect":
            connection.frames_received += 1

    async def _greet(self, connection: Connection) -> None:
        service = self._service
        closed = service.faults.strike("accept_then_close")
        if closed is not None:
            protocol = service.sockets[connection.id]
            service.detach(connection.id)
            await protocol.close_with(closed.get("code", 1000), closed.get("reason", ""))
            return
        init = service.faults.strike("init") or {"mode": "normal"}
        if init["mode"] == "late":
            await asyncio.sleep(init.get("seconds", math.inf))
        for frame in init.get("frames", []):
            service.send(connection.id, frame.encode("utf-8", "surrogatepass"))
        if init["mode"] == "garbage":
            service.send(connection.id, init.get("text", "This is not JSON").encode("utf-8", "surrogatepass"))
        elif init["mode"] != "none":
            service.send(connection.id, f'{{"connection_id": "{connection.id}"}}'.encode())
        service.begin_autoplay(connection)
