"""Locks and PID files: which programs run on a state directory."""

import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vdbevents.errors import CaptureError, InputError, ListenerStateError, VdbeventsError
from vdbevents.journal.files import read_object, read_small_file, replace_file, to_json, unusable
from vdbevents.journal.state import StateDirectory

LOCK_PATIENCE_SECONDS = 5.0
_LONGEST_PID = 19


def change_object(
    path: Path, lock: Path, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]
) -> None:
    """Change the JSON object in a state file that several processes write.

    Args:
        path: the file; an unreadable one counts as an empty object.
        lock: held during the change.
        change: takes the object and returns the new one; None leaves the file.

    Raises:
        OSError: the file is unchanged.
    """
    from filelock import unlock_descriptor

    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _takes_lock(descriptor, LOCK_PATIENCE_SECONDS):
            raise OSError(errno.EAGAIN, f"another process has held {lock} for 5 s")
        try:
            changed = change(read_object(path))
            if changed is not None:
                replace_file(path, to_json(changed))
        finally:
            unlock_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_pid(path: Path) -> int | None:
    """Return the process id in a file; it is valid only while the matching lock is held."""
    content = read_small_file(path) or ""
    is_number = len(content) <= _LONGEST_PID and content.isascii() and content.isdigit()
    return int(content) if is_number else None


def listener_pid(directory: StateDirectory) -> int | None:
    """Return the listener's process id; it is valid only while `listener_runs`."""
    return read_pid(directory.ws_pid)


def listener_runs(directory: StateDirectory) -> bool:
    """Return whether a process holds the listener's lock, which the kernel releases with the process.

    Raises:
        InputError: the lock file cannot be opened, or nobody knows whether it is locked.
    """
    return is_held(directory.listener_lock)


def capture_runs(directory: StateDirectory) -> bool:
    """Return whether a process holds the capture's lock; raises as `listener_runs`."""
    return is_held(directory.capture_lock)


def backend_runs(directory: StateDirectory) -> bool:
    """Return whether a process holds the backend's lock; raises as `listener_runs`."""
    return is_held(directory.backend_lock)


def holds(pid: int, lock: Path) -> bool | None:
    """Return whether a process has a lock file open; None if this system does not say.

    A process id means nothing in another container, nor on another machine that shares the directory. Another
    user's process counts as one that has not.
    """
    if not Path("/proc/self/fd").is_dir():
        return None
    try:
        ours = lock.stat()
        return any(_is_same(opened, ours) for opened in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _is_same(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:  # closed meanwhile, or no file
        return False


def host_name() -> str:
    """Return the name of this machine; a lock of another one may not be seen here."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import platform

    return platform.node()


def terminal_of(descriptor: int) -> str | None:
    """Return the terminal that a descriptor writes to; None for a file, a pipe, or a closed one."""
    try:
        return os.ttyname(descriptor)
    except (OSError, AttributeError):  # Windows has no such function
        return None


def is_on_terminal(directory: StateDirectory, descriptor: int) -> bool:
    """Return whether the listener or the backend of a directory writes to the terminal of a descriptor."""
    terminal = terminal_of(descriptor)
    if terminal is None:
        return False
    programs = (
        (directory.listener_status, listener_runs),
        (directory.backend_status, backend_runs),
    )
    return any(read_object(path).get("terminal") == terminal and runs(directory) for path, runs in programs)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock in a file, which need not exist; raises as `listener_runs`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(path, error) from error
    try:
        return not _can_be_locked(descriptor)
    except OSError as error:
        raise unlockable(path, error) from error
    finally:
        os.close(descriptor)


def _can_be_locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return _takes_lock(descriptor, seconds=0.05)
    # Shared, so that two simultaneous checks do not take each other for a listener.
    return _in_time(lambda: _is_free(fcntl.flock, descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB))


def _is_free(flock: Callable[[int, int], object], descriptor: int, operation: int) -> bool:
    try:
        flock(descriptor, operation)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _in_time(attempt: Callable[[], bool]) -> bool:
    """Return what an attempt to lock returns; the server of a network file system may never answer.

    Raises:
        OSError: it failed, or did not end in 5 s.
    """
    ended: list[bool | OSError] = []

    def run() -> None:
        try:
            ended.append(attempt())
        except OSError as error:
            ended.append(error)

    thread = threading.Thread(target=run, name="vdbevents lock", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads
        return attempt()
    thread.join(LOCK_PATIENCE_SECONDS)
    outcome = ended[0] if ended else OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


def _takes_lock(descriptor: int, seconds: float) -> bool:
    """Take the lock if it is free within `seconds`; `is_held` of another process holds it for an instant.

    Raises:
        OSError: the file system has no locks, or does not answer.
    """
    from filelock import lock_descriptor

    deadline = time.monotonic() + seconds
    while not _in_time(lambda: lock_descriptor(descriptor, blocking=False)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def unlockable(path: Path, error: OSError) -> InputError:
    """Return the error of a lock file that cannot be locked, free or not."""
    return InputError(
        f"cannot lock {path}: {error.strerror or error}",
        "use a directory on a local disk: the file system of this one has no locks, or does not answer",
        error_id="locks-unavailable",
    )


def already_listening(directory: StateDirectory) -> ListenerStateError:
    """Return the error of a second listener of a directory."""
    pid = listener_pid(directory)
    return ListenerStateError(
        f"a listener{f' (PID {pid})' if pid else ''} already records into {directory.path}",
        f"end it with: vdbevents stop {directory.path}",
        error_id="listener-running",
    )


def already_capturing(directory: StateDirectory) -> CaptureError:
    """Return the error of a second capture of a directory."""
    pid = read_pid(directory.capture_pid)
    is_here = pid is not None and holds(pid, directory.capture_lock) is not False
    return CaptureError(
        f"a capture{f' (PID {pid})' if pid else ''} already records into {directory.path}",
        f"end it with: kill {pid}" if is_here else "find its process, maybe in a container; send it SIGTERM",
        error_id="capture-running",
    )


def already_serving(directory: StateDirectory) -> CaptureError:
    """Return the error of a second backend of a directory."""
    return CaptureError(
        f"a backend already serves {directory.path}",
        "end it, or choose another directory",
        error_id="backend-running",
    )


class ProcessLock:
    """A lock that one process holds until `release`, or until it ends."""

    def __init__(self, path: Path, taken: Callable[[], VdbeventsError]) -> None:
        """Take the lock.

        Args:
            path: its file, which is created if needed.
            taken: returns the error to raise if another process holds it.

        Raises:
            InputError: its file cannot be opened or locked.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            is_taken = _takes_lock(self._descriptor, seconds=0.5)
        except OSError as error:
            os.close(self._descriptor)
            raise unlockable(path, error) from error
        if not is_taken:
            os.close(self._descriptor)
            raise taken()

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
