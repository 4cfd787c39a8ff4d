"""What the listener decides, without a clock, a socket or a file."""

import json
import random

import pytest
from hypothesis import given, strategies as st

from vdbevents.cloud import Failure
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.events import envelope, gaps
from vdbevents.listener import counters, machine, protocol as m
from vdbevents.listener.outage import Outage
from vdbevents.privacy.exclusion import Exclusion, ExclusionRules
from vdbevents.privacy.pauses import Pauses
from vdbevents.privacy.recording_rules import RecordingRules
from vdbevents.privacy.redaction import Redactor

WALL = 1772446530123
DOWN = Failure("no connection: Connection refused")
INIT = m.Received([b'{"connection_id":"ws-1"}'])


class Bench:
    """A machine, and a clock that the test moves."""

    def __init__(self, draw=0.5, is_known=None, counts=None, rules=None, **settings):
        draws = draw if callable(draw) else lambda: draw
        self.machine = machine.ListenerMachine(
            m.ConnectionSettings(**settings), draws, counts, is_known, rules
        )
        self.seconds = 0.0
        self.ahead_ms = 0

    @property
    def wall_ms(self):
        return WALL + int(self.seconds * 1000) + self.ahead_ms

    def does(self, input_, after=0.0, ahead=0.0):
        """Handle an input `after` some seconds, in which the wall clock has gone `ahead` some more."""
        self.seconds += after
        self.ahead_ms += int(ahead * 1000)
        return self.machine.handle(input_, m.Moment(self.seconds, self.wall_ms))

    def started(self, **options):
        return self.does(m.Started(pid=1, version="1", **options))

    def connected(self, ws_id="ws-1"):
        self.does(m.Opened())
        return self.does(m.Received([json.dumps({"connection_id": ws_id}).encode()]))


def of_type(actions, kind):
    return [action for action in actions if isinstance(action, kind)]


def own_events(actions):
    return {
        a.record.event["event"]: a.record.event["data"]
        for a in of_type(actions, m.Append)
        if a.channel == "vdbevents"
    }


def wait_after(actions, bench):
    return of_type(actions, m.WakeAt)[-1].monotonic - bench.seconds


def test_it_connects_at_once_and_announces_the_first_id_as_the_first():
    bench = Bench()

    assert of_type(bench.started(), m.Connect) == [m.Connect()]
    assert of_type(bench.connected(), m.Announce) == [m.Announce("ws-1", first=True)]
    assert bench.machine.state is m.ListenerState.CONNECTED


def test_an_id_after_a_reconnect_is_not_the_first_even_if_no_attempt_before_it_succeeded():
    bench = Bench()
    bench.started()
    bench.does(m.Failed(DOWN))
    bench.does(m.Woken(), after=60)
    assert of_type(bench.connected(), m.Announce) == [m.Announce("ws-1", first=True)]

    bench.does(m.Closed(1006, ""))
    bench.does(m.Woken(), after=60)
    assert of_type(bench.connected("ws-2"), m.Announce) == [m.Announce("ws-2", first=False)]
    assert bench.machine.reconnects == 1


def test_waits_grow_from_one_second_to_sixty_and_are_spread_over_their_whole_range():
    for draw, expected in [
        (0.0, [1, 1, 1, 1, 1, 1, 1, 1]),
        (0.5, [1.5, 2.5, 4.5, 8.5, 16.5, 30.5, 30.5, 30.5]),
        (1.0, [2, 4, 8, 16, 32, 60, 60, 60]),
    ]:
        bench = Bench(draw)
        bench.started()
        waits = []
        for _ in expected:
            waits.append(wait_after(bench.does(m.Failed(DOWN)), bench))
            bench.does(m.Woken(), after=waits[-1])
        assert waits == expected


def test_a_server_that_accepts_and_closes_does_not_reset_the_waits():
    bench = Bench(draw=1.0)
    bench.started()
    waits = []
    for _ in range(4):
        bench.connected()
        waits.append(wait_after(bench.does(m.Closed(1000, ""), after=5), bench))
        bench.does(m.Woken(), after=waits[-1])

    assert waits == [2, 4, 8, 16]


