"""The SQL of a search. Pure.

A search has three steps, each of which creates a temporary table:

1. `candidates`: the lines that may match, by cheap tests on their bytes, in the file's order, and all lines
   about gaps;
2. `events`: for each candidate its time and whether it matches, by folding its JSON once;
3. `answer`: the lines to show (no replaced interim transcripts, no repetitions, the newest N), oldest first.

Sealed events are folded already: only matching ones are added to `events`, and `answer` has their place in
the journal instead of the line. Lines are printed as they are, or folded into `Event`s as they are read. With
`around_ms` the steps run a second time, for all events in the `spans` around the matches.
"""

# ruff: noqa: S608 - the SQL consists of constants, whole numbers and our own names; values are bound

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from vdbevents.query import line_tests, patterns, session_tables
from vdbevents.query.alike import looks
from vdbevents.query.columns import COLUMNS, FETCHED, Reading, folded, identities, named
from vdbevents.query.filters import ALIASES, Event, Filters
from vdbevents.query.lax_json import LAX
from vdbevents.query.lines import (
    CONDITION_COLUMNS,
    GAP,
    LINE,
    MOMENT_COLUMNS,
    NAMES,
    SHOWN_LINE,
    Statement,
    lines_of_file,
    moment,
    named_as,
)
from vdbevents.query.mended_lines import MAY_DIFFER
from vdbevents.query.occurring import EVERYTHING, Occurring
from vdbevents.query.sealed_tables import SealedTable, read_sealed
from vdbevents.times import LEAST_MS, Window


def candidates(
    paths: Sequence[str], filters: Filters, longest: int, near: tuple[int, int] | None = None
) -> Statement:
    """Create `candidates (line)`: lines that may match, are unreadable, or are about a gap; no empty lines.

    These tests on bytes drop only lines that cannot match; a kept line need not match.

    Args:
        paths: the files, as DuckDB globs.
        filters: the conditions.
        longest: no line has more bytes.
        near: leave out what was over before this time, or began after it, in Unix ms.
    """
    tests = ["WHEN line IS NULL THEN false", r"WHEN line NOT LIKE '{%}' THEN regexp_matches(line, '\S')"]
    # The head of a line holds the time of receipt, and the end of a usual one that of the event.
    left_out_by = line_tests.happened_outside if filters.by_event else line_tests.received_outside
    if outside := left_out_by(filters.window):
        kept = "false" if filters.by_event else line_tests.STAMPED_AGAIN
        tests.append(f"WHEN {line_tests.condition(outside)} THEN {kept}")
    if near is not None and (beside := line_tests.happened_beside(*near)):
        tests.append(f"WHEN {line_tests.condition(beside)} THEN false")
    if names := line_tests.names_of(filters.channels):
        tests.append(f"WHEN NOT ({names}) THEN {GAP}")
    if words := patterns.words(filters):
        tests.append(f"WHEN {words} THEN true")
        # A final transcript may replace a match, so it is a candidate whatever its text.
        finals = "contains(line, 'inal\"') AND contains(line, 'true')"
        tests.append(f"ELSE {GAP}" if filters.interim else f"ELSE ({finals}) OR {GAP}")
    else:
        tests.append("ELSE true")
    sql = f"""CREATE TEMP TABLE candidates AS SELECT line FROM {lines_of_file(longest)}
        WHERE CASE {" ".join(tests)} END"""
    return Statement(sql, [list(paths)])


def candidates_within(size: int) -> str:
    """Return a SELECT of the candidates' positions, lines and sizes in bytes, without larger lines."""
    return f"""SELECT rowid + {UNSEALED}, CASE WHEN strlen(line) <= {size:d} THEN line END, strlen(line)
        FROM candidates"""


# -- Steps 2 and 3: which candidates match, and which are shown --------------------------------------------


# The columns of `events`. `length` is that of a sealed event's line; the lines of the others are in
# `candidates`, and come after all sealed ones.
_KEPT: Final = (
    *("position", "length", "time_ms", "readable", "ours", "within", "matched", "fetched"),
    *("transcript", "channel", "stream", "is_final", "start_ms", "end_ms", "received_ms", "written"),
    "doubtful",
)
# Columns of `Event` that `events` has.
_KNOWN: Final = ("time_ms", "channel", "is_final", "start_ms", "end_ms")

