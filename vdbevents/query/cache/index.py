"""Read a journal's cache: its sealed segments, whose lines need not be parsed again.

The cache is a folder with a `manifest.json`, and for each segment (32 MiB of whole lines) its events as
Parquet, with the columns of `filters.Event`, and its words as text. `query.cache.build` writes them. All of
it is derived and may be deleted; a cache that is unreadable, or does not fit the journal, counts as missing.
"""

import contextlib
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import orjson

from vdbevents.events.session_content import SessionScope
from vdbevents.events.session_facts import SessionFacts, facts_from
from vdbevents.journal import nul_runs
from vdbevents.journal.packed import PackedFile, open_content
from vdbevents.query.byte_ranges import read_range
from vdbevents.query.cache import checks
from vdbevents.times import LEAST_MS, MOST_MS, Window


class CacheUnreadableError(Exception):
    """A sealed segment vanished, or is damaged: the journal itself has to be read."""


VERSION: Final = 13
"""The format of the cache; another version is not read."""

PIECE: Final = 1 << 25
"""The size of a full segment in bytes; it is cut after the last line that ends within it."""

SAMPLE_BYTES: Final = 512
"""So many bytes at a segment's beginning, and at its end, are compared with the journal."""

_MOST_STREAMS: Final = 1000
PART: Final = 1 << 23
"""The size in bytes of a partial segment at the end; a full one replaces the partial ones in it."""

_MOST_READ: Final = 16

_MOST_NUMBER: Final = 1 << 62

_FOLDER: Final = re.compile(r"[0-9a-f]{32}")
_FILE: Final = re.compile(r"lock|\.?(manifest\.json|.*\.(parquet|words|minutes))(\.tmp)?")

Span = tuple[int, int]
"""The first and the last of several times, in Unix ms."""


@dataclass(frozen=True, slots=True)
class Finals:
    """The times of a stream's final transcripts in a segment; None where none has one.

    Attributes:
        stream: an id, or a name if there is no id.
        received: times of receipt.
        happened: starts, or times of receipt if there is no start.
        starts: starts.
    """

    stream: str | None
    received: Span | None
    happened: Span | None
    starts: Span | None


