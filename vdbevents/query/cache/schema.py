"""The SQL that folds a segment's lines for the cache. Pure.

It takes some time to build, so it is imported only for sealing and for the user's SQL.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names

from collections.abc import Sequence
from typing import Final

from vdbevents.query.alike import looks
from vdbevents.query.cache.lane_minutes import minutes_of
from vdbevents.query.cache.sealed_counts import MOST_OPEN
from vdbevents.query.columns import COLUMNS, FETCHED, SOURCE, Reading, folded, folded_usual, usual
from vdbevents.query.lax_json import LAX
from vdbevents.query.lines import GAP, LINE, SEARCHED, SHOWN_LINE, Statement, lines_of_file
from vdbevents.query.mended_lines import MAY_DIFFER
from vdbevents.query.occurring import Occurring
from vdbevents.query.statements import REPLACED


def lines_of(paths: Sequence[str], start: int, longest: int) -> Statement:
    """Return a SELECT of the lines in files with a journal's bytes from `start` on, but for empty ones.

    Its columns are line, length, position, and of some lines in each DuckDB vector (2,048 lines) `beginning`.
    """
    before = "sum(coalesce(strlen(line), 0) + 1) OVER (ROWS UNBOUNDED PRECEDING)"
    sql = f"""SELECT line, length, {start - 1:d} + before::BIGINT - length AS position,
        CASE WHEN number % 512 = 1 THEN left(line, 100) END AS beginning FROM (
            SELECT line, strlen(line) AS length, {before} AS before, row_number() OVER () AS number
            FROM {lines_of_file(longest)}) WHERE line IS NOT NULL"""
    return Statement(sql, [list(paths)])


_ALL: Final = tuple(name for name in COLUMNS if name != "source")
_OTHERS: Final = ("position", "length")

_FROM_LINES: Final = "FROM lines_of_files"
_USUAL: Final = usual(f"(SELECT * {_FROM_LINES})")
_UNUSUAL_LINE: Final = "CASE WHEN NOT is_usual THEN line END AS line"
_LOOKS: Final = f"{looks('text')} AS looks"

# Unusual lines are folded wrongly here, and replaced later: to filter them first would cost more.
_FILL: Final = folded_usual(f"({_USUAL})", _ALL, *_OTHERS, "fetched", _UNUSUAL_LINE, _LOOKS, "beginning")


def fill_usual(lines: Statement) -> Statement:
    """Create the table `sealed`, with the lines that are unusual, from what `lines_of` returns."""
    filling = _FILL.replace(_FROM_LINES, f"FROM ({lines.sql})")
    return Statement(f"CREATE TEMP TABLE sealed AS {filling}", lines.values)


def placed(table: str) -> str:
    """Return a SELECT of where a table's last line ends, and of the beginnings of some lines."""
    return f"""SELECT max(position + length),
        coalesce(list({{'position': position, 'beginning': beginning}}) FILTER (beginning IS NOT NULL), [])
        FROM {table}"""


UNUSUAL: Final = (
    "CREATE TEMP TABLE lines AS SELECT position, length, line FROM sealed WHERE line IS NOT NULL",
    "DELETE FROM sealed WHERE line IS NOT NULL",
)
"""Move the unusual lines from `sealed` to `lines`."""

LINES_SIZE: Final = "SELECT count(line), coalesce(sum(strlen(line)), 0) FROM lines"
"""How many these are, and their bytes."""

LINES: Final = "SELECT position, line FROM lines"

TO_MEND: Final = f"{LINES} WHERE {MAY_DIFFER}"
"""Those that DuckDB may not read as others do."""

MEND: Final = """UPDATE lines SET line = mended.line
    FROM (SELECT unnest(?::BIGINT[]) AS position, unnest(?::VARCHAR[]) AS line) AS mended
    WHERE lines.position = mended.position"""
"""Replace some of them by others, of the same meaning to most readers."""