def test_a_connection_that_was_stable_for_a_while_resets_the_waits():
    bench = Bench(draw=1.0)
    bench.started()
    for _ in range(5):
        bench.does(m.Failed(DOWN))
        bench.does(m.Woken(), after=60)
    bench.connected()

    assert wait_after(bench.does(m.Closed(1006, ""), after=60), bench) == 2


@pytest.mark.parametrize(("asked", "wait"), [(None, 1), (0.5, 1), (30.0, 30), (600.0, 600)])
def test_a_wait_is_never_shorter_than_the_service_asked_for(asked, wait):
    bench = Bench(draw=0.0)
    bench.started()

    assert wait_after(bench.does(m.Failed(Failure("busy", retry_after=asked))), bench) == wait


def test_it_retries_forever_by_default():
    bench = Bench()
    bench.started()
    for _ in range(10_000):
        assert of_type(bench.does(m.Failed(DOWN)), m.End) == []
        bench.does(m.Woken(), after=60)


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_it_gives_up_after_the_allowed_number_of_retries(allowed):
    bench = Bench(max_retries=allowed)
    bench.started()
    for _ in range(allowed):
        assert of_type(bench.does(m.Failed(DOWN)), m.End) == []
        bench.does(m.Woken(), after=60)

    (end,) = of_type(bench.does(m.Failed(DOWN)), m.End)

    assert isinstance(end.error, ServiceUnreachableError)
    assert "Connection refused" in end.error.message


def test_unattended_it_waits_for_a_valid_certificate_but_not_for_a_valid_key():
    portal = Failure("self-signed certificate", fatal=True, error_id="certificate-invalid")
    bench = Bench(unattended=True)
    bench.started()
    assert of_type(bench.does(m.Failed(portal)), m.WakeAt)
    assert of_type(bench.does(m.Failed(REFUSED), after=60), m.End)

    attended = Bench()
    attended.started()
    assert of_type(attended.does(m.Failed(portal)), m.End)


def test_a_fatal_failure_ends_it_at_once_with_a_hint():
    bench = Bench()
    bench.started()

    actions = bench.does(m.Failed(Failure("refused", fatal=True, hint="get a key")))

    (end,) = of_type(actions, m.End)
    assert isinstance(end.error, ServiceRefusedError)
    assert end.error.hint == "get a key"
    assert own_events(actions)["listener.stopped"]["error"] == "refused"


def test_frames_before_the_opening_message_are_kept_as_events():
    bench = Bench()
    bench.started()
    bench.does(m.Opened())

    early = [
        bench.does(m.Received([b'{"channel":"transcript"}'])),
        bench.does(m.Received([b"not json"])),
        bench.does(m.Received([b"\xff"])),
    ]
    then = bench.does(INIT)

    assert [of_type(actions, m.Append)[0].channel for actions in early] == [
        "transcript",
        "unknown",
        "unknown",
    ]
    assert of_type(then, m.Announce) == [m.Announce("ws-1", first=True)]


def test_a_service_that_sends_no_id_in_time_is_retried():
    bench = Bench(step_limit=20)
    bench.started()
    (limit,) = of_type(bench.does(m.Opened()), m.WakeAt)

    actions = bench.does(m.Woken(), after=limit.monotonic)

    assert limit.monotonic == 20
    assert of_type(actions, m.Disconnect) == [m.Disconnect()]
    assert bench.machine.state is m.ListenerState.WAITING


def test_a_later_message_with_an_id_is_an_event_like_any_other():
    bench = Bench()
    bench.started()
    bench.connected("ws-1")

    actions = bench.does(m.Received([b'{"connection_id":"ws-9"}']))

    assert [type(a) for a in actions] == [m.Append]
    assert bench.machine.ws_id == "ws-1"


