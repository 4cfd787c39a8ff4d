"""What a blind listener has missed: decided from what a journal, an info file and a service tell."""

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from vdbevents import cloud
from vdbevents.events import envelope, gaps, identity, lifecycle
from vdbevents.recovery.backfill import Backfill
from vdbevents.recovery.journal_tail import BACKFILL_EVENT, JournalTail
from vdbevents.recovery.session_follower import journaled_statuses, missing_events
from vdbevents.recovery.stale_streams import StaleWatch
from vdbevents.sessions import recorded_session
from vdbevents.sessions.plan import Pipeline
from vdbevents.sessions.recorded_session import RecordSource

T = 1_772_446_530_000
MARGIN = 30_000
MIC = lifecycle.Stream("rts-mic", "mic:default", "mic", "audio")
DISPLAY = lifecycle.Stream("rts-display", "display:1", "screen", "video")
SPEECH = RecordSource("transcript", "rts-mic", "mic:default", "s-1")
SCENES = RecordSource("visual_index", "rts-display", "display:1", "s-1", "idx-1")
GAP = gaps.Gap("gap-1", T + 100_000, T + 200_000, "closed")
NEXT = gaps.Gap("gap-2", T + 300_000, T + 400_000, "closed again")


def said(seconds, text=None, source=SPEECH, **more):
    """An event as it comes, of three seconds from so many after the beginning."""
    start_ms = T + round(seconds * 1000)
    data = {"text": text or f"at {seconds}", "start": start_ms, "end": start_ms + 3000}
    return {"channel": source.channel, "rtstream_id": source.stream_id, "data": data, **more}


def fetched(seconds, text=None, name="text"):
    """The same as the service keeps it."""
    start = (T + round(seconds * 1000)) / 1000
    return {"start": start, "end": start + 3, name: text or f"at {seconds}"}


def own(event, **data):
    return {"channel": "vdbevents", "event": event, "data": data}


def opens(gap):
    return own(gaps.EVENT, **gap.told())


def closes(gap):
    return opens(replace(gap, status="recovered"))


BEGUN = own("capture.started", capture_session_id="s-1")


def read(lines, wanted=(GAP,), sources=(SPEECH,), session_ids=("s-1",)):
    """What a tail makes of a journal, and how many of its last lines that took."""
    tail = JournalTail(wanted, {source.key for source in sources}, session_ids)
    for taken, line in enumerate(reversed(lines), 1):
        if not tail.take(line):
            return tail, taken
    tail.begun_ms = T
    return tail, len(lines)


def remembered(tail, lines):
    """When those of some lines begin that it has seen."""
    known = (it for event in lines if (it := identity.identity_of(event)) and hash(it) in tail.seen)
    return sorted((it.start_ms - T) / 1000 for it in known)


def seconds(milliseconds):
    return None if milliseconds is None else (milliseconds - T) / 1000


# The session


def told(**changes):
    return {
        "session": {"id": "s-1", "collection_id": "c-1", "ws_id": "ws-1", "status": "active"},
        "streams": [MIC._asdict(), DISPLAY._asdict()],
        "pipelines": [
            {"kind": "transcript", "stream_id": "rts-mic", "ws_id": "ws-1", "status": "running",
             "settings": {"engine": "deepgram"}},
            {"kind": "visual_index", "stream_id": "rts-display", "id": "idx-2", "ws_id": "ws-1",
             "status": "running", "former": ["idx-1"]},
        ],
        "alerts": [{"label": "deploy", "event_id": "ev-1"}, {"label": "never made", "event_id": None}],
        "ended": None,
        **changes,
    }  # fmt: skip


def test_a_session_is_what_its_info_file_tells():
    session = recorded_session.session_from_info(told())

    assert session is not None
    assert (session.id, session.collection_id, session.ws_id) == ("s-1", "c-1", "ws-1")
    assert [(it.kind, it.stream, it.id) for it in session.pipelines] == [
        ("transcript", MIC, ""),
        ("visual_index", DISPLAY, "idx-2"),
    ]
    assert session.events == (("deploy", "ev-1"),)
    assert session.may_run