def fold(found: Occurring, *, is_filled: bool) -> list[str]:
    """Complete the table `sealed` that queries read, or create it: the columns of `Event`, and more.

    Args:
        found: what may occur in `lines`.
        is_filled: whether there is one with the usual lines.
    """
    others = (*_OTHERS, f"{FETCHED} AS fetched", "line", "readable")
    folding = folded("lines", _ALL, *others, reading=Reading(found))
    if found.may_be_lax:
        folding = f"SELECT * REPLACE (readable AND NOT {LAX} AS readable) FROM ({folding})"
    into = "INSERT INTO sealed BY NAME" if is_filled else "CREATE TEMP TABLE sealed AS"
    return [
        f"CREATE TEMP TABLE folded AS {folding}",
        f"""{into} SELECT * EXCLUDE (line, readable), {LINE} AS line, {_LOOKS} FROM folded WHERE readable""",
        # There are few streams: look up the source once for each.
        f"""CREATE TEMP TABLE sources AS SELECT *, {SOURCE} AS source FROM (
            SELECT DISTINCT stream AS given_stream, stream_name AS given_stream_name FROM sealed)""",
    ]


_UNREADABLE: Final = r"NOT readable AND regexp_matches(line, '\S')"

SKIPPED: Final = f"""SELECT (SELECT count(*) FROM folded WHERE {_UNREADABLE}),
    (SELECT count(DISTINCT line) FROM reject_errors)"""
"""The number of lines that could not be read."""

UNREADABLE: Final = f"""SELECT count(*),
    coalesce(list([position, length] ORDER BY position) FILTER (line LIKE '{{%}}'), [])
    FROM folded WHERE {_UNREADABLE}"""
"""How many lines could not be read, and where those in braces are, which a search does not always select."""

_IS_GAP: Final = f"channel = 'vdbevents' AND {GAP}"

OURS: Final = f"SELECT line FROM folded WHERE readable AND {_IS_GAP} ORDER BY position"

# Those that may list the streams of a session; of others that name one it is enough when they came.
_IS_OF_SESSION: Final = """session IS NOT NULL AND (channel IN ('capture_session', 'vdbevents')
    OR contains(line, 'treams"') OR contains(line, 'channels"'))"""
OWN_LINES: Final = f"""SELECT line, is_gap, is_of_session FROM (
    SELECT position, line, coalesce({_IS_GAP}, false) AS is_gap,
    coalesce({_IS_OF_SESSION}, false) AS is_of_session FROM folded WHERE readable)
    WHERE is_gap OR is_of_session ORDER BY position"""
"""The lines about gaps, and about sessions, and which of these each is."""

SESSIONS_BESIDE: Final = """SELECT session, min(time_ms), max(time_ms) FROM folded
    WHERE readable AND session IS NOT NULL GROUP BY session ORDER BY min(position)"""

_SPANS: Final = ", ".join(
    f"CASE WHEN first_{name} IS NOT NULL THEN [first_{name}, last_{name}] END AS {name}"
    for name in ("received", "happened", "starts")
)
FEW_EDGES: Final = 64
"""So many times are compared one by one; more are joined."""


def tally(edges: Sequence[int]) -> str:
    """Create `tally`: counts and times by session, stream, speaker, channel, whether it is final, and part.

    Each part ends where a session may begin or end: at `edges`, in Unix ms, in order.
    """
    part = " + ".join(["0", *(f"coalesce(happened >= {edge:d}, false)::INTEGER" for edge in edges)])
    beside = ""
    if len(edges) > FEW_EDGES:
        listed = ", ".join(map(str, edges))
        part = "coalesce(edge, 0)"
        beside = f"ASOF LEFT JOIN (SELECT unnest([{listed}]) AS edge) ON happened >= edge"
    # As `ORDER BY time_ms NULLS LAST, position` has it.
    place = f"coalesce(time_ms, {1 << 62})::HUGEINT * {1 << 64} + position"
    return f"""CREATE TEMP TABLE tally AS SELECT session, stream, speaking, channel, is_final, {part} AS part,
        count(*) AS number, count(time_ms) AS timed,
        min(time_ms) AS first_received, max(time_ms) AS last_received,
        min(happened) AS first_happened, max(happened) AS last_happened,
        min(start_ms) AS first_starts, max(start_ms) AS last_starts,
        max(greatest(happened, end_ms)) AS ended, bool_or(fetched) AS fetched,
        min(place) AS place, arg_min([start_ms, end_ms], place) AS earliest
        FROM (SELECT session, stream, channel, time_ms, start_ms, end_ms, fetched,
            coalesce(start_ms, time_ms) AS happened,
            CASE WHEN channel = 'transcript' THEN coalesce(stream, stream_name) END AS speaking,
            CASE WHEN channel = 'transcript' THEN is_final END AS is_final,
            CASE WHEN channel = 'transcript' AND is_final THEN {place} END AS place FROM sealed)
        {beside} GROUP BY ALL"""


