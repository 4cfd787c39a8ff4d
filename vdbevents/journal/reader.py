"""Read a journal: follow it, or read it backward from its end."""

import contextlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from vdbevents.events import envelope, fields
from vdbevents.journal import history, nul_runs
from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.files import last_line_start, read_at, same_file
from vdbevents.journal.packed import PackedFile

_BACKWARD_BLOCK = 1 << 20
_FOLLOWED_BLOCK = 1 << 20
_LONGEST_MARK = 1 << 16
# So many of the lines read last are known again after a file was cut short.
_KNOWN_LINES = 1000
# So many files back a rewritten journal is looked for, after a follower was suspended.
_MOST_ROTATED = 3


class JournalPlace(NamedTuple):
    """A place in a journal, which is found again after a rotation.

    Attributes:
        offset: in bytes.
        head: the journal's first bytes; empty if it has none.
    """

    offset: int
    head: bytes


def end_of(path: Path, *, whole_lines: bool = False) -> JournalPlace:
    """Return the end of a journal, or that of its last whole line; a missing journal has none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with FileIO(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            offset = last_line_start(file.fileno(), size) if whole_lines else size
            return JournalPlace(offset, history.head_of(file))
    except FileNotFoundError:
        return JournalPlace(0, b"")


def follow(
    path: Path, *, from_end: bool, wait: Callable[[], bool], start: int | JournalPlace | None = None
) -> Iterator[bytes]:
    """Yield the lines of a journal as they are written, each whole and with its newline.

    After the journal is cleared or replaced, go on from the new beginning; after it was rewritten
    (`journal.rewrite`), where the lines read so far end in the new file. What was rotated meanwhile is read
    first.

    Args:
        path: the journal; it need not exist yet.
        from_end: whether to skip the lines that it has already.
        wait: called when there are no more lines yet; it should pause, and return False to end.
        start: the byte or the place to begin at, instead of the beginning or end.
    """
    for lines in follow_batches(path, from_end=from_end, wait=wait, start=start):
        yield from lines


def follow_batches(
    path: Path,
    *,
    from_end: bool,
    wait: Callable[[], bool],
    start: int | JournalPlace | None = None,
    tail: "Tail | None" = None,
    on_tail: "Callable[[Tail], None]" = lambda _: None,
) -> Iterator[list[bytes]]:
    """Yield lines as `follow` does, in batches of about a MiB at most.

    A `tail` of the journal, if given, goes on from where it is; it is closed at the end.
    `on_tail` gets that of each file before its lines: with it, a caller knows the place after them.
    """
    seen = None
    earlier: int | None = None
    last = start if isinstance(start, JournalPlace) else JournalPlace(0, b"")
    try:
        while True:
            # Before reading, so that lines written meanwhile count as a change.
            state = _state_of(path)
            if state is None or state != seen:
                seen = state
                if tail is None:
                    offset = start.offset if isinstance(start, JournalPlace) else start
                    tail, rotated = _opened(path, last, None if from_end else offset or 0, earlier)
                    for older, place in rotated:
                        yield from _lines_from(older, place)
                # A file that appears later is new from its first line.
                from_end, start = False, None
                if tail is not None:
                    on_tail(tail)
                    yield from _coming(tail)
                    if not tail.is_of(path):
                        # Nothing comes after this, but something may have come before the file was replaced.
                        yield from _coming(tail)
                        last, earlier = JournalPlace(tail.offset, tail.head), tail.inode
                        tail.close()
                        tail = seen = None
                        continue
            if not wait():
                return
    finally:
        if tail is not None:
            tail.close()


def _coming(tail: "Tail") -> Iterator[list[bytes]]:
    while lines := tail.read():
        yield lines


def _opened(
    path: Path, last: JournalPlace, start: int | None, earlier: int | None
) -> "tuple[Tail | None, list[tuple[ArchivedJournal, int]]]":
    """Open a journal, and return the rotated journals since `last`, each with the offset to read from."""
    while True:
        try:
            tail = Tail(path, start, earlier)
        except FileNotFoundError:
            return None, []
        try:
            if tail.is_rewritten or not last.head or tail.head.startswith(last.head):
                return tail, []
            since, rest = (
                _rewritten_then_rotated(path, last, earlier) or _rotated_since(path, last) or ([], 0)
            )
            if tail.is_of(path):
                # A rotation may leave the last lines of the old file at the beginning of the new one. If what
                # was rotated has been rewritten since, the place is another: better twice than never.
                tail.offset = rest if tail.begins_line(rest) else 0
                return tail, [(one, offset) for one, offset, _ in since]
        except FileNotFoundError:
            pass  # it was packed or removed meanwhile
        except BaseException:
            tail.close()
            raise
        tail.close()


def _rotated_since(
    path: Path, last: JournalPlace
) -> tuple[list[tuple[ArchivedJournal, int, int]], int] | None:
    """Return the rotated journals since a place, each with an offset and its size; and the journal's offset.

    None if the place is in none of them.
    """
    since, rest = [], last.offset
    older = history.older_since(path, last.head)
    for one in older:
        with history.open_archived(one) as file:
            size = file.seek(0, os.SEEK_END)
        if rest < size:
            since.append((one, rest, size))
        rest = max(0, rest - size)
    return (since, rest) if older else None


def _rewritten_then_rotated(
    path: Path, last: JournalPlace, inode: int | None
) -> tuple[list[tuple[ArchivedJournal, int, int]], int] | None:
    """Return the same where the file that was read to `last` was rewritten, and that one rotated since."""
    if inode is None:
        return None
    older = history.older_journals(path)
    for number in range(len(older) - 1, max(-1, len(older) - 1 - _MOST_ROTATED), -1):
        with history.open_archived(older[number]) as file:
            size = file.seek(0, os.SEEK_END)
            if size == last.offset and history.head_of(file).startswith(last.head):
                return None  # it is that file itself
            found = rewritten_from(file, inode)
        if found is not None:
            return [(older[number], found.place, size), *((one, 0, 0) for one in older[number + 1 :])], 0
    return None


def place_named(path: Path, offset: int, head_bytes: int, crc: int) -> JournalPlace | None:
    """Return a place by the checksum of its journal's head; None if no journal has it any more.

    Args:
        path: the journal; the place may be in one that was rotated out of it.
        offset: the place.
        head_bytes: how many bytes of the head count.
        crc: their checksum.

    Raises:
        OSError: a file cannot be read.
    """
    try:
        with FileIO(path, "rb") as file:
            heads = [(history.head_of(file), file.seek(0, os.SEEK_END))]
    except FileNotFoundError:
        heads = []
    for one in reversed(history.older_journals(path)):
        # It may have been pruned since it was listed.
        with contextlib.suppress(FileNotFoundError), history.open_archived(one) as packed:
            heads.append((history.head_of(packed), packed.seek(0, os.SEEK_END)))
    for head, size in heads:
        if zlib.crc32(head[:head_bytes]) == crc and offset <= size:
            return JournalPlace(offset, head[:head_bytes])
    return None


def size_since(path: Path, place: JournalPlace) -> int | None:
    """Return how many bytes were written since a place; None if its journal is not there any more.

    Raises:
        OSError: a file cannot be read.
    """
    try:
        with FileIO(path, "rb") as file:
            size, head = file.seek(0, os.SEEK_END), history.head_of(file)
    except FileNotFoundError:
        return None
    if head.startswith(place.head):
        return size - place.offset if place.offset <= size else None
    found = _rotated_since(path, place)
    if found is None:
        return None
    since, offset = found
    return max(0, size - offset) + sum(whole - start for _, start, whole in since)


def _lines_from(older: ArchivedJournal, offset: int) -> Iterator[list[bytes]]:
    # It may have been pruned since it was listed.
    with contextlib.suppress(FileNotFoundError), history.open_archived(older) as file:
        is_line = not offset or history.read_part(file, offset - 1, 1) == b"\n"
        yield from history.line_batches(file, offset if is_line else 0)


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
        is_rewritten: whether it is the `earlier` file, rewritten.
    """

    MARK_BYTES = history.HEAD_BYTES

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
        rewritten = None if earlier is None else rewritten_from(self._file, earlier)
        self.is_rewritten = rewritten is not None
        offset = offset if rewritten is None else rewritten.place
        self.offset = last_line_start(self._file.fileno(), size) if offset is None else offset
        self._mark_at, self._mark = 0, b""
        self._ends: deque[tuple[int, int, int]] = deque(maxlen=_KNOWN_LINES)
        self._head = self.head if self.offset else b""
        self._remember()

    def read(self) -> list[bytes]:
        """Return the whole lines since the last call; a torn end may still be repaired."""
        data, after = self._whole_lines()
        # Checked after reading: the lines follow the earlier ones only if the file was not cleared by then.
        if self.is_cleared():
            self._go_back()
            data, after = self._whole_lines()
        if data:
            self._note_ends(data)
            # A line begins with its time of receipt, so a cleared file has other bytes at this place.
            last = data.rfind(b"\n", 0, -1) + 1
            self._mark_at, self._mark = self.offset + last, data[last:][: self.MARK_BYTES]
            self.offset = after
        return nul_runs.split(data if data.endswith(b"\n") else data + b"\n") if data else []

    def _go_back(self) -> None:
        """Go to the last place up to which the file is as it was read: to its beginning if it was cleared.

        A file that was cut short begins as before. Lines that were written since it was cut are new, so the
        place is that of a known line; if no known one is left, there is no telling which are new, and those
        that are there now count as read.
        """
        size = self._file.seek(0, os.SEEK_END)
        place = 0
        if self._head and self._bytes(0, len(self._head)) == self._head:
            known = (end for end, start, crc in reversed(self._ends) if self._crc(start, end) == crc)
            place = next(known, None) or min(last_line_start(self._file.fileno(), size), self.offset)
        self.offset = place
        self._ends.clear()
        if not place:
            self._head = b""
        self._remember()

    def _note_ends(self, data: bytes) -> None:
        """Remember where the last lines of what was read end, each with its checksum."""
        if not self._head:
            self._head = self.head
        end = len(data)
        ends: list[tuple[int, int, int]] = []
        while end > 0 and len(ends) < _KNOWN_LINES:
            start = data.rfind(b"\n", 0, end - 1) + 1
            ends.append((self.offset + end, self.offset + start, zlib.crc32(data[start:end])))
            end = start
        self._ends.extend(reversed(ends))

    def _crc(self, start: int, end: int) -> int:
        return zlib.crc32(self._bytes(start, end - start))

    def _remember(self) -> None:
        self._mark_at = max(self.offset - self.MARK_BYTES, 0)
        self._mark = self._bytes(self._mark_at, self.offset - self._mark_at)

    def is_cleared(self) -> bool:
        """Return whether the file was cleared, even if it has grown to the same size since."""
        return self._bytes(self._mark_at, len(self._mark)) != self._mark

    @property
    def head(self) -> bytes:
        """The file's first bytes."""
        return self._bytes(0, self.MARK_BYTES)

    def begins_line(self, offset: int) -> bool:
        """Return whether a line begins at a byte, or will."""
        return not offset or self._bytes(offset - 1, 1) == b"\n"

    def is_of(self, path: Path) -> bool:
        """Return whether the file is still the one at `path`."""
        return same_file(self._file.fileno(), path)

    def close(self) -> None:
        """Close the file; no-op if it is closed."""
        self._file.close()

    def _whole_lines(self) -> tuple[bytes, int]:
        """Return the bytes of whole lines, and the place to go on at; a long run of NULs ends a line."""
        size = _FOLLOWED_BLOCK
        while True:
            data = self._bytes(self.offset, size)
            end = data.rfind(b"\n") + 1
            if end or len(data) < size:
                return data[:end], self.offset + end
            if data.endswith(b"\0"):
                file_end = self._file.seek(0, os.SEEK_END)
                return data, nul_runs.after_run(self._file, self.offset + size, file_end)
            size *= 4

    def _bytes(self, start: int, length: int) -> bytes:
        return read_at(self._file.fileno(), start, length)


