"""The content of a session is found wherever it stands, and no other session's with it."""

import pytest
from support.databases import search
from support.random_journals import AT, line

from vdbevents.query import merge, snapshot
from vdbevents.query.cache import build
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.sql import sandbox
from vdbevents.times import Window

MINUTE = 60_000


def step(session, status, at, *streams):
    listed = [{"rtstream_id": stream, "name": f"mic:{stream}"} for stream in streams]
    event = f"capture_session.{status}"
    return line(AT + at, event=event, capture_session_id=session, data={"rtstreams": listed})


def said(text, at, stream=None, channel="transcript", **members):
    members |= {"rtstream_id": stream} if stream else {}
    return line(AT + at, channel=channel, **members, data={"text": text, "start": AT + at})


OVERLAPPING = [
    step("cap-1", "active", 0, "rts-1", "rts-2"),
    said("one", 10, "rts-1"),
    said("nameless one", 20, channel="alert"),
    step("cap-2", "active", 30, "rts-3"),
    said("one again", 40, "rts-2", "visual_index"),
    said("two", 50, "rts-3", "audio_index"),
    said("whose?", 60, channel="alert"),
    said("told", 65, channel="alert", capture_session_id="cap-2"),
    step("cap-1", "stopped", 70),
    said("nameless two", 80, channel="alert"),
    said("stranger", 85, "rts-9"),
    said("late one", 90, "rts-1"),
    step("cap-2", "stopped", 100),
    said("nobody's", 110, channel="alert"),
]


