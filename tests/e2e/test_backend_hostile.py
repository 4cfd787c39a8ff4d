"""Hostile requests to a real backend: strangers, stolen addresses, broken senders.

The full sweep sends ten thousand of them; in the normal run 300 of all kinds are sent.
"""

import asyncio
import contextlib
import itertools
import json
import random
import socket
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st
from support.processes import KEY, PATIENCE, Backend, ServiceInThread, end_listener, eventually, run

ALL_REQUESTS = 3 * 3_400
AT_ONCE = 48
CANARY = b"canary-7f3a"
ALL_SLOW = 40
LARGEST_GROWTH_MIB = 4
LARGEST_MIB = 200
LONGEST_ROUND_SECONDS = 400

# All that may ever be said to whom it does not concern.
FIXED = {
    b'{"status":"ok"}', b'{"received":true}', b'{"error":"the body is not a JSON object"}',
    b'{"error":"bearer token required"}', b'{"error":"not found"}', b'{"error":"method not allowed"}',
    b'{"error":"timed out reading the body"}', b'{"error":"the body is too large"}',
    b'{"error":"too many requests"}', b'{"error":"not HTTP"}', b"",
}  # fmt: skip


class Attack(NamedTuple):
    """What is sent, how it ends (`eof`, `reset`, or the answer is awaited), and what may be answered.

    None among the answers: the connection is closed without one.
    """

    kind: str
    sent: bytes
    answers: frozenset
    end: str = ""


def attack(kind, sent, *answers, end=""):
    return Attack(kind, sent, frozenset(answers), end)


def request(path, body=b"", head=b"", method=b"POST"):
    length = b"Content-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nHost: x\r\n%b%b\r\n%b" % (method, path, length, head, body)


def chunked(path, body):
    return b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (path, body)


def examples(strategy, count):
    """What hypothesis makes of a strategy, the same in every run."""
    found = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
    )
    @given(strategy)
    def collect(example):
        found.append(example)

    collect()
    return found


NAMES = st.sampled_from(
    ["channel", "event", "type", "via", "ts", "unix_ts", "server_ts", "data", "raw", "capture_session_id",
     "session_id", "status", "label", "event_id", "timestamp", "rtstreams", "id", "name"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(
        ["vdbevents", "backend.session", "backend.serving", "listener.rebound", "capture_session.active",
         "capture_session.exported", "capture_session.failed", "alert", "e",
         "capture_session", CANARY.decode()]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
OBJECTS = st.dictionaries(NAMES | st.text(), VALUES, max_size=8)
BODIES = OBJECTS.map(lambda it: json.dumps(it).encode()) | st.binary(max_size=200)
TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=20)
HEADS = st.lists(
    st.tuples(
        TOKENS | st.sampled_from(["Host", "Origin", "Authorization", "Content-Length", "Transfer-Encoding",
                                  "Expect", "Upgrade", "Connection", "X-Forwarded-For", "Cookie"]),
        st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60),
    ),
    max_size=10,
).map(lambda it: b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in it))  # fmt: skip

# Bodies that are made to hurt who parses, writes or reads them.
HOSTILE_BODIES = [
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 100_000,
    b'{"a":' + b"9" * 100_000 + b"}",
    b'{"a":1e999999999,"b":-0.0,"c":1e-400}',
    b'{"a":NaN,"b":Infinity}',
    b"{" + b",".join([b'"ts":1'] * 2000) + b"}",
    b'{"via":"webhook","via":"x","\\u0076ia":1,"channel":"transcript","channel":"vdbevents"}',
    b'{"a":"\\u0000","b":"\\ud800","\\udc00":"\\udc00"}',
    b'{"a":"\x00"}',
    b"\x00" * 3000,
    b"\xff\xfe{}",
    b'{"a":"\n"}\n{"channel":"vdbevents","event":"backend.session"}\n',
    b'{"ts":"1970","unix_ts":0,"channel":"vdbevents","event":"backend.serving",%b}'
    % b'"data":{"sessions":[{"capture_session_id":"cap-forged","status":"active"}]}',
    b'{"channel":"vdbevents","event":"backend.session","data":{"capture_session_id":"cap-forged"}}',
    b'{"event":"capture_session.active","capture_session_id":"cap-forged","data":{"rtstreams":[{"id":"rts-1"}]}}',
    b'{"event":"capture_session.failed","capture_session_id":"e","data":{"error":"\\u001b[31m%b"}}'
    % (b"x" * 5000),
    b'{"event_id":"e","label":"e","timestamp":1}',
    b"", b"null", b"[]", b'"x"', b"{", b"{}{}", b"\xef\xbb\xbf{}",
]  # fmt: skip


