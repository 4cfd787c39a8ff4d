"""The protocol over HTTP: who may connect, and that every tool works there, too."""

import http.client
import json
import signal
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


@pytest.mark.long
def test_only_who_has_the_token_is_answered_and_no_page_of_another_origin(serving, command, environ):
    url = serving()
    shown = forkserver.run(
        [*command, "--show-token"], env=environ, capture_output=True, text=True, check=False
    )
    bearer = {"Authorization": f"Bearer {shown.stdout.strip()}"}

    assert post(url)[0] == 401
    assert post(url, {"Authorization": "Bearer wrong"})[0] == 401
    assert post(url, bearer)[0] == 200
    assert post(url, {**bearer, "Host": "evil.example.com"})[0] == 421
    assert post(url, {**bearer, "Origin": "https://evil.example.com"})[0] == 403
    assert post(url, bearer, b"not json")[0] == 400
    assert b"Traceback" not in post(url, bearer, b"not json")[1]
    [process] = serving.processes
    process.send_signal(signal.SIGTERM)
    assert process.wait(patient(20)) == 0
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.long
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_calls_tools_over_http_in_either_protocol(serving, mode):
    url = serving("--no-auth")

    async def asked():
        async with Client(streamable_http_client(url), mode=mode) as client:
            with anyio.fail_after(patient(30)):
                return await client.call_tool("search_events", {"words": "hello"})

    found = anyio.run(asked)

    assert [event["text"] for event in found.structured_content["events"]] == ["hello"]


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
