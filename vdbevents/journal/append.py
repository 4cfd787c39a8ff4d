"""Appending to the journal: under its lock, whole lines, torn ends repaired."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vdbevents.events import envelope, identity
from vdbevents.journal.files import last_line_start, read_at, remove_file, same_file, write_whole
from vdbevents.journal.locks import LOCK_PATIENCE_SECONDS
from vdbevents.journal.reader import lines_backward
from vdbevents.journal.state import StateDirectory

_LOCK_POLL_SECONDS = 0.0005
_LOOK_BACK_BYTES = 16 << 20


class Journal:
    """The journal of one state directory, for writing.

    Any number of processes may hold one on the same directory: `append` is one write under a lock that is
    held for that long only. Not for use by two threads at once.
    """

    def __init__(
        self,
        directory: StateDirectory,
        *,
        clock_ms: Callable[[], int],
        on_repair: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Opens nothing yet.

        Args:
            directory: whose journal; it has to exist when something is appended.
            clock_ms: milliseconds since the epoch, for the line that tells of a repair.
            on_repair: called with the number of bytes that were set aside, after a repair is written down.
        """
        self._directory = directory
        self._clock_ms = clock_ms
        self._on_repair = on_repair
        self._descriptor: int | None = None
        self._lock_descriptor: int | None = None
        self._device: int | None = None
        self._unsynced = False
        self.size = 0
        """The journal's size in bytes after our last `append`."""

    @property
    def unsynced(self) -> bool:
        """Whether something was appended since the last `sync`."""
        return self._unsynced

    def append(self, lines: Sequence[bytes], once: Mapping[bytes, identity.Once] | None = None) -> int:
        """Appends whole lines, all or none of them, and first sees to it that the last line is whole.

        Args:
            lines: each with its newline.
            once: of lines that are left out where the journal's last 16 MiB tell the same already: that is
                looked up and appended in one step, whoever else appends.

        Returns:
            How many were left out.

        Raises:
            OSError: nothing of it is in the journal; the call may be repeated.
        """
        with self._locked() as descriptor:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            torn, prefix = self._repair(descriptor, size)
            kept = (
                [line for line in lines if line not in once or not _is_told(descriptor, once[line])]
                if once
                else lines
            )
            content = prefix + b"".join(kept)
            self._write(descriptor, content, size - torn)
            self.size = size - torn + len(content)
        if torn:
            self._on_repair(torn)
        return len(lines) - len(kept)

    def repair(self) -> None:
        """Sees to it that the last line is whole, as every `append` does."""
        self.append(())

    def clear(self) -> None:
        """Empties the journal in place, so that whoever follows the file goes on with it."""
        with self._locked() as descriptor:
            os.ftruncate(descriptor, 0)
            self.size = 0
            remove_file(self._directory.torn)
            os.fsync(descriptor)

    def sync(self) -> None:
        """Has the operating system write to the disk what was appended.

        Raises:
            OSError: it is not known to be there.
        """
        if self._unsynced and self._descriptor is not None:
            os.fsync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Closes the files; `append` would open them again."""
        for descriptor in (self._descriptor, self._lock_descriptor):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._descriptor = self._lock_descriptor = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        from filelock import lock_descriptor, unlock_descriptor

        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            self._lock_descriptor = self._opened(self._lock_descriptor, self._directory.journal_lock)
            if lock_descriptor(self._lock_descriptor, blocking=False):
                # A lock file that was removed or replaced while we waited keeps nobody out.
                if same_file(self._lock_descriptor, self._directory.journal_lock):
                    break
                unlock_descriptor(self._lock_descriptor)
            elif time.monotonic() > deadline:
                raise OSError(
                    errno.EAGAIN, f"another process has held {self._directory.journal_lock} for 5 s"
                )
            else:
                time.sleep(_LOCK_POLL_SECONDS)
        try:
            self._descriptor = self._opened(self._descriptor, self._directory.journal)
            yield self._descriptor
        finally:
            unlock_descriptor(self._lock_descriptor)

    def _opened(self, descriptor: int | None, path: Path) -> int:
        """A descriptor of the file that is at the path now; the one before may be removed or unmounted."""
        if descriptor is not None:
            if same_file(descriptor, path):
                return descriptor
            with contextlib.suppress(OSError):
                os.close(descriptor)
            if path == self._directory.journal:
                self._descriptor = None
            else:
                self._lock_descriptor = None
        device = self._directory.path.stat().st_dev
        if self._device is None:
            self._device = device
        elif device != self._device and not self._directory.journal.exists():
            # The file system under the directory is gone. Writing to what was beneath it would hide the
            # lines as soon as it is back.
            raise OSError(errno.ENODEV, f"the file system of {self._directory.path} is not mounted")
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)

    def _repair(self, descriptor: int, size: int) -> tuple[int, bytes]:
        """Cuts off a torn last line. Answers how many bytes were cut, and what the next write begins with."""
        if size == 0 or read_at(descriptor, size - 1, 1) == b"\n":
            return 0, b""
        start = last_line_start(descriptor, size)
        tail = read_at(descriptor, start, size - start)
        # No object cut short is an object: a tail that is one lacks its newline and nothing else.
        if envelope.parse_line(tail) is not None:
            return 0, b"\n"
        self._set_aside(tail)
        os.ftruncate(descriptor, start)
        told = {"bytes": len(tail), "kept_in": self._directory.torn.name}
        return len(tail), envelope.own_record("journal.repaired", told, self._clock_ms()).line

    def _set_aside(self, tail: bytes) -> None:
        # Safe on the disk before it is cut from the journal: a crash between the two leaves it in both.
        descriptor = os.open(self._directory.torn, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(descriptor).st_size
        try:
            write_whole(descriptor, tail + b"\n")
            os.fsync(descriptor)
        except OSError:
            # A piece of it would be glued to the next attempt, and take the room that was just made.
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, content: bytes, size: int) -> None:
        if not content:
            return
        try:
            write_whole(descriptor, content)
        except OSError:
            # A full disk may have taken a part. Where even cutting fails, the next append repairs.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
        self._unsynced = True


def _is_told(descriptor: int, once: identity.Once) -> bool:
    recent = lines_backward(descriptor, [once.needle], _LOOK_BACK_BYTES)
    return any(once.is_told_by(line + b"\n") for line in recent)
