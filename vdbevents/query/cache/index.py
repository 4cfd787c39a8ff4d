"""Sealed segments: what is known of a journal's old part, so that most of it need not be read again.

A journal's cache is a folder of its own: a `manifest.json`, and for each segment (32 MiB of whole lines) its
events as Parquet, with the columns of `plan.Event`, and its words as text. `query.sealing` writes them. All
of it is derived, and may be deleted; what cannot be read, or does not fit the journal, counts as not there.
"""

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

from vdbevents.query.byte_ranges import read_range
from vdbevents.times import MOST_MS, Window


class CacheUnreadableError(Exception):
    """A sealed segment vanished, or is damaged: the journal itself has to be read."""


VERSION: Final = 1
"""Of all that is in a cache; one of another version is not read."""

PIECE: Final = 1 << 25
"""How many bytes of a journal are sealed together; it is cut after the last line that ends within them."""

_SAMPLE: Final = 512
_MOST_STREAMS: Final = 1000
PART: Final = 1 << 23
"""How many bytes are sealed together of what is no full piece yet: they are sealed anew when it is."""

_MOST_NUMBER: Final = 1 << 62
_PARQUET: Final = b"PAR1"

_FOLDER: Final = re.compile(r"[0-9a-f]{32}")
_FILE: Final = re.compile(r"lock|\.?(manifest\.json|.*\.parquet|.*\.words)(\.tmp)?")

Span = tuple[int, int]
"""The first and the last of some times, in Unix ms."""


@dataclass(frozen=True, slots=True)
class Finals:
    """The final transcripts of a stream in a segment: the spans of their times; None where none has one.

    Attributes:
        stream: an id, or a name where there is no id.
        received: of their receipt.
        happened: of their start, or receipt where there is none.
        starts: of their start.
    """

    stream: str | None
    received: Span | None
    happened: Span | None
    starts: Span | None


@dataclass(frozen=True, slots=True)
class Segment:
    """What is known of a sealed segment without opening it.

    Attributes:
        start, end: its place in the journal, in bytes; `end` is that of its last line.
        sample: a digest of its first and its last bytes.
        events_bytes: the size of its events' file.
        is_part: whether it is less than a full piece, and goes when that is sealed.
        words_crc: the CRC-32 of its words; None if there are too many to keep.
        unreadable: how many lines are no JSON object, without those that are doubtful.
        doubtful: where (start, length; bytes) lines in braces are that are none: which of them a query comes
            upon depends on what it asks, so it looks at them itself.
        received: the times of receipt.
        happened: the times at which events began (of receipt where nothing tells).
        ended: the latest time at which an event ended or began.
        starts: the times at which events began, of those that tell.
        has_fetched: whether there are back-filled events.
        has_lifecycle: whether there are events about capture sessions.
        finals: the final transcripts, by their streams; None if there are too many of these.
        gaps: the journal's own lines about gaps.
    """

    start: int
    end: int
    sample: str
    events_bytes: int = 0
    words_crc: int | None = None
    is_part: bool = False
    unreadable: int = 0
    doubtful: tuple[Span, ...] = ()
    received: Span | None = None
    happened: Span | None = None
    ended: int | None = None
    starts: Span | None = None
    has_fetched: bool = False
    has_lifecycle: bool = False
    finals: tuple[Finals, ...] | None = ()
    gaps: tuple[str, ...] = ()

    @classmethod
    def told(cls, stored: Mapping[str, Any]) -> Self:
        """Return what `orjson` read of one; raises TypeError, KeyError or ValueError if it is none."""
        told: dict[str, object] = {name: _optional(_span, stored[name]) for name in _SPANS}
        told |= {name: _number(stored[name]) for name in ("start", "end", "events_bytes", "unreadable")}
        told |= {name: _optional(_number, stored[name]) for name in ("words_crc", "ended")}
        told |= {name: _of(bool, stored[name]) for name in ("has_fetched", "has_lifecycle", "is_part")}
        finals = None
        if stored["finals"] is not None:
            finals = tuple(
                Finals(_optional(_text, of["stream"]), *(_optional(_span, of[name]) for name in _SPANS))
                for of in _of(list, stored["finals"])
            )
        told |= {
            "sample": _text(stored["sample"]),
            "doubtful": tuple(map(_span, _of(list, stored["doubtful"]))),
            "finals": finals,
            "gaps": tuple(map(_text, _of(list, stored["gaps"]))),
        }
        segment = cls(**{**stored, **told})
        if not 0 <= segment.start < segment.end:
            raise ValueError(segment)
        return segment

    def may_hold(self, window: Window, *, by_event: bool) -> bool:
        """Tell whether an event here may be in the window."""
        span = self.happened if by_event else self.received
        if window.since_ms is None and window.until_ms is None:
            return True
        return (
            span is not None
            and (window.since_ms is None or span[1] >= window.since_ms)
            and (window.until_ms is None or span[0] < window.until_ms)
        )

    def overlaps(self, spans: Iterable[Span]) -> bool:
        """Tell whether something here may have happened in one of `spans`, whose ends belong to them."""
        if self.happened is None or self.ended is None:
            return False
        return any(self.happened[0] <= last and self.ended >= first for first, last in spans)


