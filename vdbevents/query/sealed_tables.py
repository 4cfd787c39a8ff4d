"""The SQL that reads sealed segments, and which of them, and of their events, a search is about. Pure."""

# ruff: noqa: S608 - the SQL consists of constants and our own names

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vdbevents.query.lines import listed

if TYPE_CHECKING:
    from vdbevents.query.cache.index import Segment, Span


class SealedTable(NamedTuple):
    """A segment's Parquet file.

    Attributes:
        path: as a DuckDB glob.
        name: as it is.
        base: what to add to its positions, to count them through all journals.
        rows: SQL for its rows, if they are not all of the file; it is the only table then.
    """

    path: str
    name: str
    base: int
    rows: str = ""


def read_sealed(tables: Sequence[SealedTable]) -> str:
    """Return SQL for the rows of segments."""
    if tables[0].rows:
        return tables[0].rows
    paths = listed(table.path for table in tables)
    bases = {table.base for table in tables}
    if bases <= {0}:
        return f"read_parquet({paths})"
    if len(bases) == 1:
        return f"(SELECT * REPLACE (position + {bases.pop():d} AS position) FROM read_parquet({paths}))"
    names = listed(table.name for table in tables)
    return f"""(SELECT * EXCLUDE (filename, base) REPLACE (position + base AS position)
        FROM read_parquet({paths}, filename = true)
        JOIN (SELECT unnest({names}) AS filename, unnest({[table.base for table in tables]}) AS base)
        USING (filename))"""


class Portion(NamedTuple):
    """A portion of all matches, to be found by itself.

    Attributes:
        places: the matches are at these, the second excluded.
        opened: where the segments begin that are searched: those with matches, and those that may have what
            replaced them.
        segments: all that are sealed; if these are others now, the portion means nothing.
    """

    places: "Span"
    opened: frozenset[int]
    segments: "Sequence[Segment]"
