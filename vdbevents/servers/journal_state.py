"""Whether journals have other content than before, by their files' sizes and times."""

import os
from collections.abc import Iterable
from pathlib import Path

JournalState = tuple[tuple[int, ...] | None, ...]
"""What changes if any of some journals does."""


def state_of(paths: Iterable[Path]) -> JournalState:
    """Return the state of files; None for one that is missing."""
    return tuple(map(_state_of_one, paths))


def _state_of_one(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - several times a second
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