@pytest.mark.parametrize(
    "content", [{}, {"session": None}, {"session": {"id": ""}}, {"session": {"id": 5}}, {"session": []}]
)
def test_without_the_id_of_a_session_there_is_none(content):
    assert recorded_session.session_from_info(content) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*told(), "id", "kind", "stream_id"]), inner, max_size=5)
        ),
        max_leaves=20,
    )
)
def test_whatever_stands_in_an_info_file_it_tells_of_a_session_or_of_none(content):
    wrong = content if isinstance(content, dict) else {"pipelines": content, "streams": content}

    session = recorded_session.session_from_info({"session": {"id": "s-1"}, **wrong})

    assert session is None or session.id


def test_what_can_be_fetched_are_the_transcripts_that_were_sent_and_every_index_once():
    found = told()
    found["pipelines"][1]["former"] = ["idx-1", "idx-2", "idx-1"]
    session = recorded_session.session_from_info(found)

    assert [(it.channel, it.stream_id, it.index_id, it.engine) for it in session.sources] == [
        ("transcript", "rts-mic", "", "deepgram"),
        ("visual_index", "rts-display", "idx-1", None),
        ("visual_index", "rts-display", "idx-2", None),
    ]


def test_a_transcript_that_was_never_started_is_not_asked_for():
    found = told()
    found["pipelines"][0]["ws_id"] = None

    assert [it.channel for it in recorded_session.session_from_info(found).sources] == ["visual_index"] * 2


@pytest.mark.parametrize(
    ("status", "ended", "since_ms", "expected"),
    [
        ("active", None, T, True),
        ("stopped", None, T, True),
        ("stopped", envelope.utc_text(T), T - 1, True),
        ("stopped", envelope.utc_text(T), T + 899_999, True),
        ("stopped", envelope.utc_text(T), T + 900_000, False),
        ("failed", envelope.utc_text(T), T + 900_000, False),
    ],
)
def test_a_session_is_told_of_for_a_while_after_its_end(status, ended, since_ms, expected):
    session = recorded_session.session_from_info(told(session={"id": "s-1", "status": status}, ended=ended))

    assert session.ran_after(since_ms) is expected


@pytest.mark.parametrize(
    ("status", "ws_id", "expected"),
    [
        ("running", "ws-1", 1),
        ("running", "ws-2", 0),
        ("running", None, 0),
        ("failed", "ws-1", 0),
        ("stopped", "ws-1", 0),
        ("starting", "ws-1", 0),
    ],
)
def test_bound_anew_is_what_runs_and_sends_to_another_connection(status, ws_id, expected):
    found = told()
    found["pipelines"] = [{**found["pipelines"][0], "status": status, "ws_id": ws_id}]

    assert len(recorded_session.unbound(recorded_session.session_from_info(found), "ws-2")) == expected


# The tail of a journal


def test_it_reads_back_past_the_gap_until_what_was_before_is_surely_there():
    lines = [
        *(said(it) for it in range(0, 100, 3)),
        opens(GAP),
        said(200),
    ]
    tail, taken = read(lines, session_ids=())

    assert seconds(tail.since_ms(GAP, SPEECH.key)) == 99
    # What is fetched begins 30 s before the last one, and lines stand out of their order by as much.
    assert remembered(tail, lines)[0] == 36
    assert taken < len(lines)


def test_of_what_is_no_event_of_a_stream_that_matters_it_remembers_nothing():
    lines = [
        BEGUN,
        said(1, rtstream_id="another"),
        said(2, channel="audio_index"),
        {"channel": "alert", "rtstream_id": "rts-mic", "data": {"text": "x", "start": T}},
        {"raw": "?"},
        said(3, data={"text": "half a", "start": T, "is_final": False}),
        opens(GAP),
    ]
    tail, _ = read(lines)

    assert tail.seen == set()
    assert tail.since_ms(GAP, SPEECH.key) is None


@pytest.mark.parametrize(
    "lines",
    [
        [BEGUN],
        [{"event": "capture_session.created", "capture_session_id": "s-1", "data": {}}],
        [{"channel": "capture_session", "status": "created", "data": {"session_id": "s-1"}}],
    ],
)
def test_where_the_session_began_it_stops_although_a_stream_has_said_nothing(lines):
    before = [said(it, source=SCENES) for it in range(50)]
    tail, taken = read([*before, *lines, opens(GAP)], sources=(SPEECH, SCENES))

    assert taken == 2
    assert tail.has_beginning


