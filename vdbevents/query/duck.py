"""Connect to DuckDB: settings, memory, errors and interrupts."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from io import FileIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vdbevents.errors import StorageError
from vdbevents.query import scratch
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.termination import ended_in_order, interruption, is_ending

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

_NOTICED_SECONDS: Final = 0.3
_HEEDED_SECONDS: Final = 1.0
_BATCH: Final = 2048

_NEVER: Final = "1TB"
_MOST_PARSED: Final = 128

# SQL that was executed, oldest first.
_parsed: "dict[str, Statement]" = {}
_parsing: Final = threading.Lock()

# The open connections: Ctrl-C interrupts them.
_connections: "weakref.WeakSet[DuckDBPyConnection]" = weakref.WeakSet()


_T = TypeVar("_T")


class WorkCancelledError(Exception):
    """The work is not wanted any more."""


class CancellableWork:
    """What one call does with DuckDB; another thread may end it."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._connections: weakref.WeakSet[DuckDBPyConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_cancelled = False

    def run(self, function: Callable[[], _T]) -> _T:
        """Call a function, and return what it returns.

        Raises:
            WorkCancelledError: it was cancelled before the function was done.
        """
        token = _work.set(self)
        try:
            self.check()
            return function()
        except Exception as error:
            if self._is_cancelled:
                raise WorkCancelledError from error
            raise
        finally:
            _work.reset(token)

    def cancel(self) -> None:
        """End it: what runs is interrupted, and nothing else begins.

        A statement that begins at this moment does not notice: call it again until the work has ended.
        """
        self._is_cancelled = True
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _interrupt(connection)

    def check(self) -> None:
        """Raise WorkCancelledError if it was cancelled."""
        if self._is_cancelled:
            raise WorkCancelledError

    def take(self, connection: "DuckDBPyConnection") -> None:
        """Interrupt a connection, too, when it is cancelled."""
        self.check()
        with self._lock:
            self._connections.add(connection)


_work: Final[ContextVar[CancellableWork | None]] = ContextVar("work", default=None)


def memory_for(longest: int, least_mb: int = 1000) -> int:
    """Return a memory limit in MB for lines of at most `longest` bytes.

    A huge line is held many times over: as read, as JSON, as text.
    """
    return least_mb + 40 * (longest >> 20)


def connect(folder: str, memory_mb: int, threads: int | None = None) -> "DuckDBPyConnection":
    """Return a connection that loads no extensions, and spills into a private folder.

    Args:
        folder: where it spills into; it need not exist.
        memory_mb: the memory limit, in MB.
        threads: the number of threads; None for one a core.
    """
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": folder,
            "memory_limit": f"{memory_mb}MB",
            # It would compress tables that are soon dropped.
            "checkpoint_threshold": _NEVER,
            **({} if threads is None else {"threads": str(threads)}),
        },
    )
    return _quiet(connection)


def _quiet(connection: "DuckDBPyConnection") -> "DuckDBPyConnection":
    _connections.add(connection)
    if work := _work.get():
        work.take(connection)
    connection.execute("SET enable_progress_bar = false")  # it would go to stdout
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class SharedDatabase(Closeable):
    """One DuckDB database for several searches, or segments, at once; a context manager.

    A database for each would take some ten threads, and several times as long to start as a small journal
    takes to search.

    Attributes:
        scratch: a private folder for data that does not fit into memory; it is removed at the end.
        opened: how many connections it has opened.
    """

    def __init__(
        self,
        folder: Path | None = None,
        memory_mb: int = 1000,
        threads: int | None = None,
    ) -> None:
        """Start the database.

        Args:
            folder: where to make `scratch`; None for the temporary directory.
            memory_mb: the memory limit of all connections together, in MB.
            threads: the number of threads of one statement; None for one a core.
        """
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._cursors: weakref.WeakSet[DuckDBPyConnection] = weakref.WeakSet()
        self.opened = 0
        import tempfile

        self._is_within = folder is not None
        self.scratch = (
            Path(tempfile.mkdtemp(prefix="scratch-", dir=folder)) if folder else scratch.make("query")
        )
        try:
            self._database = connect(str(self.scratch), memory_mb, threads)
        except BaseException:
            self._remove()
            raise

    def connection(self, memory_mb: int) -> "DuckDBPyConnection":
        """Return a connection with temporary tables of its own; raise the memory limit if it needs more."""
        with self._lock:
            if memory_mb > self._memory_mb:
                self._memory_mb = memory_mb
                self._database.execute(f"SET memory_limit = '{memory_mb}MB'")
            connection = _quiet(self._database.cursor())
            self._cursors.add(connection)
            self.opened += 1
            return connection

    @property
    def is_idle(self) -> bool:
        """Whether nobody has one of its connections any more."""
        return not self._cursors

    def interrupt(self) -> None:
        """Interrupt all connections: their statements raise `duckdb.InterruptException`."""
        for connection in list(self._cursors):
            _interrupt(connection)

    def close(self) -> None:
        """Close the database and remove its folder. A second call does nothing."""
        import duckdb

        try:
            # A call that a server's end has left alone may still be in it: then it closes with that.
            with contextlib.suppress(duckdb.Error):
                self._database.close()
        finally:
            self._remove()

    def _remove(self) -> None:
        if self._is_within:
            import shutil

            shutil.rmtree(self.scratch, ignore_errors=True)
        else:
            scratch.remove(self.scratch)


