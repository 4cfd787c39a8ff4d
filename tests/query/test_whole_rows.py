"""Everything is counted before it is found, and found in portions: the same as in one search."""

import pytest
from hypothesis import given, settings, strategies as st
from support import random_journals
from support.databases import search, shared_database
from support.effort import examples
from support.random_journals import AT, in_order, line, said

from vdbevents.errors import StorageError
from vdbevents.query import duck, whole_rows as module
from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.merge import search_whole
from vdbevents.query.older import Older
from vdbevents.query.whole_rows import whole_rows


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_BYTES", 150)
    monkeypatch.setattr(module, "_MOST_SEGMENTS", 2)


@pytest.fixture
def one_database(monkeypatch):
    class Database:
        def __enter__(self):
            return shared_database()

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(duck, "SharedDatabase", Database)


def write_sealed(path, lines, pieces=6):
    """Write a journal of which all but the last lines are sealed, in pieces; return its cache."""
    content = b"".join(one + b"\n" for one in lines)
    path.write_bytes(content)
    piece = max(len(content) // pieces, 1)
    return build.seal(path, path.parent / "cache", piece=piece, part=piece)


def told(answer):
    return {
        "numbers": (answer.count, answer.span, answer.skipped, answer.untimed, answer.journal_bytes),
        "timed": [one for batch in answer.timed_lines() for one in batch],
        "times": [one for batch in answer.times() for one in batch],
        "events": [one for batch in answer.events() for one in batch],
        "lines": [one for batch in answer.lines() for one in batch],
        "texts": [one for batch in answer.texts("upper(text)", ["text"]) for one in batch],
        "names": answer.names(["channel", "stream"]),
        "groups": (dict(answer.groups), set(answer.breaks)),
        "troubles": (answer.gaps, answer.pauses),
    }


MIXED = st.lists(
    random_journals.transcripts | random_journals.scenes | random_journals.lifecycle | random_journals.ours,
    min_size=8,
    max_size=25,
).map(lambda lines: [one.encode() for one in lines if not (one.endswith('d":true}') or "ud83d" in one)])
JOURNALS = in_order | in_order | MIXED.map(sorted) | MIXED
FILTERS = st.builds(
    Filters,
    channels=st.sampled_from([(), (), (), ("transcript",), ("capture_session", "visual")]),
    not_channels=st.sampled_from([(), (), (), ("visual",), ("transcript",)]),
    recorder=st.booleans(),
    interim=st.booleans(),
    newest_first=st.booleans(),
)


@pytest.mark.long
def test_what_is_found_in_portions_is_what_one_search_finds(tmp_path, one_database):
    steps = []

    @settings(max_examples=examples(12))
    @given(JOURNALS, st.lists(FILTERS, min_size=2, max_size=2, unique=True))
    def both_are_the_same(lines, asked):
        path = tmp_path / "journal.jsonl"
        cache = write_sealed(path, lines)
        for filters in asked:
            found = whole_rows(path, filters, cache, Older())
            if found is None:
                continue
            steps.append(len(list(found.steps(filters.newest_first))))
            with search(path, filters, cache) as full:
                assert told(found) == told(full)

    both_are_the_same()
    assert sum(number > 3 for number in steps) > len(steps) / 6


def ordered(count=40, **others):
    return [said(f"word {number}", AT + number * 1000, **others).encode() for number in range(count)]


def test_nothing_is_searched_to_count_everything(tmp_path, monkeypatch):
    monkeypatch.setattr("vdbevents.query.engine.search", None)
    path = tmp_path / "journal.jsonl"
    alerts = [line(AT + 50_000 + number, channel="alert", data={}).encode() for number in range(9)]
    cache = write_sealed(path, ordered() + alerts)
    for segment in cache.segments:
        cache.events(segment).unlink()

    def counted(**asked):
        with search_whole([HostJournal("", path, str(path))], Filters(**asked), lambda _: cache) as answer:
            return answer.count, answer.span

    assert cache.end < path.stat().st_size
    assert counted() == counted(interim=True) == (49, (AT, AT + 50_008))
    assert counted(channels=("alert",)) == (9, (AT + 50_000, AT + 50_008))
    assert counted(not_channels=("alert",)) == (40, (AT, AT + 39_000))
    assert counted(channels=("visual",)) == (0, None)


def searched(path, cache, monkeypatch, **asked):
    """Return an iterator of the texts, and the portions that are searched for meanwhile."""
    found = whole_rows(path, Filters(**asked), cache, Older())
    portions, find = [], found.find

    def finding(step, database):
        portions.append(step)
        return find(step, database)

    found.find = finding
    return (
        event.text for batch in found._batches(lambda of: of.events(["text"])) for event in batch
    ), portions


@pytest.mark.parametrize("interim", [True, False])
def test_the_first_events_are_there_before_the_others_are_read(tmp_path, one_database, monkeypatch, interim):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered())
    assert len(cache.segments) >= 5

    texts, steps = searched(path, cache, monkeypatch, interim=interim)
    assert next(texts) == "word 0"
    assert [(one.portion.places, len(one.portion.opened), one.to_end) for one in steps] == [
        ((0, 150), 1, False)
    ]
    assert len(list(texts)) == 39
    assert max(len(one.portion.opened) for one in steps) <= 2

    texts, steps = searched(path, cache, monkeypatch, interim=interim, newest_first=True)
    assert next(texts) == "word 39"
    assert [(len(one.portion.opened), one.to_end) for one in steps] == [(1, True)]


