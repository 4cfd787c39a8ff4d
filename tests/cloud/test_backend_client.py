"""What a backend answers, good or bad, is understood or said in time; and its token goes nowhere else."""

import contextlib
import gzip
import http.server
import json
import socket
import threading
import time

import pytest
from support.patience import PATIENCE

from vdbevents import cloud
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError

TOKEN = "bt-very-secret"
MADE = {"session_id": "cap-1", "token": "st-1", "webhook_url": "https://backend.example/webhook"}


class Stub:
    """A real HTTP server that answers as it is told: one answer after the other, the last for ever."""

    def __init__(self):
        self.answers = []
        self.asked = []

    def answer(self, status, body=b"", **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, content, {name.replace("_", "-"): it for name, it in headers.items()}))

    def next(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def backend(self, token=TOKEN, seconds=60.0, path=""):
        return cloud.BackendClient(self.url + path, token, seconds)


@pytest.fixture
def stub():
    with served() as one:
        yield one


@contextlib.contextmanager
def served():
    one = Stub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self):
            one.asked.append((self.command, self.path, dict(self.headers)))
            status, content, headers = one.next()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = reply  # noqa: N815 - so it is called

        def log_message(self, *arguments):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        one.url = f"http://127.0.0.1:{server.server_port}"
        yield one
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def speaking(speak):
    """The address of a server that is no good HTTP: `speak(connection)` says something to each who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection):
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                speak(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


# It works.


@pytest.mark.parametrize("status", [200, 201])
def test_a_session_and_its_token_are_asked_for_with_the_backend_s_token(stub, status):
    stub.answer(status, MADE)

    made = stub.backend().init_session()

    assert (made.session_id, made.token.value) == ("cap-1", "st-1")
    ((method, path, headers),) = stub.asked
    assert (method, path) == ("POST", "/init-session")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Length"] == "0"


def test_without_a_token_no_credential_is_sent(stub):
    """As that of VideoDB's architecture document."""
    stub.answer(200, MADE)

    assert stub.backend(token="").init_session().session_id == "cap-1"
    assert "Authorization" not in stub.asked[0][2]


@pytest.mark.parametrize("path", ["/below/here", "/below/here/"])
def test_a_backend_may_be_below_a_path(stub, path):
    stub.answer(200, MADE)
    stub.backend(path=path).init_session()

    assert stub.asked[0][1] == "/below/here/init-session"


def test_neither_token_is_in_the_repr(stub):
    stub.answer(200, MADE)

    assert TOKEN not in repr(stub.backend())
    assert "st-1" not in repr(stub.backend().init_session())


def test_netrc_and_proxies_are_ignored(stub, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password lovelace\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with served() as proxy:
        proxy.answer(200, {**MADE, "session_id": "cap-of-the-proxy"})
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        stub.answer(200, MADE)

        assert stub.backend().init_session().session_id == "cap-1"
        assert stub.backend(token="").init_session().session_id == "cap-1"
    assert proxy.asked == []
    assert [asked[2].get("Authorization") for asked in stub.asked] == [f"Bearer {TOKEN}", None]


# It answers, and not well.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>Welcome</h1></html>",
        b"null",
        b"[]",
        b'"cap-1"',
        b'{"session_id": "cap-1", "token": ',
        b"\xff\xfe",
        b"[" * 50_000,
        {},
        {"session_id": "cap-1"},
        {"token": "st-1"},
        {**MADE, "session_id": None},
        {**MADE, "session_id": 42},
        {**MADE, "session_id": ""},
        {**MADE, "session_id": "cap-1\nvdbevents: all is well"},
        {**MADE, "session_id": "cap-1\x1b[2J"},
        {**MADE, "session_id": "c" * 257},
        {**MADE, "token": ["st-1"]},
        {**MADE, "token": "st 1"},
        {**MADE, "token": "s" * 5000},
        {**MADE, "padding": "x" * 70_000},
        gzip.compress(json.dumps(MADE).encode(), mtime=0),
    ],
    ids=lambda body: repr(body)[:40],
)
def test_an_answer_without_a_session_is_refused(stub, body):
    stub.answer(200, body)

    with pytest.raises(ServiceRefusedError) as raised:
        stub.backend().init_session()
    assert raised.value.error_id == "backend-answer-unexpected"
    assert "the backend's URL" in raised.value.hint
    assert "\n" not in raised.value.message


