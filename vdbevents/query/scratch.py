"""Private temporary folders: removed at their end, on a signal, or else by the next process.

All folders of a process are in one, which holds a locked file for as long as the process lives. So the next
process can tell what a process that was killed has left, and removes it.
"""

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

_PREFIX: Final = "vdbevents-"
_LOCK: Final = "lock"
_UNLOCKED: Final = "not-locked-yet"

IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders in it are private, as all others
"""A directory in memory, for when no temporary directory can be written. Linux has it."""


class _Root:
    """The folder that holds all others of this process, while there are any.

    Attributes:
        pid: the process that uses it; a fork makes a folder of its own.
        path: None while there is none.
        folders: those in it.
        is_lent: whether the parent process removes it.
    """

    def __init__(self) -> None:
        self.changing = threading.RLock()
        self.forget()

    def forget(self) -> None:
        self.pid = os.getpid()
        self.path: Path | None = None
        self.lock: int | None = None
        self.folders: set[Path] = set()
        self.is_lent = False

    def __enter__(self) -> Self:
        self.changing.acquire()
        if self.pid != os.getpid():
            self.forget()
        return self

    def __exit__(self, *_: object) -> None:
        self.changing.release()


_root = _Root()


def make(name: str) -> Path:
    """Make a private folder; `remove` it in the end.

    Where no temporary directory can be written, it is in memory. Where there is none, either, return a path
    at which nothing can be made: a journal that fits into memory is searched without one.
    """
    with _root:
        try:
            root = _root.path or _make_root(name)
            folder = root / _random_name(f"{name}-")
            folder.mkdir(0o700)
        except OSError:
            return Path(os.devnull) / name
        _root.folders.add(folder)
        return folder


def _make_root(name: str) -> Path:
    import tempfile

    try:
        return _make_root_in(Path(tempfile.gettempdir()), name)
    except OSError:
        return _make_root_in(IN_MEMORY, name)


def _make_root_in(directory: Path, name: str) -> Path:
    _remove_left(directory)
    path = directory / _random_name(f"{_PREFIX}{name}-")
    # Known before it is made: a signal may end the process at once after that.
    _root.path = path
    try:
        path.mkdir(0o700)
    except OSError:
        _root.path = None
        raise
    _root.lock = _locked(path)
    return path


def _random_name(prefix: str) -> str:
    return prefix + os.urandom(6).hex()


def remove(folder: Path) -> None:
    """Remove a folder that `make` returned. A second call does nothing."""
    with _root:
        if folder not in _root.folders:
            return
        _remove_tree(folder)
        _root.folders.remove(folder)
        if not _root.folders and not _root.is_lent:
            remove_all()


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """Yield a private folder as `make` does, and remove it at the end."""
    made = make(name)
    try:
        yield made
    finally:
        remove(made)


def directory() -> str:
    """Return the directory that temporary folders are in, for a message."""
    import tempfile

    try:
        return tempfile.gettempdir()
    except OSError:
        return "a temporary directory (TMPDIR)"


def folder_error(error: OSError) -> str:
    """Return why a file in a folder that `make` returned could not be made, for a message."""
    if isinstance(error, NotADirectoryError):  # below `os.devnull`
        return "none can be written"
    return error.strerror or str(error)


def remove_all(*, is_last: bool = False) -> None:
    """Remove all folders of this process at once: it is about to end.

    Args:
        is_last: whether the parent process, whose folder was borrowed, has ended.
    """
    with _root:
        if is_last and _root.is_lent and _root.path is not None:
            _root.path, _root.is_lent = _root.path.parent, False
        # Forgotten before it is closed: a signal may come in the middle, and all is removed again then.
        lock, _root.lock = _root.lock, None
        if lock is not None:
            os.close(lock)
        if _root.path is not None:
            _remove_tree(_root.path)
        _root.forget()


def borrow(within: Path) -> None:
    """Make all further folders in one that the parent process made for this one, and removes in the end."""
    with _root:
        _root.forget()
        _root.path, _root.is_lent = within, True


def _locked(root: Path) -> int | None:
    """Return a descriptor whose lock says that this process lives; None where files cannot be locked."""
    descriptor = os.open(root / _UNLOCKED, os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Under its name it is locked from the beginning: an unlocked one is that of an ended process.
            (root / _UNLOCKED).replace(root / _LOCK)
        except OSError:
            os.close(descriptor)
            return None
    return descriptor


def remove_left() -> None:
    """Remove what ended processes of this user left in the usual directory; `make` does it, too."""
    # To ask `tempfile` for it would load four libraries, in each search of a journal that needs no folder.
    _remove_left(Path(os.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - nothing is made there


def _remove_left(directory: Path) -> None:
    """Remove what ended processes of this user left."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_own_folder(entry) and _is_left(Path(entry.path)):
                _remove_tree(entry.path)


def _is_own_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


def _is_left(root: Path) -> bool:
    """Return whether the process of a folder has ended; False where that is not known."""
    try:
        if sys.platform == "win32":
            # A file that is open cannot be removed.
            (root / _UNLOCKED).unlink()
            return True
        import fcntl

        descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def _remove_tree(folder: Path | str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
