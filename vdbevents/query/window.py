"""Times as people write them, and the window that they describe. Pure: now and the zone are given."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from vdbevents.errors import InputError


@dataclass(frozen=True, slots=True)
class Window:
    """Times of receipt, half-open: `since_ms <= time < until_ms`, in Unix milliseconds; None is unbounded."""

    since_ms: int | None = None
    until_ms: int | None = None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Times that a `datetime` can show in every zone; others count as no time.
LEAST_MS: Final = -62_135_510_400_000
MOST_MS: Final = 253_402_214_399_999

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?[smhdw])+")
_DAY: Final = r"\d{4}-\d\d-\d\d|today|yesterday"
_TIME: Final = r"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
_MOMENT: Final = re.compile(
    rf"(?P<date>{_DAY})|(?:(?P<day>{_DAY})[T ])?{_TIME}(?: ?(?P<zone>Z|[+-]\d\d:?\d\d))?",
    re.ASCII | re.IGNORECASE,
)
_UNIX: Final = re.compile(r"@(\d{1,17})(\.\d{1,9})?", re.ASCII)

DURATION_FORMS: Final = "90s, 10m, 2h, 3d, 1w, or together as in 1h30m"
MOMENT_FORMS: Final = (
    "2026-03-02T10:15:30Z, 2026-03-02 10:15, 2026-03-02, 10:15 (today), now, today, yesterday, "
    "yesterday 10:15, or @1772446530 (Unix time in s, ms or µs); local time unless a zone is given"
)


def parse_window(
    *, last: str | None, since: str | None, until: str | None, now: datetime, zone: tzinfo
) -> Window:
    """Return the window that `--last`, `--since` and `--until` describe.

    `last` counts back from `until`, or from `now` (aware). `zone` is that of times which name none; in a
    change of daylight saving the earlier of two offsets holds.

    Raises:
        InputError: an option cannot be understood, `last` comes with `since`, or the window is empty.
    """
    if last is not None and since is not None:
        raise InputError("--last and --since both say where to begin", "Give one of them.")
    until_ms = None if until is None else parse_moment("--until", until, now, zone)
    since_ms = None
    if last is not None:
        since_ms = (_ceil_ms(now) if until_ms is None else until_ms) - parse_duration("--last", last)
    elif since is not None:
        since_ms = parse_moment("--since", since, now, zone)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise InputError(
            f"the window is empty: --since {since} is not before --until {until}",
            "A window holds what was received at or after --since and before --until.",
        )
    return Window(since_ms, until_ms)


def parse_duration(option: str, text: str) -> int:
    """Return the milliseconds of `1h30m`; at least 1.

    Raises:
        InputError: it is none; the message names `option`.
    """
    if _DURATION.fullmatch(text.strip()):
        parts = re.findall(r"([0-9.]+)([smhdw])", text)
        milliseconds = round(sum(float(count) * _UNIT_SECONDS[unit] for count, unit in parts) * 1000)
        if len({unit for _, unit in parts}) == len(parts) and 0 < milliseconds < MOST_MS:
            return milliseconds
    raise InputError(f"{option} {text!r} is no length of time", f"Accepted: {DURATION_FORMS}.")


def parse_moment(option: str, text: str, now: datetime, zone: tzinfo) -> int:
    """Return the Unix milliseconds that `text` names, rounded up: no event between them is lost or won.

    Raises:
        InputError: it is no time; the message names `option`.
    """
    try:
        milliseconds = _read_moment(text.strip(), now, zone)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{option} {text!r} is no time: {error}", f"Accepted: {MOMENT_FORMS}.") from None
    if milliseconds is None:
        raise InputError(f"{option} {text!r} is no time that is understood", f"Accepted: {MOMENT_FORMS}.")
    return milliseconds


def _read_moment(text: str, now: datetime, zone: tzinfo) -> int | None:
    if text.lower() == "now":
        return _ceil_ms(now)
    if unix := _UNIX.fullmatch(text):
        return _unix_ms(unix[1], unix[2] or "")
    part = _MOMENT.fullmatch(text)
    if part is None or (part["zone"] and not part["day"]):
        return None
    moment = datetime.combine(
        _day(part["date"] or part["day"], now.astimezone(zone).date()),
        time(int(part["hour"] or 0), int(part["minute"] or 0), int(part["second"] or 0)),
        tzinfo=_zone(part["zone"]) or zone,
    )
    return _ceil_ms(moment) + _ceil_fraction(part["fraction"])


def _day(name: str | None, today: date) -> date:
    match (name or "today").lower():
        case "today":
            return today
        case "yesterday":
            return today - timedelta(days=1)
        case written:
            return date.fromisoformat(written)


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    if name in "Zz":
        return UTC
    hours, minutes = int(name[1:3]), int(name[-2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - a clock's
        raise ValueError(f"{name} is no offset from UTC")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if name[0] == "-" else offset)


def _ceil_fraction(digits: str | None) -> int:
    return 0 if digits is None else -(-int(digits.ljust(9, "0")) // 1_000_000)


def _unix_ms(whole: str, fraction: str) -> int:
    """Return milliseconds from seconds, milliseconds or microseconds: told apart by their size."""
    number = int(whole)
    per_second = next(scale for scale in (1, 1_000, 1_000_000) if number < 10**11 * scale)
    nanoseconds = (number * 10**9 + int(fraction[1:].ljust(9, "0") or 0)) // per_second
    milliseconds = -(-nanoseconds // 10**6)
    if milliseconds > MOST_MS:
        raise ValueError("it is beyond the year 9999")
    return milliseconds


def _ceil_ms(moment: datetime) -> int:
    return -((_EPOCH - moment) // timedelta(milliseconds=1))
