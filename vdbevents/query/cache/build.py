"""Seals a journal's old part: 32 MiB of whole lines at a time, as Parquet, with what `query.segments` keeps.

A journal is only ever appended to, so that what is sealed stays right; a piece is sealed when it is full,
what comes after the last full one in smaller parts, and the rest is read from the journal itself.
"""

import codecs
import contextlib
import dataclasses
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents.errors import InputError, StorageError
from vdbevents.journal.files import remove_file, replace_file
from vdbevents.query.byte_ranges import literal, longest_line, read_range
from vdbevents.query.cache import schema
from vdbevents.query.cache.index import (
    PART,
    PIECE,
    Cache,
    Finals,
    Segment,
    folder_of,
    identity,
    is_own,
    is_own_file,
    is_own_scratch,
    known_finals,
    load,
    sample,
    size_of,
    stored,
)
from vdbevents.query.duck import SharedDatabase, memory_for

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_MOST_WORDS: Final = 1 << 22
_MOST_DOUBTFUL: Final = 1000
_MOST_DOUBTFUL_BYTES: Final = 1 << 20
_BLOCK: Final = 1 << 20
_BOM: Final = codecs.BOM_UTF8
_WORKERS: Final = 2
_MEMORY_MB: Final = 200
_LOOK_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 10.0


def seal(
    journal: Path,
    root: Path,
    progress: Callable[[int], None] = lambda _: None,
    piece: int = PIECE,
    part: int = PART,
) -> Cache:
    """Seal all full pieces of a journal that are not sealed yet, and full parts of the next one.

    One process at a time seals a journal: what another is at is waited for. What ends unfinished is a miss.

    Args:
        journal: its file.
        root: where caches are, from `query.segments.cache_root`.
        progress: is told again and again how many bytes are sealed by now, by whomever. What it raises
            ends the sealing in order; what a signal raises in the midst of it may leave something behind.
        piece: see `PIECE`.
        part: see `PART`.

    Returns:
        What is sealed then.

    Raises:
        InputError: the journal cannot be read.
        StorageError: there is no room for the cache, or it may not be written.
    """
    import duckdb

    try:
        file = FileIO(journal, "rb")
    except OSError as error:
        raise InputError(
            f"the journal {journal} cannot be read: {error.strerror}", "Name the file of a journal."
        ) from None
    folder = folder_of(journal, root)
    try:
        with file, _locked(folder, lambda: progress(load(journal, root).end)):
            # Another may have sealed it while this one waited.
            cache = _whole(dataclasses.replace(load(journal, root), file=identity(file)))
            progress(cache.end)
            _remove_others(cache)
            for grown in _grown(file, cache, progress, piece, part):
                cache = grown
                replace_file(cache.manifest, stored(journal, cache))
                progress(cache.end)
    except (OSError, duckdb.Error) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise StorageError(
            f"the cache {folder} could not be written: {reason}",
            "Queries need none, they are slower without; XDG_CACHE_HOME says where it is to be.",
        ) from error
    return cache


@contextlib.contextmanager
def _locked(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only one who writes a cache; what another does meanwhile can be looked at in `waiting`."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "lock", mode=0o600)
    while not lock.is_locked:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_LOOK_SECONDS)
        except Timeout:
            waiting()
        except FileNotFoundError:
            # Whoever had it cleared the cache: the folder is gone.
            continue
    try:
        yield
    finally:
        lock.release()


def clear(folder: Path, wait_seconds: float = _WAIT_SECONDS) -> int:
    """Remove a journal's cache, and return how many bytes that freed.

    Whoever reads it reads the journal then.

    Args:
        folder: the cache's, from `query.segments.folder_of`; harmless if there is none.
        wait_seconds: how long to wait for who writes it.

    Raises:
        InputError: it holds what no cache has.
        StorageError: it may not be removed, or is still being written.
    """
    from filelock import FileLock, Timeout

    if not os.path.lexists(folder):
        return 0
    if not is_own(folder):
        raise InputError(
            f"{folder} is left alone: it is no cache", "Look at what is there, and move it away."
        )
    try:
        with FileLock(folder / "lock", mode=0o600, timeout=wait_seconds):
            freed = size_of(folder)
            _remove_others(Cache(folder))
            # Whoever waits for the lock sees that it is not this file any more; Windows keeps what is open.
            with contextlib.suppress(PermissionError):
                remove_file(folder / "lock")
        with contextlib.suppress(OSError):
            folder.rmdir()
    except Timeout:
        raise StorageError(
            f"the cache {folder} is being written by another process",
            "Try again when it is done; that of a listener ends with it: vdbevents stop.",
        ) from None
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(
            f"the cache {folder} could not be removed: {error.strerror}", "See whose it is."
        ) from error
    return freed


