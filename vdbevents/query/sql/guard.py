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
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from vdbevents.errors import StorageError, VdbeventsError
from vdbevents.query import scratch
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.termination import TerminatedError
from vdbevents.terminal import byte_size

_LOOK_SECONDS: Final = 0.05
_NOTICED_SECONDS: Final = 0.3
_HEEDED_SECONDS: Final = 2.0
_BUG: Final = 70
_INTERRUPTED: Final = 130
_NUMBERS: Final = struct.Struct("=QQ")


class Limits(NamedTuple):
    """What a query may take, in bytes: the memory of its process, and the size of its scratch folder."""

    memory: int
    disk: int


Hold = Callable[[Limits], None]
"""Applies limits to this process, from now on and for good."""


def guarded(
    folder: Path,
    answer: Callable[[Hold], int],
    end: Callable[[VdbeventsError], None],
    *,
    forks: bool | None = None,
) -> int:
    """Call `answer` in a child process, and return its exit code once that has ended.

    Args:
        folder: the scratch folder.
        answer: returns an exit code; it raises nothing but what a signal raises.
        end: ends the process with an error; called by a thread, where no process can be forked.
        forks: whether to fork; None where that is possible.

    Raises:
        StorageError: the child took more than its limits.
        VdbeventsError: the child crashed.
    """
    if forks is None:
        forks = hasattr(os, "fork") and threading.active_count() == 1
    if not forks:
        with _Watch(folder, end) as watch:
            return answer(watch.hold)
    outside, inside = socket.socketpair()
    pid = os.fork()
    if pid:
        inside.close()
        with outside:
            return _Child(pid, outside, folder).ended()
    outside.close()
    return _answer_as_child(folder, inside, answer)


def _answer_as_child(folder: Path, link: socket.socket, answer: Callable[[Hold], int]) -> NoReturn:
    """Answer and end the process, so that nothing that called the parent goes on twice."""
    code = _BUG
    try:
        scratch.borrow(folder)
        threading.Thread(target=_end_with_parent, args=(link,), daemon=True).start()
        code = answer(partial(_hold_child, link))
        sys.stdout.flush()
        sys.stderr.flush()
    except TerminatedError as error:
        code = 128 + error.number
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except (OSError, ValueError):
        pass  # a stream is closed
    finally:
        os._exit(code)


def _hold_child(link: socket.socket, limits: Limits) -> None:
    _limit_memory(limits.memory)
    link.sendall(_NUMBERS.pack(*limits))


def _end_with_parent(link: socket.socket) -> None:
    """End the process when nothing watches it any more."""
    with contextlib.suppress(OSError):
        link.recv(1)
    scratch.remove_all(is_last=True)
    os._exit(_INTERRUPTED)


class _Watch(Closeable):
    """A thread that ends its own process beyond limits; a context manager that ends the watch."""

    def __init__(self, folder: Path, end: Callable[[VdbeventsError], None]) -> None:
        self._folder = folder
        self._end = end
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, limits: Limits) -> None:
        self._thread = threading.Thread(target=self._watch, args=(limits,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, limits: Limits) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            try:
                _check(os.getpid(), self._folder, limits)
            except VdbeventsError as error:
                self._end(error)
                return


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
            f"the query took {byte_size(memory)} of memory: at most {byte_size(limits.memory)} are allowed",
            "select less: fewer rows at once, shorter texts and lists",
            error_id="sql-memory-exceeded",
        )
    if (size := _size(folder)) > limits.disk:
        raise StorageError(
            f"the query took {byte_size(size)} in {scratch.directory()}: "
            f"at most {byte_size(limits.disk)} are allowed",
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
