"""Locks and PID files: who runs on a state directory."""

import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vdbevents.errors import CaptureError, ListenerStateError, VdbeventsError
from vdbevents.journal.files import read_object, read_small_file, replace_file, unusable
from vdbevents.journal.state import StateDirectory

LOCK_PATIENCE_SECONDS = 5.0
_LONGEST_PID = 19


def change_object(
    path: Path, lock: Path, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]
) -> None:
    """Replaces the JSON object in a state file that several processes write.

    Args:
        path: the file; one that cannot be read counts as an empty object.
        lock: held meanwhile.
        change: from what is there to what is to be there; None leaves it.

    Raises:
        OSError: what was there stands.
    """
    from filelock import unlock_descriptor

    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _takes_lock(descriptor, LOCK_PATIENCE_SECONDS):
            raise OSError(errno.EAGAIN, f"another process has held {lock} for 5 s")
        try:
            changed = change(read_object(path))
            if changed is not None:
                content = json.dumps(changed, ensure_ascii=False, indent=1)
                replace_file(path, content.encode("utf-8", "replace"))
        finally:
            unlock_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_pid(path: Path) -> int | None:
    """The process id in a file; what it says counts only while the lock that belongs to it is held."""
    content = read_small_file(path)
    is_one = content and len(content) <= _LONGEST_PID and content.isascii() and content.isdigit()
    return int(content) if content and is_one else None


def listener_pid(directory: StateDirectory) -> int | None:
    """The process id that the listener wrote down; what it says counts only while `listener_runs`."""
    return read_pid(directory.ws_pid)


def listener_runs(directory: StateDirectory) -> bool:
    """Whether a process holds the listener's lock; the kernel drops it with the process.

    Raises:
        InputError: the lock may not be looked at.
    """
    return _is_held(directory.listener_lock)


def capture_runs(directory: StateDirectory) -> bool:
    """Whether a process holds the capture's lock; raises as `listener_runs`."""
    return _is_held(directory.capture_lock)


def backend_runs(directory: StateDirectory) -> bool:
    """Whether a process holds the backend's lock; raises as `listener_runs`."""
    return _is_held(directory.backend_lock)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(path, error) from error
    try:
        return not _can_be_locked(descriptor)
    finally:
        os.close(descriptor)


def _can_be_locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return _takes_lock(descriptor, seconds=0.05)
    # Shared, so that two who ask at once do not take each other for a listener.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _takes_lock(descriptor: int, seconds: float) -> bool:
    """Whether the lock was taken. Whoever asks if it is held holds it for an instant: that is waited out."""
    from filelock import lock_descriptor

    deadline = time.monotonic() + seconds
    while not lock_descriptor(descriptor, blocking=False):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def already_listening(directory: StateDirectory) -> ListenerStateError:
    """The error of who would be the second listener of a directory."""
    pid = listener_pid(directory)
    return ListenerStateError(
        f"a listener{f' (PID {pid})' if pid else ''} already records into {directory.path}",
        f"end it with: vdbevents stop {directory.path}",
    )


def already_capturing(directory: StateDirectory) -> CaptureError:
    """The error of who would be the second capture of a directory."""
    pid = read_pid(directory.capture_pid)
    return CaptureError(
        f"a capture{f' (PID {pid})' if pid else ''} already records into {directory.path}",
        f"end it with: kill {pid}" if pid else "find it among the processes, and send it SIGTERM",
    )


def already_serving(directory: StateDirectory) -> CaptureError:
    """The error of who would be the second backend of a directory."""
    return CaptureError(
        f"a backend already serves {directory.path}",
        "end that one, or name another directory",
    )


class ProcessLock:
    """One process of a kind a directory: held until `release`, or until the process ends."""

    def __init__(self, path: Path, taken: Callable[[], VdbeventsError]) -> None:
        """Takes the lock.

        Args:
            path: its file, which is made where it is not there.
            taken: makes the error for when another process holds it. Nothing was touched then.

        Raises:
            InputError: its file cannot be opened.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        if not _takes_lock(self._descriptor, seconds=0.5):
            os.close(self._descriptor)
            raise taken()

    def release(self) -> None:
        """Lets the next one start."""
        os.close(self._descriptor)
