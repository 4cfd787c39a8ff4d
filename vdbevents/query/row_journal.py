"""Search a journal that is kept as rows of Parquet files, as in a lake: one all of whose pieces are sealed.

The rows have the columns of the user's SQL, and the line of each event. A file may hold rows of several
journals. What is known of a file tells which files a search has to open.
"""

# ruff: noqa: S608 - the SQL consists of constants, whole numbers and our own names; texts are quoted

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.errors import StorageError
from vdbevents.events.envelope import parse_line
from vdbevents.events.session_content import SessionBook
from vdbevents.events.session_facts import SessionFacts
from vdbevents.query.byte_ranges import BLOCK_BYTES, Closeable, literal
from vdbevents.query.cache.index import Segment, Span
from vdbevents.query.duck import connect, execute, explained
from vdbevents.query.filters import Filters
from vdbevents.query.lines import GAP, LINE, listed, quoted
from vdbevents.query.sealed_tables import SealedTable, read_sealed
from vdbevents.times import LEAST_MS, MOST_MS, Window

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST: Final = BLOCK_BYTES
"""For how long lines a search of rows makes room: nothing of them is folded."""

_ALL_TIMES: Final = Window()
_DAY_MS: Final = 24 * 3_600_000
_ALWAYS: Final = (LEAST_MS, MOST_MS)

_FOLDED: Final = ", ".join(
    (
        *("position", "length", "channel", "event", "source", "stream", "stream_name", "session"),
        *("text", "is_final", "label", "speaker", "confidence"),
        "epoch_ms(time) AS time_ms",
        "epoch_ms(started) AS start_ms",
        "epoch_ms(ended) AS end_ms",
        '"window" AS window_name',
        "backfilled AS fetched",
        "looks",
        "line AS whole_line",
    )
)


class RowFile(NamedTuple):
    """A Parquet file of rows, and between which times they are, in Unix ms; None where none has such a time.

    Attributes:
        path: where it is, or will be once it was fetched.
        received: times of receipt.
        happened: starts, or times of receipt where there is no start.
        ended: ends.
        is_untimed: whether it may have rows without a time of receipt.
    """

    path: Path
    received: Span | None = _ALWAYS
    happened: Span | None = _ALWAYS
    ended: int | None = MOST_MS
    is_untimed: bool = True

    def as_segment(self, number: int) -> Segment:
        """Return it as a segment, with everything that is not known as it costs no match."""
        return Segment(
            number,
            number + 1,
            "",
            received=self.received,
            happened=self.happened,
            ended=self.ended,
            starts=self.happened,
            has_fetched=True,
            has_lifecycle=True,
            untimed=int(self.is_untimed),
            finals=None,
            sessions=None,
            streams=None,
        )

    def may_tell_of_gaps(self, window: Window) -> bool:
        """Return whether it may hold the lines about gaps and pauses of a time: written until a day after."""
        if self.received is None:
            return self.is_untimed
        first, last = self.received
        return (window.since_ms is None or last >= window.since_ms) and (
            window.until_ms is None or first < window.until_ms + _DAY_MS
        )


@dataclass(frozen=True)
class RowJournal:
    """A journal that is kept as rows.

    Attributes:
        chosen: the values by which its rows are chosen out of the files, by column.
        files: those that may have rows of it.
        fetch: makes files present, before they are opened.
        matches: a SELECT of what a search finds in it, as `statements.matches`, if that is known already.
        gaps: its lines about gaps and pauses in the time of the search, if they are known already.
    """

    chosen: Mapping[str, str]
    files: Sequence[RowFile]
    fetch: Callable[[Sequence[RowFile]], None]
    matches: str = ""
    gaps: Sequence[str] | None = None

    def rows(self, files: Sequence[RowFile]) -> str:
        """Return SQL for its rows in some files, as they are."""
        self.fetch(files)
        return f"(SELECT * FROM {read_rows(file.path for file in files)} WHERE {self.condition})"

    @property
    def condition(self) -> str:
        """SQL for whether a row of a file is one of it."""
        chosen = (f"{name} = {quoted(value)}" for name, value in self.chosen.items())
        return " AND ".join(chosen) or "true"

    def unreadable(self, connection: "DuckDBPyConnection") -> int:
        """Return how many of its lines could not be read; they have no time."""
        files = [file for file in self.files if file.is_untimed]
        if not files:
            return 0
        [(count,)] = execute(connection, _UNREADABLE.format(rows=self.rows(files))).fetchall()
        return int(count)

    def sessions(self) -> SessionBook:
        """Return the sessions of the journal, whatever the window.

        Raises:
            StorageError: a file cannot be read.
        """
        book = SessionBook()
        if not self.files:
            return book
        rows = self.rows(self.files)
        connection = connect("", LEAST_MB)
        try:
            with read_errors():
                beside = execute(connection, _SESSIONS_BESIDE.format(rows=rows)).fetchall()
                lines = execute(connection, _SESSION_LINES.format(rows=rows)).fetchall()
        finally:
            connection.close()
        for session, first_ms, last_ms in beside:
            book.add(SessionFacts(session, first_ms, last_ms))
        for (line,) in lines:
            book.take(parse_line(line.encode()) or {})
        return book


LEAST_MB: Final = 1000
_UNREADABLE: Final = "SELECT count(*) FROM {rows} WHERE NOT readable"

_SESSIONS_BESIDE: Final = """SELECT session, epoch_ms(min(time)), epoch_ms(max(time)) FROM {rows}
    WHERE session IS NOT NULL GROUP BY session ORDER BY min(position)"""
_SESSION_LINES: Final = """SELECT line FROM {rows} WHERE session IS NOT NULL
    AND (channel IN ('capture_session', 'vdbevents') OR contains(line, 'treams"')
    OR contains(line, 'channels"')) ORDER BY position"""
_GAP_LINES: Final = f"""SELECT host, journal, line FROM {{rows}}
    WHERE channel = 'vdbevents' AND {GAP} ORDER BY position"""


def gap_lines(journal: RowJournal, files: Sequence[RowFile], connection: "DuckDBPyConnection") -> list[str]:
    """Return the lines about gaps and pauses that some files have of a journal, in order."""
    return [line for *_, line in owned_gap_lines(journal, files, connection)]


def owned_gap_lines(
    journal: RowJournal, files: Sequence[RowFile], connection: "DuckDBPyConnection"
) -> list[tuple[str, str, str]]:
    """Return the same lines, each after its host and its journal, which may be several."""
    if not files:
        return []
    return execute(connection, _GAP_LINES.format(rows=journal.rows(files))).fetchall()


def lines_of_rows(tables: Sequence[SealedTable]) -> str:
    """Return a SELECT as `statements.LINES`, where sealed events have their lines, too."""
    return f"""SELECT position, NULL, coalesce(answer.line, whole_line), answer.time_ms FROM answer
        LEFT JOIN {read_sealed(tables)} AS sealed USING (position) ORDER BY answer.rowid"""


def folded_rows(
    journal: RowJournal, files: Sequence[RowFile], received: Window = _ALL_TIMES, also: str = ""
) -> str:
    """Return a SELECT of the columns of a sealed segment from the rows of some files.

    Of a window, it has those that were received in it: DuckDB knows the parts of a file by their times.
    It has the columns `also`, too, which end with a comma.

    Lines are most of a file, and a search looks at those of events without a text alone: these are read by
    themselves, so that the others' stay unread.
    """
    within = "".join(
        f" AND time {sign} make_timestamptz({bound * 1000:d})"
        for sign, bound in ((">=", received.since_ms), ("<", received.until_ms))
        if bound is not None
    )
    rows = journal.rows(files)
    return f"""SELECT {also}{_FOLDED}, NULL::VARCHAR AS line FROM {rows}
        WHERE readable AND text IS NOT NULL{within}
        UNION ALL SELECT {also}{_FOLDED}, {LINE} AS line FROM {rows}
        WHERE readable AND text IS NULL{within}"""


def read_rows(paths: Iterable[Path]) -> str:
    """Return SQL for the rows of files, of which older ones may lack the newest columns."""
    return f"read_parquet({listed(map(literal, paths))}, union_by_name = true, hive_partitioning = false)"


def recordings_in(files: Sequence[RowFile]) -> list[tuple[str, str]]:
    """Return each host and journal of which files have rows.

    Raises:
        StorageError: a file cannot be read.
    """
    connection = connect("", LEAST_MB)
    try:
        with read_errors():
            rows = read_rows(file.path for file in files)
            return execute(connection, f"SELECT DISTINCT host, journal FROM {rows}").fetchall()
    finally:
        connection.close()


# What DuckDB 2.0.1 says of a file that is not there.
_IS_GONE: Final = "No files found"


@contextlib.contextmanager
def read_errors() -> Iterator[None]:
    """Raise StorageError where a file cannot be read.

    Raises:
        StorageError: it cannot.
    """
    import duckdb

    try:
        with explained():
            yield
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise unreadable_rows() from error
    except StorageError as error:
        if _IS_GONE in str(error.__cause__):
            raise unreadable_rows() from error
        raise


def unreadable_rows() -> StorageError:
    """Return the error of a file that cannot be read."""
    return StorageError(
        "a file of the lake cannot be read, or was removed meanwhile",
        "run it again; if that does not help, see: vdbevents lake status",
        error_id="lake-file-unreadable",
    )


NOTHING_UNSEALED: Final = (
    "CREATE TEMP TABLE candidates (line VARCHAR)",
    "CREATE TEMP TABLE IF NOT EXISTS reject_errors (line UBIGINT)",
    """CREATE TEMP TABLE events (position BIGINT, length BIGINT, time_ms BIGINT, readable BOOLEAN,
        ours BOOLEAN, within BOOLEAN, matched BOOLEAN, fetched BOOLEAN, transcript BOOLEAN, channel VARCHAR,
        stream VARCHAR, is_final BOOLEAN, start_ms BIGINT, end_ms BIGINT, received_ms BIGINT,
        written BOOLEAN, doubtful BOOLEAN)""",
)
"""Create the tables of a search as `statements` has them where no line is unsealed.

To plan what reads and folds no line takes longer.
"""


class RowSegments:
    """The files of a journal as the sealed segments of a search.

    Attributes:
        segments: one for each file.
        opened: the starts of those whose rows were read.
    """

    def __init__(self, journal: RowJournal, received: Window) -> None:
        """Take the files of a journal, and when events were received that a search asks for."""
        self._journal = journal
        self._received = received
        self.opened: set[int] = set()
        self.segments = tuple(file.as_segment(number) for number, file in enumerate(journal.files))

    def events(self, segment: Segment) -> Path:
        """Return the file of a segment."""
        return self._journal.files[segment.start].path

    def minutes_of(self, segment: Segment) -> bytes | None:
        """Return None: a file's events are not counted by minutes."""
        del segment
        return None

    def hold(self, segments: Iterable[Segment]) -> bool:
        """Return whether files are whole: nothing that is written down says that they are not."""
        del segments
        return True

    def may_say(self, segment: Segment, groups: Iterable[Iterable[Iterable[bytes]]]) -> bool:
        """Return whether a file may match: its words are not known."""
        del segment, groups
        return True

    def tables(self, segments: Iterable[Segment]) -> list[SealedTable]:
        """Return the rows of some files, as one table."""
        numbers = sorted(segment.start for segment in segments)
        if not numbers:
            return []
        self.opened.update(numbers)
        files = [self._journal.files[number] for number in numbers]
        # Where none has a time, those are asked for.
        received = Window() if all(file.is_untimed for file in files) else self._received
        return [SealedTable("", "", 0, f"({folded_rows(self._journal, files, received)})")]


class RowSnapshot(Closeable):
    """The rows of a journal as a search reads them: see `snapshot.JournalSnapshot` for what it has."""

    keeps_lines = True
    is_all_sealed = True

    def __init__(self, journal: RowJournal, folder: Path, filters: Filters) -> None:
        """Take the journal, a scratch folder, and the filters of the search."""
        self._journal = journal
        self._window = Window() if filters.around_ms is not None else filters.window
        self.sealed = RowSegments(journal, Window() if filters.by_event else self._window)
        nothing = folder / "unsealed.jsonl"
        nothing.touch()
        self.unsealed = (nothing,)
        self.longest = LONGEST
        self.size = self.sealed_bytes = len(journal.files)

    def tables(self, segments: Iterable[Segment]) -> list[SealedTable]:
        """Return the rows of some files, as one table."""
        return self.sealed.tables(segments)

    def own_lines(self, unsealed: Iterable[str], connection: "DuckDBPyConnection") -> list[str]:
        """Return the lines about gaps and pauses in the time of the search."""
        del unsealed
        if self._journal.gaps is not None:
            return list(self._journal.gaps)
        files = [file for file in self._journal.files if file.may_tell_of_gaps(self._window)]
        return gap_lines(self._journal, files, connection)

    def lines(self, places: Iterable[tuple[int, int]], connection: "DuckDBPyConnection") -> Iterator[str]:
        """Yield the lines at places of the journal."""
        starts = [start for start, _ in places]
        if not starts:
            return
        rows = self._journal.rows(self._journal.files)
        found = dict(
            execute(
                connection,
                f"SELECT position, line FROM {rows} WHERE list_contains(?::BIGINT[], position)",
                [starts],
            ).fetchall()
        )
        for start in starts:
            yield found[start]

    def unreadable(self, connection: "DuckDBPyConnection") -> int:
        """Return how many lines of the journal could not be read."""
        return self._journal.unreadable(connection)

    def holding(self, positions: Sequence[int]) -> list[Segment]:
        """Return the segments that may hold events at some positions."""
        opened = self.sealed.opened if positions else ()
        return [segment for segment in self.sealed.segments if segment.start in opened]

    def release(self) -> None:
        """Do nothing: DuckDB opens files as it reads them."""

    def close(self) -> None:
        """Do nothing as well."""
