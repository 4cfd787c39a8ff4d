"""The backend in the world: a socket, requests with limits, and what goes on behind their answers."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents import __version__, cloud
from vdbevents.backend import policy
from vdbevents.backend.credentials import BackendCredentials, make_credentials
from vdbevents.backend.supervisor import Supervisor, SupervisorOptions
from vdbevents.backend.tunnel import Tunnel
from vdbevents.errors import InputError, ServiceRefusedError, StorageError, VdbeventsError
from vdbevents.events import envelope, identity
from vdbevents.journal import append as journal_append, files, locks, state as journal_state
from vdbevents.sessions.interfaces import Reporter

if TYPE_CHECKING:
    from uvicorn.server import ServerState

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LARGEST_BODY: Final = 1 << 20
# Of who is refused, or sends too much, so much is read that the answer is not lost in a reset.
_REST_OF_A_BODY: Final = 3 << 20
_STRANGERS_BODY: Final = 1 << 16
_BACKLOG: Final = 128
_APPEND_SECONDS: Final = 10.0
_FAREWELL_SECONDS: Final = 3.0
_LISTENER_SECONDS: Final = 10.0
# A tunnel that does not end when it is asked is killed after 3 s, which takes its time as well.
_BACKGROUND_SECONDS: Final = 8.0
_TUNNEL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where to serve, and what.

    Attributes:
        sessions: what sessions are made like; its directory is the backend's.
        public_url: how others reach this; empty: only by `host` and `port`, or through the tunnel.
        cloudflared: the program that makes a tunnel, or None.
        open_to_loopback: no token is needed.
        read_seconds: how long a head, and then a body, may take to come.
    """

    sessions: SupervisorOptions
    host: str = "127.0.0.1"
    port: int = 5002
    public_url: str = ""
    cloudflared: Path | None = None
    open_to_loopback: bool = False
    read_seconds: float = 10.0


def serve(options: ServerOptions, say: Reporter, announce: Callable[[str], None]) -> signal.Signals:
    """Serves until a signal asks to end, and answers which one it was.

    Args:
        options: see there.
        say: tells a person.
        announce: called with the public address when requests to it are answered, and with each new one.

    Raises:
        CaptureError: another backend has this directory. Nothing was touched.
        InputError: the port is in use, or the directory's files cannot be written.
        StorageError: the journal cannot be.
    """
    directory = options.sessions.directory
    lock = locks.ProcessLock(directory.backend_lock, lambda: locks.already_serving(directory))
    try:
        return asyncio.run(_Server(options, make_credentials(directory), say, announce).run())
    finally:
        lock.release()


class _Journal:
    """The journal, for one thread at a time."""

    def __init__(self, directory: journal_state.StateDirectory) -> None:
        self._journal = journal_append.Journal(directory, clock_ms=files.wall_ms)
        self._guard = threading.Lock()

    def append(self, made: envelope.Record, *, once: bool = False) -> None:
        """Returns when a line is on the disk, or, with `once`, is known to be there.

        Raises:
            OSError: it is not known to be.
        """
        if not self._guard.acquire(timeout=_APPEND_SECONDS):
            raise TimeoutError("the disk does not answer")
        try:
            self._journal.append([made.line], {made.line: identity.once_delivered(made)} if once else None)
            self._journal.sync()
        finally:
            self._guard.release()


