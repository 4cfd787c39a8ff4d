"""Decide when a journal's cache is used, and when it is extended first."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from vdbevents.errors import InputError, StorageError
from vdbevents.journal.archive import is_archived
from vdbevents.journal.history import older_journals
from vdbevents.journal.packed import open_content
from vdbevents.journal.state import StateDirectory
from vdbevents.query.byte_ranges import unreadable_journal
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


def find_root() -> Path | None:
    """Return the folder of all caches; None where there is no place for it."""
    try:
        return default_root()
    except InputError:
        return None


def present_cache(journal: Path, root: Path | None = None) -> index.Cache | None:
    """Return the sealed segments of a journal as they are; None where there is no place for caches."""
    root = root or find_root()
    return None if root is None else index.load(journal, root)


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
    if is_archived(journal):
        # To read an unsealed part of a packed journal takes as long, each time.
        is_due = index.rest_of(journal, cache) > 0
    elif _is_long(window, now):
        is_due = index.unsealed(journal, cache) > 0
    else:
        is_due = False
        if (rest := index.rest_of(journal, cache)) > _MUCH_UNSEALED:
            observer.left_unsealed(journal, rest)
    if not is_due:
        return cache
    try:
        return seal(journal, default_root(), observer)
    except InputError:
        return None  # the search reports it
    except StorageError as error:
        observer.failed(error)
    return present_cache(journal)


def tidy(journal: Path, root: Path) -> int:
    """Seal and pack what was set aside of a state directory's journal; remove caches whose journal is gone.

    Returns:
        The number of bytes of those caches.

    Raises:
        InputError, StorageError: a journal or its cache cannot be read or written.
    """
    from vdbevents.query.cache import archived_caches

    if older_journals(journal, cleared=True):
        archived_caches.tidy(StateDirectory(journal.parent), root)
    return archived_caches.remove_orphans(root)


def remove_orphans() -> None:
    """Remove the caches whose journal is gone: what was said must not outlive its deletion.

    It never fails: a cache that cannot be removed is left to the next command.
    """
    root = find_root()
    if root is not None and any(index.orphans(root)):
        from vdbevents.query.cache import archived_caches

        archived_caches.remove_orphans(root)


def follow_moves(moved: Iterable[tuple[Path, Path | None]]) -> None:
    """Move the caches of journals that were moved, and remove those of deleted ones.

    Args:
        moved: the former paths, each with the present one; None if it was deleted.

    Raises:
        InputError: there is no place for caches.
        StorageError: a cache cannot be removed, or is being written.
    """
    root = default_root()
    with_cache = [
        (former, present) for former, present in moved if os.path.lexists(index.folder_of(former, root))
    ]
    if with_cache:
        from vdbevents.query.cache import archived_caches

        archived_caches.follow_moves(with_cache, root)


def seal(journal: Path, root: Path, observer: SealObserver) -> index.Cache:
    """Seal all full segments of a journal now, and return what is sealed then.

    A journal that was set aside is sealed to its end.

    Raises:
        InputError: the journal cannot be read.
        StorageError: the cache cannot be written.
    """
    cache = index.load(journal, root)
    is_whole = is_archived(journal)
    total = index.rest_of(journal, cache) if is_whole else index.unsealed(journal, cache, index.PART)
    with observer.sealing(journal, cache.end, total) as progress:
        # Slow to import: the observer shows that as well.
        from vdbevents.query.cache import archived_caches, build

        if is_whole:
            return archived_caches.seal_to_end(journal, root, progress)
        archived_caches.keep_rotated(journal, root)
        return build.seal(journal, root, progress)


class Fault(NamedTuple):
    """Something in a cache that is not as it was written.

    Attributes:
        what: what it is, for a person.
        folder: the cache's.
    """

    what: str
    folder: Path


def faults(journal: Path, root: Path) -> Iterator[Fault]:
    """Read all that is sealed of a journal, and the journal itself, and yield what differs.

    Args:
        journal: its file.
        root: the folder of all caches.

    Raises:
        InputError: the journal cannot be read.
    """
    cache = index.load(journal, root)
    try:
        with open_content(journal) as file:
            for segment in cache.segments:
                place = f"bytes {segment.start:,} to {segment.end:,}"
                if not cache.is_of_its_lines(file, segment):
                    yield Fault(f"{place} of {journal} were changed since they were sealed", cache.folder)
                if not cache.holds(segment):
                    yield Fault(f"{cache.events(segment)} is damaged or missing", cache.folder)
                if not cache.has_words(segment):
                    yield Fault(f"{cache.words(segment)} is damaged or missing", cache.folder)
                if not cache.has_minutes(segment):
                    yield Fault(f"{cache.minutes(segment)} is damaged or missing", cache.folder)
    except OSError as error:
        raise unreadable_journal(journal, error) from None


def _is_long(window: Window, now: datetime) -> bool:
    if window.since_ms is None:
        return True
    until_ms = now.timestamp() * 1000 if window.until_ms is None else window.until_ms
    return until_ms - window.since_ms > _LONG_WINDOW_MS
