"""Select the matching lines of a followed journal, with the SQL of the search."""

import re
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from vdbevents.query import scratch, statements
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.columns import folded
from vdbevents.query.conditions import check_filters
from vdbevents.query.duck import connect, explained, memory_for
from vdbevents.query.filters import Event, Filters
from vdbevents.query.lax_json import LAX
from vdbevents.query.lines import quoted
from vdbevents.query.mended_lines import mended_line

_CONDITION: Final = "the_condition"


class Sieve(Closeable):
    """Select from new lines what `search` would, with the same SQL in one prepared statement.

    It is planned once, as planning takes ten times as long as running it on a few lines. Interim transcripts
    match only if `filters.interim`: a final one is yet to come. `limit`, `offset` and repeated events are
    ignored.
    """

    def __init__(self, filters: Filters, columns: Collection[str]) -> None:
        """Prepare the statement; only `columns` of `Event` and `line` are filled, the others are None.

        Raises:
            InputError: a pattern is not a regular expression.
        """
        self._longest = 0
        self._scratch = scratch.make("follow")
        self._connection = connect(str(self._scratch), 1000)
        try:
            if filters.where is not None:
                self._connection.execute("SET enable_external_access = false")
            check_filters(self._connection, filters)
            # For so few lines, optimizing costs more than it saves.
            self._connection.execute("PRAGMA disable_optimizer")
            self._connection.execute("SET threads = 1")
            self._connection.execute("CREATE TEMP TABLE candidates (line VARCHAR)")
            self._connection.execute(f"PREPARE sieve AS {_sifted(filters, columns)}")
        except BaseException:
            self.close()
            raise

    def sift(self, lines: Sequence[bytes]) -> tuple[list[Event], int]:
        """Return the matches, in the order of `lines`, and how many lines could not be read.

        Raises:
            StorageError: memory is used up.
        """
        texts, skipped = [], 0
        as_written: defaultdict[str | None, deque[str]] = defaultdict(deque)
        is_mended = False
        for line in lines:
            try:
                text = line.rstrip(b"\r\n").decode()
            except UnicodeDecodeError:
                skipped += 1
                continue
            if text and not text.isspace():
                mended = mended_line(text)
                is_mended |= mended is not None
                texts.append(text if mended is None else mended)
                as_written[texts[-1]].append(text)
        with explained():
            self._make_room(max(map(len, lines), default=0))
            self._connection.execute("BEGIN")
            try:
                self._connection.execute("INSERT INTO candidates SELECT unnest(?)", [texts])
                rows = self._connection.execute("EXECUTE sieve").fetchall()
            finally:
                # A rollback frees the rows at once; a DELETE would not.
                self._connection.execute("ROLLBACK")
        events = [Event._make(values) for readable, *values in rows if readable]
        if is_mended:
            # Of lines that are the same, all match or none does.
            events = [event._replace(line=as_written[event.line].popleft()) for event in events]
        return events, skipped + len(rows) - len(events)

    def close(self) -> None:
        """Release what is held. A second call does nothing."""
        self._connection.close()
        scratch.remove(self._scratch)

    def _make_room(self, longest: int) -> None:
        if longest > self._longest + (1 << 20):
            self._longest = longest
            self._connection.execute(f"SET memory_limit = '{memory_for(longest)}MB'")


def _sifted(filters: Filters, columns: Collection[str]) -> str:
    """Return a SELECT of `readable` and an `Event`'s columns from `candidates`."""
    is_limited = filters.where is not None
    events = statements.events(replace(filters, where=_CONDITION) if is_limited else filters)
    values = iter(events.values)
    # With parameters, DuckDB would plan the statement again each time.
    parts = [
        re.sub(
            r"'(?:[^']|'')*'|\$\$.*?\$\$|\?",
            lambda part: _constant(next(values)) if part[0] == "?" else part[0],
            sql,
        )
        for sql in events.sql.split(_CONDITION)
    ]
    # Only SQL of ours is rewritten: the condition may quote in any way, and runs as it was checked.
    _, _, chosen = (filters.where or "").join(parts).partition(" AS")
    matched = "matched" if filters.interim else "matched AND NOT (transcript AND is_final IS FALSE)"
    given = [name for name in Event._fields if name == "line" or (name in columns and name != "host")]
    # At least one column has to be folded for `readable` to be known.
    folding = given if len(given) > 1 else [*given, "time_ms"]
    lines = f"""(SELECT line, position FROM events
        JOIN candidates ON candidates.rowid + {statements.UNSEALED} = position
        WHERE {matched} OR NOT readable)"""  # noqa: S608 - as in plan
    shown = ", ".join(name if name in given else "NULL" for name in Event._fields)
    return f"""WITH events AS MATERIALIZED ({chosen})
        SELECT readable AND NOT ({LAX}), {shown} FROM ({folded(lines, folding, "position", "readable")})
        ORDER BY position"""  # noqa: S608 - as in plan


def _constant(value: object) -> str:
    """Format a value as a SQL literal."""
    if isinstance(value, list):
        return f"[{', '.join(map(_constant, value))}]"
    if isinstance(value, str):
        return quoted(value)
    return repr(value)
