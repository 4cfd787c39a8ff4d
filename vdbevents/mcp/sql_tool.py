"""The tool that runs a SELECT: in a process of its own, with the limits of `vdbevents sql`."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.mcp.answer_page import dumped, in_one_line, quoted_data, text_page, within
from vdbevents.mcp.page_cursor import CURSOR, PageCursor, cursor_in
from vdbevents.mcp.quoting import NOTICE
from vdbevents.mcp.tool import (
    BOUND,
    TEXT,
    TEXT_OR_NULL,
    Reporting,
    Tool,
    ToolAnswer,
    bound_of,
    list_of,
    output_of,
)
from vdbevents.mcp.tool_parameters import Parameter
from vdbevents.query.hostnames import HostJournal
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.terminal import counted

_QUERY: Final = Parameter("query", "text", "One SELECT in DuckDB's dialect.", required=True)
_HOST: Final = Parameter("host", "text", "With several recordings: the machine to ask.")
_MOST_SECONDS: Final = 45.0
_LOOK_SECONDS: Final = 0.1
_LEAST_ROW: Final = 4
_LONGEST_VALUE: Final = 500
_NO_ROWS: Final = 1
_VIEWS_HINT: Final = "DESCRIBE events lists the columns of a view; the dialect is DuckDB's"
_OUTPUT: Final = output_of(
    {
        "columns": list_of(TEXT),
        "rows": list_of({"type": "array"}),
        "next": TEXT_OR_NULL,
    }
)


def query_sql(journals: WarmJournals) -> Tool:
    """Return the tool that runs a SELECT."""

    def run(values: Mapping[str, Any], reporting: Reporting) -> ToolAnswer:
        return _Select(journals, values).answer(reporting)

    return Tool(
        "query_sql",
        "Query in SQL",
        "Run one read-only SELECT for what no other tool answers: counts, joins, statistics. Views: events, "
        "transcripts, visuals, audio, alerts (time, channel, event, source, stream, stream_name, session, "
        "text, is_final, started, ended, label, speaker, confidence, window, backfilled), sessions (session, "
        "first, last, status, events, reason, video), gaps (id, since, until, seconds, reason, status, "
        "recovered). Times are TIMESTAMPTZ in UTC. Aggregate, or add ORDER BY and LIMIT: an answer holds "
        "some 50 rows. Starts a process: about a second.",
        (_QUERY, _HOST, BOUND, CURSOR),
        _OUTPUT,
        run,
    )


class _Rows(NamedTuple):
    columns: list[str]
    values: list[list[Any]]


class _Select:
    """One call."""

    def __init__(self, journals: WarmJournals, values: Mapping[str, Any]) -> None:
        self._journals = journals
        self._values = values
        self._bound = bound_of(values)
        cursor = cursor_in("query_sql", values)
        self._skip = cursor.skip if cursor else 0

    def answer(self, reporting: Reporting) -> ToolAnswer:
        # The last one says only that there are more.
        most = 4 * (self._bound.tokens or 0) // _LEAST_ROW
        found = self._asked(self._journal(), self._skip + most + 1, reporting)
        rows = found.values[self._skip :]
        heading = f"{NOTICE} Times here are UTC."

        def text(shown: Sequence[list[Any]]) -> str:
            more = self._next(len(rows), len(shown))
            below = f'more rows: cursor="{more}"' if more else ""
            lines = [" | ".join(map(in_one_line, found.columns))] if shown else []
            lines += [" | ".join(_cell(value) for value in row) for row in shown]
            return text_page(heading, counted(len(shown), "row"), "\n".join(lines), below)

        def data(shown: Sequence[list[Any]]) -> dict[str, Any]:
            values = [[_cut(value) for value in row] for row in shown]
            more = self._next(len(rows), len(shown))
            return quoted_data({"columns": found.columns, "rows": values, "next": more})

        texts = within(self._bound, rows[:most], text)
        entries = within(self._bound, rows[:most], lambda shown: dumped(data(shown)))
        if rows and not min(texts, entries):
            raise InputError(
                f"query_sql: max_tokens: {self._bound.tokens} is too small for a row",
                "select fewer columns, or give a larger max_tokens",
                error_id="bound-too-small",
            )
        return ToolAnswer(text(rows[:texts]), data(rows[:entries]))

    def _next(self, count: int, shown: int) -> str | None:
        if shown >= count:
            return None
        return PageCursor(None, None, self._skip + shown).text_for(self._values)

    def _journal(self) -> HostJournal:
        journals, host = self._journals.all(), self._values[_HOST.name]
        if host is None and len(journals) == 1:
            return journals[0]
        chosen = [journal for journal in journals if journal.host == host]
        if not chosen:
            raise InputError(
                f"query_sql: host: not a machine, got {host!r}" if host else "query_sql: host is missing",
                f"use {', '.join(journal.host for journal in journals)}",
                error_id="host-unknown",
            )
        return chosen[0]

    def _asked(self, journal: HostJournal, most: int, reporting: Reporting) -> _Rows:
        """Return the first rows.

        Raises:
            InputError: it is not a SELECT, or it fails.
            StorageError: it takes too long, or more memory than there is.
        """
        command = [sys.executable, "-m", "vdbevents", "sql", "-", "-o", "jsonl", f"--file={journal.path}"]
        if self._journals.older.cleared:
            command.append("--archived")
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            reading = _Reading(process, most)
            reading.start()
            try:
                _send(process.stdin, self._values["query"])
                _await(reading, reporting)
            finally:
                # Its own child holds DuckDB, and ends with it.
                process.kill()
        if reading.is_full:
            return reading.rows
        if process.returncode not in (0, _NO_ROWS):
            raise _failed(reading.said)
        return reading.rows


class _Reading(threading.Thread):
    """Reads the rows that a process prints, up to so many, and what it says."""

    def __init__(self, process: "subprocess.Popen[bytes]", most: int) -> None:
        super().__init__(daemon=True)
        self.rows = _Rows([], [])
        self.said = ""
        self.is_full = False
        self._process = process
        self._most = most

    def run(self) -> None:
        saying = threading.Thread(target=self._listen, daemon=True)
        saying.start()
        for line in self._process.stdout or ():
            row = json.loads(line)
            if not self.rows.columns:
                self.rows.columns.extend(row)
            self.rows.values.append(list(row.values()))
            if len(self.rows.values) >= self._most:
                self.is_full = True
                return
        saying.join()
        self._process.wait()

    def _listen(self) -> None:
        self.said = (self._process.stderr.read() if self._process.stderr else b"").decode("utf-8", "replace")


def _send(stream: IO[bytes] | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text.encode("utf-8", "replace"))
        stream.close()
    except BrokenPipeError:
        pass  # it has ended, and says why


def _await(reading: _Reading, reporting: Reporting) -> None:
    """Wait for the rows.

    Raises:
        StorageError: it takes too long, or nobody waits any more.
    """
    waited = 0.0
    while reading.is_alive():
        reading.join(_LOOK_SECONDS)
        waited += _LOOK_SECONDS
        if reading.is_alive() and (waited >= _MOST_SECONDS or reporting.is_cancelled):
            raise StorageError(
                f"query_sql: took longer than {_MOST_SECONDS:.0f} s",
                "select less: a shorter time, fewer joins",
                error_id="sql-too-slow",
            )


def _failed(said: str) -> InputError:
    """Return the error that the process printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    message = "\n".join(line.removeprefix("vdbevents: ") for line in lines if not line.startswith("→"))
    hints = [line.removeprefix("→ ") for line in lines if line.startswith("→")]
    hint = hints[-1] if hints else ""
    return InputError(
        f"query_sql: {message or 'the query ended without an answer'}",
        _VIEWS_HINT if "--describe" in hint else hint,
        error_id="sql-failed",
    )


def _cell(value: object) -> str:
    value = _cut(value)
    return in_one_line(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        return f"{value[: _LONGEST_VALUE - 1]}…"
    return value
