"""What a query asks, as values and as SQL. Pure: no file, no clock, no database.

A journal is answered in three small steps, each a temporary table of DuckDB's:

1. `candidates`: the lines that may belong to the answer, by cheap looks at their bytes, in the file's order,
   and those that tell of gaps, whenever they were written;
2. `events`: for each candidate its time of receipt and whether it matches, by folding its JSON once;
3. `answer`: the lines that are shown (no replaced interim transcripts, no repetitions, the newest N), oldest
   first.

What is sealed is folded already: it comes into `events` only if it matches, and `answer` has its place in the
journal instead of its line. The lines are printed as they are, or folded into `Event`s as they are read. With
`around_ms` the same steps are taken once more, for all that happened in the `spans` around the answer.
"""

# ruff: noqa: S608 - the SQL is made here of constants, whole numbers and names of ours; values are bound

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from vdbevents.query.columns import ALIASES, COLUMNS, FETCHED, folded, identities, named
from vdbevents.query.filters import Event, Filters
from vdbevents.query.lines import (
    CONDITION_COLUMNS,
    GAP,
    LINE,
    MOMENT_COLUMNS,
    NAMES,
    Statement,
    lines_of_file,
    listed,
    moment,
    named_as,
)
from vdbevents.times import LEAST_MS, Window


class EventBatches(Protocol):
    """What `query.engine.search` gives, as far as `query.render` needs it."""

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last time in the answer, in Unix ms; None without any."""

    @property
    def breaks(self) -> Collection[int]:
        """The rows, from 0, at which the events around another match begin."""

    def lines(self) -> Iterable[list[str]]:
        """The journal's own lines, oldest first, in batches."""

    def events(self, columns: Collection[str] = Event._fields) -> Iterable[list[Event]]:
        """The folded events, oldest first, in batches; None in columns other than `columns`."""


def candidates(path: str, filters: Filters, longest: int) -> Statement:
    """Make the table `candidates (line)`: what may match, is unreadable, or tells of a gap; no empty line.

    `path` is as DuckDB's globs have it; no line there has more than `longest` bytes.

    What these looks at raw bytes drop, the JSON could only confirm; what they keep proves nothing.
    """
    looks = ["WHEN line IS NULL THEN false", r"WHEN line NOT LIKE '{%}' THEN regexp_matches(line, '\S')"]
    # The head of a line tells when it was received, not when what it tells of happened.
    if outside := "" if filters.by_event else _outside(filters.window):
        looks.append(f"WHEN regexp_matches(line, '{outside}') THEN false")
    if words := _words(filters):
        looks.append(f"WHEN {words} THEN true")
        # A final transcript may hide a match, so it is a candidate whatever it says.
        finals = "contains(line, 'inal\"') AND contains(line, 'true')"
        looks.append(f"ELSE {GAP}" if filters.interim else f"ELSE ({finals}) OR {GAP}")
    else:
        looks.append("ELSE true")
    sql = f"""CREATE TEMP TABLE candidates AS SELECT line FROM {lines_of_file(longest)}
        WHERE CASE {" ".join(looks)} END"""
    return Statement(sql, [path])


def _unlike(text: str) -> str:
    """Return a regular expression of what begins otherwise than `text`, in which a space may be left out."""
    if text[0] == " ":
        return f" ?(?:[^ {text[1]}]|{text[1]}{_unlike(text[2:])})"
    return f"(?:[^{text[0]}]{f'|{text[0]}{_unlike(text[1:])}' if len(text) > 1 else ''})"


# A gap is told of after its end: what the recorder says of itself is not dropped for its time.
_NOT_OURS: Final = _unlike(' "channel": "vd')


