"""Ship what a recorder wrote to a lake: each line once, whatever ends when.

A commit changes the table's rows and the recording's numbers (`ShippedPlace`) together, or not at all. The
numbers are read from the very state of the table that the commit builds on: if another shipper of the same
recording committed since, Delta Lake refuses the commit, and the numbers are read again. Whether a commit was
made whose answer was lost, the table says.
"""

import contextlib
import random
import time
from codecs import BOM_UTF8
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from vdbevents.errors import StorageError
from vdbevents.events.envelope import parse_line
from vdbevents.lake import lake_rows
from vdbevents.lake.lake_files import DataFile, LakeFiles, statistics
from vdbevents.lake.lake_table import lake_address, lake_errors, open_or_create_lake
from vdbevents.lake.last_known import has_rows, known_until
from vdbevents.lake.recorded_files import FilePlace, RecordedFile, RecordedFiles, Stretch
from vdbevents.lake.shipped_place import ShippedPlace, digest_of
from vdbevents.lake.table_schema import PARTITIONS, application
from vdbevents.query.byte_ranges import Closeable, literal, longest_line, unreadable_journal
from vdbevents.query.cache import schema
from vdbevents.query.cache.fill import fill
from vdbevents.query.cache.index import PIECE, Cache, load
from vdbevents.query.cache.legible import legible
from vdbevents.query.duck import SharedDatabase, execute, explained, memory_for
from vdbevents.query.lines import Statement, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY_MB: Final = 600
_FEW_DATES: Final = 4  # to make the rows for each of so many takes less time than to keep them
_COMPARED: Final = 1 << 16
_MOST_TRIES: Final = 12
_MOST_LOOKS: Final = 3
_OVERTAKEN_SECONDS: Final = 1.0
# 50 recorders that ship at one moment are done within five tries; scripts/bench/lake_commits.py shows it.
# Where a try takes long, another's commit comes between more often.
_LONGEST_PAUSES: Final = ((4.0, 8), (16.0, 40), (60.0, 160))
"""After the first, the second and a later try: so many seconds, or so many times what the try took."""
_LONGEST_PAUSE_SECONDS: Final = 240.0


class Shipped(NamedTuple):
    """What was shipped: the numbers of lines, of their bytes, of commits, and of tries that these took."""

    lines: int = 0
    bytes: int = 0
    commits: int = 0
    tries: int = 0

    def __add__(self, other: object) -> "Shipped":
        """Return the sum."""
        if not isinstance(other, Shipped):
            return NotImplemented
        return Shipped(*(one + more for one, more in zip(self, other, strict=True)))


class _Piece(NamedTuple):
    """Lines to ship in one commit.

    Attributes:
        file: the file that they are in.
        begin: where they begin; before them may be a run of NULs.
        stretch: the lines.
        sealed: the Parquet file that has them as they are sealed; None if they are not.
    """

    file: RecordedFile
    begin: int
    stretch: Stretch
    sealed: Path | None = None


class _OvertakenError(Exception):
    """Another shipper of the recording committed meanwhile, or the files were changed."""


