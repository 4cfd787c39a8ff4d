"""The system's own time zone, with its changes of daylight saving, and times as text in it."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SystemZone(tzinfo):
    """The operating system's local time, for any moment.

    `datetime.astimezone()` without a zone knows the system's rules but returns a fixed offset, right for that
    one moment; this looks it up for each.
    """

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset from UTC at a local moment; `fold` marks the second of two."""
        return moment.replace(tzinfo=None).astimezone().utcoffset() if moment else None

    def tzname(self, moment: datetime | None) -> str | None:
        """Return the zone's name at a local moment."""
        return moment.replace(tzinfo=None).astimezone().tzname() if moment else None

    def dst(self, moment: datetime | None) -> timedelta | None:  # noqa: ARG002 - as tzinfo has it
        """Return None: the system does not say."""
        return None

    def fromutc(self, moment: datetime) -> datetime:
        """Convert a moment in UTC to local time."""
        local = moment.replace(tzinfo=UTC).astimezone()
        first = local.replace(tzinfo=None)
        second = first.astimezone().utcoffset() != local.utcoffset()
        return first.replace(tzinfo=self, fold=int(second))


def local_time(milliseconds: float, zone: tzinfo | None = None) -> datetime:
    """Return a time in Unix ms as local time, or in another zone.

    Raises:
        OverflowError, ValueError: no calendar has it.
    """
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone or SystemZone())


def local_text(milliseconds: float | None, zone: tzinfo | None = None) -> str:
    """Format a time in Unix ms, as local time without a zone: `2026-03-02 10:15:30`; None is `unknown`."""
    if milliseconds is None:
        return "unknown"
    try:
        return f"{local_time(milliseconds, zone):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return "unknown"
