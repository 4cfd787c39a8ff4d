"""What is sealed is not read line by line to count a journal's events and to list its gaps."""

import shutil

import pytest
from hypothesis import given, settings, strategies as st
from support import random_journals
from support.databases import search
from support.effort import examples
from support.random_journals import AT, line, said

from vdbevents.cli import gaps
from vdbevents.cli.gaps import read_gaps
from vdbevents.query import channel_totals as totals
from vdbevents.query.cache import build
from vdbevents.query.cache.seal_policy import default_root
from vdbevents.query.cache.sealed_counts import MOST_GROUPS
from vdbevents.query.channel_totals import channel_totals
from vdbevents.query.filters import Filters
from vdbevents.query.older import Older

pytestmark = pytest.mark.long

LINES = st.lists(
    random_journals.transcripts
    | random_journals.scenes
    | random_journals.timeless
    | random_journals.lifecycle
    | random_journals.ours
    | random_journals.ours,
    min_size=4,
    max_size=14,
).map(lambda lines: [one.encode("utf-8", "surrogatepass") for one in lines])
PLAIN = LINES.map(
    lambda lines: [one for one in lines if not (one.endswith(b'"backfilled":true}') or b"ud83d" in one)]
)
ABOUT_A_GAP = b'{"channel":"vdbevents","event":"listener.gap","data":{"id":"gap-3"'
TORN = [
    ABOUT_A_GAP,
    ABOUT_A_GAP + b"}",
    b"{" + ABOUT_A_GAP + b"}}}",
    b'\xff"listener.gap"',
    b'{"text":"\\"listener.gap\\""}',
    b"\0\0" + ABOUT_A_GAP + b"}}\0",
]


@pytest.fixture(autouse=True)
def cache_root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gaps, "_LEAST_SEALED", 0)


def sealed(path, sealed_lines, lines, pieces=1):
    """Write a journal whose first lines are sealed; return its cache."""
    shutil.rmtree(default_root(), ignore_errors=True)
    content = b"".join(one + b"\n" for one in sealed_lines)
    path.write_bytes(content + b"".join(one + b"\n" for one in lines))
    piece = max(len(content) // pieces, 1)
    return build.seal(path, default_root(), piece=piece, part=piece)


def test_a_journal_s_events_are_counted_as_a_search_counts_them(tmp_path, monkeypatch):
    quickly = []
    monkeypatch.setattr(totals, "_searched", lambda *_: quickly.append(False))

    @settings(max_examples=examples(12))
    @given(PLAIN, PLAIN | LINES)
    def both_are_the_same(before, after):
        path = tmp_path / "journal.jsonl"
        cache = sealed(path, before, after, pieces=2)
        found = channel_totals(path, cache, Older())
        if found is None:
            return
        quickly.append(True)
        with search(path, Filters(interim=True), cache) as full:
            assert found == (full.channel_counts(), full.gaps)

    both_are_the_same()
    assert any(quickly)


def test_what_was_backfilled_is_left_to_a_search(tmp_path):
    path = tmp_path / "journal.jsonl"
    once = said("one", AT, start=AT).encode()
    again = said("one", AT + 1000, start=AT, backfilled=True).encode()

    def counted(cache):
        return channel_totals(path, cache, Older()).channels

    assert counted(sealed(path, [once, again], [])) == [("transcript", 1, AT, AT)]
    assert counted(sealed(path, [once], [again])) == [("transcript", 1, AT, AT)]
    cache = sealed(path, [once], [said("two", AT + 5).encode()])
    assert counted(cache) == [("transcript", 2, AT, AT + 5)]


def test_what_is_sealed_is_counted_without_its_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(totals, "_searched", None)
    path = tmp_path / "journal.jsonl"
    untimed = b'{"channel":"visual_index","text":"no time"}'
    unnamed = line(AT + 3, data={"a": 1}).encode()
    lines = [said("one", AT).encode(), untimed, unnamed, said("two", AT + 9).encode()]
    expected = [
        ("transcript", 3, AT, AT + 9),
        ("unknown", 1, AT + 3, AT + 3),
        ("visual_index", 1, None, None),
    ]

    for pieces in (1, 2):
        cache = sealed(path, lines, [said("three", AT + 5).encode()], pieces)
        for segment in cache.segments:
            cache.events(segment).unlink()
        assert channel_totals(path, cache, Older()).channels == expected


def test_events_of_very_many_channels_are_searched(tmp_path):
    path = tmp_path / "journal.jsonl"
    names = [f"name-{number:04}" for number in range(MOST_GROUPS + 1)]
    cache = sealed(path, [line(AT, channel=name, data={}).encode() for name in names], [])
    assert [one.channels for one in cache.segments] == [None]
    assert channel_totals(path, cache, Older()).channels == [(name, 1, AT, AT) for name in names]


def test_gaps_are_the_same_whether_they_are_sealed_or_not(tmp_path):
    @settings(max_examples=examples(12))
    @given(LINES, st.lists(st.sampled_from(TORN), max_size=2), LINES)
    def both_are_the_same(before, torn, after):
        path = tmp_path / "journal.jsonl"
        cache = sealed(path, before + torn, torn + after, pieces=2)
        known = read_gaps(path)
        shutil.rmtree(cache.folder)
        assert known == read_gaps(path)

    both_are_the_same()


def test_sealed_lines_are_not_read_for_gaps(tmp_path, monkeypatch):
    gap = line(AT, channel="vdbevents", event="listener.gap", data={"id": "gap-1", "since": AT, "until": AT})
    path = tmp_path / "journal.jsonl"
    cache = sealed(path, [said("one", AT).encode(), gap.encode()], [said("two", AT + 5).encode()])
    starts = []
    read = gaps._lines_about_gaps
    monkeypatch.setattr(
        gaps, "_lines_about_gaps", lambda file, start=0, end=None: starts.append(start) or read(file, start)
    )
    assert [one.id for one in read_gaps(path).gaps] == ["gap-1"]
    assert starts == [cache.end] != [0]
