"""Open a journal for a query: its sealed segments, and the rest as a file of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from vdbevents.errors import InputError, StorageError
from vdbevents.query.byte_ranges import (
    BLOCK_BYTES,
    JOURNAL_HINT,
    Closeable,
    literal,
    longest_line,
    read_range,
    unreadable_journal,
)
from vdbevents.query.cache.index import Cache, Segment

_NEAR: Final = 1 << 16
_MOST: Final = 1 << 23
_MOST_UNSEALED: Final = 1 << 29
_HEAD: Final = 512
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class JournalSnapshot(Closeable):
    """A journal as it was when it was opened.

    Attributes:
        file: the journal itself.
        size: in bytes.
        cache: its sealed segments.
        unsealed: the file that holds the rest, and the segments' doubtful lines.
        longest: no line in `unsealed` has more bytes.
        head: the journal's first bytes; with the time of its first event, they are unique.
    """

    file: FileIO
    size: int
    cache: Cache
    unsealed: Path
    longest: int
    head: bytes

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def tables(self, segments: Iterable[Segment]) -> list[str]:
        """Return the Parquet files of segments, as DuckDB globs."""
        return [literal(self.cache.events(segment)) for segment in segments]

    def lines(self, places: Iterable[tuple[int, int]]) -> Iterator[str]:
        """Yield the lines at places (start, length; bytes) of the journal; read near ones together.

        Raises:
            StorageError: the journal changed since it was opened.
        """
        near: list[tuple[int, int]] = []
        for start, length in places:
            if near and not (near[-1][0] < start < sum(near[-1]) + _NEAR and start - near[0][0] < _MOST):
                yield from self._read(near)
                near = []
            near.append((start, length))
        if near:
            yield from self._read(near)

    def _read(self, near: list[tuple[int, int]]) -> Iterator[str]:
        # With the byte before and after: they show whether these are whole lines.
        base = max(near[0][0] - 1, 0)
        data = read_range(self.file, base, sum(near[-1]) + 1 - base)
        if data is None or read_range(self.file, 0, len(self.head)) != self.head:
            raise _changed()
        for start, length in near:
            end = start - base + length
            line = data[start - base : end]
            before = data[max(start - base - 1, 0) : start - base]
            begins = before in {b"", b"\n", b"\r"} or (start == len(_BOM) and self.head.startswith(_BOM))
            if not begins or not _is_line(line, data[end : end + 1]):
                raise _changed()
            yield line.decode("utf-8", "replace")


def _is_line(line: bytes, after: bytes) -> bool:
    """Return whether `line` is a whole line with a JSON object, as all sealed lines are."""
    return (
        after in {b"\n", b"\r", b"\0"}
        and line.lstrip(b" \t").startswith(b"{")
        and not any(end in line for end in (b"\n", b"\r", b"\0"))
    )


def _changed() -> StorageError:
    return StorageError(
        "the journal changed while it was read", "run the query again", error_id="journal-changed"
    )


def open_snapshot(
    journal: Path, cache: Cache | None, scratch: Path, end: int | None = None
) -> JournalSnapshot:
    """Open a journal: its first `end` bytes, or all of it.

    The unsealed part is copied into `scratch`; without a cache and an `end` it is the journal itself.

    Raises:
        InputError: it cannot be read.
    """
    literal(journal)
    try:
        file = FileIO(journal, "rb")
    except FileNotFoundError:
        raise InputError(f"no journal at {journal}", JOURNAL_HINT, error_id="journal-missing") from None
    except OSError as error:
        raise unreadable_journal(journal, error) from None
    try:
        size = file.seek(0, 2) if end is None else min(file.seek(0, 2), end)
        unsealed, target = journal.absolute(), scratch / "unsealed.jsonl"
        if cache is not None and _takes(cache, file, size, target):
            unsealed = target
        elif end is not None:
            cache, unsealed = None, target
            with target.open("wb") as copied:
                _copy(file, 0, size, copied)
        else:
            cache = None
        head = read_range(file, 0, min(_HEAD, size)) or b""
        with FileIO(unsealed, "rb") as read:
            longest = longest_line(read)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise unreadable_journal(journal, error) from None
        raise
    return JournalSnapshot(file, size, cache or Cache(scratch), unsealed, longest, head)


def _takes(cache: Cache, file: FileIO, size: int, target: Path) -> bool:
    """Copy the unsealed part to `target`; False if the cache cannot be used.

    That is if it does not fit the journal, if the copy would cost more than it saves, or finds no room.
    """
    if not cache.segments or not 0 <= size - cache.end <= _MOST_UNSEALED:
        return False
    try:
        with target.open("wb") as copied:
            for start, length in (place for segment in cache.segments for place in segment.doubtful):
                copied.write((read_range(file, start, length) or b"") + b"\n")
            _copy(file, cache.end, size, copied)
    except OSError:
        return False
    # Checked last: the journal may have been cleared meanwhile.
    return cache.fits(file)


def _copy(file: FileIO, start: int, end: int, target: BinaryIO) -> None:
    file.seek(start)
    while start < end and (data := file.read(min(BLOCK_BYTES, end - start))):
        if data.startswith(_BOM) and target.tell() == 0:
            target.write(b"\n")  # DuckDB skips a BOM at the beginning of a file
        target.write(data)
        start += len(data)
