"""What the listener decides, without a clock, a socket or a file."""

import json

import pytest
from hypothesis import given, strategies as st

from vdbevents.cloud import Failure
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.listener import machine as m

WALL = 1772446530123
DOWN = Failure("no connection: Connection refused")
INIT = m.Received(b'{"connection_id":"ws-1"}')


class Bench:
    """A machine, and a clock that moves when it is told to."""

    def __init__(self, draw=0.5, **settings):
        self.machine = m.Machine(m.Settings(**settings), lambda: draw)
        self.seconds = 0.0

    def does(self, happening, after=0.0):
        self.seconds += after
        return self.machine.handle(happening, m.Moment(self.seconds, WALL + int(self.seconds * 1000)))

    def started(self, **options):
        return self.does(m.Started(pid=1, version="1", **options))

    def connected(self, ws_id="ws-1"):
        self.does(m.Opened())
        return self.does(m.Received(json.dumps({"connection_id": ws_id}).encode()))


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
    assert bench.machine.state is m.State.CONNECTED


def test_an_id_after_a_reconnect_is_not_the_first_even_if_no_attempt_before_it_succeeded():
    bench = Bench()
    bench.started()
    bench.does(m.Failed(DOWN))
    bench.does(m.TimeReached(), after=60)
    assert of_type(bench.connected(), m.Announce) == [m.Announce("ws-1", first=True)]

    bench.does(m.Closed(1006, ""))
    bench.does(m.TimeReached(), after=60)
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
            bench.does(m.TimeReached(), after=waits[-1])
        assert waits == expected


def test_a_server_that_accepts_and_closes_does_not_reset_the_waits():
    bench = Bench(draw=1.0)
    bench.started()
    waits = []
    for _ in range(4):
        bench.connected()
        waits.append(wait_after(bench.does(m.Closed(1000, ""), after=5), bench))
        bench.does(m.TimeReached(), after=waits[-1])

    assert waits == [2, 4, 8, 16]


def test_a_connection_that_was_stable_for_a_while_resets_the_waits():
    bench = Bench(draw=1.0)
    bench.started()
    for _ in range(5):
        bench.does(m.Failed(DOWN))
        bench.does(m.TimeReached(), after=60)
    bench.connected()

    assert wait_after(bench.does(m.Closed(1006, ""), after=60), bench) == 2


@pytest.mark.parametrize(("asked", "wait"), [(None, 1), (0.5, 1), (30.0, 30), (600.0, 600)])
def test_a_wait_is_never_shorter_than_the_service_asked_for(asked, wait):
    bench = Bench(draw=0.0)
    bench.started()

    assert wait_after(bench.does(m.Failed(Failure("busy", retry_after=asked))), bench) == wait


def test_it_tries_for_ever_unless_told_otherwise():
    bench = Bench()
    bench.started()
    for _ in range(10_000):
        assert of_type(bench.does(m.Failed(DOWN)), m.End) == []
        bench.does(m.TimeReached(), after=60)


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_it_gives_up_after_as_many_retries_as_were_allowed(allowed):
    bench = Bench(max_retries=allowed)
    bench.started()
    for _ in range(allowed):
        assert of_type(bench.does(m.Failed(DOWN)), m.End) == []
        bench.does(m.TimeReached(), after=60)

    (end,) = of_type(bench.does(m.Failed(DOWN)), m.End)

    assert isinstance(end.error, ServiceUnreachableError)
    assert "Connection refused" in end.error.message


def test_a_fatal_failure_ends_it_at_once_with_the_cure():
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
        bench.does(m.Received(b'{"channel":"transcript"}')),
        bench.does(m.Received(b"not json")),
        bench.does(m.Received(b"\xff")),
    ]
    then = bench.does(INIT)

    assert [of_type(actions, m.Append)[0].channel for actions in early] == [
        "transcript",
        "unknown",
        "unknown",
    ]
    assert of_type(then, m.Announce) == [m.Announce("ws-1", first=True)]


def test_a_service_that_sends_no_id_in_time_is_left_and_tried_again():
    bench = Bench(step_limit=20)
    bench.started()
    (limit,) = of_type(bench.does(m.Opened()), m.WakeAt)

    actions = bench.does(m.TimeReached(), after=limit.monotonic)

    assert limit.monotonic == 20
    assert of_type(actions, m.Disconnect) == [m.Disconnect()]
    assert bench.machine.state is m.State.WAITING


