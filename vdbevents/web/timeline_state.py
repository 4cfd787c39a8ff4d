"""What the timeline knows of the journals: counts by minutes, sessions, gaps and pauses, kept up to date."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.events.gaps import Gap
from vdbevents.events.session_content import SessionBook
from vdbevents.privacy.pauses import Pause
from vdbevents.query import merge
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.lane_minutes import MINUTE_MS
from vdbevents.query.engine import search
from vdbevents.query.filters import Filters
from vdbevents.query.lane_counts import LaneCount, MinuteCounts, counted_in
from vdbevents.servers.journal_state import JournalState, state_of
from vdbevents.servers.warm_journals import WarmJournals
from vdbevents.times import Window

if TYPE_CHECKING:
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.search_result import SearchResult

_FRESH_SECONDS: Final = 0.4
_SHARE: Final = 5
_NO_SCREENS: Final = ("mic", "system_audio", "alert")


class LostTimes(NamedTuple):
    """What a journal says about times without events."""

    host: str
    gaps: Sequence[Gap]
    pauses: Sequence[Pause]


class Known(NamedTuple):
    """What is known of all journals at one moment.

    Attributes:
        span: the beginning of the first event's minute and the end of the last one's, in Unix ms; None
            without any.
        books: the sessions of each journal.
        unrecorded: of each journal.
    """

    span: tuple[int, int] | None
    books: Sequence[SessionBook]
    unrecorded: Sequence[LostTimes]


class TimelineState(Closeable):
    """Holds what each look at the timeline needs; a context manager. Calls may come from several threads."""

    def __init__(self, journals: WarmJournals, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the journals, and a clock in seconds."""
        self.journals = journals
        self._clock = clock
        self._lock = threading.Lock()
        self._resources = ExitStack()
        self._minutes: list[tuple[HostJournal, MinuteCounts]] = []
        self._known: Known | None = None
        self._state: JournalState = ()
        self._read_at = self._took = 0.0

    def known(self) -> Known:
        """Return what is known: of a journal that is long to read not the last seconds.

        Raises:
            InputError: there is no journal yet, or one cannot be read.
            StorageError: memory and temporary space are used up.
        """
        with self._lock:
            state = state_of(self.journals.paths())
            begun = self._clock()
            is_fresh = begun - self._read_at < max(_FRESH_SECONDS, _SHARE * self._took)
            if self._known is None or (state != self._state and not is_fresh):
                self._known = self._read()
                # What was written meanwhile is read the next time.
                self._state, self._read_at = state, self._clock()
                self._took = self._read_at - begun
            return self._known

    def counts(self, since_ms: int, until_ms: int, part_ms: float) -> list[tuple[str, LaneCount]]:
        """Return how many events are in each part of a time, with their hosts.

        Parts of at least a minute are counted by minutes.

        Raises:
            InputError: a journal cannot be read.
            StorageError: memory and temporary space are used up, or the cache became unreadable.
        """
        self.known()
        if part_ms >= MINUTE_MS:
            return self._by_minutes(since_ms, until_ms, part_ms)
        found: list[tuple[str, LaneCount]] = []
        for journal, minutes in self._minutes:
            if minutes.has_unsealed(since_ms, until_ms):
                found += [
                    (journal.host, one)
                    for one in self._unsealed(journal, minutes, since_ms, until_ms, part_ms)
                ]
            found += [(journal.host, one) for one in minutes.sealed_counts(since_ms, until_ms, part_ms)]
        return found

    def most(self, since_ms: int, until_ms: int) -> int:
        """Return how many events are in the minutes of a time."""
        self.known()
        length = max(MINUTE_MS, until_ms - since_ms)
        return sum(count.events for _, count in self._by_minutes(since_ms, until_ms, length))

    def screen_minute(self, at_ms: int, screen: tuple[str, str] | None, *, earlier: bool) -> int | None:
        """Return where the nearest minute begins that has a screen's events, as `MinuteCounts.beside` does.

        Args:
            at_ms: where to begin.
            screen: the host and the stream's name; None for any.
            earlier: whether to look back.
        """
        self.known()

        def is_wanted(kind: str, name: str) -> bool:
            return kind not in _NO_SCREENS and (screen is None or name == screen[1])

        each = [
            minutes.beside(at_ms, is_wanted, earlier=earlier)
            for journal, minutes in self._minutes
            if screen is None or not self.journals.are_several or journal.host == screen[0]
        ]
        known = [minute for minute in each if minute is not None]
        return None if not known else max(known) if earlier else min(known)

    def _by_minutes(self, since_ms: int, until_ms: int, part_ms: float) -> list[tuple[str, LaneCount]]:
        return [
            (journal.host, count)
            for journal, minutes in self._minutes
            for count in minutes.counts(since_ms, until_ms, part_ms)
        ]

    def _unsealed(
        self, journal: "HostJournal", minutes: MinuteCounts, since_ms: int, until_ms: int, part_ms: float
    ) -> list[LaneCount]:
        window = Window(since_ms, until_ms)
        with self._search_unsealed(journal, window) as result:
            if minutes.knows(result):
                return counted_in(result, since_ms, part_ms) if result.count else []
        # Meanwhile a piece was sealed.
        with self._search_unsealed(journal) as unsealed:
            minutes.update(unsealed)
        with self._search_unsealed(journal, window) as result:
            return counted_in(result, since_ms, part_ms) if result.count else []

    def _search_unsealed(self, journal: "HostJournal", window: Window | None = None) -> "SearchResult":
        cache = None if journal.is_scratch else self.journals.cache_of(journal.path)
        filters = Filters(window=window or Window(), by_event=True, recorder=False)
        return search(journal.path, filters, cache, older=self.journals.older, sealed=False)

    def _read(self) -> Known:
        if not self._minutes:
            for journal in self.journals.all():
                self._minutes.append((journal, self._resources.enter_context(MinuteCounts())))
        spans, unrecorded = [], []
        for journal, minutes in self._minutes:
            with self._search_unsealed(journal) as unsealed:
                minutes.update(unsealed)
                gaps = self.journals.gaps_of(journal, unsealed)
                unrecorded.append(LostTimes(journal.host, gaps, unsealed.pauses))
            if minutes.span is not None:
                spans.append(minutes.span)
        books = merge.read_books(self.journals.all(), self.journals.older)
        span = (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None
        return Known(span, books, unrecorded)

    def close(self) -> None:
        """Release memory. A second call does nothing."""
        self._resources.close()
