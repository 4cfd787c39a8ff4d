"""The recorder as a service: what it tells its manager, and what a real systemd does with it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.messages import error_id_in
from support.patience import patient
from support.processes import KEY, Backend, end_listener, eventually, run

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
    assert told().count("STOPPING=1") == 1
    assert [line for line in told() if line.startswith("STATUS=")][-1].startswith("STATUS=stopped")
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


class UserSystemd:
    """A systemd of a user of its own: in a mount and PID namespace in which it finds a booted system."""

    BOOT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"
{} --user --log-target=console 2>&1 &
wait $!
"""
    APART = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
    PLACES = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")

    def __init__(self, environ):
        self.environ = {**environ, "XDG_RUNTIME_DIR": "/run/of-this-test"}
        program = next(filter(os.path.exists, self.PLACES), "") if sys.platform == "linux" else ""
        if not program or not shutil.which("unshare") or not shutil.which("nsenter"):
            pytest.skip("systemd, unshare or nsenter is not installed")
        self.outside = subprocess.Popen(
            [*self.APART, "sh", "-c", self.BOOT.format(program)],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def runs(self):
        """Whether it is up; skips the test if it cannot be."""
        if self.outside.poll() is not None:
            pytest.skip(f"no user's systemd can run here: {self.outside.stdout.read().strip()}")
        said = self.call("systemctl", "--user", "is-system-running").stdout.strip()
        return said in ("running", "degraded")

    def call(self, *command, **environ):
        """Run a command in its namespaces; return its code and output."""
        children = Path(f"/proc/{self.outside.pid}/task/{self.outside.pid}/children").read_text().split()
        enter = ["nsenter", f"--target={children[0]}", "--mount", "--pid", "--"] if children else ["false"]
        return subprocess.run(
            [*enter, *map(str, command)],
            env={**self.environ, **environ},
            check=False,
            capture_output=True,
            text=True,
            timeout=patient(60),
            # A signal to a process that is gone must not reach the tests.
            start_new_session=True,
        )

    def kill(self):
        self.outside.kill()
        self.outside.wait()
        self.outside.stdout.close()


@pytest.fixture
def systemd(started, environ, service, tmp_path):
    home = tmp_path / "50% of $HOME; it's"
    home.mkdir()
    mine = {**environ, "HOME": str(home), "VIDEO_DB_API": service.url}
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "VIDEO_DB_API_KEY"):
        mine.pop(name)
    manager = started(UserSystemd(mine))
    try:
        eventually(manager.runs, seconds=patient(20))
    except AssertionError:
        pytest.skip("a user's systemd was started here, and does not come up")
    return manager


@pytest.mark.long
def test_a_real_systemd_runs_the_service_and_restarts_what_hangs(systemd, service, tmp_path):
    home = Path(systemd.environ["HOME"])
    # A moved environment: the unit names it as it is.
    python = home / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (python.parent.parent / "pyvenv.cfg").write_text(Path(sys.prefix, "pyvenv.cfg").read_text())
    (python.parent.parent / "lib").symlink_to(Path(sys.prefix, "lib"))
    python.symlink_to(Path(sys.executable).resolve())
    state = home / ".local" / "state" / "videodb"

    def vdbevents(*arguments):
        return systemd.call(python, "-P", "-m", "vdbevents", *arguments)

    def of_unit(name):
        unit = "vdbevents-listen.service"
        return systemd.call(
            "systemctl", "--user", "show", "--value", f"--property={name}", unit
        ).stdout.strip()

    def running():
        return of_unit("MainPID").removeprefix("0")

    def shown():
        (listener, *_) = json.loads(vdbevents("service", "status", "--json").stdout)["services"]
        return listener

    refused = vdbevents("service", "install")
    assert (refused.returncode, error_id_in(refused.stderr)) == (4, "service-key-missing")
    key = home / ".config" / "vdbevents" / "api-key"
    key.parent.mkdir(parents=True)
    key.write_text(KEY)
    key.chmod(0o600)

    # It starts, and says that it is connected.
    installed = vdbevents("service", "install")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert "installed, running" in installed.stdout
    first = shown()
    assert (first["detail"], first["at_login"], first["program"]) == ("connected", True, str(python))
    assert (state / "videodb_ws_pid").exists()

    # Again: nothing changes. What hangs is ended by the watchdog, and started again.
    assert "as before, running" in vdbevents("service", "install").stdout
    assert shown()["pid"] == first["pid"]
    hasty = home / ".config" / "systemd" / "user" / "vdbevents-listen.service.d" / "hasty.conf"
    hasty.parent.mkdir()
    hasty.write_text(f"[Service]\nWatchdogSec={patient(4):g}\nTimeoutAbortSec=1\nRestartSec=0\n")
    systemd.call("systemctl", "--user", "daemon-reload")
    systemd.call("systemctl", "--user", "restart", "vdbevents-listen")
    pid = eventually(running)
    systemd.call("kill", "-STOP", pid)
    eventually(lambda: running() not in ("", pid) and of_unit("ActiveState") == "active")
    assert int(of_unit("NRestarts")) >= 1

    # A busy machine is slower than such a watchdog.
    hasty.unlink()
    systemd.call("systemctl", "--user", "daemon-reload")

    # A refused key is not tried again; then it is gone.
    key.write_text("sk-wrong")
    key.chmod(0o600)
    assert systemd.call("systemctl", "--user", "restart", "vdbevents-listen").returncode != 0
    assert (shown()["runs"], shown()["exit_code"]) == (False, 4)
    assert "disable" not in vdbevents("service", "uninstall").stderr
    assert vdbevents("service", "status").returncode == 3
    assert not list((home / ".config" / "systemd" / "user").glob("*.service"))