_READING: Final = Reading()

# What is known only of lines that were read with `Reading.written`.
_NOT_READ: Final = {"written": "NULL::BOOLEAN", "doubtful": "NULL::BOOLEAN"}
_SEALED: Final = {**_NOT_READ, "received_ms": "NULL::BIGINT"}
_NUMBERS: Final = "count(*), min(time_ms), max(time_ms)"
_COUNTED: Final = {"length": "0", "ours": "false", "fetched": "false", "channel": "NULL"}

UNSEALED: Final = 1 << 60
"""Positions from here on are rows of `candidates`; smaller ones are bytes of the journal."""


def events(filters: Filters, found: Occurring = EVERYTHING) -> Statement:
    """Create the table `events`, a row for each candidate, with the columns `_KEPT`.

    Args:
        filters: the conditions.
        found: what may occur in the candidates.
    """
    values: list[object] = []
    own = _filter_columns(filters, values)
    asked = " ".join(own.values())
    columns = COLUMNS if filters.where else named(COLUMNS, f"{asked} channel is_final start_ms end_ms")
    numbered = f"(SELECT {UNSEALED} + rowid AS position, NULL::BIGINT AS length, line FROM candidates)"
    if found.is_known:
        own |= _NOT_READ
    table = _readable(numbered, columns, filters, Reading(found, written=None if found.is_known else False))
    sql = f"SELECT {_kept(own)} FROM {table}"
    return Statement(f"CREATE TEMP TABLE events AS {sql}", values)


TO_MEND: Final = f"""SELECT position, line FROM (SELECT rowid + {UNSEALED} AS position, line FROM candidates)
    JOIN (SELECT position FROM events WHERE doubtful) USING (position)"""
"""The candidates that may have a member twice."""

MEND: Final = (
    """CREATE TEMP TABLE mended AS SELECT unnest(?::BIGINT[]) AS position, unnest(?::VARCHAR[]) AS line""",
    f"""CREATE TEMP TABLE as_written AS SELECT position, candidates.line FROM candidates
        JOIN mended ON position = candidates.rowid + {UNSEALED}""",
    f"""UPDATE candidates SET line = mended.line FROM mended
        WHERE position = candidates.rowid + {UNSEALED}""",
    "DROP TABLE mended",
)
"""Replace lines of candidates by others, of the same meaning to most readers; keep them as `as_written`."""


def events_again(filters: Filters) -> list[Statement]:
    """Read the mended candidates again."""
    again = "position IN (SELECT position FROM as_written)"
    created = events(filters)
    selected = created.sql.partition(" AS ")[2]
    return [
        Statement(f"DELETE FROM events WHERE {again}", []),
        Statement(f"INSERT INTO events SELECT * FROM ({selected}) WHERE {again}", created.values),
    ]


# Of the others it does not matter. The lines are joined first, or all would be tested.
REFUSE_LAX: Final = f"""UPDATE events SET readable = false, within = false, matched = false
    WHERE position IN (WITH asked AS MATERIALIZED (
        SELECT position, line FROM (SELECT rowid + {UNSEALED} AS position, line FROM candidates)
        JOIN (SELECT position FROM events WHERE matched AND length IS NULL) USING (position))
    SELECT position FROM asked WHERE {LAX})"""
"""Make matches unreadable that DuckDB alone takes for JSON."""


def _readable(lines: str, columns: Iterable[str], filters: Filters, reading: Reading) -> str:
    """Return SQL of `lines (position, length, line)` with the columns that conditions may have."""
    others = ["position", "length", "readable", "line", f"{FETCHED} AS fetched"]
    if reading.written is False:
        others += ["written", f"CASE WHEN written THEN false ELSE {MAY_DIFFER} END AS doubtful"]
    table = f"({folded(lines, columns, *others, reading=reading)})"
    if patterns.need_looks(filters):
        table = f"(SELECT *, {looks('text')} AS looks FROM {table})"
    return _with_names(table, filters)


