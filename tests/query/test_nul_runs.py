"""Runs of NULs in a journal: what is around them is found, and each run is counted and costs nothing."""

import os

import pytest
from support.databases import search
from support.random_journals import AT, line, said

from vdbevents.cli.gaps import read_gaps
from vdbevents.journal import nul_runs
from vdbevents.journal.packed import open_content
from vdbevents.journal.reader import follow
from vdbevents.query.cache import build, index
from vdbevents.query.filters import Filters
from vdbevents.removal.line_selection import JournalLine

NULS = bytes(100)
GAP = line(
    AT,
    channel="vdbevents",
    event="listener.gap",
    data={"id": "gap-1", "since": AT, "until": AT + 9, "status": "open"},
)


def texts(answer):
    return [event.text for batch in answer.events({"text"}) for event in batch]


@pytest.fixture
def journal(tmp_path):
    """Two runs of NULs: between two events on one line, and before one."""
    path = tmp_path / "journal.jsonl"
    lines = [said("one").encode() + NULS + said("two").encode(), NULS + said("three").encode(), GAP.encode()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_events_around_nuls_are_found_and_each_run_is_counted(journal, tmp_path):
    with search(journal, Filters(channels=("transcript",))) as answer:
        assert (texts(answer), answer.skipped) == (["one", "two", "three"], 2)
    cache = build.seal(journal, tmp_path / "cache", piece=200, part=100, to_end=True)
    assert cache.end == journal.stat().st_size
    with search(journal, Filters(channels=("transcript",)), cache) as answer:
        assert answer.snapshot.sealed.segments
        assert (texts(answer), answer.skipped) == (["one", "two", "three"], 2)
        assert [line for batch in answer.lines() for line in batch] == list(
            map(said, ["one", "two", "three"])
        )


def test_a_follower_gets_what_is_around_nuls(journal):
    lines = [line.rstrip(b"\n") for line in follow(journal, from_end=False, wait=lambda: False)]
    events = [said(text).encode() for text in ("one", "two", "three")]
    assert lines == [events[0], b"\0", events[1], b"\0", events[2], GAP.encode()]


def test_a_gap_behind_nuls_is_listed(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(said("one").encode() + b"\n" + NULS + GAP.encode() + NULS + b"\n")
    gaps = read_gaps(journal)
    assert ([gap.id for gap in gaps.gaps], gaps.unreadable) == (["gap-1"], 0)


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="the system does not tell holes")
def test_a_hole_of_a_tebibyte_costs_nothing(tmp_path):
    journal = tmp_path / "journal.jsonl"
    with journal.open("wb") as file:
        file.write(said("before").encode() + b"\n")
        file.seek(1 << 40)
        file.write(said("behind").encode() + b"\n" + GAP.encode() + b"\n")
    with open_content(journal) as file:
        if nul_runs.data_bytes(file, 0, 1 << 40) > 1 << 30:
            pytest.skip("the file system has no holes")
    with search(journal, Filters(channels=("transcript",))) as answer:
        assert (texts(answer), answer.skipped) == (["before", "behind"], 1)
    followed = list(follow(journal, from_end=False, wait=lambda: False))
    assert [said(text).encode() + b"\n" for text in ("before", "behind")] == [followed[0], followed[-2]]
    assert [gap.id for gap in read_gaps(journal).gaps] == ["gap-1"]
    cache = build.seal(journal, tmp_path / "cache", to_end=True)
    assert (cache.end, index.rest_of(journal, cache)) == (journal.stat().st_size, 0)
    with search(journal, Filters(channels=("transcript",)), cache) as answer:
        assert (texts(answer), answer.skipped) == (["before", "behind"], 1)


def test_an_event_behind_nuls_can_be_removed_as_it_can_be_found():
    behind = JournalLine(NULS + said("three").encode() + b"\n", None)
    assert (behind.at_ms, behind.channel) == (AT, "transcript")
    assert behind.event["data"]["text"] == "three"
