"""uvicorn's connections with limits, against senders that are slow, send too much, or do not send HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_LARGEST_HEAD: Final = 1 << 14
_PIECE: Final = 1 << 12
_MOST_CONNECTIONS: Final = 200
_NOT_HTTP: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 20\r\n"
    b'Cache-Control: no-store\r\nConnection: close\r\n\r\n{"error":"not HTTP"}'
)


class Connections:
    """The open connections of a server; called for the protocol of a new one."""

    def __init__(
        self,
        application: Any,  # noqa: ANN401 - as ASGI has it
        is_known: Callable[[Any], bool],
        state: ServerState,
        seconds: float,
    ) -> None:
        """Open nothing yet.

        Args:
            application: the ASGI application.
            is_known: returns whether an ASGI scope shows a credential.
            state: where uvicorn keeps its open connections.
            seconds: the time limit of a request's head.
        """
        self.config = Config(
            application,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_LARGEST_HEAD,
        )
        self.config.load()
        self.is_known = is_known
        self.state = state
        self.seconds = seconds
        # The connections without a credential, oldest first.
        self.strangers: dict[_Connection, None] = {}

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self)


class _Connection(H11Protocol):
    def __init__(self, all_open: Connections) -> None:
        super().__init__(all_open.config, all_open.state, {})
        self._all_open = all_open
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        strangers = self._all_open.strangers
        strangers[self] = None
        self._patience = self.loop.call_later(self._all_open.seconds, self.give_up)
        if len(self.connections) > _MOST_CONNECTIONS:
            # The oldest without a credential makes room.
            next(iter(strangers)).give_up()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            if self.cycle is not None and self in self._all_open.strangers:
                # Parsing a body of tiny chunks costs more than sending it: a stranger's is received, so that
                # the answer is not lost, but not parsed.
                self._unread += len(piece)
            if self.transport.is_closing() or self._unread > _PIECE:
                return
            super().data_received(piece)

    def handle_events(self) -> None:
        super().handle_events()
        is_stranger = self in self._all_open.strangers
        if is_stranger and self.cycle is not None and self._all_open.is_known(self.scope):
            self._forget()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own text
        if self.cycle is None or not self.cycle.response_started:
            self.transport.write(_NOT_HTTP)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Close it at once."""
        self._forget()
        # Now: another connection in the same turn of the loop needs the room.
        self.connections.discard(self)
        self.transport.abort()

    def _forget(self) -> None:
        # A running timer would keep each of a flood of connections in memory.
        self._patience.cancel()
        self._all_open.strangers.pop(self, None)
