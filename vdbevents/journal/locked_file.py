"""A file that several processes append to, each under a lock of its own file."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vdbevents.journal import locks
from vdbevents.journal.files import same_file
from vdbevents.journal.state import StateDirectory

_LOCK_POLL_SECONDS = 0.0005


class LockedFile:
    """A file and its lock, both kept open between uses and opened again if they were replaced."""

    def __init__(self, path: Path, lock: Path) -> None:
        """Open nothing yet; both files are in one directory."""
        self._path = path
        self._lock = lock
        self._descriptors: dict[Path, int] = {}
        self._device: int | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the lock; yield the file's descriptor.

        Raises:
            OSError: a file cannot be opened, or another process held the lock for 5 s.
        """
        from filelock import lock_descriptor, unlock_descriptor

        deadline = time.monotonic() + locks.LOCK_PATIENCE_SECONDS
        while True:
            lock = self._open(self._lock)
            if lock_descriptor(lock, blocking=False):
                # A lock file that was removed or replaced meanwhile excludes nobody.
                if same_file(lock, self._lock):
                    break
                unlock_descriptor(lock)
            elif time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, f"another process has held {self._lock} for 5 s")
            else:
                time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield self._open(self._path)
        finally:
            unlock_descriptor(lock)

    def sync(self) -> None:
        """Sync the file to disk, if it is open."""
        if self._path in self._descriptors:
            os.fsync(self._descriptors[self._path])

    def close(self) -> None:
        """Close both files; `locked` opens them again."""
        for path in list(self._descriptors):
            self._close(path)

    def _open(self, path: Path) -> int:
        """Return a descriptor of the file that is at the path now; an earlier one may be gone."""
        if path in self._descriptors:
            if same_file(self._descriptors[path], path):
                return self._descriptors[path]
            self._close(path)
        device = path.parent.stat().st_dev
        if self._device is None:
            self._device = device
        elif device != self._device and not self._path.exists():
            # The file system is unmounted. Lines written beneath it would vanish once it is mounted again.
            raise OSError(errno.ENODEV, f"the file system of {path.parent} is not mounted")
        self._descriptors[path] = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        return self._descriptors[path]

    def _close(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptors.pop(path))


@contextlib.contextmanager
def locked_journal(directory: StateDirectory) -> Iterator[int]:
    """Hold the lock of a directory's journal once; yield the journal's descriptor.

    Files in the archive are packed, renamed and removed under this lock, too.

    Raises:
        OSError: as `LockedFile.locked`.
    """
    file = LockedFile(directory.journal, directory.journal_lock)
    with contextlib.closing(file), file.locked() as descriptor:
        yield descriptor
