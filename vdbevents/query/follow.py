"""Follow a journal: its matches so far, then new ones as they are written."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from vdbevents.errors import InputError
from vdbevents.events import envelope
from vdbevents.events.session_content import LAST, SessionBook, resolved
from vdbevents.events.session_facts import NEEDLE
from vdbevents.journal.files import unusable
from vdbevents.journal.reader import Tail, follow_batches
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache
from vdbevents.query.engine import search
from vdbevents.query.filters import Event, Filters
from vdbevents.query.older import Older
from vdbevents.query.said_once import COLUMNS, SaidOnce
from vdbevents.query.search_result import SearchResult
from vdbevents.query.session_reader import read_sessions
from vdbevents.query.sieve import Sieve

_Item = TypeVar("_Item")


class Ending(NamedTuple):
    """When to follow no longer.

    Attributes:
        most: after so many matches; None for any number.
        seconds: after so long, once the present content was searched; None for no time.
    """

    most: int | None = None
    seconds: float | None = None


FOR_EVER: Final = Ending()
"""Until the reader has had enough."""


class Followed(Closeable):
    """The matches in a journal and those written later, once each; a context manager.

    `output.write` prints it. The batches go on until `wait` returns False, or as `ending` says. New lines
    come in the order in which they are written; interim transcripts among them only if `filters.interim`.
    What belongs to a session is known as its lines come; `last` is always the newest session.

    Attributes:
        shown: how many matches were yielded.
        span: from the first time in `found` until now, in Unix ms; None without a match.
        breaks: always empty.
        found: the matches at the start; None where there was no journal yet.
    """

    def __init__(
        self,
        journal: Path,
        filters: Filters,
        cache_of: Callable[[Path], Cache | None] = lambda _: None,
        *,
        wait: Callable[[], bool],
        on_unreadable: Callable[[int], None] = lambda _: None,
        ending: Ending = FOR_EVER,
        after: Tail | None = None,
        once: bool = False,
    ) -> None:
        """Search the journal's present content.

        Args:
            journal: its file, which need not exist yet.
            filters: without `newest_first` and `around_ms`.
            cache_of: returns a journal's cache; None reads all of it.
            wait: called whenever there is nothing new; it should pause. True goes on, False ends.
            on_unreadable: called with the number of new lines that could not be read.
            ending: when it ends by itself.
            after: leave out what is before this place of the journal; it is closed at the end.
            once: whether to yield one version of each sentence: the first one that matches.

        Raises:
            InputError: the journal cannot be read, or a pattern is not a regular expression.
            StorageError: memory or temporary space is used up.
        """
        self._journal = journal
        self._wait = wait
        self._on_unreadable = on_unreadable
        self._ending = ending
        self._once = SaidOnce() if once else None
        self.shown = 0
        self.found: SearchResult | None = None
        self._tail = after
        self._sessions = _FollowedSessions(journal, filters, cache_of)
        if after is None and (matches := _searched(journal, self._sessions.filters, cache_of)):
            self.found, self._tail = matches
        if self.found is None:
            # Refuse a bad pattern now, and not when the journal appears.
            Sieve(self._sessions.filters, ()).close()
        self._deadline = None if ending.seconds is None else time.monotonic() + ending.seconds
        span = self.found.span if self.found else None
        self.span = span and (span[0], max(span[1], time.time_ns() // 1_000_000))
        self.breaks: Collection[int] = ()

    def lines(self) -> Iterator[list[str]]:
        """Yield the journal's own lines, in batches that are never empty."""
        if self.found:
            yield from self._limited(self._found_lines(self.found))
        for batch in self._coming(()):
            yield [event.line or "" for event in batch]

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches that are never empty; None in columns not in `columns`."""
        if self.found:
            yield from self._limited(map(self._new, self.found.events({*columns, *self._needed})))
        yield from self._coming(columns)

    @property
    def _needed(self) -> Collection[str]:
        return COLUMNS if self._once else ()

    def _new(self, events: list[Event]) -> list[Event]:
        return [event for event in events if self._once.is_new(event)] if self._once else events

    def _found_lines(self, found: SearchResult) -> Iterator[list[str]]:
        if self._once is None:
            yield from found.lines()
            return
        are_new = iter([self._once.is_new(event) for batch in found.events(COLUMNS) for event in batch])
        for batch in found.lines():
            yield [line for line, is_new in zip(batch, islice(are_new, len(batch)), strict=True) if is_new]

    def _limited(self, batches: Iterable[list[_Item]]) -> Iterator[list[_Item]]:
        """Yield batches until there are enough, without empty ones."""
        most = self._ending.most
        if self.shown == most:
            return
        for batch in batches:
            if taken := batch[: None if most is None else most - self.shown]:
                self.shown += len(taken)
                yield taken
            if self.shown == most:
                return

    def _is_time_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _coming(self, columns: Collection[str]) -> Iterator[list[Event]]:
        if self.found:
            self.found.close()
        return self._limited(self._sifted({*columns, *self._needed}))

    def _sifted(self, columns: Collection[str]) -> Iterator[list[Event]]:
        """Yield the new matches; an empty batch where new lines do not match."""

        def wait() -> bool:
            return not self._is_time_over() and self._wait()

        coming = follow_batches(self._journal, from_end=False, wait=wait, tail=self._tail)
        with contextlib.ExitStack() as sieves:
            sieve = sieves.enter_context(Sieve(self._sessions.filters, columns))
            try:
                for lines in coming:
                    if self._sessions.take(lines):
                        sieves.close()
                        sieve = sieves.enter_context(Sieve(self._sessions.filters, columns))
                    matching, unreadable = sieve.sift(lines)
                    if unreadable:
                        self._on_unreadable(unreadable)
                    yield self._new(matching)
                    if self._is_time_over():
                        return
            except OSError as error:
                if isinstance(error, BrokenPipeError):
                    raise
                raise unusable(self._journal, error) from error

    def close(self) -> None:
        """Release what the search holds. A second call does nothing."""
        if self.found:
            self.found.close()
        if self._tail:
            self._tail.close()


class _FollowedSessions:
    """The content of the sessions that are asked for, as far as it is known.

    Attributes:
        filters: with that content.
    """

    def __init__(self, journal: Path, filters: Filters, cache_of: Callable[[Path], Cache | None]) -> None:
        self._asked = bool(filters.sessions)
        self.filters = filters
        if not self._asked:
            return
        try:
            self._book = read_sessions(journal, cache_of(journal), Older(cache_of))
        except InputError:
            if journal.exists():
                raise
            self._book = SessionBook()
        # What an id's beginning means stays as it is now; the newest session may be another one later.
        wanted = [resolved([self._book], [one]) if one != LAST else (LAST,) for one in filters.sessions]
        self._wanted = [session for one in wanted for session in one]
        self.filters = self._with_content()

    def take(self, lines: Iterable[bytes]) -> bool:
        """Take new lines; return whether the content is another one now."""
        if not self._asked:
            return False
        changes = 0
        for line in lines:
            if NEEDLE in line and (event := envelope.parse_line(line)):
                changes += self._book.take(event)
        if not changes:
            return False
        before, self.filters = self.filters, self._with_content()
        return self.filters != before

    def _with_content(self) -> Filters:
        newest = resolved([self._book], [LAST])
        wanted = [session for one in self._wanted for session in (newest if one == LAST else (one,))]
        return replace(self.filters, scope=self._book.scope(wanted))


def _tail_of(journal: Path) -> Tail | None:
    try:
        return Tail(journal, None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(journal, error) from error


def _searched(
    journal: Path, filters: Filters, cache_of: Callable[[Path], Cache | None]
) -> tuple[SearchResult, Tail] | None:
    """Search the journal up to its last whole line; return the result, and a tail from there on.

    None if there is no journal.
    """
    while True:
        tail = _tail_of(journal)
        if tail is None:
            return None
        try:
            answer = search(journal, filters, cache_of(journal), end=tail.offset, older=Older(cache_of))
        except (FileNotFoundError, InputError):
            tail.close()
            if journal.exists():
                raise
            return None
        except BaseException:
            tail.close()
            raise
        if tail.is_of(journal) and not tail.is_cleared():
            return answer, tail
        answer.close()
        tail.close()
