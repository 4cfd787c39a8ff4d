"""Parse times and durations as people write them.

The accepted forms are a closed list, without a library that guesses: whether `03/04` is in March or April, or
which day `next friday` is, has no answer that everybody expects, and a wrong window looks like "no match".
Pure, but for the system's zone data that `parse_zone` reads.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from vdbevents.errors import InputError, options_conflict


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open range of times: `since_ms <= time < until_ms`, in Unix ms; None is unbounded."""

    since_ms: int | None = None
    until_ms: int | None = None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Times that a `datetime` can show in every zone; others count as missing.
LEAST_MS: Final = -62_135_510_400_000
MOST_MS: Final = 253_402_214_399_999

_FEW_SECONDS: Final = 10
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_COUNT: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
# Compiled on use: together they take 1 % of a query's start-up.
_DURATION: Final = rf"(?:{_COUNT}[smhdw])+"
_AGO: Final = rf"(?:(?P<count>{_COUNT})|an?) (?P<unit>sec(?:ond)?|min(?:ute)?|hour|day|week)s? ago"
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = (
    r"\d{4}-\d\d-\d\d|today|yesterday|"
    r"mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
)
_OFFSET: Final = r"Z|[+-]\d\d:?\d\d"
_TIME: Final = r"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
_MOMENT: Final = rf"(?P<date>{_DAY})|(?:(?P<day>{_DAY})[T ])?{_TIME}(?: ?(?P<zone>{_OFFSET}))?"
_UNIX: Final = r"@(\d{1,17})(\.\d{1,9})?"
_ANY_CASE: Final = re.ASCII | re.IGNORECASE

DURATION_FORMS: Final = "90s, 10m, 2h, 3d, 1w, or together as in 1h30m"
DAY_FORMS: Final = "2026-03-02, today, yesterday, or friday (today or the most recent one)"
MOMENT_FORMS: Final = (
    "2026-03-02T10:15:30Z, 2026-03-02 10:15, 2026-03-02, 10:15 (today), now, today, yesterday, "
    "friday (today or the most recent one), yesterday 10:15, -3h, 2 hours ago, "
    "or @1772446530 (Unix time in s, ms or µs); local time unless a zone is given"
)
ZONE_FORMS: Final = (
    "UTC, Z, +02:00, -0530, or a name such as Europe/Berlin; if the system knows no names, "
    "install the Python package tzdata"
)


def parse_window(
    *,
    last: str | None,
    since: str | None,
    until: str | None,
    now: datetime,
    zone: tzinfo,
    on: str | None = None,
) -> Window:
    """Return the window of `--last`, `--since` and `--until`, or of `--on` alone.

    Args:
        last: a duration, counted back from `until`, or from `now`.
        since: the beginning.
        until: the end.
        now: the present (aware).
        zone: the zone of times that name none; where clocks go back, the first of two equal times.
        on: a day of `zone`, from its start to the start of the next: 23 or 25 hours where clocks change.

    Raises:
        InputError: an option cannot be parsed, `last` comes with `since`, `on` comes with any other, or the
            window is empty.
    """
    if on is not None:
        for option, value in (("last", last), ("since", since), ("until", until)):
            if value is not None:
                raise options_conflict("--on", f"--{option}")
        return _day_window(on, now, zone)
    if last is not None and since is not None:
        raise options_conflict("--last", "--since")
    until_ms = None if until is None else parse_moment("--until", until, now, zone)
    since_ms = None
    if last is not None:
        since_ms = (_ceil_ms(now) if until_ms is None else until_ms) - parse_duration("--last", last)
    elif since is not None:
        since_ms = parse_moment("--since", since, now, zone)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise InputError(
            f"--since: must be before --until, got {since} and {until}",
            "the window includes --since and excludes --until",
            error_id="window-empty",
        )
    return Window(since_ms, until_ms)


def parse_duration(option: str, text: str) -> int:
    """Return the milliseconds of a duration such as `1h30m`; at least 1.

    Raises:
        InputError: it is not a duration; the message names `option`.
    """
    milliseconds = _read_duration(text.strip())
    if milliseconds is None:
        raise InputError(
            f"{option}: not a duration, got {text!r}", f"use {DURATION_FORMS}", error_id="duration-invalid"
        )
    return milliseconds


def format_duration(milliseconds: int) -> str:
    """Format a duration for people, in at most two units: `0.4 s`, `1 min 32 s`, `2 h 5 min`, `3 d`."""
    if milliseconds < _FEW_SECONDS * 1000:
        return f"{milliseconds / 1000:.1f} s"
    seconds = round(milliseconds / 1000)
    for size, unit, part, of in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}" + (f" {rest} {of}" if rest else "")
    return f"{seconds} s"


def format_age(seconds: float) -> str:
    """Format for how long something is so, in one rounded unit: `45 s`, `9 min`, `3 h`, `2 d`."""
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _UNIT_SECONDS[unit]:
            return f"{seconds / _UNIT_SECONDS[unit]:.0f} {'min' if unit == 'm' else unit}"
    return f"{seconds:.0f} s"


