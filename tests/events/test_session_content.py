"""Which events belong to which session, from what a journal's lines say."""

import pytest

from vdbevents.errors import InputError
from vdbevents.events.session_content import Claim, SessionBook, SessionSpan, resolved
from vdbevents.events.session_facts import facts_from, facts_in, joined

AT = 1772446530000


def step(session, status, at=0, **data):
    event = {"unix_ts": (AT + at) / 1000, "event": f"capture_session.{status}"}
    return {**event, "capture_session_id": session, "data": data}


def active(session, at, *streams):
    listed = [{"rtstream_id": stream, "name": "mic:default"} for stream in streams]
    return step(session, "active", at, rtstreams=listed)


def book_of(*events):
    book = SessionBook()
    for event in events:
        book.take(event)
    return book


def spans(book, *, of_streams):
    return [
        (span.session, span.since_ms - AT, span.until_ms and span.until_ms - AT)
        for span in book.spans()
        if span.is_for_streams is of_streams
    ]


def only(book):
    [facts] = book.sessions()
    return facts


def test_the_state_is_that_of_the_last_line_whatever_the_times():
    book = book_of(
        step("cap-1", "created"), step("cap-1", "active"), step("cap-1", "stopped"),
        step("cap-1", "exported", -500, player_url="https://play.example/1", video_id="m-1"),
    )  # fmt: skip

    facts = only(book)
    assert (facts.status, facts.reason, facts.video) == ("exported", "", "https://play.example/1")
    assert (facts.first_ms, facts.last_ms, facts.ended_ms) == (AT - 500, AT, AT)


def test_a_failed_session_says_why_and_one_that_runs_again_has_not_ended():
    failed = book_of(step("cap-1", "active"), step("cap-1", "failed", 9, error={"message": "no device"}))
    again = book_of(step("cap-1", "stopped"), step("cap-1", "active", 5))

    assert (only(failed).status, only(failed).reason, only(failed).is_ended) == ("failed", "no device", True)
    assert (only(again).status, only(again).is_ended) == ("active", False)


def test_the_end_of_a_capture_stands_for_an_end_that_was_not_received():
    ended = {"ts": "2026-03-02T10:15:39Z", "unix_ts": AT / 1000 + 9, "channel": "vdbevents"}
    ended |= {"event": "capture.ended", "data": {"capture_session_id": "cap-1", "status": "active"}}

    facts = only(book_of(step("cap-1", "active"), ended))
    assert (facts.status, facts.is_ended, facts.over_ms) == ("active", True, AT + 9000)


def test_a_received_event_that_looks_like_the_recorders_own_ends_nothing():
    forged = {"unix_ts": AT / 1000, "event": "capture.ended", "data": {"capture_session_id": "cap-1"}}

    assert not only(book_of(step("cap-1", "active"), forged)).is_ended


def test_facts_are_the_same_however_the_lines_are_cut_into_pieces():
    events = [
        step("cap-1", "created"), active("cap-1", 5, "rts-1"), step("cap-1", "stopped", 9),
        step("cap-1", "active", 3),
        {"session_id": "cap-1", "ts": "2026-03-02", "data": {"streams": [{"id": "rts-9"}]}},
        step("cap-1", "stopped", 12), step("cap-1", "exported", 11, video_id="m-1"),
    ]  # fmt: skip
    whole = only(book_of(*events))
    assert (whole.ended_ms, dict(whole.streams)) == (AT + 12, {"rts-1": "mic:default", "rts-9": "rts-9"})

    for cut in range(1, len(events)):
        assert joined(only(book_of(*events[:cut])), only(book_of(*events[cut:]))) == whole


def test_facts_can_be_stored_and_damaged_ones_are_refused():
    facts = facts_in(active("cap-1", 0, "rts-1"))
    stored = {name: getattr(facts, name) for name in facts.__slots__}
    stored["streams"] = [list(stream) for stream in facts.streams]

    assert facts_from(stored) == facts
    for damaged in ({"first_ms": "1"}, {"streams": ["rts-1"]}, {"has_run": 1}, {"id": None}):
        with pytest.raises((TypeError, ValueError)):
            facts_from(stored | damaged)