def _remove_others(cache: Cache) -> None:
    """Remove what does not belong to the cache: what was left unfinished, or fits the journal no more."""
    known = {cache.folder / "lock"}
    if cache.segments:
        known |= {cache.manifest, *map(cache.events, cache.segments), *map(cache.words, cache.segments)}
    for path in sorted(cache.folder.iterdir(), reverse=True):
        if path in known or not (is_own_file(path) or is_own_scratch(path)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            remove_file(path)


def _whole(cache: Cache) -> Cache:
    """Return the cache up to the first segment whose files are not as they were written."""
    segments = []
    for segment in cache.segments:
        if not cache.holds(segment) or not cache.has_words(segment):
            break
        segments.append(segment)
    return dataclasses.replace(cache, segments=tuple(segments))


def _grown(
    file: FileIO, cache: Cache, progress: Callable[[int], None], piece: int, part: int
) -> Iterator[Cache]:
    """Seal what is not, and return what is sealed after each step: full pieces, and parts of the next one."""
    full = dataclasses.replace(cache, segments=tuple(it for it in cache.segments if not it.is_part))
    size = file.seek(0, os.SEEK_END)
    if size < min(full.end + piece, cache.end + part):
        return
    # In the cache's own folder, so that the next one removes what a killed one left.
    with SharedDatabase(cache.folder, "scratch-", _MEMORY_MB * _WORKERS, threads=1) as database:
        places = _pieces(file, full.end, cache.end, (piece, part), database.scratch)
        for segment in _segments(database, cache, places, progress):
            if not segment.is_part:
                # The parts are in it.
                cache = full = dataclasses.replace(full, segments=(*full.segments, segment))
            else:
                cache = dataclasses.replace(cache, segments=(*cache.segments, segment))
            yield cache


def _segments(
    database: SharedDatabase,
    cache: Cache,
    places: Iterator[tuple[Segment, Path]],
    progress: Callable[[int], None],
) -> Iterator[Segment]:
    """Seal piece after piece, two at a time."""
    pool = ThreadPoolExecutor(_WORKERS, "sealing")
    begun: list[Future[Segment]] = []
    failure: OSError | None = None
    done = cache.end
    try:
        while True:
            # One more than are worked on, so that nobody waits for the next.
            while len(begun) <= _WORKERS and failure is None:
                try:
                    place, path = next(places)
                except StopIteration:
                    break
                except OSError as error:
                    # What is worked on is told of before.
                    failure = error
                else:
                    begun.append(pool.submit(_seal, database, cache, place, path))
            if begun:
                while not wait(begun[:1], _POLL_SECONDS).done:
                    progress(done)
                segment = begun[0].result()
                del begun[0]
                done = segment.end
                yield segment
            elif failure is not None:
                raise failure
            else:
                return
    finally:
        _end(pool, begun, database)


def _end(pool: ThreadPoolExecutor, begun: list[Future[Segment]], database: SharedDatabase) -> None:
    """End what is worked on, and wait for that: the database goes then."""
    pool.shutdown(wait=False, cancel_futures=True)
    while not all(future.done() for future in begun):
        # One that is between two statements does not notice.
        database.interrupt()
        wait(begun, _POLL_SECONDS)
    pool.shutdown()


def _pieces(
    file: FileIO, full: int, sealed: int, sizes: tuple[int, int], folder: Path
) -> Iterator[tuple[Segment, Path]]:
    """Return what there is of whole lines when it begins, each piece in a file of `folder`.

    Full pieces from `full` on, where the last sealed one ends; after the last of them, or if there is none
    from `sealed` on, parts of the next. `sizes` tells of how many bytes each is.
    """
    piece, part = sizes
    # One for all: to be given as much memory again and again takes longer than to read.
    data = bytearray()
    # Whoever writes faster than this seals is not run after.
    end = file.seek(0, os.SEEK_END)
    while full + piece <= end and (place := _piece(file, full, piece, folder, data)):
        yield place
        full = sealed = place[0].end
    while sealed + part <= end and (place := _piece(file, sealed, part, folder, data)):
        if place[0].end > end:
            # A long line that was written meanwhile: a full piece might end within.
            return
        yield dataclasses.replace(place[0], is_part=True), place[1]
        sealed = place[0].end


def _piece(file: FileIO, start: int, size: int, folder: Path, data: bytearray) -> tuple[Segment, Path] | None:
    """Write a piece into a file, whole lines of so many bytes or a longer line, by way of `data`."""
    file.seek(start)
    if not _read_to_line_end(file, size, data):
        return None
    # Of what is sealed itself: the file could be another by now.
    place = Segment(start, start + len(data), sample(data))
    path = folder / f"{start}.jsonl"
    path.write_bytes(_legible(data, start))
    return place, path


def _read_to_line_end(file: FileIO, size: int, data: bytearray) -> bool:
    """Fill `data`; tell whether there was as much."""
    del data[size:]
    data.extend(bytes(size - len(data)))
    done = 0
    with memoryview(data) as view:
        while done < size and (count := file.readinto(view[done:])):
            done += count
    if done < size:
        return False
    end = data.rfind(b"\n") + 1
    while not end:
        more = file.read(_BLOCK)
        if not more:
            return False
        if found := more.rfind(b"\n") + 1:
            end = len(data) + found
        data += more
    del data[end:]
    return True


def _seal(database: SharedDatabase, cache: Cache, place: Segment, piece: Path) -> Segment:
    """Write the files of a segment, and return what is known of it."""
    with FileIO(piece, "rb") as file:
        longest = longest_line(file)
    memory_mb = memory_for(longest, _MEMORY_MB) * _WORKERS
    with contextlib.closing(database.connection(memory_mb)) as connection:
        statement = schema.lines_of(literal(piece), place.start, longest)
        connection.execute(statement.sql, statement.values)
        _check(connection, piece, place)
        piece.unlink()
        for sql in schema.FILL:
            connection.execute(sql)
        return _written(connection, cache, _known(connection, place))


def _check(connection: "DuckDBPyConnection", piece: Path, place: Segment) -> None:
    """See that the lines are where they are said to be: that DuckDB numbered them in the file's order.

    It handles some thousand lines at a time, so that some of each are enough.

    Raises:
        OSError: they are not.
    """
    found = connection.execute(schema.LINES_BYTES).fetchall() == [(place.end - place.start,)]
    with FileIO(piece, "rb") as file:
        for position, beginning in connection.execute(schema.LINES_SAMPLE).fetchall():
            data = beginning.encode()
            found = found and read_range(file, position - place.start, len(data)) == data
    if not found:
        raise OSError(None, "its lines are not where they should be")


def _legible(data: bytes | bytearray, start: int) -> bytes | bytearray:
    """Return a journal's bytes, as many, so that DuckDB finds those lines that it finds in the journal.

    There a line ends at a NUL, and what follows up to its real end is nothing. Empty lines do not matter.
    """
    if b"\r" in data:
        data = data.replace(b"\r", b"\n")
    if b"\0" in data:
        data = re.sub(rb"\0[^\n]*", lambda rest: b"\n" * len(rest[0]), data)
    if data.startswith(_BOM):
        data = (b"?" if start else b"\n") * len(_BOM) + data[len(_BOM) :]
    if not _is_text(data):
        data = b"\n".join(line if _is_text(line) else b"?" * len(line) for line in data.split(b"\n"))
    return data


def _is_text(data: bytes | bytearray) -> bool:
    """Tell whether it is UTF-8; block by block, for a text takes up to four times the memory."""
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _BLOCK):
            decoder.decode(data[start : start + _BLOCK], final=start + _BLOCK >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def _known(connection: "DuckDBPyConnection", place: Segment) -> Segment:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        found = connection.execute(sql).fetchall()
        return [tuple(tuple(of) if isinstance(of, list) else of for of in row) for row in found]

    [(received, happened, starts, ended, has_fetched, has_lifecycle)] = rows(schema.SPANS)
    [(unreadable,)] = rows(schema.UNREADABLE)
    doubtful = rows(schema.DOUBTFUL)[:_MOST_DOUBTFUL]
    if sum(length for _, length in doubtful) > _MOST_DOUBTFUL_BYTES:
        doubtful = []
    return dataclasses.replace(
        place,
        unreadable=unreadable - len(doubtful),
        doubtful=tuple(doubtful),
        received=received,
        happened=happened,
        ended=ended,
        starts=starts,
        has_fetched=has_fetched,
        has_lifecycle=has_lifecycle,
        finals=known_finals([Finals(*row) for row in rows(schema.FINALS)]),
        gaps=tuple(line for (line,) in rows(schema.OURS)),
    )


def _written(connection: "DuckDBPyConnection", cache: Cache, segment: Segment) -> Segment:
    """Write the events and the words, and return the segment with what tells whether they are whole.

    The manifest does not know them yet, so they may stay unfinished.
    """
    [(words,)] = connection.execute(schema.WORDS).fetchall()
    words_crc = None
    if len(words) <= _MOST_WORDS:
        content = words.encode()
        replace_file(cache.words(segment), content)
        words_crc = zlib.crc32(content)
    events = cache.events(segment)
    statement = schema.write_rows(str(events))
    connection.execute(statement.sql, statement.values)
    events.chmod(0o600)
    with FileIO(events, "rb+") as file:
        os.fsync(file.fileno())
        events_bytes = file.seek(0, os.SEEK_END)
    return dataclasses.replace(segment, events_bytes=events_bytes, words_crc=words_crc)