@dataclass(frozen=True, slots=True)
class Segment:
    """The manifest's entry for a sealed segment.

    Attributes:
        start, end: its place in the journal, in bytes; `end` is that of its last line.
        sample: a digest of its first and its last bytes.
        lines_crc: the CRC-32 of its lines in the journal.
        events_bytes, events_crc: the size and the CRC-32 of its Parquet file.
        is_part: whether it is less than a full segment, and will be replaced by that.
        is_in_order: whether it is nothing but lines that each end in a newline and are an event, in the order
            of their times of receipt, none backfilled.
        words_crc: the CRC-32 of its words; None if there are too many to keep.
        minutes_crc: the CRC-32 of its events by minutes; None if that is too much to keep.
        unreadable: the number of lines that are not a JSON object, without the doubtful ones.
        doubtful: places (start, length; bytes) of unreadable lines in braces: whether a query counts them
            depends on its filters, so it reads them itself.
        received: times of receipt.
        happened: starts, or times of receipt where there is no start.
        ended: the latest time at which an event ended or began.
        starts: starts.
        has_fetched: whether there are backfilled events.
        has_lifecycle: whether there are events about capture sessions.
        untimed: the number of events whose time of receipt is not known.
        finals: the final transcripts by stream; None if there are too many streams.
        gaps: the journal's own lines about gaps and pauses.
        sessions: what its lines say about sessions; None if there are too many.
        streams: the ids of the streams with events; None if there are too many.
        content: how many events it has of which session, as `sealed_counts` stores it; None if that is much.
        channels: how many it has of which channel, the same way.
    """

    start: int
    end: int
    sample: str
    lines_crc: int = 0
    events_bytes: int = 0
    events_crc: int = 0
    words_crc: int | None = None
    minutes_crc: int | None = None
    is_part: bool = False
    is_in_order: bool = False
    unreadable: int = 0
    doubtful: tuple[Span, ...] = ()
    received: Span | None = None
    happened: Span | None = None
    ended: int | None = None
    starts: Span | None = None
    has_fetched: bool = False
    has_lifecycle: bool = False
    untimed: int = 0
    finals: tuple[Finals, ...] | None = ()
    gaps: tuple[str, ...] = ()
    sessions: tuple[SessionFacts, ...] | None = ()
    streams: tuple[str, ...] | None = ()
    content: str | None = None
    channels: str | None = None

    @classmethod
    def from_manifest(cls, stored: Mapping[str, Any]) -> Self:
        """Check and convert an entry.

        Raises:
            TypeError, KeyError, ValueError: it is invalid.
        """
        members: dict[str, object] = {name: _optional(_span, stored[name]) for name in _SPANS}
        members |= {name: _number(stored[name]) for name in _NUMBERS}
        members |= {name: _optional(_number, stored[name]) for name in ("words_crc", "minutes_crc", "ended")}
        members |= {name: _of(bool, stored[name]) for name in _FLAGS}
        finals = None
        if stored["finals"] is not None:
            finals = tuple(
                Finals(_optional(_text, of["stream"]), *(_optional(_span, of[name]) for name in _SPANS))
                for of in _of(list, stored["finals"])
            )
        members |= {
            "sample": _text(stored["sample"]),
            "doubtful": tuple(map(_span, _of(list, stored["doubtful"]))),
            "finals": finals,
            "gaps": tuple(map(_text, _of(list, stored["gaps"]))),
            "sessions": _optional(_facts, stored["sessions"]),
            "streams": _optional(_texts, stored["streams"]),
        }
        members |= {name: _optional(_text, stored[name]) for name in ("content", "channels")}
        segment = cls(**{**stored, **members})
        if not 0 <= segment.start < segment.end:
            raise ValueError(segment)
        return segment

    def may_hold(self, window: Window, *, by_event: bool) -> bool:
        """Return whether the segment may hold an event in the window."""
        span = self.happened if by_event else self.received
        if window.since_ms is None and window.until_ms is None:
            return True
        return (
            span is not None
            and (window.since_ms is None or span[1] >= window.since_ms)
            and (window.until_ms is None or span[0] < window.until_ms)
        )

    def may_be_of(self, scope: SessionScope) -> bool:
        """Return whether the segment may hold an event of these sessions."""
        wanted = {claim.stream for claim in scope.claims}
        return (
            self.sessions is None
            or self.streams is None
            or any(facts.id in scope.sessions for facts in self.sessions)
            or not wanted.isdisjoint(self.streams)
            or (
                self.happened is not None
                and any(
                    span.since_ms <= self.happened[1]
                    and (span.until_ms is None or span.until_ms > self.happened[0])
                    for span in scope.spans
                )
            )
        )

    def overlaps(self, spans: Iterable[Span]) -> bool:
        """Return whether the segment may hold an event in one of `spans`, which include their ends."""
        if self.happened is None or self.ended is None:
            return False
        return any(self.happened[0] <= last and self.ended >= first for first, last in spans)


_NUMBERS: Final = ("start", "end", "lines_crc", "events_bytes", "events_crc", "unreadable", "untimed")
_SPANS: Final = ("received", "happened", "starts")
_FLAGS: Final = ("has_fetched", "has_lifecycle", "is_part", "is_in_order")
_T = TypeVar("_T")


def _of(kind: type[_T], stored: object) -> _T:
    if type(stored) is not kind:
        raise TypeError(stored)
    return stored


def _optional(read: Callable[[object], _T], stored: object) -> _T | None:
    return None if stored is None else read(stored)


def _number(stored: object) -> int:
    number = _of(int, stored)
    if abs(number) > _MOST_NUMBER:
        raise ValueError(number)
    return number


def _text(stored: object) -> str:
    return _of(str, stored)


def _texts(stored: object) -> tuple[str, ...]:
    return tuple(map(_text, _of(list, stored)))


def _facts(stored: object) -> tuple[SessionFacts, ...]:
    return tuple(facts_from(_of(dict, one)) for one in _of(list, stored))


def _span(stored: object) -> Span:
    first, last = _of(list, stored)
    return _number(first), _number(last)


def few(items: Sequence[_T]) -> tuple[_T, ...] | None:
    """Return the streams or sessions of a segment; None if there are too many to keep."""
    return tuple(items) if len(items) <= _MOST_STREAMS else None


