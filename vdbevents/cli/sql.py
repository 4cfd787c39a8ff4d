"""`vdbevents sql`: query a journal in SQL, with access to nothing but the journal."""

import os
import sys
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import put, reported, reports
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, exit_code_of
from vdbevents.cli.options import (
    ArchivedOption,
    AsJsonOption,
    FormulasOption,
    JournalOptions,
    json_format,
)
from vdbevents.cli.query_follow import remark_on_trouble, remark_on_unreadable
from vdbevents.cli.query_options import EngineOption, EngineSourceOptions, HostsOption, LakeOption
from vdbevents.cli.tables import data_stream, remark, terminal_width
from vdbevents.errors import InputError, VdbeventsError, options_conflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.sql.guard import Hold
    from vdbevents.query.sql.sandbox import SqlTables
    from vdbevents.query.sql.views import View

HELP = """Query a journal with a SELECT, in DuckDB's dialect of SQL.

The views of its events: events, transcripts, visuals, audio, alerts, sessions, gaps; --describe lists their
columns. A query cannot write anything, or read any file but the journal. docs/sql.md has examples.

\b
Examples:
  vdbevents sql --describe
  vdbevents sql "SELECT channel, count(*) FROM events GROUP BY ALL"
  vdbevents sql "SELECT speaker, count(*) FROM transcripts GROUP BY ALL" meeting.jsonl -o csv
  vdbevents sql "FROM gaps WHERE seconds > 60 ORDER BY since" -o json
  vdbevents sql - < question.sql

\b
Times have a zone: UTC unless the query names another:
  time > now() - INTERVAL 2 HOURS, time >= '2026-03-02 10:15+01:00', time AT TIME ZONE 'Europe/Berlin'

\b
Exit codes: 0 rows, 1 no rows, 2 wrong input.
"""

_MOST_BYTES: Final = 1 << 20


