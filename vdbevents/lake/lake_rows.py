"""The SQL that turns the lines of a journal into rows of a lake. Pure."""

# ruff: noqa: S608 - the SQL consists of constants and our own names

from collections.abc import Mapping
from hashlib import md5
from string import Template
from typing import Any, Final

from vdbevents.events import fields
from vdbevents.events.identity import identity_of, repaired
from vdbevents.events.lifecycle import lifecycle_of
from vdbevents.lake.table_schema import COLUMNS, EVENT_COLUMNS, NO_TIME_DATE, SCHEMA_VERSION
from vdbevents.query.columns import BLANK
from vdbevents.query.lines import NAMES, quoted

_RECORDED: Final = "channel IN ('transcript', 'visual_index', 'audio_index')"

_HAS_TEXT: Final = f"coalesce(ascii(text) BETWEEN 33 AND 126 OR regexp_matches(text, '[^{BLANK}]'), false)"
# Whose identity follows from the columns alone: the text is the one of `data`, and no other member's.
_IS_PLAIN: Final = f"coalesce({_RECORDED} AND says_text AND {_HAS_TEXT}, false)"
_HAS_IDENTITY: Final = "stream <> '' AND start_ms IS NOT NULL AND is_final IS DISTINCT FROM false"

WHOLE: Final = """CREATE TEMP TABLE whole AS SELECT line, length, position,
    contains(line, '"data":{"text":"') AS says_text FROM """
"""How a statement begins that creates `whole`: the lines as they are."""

NOT_TEXT: Final = """UPDATE whole SET line = lossy.line
    FROM (SELECT unnest(?::BIGINT[]) AS position, unnest(?::VARCHAR[]) AS line) AS lossy
    WHERE whole.position = lossy.position"""
"""Replace the lines that are not UTF-8 by what is legible of them."""

# To join all lines with all columns would take twice as long.
UNIDENTIFIED: Final = f"""SELECT position, whole.line FROM whole JOIN (SELECT position FROM known
    WHERE channel = 'capture_session' OR ({_RECORDED} AND (NOT {_HAS_TEXT}
    OR position IN (SELECT position FROM whole WHERE NOT says_text)))) USING (position)"""
"""The few lines whose identity needs more than their columns."""

IDENTIFIED: Final = """CREATE TEMP TABLE identified AS
    SELECT unnest(?::BIGINT[]) AS position, unnest(?::VARCHAR[]) AS identity"""
"""Create a table of their identities."""


def identity_text(event: Mapping[str, Any]) -> str | None:
    """Return an event's identity (`events.identity`) as the table has it."""
    found = identity_of(event)
    if found is None:
        return None
    step = lifecycle_of(event) if found.channel == "capture_session" else None
    content = fields.text_of(event) if step is None else step.status
    times = ("" if at is None else str(at) for at in (found.start_ms, found.end_ms))
    text = "|".join((found.channel, found.stream, *times, repaired(content)))
    return md5(text.encode(), usedforsecurity=False).hexdigest()[:_IDENTITY_LETTERS]


_IDENTITY_LETTERS: Final = 20
_IDENTITY: Final = f"""left(md5(concat_ws('|', channel, stream, start_ms,
    coalesce(end_ms::VARCHAR, ''), text)), {_IDENTITY_LETTERS})"""
_OF_EVENT: Final = {name: NAMES.get(name, name) for name in EVENT_COLUMNS}
# That of a time with a zone takes ten times as long.
_DATE: Final = f"coalesce(make_timestamp(time_ms * 1000)::DATE, DATE '{NO_TIME_DATE}')"
_HAS_LETTERS: Final = r"regexp_matches(whole.line, '\S')"
_SQL: Final = {
    **_OF_EVENT,
    "position": "whole.position + $offset",
    "host": "$host",
    "journal": "$journal",
    "length": "whole.length",
    "date": _DATE,
    "looks": "looks",
    "identity": f"CASE WHEN {_HAS_IDENTITY} AND {_IS_PLAIN} THEN {_IDENTITY} ELSE identity END",
    "readable": "known.position IS NOT NULL",
    "line": "whole.line",
    "schema_version": f"{SCHEMA_VERSION}::BIGINT",
}
_ROWS: Final = Template(f"""CREATE TEMP VIEW rows AS SELECT
    {", ".join(f'{_SQL[column.name]} AS "{column.name}"' for column in COLUMNS)}
    FROM whole LEFT JOIN known ON whole.position = known.position
    LEFT JOIN identified ON whole.position = identified.position
    WHERE known.position IS NOT NULL OR {_HAS_LETTERS}""")


IN_ORDER: Final = "SET disabled_optimizers = 'build_side_probe_side'"
"""Join in the order of `whole`: where DuckDB turns the join around, the files get a sixth larger."""

IN_ANY_ORDER: Final = "RESET disabled_optimizers"


def viewing(host: str, journal: str, offset: int) -> str:
    """Return the statement that makes the view `rows`, from `whole`, `known` and `identified`.

    `known` has the lines that are events, as they are sealed; `offset` is what to add to their places.
    """
    values = {"host": quoted(host), "journal": quoted(journal), "offset": f"{offset:d}"}
    return _ROWS.safe_substitute(values)


MEASURED: Final = ("position", "time", "started", "ended")
"""The columns that a file's statistics have, beside host and journal, which are the same in all of it."""


def _measure(column: str) -> str:
    value = f"epoch_ms({column})" if column in ("time", "started", "ended") else column
    return f"min({value}), max({value}), count(*) - count({column})"


MEASURES: Final = f"count(*), {', '.join(map(_measure, MEASURED))}"
"""SQL for the number of rows, and of each measured column the least, the most and how many are NULL."""

_TIMES: Final = ", ".join(f"{_OF_EVENT[name]} AS {name}" for name in MEASURED if name in _OF_EVENT)
# Materialized: the test for letters is for the few lines that are no events.
_MEASURED_ROWS: Final = f"""SELECT position + ? AS position, {_DATE} AS date, {_TIMES} FROM known
    UNION ALL BY NAME SELECT whole.position + ? AS position, DATE '{NO_TIME_DATE}' AS date
    FROM unknown AS whole WHERE {_HAS_LETTERS}"""

BY_DATE: Final = f"""WITH unknown AS MATERIALIZED (
    SELECT position, line FROM whole ANTI JOIN known USING (position))
    SELECT date::VARCHAR, {MEASURES} FROM ({_MEASURED_ROWS}) GROUP BY date ORDER BY date"""
"""For each date of the rows: it, and the measures. The two `?` are what to add to the places.

It is the same of `rows`, but takes less time.
"""

_FORMAT: Final = """(FORMAT parquet, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000, COMPRESSION zstd,
    COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 122880)"""


def copying(source: str) -> str:
    """Return a COPY of what a SELECT returns into a Parquet file; the file's path is the last value."""
    return f"COPY ({source}) TO ? {_FORMAT}"


MADE: Final = "CREATE TEMP TABLE made AS FROM rows"
"""Keep the rows, where they go into many files."""


def writing(table: str) -> str:
    """Return the COPY of a date's rows, of `rows` or `made`, into a file: without what all of them have."""
    return copying(f"SELECT * EXCLUDE (date) FROM {table} WHERE date = ?::DATE")
