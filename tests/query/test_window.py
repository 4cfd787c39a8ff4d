"""`--last`, `--since`, `--until` and `--on` become a half-open window of Unix milliseconds, in `--tz`."""

import contextlib
import zoneinfo
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from vdbevents.errors import InputError
from vdbevents.times import (
    DAY_FORMS,
    MOMENT_FORMS,
    ZONE_FORMS,
    Window,
    format_duration,
    parse_window,
    parse_zone,
    unexpected,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 2, 10, 15, 30, 123_000, tzinfo=UTC)
NOW_MS = 1_772_446_530_123
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def window(*, last=None, since=None, until=None, on=None, now=NOW, zone=UTC):
    return parse_window(last=last, since=since, until=until, on=on, now=now, zone=zone)


def utc_ms(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesteryear", "2026", "2026-03", "2026-02-30", "20260302", "2026-03-02T", "2026-03/02"),
        *("24:00", "10:60", "10", "10:1", "10:15:60", "10:15Z", "10:15+01:00", "2026-03-02 10:15 CET"),
        *("2026-03-02Z", "2026-03-02 10:15+24:00", "2026-03-02 10:15+01:60", "0000-01-01"),
        *("@", "@-1", "@1e9", "@123456789012345678", "today today", "yesterday tomorrow", "now 10:15"),
        *(
            "march",
            "2 marching",
            "31 april",
            "31.04.2026",
            "2.3.26",
            "02.03.",
            "03/04/2026",
            "03/04",
            "13/13/2026",
        ),
        *(
            "0am",
            "13pm",
            "10:15xm",
            "am",
            "10 am pm",
            "noon noon",
            "friday midnight",
            "tomorrow",
            "in 2 hours",
        ),
        *("next friday", "this friday", "this today", "friday friday", "last", "last yesterday", "morning"),
        *("frid", "tues", "thurs", "fri day", "fridays", "\u017funday", "friday -3h", "hour", "minutes"),
        *("-", "-3", "--3h", "- 3h", "+3h", "\u22123h", "-0h", "-1h1h", "-3M", "-3h ago", "-1y"),
        *("-9999999999h", "-300000w", "300000 weeks ago", "1h1h", "1 hour 2 hours ago", "10M"),
        *(
            "ago",
            "hours ago",
            "2 hours ago 10:15",
            "0 hours ago",
            "-2 hours ago",
            "two hours ago",
            "3h ago ago",
        ),
        *("a month ago", "2 months ago", "1 year ago", "an an hour ago", "\u0661 hours ago", "hour ago"),
        *("\uff12\uff10\uff12\uff16-03-02", "@\u0661\u0662", "2026-03-02\n10:15", "\ud800"),
        *("10:15:30.", "10:15:30.1234567890"),
    ],
)
@pytest.mark.parametrize("option", ["since", "until"])
def test_a_time_that_is_not_understood_is_refused_with_the_forms_that_are(option, text):
    with pytest.raises(InputError) as caught:
        window(**{option: text})
    assert caught.value.error_id == "time-invalid"
    assert f"--{option}" in caught.value.message
    assert repr(text) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        *(("03/04/2026", "2026-04-03"), ("03/04/2026", "2026-03-04"), ("10", "10am"), ("10", "10m")),
        *(("3 months", "90d"), ("a year ago", "365d"), ("tomorrow", "time that was"), ("soon", MOMENT_FORMS)),
    ],
)
def test_a_refused_time_is_told_how_to_write_it(text, instead):
    with pytest.raises(InputError) as caught:
        window(since=text)
    assert instead in caught.value.hint


