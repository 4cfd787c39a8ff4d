"""A search that need not have the matches says the same numbers."""

import pytest
from hypothesis import given, settings, strategies as st
from support import random_journals
from support.databases import search
from support.effort import examples
from support.random_journals import AT, in_order, said

from vdbevents.query import statements
from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.merge import search_whole

LINES = (
    random_journals.journals.map(
        lambda lines: [one if isinstance(one, bytes) else one.encode("utf-8", "replace") for one in lines]
    )
    | in_order
)


def write_sealed(path, lines, pieces=4):
    content = b"".join(one + b"\n" for one in lines)
    path.write_bytes(content)
    piece = max(len(content) // pieces, 1)
    return build.seal(path, path.parent / "cache", piece=piece, part=piece)


def numbers(answer):
    return {
        "matches": (answer.count, answer.span),
        "others": (answer.skipped, answer.untimed, answer.journal_bytes, answer.sealed_bytes),
        "troubles": (answer.gaps, answer.pauses),
    }


@pytest.mark.long
def test_the_numbers_are_those_of_a_search_that_has_the_matches(tmp_path):
    @settings(max_examples=examples(12))
    @given(LINES, st.lists(random_journals.filters, min_size=3, max_size=3))
    def both_are_the_same(lines, asked):
        path = tmp_path / "journal.jsonl"
        cache = write_sealed(path, lines)
        for filters in asked:
            with (
                search(path, filters, cache, only_count=True) as counted,
                search(path, filters, cache) as full,
            ):
                assert numbers(counted) == numbers(full)

    both_are_the_same()


@pytest.mark.parametrize(("interim", "count"), [(True, 60), (False, 40)])
def test_matches_are_counted_without_putting_them_in_order(tmp_path, monkeypatch, interim, count):
    path = tmp_path / "journal.jsonl"
    lines = [
        said(
            f"word {number}", AT + number * 1000 + final, start=AT + number * 1000, final=bool(final)
        ).encode()
        for number in range(40)
        for final in ((0, 1) if number % 2 else (1,))
    ]
    cache = write_sealed(path, lines)
    monkeypatch.setattr(statements, "answer", None)

    asked = Filters(grep=("word",), interim=interim)
    journals = [HostJournal("", path, str(path))]
    with search_whole(journals, asked, lambda _: cache, only_count=True) as answer:
        assert (answer.count, answer.span) == (count, (AT + 1, AT + 39_001))


def test_what_was_backfilled_is_counted_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    lines = [said(f"word {number}", AT + number * 1000, start=AT + number * 1000) for number in range(20)]
    again = said("word 3", AT + 50_000, start=AT + 3000, backfilled=True)
    for journal in ([*lines, again], [*lines[:5], again, *lines[5:]]):
        cache = write_sealed(path, [one.encode() for one in journal])
        with search(path, Filters(grep=("word",)), cache, only_count=True) as answer:
            assert answer.count == 20
