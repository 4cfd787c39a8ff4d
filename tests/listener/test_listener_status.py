"""What the status file says, and what the next run reads from it."""

import json

import pytest

from vdbevents.events import envelope, gaps
from vdbevents.listener import counters, machine, protocol
from vdbevents.listener.listener_status import (
    DiskState,
    count_line,
    restore_counts,
    status_of,
    unmarked_outage,
)

WALL = 1_772_446_530_123
NOW = protocol.Moment(1.0, WALL)
DISK = DiskState(None, None, 1000)


def listening():
    listener = machine.ListenerMachine(protocol.ConnectionSettings(), lambda: 0.5)
    listener.handle(protocol.Started(7, "1"), NOW)
    listener.handle(protocol.Opened(), NOW)
    listener.handle(protocol.Received(b'{"connection_id":"ws-1"}'), NOW)
    return listener


def status(listener, disk=DISK):
    return json.loads(json.dumps(status_of(listener, disk, [], pid=7, now_ms=WALL + 1000)))


def test_the_next_run_continues_with_the_counts():
    listener = listening()
    listener.handle(protocol.Received(b'{"channel":"transcript"}'), NOW)
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
    assert unmarked_outage(status(listening())) == protocol.Outage(
        WALL + 1000, "the listener with PID 7 ended unexpectedly"
    )


def test_the_outage_of_a_killed_run_includes_what_it_held_in_memory():
    held = status(listening(), DISK._replace(unwritten_since_ms=WALL - 5000))

    assert unmarked_outage(held).since_ms == WALL - 5000


def test_an_outage_without_a_gap_is_passed_on_by_an_orderly_stop():
    listener = listening()
    listener.handle(protocol.Closed(1006, "dropped"), NOW)
    listener.handle(protocol.StopRequested("SIGTERM"), NOW)

    assert unmarked_outage(status(listener)) == protocol.Outage(WALL, "dropped (1006)")


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