def test_the_time_between_two_connections_is_a_gap_with_a_reason():
    bench = Bench(draw=0.0)
    bench.started()
    bench.connected("ws-1")
    lost = bench.does(m.Closed(1011, "internal error"), after=10)
    bench.does(m.Woken(), after=1)
    bench.does(m.Failed(DOWN), after=1)
    bench.does(m.Woken(), after=1)
    back = bench.connected("ws-2")

    assert own_events(lost)["listener.disconnected"] == {
        "ws_id": "ws-1", "code": 1011, "reason": "internal error"
    }  # fmt: skip
    assert of_type(lost, m.Withdraw) == [m.Withdraw()]
    assert own_events(back)["listener.gap"] == {
        "id": "gap-000000000000",
        "since": "2026-03-02T10:15:40.123Z",
        "until": "2026-03-02T10:15:43.123Z",
        "seconds": 3.0,
        "reason": "internal error (1011)",
        "status": "open",
    }
    assert bench.machine.counts.gaps == 1


def test_a_connection_that_went_silent_may_have_been_dead_since_its_last_sign_of_life():
    bench = Bench(draw=0.0, ping_interval=20)
    bench.started()
    bench.connected()
    bench.does(m.Received([b"{}"]), after=100)
    bench.does(m.Closed(1006, "no answer to pings", silent=True), after=1000)
    bench.does(m.Woken(), after=2)

    gap = own_events(bench.connected("ws-2"))["listener.gap"]

    # Two ping intervals before it was noticed the connection had answered.
    assert gap["seconds"] == 42.0


def test_a_killed_run_leaves_a_gap_and_an_orderly_stop_does_not():
    killed = Bench()
    killed.started(outage=Outage(WALL - 60_000, "the listener with PID 77 ended unexpectedly"))
    orderly = Bench()
    orderly.started()

    gap = own_events(killed.connected())["listener.gap"]

    assert (gap["seconds"], gap["reason"]) == (60.0, "the listener with PID 77 ended unexpectedly")
    assert "listener.gap" not in own_events(orderly.connected())


@pytest.mark.parametrize("state", ["connecting", "opening", "connected", "waiting"])
def test_a_stop_request_ends_it_in_every_state(state):
    bench = in_state(state)

    actions = bench.does(m.StopRequested("SIGTERM"))

    assert of_type(actions, m.End) == [m.End(None)]
    assert of_type(actions, m.Withdraw) == [m.Withdraw()]
    assert own_events(actions) == {"listener.stopped": {"by": "SIGTERM"}}
    assert bench.does(INIT) == []
    assert bench.does(m.Woken()) == []


inputs = st.one_of(
    st.just(m.Opened()),
    st.just(INIT),
    st.builds(m.Received, st.lists(st.binary(max_size=20), min_size=1, max_size=4)),
    st.builds(m.Closed, st.sampled_from([1000, 1006, 1011]), st.text(max_size=5), st.booleans()),
    st.just(m.Failed(DOWN)),
    st.just(m.Woken()),
)


@given(steps=st.lists(st.tuples(inputs, st.floats(0, 100)), max_size=40), draw=st.floats(0, 0.999))
def test_any_inputs_keep_every_message_and_schedule_the_next_attempt(steps, draw):
    bench = Bench(draw)
    bench.started()
    for input_, after in steps:
        state = bench.machine.state
        actions = bench.does(input_, after)
        if isinstance(input_, m.Received):
            assert len(of_type(actions, m.Append)) >= len(input_.payloads), "a message went unrecorded"
        if bench.machine.state is m.ListenerState.WAITING and state is not m.ListenerState.WAITING:
            wait = wait_after(actions, bench)
            assert wait == pytest.approx(30.5, abs=29.5001)
        if bench.machine.state is m.ListenerState.CONNECTING and state is not m.ListenerState.CONNECTING:
            assert of_type(actions, m.Connect)


def test_a_service_that_keeps_inventing_channels_does_not_fill_the_counts():
    bench = Bench()
    bench.started()
    bench.connected()
    for number in range(500):
        bench.does(m.Received([b'{"channel":"kind %d"}' % number]))

    channels = bench.machine.counts.channels
    assert len(channels) == 101
    assert channels["other"].count == 400


