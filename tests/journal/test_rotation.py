"""The listener's journal is rotated when a day or a size is full, between two lines."""

import time

import pytest
from support.journals import open_journal

from vdbevents.errors import InputError
from vdbevents.journal import archive, history, packed, rotation, writer
from vdbevents.journal.rotation import RotationRule, Rotator, parse_rotation

DAY_MS = 86_400_000
MIDNIGHT_MS = 1_772_409_600_000  # 2026-03-02T00:00:00Z


def line_at(ms):
    return f'{{"ts":"2026-03-02T12:00:00.000Z","unix_ts":{ms / 1000:.3f},"channel":"x"}}\n'.encode()


def utc_day(ms):
    begin = ms // DAY_MS * DAY_MS
    return begin, begin + DAY_MS


@pytest.fixture
def journal(state):
    journal = open_journal(state)
    yield journal
    journal.close()


def written(journal, rule, lines):
    rotator = Rotator(journal, rule, lambda _: None, day=utc_day)
    for line in lines:
        rotator.before(line)
        journal.append([line])


def archived_lines(state):
    found = []
    for one in archive.archived(state):
        with packed.open_content(one.path) as file:
            found.append(file.readall().splitlines(keepends=True))
    return found


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1d", RotationRule(days=1)),
        ("30d", RotationRule(days=30)),
        ("256MB", RotationRule(size=256_000_000)),
        ("1GiB", RotationRule(size=1 << 30)),
    ],
)
def test_a_rule_is_a_number_of_days_or_a_size(text, rule):
    assert parse_rotation("--rotate", text) == rule


@pytest.mark.parametrize("text", ["", "0d", "1h", "256", "-1d", "1.5GB", "1 d", "d", "256mb"])
def test_other_texts_are_refused(text):
    with pytest.raises(InputError) as refused:
        parse_rotation("--rotate", text)
    assert refused.value.error_id == "rotation-invalid"


def test_each_day_becomes_a_file_of_its_own(state, journal):
    lines = [line_at(MIDNIGHT_MS + step * DAY_MS // 2 + 1) for step in range(6)]

    written(journal, RotationRule(days=1), lines)

    assert archived_lines(state) == [lines[0:2], lines[2:4]]
    assert state.journal.read_bytes() == b"".join(lines[4:])


def test_several_days_become_a_file_when_there_are_as_many(state, journal):
    lines = [line_at(MIDNIGHT_MS + step * DAY_MS) for step in range(8)]

    written(journal, RotationRule(days=3), lines)

    assert archived_lines(state) == [lines[0:3], lines[3:6]]


def test_at_a_size_the_days_before_the_present_one_are_moved_and_else_all(state, journal):
    size = len(line_at(MIDNIGHT_MS))
    lines = [line_at(MIDNIGHT_MS + step) for step in range(-2, 7)]

    written(journal, RotationRule(size=3 * size), lines)

    assert archived_lines(state) == [lines[0:2], lines[2:5], lines[5:8]]
    assert state.journal.read_bytes() == lines[8]


@pytest.mark.parametrize(("hours", "stays_in_order"), [(2.5, True), (24, True), (25, False)])
def test_files_keep_their_order_though_the_clock_is_set_back_by_hours(state, journal, hours, stays_in_order):
    size = len(line_at(MIDNIGHT_MS))
    noon_ms = MIDNIGHT_MS + DAY_MS // 2
    times = [noon_ms + step - (step >= 3) * int(hours * 3_600_000) for step in range(10)]
    lines = [line_at(at_ms) for at_ms in times]

    for first in range(0, 9, 3):
        written(journal, RotationRule(size=3 * size), lines[first : first + 3])
        journal.rotate(None)

    files = archived_lines(state)
    assert sorted(files) == sorted([lines[0:3], lines[3:6], lines[6:9]])
    assert (files == [lines[0:3], lines[3:6], lines[6:9]]) == stays_in_order
    # Each name still covers the times of its lines.
    for one, content in zip(archive.archived(state), files, strict=True):
        assert all(one.may_hold(times[lines.index(line)], times[lines.index(line)] + 1) for line in content)


def test_days_of_a_journal_that_was_never_rotated_are_moved_at_once(state, journal):
    journal.append([line_at(MIDNIGHT_MS - 5 * DAY_MS), line_at(MIDNIGHT_MS - 1), line_at(MIDNIGHT_MS + 1)])

    written(journal, RotationRule(days=1), [line_at(MIDNIGHT_MS + 2)])

    assert [len(lines) for lines in archived_lines(state)] == [2]
    assert len(state.journal.read_bytes().splitlines()) == 2


def test_a_rotation_that_fails_is_reported_and_tried_again_later(state, journal, monkeypatch):
    seconds, troubles = [0.0], []
    journal.append([line_at(MIDNIGHT_MS - 1)])
    rotate = journal.rotate

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "rotate", refuse)
    rotator = Rotator(
        journal, RotationRule(days=1), troubles.append, day=utc_day, monotonic=lambda: seconds[0]
    )
    for at in (1.0, 2.0):
        seconds[0] = at
        rotator.before(line_at(MIDNIGHT_MS))
    assert troubles == ["No space left on device"]
    monkeypatch.setattr(journal, "rotate", rotate)
    seconds[0] = 100.0
    rotator.before(line_at(MIDNIGHT_MS))
    assert len(archived_lines(state)) == 1


def test_a_local_day_begins_at_local_midnight_and_may_have_25_hours(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        begin, end = rotation.day_of(1_793_000_000_000)  # 2026-10-26T07:33:20Z
        assert (begin, end - begin) == (1_792_969_200_000, DAY_MS)
        begin, end = rotation.day_of(1_792_920_000_000)  # 2026-10-25T09:20:00Z, when clocks are set back
        assert (begin, end - begin) == (1_792_879_200_000, 25 * 3_600_000)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_writer_splits_what_waits_at_midnight(state, journal):
    lines = [line_at(MIDNIGHT_MS + step) for step in (-2, -1, 0, 1)]
    rotator = Rotator(journal, RotationRule(days=1), lambda _: None, day=utc_day)
    writing = writer.JournalWriter(
        journal, hold_bytes=1 << 20, sync_seconds=0, clock_ms=lambda: MIDNIGHT_MS, rotator=rotator
    )
    for line in lines:
        writing.put(line, "x")

    assert writing.close(30) == 0
    assert archived_lines(state) == [lines[:2]]
    assert state.journal.read_bytes() == b"".join(lines[2:])
    assert writing.expected_size == len(lines[2]) * 2
    assert writing.journal_head == lines[2][: history.HEAD_BYTES]


def test_lines_put_together_are_split_at_midnight_too(state, journal):
    lines = [line_at(MIDNIGHT_MS + step) for step in (-3, -2, -1, 0, 1, DAY_MS, DAY_MS + 1)]
    rotator = Rotator(journal, RotationRule(days=1), lambda _: None, day=utc_day)
    writing = writer.JournalWriter(
        journal, hold_bytes=1 << 20, sync_seconds=0, clock_ms=lambda: MIDNIGHT_MS, rotator=rotator
    )
    writing.put_all(lines[:1], ["x"])
    writing.put_all(lines[1:6], ["x"] * 5)
    writing.put_all(lines[6:], ["x"])

    assert writing.close(30) == 0
    assert archived_lines(state) == [lines[:3], lines[3:5]]
    assert state.journal.read_bytes() == b"".join(lines[5:])
