"""Blocks of time that begin where the local clock shows a round time, or at midnight. Pure."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from vdbevents.times import LEAST_MS, MOST_MS

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

LENGTHS_MS: Final = (
    *(minutes * _MINUTE for minutes in (1, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 3, 6)),
    *(days * _DAY for days in (1, 7)),
)
"""The lengths that a block may have, in ms, shortest first; where clocks change, one is longer or shorter."""

UNIT_MS: Final = 15 * _MINUTE
"""A block of this length or longer begins and ends on a multiple of it in UTC: all zones' offsets are one."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TimeBlock(NamedTuple):
    """A block of time: `since_ms <= time < until_ms`, in Unix ms."""

    since_ms: int
    until_ms: int


def block_at(moment_ms: int, length_ms: int, zone: tzinfo) -> TimeBlock:
    """Return the block of one of `LENGTHS_MS` that a moment is in.

    A day begins at midnight and a week on Monday. The hour that a clock shows twice is two blocks of an hour,
    and one of three hours is then an hour longer.

    Args:
        moment_ms: in Unix ms.
        length_ms: one of `LENGTHS_MS`.
        zone: of the local clock.
    """
    try:
        begin = _begin(moment_ms, length_ms, zone)
        since_ms = _unix_ms(begin)
        following_ms = _unix_ms(_begin(since_ms + length_ms, length_ms, zone))
        if following_ms <= since_ms:
            # The clock was set back within the block.
            later = begin.replace(tzinfo=None, fold=0) + timedelta(milliseconds=length_ms)
            following_ms = _unix_ms(later.replace(tzinfo=zone))
    except (OverflowError, ValueError):
        return TimeBlock(LEAST_MS, MOST_MS)
    return TimeBlock(since_ms, following_ms)


def local_time_of(moment_ms: int, zone: tzinfo) -> datetime:
    """Return a time in Unix ms as the local clock shows it."""
    return (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(zone)


def clock_of(block: TimeBlock, zone: tzinfo, *, dated: bool) -> str:
    """Return the local times of a block: `10:00-10:15`, `2026-03-02 10:00-11:00`, or its days.

    Args:
        block: any.
        zone: of the local clock.
        dated: whether a block within a day has its date.
    """
    begin, end = local_time_of(block.since_ms, zone), local_time_of(block.until_ms, zone)
    last = local_time_of(block.until_ms - 1, zone)
    midnight = begin.hour == begin.minute == end.hour == end.minute == 0
    if midnight and block.until_ms - block.since_ms > _DAY // 2:
        days = f"{begin:%a %Y-%m-%d}"
        return days if begin.date() == last.date() else f"{days} to {last:%a %Y-%m-%d}"
    if begin.date() != last.date():
        return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
    day = f"{begin:%Y-%m-%d} " if dated else ""
    # The hour that a clock shows for the second time.
    offset = f" (UTC{begin.isoformat()[-6:]})" if begin.fold else ""
    return f"{day}{begin:%H:%M}-{end:%H:%M}{offset}"


def _begin(moment_ms: int, length_ms: int, zone: tzinfo) -> datetime:
    local = local_time_of(moment_ms, zone)
    midnight = local.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0, fold=0)
    if length_ms >= _DAY:
        days = local.weekday() if length_ms > _DAY else 0
        return (midnight - timedelta(days=days)).replace(tzinfo=zone)
    length = timedelta(milliseconds=length_ms)
    passed = local.replace(tzinfo=None, fold=0) - midnight
    return (midnight + passed // length * length).replace(tzinfo=zone, fold=local.fold)


def _unix_ms(local: datetime) -> int:
    return (local - _EPOCH) // timedelta(milliseconds=1)
