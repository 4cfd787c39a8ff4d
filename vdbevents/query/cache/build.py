"""Write a journal's cache: segments of 32 MiB of whole lines, as Parquet, and their manifest.

A journal is only appended to, so a sealed segment stays valid. A segment is sealed when it is full; what
follows the last full one is sealed in smaller parts, and queries read the rest from the journal.
"""

import contextlib
import dataclasses
import os
import shutil
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from vdbevents.errors import InputError, StorageError
from vdbevents.journal import nul_runs
from vdbevents.journal.files import make_private, remove_file, replace_file
from vdbevents.journal.packed import PackedFile, open_content
from vdbevents.query.byte_ranges import literal, longest_line, read_range, unreadable_journal
from vdbevents.query.cache import checks, schema
from vdbevents.query.cache.fill import Places, fill
from vdbevents.query.cache.index import (
    PART,
    PIECE,
    SAMPLE_BYTES,
    Cache,
    Segment,
    folder_of,
    folders,
    identity,
    is_own,
    is_own_file,
    is_own_scratch,
    load,
    sample,
    size_of,
    stored,
)
from vdbevents.query.cache.lane_minutes import LaneMinutes, stored_minutes
from vdbevents.query.cache.legible import legible
from vdbevents.query.cache.segment_entry import described
from vdbevents.query.duck import SharedDatabase, execute, memory_for

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_MOST_BESIDE: Final = 1 << 22
_BLOCK: Final = 1 << 20
_NEWLINE: Final = 0x0A
_WORKERS: Final = 2
_MEMORY_MB: Final = 200
_LOOK_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 10.0
_LONG_WAIT_SECONDS: Final = 300.0


def seal(
    journal: Path,
    root: Path,
    progress: Callable[[int], None] = lambda _: None,
    piece: int = PIECE,
    part: int = PART,
    *,
    to_end: bool = False,
) -> Cache:
    """Seal all full segments of a journal that are not sealed yet, and full parts of the next one.

    One process at a time seals a journal; others wait for it. An unfinished segment counts as missing.

    Args:
        journal: its file.
        root: the folder of all caches, from `query.cache.index.cache_root`.
        progress: called repeatedly with the number of bytes sealed by now, by any process. An error that it
            raises ends the sealing in order; one raised by a signal handler may leave files behind.
        piece: see `PIECE`.
        part: see `PART`.
        to_end: whether to seal all of it, as nothing will be appended: a journal that was set aside.

    Returns:
        The cache after sealing.

    Raises:
        InputError: the journal cannot be read.
        StorageError: there is no room for the cache, or it cannot be written.
    """
    import duckdb

    _open(journal).close()
    folder = folder_of(journal, root)
    try:
        # Opened under the lock: a journal that is being rewritten must not be sealed as it was.
        with locked(folder, lambda: progress(load(journal, root).end)), _open(journal) as file:
            # Another process may have sealed it meanwhile.
            cache = _whole(dataclasses.replace(load(journal, root), file=identity(file)))
            progress(cache.end)
            _remove_stale(cache)
            for grown in _grown(file, cache, progress, piece, part, to_end=to_end):
                cache = grown
                replace_file(cache.manifest, stored(journal, cache))
                progress(cache.end)
    except (OSError, duckdb.Error) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise StorageError(
            f"cannot write the cache {folder}: {reason}",
            "set XDG_CACHE_HOME to another directory; queries work without a cache, but slower",
            error_id="cache-unwritable",
        ) from error
    return cache


def _open(journal: Path) -> FileIO | PackedFile:
    try:
        return open_content(journal)
    except OSError as error:
        raise unreadable_journal(journal, error) from None


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a cache, and create its folder.

    Call `waiting` again and again while another process holds it.
    A file system without locks is an error: a lock by a file's existence would outlive a killed process.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "lock", mode=0o600, fallback_to_soft=False)
    while not lock.is_locked:
        make_private(folder)
        try:
            lock.acquire(timeout=_LOOK_SECONDS)
        except Timeout:
            waiting()
        except FileNotFoundError:
            # The process that held it cleared the cache: the folder is gone.
            continue
    try:
        yield
    finally:
        lock.release()


