"""Set a journal aside: rotate it, clear it, or delete it. A crash at any point loses and doubles nothing.

What is set aside is on the disk, under its name in `archive/`, before it leaves the journal. A crash between
the two leaves it in both: `history` counts it once, and `mend` removes the second copy. Names in `archive/`
change under the journal's lock alone.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Final

from vdbevents.journal import archive, history
from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.files import (
    new_file,
    real_path,
    remove_file,
    same_file,
    sync_file,
    sync_folder,
    write_whole,
)
from vdbevents.journal.locked_file import LockedFile, locked_journal
from vdbevents.journal.packed import Packer
from vdbevents.journal.state import StateDirectory
from vdbevents.journal.torn_line import repair_end

_MOST_SET_BACK_MS: Final = 86_400_000
_UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal held when it was cleared or deleted.

    Attributes:
        events: how many lines.
        size: their size in bytes.
        rotated: how many journals had been rotated out of it.
        since_ms: the earliest time of receipt of all, in Unix ms; None where no line has one.
        moved: files that were there before, each with its new path; None if it was deleted.
    """

    events: int = 0
    size: int = 0
    rotated: int = 0
    since_ms: int | None = None
    moved: tuple[tuple[Path, Path | None], ...] = ()


def contents(directory: StateDirectory) -> Contents:
    """Return what clearing or deleting would take away.

    Raises:
        OSError: it cannot be read.
    """
    measure, size = history.Measure(), 0
    try:
        with FileIO(directory.journal, "rb") as journal:
            for block in _blocks(journal):
                measure.add(block)
                size += len(block)
    except FileNotFoundError:
        pass
    return _with_rotated(
        Contents(measure.lines, size, since_ms=measure.from_ms), history.older_journals(directory.journal)
    )


def mend(directory: StateDirectory) -> None:
    """Finish what a crash cut short. Call it while no other process sets this journal aside.

    Raises:
        OSError: a file cannot be read or removed.
    """
    if directory.archive.is_dir():
        for path in [directory.archive / _UNFINISHED, *directory.archive.glob(".*.packing")]:
            remove_file(path)
    for one in archive.archived(directory):
        if one.is_packed:
            remove_file(one.plain_path)
    try:
        file = FileIO(directory.journal, "rb")
    except FileNotFoundError:
        return
    with file:
        for one in archive.archived(directory):
            if history.repeats(file, one) and _has_all(file, one):
                remove_file(one.path)


def _has_all(file: FileIO, older: ArchivedJournal) -> bool:
    place = 0
    with history.open_archived(older) as other:
        while block := other.read(history.BLOCK_BYTES):
            if history.read_part(file, place, len(block)) != block:
                return False
            place += len(block)
    return True


def clear(file: LockedFile, directory: StateDirectory, clock_ms: Callable[[], int]) -> Contents:
    """Pack the journal into the archive, empty it in place, and count what was rotated as cleared, too.

    Raises:
        OSError: it cannot be set aside; nothing is lost.
    """
    archive.create_archive(directory)
    cleared = None
    while cleared is None:
        cleared = _clear(file, directory, clock_ms)
    with file.locked():
        rotated = history.older_journals(directory.journal)
        moved = [*cleared.moved, *(_renamed(directory, one) for one in rotated)]
    if not moved:
        with contextlib.suppress(OSError):  # it has others
            directory.archive.rmdir()
    return replace(_with_rotated(cleared, rotated), moved=tuple(moved))


def _renamed(directory: StateDirectory, one: ArchivedJournal) -> tuple[Path, Path]:
    path = archive.free_path(directory, "cleared", one.from_ms, one.to_ms, packed=one.is_packed)
    one.path.rename(path)
    return one.path, path


def _with_rotated(found: Contents, rotated: list[ArchivedJournal]) -> Contents:
    times = [one.from_ms for one in rotated] + ([] if found.since_ms is None else [found.since_ms])
    return replace(found, rotated=len(rotated), since_ms=min(times, default=None))


