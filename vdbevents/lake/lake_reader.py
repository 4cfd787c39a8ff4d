"""Read the events of a lake: which hosts it has, and which files of its table a question has to open.

The table's log has the days, and for each file between which hosts and times its rows are. DuckDB reads the
files that the log names: on a disk in place; of an object store, copies in `held_files`, which is asked for
those that are opened alone.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from vdbevents.errors import InputError
from vdbevents.lake.held_files import HeldFiles
from vdbevents.lake.lake_table import is_remote, lake_address, open_lake
from vdbevents.lake.table_log import Bounds, LoggedColumns, may_hold, only_recording
from vdbevents.lake.table_schema import NO_TIME_DATE
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.row_journal import RowFile, RowJournal, recordings_in
from vdbevents.terminal import harmless
from vdbevents.times import LEAST_MS, MOST_MS

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from vdbevents.query.cache.index import Span

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DAY_MS: Final = 24 * 3_600_000
_MOST_SHOWN: Final = 12

Recording = tuple[str, str]
"""A host, and one of its journals."""


class ListedFile(NamedTuple):
    """A file of the table.

    Attributes:
        rows: where it is, and between which times its rows are.
        hosts: the first and the last of its hosts.
        journals: the first and the last of its journals.
    """

    rows: RowFile
    hosts: Bounds | None
    journals: Bounds | None

    def may_hold(self, host: str) -> bool:
        """Return whether it may have rows of a host."""
        return may_hold(self.hosts, host)

    @property
    def recording(self) -> Recording | None:
        """The one recording of which it has rows; None if that is not known, or there are several."""
        return only_recording(self.hosts, self.journals)


class LakeReader:
    """The table of a lake as it is now."""

    def __init__(self, given: str, environ: Mapping[str, str], cache_root: Path | None) -> None:
        """Read the table's log.

        Args:
            given: the lake's address.
            environ: the environment, which has the credentials of an object store.
            cache_root: the folder of all caches, for copies of an object store's files; None has none.

        Raises:
            InputError, ServiceRefusedError, ServiceUnreachableError, StorageError: as `open_lake` has it.
        """
        table = open_lake(given, environ)
        self.address = lake_address(given)
        self._held: HeldFiles | None = None
        folder = Path(self.address)
        if is_remote(self.address):
            self._held = HeldFiles(self.address, environ, cache_root)
            folder = self._held.folder
        self._files = list(_files(table, folder))
        if self._held is not None:
            self._held.keep_only(file.rows.path for file in self._files)

    def journals(self, hosts: Sequence[str], filters: Filters | None = None) -> list[HostJournal]:
        """Return the journals that may have what is asked for, sorted by their hosts.

        Args:
            hosts: those to look at; none for all.
            filters: what is asked for; None for everything.

        Raises:
            InputError: there is no such host.
            ServiceRefusedError, ServiceUnreachableError, StorageError: a file cannot be read.
        """
        if not self._files:
            raise InputError(
                f"the lake {harmless(self.address)} is empty", "ship to it first", error_id="lake-empty"
            )
        known = self._recordings(self._in_window(filters), hosts)
        for host in {*hosts} - {host for host, _ in known}:
            known |= self._last_of(host)
        if known:
            return [self._journal(recording) for recording in sorted(known)]
        return [empty_journal(self.address)]

    def _last_of(self, host: str) -> set[Recording]:
        """Return the recordings of the newest file that has one of a host.

        Raises:
            InputError: none has.
        """
        files = [file for file in self._files if file.may_hold(host)]
        files.sort(key=lambda file: (file.recording is not None, file.rows.received or (0, 0)), reverse=True)
        for file in files:
            if known := self._recordings([file], [host]):
                return known
        raise unknown_host(host, self.hosts(), self.address)

    def hosts(self) -> list[str]:
        """Return all hosts.

        Raises:
            ServiceRefusedError, ServiceUnreachableError, StorageError: a file cannot be read.
        """
        return sorted({host for host, _ in self._recordings(self._files, ())})

    def _in_window(self, filters: Filters | None) -> list[ListedFile]:
        if filters is None or filters.around_ms is not None:
            return self._files
        window, by_event = filters.window, filters.by_event
        return [file for file in self._files if file.rows.as_segment(0).may_hold(window, by_event=by_event)]

    def _recordings(self, files: Sequence[ListedFile], hosts: Sequence[str]) -> set[Recording]:
        """Return whose rows some files have; files of one recording need not be opened for that."""
        wanted = [file for file in files if not hosts or any(map(file.may_hold, hosts))]
        known = {one for file in wanted if (one := file.recording) is not None}
        mixed = [file.rows for file in wanted if file.recording is None]
        if mixed:
            self._fetch(mixed)
            known |= set(recordings_in(mixed))
        return {one for one in known if not hosts or one[0] in hosts}

    def _journal(self, recording: Recording) -> HostJournal:
        files = [
            file.rows
            for file in self._files
            if file.may_hold(recording[0]) and file.recording in (None, recording)
        ]
        return journal_of(self.address, recording, files, self._fetch)

    def _fetch(self, files: Sequence[RowFile]) -> None:
        if self._held is not None:
            self._held.fetch([file.path for file in files])


def journal_of(
    address: str,
    recording: Recording,
    files: Sequence[RowFile],
    fetch: Callable[[Sequence[RowFile]], None] = lambda _: None,
) -> HostJournal:
    """Return the journal of a recording in a lake, whose rows are in `files`; `fetch` makes them present."""
    host, journal = recording
    rows = RowJournal({"host": host, "journal": journal}, files, fetch)
    name = f"{host} in {address}"
    return HostJournal(host, Path(f"{address}/{host}/{journal}"), name, is_scratch=True, rows=rows)


def empty_journal(address: str) -> HostJournal:
    """Return a journal without lines, for a lake that has none of what is asked for."""
    nothing = RowJournal({}, (), lambda _: None)
    return HostJournal("", Path(address), address, is_scratch=True, rows=nothing)


def unknown_host(host: str, hosts: Sequence[str], address: str) -> InputError:
    """Return the error for a host that is not in a lake; `hosts` are in it, sorted."""
    lowered = {other.lower(): other for other in hosts}
    closest = difflib.get_close_matches(host.lower(), lowered, 1)
    shown = ", ".join(map(harmless, hosts[:_MOST_SHOWN])) or "none yet"
    more = f" and {len(hosts) - _MOST_SHOWN:,} more" if len(hosts) > _MOST_SHOWN else ""
    return InputError(
        f"--host: no {harmless(host)!r} in the lake {harmless(address)}; there are {shown}{more}",
        f"did you mean --host {harmless(lowered[closest[0]])}?" if closest else "see: vdbevents lake status",
        error_id="lake-host-unknown",
    )


def _files(table: "DeltaTable", folder: Path) -> Iterator[ListedFile]:
    """Yield the files that the log names, with what it says of them."""
    log = LoggedColumns(table)
    moments = ("time", "started", "ended")
    bounds = {
        name: list(zip(log.values(f"min.{name}"), log.values(f"max.{name}"), strict=True)) for name in moments
    }
    empty = {name: log.values(f"null_count.{name}") for name in moments}
    rows, hosts, journals = log.values("num_records"), log.texts("host"), log.texts("journal")
    for number, (path, day) in enumerate(zip(log.values("path"), log.values("partition.date"), strict=True)):
        spans = {name: _span(bounds[name][number], empty[name][number], rows[number]) for name in moments}
        yield ListedFile(
            _row_file(folder / unquote(path), day, spans, is_untimed=empty["time"][number] != 0),
            hosts[number],
            journals[number],
        )


_UNKNOWN: Final = (LEAST_MS, MOST_MS)


def _row_file(path: Path, day: date, spans: Mapping[str, "Span | None"], *, is_untimed: bool) -> RowFile:
    received = spans["time"]
    has_days = day is not None and day.isoformat() != NO_TIME_DATE
    if received == _UNKNOWN and has_days:
        begin = (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // _MILLISECOND
        received = begin, begin + _DAY_MS
    happened = _joined(spans["started"], received)
    ended = _joined(spans["ended"], happened)
    return RowFile(path, received, happened, None if ended is None else ended[1], is_untimed and not has_days)


def _span(bounds: tuple[Any, Any], empty: int | None, rows: int) -> "Span | None":
    """Return the first and the last of a column's times; all times if the log does not say."""
    first, last = bounds
    if first is None or last is None:
        return None if empty == rows else _UNKNOWN
    # The log may have cut off microseconds.
    return (first - _EPOCH) // _MILLISECOND, (last - _EPOCH) // _MILLISECOND + 1


def _joined(one: "Span | None", other: "Span | None") -> "Span | None":
    if one is None or other is None:
        return other if one is None else one
    return min(one[0], other[0]), max(one[1], other[1])
