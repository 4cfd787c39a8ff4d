"""DuckDB reads the journal: what is sealed of it as Parquet, the rest as lines."""

import contextlib
import re
import select
import shutil
import signal
import socket
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbevents.errors import InputError, StorageError
from vdbevents.gaps import Gap, told_by
from vdbevents.query import plan
from vdbevents.query.folding import folded
from vdbevents.query.plan import Event, Filters, Statement
from vdbevents.query.segments import Cache, Interims, Segment, Span, meet, with_finals_for
from vdbevents.query.source import Closeable, Source, literal, open_source
from vdbevents.query.window import LEAST_MS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_BATCH = 2048
_NOTICED_SECONDS = 0.3


# Those that are open: Ctrl-C ends what they are at.
_connections: "weakref.WeakSet[DuckDBPyConnection]" = weakref.WeakSet()


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
        for batch in self._batches(plan.LINES):
            sealed = self._source.lines(
                (position, length) for position, length, *_ in batch if length is not None
            )
            yield [
                (time_ms, next(sealed) if length is not None else line) for _, length, line, time_ms in batch
            ]

    def times(self) -> Iterator[list[int | None]]:
        """Those times alone, in batches that are never empty."""
        return ([time_ms for (time_ms,) in batch] for batch in self._batches(plan.TIMES))

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """The folded events, in batches that are never empty; None in columns other than `columns`."""
        start = 0
        for large in [*self._large, self.count]:
            for first, last in ((start, large - 1), (large, large)):
                if first <= last < self.count:
                    sql = plan.rows(columns, self._source.tables(self._sealed), first, last)
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
        self._connection.execute(plan.found(self._source.tables(self._sealed)))

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
            for sql in plan.spans(filters):
                self._connection.execute(sql)
            spans = self._rows(plan.SPANS)
            self._choose(plan.context(filters), spans)
            self.breaks = {row for (row,) in self._rows(plan.BREAKS)}
        ours = [line for (line,) in self._rows(plan.OURS)]
        self.gaps = told_by([*self._source.cache.gap_lines, *ours])
        [(unreadable, rejected)] = self._rows(plan.SKIPPED)
        self.skipped = unreadable + rejected + sum(segment.unreadable for segment in segments)
        [(self.count, first, last, _)] = self._rows(plan.SPAN)
        self.span = None if first is None else (first, last)
        self._large = [row for (row,) in self._rows(plan.LARGE)]
        places = [position for (position,) in self._rows(plan.SEALED_ONES)]
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
        self._execute(plan.candidates(literal(self._source.unsealed), filters, self._source.longest))
        self._execute(plan.events(filters))
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
                for sql in plan.PLACED:
                    self._connection.execute(sql)
            # Not only those near: what replaced a match may be anywhere.
            self._show(filters, segments)
            if not pending or self._is_settled(filters, pending):
                return
            size *= 2
            for sql in plan.FORGET_SHOWN:
                self._connection.execute(sql)

    def _open(self, filters: Filters, segments: Sequence[Segment]) -> None:
        if segments:
            self._read_sealed(plan.more_events(filters, self._whole_tables(segments)))

    def _with_repetitions(self, pending: Sequence[Segment]) -> list[Segment]:
        """Return what has to be opened as well: it may hold what a match tells again, or is told again by."""
        if not pending:
            return []
        [(begun, fetched_begun, lifecycle, fetched_lifecycle)] = self._rows(plan.MATCHED)
        return [
            segment
            for segment in pending
            if meet(segment.starts, begun if segment.has_fetched else fetched_begun)
            or (segment.has_lifecycle and (fetched_lifecycle or (lifecycle and segment.has_fetched)))
        ]

    def _show(self, filters: Filters, segments: Sequence[Segment]) -> None:
        hiding = not filters.interim and self._rows(plan.INTERIMS) != [(0,)]
        if hiding and segments:
            self._open_finals(filters, segments)
        sparing = self._rows(plan.FETCHED_ONES) != [(0,)]
        if sparing:
            self._connection.execute(plan.SUSPECTS)
            self._tell_suspects()
            self._connection.execute(plan.repeated())
        self._connection.execute(plan.answer(filters, hiding=hiding, sparing=sparing))

    def _open_finals(self, filters: Filters, segments: Sequence[Segment]) -> None:
        """Add the final transcripts that may have replaced matches, wherever they are."""
        interims = [Interims(*row) for row in self._rows(plan.INTERIM_ONES)]
        if needed := with_finals_for(interims, segments, by_event=filters.by_event):
            self._read_sealed(plan.more_finals(filters, self._whole_tables(needed)))

    def _whole_tables(self, segments: Sequence[Segment]) -> list[str]:
        if not all(map(self._source.cache.holds, segments)):
            raise _CacheUnreadableError
        return self._source.tables(segments)

    def _tell_suspects(self) -> None:
        """Give those `suspects` their lines that are sealed."""
        sealed = self._rows(plan.SEALED_SUSPECTS)
        for start in range(0, len(sealed), _BATCH):
            batch = sealed[start : start + _BATCH]
            lines = list(self._source.lines(batch))
            self._execute(Statement(plan.TELL_SUSPECTS, [[position for position, _ in batch], lines]))

    def _is_settled(self, filters: Filters, pending: Sequence[Segment]) -> bool:
        """Tell whether no event in `pending` can be newer than those of the answer."""
        [(count, _, _, oldest)] = self._rows(plan.SPAN)
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
        _check(connection, filters)
        with explained(), _conditioned(filters):
            answer.find(filters)
    except _CacheUnreadableError:
        answer.close()
        return search(journal, filters, end=end, shared=shared)
    except BaseException:
        answer.close()
        raise
    return answer


