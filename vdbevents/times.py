"""Parse times and durations as people write them.

The accepted forms are a closed list, as no library serves: `10 minutes` is ten minutes ago for dateparser
1.5.0, in ten minutes for parsedatetime 2.6, and 00:10 today for dateutil 4.0.0; none refuses `03/04/2026`, or
takes `23:50` for the last one that was; and a wrong window looks like "no match". Importing one takes 0.07 to
0.12 s of CPU. A refusal says what to write.
Pure, but for the system's zone data that `parse_zone` reads.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final, NamedTuple

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
_UNIT: Final = r"(?:seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|wks?|w)(?![A-Za-z])"
_PIECE: Final = rf"(?:{_COUNT} ?|half an |an? ){_UNIT}"
_LENGTH: Final = rf"{_PIECE}(?:(?: and |,? ?){_PIECE})*"
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY: Final = (
    r"mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY_NUMBER: Final = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_DAY: Final = (
    rf"\d{{4}}-\d\d?-\d\d?|\d{{4}}/\d\d?/\d\d?|\d\d?\.\d\d?\.\d{{4}}|\d\d?/\d\d?/\d{{4}}|"
    rf"{_DAY_NUMBER} {_MONTH}(?:,? \d{{4}})?|{_MONTH}\.? {_DAY_NUMBER}(?:,? \d{{4}})?|"
    rf"today|yesterday|(?:last )?(?:{_WEEKDAY})"
)
_OFFSET: Final = r"Z|[+-]\d\d:?\d\d"
_CLOCK: Final = r"(\d\d?)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(?: ?([ap])\.?m\.?)?|noon"
# When each begins and ends, in hours; nothing that was recorded is left out, and none overlap.
_PARTS: Final = {"morning": (0, 12), "afternoon": (12, 18), "evening": (18, 24)}
_UNIX: Final = r"@(\d{1,17})(\.\d{1,9})?"
_ANY_CASE: Final = re.ASCII | re.IGNORECASE
_MOST_YEARS_BACK: Final = 8

DURATION_FORMS: Final = "90s, 10m, 2h, 3d, 1w, or together as in 1h30m; also 10 minutes"
DAY_FORMS: Final = (
    "2026-03-02, 2 march, 02.03.2026, today, yesterday, friday (today or the most recent one), last friday, "
    "or this morning"
)
MOMENT_FORMS: Final = (
    "10:15 or 10am (the last one that was), yesterday 10:15, friday, last friday, 2 march, 2026-03-02 10:15, "
    "02.03.2026, 2026-03-02T10:15:30Z, this morning, now, 3h or 2 hours ago, "
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
        until: the end; a time of day after `since` is the first one, if the last one was before that.
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
    since_ms = None if since is None else parse_moment("--since", since, now, zone)
    until_ms = None if until is None else parse_moment("--until", until, now, zone)
    if since_ms is not None and until is not None and until_ms is not None and until_ms < since_ms:
        until_ms = _following(until, since_ms, until_ms, now, zone)
    if last is not None:
        since_ms = (_ceil_ms(now) if until_ms is None else until_ms) - parse_duration("--last", last)
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
    milliseconds = _read_duration(_tidy(text))
    if milliseconds is None:
        raise InputError(
            f"{option}: not a duration, got {text!r}",
            _advice(text) or f"use {DURATION_FORMS}",
            error_id="duration-invalid",
        )
    return milliseconds


def parse_seconds(option: str, text: str) -> float:
    """Return the seconds of a plain number, or of a duration such as `1h30m`.

    Raises:
        InputError: it is neither; the message names `option`.
    """
    try:
        number = float(text)
    except ValueError:
        return parse_duration(option, text) / 1000
    if not 0 < number < MOST_MS:
        raise InputError(
            f"{option}: not a duration, got {text!r}", f"use {DURATION_FORMS}", error_id="duration-invalid"
        )
    return number


def is_duration(text: str) -> bool:
    """Return whether `parse_duration` accepts a text."""
    return _read_duration(_tidy(text)) is not None


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

    A day, or a part of it, is its first moment in `zone`; a weekday is today or the most recent one before,
    and a date without a year, or a time without a day, the most recent one that was. `3h` and `2 hours ago`
    are elapsed time before `now` (aware): a day is 24 hours and a week 168, even where clocks change.
    Words may be in any case; the units of `3h` are those of `--last`, where an `M` could mean a month.

    Raises:
        InputError: it is not a time; the message names `option`.
    """
    try:
        milliseconds = _read_moment(_tidy(text), now, zone)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{option}: cannot parse the time {text!r}: {error}",
            _advice(text) or f"use {MOMENT_FORMS}",
            error_id="time-invalid",
        ) from None
    if milliseconds is None:
        raise InputError(
            f"{option}: cannot parse the time {text!r}",
            _advice(text) or f"use {MOMENT_FORMS}",
            error_id="time-invalid",
        )
    return milliseconds


