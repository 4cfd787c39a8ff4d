"""Copy the lines of a window as they are in the journal, range by range, where nothing else is asked for.

It is done where what is sealed is in the order of its times. Then the matches are a few ranges of bytes,
which need not be taken apart; otherwise a search finds each line. Where the manifest says that all segments
are in order, the ranges are found by a few lines at the edges of the window; otherwise by the columns.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.events.gaps import Gap, gaps_in
from vdbevents.journal.history import open_with_older
from vdbevents.privacy.pauses import Pause, pauses_in
from vdbevents.query.byte_ranges import Closeable, literal, read_range
from vdbevents.query.cache.checks import are_whole
from vdbevents.query.cache.index import Cache, Segment, Span
from vdbevents.query.cache.sealed_counts import channels_of
from vdbevents.query.filters import Event, Filters
from vdbevents.query.journal_end import UndecidedError, own_lines_aside, unsealed_lines, usual_event
from vdbevents.query.line_tests import line_test, may_be_stamped_again, received_outside
from vdbevents.query.older import Older
from vdbevents.query.plain_events import NotPlainError, PlainEvent, was_backfilled
from vdbevents.query.snapshot import journal_changed
from vdbevents.times import Window

if TYPE_CHECKING:
    from vdbevents.query.search_result import SearchResult

_BLOCK: Final = 1 << 20
_MEMORY_MB: Final = 500
_MOST_BREAKS: Final = 10_000
_NEAR: Final = 1 << 12
# Each of these ends a line, too, and none is in one.
_AS_LINE_ENDS: Final = bytes.maketrans(b"\r\0", b"\n\n")

# In a segment, lines of unusual events come last.
_PLACES: Final = """WITH rows AS (SELECT position, length, time_ms,
        lag(position + length + 1) OVER (ORDER BY position) AS follows,
        lag(time_ms) OVER (ORDER BY position) AS before FROM read_parquet(?)),
    chosen AS (SELECT *, time_ms >= ? AND time_ms < ? AS within FROM rows)
    SELECT coalesce(bool_or(time_ms IS NULL OR time_ms < before), false),
    count(*) FILTER (within), min(position) FILTER (within), max(position + length) FILTER (within),
    min(time_ms) FILTER (within), max(time_ms) FILTER (within),
    list([follows - 1, position] ORDER BY position) FILTER (within AND position > follows) FROM chosen"""


@dataclass
class CopiedLines(Closeable):
    """The matches, as `SearchResult` has them; its attributes are described there.

    Attributes:
        ranges: the places of sealed lines in the journal, without the line end of the last one of each.
        later: the matches that are not sealed.
        search: finds the same, for what is not about lines.
    """

    file: FileIO
    ranges: Sequence[Span]
    later: Sequence[PlainEvent]
    search: "Callable[[], SearchResult]"
    count: int
    span: tuple[int, int]
    skipped: int
    journal_bytes: int
    gaps: list[Gap]
    pauses: list[Pause]
    untimed: int = 0
    groups: dict[int, Span] = field(default_factory=dict)

    @property
    def breaks(self) -> Collection[int]:
        """Empty: it does not look around matches."""
        return ()

    def blocks(self) -> Iterator[bytes]:
        """Yield all lines with their line ends, in blocks of any length.

        Raises:
            StorageError: the journal changed since it was opened.
        """
        for start, end in self.ranges:
            if start and read_range(self.file, start - 1, 1) not in {b"\n", b"\r", b"\0"}:
                raise journal_changed()
            self.file.seek(place := start)
            while place < end:
                block = self.file.read(min(_BLOCK, end - place))
                place += len(block)
                if not block:
                    raise journal_changed()
                yield block.translate(_AS_LINE_ENDS) if b"\r" in block or b"\0" in block else block
            if read_range(self.file, end, 1) not in {b"\n", b"\r", b"\0"}:
                raise journal_changed()
            yield b"\n"
        for event in self.later:
            yield f"{event.line}\n".encode()

    def lines(self) -> Iterator[list[str]]:
        """Yield the lines alone, in batches."""
        rest = b""
        for block in self.blocks():
            *whole, rest = (rest + block).split(b"\n")
            if whole:
                yield [line.decode("utf-8", "replace") for line in whole]

    def timed_lines(self) -> Iterator[list[tuple[int | None, str]]]:
        """Yield the lines, each with the time that orders it, in batches."""
        with self.search() as found:
            yield from found.timed_lines()

    def times(self) -> Iterator[list[int | None]]:
        """Yield the times alone, in batches."""
        with self.search() as found:
            yield from found.times()

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches; None in columns not in `columns`."""
        with self.search() as found:
            yield from found.events(columns)

    def names(self, columns: Collection[str]) -> dict[str, set[str]]:
        """Return the values of some columns of the view `events`, without NULLs."""
        with self.search() as found:
            return found.names(columns)

    def close(self) -> None:
        """Close the journal. A second call does nothing."""
        self.file.close()


