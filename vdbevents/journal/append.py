"""Append whole lines to a journal, under its lock."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence

from vdbevents.events.duplicate_check import DuplicateCheck
from vdbevents.journal.files import remove_file, write_whole
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
            new = [
                line for line in lines if line not in checks or not _is_journaled(descriptor, checks[line])
            ] if checks else lines  # fmt: skip
            content = prefix + b"".join(new)
            self._write(descriptor, content, size - torn)
            self.size = size - torn + len(content)
        if torn:
            self._on_repair(torn)
        return len(lines) - len(new)

    def repair(self) -> None:
        """Repair a torn last line, as each `append` does."""
        self.append(())

    def clear(self) -> None:
        """Empty the journal in place, so that programs that follow the file go on."""
        with self._file.locked() as descriptor:
            os.ftruncate(descriptor, 0)
            self.size = 0
            remove_file(self._directory.torn)
            os.fsync(descriptor)

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


def _is_journaled(descriptor: int, check: DuplicateCheck) -> bool:
    recent = lines_backward(descriptor, [check.needle], _LOOK_BACK_BYTES)
    return any(check.matches(line + b"\n") for line in recent)