class Shipper(Closeable):
    """Ship one recording to one lake, again and again.

    Attributes:
        address: the lake's.
        host: the recorder's name in it.
    """

    def __init__(
        self,
        given: str,
        journal: Path,
        recording: tuple[str, str],
        cache_root: Path,
        *,
        pause: Callable[[float], None] = time.sleep,
        piece: int = PIECE,
    ) -> None:
        """Open the lake, or create it.

        Args:
            given: its address.
            journal: the recording's journal.
            recording: the names of the host and of the recording, from `lake_name.named`.
            cache_root: the folder of all caches, whose segments need not be read again.
            pause: waits so many seconds.
            piece: so many bytes of lines that are not sealed go into a commit.

        Raises:
            InputError, ServiceRefusedError, ServiceUnreachableError, StorageError: as
                `open_or_create_lake` has it.
        """
        self.address = lake_address(given)
        self.host, self._recording = recording
        self._application = application(*recording)
        self._journal = journal
        self._root = cache_root
        self._pause = pause
        self._piece = piece
        self._table = open_or_create_lake(given)
        self._files = LakeFiles(self.address)
        self._database = SharedDatabase(None, _MEMORY_MB, threads=1)
        self._caches: dict[Path, Cache] = {}
        self._random = random.Random()  # noqa: S311 - only spreads tries

    def close(self) -> None:
        """Remove temporary files."""
        self._database.close()

    def ship(self, progress: Callable[[Shipped], None] = lambda _: None) -> Shipped:
        """Ship all whole lines that the lake does not have, and return how many these were.

        Args:
            progress: called after each commit with what was shipped by then.

        Raises:
            InputError: the journal cannot be read.
            ServiceRefusedError, ServiceUnreachableError, StorageError: the lake cannot be written. What was
                committed by then stays, and the next call goes on there.
        """
        done, is_more = Shipped(), True
        while is_more:
            self._caches.clear()
            try:
                with self._opened() as recorded:
                    while shipped := self._ship_piece(recorded):
                        done += shipped
                        progress(done)
                is_more = False
            except _OvertakenError:
                self._pause(self._random.uniform(0, _OVERTAKEN_SECONDS))
        return done

    def _opened(self) -> RecordedFiles:
        try:
            return RecordedFiles(self._journal)
        except OSError as error:
            raise unreadable_journal(self._journal, error) from None

    def _ship_piece(self, recorded: RecordedFiles) -> Shipped | None:
        """Ship the next piece; None if there is nothing more."""
        with lake_errors(self.address):
            self._table.update_incremental()
        shipped = self._shipped()
        try:
            place = self._place(recorded, shipped)
            piece = self._next_piece(recorded, place)
        except OSError as error:
            raise unreadable_journal(self._journal, error) from None
        if piece is None:
            return None
        position = shipped.position if shipped else 0
        head = piece.file.head
        target = ShippedPlace(
            position + piece.stretch.end - piece.begin,
            head if head is not None else 0,
            piece.stretch.end,
            digest_of(piece.stretch.last_line),
            time.time_ns() // 1_000_000,
        )
        with contextlib.closing(self._database.connection(_MEMORY_MB)) as connection:
            self._make_rows(connection, piece, position - piece.begin)
            rows, files = self._uploaded(connection, piece, position)
        if not piece.file.is_there():
            # It was rewritten, perhaps to forget what is in these rows.
            raise _OvertakenError
        return Shipped(rows, piece.stretch.end - piece.begin, 1, self._commit(files, shipped, target))

    def _catch_up(self) -> None:
        """Read the table's log until nothing is new: while many commits are read, others are made."""
        with lake_errors(self.address):
            for _ in range(_MOST_LOOKS):
                before = self._table.version()
                self._table.update_incremental()
                if self._table.version() == before:
                    return

    def _shipped(self) -> ShippedPlace | None:
        return ShippedPlace.of(self._table.transaction_version, self._application)

    def _place(self, recorded: RecordedFiles, shipped: ShippedPlace | None) -> FilePlace:
        """Return where to go on."""
        if shipped is not None:
            place = recorded.place_of(shipped)
        else:
            with lake_errors(self.address):
                place = None if has_rows(self._table, self.host) else FilePlace(0, 0)
        return self._compared_place(recorded) if place is None else place

    def _next_piece(self, recorded: RecordedFiles, place: FilePlace) -> _Piece | None:
        """Return what to ship next: what is left of a sealed segment, or else as many lines as one has."""
        number, at = place
        for file in recorded.files[number:]:
            if sealed := self._sealed_from(file, at):
                path, end = sealed
                stretch = file.stretch(at, end - at)
                if stretch is not None and stretch.end == end:
                    return _Piece(file, at, stretch, path)
            if stretch := file.stretch(at, self._piece):
                return _Piece(file, at, stretch)
            at = 0
        return None

    def _sealed_from(self, file: RecordedFile, at: int) -> tuple[Path, int] | None:
        """Return the sealed segment that has a place of a file, and its end; None if none has."""
        if file.path not in self._caches:
            cache = load(file.path, self._root)
            self._caches[file.path] = (
                cache if cache.segments and cache.fits(file.content) else Cache(self._root)
            )
        cache = self._caches[file.path]
        for segment in cache.segments:
            if segment.start <= at < segment.end:
                return (cache.events(segment), segment.end) if cache.holds(segment) else None
        return None

    def _compared_place(self, recorded: RecordedFiles) -> FilePlace:
        """Return where the last line ends that the lake has, too; look at the newest lines first."""
        for number in range(len(recorded.files) - 1, -1, -1):
            file = recorded.files[number]
            pieces, at = [], 0
            while stretch := file.stretch(at):
                pieces.append((at, stretch.end))
                at = stretch.end
            for start, end in reversed(pieces):
                stretch = file.stretch(start)
                if stretch is None or stretch.end != end:
                    raise _OvertakenError
                with contextlib.closing(self._database.connection(_MEMORY_MB)) as connection:
                    self._make_rows(connection, _Piece(file, start, stretch), 0)
                    with lake_errors(self.address):
                        known = known_until(self._table, self.host, connection)
                    if known is not None:
                        sql = "SELECT coalesce(min(position), ?) FROM rows WHERE position > ?"
                        [(after,)] = execute(connection, sql, [end, known]).fetchall()
                        return FilePlace(number, after)
        return FilePlace(0, 0)

    def _make_rows(self, connection: "DuckDBPyConnection", piece: _Piece, offset: int) -> None:
        """Make the view `rows` of a piece's lines."""
        path = self._database.scratch / "piece.jsonl"
        data = legible(piece.stretch.data, piece.stretch.start)
        path.write_bytes(data)
        with path.open("rb", buffering=0) as file:
            longest = longest_line(file)
        connection.execute(f"SET memory_limit = '{memory_for(longest, _MEMORY_MB)}MB'")
        with explained():
            execute(connection, lake_rows.IN_ANY_ORDER)
            lines = schema.lines_of([literal(path)], piece.stretch.start, longest)
            execute(connection, f"{lake_rows.WHOLE} ({lines.sql})", lines.values)
            if data != piece.stretch.data and (lossy := _lossy(piece.stretch, data)):
                execute(connection, lake_rows.NOT_TEXT, [list(lossy), list(lossy.values())])
            self._find_known(connection, piece, lines)
            unidentified = execute(connection, lake_rows.UNIDENTIFIED).fetchall()
            texts = [lake_rows.identity_text(parse_line(line.encode()) or {}) for _, line in unidentified]
            execute(connection, lake_rows.IDENTIFIED, [[place for place, _ in unidentified], texts])
            connection.execute(lake_rows.viewing(self.host, self._recording, offset))
            execute(connection, lake_rows.IN_ORDER)

    def _find_known(self, connection: "DuckDBPyConnection", piece: _Piece, lines: Statement) -> None:
        """Make the view `known`: the lines that are events, as they are sealed or would be."""
        if piece.sealed is not None:
            path = quoted(literal(piece.sealed))
            # A part may be replaced by a full segment at any moment.
            with contextlib.suppress(StorageError), explained():
                connection.execute(
                    f"CREATE TEMP TABLE known AS FROM read_parquet({path}) WHERE position >= {piece.begin:d}"
                )
                return
        fill(connection, lines, len(piece.stretch.data))
        connection.execute(f"CREATE TEMP VIEW known AS {schema.ROWS}")

    def _uploaded(
        self, connection: "DuckDBPyConnection", piece: _Piece, position: int
    ) -> tuple[int, list[DataFile]]:
        """Write the rows into files of the lake, one for each date; return how many rows there are."""
        # Of the content: after a restored backup other lines may have the same positions.
        data = piece.stretch.data
        ends = (self._application.encode(), data[:_COMPARED], data[-_COMPARED:])
        digest = blake2b(b"\n".join(map(bytes, ends)), digest_size=12)
        name = f"{digest.hexdigest()}{crc32(data):08x}-{position:d}"
        files, count = [], 0
        path = self._database.scratch / "rows.parquet"
        with explained():
            dates = execute(connection, lake_rows.BY_DATE, [position - piece.begin] * 2).fetchall()
            table = "rows" if len(dates) <= _FEW_DATES else "made"
            if table == "made":
                execute(connection, lake_rows.MADE)
        for date, *row in dates:
            with explained():
                execute(connection, lake_rows.writing(table), [date, str(path)])
            count += row[0]
            stats = statistics((self.host, self.host), (self._recording, self._recording), row)
            with lake_errors(self.address):
                files.append(self._files.put(path, name, date, stats))
        return count, files

    def _commit(self, files: list[DataFile], before: ShippedPlace | None, target: ShippedPlace) -> int:
        """Commit files, and return the number of tries.

        Raises:
            _OvertakenError: another shipper of the recording was first.
        """
        failure: Exception | None = None
        took = 0.0
        for tries in range(_MOST_TRIES + 1):
            if tries:
                self._pause(self._random.uniform(0, _longest_pause(tries, took)))
            began = time.monotonic()
            # Now, not before: a commit has to be the next one after the state that it builds on.
            self._catch_up()
            present = self._shipped()
            if present == target:
                return tries  # only the answer was lost
            if present != before:
                raise _OvertakenError
            if tries < _MOST_TRIES:
                try:
                    self._try_commit(files, target)
                except Exception as error:  # noqa: BLE001 - whatever it says, the table knows
                    failure, took = error, time.monotonic() - began
                else:
                    return tries + 1
        with lake_errors(self.address):
            raise failure or AssertionError

    def _try_commit(self, files: list[DataFile], target: ShippedPlace) -> None:
        from deltalake import CommitProperties, Transaction

        numbers = target.numbers(self._application).items()
        self._table.create_write_transaction(
            [file.action() for file in files],
            "append",
            self._table.schema(),
            partition_by=list(PARTITIONS),
            commit_properties=CommitProperties(
                max_commit_retries=0, app_transactions=[Transaction(*number) for number in numbers]
            ),
        )


def _longest_pause(tries: int, took: float) -> float:
    """Return how many seconds to wait at most after some tries, the last of which took so many seconds."""
    least, times = _LONGEST_PAUSES[min(tries, len(_LONGEST_PAUSES)) - 1]
    return min(max(least, times * took), _LONGEST_PAUSE_SECONDS)


def _lossy(stretch: Stretch, legible_data: bytes | bytearray) -> dict[int, str]:
    """Return the lines that are not UTF-8 by their places, with what is legible of them."""
    found = {}
    at = stretch.start
    if stretch.start and stretch.data.startswith(BOM_UTF8):
        # DuckDB would skip what begins a file.
        found[at] = bytes(stretch.data.partition(b"\n")[0]).decode("utf-8", "replace")
    for line in bytes(legible_data).split(b"\n"):
        if line and not line.strip(b"?"):
            raw = stretch.data[at - stretch.start : at - stretch.start + len(line)]
            if raw != line and b"\0" not in raw:
                found[at] = raw.decode("utf-8", "replace")
        at += len(line) + 1
    return found