def copied_lines(journal: Path, filters: Filters, cache: Cache | None, older: Older) -> CopiedLines | None:
    """Return the lines of a window, if they are ranges of the journal; otherwise None.

    Args:
        journal: its file.
        filters: the conditions.
        cache: its sealed segments.
        older: how to read what was set aside.
    """
    if cache is None or replace(filters, window=Window(), zone=None) != Filters(interim=True):
        return None
    try:
        copying = _Copying(filters.window, cache)
        file, aside = open_with_older(journal, cleared=older.cleared)
        try:
            own = [*own_lines_aside(aside, filters, older), *cache.gap_lines]
            found = copying.run(file, own, _searching(journal, filters, cache, older))
        except BaseException:
            file.close()
            raise
    except (OSError, NotPlainError, UndecidedError):
        return None
    return found


def _searching(journal: Path, filters: Filters, cache: Cache, older: Older) -> "Callable[[], SearchResult]":
    def search() -> "SearchResult":
        from vdbevents.query.engine import search

        return search(journal, filters, cache, older=older)

    return search


class _Sealed(NamedTuple):
    """The matches in sealed segments: how many, where their lines are, and their first and last time."""

    number: int
    ranges: list[Span]
    span: Span


class _Ordered:
    """Find the matches in a segment that is in order by a few of its lines, without its columns."""

    def __init__(self, file: FileIO, segment: Segment) -> None:
        self._file = file
        self._segment = segment

    def found(self, window: Window) -> _Sealed | None:
        """Return the matches, which are one range; None without any.

        Raises:
            NotPlainError, UndecidedError: a line is not as a listener writes it.
        """
        start, end = self._segment.start, self._segment.end
        counts, received = channels_of(self._segment), self._segment.received
        if counts is None or received is None:
            raise UndecidedError
        if window.since_ms is not None and received[0] < window.since_ms:
            start = self._first_from(window.since_ms)
        if window.until_ms is not None and received[1] >= window.until_ms:
            end = self._first_from(window.until_ms)
        if start >= end:
            return None
        if (start, end) == (self._segment.start, self._segment.end):
            number = sum(count for _, count, *_ in counts)
        else:
            number = self._lines_in(start, end)
        first_ms = received[0] if start == self._segment.start else self._time_at(start)
        last_ms = received[1] if end == self._segment.end else self._time_at(end - 1)
        return _Sealed(number, [(start, end - 1)], (first_ms, last_ms))

    def _first_from(self, moment_ms: int) -> int:
        """Return where the first line is that was received at a moment or later; the end without one."""
        first, last = self._segment.start, self._segment.end
        while first < last:
            start, line = self._line_at((first + last) // 2)
            if _received(line) >= moment_ms:
                last = start
            else:
                first = start + len(line) + 1
        return first

    def _time_at(self, place: int) -> int:
        return _received(self._line_at(place)[1])

    def _line_at(self, place: int) -> tuple[int, bytes]:
        """Return the line that a byte of the segment is in, or ends, and where it begins."""
        near = _NEAR
        while True:
            begin, end = max(place - near, self._segment.start), min(place + near, self._segment.end)
            data = self._read(begin, end)
            before, after = data.rfind(b"\n", 0, place - begin), data.find(b"\n", place - begin)
            if after >= 0 and (before >= 0 or begin == self._segment.start):
                return begin + before + 1, data[before + 1 : after]
            if (begin, end) == (self._segment.start, self._segment.end):
                raise UndecidedError
            near *= 8

    def _lines_in(self, start: int, end: int) -> int:
        return sum(
            self._read(place, min(place + _BLOCK, end)).count(b"\n") for place in range(start, end, _BLOCK)
        )

    def _read(self, start: int, end: int) -> bytes:
        data = read_range(self._file, start, end - start)
        if data is None:
            raise UndecidedError
        return data


def _received(line: bytes) -> int:
    time_ms = usual_event(line).time_ms
    if time_ms is None:
        raise UndecidedError
    return time_ms


class _Copying:
    """Find the ranges of a window."""

    def __init__(self, window: Window, cache: Cache) -> None:
        self._window = window
        self._cache = cache
        self._near = [one for one in cache.segments if one.may_hold(window, by_event=False)]
        spans = [one.received for one in self._near if one.received is not None]
        if (
            not self._near
            or any(one.has_fetched or one.untimed for one in self._near)
            or any(one.doubtful or (window != Window() and one.untimed) for one in cache.segments)
            or any(earlier[1] > later[0] for earlier, later in pairwise(spans))
        ):
            raise UndecidedError

    def run(self, file: FileIO, own: list[str], search: "Callable[[], SearchResult]") -> CopiedLines:
        lines, size = unsealed_lines(file, self._cache)
        rest = list(self._near_or_own(lines))
        sealed = self._sealed(file)
        if not self._cache.fits(file):
            raise UndecidedError
        later = [event for event in rest if self._is_within(event.time_ms)]
        times = [event.time_ms or 0 for event in later]
        if any(earlier > now for earlier, now in pairwise([sealed.span[1], *times])):
            raise UndecidedError
        own += [event.line for event in rest if event.channel == "vdbevents"]
        return CopiedLines(
            file=file,
            ranges=sealed.ranges,
            later=later,
            search=search,
            count=sealed.number + len(later),
            span=(sealed.span[0], [sealed.span[1], *times][-1]),
            skipped=sum(segment.unreadable for segment in self._cache.segments),
            journal_bytes=size,
            gaps=gaps_in(own),
            pauses=pauses_in(own),
        )

    def _near_or_own(self, lines: Sequence[bytes]) -> Iterator[PlainEvent]:
        """Yield the events that may be in the window, and the recorder's own."""
        expression = received_outside(self._window)
        is_outside = line_test(expression) if expression else None
        for line in lines:
            is_left_out = is_outside is not None and line.endswith(b"}") and is_outside(line)
            if not is_left_out or was_backfilled(line) or may_be_stamped_again(line):
                yield usual_event(line)

    def _is_within(self, time_ms: int | None) -> bool:
        if time_ms is None:
            raise UndecidedError
        since_ms, until_ms = self._window.since_ms, self._window.until_ms
        return (since_ms is None or time_ms >= since_ms) and (until_ms is None or time_ms < until_ms)

    def _ordered(self, file: FileIO) -> _Sealed:
        parts = [part for one in self._near if (part := _Ordered(file, one).found(self._window))]
        if not parts:
            raise UndecidedError
        ranges = [place for part in parts for place in part.ranges]
        number = sum(part.number for part in parts)
        return _Sealed(number, ranges, (parts[0].span[0], parts[-1].span[1]))

    def _sealed(self, file: FileIO) -> _Sealed:
        if all(one.is_in_order for one in self._near):
            with suppress(NotPlainError):
                return self._ordered(file)
        row = self._places(self._near)
        is_mixed, count, start, end, first_ms, last_ms, breaks = row
        if is_mixed or not count or len(breaks or ()) > _MOST_BREAKS:
            raise UndecidedError
        # The first row has none before it that is within.
        inner = [(last, begin) for last, begin in breaks or () if begin > start]
        edges = [start, *(place for one in inner for place in one), end]
        return _Sealed(count, list(zip(edges[::2], edges[1::2], strict=True)), (first_ms, last_ms))

    def _places(self, segments: Sequence[Segment]) -> tuple[bool, int, int, int, int, int, list[Span] | None]:
        import duckdb

        from vdbevents.query.duck import SharedDatabase

        paths = [self._cache.events(one) for one in segments]
        checks = [(one.events_bytes, one.events_crc) for one in segments]
        if not are_whole([(path, *check) for path, check in zip(paths, checks, strict=True)]):
            raise UndecidedError
        since_ms, until_ms = self._window.since_ms, self._window.until_ms
        bounds = [-(1 << 62) if since_ms is None else since_ms, 1 << 62 if until_ms is None else until_ms]
        try:
            with SharedDatabase(memory_mb=_MEMORY_MB) as database:
                connection = database.connection(_MEMORY_MB)
                [row] = connection.execute(_PLACES, [list(map(literal, paths)), *bounds]).fetchall()
        except (duckdb.OutOfMemoryException, duckdb.IOException):
            raise UndecidedError from None
        return row