def test_the_forms_that_a_refusal_shows_are_accepted():
    shown = ("10:15", "10am", "yesterday 10:15", "friday", "last friday", "2 march", "2026-03-02 10:15")
    shown += ("02.03.2026", "2026-03-02T10:15:30Z", "this morning", "now", "3h", "2 hours ago", "@1772446530")
    for form in shown:
        assert form in MOMENT_FORMS
        assert window(since=form).since_ms is not None
    days = (
        "2026-03-02",
        "2 march",
        "02.03.2026",
        "today",
        "yesterday",
        "friday",
        "last friday",
        "this morning",
    )
    for form in days:
        assert form in DAY_FORMS
        assert window(on=form).since_ms is not None
    for form in ("UTC", "Z", "+02:00", "-0530", "Europe/Berlin"):
        assert form in ZONE_FORMS
        assert parse_zone(form) is not None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "10",
            "m",
            "1M",
            "1h1h",
            "1h 2 hours",
            "-1h",
            "0s",
            "0.0001s",
            "1y",
            "1_0s",
            "∞d",
            "10minutely",
        ),
        *("9" * 400 + "d", "999999999w", "1e3s", "\u0661s", "3 months", "1h and", "an", "a and an hour"),
    ],
)
def test_a_length_that_is_not_understood_is_refused_with_the_forms_that_are(text):
    with pytest.raises(InputError) as caught:
        window(last=text)
    assert caught.value.error_id == "duration-invalid"
    assert "--last" in caught.value.message
    assert repr(text) in caught.value.message
    assert caught.value.hint


def test_two_beginnings_are_refused():
    with pytest.raises(InputError, match=r"--last.*--since") as caught:
        window(last="1h", since="10:15")
    assert caught.value.error_id == "options-conflict"
    assert caught.value.hint


@pytest.mark.parametrize("option", ["last", "since", "until"])
def test_a_day_is_refused_with_another_bound(option):
    with pytest.raises(InputError, match=f"--on.*--{option}") as caught:
        window(on="yesterday", **{option: "1h"})
    assert caught.value.error_id == "options-conflict"
    assert caught.value.hint


@pytest.mark.parametrize("since", ["10:15", "today 10:16", "2027-01-01"])
def test_a_window_that_can_hold_nothing_is_refused(since):
    with pytest.raises(InputError, match=rf"--since.*--until.*{since} and 10:15") as caught:
        window(since=since, until="10:15")
    assert caught.value.error_id == "window-empty"


def test_without_options_everything_is_within():
    assert window() == Window(None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90s", 90), ("10m", 600), ("2h", 7_200), ("3d", 259_200), ("1w", 604_800), ("1h30m", 5_400)),
        *(("10min", 600), ("10 minutes", 600), ("1h 30m", 5_400), ("1 hour and 30 minutes", 5_400)),
        *(("2 HOURS", 7_200), ("an hour", 3_600), ("half an hour", 1_800), ("day", 86_400), ("10 m", 600)),
        *(("90 days", 7_776_000), ("2 hrs, 5 mins", 7_500), ("30 sec", 30), ("1 wk", 604_800)),
        *(("1.5h", 5_400), ("1w2d3h4m5s", 788_645), (" 10m ", 600), ("0.5s", 0.5), ("30m1h", 5_400)),
    ],
)
def test_last_counts_back_from_now_and_leaves_the_end_open(text, seconds):
    # A clock that was ahead and stepped back leaves events "in the future": they are recent.
    assert window(last=text) == Window(NOW_MS - int(seconds * 1000), None)


def test_last_counts_back_from_until():
    assert window(last="10m", until="10:00") == Window(utc_ms(2026, 3, 2, 9, 50), utc_ms(2026, 3, 2, 10))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02T10:15:30.123Z", NOW_MS),
        ("2026-03-02t10:15:30z", NOW_MS - 123),
        ("2026-03-02T11:15:30+01:00", NOW_MS - 123),
        ("2026-03-02 11:15:30+0100", NOW_MS - 123),
        ("2026-03-02 05:15:30 -05:00", NOW_MS - 123),
        ("2026-03-02 11:15:30", NOW_MS - 123),
        ("2026-03-02 11:15", NOW_MS - 30_123),
        ("11:15", NOW_MS - 30_123),
        ("9:15", NOW_MS - 7_230_123),
        ("11:15:30.123", NOW_MS),
        ("2026-03-02", utc_ms(2026, 3, 1, 23)),
        ("today", utc_ms(2026, 3, 1, 23)),
        ("Yesterday", utc_ms(2026, 2, 28, 23)),
        ("yesterday 18:00", utc_ms(2026, 3, 1, 17)),
        ("today 11:15:30", NOW_MS - 123),
        ("now", NOW_MS),
        (" NOW ", NOW_MS),
        ("@1772446530", NOW_MS - 123),
        ("@1772446530.123", NOW_MS),
        ("@1772446530123", NOW_MS),
        ("@1772446530123000", NOW_MS),
        ("@0", 0),
    ],
)
def test_times_are_local_unless_they_name_a_zone(text, expected):
    assert window(since=text, zone=BERLIN) == Window(expected, None)