class Target:
    """A backend under attack: makes the attacks, and keeps their outcomes.

    Args:
        backend: the backend.
        rng: draws the attacks.
        requests: in each round.
        rounds: how many there will be.
    """

    def __init__(self, backend, rng, requests, rounds):
        self.requests = requests
        self.rounds = rounds
        self.port = int(backend.url.rpartition(":")[2])
        self.pid = backend.pid
        self.token = backend.token.encode()
        self.secret = backend.secret.encode()
        self.webhook = b"/webhook/" + self.secret
        self.rng = rng
        self.counts = {}
        self.wrong = []
        self.valid = itertools.count()
        self.received = []
        self._bodies = itertools.cycle(examples(BODIES, 300))
        self._hostile = itertools.cycle(HOSTILE_BODIES)
        self._heads = itertools.cycle(examples(HEADS, 300))
        self._kinds = [
            (self.wrong_token, 20), (self.wrong_path, 15), (self.noise, 12), (self.mutated, 12),
            (self.truncated, 8), (self.smuggled, 10), (self.odd_heads, 10), (self.flood, 2), (self.lines, 6),
            (self.pipelined, 4), (self.hostile_body, 14), (self.hypothetical_body, 16), (self.health, 2),
            (self.reset, 5), (self.too_large, 0.5),
        ]  # fmt: skip

    def attacks(self):
        """Return the attacks of a round: a few of each kind, the others by weight."""
        kinds, weights = zip(*self._kinds, strict=True)
        few = min(4, self.requests // 75) * kinds
        drawn = [*few, *self.rng.choices(kinds, weights, k=self.requests - len(few))]
        self.rng.shuffle(drawn)
        return (kind() for kind in drawn)

    # Strangers.

    def wrong_token(self):
        own = self.token
        tokens = [self.secret, own[:-1], own + b"x", own.swapcase(), b"", own[::-1], CANARY, b"\xff" * 40]
        scheme = self.rng.choice([b"Bearer ", b"bearer ", b"Basic ", b"", b"Bearer" + b" " * 50])
        token = self.rng.choice(tokens)
        if token == b"" and scheme:
            scheme = b"Bearer"
        return attack(
            "token",
            request(b"/init-session", CANARY, b"Authorization: %b%b\r\n" % (scheme, token)),
            401,
            400,
            429,
        )

    def wrong_path(self):
        rng, secret = self.rng, self.secret
        encoded = b"".join(b"%%%02x" % it for it in secret)
        path = rng.choice([
            b"/webhook", b"/webhook/", b"/webhook//" + secret, b"/webhook/%2f" + secret,
            b"/webhook/../webhook/" + secret,
            b"/webhook/./" + secret, b"//webhook/" + secret, b"/%2e%2e/webhook/" + secret,
            b"/webhook%2f" + secret + b"/",
            b"/webhook/" + secret + b"%00", b"/webhook/" + encoded + b"%0a", b"/webhook/" + secret[:-1],
            b"/webhook/" + secret + b"/", b"/webhook\\" + secret, b"/WEBHOOK/" + secret,
            b"/webhook/" + self.token,
            b"http://x" + self.webhook, b"https://evil.example/health", b"//evil.example/health", b"*",
            b"/webhook/..;/" + secret, b"/../../etc/passwd", b"/" + CANARY, b"/init-session/" + CANARY,
            b"/init-session%00",
            b"/webhook?" + secret, b"/webhook/" + bytes(rng.choices(b"abcXYZ019-_", k=43)),
            b"/webhook/%ff%fe%80",
            b"/docs", b"/openapi.json", b"/webhook/%ED%A0%80",
        ])  # fmt: skip
        method = rng.choice([b"GET", b"POST", b"PUT", b"TRACE", b"OPTIONS", b"PROPFIND", b"HEAD", b"CONNECT"])
        return attack("path", request(path, CANARY if method == b"POST" else b"", method=method), 404, 429)

    def noise(self):
        size = self.rng.choice([0, 1, 7, 100, 4000])
        sent = self.rng.randbytes(size)
        return attack("noise", sent + self.rng.choice([b"", b"\r\n\r\n", b"\n\n"]), 400, None, end="eof")

    def lines(self):
        sent = self.rng.choice([
            b"GET /\r\n", b"GET /health\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self.rng.randbytes(300),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST  /health HTTP/1.1\r\n\r\n",
            b"GET /health HTTP/1.1\r\n\r\n", b"SSH-2.0-" + CANARY + b"\r\n", b"\r\n" * 2000,
            b"*1\r\n$4\r\nPING\r\n",
        ])  # fmt: skip
        return attack("lines", sent, 400, 200, 404, 429, None, end="eof")

    def flood(self):
        name = self.rng.choice([b"X", CANARY, b"Content-Length", b"Host"])
        count = self.rng.choice([300, 3000])
        lines = b"".join(b"%b: %d%b\r\n" % (name, it, b"y" * 60) for it in range(count))
        return attack("flood", b"GET /health HTTP/1.1\r\n" + lines + b"\r\n", 400, None)

    def odd_heads(self):
        path, head = self.rng.choice([b"/health", b"/init-session", b"/x"]), next(self._heads)
        sent = b"%b %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (self.rng.choice([b"GET", b"POST"]), path, head)
        return attack("heads", sent, 200, 400, 401, 404, 405, 429, None, end="eof")

    def health(self):
        return attack("health", request(b"/health", method=b"GET"), 200, 429)

    # Who knows the address.

    def smuggled(self):
        path, inner = self.webhook, request(b"/health", method=b"GET")
        shapes = [
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length: -1\r\n\r\n", b'Content-Length: +5\r\n\r\n{"a":',
            b"Content-Length: 99999999999999999999999\r\n\r\n", b"Content-Length: 1e3\r\n\r\n",
            b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", b"Content-Length: 2, 2\r\n\r\n{}",
            b"Transfer-Encoding: xchunked\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n5;" + CANARY * 20 + b'\r\n{"a":\r\nXX',
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}garbage\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2000 + b"0\r\nT: %b\r\n\r\n" % CANARY,
            b"Content-Length: 2\r\n\r\n{}" + inner, b"X: y\r\n\tfolded: z\r\nContent-Length: 2\r\n\r\n{}",
            b"Content-Length: 2\rX: y\r\n\r\n{}", b"Content-Length: \x002\r\n\r\n{}",
        ]  # fmt: skip
        sent = b"POST %b HTTP/1.1\r\nHost: x\r\n%b" % (path, self.rng.choice(shapes))
        # 408: on a slow machine the time for a body may be over before we end it.
        answers = (200, 400, 408, 413, 429, None)
        return attack("smuggled", sent + self.rng.choice([b"", inner]), *answers, end="eof")

    def pipelined(self):
        one = self.rng.choice([request(b"/health", method=b"GET"), request(self.webhook, b'{"piped":1}')])
        return attack("pipelined", one * self.rng.choice([2, 50]), 200, 429)

    def mutated(self):
        sent = bytearray(
            self.rng.choice([self._valid_request(b"/init-session"), self._valid_request(self.webhook)])
        )
        for _ in range(self.rng.choice([1, 1, 3, 20])):
            position = self.rng.randrange(len(sent))
            how = self.rng.random()
            if how < 0.5:
                sent[position] = self.rng.randrange(256)
            else:
                sent[position : position + 1] = self.rng.randbytes(self.rng.choice([0, 2, 9]))
        return attack("mutated", bytes(sent), 200, 400, 401, 404, 405, 408, 413, 429, None, end="eof")

    def truncated(self):
        sent = self._valid_request(self.webhook)
        return attack("truncated", sent[: self.rng.randrange(len(sent))], None, 400, 408, 429, end="eof")

    def reset(self):
        sent = self._valid_request(self.rng.choice([self.webhook, b"/x"]))
        return attack("reset", sent[: self.rng.randrange(len(sent) + 1)], None, end="reset")

    def _valid_request(self, path):
        return request(path, b'{"mutated":"%b"}' % CANARY, b"Content-Type: application/json\r\n")

    def hostile_body(self):
        body = next(self._hostile)
        size = max(1, len(body) // 7)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(it), it) for it in pieces) + b"0\r\n\r\n"
        sent = self.rng.choice([request(self.webhook, body), chunked(self.webhook, framed)])
        return attack("body", sent, 200, 400, 429)

    def hypothetical_body(self):
        return attack("hypothetical", request(self.webhook, next(self._bodies)), 200, 400, 429)

    def too_large(self):
        body = b'{"a":"%b"}' % (b"x" * ((1 << 20) - 7))
        assert len(body) == (1 << 20) + 1
        return attack("large", request(self.webhook, body), 413, 429)

    # What comes of it.

    def note(self, made, answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head else None
        self.counts.setdefault(made.kind, Counter())[status] += 1
        is_fixed = (
            body in FIXED and CANARY not in answer and self.secret not in answer and self.token not in answer
        )
        # Who resets a connection, or sends more than is read, may lose the answer.
        if not is_fixed or (status not in made.answers and status is not None):
            self.wrong.append((made.kind, made.sent[:300], answer[:300]))
        return status

    async def connect(self):
        # On Linux, every 127.x.y.z is this machine: strangers with addresses of their own.
        own = f"127.0.{self.rng.randrange(1, 9)}.{self.rng.randrange(1, 250)}"
        local = (own, 0) if sys.platform == "linux" else None
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=local)

    async def strike(self, made):
        reader, writer = await self.connect()
        answer = b""
        with contextlib.suppress(ConnectionError):
            writer.write(made.sent)
            await writer.drain()
            if made.end == "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif made.end == "eof":
                # Of most it does not matter whether there was an answer before they ended.
                patience = 5 if made.kind == "smuggled" else 0.3
                with contextlib.suppress(TimeoutError):
                    answer = await asyncio.wait_for(reader.read(1), patience)
                if not answer:
                    writer.write_eof()
            if made.end != "reset":
                answer += await asyncio.wait_for(_all_of(reader), PATIENCE)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.note(made, answer)

    async def deliver(self):
        """A webhook of the real sender, which sends it again until it is received; some are sent twice."""
        number = next(self.valid)
        body = b'{"event":"weather","data":{"valid":%d}}' % number
        made = attack("valid", request(self.webhook, body), 200, 429)
        received = 0
        while received < 1 + (number % 5 == 0):
            reader, writer = await self.connect()
            answer = b""
            with contextlib.suppress(ConnectionError):
                writer.write(made.sent)
                answer = await _all_of(reader)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            if self.note(made, answer) == 200:
                received += 1
            else:
                await asyncio.sleep(0.2)
        self.received.append(number)

    async def crawl(self, sent):
        """A byte a second, until we are cut off."""
        reader, writer = await self.connect()
        with contextlib.suppress(ConnectionError):
            for byte in itertools.chain(sent, itertools.repeat(0x78)):
                writer.write(bytes([byte]))
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(1 << 12), 1):
                        break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def pour(self):
        """A body without an end."""
        reader, writer = await self.connect()
        sent = 0
        with contextlib.suppress(ConnectionError):
            writer.write(chunked(self.webhook, b""))
            while sent < 64 << 20:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
                sent += 0x10000
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert sent < 64 << 20
        del reader

    async def round(self):
        """A part of all requests, with slow clients all the while."""
        gate = asyncio.Semaphore(AT_ONCE)
        slow_heads = [b"", b"GET /health HTTP/1.1\r\nX: ", request(b"/x", b"y" * 100)[:-90]]
        async with asyncio.timeout(LONGEST_ROUND_SECONDS), asyncio.TaskGroup() as group:
            for number in range(ALL_SLOW):
                group.create_task(self.crawl(slow_heads[number % 3]))
            for _ in range(5):
                body = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{" % self.webhook
                group.create_task(self.crawl_after(body))
            group.create_task(self.pour())

            async def limited(work):
                async with gate:
                    await work

            for number, made in enumerate(self.attacks()):
                work = self.deliver() if number % 20 == 0 else self.strike(made)
                await gate.acquire()
                gate.release()
                group.create_task(limited(work))

    async def crawl_after(self, beginning):
        reader, writer = await self.connect()
        with contextlib.suppress(ConnectionError):
            writer.write(beginning)
            answer = await _all_of(reader)
            self.note(attack("slow", beginning, 408, 429), answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _all_of(reader):
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            received += piece
    return received


def resident_mib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class PatientBackend(Backend):
    """A backend whose well-behaved clients come again when they are told to."""

    def asks(self, path, body=b"", token=""):
        """Status and content of the answer to a well-behaved client, which waits when it is told to."""
        head = f"Authorization: Bearer {token}\r\n".encode()
        method = b"GET" if path == "/health" else b"POST"
        sent = request(path.encode(), body, head, method)

        def answered():
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
                connection.sendall(sent)
                answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            status = int(answer.split(b" ", 2)[1])
            return status != 429 and (status, json.loads(answer.partition(b"\r\n\r\n")[2]))

        return eventually(answered)


@pytest.fixture
def backend(started, state, environ):
    service = started(ServiceInThread())
    # What the C library keeps for each thread, to use it again, is no leak, and grows with the load.
    serving = started(PatientBackend(state, {**environ, **service.environ, "MALLOC_ARENA_MAX": "1"}))
    yield serving
    serving.kill()
    end_listener(state)


def assert_it_serves(backend, state, mark):
    assert backend.asks("/health") == (200, {"status": "ok"})
    status, made = backend.asks("/init-session", token=backend.token)
    assert (status, set(made)) == (200, {"session_id", "token", "webhook_url"})
    assert backend.asks(f"/webhook/{backend.secret}", b'{"%b":1}' % mark)[0] == 200
    assert any(mark.decode() in line for line in state.journal.read_text().splitlines())


@pytest.mark.long
@pytest.mark.timeout(3 * LONGEST_ROUND_SECONDS + 300)
@pytest.mark.parametrize(
    ("rounds", "requests"),
    [
        pytest.param(1, 300, id="300"),
        pytest.param(3, ALL_REQUESTS // 3, marks=pytest.mark.slow, id="ten thousand"),
    ],
)
def test_hostile_requests_leave_it_as_it_was(backend, state, environ, rounds, requests):
    assert_it_serves(backend, state, b"before")
    target = Target(backend, random.Random(20261121), requests, rounds)
    can_measure = Path(f"/proc/{backend.pid}/status").exists()
    open_before = descriptors(backend.pid) if can_measure else 0
    resident = []
    for _ in range(rounds):
        asyncio.run(target.round())
        resident.append(resident_mib(backend.pid) if can_measure else 0.0)

    assert_it_serves(backend, state, b"after")
    if can_measure:
        # More at once than before takes more, once; what leaks does so in every round.
        grown = [later - before for before, later in itertools.pairwise(resident)]
        assert min(grown, default=0) < LARGEST_GROWTH_MIB, resident
        assert resident[-1] < LARGEST_MIB, resident
        eventually(lambda: descriptors(backend.pid) <= open_before)
    assert target.wrong == []
    assert_each_kind_got_through(target)
    assert_the_journal_is_whole(state, environ, target)
    said = backend.err
    for secret in (
        KEY,
        backend.token,
        backend.secret,
        CANARY.decode(),
        "Traceback",
        "bug in vdbevents",
        "\x1b",
    ):
        assert secret not in said
    assert "cap-forged" not in said


def assert_each_kind_got_through(target):
    """Check that not everything was answered with 429, or not at all."""
    counts, valid = target.counts, target.rounds * target.requests // 20
    shown = {kind: dict(by_status) for kind, by_status in counts.items()}
    share = target.rounds * target.requests / ALL_REQUESTS
    for kind, status, least in [
        ("token", 401, 200), ("path", 404, 100), ("noise", 400, 200), ("lines", 400, 80), ("flood", 400, 20),
        ("heads", 400, 100), ("health", 200, 5), ("smuggled", 400, 200), ("smuggled", 200, 5),
        ("pipelined", 200, 10), ("mutated", 400, 200), ("truncated", None, 200), ("reset", None, 200),
        ("body", 200, 50), ("body", 400, 50), ("hypothetical", 200, 50), ("hypothetical", 400, 50),
        ("large", 413, 3),
    ]:  # fmt: skip
        assert counts[kind][status] >= max(1, int(least * share)), (kind, status, shown)
    assert counts["valid"][200] >= valid, shown
    assert counts["slow"][408] >= 5, shown
    assert sum(by_status.total() for by_status in counts.values()) >= target.rounds * target.requests


def assert_the_journal_is_whole(state, environ, target):
    lines = state.journal.read_bytes().split(b"\n")
    assert lines.pop() == b""
    # A number of 100,000 digits stays as it came; Python would not make an `int` of it.
    events = [json.loads(line, parse_int=float) for line in lines]
    valid = Counter(it["data"]["valid"] for it in events if it.get("event") == "weather" and "data" in it)
    assert valid == dict.fromkeys(target.received, 1)
    assert sorted(target.received) == list(range(target.rounds * target.requests // 20))
    own = [it for it in events if it.get("channel") == "vdbevents" and "via" not in it]
    assert {it["event"] for it in own} <= {
        "backend.serving", "backend.session", "listener.started", "listener.connected",
    }  # fmt: skip
    assert {it["via"] for it in events if "via" in it} == {"webhook"}
    others = [it for it in events if "via" not in it and it not in own]
    assert {it["event"] for it in others} <= {"capture_session.created"}
    asked = run(["query", state.path, "--grep", "after", "-o", "jsonl"], environ)
    assert asked.returncode in (0, 1), asked.stderr
    counted = run(["query", state.path, "--count"], environ)
    assert counted.returncode == 0, counted.stderr
    assert "Traceback" not in asked.stderr + counted.stderr
