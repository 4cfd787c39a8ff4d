"""Open a journal for a query: its sealed segments, and the rest as a file of its own."""

import os
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.journal import nul_runs
from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.history import line_batches, open_archived, open_with_older
from vdbevents.journal.packed import PackedFile
from vdbevents.query.byte_ranges import (
    JOURNAL_HINT,
    Closeable,
    literal,
    longest_line,
    read_range,
    unreadable_journal,
)
from vdbevents.query.cache.index import Cache, Segment, identity
from vdbevents.query.cache.joined_caches import PlacedCache, SealedSegments
from vdbevents.query.older import Older, may_matter
from vdbevents.query.scratch import folder_error
from vdbevents.query.sealed_tables import SealedTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NEAR: Final = 1 << 16
_MOST: Final = 1 << 23
_MOST_UNSEALED: Final = 1 << 29
_HEAD: Final = 512
_BOM: Final = b"\xef\xbb\xbf"
_OWN_NAMES: Final = (b'.gap"', b'.paused"', b'.resumed"')
_MOST_OPEN: Final = 16
_LOST: Final = b"\n?\n"


class Part(NamedTuple):
    """One of the journals that are read together.

    Attributes:
        file: the journal itself; a packed one is opened only to read its lines: there may be many.
        base: where its first byte is among those of all.
        head: its first bytes; with the time of its first event, they are unique.
        identity: the file's.
    """

    file: FileIO | ArchivedJournal
    base: int
    head: bytes
    identity: int


@dataclass(frozen=True)
class JournalSnapshot(Closeable):
    """A journal, and those that were set aside, as they were when they were opened.

    Attributes:
        parts: the files, oldest first; the last is the journal's own.
        size: of all of them, in bytes.
        sealed: the sealed segments.
        unsealed: the files that hold the rest, and the segments' doubtful lines.
        longest: no line in them has more bytes.
        sealed_bytes: how many of the bytes are sealed.
        known_own_lines: lines about gaps and pauses, in order: all but the journal's own unsealed ones.
        copied_own_lines: those of them that are in `unsealed`, too.
    """

    parts: tuple[Part, ...]
    size: int
    sealed: SealedSegments
    sealed_bytes: int
    unsealed: tuple[Path, ...]
    longest: int
    known_own_lines: tuple[str, ...]
    copied_own_lines: tuple[str, ...]
    keeps_lines: ClassVar[bool] = False
    """Whether a sealed event has its whole line."""
    is_all_sealed: ClassVar[bool] = False
    """Whether no line is left to read."""
    _open_files: dict[int, FileIO | PackedFile] = field(default_factory=dict)

    def close(self) -> None:
        """Close the files."""
        for part in self.parts:
            if isinstance(part.file, FileIO):
                part.file.close()
        self._close_open()

    def release(self) -> None:
        """Close the files; what is read later opens them again, one at a time.

        On some systems a process may open 256 files, and there may be more journals.
        """
        for part in self.parts:
            # One that was unpacked has no name.
            if isinstance(part.file, FileIO) and not isinstance(part.file.name, int):
                part.file.close()
        self._close_open()

    def _close_open(self) -> None:
        for file in self._open_files.values():
            file.close()
        self._open_files.clear()

    def tables(self, segments: Iterable[Segment]) -> list[SealedTable]:
        """Return the Parquet files of segments."""
        return self.sealed.tables(segments)

    def unreadable(self, _: "DuckDBPyConnection | None" = None) -> int:
        """Return how many sealed lines could not be read, without those that are read again."""
        return sum(segment.unreadable for segment in self.sealed.segments)

    def holding(self, positions: Sequence[int]) -> list[Segment]:
        """Return the segments that hold sealed events at some sorted positions."""
        return [segment for segment in self.sealed.segments if _has_position(segment, positions)]

    def own_lines(self, unsealed: Iterable[str], _: "DuckDBPyConnection | None" = None) -> list[str]:
        """Return all lines about gaps and pauses, in order, with those found in the unsealed parts."""
        read = Counter(self.copied_own_lines)
        later = []
        for line in unsealed:
            if read[line]:
                read[line] -= 1
            else:
                later.append(line)
        return [*self.known_own_lines, *later]

    def lines(
        self, places: Iterable[tuple[int, int]], _: "DuckDBPyConnection | None" = None
    ) -> Iterator[str]:
        """Yield the lines at places (start, length; bytes) of the journal; read near ones together.

        Raises:
            StorageError: the journal changed since it was opened.
        """
        near: list[tuple[int, int]] = []
        for start, length in places:
            if near and not (
                near[-1][0] < start < sum(near[-1]) + _NEAR
                and start - near[0][0] < _MOST
                and self._part_at(start) is self._part_at(near[0][0])
            ):
                yield from self._read(near)
                near = []
            near.append((start, length))
        if near:
            yield from self._read(near)

    def _part_at(self, place: int) -> Part:
        return self.parts[bisect_right(self.parts, place, key=lambda part: part.base) - 1]

    def _file_of(self, part: Part) -> FileIO | PackedFile:
        if isinstance(part.file, FileIO) and not part.file.closed:
            return part.file
        files = self._open_files
        if part.base not in files:
            while len(files) >= _MOST_OPEN:
                files.pop(next(iter(files))).close()
            try:
                files[part.base] = (
                    FileIO(str(part.file.name), "rb")
                    if isinstance(part.file, FileIO)
                    else open_archived(part.file)
                )
            except OSError:
                raise journal_changed() from None
            if identity(files[part.base]) != part.identity:
                raise journal_changed()
        return files[part.base]

    def _read(self, near: list[tuple[int, int]]) -> Iterator[str]:
        part = self._part_at(near[0][0])
        file = self._file_of(part)
        near = [(start - part.base, length) for start, length in near]
        # With the byte before and after: they show whether these are whole lines.
        base = max(near[0][0] - 1, 0)
        data = read_range(file, base, sum(near[-1]) + 1 - base)
        if data is None or read_range(file, 0, len(part.head)) != part.head:
            raise journal_changed()
        if isinstance(part.file, FileIO) and part.file.closed:
            self._close_open()
        for start, length in near:
            end = start - base + length
            line = data[start - base : end]
            before = data[max(start - base - 1, 0) : start - base]
            begins = before in {b"", b"\n", b"\r", b"\0"} or (
                start == len(_BOM) and part.head.startswith(_BOM)
            )
            if not begins or not _is_line(line, data[end : end + 1]):
                raise journal_changed()
            yield line.decode("utf-8", "replace")