def backward(path: Path, needles: Sequence[bytes], *, rotated: bool = True) -> Iterator[bytes]:
    """Yield the whole lines of a journal that contain a needle, from the last to the first.

    Lines written meanwhile are skipped; a missing journal has no lines.

    Args:
        path: the journal.
        needles: what the lines contain, one of them at least.
        rotated: whether to go on with the journals that were rotated out of it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        file, older = history.open_with_older(path)
    except FileNotFoundError:
        return
    with file:
        yield from lines_backward(file, needles)
    for one in reversed(older if rotated else ()):
        # It may have been pruned since it was listed.
        with contextlib.suppress(FileNotFoundError), history.open_archived(one) as packed:
            yield from lines_backward(packed, needles)


def lines_backward(
    file: FileIO | PackedFile, needles: Sequence[bytes], most: int | None = None
) -> Iterator[bytes]:
    """Yield the same from an open file's last `most` bytes, without newlines."""
    end = file.seek(0, os.SEEK_END)
    oldest = 0 if most is None else max(0, end - most)
    # The part before a block's first newline continues a line of the block before it.
    rest: list[bytes] = []
    torn = True
    while end > oldest:
        start = max(oldest, end - _BACKWARD_BLOCK)
        block = history.read_part(file, start, end - start)
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


