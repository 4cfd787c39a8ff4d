"""Follow a journal: its matches so far, then new ones as they are written."""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from vdbevents.errors import InputError
from vdbevents.journal.files import unusable
from vdbevents.journal.reader import Tail, follow_batches
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache
from vdbevents.query.engine import search
from vdbevents.query.filters import Event, Filters
from vdbevents.query.search_result import SearchResult
from vdbevents.query.sieve import Sieve
from vdbevents.query.snapshot import Older


class Followed(Closeable):
    """The matches in a journal and those written later, once each; a context manager.

    `output.write` prints it. The batches go on until `wait` returns False. New lines come in the order in
    which they are written; interim transcripts among them only if `filters.interim`.

    Attributes:
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
    ) -> None:
        """Search the journal's present content.

        Args:
            journal: its file, which need not exist yet.
            filters: without `newest_first` and `around_ms`.
            cache_of: returns a journal's cache; None reads all of it.
            wait: called whenever there is nothing new; it should pause. True goes on, False ends.
            on_unreadable: called with the number of new lines that could not be read.

        Raises:
            InputError: the journal cannot be read, or a pattern is not a regular expression.
            StorageError: memory or temporary space is used up.
        """
        self._journal = journal
        self._filters = filters
        self._wait = wait
        self._on_unreadable = on_unreadable
        self.found: SearchResult | None = None
        self._tail: Tail | None = None
        if matches := _searched(journal, filters, cache_of):
            self.found, self._tail = matches
        if self.found is None:
            # Refuse a bad pattern now, and not when the journal appears.
            Sieve(filters, ()).close()
        span = self.found.span if self.found else None
        self.span = span and (span[0], max(span[1], time.time_ns() // 1_000_000))
        self.breaks: Collection[int] = ()

    def lines(self) -> Iterator[list[str]]:
        """Yield the journal's own lines, in batches that are never empty."""
        if self.found:
            yield from self.found.lines()
        for batch in self._coming(()):
            yield [event.line or "" for event in batch]

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches that are never empty; None in columns not in `columns`."""
        if self.found:
            yield from self.found.events(columns)
        yield from self._coming(columns)

    def _coming(self, columns: Collection[str]) -> Iterator[list[Event]]:
        if self.found:
            self.found.close()
        coming = follow_batches(self._journal, from_end=False, wait=self._wait, tail=self._tail)
        try:
            with Sieve(self._filters, columns) as sieve:
                for lines in coming:
                    matching, unreadable = sieve.sift(lines)
                    if unreadable:
                        self._on_unreadable(unreadable)
                    if matching:
                        yield matching
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


def _searched(
    journal: Path, filters: Filters, cache_of: Callable[[Path], Cache | None]
) -> tuple[SearchResult, Tail] | None:
    """Search the journal up to its last whole line; return the result, and a tail from there on.

    None if there is no journal.
    """
    while True:
        try:
            tail = Tail(journal, None)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(journal, error) from error
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
