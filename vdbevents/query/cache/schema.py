"""A piece of a journal as it is sealed, in SQL: its lines, and the columns that are kept of them. Pure.

It takes some time to make, so that only who seals, or asks in SQL, imports it.
"""

# ruff: noqa: S608 - the SQL is made here of constants and names of ours

from typing import Final

from vdbevents.query.columns import COLUMNS, FETCHED, SOURCE, folded, folded_usual, usual
from vdbevents.query.lines import GAP, LINE, Statement, lines_of_file


def lines_of(path: str, start: int, longest: int) -> Statement:
    """Make the table `lines (line, position, length)` of a file: a journal's bytes from `start` on."""
    before = "sum(coalesce(strlen(line), 0) + 1) OVER (ROWS UNBOUNDED PRECEDING)"
    sql = f"""CREATE TEMP TABLE lines AS
        SELECT line, length, {start - 1:d} + before::BIGINT - length AS position FROM (
            SELECT line, coalesce(strlen(line), 0) AS length, {before} AS before
            FROM {lines_of_file(longest)})"""
    return Statement(sql, [path])


# How many bytes the lines are, with their ends.
LINES_BYTES: Final = "SELECT coalesce(sum(length + 1), 0)::BIGINT FROM lines"

# The beginnings of some lines of each vector of them (which has 2,048).
LINES_SAMPLE: Final = """SELECT position, left(line, 100) FROM lines
    WHERE line IS NOT NULL AND rowid % 512 = 0 ORDER BY position"""

_ALL: Final = tuple(name for name in COLUMNS if name != "source")
_OTHERS: Final = ("position", "length")

_USUAL: Final = usual("(SELECT * FROM lines WHERE line IS NOT NULL)")
_UNUSUAL: Final = "(SELECT position, length, line FROM sealed WHERE line IS NOT NULL)"
_UNUSUAL_LINE: Final = "CASE WHEN NOT is_usual THEN line END AS line"

FILL: Final = (
    # What is folded of the unusual ones is wrong, and replaced: to sort them out first would be dearer.
    f"CREATE TEMP TABLE sealed AS {folded_usual(f'({_USUAL})', _ALL, *_OTHERS, 'fetched', _UNUSUAL_LINE)}",
    "DROP TABLE lines",
    f"""CREATE TEMP TABLE folded AS
        {folded(_UNUSUAL, _ALL, *_OTHERS, f"{FETCHED} AS fetched", "line", "readable")}""",
    "DELETE FROM sealed WHERE line IS NOT NULL",
    f"""INSERT INTO sealed BY NAME
        SELECT * EXCLUDE (line, readable), {LINE} AS line FROM folded WHERE readable""",
    # There are few streams: whose they are is found once for each.
    f"""CREATE TEMP TABLE sources AS SELECT *, {SOURCE} AS source FROM (
        SELECT DISTINCT stream AS given_stream, stream_name AS given_stream_name FROM sealed)""",
)
"""Make of `lines` the table `sealed` of what is read again for a query: the columns of `Event`, and more."""

UNREADABLE: Final = r"SELECT count(*) FROM folded WHERE NOT readable AND regexp_matches(line, '\S')"

SKIPPED: Final = f"SELECT ({UNREADABLE}), (SELECT count(DISTINCT line) FROM reject_errors)"
"""How many lines could not be read."""
# Those in braces, of which `candidates` does not take all.
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
    coalesce(bool_or(fetched), false), coalesce(bool_or(channel = 'capture_session'), false) FROM sealed"""

FINALS: Final = f"""SELECT coalesce(stream, stream_name) AS owner, {_SPANS} FROM sealed
    WHERE channel = 'transcript' AND is_final GROUP BY owner ORDER BY owner"""

OURS: Final = f"""SELECT line FROM folded
    WHERE readable AND channel = 'vdbevents' AND {GAP} ORDER BY position"""

# Words are what is between spaces, whatever else they hold.
WORDS: Final = """SELECT coalesce(string_agg(DISTINCT lower(word), ' '), '') FROM (
    SELECT unnest(string_split(text, ' ')) AS word FROM sealed
    UNION SELECT unnest(string_split(label, ' ')) FROM sealed)"""


ROWS: Final = f"""SELECT position, length, {", ".join(_ALL)}, source, fetched, line
    FROM sealed JOIN sources ON given_stream IS NOT DISTINCT FROM stream
    AND given_stream_name IS NOT DISTINCT FROM stream_name"""
"""The rows of `sealed`, with their sources."""


def write_rows(path: str) -> Statement:
    """Write the table `sealed` into a file."""
    # Texts are hardly ever the same: to find that out takes longer than to write them.
    return Statement(
        f"COPY ({ROWS}) TO ? (FORMAT parquet, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000)", [path]
    )