def parse_moment(option: str, text: str, now: datetime, zone: tzinfo) -> int:
    """Return a time in Unix milliseconds, rounded up, as windows are half-open.

    A day is its first moment in `zone`; a weekday is today or the most recent one before. `-3h` and `2 hours
    ago` are elapsed time before `now` (aware): a day is 24 hours and a week 168, even where clocks change.
    Words may be in any case; the units of `-3h` are those of `--last`, where an `M` could mean a month.

    Raises:
        InputError: it is not a time; the message names `option`.
    """
    try:
        milliseconds = _read_moment(text.strip(), now, zone)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{option}: cannot parse the time {text!r}: {error}",
            f"use {MOMENT_FORMS}",
            error_id="time-invalid",
        ) from None
    if milliseconds is None:
        raise InputError(
            f"{option}: cannot parse the time {text!r}", f"use {MOMENT_FORMS}", error_id="time-invalid"
        )
    return milliseconds


def parse_zone(text: str) -> tzinfo:
    """Return the zone of `--tz`: an offset from UTC, or a name in the system's zone data.

    Raises:
        InputError: the zone is unknown; the message names `--tz`.
    """
    from zoneinfo import ZoneInfo

    name = text.strip()
    try:
        if re.fullmatch(rf"UTC|{_OFFSET}", name, re.ASCII | re.IGNORECASE):
            return _offset(name)
        return ZoneInfo(name)
    # A name is a file below a folder: errors of a bad path come up, too.
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"--tz: unknown time zone, got {text!r}", f"use {ZONE_FORMS}", error_id="zone-unknown"
        ) from None


def _day_window(text: str, now: datetime, zone: tzinfo) -> Window:
    name = text.strip()
    if not re.fullmatch(_DAY, name, re.ASCII | re.IGNORECASE):
        raise InputError(f"--on: not a day, got {text!r}", f"use {DAY_FORMS}", error_id="day-invalid")
    try:
        day = _day(name, now.astimezone(zone).date())
        start, end = (datetime.combine(date_, time(), zone) for date_ in (day, day + timedelta(days=1)))
        return Window(_ceil_ms(start), _ceil_ms(end))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"--on: not a day, got {text!r}: {error}", f"use {DAY_FORMS}", error_id="day-invalid"
        ) from None


def _read_duration(text: str) -> int | None:
    if not re.fullmatch(_DURATION, text):
        return None
    parts = re.findall(r"([0-9.]+)([smhdw])", text)
    milliseconds = round(sum(float(count) * _UNIT_SECONDS[unit] for count, unit in parts) * 1000)
    once_each = len({unit for _, unit in parts}) == len(parts)
    return milliseconds if once_each and 0 < milliseconds < MOST_MS else None


def _read_back(text: str) -> int | None:
    """Return how many milliseconds `-3h` or `2 hours ago` is before now; None for other texts."""
    if text.startswith("-"):
        return _read_duration(text[1:])
    if ago := re.fullmatch(_AGO, text, _ANY_CASE):
        return _read_duration((ago["count"] or "1") + ago["unit"][0].lower())
    return None


def _read_moment(text: str, now: datetime, zone: tzinfo) -> int | None:
    if text.lower() == "now":
        return _ceil_ms(now)
    if unix := re.fullmatch(_UNIX, text, re.ASCII):
        return _unix_ms(unix[1], unix[2] or "")
    if back := _read_back(text):
        return _before(now, back)
    part = re.fullmatch(_MOMENT, text, _ANY_CASE)
    if part is None or (part["zone"] and not part["day"]):
        return None
    moment = datetime.combine(
        _day(part["date"] or part["day"], now.astimezone(zone).date()),
        time(int(part["hour"] or 0), int(part["minute"] or 0), int(part["second"] or 0)),
        tzinfo=_offset(part["zone"]) if part["zone"] else zone,
    )
    return _ceil_ms(moment) + _ceil_fraction(part["fraction"])


def _day(name: str | None, today: date) -> date:
    match (name or "today").lower():
        case "today":
            return today
        case "yesterday":
            return today - timedelta(days=1)
        case weekday if weekday[:3] in _WEEKDAYS:
            return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(weekday[:3])) % 7)
        case iso_date:
            return date.fromisoformat(iso_date)


def _offset(name: str) -> tzinfo:
    if name.lower() in ("z", "utc"):
        return UTC
    hours, minutes = int(name[1:3]), int(name[-2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - a clock's
        raise ValueError(f"{name} is not an offset from UTC")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if name[0] == "-" else offset)


def _ceil_fraction(digits: str | None) -> int:
    return 0 if digits is None else -(-int(digits.ljust(9, "0")) // 1_000_000)


def _unix_ms(whole: str, fraction: str) -> int:
    """Convert seconds, milliseconds or microseconds, judged by the size of the number, to milliseconds."""
    number = int(whole)
    per_second = next(scale for scale in (1, 1_000, 1_000_000) if number < 10**11 * scale)
    nanoseconds = (number * 10**9 + int(fraction[1:].ljust(9, "0") or 0)) // per_second
    milliseconds = -(-nanoseconds // 10**6)
    if milliseconds > MOST_MS:
        raise ValueError("it is beyond the year 9999")
    return milliseconds


def _before(now: datetime, milliseconds: int) -> int:
    moment_ms = _ceil_ms(now) - milliseconds
    if moment_ms < LEAST_MS:
        raise ValueError("it is before the year 1")
    return moment_ms


def _ceil_ms(moment: datetime) -> int:
    return -((_EPOCH - moment) // timedelta(milliseconds=1))