def memory_for(longest: int, least_mb: int = 1000) -> int:
    """Return how much memory, in MB, lines of at most `longest` bytes may take.

    A huge one is held many times over: as read, as JSON, as text.
    """
    return least_mb + 40 * (longest >> 20)


def connect(scratch: str, memory_mb: int, threads: int | None = None) -> "DuckDBPyConnection":
    """Return a connection that fetches nothing from anywhere, and spills into the private folder `scratch`.

    Args:
        scratch: a folder.
        memory_mb: how much memory it may use, in MB.
        threads: how many it may use; None for one a core.
    """
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": scratch,
            "memory_limit": f"{memory_mb}MB",
            **({} if threads is None else {"threads": str(threads)}),
        },
    )
    return _quiet(connection)


def _quiet(connection: "DuckDBPyConnection") -> "DuckDBPyConnection":
    _connections.add(connection)
    connection.execute("SET enable_progress_bar = false")  # it would go to stdout
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _close(connection: "DuckDBPyConnection", source: Source) -> None:
    """Leave a connection no file but those of the journal, should a condition reach for one all the same."""
    paths = [source.unsealed, *(source.cache.events(segment) for segment in source.cache.segments)]
    connection.execute("SET allowed_paths = ?", [list(map(str, paths))])
    connection.execute("SET enable_external_access = false")


class Shared(Closeable):
    """The memory and the threads of DuckDB for several answers, or pieces, at once; a context manager.

    A database of its own for each takes some ten threads, and several times as long to start as to search a
    small journal.

    Attributes:
        scratch: a private folder for what does not fit into memory; it goes with the database.
    """

    def __init__(
        self,
        folder: Path | None = None,
        prefix: str = "vdbevents-query-",
        memory_mb: int = 1000,
        threads: int | None = None,
    ) -> None:
        """Start it.

        Args:
            folder: where `scratch` is made; None for where the system has such.
            prefix: how its name begins.
            memory_mb: how much memory all may use, in MB.
            threads: how many one statement may use; None for one a core.
        """
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._given: weakref.WeakSet[DuckDBPyConnection] = weakref.WeakSet()
        self.scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        try:
            self._database = connect(str(self.scratch), memory_mb, threads)
        except BaseException:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise

    def connection(self, memory_mb: int) -> "DuckDBPyConnection":
        """Return a connection that has temporary tables of its own, and so much memory at least."""
        with self._lock:
            if memory_mb > self._memory_mb:
                self._memory_mb = memory_mb
                self._database.execute(f"SET memory_limit = '{memory_mb}MB'")
            connection = _quiet(self._database.cursor())
            self._given.add(connection)
            return connection

    def interrupt(self) -> None:
        """End what its connections are at: that raises `duckdb.InterruptException`."""
        import duckdb

        for connection in list(self._given):
            with contextlib.suppress(duckdb.Error):  # it is closed
                connection.interrupt()

    def close(self) -> None:
        """Give all of it back. Harmless when repeated."""
        try:
            self._database.close()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)


