"""The SQL that folds a segment's lines for the cache. Pure.

It takes some time to build, so it is imported only for sealing and for the user's SQL.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

from collections.abc import Sequence
from typing import Final

from vdbevents.query.alike import looks
from vdbevents.query.cache.sealed_counts import MOST_GROUPS, MOST_OPEN
from vdbevents.query.columns import COLUMNS, FETCHED, SOURCE, Reading, folded, folded_usual, usual
from vdbevents.query.lax_json import LAX
from vdbevents.query.lines import GAP, LINE, SEARCHED, SHOWN_LINE, Statement, lines_of_file
from vdbevents.query.mended_lines import MAY_DIFFER
from vdbevents.query.occurring import Occurring
from vdbevents.query.session_tables import RECORDER
from vdbevents.query.statements import REPLACED


def lines_of(paths: Sequence[str], start: int, longest: int) -> Statement:
    """Create `lines (line, position, length)` from files with a journal's bytes from `start` on."""
    before = "sum(coalesce(strlen(line), 0) + 1) OVER (ROWS UNBOUNDED PRECEDING)"
    sql = f"""CREATE TEMP TABLE lines AS
        SELECT line, length, {start - 1:d} + before::BIGINT - length AS position FROM (
            SELECT line, coalesce(strlen(line), 0) AS length, {before} AS before
            FROM {lines_of_file(longest)})"""
    return Statement(sql, [list(paths)])


# The size of the lines in bytes, with their ends.
LINES_BYTES: Final = "SELECT coalesce(sum(length + 1), 0)::BIGINT FROM lines"

# The beginnings of some lines of each DuckDB vector (2,048 lines).
LINES_SAMPLE: Final = """SELECT position, left(line, 100) FROM lines
    WHERE line IS NOT NULL AND rowid % 512 = 0 ORDER BY position"""

_ALL: Final = tuple(name for name in COLUMNS if name != "source")
_OTHERS: Final = ("position", "length")

_USUAL: Final = usual("(SELECT * FROM lines WHERE line IS NOT NULL)")
_UNUSUAL: Final = "(SELECT position, length, line FROM sealed WHERE line IS NOT NULL)"
_UNUSUAL_LINE: Final = "CASE WHEN NOT is_usual THEN line END AS line"

FILL: Final = (
    # Unusual lines are folded wrongly here, and replaced below: to filter them first would cost more.
    f"CREATE TEMP TABLE sealed AS {folded_usual(f'({_USUAL})', _ALL, *_OTHERS, 'fetched', _UNUSUAL_LINE)}",
    "DROP TABLE lines",
)
"""Create from `lines` the table `sealed`, with the lines that are unusual."""

UNUSUAL_SIZE: Final = "SELECT count(line), coalesce(sum(strlen(line)), 0) FROM sealed"
"""How many these are, and their bytes."""

UNUSUAL_LINES: Final = "SELECT position, line FROM sealed WHERE line IS NOT NULL"

TO_MEND: Final = f"{UNUSUAL_LINES} AND {MAY_DIFFER}"
"""Those that DuckDB may not read as others do."""

MEND: Final = """UPDATE sealed SET line = mended.line
    FROM (SELECT unnest(?::BIGINT[]) AS position, unnest(?::VARCHAR[]) AS line) AS mended
    WHERE sealed.position = mended.position"""
"""Replace some of them by others, of the same meaning to most readers."""


def fold(found: Occurring) -> list[str]:
    """Complete the table `sealed` that queries read: the columns of `Event`, and more.

    `found` is what may occur in its unusual lines.
    """
    others = (*_OTHERS, f"{FETCHED} AS fetched", "line", "readable")
    folding = folded(_UNUSUAL, _ALL, *others, reading=Reading(found))
    return [
        f"CREATE TEMP TABLE folded AS {folding}",
        f"UPDATE folded SET readable = false WHERE readable AND {LAX}",
        "DELETE FROM sealed WHERE line IS NOT NULL",
        f"""INSERT INTO sealed BY NAME
            SELECT * EXCLUDE (line, readable), {LINE} AS line FROM folded WHERE readable""",
        # There are few streams: look up the source once for each.
        f"""CREATE TEMP TABLE sources AS SELECT *, {SOURCE} AS source FROM (
            SELECT DISTINCT stream AS given_stream, stream_name AS given_stream_name FROM sealed)""",
    ]


UNREADABLE: Final = r"SELECT count(*) FROM folded WHERE NOT readable AND regexp_matches(line, '\S')"

SKIPPED: Final = f"SELECT ({UNREADABLE}), (SELECT count(DISTINCT line) FROM reject_errors)"
"""The number of lines that could not be read."""

# Unreadable lines in braces: `statements.candidates` does not always select them.
DOUBTFUL: Final = """SELECT position, length FROM folded
    WHERE NOT readable AND line LIKE '{%}' ORDER BY position"""