def test_it_goes_on_past_the_beginning_for_a_gap_that_is_older():
    tail, taken = read([said(1), opens(GAP), BEGUN, said(250)])

    assert taken == 3
    assert seconds(tail.until_ms(SPEECH.key)) == 280


def test_a_session_that_did_not_begin_here_has_no_beginning_here():
    tail, taken = read([own("capture.started", capture_session_id="other"), said(1), opens(GAP)])

    assert taken == 3
    assert not tail.has_beginning


def test_each_gap_begins_with_the_last_record_before_it():
    lines = [BEGUN, said(10), said(90), opens(GAP), said(210), said(290), opens(NEXT), said(410)]
    tail, _ = read(lines, wanted=(GAP, NEXT))

    assert seconds(tail.since_ms(GAP, SPEECH.key)) == 90
    assert seconds(tail.since_ms(NEXT, SPEECH.key)) == 290
    assert seconds(tail.until_ms(SPEECH.key)) == 440


def test_a_gap_before_which_nothing_came_of_a_stream_has_no_beginning_for_it():
    tail, _ = read([BEGUN, said(90), opens(GAP)], sources=(SPEECH, SCENES))

    assert tail.since_ms(GAP, SCENES.key) is None
    assert tail.until_ms(SCENES.key) is None


def test_the_line_that_closes_a_gap_or_tells_of_another_does_not_mark_it():
    lines = [BEGUN, said(90), opens(GAP), said(210), closes(NEXT), opens(NEXT), closes(GAP), said(410)]
    tail, _ = read(lines)

    assert seconds(tail.since_ms(GAP, SPEECH.key)) == 90
    assert seconds(tail.until_ms(SPEECH.key)) == 240


def test_what_was_dropped_is_missing_where_the_line_says_so_and_not_where_the_gap_was_told():
    dropped = gaps.Gap("gap-d", T + 120_000, T + 130_000, "no room", dropped=4)
    lost = own("listener.dropped", since=envelope.utc_text(T + 120_000), count=4)
    other = own("listener.dropped", since=envelope.utc_text(T + 119_999), count=4)
    lines = [BEGUN, said(90), other, said(119), lost, said(131), opens(dropped), said(140)]
    tail, _ = read(lines, wanted=(dropped,))

    assert seconds(tail.since_ms(dropped, SPEECH.key)) == 119
    assert seconds(tail.until_ms(SPEECH.key)) == 161


def test_what_was_fetched_later_does_not_say_that_it_comes_as_it_is_made_again():
    lines = [BEGUN, said(90), opens(GAP), said(110, backfilled=True), said(210), said(190, backfilled=True)]
    tail, _ = read(lines)

    assert seconds(tail.until_ms(SPEECH.key)) == 240
    assert remembered(tail, lines) == [90, 110, 190, 210]


def test_it_reads_on_through_what_was_fetched_to_what_came_before_it():
    # They came as they were made, before what had been missed was written.
    came = [said(it) for it in range(200, 240, 3)]
    lines = [
        *(said(it) for it in range(0, 100, 3)),
        opens(GAP),
        *came,
        *(said(it, backfilled=True) for it in range(100, 200, 3)),
        closes(GAP),
        said(240),
        opens(NEXT),
    ]
    tail, _ = read(lines, wanted=(NEXT,), session_ids=())

    assert len(remembered(tail, came)) == len(came)


def test_a_journal_that_was_cleared_since_has_no_line_of_the_gap_and_is_read_whole():
    tail, taken = read([said(it) for it in range(200, 400)])

    assert taken == 200
    assert tail.since_ms(GAP, SPEECH.key) is None
    assert not tail.has_beginning


def test_the_statuses_of_a_session_are_found_in_every_form(tmp_path):
    lines = [
        {"event": "capture_session.failed", "capture_session_id": "s-1", "data": {}},
        {"event": "capture_session.created", "capture_session_id": "s-1", "data": {}},
        {"event": "capture_session.active", "capture_session_id": "s-1", "data": {}},
        {"channel": "capture_session", "status": "stopping", "data": {"session_id": "s-1"}},
        {"event": "capture_session.failed", "capture_session_id": "s-2", "data": {"of": "s-1"}},
        "s-1",
    ]
    journal = tmp_path / "journal"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))

    # Before its creation a session has no status.
    assert journaled_statuses(journal, "s-1") == {"created", "active", "stopping"}
    assert journaled_statuses(tmp_path / "none", "s-1") == set()