def _check(connection: "DuckDBPyConnection", filters: Filters) -> None:
    """See that every pattern can be used, before anything is read."""
    import duckdb

    for pattern in (*filters.grep, *filters.any_of, *filters.none_of):
        try:
            pattern.encode()
        except UnicodeEncodeError:
            raise InputError(f"the pattern {pattern!r} is no text", "Give it in UTF-8.") from None
        if filters.extended:
            try:
                connection.execute("SELECT regexp_matches('', ?)", [pattern]).fetchall()
            except duckdb.Error as error:
                reason = str(error).removeprefix("Invalid Input Error: ").splitlines()[0]
                raise InputError(
                    f"the pattern {pattern!r} is no regular expression: {reason}",
                    "-E takes RE2's syntax; without -E a pattern is literal text.",
                ) from None
    if filters.where is not None:
        _check_condition(connection, filters.where)


def _check_condition(connection: "DuckDBPyConnection", where: str) -> None:
    with _conditioned(Filters(where=where)):
        [*statements] = connection.extract_statements(plan.condition(where))
        if len(statements) != 1 or statements[0].named_parameters or not _is_expression(connection, where):
            raise InputError(
                f"{where!r} is no condition on an event",
                f"One of SQL's is accepted, without a SELECT in it, over: {_condition_columns()}.",
            )
        connection.execute(statements[0]).fetchall()


def _is_expression(connection: "DuckDBPyConnection", where: str) -> bool:
    """Tell whether SQL is an expression, and nothing in it could read a table, or run a statement.

    DuckDB may run what stands in a text (`json_execute_serialized_sql`), with which a file that may be read
    could be written: a function of tables needs a FROM, and that a subquery.
    """
    import json

    [(told,)] = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({where}\n)"]).fetchall()
    statements = json.loads(told).get("statements", [])
    if len(statements) != 1 or '"SUBQUERY"' in told:
        return False
    node = statements[0]["node"]
    return (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "EMPTY"
        and len(node["select_list"]) == 1
        and not node["modifiers"]
        and not node["cte_map"]["map"]
        and node["where_clause"] is None
    )


def _condition_columns() -> str:
    return ", ".join(plan.CONDITION_COLUMNS)


@contextlib.contextmanager
def _conditioned(filters: Filters) -> Iterator[None]:
    """Turn what DuckDB says of a condition in SQL into an error with a cure."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        if filters.where is None:
            raise
        reason = str(error).split("\n\nLINE", maxsplit=1)[0].strip()
        raise InputError(
            f"the condition {filters.where!r} does not work: {reason}",
            f"It may name: {_condition_columns()}; try_cast gives NULL for what cannot be cast.",
        ) from None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn DuckDB's lack of room, or a journal that vanished meanwhile, into an error with a cure."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(
            f"the journal could not be searched: {reason}",
            f"Large answers need room in {tempfile.gettempdir()}; a shorter window or -n needs less.",
        ) from error


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end what DuckDB is at, which does not always look for it by itself; in the main thread.

    Raises:
        KeyboardInterrupt: it was pressed.
    """
    import duckdb

    reading, writing = socket.socketpair()
    writing.setblocking(False)  # noqa: FBT003 - as set_wakeup_fd wants it
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    watching = threading.Thread(target=_interrupting, args=(reading,), daemon=True)
    watching.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from error
    finally:
        signal.set_wakeup_fd(before)
        writing.close()
        watching.join(_NOTICED_SECONDS * 2)


def _interrupting(signals: socket.socket) -> None:
    """End what DuckDB is at some time after SIGINT, unless that was noticed, or is somebody else's."""
    import duckdb

    with signals:
        while numbers := signals.recv(64):
            if signal.SIGINT not in numbers:
                continue
            # Where Python runs it notices by itself, and goes: then nobody may touch what it closes.
            if select.select([signals], [], [], _NOTICED_SECONDS)[0]:
                continue
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                connection = None
                for connection in list(_connections):
                    with contextlib.suppress(duckdb.Error):
                        connection.interrupt()
                # A reference that is left at the program's end is a complaint on stderr.
                del connection


