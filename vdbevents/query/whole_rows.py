"""Answer what asks for all events, or all of some channels, of a journal whose beginning is sealed.

How many they are, the manifest and the unsealed end say. The events are searched for in portions, one after
the other, where what is sealed is in the order of its times: the first are there before the others are read,
and no more than one portion is in memory.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from vdbevents.events.gaps import Gap, gaps_in
from vdbevents.events.session_content import SessionBook
from vdbevents.privacy.pauses import Pause, pauses_in
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache, CacheUnreadableError, Segment, Span
from vdbevents.query.cache.sealed_counts import ChannelCount, SegmentContent, channels_of, content_of
from vdbevents.query.filters import ALIASES, Event, Filters
from vdbevents.query.journal_end import UndecidedError, end_of
from vdbevents.query.older import Older
from vdbevents.query.sealed_tables import Portion
from vdbevents.query.tail_search import count_tail

if TYPE_CHECKING:
    from vdbevents.query.duck import SharedDatabase
    from vdbevents.query.search_result import SearchResult

_BATCH: Final = 2048
_MOST_SEGMENTS: Final = 8
_FIRST_BYTES: Final = 1 << 21
_END: Final = 1 << 62
_SPOKEN: Final = "transcript"
# So the manifest counts events without a channel, and those of a channel of that name.
_UNNAMED: Final = "unknown"

_Item = TypeVar("_Item")


class _Unsealed(NamedTuple):
    """What is known of the matches that are not sealed, and of sealed transcripts that nothing replaced.

    Attributes:
        times: when the matches were received, in Unix ms.
        left: when these transcripts were, of those that are not final.
        replaced_late: where segments begin of whose transcripts unsealed ones replaced some.
        aside: the caches of what was set aside.
        size: of the journal, in bytes.
    """

    times: Sequence[int | None]
    left: Sequence[int | None]
    replaced_late: frozenset[int]
    aside: Sequence[Cache]
    size: int
    gaps: list[Gap]
    pauses: list[Pause]


class _Step(NamedTuple):
    """What to search for at once: a portion, or all if it is None; and whether in the unsealed end, too."""

    portion: Portion | None
    to_end: bool


_EVERYTHING: Final = _Step(None, to_end=True)


@dataclass
class WholeRows(Closeable):
    """The matches, as `SearchResult` has them; its attributes are described there.

    Attributes:
        find: searches for a step, in a database if there is one.
        find_without: searches for all without the cache; it returns None if that is not the same journal.
        steps: returns the steps, in the order of the matches: the oldest first or, if True, the newest.
        folder: the cache's.
        known_span: the same as `span`, if it is known without a search.
    """

    find: "Callable[[_Step, SharedDatabase | None], SearchResult]"
    find_without: "Callable[[], SearchResult | None]"
    steps: Callable[[bool], Iterator[_Step]]
    newest_first: bool
    folder: Path
    count: int
    known_span: Span | None
    skipped: int
    journal_bytes: int
    gaps: list[Gap]
    pauses: list[Pause]
    untimed: int = 0
    groups: dict[int, Span] = field(default_factory=dict)

    @cached_property
    def span(self) -> Span | None:
        """The first and the last time among them, in Unix ms; None where none has a time."""
        if self.known_span is not None or not self.count:
            return self.known_span
        try:
            first, last = self._first_span(newest_first=False), self._first_span(newest_first=True)
        except CacheUnreadableError:
            with self._found_without() as found:
                return found.span
        return first and last and (first[0], last[1])

    def _first_span(self, *, newest_first: bool) -> Span | None:
        for step in self.steps(newest_first):
            with self.find(step, None) as found:
                if found.count:
                    return found.span
        return None

    def _found_without(self) -> "SearchResult":
        """Return all without the cache, which was damaged.

        Raises:
            StorageError: it is not the journal that was counted.
        """
        found = self.find_without()
        if found is not None and found.count == self.count:
            return found
        from vdbevents.query.search_result import unreadable_cache

        if found is not None:
            found.close()
        raise unreadable_cache(str(self.folder))

    @property
    def breaks(self) -> Collection[int]:
        """Empty: it does not look around matches."""
        return ()

    def lines(self) -> Iterator[list[str]]:
        """Yield the journal's own lines, in batches."""
        return self._read(lambda found: found.lines())

    def timed_lines(self) -> Iterator[list[tuple[int | None, str]]]:
        """Yield the same lines, each with the time that orders it, in batches."""
        return self._read(lambda found: found.timed_lines())

    def times(self) -> Iterator[list[int | None]]:
        """Yield the times alone, in batches."""
        return self._read(lambda found: found.times())

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches; None in columns not in `columns`."""
        return self._read(lambda found: found.events(columns))

    def texts(self, made: str, columns: Collection[str]) -> Iterator[list[str]]:
        """Yield a text for each event, in batches, as `SearchResult` does."""
        return self._read(lambda found: found.texts(made, columns))

    def names(self, columns: Collection[str]) -> dict[str, set[str]]:
        """Return the values of some columns of the view `events`, without NULLs."""
        known: dict[str, set[str]] = {column: set() for column in columns}
        try:
            for [names] in self._batches(lambda found: [[found.names(columns)]]):
                for column in columns:
                    known[column] |= names[column]
        except CacheUnreadableError:
            with self._found_without() as found:
                return found.names(columns)
        return known

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _read(self, read: "Callable[[SearchResult], Iterable[list[_Item]]]") -> Iterator[list[_Item]]:
        """Yield what is read of each step, in batches as if it were read of one result."""
        kept: list[_Item] = []
        for batch in self._whole_batches(read):
            kept += batch
            while len(kept) >= _BATCH:
                yield kept[:_BATCH]
                kept = kept[_BATCH:]
        if kept:
            yield kept

    def _whole_batches(
        self, read: "Callable[[SearchResult], Iterable[list[_Item]]]"
    ) -> Iterator[list[_Item]]:
        """Yield what is read of each step; once the cache is unreadable, the rest of the journal itself."""
        given = 0
        try:
            for batch in self._batches(read):
                yield batch
                given += len(batch)
        except CacheUnreadableError:
            with self._found_without() as found:
                for batch in read(found):
                    if rest := batch[given:]:
                        yield rest
                    given = max(0, given - len(batch))

    def _batches(self, read: "Callable[[SearchResult], Iterable[list[_Item]]]") -> Iterator[list[_Item]]:
        from vdbevents.query.duck import SharedDatabase

        with SharedDatabase() as database:
            for step in self.steps(self.newest_first):
                with self.find(step, database) as found:
                    yield from read(found)


def whole_rows(journal: Path, filters: Filters, cache: Cache | None, older: Older) -> WholeRows | None:
    """Return all events, or all of some channels, if the manifest says how many they are; otherwise None.

    Args:
        journal: its file.
        filters: the conditions.
        cache: its sealed segments.
        older: how to read what was set aside.
    """
    if cache is None or not cache.segments or not _is_whole(filters):
        return None
    try:
        return _Whole(journal, filters, cache, older).rows()
    except UndecidedError:
        return None


def _is_whole(filters: Filters) -> bool:
    others = replace(
        filters, channels=(), not_channels=(), recorder=True, interim=False, newest_first=False, zone=None
    )
    return others == Filters()


def _channel_test(filters: Filters) -> Callable[[str | None], bool]:
    """Return what returns whether the events of a channel match.

    Raises:
        UndecidedError: the manifest does not tell them from others.
    """
    wanted = {ALIASES.get(name, name) for name in filters.channels}
    left_out = {ALIASES.get(name, name) for name in (*filters.not_channels, *filters.hidden_channels)}
    if _UNNAMED in wanted | left_out:
        raise UndecidedError
    return lambda channel: (not wanted or channel in wanted) and channel not in left_out


class _Whole:
    """Find out what the manifest and the unsealed end say of the matches."""

    def __init__(self, journal: Path, filters: Filters, cache: Cache, older: Older) -> None:
        self._journal = journal
        self._filters = filters
        self._cache = cache
        self._older = older
        self._inode = _inode(journal)
        self._shows = _channel_test(filters)
        self._is_hiding = not filters.interim and self._shows(_SPOKEN)
        self._unsealed = self._unreplaced() if self._is_hiding else self._all()
        caches = (*self._unsealed.aside, cache)
        self._segments = [segment for one in caches for segment in one.segments]
        if any(one.has_fetched or one.doubtful for one in self._segments):
            raise UndecidedError

    def rows(self) -> WholeRows:
        unsealed = self._unsealed
        counted = [one for segment in self._segments for one in self._counts(segment) if self._shows(one[0])]
        count = len(unsealed.times)
        count += sum(number for channel, number, *_ in counted if not self._hides(channel))
        if self._is_hiding:
            count += len(unsealed.left) + sum(_spoken(content) for content in self._contents.values())
        sure = [moment for channel, _, *times in counted if not self._hides(channel) for moment in times]
        sure += [*unsealed.times, *unsealed.left, *(self._finals() if self._is_hiding else ())]
        possible = [moment for _, _, *times in counted for moment in times]
        span = _span(sure)
        return WholeRows(
            find=self._find,
            find_without=self._find_without,
            steps=self._steps,
            newest_first=self._filters.newest_first,
            folder=self._cache.folder,
            count=count,
            known_span=span if span == _span([*sure, *possible]) else None,
            skipped=sum(segment.unreadable for segment in self._segments),
            journal_bytes=unsealed.size + sum(one.end for one in unsealed.aside),
            gaps=unsealed.gaps,
            pauses=unsealed.pauses,
        )

    def _hides(self, channel: str) -> bool:
        return self._is_hiding and channel == _SPOKEN

    def _counts(self, segment: Segment) -> list[ChannelCount]:
        counts = channels_of(segment)
        if counts is None:
            raise UndecidedError
        return counts

    @cached_property
    def _contents(self) -> dict[int, SegmentContent]:
        found = {}
        for segment in self._segments:
            content = content_of(segment)
            if content is None:
                raise UndecidedError
            found[segment.start] = content
        return found

    def _finals(self) -> Iterator[int]:
        """Yield the first and last receipts of final transcripts."""
        for segment in self._segments:
            for finals in segment.finals or ():
                yield from finals.received or ()

    def _all(self) -> _Unsealed:
        end = end_of(self._journal, self._cache, self._older)
        if end is None:
            raise UndecidedError
        own = [line for one in (*end.aside, self._cache) for line in one.gap_lines]
        own += [event.line for event in end.events if event.channel == "vdbevents"]
        times = [event.time_ms for event in end.events if self._shows(event.channel)]
        return _Unsealed(times, (), frozenset(), end.aside, end.size, gaps_in(own), pauses_in(own))

    def _unreplaced(self) -> _Unsealed:
        end = count_tail(self._journal, Filters(), self._cache, self._older, SessionBook())
        if end is None:
            raise UndecidedError
        times = [row.time_ms for row in end.shown if self._shows(row.event.channel)]
        left = [interim.time_ms for interim in end.left]
        return _Unsealed(times, left, end.replaced_late, (), end.journal_bytes, end.gaps, end.pauses)

    def _find(self, step: _Step, database: "SharedDatabase | None") -> "SearchResult":
        from vdbevents.query.engine import search

        return search(
            self._journal,
            self._filters,
            self._cache,
            end=self._unsealed.size if step.to_end else self._cache.end,
            shared=database,
            older=self._older,
            portion=step.portion,
        )

    def _find_without(self) -> "SearchResult | None":
        """Search for all without the cache; return None if the journal was replaced meanwhile."""
        from vdbevents.query.engine import search

        if self._inode is None or self._inode != _inode(self._journal):
            return None
        older = self._older.without_cache()
        return search(self._journal, self._filters, end=self._unsealed.size, older=older)

    def _steps(self, newest_first: bool) -> Iterator[_Step]:  # noqa: FBT001 - it is a callback
        if not self._is_in_order:
            yield _EVERYTHING
            return
        left, size = self._segments[::-1] if newest_first else self._segments, 1
        while left:
            group, left = sorted(left[:size], key=lambda one: one.start), left[size:]
            is_last = group[-1] is self._segments[-1]
            edges = [group[0].start, _END if is_last else group[-1].end]
            if size == 1 and not newest_first and group[0].is_in_order:
                edges.insert(1, min(edges[0] + _FIRST_BYTES, group[0].end))
            opened = frozenset(self._opened(group))
            to_end = is_last or not self._unsealed.replaced_late.isdisjoint(one.start for one in group)
            for places in pairwise(edges):
                yield _Step(Portion(places, opened, tuple(self._segments)), to_end)
            size = min(size * 2, _MOST_SEGMENTS)

    def _opened(self, group: Sequence[Segment]) -> Iterator[int]:
        """Yield where the segments begin that a group's search reads: its own, and of what replaced them."""
        yield from (one.start for one in group)
        if not self._is_hiding:
            return
        begun = [
            (interim.speaker, interim.start_ms)
            for one in group
            for interim in self._contents[one.start].interims
            if interim.start_ms is not None
        ]
        for other in self._segments:
            if other.start > group[-1].start:
                starts = self._contents[other.start].starts
                spans = ((starts.get(speaker), start_ms) for speaker, start_ms in begun)
                if any(span is not None and span[0] <= start_ms <= span[1] for span, start_ms in spans):
                    yield other.start

    @property
    def _is_in_order(self) -> bool:
        """Whether no event was received before one of an earlier segment."""
        spans = [one.received for one in self._segments if one.received is not None]
        times = [moment for moment in self._unsealed.times if moment is not None]
        return (
            not self._unsealed.aside
            and not any(one.untimed for one in self._segments)
            and len(times) == len(self._unsealed.times)
            and all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
            and (len(spans) < 2 or min(times, default=_END) >= spans[-2][1])  # noqa: PLR2004
        )


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _spoken(content: SegmentContent) -> int:
    """Return how many transcripts a segment has that are not interim ones."""
    return sum(group.number for group in content.groups if group.channel == _SPOKEN)


def _span(times: Iterable[int | None]) -> Span | None:
    known = [moment for moment in times if moment is not None]
    return (min(known), max(known)) if known else None
