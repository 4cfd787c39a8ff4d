"""Take the caches of several journals for one: their segments at places that are counted through them all."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vdbevents.query.byte_ranges import literal
from vdbevents.query.cache.checks import are_whole
from vdbevents.query.cache.index import Cache, Segment
from vdbevents.query.sealed_tables import SealedTable


class PlacedCache(NamedTuple):
    """A journal's cache, and where the journal's first byte is among those of all, in bytes."""

    cache: Cache
    base: int


class SealedSegments:
    """The sealed segments of the journals that are read together.

    Attributes:
        segments: in the order of the journals, with places among all of them.
    """

    def __init__(self, caches: Sequence[PlacedCache]) -> None:
        """Take the caches, in the order of their journals."""
        self._own: dict[int, tuple[PlacedCache, Segment]] = {}
        self.segments: tuple[Segment, ...] = ()
        segments = []
        for placed in caches:
            for segment in placed.cache.segments:
                start = segment.start + placed.base
                self._own[start] = placed, segment
                segments.append(replace(segment, start=start, end=segment.end + placed.base))
        self.segments = tuple(segments)

    def events(self, segment: Segment) -> Path:
        """Return the Parquet file of a segment."""
        (cache, _), own = self._own[segment.start]
        return cache.events(own)

    def minutes_of(self, segment: Segment) -> bytes | None:
        """Return a segment's events by minutes; see `Cache.minutes_of`."""
        (cache, _), own = self._own[segment.start]
        return cache.minutes_of(own)

    def hold(self, segments: Iterable[Segment]) -> bool:
        """Return whether the Parquet files of segments are present and whole."""
        owners = [self._own[segment.start] for segment in segments]
        return are_whole(
            [(placed.cache.events(own), own.events_bytes, own.events_crc) for placed, own in owners]
        )

    def may_say(self, segment: Segment, groups: Iterable[Iterable[Iterable[bytes]]]) -> bool:
        """Return whether a segment may match; see `Cache.may_say`."""
        (cache, _), own = self._own[segment.start]
        return cache.may_say(own, groups)

    def tables(self, segments: Iterable[Segment]) -> list[SealedTable]:
        """Return the files of segments, for the SQL."""
        tables = []
        for segment in segments:
            placed, own = self._own[segment.start]
            path = placed.cache.events(own)
            tables.append(SealedTable(literal(path), str(path.absolute()), placed.base))
        return tables
