"""The system's own time zone, with its changes of daylight saving."""

from datetime import UTC, datetime, timedelta, tzinfo


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
