"""A slow or full disk does not stop the receiver, and no loss goes unmarked."""

import errno
import json
import os
import threading
import time

from support.journals import AT, LINE, append_once, lines_of, open_journal
from support.patience import PATIENCE

from vdbevents.events import duplicate_check, envelope
from vdbevents.journal.append import Journal
from vdbevents.journal.writer import JournalWriter


def wait_until(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def writer_of(state, **options):
    defaults = {"hold_bytes": 1 << 20, "sync_seconds": 0.01, "clock_ms": lambda: AT}
    return JournalWriter(open_journal(state), **{**defaults, **options})


def test_lines_are_written_in_the_order_of_put(state):
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


def test_dropped_events_are_marked_at_their_place_with_count_and_time(state):
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


def test_closing_returns_how_many_lines_could_not_be_written(state):
    writer = writer_of(state)
    writer.RETRY_SECONDS = 0.01
    state.path.rename(state.path.with_name("away"))
    for _ in range(7):
        writer.put(LINE, "c")

    assert writer.close(0.2) == 7


def is_journal(state, descriptor):
    return state.journal.exists() and os.path.samestat(os.fstat(descriptor), state.journal.stat())


def test_closing_waits_longer_for_a_disk_that_is_only_slow(state, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    really_sync = os.fsync

    def sync(descriptor):
        # Threads of other tests may still sync files of their own.
        if is_journal(state, descriptor):
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

    def refuse(descriptor):
        if is_journal(state, descriptor):
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


def test_an_unexpected_error_is_reported(state, monkeypatch):
    crashed = []
    writer = writer_of(state, on_crash=crashed.append)
    monkeypatch.setattr(Journal, "append", lambda self, *_: 1 / 0)
    writer.put(LINE, "c")

    wait_until(lambda: crashed)
    assert isinstance(crashed[0], ZeroDivisionError)


def test_the_expected_size_includes_queued_lines(state):
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


def test_a_duplicate_put_into_the_writer_is_skipped(state):
    active = {"event": "capture_session.active", "capture_session_id": "cap-1"}
    append_once(state, envelope.delivered_record(json.dumps(active).encode(), 1))
    made = envelope.envelop(json.dumps({"channel": "capture_session", **active}).encode(), 2)
    other = envelope.envelop(b'{"channel":"transcript"}', 2)
    writer = writer_of(state)
    writer.put(made.line, "capture_session", duplicate=duplicate_check.check_received(made))
    writer.put(other.line, "transcript")

    assert writer.close(5.0) == 0
    assert [line.get("channel") for line in lines_of(state)] == [None, "transcript"]
    assert writer.backlog_bytes == 0


# Lines that arrive together.


def numbered(begin, end):
    return [b'{"n":%d}\n' % number for number in range(begin, end)]


class HeldJournal(Journal):
    """A journal whose first append waits until it may go on; it notes the lines of each."""

    def __init__(self, state):
        super().__init__(state, clock_ms=lambda: AT)
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.appended = []

    def append(self, lines, *rest):
        self.begun.set()
        self.go_on.wait(PATIENCE)
        self.appended.append(list(lines))
        return super().append(lines, *rest)


def test_lines_put_together_are_written_by_one_append_in_the_order_of_all(state):
    journal = HeldJournal(state)
    writer = JournalWriter(journal, hold_bytes=1 << 20, sync_seconds=1, clock_ms=lambda: AT)
    assert writer.put(numbered(0, 1)[0], "c")
    journal.begun.wait(PATIENCE)
    assert writer.put_all(numbered(1, 500), ["c"] * 499) == 0
    assert writer.put(numbered(500, 501)[0], "c")
    assert writer.put_all(numbered(501, 900), ["c"] * 399) == 0
    assert writer.put_all([], []) == 0
    journal.go_on.set()

    assert writer.close(10) == 0
    assert [len(lines) for lines in journal.appended] == [1, 899]
    assert [e["n"] for e in lines_of(state)] == list(range(900))


def test_an_append_has_a_bounded_size_however_much_waits(state):
    journal = HeldJournal(state)
    writer = JournalWriter(journal, hold_bytes=1 << 20, sync_seconds=1, clock_ms=lambda: AT)
    writer.BATCH_BYTES = 4000
    writer.put(LINE, "c")
    journal.begun.wait(PATIENCE)
    for count in (10, 30, 1000, 30):  # the third of these alone is more than a batch
        writer.put_all([LINE] * count, ["c"] * count)
    journal.go_on.set()

    assert writer.close(10) == 0
    sizes = [sum(map(len, lines)) for lines in journal.appended]
    assert sum(sizes) == 1071 * len(LINE)
    assert max(sizes) < 2 * writer.BATCH_BYTES


def test_of_lines_put_together_those_without_room_are_dropped_and_counted(state):
    dropped, troubles = [], []
    writer = writer_of(state, hold_bytes=100, on_dropped=dropped.append, on_trouble=troubles.append)
    writer.RETRY_SECONDS = 0.01
    away = state.path.rename(state.path.with_name("away"))
    writer.put(b'{"n":"first"}\n', "a")
    wait_until(lambda: troubles)
    lost = writer.put_all(numbered(10, 40), ["a", "b"] * 15)
    held = 30 - lost
    assert 0 < held == (100 - len(b'{"n":"first"}\n')) // len(b'{"n":10}\n')
    assert writer.put_all(numbered(40, 43), ["c"] * 3) == 3, "a stretch of drops goes on"
    away.rename(state.path)
    wait_until(lambda: dropped)
    assert writer.put_all(numbered(50, 52), ["a"] * 2) == 0
    writer.close(10)

    events = lines_of(state)
    assert [e["n"] for e in events[: held + 1]] == ["first", *range(10, 10 + held)]
    assert events[held + 1]["data"]["count"] == lost + 3
    assert events[held + 1]["data"]["channels"]["c"] == 3
    assert [e["n"] for e in events[held + 2 :]] == [50, 51]


def test_a_disk_that_becomes_full_within_a_batch_leaves_no_part_of_it(state, monkeypatch):
    troubles, sizes, is_full = [], [], threading.Event()
    is_full.set()
    really_write = os.write

    def write(descriptor, content):
        if not is_journal(state, descriptor) or not is_full.is_set():
            return really_write(descriptor, content)
        if len(content) < 2000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, content[:1234])

    def trouble(reason):
        troubles.append(reason)
        sizes.append(state.journal.stat().st_size)

    monkeypatch.setattr(os, "write", write)
    writer = writer_of(state, on_trouble=trouble)
    writer.RETRY_SECONDS = 0.01
    writer.put_all(numbered(0, 200), ["c"] * 200)
    wait_until(lambda: troubles)
    assert sizes == [0]
    writer.put_all(numbered(200, 300), ["c"] * 100)
    is_full.clear()

    assert writer.close(10) == 0
    assert troubles == ["No space left on device", None]
    assert [e["n"] for e in lines_of(state)] == list(range(300))


def test_closing_on_a_disk_that_refuses_counts_each_line_of_a_batch(state):
    writer = writer_of(state)
    writer.RETRY_SECONDS = 0.01
    state.path.rename(state.path.with_name("away"))
    writer.put_all([LINE] * 40, ["c"] * 40)
    writer.put_all([LINE] * 3, ["c"] * 3)

    assert writer.close(0.2) == 43