@pytest.mark.parametrize("text", ["today 10:15:30.1231", "@1772446530.1230001", "@1772446530123001"])
def test_a_time_between_two_milliseconds_is_the_later_one(text):
    # An event's time has whole milliseconds: `since <= t` and `t < until` are then what was asked.
    assert window(since=text) == Window(NOW_MS + 1, None)


def test_today_is_the_local_day_not_the_day_in_utc():
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # 00:30 on the 2nd in Berlin
    assert window(since="today", now=late, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 23)
    assert window(since="00:10", now=late, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 23, 10)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        *(
            ("monday", 2),
            ("mon", 2),
            ("sunday", 1),
            ("Sun", 1),
            ("SATURDAY", 28),
            ("sat", 28),
            ("friday", 27),
        ),
        *(("Fri", 27), ("thursday", 26), ("thu", 26), ("wednesday", 25), ("wed", 25), ("tuesday", 24)),
        *(("tue", 24), (" friday ", 27)),
    ],
)
def test_a_weekday_is_today_or_the_most_recent_such_day(text, day):
    # NOW is a Monday, the 2nd of March.
    month = 3 if day < 20 else 2
    assert window(since=text).since_ms == utc_ms(2026, month, day)
    assert window(since=f"{text.strip()} 10:15").since_ms == utc_ms(2026, month, day, 10, 15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            ("10am", (2, 10)),
            ("10 AM", (2, 10)),
            ("10:15 a.m.", (2, 10, 15)),
            ("12am", (2, 0)),
            ("noon", (1, 12)),
        ),
        *(("10:15 pm", (1, 22, 15)), ("12pm", (1, 12)), ("11:59pm", (1, 23, 59)), ("midnight", (2, 0))),
        *(("yesterday at 4pm", (1, 16)), ("4pm yesterday", (1, 16)), ("10:15 on sunday", (1, 10, 15))),
        *(
            ("last sunday", (1,)),
            ("1 mar", (1,)),
            ("March 1st", (1,)),
            ("1st march, 2026", (1,)),
            ("1. mar", (1,)),
        ),
        *(("01.03.2026", (1,)), ("1.3.2026 10:15", (1, 10, 15)), ("2026/03/01", (1,)), ("2026-3-1", (1,))),
        *(("this morning", (2,)), ("yesterday evening", (1, 18)), ("sunday afternoon", (1, 12))),
    ],
)
def test_a_time_may_be_written_as_people_do(text, expected):
    assert window(since=text).since_ms == utc_ms(2026, 3, *expected)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        *(("last monday", (2026, 2, 23)), ("3 mar", (2025, 3, 3)), ("29 feb", (2024, 2, 29))),
        *(("mar 2", (2026, 3, 2)), ("31/12/2025", (2025, 12, 31)), ("12/31/2025", (2025, 12, 31))),
    ],
)
def test_a_day_without_a_year_is_the_most_recent_and_numbers_count_where_only_one_can_be_the_month(text, day):
    assert window(since=text).since_ms == utc_ms(*day)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [("this morning", 0, 12), ("today afternoon", 12, 18), ("Monday Evening", 18, 24)],
)
def test_on_a_part_of_a_day_is_those_hours(text, begin, end):
    start = utc_ms(2026, 3, 2)
    assert window(on=text) == Window(start + begin * 3_600_000, start + end * 3_600_000)


