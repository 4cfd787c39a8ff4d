"""Blocks of time by the local clock, and where clocks change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from vdbevents.cli.localtime import SystemZone
from vdbevents.summaries.time_blocks import LENGTHS_MS, TimeBlock, block_at, clock_of
from vdbevents.times import LEAST_MS, MOST_MS

HOUR = 3_600_000
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]
).map(ZoneInfo)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: int(moment.timestamp() * 1000)
)


def at(text):
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@given(MOMENTS, st.sampled_from(LENGTHS_MS), ZONES)
def test_each_moment_is_in_one_block_and_the_next_begins_where_it_ends(moment, length, zone):
    block = block_at(moment, length, zone)

    assert block.since_ms <= moment < block.until_ms
    assert block_at(block.since_ms, length, zone) == block
    assert block_at(block.until_ms - 1, length, zone) == block
    assert block_at(block.until_ms, length, zone).since_ms == block.until_ms


@given(MOMENTS, st.sampled_from([length for length in LENGTHS_MS if length >= HOUR // 4]), ZONES)
def test_a_quarter_of_an_hour_in_utc_is_never_in_two_longer_blocks(moment, length, zone):
    quarter = moment // (HOUR // 4) * (HOUR // 4)

    assert block_at(quarter, length, zone) == block_at(quarter + HOUR // 4 - 1, length, zone)


def test_the_hour_that_a_clock_shows_twice_is_two_blocks():
    berlin = ZoneInfo("Europe/Berlin")
    clocks = [
        clock_of(block_at(at("2026-10-24T23:30Z") + hour * HOUR, HOUR, berlin), berlin, dated=False)
        for hour in range(4)
    ]

    assert clocks == ["01:00-02:00", "02:00-02:00", "02:00-03:00 (UTC+01:00)", "03:00-04:00"]


@pytest.mark.parametrize(
    ("moment", "length", "hours"),
    [
        ("2026-03-29T10:00Z", 24 * HOUR, 23),
        ("2026-10-25T10:00Z", 24 * HOUR, 25),
        ("2026-10-25T10:00Z", 7 * 24 * HOUR, 169),
        ("2026-03-29T00:30Z", 3 * HOUR, 2),
        ("2026-10-25T00:30Z", 3 * HOUR, 4),
    ],
)
def test_a_block_in_which_clocks_change_is_longer_or_shorter(moment, length, hours):
    block = block_at(at(moment), length, ZoneInfo("Europe/Berlin"))

    assert block.until_ms - block.since_ms == hours * HOUR


def test_a_block_says_its_days_or_its_clock():
    berlin = ZoneInfo("Europe/Berlin")
    moment = at("2026-03-04T09:20Z")

    assert clock_of(block_at(moment, HOUR // 4, berlin), berlin, dated=True) == "2026-03-04 10:15-10:30"
    assert clock_of(block_at(moment, 24 * HOUR, berlin), berlin, dated=True) == "Wed 2026-03-04"
    week = clock_of(block_at(moment, 7 * 24 * HOUR, berlin), berlin, dated=True)
    assert week == "Mon 2026-03-02 to Sun 2026-03-08"
    odd = TimeBlock(moment, moment + 30 * HOUR)
    assert clock_of(odd, berlin, dated=False) == "2026-03-04 10:20 to 2026-03-05 16:20"


@pytest.mark.parametrize("moment", [LEAST_MS, MOST_MS])
def test_the_first_and_the_last_moment_have_a_block(moment):
    for zone in (UTC, SystemZone(), ZoneInfo("Pacific/Auckland")):
        for length in LENGTHS_MS:
            block = block_at(moment, length, zone)
            assert block.since_ms <= moment <= block.until_ms
