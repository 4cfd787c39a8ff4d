"""Read a journal and what was rotated out of it as one.

A rotation makes the rotated file first, and then replaces the journal. So a reader that opens the journal
first, and then lists the folder, misses nothing; and a file whose lines are still those at the journal's
beginning counts once. That is so for a rotation or a clearing that was cut short, and after a backup was
restored.
"""

import os
import re
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from vdbevents.events import fields
from vdbevents.journal import nul_runs
from vdbevents.journal.archive import ArchivedJournal, archived
from vdbevents.journal.files import same_file
from vdbevents.journal.packed import PackedFile, open_content
from vdbevents.journal.state import StateDirectory

HEAD_BYTES: Final = 64
"""So many bytes at its beginning distinguish a journal: the first line begins with the time of receipt."""

_COMPARED: Final = 512
BLOCK_BYTES: Final = 1 << 20
_LINE_HEAD: Final = re.compile(rb'^\{"ts":"[^"\\\n]*","unix_ts":(\d{1,11}\.\d{3})[,}]', re.MULTILINE)


class Measure:
    """Count the lines of a journal, and find when they were received, as its bytes are read.

    Attributes:
        lines: the number of whole lines.
        from_ms, to_ms: the earliest and the latest time of receipt, in Unix ms; None where no line has one.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.from_ms: int | None = None
        self.to_ms: int | None = None
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if not newline:
            return
        whole += newline
        self.lines += whole.count(b"\n")
        if times := _times(whole):
            self.from_ms = min(times) if self.from_ms is None else min(self.from_ms, *times)
            self.to_ms = max(times) if self.to_ms is None else max(self.to_ms, *times)


def older_journals(journal: Path, *, cleared: bool = False) -> list[ArchivedJournal]:
    """Return the journals that were rotated out of a state directory's journal, oldest first.

    Args:
        journal: its path; another file than a state directory's journal has none.
        cleared: whether to return those that were cleared, too.

    Raises:
        OSError: the folder cannot be read.
    """
    directory = StateDirectory(journal.parent)
    if journal != directory.journal:
        return []
    return [older for older in archived(directory) if cleared or not older.is_cleared]


def open_with_older(journal: Path, *, cleared: bool = False) -> tuple[FileIO, list[ArchivedJournal]]:
    """Open a journal, and list what was rotated out of it: together, each line once.

    Raises:
        OSError: the journal or the folder cannot be read.
    """
    while True:
        file = FileIO(journal, "rb")
        try:
            older = older_journals(journal, cleared=cleared)
            older = [one for one in older if not repeats(file, one)]
            if not older or same_file(file.fileno(), journal):
                file.seek(0)
                return file, older
        except FileNotFoundError:
            pass  # it was packed or removed meanwhile
        except BaseException:
            file.close()
            raise
        file.close()


def open_archived(older: ArchivedJournal) -> FileIO | PackedFile:
    """Open a journal that was set aside, though it may have been packed since it was listed.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return open_content(older.path)
    except FileNotFoundError:
        if older.is_packed:
            raise
        return open_content(older.packed_path)


def repeats(file: FileIO, older: ArchivedJournal) -> bool:
    """Return whether an open journal begins with the lines of one that was set aside.

    Raises:
        OSError: that one cannot be read.
    """
    begun_ms = received_ms(read_part(file, 0, _COMPARED))
    if begun_ms is not None and not older.from_ms <= begun_ms <= older.to_ms:
        return False
    with open_archived(older) as other:
        size = other.seek(0, os.SEEK_END)
        if not 0 < size <= file.seek(0, os.SEEK_END):
            return False
        length = min(_COMPARED, size)
        return all(
            read_part(file, start, length) == read_part(other, start, length) for start in (0, size - length)
        )


def read_part(file: FileIO | PackedFile, start: int, size: int) -> bytes:
    """Return `size` bytes of an open journal from a place on; fewer at its end."""
    file.seek(start)
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def head_of(file: FileIO | PackedFile) -> bytes:
    """Return the first bytes of a journal, which distinguish it."""
    return read_part(file, 0, HEAD_BYTES)


def older_since(journal: Path, head: bytes) -> list[ArchivedJournal]:
    """Return the rotated journals from the newest one with this head on; none if no one has it.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    older = older_journals(journal)
    for number in range(len(older) - 1, -1, -1):
        with open_archived(older[number]) as file:
            if head_of(file).startswith(head):
                return older[number:]
    return []


def line_batches(file: FileIO | PackedFile, start: int = 0) -> Iterator[list[bytes]]:
    """Yield the whole lines of a file from a place on, with their newlines, in batches of about a MiB.

    A run of NULs ends a line, and is one of its own.
    """
    rest = b""
    for block in nul_runs.blocks(file, start):
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield nul_runs.split(whole + newline)


def lines_with(
    file: FileIO | PackedFile, needle: bytes, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """Yield the lines of a file that contain a needle, from one place to another, without their newlines.

    The last line may lack its newline.
    """
    rest: list[bytes] = []
    for block in nul_runs.blocks(file, start, end):
        first = block.find(b"\n")
        if first < 0:
            rest.append(block)
            continue
        # Most blocks contain no needle, and need not be split.
        yield from _parts_with(needle, b"".join([*rest, block[:first]]))
        last = block.rfind(b"\n")
        place = block.find(needle, first, last)
        while place >= 0:
            line_end = block.index(b"\n", place)
            yield from _parts_with(needle, block[block.rindex(b"\n", 0, place) + 1 : line_end])
            place = block.find(needle, line_end, last)
        rest = [block[last + 1 :]]
    yield from _parts_with(needle, b"".join(rest))


def _parts_with(needle: bytes, line: bytes) -> Iterator[bytes]:
    # A run of NULs ends a line.
    return (part for part in line.split(b"\0") if needle in part) if needle in line else iter(())


def received_ms(line: bytes) -> int | None:
    """Return when a line was received, if it begins as a recorder's lines do."""
    head = _LINE_HEAD.match(line)
    return None if head is None else _milliseconds(head[1])


def _times(data: bytes) -> list[int]:
    """Return times of lines, among them the earliest and the latest."""
    heads: list[bytes] = _LINE_HEAD.findall(data)
    times = [] if len(heads) == data.count(b"\n") else list(_parsed_times(data))
    if heads and len(set(map(len, heads))) == 1:
        heads = [min(heads), max(heads)]  # of one length, their order is that of their numbers
    return [*times, *map(_milliseconds, heads)]


def _parsed_times(data: bytes) -> Iterator[int]:
    """Yield the times of the lines that do not begin as a recorder's lines do."""
    from vdbevents.events.envelope import parse_line

    for line in data.split(b"\n"):
        if _LINE_HEAD.match(line) or not (event := parse_line(line)):
            continue
        if (moment := fields.received_ms(event)) is not None:
            yield moment


def _milliseconds(seconds: bytes) -> int:
    return int(seconds.replace(b".", b""))