AFTER_MIDNIGHT = datetime(2026, 3, 2, 0, 20, tzinfo=BERLIN)


def test_a_time_of_day_is_the_last_one_that_was():
    assert window(since="23:50", now=AFTER_MIDNIGHT, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 22, 50)
    assert window(since="00:10", now=AFTER_MIDNIGHT, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 23, 10)
    assert window(last="30m", until="23:59", now=AFTER_MIDNIGHT, zone=BERLIN) == Window(
        utc_ms(2026, 3, 1, 22, 29), utc_ms(2026, 3, 1, 22, 59)
    )
    assert window(since="today 23:50", now=AFTER_MIDNIGHT, zone=BERLIN).since_ms == utc_ms(2026, 3, 2, 22, 50)


@pytest.mark.parametrize(
    ("since", "until", "begin", "end"),
    [
        ("23:50", "00:10", (2026, 3, 1, 22, 50), (2026, 3, 1, 23, 10)),
        ("23:50", "00:30", (2026, 3, 1, 22, 50), (2026, 3, 1, 23, 30)),
        ("00:10", "00:30", (2026, 3, 1, 23, 10), (2026, 3, 1, 23, 30)),
        ("22:00", "23:00", (2026, 3, 1, 21), (2026, 3, 1, 22)),
        ("yesterday", "00:10", (2026, 2, 28, 23), (2026, 3, 1, 23, 10)),
    ],
)
def test_a_window_across_midnight_ends_with_the_last_time_that_was_or_else_the_first_after_it(
    since, until, begin, end
):
    assert window(since=since, until=until, now=AFTER_MIDNIGHT, zone=BERLIN) == Window(
        utc_ms(*begin), utc_ms(*end)
    )


def test_where_clocks_change_the_last_time_of_day_is_one_that_was():
    # 02:20, for the first time and for the second, as clocks in Berlin go back from 03:00 to 02:00.
    for at, expected in (((0, 20), (24, 0, 30)), ((1, 20), (25, 0, 30))):
        now = datetime(2026, 10, 25, *at, tzinfo=UTC)
        assert window(since="02:30", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, *expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("23:50", "2026-03-01 23:50"), ("00:10", None), ("yesterday 23:50", None), ("-1h", None)),
        *(("today 23:50", "2026-03-02 23:50"), ("2027-01-01", "2027-01-01 00:00"), ("now", None)),
        *(("this evening", "2026-03-02 18:00"), ("friday", None)),
    ],
)
def test_what_is_to_come_is_said_and_a_time_of_day_that_was_yesterday(text, said):
    at_ms = window(since=text, now=AFTER_MIDNIGHT, zone=BERLIN).since_ms
    told = unexpected("--since", text, at_ms, AFTER_MIDNIGHT, BERLIN)
    assert told is None if said is None else said in told


def test_a_weekday_is_one_of_the_zone():
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # Monday, 00:30 in Berlin; still Sunday in UTC
    assert window(since="monday", now=late, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 23)
    assert window(since="monday", now=late, zone=UTC).since_ms == utc_ms(2026, 2, 23)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        *(("-3h", "3h"), ("-1h30m", "1h30m"), ("-0.5s", "0.5s"), (" -3d ", "3d"), ("2 hours ago", "2h")),
        *(("1 day ago", "1d"), ("90 seconds ago", "90s"), ("an hour ago", "1h"), ("a week ago", "1w")),
        *(("A Minute Ago", "1m"), ("5 MINUTES AGO", "5m"), ("1 second ago", "1s"), ("30 sec ago", "30s")),
        *(("10 min ago", "10m"), ("10 mins ago", "10m"), ("3 days ago", "3d"), ("2 weeks ago", "2w")),
        *(
            ("1.5 hours ago", "1.5h"),
            ("3h", "3h"),
            ("10 minutes", "10m"),
            ("an hour", "1h"),
            ("2h ago", "2h"),
        ),
        *(("1 hour 30 minutes ago", "1h30m"), ("half an hour ago", "30m"), ("2  hours ago", "2h")),
    ],
)
def test_a_time_before_now_is_where_last_would_begin(text, length):
    assert window(since=text) == window(last=length)
    assert window(until=text).until_ms == window(last=length).since_ms


