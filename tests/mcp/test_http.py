"""The protocol over HTTP: who may connect, and that every tool works there, too."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import anyio
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from support import forkserver
from support.messages import error_id_in
from support.patience import patient

pytestmark = pytest.mark.long

LINE = (
    '{"ts":"2026-03-02T10:15:20.000Z","unix_ts":1772446520.0,"channel":"transcript","rtstream_name":"mic",'
    '"data":{"text":"hello","is_final":true,"start":1772446518000,"end":1772446519000}}\n'
)
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path), "LANG": "C.UTF-8", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


@pytest.fixture
def command(tmp_path):
    journal = tmp_path / "state" / "videodb_events.jsonl"
    journal.parent.mkdir()
    journal.write_text(LINE)
    return [sys.executable, "-m", "vdbevents", "mcp", str(journal.parent), "--http", "--port", "0"]


@pytest.fixture
def serving(command, environ):
    """Start a server; return its URL."""
    processes = []

    def start(*words):
        process = forkserver.Popen(
            [*command, *words], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        name, _, url = process.stdout.readline().decode().strip().partition("=")
        assert name == "MCP_URL"
        return url

    start.processes = processes
    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def post(url, headers=None, body=INITIALIZE):
    """Send a request; return the status of its answer, and the answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=patient(20))
    usual = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", parts.path, content, {**usual, **(headers or {})})
    answer = connection.getresponse()
    shown = answer.status, answer.read()
    connection.close()
    return shown


def test_only_who_has_the_token_is_answered_and_no_page_of_another_origin(serving, command, environ):
    url = serving()
    shown = forkserver.run(
        [*command, "--show-token"], env=environ, capture_output=True, text=True, check=False
    )
    bearer = {"Authorization": f"Bearer {shown.stdout.strip()}"}

    token = shown.stdout.strip()
    assert post(url)[0] == 401
    for wrong in ("Bearer wrong", f"Bearer {token.swapcase()}", f"Bearer {token}x", f"Basic {token}", token):
        assert post(url, {"Authorization": wrong})[0] == 401, wrong
    assert post(url, bearer)[0] == 200
    assert post(url, {"Authorization": f"bearer {token}"})[0] == 200  # a scheme has no case
    assert post(url, {**bearer, "Host": "localhost"})[0] == 200  # as clients write it for port 80
    for host in ("evil.example.com", "127.0.0.1:80@evil.example.com", "localhost.evil.example.com:80", ""):
        assert post(url, {**bearer, "Host": host})[0] == 421, host
    assert post(url, {**bearer, "Origin": "http://localhost:1234"})[0] == 200
    for origin in ("https://evil.example.com", "http://localhost:1.evil.example.com", "null"):
        assert post(url, {**bearer, "Origin": origin})[0] == 403, origin
    assert post(url, {**bearer, "Content-Length": str(5 << 20)}, b"")[0] == 413
    # A socket of the web would be another way in.
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert post(url, {**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})[0] == 401
    assert post(url, bearer, b"not json")[0] == 400
    assert b"Traceback" not in post(url, bearer, b"not json")[1]
    [process] = serving.processes
    process.send_signal(signal.SIGTERM)
    assert process.wait(patient(20)) == 0
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_calls_tools_over_http_in_either_protocol(serving, mode):
    url = serving("--no-auth")

    async def asked():
        async with Client(streamable_http_client(url), mode=mode) as client:
            with anyio.fail_after(patient(30)):
                return await client.call_tool("search_events", {"words": "hello"})

    found = anyio.run(asked)

    assert [event["text"] for event in found.structured_content["events"]] == ["hello"]


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
CALL["params"] = {"name": "wait_for", "arguments": {"seconds": 50}, "_meta": {"progressToken": 1}}


def connected(url, method, *headers, body=b""):
    """Return a socket on which a request was sent, and is not answered yet."""
    parts = urlsplit(url)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers]
    if method == "POST":
        lines += ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
    else:
        lines.append("Accept: text/event-stream")
    connection = socket.create_connection((parts.hostname, parts.port), timeout=patient(20))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def test_a_signal_ends_streams_and_calls_that_wait_in_order(serving):
    url = serving("--no-auth")
    [process] = serving.processes
    session = f"Mcp-Session-Id: {session_of(url)}"
    content = json.dumps(CALL).encode()
    waiting = connected(url, "POST", session, f"Content-Length: {len(content)}", body=content)
    stream = connected(url, "GET", session)
    unfinished = connected(url, "POST", "Content-Length: 100", body=b"{")
    begun = waiting.recv(1000), stream.recv(1000)
    # A client that is gone before its request is whole.
    connected(url, "POST", "Content-Length: 100", body=b"{").close()
    assert post(url)[0] == 200

    process.send_signal(signal.SIGTERM)

    assert process.wait(patient(20)) == 0
    for first, connection in zip(begun, (waiting, stream), strict=True):
        assert first.startswith(b"HTTP/1.1 200")
        assert (first + rest_of(connection)).endswith(b"\r\n0\r\n\r\n")
    assert rest_of(unfinished).startswith(b"HTTP/1.1 503")
    assert process.stderr.read() == b""


def session_of(url):
    """Begin a session; return its id."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=patient(20))
    usual = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", parts.path, json.dumps(INITIALIZE), usual)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.getheader("Mcp-Session-Id")


def rest_of(connection):
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


STRICT = """
import sys
from vdbevents.mcp import http_wire
from vdbevents.servers import loopback

http_wire._MOST_SESSIONS = 3
loopback._REQUEST_SECONDS = 0.5
from vdbevents.cli.entry import run
run()
"""


def test_what_clients_leave_behind_is_bounded(serving, command):
    command[1:3] = ["-c", STRICT]
    url = serving("--no-auth")
    sessions = [session_of(url) for _ in range(3)]

    assert post(url)[0] == 503
    # What goes on is still answered, and a session that ends makes room.
    assert post(url, {"Mcp-Session-Id": sessions[0]}, {"jsonrpc": "2.0", "id": 1, "method": "ping"})[0] == 200
    with connected(url, "DELETE", f"Mcp-Session-Id: {sessions[0]}") as ending:
        assert ending.recv(1000).startswith(b"HTTP/1.1 200")
    assert session_of(url)
    # Neither a head nor a body that never comes holds its connection.
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=patient(20)) as half:
        half.sendall(b"POST /mcp HT")
        assert half.recv(1000) == b""
    assert rest_of(connected(url, "POST", "Content-Length: 100", body=b"{")) == b""


def test_a_port_that_is_in_use_is_an_error(serving, command, environ):
    port = urlsplit(serving("--no-auth")).port

    ended = forkserver.run(
        [*command[:-1], str(port), "--no-auth"], env=environ, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, error_id_in(ended.stderr)) == (2, "port-unusable")


def test_a_token_that_others_can_read_is_refused(command, environ, tmp_path):
    token = tmp_path / ".config" / "vdbevents" / "mcp-token"
    token.parent.mkdir(parents=True)
    token.write_text("x" * 40)
    token.chmod(0o644)

    ended = forkserver.run([*command], env=environ, capture_output=True, text=True, check=False)

    assert (ended.returncode, error_id_in(ended.stderr)) == (2, "mcp-token-unusable")