def matches(
    filters: Filters, tables: Sequence[SealedTable], also: str = "", *, to_count: bool = False
) -> Statement:
    """Select the matches in sealed segments, and the columns `also`, which end with a comma.

    With `to_count`, only what it takes to find replaced transcripts among them; none was backfilled then.
    """
    values: list[object] = []
    own = {**_filter_columns(filters, values), **_SEALED, **(_COUNTED if to_count else {})}
    table = _with_names(f"(SELECT *, true AS readable FROM {read_sealed(tables)})", filters)
    return Statement(f"SELECT {also}{_kept(own)} FROM {table} WHERE matched", values)


def count(filters: Filters, tables: Sequence[SealedTable]) -> Statement:
    """Count the matches in sealed segments; select also their first and last time."""
    found = matches(filters, tables)
    return Statement(f"SELECT {_NUMBERS} FROM ({found.sql})", found.values)


def more_finals(filters: Filters, tables: Sequence[SealedTable]) -> Statement:
    """Add the final transcripts in sealed segments to `events`, as rows that do not match."""
    own = {
        **_filter_columns(Filters(window=filters.window, by_event=filters.by_event), []),
        "matched": "false",
        **_SEALED,
    }
    sql = f"""SELECT {_kept(own)} FROM (SELECT *, true AS readable FROM {read_sealed(tables)})
        WHERE within AND transcript AND is_final AND position NOT IN (SELECT position FROM events)"""
    return Statement(f"INSERT INTO events {sql}", [])


def untimed(filters: Filters, tables: Sequence[SealedTable]) -> Statement:
    """Count the events that match but for their times, which are not known.

    Args:
        filters: the conditions.
        tables: the sealed segments that have events without a time.
    """
    values: list[object] = []
    own = _filter_columns(replace(filters, window=Window()), values)
    asked = " ".join(own.values())
    columns = COLUMNS if filters.where else named(COLUMNS, asked)
    lines = f"""(SELECT {UNSEALED} + rowid AS position, NULL::BIGINT AS length, line FROM candidates
        WHERE {UNSEALED} + rowid IN (SELECT position FROM events WHERE readable AND time_ms IS NULL))"""
    each = [_readable(lines, columns, filters, _READING)]
    if tables:
        each.append(_with_names(f"(SELECT *, true AS readable FROM {read_sealed(tables)})", filters))
    counts = (
        f"""(SELECT count(*) FROM (SELECT {own["time_ms"]} AS moment, {own["matched"]} AS matched
        FROM {table}) WHERE matched AND moment IS NULL)"""
        for table in each
    )
    return Statement(f"SELECT {' + '.join(counts)}", values * len(each))


UNTIMED: Final = "SELECT count(*) FROM events WHERE readable AND time_ms IS NULL"
"""The number of events without a known time among the candidates."""


def _filter_columns(filters: Filters, values: list[object]) -> dict[str, str]:
    """Return SQL for the columns of `events` that depend on the filters, and for those they shadow."""
    when = "coalesce(start_ms, time_ms)" if filters.by_event else "time_ms"
    within = f"readable AND {_between(filters.window, when)}"
    in_spans = [_overlapping(filters.spans)] if filters.spans else []
    matched = [*in_spans, *_membership(filters, values), *patterns.conditions(filters, values)]
    return {
        "time_ms": when,
        "ours": "channel IS NOT DISTINCT FROM 'vdbevents'",
        "within": within,
        "matched": " AND ".join([within, *matched]),
        "transcript": "channel IS NOT DISTINCT FROM 'transcript' AND is_final IS NOT NULL",
        "stream": "coalesce(stream, stream_name)",
        "received_ms": "time_ms",
    }


def found(tables: Sequence[SealedTable], reading: Reading) -> str:
    """Create the view `found` of the answer, with the column names of the user's SQL."""
    columns = [column for column in Event._fields if column not in {"line", "host"}]
    chosen = (
        f"{moment(column) if column in MOMENT_COLUMNS else column} AS {named_as(column)}"
        for column in columns
    )
    selected = rows(columns, tables, reading=reading)
    return f"CREATE OR REPLACE TEMP VIEW found AS SELECT {', '.join(chosen)} FROM ({selected})"


def _with_names(table: str, filters: Filters) -> str:
    """Return `table` with the columns for patterns and for a `--where` condition, if there are any."""
    added = {}
    if any((*filters.grep, *filters.any_of, *filters.none_of)):
        added["shown_line"] = SHOWN_LINE
    if filters.where is not None:
        added |= NAMES
    if not added:
        return table
    return f"(SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in added.items())} FROM {table})"


