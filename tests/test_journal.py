"""The journal on disk: appended whole, repaired when torn, shared between processes."""

import errno
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from support.patience import PATIENCE

from vdbevents.errors import CaptureError, InputError, ListenerStateError
from vdbevents.events import duplicate_check, envelope
from vdbevents.journal import files, locks, reader
from vdbevents.journal.append import Journal
from vdbevents.journal.state import StateDirectory, locate_state
from vdbevents.journal.writer import JournalWriter

LINE = b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"channel":"transcript"}\n'
AT = 1772446530123


@pytest.fixture
def state(tmp_path):
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory


def open_journal(state, **options):
    return Journal(state, clock_ms=lambda: AT, **options)


def listener_lock(state):
    return locks.ProcessLock(state.listener_lock, lambda: locks.already_listening(state))


def lines_of(state):
    return [json.loads(line) for line in state.journal.read_bytes().splitlines()]


def wait_until(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# Where


def test_an_argument_names_the_directory_before_the_environment_does():
    environ = {"VIDEODB_EVENTS_DIR": "/env", "XDG_STATE_HOME": "/xdg"}

    assert locate_state(Path("/arg"), environ, Path("/home/u")).path == Path("/arg")
    assert locate_state(None, environ, Path("/home/u")).path == Path("/env")
    assert locate_state(None, {"XDG_STATE_HOME": "/xdg"}, Path("/home/u")).path == Path("/xdg/videodb")
    assert locate_state(None, {}, Path("/home/u")).path == Path("/home/u/.local/state/videodb")


def test_a_relative_xdg_state_home_is_ignored_as_its_specification_says():
    assert locate_state(None, {"XDG_STATE_HOME": "x"}, Path("/h")).path == Path("/h/.local/state/videodb")


def test_a_new_directory_is_private_and_an_old_one_keeps_its_mode(tmp_path):
    StateDirectory(tmp_path / "new" / "state").create()
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    old.chmod(0o755)
    StateDirectory(old).create()

    assert stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE(old.stat().st_mode) == 0o755


def test_a_file_in_the_place_of_the_directory_is_an_error_with_a_cure(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="is a file, not a directory") as raised:
        StateDirectory(tmp_path / "file").create()
    assert "VIDEODB_EVENTS_DIR" in raised.value.hint


def test_every_file_is_private(state):
    opened = open_journal(state)
    opened.append([LINE[:-5]])
    opened.append([LINE])
    files.replace_file(state.ws_id, b"ws-1")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.path.iterdir()}

    assert modes == dict.fromkeys(
        ["videodb_events.jsonl", "videodb_events.lock", "videodb_events.torn", "videodb_ws_id"], 0o600
    )


# Appending and repair


def test_a_file_cut_at_any_byte_is_repaired_with_only_the_torn_line_set_aside(state):
    first = b'{"ts":"a","text":"\xc3\xa9 {}"}\n'
    second = b'{"ts":"b","data":{"text":"\\"}\\u0000 \xf0\x9f\x98\x80"}}\n'
    whole = first + second
    for cut in range(len(whole) + 1):
        state.journal.write_bytes(whole[:cut])
        state.torn.unlink(missing_ok=True)
        told = []

        opened = open_journal(state, on_repair=told.append)
        opened.append([LINE])
        opened.close()

        kept = [line for line in (first, second) if len(line) - 1 <= len(whole[:cut]) - whole.index(line)]
        torn = whole[sum(map(len, kept)) : cut] if cut > sum(map(len, kept)) else b""
        lines = state.journal.read_bytes().splitlines(keepends=True)
        assert lines[: len(kept)] == kept, cut
        assert lines[-1] == LINE, cut
        if torn:
            assert state.torn.read_bytes() == torn + b"\n", cut
            assert told == [len(torn)], cut
            repaired = json.loads(lines[-2])
            assert (repaired["channel"], repaired["event"]) == ("vdbevents", "journal.repaired")
            assert repaired["data"] == {"bytes": len(torn), "kept_in": "videodb_events.torn"}
        else:
            assert len(lines) == len(kept) + 1, cut
            assert not state.torn.exists(), cut
            assert told == [], cut


