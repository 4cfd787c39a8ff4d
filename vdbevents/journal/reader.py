"""Read a journal: follow it, or read it backward from its end."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vdbevents.events import envelope, fields
from vdbevents.journal.files import last_line_start, read_at, same_file

_BACKWARD_BLOCK = 1 << 20
_FOLLOWED_BLOCK = 1 << 20
_LONGEST_MARK = 1 << 16


def follow(
    path: Path, *, from_end: bool, wait: Callable[[], bool], start: int | None = None
) -> Iterator[bytes]:
    """Yield the lines of a journal as they are written, each whole and with its newline.

    After the journal is cleared or replaced, go on from the new beginning; after it was rewritten
    (`journal.rewrite`), where the lines read so far end in the new file.

    Args:
        path: the journal; it need not exist yet.
        from_end: whether to skip the lines that it has already.
        wait: called when there are no more lines yet; it should pause, and return False to end.
        start: the byte to begin at, instead of the beginning or end.
    """
    for lines in follow_batches(path, from_end=from_end, wait=wait, start=start):
        yield from lines


def follow_batches(
    path: Path,
    *,
    from_end: bool,
    wait: Callable[[], bool],
    start: int | None = None,
    tail: "Tail | None" = None,
) -> Iterator[list[bytes]]:
    """Yield lines as `follow` does, in batches of about a MiB at most.

    A `tail` of the journal, if given, goes on from where it is; it is closed at the end.
    """
    seen = None
    earlier: int | None = None
    try:
        while True:
            # Before reading, so that lines written meanwhile count as a change.
            state = _state_of(path)
            if state is None or state != seen:
                seen = state
                if tail is None:
                    with contextlib.suppress(FileNotFoundError):
                        tail = Tail(path, None if from_end else start or 0, earlier)
                # A file that appears later is new from its first line.
                from_end, start = False, None
                if tail is not None:
                    while lines := tail.read():
                        yield lines
                    if not tail.is_of(path):
                        # Nothing comes after this, but something may have come before the file was replaced.
                        while lines := tail.read():
                            yield lines
                        earlier = tail.inode
                        tail.close()
                        tail = seen = None
            if not wait():
                return
    finally:
        if tail is not None:
            tail.close()


def _state_of(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes when a file is written or replaced; None if there is no cheap one."""
    if os.name != "posix":
        # Windows updates the size of a file that is open elsewhere late.
        return None
    try:
        state = os.stat(path)  # noqa: PTH116 - a hundred times a second, at a third of the cost
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


class Tail:
    """The whole lines of a journal from an offset on, or from its beginning after it was cleared.

    Attributes:
        offset: the byte up to which it was read.
        inode: the file's number in its file system.
    """

    MARK_BYTES = 64

    def __init__(self, path: Path, offset: int | None, earlier: int | None = None) -> None:
        """Open it; without an offset, after its last whole line.

        Args:
            path: the journal.
            offset: the byte to begin at.
            earlier: the inode of a file that was read to its end: where the journal is that file rewritten,
                begin after those lines.

        Raises:
            OSError: it cannot be read.
        """
        # Unbuffered: a buffer would still hold the bytes from before a clear.
        self._file = path.open("rb", buffering=0)
        self.inode = os.fstat(self._file.fileno()).st_ino
        size = self._file.seek(0, os.SEEK_END)
        rewritten = None if earlier is None else rewritten_from(self._file.fileno(), earlier)
        offset = offset if rewritten is None else rewritten.place
        self.offset = last_line_start(self._file.fileno(), size) if offset is None else offset
        self._mark_at, self._mark = 0, b""
        self._remember()

    def read(self) -> list[bytes]:
        """Return the whole lines since the last call; a torn end may still be repaired."""
        lines = self._whole_lines()
        # Checked after reading: the lines follow the earlier ones only if the file was not cleared by then.
        if self.is_cleared():
            self.offset, self._mark = 0, b""
            lines = self._whole_lines()
        if lines:
            self.offset += sum(map(len, lines))
            # A line begins with its time of receipt, so a cleared file has other bytes at this place.
            self._mark_at, self._mark = self.offset - len(lines[-1]), lines[-1][: self.MARK_BYTES]
        return lines

    def _remember(self) -> None:
        self._mark_at = max(self.offset - self.MARK_BYTES, 0)
        self._mark = self._bytes(self._mark_at, self.offset - self._mark_at)

    def is_cleared(self) -> bool:
        """Return whether the file was cleared, even if it has grown to the same size since."""
        return self._bytes(self._mark_at, len(self._mark)) != self._mark

    def is_of(self, path: Path) -> bool:
        """Return whether the file is still the one at `path`."""
        return same_file(self._file.fileno(), path)

    def close(self) -> None:
        """Close the file; no-op if it is closed."""
        self._file.close()

    def _whole_lines(self) -> list[bytes]:
        size = _FOLLOWED_BLOCK
        while True:
            data = self._bytes(self.offset, size)
            end = data.rfind(b"\n") + 1
            if end or len(data) < size:
                return [line + b"\n" for line in data[:end].split(b"\n")[:-1]]
            size *= 4

    def _bytes(self, start: int, length: int) -> bytes:
        return read_at(self._file.fileno(), start, length)