class _Server:
    def __init__(
        self,
        options: ServerOptions,
        credentials: BackendCredentials,
        say: Reporter,
        announce: Callable[[str], None],
    ) -> None:
        self._options = options
        self._say = say
        self._announce = announce
        self._backend = policy.RequestPolicy(credentials, open_to_loopback=options.open_to_loopback)
        self._limits = policy.RateLimits()
        self._journal = _Journal(options.sessions.directory)
        # One, for each thread keeps for good what the largest body took.
        self._writer = cloud.DaemonThreads(most=1)
        self._public_url = options.public_url
        self._complaint = ""

    async def run(self) -> signal.Signals:
        loop = self._loop = asyncio.get_running_loop()
        loop.set_default_executor(cloud.DaemonThreads())
        self._signal: asyncio.Future[signal.Signals] = loop.create_future()
        self._handle_signals(loop)
        endpoint = _bound(self._options.host, self._options.port)
        port = endpoint.getsockname()[1]
        self._local_url = _url_of(self._options.host, port)
        try:
            self._sessions = Supervisor(self._options.sessions, self._say, self._journal.append)
            told = {"pid": os.getpid(), "version": __version__, "port": port}
            try:
                await self._sessions.restore(told)
            except OSError as error:
                path = self._options.sessions.directory.journal
                raise StorageError(
                    f"cannot use {path}: {error.strerror or error}", "make room there, or see who owns it"
                ) from error
            await self._serve(endpoint)
        finally:
            endpoint.close()
        await self._sessions.close(_LISTENER_SECONDS)
        return self._signal.result()

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def interrupt(number: int) -> None:
            if self._signal.done():
                os._exit(128 + number)
            self._signal.set_result(signal.Signals(number))

        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, interrupt, number)
            except NotImplementedError:  # Windows' event loop knows no signals
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(interrupt, n))

    async def _serve(self, endpoint: socket.socket) -> None:
        from uvicorn.server import ServerState

        from vdbevents.backend.http_limits import Connections

        state = ServerState()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unforeseen)
        make = Connections(self._application, self._is_known, state, self._options.read_seconds)
        listening = await loop.create_server(make, sock=endpoint, backlog=_BACKLOG)
        background = [loop.create_task(self._sessions.run())]
        if self._options.cloudflared is not None:
            tunnel = Tunnel(self._options.cloudflared, self._local_url, self._say, self._take_address)
            background.append(loop.create_task(tunnel.run()))
            loop.call_later(_TUNNEL_SECONDS, self._miss_address)
        else:
            self._public_url = self._public_url or self._local_url
            self._announce(self._public_url)
        for task in background:
            task.add_done_callback(self._background_ended)
        try:
            await self._signal
        finally:
            listening.close()
            await _close(state)
            for task in background:
                task.cancel()
            await asyncio.wait(background, timeout=_BACKGROUND_SECONDS)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        # A task that dies unseen would leave a backend that does a part of its work.
        if not task.cancelled() and not self._signal.done() and (error := task.exception()) is not None:
            self._signal.set_exception(error)

    def _unforeseen(self, _: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        # asyncio would print a traceback for each connection that its end has surprised.
        self._complain(f"{told.get('message')}: {told.get('exception')!r}")

    def _take_address(self, url: str) -> None:
        self._public_url = url
        if url:
            self._announce(url)

    def _miss_address(self) -> None:
        if not self._public_url:
            self._say(
                f"cloudflared has told no address in {_TUNNEL_SECONDS:g} s",
                problem=True,
                hint=f"see what it says: cloudflared tunnel --url {self._local_url}",
            )

    # Requests.

    async def _application(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except ConnectionError:
            return  # nobody is there any more
        except Exception as error:  # noqa: BLE001 - whatever it is, the next request is served
            self._complain(f"a request met a bug in vdbevents; please report it: {error!r}")
            answer = policy.BROKEN
        from starlette.responses import JSONResponse

        # One request a connection: nothing that is left of it can be taken for the next one.
        headers = {**answer.headers, "Cache-Control": "no-store", "Connection": "close"}
        response = JSONResponse(dict(answer.content), answer.status, headers)
        await response(scope, receive, send)

    async def _answer(self, scope: _Scope, receive: _Receive) -> policy.Reply:
        head, seconds = _head_of(scope), self._options.read_seconds
        refused = self._backend.refuse(head)
        client = scope.get("client") or ("", 0)
        path = head.path if refused is None else None
        too_often = self._limits.refuse(client[0], time.monotonic(), known_for=path)
        if refused is not None or too_often is not None:
            await _read(receive, 0, _STRANGERS_BODY, min(seconds / 2, 1.0))
            return too_often or refused or policy.NOT_FOUND
        body = await _read(receive, _LARGEST_BODY, _LARGEST_BODY + _REST_OF_A_BODY, seconds)
        if isinstance(body, policy.Reply):
            return body
        try:
            async with asyncio.timeout(_APPEND_SECONDS):
                answer = await self._loop.run_in_executor(self._writer, self._handle, head, body)
        except OSError as error:
            reason = "the disk does not answer" if isinstance(error, TimeoutError) else error.strerror
            self._complain(
                f"a webhook could not be written down, and has to be sent again: {reason or error}"
            )
            return policy.UNWRITTEN
        if answer is None:
            return await self._make_session()
        self._complaint = ""
        return answer

    def _handle(self, head: policy.RequestHead, body: bytes) -> policy.Reply | None:
        """In a thread: a hostile body takes its time, in which others are served."""
        handled = self._backend.handle(head, body, files.wall_ms())
        if handled.append is not None:
            self._journal.append(handled.append, once=True)
        return handled.answer

    def _is_known(self, scope: _Scope) -> bool:
        return self._backend.refuse(_head_of(scope)) is None

    async def _make_session(self) -> policy.Reply:
        if not self._public_url:
            return policy.error(503, "the tunnel has no address yet", retry_after="2")
        webhook_url = self._public_url + self._backend.webhook_path()
        try:
            made = await self._sessions.create(webhook_url)
        except ServiceRefusedError as error:
            self._complain(error.message, error.hint)
            return policy.error(502, "the service refused to make a session")
        except VdbeventsError as error:
            self._complain(error.message, error.hint)
            return policy.error(503, "the service could not be reached", retry_after="5")
        except OSError as error:
            self._complain(f"a session could not be written down: {error.strerror or error}")
            return policy.UNWRITTEN
        self._complaint = ""
        content = {"session_id": made.session_id, "token": made.token, "webhook_url": webhook_url}
        return policy.Reply(200, content)

    def _complain(self, text: str, hint: str = "") -> None:
        # Whoever asks again and again is no reason to say it as often.
        if text != self._complaint:
            self._say(text, problem=True, hint=hint)
        self._complaint = text


def _head_of(scope: _Scope) -> policy.RequestHead:
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, value.decode("latin-1"))
    named = (headers.get(name, "") for name in (b"authorization", b"host", b"origin"))
    return policy.RequestHead(scope["method"], scope["path"], *named)


async def _read(receive: _Receive, keep: int, most: int, seconds: float) -> bytes | policy.Reply:
    """The body, of at most `keep` bytes; of what is longer, `most` bytes are read and forgotten.

    Raises:
        ConnectionError: the client is gone.
    """
    size, pieces = 0, []
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ConnectionAbortedError
                piece = message.get("body", b"")
                size += len(piece)
                if size <= keep:
                    pieces.append(piece)
                else:
                    pieces.clear()
                if not message.get("more_body") or size > most:
                    break
    except TimeoutError:
        return policy.TOO_SLOW
    return b"".join(pieces) if size <= keep else policy.TOO_LARGE


def _bound(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port in use is told of before anything else is done."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        endpoint = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if sys.platform != "win32":
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            endpoint.bind(address)
        except OSError:
            endpoint.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot serve on {host}, port {port}: {reason}",
            "name another --port, or an address of this machine",
        ) from error
    return endpoint


def _url_of(host: str, port: int) -> str:
    # What listens on all addresses is reached by this one from here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is not bound here
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _close(state: "ServerState") -> None:
    """Lets what was begun be answered, and ends all connections."""
    for protocol in list(state.connections):
        protocol.shutdown()
    deadline = time.monotonic() + _FAREWELL_SECONDS
    while state.tasks and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    for task in list(state.tasks):
        task.cancel()
    for protocol in list(state.connections):
        with contextlib.suppress(AttributeError):
            protocol.transport.abort()
    await asyncio.sleep(0)
