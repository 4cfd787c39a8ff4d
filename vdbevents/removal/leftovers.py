"""Find words that a removal does not reach: in names and settings, and in the files of other programs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vdbevents.errors import StorageError
from vdbevents.journal.rewrite import archived_lines
from vdbevents.journal.state import StateDirectory
from vdbevents.removal.forgetting import Words

_LONGEST_LINE: Final = 1 << 24


def files_with(directory: StateDirectory, words: Words) -> list[str]:
    """Return the files of a state directory that hold words anywhere, by their paths within it."""
    return [str(path.relative_to(directory.path)) for path in _files(directory) if _is_in(path, words)]


def _files(directory: StateDirectory) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for path in sorted(directory.path.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path


def _is_in(path: Path, words: Words) -> bool:
    with contextlib.suppress(OSError, StorageError):
        return any(
            words.may_be_in(line) and words.are_written_in(line[:_LONGEST_LINE])
            for line in archived_lines(path)
        )
    return False