_SPANS: Final = ", ".join(
    f"CASE WHEN count({moment}) > 0 THEN [min({moment}), max({moment})] END AS {name}"
    for name, moment in (
        ("received", "time_ms"),
        ("happened", "coalesce(start_ms, time_ms)"),
        ("starts", "start_ms"),
    )
)
SPANS: Final = f"""SELECT {_SPANS}, max(greatest(coalesce(start_ms, time_ms), end_ms)),
    coalesce(bool_or(fetched), false), coalesce(bool_or(channel = 'capture_session'), false),
    count(*) - count(time_ms) FROM sealed"""

FINALS: Final = f"""SELECT coalesce(stream, stream_name) AS owner, {_SPANS} FROM sealed
    WHERE channel = 'transcript' AND is_final GROUP BY owner ORDER BY owner"""

OURS: Final = f"""SELECT line FROM folded
    WHERE readable AND channel = 'vdbevents' AND {GAP} ORDER BY position"""

# The lines that may list the streams of a session; of others that name one it is enough when they came.
SESSION_LINES: Final = """SELECT line FROM folded WHERE readable AND session IS NOT NULL
    AND (channel IN ('capture_session', 'vdbevents') OR contains(line, 'treams"')
    OR contains(line, 'channels"')) ORDER BY position"""
SESSIONS_BESIDE: Final = """SELECT session, min(time_ms), max(time_ms) FROM folded
    WHERE readable AND session IS NOT NULL GROUP BY session ORDER BY min(position)"""

# -- What `sealed_counts` stores ---------------------------------------------------------------------------

_SPOKEN: Final = """SELECT *, coalesce(stream, stream_name) AS speaking FROM sealed
    WHERE channel = 'transcript' AND is_final IS NOT NULL"""

REPLACED_HERE: Final = f"""CREATE TEMP TABLE replaced AS WITH numbered AS MATERIALIZED (
    SELECT position, speaking AS stream, start_ms, end_ms, is_final,
        row_number() OVER (ORDER BY time_ms NULLS FIRST, position) AS number FROM ({_SPOKEN}))
    {REPLACED}"""

INTERIMS_LEFT: Final = f"""SELECT session, stream, speaking, time_ms, start_ms, end_ms FROM ({_SPOKEN})
    WHERE NOT is_final AND position NOT IN (FROM replaced) ORDER BY position LIMIT {MOST_OPEN + 1}"""

FIRST_FINALS: Final = f"""SELECT DISTINCT ON (speaking) speaking, start_ms, end_ms FROM ({_SPOKEN})
    WHERE is_final ORDER BY speaking, time_ms NULLS LAST, position"""

INTERIM_STARTS: Final = f"""SELECT speaking, min(start_ms), max(start_ms) FROM ({_SPOKEN})
    WHERE NOT is_final AND start_ms IS NOT NULL GROUP BY speaking ORDER BY speaking"""

# Each part ends where a session may begin or end. (`?`: these times)
GROUPS: Final = f"""SELECT session, stream, channel, count(*), min(happened), max(happened) FROM (
    SELECT session, stream, channel, coalesce(start_ms, time_ms) AS happened FROM sealed
    WHERE coalesce(channel, '') NOT IN {RECORDER!r}
    AND NOT coalesce(channel = 'transcript' AND NOT is_final, false))
    ASOF LEFT JOIN (SELECT unnest(?::BIGINT[]) AS edge) ON happened >= edge
    GROUP BY session, stream, channel, edge ORDER BY session, stream, channel, edge LIMIT {MOST_GROUPS + 1}"""

STREAMS: Final = "SELECT DISTINCT stream FROM sealed WHERE stream IS NOT NULL ORDER BY stream"

# Words are separated by spaces only.
_EACH_WORD: Final = " UNION ".join(
    f"SELECT unnest(string_split(coalesce({looks(column)}, {column}), ' ')) AS word FROM shown"
    for column in SEARCHED
)
WORDS: Final = f"""WITH shown AS (SELECT *, {SHOWN_LINE} AS shown_line FROM sealed)
    SELECT coalesce(string_agg(DISTINCT lower(word), ' '), '') FROM ({_EACH_WORD})"""


ROWS: Final = f"""SELECT position, length, {", ".join(_ALL)}, source, fetched, line,
    {looks("text")} AS looks FROM sealed JOIN sources ON given_stream IS NOT DISTINCT FROM stream
    AND given_stream_name IS NOT DISTINCT FROM stream_name"""
"""The rows of `sealed`, with their sources, and their texts as they are compared where that differs."""


def write_rows(path: str) -> Statement:
    """Write the table `sealed` to a Parquet file."""
    # Texts are rarely equal: to search for equal ones takes longer than to write them.
    return Statement(
        f"COPY ({ROWS}) TO ? (FORMAT parquet, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000)", [path]
    )