def _has_position(segment: Segment, positions: Sequence[int]) -> bool:
    """Return whether one of the sorted `positions` is in the segment."""
    place = bisect_left(positions, segment.start)
    return place < len(positions) and positions[place] < segment.end


def _is_line(line: bytes, after: bytes) -> bool:
    """Return whether `line` is a whole line with a JSON object, as all sealed lines are."""
    return (
        after in {b"\n", b"\r", b"\0"}
        and line.lstrip(b" \t").startswith(b"{")
        and not any(end in line for end in (b"\n", b"\r", b"\0"))
    )


def journal_changed() -> StorageError:
    """Return the error of a journal that is not as it was when it was opened."""
    return StorageError(
        "the journal changed while it was read", "run the query again", error_id="journal-changed"
    )


def open_snapshot(
    journal: Path, cache: Cache | None, scratch: Path, end: int | None = None, older: Older | None = None
) -> JournalSnapshot:
    """Open a journal, its first `end` bytes or all of it, and those that were set aside.

    Unsealed parts are copied into `scratch`; without a cache and an `end` the journal is read itself.

    Raises:
        InputError: it cannot be read.
    """
    literal(journal)
    while True:
        try:
            file, aside = open_with_older(journal, cleared=older is not None and older.cleared)
        except FileNotFoundError:
            raise InputError(f"no journal at {journal}", JOURNAL_HINT, error_id="journal-missing") from None
        except OSError as error:
            raise unreadable_journal(journal, error) from None
        opening = _Opening(journal, file, scratch, end)
        try:
            return opening.snapshot(cache, aside if older is not None else (), older or Older())
        except _VanishedError:
            opening.close()  # it was packed or removed meanwhile
        except BaseException as error:
            opening.close()
            if isinstance(error, OSError):
                if str(error.filename).startswith(str(scratch)):
                    raise _without_folder(journal, error) from None
                raise unreadable_journal(journal, error) from None
            raise


def _without_folder(journal: Path, error: OSError) -> StorageError:
    return StorageError(
        f"could not copy parts of {journal} into a temporary directory: {folder_error(error)}",
        "make room there, or name another directory with TMPDIR",
        error_id="journal-copy-failed",
    )


class _VanishedError(Exception):
    """A journal that was set aside is not there any more."""