def test_a_later_message_with_an_id_is_an_event_like_any_other():
    bench = Bench()
    bench.started()
    bench.connected("ws-1")

    actions = bench.does(m.Received(b'{"connection_id":"ws-9"}'))

    assert [type(a) for a in actions] == [m.Append]
    assert bench.machine.ws_id == "ws-1"


def test_the_time_between_two_connections_is_a_gap_with_a_reason():
    bench = Bench(draw=0.0)
    bench.started()
    bench.connected("ws-1")
    lost = bench.does(m.Closed(1011, "internal error"), after=10)
    bench.does(m.TimeReached(), after=1)
    bench.does(m.Failed(DOWN), after=1)
    bench.does(m.TimeReached(), after=1)
    back = bench.connected("ws-2")

    assert own_events(lost)["listener.disconnected"] == {
        "ws_id": "ws-1", "code": 1011, "reason": "internal error"
    }  # fmt: skip
    assert of_type(lost, m.Withdraw) == [m.Withdraw()]
    assert own_events(back)["listener.gap"] == {
        "since": "2026-03-02T10:15:40.123Z",
        "until": "2026-03-02T10:15:43.123Z",
        "seconds": 3.0,
        "reason": "internal error (1011)",
    }
    assert bench.machine.counts.gaps == 1


def test_a_connection_that_went_silent_may_have_been_dead_since_its_last_sign_of_life():
    bench = Bench(draw=0.0, ping_interval=20)
    bench.started()
    bench.connected()
    bench.does(m.Received(b"{}"), after=100)
    bench.does(m.Closed(1006, "pings went unanswered", silent=True), after=1000)
    bench.does(m.TimeReached(), after=2)

    gap = own_events(bench.connected("ws-2"))["listener.gap"]

    # Two ping intervals before it was noticed the connection had answered.
    assert gap["seconds"] == 42.0


def test_a_run_that_was_killed_left_a_gap_and_an_orderly_one_did_not():
    killed = Bench()
    killed.started(blind=m.Blindness(WALL - 60_000, "the listener with PID 77 ended without a word"))
    orderly = Bench()
    orderly.started()

    gap = own_events(killed.connected())["listener.gap"]

    assert (gap["seconds"], gap["reason"]) == (60.0, "the listener with PID 77 ended without a word")
    assert "listener.gap" not in own_events(orderly.connected())


@pytest.mark.parametrize("state", ["connecting", "opening", "connected", "waiting"])
def test_asked_to_end_it_ends_from_every_state_and_does_nothing_more(state):
    bench = Bench()
    bench.started()
    if state in ("opening", "connected"):
        bench.does(m.Opened())
    if state == "connected":
        bench.does(INIT)
    if state == "waiting":
        bench.does(m.Failed(DOWN))

    actions = bench.does(m.AskedToEnd("SIGTERM"))

    assert of_type(actions, m.End) == [m.End(None)]
    assert of_type(actions, m.Withdraw) == [m.Withdraw()]
    assert own_events(actions) == {"listener.stopped": {"by": "SIGTERM"}}
    assert bench.does(INIT) == []
    assert bench.does(m.TimeReached()) == []


happenings = st.one_of(
    st.just(m.Opened()),
    st.just(INIT),
    st.builds(m.Received, st.binary(max_size=20)),
    st.builds(m.Closed, st.sampled_from([1000, 1006, 1011]), st.text(max_size=5), st.booleans()),
    st.just(m.Failed(DOWN)),
    st.just(m.TimeReached()),
)


@given(steps=st.lists(st.tuples(happenings, st.floats(0, 100)), max_size=40), draw=st.floats(0, 0.999))
def test_whatever_happens_every_message_is_kept_and_it_never_rests_without_a_plan(steps, draw):
    bench = Bench(draw)
    bench.started()
    for happening, after in steps:
        state = bench.machine.state
        actions = bench.does(happening, after)
        if isinstance(happening, m.Received):
            assert of_type(actions, m.Append), "a message went unrecorded"
        if bench.machine.state is m.State.WAITING and state is not m.State.WAITING:
            wait = wait_after(actions, bench)
            assert wait == pytest.approx(30.5, abs=29.5001)
        if bench.machine.state is m.State.CONNECTING and state is not m.State.CONNECTING:
            assert of_type(actions, m.Connect)


def test_a_service_that_names_ever_new_kinds_does_not_fill_the_counts():
    bench = Bench()
    bench.started()
    bench.connected()
    for number in range(500):
        bench.does(m.Received(b'{"channel":"kind %d"}' % number))

    channels = bench.machine.counts.channels
    assert len(channels) == 101
    assert channels["other"].count == 400