def _clear(file: LockedFile, directory: StateDirectory, clock_ms: Callable[[], int]) -> Contents | None:
    """Clear the journal's file alone; None if another file took its name meanwhile."""
    unfinished = directory.archive / _UNFINISHED
    measure = history.Measure()
    with file.locked() as descriptor:
        _repair(descriptor, directory, clock_ms)
    try:
        with new_file(unfinished) as target, FileIO(directory.journal, "rb") as journal:
            packer = Packer(target)

            def pack() -> None:
                for block in _blocks(journal):
                    packer.write(block)
                    measure.add(block)

            # Most of it before the lock is taken: whoever appends waits for that.
            pack()
            with file.locked() as descriptor:
                if not _is_same(journal, descriptor):
                    return None
                _repair(descriptor, directory, clock_ms)
                pack()
                if not packer.size:
                    return Contents()
                packer.finish()
                sync_file(target)
                path = _free_path(directory, "cleared", measure, clock_ms, packed=True)
                unfinished.rename(path)
                sync_folder(directory.archive)
                os.ftruncate(descriptor, 0)
                os.fsync(descriptor)
    finally:
        remove_file(unfinished)
    return Contents(measure.lines, packer.size, since_ms=measure.from_ms, moved=((directory.journal, path),))


def pack(directory: StateDirectory, one: ArchivedJournal) -> Path | None:
    """Compress a rotated journal, and return its new path; None if it is gone.

    Raises:
        OSError: it is as it was.
    """
    unfinished = one.path.with_name(f".{one.path.name}.packing")
    try:
        with new_file(unfinished) as target, FileIO(one.path, "rb") as journal:
            packer = Packer(target)
            for block in _blocks(journal):
                packer.write(block)
            packer.finish()
            sync_file(target)
            # It may be cleared, deleted or rewritten at this moment.
            with locked_journal(directory):
                if not same_file(journal.fileno(), one.path):
                    return None
                unfinished.rename(one.packed_path)
                sync_folder(directory.archive)
                remove_file(one.path)
    except FileNotFoundError:
        return None
    finally:
        remove_file(unfinished)
    return one.packed_path


def delete(file: LockedFile, directory: StateDirectory) -> Contents:
    """Empty the journal in place, and remove what was rotated, and the torn lines.

    Raises:
        OSError: not all of it could be removed.
    """
    found = contents(directory)
    gone: list[tuple[Path, None]] = [(directory.journal, None)]
    with file.locked() as descriptor:
        os.ftruncate(descriptor, 0)
        os.fsync(descriptor)
        for one in history.older_journals(directory.journal):
            remove_file(one.path)
            gone.append((one.path, None))
        remove_file(directory.torn)
    return replace(found, moved=tuple(gone))


def rotate(
    file: LockedFile, directory: StateDirectory, before_ms: int | None, clock_ms: Callable[[], int]
) -> ArchivedJournal | None:
    """Move lines into the archive, as a file that is still to be packed.

    Args:
        file: the journal and its lock.
        directory: its state directory.
        before_ms: the time of receipt, in Unix ms, from which on all lines stay; None moves all of them.
        clock_ms: returns milliseconds since the epoch.

    Returns:
        The new file; None if there was nothing to move, or not at this moment.

    Raises:
        OSError: the journal has all that it had.
    """
    archive.create_archive(directory)
    with file.locked() as descriptor:
        _repair(descriptor, directory, clock_ms)
    with FileIO(directory.journal, "rb") as journal:
        cut = _cut(journal, before_ms)
        if not cut:
            return None
        measure = history.Measure()
        journal.seek(0)
        for block in _blocks(journal, cut):
            measure.add(block)
        path = _free_path(directory, "rotated", measure, clock_ms, packed=False)
        is_moved = _moved_by_name(file, directory, journal, path) or _moved_by_copy(
            file, directory, journal, path
        )
    return archive.parse_name(path) if is_moved else None


def _moved_by_name(file: LockedFile, directory: StateDirectory, journal: FileIO, path: Path) -> bool:
    """Give the journal's file another name, and begin a new one; False where that is not possible."""
    if os.name == "nt":
        return False  # a file that is open there cannot be replaced
    with file.locked() as descriptor:
        if not _is_same(journal, descriptor) or journal.tell() != os.lseek(descriptor, 0, os.SEEK_END):
            return False
        os.fsync(descriptor)
        try:
            os.link(real_path(directory.journal), path)
        except OSError:
            return False  # a file system without links
        with _removed_on_error(path):
            sync_folder(directory.archive)
            _replace_journal(directory, descriptor, ())
    return True


