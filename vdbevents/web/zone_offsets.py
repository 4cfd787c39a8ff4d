"""The offsets of a time zone, for a page that need not know its rules. Pure."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(days=7)
_LEAST: Final = timedelta(seconds=1)
_MARGIN: Final = timedelta(days=400)


def offsets_of(zone: tzinfo, since_ms: int, until_ms: int) -> list[tuple[int, int]]:
    """Return from when on, in Unix ms, a zone has which offset from UTC, in ms, around a time.

    Offsets that last less than a week may be missed.
    """
    at = _EPOCH + timedelta(milliseconds=since_ms) - _MARGIN
    end = _EPOCH + timedelta(milliseconds=until_ms) + _MARGIN
    offset = _offset(zone, at)
    found = [(_ms(at), offset // timedelta(milliseconds=1))]
    while at < end:
        after = at + _STEP
        if (next_offset := _offset(zone, after)) != offset:
            first, last = at, after
            while last - first > _LEAST:
                middle = first + (last - first) / 2
                if _offset(zone, middle) == offset:
                    first = middle
                else:
                    last = middle
            offset = next_offset
            found.append((round(_ms(last) / 1000) * 1000, offset // timedelta(milliseconds=1)))
        at = after
    return found


def name_of(zone: tzinfo, now: datetime) -> str:
    """Return what to call a zone: its name, else the short form that it has now."""
    return getattr(zone, "key", None) or now.astimezone(zone).tzname() or "local time"


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _ms(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)
