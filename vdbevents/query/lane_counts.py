"""Count events by lanes and parts of a time, for a timeline.

What a recording is about counts: neither the recorder's own lines nor the steps of a session do.
"""

# ruff: noqa: S608 - the SQL consists of constants, whole numbers and names of ours

import contextlib
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdbevents.query.byte_ranges import Closeable, literal
from vdbevents.query.cache.lane_minutes import (
    COUNTED,
    FINAL,
    LANE,
    LEFT_OUT,
    MINUTE_MS,
    MOMENT,
    LaneMinutes,
    minutes_of,
    read_minutes,
)
from vdbevents.query.duck import SharedDatabase, explained
from vdbevents.query.search_result import SearchResult
from vdbevents.query.tail_search import TailResult

if TYPE_CHECKING:
    from vdbevents.query.merge import FoundRows

_COLUMNS: Final = ("channel", "source", "stream_name", "time_ms", "start_ms", "is_final")


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
    part = f"floor(({MOMENT} - {since_ms:d}) / {part_ms!r})::BIGINT"
    # A condition here would fold each line for each of its members: of long lines that takes a GB.
    select = f"""SELECT channel, source, stream_name, {part} AS part, count(*)::BIGINT AS number
        FROM ({{rows}}) GROUP BY ALL"""
    result.tabulate("laned", select, _COLUMNS)
    sums = f"""SELECT {LANE}, part, sum(number)::BIGINT FROM laned WHERE part >= 0 AND {COUNTED}
        GROUP BY ALL ORDER BY ALL"""
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
    return channel not in LEFT_OUT and not (channel or "").startswith("backend.")


class _Lane(NamedTuple):
    """A lane of a piece: its minutes in order, and how many events are before each, and in all."""

    kind: str
    name: str
    minutes: Sequence[int]
    sums: Sequence[int]


class _Piece:
    """The events of one sealed segment, or of what is not sealed, by minutes."""

    def __init__(self, lanes: Iterable[LaneMinutes], path: Path | None = None) -> None:
        self.path = path
        self.lanes = [
            _Lane(kind, name, array("q", minutes), array("q", accumulate(numbers, initial=0)))
            for kind, name, minutes, numbers in lanes
            if minutes
        ]
        self.first = min((lane.minutes[0] for lane in self.lanes), default=1)
        self.last = max((lane.minutes[-1] for lane in self.lanes), default=0)

    def touches(self, first: int, last: int) -> bool:
        """Return whether it has an event in these minutes."""
        return (
            self.first <= last
            and self.last >= first
            and any(
                (place := bisect_left(lane.minutes, first)) < len(lane.minutes)
                and lane.minutes[place] <= last
                for lane in self.lanes
            )
        )

    def beside(self, minute: int, is_wanted: Callable[[str, str], bool], *, earlier: bool) -> int | None:
        """Return its last minute up to one with an event in certain lanes, or its first from that on."""
        found = []
        if self.first <= minute if earlier else self.last >= minute:
            for kind, name, minutes, _ in self.lanes:
                place = bisect_right(minutes, minute) - 1 if earlier else bisect_left(minutes, minute)
                if 0 <= place < len(minutes) and is_wanted(kind, name):
                    found.append(minutes[place])
        return max(found, default=None) if earlier else min(found, default=None)

    def parts(self, edges: Sequence[int]) -> Iterator[LaneCount]:
        """Yield how many events are between each two of the edges, which are minutes."""
        if self.first >= edges[-1] or self.last < edges[0]:
            return
        for kind, name, minutes, sums in self.lanes:
            place = bisect_left(minutes, edges[0])
            end = bisect_left(minutes, edges[-1], place)
            while place < end:
                part = bisect_right(edges, minutes[place])
                following = bisect_left(minutes, edges[part], place + 1, end)
                yield LaneCount(kind, name, part - 1, sums[following] - sums[place])
                place = following