def test_a_window_may_begin_and_end_before_now():
    assert window(since="-3h", until="2 hours ago") == Window(NOW_MS - 10_800_000, NOW_MS - 7_200_000)


def test_a_day_ago_is_24_hours_though_yesterday_had_25():
    now = datetime(2026, 10, 25, 12, tzinfo=BERLIN)
    assert window(since="1 day ago", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 24, 11)
    assert window(since="-24h", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 24, 11)
    assert window(since="yesterday 12:00", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 24, 10)


def test_a_local_time_that_comes_twice_is_the_first_of_them():
    # Clocks in Berlin went from 03:00 back to 02:00 on 2026-10-25.
    assert window(since="2026-10-25 02:30", zone=BERLIN).since_ms == utc_ms(2026, 10, 25, 0, 30)
    now = datetime(2026, 10, 25, 12, tzinfo=BERLIN)
    assert window(since="02:30", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 25, 0, 30)
    assert window(since="sunday 02:30", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 25, 0, 30)


def test_a_local_time_that_never_was_has_the_offset_before_the_change():
    # Clocks in Berlin went from 02:00 to 03:00 on 2026-03-29.
    assert window(since="2026-03-29 02:30", zone=BERLIN).since_ms == utc_ms(2026, 3, 29, 1, 30)
    now = datetime(2026, 3, 29, 12, tzinfo=BERLIN)
    assert window(since="02:30", now=now, zone=BERLIN).since_ms == utc_ms(2026, 3, 29, 1, 30)
    assert window(since="sunday 02:30", now=now, zone=BERLIN).since_ms == utc_ms(2026, 3, 29, 1, 30)


def test_last_is_elapsed_time_and_not_what_clocks_showed():
    now = datetime(2026, 10, 25, 12, tzinfo=BERLIN)
    assert window(last="1d", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 24, 11)


@pytest.mark.parametrize(
    ("day", "after", "hours"),
    [
        ("2026-03-28", "2026-03-29", 24),
        ("2026-03-29", "2026-03-30", 23),
        ("2026-10-25", "2026-10-26", 25),
    ],
)
def test_a_day_with_a_change_has_23_or_25_hours(day, after, hours):
    whole = window(on=day, zone=BERLIN)
    assert whole == window(since=day, until=after, zone=BERLIN)
    assert whole.until_ms - whole.since_ms == hours * 3_600_000


@pytest.mark.parametrize(
    ("text", "day"),
    [
        *(("2026-03-01", 1), ("today", 2), ("yesterday", 1), ("Monday", 2), ("sun", 1), (" TODAY ", 2)),
    ],
)
def test_on_a_day_is_from_its_start_to_the_start_of_the_next(text, day):
    start = utc_ms(2026, 3, day) - 3_600_000
    assert window(on=text, zone=BERLIN) == Window(start, start + 86_400_000)


def test_on_yesterday_may_be_a_day_of_25_hours():
    now = datetime(2026, 10, 26, 0, 30, tzinfo=BERLIN)
    expected = Window(utc_ms(2026, 10, 24, 22), utc_ms(2026, 10, 25, 23))
    assert window(on="yesterday", now=now, zone=BERLIN) == expected
    assert window(on="sunday", now=now, zone=BERLIN) == expected


