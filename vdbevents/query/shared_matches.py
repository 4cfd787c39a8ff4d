"""Find what matches in many journals of a lake with one look at its files: each has rows of several."""

# ruff: noqa: S608 - the SQL consists of constants and our own names; texts are quoted

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vdbevents.query import statements
from vdbevents.query.conditions import check_filters
from vdbevents.query.duck import execute, explained
from vdbevents.query.filters import Filters
from vdbevents.query.lines import quoted
from vdbevents.query.row_journal import (
    LEAST_MB,
    RowFile,
    RowJournal,
    folded_rows,
    owned_gap_lines,
    unreadable_rows,
)
from vdbevents.query.sealed_tables import SealedTable
from vdbevents.times import Window

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from vdbevents.query.duck import SharedDatabase
    from vdbevents.query.hostnames import HostJournal

_RECORDING: Final = "host, journal, "
_numbers: Final = itertools.count()


@contextlib.contextmanager
def with_matches(
    journals: "Sequence[HostJournal]", filters: Filters, database: "SharedDatabase"
) -> "Iterator[Sequence[HostJournal]]":
    """Yield the journals of a lake with what matches in each, if one look at all is faster; else as they are.

    Args:
        journals: those that are searched.
        filters: the conditions on each.
        database: the one in which they are searched.

    Raises:
        InputError: a pattern is not a regular expression.
        StorageError: a file cannot be read, or memory and temporary space are used up.
    """
    rows = [journal.rows for journal in journals if journal.rows is not None]
    files = _files(rows, filters)
    if len(rows) < len(journals) or not files or not _is_faster(rows, files, filters):
        yield journals
        return
    import duckdb

    connection = database.connection(LEAST_MB)
    table = f"matches_{next(_numbers)}"
    try:
        check_filters(connection, filters)
        found = statements.matches(filters, [_table(rows, files, filters)], _RECORDING)
        with explained():
            try:
                execute(connection, f"CREATE TABLE {table} AS {found.sql}", found.values)
                gaps = _gaps(rows, filters.window, connection)
            except (duckdb.OutOfMemoryException, duckdb.InterruptException):
                raise
            except duckdb.Error as error:
                raise unreadable_rows() from error
        own = f"SELECT * EXCLUDE (host, journal) FROM {table} WHERE"
        yield [
            journal._replace(
                rows=replace(
                    of,
                    matches=f"{own} {of.condition}",
                    gaps=gaps[tuple(of.chosen.values())],
                )
            )
            for journal, of in zip(journals, rows, strict=True)
        ]
    finally:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.close()


def _is_faster(rows: Sequence[RowJournal], files: Sequence[RowFile], filters: Filters) -> bool:
    """Return whether to look at all files at once: for words, and not at more than the searches would.

    With a limit, a search looks at the newest file, and at older ones only if it has to.
    """
    others = (filters.sessions, filters.scope, filters.spans, filters.where, filters.around_ms)
    has_words = any((*filters.grep, *filters.any_of))
    is_alone = len(rows) <= 1 or any(other not in (None, (), []) for other in others)
    return has_words and not is_alone and (filters.limit is None or len(files) <= len(rows))


def _files(rows: Sequence[RowJournal], filters: Filters) -> list[RowFile]:
    """Return the files that may have matches, each once."""
    files = dict.fromkeys(file for of in rows for file in of.files)
    window, by_event = filters.window, filters.by_event
    return [file for file in files if file.as_segment(0).may_hold(window, by_event=by_event)]


def _gaps(
    rows: Sequence[RowJournal], window: Window, connection: "DuckDBPyConnection"
) -> defaultdict[tuple[str, ...], list[str]]:
    """Return the lines about gaps and pauses in a time, by the values by which each journal is chosen."""
    files = dict.fromkeys(file for of in rows for file in of.files if file.may_tell_of_gaps(window))
    gaps = defaultdict(list)
    for host, journal, line in owned_gap_lines(replace(rows[0], chosen={}), list(files), connection):
        owner = {"host": host, "journal": journal}
        gaps[tuple(owner[name] for name in rows[0].chosen)].append(line)
    return gaps


def _table(rows: Sequence[RowJournal], files: Sequence[RowFile], filters: Filters) -> SealedTable:
    hosts = ", ".join(sorted({quoted(of.chosen["host"]) for of in rows}))
    everyone = replace(rows[0], chosen={})
    received = Window() if filters.by_event or all(file.is_untimed for file in files) else filters.window
    folded = folded_rows(everyone, files, received, _RECORDING)
    return SealedTable("", "", 0, f"(SELECT * FROM ({folded}) WHERE host IN ({hosts}))")
