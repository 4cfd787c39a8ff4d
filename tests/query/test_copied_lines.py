"""The lines of a window are copied as ranges of the journal, and are those that a search finds."""

import io

import pytest
from hypothesis import given, settings, strategies as st
from support import random_journals
from support.databases import search
from support.effort import examples
from support.random_journals import AT, line, said

from vdbevents.errors import StorageError
from vdbevents.query.cache import build
from vdbevents.query.copied_lines import copied_lines
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.merge import search_lines
from vdbevents.query.older import Older
from vdbevents.query.output.write import Style, write
from vdbevents.times import Window

KINDS = (
    random_journals.transcripts
    | random_journals.scenes
    | random_journals.lifecycle
    | random_journals.ours
    | random_journals.timeless
)
LISTED = st.lists(KINDS, min_size=2, max_size=14).map(
    lambda lines: [one.encode("utf-8", "surrogatepass") for one in lines]
)
ORDERED = LISTED.map(
    lambda lines: sorted(one for one in lines if one[:4] == b'{"ts' and not one.endswith(b'd":true}'))
)
ENDS = st.lists(
    st.sampled_from([b"\n"] * 6 + [b"\r\n", b"\r", b"\0", b"\n\n", b"\n \n", b"\n[1]\n", b"\n{torn\n"]),
    min_size=14,
    max_size=14,
)
MOMENTS = st.none() | random_journals.STEPS
ASKED = st.builds(Window, MOMENTS, MOMENTS) | st.just(Window())


def write_sealed(path, before, ends, after, pieces=2):
    """Write a journal whose first lines are sealed, in pieces; return its cache."""
    content = b"".join(one + end for one, end in zip(before, ends, strict=False)) + b"\n"
    path.write_bytes(content + b"".join(one + b"\n" for one in after))
    piece = max(len(content) // pieces, 1)
    return build.seal(path, path.parent / "cache", piece=piece, part=piece)


def later(lines):
    return [one.replace(str(AT // 1000)[:9].encode(), str(AT // 1000 + 10)[:9].encode()) for one in lines]


def told(answer, window):
    bounds = window.since_ms, window.until_ms
    return {
        "lines": [one for batch in answer.lines() for one in batch],
        "timed": [one for batch in answer.timed_lines() for one in batch],
        "times": [one for batch in answer.times() for one in batch],
        "events": [one for batch in answer.events() for one in batch],
        "names": answer.names(["channel", "stream"]),
        "numbers": (answer.count, answer.span, answer.skipped, answer.untimed, answer.journal_bytes),
        "groups": (dict(answer.groups), set(answer.breaks)),
        "near": [[one for one in ones if one.touches(*bounds)] for ones in (answer.gaps, answer.pauses)],
    }


@pytest.mark.long
def test_what_is_copied_is_what_a_search_finds(tmp_path):
    copied = []

    @settings(max_examples=examples(25))
    @given(ORDERED | ORDERED | LISTED, ENDS, ORDERED | LISTED, ASKED)
    def both_are_the_same(before, ends, after, window):
        path = tmp_path / "journal.jsonl"
        cache = write_sealed(path, before, ends, later(after))
        asked = Filters(window=window, interim=True)
        found = copied_lines(path, asked, cache, Older())
        copied.append(found is not None)
        if found is not None:
            with found, search(path, asked, cache) as full:
                expected = told(full, window)
                assert told(found, window) == expected
                blocks = b"".join(found.blocks())
                assert blocks.decode() == "".join(f"{one}\n" for one in expected["lines"])

    both_are_the_same()
    assert any(copied)


def in_order(count=6):
    return [said(f"word {number}", AT + number * 1000).encode() for number in range(count)]


def as_written(path, cache, **asked):
    filters = Filters(**asked)
    with search_lines([HostJournal("", path, str(path))], filters, lambda _: cache) as answer:
        sink = io.BytesIO()
        count = write(answer, "jsonl", sink, Style(filters, None))
    return sink.getvalue(), count, answer.blocks() is not None


def test_a_window_of_a_journal_in_order_is_copied_without_a_search(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    lines = in_order(8)
    cache = write_sealed(path, lines[:6], [b"\n"] * 6, lines[6:])
    monkeypatch.setattr("vdbevents.query.merge.search_rows", None)

    window = Window(AT + 1000, AT + 7000)
    assert as_written(path, cache, interim=True, window=window) == (b"\n".join(lines[1:7]) + b"\n", 6, True)
    assert as_written(path, cache, interim=True) == (b"\n".join(lines) + b"\n", 8, True)


@pytest.mark.parametrize(
    "asked",
    [{}, {"interim": True, "recorder": False}, {"interim": True, "grep": ("word",)},
     {"interim": True, "by_event": True}, {"interim": True, "limit": 3},
     {"interim": True, "newest_first": True}],
)  # fmt: skip
def test_other_questions_are_searched(tmp_path, asked):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, in_order(), [b"\n"] * 6, [])
    assert copied_lines(path, Filters(**asked), cache, Older()) is None
    assert as_written(path, cache, **asked)[2] is False


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (in_order()[::-1], []),
        (in_order(), in_order(1)),
        ([*in_order(), said("again", AT + 6000, start=AT, backfilled=True).encode()], []),
        (in_order(), [said("again", AT + 9000, start=AT, backfilled=True).encode()]),
        ([*in_order(), b'{"text":"no time"}'], []),
        (in_order(), [line(AT + 9000, channel="x", data={"a": 1}).encode() + b"}"]),
    ],
)
def test_what_is_not_in_order_or_was_backfilled_is_searched(tmp_path, before, after, pieces):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, before, [b"\n"] * 7, after, pieces)
    assert pieces == 2 or cache.end >= len(b"".join(before))
    assert copied_lines(path, Filters(interim=True), cache, Older()) is None


def test_a_journal_that_changes_meanwhile_is_noticed(tmp_path):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, in_order(), [b"\n"] * 6, [])
    with copied_lines(path, Filters(interim=True), cache, Older()) as found:
        path.write_bytes(b"x" * cache.end)
        with pytest.raises(StorageError):
            list(found.blocks())