@pytest.fixture
def journal(tmp_path):
    def write(*lines, name="journal.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f"{one}\n" for one in lines))
        return path

    return write


def texts(path, *sessions, cache=None, **asked):
    with search(path, Filters(sessions=sessions, **asked), cache) as answer:
        return [event.text for batch in answer.events({"text"}) for event in batch]


def test_sessions_that_overlap_keep_their_own_content(journal):
    path = journal(*OVERLAPPING)

    one = ["active", "one", "nameless one", "one again", "stopped", "late one"]
    two = ["active", "two", "told", "nameless two", "stopped"]
    assert texts(path, "cap-1") == one
    assert texts(path, "cap-2") == texts(path, "last") == two


def test_filters_apply_to_the_content(journal):
    path = journal(*OVERLAPPING)

    assert texts(path, "cap-1", grep=("one",), channels=("transcript",)) == ["one", "late one"]
    assert texts(path, "cap-1", window=Window(AT + 35, AT + 65)) == ["one again"]
    assert texts(path, "cap-1", where="channel = 'visual_index'") == ["one again"]
    assert texts(path, "cap-1", "cap-2", limit=3) == ["nameless two", "late one", "stopped"]
    assert texts(path, "nobody") == texts(journal(said("x", 0), name="none"), "last") == []


def test_sessions_that_name_no_streams_have_what_happened_in_their_time(journal):
    own = line(AT + 15, channel="vdbevents", event="listener.stale", data={})
    path = journal(
        step("cap-1", "active", 0), said("one", 10, "rts-1"), own, said("init", 16, channel="other"),
        step("cap-1", "stopped", 20), said("between", 25, "rts-1"), step("cap-2", "active", 30),
        said("two", 40, "rts-1"),
    )  # fmt: skip

    assert texts(path, "cap-1") == ["active", "one", "stopped"]
    assert texts(path, "last") == ["active", "two"]


def test_what_was_said_in_a_session_and_fetched_later_is_its_own(journal):
    late = line(AT + 90, channel="transcript", data={"text": "late", "start": AT + 10}, backfilled=True)
    path = journal(
        step("cap-1", "active", 0), step("cap-1", "stopped", 20), step("cap-2", "active", 30), late
    )

    assert texts(path, "cap-1") == ["active", "stopped", "late"]


@pytest.mark.long
def test_a_sealed_journal_is_read_only_where_the_session_is(journal, tmp_path, monkeypatch):
    hours = [
        [
            step(f"cap-{n}", "active", n * MINUTE, f"rts-{n}"),
            *(said(f"{n}", n * MINUTE + m, f"rts-{n}") for m in range(1, 9)),
            step(f"cap-{n}", "stopped", n * MINUTE + 9),
        ]
        for n in range(6)
    ]
    late = said("late", 9 * MINUTE, "rts-1")
    size = max(len("".join(f"{one}\n" for one in hour)) for hour in hours)
    path = journal(*("\n".join(hour).ljust(size - 1) for hour in hours), late)
    cache = build.seal(path, tmp_path / "cache", piece=size)
    assert len(cache.segments) == 6
    opened = set()
    tables = snapshot.JournalSnapshot.tables

    def noted(source, of):
        of = list(of)
        opened.update(segment.start // size for segment in of)
        return tables(source, of)

    monkeypatch.setattr(snapshot.JournalSnapshot, "tables", noted)

    assert texts(path, "cap-1", cache=cache) == ["active", *"11111111", "stopped", "late"]
    assert opened == {1}
    assert texts(path, "last", cache=cache) == ["active", *"55555555", "stopped"]
    assert opened == {1, 5}


def test_too_many_sessions_and_streams_for_the_index_are_looked_up_in_the_journal(journal, tmp_path):
    lines = [step(f"cap-{n}", "active", n, f"rts-{n}") for n in range(1100)]
    path = journal(*lines, *(said(f"{n}", n, f"rts-{n}") for n in range(1100)))
    cache = build.seal(path, tmp_path / "cache", piece=path.stat().st_size)
    [segment] = cache.segments
    assert (segment.sessions, segment.streams) == (None, None)

    assert texts(path, "cap-77", cache=cache) == ["active", "77"]
    assert texts(path, "cap-1099", cache=cache) == texts(path, "last", cache=cache) == ["active", "1099"]


@pytest.mark.long
@pytest.mark.parametrize("sealed", [0, 400, 700])
def test_the_view_of_the_sessions_counts_the_same_content(journal, tmp_path, sealed):
    alone = [step("cap-4", "active", 200), said("unknown", 210, "rts-8"), said("named", 215, "rts-3")]
    interim = said("un", 45, "rts-1", is_final=False)
    path = journal(
        *OVERLAPPING, *alone, interim, line(AT + 300, session_id="cap-5", channel="capture_client")
    )
    cache = build.seal(path, tmp_path / "cache", piece=sealed) if sealed else None

    with sandbox.SqlTables(path, cache) as tables:
        rows = [
            row for batch in tables.ask("SELECT session, events FROM sessions").batches() for row in batch
        ]
        [(last,)] = next(tables.ask("SELECT last FROM sessions WHERE session = 'cap-4'").batches())
    assert dict(rows) == {"cap-1": "7", "cap-2": "6", "cap-4": "2", "cap-5": "0"}
    assert last == "2026-03-02T10:15:30.333Z"
    assert texts(path, "cap-4", cache=cache) == ["active", "unknown"]


def test_last_is_the_newest_session_of_several_journals(journal):
    old = journal(step("cap-1", "active", 0, "rts-1"), said("old", 5, "rts-1"), name="old")
    new = journal(step("cap-2", "active", 9, "rts-1"), said("new", 10, "rts-1"), name="new")
    journals = [HostJournal(path.name, path, path.name) for path in (new, old)]

    with merge.search(journals, Filters(sessions=("last",))) as answer:
        shown = [(event.host, event.text) for batch in answer.events() for event in batch]
    assert shown == [("new", "active"), ("new", "new")]


def test_a_line_that_is_no_json_names_no_session(journal):
    damaged = step("cap-9", "active", 500)[:-1] + b"\xff".decode("latin-1") + "!}"
    path = journal(*OVERLAPPING, damaged, '{"capture_session_id":"cap-8"')

    assert texts(path, "last")[:2] == ["active", "two"]


def test_a_session_is_known_though_its_line_stands_behind_nuls(journal):
    path = journal(said("one", 5, "rts-1"), "\0" * 50 + step("cap-1", "active", 0, "rts-1"))

    assert texts(path, "cap-1") == ["active", "one"]
