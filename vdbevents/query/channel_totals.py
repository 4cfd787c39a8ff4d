"""Count all events of a journal by channel: what is sealed by its columns, the rest line by line."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from vdbevents.errors import StorageError
from vdbevents.events.gaps import Gap, gaps_in
from vdbevents.query.cache.checks import are_whole
from vdbevents.query.cache.index import Cache
from vdbevents.query.journal_end import ChannelCount, channel_counts, end_of
from vdbevents.query.older import Older

_LEAST_MB: Final = 500


class ChannelTotals(NamedTuple):
    """The events of a journal.

    Attributes:
        channels: of each channel its name, the number of events, and the first and the last receipt, in Unix
            ms; sorted.
        gaps: all gaps.
    """

    channels: Sequence[ChannelCount]
    gaps: Sequence[Gap]


def channel_totals(journal: Path, cache: Cache | None, older: Older) -> ChannelTotals:
    """Count the events of a journal, and of what was rotated out of it.

    Args:
        journal: its file.
        cache: its sealed segments.
        older: how to read what was set aside.

    Raises:
        InputError: it cannot be read.
        StorageError: memory and temporary space are used up.
    """
    return _totals_by_columns(journal, cache, older) or _searched(journal, cache, older)


def _totals_by_columns(journal: Path, cache: Cache | None, older: Older) -> ChannelTotals | None:
    """Count without a search, if nothing was received twice and all lines are plain; otherwise None."""
    end = end_of(journal, cache, older)
    if end is None:
        return None
    caches = [*end.aside, *([cache] if cache else [])]
    segments = [(one, segment) for one in caches for segment in one.segments]
    if any(segment.has_fetched or segment.doubtful for _, segment in segments):
        return None
    counts = channel_counts(end.events)
    if segments:
        files = [(one.events(segment), segment.events_bytes, segment.events_crc) for one, segment in segments]
        if not are_whole(files):
            return None
        try:
            counts = _added([*counts, *_sealed_counts([path for path, _, _ in files])])
        except StorageError:  # the search finds out whether the cache vanished, or there is no room
            return None
    lines = [line for one in caches for line in one.gap_lines]
    lines += [event.line for event in end.events if event.channel == "vdbevents"]
    return ChannelTotals(counts, gaps_in(lines))


def _sealed_counts(files: Sequence[Path]) -> list[ChannelCount]:
    from vdbevents.query.byte_ranges import literal
    from vdbevents.query.duck import SharedDatabase, explained

    with SharedDatabase(memory_mb=_LEAST_MB) as database, explained():
        return (
            database.connection(_LEAST_MB)
            .execute(
                """SELECT coalesce(channel, 'unknown') AS kind, count(*), min(time_ms), max(time_ms)
            FROM read_parquet(?) GROUP BY kind""",
                [list(map(literal, files))],
            )
            .fetchall()
        )


def _added(counts: Iterable[ChannelCount]) -> list[ChannelCount]:
    sums: dict[str, list[ChannelCount]] = {}
    for one in counts:
        sums.setdefault(one[0], []).append(one)
    return [
        (
            channel,
            sum(number for _, number, _, _ in own),
            min((first for _, _, first, _ in own if first is not None), default=None),
            max((last for *_, last in own if last is not None), default=None),
        )
        for channel, own in sorted(sums.items())
    ]


def _searched(journal: Path, cache: Cache | None, older: Older) -> ChannelTotals:
    from vdbevents.query.engine import search
    from vdbevents.query.filters import Filters

    with search(journal, Filters(interim=True), cache, older=older) as found:
        return ChannelTotals(found.channel_counts(), found.gaps)