def test_a_day_whose_midnight_never_was_starts_with_the_change():
    # Clocks in Havana went from 00:00 to 01:00 on 2026-03-08, and from 01:00 back to 00:00 on 2026-11-01.
    havana = ZoneInfo("America/Havana")
    assert window(on="2026-03-08", zone=havana) == Window(utc_ms(2026, 3, 8, 5), utc_ms(2026, 3, 9, 4))
    assert window(on="2026-11-01", zone=havana) == Window(utc_ms(2026, 11, 1, 4), utc_ms(2026, 11, 2, 5))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "10:15",
            "yesterday 10:15",
            "2026-03-02 10:15",
            "2026-03-02T10:15:30Z",
            "2026-03-02Z",
            "now",
        ),
        *("-3h", "2 hours ago", "1d", "@1772446530", "tomorrow", "next friday", "03/04/2026", "2026-03"),
        *("2026-02-30", "0000-01-01", "9999-12-31", "20260302", "\uff12\uff10\uff12\uff16-03-02"),
    ],
)
def test_a_day_that_is_not_understood_is_refused_with_the_forms_that_are(text):
    with pytest.raises(InputError) as caught:
        window(on=text)
    assert caught.value.error_id == "day-invalid"
    assert "--on" in caught.value.message
    assert repr(text) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        *(("UTC", 0), ("utc", 0), ("Z", 0), ("z", 0), ("+02:00", 2), ("-0530", -5.5), ("+0000", 0)),
        *(("Europe/Berlin", 1), (" Europe/Berlin ", 1), ("America/New_York", -5), ("Etc/GMT+3", -3)),
    ],
)
def test_a_zone_is_an_offset_or_a_name(text, hours):
    assert datetime(2026, 3, 2, tzinfo=parse_zone(text)).utcoffset() == timedelta(hours=hours)


def test_a_zone_with_a_name_knows_its_changes():
    whole = window(on="2026-03-29", zone=parse_zone("Europe/Berlin"))
    assert whole.until_ms - whole.since_ms == 23 * 3_600_000


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "..", "/", "../etc/passwd", "/etc/passwd", "Europe", "Europe/", "Europe//Berlin"),
        *("Europe/../Europe/Berlin", "zone.tab", "a\0b", "\0", "\ud800", "é", "x" * 5_000, "Mars/Phobos"),
        *("+2", "+02", "+02:0", "02:00", "+24:00", "-01:60", "+02:00:00", "UTC+2", "+\u0660\u0662:00"),
    ],
)
def test_a_zone_that_is_not_known_is_refused_with_the_forms_that_are(text):
    with pytest.raises(InputError) as caught:
        parse_zone(text)
    assert caught.value.error_id == "zone-unknown"
    assert "--tz" in caught.value.message
    assert repr(text) in caught.value.message
    assert ZONE_FORMS in caught.value.hint


@pytest.mark.parametrize("error", [IsADirectoryError, PermissionError, ValueError])
def test_a_zone_whose_data_cannot_be_read_is_refused(error, monkeypatch):
    # What the package tzdata has for "Europe" is a folder; what that raises is the platform's choice.
    def unreadable(_name):
        raise error

    monkeypatch.setattr(zoneinfo, "ZoneInfo", unreadable)
    with pytest.raises(InputError, match=r"--tz.*'Europe'") as caught:
        parse_zone("Europe")
    assert caught.value.error_id == "zone-unknown"


def test_without_zone_data_offsets_still_work_and_names_say_what_to_install(monkeypatch):
    def missing(name):
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)
    assert parse_zone("UTC") is UTC
    assert parse_zone("+02:00") == timezone(timedelta(hours=2))
    with pytest.raises(InputError) as caught:
        parse_zone("Europe/Berlin")
    assert "install the Python package tzdata" in caught.value.hint


moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - zones are put to them
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, offsets, st.sampled_from(["T", " "]))
def test_every_time_with_a_zone_reads_back_as_itself(moment, offset, between):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=offset)
    text = moment.isoformat(sep=between, timespec="milliseconds")
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert window(since=text, zone=BERLIN).since_ms == expected
    assert window(until=text).until_ms == expected


