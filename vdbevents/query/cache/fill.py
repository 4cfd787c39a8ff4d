"""Fill the tables of a segment, or of what is not sealed yet, from its lines."""

from typing import TYPE_CHECKING, Final

from vdbevents.query.cache import schema
from vdbevents.query.mended_lines import mended_line
from vdbevents.query.occurring import EVERYTHING, Occurring

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# To look at so many lines here takes less time than to plan SQL that takes any line.
_FEW: Final = 2000
_FEW_BYTES: Final = 1 << 20


def fill(connection: "DuckDBPyConnection") -> None:
    """Create the table `sealed`, and those beside it, from the table `lines` of `schema.lines_of`."""
    for sql in schema.FILL:
        connection.execute(sql)
    [(count, size)] = connection.execute(schema.UNUSUAL_SIZE).fetchall()
    are_few = count <= _FEW and size <= _FEW_BYTES
    lines = connection.execute(schema.UNUSUAL_LINES if are_few else schema.TO_MEND).fetchall()
    mended = {position: new for position, line in lines if (new := mended_line(line)) is not None}
    if mended:
        connection.execute(schema.MEND, [list(mended), list(mended.values())])
    found = Occurring(mended.get(position, line) for position, line in lines) if are_few else EVERYTHING
    for sql in schema.fold(found):
        connection.execute(sql)
