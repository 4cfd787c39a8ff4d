"""DuckDB reads the journal: what is sealed of it as Parquet, the rest as lines."""

import contextlib
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbevents.errors import StorageError
from vdbevents.events.gaps import Gap, told_by
from vdbevents.query import statements
from vdbevents.query.byte_ranges import Closeable, literal
from vdbevents.query.cache.index import Cache, Interims, Segment, Span, meet, with_finals_for
from vdbevents.query.filters import Event, Filters
from vdbevents.query.lines import Statement
from vdbevents.query.snapshot import Source, open_source
from vdbevents.times import LEAST_MS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation
from vdbevents.query.conditions import check_filters, with_condition
from vdbevents.query.duck import Shared, connect, explained, memory_for

_BATCH = 2048


class _CacheUnreadableError(Exception):
    """A sealed segment vanished, or is no Parquet: the journal itself has to be read."""


class Answer(Closeable):
    """What matched, oldest first; a context manager that gives DuckDB's memory and files back at its end.

    Attributes:
        skipped: lines that could not be read: no JSON object, no UTF-8, torn. A line in braces is not tried
            if its head tells that it is outside the window, or if it lacks the words that are looked for.
        count: how many events matched and are shown.
        span: the first and the last time among them, in Unix ms; None where none has a time.
        gaps: all gaps that the journal tells of, whatever was asked, in the order of their first lines.
        breaks: the rows, from 0, at which the events around another match begin.
        journal_bytes: the journal's size when it was opened; 0 for an empty one.
        sealed_bytes: how many of these were not read, as they are sealed.
    """

    def __init__(self, connection: "DuckDBPyConnection", scratch: str, source: Source) -> None:
        self._connection = connection
        self._scratch = scratch
        self._source = source
        self._sealed: list[Segment] = []
        self._large: list[int] = []
        self.journal_bytes = source.size
        self.sealed_bytes = source.cache.end
        self.skipped = 0
        self.gaps: list[Gap] = []
        self.count = 0
        self.span: tuple[int, int] | None = None
        self.breaks: set[int] = set()

    def lines(self) -> Iterator[list[str]]:
        """The journal's own lines, without their line ends, in batches that are never empty."""
        return ([line for _, line in batch] for batch in self.timed_lines())

    def timed_lines(self) -> Iterator[list[tuple[int | None, str]]]:
        """The same, each with its time: that in whose order they are, in Unix ms."""
        for batch in self._batches(statements.LINES):
            sealed = self._source.lines(
                (position, length) for position, length, *_ in batch if length is not None
            )
            yield [
                (time_ms, next(sealed) if length is not None else line) for _, length, line, time_ms in batch
            ]

    def times(self) -> Iterator[list[int | None]]:
        """Those times alone, in batches that are never empty."""
        return ([time_ms for (time_ms,) in batch] for batch in self._batches(statements.TIMES))

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """The folded events, in batches that are never empty; None in columns other than `columns`."""
        start = 0
        for large in [*self._large, self.count]:
            for first, last in ((start, large - 1), (large, large)):
                if first <= last < self.count:
                    sql = statements.rows(columns, self._source.tables(self._sealed), first, last)
                    with self._cache_explained():
                        for batch in self._batches(sql):
                            yield list(map(Event._make, batch))
            start = large + 1

    def __iter__(self) -> Iterator[list[Event]]:
        return self.events()

    def relation(self) -> "DuckDBPyRelation":
        """Return the answer, with the columns of the view `events`, as what DuckDB turns into tables."""
        self._make_found()
        return self._connection.view("found")

    def _make_found(self) -> None:
        self._connection.execute(statements.found(self._source.tables(self._sealed)))

    def write_parquet(self, path: Path, columns: Collection[str]) -> None:
        """Write the answer into a file: of `plan.found`'s columns those that are in `columns`.

        Raises:
            StorageError: there is no room for it.
        """
        self._make_found()
        chosen = ", ".join(columns)
        with explained():
            self._connection.execute(
                f"COPY (SELECT {chosen} FROM found) TO ? (FORMAT parquet, COMPRESSION zstd)",  # noqa: S608
                [str(path)],
            )

    def close(self) -> None:
        """Give back what the answer holds; it cannot be read any more. Harmless when repeated."""
        self._connection.close()
        self._source.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    @contextlib.contextmanager
    def _cache_explained(self) -> Iterator[None]:
        """Turn a cache that vanished since the query was asked, or is damaged, into an error with a cure."""
        import duckdb

        try:
            yield
        except (duckdb.Error, StorageError) as error:
            cache = self._source.cache
            if isinstance(error, StorageError) and all(map(cache.holds, self._sealed)):
                raise
            raise StorageError(
                f"the cache {cache.folder} cannot be read any more",
                "Ask again; if that does not help, remove it: all of it is in the journal as well.",
            ) from error

    def find(self, filters: Filters) -> None:
        """Ask the query."""
        segments = self._source.cache.segments
        self._choose(filters)
        if filters.around_ms is not None:
            for sql in statements.spans(filters):
                self._connection.execute(sql)
            spans = self._rows(statements.SPANS)
            self._choose(statements.context(filters), spans)
            self.breaks = {row for (row,) in self._rows(statements.BREAKS)}
        ours = [line for (line,) in self._rows(statements.OURS)]
        self.gaps = told_by([*self._source.cache.gap_lines, *ours])
        [(unreadable, rejected)] = self._rows(statements.SKIPPED)
        self.skipped = unreadable + rejected + sum(segment.unreadable for segment in segments)
        [(self.count, first, last, _)] = self._rows(statements.SPAN)
        self.span = None if first is None else (first, last)
        self._large = [row for (row,) in self._rows(statements.LARGE)]
        places = [position for (position,) in self._rows(statements.SEALED_ONES)]
        self._sealed = [segment for segment in segments if _holds_one(segment, places)]

    def _choose(self, filters: Filters, spans: Sequence[Span] | None = None) -> None:
        """Make the table `answer`: of what matches, and with `spans` of what of that happened in them.

        Of the segments, only as many are opened as it takes for the newest matches, if no more are wanted.
        """
        segments = [
            segment
            for segment in self._source.cache.segments
            if segment.may_hold(filters.window, by_event=filters.by_event)
        ]
        self._execute(statements.candidates(literal(self._source.unsealed), filters, self._source.longest))
        self._execute(statements.events(filters))
        near = segments if spans is None else [segment for segment in segments if segment.overlaps(spans)]
        runs = _runs(self._connection, filters) if near else []
        pending = [segment for segment in near if self._source.cache.may_say(segment, runs)]
        pending.sort(key=lambda segment: _newest(segment, filters), reverse=True)
        size = len(pending) if filters.limit is None else 1
        while True:
            self._open(filters, pending[:size])
            pending = pending[size:]
            while related := self._with_repetitions(pending):
                self._open(filters, related)
                pending = [segment for segment in pending if segment not in related]
            if spans is not None:
                for sql in statements.PLACED:
                    self._connection.execute(sql)
            # Not only those near: what replaced a match may be anywhere.
            self._show(filters, segments)
            if not pending or self._is_settled(filters, pending):
                return
            size *= 2
            for sql in statements.FORGET_SHOWN:
                self._connection.execute(sql)

    def _open(self, filters: Filters, segments: Sequence[Segment]) -> None:
        if segments:
            self._read_sealed(statements.more_events(filters, self._whole_tables(segments)))

    def _with_repetitions(self, pending: Sequence[Segment]) -> list[Segment]:
        """Return what has to be opened as well: it may hold what a match tells again, or is told again by."""
        if not pending:
            return []
        [(begun, fetched_begun, lifecycle, fetched_lifecycle)] = self._rows(statements.MATCHED)
        return [
            segment
            for segment in pending
            if meet(segment.starts, begun if segment.has_fetched else fetched_begun)
            or (segment.has_lifecycle and (fetched_lifecycle or (lifecycle and segment.has_fetched)))
        ]

    def _show(self, filters: Filters, segments: Sequence[Segment]) -> None:
        hiding = not filters.interim and self._rows(statements.INTERIMS) != [(0,)]
        if hiding and segments:
            self._open_finals(filters, segments)
        sparing = self._rows(statements.FETCHED_ONES) != [(0,)]
        if sparing:
            self._connection.execute(statements.SUSPECTS)
            self._tell_suspects()
            self._connection.execute(statements.repeated())
        self._connection.execute(statements.answer(filters, hiding=hiding, sparing=sparing))

    def _open_finals(self, filters: Filters, segments: Sequence[Segment]) -> None:
        """Add the final transcripts that may have replaced matches, wherever they are."""
        interims = [Interims(*row) for row in self._rows(statements.INTERIM_ONES)]
        if needed := with_finals_for(interims, segments, by_event=filters.by_event):
            self._read_sealed(statements.more_finals(filters, self._whole_tables(needed)))

    def _whole_tables(self, segments: Sequence[Segment]) -> list[str]:
        if not all(map(self._source.cache.holds, segments)):
            raise _CacheUnreadableError
        return self._source.tables(segments)

    def _tell_suspects(self) -> None:
        """Give those `suspects` their lines that are sealed."""
        sealed = self._rows(statements.SEALED_SUSPECTS)
        for start in range(0, len(sealed), _BATCH):
            batch = sealed[start : start + _BATCH]
            lines = list(self._source.lines(batch))
            self._execute(Statement(statements.TELL_SUSPECTS, [[position for position, _ in batch], lines]))

    def _is_settled(self, filters: Filters, pending: Sequence[Segment]) -> bool:
        """Tell whether no event in `pending` can be newer than those of the answer."""
        [(count, _, _, oldest)] = self._rows(statements.SPAN)
        return bool(
            count == filters.limit
            and (not count or oldest > max(_newest(segment, filters) for segment in pending))
        )

    def _execute(self, statement: Statement) -> None:
        self._connection.execute(statement.sql, statement.values)

    def _read_sealed(self, statement: Statement) -> None:
        import duckdb

        try:
            self._execute(statement)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:  # garbage can be anything
            raise _CacheUnreadableError from error

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def _batches(self, sql: str) -> Iterator[list[tuple[Any, ...]]]:
        with explained():
            result = self._connection.execute(sql)
            batch = result.fetchmany(_BATCH)
        while batch:
            yield batch
            with explained():
                batch = result.fetchmany(_BATCH)


