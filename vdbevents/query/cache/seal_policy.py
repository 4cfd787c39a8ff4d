"""Decide when a journal's cache is used, and when it is extended first."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from vdbevents.errors import InputError, StorageError
from vdbevents.query.cache import index
from vdbevents.times import Window

_LONG_WINDOW_MS: Final = 25 * 3_600_000
_MUCH_UNSEALED: Final = 256 << 20


class SealObserver(Protocol):
    """Someone to report to. Sealing takes time, so without an observer nothing is sealed."""

    def sealing(self, journal: Path, start: int, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Enter while `total` bytes from `start` on are sealed; yield what takes the bytes sealed by now."""

    def left_unsealed(self, journal: Path, size: int) -> None:
        """Report that `size` bytes, which are many, are read unsealed."""

    def failed(self, error: StorageError) -> None:
        """Report that the cache could not be written."""


def default_root() -> Path:
    """Return the folder of all caches.

    Raises:
        InputError: the user has no home directory, and `XDG_CACHE_HOME` is not set.
    """
    try:
        return index.cache_root(os.environ, Path.home())
    except RuntimeError:
        raise InputError(
            "no home directory to keep caches in",
            "set XDG_CACHE_HOME to a directory",
            error_id="cache-home-missing",
        ) from None


def present_cache(journal: Path, root: Path | None = None) -> index.Cache | None:
    """Return the sealed segments of a journal as they are; None where there is no place for caches."""
    try:
        return index.load(journal, root or default_root())
    except InputError:
        return None


def cache_for(journal: Path, window: Window, now: datetime, observer: SealObserver) -> index.Cache | None:
    """Return the sealed segments of a journal to search, and seal first if the window is long.

    A failure to seal is reported, and does not keep anyone from searching.

    Args:
        journal: its file.
        window: the times that are searched.
        now: the present (aware).
        observer: gets the progress.
    """
    cache = present_cache(journal)
    if cache is None:
        return None
    if not _is_long(window, now):
        rest = index.rest_of(journal, cache)
        if rest > _MUCH_UNSEALED:
            observer.left_unsealed(journal, rest)
        return cache
    if not index.unsealed(journal, cache):
        return cache
    try:
        return seal(journal, default_root(), observer)
    except InputError:
        return None  # the search reports it
    except StorageError as error:
        observer.failed(error)
    return present_cache(journal)


def seal(journal: Path, root: Path, observer: SealObserver) -> index.Cache:
    """Seal all full segments of a journal now, and return what is sealed then.

    Raises:
        InputError: the journal cannot be read.
        StorageError: the cache cannot be written.
    """
    cache = index.load(journal, root)
    with observer.sealing(journal, cache.end, index.unsealed(journal, cache, index.PART)) as progress:
        # Slow to import: the observer shows that as well.
        from vdbevents.query.cache import build

        return build.seal(journal, root, progress)


def _is_long(window: Window, now: datetime) -> bool:
    if window.since_ms is None:
        return True
    until_ms = now.timestamp() * 1000 if window.until_ms is None else window.until_ms
    return until_ms - window.since_ms > _LONG_WINDOW_MS
