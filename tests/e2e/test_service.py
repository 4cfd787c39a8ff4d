"""The recorder as a service: what it tells the service manager that started it."""

import contextlib
import signal
import socket
import time
from pathlib import Path

import pytest
from support.processes import Backend, end_listener, eventually, run

from vdbevents.journal.locks import listener_pid

needs_unix_sockets = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@pytest.fixture
def told(tmp_path):
    """Return a function that returns all that the manager was told so far."""
    messages = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)

        def so_far():
            with contextlib.suppress(BlockingIOError):
                while True:
                    messages.extend(listening.recv(4096).decode().splitlines())
            return messages

        yield so_far


@pytest.fixture
def environ(environ, tmp_path):
    return environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}


@needs_unix_sockets
def test_the_listener_tells_its_manager_how_it_is(listen, service, told):
    listener = listen()
    listener.connected()
    eventually(lambda: "READY=1" in told())
    assert told().index("STATUS=connected") == told().index("READY=1") + 1

    service.fault(http={"status": 503})
    service.request("close", code=1011)
    eventually(lambda: any(line.startswith("STATUS=waiting: ") for line in told()))
    # It goes on trying, and lives.
    before = len(told())
    eventually(lambda: "WATCHDOG=1" in told()[before:])

    listener.process.send_signal(signal.SIGSTOP)
    told().clear()
    time.sleep(0.3)
    assert told() == []
    listener.process.send_signal(signal.SIGCONT)
    eventually(lambda: "WATCHDOG=1" in told())

    assert listener.stop() == 0
    assert told()[-2] == "STOPPING=1"
    assert told()[-1].startswith("STATUS=stopped")
    assert told().count("READY=1") == 0


@needs_unix_sockets
def test_a_listener_whose_key_is_refused_is_never_ready(service, environ, state, told):
    ended = run(["listen", state.path], {**environ, **service.environ, "VIDEO_DB_API_KEY": "sk-wrong"})

    assert ended.returncode == 4
    assert "READY=1" not in told()
    assert "STOPPING=1" in told()


@needs_unix_sockets
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")
def test_the_backend_speaks_for_itself_and_its_listener_for_nobody(started, service, state, environ, told):
    backend = started(Backend(state, {**environ, **service.environ}))
    eventually(lambda: "READY=1" in told())
    assert f"STATUS=serving at {backend.url}" in told()
    eventually(lambda: "WATCHDOG=1" in told())

    assert backend.post("/init-session", token=backend.token)[0] == 200
    pid = eventually(lambda: listener_pid(state))
    assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
    end_listener(state)
    backend.process.terminate()
    eventually(lambda: "STOPPING=1" in told())
    assert backend.ends() == 0
    assert told().count("STOPPING=1") == 1
    assert not [line for line in told() if line.startswith("STATUS=") and "serving" not in line]
