"""A journal that was set aside is found by its name, which says when its events were received."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from vdbevents.journal import archive

DAY_MS = 86_400_000
NOON_MS = 1_772_452_800_123  # 2026-03-02T12:00:00.123Z
TIMES = st.integers(-30_000_000_000_000, 250_000_000_000_000)


@pytest.fixture
def aside(state):
    """The state directory, with its archive."""
    archive.create_archive(state)
    return state


def put(directory, kind, from_ms, to_ms, *, packed=True):
    path = archive.free_path(directory, kind, from_ms, to_ms, packed=packed)
    path.touch()
    return path


def test_a_name_has_the_first_and_the_last_time(aside):
    path = put(aside, "rotated", NOON_MS, NOON_MS + 1000)

    assert path.name == "rotated-20260302T120000.123Z-20260302T120001.123Z.jsonl.zst"
    assert archive.archived(aside) == [archive.ArchivedJournal(path, "rotated", NOON_MS, NOON_MS + 1000)]


@given(st.sampled_from(["rotated", "cleared"]), TIMES, TIMES, st.booleans())
def test_a_name_says_what_it_was_made_of(tmp_path_factory, kind, from_ms, to_ms, packed):
    directory = archive.StateDirectory(tmp_path_factory.getbasetemp() / "never")

    found = archive.parse_name(archive.free_path(directory, kind, from_ms, to_ms, packed=packed))

    assert (found.kind, found.from_ms, found.to_ms, found.number) == (kind, from_ms, to_ms, 1)
    assert (found.is_packed, found.is_cleared) == (packed, kind == "cleared")


def test_a_taken_name_gets_a_number_and_they_are_listed_in_order(aside):
    others = [put(aside, "rotated", NOON_MS + DAY_MS, NOON_MS + 2 * DAY_MS)]
    same = [put(aside, "rotated", NOON_MS, NOON_MS, packed=packed) for packed in [True, False] * 6]
    others.append(put(aside, "cleared", NOON_MS - DAY_MS, NOON_MS))

    assert same[1].name.endswith("Z-2.jsonl")
    assert same[11].name.endswith("Z-12.jsonl")
    assert [journal.path for journal in archive.archived(aside)] == [others[1], *same, others[0]]


def test_a_line_from_before_the_clock_was_set_does_not_make_a_journal_an_older_one(aside):
    first = put(aside, "rotated", NOON_MS, NOON_MS + 10)
    second = put(aside, "rotated", 0, NOON_MS + 20)
    third = put(aside, "rotated", NOON_MS + 21, NOON_MS + 30)

    assert [journal.path for journal in archive.archived(aside)] == [first, second, third]


def test_a_journal_that_is_there_plain_and_packed_counts_once(aside):
    plain = put(aside, "rotated", NOON_MS, NOON_MS, packed=False)
    packed = plain.with_suffix(".jsonl.zst")
    packed.touch()

    assert [journal.path for journal in archive.archived(aside)] == [packed]


@pytest.mark.parametrize(
    "name",
    [
        "rotated-20260302T120000.123Z-20260302T120001.123Z (conflicted copy).jsonl.zst",
        "rotated-20260302T120000.123Z-20260302T120001.123Z.sync-conflict-20260303-101530-ABCDEFG.jsonl.zst",
        "rotated-20260302T120000.123Z-20260302T120001.123Z.jsonl.zst.tmp",
        ".rotated-20260302T120000.123Z-20260302T120001.123Z.jsonl.zst",
        "rotated-20260302T120000.123Z-20260302T120001.123Z-1.jsonl.zst",
        "rotated-20261302T120000.123Z-20260302T120001.123Z.jsonl",
        "videodb_events.jsonl.1",
    ],
)
def test_other_files_are_not_listed(aside, name):
    (aside.archive / name).touch()

    assert archive.archived(aside) == []


def test_without_the_folder_nothing_is_set_aside(state):
    assert archive.archived(state) == []
    state.archive.touch()
    assert archive.archived(state) == []


def test_a_file_is_chosen_by_its_times(aside):
    journal = archive.parse_name(put(aside, "rotated", NOON_MS, NOON_MS + 10))
    for since, until, is_chosen in (
        (None, None, True),
        (NOON_MS + 10, None, True),
        (NOON_MS + 11, None, False),
        (None, NOON_MS + 1, True),
        (None, NOON_MS, False),
    ):
        assert journal.may_hold(since, until) == is_chosen


def test_the_folder_is_its_owners_alone(aside):
    assert aside.archive.stat().st_mode & 0o777 == 0o700
    archive.create_archive(aside)


def test_the_stamps_are_in_utc(aside):
    moment = datetime(2026, 3, 2, 23, 59, 59, 999_000, UTC)
    path = put(aside, "cleared", 0, int(moment.timestamp() * 1000))

    assert path.name == "cleared-19700101T000000.000Z-20260302T235959.999Z.jsonl.zst"