@given(st.integers(0, 4_102_444_800_000), st.integers(0, 999))
def test_unix_times_mean_the_same_in_every_unit(milliseconds, micro):
    seconds, rest = divmod(milliseconds, 1000)
    assert window(since=f"@{seconds}.{rest:03}").since_ms == milliseconds
    if milliseconds >= 10**11:
        assert window(since=f"@{milliseconds}").since_ms == milliseconds
        assert window(since=f"@{milliseconds}{micro:03}").since_ms == milliseconds + (micro > 0)


days = st.dates(date(1971, 1, 1), date(2200, 1, 1))
# With changes at 02:00, at midnight, by half an hour, and one that left out a whole day.
zones = st.sampled_from(
    ["Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
).map(ZoneInfo)


@given(days, zones)
def test_days_follow_each_other_without_gap_or_overlap(day, zone):
    def on(day):
        return window(on=day.isoformat(), zone=zone)

    assert on(day).until_ms == on(day + timedelta(days=1)).since_ms
    assert on(day).since_ms <= on(day).until_ms


@given(moments, zones)
def test_every_moment_is_within_its_local_day(moment, zone):
    now = moment.replace(tzinfo=UTC)
    today = window(on="today", now=now, zone=zone)
    now_ms = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert today.since_ms <= now_ms < today.until_ms
    assert today == window(on=now.astimezone(zone).date().isoformat(), zone=zone)


@given(moments, zones, st.integers(0, 6))
def test_a_weekday_is_at_most_six_days_before_today(moment, zone, weekday):
    now = moment.replace(tzinfo=UTC)
    today = now.astimezone(zone).date()
    meant = next(day for back in range(7) if (day := today - timedelta(days=back)).weekday() == weekday)
    name = WEEKDAYS[weekday]
    assert window(on=name, now=now, zone=zone) == window(on=meant.isoformat(), zone=zone)
    assert window(since=name, now=now, zone=zone).since_ms == window(on=name, now=now, zone=zone).since_ms


@given(moments, st.integers(1, 10_000), st.sampled_from(["second", "minute", "hour", "day", "week"]))
def test_three_ways_to_count_back_agree(moment, count, unit):
    now = moment.replace(tzinfo=UTC)
    short = f"{count}{unit[0]}"
    assert window(since=f"-{short}", now=now, zone=BERLIN) == window(last=short, now=now)
    assert window(since=f"{count} {unit}s ago", now=now, zone=BERLIN) == window(last=short, now=now)


words = st.sampled_from(
    [
        *("-", "+", ":", ".", "..", "/", "@", "\0", "T", "Z", "0", "1", "02", "2026", "9999", "999999999"),
        *("s", "m", "h", "d", "w", "M", "a", "an", "ago", "hours", "day", "weeks", "sec", "now", "today"),
        *("yesterday", "tomorrow", "fri", "friday", "last", "march", "am", "Europe", "Berlin", "UTC"),
        *("2026-03-29", "9999-12-31", "0001-01-01", "02:30", "+02:00"),
    ]
)
nearly = st.lists(words | st.just(" "), max_size=6).map("".join) | st.lists(words, max_size=4).map(" ".join)


@given(st.text(max_size=30) | nearly)
def test_no_text_does_anything_but_give_a_time_or_an_input_error(text):
    for option in ("last", "since", "until", "on"):
        with contextlib.suppress(InputError):
            window(**{option: text}, zone=BERLIN)
    with contextlib.suppress(InputError):
        parse_zone(text)


@pytest.mark.parametrize(
    ("milliseconds", "told"),
    [
        *((0, "0.0 s"), (449, "0.4 s"), (9_999, "10.0 s"), (10_000, "10 s"), (59_499, "59 s")),
        *((59_500, "1 min"), (92_000, "1 min 32 s"), (3_600_000, "1 h"), (7_500_000, "2 h 5 min")),
        *((86_400_000, "1 d"), (3 * 86_400_000 + 7_200_000, "3 d 2 h")),
    ],
)
def test_a_duration_is_formatted_in_two_units_at_most(milliseconds, told):
    assert format_duration(milliseconds) == told
