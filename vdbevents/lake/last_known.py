"""Find out what a lake has of a recording whose last shipped line is not there any more.

A journal that was rewritten (pruned, forgotten, redacted) or restored from a backup still has its lines
in their order. So all lines up to the last one that the lake has, too, are shipped. A line is known by its
time, its stream and its own times, which a redaction does not change. One without a time is known by itself,
and only beside a known one: another recording of the same host may have such a line, too.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from vdbevents.query.lines import quoted

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from duckdb import DuckDBPyConnection

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def has_rows(table: "DeltaTable", host: str) -> bool:
    """Return whether a lake has lines of a host, of whatever recording."""
    return bool(rows_of(table, f"SELECT position FROM ev WHERE host = {quoted(host)} LIMIT 1"))  # noqa: S608


def known_until(table: "DeltaTable", host: str, connection: "DuckDBPyConnection") -> int | None:
    """Return where the last of some lines begins that a lake has; None if it has none of them.

    Args:
        table: the lake's.
        host: their host.
        connection: with the lines in a table `rows` (`lake_rows.ROWS`).
    """
    from vdbevents.query.duck import execute

    [(first, last, untimed)] = execute(
        connection, "SELECT min(epoch_us(time)), max(epoch_us(time)), count(*) > count(time) FROM rows"
    ).fetchall()
    times = [] if first is None else [_between(first, last)]
    times += ["time IS NULL"] if untimed else []
    if not times:
        return None
    sql = f"""SELECT {_key("arrow_cast({}, 'Int64')")} FROM ev
        WHERE host = {quoted(host)} AND ({" OR ".join(times)})"""  # noqa: S608
    there = Counter(rows_of(table, sql))
    known = before = None
    lines = execute(connection, f"SELECT position, {_key('epoch_us({})')} FROM rows ORDER BY position")  # noqa: S608
    for position, *key in lines.fetchall():
        is_timed = key[0] is not None
        if there[tuple(key)] > 0 and (is_timed or (known is not None and known == before)):
            there[tuple(key)] -= 1
            known = position
        before = position
    return known


def _key(microseconds: str) -> str:
    """Return SQL for what a line is known by; `microseconds` is SQL for the number of a time."""
    times = [microseconds.format(name) for name in ("time", "started", "ended")]
    return ", ".join([*times, "channel", "stream", "CASE WHEN time IS NULL THEN line END"])


def _between(first: int, last: int) -> str:
    """Return a condition on times, and on dates so that the files of others are not read."""
    days = [str((_EPOCH + timedelta(microseconds=moment)).date()) for moment in (first, last)]
    return f"""(date BETWEEN DATE '{days[0]}' AND DATE '{days[1]}'
        AND time BETWEEN to_timestamp_micros({first:d}) AND to_timestamp_micros({last:d}))"""


def rows_of(table: "DeltaTable", sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT over the table, which it calls `ev`.

    Raises:
        DeltaError: a file cannot be read, or the SELECT fails.
    """
    from deltalake import QueryBuilder
    from deltalake.exceptions import DeltaError

    try:
        found = QueryBuilder().register("ev", table).execute(sql).read_all()
    except Exception as error:
        # deltalake 1.6.6 has no class for what reading a file raises.
        if type(error) is Exception:
            raise DeltaError(str(error)) from error
        raise
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))