class _Opening:
    """Open a journal's file, and those that were set aside."""

    def __init__(self, journal: Path, file: FileIO, scratch: Path, end: int | None) -> None:
        self._journal = journal
        self._file = file
        self._end = end
        self._older_target = scratch / "older.jsonl"
        self._target = scratch / "unsealed.jsonl"
        self._empty = Cache(scratch)
        self._parts: list[Part] = []
        self._caches: list[PlacedCache] = []
        self._own: list[str] = []
        self._copied: list[str] = []
        self._base = 0
        self._longest = 0
        self._has_more = False

    def close(self) -> None:
        self._file.close()
        for part in self._parts:
            if isinstance(part.file, FileIO):
                part.file.close()

    def snapshot(
        self, cache: Cache | None, aside: Sequence[ArchivedJournal], older: Older
    ) -> JournalSnapshot:
        unsealed = []
        if chosen := may_matter(aside, older.window.since_ms):
            with self._older_target.open("wb") as target:
                for one in chosen:
                    self._add_older(one, older, target)
                if target.tell():
                    unsealed.append(self._older_target)
        self._has_more = bool(aside)
        unsealed.append(self._add_journal(cache))
        for path in unsealed:
            with FileIO(path, "rb") as read:
                self._longest = max(self._longest, longest_line(read))
        return JournalSnapshot(
            parts=tuple(self._parts),
            # A journal that was left out for its times has something, too.
            size=self._base or int(self._has_more),
            sealed=SealedSegments(self._caches),
            sealed_bytes=sum(placed.cache.end for placed in self._caches),
            unsealed=tuple(unsealed),
            longest=self._longest,
            known_own_lines=tuple(self._own),
            copied_own_lines=tuple(self._copied),
        )

    def _add_journal(self, cache: Cache | None) -> Path:
        """Add the journal itself; return the file with its unsealed part."""
        file, end = self._file, self._end
        size = file.seek(0, os.SEEK_END) if end is None else min(file.seek(0, os.SEEK_END), end)
        unsealed = self._journal.absolute()
        if cache is not None and _takes(cache, file, size, self._target):
            unsealed = self._target
            self._own += cache.gap_lines
            self._caches.append(PlacedCache(cache, self._base))
        elif end is not None or nul_runs.holds_nul(file, size):
            unsealed = self._target
            with self._target.open("wb") as copied:
                _copy(file, 0, size, copied)
        self._add_part(file, file, size)
        return unsealed

    def _add_older(self, one: ArchivedJournal, older: Older, target: BinaryIO) -> None:
        since_ms, until_ms = older.window.since_ms, older.window.until_ms
        is_chosen = one.may_hold(since_ms, until_ms)
        try:
            cache = older.cache_of(one.path)
            if not is_chosen and cache is not None:
                self._own += cache.gap_lines
                return
            file = open_archived(one)
        except FileNotFoundError:
            raise _VanishedError from None
        except OSError as error:
            raise unreadable_journal(one.path, error) from None
        size = file.seek(0, os.SEEK_END)
        if cache is not None and not (cache.fits(file) and cache.end <= size):
            cache = None
        end = cache.end if cache else 0
        self._own += cache.gap_lines if cache else ()
        unsealed = _own_lines(file, end)
        self._own += unsealed
        if is_chosen:
            self._copied += unsealed
            if cache is not None:
                _copy_doubtful(cache, file, target)
                self._caches.append(PlacedCache(cache, self._base))
            _copy(file, end, size, target)
            self._add_part(file, one, size)
        if not is_chosen or isinstance(file, PackedFile):
            file.close()

    def _add_part(self, file: FileIO | PackedFile, one: FileIO | ArchivedJournal, size: int) -> None:
        if isinstance(file, FileIO):
            head = read_range(file, 0, min(_HEAD, size)) or b""
            self._parts.append(Part(file, self._base, head, identity(file)))
        elif not isinstance(one, FileIO):
            self._parts.append(Part(one, self._base, b"", file.identity))
        self._base += size


def _own_lines(file: FileIO | PackedFile, start: int) -> list[str]:
    return [
        line.decode("utf-8", "replace").rstrip("\r\n")
        for batch in line_batches(file, start)
        for line in batch
        if any(name in line for name in _OWN_NAMES)
    ]


def _takes(cache: Cache, file: FileIO, size: int, target: Path) -> bool:
    """Copy the unsealed part to `target`; False if the cache cannot be used.

    That is if it does not fit the journal, if the copy would cost more than it saves, or finds no room.
    """
    if not cache.segments or size < cache.end:
        return False
    if nul_runs.data_bytes(file, cache.end, size) > _MOST_UNSEALED:
        return False
    try:
        with target.open("wb") as copied:
            _copy_doubtful(cache, file, copied)
            _copy(file, cache.end, size, copied)
    except OSError:
        return False
    # Checked last: the journal may have been cleared meanwhile.
    return cache.fits(file)


def _copy_doubtful(cache: Cache, file: FileIO | PackedFile, target: BinaryIO) -> None:
    target.writelines(
        (read_range(file, start, length) or b"") + b"\n"
        for start, length in (place for segment in cache.segments for place in segment.doubtful)
    )


def _copy(file: FileIO | PackedFile, start: int, end: int, target: BinaryIO) -> None:
    """Copy a part of a journal; for each run of NULs an unreadable line, as DuckDB drops what follows one."""
    is_run, is_first = False, True
    for data in nul_runs.blocks(file, start, end):
        if is_first and data.startswith(_BOM):
            # Skipped at the beginning of a journal alone; DuckDB skips one at the beginning of any file.
            data = b"\n" + (data if start else data.removeprefix(_BOM))  # noqa: PLW2901 - the same block
        is_first = False
        if b"\0" in data:
            target.write(nul_runs.RUN.sub(_LOST, data.lstrip(b"\0") if is_run else data))
        else:
            target.write(data)
        is_run = data.endswith(b"\0")
