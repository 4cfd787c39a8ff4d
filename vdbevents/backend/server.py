"""Serve the backend: a socket, its requests within limits, and the supervisor of its sessions."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents import __version__, cloud
from vdbevents.backend import policy
from vdbevents.backend.credentials import BackendCredentials, make_credentials
from vdbevents.backend.supervisor import Supervisor, SupervisorOptions
from vdbevents.backend.tunnel import Tunnel
from vdbevents.errors import InputError, ServiceRefusedError, StorageError, VdbeventsError
from vdbevents.events import duplicate_check, envelope
from vdbevents.journal import append as journal_append, files, locks, state as journal_state
from vdbevents.listener.pause_watch import PauseWatch
from vdbevents.listener.service_manager import ServiceManager
from vdbevents.privacy.recording_rules import RecordingRules
from vdbevents.sessions.interfaces import Reporter

if TYPE_CHECKING:
    from uvicorn.server import ServerState

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LARGEST_BODY: Final = 1 << 20
# Of a refused or too large request, so much is read that the answer is not lost in a reset.
_REST_OF_A_BODY: Final = 3 << 20
_STRANGERS_BODY: Final = 1 << 16
_REST_SECONDS: Final = 0.3
_BACKLOG: Final = 128
_APPEND_SECONDS: Final = 10.0
_FAREWELL_SECONDS: Final = 3.0
_LISTENER_SECONDS: Final = 10.0
# A tunnel that does not end when asked is killed after 3 s, which takes its time as well.
_BACKGROUND_SECONDS: Final = 8.0
_TUNNEL_SECONDS: Final = 60.0
_COUNT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The address to serve on, and the limits.

    Attributes:
        sessions: how sessions are created; its directory is the backend's.
        public_url: how others reach this; empty: only by `host` and `port`, or through the tunnel.
        cloudflared: the program that makes a tunnel, or None.
        open_to_loopback: no token is needed.
        manager: of the service that the backend is, if it is one.
        rules: what must not be written.
        read_seconds: the time limit of a request's head, and of its body.
    """

    sessions: SupervisorOptions
    host: str = "127.0.0.1"
    port: int = 5002
    public_url: str = ""
    cloudflared: Path | None = None
    open_to_loopback: bool = False
    read_seconds: float = 10.0
    manager: ServiceManager = field(default_factory=ServiceManager)
    rules: RecordingRules = field(default_factory=RecordingRules)


def serve(options: ServerOptions, say: Reporter, announce: Callable[[str], None]) -> signal.Signals:
    """Serve until a signal comes, and return which one.

    Args:
        options: see there.
        say: shows messages.
        announce: called with the public URL once requests are answered, and with each new one.

    Raises:
        CaptureError: another backend serves this directory; nothing was touched.
        InputError: the port is in use, or the directory's files cannot be written.
        StorageError: the journal cannot be used.
    """
    directory = options.sessions.directory
    lock = locks.ProcessLock(directory.backend_lock, lambda: locks.already_serving(directory))
    try:
        return asyncio.run(_Server(options, make_credentials(directory), say, announce).run())
    finally:
        lock.release()


class _LockedJournal:
    """The journal, for one thread at a time."""

    def __init__(self, directory: journal_state.StateDirectory, rules: RecordingRules) -> None:
        self._journal = journal_append.Journal(directory, clock_ms=files.wall_ms)
        self._guard = threading.Lock()
        self._rules = rules
        rules.pauses = PauseWatch(directory).current

    def append(self, received: envelope.Record, *, once: bool = False) -> None:
        """Append a line and sync it to disk; with `once`, skip an event that is already there.

        What the rules leave out counts as written.

        Raises:
            OSError: the line may not be on the disk.
        """
        if not self._guard.acquire(timeout=_APPEND_SECONDS):
            raise TimeoutError("the disk does not respond")
        try:
            record = self._rules.received(received, files.wall_ms())
            if record is not None:
                duplicates = {record.line: duplicate_check.check_delivered(record)} if once else None
                self._journal.append([record.line], duplicates)
                self._journal.sync()
        finally:
            self._guard.release()

    def append_excluded(self, *, is_last: bool = False) -> None:
        """Append a line with the count of what was left out, if one is due.

        Raises:
            OSError: as `append`.
        """
        line = self._rules.excluded_line(files.wall_ms(), is_last=is_last)
        if line is not None:
            self.append(line)


