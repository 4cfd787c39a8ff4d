"""When the newest event happened is read from the end of a journal, or left to a search."""

import pytest
from hypothesis import given, settings, strategies as st
from support.databases import search
from support.effort import examples
from support.journals import open_journal
from support.random_journals import AT, line, said

from vdbevents.journal.state import StateDirectory
from vdbevents.query import journal_end
from vdbevents.query.filters import Filters
from vdbevents.query.journal_end import UndecidedError, newest_at_end
from vdbevents.query.older import Older

LAG_MS = 700


def event_line(number, kind, fetched):
    at_ms = AT + number * 1000
    members = {"backfilled": True} if fetched else {}
    match kind:
        case "said":
            # What is fetched is received after what was said later.
            start = at_ms - LAG_MS - (60_000 if fetched else 0)
            return said(f"word {number}", at_ms, start=start, end=start + 1, **members)
        case "vdbevents":
            return line(at_ms, channel="vdbevents", event="listener.connected", data={})
    return line(at_ms - LAG_MS, channel=kind, data={"text": f"text {number}"}, **members)


@given(
    st.lists(
        st.tuples(st.sampled_from(["said", "alert", "scene_index", "vdbevents", "other"]), st.booleans()),
        max_size=12,
    ),
    st.sampled_from([(), ("transcript",), ("visual_index", "alert")]),
    st.sampled_from([64, 1 << 17]),
)
@settings(max_examples=examples(60), deadline=None)
def test_the_newest_event_is_that_of_a_search(tmp_path_factory, kinds, channels, block):
    path = tmp_path_factory.mktemp("newest") / "journal.jsonl"
    lines = [event_line(number, *kind) for number, kind in enumerate(kinds)]
    path.write_text("".join(f"{one}\n" for one in lines))
    filters = Filters(by_event=True, channels=channels, recorder=False)
    with pytest.MonkeyPatch.context() as patched, search(path, filters) as found:
        patched.setattr(journal_end, "_BLOCK", block)
        newest_ms = newest_at_end(path, filters, Older())

        assert newest_ms == (None if found.span is None else found.span[1])


def test_what_was_rotated_is_read_after_the_journal_itself(tmp_path):
    state = StateDirectory(tmp_path)
    older = said("old", AT) + "\n" + line(AT + 9, channel="alert", data={"text": "x"}) + "\n"
    state.journal.write_text(older)
    journal = open_journal(state)
    journal.rotate(None)
    journal.close()
    assert state.journal.read_bytes() == b""
    state.journal.write_text(line(AT + 90, channel="vdbevents", event="listener.started", data={}) + "\n")

    assert newest_at_end(state.journal, Filters(recorder=False), Older()) == AT + 9
    assert newest_at_end(state.journal, Filters(channels=("transcript",)), Older()) == AT


@pytest.mark.parametrize(
    "last",
    [
        "not JSON",
        '{"torn":',
        '{"ts":"soon","channel":"alert"}',
        '{"unix_ts":true,"channel":"alert"}',
        said("x").replace("}}", "}}\0"),
        said("x") + "\r",
    ],
)
def test_a_line_that_is_not_as_a_listener_writes_it_is_left_to_a_search(tmp_path, last):
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{said('x')}\n{last}\n", newline="")

    with pytest.raises(UndecidedError):
        newest_at_end(path, Filters(), Older())


def test_what_is_far_from_the_end_is_left_to_a_search(tmp_path):
    path = tmp_path / "journal.jsonl"
    other = line(AT, channel="alert", data={"text": "x" * 1000}) + "\n"
    most = (1 << 22) // len(other)
    path.write_text(said("x") + "\n" + other * (most - 200))
    transcripts = Filters(channels=("transcript",))

    assert newest_at_end(path, transcripts, Older()) == AT
    path.write_text(said("x") + "\n" + other * (most + 200))
    assert newest_at_end(path, Filters(), Older()) == AT
    with pytest.raises(UndecidedError):
        newest_at_end(path, transcripts, Older())
    with pytest.raises(UndecidedError):
        newest_at_end(tmp_path / "missing.jsonl", Filters(), Older())
