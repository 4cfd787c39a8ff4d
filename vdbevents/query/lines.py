"""The lines of a journal as a table in SQL. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple


class Statement(NamedTuple):
    """An SQL statement and the values for its `?`."""

    sql: str
    values: list[object]


# -- Step 1: the lines that may belong to the answer -----------------------------------------------------

# One column of whole lines. Without a delimiter or a quote nothing in a line is touched; a line that is no
# UTF-8 is set aside in `reject_errors`. What exceeds the limit can be lost in silence. A name that ends in
# `.gz` would have DuckDB unpack what may be none: `query.archive` looks into the file.
_LINES: Final = """read_csv(?, delim = '', quote = '', escape = '', comment = '', header = false,
    columns = {'line': 'VARCHAR'}, auto_detect = false, strict_mode = false, ignore_errors = true,
    store_rejects = true, hive_partitioning = false, compression = 'none',
    max_line_size = {limit}, buffer_size = {buffer})"""


def lines_of_file(longest: int) -> str:
    """Return SQL for the lines (`line`) of a file (`?`), of which none has more than `longest` bytes."""
    # A short limit lets DuckDB cut the file into more parts, and read them in parallel.
    limit = max(longest, 1 << 21)
    return _LINES.replace("{limit}", str(limit)).replace("{buffer}", str(max(limit, 1 << 25)))


GAP: Final = "contains(line, '.gap\"')"
"""What a line that tells of a gap holds: the first four bytes are found faster than the whole."""


MOMENT_COLUMNS: Final = {"time_ms": "time", "start_ms": "started", "end_ms": "ended"}


def named_as(column: str) -> str:
    """Return what SQL that a person writes, and Python, knows a column of `Event` as."""
    return MOMENT_COLUMNS.get(column, column)


def moment(milliseconds: str) -> str:
    """Return SQL for the time of a column of Unix ms, with its zone: else it would be taken for local."""
    return f"make_timestamptz({milliseconds} * 1000)"


NAMES: Final = {
    **{name: moment(column) for column, name in MOMENT_COLUMNS.items()},
    "backfilled": "fetched",
}
"""What SQL that a person writes knows some columns as."""


CONDITION_COLUMNS: Final = {
    **dict.fromkeys(("time", "started", "ended"), "TIMESTAMPTZ"),
    **dict.fromkeys(("channel", "event", "source", "stream", "stream_name", "session"), "VARCHAR"),
    **dict.fromkeys(("text", "label", "speaker"), "VARCHAR"),
    **dict.fromkeys(("is_final", "backfilled"), "BOOLEAN"),
    "confidence": "DOUBLE",
}
"""The columns that a condition in SQL may name, and their types."""

# Nobody needs the line of what was understood.
LINE: Final = "CASE WHEN text IS NULL AND coalesce(label, '') = '' THEN line END"


def listed(texts: Iterable[str]) -> str:
    """Return texts of ours as a list in SQL."""
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"