class SqlOutput(StrEnum):
    """The output formats of `sql`."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


@reports
def sql(
    query: Annotated[
        str | None,
        Argument(metavar="QUERY", help="A SELECT; - reads it from stdin.", show_default=False),
    ] = None,
    *,
    describe: Annotated[
        bool, Option("--describe", help="Print the views and their columns instead.")
    ] = False,
    output: Annotated[
        SqlOutput,
        Option("-o", "--output", help="text: a table; json: an array of objects; jsonl: one a line."),
    ] = SqlOutput.TEXT,
    as_json: AsJsonOption = False,
    cache: Annotated[bool, Option(help="Use the query cache, if there is one.")] = True,
    archived: ArchivedOption = False,
    no_formulas: FormulasOption = False,
    lake: LakeOption = None,
    hosts: HostsOption = None,
    engine: EngineOption = None,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.query import scratch
    from vdbevents.query.cache import seal_policy
    from vdbevents.query.sql.guard import guarded
    from vdbevents.query.termination import ended_in_order

    if as_json:
        output = json_format(output, SqlOutput.TEXT)
    if describe:
        if query is not None:
            raise options_conflict("--describe", "a query")
        return _describe(output, of_lake=lake is not None)
    if query is None:
        raise InputError(
            "QUERY: missing",
            'try `vdbevents sql "FROM sessions"`, or see --describe',
            error_id="sql-query-missing",
        )
    text = _read() if query == "-" else query
    named = EngineSourceOptions(
        journal=options.journal, archived=archived, lake=lake, hosts=hosts, engine=engine
    )
    if engine is not None and lake is not None:
        if hosts:
            raise options_conflict("--engine", "--host", "write it in SQL: WHERE host = 'NAME'")
        return _ask_engine(text, engine, lake, output, no_formulas=no_formulas)
    try:
        opened = (
            cli_journals.opened([cli_journals.JournalSource(options.find_journal())])
            if lake is None
            else cli_journals.opened_as_named(named, options, hint="")
        )
        with ended_in_order(), opened as journals, scratch.folder("sql") as folder:
            asked = _Asked(text, journals, output, cache, archived, no_formulas)

            def answer(hold: "Hold") -> int:
                return reported(partial(_answer, asked, hold), Diagnostics())

            return ExitCode(guarded(folder, answer, _end))
    finally:
        seal_policy.remove_orphans()


class _Asked(NamedTuple):
    """A query and its options."""

    text: str
    journals: "Sequence[HostJournal]"
    output: SqlOutput
    cache: bool
    archived: bool
    no_formulas: bool


def _answer(asked: _Asked, hold: "Hold") -> ExitCode:
    from vdbevents.query import duck
    from vdbevents.query.sql import table

    text, [journal, *_], output, _, archived, no_formulas = asked
    with duck.interruptible(), _tables(asked) as tables:
        hold(tables.limits)
        if not tables.journal_bytes:
            remark(f"the journal {journal.label} is empty: nothing has been recorded yet")
        if journal.trouble:
            remark_on_trouble(journal)
        if tables.skipped:
            remark_on_unreadable(tables.skipped, journal.label)
        answer = tables.ask(text)
        stream = data_stream(output.value)
        count = table.write(answer, output.value, stream, terminal_width(), without_formulas=no_formulas)
        sys.stdout.flush()
    if not count and (hint := cli_journals.archived_hint([journal.path], archived=archived)):
        remark("no rows", hint)
    return ExitCode.DONE if count else ExitCode.NO_MATCH


def _ask_engine(text: str, engine: str, lake: str, output: SqlOutput, *, no_formulas: bool) -> ExitCode:
    """Print what an engine finds."""
    from contextlib import closing

    from vdbevents.lake.remote_engine import RemoteEngine
    from vdbevents.query import scratch
    from vdbevents.query.sql import table
    from vdbevents.query.sql.sandbox import SqlRows, table as found_in

    with scratch.folder("engine") as folder:
        path = folder / "found.parquet"
        with closing(RemoteEngine(engine, lake)) as asked:
            asked.select(text, path)
        with found_in(path) as connection:
            answer = SqlRows(connection, "FROM found", cached=False)
            stream, width = data_stream(output.value), terminal_width()
            count = table.write(answer, output.value, stream, width, without_formulas=no_formulas)
            sys.stdout.flush()
    return ExitCode.DONE if count else ExitCode.NO_MATCH


def _tables(asked: _Asked) -> "SqlTables":
    """Open what is asked, as it is now."""
    from vdbevents.health.outages import ongoing_gap
    from vdbevents.journal.files import wall_ms
    from vdbevents.query.cache.seal_policy import present_cache
    from vdbevents.query.older import Older
    from vdbevents.query.sql.sandbox import SqlTables

    journal = asked.journals[0]
    if journal.rows is not None:
        from vdbevents.query.sql.row_tables import RowTables

        return RowTables(asked.journals, asked.text)
    cache_of = present_cache if asked.cache and not journal.is_scratch else (lambda _: None)
    ongoing = None if journal.is_scratch else ongoing_gap(journal.path, wall_ms())
    return SqlTables(journal.path, cache_of(journal.path), Older(cache_of, asked.archived), ongoing=ongoing)


def _end(error: VdbeventsError) -> None:
    """End the process with an error, whatever DuckDB is doing."""
    from vdbevents.query import scratch

    diagnostics = Diagnostics()
    diagnostics.error(error)
    diagnostics.flush()
    scratch.remove_all()
    os._exit(exit_code_of(error))


def _read() -> str:
    """Return the query on stdin.

    Raises:
        InputError: it is not UTF-8, or longer than 1 MiB.
    """
    data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin else b""
    if len(data) > _MOST_BYTES:
        raise InputError("stdin: too long for a query", "use at most 1 MiB", error_id="sql-query-too-long")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            "stdin: not UTF-8", "give the query in UTF-8", error_id="sql-query-not-utf8"
        ) from None


def _describe(output: SqlOutput, *, of_lake: bool) -> ExitCode:
    """Print the views: as JSON each with its columns, else a line for each column."""
    import json

    from vdbevents.query.output.rows import quoted

    described = _described(of_lake=of_lake)
    views = [
        {
            "view": name,
            "holds": view.holds,
            "columns": [
                dict(zip(("name", "type", "meaning"), column, strict=True)) for column in view.columns
            ],
        }
        for name, view in described.items()
    ]
    match output:
        case SqlOutput.JSON:
            put(json.dumps(views, indent=2))
        case SqlOutput.JSONL:
            put("\n".join(map(json.dumps, views)))
        case SqlOutput.CSV:
            columns = [(name, *column) for name, view in described.items() for column in view.columns]
            lines = [("view", "column", "type", "meaning"), *columns]
            put("\n".join(",".join(map(quoted, line)) for line in lines))
        case SqlOutput.TEXT:
            put(_pages(described))
    return ExitCode.DONE


def _described(*, of_lake: bool) -> "Mapping[str, View]":
    from vdbevents.query.sql.views import VIEWS

    if of_lake:
        from vdbevents.query.sql.row_tables import views_of_lake

        return views_of_lake()
    return VIEWS


def _pages(described: "Mapping[str, View]") -> str:
    """Format the views for a person; columns that are those of an earlier view are not repeated."""
    pages = []
    first_with: dict[object, str] = {}
    for name, view in described.items():
        page = f"{name}: {view.holds}\n"
        if view.columns in first_with:
            page += f"  the columns of {first_with[view.columns]}\n"
        else:
            first_with[view.columns] = name
            wide = [max(len(column[part]) for column in view.columns) for part in (0, 1)]
            page += "".join(
                f"  {column:<{wide[0]}}  {kind:<{wide[1]}}  {meaning}\n"
                for column, kind, meaning in view.columns
            )
        pages.append(page)
    return "\n".join(pages).rstrip("\n")
