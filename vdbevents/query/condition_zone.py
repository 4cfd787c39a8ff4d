"""Let the times of a `--where` condition be in the user's zone."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Final

from vdbevents.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_APART: Final = 45
_MOMENTS: Final = 650
_ABOUT_TIMES: Final = "time|started|ended|date|today|now|current|epoch"


def use_zone(connection: "DuckDBPyConnection", where: str, zone: tzinfo | None) -> None:
    """Let times of the condition `where` be in a zone, if they matter; None is UTC.

    Raises:
        InputError: the database does not know the zone.
    """
    import duckdb

    if zone is None or zone is UTC or not re.search(_ABOUT_TIMES, where, re.IGNORECASE):
        return
    # Where two zones agree at each season of eighty years, they are one.
    moments = [_EPOCH + timedelta(days=_DAYS_APART * count) for count in range(_MOMENTS)]
    wanted = [moment.astimezone(zone).utcoffset() or timedelta() for moment in moments]
    for name in _names(zone, wanted):
        try:
            connection.execute("RESET TimeZone" if name is None else f"SET TimeZone = '{name}'")
        except duckdb.Error:
            continue
        if _offsets(connection, moments) == wanted:
            return
    raise InputError(
        "--where: the database does not know the local time zone",
        "name a zone: --tz Europe/Berlin, or --tz UTC",
        error_id="zone-unknown",
    )


def leave_zone(connection: "DuckDBPyConnection") -> None:
    """Let times be in UTC again, as all that is returned is, once the condition has been used."""
    connection.execute("SET TimeZone = 'UTC'")


def _names(zone: tzinfo, offsets: list[timedelta]) -> Iterator[str | None]:
    """Yield what the database may know a zone by; None is the system's own, as it sees that."""
    from zoneinfo import ZoneInfo

    if isinstance(zone, ZoneInfo) and re.fullmatch(r"[\w+/-]+", zone.key or "", re.ASCII):
        yield zone.key
    elif not isinstance(zone, timezone):
        yield None
    minutes, rest = divmod(offsets[-1], timedelta(minutes=1))
    if len(set(offsets)) == 1 and not rest:
        sign, minutes = "-" if minutes < 0 else "+", abs(minutes)
        yield f"GMT{sign}{minutes // 60:02}:{minutes % 60:02}" if minutes else "UTC"


def _offsets(connection: "DuckDBPyConnection", moments: list[datetime]) -> list[timedelta]:
    """Return by how much the connection's zone was ahead of UTC at each moment."""
    micros = [(moment - _EPOCH) // timedelta(microseconds=1) for moment in moments]
    rows = connection.execute(
        "SELECT epoch_us(make_timestamptz(micros)::TIMESTAMP) - micros "
        "FROM (SELECT unnest(?::BIGINT[]) AS micros)",
        [micros],
    ).fetchall()
    return [timedelta(microseconds=offset) for (offset,) in rows]
