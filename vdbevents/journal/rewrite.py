"""Rewrite a journal by a function over its lines, while others go on writing and reading it.

The new content goes to a hidden file in the same folder, which replaces the journal under its lock with the
lines that were appended meanwhile. So an end at any moment leaves the old journal or the new one. The last
line of the new content is one of the recorder's own that names the replaced file: a reader that has read that
file to its end goes on there (`reader.follow`).
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from vdbevents.errors import StorageError
from vdbevents.events import envelope
from vdbevents.journal.files import (
    give_to_owner,
    new_file,
    read_at,
    real_path,
    remove_file,
    same_file,
    sync_file,
    sync_folder,
    write_whole,
)
from vdbevents.journal.foreign_writers import foreign_writer
from vdbevents.journal.locked_file import locked_journal
from vdbevents.journal.locks import ProcessLock, listener_runs
from vdbevents.journal.packed import DamagedError, Packer, unpacked
from vdbevents.journal.state import StateDirectory
from vdbevents.journal.torn_line import repair_end

Change = Callable[[bytes], bytes | None]
"""Returns the line to write instead of one of the journal, both with their newlines; None drops it."""

_BLOCK: Final = 1 << 20
# With less than this left to copy, the journal is locked: others wait for about as long as one write takes.
_LEFT_UNDER_LOCK: Final = 1 << 18
_MOST_ROUNDS: Final = 1000
# A line begins with its time of receipt, so another journal has other bytes there.
_HEAD_BYTES: Final = 64
_SUFFIX: Final = ".rewritten"
_SETTLING_SECONDS: Final = 0.05


class JournalMovedError(Exception):
    """The journal was rotated, replaced or cleared meanwhile; nothing was changed."""


class OwnMark(NamedTuple):
    """The line that ends the new content: an event of the recorder's own and its facts."""

    event: str
    data: Mapping[str, object]


@dataclass(slots=True)
class RewriteOutcome:
    """What was done to one file.

    Attributes:
        kept, dropped, changed: numbers of lines; a changed one is also kept.
        bytes_before, bytes_after: the sizes of the content, unpacked.
    """

    kept: int = 0
    dropped: int = 0
    changed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    @property
    def is_different(self) -> bool:
        """Whether a line was dropped or changed."""
        return bool(self.dropped or self.changed)


@contextlib.contextmanager
def rewriting(directory: StateDirectory) -> Iterator[None]:
    """Be the only one that rewrites files of a directory; remove what an interrupted run left first.

    Raises:
        StorageError: another process does.
        InputError: the lock cannot be opened.
    """

    def taken() -> StorageError:
        return StorageError(
            f"another process is rewriting the journals in {directory.path}",
            "try again when it has ended",
            error_id="rewrite-busy",
        )

    lock = ProcessLock(directory.rewrite_lock, taken)
    try:
        give_to_owner(directory.rewrite_lock)
        remove_unfinished(directory)
        yield
    finally:
        lock.release()


def remove_unfinished(directory: StateDirectory) -> None:
    """Remove the unfinished copies that a kill left; the caller holds `rewriting`."""
    remove_file(_unfinished_path(real_path(directory.journal)))
    for path in directory.archive.glob(f".*{_SUFFIX}"):
        remove_file(path)
    if not listener_runs(directory):
        # A listener uses them at this moment, or has removed them when it began.
        for path in (
            *directory.archive.glob(".unfinished"),
            *directory.archive.glob(".*.packing"),
            *directory.path.glob(f".{directory.journal.name}.tmp"),
        ):
            remove_file(path)


