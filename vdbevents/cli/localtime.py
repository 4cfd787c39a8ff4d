"""The system's own time zone, with its changes of daylight saving."""

from datetime import UTC, datetime, timedelta, tzinfo


class SystemZone(tzinfo):
    """Local time as the operating system tells it, for any moment.

    `datetime.astimezone()` without a zone knows the system's rules but answers with a fixed offset, good for
    that one moment; this asks again for each.
    """

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """What local time is ahead of UTC at a local moment; `fold` tells the second of two."""
        return moment.replace(tzinfo=None).astimezone().utcoffset() if moment else None

    def tzname(self, moment: datetime | None) -> str | None:
        """The zone's name at a local moment."""
        return moment.replace(tzinfo=None).astimezone().tzname() if moment else None

    def dst(self, moment: datetime | None) -> timedelta | None:  # noqa: ARG002 - the system does not tell
        """Unknown."""
        return None

    def fromutc(self, moment: datetime) -> datetime:
        """The local moment of one in UTC."""
        local = moment.replace(tzinfo=UTC).astimezone()
        first = local.replace(tzinfo=None)
        second = first.astimezone().utcoffset() != local.utcoffset()
        return first.replace(tzinfo=self, fold=int(second))
