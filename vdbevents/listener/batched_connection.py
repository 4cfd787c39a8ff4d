"""A WebSocket connection of `websockets` whose messages are taken in batches: all that one read has brought.

The library delivers each message through an object, a queue and a task's wake-up, which costs more than all
that the recorder does with it. Here a whole, unfragmented, uncompressed data frame is cut out of what was
read. All else goes to the library, in order, frame by frame: the handshake, pings, the end, fragments, what
is compressed, large or cut by the end of a read, and every violation of the protocol. So proxies, TLS,
keep-alive, limits and close codes stay the library's.
"""

import asyncio
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State

_BATCH_BYTES: Final = 1 << 19
_BATCH_MESSAGES: Final = 2_000
_TEXT: Final = 0x81
_BINARY: Final = 0x82
_END_OF_HEAD: Final = b"\r\n\r\n"
# The second byte of a frame is its length, or one of these two, or has the highest bit (RFC 6455, 5.2).
_LENGTH_IN_TWO: Final = 126
_LENGTH_IN_EIGHT: Final = 127


class BatchedConnection(ClientConnection):
    """What `connect` of `websockets` makes as its `create_connection`; messages come from `receive` alone."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(*arguments, **options)
        self._messages: list[bytes] = []
        self._size = 0
        self._fragments: bytearray | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_lost = False
        # Of the handshake's answer: its last bytes, until its end was found.
        self._head: bytes | None = b""
        # A frame's first bytes, too few to know its length.
        self._rest = b""
        # How many bytes of a frame are still to come, whose first ones the library has.
        self._owed = 0
        # What was read beyond a full batch.
        self._unread = b""

    async def receive(self) -> list[bytes]:
        """Return the payloads of messages that have arrived since the last call, at least one.

        A batch has at most 2,000 messages, and half a mebibyte plus one read of the socket, or plus its last
        message. What arrives beyond that is not read before the batch is taken.

        Raises:
            ConnectionClosed: the connection has ended, and all that came before was returned.
        """
        if self._messages:
            # More batches than one must not keep signals and timers waiting.
            await asyncio.sleep(0)
        while not self._messages:
            if self._is_lost:
                raise self.protocol.close_exc
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if len(self._messages) > _BATCH_MESSAGES:
            messages = self._messages[:_BATCH_MESSAGES]
            del self._messages[:_BATCH_MESSAGES]
            return messages
        messages, self._messages, self._size = self._messages, [], 0
        unread, self._unread = self._unread, b""
        if unread:
            self._read(unread)
        if self._size < _BATCH_BYTES:
            self.transport.resume_reading()
        return messages

    # Called by the transport and the library.

    def data_received(self, data: bytes) -> None:
        if self._unread:
            self._unread += data
            return
        self._read(data)
        if self._size >= _BATCH_BYTES:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._read_all()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_all()
        super().connection_lost(exc)
        self._is_lost = True
        self._wake()

    def process_event(self, event: Any) -> None:  # noqa: ANN401 - Request, Response or Frame
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if self._fragments is not None:
            self._fragments += event.data
        elif not event.fin:
            self._fragments = bytearray(event.data)
        else:
            self._add(bytes(event.data))
        if event.fin and self._fragments is not None:
            self._add(bytes(self._fragments))
            self._fragments = None

    # Reading.

    def _add(self, payload: bytes) -> None:
        self._messages.append(payload)
        self._size += len(payload)

    def _wake(self) -> None:
        is_due = bool(self._messages) or self._is_lost
        if is_due and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _read_all(self) -> None:
        """Read what is left at the end, however much it is."""
        while self._unread:
            unread, self._unread, self._size = self._unread, b"", 0
            self._read(unread)
        self._wake()

    def _read(self, data: bytes) -> None:
        """Take the messages out of what was read; beyond a full batch, keep it unread."""
        if self._head is not None:
            data = self._shake_hands(data)
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        while at < len(data):
            if self.protocol.state is not State.OPEN:
                # It is failing or closing: the library knows what still counts.
                super().data_received(data[at:])
                return
            if self._size >= _BATCH_BYTES:
                self._unread = data[at:]
                return
            if self._owed:
                stop = min(at + self._owed, len(data))
                self._owed -= stop - at
            else:
                if self._fragments is None:
                    at = self._cut(data, at)
                end = _end_of_frame(data, at)
                if end is None:
                    self._rest = data[at:]
                    return
                stop = min(end, len(data))
                self._owed = end - stop
            super().data_received(data[at:stop])
            at = stop

    def _shake_hands(self, data: bytes) -> bytes:
        """Give the library its part of what was read until frames begin; return the rest."""
        seen = (self._head or b"") + data
        end = seen.find(_END_OF_HEAD)
        if end < 0:
            self._head = seen[1 - len(_END_OF_HEAD) :]
            super().data_received(data)
            return b""
        begin = end + len(_END_OF_HEAD) - len(self._head or b"")
        self._head = None
        super().data_received(data[:begin])
        return data[begin:]

    def _cut(self, data: bytes, at: int) -> int:
        """Take whole messages up to the first frame that is the library's; return where that begins."""
        take = self._messages.append
        begun, taken, last = at, len(self._messages), len(data) - 1
        while at < last:
            length = data[at + 1]
            start = at + 2
            if length >= _LENGTH_IN_TWO:
                if length > _LENGTH_IN_TWO or at + 3 > last:
                    break
                length = data[at + 2] << 8 | data[at + 3]
                start = at + 4
            stop = start + length
            first = data[at]
            if stop > last + 1 or (first != _TEXT and first != _BINARY):  # noqa: PLR1714 - half the time
                break
            take(data[start:stop])
            at = stop
        if len(self._messages) > taken:
            self._size += at - begun
        return at


def _end_of_frame(data: bytes, at: int) -> int | None:
    """Return where the frame that begins at `at` ends; None if that cannot be known yet."""
    if len(data) < at + 2:
        return None
    length, start = data[at + 1], at + 2
    if length > _LENGTH_IN_EIGHT:
        # A service must not mask its frames. The library finds that out in the header.
        return len(data)
    if length >= _LENGTH_IN_TWO:
        start += 2 if length == _LENGTH_IN_TWO else 8
        if len(data) < start:
            return None
        length = int.from_bytes(data[at + 2 : start], "big")
    return start + length
