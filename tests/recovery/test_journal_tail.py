"""What the end of a journal says about gaps."""

import json

import pytest
from support.journals import open_journal
from support.recovery_lines import (
    BEGUN,
    GAP,
    NEXT,
    SCENES,
    SPEECH,
    T,
    arrived,
    closes,
    filling,
    opens,
    own,
    read,
    remembered,
    seconds,
)

from vdbevents.events import envelope, gaps
from vdbevents.journal.state import StateDirectory
from vdbevents.recovery.journal_tail import BACKFILL_EVENT, read_tail
from vdbevents.recovery.session_follower import journaled_statuses


def test_the_tail_reads_back_past_the_gap_as_far_as_lines_may_be_out_of_order():
    lines = [
        *(arrived(it) for it in range(0, 100, 3)),
        opens(GAP),
        arrived(200),
    ]
    tail, taken = read(lines, session_ids=())

    assert seconds(tail.since_ms(GAP, SPEECH.key)) == 99
    # What is fetched begins 30 s before the last one, and lines stand out of their order by as much.
    assert remembered(tail, lines)[0] == 36
    assert taken < len(lines)


def test_events_of_other_streams_and_without_identity_are_not_remembered():
    lines = [
        BEGUN,
        arrived(1, rtstream_id="another"),
        arrived(2, channel="audio_index"),
        {"channel": "alert", "rtstream_id": "rts-mic", "data": {"text": "x", "start": T}},
        {"raw": "?"},
        arrived(3, data={"text": "half a", "start": T, "is_final": False}),
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
def test_the_tail_stops_at_the_session_s_beginning_though_a_stream_has_no_record(lines):
    before = [arrived(it, source=SCENES) for it in range(50)]
    tail, taken = read([*before, *lines, opens(GAP)], sources=(SPEECH, SCENES))

    assert taken == 2
    assert tail.has_beginning


def test_the_tail_reads_past_the_beginning_for_an_older_gap():
    tail, taken = read([arrived(1), opens(GAP), BEGUN, arrived(250)])

    assert taken == 3
    assert seconds(tail.until_ms(SPEECH.key)) == 280


def test_another_session_s_start_is_not_the_beginning():
    tail, taken = read([own("capture.started", capture_session_id="other"), arrived(1), opens(GAP)])

    assert taken == 3
    assert not tail.has_beginning


def test_each_gap_starts_at_the_last_record_before_it():
    lines = [
        BEGUN,
        arrived(10),
        arrived(90),
        opens(GAP),
        arrived(210),
        arrived(290),
        opens(NEXT),
        arrived(410),
    ]
    tail, _ = read(lines, wanted=(GAP, NEXT))

    assert seconds(tail.since_ms(GAP, SPEECH.key)) == 90
    assert seconds(tail.since_ms(NEXT, SPEECH.key)) == 290
    assert seconds(tail.until_ms(SPEECH.key)) == 440


def test_a_gap_has_no_start_for_a_stream_without_a_record_before_it():
    tail, _ = read([BEGUN, arrived(90), opens(GAP)], sources=(SPEECH, SCENES))

    assert tail.since_ms(GAP, SCENES.key) is None
    assert tail.until_ms(SCENES.key) is None


def test_closing_lines_and_lines_of_other_gaps_do_not_mark_a_gap():
    lines = [
        BEGUN,
        arrived(90),
        opens(GAP),
        arrived(210),
        closes(NEXT),
        opens(NEXT),
        closes(GAP),
        arrived(410),
    ]
    tail, _ = read(lines)

    assert seconds(tail.since_ms(GAP, SPEECH.key)) == 90
    assert seconds(tail.until_ms(SPEECH.key)) == 240


def test_dropped_events_are_missing_at_their_dropped_line_not_at_the_gap_line():
    dropped = gaps.Gap("gap-d", T + 120_000, T + 130_000, "no room", dropped=4)
    lost = own("listener.dropped", since=envelope.utc_text(T + 120_000), count=4)
    other = own("listener.dropped", since=envelope.utc_text(T + 119_999), count=4)
    lines = [BEGUN, arrived(90), other, arrived(119), lost, arrived(131), opens(dropped), arrived(140)]
    tail, _ = read(lines, wanted=(dropped,))

    assert seconds(tail.since_ms(dropped, SPEECH.key)) == 119
    assert seconds(tail.until_ms(SPEECH.key)) == 161


def test_backfilled_lines_do_not_count_as_live():
    lines = [
        BEGUN,
        arrived(90),
        opens(GAP),
        arrived(110, backfilled=True),
        arrived(210),
        arrived(190, backfilled=True),
    ]
    tail, _ = read(lines)

    assert seconds(tail.until_ms(SPEECH.key)) == 240
    assert remembered(tail, lines) == [90, 110, 190, 210]


def test_the_tail_reads_through_backfilled_lines_to_live_ones_before_them():
    # They came as they were made, before what had been missed was written.
    came = [arrived(it) for it in range(200, 240, 3)]
    lines = [
        *(arrived(it) for it in range(0, 100, 3)),
        opens(GAP),
        *came,
        *(arrived(it, backfilled=True) for it in range(100, 200, 3)),
        closes(GAP),
        arrived(240),
        opens(NEXT),
    ]
    tail, _ = read(lines, wanted=(NEXT,), session_ids=())

    assert len(remembered(tail, came)) == len(came)


def test_a_journal_cleared_since_the_gap_is_read_whole():
    tail, taken = read([arrived(it) for it in range(200, 400)])

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


def test_an_unfinished_backfill_continues_from_its_last_progress_line():
    lines = [BEGUN, arrived(90), opens(GAP), filling(None), filling(120), filling(150, sources=(SCENES,))]
    tail, _ = read(lines)

    assert {it.channel: seconds(done) for it, done in tail.begun_sources.items()} == {
        "transcript": 120,
        "visual_index": 150,
    }


def test_a_backfill_from_before_the_gap_does_not_count_for_it():
    tail, _ = read([BEGUN, arrived(90), filling(50, wanted=(NEXT,)), opens(GAP), arrived(210)])

    assert tail.begun_sources == {}


def test_progress_for_another_gap_does_not_count_for_one_that_was_already_open():
    lines = [BEGUN, arrived(90), opens(GAP), arrived(210), opens(NEXT), filling(150, wanted=(GAP,))]
    tail, _ = read(lines, wanted=(GAP, NEXT))

    assert list(tail.begun_sources.values()) == [0]


def test_a_later_gap_does_not_undo_earlier_progress():
    lines = [BEGUN, arrived(90), opens(GAP), filling(150), arrived(210), opens(NEXT), arrived(410)]
    tail, _ = read(lines, wanted=(GAP, NEXT))

    assert [seconds(it) for it in tail.begun_sources.values()] == [150]


@pytest.mark.parametrize(
    "data",
    [None, 5, {"sources": None}, {"sources": [5, {}, {"channel": 1, "stream_id": "x"}]}, {"gaps": "gap-1"}],
)
def test_a_malformed_progress_line_has_no_source(data):
    line = {"channel": "vdbevents", "event": BACKFILL_EVENT, "data": data}
    tail, _ = read([BEGUN, opens(GAP), line])

    assert tail.begun_sources == {}


@pytest.mark.parametrize("cut", [1, 20, 41, 42, 43])
def test_a_tail_goes_on_into_what_was_rotated(tmp_path, cut):
    before = (arrived(it) for it in range(0, 120, 3))
    events = [BEGUN, *before, opens(GAP), arrived(200), arrived(203)]
    stamped = [
        # Each line of the journal begins with its time of receipt.
        json.dumps({"ts": f"t{number}", "unix_ts": T / 1000 + number, **event}, separators=(",", ":"))
        for number, event in enumerate(events)
    ]
    whole, state = tmp_path / "whole.jsonl", StateDirectory(tmp_path / "state")
    whole.write_text("".join(f"{line}\n" for line in stamped))
    state.path.mkdir()
    journal = open_journal(state)
    journal.append([f"{line}\n".encode() for line in stamped[:cut]])
    journal.rotate(None)
    journal.append([f"{line}\n".encode() for line in stamped[cut:]])
    journal.close()

    tails = [read_tail(path, [GAP], [SPEECH], ["cap-1"]) for path in (whole, state.journal)]

    assert tails[0].seen
    assert vars(tails[1]) == vars(tails[0])
