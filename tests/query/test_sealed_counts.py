"""Sessions are counted without reading what is sealed, and the counts are those of reading everything."""

import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings, strategies as st
from support.databases import search, shared_database
from support.effort import examples
from support.random_journals import (
    AT,
    damaged,
    in_order,
    lifecycle,
    line,
    ours,
    said,
    scenes,
    timeless,
    transcripts,
)

from vdbevents.events.session_content import SessionBook
from vdbevents.query import engine, tail_search
from vdbevents.query.cache import build, fill, schema
from vdbevents.query.cache.index import Segment
from vdbevents.query.cache.sealed_counts import SealedCounts, content_of
from vdbevents.query.filters import Filters
from vdbevents.query.older import Older
from vdbevents.query.session_reader import read_sessions
from vdbevents.query.tail_search import count_tail

anything = st.lists(
    transcripts | transcripts | scenes | lifecycle | timeless | ours | damaged, min_size=15, max_size=45
).map(lambda lines: [one if isinstance(one, bytes) else one.encode("utf-8", "replace") for one in lines])


def asked(book, wanted):
    return Filters(sessions=wanted, scope=book.scope(wanted) if wanted else None)


def counts(journal, book, wanted, cache=None, *, quickly=False):
    with search(journal, asked(book, wanted), cache, **({"counting": book} if quickly else {})) as answer:
        return told_by(answer, book, wanted)


def told_by(answer, book, wanted):
    found = [row for row in answer.session_counts(book) if not wanted or row[0] in wanted]
    return found, answer.skipped, answer.gaps, answer.pauses


@pytest.mark.long
@settings(max_examples=examples(25))
@given(
    in_order | in_order | anything,
    st.sampled_from([700, 1500, 3000]),
    st.sampled_from([0, fill.SMALL_BYTES]),
    st.sampled_from([0, schema.FEW_EDGES]),
)
def test_what_is_counted_by_the_manifest_is_what_reading_everything_counts(
    tmp_path, lines, piece, small, edges
):
    # A journal that is overwritten in place may look like the one before it.
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"".join(one + b"\n" for one in lines))
    with mock.patch.object(fill, "SMALL_BYTES", small), mock.patch.object(schema, "FEW_EDGES", edges):
        cache = build.seal(journal, folder, piece=piece, part=400)
    book = read_sessions(journal, cache)

    for wanted in [(), *((one.id,) for one in book.sessions())]:
        expected = counts(journal, book, wanted)
        assert counts(journal, book, wanted, cache, quickly=True) == expected
        for known in (cache, None):
            if answer := count_tail(journal, asked(book, wanted), known, Older(), book):
                assert told_by(answer, book, wanted) == expected


def recorded(journal, sentences):
    """Write a session of so many sentences, each with an interim version before."""
    lines = [line(AT, channel="capture_session", event="capture_session.active", capture_session_id="cap-1")]
    lines += [
        said("word " * 5, at + final, final=final, start=at - 500, end=at, stream="rts-1")
        for at in range(AT + 1000, AT + 1000 * (sentences + 1), 1000)
        for final in (False, True)
    ]
    journal.write_text("".join(one + "\n" for one in lines))


@pytest.mark.long
def test_of_a_long_session_nothing_that_is_sealed_is_read(tmp_path, monkeypatch):
    journal = tmp_path / "journal.jsonl"
    recorded(journal, 60)
    cache = build.seal(journal, tmp_path / "cache", piece=3000, part=500)
    book = read_sessions(journal, cache)
    opened = []
    monkeypatch.setattr(engine._Search, "_read_sealed", lambda self, statement: opened.append(statement))

    with engine.search(journal, Filters(), cache, shared=shared_database(), counting=book) as answer:
        found = answer.session_counts(book)
    assert count_tail(journal, Filters(), cache, Older(), book).session_counts(book) == found

    assert len(cache.segments) > 3
    assert found[0][:3] == ("cap-1", "capture_session", 1)
    assert found[1][:3] == ("cap-1", "transcript", 60)
    assert opened == []


def spoken(at, *, final=True, start=None, stream="rts-9", **others):
    start = at if start is None else start
    return said("word", at, final=final, start=start, end=start + 400, stream=stream, **others)


def begun(at, session, *streams):
    data = {"rtstreams": [{"rtstream_id": stream} for stream in streams]}
    return line(
        at, channel="capture_session", event="capture_session.active", capture_session_id=session, data=data
    )


BEFORE = [begun(AT, "cap-1"), *(spoken(AT + 1000 * n) for n in range(1, 50))]
LATE = AT + 600_000


@pytest.mark.parametrize(
    ("lines", "parsed"),
    [
        ([begun(LATE, "cap-2"), spoken(LATE + 1000)], 3),
        # A session begins with the first line that names it.
        ([spoken(AT + 60_000, capture_session_id="cap-2"), begun(LATE, "cap-2")], 3),
        # What has its stream was before: then all lines may matter.
        ([spoken(AT + 60_000, stream="rts-2"), begun(LATE, "cap-2", "rts-2")], 3 + 52),
        # One sentence, whose end was received before the session began, and its beginning later.
        (
            [
                spoken(LATE - 5000, start=LATE - 9000),
                begun(LATE, "cap-2"),
                spoken(LATE + 1000, final=False, start=LATE - 9000, capture_session_id="cap-2"),
            ],
            3 + 53,
        ),
    ],
)
def test_what_was_over_before_the_sessions_began_is_not_parsed(tmp_path, monkeypatch, lines, parsed):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f"{one}\n" for one in (*BEFORE, *lines)))
    book = read_sessions(journal)
    expected = counts(journal, book, ("cap-2",))
    read = []
    usual_event = tail_search.usual_event
    monkeypatch.setattr(tail_search, "usual_event", lambda one: read.append(one) or usual_event(one))
    answer = count_tail(journal, asked(book, ("cap-2",)), None, Older(), book)

    assert told_by(answer, book, ("cap-2",)) == expected
    assert len(read) == parsed


def test_an_entry_that_is_damaged_or_missing_says_nothing():
    for content in (None, "", "[]", "{}", '[[["x"]],[],[],[]]'):
        segment = Segment(0, 9, "", content=content, received=(1, 2))
        assert content_of(segment) is None
        assert SealedCounts([segment], [segment], SessionBook(), None).unread == []
