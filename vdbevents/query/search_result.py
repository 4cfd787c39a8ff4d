"""The result of a search: its lines, events and tables, read from DuckDB batch by batch."""

import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbevents.errors import StorageError
from vdbevents.events.gaps import Gap
from vdbevents.events.session_content import SessionBook
from vdbevents.privacy.pauses import Pause
from vdbevents.query import session_tables, statements
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Segment, Span
from vdbevents.query.cache.sealed_counts import SessionCount, added
from vdbevents.query.columns import Reading
from vdbevents.query.duck import execute, explained, fetched_batches
from vdbevents.query.filters import Event
from vdbevents.query.row_journal import RowSnapshot, lines_of_rows, unreadable_rows
from vdbevents.query.snapshot import JournalSnapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


@dataclass
class SearchResult(Closeable):
    """The matches, oldest first; a context manager that releases DuckDB's memory and files at its end.

    Attributes:
        connection: holds the table `answer` of the matches.
        snapshot: the journal as it was when it was opened.
        resources: closes the connection, the snapshot and the scratch folder.
        spool: a path in the scratch folder, the only one that a search with a condition may write.
        segments: the sealed segments that hold matches.
        large_rows: the rows, from 0, whose lines are long.
        reading: how the unsealed lines among them are read.
        is_mended: whether some of these have a member twice, of which only the last value is searched.
        skipped: lines that could not be read: not a JSON object, not UTF-8, torn. A line in braces is not
            tried if its head is outside the window, or if it lacks the words that are searched for.
        count: the number of matches.
        span: the first and the last time among them, in Unix ms; None where none has a time.
        untimed: how many events match but for the window, as their times are not known; 0 without a window.
        gaps, pauses: all that touch the window, and others, in the order of their first lines.
        groups: where the events around matches begin: the row, from 0, and the time around the matches, in
            Unix ms; empty without `around_ms`.
        counted: the events of sessions that were counted without reading them; matches lack these.
    """

    connection: "DuckDBPyConnection"
    snapshot: JournalSnapshot | RowSnapshot
    resources: contextlib.ExitStack
    spool: Path
    segments: Sequence[Segment]
    large_rows: Sequence[int]
    reading: Reading
    is_mended: bool
    skipped: int
    count: int
    span: tuple[int, int] | None
    untimed: int
    gaps: list[Gap]
    pauses: list[Pause]
    groups: Mapping[int, Span]
    counted: Sequence["SessionCount"] = ()

    @property
    def breaks(self) -> set[int]:
        """The rows, from 0, at which the events around another match begin."""
        return {row for row in self.groups if row}

    @property
    def journal_bytes(self) -> int:
        """The size of what was searched when it was opened, at least 1 if any journal has something."""
        return self.snapshot.size

    @property
    def sealed_bytes(self) -> int:
        """How many of these bytes were not read, as they are sealed."""
        return self.snapshot.sealed_bytes

    def lines(self) -> Iterator[list[str]]:
        """Yield the journal's own lines, without their line ends, in batches that are never empty."""
        return ([line for _, line in batch] for batch in self.timed_lines())

    def timed_lines(self) -> Iterator[list[tuple[int | None, str]]]:
        """Yield the same lines, each with the time that orders it, in Unix ms."""
        lines = statements.LINES_AS_WRITTEN if self.is_mended else statements.LINES
        if self.snapshot.keeps_lines and self.segments:
            lines = lines_of_rows(self.snapshot.tables(self.segments))
        for batch in fetched_batches(self.connection, lines):
            sealed = self.snapshot.lines(
                ((position, length) for position, length, *_ in batch if length is not None),
                self.connection,
            )
            yield [
                (time_ms, next(sealed) if length is not None else line) for _, length, line, time_ms in batch
            ]

    def times(self) -> Iterator[list[int | None]]:
        """Yield these times alone, in batches that are never empty."""
        return (
            [time_ms for (time_ms,) in batch] for batch in fetched_batches(self.connection, statements.TIMES)
        )

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches that are never empty; None in columns not in `columns`."""
        for sql in self._selects(columns):
            with self._cache_explained():
                for batch in fetched_batches(self.connection, sql):
                    yield list(map(Event._make, batch))

    def texts(self, made: str, columns: Collection[str]) -> Iterator[list[str]]:
        """Yield a text for each event, in batches that are never empty.

        Args:
            made: SQL that makes it of the columns of `Event`.
            columns: those it needs.
        """
        for sql in self._selects(columns, made=made):
            with self._cache_explained():
                for batch in fetched_batches(self.connection, sql):
                    yield [text for (text,) in batch]

    def tabulate(self, table: str, select: str, columns: Collection[str]) -> None:
        """Create a temporary table of the matches.

        Args:
            table: its name.
            select: SQL, in which `{rows}` stands for a SELECT of the folded events, in no order.
            columns: those of `Event` that are not NULL there.

        Raises:
            StorageError: memory or temporary space is used up, or the cache vanished.
        """
        verb = f"CREATE OR REPLACE TEMP TABLE {table} AS"
        for sql in self._selects(columns, ordered=False):
            with self._cache_explained(), explained():
                self.connection.execute(f"{verb} {select.replace('{rows}', sql)}")
            verb = f"INSERT INTO {table}"

    def _selects(
        self, columns: Collection[str], *, ordered: bool = True, made: str | None = None
    ) -> Iterator[str]:
        """Yield the SELECTs that give all events: large lines are folded one by one."""
        tables = self.snapshot.tables(self.segments)
        start = 0
        for large in [*self.large_rows, self.count]:
            for first, last in ((start, large - 1), (large, large)):
                if first <= last < self.count:
                    yield statements.rows(
                        columns, tables, first, last, ordered=ordered, reading=self.reading, made=made
                    )
            start = large + 1

    def __iter__(self) -> Iterator[list[Event]]:
        return self.events()

    def names(self, columns: Collection[str]) -> dict[str, set[str]]:
        """Return the values of some columns of the view `events`, without NULLs; an event has many."""
        self._create_view()
        lists = ", ".join(f"list(DISTINCT {column})" for column in columns)
        with explained():
            [found] = self.connection.execute(f"SELECT {lists} FROM found").fetchall()  # noqa: S608 - names of ours
        return {
            column: {value for value in values or () if value is not None}
            for column, values in zip(columns, found, strict=True)
        }

    def relation(self) -> "DuckDBPyRelation":
        """Return the matches as a relation with the columns of the view `events`."""
        self._create_view()
        return self.connection.view("found")

    def channel_counts(self) -> list[tuple[str, int, int | None, int | None]]:
        """Return (channel, count, first receipt, last receipt) of the matches, in Unix ms; sorted."""
        return self._counted(
            f"""SELECT coalesce(channel, 'unknown') AS kind, count(*), min(time_ms), max(time_ms)
            FROM ({self._rows("channel", "time_ms")}) GROUP BY kind ORDER BY kind"""  # noqa: S608 - ours
        )

    def session_counts(self, book: SessionBook) -> list["SessionCount"]:
        """Return how many events belong to each session, by channel, but for the recorder's own; sorted.

        Args:
            book: the sessions of this journal.
        """
        if not self.count:
            return added(self.counted)
        for statement in session_tables.filled(book, "temp"):
            execute(self.connection, statement.sql, statement.values)
        needed = self._rows("session", "stream", "channel", "start_ms", "time_ms")
        return added([*self.counted, *self._counted(session_tables.counts(needed))])

    def _rows(self, *columns: str) -> str:
        # To fold lines for more columns than are needed would cost more than to count.
        tables = self.snapshot.tables(self.segments)
        return statements.rows(columns, tables, ordered=False, reading=self.reading)

    def _counted(self, sql: str) -> list[Any]:
        with self._cache_explained() if self.segments else explained():
            return execute(self.connection, sql).fetchall()

    def write_parquet(self, path: Path, columns: Collection[str]) -> None:
        """Write `columns` of the view `found` (see `statements.found`) to a Parquet file.

        Raises:
            StorageError: there is no room for it.
        """
        self._create_view()
        quoted = ", ".join(f'"{column}"' for column in columns)
        with explained():
            self.connection.execute(
                f"COPY (SELECT {quoted} FROM found) TO ? (FORMAT parquet, COMPRESSION zstd)",  # noqa: S608 - names of ours
                [str(self.spool)],
            )
        shutil.move(self.spool, path)

    def close(self) -> None:
        """Release everything; the result cannot be read any more. A second call does nothing."""
        self.resources.close()

    def _create_view(self) -> None:
        execute(self.connection, statements.found(self.snapshot.tables(self.segments), self.reading))

    @contextlib.contextmanager
    def _cache_explained(self) -> Iterator[None]:
        """Raise StorageError with a hint where the cache vanished since the search, or is damaged."""
        import duckdb

        try:
            yield
        except (duckdb.Error, StorageError) as error:
            sealed = self.snapshot.sealed
            if self.snapshot.keeps_lines and not isinstance(error, StorageError):
                raise unreadable_rows() from error
            if isinstance(error, StorageError) and sealed.hold(self.segments):
                raise
            folders = ", ".join(sorted({str(sealed.events(segment).parent) for segment in self.segments}))
            raise unreadable_cache(folders) from error


def unreadable_cache(folders: str) -> StorageError:
    """Return the error of caches that vanished since the search began, or are damaged."""
    return StorageError(
        f"the cache {folders} became unreadable during the query",
        "run the query again, or remove the cache: it is derived from the journal",
        error_id="cache-unreadable",
    )