# A key that is refused


REFUSED = Failure("the service refused the API key (401)", fatal=True, hint="get a key")


def test_a_key_that_worked_is_retried_when_refused():
    bench = Bench(draw=0.0)
    bench.started()
    bench.connected()
    bench.does(m.Closed(1006, ""), after=100)
    bench.does(m.Woken(), after=1)

    for _ in range(100):
        actions = bench.does(m.Failed(REFUSED), after=1)
        assert of_type(actions, m.End) == []
        (message,) = of_type(actions, m.ShowMessage)
        assert (message.problem, message.hint) == (True, "get a key")
        assert of_type(bench.does(m.Woken(), after=60), m.Connect) == [m.Connect()]


def test_a_key_that_never_worked_ends_it_after_any_network_failures():
    bench = Bench()
    bench.started()
    bench.does(m.Failed(DOWN))
    bench.does(m.Woken(), after=60)

    (end,) = of_type(bench.does(m.Failed(REFUSED)), m.End)

    assert isinstance(end.error, ServiceRefusedError)


def test_a_key_that_worked_is_retried_only_as_often_as_allowed():
    bench = Bench(max_retries=1)
    bench.started()
    bench.connected()
    bench.does(m.Closed(1006, ""), after=100)
    bench.does(m.Woken(), after=60)

    (end,) = of_type(bench.does(m.Failed(REFUSED)), m.End)

    assert isinstance(end.error, ServiceUnreachableError)


# Clocks that come apart


def in_state(state, **options):
    """A machine in this state whose clocks were looked at a moment ago."""
    bench = Bench(draw=0.0, **options)
    bench.started()
    if state in ("opening", "connected"):
        bench.does(m.Opened())
    if state == "connected":
        bench.does(INIT)
    if state == "waiting":
        bench.does(m.Failed(DOWN))
    bench.does(m.Ticked(), after=0.5)
    assert bench.machine.state == state
    return bench


STATES = ["connecting", "opening", "connected", "waiting"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("after", "ahead"), [(2, 300), (2, -300), (302, -300), (2, 5)])
def test_when_the_clocks_come_apart_it_reconnects_at_once(state, after, ahead):
    bench = in_state(state)
    before = bench.machine.state

    actions = bench.does(m.Ticked(), after=after, ahead=ahead)

    assert of_type(actions, m.Connect) == [m.Connect()]
    # Only one of them may ever stand: whatever there was is given up before.
    kinds = [type(action) for action in actions if isinstance(action, m.Connect | m.Disconnect)]
    assert kinds == [m.Connect] if before is m.ListenerState.WAITING else kinds == [m.Disconnect, m.Connect]
    assert bench.machine.state is m.ListenerState.CONNECTING
    assert bench.machine.next_attempt_ms is None


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("after", "ahead"), [(2, 0), (2, 4.9), (2, -4.9), (3600, 0)])
def test_clocks_that_agree_do_nothing_even_after_a_pause(state, after, ahead):
    bench = in_state(state)

    assert bench.does(m.Ticked(), after=after, ahead=ahead) == []
    assert bench.machine.state == state


def test_the_first_tick_compares_nothing():
    bench = Bench()
    bench.started()

    assert bench.does(m.Ticked(), after=1, ahead=1000) == []


def test_a_sleep_is_a_gap_from_the_last_tick():
    bench = in_state("connected")
    slept = bench.does(m.Ticked(), after=2, ahead=300)
    back = bench.connected("ws-2")
    gap = own_events(back)["listener.gap"]

    assert of_type(slept, m.Withdraw) == [m.Withdraw()]
    assert own_events(slept)["listener.disconnected"]["code"] == 1006
    assert gap["seconds"] == 302
    assert "slept" in gap["reason"]


