"""Counts by hours and days follow the clock on the wall, and what was not recorded is counted, too."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from vdbevents.events.gaps import Gap
from vdbevents.privacy.pauses import Pause
from vdbevents.query.tally import QUARTER_MS, Slice
from vdbevents.summaries import activity
from vdbevents.summaries.activity import By, Figures, Row, Unrecorded
from vdbevents.times import Window

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = 60_000


def ms(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def hours(since, until, by, zone):
    """How many quarters of an hour each local hour or day has between two times, with their offsets."""
    quarters = range(ms(since) // QUARTER_MS, ms(until) // QUARTER_MS)
    rows = activity.rows_of([Slice(one, 1, 0, 0, 0, 0) for one in quarters], by, zone)
    zoned = [(datetime.fromtimestamp(row.key / 1000, zone), row.figures.events) for row in rows]
    return [(f"{moment:%d %H:%M %z}", count) for moment, count in zoned]


@pytest.mark.parametrize(
    ("since", "until", "by", "zone", "expected"),
    [
        (
            *("2026-03-29T00:00+00:00", "2026-03-29T02:00+00:00", By.HOUR, BERLIN),
            [("29 01:00 +0100", 4), ("29 03:00 +0200", 4)],
        ),
        (
            *("2026-10-25T00:00+00:00", "2026-10-25T02:00+00:00", By.HOUR, BERLIN),
            [("25 02:00 +0200", 4), ("25 02:00 +0100", 4)],
        ),
        (
            *("2026-03-28T23:00+00:00", "2026-03-29T22:15+00:00", By.DAY, BERLIN),
            [("29 00:00 +0100", 23 * 4), ("30 00:00 +0200", 1)],
        ),
        ("2026-10-24T22:00+00:00", "2026-10-25T23:00+00:00", By.DAY, BERLIN, [("25 00:00 +0200", 25 * 4)]),
        # Clocks go forward at midnight: the day begins at 01:00.
        (
            *("2026-09-06T04:00+00:00", "2026-09-06T05:00+00:00", By.DAY, ZoneInfo("America/Santiago")),
            [("06 01:00 -0300", 4)],
        ),
        (
            *("2026-03-02T00:00+00:00", "2026-03-02T01:00+00:00", By.HOUR, ZoneInfo("Asia/Kathmandu")),
            [("02 05:00 +0545", 1), ("02 06:00 +0545", 3)],
        ),
        (
            *("2026-03-02T00:00+00:00", "2026-03-02T01:00+00:00", By.DAY, timezone(timedelta(hours=-1))),
            [("01 00:00 -0100", 4)],
        ),
    ],
)
def test_an_hour_and_a_day_are_those_of_the_clock_on_the_wall(since, until, by, zone, expected):
    assert hours(since, until, by, zone) == expected


def test_an_event_that_no_calendar_has_counts_without_a_time():
    parts = [Slice(None, 1, 2, 0, 0, 0), Slice(10**9, 2, 0, 0, 0, 0)]

    assert activity.rows_of(parts, By.HOUR, BERLIN) == [Row(None, "", Figures(events=3, words=2))]


@pytest.mark.parametrize(
    ("window", "app"),
    [
        ("ingest.py - VS Code", "VS Code"),
        ("a - b – Mozilla Firefox", "Mozilla Firefox"),  # noqa: RUF001 - as it has it
        ("Inbox — Mail", "Mail"),
        ("Slack", "Slack"),
        ("co-op", "co-op"),
        ("a - ", "a - "),
        (" - a", "a"),
    ],
)
def test_an_app_is_what_follows_the_last_dash(window, app):
    assert activity.app_of(window) == app
    assert [row.key for row in activity.rows_of([Slice(window, 1, 0, 0, 0, 9)], By.APP, BERLIN)] == [app]
    assert [row.key for row in activity.rows_of([Slice(window, 1, 0, 0, 0, 9)], By.WINDOW, BERLIN)] == [
        window
    ]


def gap(since, until, status="incomplete"):
    return Gap(f"{since}", since, until, "", status)


def test_gaps_count_but_for_recovered_ones_and_each_moment_once():
    gaps = [gap(0, 10), gap(5, 20), gap(30, 40, "recovered"), gap(50, 45), gap(90, 200)]
    pauses = [Pause("p", 60, None), Pause("q", 1, 3)]

    assert activity.unrecorded(gaps, pauses, Window(2, None), 100) == Unrecorded(
        [(2, 20), (90, 100)], [(2, 3), (60, 100)]
    )
    assert activity.unrecorded(gaps, pauses, Window(None, 8), 100) == Unrecorded([(0, 8)], [(1, 3)])


def test_what_was_not_recorded_is_shared_among_the_hours():
    begin = ms("2026-03-02T09:50+01:00")
    lost = Unrecorded([(begin, begin + 75 * MINUTE)], [(begin + 5 * MINUTE, begin + 7 * MINUTE)])
    known = [Row(ms("2026-03-02T10:00+01:00"), "", Figures(events=3))]

    rows = activity.with_unrecorded(known, lost, By.HOUR, BERLIN)

    assert {row.key: row.figures for row in rows} == {
        ms("2026-03-02T09:00+01:00"): Figures(gaps=1, gap_ms=10 * MINUTE, paused_ms=2 * MINUTE),
        ms("2026-03-02T10:00+01:00"): Figures(events=3, gap_ms=60 * MINUTE),
        ms("2026-03-02T11:00+01:00"): Figures(gap_ms=5 * MINUTE),
    }
    assert activity.with_unrecorded(known, lost, By.APP, BERLIN) == known


def test_the_newest_hours_and_the_largest_names_are_kept():
    times = [Row(key, host, Figures(events=1)) for key in (3, 1, 2, None) for host in ("b", "a")]
    names = [Row("x", "", Figures(screen_ms=1)), Row(None, "", Figures(screen_ms=3)), Row("a", "", Figures())]

    assert activity.arranged(times, By.HOUR, 3) == (
        [Row(2, "b", Figures(events=1)), Row(3, "a", Figures(events=1)), Row(3, "b", Figures(events=1))],
        5,
    )
    assert [row.key for row in activity.arranged(names, By.APP, 2)[0]] == [None, "x"]
    assert activity.arranged(names, By.APP, None)[1] == 0


def test_more_than_two_days_are_counted_by_days():
    day = 24 * 60 * MINUTE

    assert activity.usual(None) is By.HOUR
    assert activity.usual((0, 2 * day)) is By.HOUR
    assert activity.usual((0, 2 * day + 1)) is By.DAY
