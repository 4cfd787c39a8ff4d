"""Count events by lanes and parts of a time, for a timeline.

A lane is where events come from: a microphone, the system's audio, a screen; alerts have one of their own.
What a recording is about counts: neither the recorder's own lines nor the steps of a session do.
"""

# ruff: noqa: S608 - the SQL consists of constants, whole numbers and names of ours

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.events import fields
from vdbevents.query.byte_ranges import Closeable, literal
from vdbevents.query.duck import SharedDatabase, explained
from vdbevents.query.search_result import SearchResult
from vdbevents.query.tail_search import TailResult

if TYPE_CHECKING:
    from vdbevents.query.merge import FoundRows

MINUTE_MS: Final = 60_000

_LEFT_OUT: Final = (fields.OWN_CHANNEL, fields.RUNTIME_CHANNEL, "capture_session")
_COUNTED: Final = f"""coalesce(channel, '') NOT IN {_LEFT_OUT!r}
    AND NOT coalesce(starts_with(channel, 'backend.'), false)"""
# Of a sentence that somebody speaks there are many interim versions.
_FINAL: Final = "NOT coalesce(channel = 'transcript' AND NOT is_final, false)"
_LANE: Final = """CASE WHEN channel = 'alert' THEN 'alert'
    ELSE coalesce(source, channel, 'event') END AS kind,
    CASE WHEN channel = 'alert' THEN '' ELSE coalesce(stream_name, '') END AS name"""
_MOMENT: Final = "coalesce(start_ms, time_ms)"
_COLUMNS: Final = ("channel", "source", "stream_name", "time_ms", "start_ms", "is_final")
_UNSEALED: Final = 0


class LaneCount(NamedTuple):
    """How many events of a lane are in a part of a time.

    Attributes:
        kind: a source, `alert`, or the channel of what has no source.
        name: the stream's; empty without one.
        part: the number of the part, from 0.
        events: how many there are.
    """

    kind: str
    name: str
    part: int
    events: int


def counted_in(result: "FoundRows", since_ms: int, part_ms: float) -> list[LaneCount]:
    """Return how many events of an answer are in each part of a time, by lanes.

    Args:
        result: the answer, with at least one event.
        since_ms: where the first part begins, in Unix ms.
        part_ms: how long each is.

    Raises:
        StorageError: memory and temporary space are used up, or the cache became unreadable.
    """
    if isinstance(result, TailResult):
        return _counted_plainly(result, since_ms, part_ms)
    part = f"floor(({_MOMENT} - {since_ms:d}) / {part_ms!r})::BIGINT"
    select = f"""SELECT {_LANE}, {part} AS part, count(*)::BIGINT AS number FROM ({{rows}})
        WHERE {_COUNTED} GROUP BY ALL"""
    result.tabulate("laned", select, _COLUMNS)
    sums = "SELECT kind, name, part, sum(number)::BIGINT FROM laned WHERE part >= 0 GROUP BY ALL ORDER BY ALL"
    with explained():
        return [LaneCount(*row) for row in result.connection.execute(sums).fetchall()]


