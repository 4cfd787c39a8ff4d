"""Digest a window of the answers of one or more journals: choose the blocks with which it fits."""

from collections.abc import Sequence
from datetime import tzinfo
from functools import reduce
from typing import TYPE_CHECKING, Final, NamedTuple

from vdbevents.events.gaps import Gap
from vdbevents.query.block_counts import BlockCounts, Recorded
from vdbevents.query.output.budget import Bound
from vdbevents.query.tail_search import TailResult
from vdbevents.summaries.digest import (
    MOST_OF_A_KIND,
    Counted,
    Digest,
    DigestPage,
    fitted,
    lengths_that_may_fit,
    missed_within,
    put_together,
)
from vdbevents.summaries.time_blocks import LENGTHS_MS, UNIT_MS, TimeBlock, block_at
from vdbevents.times import Window

if TYPE_CHECKING:
    from vdbevents.query.merge import FoundRows

_UNLIMITED: Final = 1 << 40


class DigestPart(NamedTuple):
    """A journal's answer: its machine, the events, and the gaps that are known."""

    host: str
    answer: "FoundRows"
    gaps: Sequence[Gap]

    @property
    def breaks(self) -> list[int]:
        """When a gap that was not recovered, or a pause, began, in Unix ms."""
        pauses = [pause.since_ms for pause in self.answer.pauses]
        return [gap.since_ms for gap in self.gaps if not gap.is_recovered] + pauses


def tell(
    parts: Sequence[DigestPart], window: Window, now_ms: int, *, zone: tzinfo, bound: Bound, page: DigestPage
) -> str | None:
    """Return the digest of a window; None if there is nothing in it, and empty if nothing of it fits.

    Args:
        parts: the answers to a search for speech, screens and alerts in the window.
        window: without a beginning or an end it goes from the first event, or to the last.
        now_ms: the present, in Unix ms.
        zone: of the blocks.
        bound: how large the answer may be.
        page: its form.

    Raises:
        StorageError: memory or temporary space is used up.
    """
    until_ms = _UNLIMITED * 1000 if window.until_ms is None else window.until_ms
    counts = [_counts(part.answer, until_ms, part.breaks) if part.answer.count else None for part in parts]
    outlines = [outline for one in counts if one and (outline := one.outline(LENGTHS_MS))]
    whole = _whole(window, now_ms, [outline.span for outline in outlines])
    if whole is None:
        return None
    recorded = reduce(Recorded.plus, (outline.recorded for outline in outlines), Recorded())
    telling = _Telling(parts, counts, whole, zone, bound, recorded)
    for length in lengths_that_may_fit(outlines, bound, LENGTHS_MS):
        digest = telling.in_blocks(length)
        fitting = fitted(digest, bound, page)
        if fitting is not None and fitting.is_fair:
            return fitting.text if digest.blocks else None
    digest = telling.in_blocks(None)
    if not digest.blocks:
        return None
    if fitting := fitted(digest, bound, page):
        return fitting.text
    least = page.least(digest)
    return least if bound.fits(least) else ""


def _counts(answer: "FoundRows", until_ms: int, breaks: Sequence[int]) -> BlockCounts:
    # Each is imported where it is needed: the one that is not would take time to load.
    if isinstance(answer, TailResult):
        from vdbevents.query.plain_blocks import PlainBlocks

        return PlainBlocks(answer.held, until_ms, breaks)
    from vdbevents.query.block_counts import TabledBlocks

    return TabledBlocks(answer, until_ms, breaks)


def _whole(window: Window, now_ms: int, spans: Sequence[tuple[int, int]]) -> TimeBlock | None:
    """Return the times that are covered; None without any."""
    since_ms, until_ms = window.since_ms, window.until_ms
    if since_ms is None:
        if not spans:
            return None
        since_ms = min(first for first, _ in spans)
    if until_ms is None:
        last = max((last + 1 for _, last in spans), default=since_ms + 1)
        until_ms = last if window.since_ms is None else max(last, now_ms)
    return TimeBlock(since_ms, max(until_ms, since_ms + 1))


class _Telling(NamedTuple):
    parts: Sequence[DigestPart]
    counts: Sequence[BlockCounts | None]
    whole: TimeBlock
    zone: tzinfo
    bound: Bound
    recorded: Recorded

    def in_blocks(self, length_ms: int | None) -> Digest:
        """Return the digest in blocks of this length; None for one block."""
        unit_ms = max(LENGTHS_MS) if length_ms is None else min(length_ms, UNIT_MS)
        room = self.bound.characters or _UNLIMITED
        blocks: set[TimeBlock] = set()
        each = []
        for part, counts in zip(self.parts, self.counts, strict=True):
            missed = [
                (self._block(max(one.since_ms, self.whole.since_ms), length_ms), one)
                for one in missed_within(part.gaps, part.answer.pauses, self.whole)
            ]
            blocks.update(block for block, _ in missed)
            if counts is None:
                each.append(Counted(part.host, [], [], [], [], missed))
                continue
            placed = {unit: self._block(unit, length_ms) for unit in counts.units(unit_ms)}
            blocks.update(placed.values())
            totals = counts.divide(placed, room)
            most = MOST_OF_A_KIND
            each.append(
                Counted(part.host, totals, counts.said(room), counts.shown(most), counts.fired(most), missed)
            )
        return put_together(self.whole, blocks, each, self.recorded)

    def _block(self, moment_ms: int, length_ms: int | None) -> TimeBlock:
        return self.whole if length_ms is None else block_at(moment_ms, length_ms, self.zone)
