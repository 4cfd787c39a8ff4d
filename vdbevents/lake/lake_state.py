"""What a lake holds: its hosts, how far each is shipped, its files."""

from typing import TYPE_CHECKING, NamedTuple

from vdbevents.lake.last_known import rows_of
from vdbevents.lake.shipped_place import ShippedPlace
from vdbevents.lake.table_log import TableFile
from vdbevents.lake.table_schema import application

if TYPE_CHECKING:
    from deltalake import DeltaTable


class HostState(NamedTuple):
    """One recording in a lake.

    Attributes:
        host, journal: its names.
        lines: how many rows it has.
        first_ms, last_ms: when its first and its last event were received, in Unix ms; None without any.
        shipped_ms: when it was last shipped, in Unix ms.
        bytes: how many bytes of its journal were shipped.
    """

    host: str
    journal: str
    lines: int
    first_ms: int | None
    last_ms: int | None
    shipped_ms: int | None
    bytes: int | None

    def lag_ms(self, now_ms: int) -> int | None:
        """Return how long ago it was last shipped; None if that is not known."""
        return None if self.shipped_ms is None else max(now_ms - self.shipped_ms, 0)


class LakeState(NamedTuple):
    """What a lake holds.

    Attributes:
        version: of the table: how many commits it has had.
        files, bytes: how many data files, and their size.
        days: how many days they are of.
        small: how many of them `compact` would join.
        hosts: its recordings, by name.
    """

    version: int
    files: int
    bytes: int
    days: int
    small: int
    hosts: tuple[HostState, ...]


def lake_state(table: "DeltaTable", small_bytes: int) -> LakeState:
    """Return the state of a lake; a file of less than `small_bytes` is small."""
    files = TableFile.all_of(table)
    rows = rows_of(
        table,
        "SELECT host, journal, count(*), arrow_cast(min(time), 'Int64'), arrow_cast(max(time), 'Int64') "
        "FROM ev GROUP BY host, journal "
        "ORDER BY host, journal",
    )
    hosts = []
    for host, journal, lines, first, last in rows:
        place = ShippedPlace.of(table.transaction_version, application(host, journal))
        at_ms, size = (None, None) if place is None else (place.at_ms, place.position)
        hosts.append(HostState(host, journal, lines, _milliseconds(first), _milliseconds(last), at_ms, size))
    return LakeState(
        table.version() or 0,
        len(files),
        sum(file.size for file in files),
        len({file.date for file in files}),
        sum(file.size < small_bytes for file in files),
        tuple(hosts),
    )


def _milliseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // 1000
