"""The server's settings, start and end; the command."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support.patience import PATIENCE
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

from vdbevents.emulator.application import EmulatorSettings, installed_path, running, serve
from vdbevents.emulator.faults import FAULT_NAMES

PROGRAM = """
import sys
from vdbevents.emulator.application import EmulatorSettings, serve
serve(EmulatorSettings(), lambda url: print(url, file=sys.stderr, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to be caught")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_soon_after_a_signal_with_websockets_open_and_prints_nothing(number):
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=pipe, stderr=pipe, text=True) as child:
        url = child.stderr.readline().strip()
        headers = {"x-access-token": "sk-emulator"}
        request = urllib.request.Request(url + "/collection/default/websocket", headers=headers)
        with urllib.request.urlopen(request) as answer:
            websocket_url = json.load(answer)["data"]["websocket_url"]
        with connect(websocket_url) as client:
            assert "connection_id" in client.recv(timeout=PATIENCE)
            os.kill(child.pid, number)
            output, errors = child.communicate(timeout=PATIENCE)
    assert (child.returncode, output, errors) == (0, "", "")


def test_clients_that_do_not_read_do_not_delay_its_end(start):
    with contextlib.ExitStack() as exits:
        url = exits.enter_context(
            running(EmulatorSettings(autoplay=False, faults={"hang": {"path": "/rtstream"}}))
        )
        request = urllib.request.Request(
            url + "/collection/default/websocket", headers={"x-access-token": "sk-emulator"}
        )
        with urllib.request.urlopen(request) as answer:
            websocket_url = json.load(answer)["data"]["websocket_url"]
        exits.enter_context(connect(websocket_url, max_queue=1, close_timeout=0))
        host, port = url.removeprefix("http://").split(":")
        flooding = exits.enter_context(socket.create_connection((host, int(port))))
        body = b'{"count": 1000000}'
        head = f"POST /emulator/flood HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        flooding.sendall(head.encode() + body)
        hanging = exits.enter_context(socket.create_connection((host, int(port))))
        hanging.sendall(b"GET /rtstream HTTP/1.1\r\nHost: x\r\n\r\n")
        started = time.monotonic()
    assert time.monotonic() - started < PATIENCE


def test_a_port_in_use_is_an_oserror(start):
    port = int(start().url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        serve(EmulatorSettings(port=port), pytest.fail)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", ""])
def test_a_host_that_is_not_loopback_is_refused(host):
    with pytest.raises(ValueError, match="must be a loopback address"):
        serve(EmulatorSettings(host=host), pytest.fail)


def test_invalid_settings_are_named(tmp_path):
    for settings, message in (
        ({"replay": tmp_path}, "cannot be read"),
        ({"speed": -1.0}, "speed"),
        ({"clock_rate": 0.0}, "clock rate"),
        ({"faults": {"typo": {}}}, "no fault 'typo'"),
        ({"certificate": tmp_path / "none.pem"}, "certificate"),
    ):
        with pytest.raises(ValueError, match=message):
            serve(EmulatorSettings(**settings), pytest.fail)


def test_faults_can_be_in_force_from_the_start(start):
    assert start(faults={"http": {"status": 500}}).http("GET", "/collection")[0] == 500


def test_it_speaks_https_and_wss_with_a_certificate(certificate_and_key):
    certificate, key = certificate_and_key
    context = ssl.create_default_context(cafile=str(certificate))
    with running(EmulatorSettings(certificate=certificate, private_key=key, speed=0)) as url:
        assert url.startswith("https://")
        headers = {"x-access-token": "sk-emulator"}
        request = urllib.request.Request(url + "/collection/default/websocket", headers=headers)
        with urllib.request.urlopen(request, context=context) as answer:
            websocket_url = json.load(answer)["data"]["websocket_url"]
        assert websocket_url.startswith("wss://")
        sending = urllib.request.Request(url + "/emulator/send", json.dumps({"size": 3_000_000}).encode())

        def send():
            with urllib.request.urlopen(sending, context=context) as answer:
                return json.load(answer)["sent"]

        async def exchange():
            # Not the client of threads: reading beside writing on a TLS socket can hang in Python 3.11.
            async with asyncio.timeout(PATIENCE), connect_async(websocket_url, ssl=context) as client:
                assert "connection_id" in await client.recv()
                assert json.loads(await client.recv())["event"] == "capture_session.created"
                client.transport.pause_reading()
                assert await asyncio.to_thread(send) == 1
                client.transport.abort()

        asyncio.run(exchange())


def test_every_fault_is_documented_with_an_example():
    text = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    assert [name for name in FAULT_NAMES if f'{{"{name}":' not in text] == []


def test_the_capture_runtime_is_found_beside_the_interpreter_or_on_the_path(monkeypatch, tmp_path):
    beside = installed_path()
    assert beside.is_absolute()
    assert os.access(beside, os.X_OK)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(beside.parent))
    assert installed_path() == beside
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_path() is None


def test_the_command_prints_what_clients_take_from_the_environment():
    command = [sys.executable, "-m", "vdbevents", "emulator"]
    kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    environ = {**kept, "HTTP_PROXY": "http://127.0.0.1:9"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environ, **pipes) as child:
        lines = [child.stdout.readline().rstrip("\n") for _ in range(3)]
        child.terminate()
        assert child.stdout.read() == ""
        assert "NO_PROXY=127.0.0.1" in child.stderr.read(), "an SDK would send the key to the proxy"
    assert lines[0].startswith("VIDEO_DB_API=http://127.0.0.1:")
    assert lines[1:] == [
        "VIDEO_DB_API_KEY=sk-emulator",
        f"VDBEVENTS_CAPTURE_RUNTIME={installed_path()}",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--numbered", "--replay", "x.jsonl"], "--numbered: not allowed with --replay"),
        (["--clock-rate", "inf"], "clock rate: must be a finite number above 0, got inf"),
    ],
)
def test_the_command_refuses_invalid_options_and_says_why(options, message):
    command = [sys.executable, "-m", "vdbevents", "emulator", *options]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert message in finished.stderr


def test_it_imports_nothing_of_the_client():
    program = (
        "import sys, vdbevents.emulator.application\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in {'typer', 'videodb', 'duckdb', 'rich'}\n"
        "  or n.startswith('vdbevents.') and not n.startswith('vdbevents.emulator')))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"
