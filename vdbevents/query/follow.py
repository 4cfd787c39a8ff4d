"""An answer that goes on: what a journal holds, and then what is written to it, as it is written."""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from vdbevents.errors import InputError
from vdbevents.journal.files import unusable
from vdbevents.journal.reader import Tail, follow_batches
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache
from vdbevents.query.engine import Answer, search
from vdbevents.query.filters import Event, Filters
from vdbevents.query.sieve import Sieve


class Followed(Closeable):
    """What a journal holds and what comes after that, once each, for `render.write`; a context manager.

    Its batches never end, as long as `wait` does not say so. Lines that come are in the order in which they
    are written, and an interim transcript among them is there only if `filters.interim` says so.

    Attributes:
        span: from the first time in what was found until now, in Unix ms; None where nothing was found.
        breaks: none.
        found: what the journal held; None where it was not there yet.
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
        """Ask what is there.

        Args:
            journal: it need not be there yet.
            filters: not of an order or of surroundings.
            cache_of: gives what is sealed of a journal; None reads all of it.
            wait: called whenever nothing more has come; it should pause. True goes on, False ends.
            on_unreadable: called with how many of the lines that came could not be read.

        Raises:
            InputError: the journal cannot be read, or a pattern is no regular expression.
            StorageError: memory or temporary space is used up.
        """
        self._journal = journal
        self._filters = filters
        self._wait = wait
        self._on_unreadable = on_unreadable
        self.found: Answer | None = None
        self._tail: Tail | None = None
        if found := _searched(journal, filters, cache_of):
            self.found, self._tail = found
        if self.found is None:
            # A pattern that is none is told at once, and not when there is a journal.
            Sieve(filters, ()).close()
        span = self.found.span if self.found else None
        self.span = span and (span[0], max(span[1], time.time_ns() // 1_000_000))
        self.breaks: Collection[int] = ()

    def lines(self) -> Iterator[list[str]]:
        """The journal's own lines, in batches that are never empty."""
        if self.found:
            yield from self.found.lines()
        for batch in self._coming(()):
            yield [event.line or "" for event in batch]

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """The folded events, in batches that are never empty; None in columns other than `columns`."""
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
        """Give back what the search holds. Harmless when repeated."""
        if self.found:
            self.found.close()
        if self._tail:
            self._tail.close()


def _searched(
    journal: Path, filters: Filters, cache_of: Callable[[Path], Cache | None]
) -> tuple[Answer, Tail] | None:
    """Search the journal to its last whole line; return what it holds, and a tail of what comes after that.

    None where there is no journal.
    """
    while True:
        try:
            tail = Tail(journal, None)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(journal, error) from error
        try:
            answer = search(journal, filters, cache_of(journal), end=tail.offset)
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