def known_finals(finals: Sequence[Finals]) -> tuple[Finals, ...] | None:
    """Return `finals` for a segment: None if there are too many streams."""
    return tuple(finals) if len(finals) <= _MOST_STREAMS else None


@dataclass(frozen=True, slots=True)
class Interims:
    """The times of a stream's interim transcripts, to find the final ones that replaced them.

    Attributes:
        stream: an id, or a name if there is no id.
        times: the first and the last of their times; None where none has one.
        starts: the first and the last of their starts; None where none has one.
        is_timed: whether all have a time.
    """

    stream: str | None
    times: Span | None
    starts: Span | None
    is_timed: bool


def with_finals_for(
    interims: Iterable[Interims], segments: Sequence[Segment], *, by_event: bool
) -> list[Segment]:
    """Return the segments that may hold the final transcripts that replaced `interims`.

    Those are finals of the same stream and start, and the stream's next final. The first segment whose finals
    reach beyond the interim's time holds a later one, so the next is not after that segment. A final of the
    very same time does not count, as it may stand before the interim.
    """
    chosen = {segment.start for segment in segments if segment.finals is None}
    places: dict[str | None, list[tuple[Segment, Finals, Span | None]]] = {}
    latest: dict[str | None, int] = {}
    for interim in interims:
        stream = interim.stream
        if stream not in places:
            places[stream] = _places(stream, segments, by_event=by_event)
            spans = (span for _, finals, times in places[stream] for span in (finals.starts, times))
            latest[stream] = max((span[1] for span in spans if span is not None), default=LEAST_MS)
        # Of many, at the journal's end, all are later than what is sealed.
        known = (span[0] for span in (interim.times, interim.starts) if span is not None)
        if interim.is_timed and min(known, default=LEAST_MS) > latest[stream]:
            continue
        reach = _reach(interim.times, [times for *_, times in places[stream]])
        chosen |= {
            segment.start
            for segment, finals, times in places[stream]
            if not interim.is_timed or meet(finals.starts, interim.starts) or meet(times, reach)
        }
    return [segment for segment in segments if segment.start in chosen]


def _places(
    stream: str | None, segments: Sequence[Segment], *, by_event: bool
) -> list[tuple[Segment, Finals, Span | None]]:
    return [
        (segment, finals, finals.happened if by_event else finals.received)
        for segment in segments
        for finals in segment.finals or ()
        if finals.stream == stream
    ]


def _reach(times: Span | None, finals: Iterable[Span | None]) -> Span | None:
    """Return the span of the finals that may come next after interim ones at `times`."""
    if times is None:
        return None
    first, last = times
    return first, min((span[1] for span in finals if span is not None and span[1] > last), default=MOST_MS)