def test_a_sleep_within_a_gap_makes_it_longer():
    bench = in_state("connected")
    bench.does(m.Closed(1006, ""), after=1)
    bench.does(m.Ticked(), after=1, ahead=300)
    bench.does(m.Opened())
    bench.does(m.Ticked(), after=1, ahead=300)
    back = bench.connected("ws-2")

    assert own_events(back)["listener.gap"]["seconds"] == 602
    assert bench.machine.counts.gaps == 1


def test_a_clock_set_back_makes_no_gap_that_ends_before_it_starts():
    bench = in_state("connected")
    bench.does(m.Ticked(), after=2, ahead=-3600)
    gap = own_events(bench.connected("ws-2"))["listener.gap"]

    assert gap["seconds"] >= 0
    assert gap["since"] <= gap["until"]


def test_a_wake_up_from_before_the_clocks_came_apart_does_not_connect_again():
    bench = in_state("waiting")
    bench.does(m.Ticked(), after=0.1, ahead=300)

    assert bench.does(m.Woken(), after=1) == []


def test_an_attempt_after_clocks_came_apart_fails_like_any_other():
    bench = in_state("connected")
    bench.does(m.Ticked(), after=2, ahead=300)

    assert wait_after(bench.does(m.Failed(DOWN)), bench) == 1


# Dropped events


def test_dropped_events_are_a_gap_of_their_own():
    bench = in_state("connected")
    actions = bench.does(m.EventsDropped(7, WALL + 1000, WALL + 5000), after=10)

    assert own_events(actions) == {
        "listener.gap": {
            "id": "gap-000000000000",
            "since": envelope.utc_text(WALL + 1000),
            "until": envelope.utc_text(WALL + 5000),
            "seconds": 4.0,
            "reason": "the disk refused writes and the memory buffer was full",
            "status": "open",
            "dropped": 7,
        }
    }
    assert [gap.dropped for gap in bench.machine.counts.open_gaps.values()] == [7]
    assert bench.machine.state is m.ListenerState.CONNECTED


def test_dropped_events_of_the_last_run_get_a_gap_in_the_next():
    counts = counters.ListenerCounts()
    lost = {"count": 3, "since": envelope.utc_text(WALL), "until": envelope.utc_text(WALL + 1)}
    counts.note_own({"channel": "vdbevents", "event": "listener.dropped", "data": lost})

    actions = Bench(counts=counts).started()

    assert own_events(actions)["listener.gap"]["dropped"] == 3
    assert counts.unmarked == {}


def test_dropped_events_that_have_a_gap_get_no_second_one():
    counts = counters.ListenerCounts()
    bench = Bench(counts=counts)
    lost = {"count": 3, "since": envelope.utc_text(WALL), "until": envelope.utc_text(WALL + 1)}
    counts.note_own({"channel": "vdbevents", "event": "listener.dropped", "data": lost})
    bench.does(m.EventsDropped(3, WALL, WALL + 1))

    assert "listener.gap" not in own_events(bench.started())


@pytest.mark.parametrize("data", [None, {}, {"count": "3"}, {"count": 0, "since": "2026-01-01T00:00:00Z"}])
def test_a_malformed_dropped_line_is_ignored(data):
    counts = counters.ListenerCounts()
    counts.note_own({"channel": "vdbevents", "event": "listener.dropped", "data": data})

    assert counts.unmarked == {}


# What was fetched later


def fetched(channel="transcript", stream_id="rts-1"):
    return envelope.backfilled_record({"channel": channel, "rtstream_id": stream_id, "data": {}}, WALL)


@pytest.mark.parametrize("state", STATES)
def test_supplied_lines_are_written_and_counted_in_every_state(state):
    bench = in_state(state)
    own = envelope.own_record("listener.backfill", {}, WALL)
    actions = bench.does(m.Supplied([fetched(), own, fetched("visual_index")]), after=5)

    assert [(it.channel, it.record) for it in actions] == [
        ("transcript", fetched()),
        ("vdbevents", own),
        ("visual_index", fetched("visual_index")),
    ]
    counts = bench.machine.counts.channels
    assert {name: it.count for name, it in counts.items()} == {"transcript": 1, "visual_index": 1}


