"""Read the end of a journal that is not sealed, if its lines are as listeners write them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.journal.archive import ArchivedJournal
from vdbevents.journal.history import open_archived, open_with_older
from vdbevents.query.byte_ranges import read_range
from vdbevents.query.cache.index import Cache, identity, rest_of
from vdbevents.query.cache.sealed_counts import ChannelCount
from vdbevents.query.filters import ALIASES, Filters
from vdbevents.query.older import Older, may_matter
from vdbevents.query.plain_events import NotPlainError, ParsedLines, PlainEvent, was_backfilled
from vdbevents.times import Window

if TYPE_CHECKING:
    from vdbevents.journal.packed import PackedFile

_MOST_READ: Final = 1 << 24
# What is sealed next has 8 MiB, seldom of more lines; to read these takes less time than to start DuckDB.
MOST_LINES: Final = 30_000
# What is read backwards at once, and in all.
_BLOCK: Final = 1 << 17
_MOST_READ_BACKWARDS: Final = 1 << 22


class UndecidedError(Exception):
    """The end of the journal does not decide."""


def own_lines_aside(aside: Sequence[ArchivedJournal], filters: Filters, older: Older) -> Iterator[str]:
    """Yield the lines about gaps and pauses of journals that were set aside, and hold nothing else.

    Raises:
        UndecidedError: one may hold a match, or has no cache.
    """
    window = Window() if filters.by_event else filters.window
    for one in may_matter(aside, window.since_ms):
        cache = older.cache_of(one.path)
        if cache is None or one.may_hold(window.since_ms, window.until_ms):
            raise UndecidedError
        yield from cache.gap_lines


def unsealed_lines(
    file: FileIO, cache: Cache | None, known: ParsedLines | None = None
) -> tuple[list[bytes], int]:
    """Return the whole lines after those that are sealed, and the journal's size in bytes.

    Those that are `known` are not read again.

    Raises:
        UndecidedError: they are many, or one is not as a listener writes it.
    """
    size = file.seek(0, os.SEEK_END)
    start = cache.end if cache else 0
    place = identity(file), start
    if known is not None and place in known.ends:
        return known.ends[place]
    if not start <= size <= start + _MOST_READ:
        raise UndecidedError
    data = read_range(file, start, size - start)
    if data is None or b"\r" in data or b"\0" in data:
        raise UndecidedError
    *lines, torn = data.split(b"\n")
    if torn:
        raise UndecidedError
    read = [line for line in lines if line], size
    if known is not None:
        known.ends[place] = read
    return read


def usual_event(line: bytes) -> PlainEvent:
    """Read a line that was not backfilled.

    Raises:
        NotPlainError, UndecidedError: it is of another kind.
    """
    if not (line.startswith(b"{") and line.endswith(b"}")):
        raise NotPlainError
    if was_backfilled(line):
        raise UndecidedError
    return PlainEvent(line)


class JournalEnd(NamedTuple):
    """What is not sealed of a journal, and the caches of what was set aside of it, which is all sealed.

    `size` is that of the journal itself, in bytes.
    """

    events: Sequence[PlainEvent]
    aside: Sequence[Cache]
    size: int


def end_of(journal: Path, cache: Cache | None, older: Older) -> JournalEnd | None:
    """Return the end of a journal, if all lines in it are plain, and none was backfilled; otherwise None.

    Args:
        journal: its file.
        cache: its sealed segments.
        older: how to read what was set aside.
    """
    try:
        file, aside = open_with_older(journal, cleared=older.cleared)
        with file:
            lines, size = unsealed_lines(file, cache)
        caches = [older.cache_of(one.path) for one in aside]
        known = [one for one in caches if one is not None]
        is_sealed = len(known) == len(aside) and not any(
            rest_of(one.path, sealed) for one, sealed in zip(aside, known, strict=True)
        )
        if not is_sealed or len(lines) > MOST_LINES:
            return None
        return JournalEnd(list(map(usual_event, lines)), known, size)
    except (OSError, NotPlainError, UndecidedError):
        return None


def channel_counts(events: Iterable[PlainEvent]) -> list[ChannelCount]:
    """Return how many events each channel has, sorted."""
    times: dict[str, list[int | None]] = {}
    for event in events:
        times.setdefault(event.channel or "unknown", []).append(event.time_ms)
    return [
        (channel, len(all_), min(known, default=None), max(known, default=None))
        for channel, all_ in sorted(times.items())
        for known in [[at_ms for at_ms in all_ if at_ms is not None]]
    ]


def newest_at_end(journal: Path, filters: Filters, older: Older) -> int | None:
    """Return when the newest event of a journal happened, in Unix ms; None if none matches.

    It is the last one that was not backfilled, or a backfilled one after it of a later time. Where a clock
    was set back, an earlier line may have a later time.

    Args:
        journal: its file.
        filters: of them, only the channels count.
        older: how to read what was set aside.

    Raises:
        UndecidedError: the end does not show it.
    """
    wanted = {ALIASES.get(name, name) for name in filters.channels}
    fetched: list[int] = []
    try:
        for line in _backwards(journal, older):
            if not (line.startswith(b"{") and line.endswith(b"}")):
                raise UndecidedError
            event = PlainEvent(line)
            moment_ms = event.time_ms if event.start_ms is None else event.start_ms
            is_wanted = event.channel in wanted if wanted else event.channel not in filters.hidden_channels
            if not is_wanted or moment_ms is None:
                continue
            if not was_backfilled(line):
                return max([moment_ms, *fetched])
            fetched.append(moment_ms)
    except (OSError, NotPlainError):
        raise UndecidedError from None
    return max(fetched, default=None)


def _backwards(journal: Path, older: Older) -> Iterator[bytes]:
    """Yield the lines of a journal, and of what was set aside, from the last whole one on.

    Raises:
        OSError: they cannot be read.
        UndecidedError: these are too many, or not as a listener writes them.
    """
    file, aside = open_with_older(journal, cleared=older.cleared)
    room = _MOST_READ_BACKWARDS
    with file:
        files: Iterator[FileIO | PackedFile] = chain([file], map(open_archived, reversed(aside)))
        for opened in files:
            with opened:
                end, rest = opened.seek(0, os.SEEK_END), b""
                while end:
                    size = min(_BLOCK, end)
                    end, room = end - size, room - size
                    data = read_range(opened, end, size) if room >= 0 else None
                    if data is None or b"\r" in data or b"\0" in data:
                        raise UndecidedError
                    rest, *lines = (data + rest).split(b"\n")
                    yield from filter(None, reversed(lines))
                if rest:
                    yield rest