def _newest(segment: Segment, filters: Filters) -> int:
    span = segment.happened if filters.by_event else segment.received
    return LEAST_MS if span is None else span[1]


def _holds_one(segment: Segment, places: Sequence[int]) -> bool:
    place = bisect_left(places, segment.start)
    return place < len(places) and places[place] < segment.end


def _runs(connection: "DuckDBPyConnection", filters: Filters) -> list[list[list[bytes]]]:
    """Return what has to be among the words of a match: from each list, all runs of one of its lists."""
    if filters.extended:
        return []
    groups = [[pattern] for pattern in filters.grep if pattern]
    if filters.any_of and all(filters.any_of):
        groups.append(list(filters.any_of))
    lowered = {
        pattern: connection.execute("SELECT lower(?)", [pattern]).fetchall()[0][0]
        for group in groups
        for pattern in group
    }
    return [
        [[run.encode() for run in lowered[pattern].split(" ") if run] for pattern in group]
        for group in groups
    ]


def search(
    journal: Path,
    filters: Filters,
    cache: Cache | None = None,
    *,
    end: int | None = None,
    shared: "Shared | None" = None,
) -> Answer:
    """Return what `filters` choose from the journal.

    Args:
        journal: its file.
        filters: what is asked.
        cache: what is sealed of it, from `query.segments.load`; without it, all of the journal is read.
        end: how many of its bytes count; None for all there are.
        shared: whose memory and threads are used, with other answers; it has to outlive this one.

    Raises:
        InputError: the journal cannot be read, or a pattern is no regular expression.
        StorageError: DuckDB could not do it: memory and temporary space are used up.
    """
    scratch = tempfile.mkdtemp(prefix="vdbevents-query-")
    try:
        source = open_source(journal, cache, Path(scratch), end)
        memory_mb = memory_for(source.longest)
        connection = connect(scratch, memory_mb) if shared is None else shared.connection(memory_mb)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    answer = Answer(connection, scratch, source)
    try:
        if filters.where is not None and shared is None:
            _close(connection, source)
        check_filters(connection, filters)
        with explained(), with_condition(filters):
            answer.find(filters)
    except _CacheUnreadableError:
        answer.close()
        return search(journal, filters, end=end, shared=shared)
    except BaseException:
        answer.close()
        raise
    return answer


def _close(connection: "DuckDBPyConnection", source: Source) -> None:
    """Leave a connection no file but those of the journal, should a condition reach for one all the same."""
    paths = [source.unsealed, *(source.cache.events(segment) for segment in source.cache.segments)]
    connection.execute("SET allowed_paths = ?", [list(map(str, paths))])
    connection.execute("SET enable_external_access = false")