def condition(where: str) -> str:
    """Return a SELECT that is valid if `where` is a condition on one row alone.

    A WHERE takes no aggregate, window function or `unnest`, whose rows would depend on the other filters.
    """
    none = ", ".join(f"NULL::{kind} AS {name}" for name, kind in CONDITION_COLUMNS.items())
    return f"SELECT true FROM (SELECT {none} LIMIT 0) WHERE coalesce(({where}\n)::BOOLEAN, false)"


def _kept(own: Mapping[str, str]) -> str:
    return ", ".join(f"{own[name]} AS {name}" if name in own else name for name in _KEPT)


def _between(window: Window, moment: str) -> str:
    conditions = ["true"]
    if window.since_ms is not None:
        conditions.append(f"{moment} >= {window.since_ms:d}")
    if window.until_ms is not None:
        conditions.append(f"{moment} < {window.until_ms:d}")
    return f"coalesce({' AND '.join(conditions)}, false)"


def _overlapping(spans: Iterable[tuple[int, int]]) -> str:
    first, last = "coalesce(start_ms, time_ms)", "greatest(coalesce(start_ms, time_ms), end_ms)"
    either = " OR ".join(f"({first} <= {end:d} AND {last} >= {begin:d})" for begin, end in spans)
    return f"coalesce({either}, false)"


def _membership(filters: Filters, values: list[object]) -> list[str]:
    conditions = []
    for columns, wanted in (
        (("channel",), [ALIASES.get(channel, channel) for channel in filters.channels]),
        (("source",), list(filters.sources)),
        (("stream", "stream_name"), list(filters.streams)),
        (("session",), [] if filters.scope else list(filters.sessions)),
        (("event",), list(filters.names)),
        (("label",), list(filters.labels)),
    ):
        if wanted:
            either = " OR ".join(f"coalesce(list_contains(?, {column}), false)" for column in columns)
            conditions.append(f"({either})")
            values += [wanted] * len(columns)
    if filters.scope is not None:
        conditions.append(session_tables.belongs(filters.scope, values))
    if filters.speakers:
        names = "list_transform(?, lambda name: lower(name))"
        conditions.append(f"coalesce(list_contains({names}, lower(speaker)), false)")
        values.append(list(filters.speakers))
    if filters.windows:
        # As in the rules for what is not recorded: whole words in any case.
        loose = replace(filters, extended=False, whole_words=True, ignore_case=True, exact=False)
        windows = (patterns.is_in(name, "window_name", loose, values) for name in filters.windows)
        conditions.append(f"({' OR '.join(windows)})")
    left_out = {*filters.not_channels, *filters.hidden_channels}
    if left_out:
        conditions.append("NOT coalesce(list_contains(?, channel), false)")
        values.append(sorted(ALIASES.get(channel, channel) for channel in left_out))
    if filters.least_confidence is not None:
        conditions.append("coalesce(confidence >= ?, false)")
        values.append(filters.least_confidence)
    if filters.where is not None:
        # The line end closes a comment in it.
        conditions.append(f"coalesce(({filters.where}\n)::BOOLEAN, false)")
    return conditions


# (Joins take a quarter of the time of window functions.)
REPLACED: Final = """SELECT interim.position FROM (FROM numbered WHERE NOT is_final) AS interim
    LEFT JOIN (SELECT stream, start_ms, bool_or(is_final) AS same_start, max(number) AS newest
        FROM numbered WHERE start_ms IS NOT NULL GROUP BY ALL) AS alike
    ON interim.stream IS NOT DISTINCT FROM alike.stream AND interim.start_ms = alike.start_ms
    ASOF LEFT JOIN (FROM numbered WHERE is_final) AS final
    ON interim.stream IS NOT DISTINCT FROM final.stream AND interim.number < final.number
    WHERE same_start OR interim.number < newest OR (final.number IS NOT NULL
    AND coalesce(interim.start_ms < final.end_ms AND final.start_ms < interim.end_ms, true))"""
"""The interim transcripts of `numbered` that others of it replaced.

One is replaced by a final one of its stream with the same start, or by the next final one unless both have
times that do not overlap; or by a newer interim one of its stream with the same start.
"""


# -- Events that were received and backfilled --------------------------------------------------------------