def rewrite_journal(
    directory: StateDirectory,
    change: Change,
    mark: Callable[[RewriteOutcome], OwnMark],
    *,
    clock_ms: Callable[[], int],
) -> RewriteOutcome:
    """Rewrite the journal that is being written; the caller holds `rewriting`.

    Args:
        directory: the journal's.
        change: called with each line once, in order.
        mark: returns the line to end the new content with.
        clock_ms: returns milliseconds since the epoch.

    Returns:
        What was done. Without a difference the file was not touched.

    Raises:
        JournalMovedError: the journal is not the file any more that was read.
        StorageError: another program has the journal open for writing without its lock.
        OSError: the journal is unchanged.
    """
    path = real_path(directory.journal)
    outcome = RewriteOutcome()
    try:
        source = path.open("rb", buffering=0)
    except FileNotFoundError:
        return outcome
    with source, _unfinished(path) as target:
        copy = _Copy(source, target, change, outcome)
        # A fast writer must not keep us from ever ending.
        for _ in range(_MOST_ROUNDS):
            if copy.step() <= _LEFT_UNDER_LOCK:
                break
        sync_file(target)
        if outcome.is_different:
            _refuse_foreign_writer(path, directory)
        with locked_journal(directory) as descriptor:
            _commit(directory, copy, descriptor, mark, clock_ms)
    return outcome


def _commit(
    directory: StateDirectory,
    copy: "_Copy",
    descriptor: int,
    mark: Callable[[RewriteOutcome], OwnMark],
    clock_ms: Callable[[], int],
) -> None:
    """Take over the last lines and replace the journal; its lock is held."""
    source, target, path = copy.source, copy.target, real_path(directory.journal)
    before = os.fstat(source.fileno())
    if not os.path.samestat(before, os.fstat(descriptor)) or not copy.goes_on():
        raise JournalMovedError
    _, prefix = repair_end(descriptor, before.st_size, directory.torn, clock_ms)
    # Into the old file: a reader that follows it must find this line there, before it goes on in the new one.
    write_whole(descriptor, prefix)
    copy.step()
    if not copy.outcome.is_different:
        return
    event, data = mark(copy.outcome)
    replaced = {"inode": before.st_ino, "bytes": copy.offset}
    target.write(envelope.own_record(event, {**data, "replaced": replaced}, clock_ms()).line)
    sync_file(target)
    # Before it is the journal: then there is nothing left that could fail.
    _copy_owner(before, target)
    Path(target.name).replace(path)
    with contextlib.suppress(OSError):
        sync_folder(path.parent)
    # A program that ignores the lock may have written a line at this very moment.
    time.sleep(_SETTLING_SECONDS)
    if os.fstat(source.fileno()).st_size > copy.offset:
        copy.step()
        sync_file(target)


def rewrite_archived(directory: StateDirectory, path: Path, change: Change) -> RewriteOutcome:
    """Rewrite a journal in the archive, packed or plain; the caller holds `rewriting`.

    Returns:
        What was done. Without a difference the file was not touched. With nothing kept it is removed.

    Raises:
        JournalMovedError: it was packed, renamed or removed meanwhile; nothing was changed.
        StorageError: it is damaged.
        OSError: the file is unchanged.
    """
    outcome = RewriteOutcome()
    with path.open("rb") as source, _unfinished(path) as target:
        packer = Packer(target) if path.suffix == ".zst" else None
        written = packer or target
        for line in archived_lines(path):
            written.write(_changed(line, change, outcome))
        if not outcome.is_different:
            return outcome
        if packer is not None:
            packer.finish()
        sync_file(target)
        _copy_owner(os.fstat(source.fileno()), target)
        with unchanged(directory, path, source):
            if outcome.kept:
                Path(target.name).replace(path)
            else:
                remove_file(path)
            with contextlib.suppress(OSError):
                sync_folder(path.parent)
    return outcome


@contextlib.contextmanager
def unchanged(directory: StateDirectory, path: Path, source: BinaryIO) -> Iterator[None]:
    """Hold the lock under which files in the archive are packed, renamed and removed.

    Raises:
        JournalMovedError: an open file is not the one at its path any more.
    """
    with locked_journal(directory):
        if not same_file(source.fileno(), path):
            raise JournalMovedError
        yield


