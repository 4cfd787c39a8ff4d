"""The journals that the tools read: found once, with one database for all calls, and read again by each."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents.errors import VdbeventsError
from vdbevents.events.gaps import Gap, with_ongoing
from vdbevents.events.session_content import SessionBook
from vdbevents.health.outages import ongoing_gap
from vdbevents.health.status_report import report_on
from vdbevents.journal.files import wall_ms
from vdbevents.journal.state import StateDirectory
from vdbevents.query import hostnames, merge
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache
from vdbevents.query.cache.seal_policy import present_cache
from vdbevents.query.duck import SharedDatabase, interrupt_all
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.merge import MergedResult
from vdbevents.query.older import Older
from vdbevents.query.plain_events import ParsedLines
from vdbevents.query.result_protocols import JournalRows, SessionRows
from vdbevents.servers.background_sealing import BackgroundSealing
from vdbevents.summaries.time_blocks import local_time_of
from vdbevents.terminal import counted
from vdbevents.times import Window, format_duration

if TYPE_CHECKING:
    from vdbevents.query.merge import FoundRows

# Each search leaves some 20 kB in the database that stays open; to start another one takes 30 ms.
_MOST_SEARCHES: Final = 200

OpenJournals = Callable[[], AbstractContextManager[Sequence[HostJournal]]]
"""Finds the journals, unpacks those that are packed, and removes what was unpacked at the end."""

OpenStates = Callable[[], Sequence[StateDirectory]]
"""Finds the directories to report on; a copied journal is named by its file."""


class WarmJournals(Closeable):
    """Journals, opened at the first call that finds them; a context manager.

    A search has a cursor of its own on one database: to start one takes longer than most searches.
    Calls may come from several threads.

    Attributes:
        zone: of times that are given without one, and of times in texts.
    """

    def __init__(
        self, open_journals: OpenJournals, states: OpenStates, zone: tzinfo, *, cleared: bool = False
    ) -> None:
        """Open nothing yet.

        Args:
            open_journals: finds them.
            states: finds the directories to report on.
            zone: the local one.
            cleared: whether to read what was cleared, too.
        """
        self.zone = zone
        self._open_journals = open_journals
        self._states = states
        self._cleared = cleared
        self._lock = threading.Lock()
        self._resources = contextlib.ExitStack()
        self._journals: Sequence[HostJournal] | None = None
        self._database: SharedDatabase | None = None
        self._retired: list[SharedDatabase] = []

    def all(self) -> Sequence[HostJournal]:
        """Return the journals.

        Raises:
            InputError: there is none yet, or one cannot be read.
        """
        with self._lock:
            if self._journals is None:
                self._journals = self._resources.enter_context(self._open_journals())
                self._resources.enter_context(BackgroundSealing(self._journals))
            return self._journals

    def paths(self) -> list[Path]:
        """Return the journals' files; none if there is no journal yet."""
        try:
            return [journal.path for journal in self.all()]
        except VdbeventsError:
            return []

    @property
    def are_several(self) -> bool:
        """Whether each answer must say which machine it is from."""
        return len(self.all()) > 1

    def columns_of(self, columns: Iterable[str]) -> list[str]:
        """Return the columns of events to read: the machine only where there are several."""
        return [name for name in columns if name != "host" or self.are_several]

    @property
    def are_copies(self) -> bool:
        """Whether nothing is written to any of them: they are files that somebody has named."""
        return all(journal.is_scratch or journal.path.name != hostnames.JOURNAL for journal in self.all())

    @property
    def older(self) -> Older:
        """How to read what was set aside."""
        return Older(self.cache_of, self._cleared)

    def cache_of(self, path: Path) -> Cache | None:
        """Return what is sealed of a journal by now."""
        return present_cache(path)

    def search(self, filters: Filters) -> "MergedResult[FoundRows]":
        """Return the events that match, of all that was written until now, to sum them up; it must be closed.

        The end of a journal may show the answer. Otherwise a database of its own is started: to sum up makes
        tables, of which one that stays open keeps some memory.

        Args:
            filters: what matches.

        Raises:
            InputError: a journal cannot be read, or a pattern is not a regular expression.
            StorageError: memory and temporary space are used up.
        """
        return merge.search_rows(self.all(), filters, self.cache_of, cleared=self._cleared)

    def count_sessions(self, filters: Filters, books: Sequence[SessionBook]) -> MergedResult[SessionRows]:
        """Count the events of sessions, as `merge.count_sessions` does; it must be closed.

        The arguments and what it raises are those of `search`.
        """
        return merge.count_sessions(self.all(), filters, self.cache_of, books, cleared=self._cleared)

    def search_rows(self, filters: Filters, known: ParsedLines | None = None) -> "MergedResult[FoundRows]":
        """Search as `search` does, for rows alone: on the database that stays open, where one is needed.

        With `known` it does not parse again what another search has.
        """
        journals, shared = self.all(), None if filters.sessions else self._shared()
        return merge.search_rows(
            journals, filters, self.cache_of, cleared=self._cleared, shared=shared, known=known
        )

    def _shared(self) -> SharedDatabase:
        with self._lock:
            for one in [one for one in self._retired if one.is_idle]:
                one.close()
                self._retired.remove(one)
            if self._database is not None and self._database.opened >= _MOST_SEARCHES:
                self._retired.append(self._database)
                self._database = None
            if self._database is None:
                self._database = SharedDatabase()
            return self._database

    def gaps_of(self, journal: HostJournal, result: JournalRows) -> Sequence[Gap]:
        """Return the gaps of a journal that touch what was searched, and others; also one that goes on."""
        if journal.is_scratch:
            return result.gaps
        return with_ongoing(result.gaps, ongoing_gap(journal.path, wall_ms()))

    def remarks(self, answer: MergedResult[JournalRows], window: Window) -> Iterator[str]:
        """Yield what an answer may lack, in our words: gaps and pauses in the window, unreadable lines."""
        now_ms = wall_ms()
        for journal, (host, result) in zip(self.all(), answer.answers, strict=True):
            where = f" on {host}" if self.are_several else ""
            lost = [
                (gap.since_ms, gap.until_ms)
                for gap in self.gaps_of(journal, result)
                if not gap.is_recovered and gap.touches(window.since_ms, window.until_ms)
            ]
            if lost:
                length = sum(max(0, min(until, now_ms) - since) for since, until in lost)
                yield (
                    f"{counted(len(lost), 'gap')} in this time{where}, {format_duration(length)} in all: "
                    "nothing is known of it."
                )
            paused = [one for one in result.pauses if one.touches(window.since_ms, window.until_ms)]
            if paused:
                yield f"{counted(len(paused), 'pause')} in this time{where}: nothing was recorded then."
            if result.skipped:
                yield f"{counted(result.skipped, 'line')} of the journal{where} cannot be read."

    def newest_remark(self) -> str:
        """Return when the newest event was, to be added to a remark that there is nothing."""
        newest = Filters(by_event=True, recorder=False, limit=1, newest_first=True)
        with self.search_rows(newest) as answer:
            span = answer.span
        if span is None:
            return " The recording is empty."
        at = local_time_of(span[1], self.zone)
        return f" The newest event is of {at:%a %Y-%m-%d %H:%M:%S}, local time."

    def statuses(self) -> Iterator[dict[str, Any]]:
        """Yield the status of each directory, as `status --json` prints it.

        Raises:
            InputError: a journal is packed, or a lock cannot be opened.
        """
        for state in self._states():
            yield report_on(state, self.zone)

    def close(self) -> None:
        """Close the databases, and remove what was unpacked. A second call does nothing."""
        interrupt_all()
        for one in (*self._retired, *([self._database] if self._database else ())):
            one.close()
        self._retired, self._database = [], None
        self._resources.close()