def _counted_plainly(result: TailResult, since_ms: int, part_ms: float) -> list[LaneCount]:
    counts: Counter[tuple[str, str, int]] = Counter()
    for batch in result.events(_COLUMNS):
        for event in batch:
            moment = event.time_ms if event.start_ms is None else event.start_ms
            if moment is None or moment < since_ms or not _is_counted(event.channel):
                continue
            is_alert = event.channel == "alert"
            kind = "alert" if is_alert else event.source or event.channel or "event"
            name = "" if is_alert else event.stream_name or ""
            counts[kind, name, int((moment - since_ms) // part_ms)] += 1
    return [LaneCount(*lane, number) for lane, number in sorted(counts.items())]


def _is_counted(channel: str | None) -> bool:
    return channel not in _LEFT_OUT and not (channel or "").startswith("backend.")


class MinuteCounts(Closeable):
    """The events of a journal by minutes and lanes; what is sealed is read once.

    To count all events of a year takes as long for each look at it; their minutes are few. Calls may come
    from several threads.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._database = SharedDatabase()
        self._connection = self._database.connection(0)
        self._connection.execute(
            "CREATE TEMP TABLE minutes "
            "(segment BIGINT, kind VARCHAR, name VARCHAR, minute BIGINT, number BIGINT)"
        )
        self._known: dict[tuple[object, ...], int] = {}
        self._paths: dict[int, Path] = {}
        self._last = _UNSEALED
        self._lock = threading.Lock()

    def update(self, unsealed: SearchResult) -> None:
        """Take what is new of a journal.

        Args:
            unsealed: all that is not sealed, by `engine.search`; its snapshot has the segments.

        Raises:
            StorageError: memory and temporary space are used up, or the cache became unreadable.
        """
        rest = counted_in(unsealed, 0, MINUTE_MS) if unsealed.count else []
        sealed = unsealed.snapshot.sealed
        paths = {_identity(path): path for path in map(sealed.events, sealed.segments)}
        with self._lock, explained():
            gone = [number for key, number in self._known.items() if key not in paths]
            self._connection.execute(
                "DELETE FROM minutes WHERE segment IN (SELECT unnest(?::BIGINT[]))", [[_UNSEALED, *gone]]
            )
            self._known = {key: number for key, number in self._known.items() if key in paths}
            new = [key for key in paths if key not in self._known]
            if new:
                self._insert_sealed([paths[key] for key in new], self._last)
                self._known |= {key: self._last + place for place, key in enumerate(new, 1)}
                self._last += len(new)
            self._paths = {number: paths[key] for key, number in self._known.items()}
            self._insert(rest)

    def knows(self, unsealed: SearchResult) -> bool:
        """Return whether what is sealed is still what was sealed at the last update."""
        sealed = unsealed.snapshot.sealed
        with self._lock:
            return {_identity(path) for path in map(sealed.events, sealed.segments)} == self._known.keys()

    def _insert_sealed(self, paths: Sequence[Path], last: int) -> None:
        names = [str(path.absolute()) for path in paths]
        self._connection.execute(
            f"""INSERT INTO minutes SELECT {last:d} + list_position(?::VARCHAR[], filename), {_LANE},
            floor({_MOMENT} / {MINUTE_MS})::BIGINT AS minute, count(*) FROM read_parquet(?, filename = true)
            WHERE {_COUNTED} AND {_FINAL} AND {_MOMENT} IS NOT NULL GROUP BY ALL""",
            [names, list(map(literal, paths))],
        )

    def _insert(self, counts: Iterable[LaneCount]) -> None:
        columns = [list(column) for column in zip(*counts, strict=True)] or [[], [], [], []]
        self._connection.execute(
            f"""INSERT INTO minutes SELECT {_UNSEALED}, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]),
            unnest(?::BIGINT[]), unnest(?::BIGINT[])""",
            columns,
        )

    @property
    def span(self) -> tuple[int, int] | None:
        """The first minute's beginning and the last one's end, in Unix ms; None without any event."""
        with self._lock:
            [(first, last)] = self._connection.execute(
                "SELECT min(minute), max(minute) FROM minutes"
            ).fetchall()
        return None if first is None else (first * MINUTE_MS, (last + 1) * MINUTE_MS)

    def counts(self, since_ms: int, until_ms: int, part_ms: float) -> list[LaneCount]:
        """Return how many events are in each part of a time; a minute counts where it begins.

        Args:
            since_ms: the beginning of the time, in Unix ms.
            until_ms: its end.
            part_ms: how long each part is, at least a minute.
        """
        part = f"greatest(0, floor((minute * {MINUTE_MS} - {since_ms:d}) / {part_ms!r})::BIGINT)"
        with self._lock, explained():
            rows = self._connection.execute(
                f"""SELECT kind, name, {part} AS part, sum(number)::BIGINT FROM minutes
                WHERE {_within(since_ms, until_ms)} GROUP BY ALL ORDER BY ALL"""
            ).fetchall()
        return [LaneCount(*row) for row in rows]

    def sealed_counts(self, since_ms: int, until_ms: int, part_ms: float) -> list[LaneCount]:
        """Return how many sealed events are in each part of a time; the arguments are those of `counts`.

        Parts may be shorter than a minute. It reads the segments that have events in these minutes.

        Raises:
            StorageError: the cache became unreadable.
        """
        with self._lock, explained():
            paths = [self._paths[number] for number in self._segments(since_ms, until_ms) if number]
            if not paths:
                return []
            rows = self._connection.execute(
                f"""SELECT {_LANE}, floor(({_MOMENT} - {since_ms:d}) / {part_ms!r})::BIGINT AS part,
                count(*)::BIGINT FROM read_parquet(?) WHERE {_COUNTED} AND {_FINAL}
                AND {_MOMENT} BETWEEN {since_ms:d} AND {until_ms - 1:d} GROUP BY ALL ORDER BY ALL""",
                [list(map(literal, paths))],
            ).fetchall()
        return [LaneCount(*row) for row in rows]

    def has_unsealed(self, since_ms: int, until_ms: int) -> bool:
        """Return whether events of these minutes were not sealed at the last update."""
        with self._lock:
            return _UNSEALED in self._segments(since_ms, until_ms)

    def _segments(self, since_ms: int, until_ms: int) -> list[int]:
        rows = self._connection.execute(
            f"SELECT DISTINCT segment FROM minutes WHERE {_within(since_ms, until_ms)} ORDER BY ALL"
        ).fetchall()
        return [number for (number,) in rows]

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        self._database.close()


def _within(since_ms: int, until_ms: int) -> str:
    return f"minute BETWEEN {since_ms // MINUTE_MS:d} AND {(until_ms - 1) // MINUTE_MS:d}"


def _identity(path: Path) -> tuple[object, ...]:
    """Return what another file of the same name, of a cache that was built again, has not."""
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns
