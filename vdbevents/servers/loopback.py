"""Serve an application over HTTP on this machine's own address alone, until a signal."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import anyio

from vdbevents.errors import InputError
from vdbevents.servers.answering import Answering, Application
from vdbevents.servers.lasting_process import collect_often

if TYPE_CHECKING:
    import uvicorn

ADDRESS: Final = "127.0.0.1"

_FAREWELL_SECONDS: Final = 1
# A request that never arrives whole must not hold its connection for ever.
_REQUEST_SECONDS: Final = 30.0


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
    answering = Answering(application)
    config = uvicorn.Config(
        answering,
        http=_hasty_protocol(),
        ws="none",
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

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            answering.end()
            await super().shutdown(sockets)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    running = Announcing(config)
    collect_often()
    with endpoint, _ended_by_signals(running) as received:
        anyio.run(running.serve, [endpoint])
    return received[0] if received else None


def _hasty_protocol() -> type[asyncio.Protocol]:
    """Return the protocol of connections that are closed if a request does not arrive in time."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Hasty(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._look()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _look(self) -> None:
            if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
                self._forget()
            elif self._late is None:
                self._late = self.loop.call_later(_REQUEST_SECONDS, self.transport.close)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Hasty


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
