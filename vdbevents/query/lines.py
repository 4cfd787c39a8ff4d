"""Read the lines of a journal in SQL. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple


class Statement(NamedTuple):
    """An SQL statement and the values for its `?`."""

    sql: str
    values: list[object]


# One column of whole lines. Without a delimiter or a quote, a line stays as it is; one that is not UTF-8 goes
# to `reject_errors`. A line above the limit can be lost without an error. `compression` is set because a name
# in `.gz` proves nothing: `query.decompress` looks into the file. Without `new_line`, DuckDB would guess from
# the first line; with it, a line ends at any \n or \r, as in a sealed segment.
_LINES: Final = """read_csv(?, delim = '', quote = '', escape = '', comment = '', header = false,
    columns = {'line': 'VARCHAR'}, auto_detect = false, strict_mode = false, ignore_errors = true,
    store_rejects = true, hive_partitioning = false, compression = 'none', new_line = '\\n',
    max_line_size = {limit}, buffer_size = {buffer})"""


def lines_of_file(longest: int) -> str:
    """Return SQL for the lines (`line`) of a file (`?`), none of which has more than `longest` bytes."""
    # A low limit lets DuckDB split the file into more parts, and read them in parallel.
    limit = max(longest, 1 << 21)
    return _LINES.replace("{limit}", str(limit)).replace("{buffer}", str(max(limit, 1 << 25)))


GAP: Final = " OR ".join(f"contains(line, '.{name}\"')" for name in ("gap", "paused", "resumed")).join("()")
"""Whether a line may be about a gap: a short text is found faster than the whole name."""


MOMENT_COLUMNS: Final = {"time_ms": "time", "start_ms": "started", "end_ms": "ended"}


def named_as(column: str) -> str:
    """Return the name of an `Event` column in the user's SQL and in Python."""
    return {**MOMENT_COLUMNS, "window_name": "window"}.get(column, column)


def moment(milliseconds: str) -> str:
    """Return SQL for the time of a column of Unix ms; with a zone, or it would count as local."""
    return f"make_timestamptz({milliseconds} * 1000)"


NAMES: Final = {
    **{name: moment(column) for column, name in MOMENT_COLUMNS.items()},
    "backfilled": "fetched",
    "window": "window_name",  # in DuckDB's SQL, `window` must be quoted
}
"""SQL for the columns that have another name in the user's SQL."""


CONDITION_COLUMNS: Final = {
    **dict.fromkeys(("time", "started", "ended"), "TIMESTAMPTZ"),
    **dict.fromkeys(("channel", "event", "source", "stream", "stream_name", "session"), "VARCHAR"),
    **dict.fromkeys(("text", "label", "speaker", "window"), "VARCHAR"),
    **dict.fromkeys(("is_final", "backfilled"), "BOOLEAN"),
    "confidence": "DOUBLE",
}
"""The columns of a user's SQL condition, and their types."""


COLUMN_LIST: Final = ", ".join(CONDITION_COLUMNS).replace("window", '"window"')
"""The same columns as a condition has to name them: `window` has a meaning in SQL."""

# The line is needed only for an event without a text and a label.
LINE: Final = "CASE WHEN text IS NULL AND coalesce(label, '') = '' THEN line END"

SHOWN_LINE: Final = rf"""regexp_replace({LINE},
    '^\s*\{{\s*"ts"\s*:\s*"[^"]*"\s*,\s*"unix_ts"\s*:\s*[^,{{}}]*,?\s*', '{{')"""
"""SQL for such a line as `query.output.rows.description` shows it: without the recorder's own two members."""

SEARCHED: Final = ("text", "label", "speaker", "shown_line")
"""The columns in which texts are searched for: what is shown of an event."""


def quoted(text: str) -> str:
    """Format a text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def listed(texts: Iterable[str]) -> str:
    """Format texts as a SQL list literal."""
    return "[" + ", ".join(map(quoted, texts)) + "]"
