"""Requests go through the right proxy, to one service alone; answers are read within limits."""

import contextlib
import gzip
import http.server
import json
import threading
import time
import tracemalloc

import pytest
from support.patience import patient
from support.proxy import proxy_to

from vdbevents import cloud
from vdbevents.cloud import transport
from vdbevents.emulator.application import EmulatorSettings, running
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError

KEY = "sk-very-secret/key"


@contextlib.contextmanager
def serving(answer):
    """Serve every request with `answer(handler)`; yield the URL and the heads of the requests."""
    heads = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self):
            heads.append((self.path, dict(self.headers)))
            with contextlib.suppress(OSError):
                answer(self)

        do_CONNECT = do_GET = do_POST = reply  # noqa: N815 - so it is called

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", heads
        finally:
            server.shutdown()


def account_at(url, seconds=60.0):
    return cloud.Account(cloud.Credentials(KEY, url), seconds)


def send(handler, status, content=b"", reason=None, **headers):
    handler.send_response(status, reason)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def ok(handler, data=None):
    send(handler, 200, json.dumps({"success": True, "data": data or {"sessions": []}}).encode())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_key_does_not_follow_a_redirect_to_another_host(status):
    with (
        serving(ok) as (elsewhere, stolen),
        serving(lambda handler: send(handler, status, Location=f"{elsewhere}/{KEY}")) as (url, _),
    ):
        for call in (lambda it: it.list_sessions("default"), lambda it: it.stop_session("cap-1")):
            with pytest.raises(ServiceRefusedError, match=f"points to {elsewhere}: ") as raised:
                call(account_at(url))
            assert raised.value.error_id == "service-redirects"
            assert "VIDEO_DB_API" in raised.value.hint
    assert stolen == []


def test_the_key_does_not_follow_an_answer_that_names_another_host():
    pending = {"status": "processing", "request_type": "sync"}
    with serving(ok) as (elsewhere, stolen):
        content = json.dumps({**pending, "data": {"output_url": f"{elsewhere}/later"}}).encode()
        with (
            serving(lambda handler: send(handler, 200, content)) as (url, _),
            pytest.raises(ServiceRefusedError) as raised,
        ):
            account_at(url).list_sessions("default")
    assert raised.value.error_id == "service-redirects"
    assert stolen == []


def test_a_redirect_on_the_same_service_is_followed():
    def answer(handler):
        if handler.path.startswith("/new/"):
            ok(handler)
        else:
            send(handler, 307, Location=f"/new{handler.path}")

    with serving(answer) as (url, heads):
        assert account_at(url).list_sessions("default") == []
    assert [head["x-access-token"] for _, head in heads] == [KEY, KEY]


@pytest.mark.parametrize(
    ("base", "other", "same"),
    [
        ("https://a.test", "https://a.test:443/x", True),
        ("http://a.test/api", "https://a.test/api", True),
        ("https://a.test", "http://a.test", False),
        ("http://a.test:8080", "https://a.test", False),
        ("https://a.test", "https://b.a.test", False),
        ("https://a.test", "https://a.test:444", False),
        ("https://a.test", "https://a.test@b.test", False),
        ("https://a.test", "https://a.test:x", False),
    ],
)
def test_a_service_is_a_scheme_a_host_and_a_port(base, other, same):
    assert transport._is_same_service(base, other) == same


@pytest.mark.parametrize("status", [200, 400, 500])
def test_the_key_is_taken_out_of_every_answer(status):
    escaped = json.dumps(KEY)[1:-1].replace("/", "\\/")
    words = f'{{"success": false, "message": "no {KEY}, no {escaped}, no sk-very-secret%2Fkey"}}'.encode()
    with (
        serving(lambda handler: send(handler, status, words, reason=f"for {KEY}")) as (url, _),
        pytest.raises((ServiceRefusedError, ServiceUnreachableError)) as raised,
    ):
        account_at(url).list_sessions("default")
    assert "very-secret" not in f"{raised.value.message} {raised.value.hint}"
    assert status == 500 or "no …, no …, no …" in raised.value.message


