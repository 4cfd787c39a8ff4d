"""Read byte ranges of files, and write paths as DuckDB expects them."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import Any, Final, Self

from vdbevents.errors import InputError
from vdbevents.journal.packed import PackedFile

JOURNAL_HINT: Final = "name the directory or the file of a journal; `vdbevents listen` records one"


def unreadable_journal(journal: Path, error: OSError) -> InputError:
    """Return the error of a journal that cannot be read."""
    message = f"cannot read the journal {journal}: {error.strerror}"
    return InputError(message, JOURNAL_HINT, error_id="journal-unreadable")


def read_range(file: FileIO | PackedFile, start: int, size: int) -> bytes | None:
    """Return `size` bytes from `start` on; None if the file has fewer."""
    file.seek(start)
    content = bytearray()
    while len(content) < size and (data := file.read(size - len(content))):
        content += data
    return bytes(content) if len(content) == size else None


BLOCK_BYTES: Final = 1 << 20


class Closeable(AbstractContextManager[Any]):
    """A holder of files or memory: a context manager that closes itself at its end."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def longest_line(file: FileIO) -> int:
    """Return an upper bound for the lengths of a file's lines, in bytes.

    A line of more than two blocks covers a whole block, so it is enough to look for a line's end from the
    start of each block on: a few bytes a mebibyte.
    """
    size = file.seek(0, 2)
    longest = start = 0
    while start < size:
        end = _line_end(file, start)
        longest = max(longest, end - start)
        start = (end // BLOCK_BYTES + 1) * BLOCK_BYTES
    return longest + BLOCK_BYTES


def _line_end(file: FileIO, start: int) -> int:
    """Return where the first line end at or after `start` is, or the file's end."""
    step = 4096
    file.seek(start)
    while data := file.read(step):
        if (newline := data.find(b"\n")) >= 0:
            return start + newline
        start += len(data)
        step = BLOCK_BYTES
    return start


def literal(path: Path) -> str:
    """Return a path in which characters that DuckDB would expand are in brackets.

    Raises:
        InputError: the path is not UTF-8.
    """
    text = str(path.absolute())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"path: not UTF-8: {text!r}", "give the journal a path in UTF-8", error_id="path-not-utf8"
        ) from None
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