_SPANS: Final = ("received", "happened", "starts")
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


def _span(stored: object) -> Span:
    first, last = _of(list, stored)
    return _number(first), _number(last)


def known_finals(finals: Sequence[Finals]) -> tuple[Finals, ...] | None:
    """Return `finals` as a segment keeps them: None if there are too many streams to keep."""
    return tuple(finals) if len(finals) <= _MOST_STREAMS else None


@dataclass(frozen=True, slots=True)
class Interims:
    """Interim transcripts of a stream: what has to be known to find the final ones that replaced them.

    Attributes:
        stream: an id, or a name where there is no id.
        times: the first and the last of their times; None where none has one.
        starts: of their starts.
        is_timed: whether all have a time.
    """

    stream: str | None
    times: Span | None
    starts: Span | None
    is_timed: bool


def with_finals_for(
    interims: Iterable[Interims], segments: Sequence[Segment], *, by_event: bool
) -> list[Segment]:
    """Return the segments that may hold the final transcripts which replaced `interims`.

    These are those of the same stream and start, and the next one of the stream: the segment whose finals are
    the first to reach beyond an interim's time holds one that is later, so the next is no later than that.
    One of the very same time may stand before the interim, and be no next one.
    """
    chosen = {segment.start for segment in segments if segment.finals is None}
    for asked in interims:
        places = _places(asked.stream, segments, by_event=by_event)
        reach = _reach(asked.times, [held for *_, held in places])
        chosen |= {
            segment.start
            for segment, finals, times in places
            if not asked.is_timed or meet(finals.starts, asked.starts) or meet(times, reach)
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


def _reach(times: Span | None, held: Iterable[Span | None]) -> Span | None:
    """Return the times in which the final transcripts are that come next after those of interim ones."""
    if times is None:
        return None
    first, last = times
    return first, min((span[1] for span in held if span is not None and span[1] > last), default=MOST_MS)


def meet(one: Sequence[int] | None, other: Sequence[int] | None) -> bool:
    """Tell whether two spans have a time in common."""
    return one is not None and other is not None and one[0] <= other[1] and one[1] >= other[0]


@dataclass(frozen=True, slots=True)
class Cache:
    """What is sealed of a journal.

    Attributes:
        folder: where it is, or would be.
        segments: from the journal's beginning on, without holes between them.
        file: the journal's `identity`.
    """

    folder: Path
    segments: tuple[Segment, ...] = field(default=())
    file: int | None = None

    @property
    def end(self) -> int:
        """How many of the journal's bytes are sealed."""
        return self.segments[-1].end if self.segments else 0

    @property
    def gap_lines(self) -> Iterator[str]:
        """The journal's own lines about gaps, in their order."""
        return (line for segment in self.segments for line in segment.gaps)

    @property
    def manifest(self) -> Path:
        """The file that tells of the segments."""
        return self.folder / "manifest.json"

    def events(self, segment: Segment) -> Path:
        """Return the Parquet file of a segment."""
        return self.folder / f"{segment.start:015d}-{segment.end:015d}.parquet"

    def words(self, segment: Segment) -> Path:
        """Return the file of a segment's words; there is none where they would be too many."""
        return self.folder / f"{segment.start:015d}-{segment.end:015d}.words"

    def fits(self, file: FileIO) -> bool:
        """Tell whether the journal that is open as `file` still begins with what was sealed."""
        return self.file == identity(file) and all(
            _sample_of(file, segment) == segment.sample for segment in self.segments
        )

    def holds(self, segment: Segment) -> bool:
        """Tell whether a segment's events are there, as far as a look at their file's end tells."""
        try:
            with FileIO(self.events(segment), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                return size == segment.events_bytes and (
                    read_range(file, size - len(_PARQUET), len(_PARQUET)) == _PARQUET
                )
        except OSError:
            return False

    def has_words(self, segment: Segment) -> bool:
        """Tell whether a segment's words are there, if there were any."""
        return segment.words_crc is None or self._words(segment) is not None

    def _words(self, segment: Segment) -> bytes | None:
        try:
            words = self.words(segment).read_bytes()
        except OSError:
            return None
        return words if zlib.crc32(words) == segment.words_crc else None

    def may_say(self, segment: Segment, groups: Iterable[Iterable[Iterable[bytes]]]) -> bool:
        """Tell whether a segment's words may hold, of each of `groups`, all runs of one of its members."""
        if not groups:
            return True
        words = self._words(segment)
        return words is None or all(
            any(all(run in words for run in runs) for runs in group) for group in groups
        )

    def size(self) -> int:
        """Return how many bytes the cache takes on the disk, whether it fits the journal or not."""
        return size_of(self.folder)


def cache_root(environ: Mapping[str, str], home: Path) -> Path:
    """Return where caches are: `$XDG_CACHE_HOME/vdbevents`, else `~/.cache/vdbevents`."""
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
    """Tell whether a file has a name that those of a journal's cache have."""
    return _FILE.fullmatch(path.name) is not None


def is_own_scratch(path: Path) -> bool:
    """Tell whether it is a folder of what was being sealed."""
    return path.name.startswith("scratch-") and path.is_dir() and not path.is_symlink()


def is_own(folder: Path) -> bool:
    """Tell whether a folder is a journal's cache, which nothing else is in: it may be removed."""
    if not _FOLDER.fullmatch(folder.name) or folder.is_symlink():
        return False
    try:
        with os.scandir(folder) as entries:
            return all(
                (is_own_file(Path(it)) and it.is_file(follow_symlinks=False)) or is_own_scratch(Path(it))
                for it in entries
            )
    except OSError:
        return False


def folders(root: Path) -> list[Path]:
    """Return what has the name of a journal's cache."""
    try:
        return sorted(path for path in root.iterdir() if _FOLDER.fullmatch(path.name))
    except OSError:
        return []


def size_of(folder: Path) -> int:
    """Return how many bytes a journal's cache takes on the disk; 0 if there is none."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


def unsealed(journal: Path, cache: Cache, piece: int = PIECE) -> int:
    """Return how many bytes of a journal could be sealed and are not."""
    rest = rest_of(journal, cache)
    return rest - rest % piece


def rest_of(journal: Path, cache: Cache) -> int:
    """Return how many bytes of a journal are not sealed; 0 if there is no journal."""
    try:
        return max(journal.stat().st_size - cache.end, 0)
    except OSError:
        return 0


def load(journal: Path, root: Path) -> Cache:
    """Return what is sealed of the journal and still fits it; an empty cache if nothing is."""
    none = Cache(folder_of(journal, root))
    try:
        manifest = orjson.loads(none.manifest.read_bytes())
        if manifest["version"] != VERSION or manifest["digest"] != _digest(manifest):
            return none
        segments = tuple(Segment.told(told) for told in manifest["segments"])
        cache = Cache(none.folder, segments, _of(int, manifest["file"]))
        ends = [0, *(segment.end for segment in segments)]
        if any(end != segment.start for end, segment in zip(ends, segments, strict=False)):
            return none
        with FileIO(journal, "rb") as file:
            return cache if cache.fits(file) else none
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return none


def stored(journal: Path, cache: Cache) -> bytes:
    """Return the manifest's content for what is sealed of a journal."""
    told = {
        "version": VERSION,
        "journal": os.fsencode(journal.absolute()).decode("utf-8", "replace"),
        "file": cache.file,
        "segments": [asdict(segment) for segment in cache.segments],
    }
    return orjson.dumps({**told, "digest": _digest(told)})


def _digest(manifest: Mapping[str, Any]) -> str:
    """Return what tells a manifest as it was written from one that is damaged."""
    return _short_digest(orjson.dumps([manifest["file"], manifest["segments"]]))


def identity(file: FileIO) -> int:
    """Return what tells an open file from another that took its name: one that was rewritten, or restored."""
    return os.fstat(file.fileno()).st_ino % (1 << 63)


def sample(data: bytes | bytearray) -> str:
    """Return a digest of the first and the last bytes of a segment's."""
    return _short_digest(data[:_SAMPLE] + data[-_SAMPLE:])


def _sample_of(file: FileIO, segment: Segment) -> str | None:
    """Return the `sample` of what is in the journal where a segment was; None if that is shorter."""
    size = min(_SAMPLE, segment.end - segment.start)
    first = read_range(file, segment.start, size)
    last = read_range(file, segment.end - size, size)
    return None if first is None or last is None else _short_digest(first + last)


def _short_digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