def rewritten_since(path: Path, inode: object, size: object) -> Rewritten | None:
    """Return where a journal goes on after the lines of a former file; None if it is not that one rewritten.

    Args:
        path: the journal.
        inode: of the file; the number may belong to another one by now, even to the journal itself.
        size: the file's, in bytes.

    Raises:
        OSError: it cannot be read.
    """
    if not isinstance(inode, int) or not inode:
        return None
    try:
        with FileIO(path, "rb") as file:
            found = rewritten_from(file, inode)
            is_same = os.fstat(file.fileno()).st_ino == inode
    except FileNotFoundError:
        return None
    return found if found is not None and (not is_same or found.replaced_bytes == size) else None


def rewritten_from(file: FileIO | PackedFile, inode: int) -> Rewritten | None:
    """Return where a journal goes on after the lines of a file; None if it is not that file rewritten.

    Raises:
        OSError: it cannot be read.
    """
    needle = b'"replaced":{"inode":%d,' % inode
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BACKWARD_BLOCK)
        # With the beginning of the block after it, where a needle may end.
        block = history.read_part(file, start, end - start + len(needle) - 1)
        place = len(block)
        while (place := block.rfind(needle, 0, place)) >= 0:
            before = history.read_part(file, max(0, start + place - _LONGEST_MARK), _LONGEST_MARK)
            before = before[: min(start + place, _LONGEST_MARK)]
            line_start = start + place - len(before) + before.rfind(b"\n") + 1
            if (size := _replaced_bytes(file, line_start, inode)) is not None:
                return Rewritten(line_start, size)
        end = start
    return None


def _replaced_bytes(file: FileIO | PackedFile, line_start: int, inode: int) -> int | None:
    line, _, _ = history.read_part(file, line_start, _LONGEST_MARK).partition(b"\n")
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

    The first line of a cleared journal has the ids of earlier connections. Those of a rotated journal are in
    another file of the state directory.

    Raises:
        OSError: it cannot be read.
    """
    for line in backward(path, [b'"listener.connected"', b'"ws_ids"'], rotated=False):
        event = envelope.parse_line(line) or {}
        data = event.get("data")
        if not fields.is_own(event) or not isinstance(data, dict):
            continue
        if event.get("event") == "listener.connected" and isinstance(data.get("ws_id"), str):
            yield data["ws_id"]
        elif event.get("event") == "listener.started" and isinstance(data.get("ws_ids"), list):
            yield from (ws_id for ws_id in data["ws_ids"] if isinstance(ws_id, str))