def test_a_backfilled_description_is_not_a_sign_of_life():
    bench = in_state("connected")
    bench.does(m.Supplied([fetched("visual_index")]))
    assert bench.machine.counts.last_seen == {}

    bench.does(m.Received([b'{"channel":"scene_index","rtstream_id":"rts-1"}']), after=5)
    assert bench.machine.counts.last_seen == {"rts-1": bench.seconds}


def test_a_service_that_keeps_inventing_streams_does_not_fill_the_memory():
    bench = in_state("connected")
    for number in range(500):
        bench.does(m.Received([b'{"channel":"visual_index","rtstream_id":"rts-%d"}' % number]))

    assert len(bench.machine.counts.last_seen) == 100


def closes(gap, status, **changes):
    data = {**gap.data(), "status": status, **changes}
    return m.Supplied([envelope.own_record(gaps.EVENT, data, WALL)])


@pytest.mark.parametrize(("status", "unrecovered"), [("recovered", 0), ("incomplete", 1)])
def test_a_gap_is_open_until_a_line_closes_it(status, unrecovered):
    bench = in_state("connected")
    bench.does(m.Closed(1006, ""), after=1)
    bench.does(m.Woken(), after=60)
    bench.connected("ws-2")
    counts = bench.machine.counts
    (gap,) = counts.open_gaps.values()
    assert (counts.gaps, counts.unrecovered) == (1, 1)

    bench.does(closes(gap, status))

    assert (counts.gaps, counts.unrecovered, dict(counts.open_gaps)) == (1, unrecovered, {})


def test_gaps_are_counted_from_lines_as_from_inputs():
    draws = random.Random(1)
    bench = Bench(draw=draws.random)
    lines = list(bench.started())
    for number in range(5):
        lines += bench.connected(f"ws-{number}")
        lines += bench.does(m.Closed(1006, ""), after=100)
        lines += bench.does(m.Woken(), after=60)
    first, second, *_ = bench.machine.counts.open_gaps.values()
    lines += bench.does(closes(first, "recovered")) + bench.does(closes(second, "incomplete"))
    again = counters.ListenerCounts()
    for line in of_type(lines, m.Append):
        again.note_own(line.record.event)

    counts = bench.machine.counts
    assert (counts.gaps, counts.unrecovered, len(counts.open_gaps)) == (4, 3, 2)
    assert (again.gaps, again.unrecovered, again.open_gaps) == (4, 3, counts.open_gaps)


# What is known


def test_an_event_that_was_fetched_before_is_neither_written_nor_counted():
    asked = []

    def is_known(record):
        asked.append(record.event)
        return record.event.get("n") == 2

    bench = in_state("connected", is_known=is_known)
    written = [bool(bench.does(m.Received([b'{"n":%d}' % number]))) for number in (1, 2, 3)]

    assert written == [True, False, True]
    assert [event["n"] for event in asked] == [1, 2, 3]
    assert bench.machine.counts.channels["unknown"].count == 2


def test_a_known_event_is_a_sign_of_life():
    bench = in_state("connected", is_known=lambda _: True, ping_interval=20)
    bench.does(m.Received([b"{}"]), after=100)
    bench.does(m.Closed(1006, "no answer to pings", silent=True), after=30)
    bench.does(m.Woken(), after=60)

    assert own_events(bench.connected("ws-2"))["listener.gap"]["seconds"] == 90


def test_events_before_the_connection_id_are_never_known():
    bench = in_state("opening", is_known=lambda _: True)

    assert of_type(bench.does(m.Received([b'{"n":1}'])), m.Append)


@pytest.mark.parametrize(("is_known", "hint"), [(None, True), (lambda _: False, False)])
def test_without_a_recovery_a_hint_says_to_restart_the_pipelines(is_known, hint):
    bench = in_state("connected", is_known=is_known)
    bench.does(m.Closed(1006, ""), after=1)
    bench.does(m.Woken(), after=60)
    (message,) = (it for it in of_type(bench.connected("ws-2"), m.ShowMessage) if "connected as" in it.text)

    assert bool(message.hint) is hint
    assert message.problem is hint