def filling(done, *, wanted=(GAP,), sources=(SPEECH,)):
    told = [{**it._asdict(), "done": None if done is None else (T / 1000) + done} for it in sources]
    return own(BACKFILL_EVENT, gaps=[gap.id for gap in wanted], sources=told)


def test_where_somebody_was_filling_it_goes_on_from_the_last_line_of_that():
    lines = [BEGUN, said(90), opens(GAP), filling(None), filling(120), filling(150, sources=(SCENES,))]
    tail, _ = read(lines)

    assert {it.channel: seconds(done) for it, done in tail.begun_sources.items()} == {
        "transcript": 120,
        "visual_index": 150,
    }


def test_who_was_filling_before_the_gap_has_not_filled_it():
    tail, _ = read([BEGUN, said(90), filling(50, wanted=(NEXT,)), opens(GAP), said(210)])

    assert tail.begun_sources == {}


def test_what_was_done_for_another_gap_is_not_done_for_one_that_was_there_and_unheard_of():
    lines = [BEGUN, said(90), opens(GAP), said(210), opens(NEXT), filling(150, wanted=(GAP,))]
    tail, _ = read(lines, wanted=(GAP, NEXT))

    assert list(tail.begun_sources.values()) == [0]


def test_a_gap_that_came_later_does_not_undo_what_was_done_before_it():
    lines = [BEGUN, said(90), opens(GAP), filling(150), said(210), opens(NEXT), said(410)]
    tail, _ = read(lines, wanted=(GAP, NEXT))

    assert [seconds(it) for it in tail.begun_sources.values()] == [150]


@pytest.mark.parametrize(
    "data",
    [None, 5, {"sources": None}, {"sources": [5, {}, {"channel": 1, "stream_id": "x"}]}, {"gaps": "gap-1"}],
)
def test_a_line_about_filling_that_makes_no_sense_tells_of_no_source(data):
    line = {"channel": "vdbevents", "event": BACKFILL_EVENT, "data": data}
    tail, _ = read([BEGUN, opens(GAP), line])

    assert tail.begun_sources == {}


# Filling


def filled(lines, wanted=(GAP,), sources=(SPEECH,), **options):
    tail, _ = read(lines, wanted, sources)
    return Backfill(wanted, sources, tail, **options)


def takes(backfill, pages):
    """Gives it pages; answers with when what it wants to have written begins."""
    found = []
    for position, page in enumerate(pages):
        events = backfill.take(page, more=position + 1 < len(pages))
        found += [(identity.identity_of(event).start_ms - T) / 1000 for event in events]
    return found


def asks(backfill):
    fetch = backfill.next()
    if fetch is None:
        return None
    bounds = (None if it is None else round(it - T / 1000, 3) for it in (fetch.start, fetch.end))
    return (fetch.source.channel, fetch.page, *bounds)


JOURNAL = [BEGUN, said(10), said(90), opens(GAP), said(210)]


def test_it_asks_from_a_while_before_the_gap_to_a_while_after_it_page_by_page():
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


def test_what_is_there_is_not_written_again_and_what_comes_twice_is_written_once():
    backfill = filled(JOURNAL)

    found = takes(backfill, [[fetched(90), fetched(100), fetched(100)], [fetched(100), fetched(210)]])

    assert found == [100]
    assert backfill.recovered == 1


def test_two_indexes_of_a_stream_that_say_the_same_make_one_line():
    old, new = SCENES, SCENES._replace(index_id="idx-2")
    backfill = filled(JOURNAL, sources=(old, new))

    first = backfill.take([fetched(100, "a mailbox", "description")], more=False)
    second = backfill.take([fetched(100, "a mailbox", "description")], more=False)
    assert [event["data"]["text"] for event in first] == ["a mailbox"]
    assert second == []


def test_what_was_seen_meanwhile_is_not_written_again():
    tail, _ = read(JOURNAL)
    backfill = Backfill((GAP,), (SPEECH,), tail)
    tail.seen.add(hash(identity.identity_of(said(100))))

    assert takes(backfill, [[fetched(100), fetched(103)]]) == [103]