class MinuteCounts(Closeable):
    """The events of a journal by minutes and lanes; what is sealed is read once.

    To count all events of a year takes as long for each look at it; their minutes are few, and are sealed
    with each segment. Calls may come from several threads.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._database: SharedDatabase | None = None
        self._sealed: dict[tuple[object, ...], _Piece] = {}
        self._rest = _Piece(())
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
        segments = {
            _identity(path): (segment, path)
            for segment in sealed.segments
            for path in (sealed.events(segment),)
        }
        with self._lock, explained():
            known = {key: piece for key, piece in self._sealed.items() if key in segments}
            for key, (segment, path) in segments.items():
                if key not in known:
                    stored = sealed.minutes_of(segment)
                    lanes = self._counted_again(path) if stored is None else read_minutes(stored)
                    known[key] = _Piece(lanes, path)
            self._sealed = known
            self._rest = _Piece(_by_lanes(rest))

    def knows(self, unsealed: SearchResult) -> bool:
        """Return whether what is sealed is still what was sealed at the last update."""
        sealed = unsealed.snapshot.sealed
        with self._lock:
            return {_identity(path) for path in map(sealed.events, sealed.segments)} == self._sealed.keys()

    def _counted_again(self, path: Path) -> list[LaneMinutes]:
        """Count a segment whose counts were too many to keep, or are damaged."""
        rows = self._rows(f"{minutes_of('read_parquet(?)')} ORDER BY ALL", [literal(path)])
        return _by_lanes(LaneCount(*row) for row in rows)

    def _rows(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._database is None:
            self._database = SharedDatabase()
        with contextlib.closing(self._database.connection(0)) as connection:
            return connection.execute(sql, values).fetchall()

    @property
    def span(self) -> tuple[int, int] | None:
        """The first minute's beginning and the last one's end, in Unix ms; None without any event."""
        pieces = [piece for piece in self._pieces() if piece.lanes]
        if not pieces:
            return None
        first, last = min(piece.first for piece in pieces), max(piece.last for piece in pieces)
        return first * MINUTE_MS, (last + 1) * MINUTE_MS

    def counts(self, since_ms: int, until_ms: int, part_ms: float) -> list[LaneCount]:
        """Return how many events are in each part of a time; a minute counts where it begins.

        Args:
            since_ms: the beginning of the time, in Unix ms.
            until_ms: its end.
            part_ms: how long each part is, at least a minute.
        """
        first, last = _minutes_within(since_ms, until_ms)
        begins = (
            ceil((since_ms + number * part_ms) / MINUTE_MS)
            for number in range(1, ceil((until_ms - since_ms) / part_ms))
        )
        # Where the time begins within a minute, that is in its first part.
        edges = [first, *begins, last + 1]
        counts: Counter[tuple[str, str, int]] = Counter()
        for piece in self._pieces():
            for kind, name, part, number in piece.parts(edges):
                counts[kind, name, part] += number
        return [LaneCount(*lane, number) for lane, number in sorted(counts.items())]

    def beside(self, at_ms: int, is_wanted: Callable[[str, str], bool], *, earlier: bool) -> int | None:
        """Return where the nearest minute with events in certain lanes begins, in Unix ms; None without any.

        Args:
            at_ms: a moment in the first minute to look at.
            is_wanted: whether to look at a lane, by its kind and name.
            earlier: whether to look at this minute and those before it, or at those after it.
        """
        each = [piece.beside(at_ms // MINUTE_MS, is_wanted, earlier=earlier) for piece in self._pieces()]
        known = [minute for minute in each if minute is not None]
        if not known:
            return None
        return (max(known) if earlier else min(known)) * MINUTE_MS

    def sealed_counts(self, since_ms: int, until_ms: int, part_ms: float) -> list[LaneCount]:
        """Return how many sealed events are in each part of a time; the arguments are those of `counts`.

        Parts may be shorter than a minute. It reads the segments that have events in these minutes.

        Raises:
            StorageError: the cache became unreadable.
        """
        minutes = _minutes_within(since_ms, until_ms)
        with self._lock, explained():
            paths = [
                literal(piece.path)
                for piece in self._sealed.values()
                if piece.path and piece.touches(*minutes)
            ]
            if not paths:
                return []
            rows = self._rows(
                f"""SELECT {LANE}, floor(({MOMENT} - {since_ms:d}) / {part_ms!r})::BIGINT AS part,
                count(*)::BIGINT FROM read_parquet(?) WHERE {COUNTED} AND {FINAL}
                AND {MOMENT} BETWEEN {since_ms:d} AND {until_ms - 1:d} GROUP BY ALL ORDER BY ALL""",
                [paths],
            )
        return [LaneCount(*row) for row in rows]

    def has_unsealed(self, since_ms: int, until_ms: int) -> bool:
        """Return whether events of these minutes were not sealed at the last update."""
        with self._lock:
            return self._rest.touches(*_minutes_within(since_ms, until_ms))

    def _pieces(self) -> list[_Piece]:
        with self._lock:
            return [*self._sealed.values(), self._rest]

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        if self._database is not None:
            self._database.close()


def _minutes_within(since_ms: int, until_ms: int) -> tuple[int, int]:
    """Return the first and the last minute of a time."""
    return since_ms // MINUTE_MS, (until_ms - 1) // MINUTE_MS


def _by_lanes(counts: Iterable[LaneCount]) -> list[LaneMinutes]:
    """Return counts by minutes, which are in order, by lanes."""
    lanes: dict[tuple[str, str], LaneMinutes] = {}
    for kind, name, minute, number in counts:
        lane = lanes.setdefault((kind, name), LaneMinutes(kind, name, [], []))
        lane.minutes.append(minute)
        lane.numbers.append(number)
    return list(lanes.values())


def _identity(path: Path) -> tuple[object, ...]:
    """Return what another file of the same name, of a cache that was built again, has not."""
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns
