"""Fill the tables of a segment, or of what is not sealed yet, from its lines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdbevents.query.cache import schema
from vdbevents.query.duck import execute
from vdbevents.query.lines import Statement
from vdbevents.query.mended_lines import mended_line
from vdbevents.query.occurring import EVERYTHING, Occurring

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# To look at so many lines here takes less time than to plan SQL that takes any line.
_FEW: Final = 2000
_FEW_BYTES: Final = 1 << 20
SMALL_BYTES: Final = 1 << 18
"""So many bytes, or fewer, are looked at line by line: usual lines are then read as all others."""


class Places(NamedTuple):
    """Where DuckDB found the lines.

    Attributes:
        end: where the last one ends; None if there is none.
        beginnings: of some lines, where they begin and how.
    """

    end: int | None
    beginnings: Sequence[Mapping[str, Any]]


def fill(connection: "DuckDBPyConnection", lines: Statement, size: int) -> Places:
    """Create the table `sealed`, and those beside it, from the lines of `schema.lines_of`.

    Args:
        connection: to DuckDB.
        lines: the SELECT.
        size: the bytes of the files.
    """
    is_filled = size > SMALL_BYTES
    if is_filled:
        statement = schema.fill_usual(lines)
        execute(connection, statement.sql, statement.values)
        places = _places(connection, "sealed")
        for sql in schema.UNUSUAL:
            execute(connection, sql)
    else:
        execute(connection, f"CREATE TEMP TABLE lines AS {lines.sql}", lines.values)
        places = _places(connection, "lines")
    [(count, size)] = execute(connection, schema.LINES_SIZE).fetchall()
    are_few = count <= _FEW and size <= _FEW_BYTES
    unusual = execute(connection, schema.LINES if are_few else schema.TO_MEND).fetchall()
    mended = {position: new for position, line in unusual if (new := mended_line(line)) is not None}
    if mended:
        execute(connection, schema.MEND, [list(mended), list(mended.values())])
    found = Occurring(mended.get(position, line) for position, line in unusual) if are_few else EVERYTHING
    for sql in schema.fold(found, is_filled=is_filled):
        execute(connection, sql)
    return places


def _places(connection: "DuckDBPyConnection", table: str) -> Places:
    [(end, beginnings)] = execute(connection, schema.placed(table)).fetchall()
    return Places(end, beginnings)
