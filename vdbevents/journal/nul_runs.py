"""Runs of NULs in a journal, which an unclean shutdown or a sparse copy leaves between lines.

JSON has no NUL, so a run of them ends a line as a line end does: the events before and after it are whole. It
stands for something that was lost, so it counts as one unreadable line, however long it is.
"""

import errno
import os
import re
from collections.abc import Iterator
from io import FileIO
from typing import Final

from vdbevents.journal.packed import PackedFile

# It begins with a literal, which `re` looks for eight times as fast as for a repetition.
RUN: Final = re.compile(rb"\0\0*")
"""A run of NULs."""

_BLOCK: Final = 1 << 20


def split(data: bytes) -> list[bytes]:
    """Return the lines in data, which ends with one, with their newlines; a run of NULs is one of its own."""
    if b"\0" not in data:
        return [line + b"\n" for line in data.split(b"\n")[:-1]]
    lines = []
    for line in data.split(b"\n")[:-1]:
        parts = [line] if b"\0" not in line else filter(None, RUN.sub(b"\n\0\n", line).split(b"\n"))
        lines += [part + b"\n" for part in parts]
    return lines


def data_ranges(file: FileIO | PackedFile, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file between two places that are not holes of a sparse file, as (start, end)."""
    if isinstance(file, PackedFile) or not hasattr(os, "SEEK_DATA"):
        if start < end:
            yield start, end
        return
    descriptor = file.fileno()
    while start < end:
        try:
            first = os.lseek(descriptor, start, os.SEEK_DATA)
            last = os.lseek(descriptor, first, os.SEEK_HOLE)
        except OSError as error:
            # Up to the end there is a hole; or the file system does not know of holes.
            first, last = (end, end) if error.errno == errno.ENXIO else (start, end)
        if first < end:
            yield first, min(last, end)
        start = max(last, start + 1)


def data_bytes(file: FileIO | PackedFile, start: int, end: int) -> int:
    """Return how many bytes between two places of a file are not in holes."""
    return sum(last - first for first, last in data_ranges(file, start, end))


def blocks(file: FileIO | PackedFile, start: int, end: int | None = None) -> Iterator[bytes]:
    """Yield a file's bytes between two places in blocks; a hole, and blocks of nothing but NULs, as one NUL.

    Args:
        file: the file, whose position it changes.
        start: the first byte.
        end: the place to stop at; None reads until there is nothing more.
    """
    most = file.seek(0, os.SEEK_END) if end is None else end
    place, is_run = start, False
    for first, last in data_ranges(file, start, most):
        if first > place and not is_run:
            is_run = True
            yield b"\0"
        place = file.seek(first)
        while place < last and (data := file.read(min(_BLOCK, last - place))):
            place += len(data)
            if not data.startswith(b"\0") or data.strip(b"\0"):
                is_run = False
                yield data
            elif not is_run:
                is_run = True
                yield b"\0"
    if place < most and not is_run:
        yield b"\0"


def holds_nul(file: FileIO, end: int) -> bool:
    """Return whether a NUL, or a hole, is in the first `end` bytes of a file."""
    place = 0
    data = bytearray(_BLOCK)
    for first, last in data_ranges(file, 0, end):
        if first > place:
            return True
        place = file.seek(first)
        while place < last and (count := file.readinto(data)):
            if data.find(0, 0, count) >= 0:
                return True
            place += count
    return place < end


def after_run(file: FileIO | PackedFile, start: int, end: int) -> int:
    """Return the first place from `start` on that has no NUL, at most `end`."""
    for first, last in data_ranges(file, start, end):
        place = file.seek(first)
        while place < last and (data := file.read(min(_BLOCK, last - place))):
            place += len(data)
            if rest := len(data.lstrip(b"\0")):
                return place - rest
    return end
