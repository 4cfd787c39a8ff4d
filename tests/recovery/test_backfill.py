"""What is fetched for open gaps, and which of it the journal lacks."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from support.recovery_lines import (
    BEGUN,
    GAP,
    NEXT,
    SCENES,
    SPEECH,
    T,
    arrived,
    fetched,
    filling,
    opens,
    own,
    read,
    seconds,
)

from vdbevents.events import gaps, identity
from vdbevents.recovery.backfill import Backfill
from vdbevents.recovery.journal_tail import BACKFILL_EVENT


def filled(lines, wanted=(GAP,), sources=(SPEECH,), **options):
    tail, _ = read(lines, wanted, sources)
    return Backfill(wanted, sources, tail, **options)


def takes(backfill, pages):
    """Give it pages; return the start times of the events to journal, in seconds."""
    written = []
    for position, page in enumerate(pages):
        events = backfill.take(page, more=position + 1 < len(pages))
        written += [(identity.identity_of(event).start_ms - T) / 1000 for event in events]
    return written


def asks(backfill):
    fetch = backfill.next()
    if fetch is None:
        return None
    bounds = (None if it is None else round(it - T / 1000, 3) for it in (fetch.start, fetch.end))
    return (fetch.source.channel, fetch.page, *bounds)


JOURNAL = [BEGUN, arrived(10), arrived(90), opens(GAP), arrived(210)]


def test_it_asks_page_by_page_from_before_the_gap_until_after_it():
    backfill = filled(JOURNAL)

    assert asks(backfill) == ("transcript", 1, 60, 240)
    backfill.take([fetched(90)], more=True)
    assert asks(backfill) == ("transcript", 2, 60, 240)
    backfill.take([fetched(100)], more=False)
    assert asks(backfill) is None


def test_each_source_is_asked_from_its_first_page():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES, SPEECH))
    backfill.take([fetched(90)], more=True)
    backfill.take([fetched(91)], more=False)

    assert asks(backfill) == ("visual_index", 1, None, None)


def test_journaled_records_are_skipped_and_repeated_ones_written_once():
    backfill = filled(JOURNAL)

    written = takes(backfill, [[fetched(90), fetched(100), fetched(100)], [fetched(100), fetched(210)]])

    assert written == [100]
    assert backfill.recovered == 1


def test_the_same_record_of_two_indexes_is_written_once():
    old, new = SCENES, SCENES._replace(index_id="idx-2")
    backfill = filled(JOURNAL, sources=(old, new))

    first = backfill.take([fetched(100, "a mailbox", "description")], more=False)
    second = backfill.take([fetched(100, "a mailbox", "description")], more=False)
    assert [event["data"]["text"] for event in first] == ["a mailbox"]
    assert second == []


def test_a_record_that_arrived_live_meanwhile_is_not_written_again():
    tail, _ = read(JOURNAL)
    backfill = Backfill((GAP,), (SPEECH,), tail)
    tail.seen.add(hash(identity.identity_of(arrived(100))))

    assert takes(backfill, [[fetched(100), fetched(103)]]) == [103]


def test_a_record_becomes_the_event_it_was_sent_as_with_all_its_fields():
    (made,) = filled(JOURNAL).take([{**fetched(100), "word_timestamps": [1]}], more=False)
    (seen,) = filled(JOURNAL, sources=(SCENES,)).take([fetched(100, name="description")], more=False)

    assert made == {
        "channel": "transcript",
        "rtstream_id": "rts-mic",
        "rtstream_name": "mic:default",
        "data": {"text": "at 100", "is_final": True, "start": T / 1000 + 100, "end": T / 1000 + 103,
                 "word_timestamps": [1]},
    }  # fmt: skip
    assert identity.identity_of(made) == identity.identity_of(arrived(100))
    assert "is_final" not in seen["data"]
    assert seen["data"]["text"] == "at 100"


def test_a_record_without_a_time_is_skipped():
    backfill = filled(JOURNAL)

    assert backfill.take([{"text": "when?"}, {"text": "x", "start": "soon"}], more=True) == []
    assert asks(backfill) == ("transcript", 2, 60, 240)


def test_a_service_that_promises_more_and_returns_nothing_is_not_asked_forever():
    backfill = filled(JOURNAL)
    backfill.take([fetched(100)], more=True)
    backfill.take([], more=True)

    assert asks(backfill) is None


def test_a_service_that_repeats_a_page_is_not_asked_forever():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    backfill.take([fetched(100)], more=True)
    backfill.take([fetched(100)], more=True)

    assert asks(backfill)[0] == "visual_index"


def test_a_refused_source_is_missing_and_the_others_go_on():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    backfill.refuse("there is no such stream")
    takes(backfill, [[fetched(100)]])
    (gap,) = backfill.close()

    assert gap.status == "incomplete"
    assert gap.missing == (
        gaps.Missing("transcript of mic:default", "there is no such stream"),
        gaps.Missing("interim transcripts", "the service keeps only final ones", lost=False),
    )
    backfill.restart()
    assert asks(backfill)[0] == "visual_index"


def test_what_had_ended_before_a_gap_is_fetched_and_never_missing():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES), had_ended=lambda *it: it == ("s-1", GAP.since_ms))
    takes(backfill, [[fetched(100)]])
    backfill.refuse("there is no such stream")
    (gap,) = backfill.close()

    assert (gap.status, gap.recovered, gap.missing) == ("recovered", {"transcript": 1}, ())


def test_a_complete_gap_is_recovered_despite_losses_that_only_interrupt():
    backfill = filled(JOURNAL)
    takes(backfill, [[fetched(100)]])

    (gap,) = backfill.close([gaps.Missing("a moment", "rebound", lost=False)])

    assert (gap.id, gap.status, gap.recovered) == ("gap-1", "recovered", {"transcript": 1})
    assert [one.what for one in gap.missing] == ["interim transcripts", "a moment"]
    assert backfill.close([gaps.Missing("alerts", "not kept")])[0].status == "incomplete"


def test_without_a_transcript_no_interim_transcripts_are_missing():
    (gap,) = filled(JOURNAL, sources=(SCENES,)).close()

    assert (gap.status, gap.missing) == ("recovered", ())


@pytest.mark.parametrize(("is_unknown", "status"), [(True, "incomplete"), (False, "recovered")])
def test_without_a_source_everything_is_missing_unless_nothing_can_have_been_sent(is_unknown, status):
    (gap,) = filled(JOURNAL, sources=(), is_unknown=is_unknown).close()

    assert gap.status == status
    assert [one.what for one in gap.missing] == (["everything"] if is_unknown else [])


def test_a_record_counts_for_the_gap_it_was_missed_in():
    lines = [BEGUN, arrived(90), opens(GAP), arrived(210), arrived(290), opens(NEXT), arrived(410)]
    backfill = filled(lines, wanted=(NEXT, GAP))
    takes(backfill, [[fetched(it) for it in (80, 90, 100, 150, 200)], [fetched(300), fetched(401)]])

    assert {gap.id: gap.recovered for gap in backfill.close()} == {
        "gap-1": {"transcript": 4},
        "gap-2": {"transcript": 2},
    }


def test_a_gap_of_one_stream_asks_for_that_stream_only_and_without_an_end():
    silent = replace(GAP, streams=("rts-display",))
    shown = [arrived(it, source=SCENES) for it in (10, 90)]
    lines = [BEGUN, *shown, arrived(95), opens(silent), arrived(200, source=SCENES), arrived(210)]
    backfill = filled(lines, wanted=(silent,), sources=(SPEECH, SCENES))

    assert asks(backfill) == ("visual_index", 1, 60, None)
    takes(backfill, [[fetched(100)]])
    assert asks(backfill) is None
    (gap,) = backfill.close()
    assert (gap.recovered, gap.missing) == ({"visual_index": 1}, ())


def test_a_stream_without_earlier_records_is_fetched_from_the_session_s_beginning():
    assert asks(filled([BEGUN, opens(GAP), arrived(210)])) == ("transcript", 1, None, 240)


def test_records_from_before_the_journal_was_cleared_are_not_fetched():
    assert asks(filled([arrived(90), opens(GAP), arrived(210)])) == ("transcript", 1, 90, 240)
    assert asks(filled([arrived(10), arrived(90), opens(GAP), arrived(210)])) == ("transcript", 1, 60, 240)


def test_a_stream_without_records_is_fetched_from_the_beginning_of_a_cleared_journal():
    assert asks(filled([opens(GAP), arrived(210)])) == ("transcript", 1, 0, 240)
    assert asks(filled([arrived(150), arrived(210)])) == ("transcript", 1, 0, 180)


def test_it_continues_a_margin_before_where_the_last_backfill_stopped():
    backfill = filled([*JOURNAL, filling(150)])

    assert asks(backfill) == ("transcript", 1, 120, 240)


def test_progress_is_journaled_so_that_another_run_can_continue():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    backfill.take([fetched(100), fetched(103)], more=True)
    line = own(BACKFILL_EVENT, **backfill.to_dict())

    written = [arrived(it, backfilled=True) for it in (100, 103)]
    again = filled([*JOURNAL, *written, line], sources=(SPEECH, SCENES))

    assert backfill.to_dict()["gaps"] == ["gap-1"]
    assert asks(again) == ("transcript", 1, 73, 240)


def test_pages_in_descending_order_complete_nothing():
    backfill = filled(JOURNAL)
    backfill.take([fetched(203), fetched(200)], more=True)
    progress = backfill.to_dict()["sources"]
    written = takes(backfill, [[fetched(103), fetched(100)]])

    assert [it["done"] for it in progress] == [None]
    assert written == [103, 100]


def test_a_page_that_writtenfar_behind_completes_nothing():
    backfill = filled(JOURNAL)
    backfill.take([fetched(150), fetched(153)], more=True)
    backfill.take([fetched(100), fetched(190)], more=True)

    assert seconds(round(backfill.to_dict()["sources"][0]["done"] * 1000)) == 153


def test_a_restart_continues_each_source_where_it_is_complete():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    takes(backfill, [[fetched(100), fetched(200)]])
    takes(backfill, [[]])
    backfill.restart()

    assert asks(backfill) == ("transcript", 1, 170, 240)
    assert takes(backfill, [[fetched(200), fetched(203)]]) == [203]


@given(
    starts=st.lists(st.integers(0, 400), unique=True, max_size=60),
    live=st.sets(st.integers(0, 400)),
    size=st.integers(1, 7),
    descending=st.booleans(),
    cut=st.integers(0, 20),
)
def test_any_pages_interrupted_anywhere_give_every_record_once(starts, live, size, **of):
    """The journal has some of what the service keeps: a pass, cut short, and then a whole one."""
    kept = sorted(starts, reverse=of["descending"])
    lines = [BEGUN, *(arrived(it) for it in sorted(live & set(starts)) if it < 100), opens(GAP)]
    lines += [arrived(it) for it in sorted(starts) if it >= 200]
    for most in (of["cut"], None):
        backfill = filled(lines)
        lines.append(own(BACKFILL_EVENT, **backfill.to_dict()))
        for _ in itertools.count() if most is None else range(most):
            fetch = backfill.next()
            if fetch is None:
                break
            first, last = fetch.start or 0, fetch.end or 1e11
            matching = [it for it in kept if first <= fetched(it)["start"] <= last]
            page = [fetched(it) for it in matching[(fetch.page - 1) * size : fetch.page * size]]
            events = backfill.take(page, more=fetch.page * size < len(matching))
            lines += [{**event, "backfilled": True} for event in events]
            lines.append(own(BACKFILL_EVENT, **backfill.to_dict()))
    written = [seconds(it.start_ms) for event in lines if (it := identity.identity_of(event)) is not None]

    since = max((it for it in live & set(starts) if it < 100), default=0)
    assert len(written) == len(set(written))
    assert {it for it in starts if it >= since} <= set(written) <= set(starts)


def test_what_must_not_be_written_is_not_fetched_and_the_rest_is_as_it_would_be_written():
    def admit(event):
        text = event["data"]["text"]
        return None if "secret" in text else {**event, "data": {**event["data"], "text": text.upper()}}

    journal = [BEGUN, arrived(10), opens(GAP), arrived(210, text="HELLO")]
    backfill = filled(journal, admit=admit)
    page = [fetched(100, text="a secret"), fetched(110, text="hello"), fetched(210, text="hello")]
    events = backfill.take(page, more=False)

    assert [(event["data"]["text"], event["data"]["start"]) for event in events] == [
        ("HELLO", T / 1000 + 110)
    ]
    assert backfill.close()[0].recovered == {"transcript": 1}