class _Server:
    def __init__(
        self,
        options: ServerOptions,
        credentials: BackendCredentials,
        say: Reporter,
        announce: Callable[[str], None],
    ) -> None:
        self._options = options
        self._reporter = say
        self._announce = announce
        self._policy = policy.RequestPolicy(credentials, open_to_loopback=options.open_to_loopback)
        self._limits = policy.RateLimits()
        self._journal = _LockedJournal(options.sessions.directory, options.rules)
        # One thread: each keeps the memory of the largest body it has seen.
        self._writer = cloud.DaemonThreads(most=1)
        self._public_url = options.public_url
        self._began_ms = files.wall_ms()
        self._reported = ""
        self._tunnel: Tunnel | None = None

    def _say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """Show a message, which may repeat words from outside."""
        self._reporter(self._options.rules.redactor.words(text), problem=problem, hint=hint)

    async def run(self) -> signal.Signals:
        loop = self._loop = asyncio.get_running_loop()
        loop.set_default_executor(cloud.DaemonThreads())
        self._signal: asyncio.Future[signal.Signals] = loop.create_future()
        self._supervisor = Supervisor(self._options.sessions, self._say, self._journal.append)
        self._handle_signals(loop)
        endpoint = _bind(self._options.host, self._options.port)
        port = endpoint.getsockname()[1]
        self._local_url = _url_of(self._options.host, port)
        try:
            serving = {"pid": os.getpid(), "version": __version__, "port": port}
            try:
                await self._supervisor.restore(serving)
            except OSError as error:
                path = self._options.sessions.directory.journal
                raise StorageError(
                    f"cannot use {path}: {error.strerror or error}",
                    "free some space, or check the owner of the file",
                    error_id="journal-unusable",
                ) from error
            self._write_status()
            await self._serve(endpoint)
        finally:
            endpoint.close()
            with contextlib.suppress(OSError):
                files.remove_file(self._options.sessions.directory.backend_status)
        await self._supervisor.close(_LISTENER_SECONDS)
        return self._signal.result()

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def interrupt(number: int) -> None:
            if self._signal.done():
                self._drop()
                os._exit(128 + number)
            self._signal.set_result(signal.Signals(number))

        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, interrupt, number)
            except NotImplementedError:  # Windows' event loop has no signal handlers
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(interrupt, n))

    def _drop(self) -> None:
        """End what was started, without waiting: nothing must outlive a second signal."""
        if self._tunnel is not None:
            self._tunnel.drop()
        self._supervisor.drop()

    async def _serve(self, endpoint: socket.socket) -> None:
        from uvicorn.server import ServerState

        from vdbevents.backend.http_limits import Connections

        state = ServerState()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._report_unexpected)
        make = Connections(self._application, self._is_known, state, self._options.read_seconds)
        listening = await loop.create_server(make, sock=endpoint, backlog=_BACKLOG)
        # As long as requests can be served: this loop, and the thread that writes.
        alive = self._options.manager.keep_alive(partial(loop.run_in_executor, self._writer))
        background = [
            loop.create_task(work) for work in (self._supervisor.run(), alive, self._count_excluded())
        ]
        if self._options.cloudflared is not None:
            self._tunnel = Tunnel(self._options.cloudflared, self._local_url, self._say, self._take_address)
            background.append(loop.create_task(self._tunnel.run()))
            loop.call_later(_TUNNEL_SECONDS, self._report_missing_address)
        else:
            self._take_address(self._public_url or self._local_url)
        for task in background:
            task.add_done_callback(self._background_ended)
        self._options.manager.show(f"serving at {self._public_url or self._local_url}", is_ready=True)
        try:
            await self._signal
        finally:
            self._options.manager.stopping()
            listening.close()
            await _close(state)
            for task in background:
                task.cancel()
            await asyncio.wait(background, timeout=_BACKGROUND_SECONDS)

    async def _count_excluded(self) -> None:
        """Write down how much was left out, until cancelled."""
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            with contextlib.suppress(OSError):  # the next line has it, too
                await asyncio.to_thread(self._journal.append_excluded)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        # A backend that goes on without one of its tasks would do a part of its work.
        if not task.cancelled() and not self._signal.done() and (error := task.exception()) is not None:
            self._signal.set_exception(error)

    def _report_unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio would print a traceback for each connection that ends unexpectedly.
        self._report(f"{context.get('message')}: {context.get('exception')!r}")

    def _take_address(self, url: str) -> None:
        self._public_url = url
        self._options.manager.show(f"serving at {url}" if url else "the tunnel has no address", is_ready=True)
        self._write_status()
        if url:
            self._announce(url)

    def _write_status(self) -> None:
        content = {
            "version": __version__,
            "pid": os.getpid(),
            "since": envelope.utc_text(self._began_ms),
            "url": self._public_url or None,
            "terminal": locks.terminal_of(2),
        }
        with contextlib.suppress(OSError):
            files.replace_file(self._options.sessions.directory.backend_status, files.to_json(content))

    def _report_missing_address(self) -> None:
        if not self._public_url:
            self._say(
                f"cloudflared has printed no address in {_TUNNEL_SECONDS:g} s",
                problem=True,
                hint=f"check its output: cloudflared tunnel --url {self._local_url}",
            )

    # Requests.

    async def _application(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        try:
            reply = await self._reply(scope, receive)
        except ConnectionError:
            return  # the client is gone
        except Exception as error:  # noqa: BLE001 - the next request is served all the same
            self._report(f"a request hit a bug in vdbevents, please report it: {error!r}")
            reply = policy.BROKEN
        from starlette.responses import JSONResponse

        # One request per connection: the rest of it cannot be taken for another request.
        headers = {**reply.headers, "Cache-Control": "no-store", "Connection": "close"}
        response = JSONResponse(dict(reply.content), reply.status, headers)
        await response(scope, receive, send)

    async def _reply(self, scope: _Scope, receive: _Receive) -> policy.Reply:
        from vdbevents.backend.http_limits import TOO_LARGE

        head, seconds = _head_of(scope), self._options.read_seconds
        refused = self._policy.refuse(head)
        client = scope.get("client") or ("", 0)
        path = head.path if refused is None else None
        too_often = self._limits.refuse(client[0], time.monotonic(), known_for=path)
        if refused is not None or too_often is not None:
            await _read(receive, 0, _STRANGERS_BODY, min(seconds / 2, 1.0))
            return too_often or refused or policy.NOT_FOUND
        body = await _read(receive, _LARGEST_BODY, _LARGEST_BODY + _REST_OF_A_BODY, seconds)
        if TOO_LARGE in scope:
            # The rest is on its way, and dropped: without a moment for it a reset would lose the answer.
            await asyncio.sleep(min(seconds / 2, _REST_SECONDS))
            return policy.TOO_LARGE
        if isinstance(body, policy.Reply):
            return body
        try:
            async with asyncio.timeout(_APPEND_SECONDS):
                reply = await self._loop.run_in_executor(self._writer, self._handle, head, body)
        except OSError as error:
            reason = "the disk does not respond" if isinstance(error, TimeoutError) else error.strerror
            self._report(f"cannot store a webhook, its sender must send it again: {reason or error}")
            return policy.UNWRITTEN
        if reply is None:
            return await self._create_session()
        self._reported = ""
        return reply

    def _handle(self, head: policy.RequestHead, body: bytes) -> policy.Reply | None:
        """Handle a request in a thread, because parsing a hostile body takes time."""
        body = self._options.sessions.account.without_key(body)
        decision = self._policy.handle(head, body, files.wall_ms())
        if decision.append is not None:
            self._journal.append(decision.append, once=True)
        return decision.reply

    def _is_known(self, scope: _Scope) -> bool:
        return self._policy.refuse(_head_of(scope)) is None

    async def _create_session(self) -> policy.Reply:
        if not self._public_url:
            return policy.error(503, "the tunnel has no address yet", retry_after="2")
        webhook_url = self._public_url + self._policy.webhook_path()
        try:
            session = await self._supervisor.create(webhook_url)
        except VdbeventsError as error:
            self._report(error.message, error.hint)
            if isinstance(error, ServiceRefusedError):
                return policy.error(502, "the service refused to create a session")
            return policy.error(503, "the service could not be reached", retry_after="5")
        except OSError as error:
            self._report(f"cannot record a session: {error.strerror or error}")
            return policy.UNWRITTEN
        self._reported = ""
        content = {"session_id": session.session_id, "token": session.token.value, "webhook_url": webhook_url}
        return policy.Reply(200, content)

    def _report(self, problem: str, hint: str = "") -> None:
        """Show a problem once, however often clients cause it in a row."""
        if problem != self._reported:
            self._say(problem, problem=True, hint=hint)
        self._reported = problem


def _head_of(scope: _Scope) -> policy.RequestHead:
    from starlette.datastructures import Headers

    headers = Headers(scope=scope)
    named = (headers.get(name, "") for name in ("authorization", "host", "origin"))
    return policy.RequestHead(scope["method"], scope["path"], *named)


async def _read(receive: _Receive, keep: int, most: int, seconds: float) -> bytes | policy.Reply:
    """Return a body of at most `keep` bytes; of a longer one, read up to `most` bytes and drop them.

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


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket: a port in use is reported before anything else is done.

    Raises:
        InputError: the address cannot be used.
    """
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
            "use another --port, or an address of this machine as --host",
            error_id="port-unusable",
        ) from error
    return endpoint


def _url_of(host: str, port: int) -> str:
    # A server on all addresses is reached by this one from here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _close(state: "ServerState") -> None:
    """Finish the running requests, and close all connections."""
    for protocol in list(state.connections):
        protocol.shutdown()
    deadline = time.monotonic() + _FAREWELL_SECONDS
    while state.tasks and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    for task in list(state.tasks):
        task.cancel()
    for protocol in list(state.connections):
        with contextlib.suppress(AttributeError):
            protocol.transport.abort()
    await asyncio.sleep(0)
