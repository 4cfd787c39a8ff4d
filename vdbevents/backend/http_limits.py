"""uvicorn's connections with limits, against senders that are slow, send too much, or do not send HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_LARGEST_HEAD: Final = 1 << 14
_PIECE: Final = 1 << 12
# Of what arrived at once: before it is known how many chunks are in it.
_FIRST_PIECE: Final = 1 << 9
_MOST_CONNECTIONS: Final = 200
# Of a body: even where each is small, that is more than a sender of webhooks has for 1 MiB.
_MOST_CHUNKS: Final = 4096
_MOST_BYTES: Final = 5 << 20
# So many in a piece need not be paced.
_FEW_CHUNKS: Final = 16
_CHUNK_SECONDS: Final = 0.0001
TOO_LARGE: Final = "vdbevents.too_large"
"""The member of an ASGI scope that is true for a body of too many bytes or chunks, which is not parsed on."""
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
        self._free_at = 0.0

    def pause_after(self, chunks: int, now: float) -> float:
        """Return the seconds to wait after the chunks of one connection, so that all others get their turn.

        All connections together have 10,000 chunks a second, which take about a third of a processor.
        """
        self._free_at = max(self._free_at, now) + chunks * _CHUNK_SECONDS
        return self._free_at - now

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self)


class _Connection(H11Protocol):
    def __init__(self, all_open: Connections) -> None:
        super().__init__(all_open.config, all_open.state, {})
        self._all_open = all_open
        self._unread = self._bytes = self._chunks = 0
        self._is_too_large = False
        self._waiting: bytes | None = None
        self._next_event = self.conn.next_event
        self.conn.next_event = self._counted_event  # type: ignore[method-assign]

    def _counted_event(self) -> Any:  # noqa: ANN401 - h11's
        event = self._next_event()
        self._chunks += isinstance(event, h11.Data)
        return event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        strangers = self._all_open.strangers
        strangers[self] = None
        self._patience = self.loop.call_later(self._all_open.seconds, self.give_up)
        if len(self.connections) > _MOST_CONNECTIONS:
            # The oldest without a credential makes room.
            next(iter(strangers)).give_up()

    def data_received(self, data: bytes) -> None:
        if self._waiting is not None:
            # uvicorn reads on when the application has taken a part of the body.
            self._waiting += data
            self.transport.pause_reading()
            return
        start, step = 0, _FIRST_PIECE
        while start < len(data):
            piece = data[start : start + step]
            start += step
            self._unread += len(piece) if self._is_unparsed() else 0
            if self.transport.is_closing() or self._unread > _PIECE:
                return
            before = self._chunks
            super().data_received(piece)
            self._bytes += len(piece)
            if self._chunks > _MOST_CHUNKS or self._bytes > _MOST_BYTES:
                self._end_body()
            elif self._chunks - before > _FEW_CHUNKS:
                self._pace(self._chunks - before, data[start:])
                return
            step = _PIECE

    def _is_unparsed(self) -> bool:
        """Return whether a body is received, so that the answer is not lost, but not parsed.

        Parsing a body of tiny chunks costs more than sending it.
        """
        return self.cycle is not None and (self._is_too_large or self in self._all_open.strangers)

    def _end_body(self) -> None:
        self._unread = _PIECE
        if self.cycle is not None and not self._is_too_large:
            self._is_too_large = True
            cast("dict[str, Any]", self.scope)[TOO_LARGE] = True
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _pace(self, chunks: int, rest: bytes) -> None:
        self._waiting = rest
        self.transport.pause_reading()
        self.loop.call_later(self._all_open.pause_after(chunks, self.loop.time()), self._go_on)

    def _go_on(self) -> None:
        rest, self._waiting = self._waiting or b"", None
        if self.transport.is_closing():
            return
        self.data_received(rest)
        if self._waiting is None and not self.flow.read_paused:
            self.transport.resume_reading()

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