def execute(
    connection: "DuckDBPyConnection", sql: str, values: Sequence[object] = ()
) -> "DuckDBPyConnection":
    """Run one statement as `connection.execute` does, and remember how it is parsed; return the connection.

    Of a search or of sealing, a process runs the same statements again and again, and to parse them takes a
    fifth of the time of a small one.
    """
    if work := _work.get():
        work.check()
    with _parsing:
        statement = _parsed.pop(sql, None)
    if statement is None:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            return connection.execute(sql, values)
        [statement] = statements
    with _parsing:
        _parsed[sql] = statement
        if len(_parsed) > _MOST_PARSED:
            del _parsed[next(iter(_parsed))]
    return connection.execute(statement, values)


def fetched_batches(connection: "DuckDBPyConnection", sql: str) -> Iterator[list[tuple[Any, ...]]]:
    """Run a SELECT and yield its rows, in batches that are never empty.

    Raises:
        StorageError: memory or temporary space is used up.
    """
    with explained():
        result = execute(connection, sql)
        batch = result.fetchmany(_BATCH)
    while batch:
        yield batch
        if work := _work.get():
            work.check()
        with explained():
            batch = result.fetchmany(_BATCH)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise StorageError with a hint where DuckDB runs out of room, or a file vanished."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(
            f"could not search the journal: {reason}",
            f"make room in {scratch.directory()}, or ask for less with a shorter window or -n",
            error_id="search-out-of-room",
        ) from error


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """End what DuckDB does on Ctrl-C, SIGTERM and SIGHUP, which it does not always notice by itself.

    It is for the main thread of a command. After SIGTERM and SIGHUP the process ends by that signal, once its
    temporary folders are removed. Where DuckDB does not heed an interrupt, the process ends without it.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    reading, writing = _wake_ups()
    with ended_in_order():
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        watching = threading.Thread(target=_interrupting, args=(reading,), daemon=True)
        watching.start()
        try:
            yield
        except Exception as error:
            if is_interrupt(error):
                raise interruption() from error
            raise
        finally:
            signal.set_wakeup_fd(before)
            writing.close()
            watching.join(_NOTICED_SECONDS * 2)


def is_interrupt(error: Exception) -> bool:
    """Return whether DuckDB, if it is in use at all, was interrupted."""
    duckdb = sys.modules.get("duckdb")
    return duckdb is not None and (
        isinstance(error, duckdb.InterruptException)
        or (isinstance(error, RuntimeError) and str(error) == "Query interrupted")
    )


def _wake_ups() -> tuple[RawIOBase, RawIOBase]:
    """Return the two ends of what `set_wakeup_fd` writes into: a pipe, on Windows sockets."""
    if os.name == "posix":
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        return FileIO(reader, "rb"), FileIO(writer, "wb")
    import socket

    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)  # noqa: FBT003
        return reading.makefile("rb", buffering=0), writing.makefile("wb", buffering=0)


def _interrupting(signals: RawIOBase) -> None:
    """Interrupt DuckDB some time after a signal, unless Python noticed it, or another handler is set.

    If that does not help either, end the process.
    """
    with signals:
        while numbers := signals.read(64):
            ending = [number for number in numbers if is_ending(number)]
            # Python code notices by itself and unwinds: its connections must then be left alone.
            if not ending or _is_over(signals, _NOTICED_SECONDS):
                continue
            connection = None
            for connection in list(_connections):
                _interrupt(connection)
            # A reference left at the program's end would print a warning on stderr.
            del connection
            if not _is_over(signals, _HEEDED_SECONDS):
                scratch.remove_all()
                os._exit(128 + ending[0])


def interrupt_all() -> None:
    """Interrupt all connections of the process: their statements raise `duckdb.InterruptException`."""
    for connection in list(_connections):
        _interrupt(connection)


def _interrupt(connection: "DuckDBPyConnection") -> None:
    import duckdb

    with contextlib.suppress(duckdb.Error):  # it is closed
        connection.interrupt()


def _is_over(signals: RawIOBase, seconds: float) -> bool:
    """Return whether the other end is closed within some seconds; further signals change nothing."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        if select.select([signals], [], [], remaining)[0] and not signals.read(64):
            return True
    return False