def backward(path: Path, needles: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the whole lines of a journal that contain a needle, from the last to the first.

    Lines written meanwhile are skipped; a missing journal has no lines.

    Raises:
        OSError: it cannot be read.
    """
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    with handle:
        yield from lines_backward(handle.fileno(), needles)


def lines_backward(descriptor: int, needles: Sequence[bytes], most: int | None = None) -> Iterator[bytes]:
    """Yield the same from an open file's last `most` bytes, without newlines."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    oldest = 0 if most is None else max(0, end - most)
    # The part before a block's first newline continues a line of the block before it.
    rest: list[bytes] = []
    torn = True
    while end > oldest:
        start = max(oldest, end - _BACKWARD_BLOCK)
        block = read_at(descriptor, start, end - start)
        end = start
        first = block.find(b"\n")
        if first < 0:
            rest.append(block)
            continue
        last = block.rfind(b"\n")
        across = block[last + 1 :] + b"".join(reversed(rest))
        rest = [block[:first]]
        if not torn:
            yield from _containing(needles, [across])
        torn = False
        # Most blocks contain no needle, and need not be split.
        if first < last and any(block.find(needle, first, last) >= 0 for needle in needles):
            yield from _containing(needles, reversed(block[first + 1 : last].split(b"\n")))
    if not torn and end == 0:
        yield from _containing(needles, [b"".join(reversed(rest))])


class Rewritten(NamedTuple):
    """Where a rewritten journal goes on after the lines of the file that it replaced.

    Attributes:
        place: the byte at which the line begins that says so.
        replaced_bytes: how long the replaced file was.
    """

    place: int
    replaced_bytes: int


def rewritten_from(descriptor: int, inode: int) -> Rewritten | None:
    """Return where a journal goes on after the lines of a file; None if it is not that file rewritten.

    Raises:
        OSError: it cannot be read.
    """
    needle = b'"replaced":{"inode":%d,' % inode
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BACKWARD_BLOCK)
        # With the beginning of the block after it, where a needle may end.
        block = read_at(descriptor, start, end - start + len(needle) - 1)
        place = len(block)
        while (place := block.rfind(needle, 0, place)) >= 0:
            line_start = last_line_start(descriptor, start + place)
            if (size := _replaced_bytes(descriptor, line_start, inode)) is not None:
                return Rewritten(line_start, size)
        end = start
    return None


def _replaced_bytes(descriptor: int, line_start: int, inode: int) -> int | None:
    line, _, _ = read_at(descriptor, line_start, _LONGEST_MARK).partition(b"\n")
    event = envelope.parse_line(line) or {}
    data = event.get("data")
    replaced = data.get("replaced") if isinstance(data, dict) and fields.is_own(event) else None
    if not isinstance(replaced, dict) or replaced.get("inode") != inode:
        return None
    size = replaced.get("bytes")
    return size if isinstance(size, int) else None


def _containing(needles: Sequence[bytes], lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if any(needle in line for needle in needles))


def connection_ids(path: Path) -> Iterator[str]:
    """Yield the ids of the connections that a journal's listeners had, newest first.

    The first line of a cleared journal has the ids of earlier connections.

    Raises:
        OSError: it cannot be read.
    """
    for line in backward(path, [b'"listener.connected"', b'"ws_ids"']):
        event = envelope.parse_line(line) or {}
        data = event.get("data")
        if not fields.is_own(event) or not isinstance(data, dict):
            continue
        if event.get("event") == "listener.connected" and isinstance(data.get("ws_id"), str):
            yield data["ws_id"]
        elif event.get("event") == "listener.started" and isinstance(data.get("ws_ids"), list):
            yield from (ws_id for ws_id in data["ws_ids"] if isinstance(ws_id, str))