def test_zeros_that_a_power_cut_left_are_set_aside(state):
    state.journal.write_bytes(LINE + b"\0" * 5000)

    open_journal(state).append([LINE])

    assert [e["channel"] for e in lines_of(state)] == ["transcript", "vdbevents", "transcript"]
    assert state.torn.read_bytes() == b"\0" * 5000 + b"\n"


def test_a_torn_line_longer_than_a_block_is_set_aside_whole(state):
    torn = b'{"text":"' + b"x" * 200_000
    state.journal.write_bytes(LINE + torn)

    open_journal(state).repair()

    assert state.torn.read_bytes() == torn + b"\n"
    assert state.journal.read_bytes().startswith(LINE)


def test_what_cannot_be_set_aside_stays_in_the_journal(state):
    state.journal.write_bytes(LINE + b'{"torn')
    state.torn.mkdir()

    with pytest.raises(OSError, match="directory"):
        open_journal(state).append([LINE])
    assert state.journal.read_bytes() == LINE + b'{"torn'


def test_the_journal_grows_only_by_whole_lines_when_the_disk_is_full(state, monkeypatch):
    opened = open_journal(state)
    opened.append([LINE])
    really_write = os.write

    def write_a_little(descriptor, content):
        if len(content) > 10:
            return really_write(descriptor, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_a_little)
    with pytest.raises(OSError, match="No space left"):
        opened.append([b"x" * 19 + b"\n"])
    monkeypatch.undo()

    assert state.journal.read_bytes() == LINE
    opened.append([LINE])
    assert state.journal.read_bytes() == LINE * 2


def test_clearing_keeps_the_file_so_that_a_reader_goes_on(state):
    opened = open_journal(state)
    opened.append([LINE])
    inode = state.journal.stat().st_ino

    opened.clear()

    assert (state.journal.stat().st_ino, state.journal.stat().st_size) == (inode, 0)


def test_a_journal_that_was_removed_or_replaced_is_taken_up_where_it_is_now(state):
    opened = open_journal(state)
    opened.append([LINE])
    state.journal.rename(state.path / "old.jsonl")
    opened.append([LINE])
    state.journal_lock.unlink()
    opened.append([LINE])

    assert len(lines_of(state)) == 2


def test_a_directory_that_is_gone_is_an_error_and_is_not_made_anew(state):
    opened = open_journal(state)
    opened.append([LINE])
    away = state.path.rename(state.path.with_name("away"))

    with pytest.raises(FileNotFoundError):
        opened.append([LINE])
    assert not state.path.exists()
    away.rename(state.path)
    opened.append([LINE])
    assert len(lines_of(state)) == 2


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_nothing_is_written_beneath_a_file_system_that_was_unmounted(tmp_path):
    where = tmp_path / "mounted"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", where]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    state = StateDirectory(where)
    opened = open_journal(state)
    try:
        opened.append([LINE])
        with pytest.raises(OSError, match="No space left"):
            opened.append([b"x" * 200_000 + b"\n"])
        assert state.journal.read_bytes() == LINE
    finally:
        opened.close()
        subprocess.run(["umount", where], check=True)

    with pytest.raises(OSError, match="not mounted"):
        opened.append([LINE])
    assert list(where.iterdir()) == []


def _append_many(path, name, count):
    opened = Journal(StateDirectory(path), clock_ms=lambda: AT)
    for number in range(count):
        padding = "x" * ((number * 37) % 3000)
        opened.append([json.dumps({"by": name, "number": number, "padding": padding}).encode() + b"\n"])


def test_several_processes_append_without_a_line_being_glued_or_lost(state):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append_many, args=(state.path, name, 400)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)

    by_writer = {name: [e["number"] for e in lines_of(state) if e["by"] == name] for name in "abc"}

    assert by_writer == {name: list(range(400)) for name in "abc"}


_WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from vdbevents.journal.append import Journal
from vdbevents.journal.state import StateDirectory
opened = Journal(StateDirectory(Path(sys.argv[1])), clock_ms=lambda: 1)
number = 0
while True:
    opened.append([b'{"number":%d,"text":"%s"}\\n' % (number, b"x" * (number * 7919 % 100_000))])
    print(number, flush=True)
    number += 1
"""


def test_every_line_that_was_written_is_there_after_sigkill(state):
    for _ in range(3):
        state.journal.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITES_UNTIL_KILLED, state.path], stdout=subprocess.PIPE, text=True
        )
        told = [process.stdout.readline() for _ in range(50)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        last = max(int(line) for line in told if line.endswith("\n"))

        open_journal(state).append([b'{"number":"after"}\n'])

        numbers = [e["number"] for e in lines_of(state) if "number" in e]
        assert numbers[: last + 1] == list(range(last + 1))
        assert numbers[-1] == "after"


def test_an_append_waits_for_the_one_who_holds_the_lock_and_no_longer_than_it_says(state, monkeypatch):
    from filelock import lock_descriptor

    open_journal(state).append([LINE])
    monkeypatch.setattr(locks, "LOCK_PATIENCE_SECONDS", 0.05)
    holder = os.open(state.journal_lock, os.O_RDWR)
    assert lock_descriptor(holder, blocking=False)

    with pytest.raises(OSError, match="held"):
        open_journal(state).append([LINE])
    os.close(holder)
    open_journal(state).append([LINE])

    assert state.journal.read_bytes() == LINE * 2


# One listener


def test_a_second_listener_is_told_the_pid_of_the_first(state):
    lock = listener_lock(state)
    files.replace_file(state.ws_pid, b"4711")

    assert locks.listener_runs(state)
    with pytest.raises(ListenerStateError, match=r"PID 4711") as raised:
        listener_lock(state)
    assert "vdbevents stop" in raised.value.hint
    lock.release()
    assert not locks.listener_runs(state)


def test_a_pid_file_alone_makes_no_listener(state):
    files.replace_file(state.ws_pid, str(os.getpid()).encode())

    assert not locks.listener_runs(state)


@pytest.mark.parametrize("content", [b"", b"abc", b"-1", b"12 13", b"\xff", "١٢".encode()])
def test_a_pid_file_with_something_else_in_it_tells_nothing(state, content):
    state.ws_pid.write_bytes(content)

    assert locks.listener_pid(state) is None


def test_a_state_file_is_replaced_whole_or_not_at_all(state, monkeypatch):
    files.replace_file(state.ws_id, b"old")

    def refuse(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="No space"):
        files.replace_file(state.ws_id, b"new")
    assert state.ws_id.read_bytes() == b"old"


# Following


def follow_all(path, steps, **options):
    """The lines that come while `steps` are done, one whenever there is nothing more to read."""
    remaining = iter(steps)

    def wait():
        step = next(remaining, None)
        if step is None:
            return False
        step()
        return True

    return list(reader.follow(path, wait=wait, **options))


def test_following_yields_whole_lines_only(state):
    handle = state.journal.open("ab", buffering=0)
    steps = [lambda: handle.write(b'{"a"'), lambda: handle.write(b":1}\n{"), lambda: handle.write(b"}\n")]

    assert follow_all(state.journal, steps, from_end=False) == [b'{"a":1}\n', b"{}\n"]
    handle.close()


def test_following_from_the_end_passes_over_what_is_there(state):
    opened = open_journal(state)
    opened.append([b"old\n"])

    assert follow_all(state.journal, [lambda: opened.append([b"new\n"])], from_end=True) == [b"new\n"]


def test_following_goes_on_after_a_clear_a_replacement_and_a_late_beginning(state):
    opened = open_journal(state)
    steps = [
        lambda: opened.append([b"first\n", b"second\n"]),
        opened.clear,
        lambda: opened.append([b"cleared\n"]),
        state.journal.unlink,
        lambda: opened.append([b"new file\n"]),
    ]

    assert follow_all(state.journal, steps, from_end=False) == [
        b"first\n", b"second\n", b"cleared\n", b"new file\n"
    ]  # fmt: skip


def test_following_notices_a_clear_though_the_journal_has_grown_since(state):
    opened = open_journal(state)

    def clear_and_write():
        opened.clear()
        opened.append([b"a longer line\n", b"last\n"])

    steps = [lambda: opened.append([b"first\n"]), clear_and_write]

    assert follow_all(state.journal, steps, from_end=False) == [b"first\n", b"a longer line\n", b"last\n"]


def test_following_from_a_byte_notices_a_clear_as_well(state):
    opened = open_journal(state)
    opened.append([b"first\n"])

    def clear_and_write():
        opened.clear()
        opened.append([b"other\n", b"last\n"])

    steps = [clear_and_write]

    assert follow_all(state.journal, steps, from_end=False, start=6) == [b"other\n", b"last\n"]


def test_following_gives_what_came_meanwhile_at_once(state):
    opened = open_journal(state)
    steps = iter([lambda: opened.append([b"1\n", b"2\n"]), lambda: opened.append([b"3\n"])])

    def wait():
        step = next(steps, None)
        if step:
            step()
        return step is not None

    batches = reader.follow_batches(state.journal, from_end=False, wait=wait)
    assert list(batches) == [[b"1\n", b"2\n"], [b"3\n"]]


# The thread that writes


def writer_of(state, **options):
    defaults = {"hold_bytes": 1 << 20, "sync_seconds": 0.01, "clock_ms": lambda: AT}
    return JournalWriter(open_journal(state), **{**defaults, **options})


def test_what_is_put_is_written_in_its_order(state):
    writer = writer_of(state)
    for number in range(5000):
        writer.put(b'{"n":%d}\n' % number, "c")

    assert writer.close(10) == 0
    assert [e["n"] for e in lines_of(state)] == list(range(5000))


def test_while_the_disk_refuses_lines_are_held_and_then_written_in_order(state):
    troubles = []
    writer = writer_of(state, on_trouble=troubles.append)
    writer.RETRY_SECONDS = 0.01
    away = state.path.rename(state.path.with_name("away"))
    for number in range(100):
        assert writer.put(b'{"n":%d}\n' % number, "c")
    wait_until(lambda: troubles)
    away.rename(state.path)
    wait_until(lambda: len(troubles) == 2)
    writer.put(b'{"n":100}\n', "c")
    writer.close(10)

    assert troubles == ["No such file or directory", None]
    assert [e["n"] for e in lines_of(state)] == list(range(101))


def test_what_was_dropped_is_written_down_at_its_place_with_how_many_and_when(state):
    times = iter(range(1000, 10**9, 1000))
    dropped, troubles = [], []
    writer = writer_of(
        state,
        hold_bytes=100,
        clock_ms=lambda: next(times),
        on_dropped=dropped.append,
        on_trouble=troubles.append,
    )
    writer.RETRY_SECONDS = 0.01
    away = state.path.rename(state.path.with_name("away"))
    kept = [writer.put(b'{"n":0}\n', "a")]
    wait_until(lambda: troubles)
    kept += [writer.put(b'{"n":%d}\n' % number, "ab"[number % 2]) for number in range(1, 20)]
    away.rename(state.path)
    wait_until(lambda: dropped)
    assert writer.put(b'{"n":"after"}\n', "a")
    writer.close(10)

    held = kept.count(True)
    events = lines_of(state)
    assert kept == [True] * held + [False] * (20 - held)
    assert [e["n"] for e in events[:held]] == list(range(held))
    assert events[held]["event"] == "listener.dropped"
    data = events[held]["data"]
    assert data["count"] == 20 - held
    assert data["channels"] == {"a": 10 - held + held // 2, "b": 10 - held // 2}
    assert data["since"] < data["until"]
    assert events[held + 1]["n"] == "after"


def test_a_line_larger_than_the_bound_is_written_while_the_disk_takes_lines(state):
    writer = writer_of(state, hold_bytes=100)

    writer.last_progress -= 3600
    assert writer.put(b'"' + b"x" * 10_000 + b'"\n', "c")
    assert writer.close(10) == 0
    assert state.journal.stat().st_size == 10_003


def test_closing_tells_how_much_could_not_be_written(state):
    writer = writer_of(state)
    writer.RETRY_SECONDS = 0.01
    state.path.rename(state.path.with_name("away"))
    for _ in range(7):
        writer.put(LINE, "c")

    assert writer.close(0.2) == 7


def test_closing_waits_longer_for_a_disk_that_is_only_slow(state, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    really_sync = os.fsync

    def sync(descriptor):
        begun.set()
        go_on.wait()
        really_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    writer = writer_of(state, sync_seconds=0)
    writer.put(LINE, "c")
    begun.wait()
    writer.put(LINE, "c")

    assert writer.close(0.05, 0.05) == 1
    threading.Timer(0.2, go_on.set).start()
    assert writer.close(0.05, 60) == 0
    assert state.journal.read_bytes() == LINE * 2


def test_closing_waits_no_longer_for_a_disk_that_begins_to_refuse(state, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def refuse(_):
        begun.set()
        go_on.wait()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    writer = writer_of(state, sync_seconds=0)
    writer.put(LINE, "c")
    begun.wait()
    writer.put(LINE, "c")
    threading.Timer(0.2, go_on.set).start()
    asked = time.monotonic()

    writer.close(0.05, 600)

    assert time.monotonic() - asked < 300


def test_lines_are_synced_within_the_time_that_was_set(state, monkeypatch):
    synced = threading.Event()
    really_sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (really_sync(descriptor), synced.set()))
    writer = writer_of(state, sync_seconds=0.05)
    writer.put(LINE, "c")

    assert synced.wait(PATIENCE)
    writer.close(5)


def test_a_disk_that_cannot_sync_is_trouble_that_passes(state, monkeypatch):
    troubles = []
    failing = threading.Event()
    failing.set()
    really_sync = os.fsync

    def sync(descriptor):
        if failing.is_set():
            raise OSError(errno.EIO, "Input/output error")
        really_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    writer = writer_of(state, sync_seconds=0, on_trouble=troubles.append)
    writer.RETRY_SECONDS = 0.01
    writer.put(LINE, "c")
    wait_until(lambda: troubles == ["Input/output error"])
    failing.clear()
    wait_until(lambda: troubles == ["Input/output error", None])
    writer.close(5)

    assert state.journal.read_bytes() == LINE


def test_an_error_that_nobody_foresaw_is_told_and_not_swallowed(state, monkeypatch):
    crashed = []
    writer = writer_of(state, on_crash=crashed.append)
    monkeypatch.setattr(Journal, "append", lambda self, *_: 1 / 0)
    writer.put(LINE, "c")

    wait_until(lambda: crashed)
    assert isinstance(crashed[0], ZeroDivisionError)


def test_the_size_to_come_counts_what_waits_as_if_it_were_written(state):
    opened = open_journal(state)
    opened.append([LINE])
    writer = JournalWriter(opened, hold_bytes=1 << 20, sync_seconds=1, clock_ms=lambda: AT)
    expected = []
    for number in range(500):
        writer.put(LINE, "c")
        expected.append(writer.expected_size == (number + 2) * len(LINE))
    writer.close(10)

    assert all(expected)
    assert state.journal.stat().st_size == writer.expected_size


def test_lines_that_sync_do_not_say_that_lines_can_be_written(state, monkeypatch):
    troubles = []
    writer = writer_of(state, sync_seconds=0.05, on_trouble=troubles.append)
    writer.RETRY_SECONDS = 0.02
    writer.put(LINE, "c")
    wait_until(state.journal.exists)
    synced = threading.Event()
    really_sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (really_sync(descriptor), synced.set()))
    away = state.path.rename(state.path.with_name("away"))
    writer.put(LINE, "c")
    wait_until(lambda: troubles)
    synced.wait(0.5)
    assert troubles == ["No such file or directory"]
    away.rename(state.path)
    wait_until(lambda: len(troubles) == 2)
    writer.close(5)

    assert state.journal.read_bytes() == LINE * 2


def test_a_torn_piece_that_could_not_be_set_aside_whole_leaves_nothing_of_itself(state, monkeypatch):
    state.journal.write_bytes(LINE + b'{"torn')
    state.torn.write_bytes(b"earlier\n")
    really_write = os.write

    def write_a_little(descriptor, content):
        if len(content) > 3:
            return really_write(descriptor, content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_a_little)
    with pytest.raises(OSError, match="No space left"):
        open_journal(state).repair()
    monkeypatch.undo()

    assert state.torn.read_bytes() == b"earlier\n"
    assert state.journal.read_bytes() == LINE + b'{"torn'


def test_following_does_not_begin_anew_when_a_torn_line_is_cut_off(state):
    opened = open_journal(state)

    def tear():
        with state.journal.open("ab") as handle:
            handle.write(b'{"torn')

    steps = [lambda: opened.append([b'{"n":1}\n']), tear, lambda: opened.append([b'{"n":2}\n'])]
    seen = [json.loads(one) for one in follow_all(state.journal, steps, from_end=False)]

    assert [e["n"] for e in seen if "n" in e] == [1, 2]


def test_who_asks_whether_a_listener_runs_is_not_taken_for_one(state):
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


def test_a_lock_that_cannot_be_used_is_an_error_with_a_cure(state):
    state.listener_lock.mkdir()

    with pytest.raises(InputError, match="cannot use"):
        listener_lock(state)


def test_a_state_file_that_could_not_be_replaced_leaves_nothing_behind(state, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        files.replace_file(state.ws_id, b"ws-1")

    assert list(state.path.iterdir()) == []


# The capture's files


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


def test_who_holds_one_lock_does_not_hold_the_other(state):
    lock = capture_lock(state)
    assert not locks.listener_runs(state)
    lock.release()
    lock = listener_lock(state)
    assert not locks.capture_runs(state)
    lock.release()


def test_there_is_no_capture_where_there_is_no_directory(tmp_path):
    (tmp_path / "file").touch()

    assert not locks.capture_runs(StateDirectory(tmp_path / "nowhere"))
    assert not locks.capture_runs(StateDirectory(tmp_path / "file"))


def test_who_asks_whether_a_capture_runs_makes_no_file(state):
    locks.capture_runs(state)

    assert list(state.path.iterdir()) == []


def test_a_pid_file_without_a_lock_is_no_capture(state):
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
    assert raised.value.message == f"a capture (PID {first.pid}) already records into {state.path}"
    assert raised.value.hint == f"end it with: kill {first.pid}"
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
def test_a_capture_whose_pid_is_not_known_is_to_be_looked_for(state, content):
    if content is not None:
        state.capture_pid.write_text(content, encoding="utf-8")

    error = locks.already_capturing(state)

    assert error.message == f"a capture already records into {state.path}"
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
def test_a_process_id_is_read_or_there_is_none(state, content, pid):
    if content is not None:
        state.capture_pid.write_bytes(content)

    assert locks.read_pid(state.capture_pid) == pid


def test_what_cannot_be_opened_has_no_process_id(state):
    state.capture_pid.mkdir()

    assert locks.read_pid(state.capture_pid) is None
    assert files.read_object(state.capture_pid) == {}


def test_a_number_of_five_thousand_digits_is_no_process_id(state):
    state.capture_pid.write_text("1" * 5000)

    assert locks.read_pid(state.capture_pid) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"status":"recording"}', {"status": "recording"}),
        (b' {"a":1}\n', {"a": 1}),
        ('{"name":"名前"}'.encode(), {"name": "名前"}),
        (b"{}", {}),
        (b"", {}),
        (b"\n", {}),
        (b"null", {}),
        (b"[]", {}),
        (b'"text"', {}),
        (b"5", {}),
        (b'{"status":"reco', {}),
        (b'{"a":1}{"b":2}', {}),
        (b"\xff\xfe", {}),
        (b'{"a":"\xff"}', {}),
        (b"\0" * 100, {}),
        (b'{"a":' + b"9" * 5000 + b"}", {}),
        (None, {}),
    ],
)
def test_an_object_is_read_whole_or_not_at_all(state, content, told):
    if content is not None:
        state.capture_info.write_bytes(content)

    assert files.read_object(state.capture_info) == told


def test_an_object_that_is_cut_at_any_byte_is_none(state):
    whole = json.dumps({"status": "recording", "session": {"id": "cap-1"}}).encode()
    for cut in range(len(whole)):
        state.capture_info.write_bytes(whole[:cut])
        assert files.read_object(state.capture_info) == {}, cut


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000])
def test_an_object_that_is_too_deep_to_be_read_is_none(state, content):
    state.capture_info.write_bytes(content)

    assert files.read_object(state.capture_info) == {}


def test_the_files_of_a_capture_are_private_and_have_the_documented_names(state):
    lock = capture_lock(state)
    files.replace_file(state.capture_pid, b"1")
    files.replace_file(state.capture_info, b"{}")
    lock.release()

    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.path.iterdir()} == dict.fromkeys(
        ["videodb_capture.lock", "videodb_capture_info.json", "videodb_capture_pid"], 0o600
    )


def test_a_capture_s_lock_that_cannot_be_used_is_an_error_with_a_cure(state):
    state.capture_lock.mkdir()

    with pytest.raises(InputError, match=f"cannot use {state.capture_lock}") as raised:
        capture_lock(state)
    assert raised.value.hint


# Backward


def held(state, content, *needles):
    state.journal.write_bytes(content)
    return list(reader.backward(state.journal, needles or [b""]))


def test_lines_come_from_the_last_to_the_first_without_their_newlines(state):
    assert held(state, b"one\ntwo\nthree\n") == [b"three", b"two", b"one"]


def test_only_lines_that_hold_one_of_the_texts_come(state):
    content = b"a mailbox\na house\nnothing\na field\n"

    assert held(state, content, b"field", b"mailbox") == [b"a field", b"a mailbox"]
    assert held(state, content, b"a mailbox\na") == []


@pytest.mark.parametrize(
    ("content", "lines"),
    [(b"", []), (b"\n", [b""]), (b"torn", []), (b"whole\ntorn", [b"whole"]), (b"\n\nx", [b"", b""])],
)
def test_what_is_no_whole_line_is_none(state, content, lines):
    assert held(state, content) == lines


def test_a_journal_that_is_not_there_has_no_lines(state):
    assert list(reader.backward(state.journal, [b""])) == []


def test_a_journal_that_cannot_be_read_is_an_error(state):
    state.journal.mkdir()

    with pytest.raises(OSError, match="directory"):
        list(reader.backward(state.journal, [b""]))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_wherever_blocks_end_lines_and_what_is_looked_for_in_them_stay_whole(state, monkeypatch, block):
    monkeypatch.setattr(reader, "_BACKWARD_BLOCK", block)
    lines = [b"", b"x", b"a needle", b"y" * 50 + b"needle" + b"z" * 50, "é😀".encode(), b"need", b"le"]
    for torn in (b"", b"torn needle", b"t" * 200):
        content = b"".join(line + b"\n" for line in lines) + torn

        assert held(state, content) == lines[::-1]
        assert held(state, content, b"needle") == [lines[3], lines[2]]


def test_lines_longer_than_a_block_come_whole(state):
    block = reader._BACKWARD_BLOCK
    lines = [b"%d" % number * size for number, size in enumerate([1, block - 2, block, 3 * block + 1, 1])]

    assert held(state, b"".join(line + b"\n" for line in lines)) == lines[::-1]


def test_what_is_written_while_it_is_read_is_left_out(state):
    state.journal.write_bytes(b"one\ntwo\n")
    reading = reader.backward(state.journal, [b""])
    first = next(reading)
    with state.journal.open("ab") as handle:
        handle.write(b"three\n")

    assert [first, *reading] == [b"two", b"one"]


@settings(deadline=None)
@given(content=st.binary(max_size=200).map(lambda it: it.replace(b"\x00", b"\n")), block=st.integers(1, 9))
def test_backward_comes_what_forward_comes(tmp_path_factory, content, block):
    path = tmp_path_factory.getbasetemp() / "backward.jsonl"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BACKWARD_BLOCK", block)
        found = list(reader.backward(path, [b""]))

    assert found[::-1] == content.split(b"\n")[:-1]


# State files that several write


def changed(state, change):
    locks.change_object(state.capture_info, state.capture_info_lock, change)
    return files.read_object(state.capture_info)


def test_a_change_sees_what_is_there_and_leaves_what_it_answers(state):
    assert changed(state, lambda there: {**there, "é": 1}) == {"é": 1}
    assert changed(state, lambda there: {**there, "b": 2}) == {"é": 1, "b": 2}
    assert stat.S_IMODE(state.capture_info.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.capture_info_lock.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"null"])
def test_what_cannot_be_read_counts_as_an_empty_object(state, content):
    state.capture_info.write_bytes(content)
    seen = []

    assert changed(state, lambda there: seen.append(there) or {"a": 1}) == {"a": 1}
    assert seen == [{}]


def test_a_change_that_answers_nothing_leaves_the_file_as_it_is(state):
    changed(state, lambda _: {"a": 1})
    before = state.capture_info.stat()

    changed(state, lambda _: None)

    after = state.capture_info.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_that_answers_nothing_makes_no_file(state):
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


def test_processes_that_change_at_once_lose_no_change(state):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_add, args=(state.path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG_PATIENCE_SECONDS)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert files.read_object(state.capture_info) == dict.fromkeys("abc", 25)


# Lines that are not to be there twice


def webhook(number, **more):
    return envelope.delivered_record(json.dumps({"number": number, **more}).encode(), 1)


def append_once(state, *made):
    opened = open_journal(state)
    left_out = opened.append(
        [it.line for it in made], {it.line: duplicate_check.check_delivered(it) for it in made}
    )
    opened.close()
    return left_out


def test_a_line_that_the_journal_tells_already_is_left_out_and_the_others_are_written(state):
    assert append_once(state, webhook(1)) == 0
    assert append_once(state, webhook(1), webhook(2)) == 1

    assert [line["number"] for line in lines_of(state)] == [1, 2]


@pytest.mark.parametrize("distance", [0, 1 << 19, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_it_is_found_however_the_blocks_that_are_read_cut_it(state, distance):
    open_journal(state).append([b'{"first":1}\n'])
    append_once(state, webhook(1, text="x" * 100_000))
    open_journal(state).append([b'{"x":"%b"}\n' % (b"y" * distance)])

    assert append_once(state, webhook(1, text="x" * 100_000)) == 1


def test_of_what_is_longer_ago_than_that_it_is_written_again(state, monkeypatch):
    monkeypatch.setattr("vdbevents.journal.append._LOOK_BACK_BYTES", 1000)
    append_once(state, webhook(1))
    open_journal(state).append([b'{"x":"%b"}\n' % (b"y" * 1000)])

    assert append_once(state, webhook(1)) == 0


def _append_once_many(path, count):
    for number in range(count):
        append_once(StateDirectory(path), webhook(number))


def test_two_processes_that_write_the_same_write_it_once(state):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append_once_many, args=(state.path, 200)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)

    assert [line["number"] for line in lines_of(state)] == list(range(200))


def test_what_a_writer_is_given_once_is_left_out_where_it_is_told(state):
    active = {"event": "capture_session.active", "capture_session_id": "cap-1"}
    append_once(state, envelope.delivered_record(json.dumps(active).encode(), 1))
    made = envelope.envelop(json.dumps({"channel": "capture_session", **active}).encode(), 2)
    other = envelope.envelop(b'{"channel":"transcript"}', 2)
    writer = writer_of(state)
    writer.put(made.line, "capture_session", duplicate=duplicate_check.check_received(made.event))
    writer.put(other.line, "transcript")

    assert writer.close(5.0) == 0
    assert [line.get("channel") for line in lines_of(state)] == [None, "transcript"]
    assert writer.backlog_bytes == 0
