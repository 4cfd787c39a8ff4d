"""What a command says when the machine has no more: no room, no threads, no memory, no home."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest
from support.messages import error_id_in
from support.processes import run

from vdbevents import api
from vdbevents.cli.app import whole_app
from vdbevents.cli.background import start_detached
from vdbevents.cli.command import exhaustion, reports
from vdbevents.cli.diagnostics import Diagnostics, LogFormat
from vdbevents.cli.options import RecorderOptions
from vdbevents.errors import InputError
from vdbevents.events import envelope
from vdbevents.journal.state import StateDirectory


def ended_by(error, capfd):
    @reports
    def command():
        raise error

    with pytest.raises(SystemExit) as ended:
        command()
    return ended.value.code, error_id_in(capfd.readouterr().err)


@pytest.mark.parametrize(
    ("error", "error_id"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "output-unwritable"),
        (OSError(errno.EIO, "Input/output error", "/mnt/x"), "output-unwritable"),
        (RuntimeError("can't start new thread"), "threads-exhausted"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "threads-exhausted"),
        (MemoryError(), "memory-exhausted"),
    ],
)
def test_a_machine_that_has_no_more_is_not_a_bug(error, error_id, capfd, monkeypatch):
    monkeypatch.setattr("vdbevents.cli.command.silence_stdout", lambda: None)
    assert ended_by(error, capfd) == (74, error_id)


@pytest.mark.parametrize("error", [RuntimeError("can't"), OSError(errno.ENOENT, "No such file")])
def test_any_other_exception_is_one(error):
    assert exhaustion(error) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["status", "nothing"]])
def test_an_output_that_takes_no_more_is_an_error(tmp_path, arguments):
    with Path("/dev/full").open("wb") as full:
        streams = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = run(arguments, dict(os.environ), **streams, cwd=tmp_path)
    assert done.returncode == 74
    assert error_id_in(done.stderr) == "output-unwritable"
    assert "Traceback" not in done.stderr


def test_a_bug_s_traceback_neither_steers_the_terminal_nor_shows_the_key(capfd, monkeypatch):
    monkeypatch.setenv("VIDEO_DB_API_KEY", "sk-very-secret")

    @reports
    def command():
        raise ZeroDivisionError("\x1b]0;owned\x07 sk-very-secret\rx")

    with pytest.raises(SystemExit):
        command()
    shown = capfd.readouterr().err
    assert "\n    raise ZeroDivisionError" in shown
    assert not {"\x1b", "\x07", "\r"} & set(shown)
    assert "very-secret" not in shown.rpartition("ZeroDivisionError: ")[2]


def test_a_message_is_written_even_without_a_thread_for_it(capfd, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    Diagnostics().say("still here")
    assert capfd.readouterr().err == "vdbevents: still here\n"


def test_an_unknown_channel_cannot_steer_the_terminal(capfd):
    for label_format in (LogFormat.TEXT, LogFormat.JSON):
        diagnostics = Diagnostics(log_format=label_format, colour=False)
        record = envelope.envelop(b'{"channel": "\\u001b]0;owned\\u0007", "data": {"text": "hi"}}', 0)
        diagnostics.show(record, 0)
        diagnostics.flush()
        shown = capfd.readouterr().err
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "hi" in shown


@pytest.mark.parametrize(
    "arguments", [["listen", ""], ["query", ""], ["status", "--env-file="], ["stop", "--cwd", ""]]
)
def test_an_empty_path_is_not_the_current_directory(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        whole_app()(arguments)
    assert ended.value.code == 2
    assert "the path is empty" in capsys.readouterr().err


def test_an_empty_path_is_no_journal_in_python_either():
    with pytest.raises(InputError) as raised:
        api.open("")
    assert raised.value.error_id == "path-missing"


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system opens what a link leads to")
def test_a_link_in_the_place_of_the_listener_s_log_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    state = StateDirectory(tmp_path / "state")
    state.create()
    state.listener_log.symlink_to(victim)

    with pytest.raises(InputError) as raised:
        start_detached(state, [])
    assert raised.value.error_id == "listener-log-unwritable"
    assert victim.read_text() == "precious"


@pytest.fixture
def foreign_file(tmp_path, monkeypatch):
    """A `.env` in the current directory that changes the service's address."""
    monkeypatch.chdir(tmp_path)
    for name in ("VIDEO_DB_API_KEY", "VIDEO_DB_API", "VIDEO_DB_BASE_URL", "VDBEVENTS_CAPTURE_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / ".env"
    file.write_text("VIDEO_DB_API=https://other.test\nVDBEVENTS_CAPTURE_RUNTIME=/tmp/program\n")
    return file


def test_an_env_file_does_not_send_the_key_of_the_environment_elsewhere(foreign_file, monkeypatch):
    monkeypatch.setenv("VIDEO_DB_API_KEY", "sk-of-the-user")

    with pytest.raises(InputError, match=r"https://other\.test") as raised:
        _ = RecorderOptions().credentials
    assert raised.value.error_id == "env-file-redirects"
    assert "sk-of-the-user" not in str(raised.value)
    # Named, it is trusted; and the same address in the environment needs no trust.
    assert RecorderOptions(env_file=foreign_file).credentials.base_url == "https://other.test"
    monkeypatch.setenv("VIDEO_DB_BASE_URL", "https://other.test/")
    assert RecorderOptions().credentials.base_url == "https://other.test"


def test_an_env_file_may_bring_a_key_and_the_address_that_it_is_for(foreign_file):
    foreign_file.write_text("VIDEO_DB_API=https://other.test\nVIDEO_DB_API_KEY=sk-of-the-file\n")

    assert RecorderOptions().credentials.api_key == "sk-of-the-file"


def test_an_env_file_that_nobody_named_names_no_program_to_run(foreign_file):
    assert "VDBEVENTS_CAPTURE_RUNTIME" not in RecorderOptions().environ
    assert RecorderOptions(env_file=foreign_file).environ["VDBEVENTS_CAPTURE_RUNTIME"] == "/tmp/program"
