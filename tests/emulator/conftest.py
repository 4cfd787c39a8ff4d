"""The real server in a thread, and a client for it."""

import contextlib
import json
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest
import videodb
from support.patience import PATIENCE
from websockets.sync.client import connect

from vdbevents.emulator.application import EmulatorSettings, running

KEY = "sk-emulator"


class Emulator:
    """A client of a running server."""

    def __init__(self, url, exits):
        self.url = url
        self.sdk = videodb.connect(api_key=KEY, base_url=url)
        self._exits = exits

    def http(self, method, path, body=None, key=KEY):
        """Make one request on its own connection; return (status, headers, answer)."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {} if key is None else {"x-access-token": key}
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, json.load(answer)
        except HTTPError as error:
            with error:
                text = error.read()
            return error.code, error.headers, json.loads(text) if text[:1] == b"{" else text.decode()

    def control(self, action, **body):
        """POST to a control endpoint; fail unless it succeeds."""
        status, _, answer = self.http("POST", f"/emulator/{action}", body, key=None)
        assert status == 200, answer
        return answer

    @property
    def state(self):
        return self.http("GET", "/emulator/state", key=None)[2]

    def until(self, holds):
        """Wait until the state satisfies a predicate, and return it."""
        deadline = time.monotonic() + PATIENCE
        while not holds(state := self.state):
            assert time.monotonic() < deadline, state
            time.sleep(0.01)
        return state

    def websocket_url(self):
        return self.sdk.connect_websocket().url

    def connect(self, **options):
        """Return a WebSocket that is closed with the test."""
        # A client that has not read everything cannot see the answer to its close frame, and need not wait.
        options = {
            "max_size": None,
            "ping_interval": None,
            "compression": None,
            "close_timeout": 0.1,
        } | options
        return self._exits.enter_context(connect(self.websocket_url(), **options))

    def greeted(self, **options):
        socket = self.connect(**options)
        return socket, json.loads(socket.recv(timeout=PATIENCE))["connection_id"]


@pytest.fixture
def start():
    """Start a server with any settings; without `autoplay` unless it is given."""
    with contextlib.ExitStack() as exits:

        def begin(**settings):
            settings = {"autoplay": False, **settings}
            return Emulator(exits.enter_context(running(EmulatorSettings(**settings))), exits)

        yield begin


@pytest.fixture
def emulator(start):
    return start()


@pytest.fixture
def journal(tmp_path):
    """Write lines as a journal."""

    def write(*lines) -> Path:
        path = tmp_path / "journal.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture(scope="session")
def certificate_and_key(tmp_path_factory):
    """Make a certificate for 127.0.0.1; return the paths of it and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    command = (
        f"openssl req -x509 {curve} -nodes -days 1 -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
        f" -keyout {key} -out {certificate}"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl cannot make a certificate")
    return certificate, key
