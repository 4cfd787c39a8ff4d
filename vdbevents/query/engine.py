"""Search a journal with DuckDB: sealed segments as Parquet, the rest as lines."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents.events.gaps import gaps_in
from vdbevents.events.session_content import SessionBook
from vdbevents.privacy.pauses import pauses_in
from vdbevents.query import patterns, scratch, session_tables, statements
from vdbevents.query.byte_ranges import literal
from vdbevents.query.cache.index import (
    Cache,
    CacheUnreadableError,
    Interims,
    Segment,
    Span,
    meet,
    with_finals_for,
)
from vdbevents.query.cache.sealed_counts import SealedCounts, SessionCount
from vdbevents.query.condition_zone import leave_zone
from vdbevents.query.conditions import check_filters, with_condition
from vdbevents.query.duck import SharedDatabase, connect, execute, explained, fetched_batches, memory_for
from vdbevents.query.filters import Filters
from vdbevents.query.lines import Statement
from vdbevents.query.mended_lines import mended_line
from vdbevents.query.occurring import EVERYTHING, Occurring
from vdbevents.query.older import Older
from vdbevents.query.row_journal import NOTHING_UNSEALED, RowJournal, RowSnapshot, unreadable_rows
from vdbevents.query.sealed_tables import Portion, SealedTable
from vdbevents.query.search_result import SearchResult
from vdbevents.query.session_reader import in_sessions, read_sessions
from vdbevents.query.snapshot import JournalSnapshot, open_snapshot
from vdbevents.times import LEAST_MS, Window

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BATCH = 2048
_MARGIN_MS = 10 * 60_000

# Of so few lines, to find out what SQL they need takes less time than to plan the SQL for any line.
_FEW: Final = 2000
_FEW_BYTES: Final = 1 << 19


def search(
    journal: Path,
    filters: Filters,
    cache: Cache | None = None,
    *,
    end: int | None = None,
    shared: SharedDatabase | None = None,
    older: Older | None = None,
    counting: SessionBook | None = None,
    sealed: bool = True,
    rows: RowJournal | None = None,
    portion: Portion | None = None,
    only_count: bool = False,
) -> SearchResult:
    """Return the events of a journal that match, and of what was rotated out of it.

    Args:
        journal: its file.
        filters: the conditions; `sessions` are looked up in the journal, unless `scope` has their content.
        cache: its sealed segments, from `query.cache.index.load`; without it, all of the journal is read.
        end: read only so many of its bytes; None reads all.
        shared: a database to share with other searches; it must outlive the result.
        older: how to read what was set aside; None unpacks what was rotated.
        counting: the journal's sessions, if only the events of sessions are to be counted, with `filters`
            that name sessions or nothing: then the matches lack those that need not be read.
        sealed: whether to search what is sealed, too; the snapshot of the result has it in any case.
        rows: the journal, if it is kept as rows, and `journal` names no file.
        portion: find only this portion of the matches, without a limit.
        only_count: whether the result need not have the matches, but only say how many they are.

    Raises:
        CacheUnreadableError: the sealed segments are not those of the portion, or not readable.
        InputError: the journal cannot be read, or a pattern is not a regular expression.
        StorageError: memory and temporary space are used up.
    """
    if filters.sessions and filters.scope is None:
        filters = in_sessions(filters, rows.sessions() if rows else read_sessions(journal, cache, older))
    with contextlib.ExitStack() as resources:
        folder = resources.enter_context(scratch.folder("query"))
        spool = folder / "found.parquet"
        snapshot: JournalSnapshot | RowSnapshot
        if rows is None:
            asked = _asked(older or Older(), filters)
            snapshot = open_snapshot(journal, cache, folder, end, asked)
        else:
            snapshot = RowSnapshot(rows, folder, filters)
        resources.enter_context(snapshot)
        memory_mb = memory_for(snapshot.longest)
        connection = connect(str(folder), memory_mb) if shared is None else shared.connection(memory_mb)
        resources.callback(connection.close)
        if filters.where is not None and shared is None:
            _restrict_files(connection, snapshot, spool)
        check_filters(connection, filters)
        with contextlib.suppress(CacheUnreadableError), explained(), with_condition(filters):
            matches = rows.matches if rows else ""
            found = _Search(
                connection,
                snapshot,
                filters,
                spool,
                counting,
                sealed=sealed,
                matches=matches,
                portion=portion,
                only_count=only_count and _is_unlimited(filters) and rows is None,
            )
            result = found.run(resources)
            if filters.where is not None:
                leave_zone(connection)
            return result
    if rows is not None:
        raise unreadable_rows()
    if portion is not None:
        raise CacheUnreadableError
    older = (older or Older()).without_cache()
    return search(journal, filters, end=end, shared=shared, older=older, counting=counting, sealed=sealed)


def _is_unlimited(filters: Filters) -> bool:
    return filters.limit is None and not filters.offset and filters.around_ms is None


def _asked(older: Older, filters: Filters) -> Older:
    """Return `older` with the times of receipt that matter, by which whole journals are left out."""
    if filters.by_event or filters.around_ms is not None:
        return older  # an event's own time may be any
    return older._replace(window=filters.window)


def _restrict_files(
    connection: "DuckDBPyConnection", snapshot: JournalSnapshot | RowSnapshot, spool: Path
) -> None:
    """Limit the connection to the journal's own files and `spool`, whatever a condition tries."""
    sealed = snapshot.sealed
    paths = [*snapshot.unsealed, spool, *map(sealed.events, sealed.segments)]
    connection.execute("SET allowed_paths = ?", [list(map(str, paths))])
    connection.execute("SET enable_external_access = false")


