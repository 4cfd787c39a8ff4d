"""The server on real sockets: what is too large, too slow, too often or hostile."""

import asyncio
import contextlib
import json
import signal
import socket
import threading
import time

import pytest
from support.patience import patient
from support.processes import PATIENCE, events_of, eventually
from uvicorn.server import ServerState

from vdbevents.backend import http_limits, server as s
from vdbevents.backend.credentials import make_credentials
from vdbevents.backend.supervisor import SupervisorOptions
from vdbevents.cloud import Account, Credentials
from vdbevents.journal import state

SECONDS = 1.0
# Only who is cut off is in a hurry: a slow machine takes its time for a large body.
hurried = pytest.mark.parametrize("served", [SECONDS], indirect=True)


class NoListener:
    def start(self, _):
        raise AssertionError("nothing is recorded here")

    def stop(self, _):
        return False


class Served:
    """A backend in a thread, whose service is not there."""

    def __init__(self, directory, seconds):
        self.directory = directory
        self.said = []
        account = Account(Credentials("sk-secret", "http://127.0.0.1:9"), 5.0)
        options = s.ServerOptions(
            SupervisorOptions(directory, account, "ada", NoListener()), port=0, read_seconds=seconds
        )
        self.credentials = make_credentials(directory)
        self._server = s._Server(options, self.credentials, self._say, self._announce)
        self._address = threading.Event()
        self._server._handle_signals = lambda loop: setattr(self, "loop", loop)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.run()), daemon=True)
        self._thread.start()
        assert self._address.wait(PATIENCE)

    def _say(self, text, **_):
        self.said.append(text)

    def _announce(self, url):
        self.port = int(url.rpartition(":")[2])
        self._address.set()

    @property
    def webhook(self):
        return f"/webhook/{self.credentials.webhook_secret}"

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def exchange(self, data):
        """All that is answered to some bytes, until the connection is closed."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            return _all_of(connection)

    def post(self, path, body=b"{}", head=""):
        request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{head}\r\n"
        return self.exchange(request.encode() + body)

    def close(self):
        self.loop.call_soon_threadsafe(self._server._signal.set_result, signal.SIGTERM)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def _all_of(connection):
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def content_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
def served(request, tmp_path):
    directory = state.StateDirectory(tmp_path / "state")
    directory.create()
    served = Served(directory, getattr(request, "param", PATIENCE))
    yield served
    served.close()


def test_a_webhook_is_on_the_disk_before_it_is_answered(served):
    assert content_of(served.post(served.webhook, b'{"a": 1}')) == {"received": True}

    assert [e["a"] for e in events_of(served.directory) if "via" in e] == [1]


def test_a_webhook_delivered_many_times_at_once_is_one_line(served):
    threads = [threading.Thread(target=served.post, args=(served.webhook, b'{"a": 2}')) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([e for e in events_of(served.directory) if "via" in e]) == 1


def test_a_reply_has_no_unneeded_headers_and_repeats_nothing(served):
    answer = served.exchange(b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: <b>\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b'{"error":"not found"}'
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert names == {b"content-length", b"content-type", b"cache-control", b"connection"}


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused_and_not_stored(served, declared):
    size = (1 << 20) + 1
    if declared:
        answer = served.post(served.webhook, b"x" * size)
    else:
        head = f"POST {served.webhook} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        answer = served.exchange(head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))

    assert status_of(answer) == 413
    assert [e for e in events_of(served.directory) if "via" in e] == []


def test_a_body_of_the_largest_size_is_stored(served):
    body = b'{"a":"%b"}' % (b"x" * ((1 << 20) - 8))
    assert len(body) == 1 << 20

    assert status_of(served.post(served.webhook, body)) == 200


def test_an_endless_body_is_cut_off(served):
    with served.connect() as connection:
        connection.sendall(
            f"POST {served.webhook} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 << 20:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
    assert sent < 32 << 20


@hurried
@pytest.mark.parametrize("sent", [b"", b"POST /init", b"POST / HTTP/1.1\r\nX: y\r\n"])
def test_an_unfinished_head_is_cut_off(served, sent):
    began = time.monotonic()
    answer = served.exchange(sent)

    assert answer == b""
    assert SECONDS / 2 < time.monotonic() - began < PATIENCE


@hurried
def test_a_head_sent_byte_by_byte_is_cut_off(served):
    began = time.monotonic()
    with served.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        while time.monotonic() - began < PATIENCE:
            connection.sendall(b"x")
            time.sleep(0.02)

    assert time.monotonic() - began < PATIENCE


@hurried
def test_an_unfinished_body_is_answered_with_408(served):
    answer = served.exchange(
        f"POST {served.webhook} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode()
    )

    assert status_of(answer) == 408
    assert [e for e in events_of(served.directory) if "via" in e] == []


def test_a_head_that_is_too_long_is_refused(served):
    answer = served.exchange(b"GET /health HTTP/1.1\r\nX: " + b"x" * (1 << 17) + b"\r\n\r\n")

    assert status_of(answer) in (400, 431, None)
    assert status_of(served.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")) == 200


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x00\xa5", b"\r\n\r\n\x00", b"GET /\r\n\r\n", b"{}\r\n\r\n"])
def test_input_that_is_not_http_does_no_harm(served, sent):
    assert status_of(served.exchange(sent)) in (400, None)
    assert status_of(served.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")) == 200


def test_a_stranger_over_the_limit_gets_retry_after(served, monkeypatch):
    # However long it takes to ask, it is at one moment.
    limits, now = served._server._limits, time.monotonic()
    refuse = limits.refuse
    monkeypatch.setattr(limits, "refuse", lambda address, _, **known: refuse(address, now, **known))
    answers = [served.post("/init-session", b"", "Authorization: Bearer guess\r\n") for _ in range(40)]

    assert {status_of(answer) for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if status_of(answer) == 429)
    assert b"retry-after: 1\r\n" in refused.lower()
    assert status_of(served.post(served.webhook, b'{"b": 1}')) == 200


def test_silent_connections_keep_nobody_out(served):
    with contextlib.ExitStack() as stack:
        for _ in range(260):
            stack.enter_context(served.connect())
        assert status_of(served.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")) == 200


def test_strangers_with_half_a_body_keep_nobody_out(served):
    with contextlib.ExitStack() as stack:
        for _ in range(260):
            connection = stack.enter_context(served.connect())
            connection.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert status_of(served.post(served.webhook, b'{"a": 3}')) == 200


def test_a_stranger_s_body_of_tiny_chunks_is_not_parsed(served):
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with served.connect() as connection:
        # That the last is no chunk is seen only by who goes on reading.
        connection.sendall(head + b"1\r\nx\r\n" * 3000 + b"no chunk\r\n" * 10)
        assert status_of(_all_of(connection)) == 404


def test_the_api_key_in_a_webhook_is_not_stored(served):
    assert status_of(served.post(served.webhook, b'{"why":"sk-secret is used up"}')) == 200

    assert [e["why"] for e in events_of(served.directory) if "via" in e] == [
        "\N{HORIZONTAL ELLIPSIS} is used up"
    ]


def test_a_webhook_in_many_chunks_is_paced_and_stored(served, monkeypatch):
    head = f"POST {served.webhook} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = b'{"text":"%b"}' % (b"x" * 2000)
    paced = []
    pause_after = http_limits.Connections.pause_after
    monkeypatch.setattr(
        http_limits.Connections,
        "pause_after",
        lambda all_open, chunks, now: paced.append(chunks) or pause_after(all_open, chunks, now),
    )
    answer = served.exchange(head + b"".join(b"1\r\n%c\r\n" % it for it in body) + b"0\r\n\r\n")

    assert status_of(answer) == 200
    assert sum(paced) > len(body) / 2
    assert [e["text"] for e in events_of(served.directory) if "via" in e] == ["x" * 2000]


def test_the_chunks_of_all_connections_share_ten_thousand_a_second():
    all_open = http_limits.Connections(None, bool, ServerState(), 1.0)

    assert all_open.pause_after(100, 50.0) == pytest.approx(0.01)
    assert all_open.pause_after(100, 50.0) == pytest.approx(0.02)
    assert all_open.pause_after(100, 60.0) == pytest.approx(0.01)


def test_endless_tiny_chunks_are_refused_and_hold_up_nobody(served):
    head = f"POST {served.webhook} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    flood, stop = b"1\r\nx\r\n" * 5000, threading.Event()
    refused = []

    def attack():
        while not stop.is_set():
            with served.connect() as connection, contextlib.suppress(OSError):
                connection.sendall(head + flood)
                refused.append(status_of(_all_of(connection)))

    attackers = [threading.Thread(target=attack) for _ in range(4)]
    for attacker in attackers:
        attacker.start()
    try:
        slowest = 0.0
        for number in range(20):
            began = time.monotonic()
            assert status_of(served.post(served.webhook, b'{"n": %d}' % number)) == 200
            slowest = max(slowest, time.monotonic() - began)
            # Who sends is slowed down meanwhile.
            time.sleep(0.01)
        eventually(lambda: refused)
    finally:
        stop.set()
        for attacker in attackers:
            attacker.join()
    assert set(refused) <= {413, 429}
    assert slowest < patient(1.0)
    assert [e for e in events_of(served.directory) if "raw" in e] == []


def test_input_that_is_not_http_is_answered_in_json(served):
    answer = served.exchange(b"\x16\x03\x01<script>\r\n\r\n")

    assert status_of(answer) == 400
    assert content_of(answer) == {"error": "not HTTP"}


def test_a_connection_serves_one_request(served):
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

    assert served.exchange(request * 3).count(b"HTTP/1.1 200") == 1


def test_an_unreachable_service_is_reported_without_secrets(served):
    token = f"Authorization: Bearer {served.credentials.token}\r\n"
    answer = served.post("/init-session", b"", token)

    assert status_of(answer) == 503
    assert content_of(answer) == {"error": "the service could not be reached"}
    eventually(lambda: any("could not create a client token" in text for text in served.said))
    assert not any("sk-secret" in text for text in served.said)


def test_a_webhook_that_cannot_be_stored_is_not_answered_as_received(served):
    path = served.directory.journal
    path.rename(path.with_name("aside"))
    path.mkdir()
    assert status_of(served.post(served.webhook, b'{"c": 1}')) == 503
    path.rmdir()

    assert status_of(served.post(served.webhook, b'{"c": 1}')) == 200
