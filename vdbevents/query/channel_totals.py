"""Count all events of a journal by channel: what is sealed by its manifest, the rest line by line."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vdbevents.events.gaps import Gap, gaps_in
from vdbevents.query.cache.index import Cache
from vdbevents.query.cache.sealed_counts import ChannelCount, channels_of
from vdbevents.query.journal_end import channel_counts, end_of
from vdbevents.query.older import Older


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
    return _totals_by_manifest(journal, cache, older) or _searched(journal, cache, older)


def _totals_by_manifest(journal: Path, cache: Cache | None, older: Older) -> ChannelTotals | None:
    """Count without a search, if nothing was received twice and all lines are plain; otherwise None."""
    end = end_of(journal, cache, older)
    if end is None:
        return None
    caches = [*end.aside, *([cache] if cache else [])]
    counts = channel_counts(end.events)
    for segment in (segment for one in caches for segment in one.segments):
        sealed = channels_of(segment)
        if sealed is None or segment.has_fetched or segment.doubtful:
            return None
        counts += sealed
    lines = [line for one in caches for line in one.gap_lines]
    lines += [event.line for event in end.events if event.channel == "vdbevents"]
    return ChannelTotals(_added(counts), gaps_in(lines))


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
