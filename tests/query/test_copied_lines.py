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


def newlines(lines):
    """Return the ends of the lines of a journal that has no empty one."""
    return [*[b"\n"] * (len(lines) - 1), b""]


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
@pytest.mark.parametrize("ends", [ENDS, st.none()], ids=["by the columns", "in order"])
def test_what_is_copied_is_what_a_search_finds(tmp_path, ends):
    copied = []

    @settings(max_examples=examples(25))
    @given(ORDERED | ORDERED | LISTED, ends, ORDERED | LISTED, ASKED)
    def both_are_the_same(before, ends, after, window):
        path = tmp_path / "journal.jsonl"
        cache = write_sealed(path, before, ends or newlines(before), later(after))
        asked = Filters(window=window, interim=True)
        found = copied_lines(path, asked, cache, Older())
        if found is not None:
            copied.append(all(one.is_in_order for one in cache.segments))
            with found, search(path, asked, cache) as full:
                expected = told(full, window)
                assert told(found, window) == expected
                blocks = b"".join(found.blocks())
                assert blocks.decode() == "".join(f"{one}\n" for one in expected["lines"])

    both_are_the_same()
    assert (ends is not ENDS) in copied


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


@pytest.mark.long
def test_the_edges_of_any_window_are_found_without_the_columns(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    moments = [0, 1000, 1000, 1000, 2000, 4000, 4000, 5000, 6000, 6000, 9000, 9001]
    lines = [
        said("é" * (7000 * (number % 3)) + str(number), AT + after).encode()
        for number, after in enumerate(moments)
    ]
    cache = write_sealed(path, lines, newlines(lines), [], pieces=3)
    assert len(cache.segments) > 2
    assert all(one.is_in_order for one in cache.segments)
    sealed = path.read_bytes()[: cache.end].count(b"\n")
    monkeypatch.setattr("vdbevents.query.copied_lines._Copying._places", None)
    monkeypatch.setattr("vdbevents.query.merge.search_rows", None)

    bounds = [None, *sorted({AT + after + more for after in moments for more in (0, 1)})]
    for window in (Window(since, until) for since in bounds for until in bounds):
        since, until = window.since_ms or 0, window.until_ms or AT * 2
        chosen = [one for one, after in zip(lines, moments, strict=True) if since <= AT + after < until]
        if not set(chosen).isdisjoint(lines[:sealed]):
            with copied_lines(path, Filters(window=window, interim=True), cache, Older()) as found:
                assert b"".join(found.blocks()) == b"".join(one + b"\n" for one in chosen)
                assert found.count == len(chosen)
                times = [AT + after for after in moments if since <= AT + after < until]
                assert found.span == (times[0], times[-1])


def test_an_edge_among_lines_that_no_listener_writes_is_found_by_the_columns(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    lines = [b" " + one for one in in_order()]
    cache = write_sealed(path, lines, newlines(lines), [], pieces=1)
    assert [one.is_in_order for one in cache.segments] == [True]
    monkeypatch.setattr("vdbevents.query.merge.search_rows", None)
    window = Window(AT + 1000, AT + 3000)
    assert as_written(path, cache, interim=True, window=window) == (b"\n".join(lines[1:3]) + b"\n", 2, True)


@pytest.mark.parametrize(
    "content",
    [
        b"\n".join(in_order()[::-1]),
        b"\n".join([*in_order(), said("again", AT + 6000, start=AT, backfilled=True).encode()]),
        b"\n".join([*in_order(), b'{"text":"no time"}']),
        b"\n".join([*in_order(), b"[1]"]),
        b"\n".join([*in_order(), b"{torn"]),
        b"\xef\xbb\xbf" + b"\n".join(in_order()),
        *(end.join(in_order()) for end in (b"\n\n", b"\r", b"\r\n", b"\0", b"\n \n")),
    ],
)
def test_a_piece_is_in_order_only_if_all_its_bytes_are_lines_of_events_in_turn(tmp_path, content):
    path = tmp_path / "journal.jsonl"
    assert [one.is_in_order for one in write_sealed(path, [content], [b""], [], 1).segments] == [False]
    lines = in_order()
    assert [one.is_in_order for one in write_sealed(path, lines, newlines(lines), [], 1).segments] == [True]


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


def test_lines_that_came_after_the_window_are_not_parsed_but_those_about_gaps_are(tmp_path):
    path = tmp_path / "journal.jsonl"
    gap = line(
        AT + 9000, channel="vdbevents", event="listener.gap", data={"id": "gap-1", "since": AT, "until": AT}
    )
    twice = line(AT + 9000, channel="x", data=1)[:-1] + ',"data":2}'
    cache = write_sealed(path, in_order(), newlines(in_order()), [twice.encode(), gap.encode()], pieces=1)

    def copied(**bounds):
        return copied_lines(path, Filters(window=Window(**bounds), interim=True), cache, Older())

    with copied(until_ms=AT + 2000) as found:
        assert (found.count, [one.id for one in found.gaps]) == (2, ["gap-1"])
    assert copied(since_ms=AT + 2000) is None


@pytest.mark.parametrize(
    "last",
    [
        line(AT + 9000, channel="x", unix_ts=AT / 1000 + 1, data=1),
        said("again", AT + 9000, start=AT, backfilled=True),
    ],
)
def test_lines_that_came_after_the_window_and_may_belong_into_it_are_searched(tmp_path, last):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, in_order(), newlines(in_order()), [last.encode()], pieces=1)
    filters = Filters(window=Window(until_ms=AT + 2000), interim=True)
    assert copied_lines(path, filters, cache, Older()) is None


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
