"""Hold a query to its limits from outside DuckDB: in a child process, which is killed beyond them.

DuckDB does not count all memory that it takes, nor what a query writes into the files that it may read; it
may also ignore an interrupt, or crash. Where a process cannot fork, a thread watches it instead.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from vdbevents.errors import StorageError, VdbeventsError
from vdbevents.query import scratch
from vdbevents.query.byte_ranges import Closeable

_LOOK_SECONDS: Final = 0.05
_NOTICED_SECONDS: Final = 0.3
_HEEDED_SECONDS: Final = 2.0
_INTERRUPTED: Final = 130
_NUMBERS: Final = struct.Struct("=QQ")


class Limits(NamedTuple):
    """What a query may take, in bytes: the memory of its process, and the size of its scratch folder."""

    memory: int
    disk: int


class Guard(Closeable):
    """The watch over a query; a context manager that ends it.

    Attributes:
        code: in the parent process the exit code of the child, which has ended; in the process that is to
            run the query None.
    """

    def __init__(
        self, folder: Path, end: Callable[[VdbeventsError], None], *, forks: bool | None = None
    ) -> None:
        """Fork, and in the parent wait for the end of the child.

        Args:
            folder: the scratch folder.
            end: ends the process with an error; called in a thread, where no process can be forked.
            forks: whether to fork; None where that is possible.

        Raises:
            StorageError: in the parent: the child took more than its limits.
            VdbeventsError: in the parent: the child crashed.
        """
        self.code: int | None = None
        self._folder = folder
        self._end = end
        self._link: socket.socket | None = None
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        if forks is None:
            forks = hasattr(os, "fork") and threading.active_count() == 1
        if forks:
            self._fork()

    def hold(self, limits: Limits) -> None:
        """Apply limits, from now on and for good."""
        if self._link is None:
            self._start(self._watch, limits)
            return
        _limit_memory(limits.memory)
        self._link.sendall(_NUMBERS.pack(*limits))

    def close(self) -> None:
        """End the watch. A second call does nothing."""
        self._is_over.set()
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        if self._link is not None:
            self._link.close()

    def _fork(self) -> None:
        outside, inside = socket.socketpair()
        pid = os.fork()
        if pid:
            inside.close()
            with outside:
                self.code = _Child(pid, outside, self._folder).ended()
            return
        outside.close()
        scratch.borrow(self._folder)
        self._link = inside
        self._start(self._end_with_parent, inside)

    def _start(self, run: Callable[..., None], argument: object) -> None:
        self._thread = threading.Thread(target=run, args=(argument,), daemon=True)
        self._thread.start()

    def _watch(self, limits: Limits) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            try:
                _check(os.getpid(), self._folder, limits)
            except VdbeventsError as error:
                self._end(error)
                return

    def _end_with_parent(self, link: socket.socket) -> None:
        """End the process when nothing watches it any more."""
        with contextlib.suppress(OSError):
            link.recv(1)
        if not self._is_over.is_set():
            scratch.remove_all(is_last=True)
            os._exit(_INTERRUPTED)


class _Child:
    """The child process as its parent sees it."""

    def __init__(self, pid: int, link: socket.socket, folder: Path) -> None:
        self._pid = pid
        self._link = link
        self._folder = folder
        self._limits: Limits | None = None
        self._interrupted: float | None = None
        self._is_told = False

    def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        try:
            while self._runs():
                if self._limits is not None:
                    _check(self._pid, self._folder, self._limits)
                self._end_if_interrupted()
        except BaseException:
            self._signal("SIGKILL")
            os.waitpid(self._pid, 0)
            raise
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return code
        if self._interrupted is not None:
            return _INTERRUPTED
        raise _crashed(-code)

    def _runs(self) -> bool:
        """Wait for a moment; return whether the child still holds its end of the link."""
        try:
            if not select.select([self._link], [], [], _LOOK_SECONDS)[0]:
                return True
            received = self._link.recv(_NUMBERS.size)
        except KeyboardInterrupt:
            self._interrupted = self._interrupted or time.monotonic()
            return True
        except ConnectionError:
            return False
        if received:
            self._limits = Limits(*_NUMBERS.unpack(received))
        return bool(received)

    def _end_if_interrupted(self) -> None:
        if self._interrupted is None:
            return
        waited = time.monotonic() - self._interrupted
        if waited > _NOTICED_SECONDS and not self._is_told:
            # A terminal interrupts the child as well, `kill` does not.
            self._is_told = True
            self._signal("SIGINT")
        if waited > _HEEDED_SECONDS:
            self._signal("SIGKILL")

    def _signal(self, name: str) -> None:
        os.kill(self._pid, getattr(signal, name))


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process occupies; 0 where that is not known."""
    if resident := _pages(pid, 1):
        return resident
    try:
        import psutil

    except ImportError:
        return 0
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _pages(pid: int, column: int) -> int:
    """Return a column of Linux's `statm`, in bytes; 0 on other systems, or without such a process."""
    try:
        numbers = Path(f"/proc/{pid}/statm").read_bytes().split()
        return int(numbers[column]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _limit_memory(most: int) -> None:
    """Let this process allocate so many bytes more, where the system enforces that.

    DuckDB takes a failed allocation for the end of its memory, and says so.
    """
    if sys.platform == "linux" and (data := _pages(os.getpid(), 5)):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = data + most if hard == resource.RLIM_INFINITY else min(data + most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _check(pid: int, folder: Path, limits: Limits) -> None:
    """Raise StorageError if a process takes more than its limits."""
    if (memory := memory_of(pid)) > limits.memory:
        raise StorageError(
            f"the query took {memory >> 20} MiB of memory: at most {limits.memory >> 20} MiB are allowed",
            "select less: fewer rows at once, shorter texts and lists",
            error_id="sql-memory-exceeded",
        )
    if (size := _size(folder)) > limits.disk:
        raise StorageError(
            f"the query took {size >> 20} MiB in {scratch.directory()}: "
            f"at most {limits.disk >> 20} MiB are allowed",
            f"select less, or make room in {scratch.directory()}",
            error_id="sql-disk-exceeded",
        )


def _size(folder: str | Path) -> int:
    size = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    size += _size(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
    return size


def _crashed(number: int) -> VdbeventsError:
    name = next((known.name for known in signal.Signals if known == number), f"signal {number}")
    if name == "SIGKILL":
        return StorageError(
            "the query was killed from outside, as the system does when memory is used up",
            "select less, or end other programs",
            error_id="sql-killed",
        )
    return VdbeventsError(
        f"the query made DuckDB crash ({name})", "write it in another way", error_id="sql-crashed"
    )
