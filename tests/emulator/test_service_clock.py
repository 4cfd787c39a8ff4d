"""The service's clock."""

import asyncio
import math
import time

import pytest
from hypothesis import given, strategies

from vdbevents.emulator.service_clock import LATEST, ServiceClock

NOW = 1_772_446_530.123456


class Real:
    """A real clock that a test sets."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def real():
    return Real()


def test_at_rate_1_it_is_the_real_clock_to_the_last_bit(real):
    clock = ServiceClock(real)
    for real.now in (NOW, NOW + 0.1, NOW + 1e-7, NOW + 12_345.678):
        assert clock.now() == max(real.now, clock.now())
    real.now = math.nextafter(real.now, math.inf)
    assert clock.now() == real.now


def test_a_change_of_rate_or_a_jump_continues_from_the_present_time(real):
    clock = ServiceClock(real, 60)
    real.now += 10
    assert clock.now() == pytest.approx(NOW + 600)
    clock.rate = 2
    assert (clock.rate, clock.now()) == (2, pytest.approx(NOW + 600))
    real.now += 10
    assert clock.now() == pytest.approx(NOW + 620)
    clock.advance(3600)
    assert clock.now() == pytest.approx(NOW + 4220)
    clock.rate = 1
    real.now += 10
    assert clock.now() == pytest.approx(NOW + 4230)


def test_below_rate_1_it_uses_up_its_lead_and_is_never_behind(real):
    clock = ServiceClock(real, 0.5)
    real.now += 10
    assert clock.now() == real.now
    clock.advance(100)
    real.now += 10
    assert clock.now() == pytest.approx(real.now + 95)
    real.now += 1000
    assert clock.now() == real.now


def test_a_real_clock_that_is_set_back_does_not_take_it_back(real):
    clock = ServiceClock(real, 60)
    real.now += 60
    before = clock.now()
    real.now -= 1000
    assert clock.now() == before
    clock.advance(5)
    assert clock.now() == before + 5


@given(
    strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["wait", "rate", "advance"]),
            strategies.floats(1e-6, 1e6, allow_nan=False),
        ),
        max_size=20,
    )
)
def test_any_sequence_of_changes_keeps_it_going_forward_and_not_behind(steps):
    real = Real()
    clock = ServiceClock(real)
    before = clock.now()
    for what, amount in steps:
        if what == "wait":
            real.now += amount
        elif what == "rate":
            clock.rate = amount
        else:
            clock.advance(amount)
        now = clock.now()
        assert now >= before
        assert now >= real.now
        before = now


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, 10**400])
def test_an_invalid_rate_is_refused_and_changes_nothing(real, rate):
    clock = ServiceClock(real, 3)
    with pytest.raises(ValueError, match="clock rate"):
        ServiceClock(real, rate)
    with pytest.raises(ValueError, match="clock rate"):
        clock.rate = rate
    assert clock.rate == 3


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 10**400])
def test_an_invalid_number_of_seconds_to_advance_is_refused(real, seconds):
    clock = ServiceClock(real)
    with pytest.raises(ValueError, match="advance: must be"):
        clock.advance(seconds)
    assert clock.now() == NOW


def test_it_stops_at_the_last_date(real):
    clock = ServiceClock(real, 1e308)
    real.now += 10
    clock.advance(LATEST)
    assert clock.now() == LATEST

    async def never():
        await asyncio.wait_for(clock.until(LATEST + 1), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(never())


def done_within(seconds, clock, moment, *changes):
    """Wait until `moment` while changes are made in turn; return the seconds it took."""

    async def wait():
        waiting = asyncio.create_task(clock.until(moment))
        for change in changes:
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            change()
        await asyncio.wait_for(waiting, seconds)

    started = time.monotonic()
    asyncio.run(wait())
    assert clock.now() >= moment
    return time.monotonic() - started


def test_a_wait_ends_at_once_when_the_clock_is_advanced():
    clock = ServiceClock(time.time)
    hour = clock.now() + 3600
    assert done_within(60, clock, hour, *[lambda: clock.advance(1200)] * 3) < 60


def test_a_wait_ends_at_once_when_the_rate_is_changed():
    clock = ServiceClock(time.time)
    assert done_within(60, clock, clock.now() + 3600, lambda: setattr(clock, "rate", 3600 * 20)) < 60


def test_a_wait_on_a_slow_clock_ends_when_real_time_is_there():
    clock = ServiceClock(time.time, 1e-9)
    assert 0.05 <= done_within(60, clock, clock.now() + 0.05) < 60


def test_a_wait_for_a_past_moment_lets_other_tasks_run_first():
    order = []

    async def wait(clock):
        async def other():
            order.append("other")

        running = asyncio.create_task(other())
        await clock.until(0)
        order.append("past")
        await running

    asyncio.run(wait(ServiceClock(time.time)))
    assert order == ["other", "past"]