def meet(one: Sequence[int] | None, other: Sequence[int] | None) -> bool:
    """Return whether two spans overlap."""
    return one is not None and other is not None and one[0] <= other[1] and one[1] >= other[0]


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache of a journal.

    Attributes:
        folder: its folder, which need not exist.
        segments: the sealed segments, from the journal's beginning on, without holes.
        file: the journal's `identity`.
    """

    folder: Path
    segments: tuple[Segment, ...] = field(default=())
    file: int | None = None

    @property
    def end(self) -> int:
        """The number of sealed bytes of the journal."""
        return self.segments[-1].end if self.segments else 0

    @property
    def gap_lines(self) -> Iterator[str]:
        """The journal's own lines about gaps and pauses, in order."""
        return (line for segment in self.segments for line in segment.gaps)

    @property
    def manifest(self) -> Path:
        """The file with the segments' entries."""
        return self.folder / "manifest.json"

    def events(self, segment: Segment) -> Path:
        """Return the Parquet file of a segment."""
        return self._file(segment, "parquet")

    def words(self, segment: Segment) -> Path:
        """Return the file of a segment's words, which is missing if there are too many."""
        return self._file(segment, "words")

    def minutes(self, segment: Segment) -> Path:
        """Return the file of a segment's events by minutes, which is missing if that is too much."""
        return self._file(segment, "minutes")

    def files(self, segment: Segment) -> tuple[Path, ...]:
        """Return all files that a segment may have."""
        return self.events(segment), self.words(segment), self.minutes(segment)

    def _file(self, segment: Segment, ending: str) -> Path:
        return self.folder / f"{segment.start:015d}-{segment.end:015d}.{ending}"

    def fits(self, file: FileIO | PackedFile) -> bool:
        """Return whether the open journal still begins with the sealed bytes."""
        if self.file != identity(file):
            return False
        # That of a packed journal depends on its content: to unpack samples would add nothing.
        return isinstance(file, PackedFile) or self.covers(file)

    def covers(self, file: FileIO | PackedFile) -> bool:
        """Return whether a journal of any name begins with the sealed bytes."""
        return all(_sample_of(file, segment) == segment.sample for segment in self.segments)

    def holds(self, segment: Segment) -> bool:
        """Return whether a segment's Parquet file is present and whole; a process reads it for that once."""
        return checks.is_whole(self.events(segment), segment.events_bytes, segment.events_crc)

    def is_of_its_lines(self, file: FileIO | PackedFile, segment: Segment) -> bool:
        """Return whether the journal has still the lines of a segment, byte for byte; it reads them all."""
        return checks.crc_of(file, segment.start, segment.end) == segment.lines_crc

    def has_words(self, segment: Segment) -> bool:
        """Return whether a segment's words are present, or were too many to keep."""
        return segment.words_crc is None or self._words(segment) is not None

    def has_minutes(self, segment: Segment) -> bool:
        """Return whether a segment's events by minutes are present, or were too much to keep."""
        return segment.minutes_crc is None or self.minutes_of(segment) is not None

    def minutes_of(self, segment: Segment) -> bytes | None:
        """Return a segment's events by minutes, as `minute_counts` stores them; None if it has them not."""
        return _content(self.minutes(segment), segment.minutes_crc)

    def _words(self, segment: Segment) -> bytes | None:
        return _content(self.words(segment), segment.words_crc)

    def may_say(self, segment: Segment, groups: Iterable[Iterable[Iterable[bytes]]]) -> bool:
        """Return whether a segment may match: its words hold, of each group, all runs of one member."""
        if not groups:
            return True
        words = self._words(segment)
        return words is None or all(
            any(all(run in words for run in runs) for runs in group) for group in groups
        )

    def size(self) -> int:
        """Return the cache's size on disk in bytes, whether it fits the journal or not."""
        return size_of(self.folder)


def _content(path: Path, crc: int | None) -> bytes | None:
    """Return what is in a file; None if it is missing, or not what has the CRC-32."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if zlib.crc32(content) == crc else None


# The last manifests that were read, each with what it says: a large one takes longer than most searches.
_read: dict[Path, tuple[bytes, Cache | None]] = {}


def cache_root(environ: Mapping[str, str], home: Path) -> Path:
    """Return the folder of all caches: `$XDG_CACHE_HOME/vdbevents`, else `~/.cache/vdbevents`."""
    base = Path(environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else home / ".cache") / "vdbevents"


def folder_of(journal: Path, root: Path) -> Path:
    """Return the folder of a journal's cache."""
    try:
        resolved = journal.resolve()
    except (OSError, RuntimeError):
        resolved = journal.absolute()
    return root / hashlib.sha256(os.fsencode(resolved)).hexdigest()[:32]


def is_own_file(path: Path) -> bool:
    """Return whether a file's name is one of a cache's."""
    return _FILE.fullmatch(path.name) is not None


def is_own_scratch(path: Path) -> bool:
    """Return whether it is a scratch folder of a sealing process."""
    return path.name.startswith("scratch-") and path.is_dir() and not path.is_symlink()


def is_own(folder: Path) -> bool:
    """Return whether a folder is a journal's cache and holds nothing else: it may be removed."""
    if not _FOLDER.fullmatch(folder.name) or folder.is_symlink():
        return False
    try:
        with os.scandir(folder) as entries:
            return all(
                (is_own_file(Path(entry)) and entry.is_file(follow_symlinks=False))
                or is_own_scratch(Path(entry))
                for entry in entries
            )
    except OSError:
        return False