class Sieve(Closeable):
    """Chooses from lines, as they are written, what `search` would choose: the same SQL, in one statement.

    That is planned once, on one connection, for planning takes ten times as long as looking at a few lines.
    Interim transcripts are chosen if `filters.interim` says so, and never otherwise: a final one is yet to
    come. How many there were before (`limit`, `offset`) and what came twice is not asked.
    """

    def __init__(self, filters: Filters, columns: Collection[str]) -> None:
        """Take the `columns` of `Event` that are to be given, beside `line`; the others will be None.

        Raises:
            InputError: a pattern is no regular expression.
        """
        self._longest = 0
        self._scratch = tempfile.mkdtemp(prefix="vdbevents-follow-")
        self._connection = connect(self._scratch, 1000)
        try:
            if filters.where is not None:
                self._connection.execute("SET enable_external_access = false")
            _check(self._connection, filters)
            # A better plan saves less, with so few lines, than it takes to find.
            self._connection.execute("PRAGMA disable_optimizer")
            self._connection.execute("SET threads = 1")
            self._connection.execute("CREATE TEMP TABLE candidates (line VARCHAR)")
            self._connection.execute(f"PREPARE sieve AS {_sifted(filters, columns)}")
        except BaseException:
            self.close()
            raise

    def sift(self, lines: Sequence[bytes]) -> tuple[list[Event], int]:
        """Return what matches, in the order of `lines`, and how many of them could not be read.

        Raises:
            StorageError: memory is used up.
        """
        texts, skipped = [], 0
        for line in lines:
            try:
                text = line.rstrip(b"\r\n").decode()
            except UnicodeDecodeError:
                skipped += 1
                continue
            if text and not text.isspace():
                texts.append(text)
        with explained():
            self._make_room(max(map(len, lines), default=0))
            self._connection.execute("BEGIN")
            try:
                self._connection.execute("INSERT INTO candidates SELECT unnest(?)", [texts])
                rows = self._connection.execute("EXECUTE sieve").fetchall()
            finally:
                # What was never committed leaves nothing behind.
                self._connection.execute("ROLLBACK")
        events = [Event._make(values) for readable, *values in rows if readable]
        return events, skipped + len(rows) - len(events)

    def close(self) -> None:
        """Give back what is held. Harmless when repeated."""
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _make_room(self, longest: int) -> None:
        if longest > self._longest + (1 << 20):
            self._longest = longest
            self._connection.execute(f"SET memory_limit = '{memory_for(longest)}MB'")


def _sifted(filters: Filters, columns: Collection[str]) -> str:
    """Return a SELECT of `readable` and an `Event`'s columns from `candidates`."""
    events = plan.events(filters)
    values = iter(events.values)
    # With values that are yet to come, DuckDB plans a statement anew each time.
    written = re.sub(
        r"'(?:[^']|'')*'|\$\$.*?\$\$|\?",
        lambda part: _constant(next(values)) if part[0] == "?" else part[0],
        events.sql,
    )
    _, _, chosen = written.partition(" AS")
    matched = "matched" if filters.interim else "matched AND NOT (transcript AND is_final IS FALSE)"
    given = [name for name in Event._fields if name == "line" or (name in columns and name != "host")]
    # Something has to be folded, for `readable` to be told.
    folding = given if len(given) > 1 else [*given, "time_ms"]
    lines = f"""(SELECT line, position FROM events
        JOIN candidates ON candidates.rowid + {plan.UNSEALED} = position
        WHERE {matched} OR NOT readable)"""  # noqa: S608 - as in plan
    shown = ", ".join(name if name in given else "NULL" for name in Event._fields)
    return f"""WITH events AS MATERIALIZED ({chosen})
        SELECT readable, {shown} FROM ({folded(lines, folding, "position", "readable")})
        ORDER BY position"""  # noqa: S608 - as in plan


def _constant(value: object) -> str:
    """Return a value as SQL has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_constant, value))}]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