# Matches that may be repetitions: their lines decide.
SUSPECTS: Final = f"""CREATE TEMP TABLE suspects AS SELECT position, length, time_ms, line FROM events
    LEFT JOIN (SELECT rowid + {UNSEALED} AS position, line FROM candidates) USING (position)
    WHERE matched AND (start_ms IN (SELECT start_ms FROM events WHERE matched
        GROUP BY start_ms HAVING bool_or(fetched) AND count(*) > 1)
    OR channel = 'capture_session' AND (SELECT bool_or(fetched) FROM events
        WHERE matched AND channel = 'capture_session')) ORDER BY position"""

SEALED_SUSPECTS: Final = "SELECT position, length FROM suspects WHERE length IS NOT NULL ORDER BY position"

TELL_SUSPECTS: Final = """UPDATE suspects SET line = told.line
    FROM (SELECT unnest(?::BIGINT[]) AS position, unnest(?::VARCHAR[]) AS line) AS told
    WHERE suspects.position = told.position"""

_SAME: Final = "PARTITION BY channel, owner, start_ms, end_ms, content"


def repeated() -> str:
    """Create `repeated (position)`: of matches of one identity all but the first, if one was backfilled."""
    return f"""CREATE TEMP TABLE repeated AS SELECT position FROM (
    SELECT position, bool_or(backfilled) OVER ({_SAME}) AS is_fetched,
        row_number() OVER ({_SAME} ORDER BY time_ms NULLS FIRST, position) AS place
    FROM ({identities("suspects")})) WHERE is_fetched AND place > 1"""


def reading_again(found: Occurring, *, carried: bool) -> Reading:
    """Return how the unsealed lines of the answer are read: for what it has not, if columns are `carried`."""
    if not carried:
        return Reading(found)
    return Reading(found, _KNOWN, written=None if found.is_known else True)


def answer(
    filters: Filters,
    *,
    hiding: bool,
    sparing: bool,
    keeping: bool = False,
    carrying: bool = False,
    places: tuple[int, int] | None = None,
) -> str:
    """Create `answer (position, length, time_ms, line)`, in order; `line` is NULL where `length` is not.

    Leave out replaced interim transcripts if `hiding`, but none that are `sought` if `keeping`; and
    `repeated` events if `sparing`; and all but those at `places`. With `carrying` it has the columns of
    `reading_again` as well: for sealed events they are of no use, and of a million events they take time to
    sort.
    """
    shown = _shown(hiding=hiding, sparing=sparing, keeping=keeping)
    if places is not None:
        shown += f" AND position >= {places[0]:d} AND position < {places[1]:d}"
    newest = ""
    if filters.limit is not None or filters.offset:
        limit = "ALL" if filters.limit is None else f"{filters.limit:d}"
        newest = f"{_NEWEST_FIRST} LIMIT {limit} OFFSET {filters.offset:d}"
    order = _NEWEST_FIRST if filters.newest_first else "ORDER BY time_ms NULLS FIRST, position"
    names = ["position", "length", "time_ms"]
    if carrying:
        names += ["received_ms", "written", *(name for name in _KNOWN if name != "time_ms")]
    columns = ", ".join(names)
    return f"""CREATE TEMP TABLE answer AS SELECT {columns}, line
        FROM (SELECT {columns} FROM events WHERE {shown} {newest})
        LEFT JOIN (SELECT rowid + {UNSEALED} AS position, line FROM candidates) USING (position) {order}"""


def count_shown(*, hiding: bool) -> str:
    """Count the rows of `answer`, and select their first and last time, without creating it."""
    return f"SELECT {_NUMBERS} FROM events WHERE {_shown(hiding=hiding)}"


def _shown(*, hiding: bool, sparing: bool = False, keeping: bool = False) -> str:
    shown = "matched AND position NOT IN (SELECT position FROM repeated)" if sparing else "matched"
    if hiding:
        kept = f" OR position IN ({_KEPT_ONES})" if keeping else ""
        shown += f""" AND (NOT transcript OR is_final{kept} OR position NOT IN (
            WITH numbered AS MATERIALIZED (
                SELECT *, row_number() OVER (ORDER BY time_ms NULLS FIRST, position) AS number FROM events
                WHERE transcript AND within AND (is_final OR matched))
            {REPLACED}))"""
    return shown