def test_the_key_is_taken_out_of_content_too():
    session = {"session_id": "cap-1", "status": "failed", "error": f"the key {KEY} has no credit"}
    with serving(lambda handler: ok(handler, {"sessions": [session]})) as (url, _):
        assert [it.error for it in account_at(url).list_sessions("default")] == ["the key … has no credit"]


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" " * (1 << 20))


def test_an_endless_answer_is_read_to_a_limit(monkeypatch):
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 4 << 20)
    with serving(endless) as (url, _), pytest.raises(ServiceUnreachableError) as raised:
        account_at(url).list_sessions("default")
    assert raised.value.error_id == "answer-too-long"


def test_an_answer_that_trickles_is_given_up_at_the_time_limit():
    ended = threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            ended.set()

    with serving(answer) as (url, _):
        with pytest.raises(ServiceUnreachableError, match="no answer in time"):
            account_at(url, 0.3).list_sessions("default")
        # Not read on either, by the thread that nobody waits for any more.
        assert ended.wait(patient(10.0))


def test_a_packed_answer_is_read_and_a_bomb_is_not(monkeypatch):
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 1 << 20)
    content = gzip.compress(b'{"success": true, "data": {"sessions": []}}')
    with serving(lambda it: send(it, 200, content, Content_Encoding="gzip")) as (url, heads):
        assert account_at(url).list_sessions("default") == []
    assert heads[0][1]["Accept-Encoding"] == "gzip"

    bomb = gzip.compress(bytes(64 << 20))
    with serving(lambda it: send(it, 200, bomb, Content_Encoding="gzip")) as (url, _):
        tracemalloc.start()
        try:
            with pytest.raises(ServiceUnreachableError) as raised:
                account_at(url).list_sessions("default")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert raised.value.error_id == "answer-too-long"
    assert most < 32 << 20


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_an_answer_in_another_encoding_is_an_error(encoding):
    with (
        serving(lambda it: send(it, 200, b"?", Content_Encoding=encoding)) as (url, _),
        pytest.raises(ServiceUnreachableError),
    ):
        account_at(url).list_sessions("default")


def test_a_call_goes_through_the_proxy_and_a_loopback_one_does_not(monkeypatch):
    with running(EmulatorSettings(autoplay=False, api_key=KEY)) as url, proxy_to(url) as (proxy, asked):
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy}")
        assert account_at("http://service.test:8800").list_sessions("default") == []
        assert asked == [("GET", "service.test:8800")]
        assert account_at(url).list_sessions("default") == []
        assert len(asked) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_used_is_named_as_the_cause(monkeypatch, scheme):
    monkeypatch.setenv("ALL_PROXY", "http://ada:secret@127.0.0.1:9")

    with pytest.raises(ServiceUnreachableError, match="through the proxy: Connection refused") as raised:
        account_at(f"{scheme}://service.test").list_sessions("default")
    assert raised.value.error_id == "proxy-unusable"
    assert "ALL_PROXY" in raised.value.hint
    assert "secret" not in f"{raised.value} {raised.value.hint}"


def test_a_proxy_that_asks_for_a_password_is_quoted(monkeypatch):
    def refuse(handler):
        send(handler, 407)

    with serving(refuse) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(ServiceUnreachableError, match="Proxy Authentication Required"):
            account_at("https://service.test").list_sessions("default")


def test_a_call_goes_through_a_socks_proxy(monkeypatch):
    pytest.importorskip("socks")
    pytest.importorskip("python_socks")
    with running(EmulatorSettings(autoplay=False, api_key=KEY)) as url, proxy_to(url) as (proxy, asked):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy}")
        assert account_at("http://service.test:8800").list_sessions("default") == []
    assert asked == [("SOCKS", "service.test")]
