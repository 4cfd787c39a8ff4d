"""Locks show which programs run on a state directory, and guard changes of its files."""

import errno
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from support.patience import PATIENCE

from vdbevents.errors import CaptureError, InputError, ListenerStateError
from vdbevents.journal import files, locks
from vdbevents.journal.state import StateDirectory


def listener_lock(state):
    return locks.ProcessLock(state.listener_lock, lambda: locks.already_listening(state))


def test_a_second_listener_is_refused_with_the_pid_of_the_first(state):
    lock = listener_lock(state)
    files.replace_file(state.ws_pid, b"4711")

    assert locks.listener_runs(state)
    with pytest.raises(ListenerStateError, match=r"PID 4711") as raised:
        listener_lock(state)
    assert raised.value.error_id == "listener-running"
    assert "vdbevents stop" in raised.value.hint
    lock.release()
    assert not locks.listener_runs(state)


def test_a_pid_file_without_a_lock_is_not_a_listener(state):
    files.replace_file(state.ws_pid, str(os.getpid()).encode())

    assert not locks.listener_runs(state)


@pytest.mark.parametrize("content", [b"", b"abc", b"-1", b"12 13", b"\xff", "١٢".encode()])
def test_a_malformed_pid_file_has_no_pid(state, content):
    state.ws_pid.write_bytes(content)

    assert locks.listener_pid(state) is None


@pytest.mark.long
def test_a_check_for_a_listener_is_not_taken_for_one(state):
    listener_lock(state).release()
    asked = []

    def ask():
        asked.extend(locks.listener_runs(state) for _ in range(2000))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert not any(asked)