_NEWEST_FIRST: Final = "ORDER BY time_ms DESC NULLS LAST, position DESC"


# -- Events around the matches -----------------------------------------------------------------------------


def context(filters: Filters) -> Filters:
    """Return the filters of the second pass: all events but those left out, by their own times."""
    return Filters(
        by_event=True,
        not_channels=(*filters.not_channels, *filters.hidden_channels),
        interim=filters.interim,
        newest_first=filters.newest_first,
    )


def spans(filters: Filters) -> list[str]:
    """Create `spans (place, first, last)`, the times around the answer, merged where they meet.

    Create `sought` of the answer, and drop the tables of the steps.
    """
    begin, end = "coalesce(start_ms, time_ms)", "greatest(coalesce(start_ms, time_ms), end_ms)"
    order = "ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND"
    return [
        f"""CREATE TEMP TABLE spans AS WITH
            around AS (SELECT DISTINCT {begin} - {filters.around_ms:d} AS first,
                {end} + {filters.around_ms:d} AS last FROM events
                WHERE position IN (SELECT position FROM answer) AND {begin} IS NOT NULL),
            reaching AS (SELECT *, max(last) OVER ({order} 1 PRECEDING) AS reach FROM around),
            numbered AS (SELECT *, count(CASE WHEN reach >= first THEN NULL ELSE 1 END)
                OVER ({order} CURRENT ROW) AS place FROM reaching)
            SELECT place, min(first) AS first, max(last) AS last FROM numbered GROUP BY place""",
        "CREATE TEMP TABLE sought AS SELECT position, line FROM answer",
        *FORGET,
    ]


# A match stays, even if it was replaced by what was received outside the window. The rows of `candidates`
# have other numbers in the second pass; of equal lines, which replaced each other, as many stay as matched.
_KEPT_ONES: Final = f"""SELECT position FROM sought WHERE line IS NULL
    UNION ALL SELECT candidates.rowid + {UNSEALED} FROM candidates
        JOIN (SELECT line, count(*) AS matches FROM sought GROUP BY line) USING (line)
        QUALIFY row_number() OVER (PARTITION BY line ORDER BY candidates.rowid DESC) <= matches"""


FORGET_SHOWN: Final = (
    *(f"DROP TABLE IF EXISTS {table}" for table in ("answer", "suspects", "repeated")),
    # Final transcripts that were added for interim ones: they may match, and would not be added again.
    "DELETE FROM events WHERE NOT matched AND length IS NOT NULL",
)
"""Undo step 3."""

FORGET: Final = (
    *FORGET_SHOWN,
    *("DROP TABLE candidates", "DROP TABLE events", "DROP TABLE IF EXISTS as_written"),
)
"""Undo all steps."""

SPANS: Final = "SELECT first, last FROM spans"

# An event may overlap several spans; it is shown in the first.
PLACED: Final = (
    """CREATE OR REPLACE TEMP TABLE placed AS SELECT position, min(place) AS place FROM events JOIN spans
        ON time_ms <= last AND greatest(time_ms, end_ms) >= first WHERE matched GROUP BY position""",
    "UPDATE events SET matched = false WHERE position NOT IN (SELECT position FROM placed)",
)

# The rows of the answer at which the events of a span begin, and the span; row 0 is the first of them.
GROUPS: Final = """SELECT row, first, last FROM (
    SELECT answer.rowid AS row, place, lag(place) OVER (ORDER BY answer.rowid) AS before
    FROM answer JOIN placed USING (position)) JOIN spans USING (place)
    WHERE place IS DISTINCT FROM before ORDER BY row"""


# -- Reading the tables ------------------------------------------------------------------------------------

COUNTS: Final = """SELECT count(*) FILTER (transcript AND NOT is_final), count(*) FILTER (fetched)
    FROM events WHERE matched"""
"""How many matches are interim transcripts, and how many were backfilled."""

# Whether an interim match that was said in a time reaches beyond a longer one. (first, last, longer: Unix ms)
REACHING: Final = """SELECT count(*) FROM events WHERE matched AND transcript AND NOT is_final
    AND time_ms <= {last} AND greatest(time_ms, end_ms) >= {first}
    AND (start_ms IS NULL OR end_ms IS NULL OR start_ms < {longer_first}
        OR greatest(start_ms, end_ms) > {longer_last})"""