def clear(folder: Path, wait_seconds: float = _WAIT_SECONDS) -> int:
    """Remove a journal's cache, and return the number of bytes freed.

    A process that is reading it falls back to the journal.

    Args:
        folder: the cache's, from `query.cache.index.folder_of`; no-op if there is none.
        wait_seconds: how long to wait for a process that writes it.

    Raises:
        InputError: it holds files that are not a cache's.
        StorageError: it cannot be removed, or is still being written.
    """
    from filelock import FileLock, Timeout

    if not os.path.lexists(folder):
        return 0
    if not is_own(folder):
        raise _foreign(folder)
    try:
        with FileLock(folder / "lock", mode=0o600, timeout=wait_seconds, fallback_to_soft=False):
            freed = size_of(folder)
            _remove_stale(Cache(folder))
            # A process that waits for the lock notices that the file is gone; Windows keeps open files.
            with contextlib.suppress(PermissionError):
                remove_file(folder / "lock")
        with contextlib.suppress(OSError):
            folder.rmdir()
    except Timeout:
        raise _busy(folder) from None
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _unremovable(folder, error) from error
    return freed


def _foreign(folder: Path) -> InputError:
    return InputError(f"not removed: {folder} is not a cache", "move it away", error_id="cache-foreign")


def _busy(folder: Path) -> StorageError:
    return StorageError(
        f"the cache {folder} is being written by another process",
        "try again later, or stop the listener that seals it: vdbevents stop",
        error_id="cache-busy",
    )


def _unremovable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot remove the cache {folder}: {error.strerror}",
        "check the folder's owner",
        error_id="cache-unremovable",
    )


def caches_of(journal: Path, root: Path) -> list[Path]:
    """Return the folders of a journal's caches: of its path, and of those that it had before."""
    own = folder_of(journal, root)
    try:
        with FileIO(journal, "rb") as file:
            number = identity(file)
    except OSError:
        return [own]
    return [own, *(folder for folder in folders(root) if folder != own and _is_of(folder, number))]


def _is_of(folder: Path, number: int) -> bool:
    try:
        return bool(orjson.loads((folder / "manifest.json").read_bytes())["file"] == number)
    except (OSError, ValueError, TypeError, KeyError):
        return False


@contextlib.contextmanager
def withheld(folder: Path, wait_seconds: float = _LONG_WAIT_SECONDS) -> Iterator[None]:
    """Remove a journal's cache, and keep it from being written again until the end of the context.

    Raises:
        InputError: it holds files that are not a cache's.
        StorageError: it cannot be removed, or is still being written.
    """
    deadline = time.monotonic() + wait_seconds

    def waiting() -> None:
        if time.monotonic() > deadline:
            raise _busy(folder)

    if os.path.lexists(folder) and not is_own(folder):
        raise _foreign(folder)
    try:
        with locked(folder, waiting):
            _remove_stale(Cache(folder))
            yield
            # Whoever waits for the lock notices that the file is gone.
            with contextlib.suppress(PermissionError):
                remove_file(folder / "lock")
        with contextlib.suppress(OSError):
            folder.rmdir()
    except PermissionError as error:
        raise _unremovable(folder, error) from error


