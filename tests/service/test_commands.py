"""`vdbevents service`, with a stand-in for systemctl that only writes down what it is asked."""

import json
import os
import shlex
import sys

import pytest
from support.messages import error_id_in
from support.processes import run
from typer.testing import CliRunner

from vdbevents.cli import service
from vdbevents.cli.app import whole_app
from vdbevents.journal.locks import ProcessLock
from vdbevents.journal.state import StateDirectory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a script for a shell")

STAND_IN = """#!/bin/sh
echo "$*" >> {log}
case "$*" in *"show --property=ActiveState"*) echo "$SHOWN" | tr ' ' '\\n';; esac
"""
RUNNING = "ActiveState=active SubState=running MainPID=7 StatusText=connected"


@pytest.fixture
def home(tmp_path):
    """The home of a user with a key, and with the stand-ins."""
    (tmp_path / "bin").mkdir()
    for name in ("systemctl", "loginctl", "journalctl"):
        program = tmp_path / "bin" / name
        program.write_text(STAND_IN.format(log=shlex.quote(str(tmp_path / name))))
        program.chmod(0o755)
    key = tmp_path / ".config" / "vdbevents" / "api-key"
    key.parent.mkdir(parents=True)
    key.write_text("sk-of-ada")
    key.chmod(0o600)
    return tmp_path


@pytest.fixture
def call(home):
    """Return the exit code, stdout and stderr of a command of the group."""

    def of(*arguments, shown=RUNNING, **variables):
        environ = {
            "HOME": str(home),
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "PYTHON_KEYRING_BACKEND": os.environ["PYTHON_KEYRING_BACKEND"],
            "SHOWN": shown,
            **variables,
        }
        ended = run(["service", *arguments], environ, cwd=home)
        assert "sk-of-ada" not in ended.stdout + ended.stderr
        return ended.returncode, ended.stdout, ended.stderr

    return of


def units(home):
    return sorted(path.name for path in home.glob(".config/systemd/user/*.service"))


def test_a_backend_stays_until_it_is_not_wanted_any_more(call, home):
    code, out, _ = call("status")
    assert (code, out.splitlines()[0]) == (3, "listen   not installed")
    code, out, _ = call("install", "--backend")
    assert code == 0
    assert "listen   installed, running (PID 7): connected" in out
    assert "loginctl enable-linger" in out
    assert units(home) == ["vdbevents-backend.service", "vdbevents-listen.service"]

    assert "backend  as before" in call("install")[1]
    assert "backend  removed" in call("install", "--no-backend")[1]
    assert units(home) == ["vdbevents-listen.service"]
    (listen, backend) = json.loads(call("status", "--json")[1])["services"]
    assert (listen["is_installed"], listen["program_exists"], backend["is_installed"]) == (True, True, False)
    assert call("uninstall")[:2] == (0, "listen   removed\n")
    assert call("uninstall")[:2] == (0, "no service was installed\n")


def test_a_program_that_was_moved_is_named(call, home):
    call("install")
    unit = home / ".config/systemd/user/vdbevents-listen.service"
    unit.write_text(unit.read_text().replace(sys.executable, "/old/venv/python"))

    assert "its program is gone: /old/venv/python" in call("status")[1]


def test_a_dry_run_writes_nothing(call, home):
    before = set(home.rglob("*"))
    code, out, err = call("install", "--dry-run")

    assert code == 0
    assert out.startswith("# Written by")
    assert f'"--key-file={home}/.config/vdbevents/api-key"' in out
    assert "vdbevents-listen.service" in err
    for manager in ("launchd", "windows"):
        assert "videodb_service.log" in call("install", "--dry-run", "--manager", manager)[1]
    assert set(home.rglob("*")) == before


def test_a_service_is_not_started_beside_a_listener_of_somebody_else(call, home):
    state = StateDirectory(home / "state")
    state.create()
    lock = ProcessLock(state.listener_lock, AssertionError)
    code, _, err = call("install", state.path, shown="ActiveState=inactive")
    lock.release()

    assert (code, error_id_in(err)) == (3, "listener-running")
    assert units(home) == []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda key: key.unlink(), (4, "service-key-missing")),
        (lambda key: key.chmod(0o644), (2, "key-file-not-private")),
        (lambda key: key.write_text(""), (2, "key-file-empty")),
    ],
)
def test_a_key_that_the_service_could_not_use_is_refused_at_once(spoil, expected, call, home):
    spoil(home / ".config" / "vdbevents" / "api-key")
    code, _, err = call("install", VIDEO_DB_API_KEY="sk-of-ada-too")

    assert (code, error_id_in(err)) == expected
    assert units(home) == []


def test_an_env_file_with_the_key_must_be_private_too(call, home):
    file = home / "settings"
    file.write_text("VIDEO_DB_API_KEY=sk-of-ada-too")
    file.chmod(0o644)
    assert call("install", "--dry-run", "--env-file", file)[0] == 2

    file.chmod(0o600)
    out = call("install", "--dry-run", "--env-file", file)[1]
    assert f'"--env-file={file}"' in out
    assert "--key-file" not in out


def test_what_is_not_passed_on_is_said(call):
    secret = "http://ada:hunter2@proxy:3128"
    _, out, err = call("install", "--dry-run", HTTPS_PROXY=secret, NO_PROXY="a b", VDBEVENTS_LISTEN_HOLD="9")

    assert "HTTPS_PROXY, VDBEVENTS_LISTEN_HOLD" in err
    assert "hunter2" not in out + err
    assert 'Environment="NO_PROXY=a b"' in out


def test_the_messages_of_systemd_are_shown_by_its_own_tool(call, home):
    assert call("logs", "-n", "5")[0] == 0

    assert (home / "journalctl").read_text() == (
        "--user --unit=vdbevents-listen.service --unit=vdbevents-backend.service --lines=5\n"
    )


def test_elsewhere_the_messages_are_in_a_file(home, monkeypatch):
    def logs(*arguments):
        done = CliRunner().invoke(whole_app(), ["service", "logs", *map(str, arguments)])
        return done.exit_code, done.output

    real = service._manager
    monkeypatch.setattr(service, "_manager", lambda _, environ: real(service.ManagerKind.WINDOWS, environ))
    state = StateDirectory(home / "state")
    assert logs(state.path)[0] == 3

    state.create()
    state.service_log.write_text("".join(f"line {number}\x1b[2J\n" for number in range(9)))
    assert logs("-n", "2", state.path) == (0, "line 7␛[2J\nline 8␛[2J\n")


def test_a_command_whose_key_is_refused_is_not_run_again(call, home):
    (home / ".config" / "vdbevents" / "api-key").unlink()
    code, *_ = call("run", f"--log={home}/log", "--set=NO_COLOR=1", "--", "listen", home / "state", "--quiet")

    assert code == 0
    assert (home / "log").read_text().count("VIDEO_DB_API_KEY is not set") == 1
