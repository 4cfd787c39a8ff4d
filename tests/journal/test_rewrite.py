"""A journal is rewritten while others write and follow it: nothing else is lost, doubled or left over."""

import errno
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys

import pytest
from support.journals import AT, follow_all, open_journal
from support.processes import eventually

from vdbevents.errors import StorageError
from vdbevents.events import envelope
from vdbevents.journal import locks, reader, rewrite
from vdbevents.journal.packed import Packer


def line(number):
    return b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"channel":"x","n":%d}\n' % number


def number_of(content):
    return json.loads(content).get("n")


def without_odd(content):
    return None if (number_of(content) or 0) % 2 else content


def mark(outcome):
    return rewrite.OwnMark("journal.pruned", {"events": outcome.dropped})


def rewritten(state, change=without_odd):
    with rewrite.rewriting(state):
        return rewrite.rewrite_journal(state, change, mark, clock_ms=lambda: AT)


def numbers(state):
    return [n for n in map(number_of, state.journal.read_bytes().splitlines()) if n is not None]


def leftovers(state):
    return [path.name for path in state.path.rglob("*.rewritten")]


def test_lines_are_dropped_replaced_and_kept_and_the_last_line_says_so(state):
    state.journal.write_bytes(b"".join(map(line, range(5))))

    def change(content):
        return {1: None, 2: line(20)}.get(number_of(content), content)

    inode, size = state.journal.stat().st_ino, state.journal.stat().st_size
    outcome = rewritten(state, change)

    assert numbers(state) == [0, 20, 3, 4]
    assert (outcome.kept, outcome.dropped, outcome.changed) == (4, 1, 1)
    last = json.loads(state.journal.read_bytes().splitlines()[-1])
    assert (last["channel"], last["event"]) == ("vdbevents", "journal.pruned")
    assert last["data"] == {"events": 1, "replaced": {"inode": inode, "bytes": size}}
    assert leftovers(state) == []