def unexpected(option: str, text: str, at_ms: int, now: datetime, zone: tzinfo) -> str | None:
    """Return what to say of a time that is to come, or of a time of day that was not today; else None.

    Args:
        option: what it was given for.
        text: as it was given.
        at_ms: what it was taken for.
        now: the present (aware).
        zone: the zone of times that name none.
    """
    moment = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
    shown = f"{option} {text} is {moment:%Y-%m-%d %H:%M}"
    if moment > now + timedelta(milliseconds=1):
        return f"{shown}, which is still to come"
    part = _parted(_tidy(text))
    is_of_some_day = part is not None and part.clock is not None and part.day is None
    return (
        f"{shown}, the last one" if is_of_some_day and moment.date() != now.astimezone(zone).date() else None
    )


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


class _Parted(NamedTuple):
    """What a time is written of, in lower case; None is not there."""

    day: str | None = None
    clock: str | None = None
    zone: str | None = None
    part: str | None = None


def _tidy(text: str) -> str:
    return re.sub(" +", " ", text.strip())


def _parted(text: str) -> _Parted | None:
    """Return what a time consists of; None for other texts."""
    forms = (
        rf"(?P<day>{_DAY})",
        rf"(?:(?P<day>{_DAY})(?:T|,? (?:at )?))?(?P<clock>{_CLOCK})(?: ?(?P<zone>{_OFFSET}))?",
        rf"(?P<clock>{_CLOCK})(?:,? (?:on )?)(?P<day>{_DAY})",
        rf"(?:this|(?P<day>{_DAY})) (?P<part>morning|afternoon|evening)",
        r"(?P<clock>midnight)",
    )
    for form in forms:
        if match := re.fullmatch(form, text, _ANY_CASE):
            return _Parted(**{name: found.lower() for name, found in match.groupdict().items() if found})
    return None


def _day_window(text: str, now: datetime, zone: tzinfo) -> Window:
    part = _parted(_tidy(text))
    if part is None or part.clock is not None:
        advice = _advice(text) or f"use {DAY_FORMS}"
        raise InputError(f"--on: not a day, got {text!r}", advice, error_id="day-invalid")
    try:
        day = _day(part.day, now.astimezone(zone).date())
        begin, end = _PARTS.get(part.part or "", (0, 24))
        return Window(_ceil_ms(_at(day, begin, zone)), _ceil_ms(_at(day, end, zone)))
    except (ValueError, OverflowError) as error:
        advice = _advice(text) or f"use {DAY_FORMS}"
        raise InputError(f"--on: not a day, got {text!r}: {error}", advice, error_id="day-invalid") from None


def _at(day: date, hour: int, zone: tzinfo) -> datetime:
    days, hour = divmod(hour, 24)
    return datetime.combine(day + timedelta(days=days), time(hour), zone)


def _read_duration(text: str) -> int | None:
    if re.fullmatch(r"minute|hour|day|week", text, _ANY_CASE):
        text = f"a {text}"
    if not re.fullmatch(_LENGTH, text, _ANY_CASE):
        return None
    seconds: dict[str, float] = {}
    parts = re.findall(rf"({_COUNT}|half an\b|\ban?\b) ?({_UNIT})", text, _ANY_CASE)
    for count, unit in parts:
        if unit.isupper() and len(unit) == 1:
            return None  # an M could be a month
        number = {"a": 1, "an": 1, "half an": 0.5}.get(count.lower()) or float(count)
        seconds[unit[0].lower()] = number * _UNIT_SECONDS[unit[0].lower()]
    milliseconds = round(sum(seconds.values()) * 1000)
    return milliseconds if len(seconds) == len(parts) and 0 < milliseconds < MOST_MS else None


def _read_back(text: str) -> int | None:
    """Return how many milliseconds `-3h`, `3h` or `2 hours ago` is before now; None for other texts."""
    if text.startswith("-"):
        return _read_duration(text[1:])
    length = re.sub(" ago$", "", text, flags=_ANY_CASE)
    return _read_duration(length) if re.match("[0-9]|an? |half ", length, _ANY_CASE) else None


def _read_moment(text: str, now: datetime, zone: tzinfo) -> int | None:
    if unix := re.fullmatch(_UNIX, text, re.ASCII):
        return _unix_ms(unix[1], unix[2] or "")
    back = 0 if text.lower() == "now" else _read_back(text)
    if back is not None:
        return _before(now, back)
    part = _parted(text)
    return None if part is None or (part.zone and not part.day) else _moment_of(part, now, zone)