def _outside(window: Window) -> str:
    """Return a regular expression of lines whose head gives a time outside `window`; empty without one.

    It compares whole seconds digit by digit, with one to spare for rounding, on heads as listeners write
    them: `{"ts":"...","unix_ts":1772446530.123,`. All others it leaves to the JSON, and the recorder's own.
    """
    numbers = []
    if window.since_ms is not None and (least := window.since_ms // 1000 - 1) > 0:
        numbers += _below(str(least))
    if window.until_ms is not None and (most := window.until_ms // 1000 + 2) > 0:
        numbers += _above(str(most))
    if not numbers:
        return ""
    number = f"(?:{'|'.join(numbers)})" + r"(?:\.[0-9]+)?"
    return r'^\{"ts": ?"[^"\\]*", ?"unix_ts": ?' + number + r"(?:\}|," + _NOT_OURS + ")"


def _below(number: str) -> list[str]:
    """Return regular expressions that together match the natural numbers less than `number`."""
    shorter = [f"[0-9]{{1,{len(number) - 1}}}"] if len(number) > 1 else []
    return shorter + [
        f"{number[:place]}[0-{int(digit) - 1}][0-9]{{{len(number) - place - 1}}}"
        for place, digit in enumerate(number)
        if digit != "0"
    ]


def _above(number: str) -> list[str]:
    """Return regular expressions that together match the natural numbers greater than `number`."""
    longer = [f"[1-9][0-9]{{{len(number)},}}"]
    return longer + [
        f"{number[:place]}[{int(digit) + 1}-9][0-9]{{{len(number) - place - 1}}}"
        for place, digit in enumerate(number)
        if digit != "9"
    ]


def _words(filters: Filters) -> str:
    """Return a condition on raw lines that holds wherever all literal patterns can be found; may be empty.

    Only letters, digits and spaces are looked for: JSON writes them as they are, or after a backslash and
    a u. Being no other characters, they stand in the SQL itself, where DuckDB compiles them once.
    """
    if filters.extended:
        return ""
    conditions = [_word(pattern, filters) for pattern in filters.grep]
    alternatives = [_word(pattern, filters) for pattern in filters.any_of]
    if all(alternatives):
        conditions.append(" OR ".join(alternatives))
    conditions = [f"({condition})" for condition in conditions if condition]
    return f"({' AND '.join(conditions)}) OR contains(line, '\\u')" if conditions else ""


def _word(pattern: str, filters: Filters) -> str:
    run = max((run.strip() for run in re.findall(r"[A-Za-z0-9 ]+", pattern)), key=len, default="")
    if not run:
        return ""
    if ignores_case(pattern, filters):
        # Two letters beyond ASCII have an ASCII lower case: RE2 knows the Kelvin sign, not the dotted I.
        return f"regexp_matches(line, '(?i){run}') OR contains(line, '\u0130')"
    return f"contains(line, '{run}')"


def ignores_case(pattern: str, filters: Filters) -> bool:
    """Tell whether `pattern` is looked for without regard to case."""
    if filters.ignore_case is not None:
        return filters.ignore_case
    if filters.extended:
        pattern = re.sub(r"\\(?:[pP](?:\{[^}]*\}|.)|x\{[^}]*\}|.)", "", pattern)
    return not any(character.isupper() for character in pattern)


# -- Steps 2 and 3: which of them match, and which are shown ---------------------------------------------


# What is kept of each event until it is known which are shown. `length` is that of a sealed event's line;
# the others' lines are in `candidates`, and come after all that is sealed.
_KEPT: Final = (
    *("position", "length", "time_ms", "readable", "ours", "within", "matched", "fetched"),
    *("transcript", "channel", "stream", "is_final", "start_ms", "end_ms"),
)

UNSEALED: Final = 1 << 60
"""Positions from here on are those of `candidates`; before, bytes of the journal."""


def events(filters: Filters) -> Statement:
    """Make the table `events`, a row a candidate, with the columns `_KEPT`."""
    values: list[object] = []
    made = _asked(filters, values)
    asked = " ".join(made.values())
    columns = COLUMNS if filters.where else named(COLUMNS, f"{asked} channel is_final start_ms end_ms")
    numbered = f"(SELECT {UNSEALED} + rowid AS position, NULL::BIGINT AS length, line FROM candidates)"
    lines = folded(numbered, columns, "position", "length", "readable", f"{FETCHED} AS fetched")
    sql = f"SELECT {_kept(made)} FROM {_with_names(f'({lines})', filters)}"
    return Statement(f"CREATE TEMP TABLE events AS {sql}", values)


def more_events(filters: Filters, files: Sequence[str]) -> Statement:
    """Add to `events` those that match and are sealed in `files`."""
    values: list[object] = []
    made = _asked(filters, values)
    table = _with_names("(SELECT *, true AS readable FROM read_parquet(?))", filters)
    sql = f"SELECT {_kept(made)} FROM {table} WHERE matched"
    sql = f"INSERT INTO events {sql} AND position NOT IN (SELECT position FROM events)"
    return Statement(sql, [*values, list(files)])


def more_finals(filters: Filters, files: Sequence[str]) -> Statement:
    """Add to `events` the final transcripts that are sealed in `files`; they match nothing."""
    made = {**_asked(Filters(window=filters.window, by_event=filters.by_event), []), "matched": "false"}
    sql = f"""SELECT {_kept(made)} FROM (SELECT *, true AS readable FROM read_parquet(?))
        WHERE within AND transcript AND is_final AND position NOT IN (SELECT position FROM events)"""
    return Statement(f"INSERT INTO events {sql}", [list(files)])


def _asked(filters: Filters, values: list[object]) -> dict[str, str]:
    """Return how those columns of `events` are made that depend on what is asked, and those they hide."""
    when = "coalesce(start_ms, time_ms)" if filters.by_event else "time_ms"
    within = f"readable AND {_between(filters.window, when)}"
    matched = [*_membership(filters, values), *_greps(filters, values)]
    return {
        "time_ms": when,
        "ours": "channel IS NOT DISTINCT FROM 'vdbevents'",
        "within": within,
        "matched": " AND ".join([within, *matched]),
        "transcript": "channel IS NOT DISTINCT FROM 'transcript' AND is_final IS NOT NULL",
        "stream": "coalesce(stream, stream_name)",
    }


def found(tables: Sequence[str]) -> str:
    """Make the view `found` of the answer, with names as a person writes them."""
    columns = [column for column in Event._fields if column not in {"line", "host"}]
    chosen = (
        f"{moment(column)} AS {named_as(column)}" if column in MOMENT_COLUMNS else column
        for column in columns
    )
    return f"CREATE OR REPLACE TEMP VIEW found AS SELECT {', '.join(chosen)} FROM ({rows(columns, tables)})"


def _with_names(table: str, filters: Filters) -> str:
    """Return `table` with the columns that a condition in SQL may name, if there is one."""
    if filters.where is None:
        return table
    return f"(SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in NAMES.items())} FROM {table})"


def condition(where: str) -> str:
    """Return a SELECT that is understood if a condition is one."""
    none = ", ".join(f"NULL::{kind} AS {name}" for name, kind in CONDITION_COLUMNS.items())
    return f"SELECT coalesce(({where}\n)::BOOLEAN, false) FROM (SELECT {none}) LIMIT 0"


def _kept(made: Mapping[str, str]) -> str:
    return ", ".join(f"{made[name]} AS {name}" if name in made else name for name in _KEPT)


def _between(window: Window, moment: str) -> str:
    conditions = ["true"]
    if window.since_ms is not None:
        conditions.append(f"{moment} >= {window.since_ms:d}")
    if window.until_ms is not None:
        conditions.append(f"{moment} < {window.until_ms:d}")
    return f"coalesce({' AND '.join(conditions)}, false)"


def _membership(filters: Filters, values: list[object]) -> list[str]:
    conditions = []
    for columns, wanted in (
        (("channel",), [ALIASES.get(channel, channel) for channel in filters.channels]),
        (("source",), list(filters.sources)),
        (("stream", "stream_name"), list(filters.streams)),
        (("session",), list(filters.sessions)),
        (("event",), list(filters.names)),
        (("label",), list(filters.labels)),
    ):
        if wanted:
            either = " OR ".join(f"coalesce(list_contains(?, {column}), false)" for column in columns)
            conditions.append(f"({either})")
            values += [wanted] * len(columns)
    if filters.least_confidence is not None:
        conditions.append("coalesce(confidence >= ?, false)")
        values.append(filters.least_confidence)
    if filters.where is not None:
        # The line end ends a comment.
        conditions.append(f"coalesce(({filters.where}\n)::BOOLEAN, false)")
    return conditions


def _greps(filters: Filters, values: list[object]) -> list[str]:
    conditions = [_found(pattern, filters, values) for pattern in filters.grep]
    if filters.any_of:
        conditions.append(f"({' OR '.join(_found(pattern, filters, values) for pattern in filters.any_of)})")
    return conditions + [f"NOT {_found(pattern, filters, values)}" for pattern in filters.none_of]


def _found(pattern: str, filters: Filters, values: list[object]) -> str:
    """Return SQL that tells whether `pattern` is in an event's text or label; an empty one is in each."""
    if not pattern:
        return "true"
    expression = re.escape(pattern) if filters.whole_words and not filters.extended else pattern
    values += [expression] * 2
    either = " OR ".join(
        f"coalesce({_grep(pattern, column, filters)}, false)" for column in ("text", "label")
    )
    return f"({either})"


_NO_WORD: Final = r"[^\pL\pM\pN_]"


def _grep(pattern: str, column: str, filters: Filters) -> str:
    ignoring = ignores_case(pattern, filters)
    sought = "?"
    if ignoring and not filters.extended:
        column, sought = f"lower({column})", "lower(?)"
    if filters.whole_words:
        sought = f"'(?:^|{_NO_WORD})(?:' || {sought} || ')(?:{_NO_WORD}|$)'"
    elif not filters.extended:
        return f"contains({column}, {sought})"
    return f"regexp_matches({column}, {sought}, '{'i' if ignoring and filters.extended else 'c'}')"


# An interim transcript is replaced by a final one of its stream with the same start, or by the next final one
# unless both have times and these are apart.
_REPLACED: Final = """SELECT interim.position FROM (
    SELECT *, bool_or(is_final) OVER (PARTITION BY stream, start_ms) AS same_start,
        min(CASE WHEN is_final THEN number END) OVER (
            PARTITION BY stream ORDER BY number ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next
    FROM numbered) AS interim LEFT JOIN numbered AS final ON final.number = interim.next
    WHERE NOT interim.is_final AND ((same_start AND interim.start_ms IS NOT NULL) OR (final.number IS NOT NULL
    AND coalesce(interim.start_ms < final.end_ms AND final.start_ms < interim.end_ms, true)))"""


# -- What came, and was fetched as well ------------------------------------------------------------------

# What may tell again what another match told: of each of these, the line tells.
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

_SAME: Final = "PARTITION BY channel, owner, start_ms, end_ms, told"


def repeated() -> str:
    """Make the table `repeated (position)` of the matches that tell again what one before them told.

    Among lines of one identity they are all but the first, if one of them was fetched later.
    """
    return f"""CREATE TEMP TABLE repeated AS SELECT position FROM (
    SELECT position, bool_or(backfilled) OVER ({_SAME}) AS is_fetched,
        row_number() OVER ({_SAME} ORDER BY time_ms NULLS FIRST, position) AS place
    FROM ({identities("suspects")})) WHERE is_fetched AND place > 1"""


def answer(filters: Filters, *, hiding: bool, sparing: bool) -> str:
    """Make the table `answer (position, length, time_ms, line)`, in order; no line where there is a length.

    It is without replaced interim transcripts if `hiding`, and without what is `repeated` if `sparing`.
    """
    shown = "matched AND position NOT IN (SELECT position FROM repeated)" if sparing else "matched"
    if hiding:
        shown += f""" AND (NOT transcript OR is_final OR position NOT IN (
            WITH numbered AS MATERIALIZED (
                SELECT *, row_number() OVER (ORDER BY time_ms NULLS FIRST, position) AS number FROM events
                WHERE transcript AND within AND (is_final OR matched))
            {_REPLACED}))"""
    newest = ""
    if filters.limit is not None or filters.offset:
        limit = "ALL" if filters.limit is None else f"{filters.limit:d}"
        newest = f"{_NEWEST_FIRST} LIMIT {limit} OFFSET {filters.offset:d}"
    order = _NEWEST_FIRST if filters.newest_first else "ORDER BY time_ms NULLS FIRST, position"
    return f"""CREATE TEMP TABLE answer AS SELECT position, length, time_ms, line
        FROM (SELECT position, length, time_ms FROM events WHERE {shown} {newest})
        LEFT JOIN (SELECT rowid + {UNSEALED} AS position, line FROM candidates) USING (position) {order}"""


_NEWEST_FIRST: Final = "ORDER BY time_ms DESC NULLS LAST, position DESC"


# -- What happened around that ---------------------------------------------------------------------------


def context(filters: Filters) -> Filters:
    """Return what is asked for the second time: all that there is, by when it happened."""
    return Filters(by_event=True, interim=filters.interim, newest_first=filters.newest_first)


def spans(filters: Filters) -> list[str]:
    """Make the table `spans (place, first, last)` of times around the answer, merged where they meet.

    What the tables of the steps held is gone then.
    """
    begin, end = "coalesce(start_ms, time_ms)", "greatest(coalesce(start_ms, time_ms), end_ms)"
    order = "ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND"
    return [
        f"""CREATE TEMP TABLE spans AS WITH
            around AS (SELECT {begin} - {filters.around_ms:d} AS first, {end} + {filters.around_ms:d} AS last
                FROM events WHERE position IN (SELECT position FROM answer) AND {begin} IS NOT NULL),
            reaching AS (SELECT *, max(last) OVER ({order} 1 PRECEDING) AS reach FROM around),
            numbered AS (SELECT *, count(CASE WHEN reach >= first THEN NULL ELSE 1 END)
                OVER ({order} CURRENT ROW) AS place FROM reaching)
            SELECT place, min(first) AS first, max(last) AS last FROM numbered GROUP BY place""",
        *FORGET,
    ]


FORGET_SHOWN: Final = (
    *(f"DROP TABLE IF EXISTS {table}" for table in ("answer", "suspects", "repeated")),
    # The final ones that were looked up for interim ones: they may match, and are not added again.
    "DELETE FROM events WHERE NOT matched AND length IS NOT NULL",
)
"""The end of what step 3 made."""

FORGET: Final = (*FORGET_SHOWN, "DROP TABLE candidates", "DROP TABLE events")
"""The end of what the steps made."""

SPANS: Final = "SELECT first, last FROM spans"

# An event is in each span that it overlaps, and is shown in the first of them.
PLACED: Final = (
    """CREATE TEMP TABLE placed AS SELECT position, min(place) AS place FROM events JOIN spans
        ON time_ms <= last AND greatest(time_ms, end_ms) >= first WHERE matched GROUP BY position""",
    "UPDATE events SET matched = false WHERE position NOT IN (SELECT position FROM placed)",
)

# The rows of the answer at which the events of another span begin.
BREAKS: Final = """SELECT row FROM (
    SELECT answer.rowid AS row, place, lag(place) OVER (ORDER BY answer.rowid) AS before
    FROM answer JOIN placed USING (position)) WHERE place <> before"""


# -- Questions to the tables -----------------------------------------------------------------------------

# How many of the matches are interim, and could be hidden.
INTERIMS: Final = "SELECT count(*) FROM events WHERE matched AND transcript AND NOT is_final"

# Of the interim ones of each stream when they came, and when they began; whether each has a time.
INTERIM_ONES: Final = """SELECT stream, CASE WHEN count(time_ms) > 0 THEN [min(time_ms), max(time_ms)] END,
    CASE WHEN count(start_ms) > 0 THEN [min(start_ms), max(start_ms)] END, count(time_ms) = count(*)
    FROM events WHERE matched AND transcript AND NOT is_final GROUP BY stream"""

# When the matches began, and those that were fetched; whether some are about sessions, and fetched.
MATCHED: Final = """SELECT CASE WHEN count(start_ms) > 0 THEN [min(start_ms), max(start_ms)] END,
    CASE WHEN count(start_ms) FILTER (fetched) > 0
        THEN [min(start_ms) FILTER (fetched), max(start_ms) FILTER (fetched)] END,
    coalesce(bool_or(channel = 'capture_session'), false),
    coalesce(bool_or(channel = 'capture_session' AND fetched), false) FROM events WHERE matched"""

# How many of the matches were fetched, and may have come before.
FETCHED_ONES: Final = "SELECT count(*) FROM events WHERE matched AND fetched"

# What the recorder says of itself, in the file's order. A look into lines here would be one into all of them.
OURS: Final = f"""SELECT line FROM candidates
    WHERE rowid + {UNSEALED} IN (SELECT position FROM events WHERE ours) ORDER BY rowid"""

SKIPPED: Final = """SELECT (SELECT count(*) FROM events WHERE NOT readable),
    (SELECT count(DISTINCT line) FROM reject_errors)"""

SPAN: Final = f"""SELECT count(*), min(time_ms), max(time_ms), min(coalesce(time_ms, {LEAST_MS - 1}))
    FROM answer"""

# A table is read in the order in which it was made.
LINES: Final = "SELECT position, length, line, time_ms FROM answer"

TIMES: Final = "SELECT time_ms FROM answer"

# Where the sealed events of the answer are.
SEALED_ONES: Final = "SELECT position FROM answer WHERE length IS NOT NULL ORDER BY position"


def rows(columns: Collection[str], tables: Sequence[str], first: int = 0, last: int | None = None) -> str:
    """Return a SELECT of the answer's rows from `first` to `last` as `Event`s, NULL but for `columns`.

    `tables` are the files in which sealed events of the answer are.
    """
    names = [name for name in Event._fields if name in columns and name != "host"]
    until = "" if last is None else f" AND rowid <= {last:d}"
    asked = f"(SELECT rowid AS row, * FROM answer WHERE rowid >= {first:d}{until})"
    needed = [name for name in COLUMNS if name in names or ("line" in names and name in {"text", "label"})]
    lines = folded(f"(FROM {asked} WHERE length IS NULL)", needed, "row", "line")
    read = ", ".join(f"{LINE} AS line" if name == "line" else name for name in names)
    sql = f"SELECT row, {read} FROM ({lines})"
    if tables:
        sealed = ", ".join(f"sealed.{name}" for name in names)
        sql += f""" UNION ALL SELECT row, {sealed} FROM {asked} AS shown
            JOIN read_parquet({listed(tables)}) AS sealed USING (position) WHERE shown.length IS NOT NULL"""
    shown = ", ".join(name if name in names else "NULL" for name in Event._fields)
    return f"SELECT {shown} FROM ({sql}) ORDER BY row"


# Folding holds a line several times over, for many lines at once: the rows of large ones are folded alone.
LARGE: Final = "SELECT rowid FROM answer WHERE strlen(line) > 1000000 ORDER BY rowid"
