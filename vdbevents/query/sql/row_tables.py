"""The views of `vdbevents sql` over a lake: those of each journal, with its host, as one."""

# ruff: noqa: S608 - the SQL consists of constants and our own names; texts are quoted

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdbevents.errors import StorageError
from vdbevents.events.gaps import gaps_in
from vdbevents.query import scratch, session_tables
from vdbevents.query.duck import connect, memory_for
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.lines import CONDITION_COLUMNS, Statement, quoted
from vdbevents.query.row_journal import (
    LONGEST,
    RowFile,
    RowJournal,
    folded_rows,
    gap_lines,
    read_rows,
)
from vdbevents.query.sql import once, views
from vdbevents.query.sql.guard import Limits
from vdbevents.query.sql.sandbox import (
    MEMORY_BESIDE,
    SqlTables,
    most_temporary_mb,
    sql_errors,
    without_half_pairs,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# These need no more than a look at the rows; the others are made of each journal's own.
_PLAIN: Final = ("events", "alerts")
_OWN: Final = tuple(name for name in views.VIEWS if name not in _PLAIN)
_ASKS_FOR_ALL: Final = re.compile(
    r"\b(SHOW|DESCRIBE|SUMMARIZE|information_schema|duckdb_\w+)\b", re.IGNORECASE
)
_NAMES: Final = ", ".join(f'"{name}"' for name in CONDITION_COLUMNS)


def views_of_lake() -> dict[str, views.View]:
    """Return the views: those of a journal, with a first column for the host."""
    host = ("host", "VARCHAR", "the recorder's name, from `ship --host`")
    return {name: view._replace(columns=(host, *view.columns)) for name, view in views.VIEWS.items()}


class RowTables(SqlTables):
    """The views over the journals of a lake; a context manager that releases what is held at its end."""

    def __init__(self, journals: Sequence[HostJournal], sql: str) -> None:
        """Open the journals.

        Args:
            journals: that are kept as rows.
            sql: the query, which shows what it needs.

        Raises:
            StorageError: memory and temporary space are used up, or a file cannot be read.
        """
        self._journals = [(journal.host, rows) for journal in journals if (rows := journal.rows) is not None]
        words = {word.lower() for word in re.findall(r"\w+", sql)}
        asks_for_all = _ASKS_FOR_ALL.search(sql) is not None
        self._needed = [name for name in _OWN if asks_for_all or name in words]
        self._files = list(dict.fromkeys(file for _, rows in self._journals for file in rows.files))
        super().__init__(Path())

    @property
    def _reads_files(self) -> bool:
        return True

    def _open(self) -> None:
        self._folder = scratch.make("sql")
        try:
            for _, rows in self._journals:
                rows.fetch(self._files)
            paths = {file: file.path for file in self._files}
            if self._copies:
                paths = _copied(self._files, self._folder)
            memory_mb = memory_for(LONGEST)
            self._connection = connect(str(self._folder), memory_mb)
            with sql_errors(cached=False):
                self._create([RowFile(path) for path in paths.values()])
                temporary_mb = most_temporary_mb(self._folder)
                for statement in views.closing([str(path) for path in paths.values()], temporary_mb):
                    self._connection.execute(statement.sql, statement.values)
            size = sum(path.stat().st_size for path in paths.values())
            self.journal_bytes = size
            self.limits = Limits(
                int(memory_mb * 1e6 * MEMORY_BESIDE), temporary_mb * 1_000_000 + size * (1 + len(_OWN))
            )
        except BaseException:
            self.close()
            raise

    def _create(self, files: Sequence[RowFile]) -> None:
        for statement in self._statements(files):
            self._connection.execute(statement.sql, statement.values)

    def _statements(self, files: Sequence[RowFile]) -> Iterator[Statement]:
        journals = [(host, RowJournal(rows.chosen, files, lambda _: None)) for host, rows in self._journals]
        chosen = " OR ".join(f"({rows.condition})" for _, rows in journals)
        everything = read_rows(file.path for file in files) if files else _none()
        plain = f"SELECT host, {_NAMES} FROM {everything} WHERE readable AND ({chosen or 'false'})"
        yield _view("events", plain)
        yield _view("alerts", "SELECT * FROM events WHERE channel = 'alert'")
        for number, (_, rows) in enumerate(journals if self._needed else ()):
            yield from self._of_one(f"j{number}", rows, self._connection)
        for name in self._needed:
            each = (
                f"SELECT {quoted(host)} AS host, * FROM j{number}.{name}"
                for number, (host, _) in enumerate(journals)
            )
            yield _view(name, " UNION ALL BY NAME ".join(each))

    def _of_one(self, schema: str, rows: RowJournal, connection: "DuckDBPyConnection") -> Iterator[Statement]:
        """Yield the statements that create the views of one journal, in a schema of its own."""
        yield Statement(f"CREATE SCHEMA {schema}", [])
        yield Statement(_within(schema, views.GAPS), [])
        if "gaps" in self._needed:
            for gap in gaps_in(gap_lines(rows, rows.files, connection)):
                texts = [without_half_pairs(text) for text in (gap.id, gap.reason, gap.status)]
                values = [texts[0], gap.since_ms, gap.until_ms, *texts[1:], sum(gap.recovered.values())]
                yield Statement(_within(schema, views.GAP), [*values, gap.ongoing])
        if "sessions" in self._needed:
            yield from session_tables.filled(rows.sessions(), schema)
        recorded = f"SELECT *, 1::BIGINT AS part FROM ({folded_rows(rows, rows.files)})"
        yield _view(f"{schema}.recorded", recorded)
        for name, sql in (("repetitions", once.REPETITIONS), ("unfinished", once.UNFINISHED)):
            yield _view(f"{schema}.{name}", _within(schema, sql))
        for name, view in views.VIEWS.items():
            if name != "sessions" or name in self._needed:
                yield _view(f"{schema}.{name}", _within(schema, view.sql))


def _within(schema: str, sql: str) -> str:
    """Return the SQL of a journal's view or table, with all that it reads in another schema."""
    names = "|".join(views.VIEWS)
    sql = re.sub(r"\bjournal\.", f"{schema}.", sql)
    sql = re.sub(r"\bjournal\b(?=\.|,|\))", schema, sql)
    return re.sub(rf"\bFROM ({names})\b", rf"FROM {schema}.\1", sql)


def _view(name: str, sql: str) -> Statement:
    return Statement(f"CREATE VIEW {name} AS {sql}", [])


def _none() -> str:
    columns = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in CONDITION_COLUMNS.items())
    return f"(SELECT NULL::VARCHAR AS host, NULL::VARCHAR AS journal, false AS readable, {columns} LIMIT 0)"


def _copied(files: Iterable[RowFile], folder: Path) -> dict[RowFile, Path]:
    """Copy the files, so that a query that writes to them does no harm."""
    copies = {}
    for number, file in enumerate(files):
        copies[file] = folder / f"{number}.parquet"
        try:
            shutil.copyfile(file.path, copies[file])
        except OSError as error:
            raise StorageError(
                f"could not copy the lake's files to {folder}: {error.strerror}",
                "make room there, or ask with a plain SELECT, which reads them in place",
                error_id="cache-copy-failed",
            ) from None
    return copies