def test_an_endless_answer_is_not_read_to_its_end():
    sent = []

    def speak(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            sent.append(connection.send(b" " * 65536))

    with speaking(speak) as url, pytest.raises(ServiceRefusedError) as raised:
        cloud.BackendClient(url, TOKEN, 60.0).init_session()
    assert raised.value.error_id == "backend-answer-unexpected"
    # What the sockets between the two hold, and no more.
    assert sum(sent) < 16 << 20


@pytest.mark.parametrize(
    ("status", "said"), [(401, "refuses the token (401)"), (403, "refuses the token (403)")]
)
def test_a_refused_token_is_reported_with_where_to_find_it(stub, status, said):
    stub.answer(status, {"error": f"unknown token {TOKEN}\x1b[2J\nreally"})

    with pytest.raises(ServiceRefusedError) as raised:
        stub.backend().init_session()
    assert said in raised.value.message
    assert "unknown token …" in raised.value.message
    assert TOKEN not in raised.value.message + raised.value.hint
    assert "\n" not in raised.value.message
    assert "vdbevents backend --show-token" in raised.value.hint
    assert raised.value.status == status


def test_a_missing_token_is_reported(stub):
    stub.answer(401, {"error": "no token"})

    with pytest.raises(ServiceRefusedError) as raised:
        stub.backend(token="").init_session()
    assert raised.value.error_id == "backend-token-missing"


@pytest.mark.parametrize("status", [400, 402, 404, 405, 410, 413, 422])
@pytest.mark.parametrize("body", [b"<html>", {"error": "not here"}, {"error": ["not here"]}, []])
def test_a_final_refusal_is_not_retried(stub, status, body):
    stub.answer(status, body)

    with pytest.raises(ServiceRefusedError, match=f"it answered {status}") as raised:
        cloud.persist(stub.backend().init_session, 5.0)
    assert len(stub.asked) == 1
    assert ("not here" in raised.value.message) is (body == {"error": "not here"})
    assert bool(raised.value.hint) is (status in (404, 405, 410))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_a_redirect(stub, status):
    with served() as other:
        other.answer(200, MADE)
        stub.answer(status, b"", Location=f"{other.url}/init-session")

        with pytest.raises(ServiceRefusedError) as raised:
            stub.backend().init_session()
    assert raised.value.error_id == "backend-redirects"
    assert other.asked == []


# It does not answer, or not now.


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_transient_refusal_is_retried(stub, status):
    stub.answer(status, {"error": "later"}, Retry_After="0")
    stub.answer(200, MADE)

    assert cloud.persist(stub.backend().init_session, 60.0).session_id == "cap-1"
    assert len(stub.asked) == 2


def test_retry_after_is_respected(stub):
    stub.answer(429, {"error": "too many"}, Retry_After="7")

    with pytest.raises(ServiceUnreachableError, match="it answered 429: too many") as raised:
        cloud.persist(stub.backend().init_session, 5.0)
    assert raised.value.retry_after == 7.0
    assert len(stub.asked) == 1, "after these 5 s nobody waits any more"


def test_a_backend_that_does_not_listen_is_unreachable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceUnreachableError, match="Connection refused") as raised:
            cloud.BackendClient(url, TOKEN, 60.0).init_session()
    assert url in raised.value.message
    assert TOKEN not in raised.value.message


def drips(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)  # slower than anybody wants to wait for it all


def never_ends_its_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: y\r\n")
        time.sleep(0.05)  # the same


def hangs(connection):
    connection.recv(1)


@pytest.mark.parametrize("speak", [drips, never_ends_its_headers, hangs])
def test_a_slow_backend_is_given_up_at_the_time_limit(speak):
    begun = time.monotonic()
    with speaking(speak) as url, pytest.raises(ServiceUnreachableError, match="no answer in time"):
        cloud.BackendClient(url, TOKEN, 0.5).init_session()
    assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.7\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + json.dumps(MADE).encode(),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_a_broken_answer_is_transient(words):
    with (
        speaking(lambda connection: connection.sendall(words)) as url,
        pytest.raises(ServiceUnreachableError) as raised,
    ):
        cloud.BackendClient(url, TOKEN, 60.0).init_session()
    assert TOKEN not in raised.value.message


# Where it may be.


@pytest.mark.parametrize(
    "url",
    [
        "https://backend.example",
        "https://backend.example:8443/below",
        "http://127.0.0.1:5002",
        "http://127.8.9.10",
        "http://localhost:5002/",
        "http://[::1]:5002",
    ],
)
def test_https_is_allowed_anywhere_and_http_on_loopback(url):
    assert cloud.BackendClient(url, TOKEN, 1.0).url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://backend.example",
        "http://192.168.1.5:5002",
        "http://10.0.0.1",
        "http://0.0.0.0:5002",
        "http://localhost.example",
        "http://[fe80::1]:5002",
        "http://127.0.0.1.example",
    ],
)
@pytest.mark.parametrize("token", [TOKEN, ""])
def test_http_to_another_machine_is_refused(url, token):
    with pytest.raises(InputError) as raised:
        cloud.BackendClient(url, token, 1.0)
    assert raised.value.error_id == "backend-url-unencrypted"
    assert "https://" in raised.value.hint
    assert TOKEN not in raised.value.message + raised.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "backend.example",
        "ftp://backend.example",
        "https://",
        "https:///init-session",
        "https://backend.example:port",
        "https://[::1",
        "https://back end.example",
        "https://backend.example/\r\nX: y",
        "https://bäckend.example",
        "http://localhost\\.backend.example",
        "http://127.0.0.1\\@backend.example",
        TOKEN,
    ],
)
def test_an_invalid_url_is_refused_and_not_shown(url):
    with pytest.raises(InputError) as raised:
        cloud.BackendClient(url, "", 1.0)
    assert raised.value.error_id == "backend-url-invalid"
    assert TOKEN not in raised.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:secret@backend.example",
        "https://backend.example?token=secret",
        "https://a.example/#secret",
    ],
)
def test_a_secret_in_the_url_is_refused_and_not_shown(url):
    with pytest.raises(InputError) as raised:
        cloud.BackendClient(url, "", 1.0)
    assert raised.value.error_id == "backend-url-with-secret"
    assert "secret" not in raised.value.message.replace("VDBEVENTS", "")
    assert "VDBEVENTS_BACKEND_TOKEN" in raised.value.hint


@pytest.mark.parametrize("token", ["two words", "a\r\nX: y", "tökén", "x" * 5000, "\x1b[2J"])
def test_an_invalid_token_is_refused_and_not_shown(token):
    with pytest.raises(InputError) as raised:
        cloud.BackendClient("https://backend.example", token, 1.0)
    assert raised.value.error_id == "backend-token-invalid"
    assert token not in raised.value.message + raised.value.hint
