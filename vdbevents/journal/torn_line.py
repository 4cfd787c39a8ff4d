"""Repair a journal whose last line was cut short by a crash."""

import os
from collections.abc import Callable
from pathlib import Path

from vdbevents.events import envelope
from vdbevents.journal.files import last_line_start, read_at, write_whole


def repair_end(descriptor: int, size: int, torn: Path, clock_ms: Callable[[], int]) -> tuple[int, bytes]:
    """Move a torn last line of a journal to the file `torn`.

    Returns:
        How many bytes were cut off, and what the next write must begin with.

    Raises:
        OSError: the journal is unchanged.
    """
    if size == 0 or read_at(descriptor, size - 1, 1) == b"\n":
        return 0, b""
    start = last_line_start(descriptor, size)
    tail = read_at(descriptor, start, size - start)
    # No part of a JSON object is one itself: such a tail lacks only its newline.
    if envelope.parse_line(tail) is not None:
        return 0, b"\n"
    _set_aside(tail, torn)
    os.ftruncate(descriptor, start)
    data = {"bytes": len(tail), "kept_in": torn.name}
    return len(tail), envelope.own_record("journal.repaired", data, clock_ms()).line


def _set_aside(tail: bytes, torn: Path) -> None:
    # Synced before it is cut from the journal: after a crash between the two it is in both.
    descriptor = os.open(torn, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    size = os.fstat(descriptor).st_size
    try:
        write_whole(descriptor, tail + b"\n")
        os.fsync(descriptor)
    except OSError:
        # A part of it would be joined to the next attempt, and take up room on a full disk.
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)
