"""Carry the protocol over HTTP, on this machine's own address alone."""

import contextlib
import hmac
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final

import anyio

from vdbevents.errors import InputError

if TYPE_CHECKING:
    import uvicorn
    from mcp.server.lowlevel import Server

ADDRESS: Final = "127.0.0.1"
PATH: Final = "/mcp"

_FAREWELL_SECONDS: Final = 1
_UNAUTHORIZED: Final = 401

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Application = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


def serve_http(
    server: "Server[dict[str, Any]]", port: int, token: str, announce: Callable[[str], None]
) -> signal.Signals | None:
    """Serve clients on loopback until a signal; return it.

    Requests that name another host, or come from a page of another origin, are refused: a web page can make a
    browser send some.

    Args:
        server: what answers.
        port: to listen on; 0 for any free one.
        token: what each request must carry; empty for none.
        announce: gets the URL, once requests are answered.

    Raises:
        InputError: the port is in use.
    """
    import uvicorn

    application: _Application = server.streamable_http_app(streamable_http_path=PATH, host=ADDRESS)
    if token:
        application = _Bearer(application, token)
    endpoint = _bind(port)
    config = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )
    url = f"http://{ADDRESS}:{endpoint.getsockname()[1]}{PATH}"

    class Announcing(uvicorn.Server):
        """Says when it has started, and leaves signals to `_ended_by_signals`."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce(url)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    running = Announcing(config)
    with endpoint, _ended_by_signals(running) as received:
        anyio.run(running.serve, [endpoint])
    return received[0] if received else None


@contextlib.contextmanager
def _ended_by_signals(running: "uvicorn.Server") -> Iterator[list[signal.Signals]]:
    """End the server on SIGINT and SIGTERM; yield a list that gets the first of them."""
    received: list[signal.Signals] = []

    def end(number: int, _frame: object) -> None:
        received.append(signal.Signals(number))
        running.handle_exit(number, None)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bearer:
    """Refuses requests without the token."""

    def __init__(self, application: _Application, token: str) -> None:
        self._application = application
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or self._is_known(scope):
            await self._application(scope, receive, send)
            return
        headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")]
        body = b'{"error":"unauthorized: send the token of vdbevents mcp --show-token"}'
        await send({"type": "http.response.start", "status": _UNAUTHORIZED, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_known(self, scope: _Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def _bind(port: int) -> socket.socket:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        endpoint.bind((ADDRESS, port))
    except OSError as error:
        endpoint.close()
        raise InputError(
            f"cannot serve on {ADDRESS}, port {port}: {error.strerror or error}",
            "use another --port",
            error_id="port-unusable",
        ) from None
    return endpoint