class _Search:
    """Run the steps of `statements` on one connection, opening no more segments than needed."""

    def __init__(
        self,
        connection: "DuckDBPyConnection",
        snapshot: JournalSnapshot | RowSnapshot,
        filters: Filters,
        spool: Path,
        counting: SessionBook | None = None,
        *,
        sealed: bool = True,
        matches: str = "",
        portion: Portion | None = None,
        only_count: bool = False,
    ) -> None:
        self._connection = connection
        self._matches = matches
        self._portion = portion
        self._only_counts = only_count
        self._numbers: list[tuple[int, int | None, int | None]] | None = None
        self._counting = counting
        self._searches_sealed = sealed
        self._counted: list[SessionCount] = []
        self._unread_span: Span | None = None
        self._spool = spool
        self._snapshot = snapshot
        self._cache = snapshot.sealed
        self._filters = filters
        self._found = EVERYTHING
        self._is_mended = False
        self._has_sealed = False

    def run(self, resources: contextlib.ExitStack) -> SearchResult:
        """Return the result, which takes over `resources`."""
        filters, groups = self._filters, {}
        if self._portion is not None and tuple(self._portion.segments) != self._cache.segments:
            raise CacheUnreadableError
        self._choose(filters)
        untimed = self._untimed()
        if filters.around_ms is not None:
            for sql in statements.spans(filters):
                execute(self._connection, sql)
            spans = self._rows(statements.SPANS)
            self._choose(statements.context(filters), spans)
            groups = {row: (first, last) for row, first, last in self._rows(statements.GROUPS)}
        ours = [] if self._snapshot.is_all_sealed else self._rows(statements.OURS)
        own_lines = self._snapshot.own_lines((line for (line,) in ours), self._connection)
        [(unreadable, rejected)] = self._rows(statements.SKIPPED)
        is_counted = self._numbers is not None
        count, span = self._counted_matches()
        sealed_ones = self._rows(statements.SEALED_ONES) if self._cache.segments and not is_counted else []
        places = [position for (position,) in sealed_ones]
        has_large = self._snapshot.longest > statements.LARGE_BYTES and not self._found.is_known
        return SearchResult(
            self._connection,
            self._snapshot,
            spool=self._spool,
            segments=self._snapshot.holding(places),
            large_rows=[row for (row,) in self._rows(statements.LARGE)]
            if has_large and not is_counted
            else [],
            reading=statements.reading_again(self._found, carried=not self._has_sealed),
            is_mended=self._is_mended,
            skipped=unreadable + rejected + self._snapshot.unreadable(self._connection),
            count=count,
            span=_joined(span, self._unread_span),
            counted=self._counted,
            untimed=untimed,
            gaps=gaps_in(own_lines),
            pauses=pauses_in(own_lines),
            groups=groups,
            resources=resources.pop_all(),
        )

    def _counted_matches(self) -> tuple[int, Span | None]:
        """Return how many rows the answer has, and their first and last time."""
        numbers = self._numbers
        if numbers is None:
            numbers = [(count, first, last) for count, first, last, _ in self._rows(statements.SPAN)]
        span = None
        for _, first, last in numbers:
            span = _joined(span, None if first is None or last is None else (first, last))
        return sum(count for count, *_ in numbers), span

    def _choose(self, filters: Filters, spans: Sequence[Span] | None = None) -> None:
        """Create the table `answer` of the matches; with `spans`, only of those that happened in them."""
        wanted = filters.spans if spans is None else spans
        if not wanted or not filters.by_event:
            self._choose_from(filters, spans)
            return
        # A final transcript that replaced a match began before that ended.
        first, last = min(begin for begin, _ in wanted), max(end for _, end in wanted)
        near = first - _MARGIN_MS, last + _MARGIN_MS
        self._choose_from(filters, spans, near)
        reaching = statements.REACHING.format(
            first=first, last=last, longer_first=near[0], longer_last=near[1]
        )
        if not filters.interim and self._rows(reaching) != [(0,)]:
            for sql in statements.FORGET:
                execute(self._connection, sql)
            self._choose_from(filters, spans)

    def _choose_from(self, filters: Filters, spans: Sequence[Span] | None, near: Span | None = None) -> None:
        """Create the table `answer` from the lines about `near`, or from all.

        With a limit, segments are opened from the newest on until no older one can hold a wanted match.
        """
        segments = [
            segment
            for segment in self._cache.segments
            if self._searches_sealed and segment.may_hold(filters.window, by_event=filters.by_event)
        ]
        self._read_unsealed(filters, near)
        is_repeated = (
            any(one.has_fetched for one in self._cache.segments) or self._rows(statements.COUNTS)[0][1]
        )
        self._numbers = [] if self._only_counts and not is_repeated else None
        chosen = self._near(filters, segments, spans)
        groups = patterns.word_groups(filters) if chosen else []
        pending = [segment for segment in chosen if self._cache.may_say(segment, groups)]
        if self._counting is not None:
            self._choose_uncounted(filters, chosen, self._counting)
            return
        pending.sort(key=lambda segment: _newest(segment, filters), reverse=True)
        size = len(pending) if filters.limit is None or self._matches else 1
        while True:
            self._open(filters, pending[:size])
            pending = pending[size:]
            while related := self._with_repetitions(pending):
                self._open(filters, related)
                pending = [segment for segment in pending if segment not in related]
            if spans is not None:
                for sql in statements.PLACED:
                    execute(self._connection, sql)
            # All segments, not only the chosen ones: the final transcript of a match may be anywhere.
            self._create_answer(filters, segments, keeping=spans is not None)
            if not pending or self._is_settled(filters, pending):
                return
            size *= 2
            for sql in statements.FORGET_SHOWN:
                execute(self._connection, sql)

    def _near(
        self, filters: Filters, segments: Sequence[Segment], spans: Sequence[Span] | None
    ) -> Sequence[Segment]:
        """Return those of the segments that may hold what is searched for now."""
        wanted = filters.spans if spans is None else spans
        if spans is not None or filters.spans:
            segments = [segment for segment in segments if segment.overlaps(wanted)]
        if filters.scope is not None:
            segments = [segment for segment in segments if segment.may_be_of(filters.scope)]
        if self._portion is not None:
            segments = [segment for segment in segments if segment.start in self._portion.opened]
        return segments

    def _read_unsealed(self, filters: Filters, near: Span | None) -> None:
        """Create the tables `candidates` and `events`, about `near` or all of it."""
        longest = self._snapshot.longest
        self._is_mended = self._has_sealed = False
        # A condition of the user's is looked at where there is nothing, too.
        if self._snapshot.is_all_sealed and filters.where is None:
            for sql in NOTHING_UNSEALED:
                execute(self._connection, sql)
            self._found = Occurring(())
            return
        paths = list(map(literal, self._snapshot.unsealed))
        [(count,)] = self._execute(statements.candidates(paths, filters, longest, near))
        self._found = self._occurring(count)
        self._execute(statements.events(filters, self._found))
        if not self._found.is_known and self._mend(self._rows(statements.TO_MEND)):
            for statement in statements.events_again(filters):
                self._execute(statement)
        if self._found.may_be_lax:
            execute(self._connection, statements.REFUSE_LAX)

    def _occurring(self, count: int) -> Occurring:
        """Return what may occur in the candidates, of which there are so many."""
        if count > _FEW:
            return EVERYTHING
        lines: dict[int, str] = {}
        room = _FEW_BYTES
        for batch in fetched_batches(self._connection, statements.candidates_within(_FEW_BYTES)):
            for position, line, size in batch:
                room -= size
                if room < 0:
                    return EVERYTHING
                lines[position] = line
        found = Occurring(lines.values())
        if found.is_known and (mended := self._mend(lines.items())):
            found = Occurring((lines | mended).values())
        return found

    def _mend(self, lines: Iterable[tuple[int, str]]) -> dict[int, str]:
        """Replace candidates in which a member stands twice; return what they are now, by their positions."""
        mended = {position: new for position, line in lines if (new := mended_line(line)) is not None}
        if mended:
            self._is_mended = True
            first, *others = statements.MEND
            self._execute(Statement(first, [list(mended), list(mended.values())]))
            for sql in others:
                execute(self._connection, sql)
        return mended

    def _choose_uncounted(self, filters: Filters, near: Sequence[Segment], book: SessionBook) -> None:
        """Create the table `answer` of matches without those that segments count by their entries."""
        wanted = None if filters.scope is None else frozenset(filters.scope.sessions)
        segments = self._cache.segments
        counts = SealedCounts(segments, near, book, wanted)
        unread = counts.unread
        reading = [segment for segment in near if segment not in unread]
        while True:
            self._open(filters, reading)
            unread = [segment for segment in unread if segment not in reading]
            reading = self._with_repetitions(unread) or counts.related(unread)
            if not reading and not self._is_in_order(segments):
                reading = unread
            if not reading:
                break
        self._create_answer(filters, segments, keeping=False)
        undecided = counts.undecided(unread)
        replaced: set[int] = set()
        if undecided:
            values = zip(
                *(
                    (n, one.speaker, one.start_ms, one.end_ms, is_last)
                    for n, (one, is_last) in enumerate(undecided)
                ),
                strict=True,
            )
            found = execute(
                self._connection, session_tables.REPLACED_LATER, [list(column) for column in values]
            )
            replaced = {number for (number,) in found.fetchall()}
        left = [interim for number, (interim, _) in enumerate(undecided) if number not in replaced]
        self._counted = counts.rows(unread, left)
        for segment in unread:
            self._unread_span = _joined(self._unread_span, segment.received)

    def _is_in_order(self, segments: Sequence[Segment]) -> bool:
        """Return whether all unsealed transcripts were received after what is sealed."""
        [(earliest, untimed)] = self._rows(session_tables.EARLIEST_UNSEALED)
        latest = max((segment.received[1] for segment in segments if segment.received), default=None)
        return not untimed and (earliest is None or latest is None or earliest >= latest)

    def _untimed(self) -> int:
        """Return how many events match but for the window, as their times are not known."""
        if self._filters.window == Window():
            return 0
        segments = [segment for segment in self._cache.segments if segment.untimed]
        if not segments and self._rows(statements.UNTIMED) == [(0,)]:
            return 0
        statement = statements.untimed(self._filters, self._files(segments) if segments else [])
        [(count,)] = execute(self._connection, statement.sql, statement.values).fetchall()
        return int(count)

    def _open(self, filters: Filters, segments: Sequence[Segment]) -> None:
        if segments and self._numbers is not None and filters.interim:
            self._numbers += self._read_sealed(statements.count(filters, self._files(segments)))
        elif segments:
            self._has_sealed = True
            to_count = self._numbers is not None
            found = statements.matches(filters, self._files(segments), to_count=to_count)
            if self._matches:
                found = Statement(self._matches, [])
            new = "position NOT IN (SELECT position FROM events)"
            added = f"INSERT INTO events {found.sql} AND {new}"
            self._read_sealed(found._replace(sql=added))

    def _with_repetitions(self, pending: Sequence[Segment]) -> list[Segment]:
        """Return the pending segments that may hold the same event as a match, received or backfilled."""
        if not pending:
            return []
        [(begun, fetched_begun, lifecycle, fetched_lifecycle)] = self._rows(statements.MATCHED)
        return [
            segment
            for segment in pending
            if meet(segment.starts, begun if segment.has_fetched else fetched_begun)
            or (segment.has_lifecycle and (fetched_lifecycle or (lifecycle and segment.has_fetched)))
        ]

    def _create_answer(self, filters: Filters, segments: Sequence[Segment], *, keeping: bool) -> None:
        [(interims, sparing)] = self._rows(statements.COUNTS)
        hiding = bool(interims) and not filters.interim
        if hiding and segments:
            self._open_finals(filters, segments)
        if self._numbers is not None:
            self._numbers += self._rows(statements.count_shown(hiding=hiding))
            return
        if sparing:
            execute(self._connection, statements.SUSPECTS)
            self._add_sealed_suspects()
            execute(self._connection, statements.repeated())
        sql = statements.answer(
            filters,
            hiding=hiding,
            sparing=bool(sparing),
            keeping=keeping,
            carrying=not self._has_sealed,
            places=None if self._portion is None else self._portion.places,
        )
        execute(self._connection, sql)

    def _open_finals(self, filters: Filters, segments: Sequence[Segment]) -> None:
        """Add the final transcripts that may have replaced matches, wherever they are."""
        interims = [Interims(*row) for row in self._rows(statements.INTERIM_ONES)]
        if needed := with_finals_for(interims, segments, by_event=filters.by_event):
            self._read_sealed(statements.more_finals(filters, self._files(needed)))

    def _files(self, segments: Sequence[Segment]) -> list[SealedTable]:
        if not self._cache.hold(segments):
            raise CacheUnreadableError
        return self._snapshot.tables(segments)

    def _add_sealed_suspects(self) -> None:
        """Give sealed rows of `suspects` their lines, which are in the journal."""
        sealed = self._rows(statements.SEALED_SUSPECTS)
        for start in range(0, len(sealed), _BATCH):
            batch = sealed[start : start + _BATCH]
            found = self._snapshot.lines(batch, self._connection)
            lines = [mended_line(line) or line for line in found]
            positions = [position for position, _ in batch]
            self._execute(Statement(statements.TELL_SUSPECTS, [positions, lines]))

    def _is_settled(self, filters: Filters, pending: Sequence[Segment]) -> bool:
        """Return whether no event in `pending` can be newer than those of the answer."""
        [(count, _, _, oldest)] = self._rows(statements.SPAN)
        return bool(
            count == filters.limit
            and (not count or oldest > max(_newest(segment, filters) for segment in pending))
        )

    def _execute(self, statement: Statement) -> list[tuple[Any, ...]]:
        return execute(self._connection, statement.sql, statement.values).fetchall()

    def _read_sealed(self, statement: Statement) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._execute(statement)
        except (duckdb.OutOfMemoryException, duckdb.InterruptException):
            raise
        except duckdb.Error as error:  # a damaged file can raise any of them
            if self._snapshot.keeps_lines and self._filters.where is not None:
                raise  # there is nothing else to read, so it is the condition's
            raise CacheUnreadableError from error

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return execute(self._connection, sql).fetchall()


def _joined(one: Span | None, other: Span | None) -> Span | None:
    """Return the span from the first beginning to the last end."""
    if one is None or other is None:
        return other if one is None else one
    return min(one[0], other[0]), max(one[1], other[1])


def _newest(segment: Segment, filters: Filters) -> int:
    span = segment.happened if filters.by_event else segment.received
    return LEAST_MS if span is None else span[1]