def _moved_by_copy(file: LockedFile, directory: StateDirectory, journal: FileIO, path: Path) -> bool:
    """Copy the journal up to its present place, and begin a new one with the lines after that."""
    unfinished, cut = directory.archive / _UNFINISHED, journal.tell()
    try:
        with new_file(unfinished) as target:
            journal.seek(0)
            for block in _blocks(journal, cut):
                target.write(block)
            sync_file(target)
        with file.locked() as descriptor:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if not _is_same(journal, descriptor) or (os.name == "nt" and end != cut):
                return False
            unfinished.rename(path)
            with _removed_on_error(path):
                sync_folder(directory.archive)
                if os.name == "nt":
                    os.ftruncate(descriptor, 0)
                else:
                    _replace_journal(directory, descriptor, _blocks(journal))
    finally:
        remove_file(unfinished)
    return True


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        remove_file(path)
        raise


def _replace_journal(directory: StateDirectory, descriptor: int, blocks: Iterable[bytes]) -> None:
    real = real_path(directory.journal)
    new = real.with_name(f".{real.name}.tmp")
    with _removed_on_error(new):
        with new_file(new) as target:
            for block in blocks:
                target.write(block)
            os.fchmod(target.fileno(), os.fstat(descriptor).st_mode & 0o777)
            sync_file(target)
        new.replace(real)
    # The archive has the lines by now: an error must not count as one of the rotation.
    with contextlib.suppress(OSError):
        sync_folder(real.parent)


def _repair(descriptor: int, directory: StateDirectory, clock_ms: Callable[[], int]) -> None:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    _, line = repair_end(descriptor, size, directory.torn, clock_ms)
    write_whole(descriptor, line)


def _cut(journal: FileIO, before_ms: int | None) -> int:
    """Return the place in bytes after the last line that was received before a time."""
    end = journal.seek(0, os.SEEK_END)
    if before_ms is None:
        return end
    rest = b""
    while end > 0:
        start = max(0, end - history.BLOCK_BYTES)
        data = history.read_part(journal, start, end - start) + rest
        first = data.find(b"\n") + 1 if start else 0
        place, cut = start + first, 0
        for line in data[first:].split(b"\n")[:-1]:
            place += len(line) + 1
            moment = history.received_ms(line)
            if moment is not None and moment < before_ms:
                cut = place
        if cut:
            return cut
        rest, end = (data[:first] if first else data if start else b""), start
    return 0


def _blocks(journal: FileIO, end: int | None = None) -> Iterator[bytes]:
    """Yield a file's bytes from its present place on, up to its end or to the place `end`."""
    left = None if end is None else end - journal.tell()
    while block := journal.read(history.BLOCK_BYTES if left is None else min(history.BLOCK_BYTES, left)):
        left = None if left is None else left - len(block)
        yield block


def _free_path(
    directory: StateDirectory,
    kind: archive.Kind,
    measure: history.Measure,
    clock_ms: Callable[[], int],
    *,
    packed: bool,
) -> Path:
    if measure.from_ms is None or measure.to_ms is None:
        now_ms = clock_ms()
        return archive.free_path(directory, kind, now_ms, now_ms, packed=packed)
    to_ms = measure.to_ms if kind == "cleared" else _after_others(directory, measure.to_ms)
    return archive.free_path(directory, kind, measure.from_ms, to_ms, packed=packed)


def _after_others(directory: StateDirectory, to_ms: int) -> int:
    """Return the end for a file's name that puts it after those that were rotated before.

    A clock that was set back by hours would put it before them, where a reader that goes backward misses it.
    After more than a day the name keeps its own times: a name with times far ahead is opened for each window.
    """
    latest_ms = max((one.to_ms for one in archive.archived(directory) if not one.is_cleared), default=to_ms)
    return latest_ms + 1 if to_ms < latest_ms <= to_ms + _MOST_SET_BACK_MS else to_ms


def _is_same(journal: FileIO, descriptor: int) -> bool:
    return os.path.samestat(os.fstat(journal.fileno()), os.fstat(descriptor))