# The interim matches of each stream: times of receipt, starts, and whether all have a time.
INTERIM_ONES: Final = """SELECT stream, CASE WHEN count(time_ms) > 0 THEN [min(time_ms), max(time_ms)] END,
    CASE WHEN count(start_ms) > 0 THEN [min(start_ms), max(start_ms)] END, count(time_ms) = count(*)
    FROM events WHERE matched AND transcript AND NOT is_final GROUP BY stream"""

# The starts of all matches, and of backfilled ones; whether some are about sessions, and backfilled.
MATCHED: Final = """SELECT CASE WHEN count(start_ms) > 0 THEN [min(start_ms), max(start_ms)] END,
    CASE WHEN count(start_ms) FILTER (fetched) > 0
        THEN [min(start_ms) FILTER (fetched), max(start_ms) FILTER (fetched)] END,
    coalesce(bool_or(channel = 'capture_session'), false),
    coalesce(bool_or(channel = 'capture_session' AND fetched), false) FROM events WHERE matched"""

# The recorder's own lines, in the file's order. (A test on `line` here would read all lines.)
OURS: Final = f"""SELECT line FROM candidates
    WHERE rowid + {UNSEALED} IN (SELECT position FROM events WHERE ours) ORDER BY rowid"""

SKIPPED: Final = """SELECT (SELECT count(*) FROM events WHERE NOT readable),
    (SELECT count(DISTINCT line) FROM reject_errors)"""

SPAN: Final = f"""SELECT count(*), min(time_ms), max(time_ms), min(coalesce(time_ms, {LEAST_MS - 1}))
    FROM answer"""

# A table is read in the order of insertion.
LINES: Final = "SELECT position, length, line, time_ms FROM answer"

LINES_AS_WRITTEN: Final = """SELECT position, length, coalesce(as_written.line, answer.line), time_ms
    FROM answer LEFT JOIN as_written USING (position) ORDER BY answer.rowid"""
"""The same where some candidates were mended."""
TIMES: Final = "SELECT time_ms FROM answer"

# The positions of the sealed events in the answer.
SEALED_ONES: Final = "SELECT position FROM answer WHERE length IS NOT NULL ORDER BY position"


def rows(
    columns: Collection[str],
    tables: Sequence[SealedTable],
    first: int = 0,
    last: int | None = None,
    *,
    ordered: bool = True,
    reading: Reading = _READING,
    made: str | None = None,
) -> str:
    """Return a SELECT of the answer's rows from `first` to `last` as `Event`s, NULL but for `columns`.

    `tables` are those that hold sealed events of the answer; `reading` is how its other lines are read.
    With `made`, which is SQL, each row has only that.
    """
    names = [name for name in Event._fields if name in columns and name != "host"]
    until = "" if last is None else f" AND rowid <= {last:d}"
    shown = f"FROM answer WHERE rowid >= {first:d}{until}"
    known = "".join(
        f", {name}" for name in ("written", *reading.known) if reading.known and name != "time_ms"
    )
    received = ", received_ms AS time_ms" if reading.known else ""
    asked = f"(SELECT rowid AS row, line{known}{received} {shown} AND length IS NULL)"
    needed = [name for name in COLUMNS if name in names or ("line" in names and name in {"text", "label"})]
    lines = folded(asked, needed, "row", "line", reading=reading)
    read = ", ".join(f"{LINE} AS line" if name == "line" else name for name in names)
    sql = f"SELECT row, {read} FROM ({lines})"
    if tables:
        sealed = ", ".join(f"sealed.{name}" for name in names)
        asked = f"(SELECT rowid AS row, position {shown} AND length IS NOT NULL)"
        sql += f""" UNION ALL SELECT row, {sealed} FROM {asked} AS shown
            JOIN {read_sealed(tables)} AS sealed USING (position)"""
    shown = ", ".join(name if name in names else "NULL" for name in Event._fields)
    return f"SELECT {made or shown} FROM ({sql})" + (" ORDER BY row" if ordered else "")


LARGE_BYTES: Final = 1_000_000
"""Folding holds many lines at once, each several times: rows with lines of more bytes are folded alone."""

LARGE: Final = f"SELECT rowid FROM answer WHERE strlen(line) > {LARGE_BYTES} ORDER BY rowid"