def test_it_is_written_as_it_would_have_come_with_all_that_the_service_tells():
    (made,) = filled(JOURNAL).take([{**fetched(100), "word_timestamps": [1]}], more=False)
    (seen,) = filled(JOURNAL, sources=(SCENES,)).take([fetched(100, name="description")], more=False)

    assert made == {
        "channel": "transcript",
        "rtstream_id": "rts-mic",
        "rtstream_name": "mic:default",
        "data": {"text": "at 100", "is_final": True, "start": T / 1000 + 100, "end": T / 1000 + 103,
                 "word_timestamps": [1]},
    }  # fmt: skip
    assert identity.identity_of(made) == identity.identity_of(said(100))
    assert "is_final" not in seen["data"]
    assert seen["data"]["text"] == "at 100"


def test_of_a_record_without_a_time_nobody_can_tell_and_it_is_left():
    backfill = filled(JOURNAL)

    assert backfill.take([{"text": "when?"}, {"text": "x", "start": "soon"}], more=True) == []
    assert asks(backfill) == ("transcript", 2, 60, 240)


def test_a_service_that_promises_more_and_gives_nothing_is_not_asked_for_ever():
    backfill = filled(JOURNAL)
    backfill.take([fetched(100)], more=True)
    backfill.take([], more=True)

    assert asks(backfill) is None


def test_a_service_that_gives_the_same_page_again_is_not_asked_for_ever():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    backfill.take([fetched(100)], more=True)
    backfill.take([fetched(100)], more=True)

    assert asks(backfill)[0] == "visual_index"


def test_what_a_source_will_never_tell_is_missing_and_the_others_go_on():
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


def test_a_gap_of_which_all_is_there_is_recovered_whatever_interrupts_only():
    backfill = filled(JOURNAL)
    takes(backfill, [[fetched(100)]])

    (gap,) = backfill.close([gaps.Missing("a moment", "bound anew", lost=False)])

    assert (gap.id, gap.status, gap.recovered) == ("gap-1", "recovered", {"transcript": 1})
    assert [one.what for one in gap.missing] == ["interim transcripts", "a moment"]
    assert backfill.close([gaps.Missing("alerts", "not kept")])[0].status == "incomplete"


def test_without_a_transcript_no_interim_ones_are_missing():
    (gap,) = filled(JOURNAL, sources=(SCENES,)).close()

    assert (gap.status, gap.missing) == ("recovered", ())


@pytest.mark.parametrize(("is_unknown", "status"), [(True, "incomplete"), (False, "recovered")])
def test_without_a_source_everything_is_missing_unless_nothing_can_have_been_sent(is_unknown, status):
    (gap,) = filled(JOURNAL, sources=(), is_unknown=is_unknown).close()

    assert gap.status == status
    assert [one.what for one in gap.missing] == (["everything"] if is_unknown else [])


def test_what_was_fetched_counts_for_the_gap_in_which_it_was_missed():
    lines = [BEGUN, said(90), opens(GAP), said(210), said(290), opens(NEXT), said(410)]
    backfill = filled(lines, wanted=(NEXT, GAP))
    takes(backfill, [[fetched(it) for it in (80, 90, 100, 150, 200)], [fetched(300), fetched(401)]])

    assert {gap.id: gap.recovered for gap in backfill.close()} == {
        "gap-1": {"transcript": 4},
        "gap-2": {"transcript": 2},
    }


def test_a_gap_of_one_stream_has_no_other_asked_for_and_is_asked_for_without_an_end():
    silent = replace(GAP, streams=("rts-display",))
    shown = [said(it, source=SCENES) for it in (10, 90)]
    lines = [BEGUN, *shown, said(95), opens(silent), said(200, source=SCENES), said(210)]
    backfill = filled(lines, wanted=(silent,), sources=(SPEECH, SCENES))

    assert asks(backfill) == ("visual_index", 1, 60, None)
    takes(backfill, [[fetched(100)]])
    assert asks(backfill) is None
    (gap,) = backfill.close()
    assert (gap.recovered, gap.missing) == ({"visual_index": 1}, ())


def test_a_stream_of_which_nothing_came_before_is_fetched_from_the_session_s_beginning():
    assert asks(filled([BEGUN, opens(GAP), said(210)])) == ("transcript", 1, None, 240)


