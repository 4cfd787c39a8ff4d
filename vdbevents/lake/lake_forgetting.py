"""Delete what was said or shown in a time, or certain words, from a lake, for good."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from vdbevents.errors import StorageError
from vdbevents.lake.lake_files import DataFile
from vdbevents.lake.lake_reader import unknown_host
from vdbevents.lake.lake_table import lake_errors
from vdbevents.lake.last_known import has_rows, rows_of
from vdbevents.lake.table_log import TableFile
from vdbevents.lake.table_rewrite import TableRewrite
from vdbevents.lake.table_schema import NO_TIME_DATE
from vdbevents.query.row_journal import read_errors
from vdbevents.removal.forgetting import Forgetting, Words
from vdbevents.removal.line_selection import JournalLine
from vdbevents.times import Window

_BATCH: Final = 10_000
_MOST_TRIES: Final = 5
# An event may be received long after it happened, and clocks differ.
_APART: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DoomedRows(NamedTuple):
    """Rows to delete: from which files, and how many."""

    files: tuple[TableFile, ...]
    rows: tuple[tuple[str, str, int], ...]
    hosts: tuple[str, ...]


class LakeForgetting:
    """Find rows as `vdbevents forget` finds lines, and delete them.

    A line about the recording itself stays in a journal without the words; here it goes.
    """

    def __init__(self, rewrite: TableRewrite, window: Window, words: Words | None, host: str | None) -> None:
        """Choose by a window, by words, or by both; None of `host` for all."""
        self._rewrite = rewrite
        self._window = window
        self._words = words
        self._host = host

    def find(self) -> DoomedRows:
        """Return what is to be deleted from the lake as it is now.

        Raises:
            InputError: there is no such host.
            ServiceRefusedError, ServiceUnreachableError, StorageError: it cannot be read.
        """
        everything = self._rewrite.refresh()
        if self._host is not None:
            self._require_host(self._host)
        files = [file for file in everything if self._may_hold(file)]
        if not files:
            return DoomedRows((), (), ())
        paths = self._rewrite.local(files)
        named = dict(zip(map(str, paths), files, strict=True))
        source = self._rewrite.reading(paths, named=True)
        doomed, touched = [], {}
        for (host, journal), rows in groupby(self._rows(source, look=True), key=lambda row: row[:2]):
            forgetting = Forgetting(self._window, self._words)
            for line, _, _ in _lines(rows):
                forgetting.look(line)
            its_paths = [path for path, file in zip(paths, files, strict=True) if file.may_hold(host)]
            of_one = self._rows(self._rewrite.reading(its_paths, named=True), host=host, journal=journal)
            for line, position, filename in _lines(of_one):
                if forgetting.change(line) != line.content:
                    doomed.append((host, journal, position))
                    touched[filename] = named[filename]
        return DoomedRows(
            tuple(touched.values()), tuple(doomed), tuple(sorted({host for host, _, _ in doomed}))
        )

    def delete(self) -> DoomedRows:
        """Delete it, and then the files that had it; return what it was.

        Raises:
            ServiceRefusedError, ServiceUnreachableError, StorageError: it is not complete; run it again.
        """
        for _ in range(_MOST_TRIES):
            doomed = self.find()
            if not doomed.rows:
                return doomed
            new = [one for file in doomed.files if (one := self._without(file, doomed))]
            if self._rewrite.exchange(doomed.files, new, data_change=True):
                # A reader of the state before may still want the files, but they are to be gone.
                self._rewrite.vacuum(0, orphans=False)
                return doomed
        raise StorageError(
            "the lake was changed by others again and again",
            "run it again when no compaction runs; nothing was deleted",
            error_id="lake-busy",
        )

    def _require_host(self, host: str) -> None:
        table, address = self._rewrite.table, self._rewrite.address
        with lake_errors(address):
            if not has_rows(table, host):
                hosts = [name for (name,) in rows_of(table, "SELECT DISTINCT host FROM ev ORDER BY host")]
                raise unknown_host(host, hosts, address)

    def _may_hold(self, file: TableFile) -> bool:
        if self._host is not None and not file.may_hold(self._host):
            return False
        first = None if self._window.since_ms is None else _day(self._window.since_ms, -_APART)
        # What happened in the window may have been fetched at any time later.
        return file.date == NO_TIME_DATE or first is None or file.date >= first

    def _rows(
        self, source: str, *, look: bool = False, host: str | None = None, journal: str | None = None
    ) -> Iterator[tuple[str, str, int, str, str]]:
        chosen = self._host if host is None else host
        names = {"host": chosen, "journal": journal}
        wanted = {name: value for name, value in names.items() if value is not None}
        where = " AND ".join(["true", *(f"{name} = ?" for name in wanted)])
        # Both passes are open at once.
        connection = self._rewrite.connection.cursor() if look else self._rewrite.connection
        with read_errors():
            connection.execute(
                f"SELECT host, journal, position, filename, line FROM {source} WHERE {where} "  # noqa: S608
                "ORDER BY host, journal, position",
                list(wanted.values()),
            )
            while rows := connection.fetchmany(_BATCH):
                yield from rows

    def _without(self, file: TableFile, doomed: DoomedRows) -> DataFile | None:
        connection = self._rewrite.connection
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE doomed (host VARCHAR, journal VARCHAR, position BIGINT)"
        )
        hosts, journals, positions = (list(column) for column in zip(*doomed.rows, strict=True))
        connection.execute(
            "INSERT INTO doomed SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::BIGINT[])",
            [hosts, journals, positions],
        )
        source = self._rewrite.reading(self._rewrite.local([file]))
        return self._rewrite.written(
            file.date,
            f"SELECT * FROM {source} ANTI JOIN doomed USING (host, journal, position) "  # noqa: S608
            "ORDER BY host, journal, position",
        )


def _lines(rows: Iterable[tuple[str, str, int, str, str]]) -> Iterator[tuple[JournalLine, int, str]]:
    before_ms = None
    for _, _, position, filename, content in rows:
        line = JournalLine(content.encode() + b"\n", before_ms)
        before_ms = line.at_ms
        yield line, position, filename


def _day(milliseconds: int, more: timedelta) -> str:
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds) + more).date().isoformat()
    except OverflowError:
        return NO_TIME_DATE