def test_a_journal_without_a_difference_is_not_touched(state):
    state.journal.write_bytes(line(0) + line(2))
    before = state.journal.stat()

    outcome = rewritten(state)

    assert not outcome.is_different
    assert (state.journal.stat().st_ino, state.journal.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    state.journal.unlink()
    assert not rewritten(state).is_different
    assert not state.journal.exists()


def test_lines_appended_meanwhile_are_taken_over_and_rewritten_too(state):
    state.journal.write_bytes(b"".join(map(line, range(4))))
    opened = open_journal(state)
    coming = iter([[line(4), line(5)], [line(6)]])

    def change(content):
        if batch := next(coming, None):
            opened.append(batch)
        return without_odd(content)

    rewritten(state, change)
    opened.append([line(8)])

    assert numbers(state) == [0, 2, 4, 6, 8]


def test_a_line_of_many_blocks_is_kept(state):
    long = json.dumps({"channel": "x", "n": 2, "text": "é" * 2_000_000}).encode() + b"\n"
    state.journal.write_bytes(line(1) + long + line(3) + long)

    rewritten(state)

    assert state.journal.read_bytes().startswith(long * 2)
    assert numbers(state) == [2, 2]


@pytest.mark.parametrize(
    ("end", "events"),
    [(b'{"torn', ["journal.repaired", "journal.pruned"]), (line(6)[:-1], ["journal.pruned"])],
)
def test_a_torn_end_is_repaired_first(state, end, events):
    state.journal.write_bytes(line(1) + line(2) + end)
    tail = reader.Tail(state.journal, 0)
    tail.read()

    rewritten(state)

    lines = [json.loads(content) for content in state.journal.read_bytes().splitlines()]
    assert [event["event"] for event in lines if event["channel"] == "vdbevents"] == events
    assert numbers(state) == ([2] if b"torn" in end else [2, 6])
    # A follower finds it at the end of the old file, as it goes on after it in the new one.
    assert len(tail.read()) == 1
    tail.close()


def test_a_follower_goes_on_without_repeating_or_losing_a_line(state):
    opened = open_journal(state)

    def rewrite_twice():
        rewritten(state)
        opened.append([line(7), line(8)])
        rewritten(state)
        opened.append([line(10)])

    steps = [
        lambda: opened.append([line(n) for n in range(4)]),
        lambda: rewritten(state),
        lambda: opened.append([line(n) for n in (4, 5, 6)]),
        # The file in between is never seen.
        rewrite_twice,
        lambda: None,
    ]
    shown = follow_all(state.journal, steps, from_end=False)

    assert [n for n in map(number_of, shown) if n is not None] == [0, 1, 2, 3, 4, 5, 6, 8, 10]
    assert [json.loads(content)["event"] for content in shown if b"journal." in content] == [
        "journal.pruned"
    ] * 3


def test_a_follower_misses_no_line_written_just_before_the_file_is_replaced(state, monkeypatch):
    opened = open_journal(state)
    opened.append([line(0), line(1)])
    really_is_of = reader.Tail.is_of

    def write_and_rewrite(tail, path):
        monkeypatch.setattr(reader.Tail, "is_of", really_is_of)
        opened.append([line(2)])
        rewritten(state)
        return really_is_of(tail, path)

    monkeypatch.setattr(reader.Tail, "is_of", write_and_rewrite)

    shown = follow_all(state.journal, [lambda: None], from_end=False)
    assert [n for n in map(number_of, shown) if n is not None] == [0, 1, 2]


def test_a_message_cannot_pass_for_the_line_that_a_follower_looks_for(state):
    opened = open_journal(state)
    opened.append([line(0)])
    inode = state.journal.stat().st_ino
    forged = json.dumps(
        {"channel": "x", "event": "journal.pruned", "data": {"replaced": {"inode": inode, "bytes": 1}}},
        separators=(",", ":"),
    ).encode()

    def replace():
        state.journal.rename(state.path / "elsewhere")
        opened.append([line(1), envelope.envelop(forged, AT).line, line(2)])

    shown = follow_all(state.journal, [lambda: None, replace, lambda: None], from_end=False)
    assert [n for n in map(number_of, shown) if n is not None] == [0, 1, 2]


def write_many(state, count):
    opened = open_journal(state)
    for number in range(count):
        opened.append([line(number)])


def test_a_process_that_writes_all_the_time_loses_nothing(state):
    state.journal.write_bytes(b"")
    writer = multiprocessing.get_context("fork").Process(target=write_many, args=(state, 3000))
    writer.start()
    rewritings = 0
    while writer.is_alive():
        rewritings += rewritten(state, lambda content: None if b'"n":0}' in content else content).is_different
        # The next one has something to drop.
        open_journal(state).append([line(0)])
    writer.join()
    rewritten(state, lambda content: None if b'"n":0}' in content else content)

    assert rewritings
    assert numbers(state) == list(range(1, 3000))


def test_a_full_disk_leaves_the_journal_and_no_copy(state, monkeypatch):
    state.journal.write_bytes(b"".join(map(line, range(4))))
    before = state.journal.read_bytes()

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("sync_file", "_copy_owner"):
        with monkeypatch.context() as patched:
            patched.setattr(rewrite, name, refuse)
            with pytest.raises(OSError, match="No space"):
                rewritten(state)
        assert state.journal.read_bytes() == before
        assert leftovers(state) == []


def test_ctrl_c_leaves_the_journal_and_no_copy(state):
    state.journal.write_bytes(b"".join(map(line, range(4))))
    before = state.journal.read_bytes()

    def interrupt(content):
        if number_of(content) == 3:
            raise KeyboardInterrupt
        return without_odd(content)

    with pytest.raises(KeyboardInterrupt):
        rewritten(state, interrupt)
    assert state.journal.read_bytes() == before
    assert leftovers(state) == []


def kill_at(state, step):
    """Rewrite in this process, which is killed at a step."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(rewrite, step, die)
    rewritten(state)


@pytest.mark.parametrize("step", ["_copy_owner", "sync_folder"])
def test_a_kill_leaves_the_old_file_or_the_new_one_and_the_next_run_removes_the_copy(state, step):
    state.journal.write_bytes(b"".join(map(line, range(4))))
    killed = multiprocessing.get_context("fork").Process(target=kill_at, args=(state, step))
    killed.start()
    killed.join()

    assert killed.exitcode == -signal.SIGKILL
    is_done = step == "sync_folder"
    assert numbers(state) == ([0, 2] if is_done else [0, 1, 2, 3])
    assert len(leftovers(state)) == (not is_done)
    rewritten(state)
    assert numbers(state) == [0, 2]
    assert leftovers(state) == []


def test_a_journal_that_is_rotated_meanwhile_is_left_alone(state):
    state.journal.write_bytes(b"".join(map(line, range(4))))

    def rotate(content):
        if number_of(content) == 3:
            state.journal.rename(state.path / "rotated")
            state.journal.write_bytes(line(5))
        return without_odd(content)

    with pytest.raises(rewrite.JournalMovedError):
        rewritten(state, rotate)
    assert numbers(state) == [5]
    assert leftovers(state) == []


def test_only_one_process_rewrites_a_directory(state):
    with rewrite.rewriting(state), pytest.raises(StorageError) as refused, rewrite.rewriting(state):
        pass
    assert refused.value.error_id == "rewrite-busy"


def test_a_link_in_the_way_is_not_followed_and_a_linked_journal_stays_linked(state, tmp_path):
    disk, precious = tmp_path / "disk", tmp_path / "precious"
    disk.mkdir()
    precious.write_bytes(b"mine")
    (disk / "journal").write_bytes(line(1) + line(2))
    (disk / ".journal.rewritten").symlink_to(precious)
    state.journal.symlink_to(disk / "journal")
    (disk / "journal").chmod(0o640)

    rewritten(state)

    assert precious.read_bytes() == b"mine"
    assert state.journal.is_symlink()
    assert stat.S_IMODE((disk / "journal").stat().st_mode) == 0o640
    assert numbers(state) == [2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who writes to a file")
def test_a_program_that_keeps_the_journal_open_without_the_lock_is_refused(state):
    state.journal.write_bytes(line(1) + line(2))
    opened = open_journal(state)
    opened.append([line(3)])  # open with the lock, as a listener has it
    hold = "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, state.journal], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        with pytest.raises(StorageError) as refused:
            rewritten(state)
        other.communicate()

    assert refused.value.error_id == "rewrite-foreign-writer"
    assert str(other.pid) in refused.value.message
    assert numbers(state) == [1, 2, 3]
    eventually(lambda: rewritten(state).is_different)
    assert numbers(state) == [2]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
def test_an_archived_journal_is_rewritten_or_removed_when_nothing_is_left(state, suffix):
    state.archive.mkdir()
    path = state.archive / f"rotated-20260302T000000.000Z-20260302T235959.000Z{suffix}"

    def write():
        content = b"".join(map(line, range(4)))
        with path.open("wb") as file:
            if suffix.endswith("zst"):
                packer = Packer(file)
                packer.write(content)
                packer.finish()
            else:
                file.write(content)

    write()
    assert list(rewrite.archived_lines(path)) == [line(n) for n in range(4)]
    outcome = rewrite.rewrite_archived(state, path, without_odd)
    assert (outcome.kept, outcome.dropped) == (2, 2)
    assert list(rewrite.archived_lines(path)) == [line(0), line(2)]
    assert not rewrite.rewrite_archived(state, path, without_odd).is_different
    rewrite.rewrite_archived(state, path, lambda _: None)
    assert not path.exists()
    assert leftovers(state) == []

    path.write_bytes(b"(\xb5/\xfd damaged" if suffix.endswith("zst") else b"")
    if suffix.endswith("zst"):
        with pytest.raises(StorageError) as refused:
            rewrite.rewrite_archived(state, path, without_odd)
        assert refused.value.error_id == "archive-damaged"
        assert leftovers(state) == []


def test_an_archived_journal_that_is_packed_meanwhile_is_left_alone(state):
    state.archive.mkdir()
    path = state.archive / "rotated-20260302T000000.000Z-20260302T235959.000Z.jsonl"
    path.write_bytes(b"".join(map(line, range(4))))

    def pack(content):
        if number_of(content) == 3:
            path.rename(path.with_suffix(".jsonl.zst"))
        return without_odd(content)

    with pytest.raises(rewrite.JournalMovedError):
        rewrite.rewrite_archived(state, path, pack)
    assert not path.exists()
    assert leftovers(state) == []


def test_what_a_killed_rotation_left_is_removed_unless_a_listener_may_use_it(state):
    state.archive.mkdir()
    names = "archive/.unfinished", "archive/.x.jsonl.packing", ".videodb_events.jsonl.tmp"
    left = [state.path / name for name in names]
    for path in left:
        path.write_bytes(line(1))

    listener = locks.ProcessLock(state.listener_lock, AssertionError)
    rewritten(state)
    assert all(path.exists() for path in left)
    listener.release()
    rewritten(state)
    assert not any(path.exists() for path in left)


def test_a_journal_that_is_cleared_and_grows_again_meanwhile_is_left_alone(state):
    first = b'{"ts":"2026-03-02T10:15:29.000Z","unix_ts":1772446529.000,"channel":"x","n":0}\n'
    state.journal.write_bytes(first + line(1))
    opened = open_journal(state)

    def clear(content):
        if number_of(content) == 1:
            opened.clear()
            opened.append([line(n) for n in (1, 2, 4)])
        return without_odd(content)

    with pytest.raises(rewrite.JournalMovedError):
        rewritten(state, clear)
    assert numbers(state) == [1, 2, 4]


def test_a_follower_that_was_suspended_while_a_journal_was_rewritten_and_rotated_goes_on(state):
    opened = open_journal(state)

    def at(number):
        # No two journals begin at the same time.
        return line(number).replace(b"530.123", b"53%d.123" % number)

    def rewrite_and_rotate():
        rewritten(state)
        opened.append([at(5), at(6)])
        opened.rotate(None)
        opened.append([at(8)])

    steps = [lambda: opened.append([at(n) for n in range(1, 5)]), rewrite_and_rotate, lambda: None]
    shown = follow_all(state.journal, steps, from_end=False)

    assert [n for n in map(number_of, shown) if n is not None] == [1, 2, 3, 4, 5, 6, 8]