def test_of_a_journal_that_was_cleared_what_was_before_is_not_fetched():
    assert asks(filled([said(90), opens(GAP), said(210)])) == ("transcript", 1, 90, 240)
    assert asks(filled([said(10), said(90), opens(GAP), said(210)])) == ("transcript", 1, 60, 240)


def test_of_a_journal_that_was_cleared_a_stream_that_had_said_nothing_is_fetched_from_its_beginning():
    assert asks(filled([opens(GAP), said(210)])) == ("transcript", 1, 0, 240)
    assert asks(filled([said(150), said(210)])) == ("transcript", 1, 0, 180)


def test_it_goes_on_a_while_before_where_somebody_had_come_to():
    backfill = filled([*JOURNAL, filling(150)])

    assert asks(backfill) == ("transcript", 1, 120, 240)


def test_what_is_done_is_told_so_that_another_may_go_on():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    backfill.take([fetched(100), fetched(103)], more=True)
    line = own(BACKFILL_EVENT, **backfill.to_dict())

    written = [said(it, backfilled=True) for it in (100, 103)]
    again = filled([*JOURNAL, *written, line], sources=(SPEECH, SCENES))

    assert backfill.to_dict()["gaps"] == ["gap-1"]
    assert asks(again) == ("transcript", 1, 73, 240)


def test_of_a_service_that_tells_the_latest_first_nobody_knows_what_a_page_completes():
    backfill = filled(JOURNAL)
    backfill.take([fetched(203), fetched(200)], more=True)
    told = backfill.to_dict()["sources"]
    found = takes(backfill, [[fetched(103), fetched(100)]])

    assert [it["done"] for it in told] == [None]
    assert found == [103, 100]


def test_a_page_that_begins_far_behind_where_it_had_come_to_completes_nothing():
    backfill = filled(JOURNAL)
    backfill.take([fetched(150), fetched(153)], more=True)
    backfill.take([fetched(100), fetched(190)], more=True)

    assert seconds(round(backfill.to_dict()["sources"][0]["done"] * 1000)) == 153


def test_asked_again_each_source_goes_on_from_where_it_had_come_to():
    backfill = filled(JOURNAL, sources=(SPEECH, SCENES))
    takes(backfill, [[fetched(100), fetched(200)]])
    takes(backfill, [[]])
    backfill.restart()

    assert asks(backfill) == ("transcript", 1, 170, 240)
    assert takes(backfill, [[fetched(200), fetched(203)]]) == [203]


@settings(deadline=None)
@given(
    starts=st.lists(st.integers(0, 400), unique=True, max_size=60),
    live=st.sets(st.integers(0, 400)),
    size=st.integers(1, 7),
    descending=st.booleans(),
    cut=st.integers(0, 20),
)
def test_whatever_the_pages_and_wherever_it_is_cut_everything_is_there_once(starts, live, size, **of):
    """The journal has some of what the service keeps: a pass, cut short, and then a whole one."""
    kept = sorted(starts, reverse=of["descending"])
    lines = [BEGUN, *(said(it) for it in sorted(live & set(starts)) if it < 100), opens(GAP)]
    lines += [said(it) for it in sorted(starts) if it >= 200]
    for most in (of["cut"], None):
        backfill = filled(lines)
        lines.append(own(BACKFILL_EVENT, **backfill.to_dict()))
        for _ in itertools.count() if most is None else range(most):
            fetch = backfill.next()
            if fetch is None:
                break
            first, last = fetch.start or 0, fetch.end or 1e11
            found = [it for it in kept if first <= fetched(it)["start"] <= last]
            page = [fetched(it) for it in found[(fetch.page - 1) * size : fetch.page * size]]
            events = backfill.take(page, more=fetch.page * size < len(found))
            lines += [{**event, "backfilled": True} for event in events]
            lines.append(own(BACKFILL_EVENT, **backfill.to_dict()))
    written = [seconds(it.start_ms) for event in lines if (it := identity.identity_of(event)) is not None]

    since = max((it for it in live & set(starts) if it < 100), default=0)
    assert len(written) == len(set(written))
    assert {it for it in starts if it >= since} <= set(written) <= set(starts)


# The life of a session


def answer(status, export_status="", video_id="", error="", streams=()):
    return cloud.CloudSession("s-1", "c-1", status, "user", "", streams, export_status, video_id, error, {})