def test_an_unusable_lock_is_an_error_with_a_hint(state):
    state.listener_lock.mkdir()

    with pytest.raises(InputError) as raised:
        listener_lock(state)
    assert raised.value.error_id == "state-file-unusable"
    assert raised.value.hint


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_an_error_and_not_a_listener(state, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")
    state.listener_lock.touch()

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for ask in (lambda: locks.listener_runs(state), lambda: listener_lock(state)):
        with pytest.raises(InputError, match=os.strerror(number)) as raised:
            ask()
        assert raised.value.error_id == "locks-unavailable"
        assert "local disk" in raised.value.hint


def test_a_lock_that_never_answers_is_given_up(state, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    state.listener_lock.touch()
    answer = threading.Event()
    monkeypatch.setattr(fcntl, "flock", lambda *_: answer.wait(PATIENCE))
    monkeypatch.setattr(locks, "LOCK_PATIENCE_SECONDS", 0.05)
    try:
        for ask in (lambda: locks.listener_runs(state), lambda: listener_lock(state)):
            with pytest.raises(InputError, match=os.strerror(errno.ETIMEDOUT)):
                ask()
    finally:
        answer.set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files a process has open")
def test_only_the_process_that_has_a_lock_s_file_open_is_taken_for_its_holder(state):
    lock = listener_lock(state)
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        assert locks.holds(os.getpid(), state.listener_lock)
        assert locks.holds(stranger.pid, state.listener_lock) is False
        assert locks.holds(2**22 + 1, state.listener_lock) is False
        assert locks.holds(os.getpid(), state.capture_lock) is False
        files.replace_file(state.capture_pid, str(stranger.pid).encode())
        assert "kill" not in locks.already_capturing(state).hint
    finally:
        stranger.kill()
        stranger.wait()
        lock.release()


HOLD = """
import sys
from pathlib import Path
from vdbevents.errors import CaptureError
from vdbevents.journal.locks import ProcessLock, already_capturing
from vdbevents.journal.state import StateDirectory
directory = StateDirectory(Path(sys.argv[1]))
try:
    lock = ProcessLock(directory.capture_lock, lambda: already_capturing(directory))
except CaptureError as error:
    print(error.message, flush=True)
    raise SystemExit(3)
print("held", flush=True)
sys.stdin.read()
"""


def capture_lock(state):
    return locks.ProcessLock(state.capture_lock, lambda: locks.already_capturing(state))


def start_capture(state):
    """A process that holds the capture's lock until its stdin is closed, and the first line that it said."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(state.path)], text=True, **pipes)
    return process, process.stdout.readline().strip()


def test_a_capture_runs_while_its_lock_is_held_and_not_a_moment_longer(state):
    assert not locks.capture_runs(state)
    lock = capture_lock(state)
    assert locks.capture_runs(state)
    lock.release()
    assert not locks.capture_runs(state)


def test_the_listener_s_and_the_capture_s_locks_are_independent(state):
    lock = capture_lock(state)
    assert not locks.listener_runs(state)
    lock.release()
    lock = listener_lock(state)
    assert not locks.capture_runs(state)
    lock.release()


def test_a_missing_directory_has_no_capture(tmp_path):
    (tmp_path / "file").touch()

    assert not locks.capture_runs(StateDirectory(tmp_path / "nowhere"))
    assert not locks.capture_runs(StateDirectory(tmp_path / "file"))


def test_a_check_for_a_capture_creates_no_file(state):
    locks.capture_runs(state)

    assert list(state.path.iterdir()) == []


def test_a_pid_file_without_a_lock_is_not_a_capture(state):
    state.capture_pid.write_text(str(os.getpid()))

    assert not locks.capture_runs(state)
    capture_lock(state).release()


def test_the_second_capture_of_a_directory_is_refused_with_the_pid_of_the_first(state):
    first, said = start_capture(state)
    state.capture_pid.write_text(f"{first.pid}\n")
    with pytest.raises(CaptureError) as raised:
        capture_lock(state)
    second, refusal = start_capture(state)
    code = second.wait(PATIENCE)
    for process in (first, second):
        process.communicate(timeout=PATIENCE)

    assert said == "held"
    assert raised.value.error_id == "capture-running"
    assert f"PID {first.pid}" in raised.value.message
    assert str(state.path) in raised.value.message
    assert f"kill {first.pid}" in raised.value.hint
    assert (refusal, code) == (raised.value.message, 3)
    assert state.capture_pid.read_text() == f"{first.pid}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_capture_that_is_killed_lets_the_next_one_begin(state):
    process, said = start_capture(state)
    assert (said, locks.capture_runs(state)) == ("held", True)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)

    assert not locks.capture_runs(state)
    capture_lock(state).release()


@pytest.mark.parametrize("content", [None, "", "0", "no number", "-5", "1.5", "٣"])
def test_a_capture_without_a_pid_file_has_a_hint_to_find_its_process(state, content):
    if content is not None:
        state.capture_pid.write_text(content, encoding="utf-8")

    error = locks.already_capturing(state)

    assert error.error_id == "capture-running"
    assert "PID" not in error.message
    assert str(state.path) in error.message
    assert "kill" not in error.hint
    assert "SIGTERM" in error.hint


@pytest.mark.parametrize(
    ("content", "pid"),
    [
        (b"123", 123),
        (b" 123\n", 123),
        (b"", None),
        (b"\n", None),
        (b"-1", None),
        (b"1.5", None),
        (b"12 34", None),
        (b"abc", None),
        (b"\xff\xfe", None),
        ("٣".encode(), None),
        (None, None),
    ],
)
def test_a_process_id_is_a_plain_number(state, content, pid):
    if content is not None:
        state.capture_pid.write_bytes(content)

    assert locks.read_pid(state.capture_pid) == pid


def test_a_file_that_cannot_be_opened_has_no_process_id(state):
    state.capture_pid.mkdir()

    assert locks.read_pid(state.capture_pid) is None
    assert files.read_object(state.capture_pid) == {}


def test_a_number_of_five_thousand_digits_is_not_a_process_id(state):
    state.capture_pid.write_text("1" * 5000)

    assert locks.read_pid(state.capture_pid) is None


def test_an_unusable_capture_lock_is_an_error_with_a_hint(state):
    state.capture_lock.mkdir()

    with pytest.raises(InputError) as raised:
        capture_lock(state)
    assert raised.value.error_id == "state-file-unusable"
    assert str(state.capture_lock) in raised.value.message
    assert raised.value.hint


def changed(state, change):
    locks.change_object(state.capture_info, state.capture_info_lock, change)
    return files.read_object(state.capture_info)


def test_a_change_gets_the_object_and_its_result_replaces_it(state):
    assert changed(state, lambda there: {**there, "é": 1}) == {"é": 1}
    assert changed(state, lambda there: {**there, "b": 2}) == {"é": 1, "b": 2}
    assert stat.S_IMODE(state.capture_info.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.capture_info_lock.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"null"])
def test_an_unreadable_file_counts_as_an_empty_object(state, content):
    state.capture_info.write_bytes(content)
    seen = []

    assert changed(state, lambda there: seen.append(there) or {"a": 1}) == {"a": 1}
    assert seen == [{}]


def test_a_change_that_returns_none_leaves_the_file(state):
    changed(state, lambda _: {"a": 1})
    before = state.capture_info.stat()

    changed(state, lambda _: None)

    after = state.capture_info.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_that_returns_none_creates_no_file(state):
    changed(state, lambda _: None)

    assert not state.capture_info.exists()


def test_half_a_surrogate_pair_does_not_stop_a_change(state):
    assert changed(state, lambda _: {"a": "x\ud800"}) == {"a": "x?"}


def test_a_change_that_fails_leaves_the_file_and_the_lock_free(state):
    def fail(there):
        raise ValueError(there)

    changed(state, lambda _: {"a": 1})
    with pytest.raises(ValueError, match="a"):
        changed(state, fail)

    assert changed(state, lambda there: {**there, "b": 2}) == {"a": 1, "b": 2}


def test_a_lock_that_is_held_for_too_long_is_an_error_and_what_was_there_stands(state, monkeypatch):
    import filelock

    monkeypatch.setattr(locks, "LOCK_PATIENCE_SECONDS", 0.05)
    changed(state, lambda _: {"a": 1})
    with filelock.FileLock(state.capture_info_lock), pytest.raises(OSError, match="another process"):
        changed(state, lambda _: {"a": 2})

    assert files.read_object(state.capture_info) == {"a": 1}


# However slow the disk is: who waits for a lock may be passed over until all others are done.
LONG_PATIENCE_SECONDS = 300


def test_threads_that_change_at_once_lose_no_change(state, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_PATIENCE_SECONDS", LONG_PATIENCE_SECONDS)

    def add(name):
        for _ in range(25):
            changed(state, lambda there: {**there, name: there.get(name, 0) + 1})

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert files.read_object(state.capture_info) == dict.fromkeys("abcd", 25)


def _add(path, name):
    locks.LOCK_PATIENCE_SECONDS = LONG_PATIENCE_SECONDS
    state = StateDirectory(path)
    for _ in range(25):
        changed(state, lambda there: {**there, name: there.get(name, 0) + 1})


@pytest.mark.long
def test_processes_that_change_at_once_lose_no_change(state):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_add, args=(state.path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG_PATIENCE_SECONDS)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert files.read_object(state.capture_info) == dict.fromkeys("abc", 25)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
def test_a_listener_is_on_a_terminal_while_it_runs_there(state):
    controller, terminal = os.openpty()
    name = locks.terminal_of(terminal)
    state.listener_status.write_text(json.dumps({"terminal": name}))
    lock = locks.ProcessLock(state.listener_lock, lambda: locks.already_listening(state))
    with state.ws_pid.open("wb") as file:
        assert locks.is_on_terminal(state, terminal)
        assert not locks.is_on_terminal(state, file.fileno())
    lock.release()

    assert not locks.is_on_terminal(state, terminal)
    os.close(controller)
    os.close(terminal)
