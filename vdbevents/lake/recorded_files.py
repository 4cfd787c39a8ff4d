"""Read all that a recorder has written, from a place on: what was set aside, and then the journal."""

import os
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.journal import nul_runs
from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.files import same_file
from vdbevents.journal.history import open_archived, open_with_older, read_part
from vdbevents.journal.packed import PackedFile
from vdbevents.lake.shipped_place import ShippedPlace, digest_of
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import PIECE

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOCK: Final = 1 << 16


class FilePlace(NamedTuple):
    """A place in one of the files: their number, and so many bytes from its beginning."""

    file: int
    at: int


class Stretch(NamedTuple):
    """Whole lines of one file.

    Attributes:
        start: where `data` begins, after a run of NULs; a piece may begin with one.
        end: where the lines end.
        data: their bytes.
    """

    start: int
    end: int
    data: bytes | bytearray

    @property
    def last_line(self) -> bytes:
        """Its last line, without its end."""
        return bytes(_last_line(self.data))


class RecordedFile:
    """One of the files, which is opened when it is first read.

    Attributes:
        path: its path, as it was when the files were listed.
    """

    def __init__(self, source: FileIO | ArchivedJournal, path: Path) -> None:
        """Take the journal, open, or one that was set aside."""
        self._source = source
        self.path = path

    @cached_property
    def content(self) -> FileIO | PackedFile:
        """The open file.

        Raises:
            OSError: it cannot be read.
        """
        return self._source if isinstance(self._source, FileIO) else open_archived(self._source)

    @property
    def is_journal(self) -> bool:
        """Whether lines may still be appended to it."""
        return isinstance(self._source, FileIO)

    @cached_property
    def size(self) -> int:
        """Its bytes when it was first asked for: what is appended later is shipped the next time."""
        return self.content.seek(0, os.SEEK_END)

    @cached_property
    def head(self) -> int | None:
        """A digest of its first line; None while it has no whole line."""
        data = b""
        while b"\n" not in data and len(data) < self.size:
            data += read_part(self.content, len(data), min(_BLOCK, self.size - len(data)))
        line, newline, _ = data.partition(b"\n")
        return digest_of(line[:_BLOCK]) if newline or (data and not self.is_journal) else None

    def digest_before(self, place: int) -> int | None:
        """Return the digest of the line that ends at a place; None where none does."""
        data, start = b"", place
        while start and b"\n" not in data[:-1]:
            start = max(0, start - _BLOCK)
            data = read_part(self.content, start, place - start)
            if len(data) < place - start:
                return None
        return digest_of(bytes(_last_line(data))) if data else None

    def stretch(self, start: int, most: int = PIECE) -> Stretch | None:
        """Return up to `most` bytes of whole lines from a place on, or one longer line; None at the end.

        Of a journal, what has no line end yet is left for later.
        """
        first = nul_runs.after_run(self.content, start, self.size)
        if first >= self.size:
            return None
        while True:
            stop = min(first + most, self.size)
            data = _read(self.content, first, stop - first)
            if stop == self.size and not self.is_journal:
                length = len(data)
            else:
                length = data.rfind(b"\n") + 1 or data.rfind(b"\0") + 1
            if length:
                del data[length:]
                return Stretch(first, first + length, data)
            if stop == self.size or len(data) < stop - first:
                return None
            most *= 2

    def is_there(self) -> bool:
        """Return whether it is still what its path leads to: nobody has rotated, rewritten or removed it."""
        if isinstance(self.content, FileIO):
            return same_file(self.content.fileno(), self.path)
        return self.path.exists()

    def close(self) -> None:
        """Close it, if it is open."""
        if "content" in self.__dict__ or isinstance(self._source, FileIO):
            self.content.close()


def _read(file: FileIO | PackedFile, start: int, size: int) -> bytearray:
    """Return bytes of a file; fewer at its end."""
    data, done = bytearray(size), 0
    file.seek(start)
    with memoryview(data) as view:
        while done < size and (count := file.readinto(view[done:])):
            done += count
    del data[done:]
    return data


def _last_line(data: bytes | bytearray) -> bytes | bytearray:
    end = len(data)
    while end and data[end - 1] in b"\n\0":
        end -= 1
    return data[max(data.rfind(b"\n", 0, end), data.rfind(b"\0", 0, end)) + 1 : end]


class RecordedFiles(Closeable):
    """All files of a recording, oldest first; the last is the journal.

    Attributes:
        files: the files.
    """

    def __init__(self, journal: Path) -> None:
        """List them, and open the journal.

        Raises:
            OSError: there is no journal, or the folder cannot be read.
        """
        file, older = open_with_older(journal, cleared=True)
        self.files: Sequence[RecordedFile] = [
            *(RecordedFile(one, one.path) for one in older),
            RecordedFile(file, journal),
        ]

    def close(self) -> None:
        """Close them."""
        for file in self.files:
            file.close()

    @property
    def first_head(self) -> int | None:
        """The digest of the oldest line; None if there is none."""
        return next((file.head for file in self.files if file.head is not None), None)

    def place_of(self, shipped: ShippedPlace) -> FilePlace | None:
        """Return where the last shipped line ends; None if it is not there any more."""
        for number in range(len(self.files) - 1, -1, -1):
            if self.files[number].head != shipped.head:
                continue
            file, at = number, shipped.end
            while at > self.files[file].size and file + 1 < len(self.files):
                at -= self.files[file].size
                file += 1
            if self.files[file].digest_before(at) == shipped.last:
                return FilePlace(file, at)
        return None