def archived_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a journal that nobody appends to, packed (`.zst`) or plain, each with a newline.

    Raises:
        StorageError: it is damaged; what is before the damage was yielded.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if path.suffix != ".zst":
            yield from lines_of(lambda: file.read(_BLOCK))
            return
        try:
            pieces = unpacked(file)
            yield from lines_of(lambda: next(pieces, b""))
        except DamagedError as error:
            raise StorageError(
                f"the archived journal {path} {error}",
                "restore it from a backup, or remove it",
                error_id="archive-damaged",
            ) from error


def lines_of(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the lines of a content that `read` returns piece by piece; the last one gets a newline, too."""
    pieces: list[bytes] = []
    while block := read():
        first = block.find(b"\n") + 1
        if not first:
            pieces.append(block)
            continue
        yield b"".join([*pieces, block[:first]])
        *lines, rest = block[first:].split(b"\n")
        for line in lines:
            yield line + b"\n"
        pieces = [rest] if rest else []
    if pieces:
        yield b"".join(pieces) + b"\n"


class _Copy:
    """The copying of a growing file's whole lines."""

    def __init__(self, source: BinaryIO, target: BinaryIO, change: Change, outcome: RewriteOutcome) -> None:
        self.source = source
        self.target = target
        self.outcome = outcome
        self.offset = 0
        self._change = change
        self._head = read_at(source.fileno(), 0, _HEAD_BYTES)

    def goes_on(self) -> bool:
        """Return whether the file still begins with what was copied: a clearing empties it in place."""
        descriptor = self.source.fileno()
        is_as_long = os.fstat(descriptor).st_size >= self.offset
        return is_as_long and read_at(descriptor, 0, len(self._head)) == self._head

    def step(self) -> int:
        """Copy what there is now; return how many bytes came since."""
        descriptor = self.source.fileno()
        end = os.fstat(descriptor).st_size
        rest = b""
        while (start := self.offset + len(rest)) < end:
            # A line may be longer than a block.
            block = rest + read_at(descriptor, start, min(max(_BLOCK, len(rest)), end - start))
            if len(block) == len(rest):
                raise JournalMovedError  # it was cut
            whole = block.rfind(b"\n") + 1
            for line in block[:whole].split(b"\n")[:-1]:
                self.target.write(_changed(line + b"\n", self._change, self.outcome))
            self.offset += whole
            rest = block[whole:]
        return os.fstat(descriptor).st_size - end


def _changed(line: bytes, change: Change, outcome: RewriteOutcome) -> bytes:
    new = change(line)
    outcome.bytes_before += len(line)
    if new is None:
        outcome.dropped += 1
        return b""
    outcome.kept += 1
    outcome.changed += new != line
    outcome.bytes_after += len(new)
    return new


def _unfinished_path(path: Path) -> Path:
    return path.with_name(f".{path.name}{_SUFFIX}")


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[BinaryIO]:
    """Yield a new hidden file beside a journal, which is removed at the end unless it took its place."""
    name = _unfinished_path(path)
    try:
        with new_file(name) as target:
            yield target
    finally:
        remove_file(name)


def _copy_owner(before: os.stat_result, target: BinaryIO) -> None:
    """Give the new file the mode and the owner of the old one: its writers must not be shut out."""
    if os.name != "posix":
        return
    after = os.fstat(target.fileno())
    if before.st_uid != after.st_uid:
        os.fchown(target.fileno(), before.st_uid, before.st_gid)
    elif before.st_gid != after.st_gid:
        with contextlib.suppress(PermissionError):
            os.fchown(target.fileno(), -1, before.st_gid)
    os.fchmod(target.fileno(), before.st_mode & 0o777)


def _refuse_foreign_writer(path: Path, directory: StateDirectory) -> None:
    pid = foreign_writer(path, directory.journal_lock)
    if pid is not None:
        raise StorageError(
            f"the process {pid} writes to {path} without its lock: its next lines would be lost",
            f"end it first, or have it open {path.name} for each line",
            error_id="rewrite-foreign-writer",
        )
