"""Append whole lines to a journal, under its lock."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO

from vdbevents.events.duplicate_check import DuplicateCheck
from vdbevents.journal import aside, history
from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.files import read_at, write_whole
from vdbevents.journal.locked_file import LockedFile
from vdbevents.journal.reader import lines_backward
from vdbevents.journal.state import StateDirectory
from vdbevents.journal.torn_line import repair_end

_LOOK_BACK_BYTES = 16 << 20


class Journal:
    """The journal of one state directory, for writing.

    Several processes may write the same journal: each `append` is one write under a lock, which is held only
    for that long. Not thread-safe.

    Attributes:
        size: the journal's size in bytes after our last `append`.
        head: the journal's first bytes then, which distinguish it from others.
        unsynced: whether lines were appended since the last `sync`.
    """

    def __init__(
        self,
        directory: StateDirectory,
        *,
        clock_ms: Callable[[], int],
        on_repair: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Open nothing yet.

        Args:
            directory: the journal's; it must exist at the first `append`.
            clock_ms: returns milliseconds since the epoch.
            on_repair: called after a torn line was set aside, with its length in bytes.
        """
        self._directory = directory
        self._clock_ms = clock_ms
        self._on_repair = on_repair
        self._file = LockedFile(directory.journal, directory.journal_lock)
        self.unsynced = False
        self.size = 0
        self.head = b""
        self.inode = 0

    def append(self, lines: Sequence[bytes], checks: Mapping[bytes, DuplicateCheck] | None = None) -> int:
        """Append all lines, or none of them; repair a torn last line first.

        Args:
            lines: each with its newline.
            checks: for lines to skip if the journal's last 16 MiB have the event already; the check and the
                append are one step under the lock.

        Returns:
            How many lines were skipped.

        Raises:
            OSError: nothing was appended; the call may be repeated.
        """
        with self._file.locked() as descriptor:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            torn, prefix = repair_end(descriptor, size, self._directory.torn, self._clock_ms)
            new = lines
            if checks:
                journal = FileIO(descriptor, "rb", closefd=False)
                new = [line for line in lines if line not in checks or not self._has(journal, checks[line])]
            content = prefix + b"".join(new)
            self._write(descriptor, content, size - torn)
            self.size = size - torn + len(content)
            self.head = read_at(descriptor, 0, history.HEAD_BYTES)
            self.inode = os.fstat(descriptor).st_ino
        if torn:
            self._on_repair(torn)
        return len(lines) - len(new)

    def repair(self) -> None:
        """Repair a torn last line, as each `append` does."""
        self.append(())

    def clear(self) -> aside.Contents:
        """Set the journal aside, and empty it in place, so that programs that follow the file go on.

        Raises:
            OSError: nothing is lost.
        """
        cleared = aside.clear(self._file, self._directory, self._clock_ms)
        self.repair()
        return cleared

    def delete(self) -> aside.Contents:
        """Delete all lines, those that were rotated, and the torn ones.

        Raises:
            OSError: not all of it could be removed.
        """
        deleted = aside.delete(self._file, self._directory)
        self.repair()
        return deleted

    def rotate(self, before_ms: int | None) -> ArchivedJournal | None:
        """Move the lines received before a time into the archive; without a time, all.

        Returns:
            The new file; None if there was nothing to move, or not at this moment.

        Raises:
            OSError: the journal has all that it had.
        """
        self.sync()
        rotated = aside.rotate(self._file, self._directory, before_ms, self._clock_ms)
        self.repair()
        return rotated

    def sync(self) -> None:
        """Sync to disk what was appended.

        Raises:
            OSError: it may not be on the disk.
        """
        if self.unsynced:
            self._file.sync()
            self.unsynced = False

    def close(self) -> None:
        """Close the files; `append` opens them again."""
        self._file.close()

    def _write(self, descriptor: int, content: bytes, size: int) -> None:
        if not content:
            return
        try:
            write_whole(descriptor, content)
        except OSError:
            # A full disk may have taken a part. If even this fails, the next append repairs.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
        self.unsynced = True

    def _has(self, journal: FileIO, check: DuplicateCheck) -> bool:
        return any(check.matches(line + b"\n") for line in self._recent_lines(journal, check.needle))

    def _recent_lines(self, journal: FileIO, needle: bytes) -> Iterator[bytes]:
        """Yield the lines of the last 16 MiB that contain a needle; some may have been rotated since."""
        yield from lines_backward(journal, [needle], _LOOK_BACK_BYTES)
        left = _LOOK_BACK_BYTES - journal.seek(0, os.SEEK_END)
        for older in reversed(history.older_journals(self._directory.journal) if left > 0 else ()):
            with contextlib.suppress(FileNotFoundError), history.open_archived(older) as rotated:
                yield from lines_backward(rotated, [needle], left)
                left -= rotated.seek(0, os.SEEK_END)
            if left <= 0:
                return
