"""SQL over a journal: read-only, over the views of `query.views`, with no way to any other file."""

# ruff: noqa: S608 - to run SQL of the user's is what this is for: what it may do is limited by the connection

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.events.gaps import told_by
from vdbevents.query.byte_ranges import Closeable, literal
from vdbevents.query.cache import schema
from vdbevents.query.cache.index import Cache, CacheUnreadableError
from vdbevents.query.duck import connect, memory_for
from vdbevents.query.lines import Statement
from vdbevents.query.snapshot import JournalSnapshot, open_snapshot
from vdbevents.query.sql import views

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_BATCH: Final = 2048
_MOST_TEMPORARY_MB: Final = 8000
_LONGEST_REASON: Final = 500
_HINT: Final = "See: vdbevents sql --describe; the dialect is that of DuckDB: https://duckdb.org/docs/sql"
_SELECTS: Final = re.compile(r"\s*\(*\s*(SELECT|FROM|WITH|PIVOT|PIVOT_WIDER|VALUES)\b", re.IGNORECASE)
_NESTED: Final = re.compile(r".*\]|(STRUCT|MAP|UNION)\(.*|JSON|VARIANT", re.DOTALL)
_NUMBER: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BIGNUM|VARINT|DOUBLE|FLOAT|DECIMAL\(.*")
_READING_NODES: Final = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_HARMLESS_FUNCTIONS: Final = {"unnest", "range", "generate_series", "json_each", "json_tree"}
_TIME_FORM: Final = "%Y-%m-%dT%H:%M:%S.%g"


class ValueKind(Enum):
    """What the text of a value is."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"


class SqlColumn(NamedTuple):
    """A column of an answer, by its name, which others may have too."""

    name: str
    kind: ValueKind


class SqlTables(Closeable):
    """A journal as SQL sees it; a context manager that gives DuckDB's memory and files back at its end.

    Attributes:
        journal_bytes: the journal's size when it was opened.
        skipped: lines that could not be read, as `query.engine.Answer` counts them.
    """

    def __init__(self, journal: Path, cache: Cache | None = None) -> None:
        """Open it, as it is now.

        Args:
            journal: its file.
            cache: what is sealed of it, from `query.segments.load`; what is damaged of it is not used.

        Raises:
            InputError: the journal cannot be read.
            StorageError: memory and temporary space are used up.
        """
        self._journal = journal
        self._cache = cache if cache is not None and cache.segments else None
        self._copies = False
        self.journal_bytes = self.skipped = 0
        try:
            self._open()
        except CacheUnreadableError:
            self._reopen(cache=None)

    def ask(self, sql: str) -> "SqlRows":
        """Return the rows of a query: one SELECT, over the views. It ends the reading of any before it.

        Raises:
            InputError: it is none, or DuckDB does not understand it.
            StorageError: memory and temporary space are used up.
        """
        try:
            if self._cache is not None and not self._copies and not _only_reads(self._connection, sql):
                self._reopen(self._cache, copies=True)
            return SqlRows(self._connection, sql, cached=self._cache is not None)
        except CacheUnreadableError:
            self._reopen(cache=None)
            return SqlRows(self._connection, sql, cached=False)

    def close(self) -> None:
        """Give back what is held. Harmless when repeated."""
        with contextlib.suppress(AttributeError):
            self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _reopen(self, cache: Cache | None, *, copies: bool = False) -> None:
        self.close()
        self._cache, self._copies = cache, copies
        self._open()

    def _open(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="vdbevents-sql-")
        try:
            with open_snapshot(self._journal, self._cache, Path(self._scratch)) as source:
                self._connection = connect(self._scratch, memory_for(source.longest))
                tables = _tables(source)
                if self._copies:
                    tables = _copied(tables, Path(self._scratch))
                with _understood(cached=self._cache is not None):
                    _fill(self._connection, source)
                    [(unreadable, rejected)] = self._connection.execute(schema.SKIPPED).fetchall()
                    sealed = sum(segment.unreadable for segment in source.cache.segments)
                    _close_off(self._connection, tables, self._scratch)
                self.skipped = unreadable + rejected + sealed
                self.journal_bytes = source.size
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
        with self._understood():
            # What is of the last query ends with it, and none of them writes.
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
        """The rows, each value as text, in batches that are never empty; once.

        Raises:
            InputError, StorageError: as `SqlTables.ask`, of what only a later row shows.
        """
        batch, self._first = self._first, []
        while batch:
            yield batch
            try:
                with self._understood():
                    batch = self._result.fetchmany(_BATCH)
            except CacheUnreadableError as error:
                # What is printed by now cannot be taken back.
                reason = _reason(error.__cause__ or error)
                raise StorageError(
                    f"the answer ends here: {reason}", "If the cache is damaged: --no-cache."
                ) from None

    def _understood(self) -> "contextlib.AbstractContextManager[None]":
        return _understood(cached=self._cached)


@contextlib.contextmanager
def table(parquet: Path) -> Iterator["DuckDBPyConnection"]:
    """Give a connection whose table `found` is what a file holds, and which has no way to any other."""
    with (
        tempfile.TemporaryDirectory(prefix="vdbevents-sql-") as scratch,
        contextlib.closing(connect(scratch, 1000)) as connection,
        _understood(cached=False),
    ):
        connection.execute("CREATE TABLE found AS FROM read_parquet(?)", [literal(parquet)])
        for statement in views.closing([], _MOST_TEMPORARY_MB):
            connection.execute(statement.sql, statement.values)
        yield connection


def _chosen(connection: "DuckDBPyConnection", sql: str) -> str:
    """Return the SELECT in `sql` as others can select from it.

    Raises:
        InputError: it is anything else.
    """
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise InputError("the query is no text", "Give it in UTF-8.") from None
    kinds = _kinds(connection, sql)
    text = _without_end(sql)
    if kinds == ["SELECT"] and _kinds(connection, f"FROM ({text}\n)") == kinds:
        return f"({text}\n)"
    # A PIVOT that has to look which columns there are is two statements.
    pivoted = f"CREATE OR REPLACE TEMP TABLE pivoted AS ({text}\n)"
    if kinds == ["MULTI"] and _SELECTS.match(text) and _kinds(connection, pivoted) == kinds:
        connection.execute(pivoted)
        return "temp.pivoted"
    raise InputError(
        f"this is no single SELECT: {', '.join(kinds) or 'nothing at all'}",
        "Journals are only read here: one SELECT, FROM, WITH, PIVOT, SUMMARIZE or DESCRIBE.",
    )


def _kinds(connection: "DuckDBPyConnection", sql: str) -> list[str]:
    return [statement.type.name for statement in connection.extract_statements(sql)]


def _without_end(sql: str) -> str:
    """Return a statement without the `;` after it, and what else is there."""
    import duckdb

    data = sql.encode()
    ends = [place for place, _ in duckdb.tokenize(sql) if data[place : place + 1] == b";"]
    return data[: ends[0]].decode() if ends else sql


def _shown(kind: str, column: str) -> tuple[str, ValueKind]:
    """Return the SQL that makes text of a column, and what that is."""
    if _NESTED.fullmatch(kind):
        return f"to_json({column})::VARCHAR", ValueKind.JSON
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({column} AT TIME ZONE 'UTC', '{_TIME_FORM}Z')", ValueKind.TEXT
    if kind.startswith("TIMESTAMP"):
        return f"strftime({column}::TIMESTAMP, '{_TIME_FORM}')", ValueKind.TEXT
    told = (
        ValueKind.NUMBER
        if _NUMBER.fullmatch(kind)
        else ValueKind.BOOLEAN
        if kind == "BOOLEAN"
        else ValueKind.TEXT
    )
    return f"{column}::VARCHAR", told


def _only_reads(connection: "DuckDBPyConnection", sql: str) -> bool:
    """Tell whether it is certain that a query writes nothing: whether it is made of SELECTs alone.

    DuckDB writes in what it takes for a SELECT (`WITH x AS (COPY … TO …)`), and runs SQL out of a text.
    """
    import duckdb

    try:
        [(told,)] = connection.execute("SELECT json_serialize_sql(?)", [_without_end(sql)]).fetchall()
        parsed = json.loads(told)
    except (duckdb.Error, UnicodeEncodeError, ValueError, RecursionError):
        return False
    return parsed.get("error") is False and all(map(_is_harmless, _parts(parsed)))


def _is_harmless(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    if kind == "TABLE_FUNCTION":
        return part["function"]["function_name"] in _HARMLESS_FUNCTIONS
    return not (isinstance(kind, str) and kind.endswith("_NODE")) or kind in _READING_NODES


def _parts(parsed: object) -> Iterator[dict[str, Any]]:
    """All objects in JSON."""
    waiting = [parsed]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _tables(source: JournalSnapshot) -> list[Path]:
    cache = source.cache
    if not all(map(cache.holds, cache.segments)):
        raise CacheUnreadableError
    return [cache.events(segment) for segment in cache.segments]


def _copied(tables: list[Path], scratch: Path) -> list[Path]:
    """Return copies of what is sealed, which a query may read, and spoil, without harm."""
    copies = []
    for sealed in tables:
        copy = scratch / sealed.name
        try:
            shutil.copyfile(sealed, copy)
        except FileNotFoundError as error:
            raise CacheUnreadableError from error
        except OSError as error:
            reason = f"{sealed} could not be copied to {scratch}: {error.strerror}"
            raise StorageError(reason, "Make room there, or use --no-cache.") from None
        copies.append(copy)
    return copies


def _fill(connection: "DuckDBPyConnection", source: JournalSnapshot) -> None:
    """Make the tables of which the views are."""
    statements = [
        schema.lines_of(literal(source.unsealed), source.cache.end, source.longest),
        *(Statement(sql, []) for sql in (*schema.FILL, views.SCHEMA, views.GAPS)),
    ]
    for statement in statements:
        connection.execute(statement.sql, statement.values)
    ours = [line for (line,) in connection.execute(schema.OURS).fetchall()]
    for gap in told_by([*source.cache.gap_lines, *ours]):
        row = [gap.id, gap.since_ms, gap.until_ms, gap.reason, gap.status, sum(gap.recovered.values())]
        connection.execute(views.GAP, row)


def _close_off(connection: "DuckDBPyConnection", tables: list[Path], scratch: str) -> None:
    """Make the views, and then close every other way out of the connection."""
    temporary_mb = min(_MOST_TEMPORARY_MB, shutil.disk_usage(scratch).free // 2_000_000)
    allowed = list(map(str, tables))
    for statement in (*views.creating(list(map(literal, tables))), *views.closing(allowed, temporary_mb)):
        connection.execute(statement.sql, statement.values)


@contextlib.contextmanager
def _understood(*, cached: bool) -> Iterator[None]:
    """Turn what DuckDB does not understand, or may not do, into an error with a cure."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.PermissionException as error:
        raise InputError(f"that is not allowed: {_reason(error)}", "Only the journal can be read.") from None
    except duckdb.OutOfMemoryException as error:
        raise StorageError(
            f"there is no room for that: {_reason(error)}",
            f"Ask for less at once; large answers need room in {tempfile.gettempdir()}.",
        ) from None
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
        # Damaged files are among these: what is wrong with a query is found again without them.
        if cached and isinstance(error, duckdb.InvalidInputException):
            raise CacheUnreadableError from error
        raise InputError(_reason(error), _HINT) from None
    except duckdb.Error as error:
        if cached:
            raise CacheUnreadableError from error
        if isinstance(error, duckdb.IOException):
            raise StorageError(f"the journal could not be read: {_reason(error)}", "Ask again.") from None
        raise InputError(_reason(error), _HINT) from None


def _reason(error: BaseException) -> str:
    reason = " ".join(str(error).split("\n\nLINE", maxsplit=1)[0].split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