def _moment_of(part: _Parted, now: datetime, zone: tzinfo) -> int | None:
    today = now.astimezone(zone).date()
    if part.part:
        return _ceil_ms(_at(_day(part.day, today), _PARTS[part.part][0], zone))
    at_ms = _on_day(part, _day(part.day, today), zone)
    if at_ms is not None and part.day is None and at_ms > _ceil_ms(now):
        return _on_day(part, today - timedelta(days=1), zone)
    return at_ms


def _following(text: str, since_ms: int, until_ms: int, now: datetime, zone: tzinfo) -> int:
    """Return the first time of day `text` after a time that was; `until_ms`, if it is not one."""
    part = _parted(_tidy(text))
    if part is None or part.clock is None or part.day is not None or since_ms > _ceil_ms(now):
        return until_ms
    day = (_EPOCH + timedelta(milliseconds=since_ms)).astimezone(zone).date()
    days = (day + timedelta(days=number) for number in range(3))
    moments = [at_ms for day in days if (at_ms := _on_day(part, day, zone)) is not None]
    return min((at_ms for at_ms in moments if at_ms > since_ms), default=until_ms)


def _on_day(part: _Parted, day: date, zone: tzinfo) -> int | None:
    """Return the time of day of a part, on a day; None if it is only a number."""
    clock = {"noon": "12:00", "midnight": "00:00", None: "00:00"}.get(part.clock, part.clock)
    match = re.fullmatch(_CLOCK, clock or "")
    if match is None or not (match[2] or match[5]):
        return None
    hour, minute, second = (int(number or 0) for number in match.groups()[:3])
    if match[5]:
        if not 1 <= hour <= 12:  # noqa: PLR2004 - a clock's
            raise ValueError("am and pm need an hour from 1 to 12")
        hour = hour % 12 + (12 if match[5] == "p" else 0)
    moment = datetime.combine(
        day, time(hour, minute, second), tzinfo=_offset(part.zone) if part.zone else zone
    )
    return _ceil_ms(moment) + _ceil_fraction(match[4])


def _day(name: str | None, today: date) -> date:
    match (name or "today").split():
        case ["today"]:
            return today
        case ["yesterday"]:
            return today - timedelta(days=1)
        case ["last", weekday]:
            return _day(weekday, today - timedelta(days=1))
        case [weekday] if weekday[:3] in _WEEKDAYS:
            return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(weekday[:3])) % 7)
        case [numbers]:
            return _numbered_day(numbers)
        case words:
            return _named_day(words, today)


def _numbered_day(numbers: str) -> date:
    first, second, third = map(int, re.split(r"[-/.]", numbers))
    if re.match(r"\d{4}", numbers):
        return date(first, second, third)
    if "." in numbers:
        return date(third, second, first)
    if first != second and max(first, second) <= 12:  # noqa: PLR2004 - months
        raise ValueError("which is the day, and which the month?")
    return date(third, *((second, first) if first > 12 else (first, second)))  # noqa: PLR2004


def _named_day(words: list[str], today: date) -> date:
    """Return the day of `2 march`, `mar 2nd` or `march 2, 2026`; without a year the most recent one."""
    if words[0][0].isdigit():
        words[:2] = [words[1], words[0]]
    month, day = _MONTHS.index(words[0][:3]) + 1, int(re.sub(r"\D", "", words[1]))
    if len(words) > 2:  # noqa: PLR2004 - a month, a day and a year
        return date(int(words[2]), month, day)
    for year in range(today.year, today.year - _MOST_YEARS_BACK, -1):
        try:
            if (found := date(year, month, day)) <= today:
                return found
        except ValueError:
            continue
    raise ValueError("there is no such day")


def _advice(text: str) -> str | None:
    """Return what to write instead of a time or duration that people may write, but that is refused."""
    tidy = _tidy(text)
    if either := re.fullmatch(r"(\d\d?)/(\d\d?)(?:/(\d{4}))?(?: .*)?", tidy, re.ASCII):
        first, second, year = int(either[1]), int(either[2]), either[3] or "2026"
        return f"write {year}-{second:02}-{first:02} or {year}-{first:02}-{second:02}: either could be meant"
    if re.fullmatch(r"\d{1,3}", tidy, re.ASCII):
        return f"name the unit: {tidy}m for minutes, {tidy}h for hours; a time of day is 10:00 or 10am"
    if long := re.fullmatch(r"([0-9]{1,3}|an?) ?(month|year|y)s?(?: ago)?", tidy):
        days = int(long[1] if long[1].isdigit() else 1) * (365 if long[2] in ("year", "y") else 30)
        return f"write days, as in {days}d: a month or a year has no fixed length"
    if re.match(r"(?:tomorrow|next)\b", tidy, re.IGNORECASE):
        return "name a time that was: nothing is recorded yet of what is to come"
    return None


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
