"""Seal, move and remove the caches of journals that were set aside, and pack these."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from vdbevents.errors import InputError, StorageError
from vdbevents.journal import aside
from vdbevents.journal.archive import ArchivedJournal, archived
from vdbevents.journal.files import replace_file
from vdbevents.journal.history import older_journals
from vdbevents.journal.packed import open_content
from vdbevents.journal.state import StateDirectory
from vdbevents.query.cache import build
from vdbevents.query.cache.index import (
    Cache,
    folder_of,
    identity,
    load,
    orphans,
    read_manifest,
    rest_of,
    stored,
)

_WAIT_SECONDS: Final = 5.0


def follow_moves(moved: Iterable[tuple[Path, Path | None]], root: Path) -> None:
    """Move the caches of journals that were moved, and remove those of deleted ones.

    Args:
        moved: the former paths, each with the present one; None if it was deleted.
        root: the folder of all caches.

    Raises:
        StorageError: a cache cannot be removed, or is being written.
    """
    for former, present in moved:
        if present is not None:
            adopt(present, former, root)
        if os.path.lexists(folder_of(former, root)):
            build.clear(folder_of(former, root), _WAIT_SECONDS)


def adopt(journal: Path, former: Path, root: Path) -> Cache:
    """Take over what is sealed of a journal under its former path; return the cache that it has then.

    It may hold less than it held: what comes after the journal's end now.
    """
    present = load(journal, root)
    source = folder_of(former, root)
    if present.segments or not (source / "manifest.json").exists():
        return present
    with contextlib.suppress(OSError), build.locked(source, lambda: None):
        taken = read_manifest(source)
        if taken is None:
            return present
        target = Cache(folder_of(journal, root))
        with open_content(journal) as file:
            size = file.seek(0, os.SEEK_END)
            count = len(taken.segments)
            while count and (taken.segments[count - 1].end > size or not _part(taken, count).covers(file)):
                count -= 1
            target = dataclasses.replace(target, segments=taken.segments[:count], file=identity(file))
        if not count:
            return present
        target.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for segment in target.segments:
            events, *others = zip(taken.files(segment), target.files(segment), strict=True)
            events[0].replace(events[1])
            for former_file, present_file in others:
                with contextlib.suppress(FileNotFoundError):
                    former_file.replace(present_file)
        replace_file(target.manifest, stored(journal, target))
        (source / "manifest.json").unlink()
    return load(journal, root)


def _part(cache: Cache, count: int) -> Cache:
    return dataclasses.replace(cache, segments=cache.segments[:count])


def seal_to_end(journal: Path, root: Path, progress: Callable[[int], None] = lambda _: None) -> Cache:
    """Seal a journal that was set aside to its end, and return its cache.

    Raises:
        InputError: the journal cannot be read.
        StorageError: the cache cannot be written.
    """
    # It may be just rotated, and its cache still have the journal's name.
    adopt(journal, StateDirectory(journal.parent.parent).journal, root)
    return build.seal(journal, root, progress, to_end=True)


def tidy(directory: StateDirectory, root: Path) -> None:
    """Seal and pack what was set aside, as far as that is not done yet.

    Raises:
        InputError, StorageError: a journal or its cache cannot be read or written.
    """
    for one in _listed(directory):
        if rest_of(one.path, load(one.path, root)):
            seal_to_end(one.path, root)
        if not one.is_packed:
            pack(directory, one, root)


def keep_rotated(journal: Path, root: Path) -> None:
    """Let the cache of a journal that was just rotated or cleared follow it, before it is replaced."""
    if load(journal, root).segments or not (folder_of(journal, root) / "manifest.json").exists():
        return
    with contextlib.suppress(OSError):
        for one in reversed(older_journals(journal, cleared=True)):
            adopt(one.path, journal, root)


def pack(directory: StateDirectory, one: ArchivedJournal, root: Path) -> None:
    """Compress a journal that was rotated, and let its cache follow.

    Raises:
        StorageError: it cannot be packed.
    """
    try:
        packed = aside.pack(directory, one)
    except OSError as error:
        raise StorageError(
            f"cannot pack {one.path}: {error.strerror or error}",
            "make room there; it is read unpacked until then",
            error_id="archive-unwritable",
        ) from error
    if packed is not None:
        follow_moves([(one.path, packed)], root)


def _listed(directory: StateDirectory) -> list[ArchivedJournal]:
    try:
        return archived(directory)
    except OSError:
        return []


def remove_orphans(root: Path) -> int:
    """Remove the caches whose journal is gone, and return the number of bytes freed."""
    freed = 0
    for folder in orphans(root):
        with contextlib.suppress(InputError, StorageError):
            freed += build.clear(folder, 0.1)
    return freed
