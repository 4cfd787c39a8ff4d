"""Serve an application over HTTP on this machine's own address alone, until a signal."""

import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final

import anyio

from vdbevents.errors import InputError

if TYPE_CHECKING:
    import uvicorn

ADDRESS: Final = "127.0.0.1"

_FAREWELL_SECONDS: Final = 1

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""


def serve(application: Application, port: int, announce: Callable[[str], None]) -> signal.Signals | None:
    """Serve until a signal; return it.

    Args:
        application: what answers.
        port: to listen on; 0 for any free one.
        announce: gets the address, such as `127.0.0.1:5003`, once requests are answered.

    Raises:
        InputError: the port is in use.
    """
    import uvicorn

    endpoint = _bind(port)
    config = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )
    address = f"{ADDRESS}:{endpoint.getsockname()[1]}"

    class Announcing(uvicorn.Server):
        """Says when it has started, and leaves signals to `_ended_by_signals`."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce(address)

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