@pytest.mark.parametrize("event", [{}, {"session_id": ""}, {"data": []}, {"data": {"session_id": None}}])
def test_an_event_that_names_no_session_says_nothing(event):
    assert facts_in(event) is None


def test_a_stream_that_one_session_names_is_its_own_at_any_time():
    book = book_of(active("cap-1", 0, "rts-1"), active("cap-2", 10, "rts-2"))

    assert list(book.claims()) == [Claim("cap-1", "rts-1"), Claim("cap-2", "rts-2")]


def test_a_stream_that_several_sessions_name_goes_from_one_to_the_next():
    book = book_of(*(active(f"cap-{n}", n * 10, "rts-1") for n in (3, 1, 2)))

    assert list(book.claims()) == [
        Claim("cap-1", "rts-1", None, AT + 20), Claim("cap-2", "rts-1", AT + 20, AT + 30),
        Claim("cap-3", "rts-1", AT + 30, None),
    ]  # fmt: skip


def test_a_time_belongs_to_nobody_while_two_sessions_run():
    book = book_of(
        step("cap-1", "active", 0), step("cap-2", "active", 10),
        step("cap-1", "stopped", 20), step("cap-2", "stopped", 30),
    )  # fmt: skip

    alone = [("cap-1", 0, 10), ("cap-2", 21, 31)]
    assert spans(book, of_streams=False) == spans(book, of_streams=True) == alone


def test_a_session_that_names_its_streams_has_no_others_and_leaves_unknown_ones_to_another():
    book = book_of(
        active("cap-1", 0, "rts-1"), step("cap-2", "active", 10),
        step("cap-1", "stopped", 20), step("cap-2", "stopped", 30),
    )  # fmt: skip

    assert spans(book, of_streams=False) == [("cap-1", 0, 10), ("cap-2", 21, 31)]
    assert spans(book, of_streams=True) == [("cap-2", 10, 31)]


def test_a_session_whose_end_is_missing_lasts_until_the_next_one_and_the_newest_goes_on():
    book = book_of(step("cap-1", "active", 0), step("cap-2", "active", 10))

    assert spans(book, of_streams=False) == [("cap-1", 0, 10), ("cap-2", 10, None)]


def test_the_export_of_a_video_is_no_part_of_a_sessions_time():
    book = book_of(
        step("cap-1", "active", 0), step("cap-1", "stopped", 10),
        step("cap-2", "active", 20), step("cap-1", "exported", 25), step("cap-2", "stopped", 30),
    )  # fmt: skip

    assert spans(book, of_streams=False) == [("cap-1", 0, 11), ("cap-2", 20, 31)]


def test_a_session_without_times_has_its_streams_and_no_time():
    timeless = {"capture_session_id": "cap-1", "data": {"rtstreams": [{"id": "rts-1"}]}}
    book = book_of(timeless)

    assert book.scope(["cap-1"]) == (("cap-1",), (Claim("cap-1", "rts-1"),), (), ())


def test_a_scope_names_the_streams_of_all_sessions_where_that_matters():
    book = book_of(active("cap-1", 0, "rts-1"), step("cap-1", "stopped", 5), step("cap-2", "active", 10))

    assert book.scope(["cap-1"]).named == ()
    assert book.scope(["cap-2"]) == (
        ("cap-2",),
        (),
        (SessionSpan("cap-2", AT + 10, None, False), SessionSpan("cap-2", AT + 10, None, True)),
        ("rts-1",),
    )


def test_last_is_the_newest_session_of_all_journals():
    books = [
        book_of(step("cap-1", "active", 0), step("cap-3", "active", 5)),
        book_of(step("cap-2", "active", 9)),
    ]

    assert resolved(books, ["last"]) == ("cap-2",)
    assert resolved(books, ["last", "cap-1", "cap-2"]) == ("cap-2", "cap-1")
    assert resolved([SessionBook()], ["last"]) == ()


def test_the_beginning_of_an_id_is_enough_if_only_one_begins_so():
    books = [book_of(step("cap-1", "active"), step("cap-10", "active"), step("other", "active"))]

    assert resolved(books, ["cap-1", "oth", "nobody"]) == ("cap-1", "other", "nobody")
    with pytest.raises(InputError) as refused:
        resolved(books, ["cap-"])
    assert refused.value.error_id == "session-ambiguous"
