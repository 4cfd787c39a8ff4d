"""Messages that are taken in batches are those that the library would have delivered one by one."""

import asyncio
import struct

import pytest
from hypothesis import example, given, strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri
from websockets.utils import accept_key, apply_mask

from vdbevents.listener import batched_connection
from vdbevents.listener.batched_connection import BatchedConnection

LARGEST = 100_000
CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


class Transport:
    """What a connection does with its transport."""

    def __init__(self):
        self.written = bytearray()
        self.is_paused = False

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False

    def set_write_buffer_limits(self, high, low=None):
        pass

    def write(self, data):
        self.written += data

    def can_write_eof(self):
        return False

    def close(self):
        pass

    def abort(self):
        pass

    def is_closing(self):
        return False

    def frames(self):
        """The frames that were sent after the request, unmasked: (first byte, payload)."""
        data = bytes(self.written).partition(b"\r\n\r\n")[2]
        sent = []
        while data:
            assert data[1] & 0x80
            size, mask = data[1] & 0x7F, data[2:6]
            assert size < 126
            sent.append((data[0], bytes(apply_mask(data[6 : 6 + size], mask))))
            data = data[6 + size :]
        return sent


def opened(kind):
    """Return a connection that has sent its request, and the answer to that."""
    protocol = ClientProtocol(
        parse_uri("ws://service.test/"), extensions=[ClientPerMessageDeflateFactory()], max_size=LARGEST
    )
    connection = kind(protocol, ping_interval=None, close_timeout=None, max_queue=None)
    connection.connection_made(Transport())
    connection.request = protocol.connect()
    protocol.send_request(connection.request)
    connection.send_data()
    accept = accept_key(connection.request.headers["Sec-WebSocket-Key"])
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    return connection, answer.encode()


def frame(opcode, payload=b"", fin=True):
    return bytes(Frame(opcode, payload, fin).serialize(mask=False))


def text(payload):
    return frame(TEXT, payload)


def compressed(*payloads):
    """Frames that one compressor makes, so that each depends on those before."""
    extension = PerMessageDeflate(False, False, 15, 15)
    return [bytes(Frame(TEXT, it).serialize(mask=False, extensions=[extension])) for it in payloads]


def closing(code, reason=""):
    return frame(CLOSE, Close(code, reason).serialize())


async def taken(connection):
    """Return all messages up to the end of a connection, and how it ended."""
    messages = []
    try:
        while True:
            if isinstance(connection, BatchedConnection):
                messages += await connection.receive()
            else:
                messages.append(await connection.recv(decode=False))
    except ConnectionClosed as closed:
        return messages, closed.rcvd, closed.sent


def delivered(kind, data, cuts, *, has_eof=True):
    """Return what a connection makes of what a service sends, read in pieces that end at `cuts`."""

    async def run():
        connection, answer = opened(kind)
        sent = answer + data
        # The answer is not of one length.
        ends = sorted({min(max(0, cut + len(answer)), len(sent)) for cut in cuts} | {len(sent)})
        begin = 0
        for end in ends:
            if end > begin:
                connection.data_received(sent[begin:end])
            begin = end
        if has_eof:
            connection.eof_received()
        connection.connection_lost(None)
        return *await taken(connection), connection.transport.frames()

    return asyncio.run(run())


# The last two look like frames, which a reader that lost its place would take for such.
payloads = st.sampled_from(
    [
        b"",
        b"{}",
        b"x" * 125,
        b"y" * 126,
        b"z" * 300,
        b"\xff\xfe",
        b"w" * 70_000,
        b"\x81\x02{}" * 50,
        b"\x82" * 200,
    ]
)
whole = st.builds(frame, st.sampled_from([TEXT, BINARY]), payloads)
controls = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=5))
fragmented = st.tuples(payloads, st.lists(st.tuples(payloads, controls), max_size=3)).map(
    lambda parts: (
        frame(TEXT, parts[0], fin=False)
        + b"".join(control + frame(CONT, part, fin=False) for part, control in parts[1])
        + frame(CONT, b"end")
    )
)
long_forms = st.sampled_from(
    [b"\x81\x7e\x00\x02{}", b"\x82\x7f" + struct.pack("!Q", 2) + b"{}", b"\x81\x7e\x00\x00"]
)
VIOLATIONS = [
    b"\x81\x82abcd{}",  # masked
    b"\x83\x00",  # an opcode that is not in use
    b"\x91\x02{}",  # a bit that is not in use
    b"\x80\x02{}",  # a continuation of nothing
    b"\x81\x7f" + struct.pack("!Q", LARGEST + 1),
    b"\x81\x7f" + b"\xff" * 8,
    frame(TEXT, b"begun", fin=False) + text(b"another"),
    b"\xc1\x05abcde",  # not what a compressor writes
]
violations = st.sampled_from(VIOLATIONS)
ends = st.sampled_from(
    [closing(1000), closing(4000, "no credit"), frame(CLOSE), closing(1001) + text(b"late")]
)
streams = st.lists(whole | whole | whole | controls | fragmented | long_forms, max_size=12)