ENTRY: Final = f"""SELECT {_SPANS}, ended, has_fetched, has_lifecycle, untimed FROM (SELECT
    min(first_received) AS first_received, max(last_received) AS last_received,
    min(first_happened) AS first_happened, max(last_happened) AS last_happened,
    min(first_starts) AS first_starts, max(last_starts) AS last_starts, max(ended) AS ended,
    coalesce(bool_or(fetched), false) AS has_fetched,
    coalesce(bool_or(channel = 'capture_session'), false) AS has_lifecycle,
    (coalesce(sum(number), 0) - coalesce(sum(timed), 0))::BIGINT AS untimed FROM tally)"""
"""What the manifest has of all events."""

CHANNELS: Final = """SELECT coalesce(channel, 'unknown') AS kind, sum(number)::BIGINT,
    min(first_received), max(last_received) FROM tally GROUP BY kind ORDER BY kind"""
"""The rows of `sealed_counts.ChannelCount`."""

IS_IN_ORDER: Final = """SELECT coalesce(bool_and(time_ms IS NOT NULL AND fetched IS NOT TRUE
    AND (before IS NULL OR before <= time_ms)) AND sum(length + 1) = ?, false)
    FROM (SELECT *, lag(time_ms) OVER (ORDER BY position) AS before FROM sealed)"""
"""Whether all events are in order and none was backfilled, and with line ends have so many bytes."""

MOST_TALLIED: Final = 20_000
TALLIED: Final = f"""SELECT session, stream, speaking, channel, is_final, part, number, {_SPANS},
    place, earliest FROM tally LIMIT {MOST_TALLIED + 1}"""
"""The rows of `tally`; more than so many are not of use."""

_SPOKEN: Final = """SELECT *, coalesce(stream, stream_name) AS speaking FROM sealed
    WHERE channel = 'transcript' AND is_final IS NOT NULL"""

INTERIMS_LEFT: Final = f"""WITH spoken AS MATERIALIZED ({_SPOKEN}), numbered AS MATERIALIZED (
    SELECT position, speaking AS stream, start_ms, end_ms, is_final,
        row_number() OVER (ORDER BY time_ms NULLS FIRST, position) AS number FROM spoken)
    SELECT session, stream, speaking, time_ms, start_ms, end_ms FROM spoken
    WHERE NOT is_final AND position NOT IN ({REPLACED}) ORDER BY position LIMIT {MOST_OPEN + 1}"""
"""The interim transcripts that no other one of the segment replaced."""

# Words are separated by spaces only. Most events have nothing but a text.
_SAID: Final = ", ".join(f"coalesce({looks(column)}, {column})" for column in SEARCHED if column != "text")
WORDS: Final = f"""SELECT coalesce(string_agg(DISTINCT lower(word), ' '), '') FROM (
    SELECT DISTINCT unnest(string_split(said, ' ')) AS word FROM (
        SELECT CASE WHEN label IS NULL AND speaker IS NULL AND line IS NULL THEN coalesce(looks, text)
        ELSE concat_ws(' ', coalesce(looks, text), {_SAID}) END AS said
        FROM (SELECT *, {SHOWN_LINE} AS shown_line FROM sealed)))"""


_WITH_SOURCES: Final = """sealed JOIN sources ON given_stream IS NOT DISTINCT FROM stream
    AND given_stream_name IS NOT DISTINCT FROM stream_name"""

ROWS: Final = f"""SELECT position, length, {", ".join(_ALL)}, source, fetched, line, looks
    FROM {_WITH_SOURCES}"""
"""The rows of `sealed`, with their sources, and their texts as they are compared where that differs."""


MINUTES: Final = f"""SELECT kind, name, list(minute ORDER BY minute), list(number ORDER BY minute) FROM (
    {minutes_of(f"(SELECT * FROM {_WITH_SOURCES})")}) GROUP BY ALL ORDER BY ALL"""
"""Its events by lanes and minutes, as `LaneMinutes` has them."""


def write_rows(path: str) -> Statement:
    """Write the table `sealed` to a Parquet file."""
    # Texts are rarely equal: to search for equal ones takes longer than to write them.
    options = "PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1000, COMPRESSION zstd, COMPRESSION_LEVEL 1"
    return Statement(f"COPY ({ROWS}) TO ? (FORMAT parquet, {options})", [path])
