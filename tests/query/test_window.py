"""`--last`, `--since` and `--until` become a half-open window of Unix milliseconds."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from vdbevents.errors import InputError
from vdbevents.query.window import Window, parse_window

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 2, 10, 15, 30, 123_000, tzinfo=UTC)
NOW_MS = 1_772_446_530_123


def window(*, last=None, since=None, until=None, now=NOW, zone=UTC):
    return parse_window(last=last, since=since, until=until, now=now, zone=zone)


def utc_ms(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesteryear", "2026", "2026-03", "2026-02-30", "2026-3-2", "20260302", "2026-03-02T"),
        *("24:00", "10:60", "10", "10:1", "10:15:60", "10:15Z", "10:15+01:00", "2026-03-02 10:15 CET"),
        *(
            "2026-03-02Z",
            "2026-03-02 10:15+24:00",
            "2026-03-02 10:15+01:60",
            "0000-01-01",
            "@",
            "@-1",
            "@1e9",
        ),
        *(
            "@123456789012345678",
            "today today",
            "yesterday tomorrow",
            "10m",
            "-3h",
            "now 10:15",
        ),
        *(
            "\uff12\uff10\uff12\uff16-03-02",
            "@\u0661\u0662",
            "2026-03-02\n10:15",
            "\ud800",
            "10:15:30.",
            "10:15:30.1234567890",
        ),
    ],
)
@pytest.mark.parametrize("option", ["since", "until"])
def test_a_time_that_is_not_understood_is_refused_with_the_forms_that_are(option, text):
    with pytest.raises(InputError) as caught:
        window(**{option: text})
    assert caught.value.message.startswith(f"--{option} {text!r} is no time")
    for form in ("2026-03-02T10:15:30Z", "2026-03-02 10:15", "10:15", "yesterday", "@1772446530"):
        assert form in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "m", "10 m", "10min", "1M", "1h1h", "-1h", "0s", "0.0001s", "1h 30m", "1y", "1_0s", "∞d"),
        *("9" * 400 + "d", "999999999w", "1e3s", "\u0661s"),
    ],
)
def test_a_length_that_is_not_understood_is_refused_with_the_forms_that_are(text):
    with pytest.raises(InputError) as caught:
        window(last=text)
    assert caught.value.message == f"--last {text!r} is no length of time"
    assert caught.value.hint == "Accepted: 90s, 10m, 2h, 3d, 1w, or together as in 1h30m."


def test_two_beginnings_are_refused():
    with pytest.raises(InputError, match="--last and --since both say where to begin"):
        window(last="1h", since="10:15")


@pytest.mark.parametrize("since", ["10:15", "10:16", "2027-01-01"])
def test_a_window_that_can_hold_nothing_is_refused(since):
    with pytest.raises(InputError, match=f"the window is empty: --since {since} is not before --until 10:15"):
        window(since=since, until="10:15")


def test_without_options_everything_is_within():
    assert window() == Window(None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90s", 90), ("10m", 600), ("2h", 7_200), ("3d", 259_200), ("1w", 604_800), ("1h30m", 5_400)),
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


@pytest.mark.parametrize("text", ["10:15:30.1231", "@1772446530.1230001", "@1772446530123001"])
def test_a_time_between_two_milliseconds_is_the_later_one(text):
    # An event's time has whole milliseconds: `since <= t` and `t < until` are then what was asked.
    assert window(since=text) == Window(NOW_MS + 1, None)


def test_today_is_the_local_day_not_the_day_in_utc():
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # 00:30 on the 2nd in Berlin
    assert window(since="today", now=late, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 23)
    assert window(since="00:10", now=late, zone=BERLIN).since_ms == utc_ms(2026, 3, 1, 23, 10)


def test_a_local_time_that_comes_twice_is_the_first_of_them():
    # Clocks in Berlin went from 03:00 back to 02:00 on 2026-10-25.
    assert window(since="2026-10-25 02:30", zone=BERLIN).since_ms == utc_ms(2026, 10, 25, 0, 30)


def test_a_local_time_that_never_was_has_the_offset_before_the_change():
    # Clocks in Berlin went from 02:00 to 03:00 on 2026-03-29.
    assert window(since="2026-03-29 02:30", zone=BERLIN).since_ms == utc_ms(2026, 3, 29, 1, 30)


def test_last_is_elapsed_time_and_not_what_clocks_showed():
    now = datetime(2026, 10, 25, 12, tzinfo=BERLIN)
    assert window(last="1d", now=now, zone=BERLIN).since_ms == utc_ms(2026, 10, 24, 11)


def test_a_day_with_a_change_has_23_or_25_hours():
    def hours(day, after):
        day_window = window(since=day, until=after, zone=BERLIN)
        return (day_window.until_ms - day_window.since_ms) / 3_600_000

    assert hours("2026-03-29", "2026-03-30") == 23
    assert hours("2026-10-25", "2026-10-26") == 25


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


@given(st.text(max_size=30))
def test_no_text_does_anything_but_give_a_time_or_an_input_error(text):
    for option in ("last", "since", "until"):
        with contextlib.suppress(InputError):
            window(**{option: text}, zone=BERLIN)
