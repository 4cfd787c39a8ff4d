"""The WebSocket protocol: uvicorn's, with access to the transport below.

Faults need what WebSocket servers do not offer: write raw bytes, leave pings unanswered, stop reading and
writing, reset the TCP connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from asyncio.transports import BaseTransport, Transport
    from collections.abc import Callable

    from websockets.frames import Frame
    from websockets.http11 import Request

TEXT: Final = 1
BINARY: Final = 2
PROTOCOL: Final = "vdbevents.protocol"
"""Key of a connection's protocol in the ASGI scope's `state`."""

_FINAL: Final = 0x80
_SHORT: Final = 126
_MEDIUM: Final = 1 << 16
_CLOSING_SECONDS: Final = 5


def frame_header(opcode: int, length: int) -> bytes:
    """Return the header of an unmasked, unfragmented frame (RFC 6455, section 5.2)."""
    if length < _SHORT:
        return struct.pack("!BB", _FINAL | opcode, length)
    if length < _MEDIUM:
        return struct.pack("!BBH", _FINAL | opcode, 126, length)
    return struct.pack("!BBQ", _FINAL | opcode, 127, length)


class EmulatorProtocol(WebSocketsSansIOProtocol):
    """A WebSocket connection, from its handshake on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(*arguments, **options)
        self.is_silent: Callable[[], bool] = lambda: False
        """Returns whether the connection stays open but sends nothing (half-open)."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._unread: list[bytes] = []
        self._unwritten: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Return whether a write could still reach the client."""
        return not (self.close_sent or self.disconnected or self.transport.is_closing())

    def write(self, data: bytes) -> bool:
        """Write raw bytes, now or when a stall ends; return False when the connection is closed.

        A silent connection drops them, as a dead network path would.
        """
        if not self.is_open:
            return False
        if self.is_silent():
            return True
        if self._flowing.is_set():
            self.transport.write(data)
        else:
            self._unwritten.append(data)
        return True

    async def drained(self) -> None:
        """Wait until the operating system has all that was written, or the connection is closed."""
        while not self.disconnected:
            await self._flowing.wait()
            await self.writable.wait()
            if self._flowing.is_set():
                return

    def stall(self, seconds: float) -> None:
        """Pause reading and writing for a while; return at once."""
        if not self._flowing.is_set():
            return
        self._flowing.clear()
        self.transport.pause_reading()
        self.loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._flowing.set()
        unread, self._unread = self._unread, []
        unwritten, self._unwritten = self._unwritten, []
        if not self.is_open:
            return
        self.transport.resume_reading()
        for data in unwritten:
            self.transport.write(data)
        for data in unread:
            self.data_received(data)

    async def close_with(self, code: int, reason: str) -> None:
        """Close with a close frame; cut the connection off when the client does not take it in time."""
        if not self.is_open:
            return
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self.send({"type": "websocket.close", "code": code, "reason": reason})
        except OSError:  # not in time, or the client is leaving itself
            self.transport.abort()

    def reset(self) -> None:
        """Reset the TCP connection, without a close frame."""
        endpoint = self.transport.get_extra_info("socket")
        if endpoint is not None and not self.disconnected:
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    # Called by uvicorn.

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        # Paused when bytes are left over, resumed when none are: `writable` means all is handed over.
        cast("Transport", transport).set_write_buffer_limits(high=1, low=0)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._flowing.set()

    def data_received(self, data: bytes) -> None:
        if self._flowing.is_set():
            super().data_received(data)
        else:
            self._unread.append(data)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            state = self.scope["state"]
            state[PROTOCOL] = self

    def handle_ping(self) -> None:
        if self.is_silent():
            self.conn.data_to_send()
        else:
            super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        if self.is_silent():
            self.conn.data_to_send()
        else:
            super().handle_close(event)
