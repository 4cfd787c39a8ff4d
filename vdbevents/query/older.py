"""Which of the journals that were set aside to read, and how."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from vdbevents.journal.archive import ArchivedJournal
from vdbevents.query.cache.index import Cache
from vdbevents.times import Window


class Older(NamedTuple):
    """How to read the journals that were set aside.

    Attributes:
        cache_of: returns the cache of such a journal, sealed to its end; None unpacks it.
        cleared: whether to read those that were cleared, too.
        window: leave out those that hold nothing that was received in it.
    """

    cache_of: Callable[[Path], Cache | None] = lambda _: None
    cleared: bool = False
    window: Window = Window()

    def without_cache(self) -> Self:
        """Return the same without caches: they are damaged."""
        return self._replace(cache_of=lambda _: None)


def may_matter(aside: Sequence[ArchivedJournal], since_ms: int | None) -> list[ArchivedJournal]:
    """Return the journals that may have something of a window, or a line about a gap or a pause in it.

    A line about a gap is written after the gap. A pause that goes on may have begun in the last one before.
    """
    if since_ms is None:
        return list(aside)
    before = [one for one in aside if one.to_ms < since_ms]
    return [*before[-1:], *(one for one in aside if one.to_ms >= since_ms)]
