"""Connections to DuckDB: settings, memory, errors and interrupts."""

import contextlib
import select
import shutil
import signal
import socket
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vdbevents.errors import StorageError
from vdbevents.query.byte_ranges import Closeable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NOTICED_SECONDS = 0.3


# Those that are open: Ctrl-C ends what they are at.
_connections: "weakref.WeakSet[DuckDBPyConnection]" = weakref.WeakSet()


def memory_for(longest: int, least_mb: int = 1000) -> int:
    """Return how much memory, in MB, lines of at most `longest` bytes may take.

    A huge one is held many times over: as read, as JSON, as text.
    """
    return least_mb + 40 * (longest >> 20)


def connect(scratch: str, memory_mb: int, threads: int | None = None) -> "DuckDBPyConnection":
    """Return a connection that fetches nothing from anywhere, and spills into the private folder `scratch`.

    Args:
        scratch: a folder.
        memory_mb: how much memory it may use, in MB.
        threads: how many it may use; None for one a core.
    """
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": scratch,
            "memory_limit": f"{memory_mb}MB",
            **({} if threads is None else {"threads": str(threads)}),
        },
    )
    return _quiet(connection)


def _quiet(connection: "DuckDBPyConnection") -> "DuckDBPyConnection":
    _connections.add(connection)
    connection.execute("SET enable_progress_bar = false")  # it would go to stdout
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class Shared(Closeable):
    """The memory and the threads of DuckDB for several answers, or pieces, at once; a context manager.

    A database of its own for each takes some ten threads, and several times as long to start as to search a
    small journal.

    Attributes:
        scratch: a private folder for what does not fit into memory; it goes with the database.
    """

    def __init__(
        self,
        folder: Path | None = None,
        prefix: str = "vdbevents-query-",
        memory_mb: int = 1000,
        threads: int | None = None,
    ) -> None:
        """Start it.

        Args:
            folder: where `scratch` is made; None for where the system has such.
            prefix: how its name begins.
            memory_mb: how much memory all may use, in MB.
            threads: how many one statement may use; None for one a core.
        """
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._given: weakref.WeakSet[DuckDBPyConnection] = weakref.WeakSet()
        self.scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        try:
            self._database = connect(str(self.scratch), memory_mb, threads)
        except BaseException:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise

    def connection(self, memory_mb: int) -> "DuckDBPyConnection":
        """Return a connection that has temporary tables of its own, and so much memory at least."""
        with self._lock:
            if memory_mb > self._memory_mb:
                self._memory_mb = memory_mb
                self._database.execute(f"SET memory_limit = '{memory_mb}MB'")
            connection = _quiet(self._database.cursor())
            self._given.add(connection)
            return connection

    def interrupt(self) -> None:
        """End what its connections are at: that raises `duckdb.InterruptException`."""
        import duckdb

        for connection in list(self._given):
            with contextlib.suppress(duckdb.Error):  # it is closed
                connection.interrupt()

    def close(self) -> None:
        """Give all of it back. Harmless when repeated."""
        try:
            self._database.close()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn DuckDB's lack of room, or a journal that vanished meanwhile, into an error with a cure."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(
            f"the journal could not be searched: {reason}",
            f"Large answers need room in {tempfile.gettempdir()}; a shorter window or -n needs less.",
        ) from error


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end what DuckDB is at, which does not always look for it by itself; in the main thread.

    Raises:
        KeyboardInterrupt: it was pressed.
    """
    import duckdb

    reading, writing = socket.socketpair()
    writing.setblocking(False)  # noqa: FBT003 - as set_wakeup_fd wants it
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    watching = threading.Thread(target=_interrupting, args=(reading,), daemon=True)
    watching.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from error
    finally:
        signal.set_wakeup_fd(before)
        writing.close()
        watching.join(_NOTICED_SECONDS * 2)


def _interrupting(signals: socket.socket) -> None:
    """End what DuckDB is at some time after SIGINT, unless that was noticed, or is somebody else's."""
    import duckdb

    with signals:
        while numbers := signals.recv(64):
            if signal.SIGINT not in numbers:
                continue
            # Where Python runs it notices by itself, and goes: then nobody may touch what it closes.
            if select.select([signals], [], [], _NOTICED_SECONDS)[0]:
                continue
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                connection = None
                for connection in list(_connections):
                    with contextlib.suppress(duckdb.Error):
                        connection.interrupt()
                # A reference that is left at the program's end is a complaint on stderr.
                del connection