def texts_of(found):
    return [event.text for batch in found.events(["text"]) for event in batch]


def test_a_newer_version_of_a_sentence_that_a_later_portion_has_replaces_the_one_before(
    tmp_path, one_database
):
    path = tmp_path / "journal.jsonl"
    lines = [
        said(f"{version} of {number:02}", AT + number * 1000 + version, start=AT + number * 1000, final=False)
        for number in range(20)
        for version in (1, 2)
    ]
    three = len("".join(f"{one}\n" for one in lines[:3]))
    path.write_text("".join(f"{one}\n" for one in lines), "utf-8")
    cache = build.seal(path, tmp_path / "cache", piece=three, part=three)
    assert all((segment.end - segment.start) == three for segment in cache.segments)

    for newest_first in (False, True):
        found = whole_rows(path, Filters(newest_first=newest_first), cache, Older())
        assert sorted(texts_of(found)) == [f"2 of {number:02}" for number in range(20)]
        assert found.count == 20


def test_an_unsealed_transcript_replaces_one_of_the_first_portion(tmp_path, one_database):
    path = tmp_path / "journal.jsonl"
    begun = said("began early", AT, start=AT, final=False, stream="rts-9").encode()
    cache = write_sealed(path, [begun, *ordered()])
    with path.open("ab") as file:
        file.write(said("ended late", AT + 60_000, start=AT, stream="rts-9").encode() + b"\n")

    found = whole_rows(path, Filters(), cache, Older())
    assert texts_of(found) == [*(f"word {number}" for number in range(40)), "ended late"]
    assert (found.count, found.span) == (41, (AT, AT + 60_000))


@pytest.mark.parametrize(
    "after",
    [
        said("late", AT + 90_000, start=AT, backfilled=True),
        '{"channel":"transcript","text":"number","data":{"start":[]}}',
        "torn",
    ],
)
def test_what_the_manifest_and_the_end_do_not_say_is_searched(tmp_path, after):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered())
    assert whole_rows(path, Filters(), cache, Older()) is not None
    with path.open("ab") as file:
        file.write(after.encode() + b"\n")
    assert whole_rows(path, Filters(), cache, Older()) is None
    assert whole_rows(path, Filters(interim=True), cache, Older()) is None


@pytest.mark.parametrize(
    "asked",
    [{"limit": 3}, {"offset": 1}, {"grep": ("word",)}, {"by_event": True}, {"sources": ("mic",)},
     {"around_ms": 5}, {"channels": ("unknown",)}, {"not_channels": ("unknown",)}, {"where": "true"},
     {"sessions": ("last",)}],
    ids=str,
)  # fmt: skip
def test_other_questions_are_searched(tmp_path, asked):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered())
    assert whole_rows(path, Filters(**asked), cache, Older()) is None


def test_a_journal_whose_clock_was_set_back_is_searched_at_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered()[::-1])
    found = whole_rows(path, Filters(interim=True), cache, Older())
    assert [step.portion for step in found.steps(False)] == [None]
    assert [event.text for batch in found.events() for event in batch] == [f"word {n}" for n in range(40)]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("damaged", [0, 1, -1])
def test_what_is_left_is_read_of_the_journal_once_the_cache_is_unreadable(tmp_path, damaged, newest_first):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered())
    found = whole_rows(path, Filters(newest_first=newest_first), cache, Older())
    expected = [event.text for batch in found.events() for event in batch]
    names = found.names(["channel"])

    cache.events(cache.segments[damaged]).unlink()

    assert len(expected) == 40
    assert [event.text for batch in found.events() for event in batch] == expected
    assert found.names(["channel"]) == names


def test_a_journal_that_was_replaced_meanwhile_is_noticed(tmp_path):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered())
    found = whole_rows(path, Filters(), cache, Older())
    path.rename(tmp_path / "former.jsonl")
    path.write_bytes(b"\n".join(ordered()) + b"\n")
    with pytest.raises(StorageError):
        list(found.events())


def test_what_is_written_meanwhile_is_not_found(tmp_path):
    path = tmp_path / "journal.jsonl"
    cache = write_sealed(path, ordered())
    found = whole_rows(path, Filters(), cache, Older())
    with path.open("ab") as file:
        file.write(said("later", AT + 99_000).encode() + b"\n")
    assert sum(map(len, found.events())) == found.count == 40
