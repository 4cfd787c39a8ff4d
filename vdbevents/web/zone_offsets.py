"""The offsets of a time zone, for a page that need not know its rules. Pure."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_STEP_MS: Final = 7 * 86_400_000
_MARGIN_MS: Final = 400 * 86_400_000


def offsets_of(zone: tzinfo, since_ms: int, until_ms: int) -> list[tuple[int, int]]:
    """Return from when on, in Unix ms, a zone has which offset from UTC, in ms, around a time.

    Offsets that last less than a week may be missed.
    """
    at_ms = since_ms - _MARGIN_MS
    offset = _offset(zone, at_ms)
    found = [(at_ms, offset)]
    while at_ms < until_ms + _MARGIN_MS:
        after_ms = at_ms + _STEP_MS
        if (next_offset := _offset(zone, after_ms)) != offset:
            first, last = at_ms, after_ms
            while last - first > 1:
                middle = (first + last) // 2
                first, last = (middle, last) if _offset(zone, middle) == offset else (first, middle)
            offset = next_offset
            found.append((last, offset))
        at_ms = after_ms
    return found


def name_of(zone: tzinfo, now: datetime) -> str:
    """Return what to call a zone: its name, else the short form that it has now."""
    return getattr(zone, "key", None) or now.astimezone(zone).tzname() or "local time"


def _offset(zone: tzinfo, at_ms: int) -> int:
    return ((_EPOCH + at_ms * _MS).astimezone(zone).utcoffset() or timedelta()) // _MS