@pytest.mark.parametrize(
    ("status", "known", "expected"),
    [
        ("active", [], ["active"]),
        ("active", ["created", "starting"], ["active"]),
        ("active", ["active"], []),
        ("stopped", ["active"], ["stopped"]),
        ("stopping", ["stopped"], []),
        ("starting", ["active"], []),
        ("failed", ["active", "stopping", "stopped"], ["failed"]),
        ("failed", ["failed"], []),
        ("something new", [], []),
        ("", ["active"], []),
    ],
)
def test_of_a_session_s_life_only_what_goes_further_than_is_known_is_told(status, known, expected):
    assert [it["status"] for it in missing_events(answer(status), known)] == expected


def test_a_step_of_a_life_is_told_as_the_service_would_have():
    (active,) = missing_events(answer("active", streams=(MIC, DISPLAY)), [])
    (failed,) = missing_events(answer("failed", error="the screen is locked"), ["active"])
    stopped, exported = missing_events(answer("stopped", "exported", "m-1"), ["active"])

    assert lifecycle.lifecycle_of(active).streams == (MIC, DISPLAY)
    assert lifecycle.lifecycle_of(failed).error == "the screen is locked"
    assert lifecycle.lifecycle_of(stopped)[:2] == ("s-1", "stopped")
    assert exported == {
        "event": "capture_session.exported",
        "capture_session_id": "s-1",
        "status": "exported",
        "data": {"exported_video_id": "m-1"},
    }
    assert missing_events(answer("stopped", "exported", "m-1"), ["stopped", "exported"]) == []


# Streams that should be talking


def screen(stream_id="rts-display", **changes):
    stream = DISPLAY._replace(id=stream_id)
    return Pipeline("visual_index", stream, {}, **{"id": "idx-1", "ws_id": "ws-1", **changes})


def looks(watch, until, pipelines, seen=None, since=0.0):
    """Looks every few seconds; answers with when streams became stale, and fresh."""
    now, stale, fresh = since, [], []
    while now <= until:
        late, back = watch.look(pipelines, seen or {}, now)
        stale += [(it.pipeline.stream.id, now) for it in late]
        fresh += [(it.pipeline.stream.id, now) for it in back]
        now += 5
    return stale, fresh


def test_a_screen_that_is_not_described_for_too_long_is_stale_once():
    watch = StaleWatch(60)

    assert looks(watch, 600, [screen()]) == ([("rts-display", 65.0)], [])
    assert list(watch.stale) == ["rts-display"]


def test_a_screen_is_stale_so_long_after_its_last_description():
    assert looks(StaleWatch(60), 600, [screen()], {"rts-display": 100.0}) == ([("rts-display", 165.0)], [])


def test_a_stale_screen_that_is_described_again_is_fresh_and_may_become_stale_anew():
    watch = StaleWatch(60)
    looks(watch, 100, [screen()])

    assert looks(watch, 300, [screen()], {"rts-display": 102.0}, since=105) == (
        [("rts-display", 165.0)],
        [("rts-display", 105)],
    )


def test_one_that_was_bound_anew_has_its_time_from_then():
    watch = StaleWatch(60)
    looks(watch, 50, [screen()])

    assert looks(watch, 200, [screen(bindings=1)], since=55) == ([("rts-display", 120)], [])


def test_who_did_not_look_for_a_while_begins_to_wait_anew():
    watch = StaleWatch(60)
    looks(watch, 50, [screen()])

    assert looks(watch, 1100, [screen()], since=1000) == ([("rts-display", 1065)], [])


def test_what_is_heard_and_what_does_not_run_is_never_stale():
    heard = replace(screen(), kind="audio_index")
    watch = StaleWatch(60)

    assert looks(watch, 600, [heard]) == ([], [])
    looks(watch, 800, [screen()], since=600)
    assert looks(watch, 900, [], since=805) == ([], [])
    assert watch.stale == {}


def test_each_screen_is_watched_by_itself():
    both = [screen("rts-1"), screen("rts-2")]

    assert looks(StaleWatch(60), 100, both, {"rts-2": 90.0}) == ([("rts-1", 65.0)], [])


def test_without_a_limit_nothing_is_stale():
    assert looks(StaleWatch(0), 10_000, [screen()]) == ([], [])