# Whatever happens

POSSIBLE = {
    m.ListenerState.WAITING: ["time", "tick", "sleep", "drop", "supply"],
    m.ListenerState.CONNECTING: ["opened", "failed", "refused", "tick", "sleep", "supply"],
    m.ListenerState.OPENING: ["event", "id", "closed", "time", "tick", "sleep"],
    m.ListenerState.CONNECTED: ["event", "event", "closed", "silent", "tick", "sleep", "drop", "supply"],
}


@given(data=st.data(), seed=st.integers(0, 9), skew=st.sampled_from([0, -10_000_000]))
def test_any_inputs_mark_each_outage_as_one_gap_and_lose_nothing_received(data, seed, skew):
    known, written, sent, connections = set(), [], [], 0
    bench = Bench(random.Random(seed).random, is_known=lambda record: record.event["n"] in known)
    bench.ahead_ms = skew
    ids, pending, lost_ms = [], None, None
    actions = bench.started()
    for number in range(data.draw(st.integers(0, 60))):
        state = bench.machine.state
        if state is m.ListenerState.STOPPED:
            break
        what = data.draw(st.sampled_from(POSSIBLE[state]))
        after = data.draw(st.sampled_from([0.0, 0.1, 3.0, 100.0]))
        match what:
            case "time":
                after = max(after, (pending or 0.0) - bench.seconds)
                input_ = m.Woken()
            case "event":
                sent.append(number)
                if data.draw(st.booleans()):
                    known.add(number)
                input_ = m.Received([b'{"n":%d}' % number])
                expects = state is m.ListenerState.OPENING or number not in known
                written += [number] * expects
            case "id":
                connections += 1
                input_ = m.Received([b'{"connection_id":"ws-%d"}' % connections])
            case _:
                input_ = {
                    "opened": m.Opened(), "failed": m.Failed(DOWN), "refused": m.Failed(REFUSED),
                    "closed": m.Closed(1006, ""), "silent": m.Closed(1006, "", silent=True),
                    "tick": m.Ticked(), "sleep": m.Ticked(), "supply": m.Supplied([fetched()]),
                    "drop": m.EventsDropped(1, bench.wall_ms, bench.wall_ms + number + 1),
                }[what]  # fmt: skip
        actions = bench.does(input_, after, ahead=1000.0 if what == "sleep" else 0.0)
        pending = next((it.monotonic for it in of_type(actions, m.WakeAt)), pending)
        marked = [gaps.gap_from(it.record.event) for it in of_type(actions, m.Append)]
        opened = [gap for gap in marked if gap is not None]
        ids += [gap.id for gap in opened]
        kept = [it.record.event["n"] for it in of_type(actions, m.Append) if "n" in it.record.event]
        assert kept == [it for it in written[-1:] if what == "event" and it == number]
        assert len(of_type(actions, m.Connect)) <= 1
        if state is m.ListenerState.CONNECTED and bench.machine.state is not m.ListenerState.CONNECTED:
            assert lost_ms is None
            lost_ms = bench.wall_ms
        outages = [gap for gap in opened if not gap.dropped]
        if state is not m.ListenerState.CONNECTED and bench.machine.state is m.ListenerState.CONNECTED:
            assert len(outages) == (lost_ms is not None)
            assert all(gap.since_ms <= lost_ms <= gap.until_ms == bench.wall_ms for gap in outages)
            lost_ms = None
        else:
            assert outages == []
    assert len(ids) == len(set(ids))


CARD = "4111111111111111"


def seen(text, start=WALL):
    data = {"text": text, "start": start, "end": start + 1}
    event = {"channel": "visual_index", "rtstream_id": "rts-1", "rtstream_name": "display:1", "data": data}
    return m.Received([json.dumps(event).encode()])