def folders(root: Path) -> list[Path]:
    """Return the folders that have the name of a journal's cache."""
    try:
        return sorted(path for path in root.iterdir() if _FOLDER.fullmatch(path.name))
    except OSError:
        return []


def size_of(folder: Path) -> int:
    """Return a cache's size on disk in bytes; 0 if there is none."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


def unsealed(journal: Path, cache: Cache, piece: int = PIECE) -> int:
    """Return how many bytes of a journal could be sealed now, in segments of `piece` bytes."""
    rest = rest_of(journal, cache)
    return rest - rest % piece


def rest_of(journal: Path, cache: Cache) -> int:
    """Return the number of unsealed bytes of a journal without holes; 0 if there is no journal."""
    try:
        with open_content(journal) as file:
            return nul_runs.data_bytes(file, cache.end, file.seek(0, os.SEEK_END))
    except OSError:
        return 0


def load(journal: Path, root: Path) -> Cache:
    """Return a journal's cache; without segments if it is missing, invalid, or does not fit the journal."""
    none = Cache(folder_of(journal, root))
    try:
        cache = read_manifest(none.folder)
        if cache is None:
            return none
        with open_content(journal) as file:
            return cache if cache.fits(file) else none
    except OSError:
        return none


def read_manifest(folder: Path) -> Cache | None:
    """Return the cache in a folder, whether it fits a journal or not; None if it is missing or invalid."""
    try:
        content = (folder / "manifest.json").read_bytes()
    except OSError:
        return None
    known, cache = _read.pop(folder, (b"", None))
    if content != known:
        cache = _cache_in(folder, content)
    _read[folder] = content, cache
    while len(_read) > _MOST_READ:
        with contextlib.suppress(KeyError, StopIteration, RuntimeError):  # another thread was faster
            del _read[next(iter(_read))]
    return cache


def _cache_in(folder: Path, content: bytes) -> Cache | None:
    try:
        manifest = orjson.loads(content)
        if manifest["version"] != VERSION or manifest["digest"] != _digest(manifest):
            return None
        segments = tuple(map(Segment.from_manifest, manifest["segments"]))
        ends = [0, *(segment.end for segment in segments)]
        if any(end != segment.start for end, segment in zip(ends, segments, strict=False)):
            return None
        return Cache(folder, segments, _of(int, manifest["file"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def named_journal(folder: Path) -> Path | None:
    """Return the journal that a cache is of, by its manifest of any version; None if that does not say."""
    try:
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        return Path(_text(manifest["journal"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def orphans(root: Path) -> Iterator[Path]:
    """Yield the folders of caches whose journal is gone."""
    for folder in folders(root):
        # Each query asks this, and there may be one for each day of a year: what costs more comes last.
        if (journal := named_journal(folder)) is not None and not os.path.lexists(journal) and is_own(folder):
            yield folder


def stored(journal: Path, cache: Cache) -> bytes:
    """Return the content of the manifest for a journal's cache."""
    manifest = {
        "version": VERSION,
        "journal": os.fsencode(journal.absolute()).decode("utf-8", "replace"),
        "file": cache.file,
        "segments": [asdict(segment) for segment in cache.segments],
    }
    return orjson.dumps({**manifest, "digest": _digest(manifest)})


def _digest(manifest: Mapping[str, Any]) -> str:
    """Return a digest that shows whether a manifest was damaged."""
    return _short_digest(orjson.dumps([manifest["file"], manifest["segments"]]))


def identity(file: FileIO | PackedFile) -> int:
    """Return a number that differs if another file took the name: a rewritten or restored journal."""
    if isinstance(file, PackedFile):
        return file.identity
    return os.fstat(file.fileno()).st_ino % (1 << 63)


def sample(data: bytes | bytearray) -> str:
    """Return a digest of a segment's first and last bytes."""
    return _short_digest(data[:SAMPLE_BYTES] + data[-SAMPLE_BYTES:])


def _sample_of(file: FileIO | PackedFile, segment: Segment) -> str | None:
    """Return the `sample` of the journal at a segment's place; None if the journal is shorter."""
    size = min(SAMPLE_BYTES, segment.end - segment.start)
    first = read_range(file, segment.start, size)
    last = read_range(file, segment.end - size, size)
    return None if first is None or last is None else _short_digest(first + last)


def _short_digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
