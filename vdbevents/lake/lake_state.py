"""What a lake holds: its hosts, how far each is shipped, its files."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.lake.last_known import rows_of
from vdbevents.lake.shipped_place import ShippedPlace
from vdbevents.lake.table_log import LoggedColumns, TableFile, only_recording
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
    rows = _recordings(table)
    hosts = []
    for (host, journal), (lines, first, last) in sorted(rows.items()):
        place = ShippedPlace.of(table.transaction_version, application(host, journal))
        at_ms, size = (None, None) if place is None else (place.at_ms, place.position)
        hosts.append(HostState(host, journal, lines, first, last, at_ms, size))
    return LakeState(
        table.version() or 0,
        len(files),
        sum(file.size for file in files),
        len({file.date for file in files}),
        sum(file.size < small_bytes for file in files),
        tuple(hosts),
    )


_Counted = tuple[int, int | None, int | None]


def _recordings(table: "DeltaTable") -> dict[tuple[str, str], _Counted]:
    """Return of each recording how many rows it has, and its first and last time in Unix ms.

    The log says so of files of one recording. Of a day with another file, all files are read.
    """
    log = LoggedColumns(table)
    dates = list(map(str, log.values("partition.date")))
    owners = list(map(only_recording, log.texts("host"), log.texts("journal")))
    counts, first, last = log.values("num_records"), log.values("min.time"), log.values("max.time")
    empty = log.values("null_count.time")
    found: dict[tuple[str, str], _Counted] = {}
    mixed = set()
    for number, owner in enumerate(owners):
        is_known = first[number] is not None and last[number] is not None
        if owner is None or counts[number] is None or not (is_known or empty[number] == counts[number]):
            mixed.add(dates[number])
    for number, owner in enumerate(owners):
        if owner is not None and dates[number] not in mixed:
            times = [
                None if one is None else (one - _EPOCH) // _MILLISECOND
                for one in (first[number], last[number])
            ]
            found[owner] = _sum(found.get(owner), (counts[number], times[0], times[1]))
    if mixed:
        days = ", ".join(f"DATE '{date}'" for date in sorted(mixed))
        for host, journal, count, begin, end in rows_of(table, _COUNTED.format(days=days)):
            own = (count, _milliseconds(begin), _milliseconds(end))
            found[host, journal] = _sum(found.get((host, journal)), own)
    return found


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_COUNTED: Final = """SELECT host, journal, count(*),
    arrow_cast(min(time), 'Int64'), arrow_cast(max(time), 'Int64')
    FROM ev WHERE date IN ({days}) GROUP BY host, journal"""


def _sum(one: _Counted | None, other: _Counted) -> _Counted:
    if one is None:
        return other
    first = [at for at in (one[1], other[1]) if at is not None]
    last = [at for at in (one[2], other[2]) if at is not None]
    return one[0] + other[0], min(first, default=None), max(last, default=None)


def _milliseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // 1000
