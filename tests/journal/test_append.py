"""The journal holds whole lines only, with several writers and after crashes."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
from support.journals import AT, LINE, append_once, lines_of, open_journal
from support.patience import PATIENCE

from vdbevents.events import envelope
from vdbevents.journal import locks
from vdbevents.journal.append import Journal
from vdbevents.journal.state import StateDirectory


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


def test_a_torn_line_that_cannot_be_set_aside_stays_in_the_journal(state):
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


def test_append_goes_on_with_a_new_file_after_the_journal_was_removed_or_replaced(state):
    opened = open_journal(state)
    opened.append([LINE])
    state.journal.rename(state.path / "old.jsonl")
    opened.append([LINE])
    state.journal_lock.unlink()
    opened.append([LINE])

    assert len(lines_of(state)) == 2


def test_a_missing_directory_is_an_error_and_is_not_created(state):
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


@pytest.mark.long
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


def test_an_append_waits_for_the_lock_up_to_its_limit(state, monkeypatch):
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


def webhook(number, **more):
    return envelope.delivered_record(json.dumps({"number": number, **more}).encode(), 1)


def test_a_duplicate_line_is_skipped_and_the_others_are_written(state):
    assert append_once(state, webhook(1)) == 0
    assert append_once(state, webhook(1), webhook(2)) == 1

    assert [line["number"] for line in lines_of(state)] == [1, 2]


@pytest.mark.parametrize("distance", [0, 1 << 19, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_a_duplicate_is_found_across_block_borders(state, distance):
    open_journal(state).append([b'{"first":1}\n'])
    append_once(state, webhook(1, text="x" * 100_000))
    open_journal(state).append([b'{"x":"%b"}\n' % (b"y" * distance)])

    assert append_once(state, webhook(1, text="x" * 100_000)) == 1


def test_a_duplicate_beyond_the_look_back_is_written_again(state, monkeypatch):
    monkeypatch.setattr("vdbevents.journal.append._LOOK_BACK_BYTES", 1000)
    append_once(state, webhook(1))
    open_journal(state).append([b'{"x":"%b"}\n' % (b"y" * 1000)])

    assert append_once(state, webhook(1)) == 0


def _append_once_many(path, count):
    for number in range(count):
        append_once(StateDirectory(path), webhook(number))


def test_two_processes_write_a_shared_event_once(state):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append_once_many, args=(state.path, 200)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)

    assert [line["number"] for line in lines_of(state)] == list(range(200))