@given(
    usual=streams,
    end=st.one_of(
        st.just(b""), ends, violations, violations.map(lambda it: it + text(b"late")), st.binary(max_size=9)
    ),
    shape=st.data(),
    has_eof=st.booleans(),
)
@example(usual=[], end=b"", shape=None, has_eof=True)
def test_whatever_is_sent_in_whatever_pieces_is_what_the_library_delivers(usual, end, shape, has_eof):
    packed = compressed(*[b"packed %d" % number for number in range(len(usual))])
    chosen = (
        [] if shape is None else shape.draw(st.lists(st.booleans(), min_size=len(usual), max_size=len(usual)))
    )
    data = (
        b"".join(
            it + (packed.pop(0) if is_chosen else b"") for it, is_chosen in zip(usual, chosen, strict=False)
        )
        + end
    )
    most = len(data) + 1
    cuts = [] if shape is None else shape.draw(st.lists(st.integers(-150, most), max_size=8))

    assert delivered(BatchedConnection, data, cuts, has_eof=has_eof) == delivered(
        ClientConnection, data, cuts, has_eof=has_eof
    )


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_ends_the_connection_as_the_library_ends_it(violation):
    data = text(b"before") + violation + text(b"after") + closing(1000)
    for cuts in ([], [len(data) // 2], range(len(data))):
        ended = delivered(BatchedConnection, data, cuts)
        assert ended == delivered(ClientConnection, data, cuts)
        assert ended[0] == [b"before"]
        assert ended[2].code in (1002, 1009)


@pytest.mark.long
def test_a_read_may_end_anywhere():
    data = (
        text(b"one")
        + frame(PING, b"p")
        + text(b"x" * 200)
        + frame(TEXT, b"be", fin=False)
        + frame(CONT, b"gun")
    )
    data += frame(BINARY, b"\x81\x02{}" * 20_000) + text(b"\x82\x01" * 60) + text(b"last") + closing(1000)
    whole = delivered(BatchedConnection, data, [])

    assert whole[0] == [b"one", b"x" * 200, b"begun", b"\x81\x02{}" * 20_000, b"\x82\x01" * 60, b"last"]
    places = [*range(-200, 300), *range(len(data) - 40, len(data))]
    for cut in places:
        assert delivered(BatchedConnection, data, [cut]) == whole
    # Byte by byte.
    assert delivered(BatchedConnection, data, places) == whole


def test_what_one_read_brings_is_one_batch():
    async def run():
        connection, answer = opened(BatchedConnection)
        connection.data_received(answer + b"".join(text(b"%d" % number) for number in range(100)))
        first = await connection.receive()
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        connection.data_received(text(b"a") + text(b"b")[:1])
        connection.data_received(text(b"b")[1:])
        return first, await waiting

    first, second = asyncio.run(run())
    assert first == [b"%d" % number for number in range(100)]
    assert second == [b"a", b"b"]


def test_a_batch_has_a_bounded_number_of_messages_and_lets_others_run():
    async def run():
        connection, answer = opened(BatchedConnection)
        connection.data_received(answer + text(b"{}") * 5_000 + closing(1000))
        connection.connection_lost(None)
        turns = []
        asyncio.get_running_loop().call_soon(turns.append, True)
        sizes = [len(await connection.receive())]
        assert turns or sizes == [2_000]
        sizes += [len(await connection.receive())]
        assert turns, "between two batches, others run"
        sizes += [len(await connection.receive())]
        with pytest.raises(ConnectionClosed):
            await connection.receive()
        return sizes

    assert asyncio.run(run()) == [2_000, 2_000, 1_000]


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_batch_is_bounded_in_bytes_and_the_rest_is_read_when_it_is_taken(monkeypatch, is_lost):
    monkeypatch.setattr(batched_connection, "_BATCH_BYTES", 200_000)
    messages = [b"%d" % number + b"x" * 90_000 for number in range(50)]

    async def run():
        connection, answer = opened(BatchedConnection)
        # A thousandth of what they are.
        connection.data_received(answer + b"".join(compressed(*messages)))
        assert connection.transport.is_paused
        connection.data_received(text(b"what the system had read already"))
        if is_lost:
            connection.connection_lost(None)
        batches = []
        while sum(map(len, batches)) < 51:
            assert is_lost or connection.transport.is_paused or batches
            batches.append(await connection.receive())
        assert is_lost or not connection.transport.is_paused
        return batches

    batches = asyncio.run(run())
    assert [it for batch in batches for it in batch] == [*messages, b"what the system had read already"]
    if not is_lost:
        assert max(sum(map(len, batch)) for batch in batches) < 200_000 + 100_000


def test_fragments_without_end_take_no_memory_for_each():
    async def run():
        connection, answer = opened(BatchedConnection)
        connection.data_received(answer + frame(TEXT, b"a", fin=False))
        for _ in range(100):
            connection.data_received(frame(CONT, b"", fin=False) * 100)
        connection.data_received(frame(CONT, b"b"))
        return await connection.receive()

    assert asyncio.run(run()) == [b"ab"]


def test_an_answer_that_refuses_is_the_library_s():
    async def run():
        connection, _ = opened(BatchedConnection)
        connection.data_received(
            b"HTTP/1.1 503 Unavailable\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\n\x81\x02{}"
        )
        await connection.response_rcvd
        return connection.response.status_code, connection.response.body, connection.protocol.handshake_exc

    code, body, error = asyncio.run(run())
    assert (code, bytes(body)) == (503, b"\x81\x02{}")
    assert error.response.headers["Retry-After"] == "3"
