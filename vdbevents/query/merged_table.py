"""Write the matches in several journals as one table, each with its host."""

# ruff: noqa: S608 - the SQL consists of constants and our own names; texts are quoted

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vdbevents.query import scratch
from vdbevents.query.byte_ranges import literal
from vdbevents.query.duck import connect, execute, explained
from vdbevents.query.filters import Filters
from vdbevents.query.lines import CONDITION_COLUMNS, quoted
from vdbevents.query.row_journal import LEAST_MB

if TYPE_CHECKING:
    from vdbevents.query.merge import MergedResult
    from vdbevents.query.search_result import SearchResult


def write_table(found: "MergedResult[SearchResult]", columns: Sequence[str], path: Path) -> None:
    """Write the matches to a Parquet file, in their order.

    Args:
        found: the matches.
        columns: those of the view `found` to write, with `time` and `started`; `host` comes before them.
        path: the file.

    Raises:
        StorageError: there is no room for it.
    """
    none = ", ".join(f'NULL::{CONDITION_COLUMNS[column]} AS "{column}"' for column in columns)
    with (
        scratch.folder("merged") as folder,
        contextlib.closing(connect(str(folder / "spill"), LEAST_MB)) as connection,
        explained(),
    ):
        each = [f"(SELECT NULL::VARCHAR AS host, 0 AS number, {none}, 0 AS file_row_number LIMIT 0)"]
        for number, (host, answer) in enumerate(found.answers):
            if answer.count:
                part = folder / f"{number}.parquet"
                answer.write_parquet(part, columns)
                rows = f"read_parquet({quoted(literal(part))}, file_row_number = true)"
                each.append(f"SELECT {quoted(host)} AS host, {number} AS number, * FROM {rows}")
        execute(
            connection,
            f"""COPY (SELECT * EXCLUDE (number, file_row_number) FROM ({" UNION ALL BY NAME ".join(each)})
            ORDER BY {_order(found.filters)} LIMIT {found.count} OFFSET {found.offset})
            TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)""",
        )


def _order(filters: Filters) -> str:
    """Return the order of a merged result as SQL: an event without a time is older than all others."""
    moment = "coalesce(started, time)" if filters.in_order_of_events else "time"
    if filters.newest_first:
        # Each journal's own rows are in the order of the result.
        return f"{moment} DESC NULLS LAST, number DESC, file_row_number"
    return f"{moment} NULLS FIRST, number, file_row_number"
