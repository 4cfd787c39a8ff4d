"""Run SQL over a journal: read-only, over the views of `query.sql.views`, without access to other files."""

# ruff: noqa: S608 - it runs the user's SQL: the connection limits what that can do

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.events.gaps import Gap, gaps_in, with_ongoing
from vdbevents.journal.files import free_bytes
from vdbevents.query import scratch, session_tables
from vdbevents.query.byte_ranges import Closeable, literal
from vdbevents.query.cache import schema
from vdbevents.query.cache.fill import fill
from vdbevents.query.cache.index import Cache, CacheUnreadableError
from vdbevents.query.duck import connect, memory_for
from vdbevents.query.engine_errors import understood
from vdbevents.query.older import Older
from vdbevents.query.session_reader import read_sessions
from vdbevents.query.snapshot import JournalSnapshot, open_snapshot
from vdbevents.query.sql import views
from vdbevents.query.sql.guard import Limits

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_BATCH: Final = 2048
_MOST_TEMPORARY_MB: Final = 8000
MEMORY_BESIDE: Final = 1.5
"""Of DuckDB's memory limit: it does not count all that it takes."""
_HINT: Final = "see `vdbevents sql --describe`; the dialect is DuckDB's: https://duckdb.org/docs/sql"
_SELECTS: Final = re.compile(r"\s*\(*\s*(SELECT|FROM|WITH|PIVOT|PIVOT_WIDER|VALUES)\b", re.IGNORECASE)
_NESTED: Final = re.compile(r".*\]|(STRUCT|MAP|UNION)\(.*|JSON|VARIANT", re.DOTALL)
_NUMBER: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BIGNUM|VARINT|DOUBLE|FLOAT|DECIMAL\(.*")
_READING_NODES: Final = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_HARMLESS_FUNCTIONS: Final = {"unnest", "range", "generate_series", "json_each", "json_tree"}
_TIME_FORM: Final = "%Y-%m-%dT%H:%M:%S.%g"


class ValueKind(Enum):
    """The kind of value that a text holds."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"


class SqlColumn(NamedTuple):
    """A column of the result; several may have the same name."""

    name: str
    kind: ValueKind


class SqlTables(Closeable):
    """The views over a journal; a context manager that releases DuckDB's memory and files at its end.

    Attributes:
        journal_bytes: the journal's size when it was opened.
        skipped: lines that could not be read, as in `query.search_result.SearchResult`.
        limits: what its process may take, copies of the cache included; for `query.sql.guard`.
    """

    def __init__(
        self,
        journal: Path,
        cache: Cache | None = None,
        older: Older | None = None,
        *,
        ongoing: Gap | None = None,
    ) -> None:
        """Open the journal as it is now, and what was rotated out of it.

        Args:
            journal: its file.
            cache: its sealed segments, from `query.cache.index.load`; damaged ones are not used.
            older: how to read what was set aside; None unpacks what was rotated.
            ongoing: a gap that goes on now, and has no line yet.

        Raises:
            InputError: the journal cannot be read.
            StorageError: memory and temporary space are used up.
        """
        self._ongoing = ongoing
        self._journal = journal
        self._cache = cache
        self._older = older or Older()
        self._is_cached = False
        self._copies = False
        self.journal_bytes = self.skipped = 0
        try:
            self._open()
        except CacheUnreadableError:
            self._reopen_uncached()

    def ask(self, sql: str) -> "SqlRows":
        """Return the rows of one SELECT over the views. This ends the reading of earlier rows.

        Raises:
            InputError: it is not a single SELECT, or it fails.
            StorageError: memory and temporary space are used up.
        """
        try:
            if self._reads_files and not self._copies and not _only_reads(self._connection, sql):
                self.close()
                self._copies = True
                self._open()
            return SqlRows(self._connection, sql, cached=self._is_cached)
        except CacheUnreadableError:
            self._reopen_uncached()
            return SqlRows(self._connection, sql, cached=False)

    @property
    def _reads_files(self) -> bool:
        """Whether a query reads files in place."""
        return self._is_cached

    def close(self) -> None:
        """Release what is held. A second call does nothing."""
        with contextlib.suppress(AttributeError):
            self._connection.close()
        scratch.remove(self._folder)

    def _reopen_uncached(self) -> None:
        self.close()
        self._cache, self._older, self._copies = None, self._older.without_cache(), False
        self._open()

    def _open(self) -> None:
        self._folder = scratch.make("sql")
        try:
            book = read_sessions(self._journal, self._cache, self._older)
            with open_snapshot(self._journal, self._cache, self._folder, older=self._older) as source:
                self._is_cached = bool(source.sealed.segments)
                memory_mb = memory_for(source.longest)
                self._connection = connect(str(self._folder), memory_mb)
                tables = _tables(source)
                if self._copies:
                    tables = _copied(tables, self._folder)
                with sql_errors(cached=self._is_cached):
                    _fill(self._connection, source, self._ongoing)
                    for statement in session_tables.filled(book, "journal"):
                        self._connection.execute(statement.sql, statement.values)
                    [(unreadable, rejected)] = self._connection.execute(schema.SKIPPED).fetchall()
                    sealed = sum(segment.unreadable for segment in source.sealed.segments)
                    temporary_mb = most_temporary_mb(self._folder)
                    _close_off(self._connection, tables, temporary_mb)
                self.skipped = unreadable + rejected + sealed
                self.journal_bytes = source.size
                # The cache may be copied yet.
                sealed_bytes = sum(path.stat().st_size for path in _tables(source))
                self.limits = Limits(
                    int(memory_mb * 1e6 * MEMORY_BESIDE),
                    temporary_mb * 1_000_000
                    + sealed_bytes
                    + sum(path.stat().st_size for path in source.unsealed),
                )
        except BaseException:
            self.close()
            raise


class SqlRows:
    """The rows of a query.

    Attributes:
        columns: what each value is.
    """

    def __init__(self, connection: "DuckDBPyConnection", sql: str, *, cached: bool) -> None:
        self._connection = connection
        self._cached = cached
        with self._explained():
            # End the last query's transaction; no query writes.
            with contextlib.suppress(Exception):
                connection.execute("ROLLBACK")
            connection.execute("BEGIN TRANSACTION READ ONLY")
            chosen = _chosen(connection, sql)
            described = connection.execute(f"FROM {chosen} AS answer LIMIT 0").description or ()
            shown = [_shown(str(kind), f"c{place}") for place, (_, kind, *_) in enumerate(described)]
            self.columns = [
                SqlColumn(str(name), kind) for (name, *_), (_, kind) in zip(described, shown, strict=True)
            ]
            given = ", ".join(f"c{place}" for place in range(len(shown)))
            texts = ", ".join(text for text, _ in shown)
            self._result = connection.execute(f"SELECT {texts} FROM {chosen} AS answer({given})")
            self._first = self._result.fetchmany(_BATCH)

    def batches(self) -> Iterator[list[tuple[str | None, ...]]]:
        """Yield the rows once, each value as text, in batches that are never empty.

        Raises:
            InputError, StorageError: as `SqlTables.ask`, for errors in later rows.
        """
        batch, self._first = self._first, []
        while batch:
            yield batch
            try:
                with self._explained():
                    batch = self._result.fetchmany(_BATCH)
            except CacheUnreadableError as error:
                # Rows were printed already: it is too late to read the journal instead.
                reason = understood(error.__cause__ or error).reason
                raise StorageError(
                    f"the result is incomplete: {reason}",
                    "try --no-cache, in case the cache is damaged",
                    error_id="cache-unreadable",
                ) from None

    def _explained(self) -> "contextlib.AbstractContextManager[None]":
        return sql_errors(cached=self._cached)


@contextlib.contextmanager
def table(parquet: Path) -> Iterator["DuckDBPyConnection"]:
    """Yield a connection whose table `found` holds a file's rows, and which has no access to other files."""
    with (
        scratch.folder("sql") as folder,
        contextlib.closing(connect(str(folder), 1000)) as connection,
        sql_errors(cached=False),
    ):
        connection.execute("CREATE TABLE found AS FROM read_parquet(?)", [literal(parquet)])
        for statement in views.closing([], _MOST_TEMPORARY_MB):
            connection.execute(statement.sql, statement.values)
        yield connection


def _chosen(connection: "DuckDBPyConnection", sql: str) -> str:
    """Return the SELECT in `sql` as SQL to select from.

    Raises:
        InputError: it is not a single SELECT.
    """
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise InputError("QUERY: not UTF-8", "give it in UTF-8", error_id="sql-query-not-utf8") from None
    kinds = _kinds(connection, sql)
    text = _without_end(sql)
    if kinds == ["SELECT"] and _kinds(connection, f"FROM ({text}\n)") == kinds:
        return f"({text}\n)"
    # A PIVOT that has to look up its columns is two statements.
    pivoted = f"CREATE OR REPLACE TEMP TABLE pivoted AS ({text}\n)"
    if kinds == ["MULTI"] and _SELECTS.match(text) and _kinds(connection, pivoted) == kinds:
        connection.execute(pivoted)
        return "temp.pivoted"
    raise InputError(
        f"only one SELECT is allowed, not {', '.join(kinds) or 'an empty query'}",
        "start with SELECT, FROM, WITH, PIVOT, SUMMARIZE or DESCRIBE",
        error_id="sql-not-select",
    )


def _kinds(connection: "DuckDBPyConnection", sql: str) -> list[str]:
    return [statement.type.name for statement in connection.extract_statements(sql)]


def _without_end(sql: str) -> str:
    """Return a statement without the `;` after it, and anything that follows."""
    import duckdb

    data = sql.encode()
    ends = [place for place, _ in duckdb.tokenize(sql) if data[place : place + 1] == b";"]
    return data[: ends[0]].decode() if ends else sql


def _shown(kind: str, column: str) -> tuple[str, ValueKind]:
    """Return the SQL that turns a column into text, and the kind of value that holds."""
    if _NESTED.fullmatch(kind):
        return f"to_json({column})::VARCHAR", ValueKind.JSON
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({column} AT TIME ZONE 'UTC', '{_TIME_FORM}Z')", ValueKind.TEXT
    if kind.startswith("TIMESTAMP"):
        return f"strftime({column}::TIMESTAMP, '{_TIME_FORM}')", ValueKind.TEXT
    value = (
        ValueKind.NUMBER
        if _NUMBER.fullmatch(kind)
        else ValueKind.BOOLEAN
        if kind == "BOOLEAN"
        else ValueKind.TEXT
    )
    return f"{column}::VARCHAR", value


def _only_reads(connection: "DuckDBPyConnection", sql: str) -> bool:
    """Return whether it is certain that a query writes nothing: whether it is made of SELECTs alone.

    DuckDB writes in what it takes for a SELECT (`WITH x AS (COPY … TO …)`), and runs SQL out of a text.
    """
    import duckdb

    try:
        [(serialized,)] = connection.execute("SELECT json_serialize_sql(?)", [_without_end(sql)]).fetchall()
        parsed = json.loads(serialized)
    except (duckdb.Error, UnicodeEncodeError, ValueError, RecursionError):
        return False
    return parsed.get("error") is False and all(map(_is_harmless, _parts(parsed)))


def _is_harmless(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    if kind == "TABLE_FUNCTION":
        return part["function"]["function_name"] in _HARMLESS_FUNCTIONS
    return not (isinstance(kind, str) and kind.endswith("_NODE")) or kind in _READING_NODES


def _parts(parsed: object) -> Iterator[dict[str, Any]]:
    """Yield all objects in parsed JSON."""
    waiting = [parsed]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _tables(source: JournalSnapshot) -> list[Path]:
    sealed = source.sealed
    if not sealed.hold(sealed.segments):
        raise CacheUnreadableError
    return [sealed.events(segment) for segment in sealed.segments]


def _copied(tables: list[Path], folder: Path) -> list[Path]:
    """Copy the segments' files, so that a query that writes to them does no harm."""
    copies = []
    for number, sealed in enumerate(tables):
        copy = folder / f"{number}-{sealed.name}"
        try:
            shutil.copyfile(sealed, copy)
        except FileNotFoundError as error:
            raise CacheUnreadableError from error
        except OSError as error:
            raise StorageError(
                f"could not copy {sealed} to {folder}: {error.strerror}",
                "make room there, or use --no-cache",
                error_id="cache-copy-failed",
            ) from None
        copies.append(copy)
    return copies


def _fill(connection: "DuckDBPyConnection", source: JournalSnapshot, ongoing: Gap | None) -> None:
    """Create the tables behind the views."""
    lines = schema.lines_of(list(map(literal, source.unsealed)), source.sealed_bytes, source.longest)
    fill(connection, lines, sum(path.stat().st_size for path in source.unsealed))
    for sql in (views.SCHEMA, views.GAPS):
        connection.execute(sql)
    own_lines = [line for (line,) in connection.execute(schema.OURS).fetchall()]
    for gap in with_ongoing(gaps_in(source.own_lines(own_lines)), ongoing):
        texts = [without_half_pairs(text) for text in (gap.id, gap.reason, gap.status)]
        row = [texts[0], gap.since_ms, gap.until_ms, *texts[1:], sum(gap.recovered.values()), gap.ongoing]
        connection.execute(views.GAP, row)


def without_half_pairs(text: str) -> str:
    """Return a text in which half a surrogate pair is U+FFFD."""
    # As everywhere in the views: DuckDB's texts are UTF-8, which has no half surrogate pairs.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def most_temporary_mb(folder: Path) -> int:
    """Return the disk space that a query may take, in MB."""
    free = free_bytes(folder)
    return _MOST_TEMPORARY_MB if free is None else min(_MOST_TEMPORARY_MB, free // 2_000_000)


def _close_off(connection: "DuckDBPyConnection", tables: list[Path], temporary_mb: int) -> None:
    """Create the views, and then take all other access from the connection."""
    paths = [str(path.absolute()) for path in tables]
    creating = views.creating(paths, list(map(literal, tables)))
    for statement in (*creating, *views.closing(paths, temporary_mb)):
        connection.execute(statement.sql, statement.values)


def _failed(error: BaseException) -> InputError:
    reason, advice = understood(error)
    return InputError(reason, advice or _HINT, error_id="sql-failed")


@contextlib.contextmanager
def sql_errors(*, cached: bool) -> Iterator[None]:
    """Turn DuckDB's errors into errors with a hint."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.PermissionException as error:
        raise InputError(
            f"not allowed: {understood(error).reason}",
            "use the views only: see --describe",
            error_id="sql-not-allowed",
        ) from None
    except duckdb.OutOfMemoryException as error:
        raise StorageError(
            f"out of room: {understood(error).reason}",
            f"select less, or make room in {scratch.directory()}",
            error_id="search-out-of-room",
        ) from None
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
        # A damaged file raises it, too: if the query is wrong, it fails again without the cache.
        if cached and isinstance(error, duckdb.InvalidInputException):
            raise CacheUnreadableError from error
        raise _failed(error) from None
    except duckdb.Error as error:
        if cached:
            raise CacheUnreadableError from error
        if isinstance(error, duckdb.IOException):
            raise StorageError(
                f"cannot read the journal: {understood(error).reason}",
                "run the query again",
                error_id="journal-unreadable",
            ) from None
        raise _failed(error) from None
