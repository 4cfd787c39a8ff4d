"""`vdbevents sql`: what no option of `query` asks, asked in SQL, with no way to anything but the journal."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from vdbevents.cli.command import put, reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import (
    JournalOptions,
)
from vdbevents.cli.query_follow import remark_on_unreadable
from vdbevents.cli.tables import remark, terminal_width
from vdbevents.errors import InputError

HELP = """Ask a journal in SQL: one SELECT, in DuckDB's dialect, over views of its events.

The views: events, transcripts, visuals, audio, alerts, sessions, gaps; --describe tells their columns.
Nothing is written, and no file but the journal can be read, whatever the query says. docs/sql.md has
examples.

\b
Examples:
  vdbevents sql --describe
  vdbevents sql "SELECT channel, count(*) FROM events GROUP BY ALL"
  vdbevents sql "SELECT speaker, count(*) FROM transcripts GROUP BY ALL" meeting.jsonl -o csv
  vdbevents sql "FROM gaps WHERE seconds > 60 ORDER BY since" -o json
  vdbevents sql - < question.sql

\b
Times have a zone, which is UTC unless the query names another:
  time > now() - INTERVAL 2 HOURS, time >= '2026-03-02 10:15+01:00', time AT TIME ZONE 'Europe/Berlin'

\b
Exit codes: 0 there are rows, 1 there are none, 2 wrong input.
"""

_MOST_BYTES: Final = 1 << 20


class SqlOutput(StrEnum):
    """What `sql` prints."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


@reports
def sql(
    query: Annotated[
        str | None,
        typer.Argument(metavar="QUERY", help="A SELECT; - reads it from stdin.", show_default=False),
    ] = None,
    *,
    describe: Annotated[
        bool, typer.Option("--describe", help="Print the views and their columns instead.")
    ] = False,
    output: Annotated[
        SqlOutput,
        typer.Option("-o", "--output", help="text: a table; json: an array of objects; jsonl: one a line."),
    ] = SqlOutput.TEXT,
    cache: Annotated[
        bool, typer.Option(help="Read what is sealed of the journal from the cache, where there is one.")
    ] = True,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.query import duck
    from vdbevents.query.cache.index import cache_root, load
    from vdbevents.query.sql import table
    from vdbevents.query.sql.sandbox import SqlTables

    if describe:
        if query is not None:
            raise InputError("--describe needs no query", "Leave one of them out.")
        return _describe(output)
    if query is None:
        raise InputError("there is no query", 'Such as: vdbevents sql "FROM sessions"; or see --describe.')
    asked = _read() if query == "-" else query
    path = options.find_journal()
    sealed = load(path, cache_root(os.environ, Path.home())) if cache else None
    with duck.interruptible(), SqlTables(path, sealed) as tables:
        if not tables.journal_bytes:
            remark(f"the journal {path} is empty: nothing has been recorded yet")
        if tables.skipped:
            remark_on_unreadable(tables.skipped, path)
        count = table.write(tables.ask(asked), output.value, sys.stdout.buffer, terminal_width())
        sys.stdout.flush()
    return ExitCode.DONE if count else ExitCode.NO_MATCH


def _read() -> str:
    """Return the query that stdin tells.

    Raises:
        InputError: it is no text, or far too long for one.
    """
    data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin else b""
    if len(data) > _MOST_BYTES:
        raise InputError("what stdin tells is too long for a query", "A query has a mebibyte at most.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("what stdin tells is no text", "Give the query in UTF-8.") from None


def _describe(output: SqlOutput) -> ExitCode:
    """Print which views there are: for JSON each with its columns, else a line for each column."""
    import json

    from vdbevents.query.output.rows import quoted
    from vdbevents.query.sql.views import VIEWS

    views = [
        {
            "view": name,
            "holds": view.holds,
            "columns": [
                dict(zip(("name", "type", "meaning"), column, strict=True)) for column in view.columns
            ],
        }
        for name, view in VIEWS.items()
    ]
    match output:
        case SqlOutput.JSON:
            put(json.dumps(views, indent=2))
        case SqlOutput.JSONL:
            put("\n".join(map(json.dumps, views)))
        case SqlOutput.CSV:
            columns = [(name, *column) for name, view in VIEWS.items() for column in view.columns]
            lines = [("view", "column", "type", "meaning"), *columns]
            put("\n".join(",".join(map(quoted, line)) for line in lines))
        case SqlOutput.TEXT:
            put(_pages())
    return ExitCode.DONE


def _pages() -> str:
    """Return the views for a person; one with the columns of the first only says so."""
    from vdbevents.query.sql.views import VIEWS

    pages = []
    told: dict[object, str] = {}
    for name, view in VIEWS.items():
        page = f"{name}: {view.holds}\n"
        if view.columns in told:
            page += f"  the columns of {told[view.columns]}\n"
        else:
            told[view.columns] = name
            wide = [max(len(column[part]) for column in view.columns) for part in (0, 1)]
            page += "".join(
                f"  {column:<{wide[0]}}  {kind:<{wide[1]}}  {meaning}\n"
                for column, kind, meaning in view.columns
            )
        pages.append(page)
    return "\n".join(pages).rstrip("\n")


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.command(help=HELP)(sql)