def _remove_stale(cache: Cache) -> None:
    """Remove files that are unfinished, or no longer fit the journal."""
    known = {cache.folder / "lock"}
    if cache.segments:
        known |= {cache.manifest, *(path for segment in cache.segments for path in cache.files(segment))}
    for path in sorted(cache.folder.iterdir(), reverse=True):
        if path in known or not (is_own_file(path) or is_own_scratch(path)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            remove_file(path)


def _whole(cache: Cache) -> Cache:
    """Return the cache up to the first segment whose files are damaged or missing."""
    segments = []
    for segment in cache.segments:
        if not (cache.holds(segment) and cache.has_words(segment) and cache.has_minutes(segment)):
            break
        segments.append(segment)
    return dataclasses.replace(cache, segments=tuple(segments))


def _grown(
    file: FileIO | PackedFile,
    cache: Cache,
    progress: Callable[[int], None],
    piece: int,
    part: int,
    *,
    to_end: bool,
) -> Iterator[Cache]:
    """Seal full segments, then parts of the next one; yield the cache after each."""
    full_segments = tuple(segment for segment in cache.segments if not segment.is_part)
    full = dataclasses.replace(cache, segments=full_segments)
    size = file.seek(0, os.SEEK_END)
    if size < min(full.end + piece, cache.end + part) and not (to_end and size > cache.end):
        return
    # In the cache's own folder, so that the next sealing removes what a killed one left.
    with SharedDatabase(cache.folder, _MEMORY_MB * _WORKERS, threads=1) as database:
        pieces = _pieces(file, full.end, cache.end, (piece, part), database.scratch, to_end=to_end)
        for segment in _sealed_in_order(database, cache, pieces, progress):
            if not segment.is_part:
                # It replaces the parts.
                cache = full = dataclasses.replace(full, segments=(*full.segments, segment))
            else:
                cache = dataclasses.replace(cache, segments=(*cache.segments, segment))
            yield cache


def _sealed_in_order(
    database: SharedDatabase,
    cache: Cache,
    pieces: Iterator["_Piece"],
    progress: Callable[[int], None],
) -> Iterator[Segment]:
    """Seal the pieces, two at a time, and yield the segments in order."""
    pool = ThreadPoolExecutor(_WORKERS, "sealing")
    futures = _submitted(pool, database, cache, pieces)
    queue: deque[Future[Segment]] = deque()
    sealed = cache.end
    try:
        while True:
            # One more than there are workers, so that none of them waits.
            queue.extend(islice(futures, _WORKERS + 1 - len(queue)))
            if not queue:
                return
            while not wait([queue[0]], _POLL_SECONDS).done:
                progress(sealed)
            segment = queue.popleft().result()
            sealed = segment.end
            yield segment
    finally:
        _end(pool, queue, database)


def _submitted(
    pool: ThreadPoolExecutor, database: SharedDatabase, cache: Cache, pieces: Iterator["_Piece"]
) -> Iterator[Future[Segment]]:
    """Yield a future for each piece; an error of `pieces` becomes the last one, after those before it."""
    try:
        for piece in pieces:
            yield pool.submit(_seal, database, cache, piece)
    except OSError as error:
        failed: Future[Segment] = Future()
        failed.set_exception(error)
        yield failed


def _end(pool: ThreadPoolExecutor, futures: Collection[Future[Segment]], database: SharedDatabase) -> None:
    """Interrupt the workers and wait for them, before the database is closed."""
    pool.shutdown(wait=False, cancel_futures=True)
    while not all(future.done() for future in futures):
        # A worker between two statements does not notice an interrupt.
        database.interrupt()
        wait(futures, _POLL_SECONDS)
    pool.shutdown()


class _Piece(NamedTuple):
    """A piece of a journal to seal.

    Attributes:
        place: its entry, as far as it is known.
        path: a copy of its lines.
        start: where they begin in the journal: after a run of NULs, which may be a large hole.
        last: where their last one ends that is not empty; None if there is none.
        lost: the number of runs of NULs.
    """

    place: Segment
    path: Path
    start: int
    last: int | None
    lost: int


def _pieces(
    file: FileIO | PackedFile,
    full: int,
    sealed: int,
    sizes: tuple[int, int],
    folder: Path,
    *,
    to_end: bool,
) -> Iterator[_Piece]:
    """Yield the unsealed pieces of whole lines, each with a copy in `folder`.

    Args:
        file: the journal; what is written to it after the start is ignored.
        full: the end of the last full segment, in bytes: full pieces begin there.
        sealed: the end of the last partial segment: parts begin there if there is no full piece.
        sizes: the sizes of a full piece and of a part, in bytes.
        folder: where to put the copies.
        to_end: whether the last part may be a small one.
    """
    piece, part = sizes
    # Reused: to allocate as much memory for each takes longer than to read.
    data = bytearray()
    # A writer that is faster than the sealing is not chased.
    end = file.seek(0, os.SEEK_END)
    while full + piece <= end and (full_one := _piece(file, (full, end), piece, folder, data)):
        yield full_one
        full = sealed = full_one.place.end
    while sealed + part <= end and (partial := _piece(file, (sealed, end), part, folder, data)):
        if partial.place.end > end:
            # A long line was written meanwhile: a full piece might end within it.
            return
        yield _as_part(partial)
        sealed = partial.place.end
    if to_end and sealed < end and (partial := _piece(file, (sealed, end), None, folder, data)):
        yield _as_part(partial)


def _as_part(piece: _Piece) -> _Piece:
    return piece._replace(place=dataclasses.replace(piece.place, is_part=True))


def _piece(
    file: FileIO | PackedFile, span: tuple[int, int], size: int | None, folder: Path, data: bytearray
) -> _Piece | None:
    """Copy a piece to a file: whole lines of `size` bytes, or one longer line; None if there are too few.

    Without a size it is all of `span`. `data` is the buffer.
    """
    start, end = span
    first = nul_runs.after_run(file, start, end)
    size = end - first if size is None else size
    file.seek(first)
    if not size or not _read_to_line_end(file, size, data):
        return None
    # The sample is taken from `data`: the file may have changed by now.
    ends = data if len(data) <= 2 * SAMPLE_BYTES else data[:SAMPLE_BYTES] + data[-SAMPLE_BYTES:]
    taken = sample(bytes(min(first - start, SAMPLE_BYTES)) + ends)
    path = folder / f"{start}.jsonl"
    lines = legible(data, first)
    crc = zlib.crc32(data)
    place = Segment(start, first + len(data), taken, lines_crc=crc, is_in_order=lines is data)
    path.write_bytes(lines)
    last = _end_of_text(lines)
    # A run that two pieces share was counted with the first.
    begins = first > start and (not start or read_range(file, start - 1, 1) != b"\0")
    runs = len(nul_runs.RUN.findall(data)) if b"\0" in data else 0
    return _Piece(place, path, first, first + last if last else None, runs + begins)


def _end_of_text(data: bytes | bytearray) -> int:
    """Return where the last line that is not empty ends; 0 if all are."""
    end = len(data)
    while end and data[end - 1] == _NEWLINE:
        end -= 1
    return end


def _read_to_line_end(file: FileIO | PackedFile, size: int, data: bytearray) -> bool:
    """Fill `data` with `size` bytes, cut at the last line end or extended to the next; False if too few.

    Where there is no line end, a run of NULs counts as one.
    """
    del data[size:]
    data.extend(bytes(size - len(data)))
    done = 0
    with memoryview(data) as view:
        while done < size and (count := file.readinto(view[done:])):
            done += count
    if done < size:
        return False
    end = data.rfind(b"\n") + 1 or data.rfind(b"\0") + 1
    while not end:
        more = file.read(_BLOCK)
        if not more:
            return False
        if last := more.rfind(b"\n") + 1 or more.find(b"\0") + 1:
            end = len(data) + last
        data += more
    del data[end:]
    return True


def _seal(database: SharedDatabase, cache: Cache, piece: _Piece) -> Segment:
    """Write the files of a segment, and return its entry."""
    with FileIO(piece.path, "rb") as file:
        longest = longest_line(file)
    memory_mb = memory_for(longest, _MEMORY_MB) * _WORKERS
    with contextlib.closing(database.connection(memory_mb)) as connection:
        lines = schema.lines_of([literal(piece.path)], piece.start, longest)
        _check(fill(connection, lines, piece.place.end - piece.start), piece)
        piece.path.unlink()
        return _written(connection, cache, described(connection, piece.place, piece.lost))


def _check(places: Places, piece: _Piece) -> None:
    """Check the positions of the lines: that DuckDB numbered them in the file's order.

    It handles some thousand lines at a time, so a sample of each batch is enough.

    Raises:
        OSError: a line is elsewhere.
    """
    are_right = places.end == piece.last
    with FileIO(piece.path, "rb") as file:
        for place in places.beginnings:
            data = place["beginning"].encode()
            are_right = are_right and read_range(file, place["position"] - piece.start, len(data)) == data
    if not are_right:
        raise OSError(None, "lines are not at their positions")


def _written(connection: "DuckDBPyConnection", cache: Cache, segment: Segment) -> Segment:
    """Write the segment's events and words, and return its entry with their size and checksum.

    The entry is not in the manifest yet, so an unfinished file does no harm.
    """
    [(words,)] = execute(connection, schema.WORDS).fetchall()
    words_crc = _kept_beside(cache.words(segment), words.encode(), len(words))
    minutes = stored_minutes(LaneMinutes(*row) for row in execute(connection, schema.MINUTES).fetchall())
    minutes_crc = _kept_beside(cache.minutes(segment), minutes, len(minutes))
    events = cache.events(segment)
    statement = schema.write_rows(str(events))
    execute(connection, statement.sql, statement.values)
    events.chmod(0o600)
    with FileIO(events, "rb+") as file:
        os.fsync(file.fileno())
        size = file.seek(0, os.SEEK_END)
        crc = checks.crc_of(file, 0, size)
    known = dataclasses.replace(segment, words_crc=words_crc, minutes_crc=minutes_crc)
    return dataclasses.replace(known, events_bytes=size, events_crc=crc)


def _kept_beside(path: Path, content: bytes, length: int) -> int | None:
    """Write a file unless its length is too much; return its CRC-32, or None."""
    if length > _MOST_BESIDE:
        return None
    replace_file(path, content)
    return zlib.crc32(content)