def test_secrets_are_replaced_in_events_own_lines_messages_and_reasons():
    known = []
    rules = RecordingRules(Redactor())
    bench = Bench(is_known=lambda record: known.append(record.text), rules=rules)
    bench.started()
    bench.does(m.Opened())
    connected = bench.does(m.Received([json.dumps({"connection_id": "ws-1", "for": CARD}).encode()]))
    received = bench.does(seen(f"card {CARD}"))
    closed = bench.does(m.Closed(4000, f"no {CARD}"))
    failed = bench.does(m.Failed(Failure(f"bad {CARD}")))
    own = envelope.own_record("listener.backfill", {"why": CARD}, WALL)
    supplied = bench.does(m.Supplied([own]))

    assert CARD not in repr([connected, received, closed, failed, supplied])
    assert [action.record.text for action in received] == ["card [redacted:card]"]
    assert known == ["card [redacted:card]"], "a fetched copy was redacted, too"
    assert bench.machine.outage.reason == "no [redacted:card] (4000)"
    assert bench.machine.last_error == "bad [redacted:card]"


def test_what_is_left_out_is_counted_and_its_stream_lives_all_the_same():
    rules = RecordingRules(exclusion=Exclusion(ExclusionRules(words=("secret",))))
    bench = Bench(rules=rules)
    bench.started()
    bench.connected()

    assert bench.does(seen("a secret"), 1) == []
    assert bench.machine.counts.last_seen == {"rts-1": 1.0}
    assert bench.machine.counts.channels == {}
    counted = own_events(bench.does(m.Ticked(), 1))["journal.excluded"]
    assert (counted["count"], counted["reasons"]) == (1, {"word": 1})
    bench.does(seen("another secret"), 1)
    assert own_events(bench.does(m.Ticked(), 1)) == {}
    assert list(own_events(bench.does(m.StopRequested("SIGTERM")))) == [
        "journal.excluded",
        "listener.stopped",
    ]


def test_in_a_pause_only_the_steps_of_a_session_are_written_and_connections_are_made():
    rules = RecordingRules(pauses=lambda: Pauses().begin("pause-1", WALL, None))
    bench = Bench(rules=rules)
    bench.started()
    step = {"event": "capture_session.active", "capture_session_id": "cap-1"}

    assert of_type(bench.connected(), m.Announce) == [m.Announce("ws-1", first=True)]
    assert bench.does(seen("x")) == []
    assert bench.does(m.Received([b"not JSON"])) == []
    assert len(bench.does(m.Received([json.dumps(step).encode()]))) == 1


MESSAGES = [
    b'{"connection_id":"ws-1"}', b'{"connection_id":"ws-2"}', b'{"n":1}', b'{"n": 2, "text": "caf\\u00e9"}',
    b"not JSON", b"\xff", b'{"channel":"vdbevents","event":"listener.gap"}',
    b'{"event":"capture_session.stopped","capture_session_id":"c"}',
    b'{"channel":"transcript","rtstream_id":"rts-1","data":{"text":"a secret"}}',
    b'{"channel":"visual_index","rtstream_id":"rts-3","data":{"text":"card 4111111111111111"}}',
]  # fmt: skip


@given(
    batches=st.lists(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=8), max_size=5),
    excludes=st.booleans(),
)
def test_messages_that_arrive_at_once_are_treated_as_one_by_one(batches, excludes):
    def bench():
        words = ("secret",) if excludes else ()
        rules = RecordingRules(Redactor(), Exclusion(ExclusionRules(words=words)))
        made = Bench(is_known=lambda record: record.event.get("n") == 1, rules=rules)
        made.started()
        made.does(m.Opened())
        return made

    together, alone = bench(), bench()
    for batch in batches:
        at_once = together.does(m.Received(batch), after=1)
        one_by_one = [
            alone.does(m.Received([payload]), after=float(not at)) for at, payload in enumerate(batch)
        ]
        assert at_once == [action for actions in one_by_one for action in actions]
        assert together.machine.counts == alone.machine.counts
        assert together.machine.state is alone.machine.state
    assert own_events(together.does(m.StopRequested("x"))) == own_events(alone.does(m.StopRequested("x")))
