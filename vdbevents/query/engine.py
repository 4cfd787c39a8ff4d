"""DuckDB reads the journal. The only file that imports it, and only when a query is asked."""

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vdbevents.errors import InputError, StorageError
from vdbevents.gaps import EVENT, Gap, fold
from vdbevents.query import plan
from vdbevents.query.plan import Event, Filters
from vdbevents.record import parse_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BATCH = 2048
_BLOCK = 1 << 20


class Answer:
    """What matched, oldest first; a context manager that gives DuckDB's memory and files back at its end.

    Attributes:
        skipped: lines that could not be read: no JSON object, no UTF-8, torn. A line in braces is not tried
            if its head tells that it is outside the window, or if it lacks the words that are looked for.
        count: how many events matched and are shown.
        span: the first and the last time among them, in Unix ms; None where none has a time.
        gaps: all gaps that the journal tells of, whatever was asked, in the order of their first lines.
        breaks: the rows, from 0, at which the events around another match begin.
        journal_bytes: the journal's size when it was opened; 0 for an empty one.
    """

    def __init__(self, connection: "DuckDBPyConnection", scratch: str, journal_bytes: int) -> None:
        self._connection = connection
        self._scratch = scratch
        self._large: list[int] = []
        self.journal_bytes = journal_bytes
        self.skipped = 0
        self.gaps: list[Gap] = []
        self.count = 0
        self.span: tuple[int, int] | None = None
        self.breaks: set[int] = set()

    def lines(self) -> Iterator[list[str]]:
        """The journal's own lines, without their line ends, in batches that are never empty."""
        for batch in self._batches(plan.LINES, []):
            yield [line for (line,) in batch]

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """The folded events, in batches that are never empty; None in columns other than `columns`."""
        sql = plan.rows(columns)
        first = 0
        for large in [*self._large, self.count]:
            for rows in ((first, large - 1), (large, large)):
                if rows[0] <= rows[1] < self.count:
                    for batch in self._batches(sql, list(rows)):
                        yield list(map(Event._make, batch))
            first = large + 1

    def __iter__(self) -> Iterator[list[Event]]:
        return self.events()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the answer holds; it cannot be read any more. Harmless when repeated."""
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def find(self, path: str, filters: Filters, longest: int) -> None:
        """Ask the query; `path` is as DuckDB's globs have it, no line there has more than `longest` bytes."""
        self._choose(path, filters, longest)
        if filters.around_ms is not None:
            for sql in plan.spans(filters):
                self._connection.execute(sql)
            self._choose(path, plan.context(filters), longest, plan.PLACED)
            self.breaks = {row for (row,) in self._rows(plan.BREAKS)}
        told = (parse_line(line.encode()) for (line,) in self._rows(plan.OURS) if EVENT in line)
        self.gaps = fold(event for event in told if event is not None)
        [(unreadable, rejected)] = self._rows(plan.SKIPPED)
        self.skipped = unreadable + rejected
        [(self.count, first, last)] = self._rows(plan.SPAN)
        self.span = None if first is None else (first, last)
        self._large = [row for (row,) in self._rows(plan.LARGE)]

    def _choose(self, path: str, filters: Filters, longest: int, narrowed: Sequence[str] = ()) -> None:
        """Make the table `answer`; the statements `narrowed` are between who matches and who is shown."""
        for statement in (plan.candidates(path, filters, longest), plan.events(filters)):
            self._connection.execute(statement.sql, statement.values)
        for sql in narrowed:
            self._connection.execute(sql)
        hiding = not filters.interim and self._rows(plan.INTERIMS) != [(0,)]
        sparing = self._rows(plan.FETCHED) != [(0,)]
        if sparing:
            self._connection.execute(plan.repeated(filters))
        self._connection.execute(plan.answer(filters, hiding=hiding, sparing=sparing))

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def _batches(self, sql: str, values: list[object]) -> Iterator[list[tuple[Any, ...]]]:
        with _explained():
            result = self._connection.execute(sql, values)
            batch = result.fetchmany(_BATCH)
        while batch:
            yield batch
            with _explained():
                batch = result.fetchmany(_BATCH)


def search(journal: Path, filters: Filters) -> Answer:
    """Return what `filters` choose from the journal.

    Raises:
        InputError: the journal cannot be read, or a pattern is no regular expression.
        StorageError: DuckDB could not do it: memory and temporary space are used up.
    """
    size, longest = _measure(journal)
    path = _literal(journal)
    connection, scratch = _connect(longest)
    answer = Answer(connection, scratch, size)
    try:
        _check(connection, filters)
        with _explained():
            answer.find(path, filters, longest)
    except BaseException:
        answer.close()
        raise
    return answer


def _connect(longest: int) -> tuple["DuckDBPyConnection", str]:
    """Return a connection that fetches nothing from anywhere, and the private folder that it may spill to."""
    import duckdb

    scratch = tempfile.mkdtemp(prefix="vdbevents-query-")
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": scratch,
            # A huge line is held many times over: as read, as JSON, as text.
            "memory_limit": f"{1000 + 40 * (longest >> 20)}MB",
        },
    )
    connection.execute("SET enable_progress_bar = false")  # it would go to stdout
    return connection, scratch


def _measure(journal: Path) -> tuple[int, int]:
    """Return the journal's size and a bound for its lines' lengths, in bytes.

    A line of more than two blocks covers a whole block, so it is enough to look for a line's end from the
    start of each block on: a few bytes a mebibyte.
    """
    hint = "Name the directory or the file of a journal; `vdbevents listen` records one."
    try:
        with journal.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            longest = start = 0
            while start < size:
                end = _line_end(file, start)
                longest = max(longest, end - start)
                start = (end // _BLOCK + 1) * _BLOCK
    except FileNotFoundError:
        raise InputError(f"there is no journal at {journal}", hint) from None
    except OSError as error:
        raise InputError(f"the journal {journal} cannot be read: {error.strerror}", hint) from None
    return size, longest + _BLOCK


def _line_end(file: FileIO, start: int) -> int:
    """Return where the first line end at or after `start` is, or the file's end."""
    step = 4096
    file.seek(start)
    while data := file.read(step):
        if (found := data.find(b"\n")) >= 0:
            return start + found
        start += len(data)
        step = _BLOCK
    return start


def _literal(journal: Path) -> str:
    """Return the journal's path with the characters that DuckDB would expand put in brackets."""
    path = str(journal.absolute())
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the path {path!r} is no text", "Give the journal a path in UTF-8.") from None
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _check(connection: "DuckDBPyConnection", filters: Filters) -> None:
    """See that every pattern can be used, before anything is read."""
    import duckdb

    for pattern in (*filters.grep, *filters.any_of, *filters.none_of):
        try:
            pattern.encode()
        except UnicodeEncodeError:
            raise InputError(f"the pattern {pattern!r} is no text", "Give it in UTF-8.") from None
        if filters.extended:
            try:
                connection.execute("SELECT regexp_matches('', ?)", [pattern]).fetchall()
            except duckdb.Error as error:
                reason = str(error).removeprefix("Invalid Input Error: ").splitlines()[0]
                raise InputError(
                    f"the pattern {pattern!r} is no regular expression: {reason}",
                    "-E takes RE2's syntax; without -E a pattern is literal text.",
                ) from None


@contextlib.contextmanager
def _explained() -> Iterator[None]:
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
