"""What the status file says, and what the next run reads from it."""

import json

import pytest

from vdbevents.cloud import Failure
from vdbevents.events import envelope, gaps
from vdbevents.listener import counters, machine, protocol
from vdbevents.listener.listener_status import (
    DiskState,
    count_line,
    in_words,
    is_ready,
    restore_counts,
    status_of,
)
from vdbevents.listener.outage import Outage, earlier, unmarked_outage, unwritten_since

WALL = 1_772_446_530_123
NOW = protocol.Moment(1.0, WALL)
DISK = DiskState(None, None, 1000)


def listening():
    listener = machine.ListenerMachine(protocol.ConnectionSettings(), lambda: 0.5)
    listener.handle(protocol.Started(7, "1"), NOW)
    listener.handle(protocol.Opened(), NOW)
    listener.handle(protocol.Received([b'{"connection_id":"ws-1"}']), NOW)
    return listener


def status(listener, disk=DISK):
    return json.loads(json.dumps(status_of(listener, disk, [], pid=7, now_ms=WALL + 1000)))


def test_a_run_is_ready_when_it_records_or_will_go_on_trying():
    starting = machine.ListenerMachine(protocol.ConnectionSettings(), lambda: 0.5)
    starting.handle(protocol.Started(7, "1"), NOW)
    assert (is_ready(starting), in_words(starting, None)) == (False, "connecting")

    # Without a network at login, it is as ready as it can be.
    starting.handle(protocol.Failed(Failure("no route")), NOW)
    assert (is_ready(starting), in_words(starting, None)) == (True, "waiting: no route")
    assert is_ready(listening())
    assert in_words(listening(), "No space left") == "connected; the disk refuses writes: No space left"

    refused = machine.ListenerMachine(protocol.ConnectionSettings(), lambda: 0.5)
    refused.handle(protocol.Started(7, "1"), NOW)
    refused.handle(protocol.Failed(Failure("refused", fatal=True)), NOW)
    assert not is_ready(refused)


def test_the_next_run_continues_with_the_counts():
    listener = listening()
    listener.handle(protocol.Received([b'{"channel":"transcript"}']), NOW)
    listener.handle(protocol.EventsDropped(2, WALL, WALL + 1), NOW)
    listener.counts.dropped = 2
    counts = counters.ListenerCounts()
    restore_counts(counts, status(listener))

    assert counts.channels == listener.counts.channels
    assert counts.open_gaps == listener.counts.open_gaps
    assert (counts.gaps, counts.unrecovered, counts.dropped) == (1, 1, 2)
    assert counts.since_ms == WALL


@pytest.mark.parametrize("content", [{}, {"events": 5}, {"events": {"since": "soon", "channels": []}}])
def test_a_malformed_status_restores_nothing(content):
    counts = counters.ListenerCounts()
    restore_counts(counts, content)

    assert (counts.channels, counts.gaps, counts.open_gaps) == ({}, 0, {})


def test_a_run_that_was_killed_leaves_an_outage_since_its_last_status():
    assert unmarked_outage(status(listening())) == Outage(
        WALL + 1000, "the listener with PID 7 ended unexpectedly"
    )


def test_the_outage_of_a_killed_run_includes_what_it_held_in_memory():
    held = status(listening(), DISK._replace(unwritten_since_ms=WALL - 5000))

    assert unmarked_outage(held).since_ms == WALL - 5000


def test_an_outage_without_a_gap_is_passed_on_by_an_orderly_stop():
    listener = listening()
    listener.handle(protocol.Closed(1006, "dropped"), NOW)
    listener.handle(protocol.StopRequested("SIGTERM"), NOW)

    assert unmarked_outage(status(listener)) == Outage(WALL, "dropped (1006)")


def test_an_orderly_stop_leaves_no_outage():
    listener = listening()
    listener.handle(protocol.StopRequested("SIGTERM"), NOW)

    assert unmarked_outage(status(listener)) is None
    assert unmarked_outage({}) is None


def test_lines_of_other_runs_are_counted():
    counts = counters.ListenerCounts()
    gap = gaps.Gap("gap-1", WALL, WALL + 1, "closed")
    for record in (
        envelope.envelop(b'{"channel":"transcript"}', WALL),
        envelope.own_record(gaps.EVENT, gap.data(), WALL),
    ):
        count_line(counts, record.line)
    count_line(counts, b"torn\n")

    assert counts.channels == {"transcript": counters.ChannelCount(1, WALL)}
    assert counts.open_gaps == {"gap-1": gap}


def test_an_outage_is_told_from_its_first_moment_over_all_attempts():
    listener = listening()
    assert status(listener)["disconnected_since"] is None
    listener.handle(protocol.Closed(1006, "dropped"), protocol.Moment(2.0, WALL + 1000))
    for second in (3, 60, 540):
        at = protocol.Moment(float(second), WALL + second * 1000)
        listener.handle(protocol.Woken(), at)
        listener.handle(protocol.Failed(Failure("refused")), at)

    told = status(listener)
    assert told["disconnected_since"] == told["blind_since"] == envelope.utc_text(WALL + 1000)
    assert (told["lost_connections"], told["failed_attempts"], told["reconnects"]) == (1, 3, 0)

    listener.handle(protocol.Opened(), NOW)
    listener.handle(protocol.Received([b'{"connection_id":"ws-2"}']), NOW)

    told = status(listener)
    assert (told["disconnected_since"], told["blind_since"]) == (None, None)
    assert (told["lost_connections"], told["failed_attempts"], told["reconnects"]) == (1, 0, 1)


def test_a_restart_within_an_outage_does_not_make_it_younger():
    listener = machine.ListenerMachine(protocol.ConnectionSettings(), lambda: 0.5)
    listener.handle(protocol.Started(7, "1", Outage(WALL - 90_000, "dropped")), NOW)

    assert status(listener)["disconnected_since"] == envelope.utc_text(WALL - 90_000)


def test_the_last_live_event_of_each_stream_is_told_and_continued():
    listener = listening()
    heard = b'{"channel":"transcript","rtstream_id":"rts-1"}'
    listener.handle(protocol.Received([heard]), protocol.Moment(2.0, WALL + 1000))
    fetched = envelope.backfilled_record({"channel": "audio_index", "rtstream_id": "rts-1"}, WALL)
    listener.handle(protocol.Supplied([fetched]), NOW)
    streams = [{"stream_id": "rts-1", "channel": "transcript", "last": envelope.utc_text(WALL + 1000)}]

    assert status(listener)["streams"] == streams
    counts = counters.ListenerCounts()
    restore_counts(counts, status(listener))
    count_line(counts, envelope.envelop(heard, WALL + 2000).line)
    assert counts.last_live_ms == {("rts-1", "transcript"): WALL + 2000}


def test_two_outages_that_end_together_begin_with_the_earlier_one():
    dropped, unwritten = Outage(WALL, "dropped"), Outage(WALL + 9000, "3 events could not be written")

    joined = Outage(WALL, "dropped; 3 events could not be written")
    assert earlier(dropped, unwritten) == earlier(unwritten, dropped) == joined
    assert earlier(None, dropped) == dropped


def test_what_is_only_in_memory_begins_with_the_gaps_whose_lines_wait():
    written, waiting = gaps.Gap("g1", WALL - 90, WALL - 1, "x"), gaps.Gap("g2", WALL - 50, WALL + 1, "y")

    assert unwritten_since(WALL, [written, waiting]) == WALL - 50
    assert unwritten_since(WALL, [written]) == WALL
    assert unwritten_since(None, [waiting]) is None
