"""Moments: when something was found, what was said around it, and what was on each screen then. Pure."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vdbevents.query.collapse import PAUSE_MS, span as span_of
from vdbevents.query.filters import Event
from vdbevents.summaries.digest import Missed

LONGEST_MS: Final = 10 * 60 * 1000
"""From the first match of a moment to its last: a word that stays on a screen must not make a day of it."""

CHANNELS: Final = ("transcript", "audio_index", "visual_index", "alert")
"""The channels of what stands around a moment."""

COLUMNS: Final = (
    *("time_ms", "channel", "event", "source", "stream", "stream_name", "text", "start_ms", "end_ms"),
    *("label", "speaker", "line", "host"),
)
"""The columns of the events of a moment."""


# Matches come the newest first, but for those that were backfilled.
_NEAR: Final = 20


@dataclass
class FoundMoment:
    """Matches within ten minutes that are so near that what is around them overlaps.

    Attributes:
        first_ms, last_ms: the begin of the first match and the end of the last, in Unix ms.
        matches: how many there are; 0 for a time that was given.
        match: the first match.
        heard: the begin and the end of each match that is not on a screen, in Unix ms.
    """

    first_ms: int
    last_ms: int
    matches: int = 0
    match: Event | None = None
    heard: list[tuple[int, int]] = field(default_factory=list)

    @property
    def points(self) -> list[tuple[int, int]]:
        """The times that something is near to, in Unix ms.

        They are those of what was heard, and when the first match began: a word that stays on a screen is
        news only when it appears.
        """
        return [(self.first_ms, self.first_ms), *self.heard]

    def around(self, width_ms: int) -> tuple[int, int]:
        """Return the time around it, in Unix ms, ends included."""
        return self.first_ms - width_ms, self.last_ms + width_ms

    def merge(self, other: "FoundMoment") -> None:
        """Take in another one."""
        if other.first_ms <= self.first_ms:
            self.match = other.match
        self.first_ms, self.last_ms = min(self.first_ms, other.first_ms), max(self.last_ms, other.last_ms)
        self.matches += other.matches
        self.heard += other.heard


class Found(NamedTuple):
    """The newest moments, the newest first, and whether there are older ones."""

    moments: list[FoundMoment]
    has_older: bool


def newest(events: Iterable[Event], width_ms: int, most: int) -> Found:
    """Return the newest moments of matches, which are read no further than needed.

    Args:
        events: the matches, the newest first; those without a time do not count.
        width_ms: how much is around each.
        most: how many moments are wanted.
    """
    moments: list[FoundMoment] = []
    for event in events:
        if (times := span_of(event)) is None:
            continue
        moment = FoundMoment(*times, 1, event, [] if event.channel == "visual_index" else [times])
        for near in [one for one in moments[-_NEAR:] if _meet(one.around(width_ms), moment.around(width_ms))]:
            if max(near.last_ms, moment.last_ms) - min(near.first_ms, moment.first_ms) <= LONGEST_MS:
                moment.merge(near)
                moments.remove(near)
        moments.append(moment)
        if len(moments) > most:
            break
    moments.sort(key=lambda one: (one.first_ms, one.last_ms), reverse=True)
    return Found(moments[:most], len(moments) > most)


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


class Surroundings(NamedTuple):
    """A moment, and what was around it.

    Attributes:
        moment: the moment.
        said: sentences near to its points, the nearest first; audio summaries of streams without any.
        screens: of each screen of each machine the description that was on it when the moment began.
        alerts: in the order of time.
        missed: gaps and pauses, with their machines.
    """

    moment: FoundMoment
    said: Sequence[Event]
    screens: Sequence[Event]
    alerts: Sequence[Event]
    missed: Sequence[tuple[str, Missed]]


def spans_for(moments: Iterable[FoundMoment], width_ms: int) -> tuple[tuple[int, int], ...]:
    """Return the times in which everything about moments is: a description may be on since minutes."""
    return tuple(
        (one.first_ms - max(width_ms, PAUSE_MS), max(end_ms for _, end_ms in one.points) + width_ms)
        for one in sorted(moments, key=lambda one: one.first_ms)
    )


def surroundings(
    moment: FoundMoment, events: Iterable[Event], missed: Iterable[tuple[str, Missed]], width_ms: int
) -> Surroundings:
    """Return what was around a moment.

    Args:
        moment: the moment.
        events: of the times that `spans_for` returns, of any machine.
        missed: gaps and pauses at any time, with their machines.
        width_ms: how much is around it.
    """
    around = moment.around(width_ms)
    about = _Times((begin - width_ms, end + width_ms) for begin, end in moment.points)
    near: dict[str | None, list[Event]] = defaultdict(list)
    screens: dict[tuple[str | None, ...], list[tuple[tuple[int, int], Event]]] = defaultdict(list)
    for event in events:
        times = span_of(event)
        if times is None:
            continue
        if event.channel == "visual_index" and (event.text or "").strip():
            screens[_stream(event)].append((times, event))
        elif about.touch(*times):
            near[event.channel].append(event)
    points = _Times(moment.points)
    spoken = {_stream(event) for event in near["transcript"]}
    summaries = [event for event in near["audio_index"] if _stream(event) not in spoken]
    shown = [_on_screen(of_one, moment.first_ms, around) for of_one in screens.values()]
    return Surroundings(
        moment,
        sorted([*near["transcript"], *summaries], key=lambda event: _distance(event, points)),
        sorted(filter(None, shown), key=lambda event: (event.host or "", event.stream_name or "")),
        sorted(near["alert"], key=begin_of),
        [(host, one) for host, one in missed if _meet(_times(one), around)],
    )


class _Times:
    """Times that are searched in: a moment may have hundreds of matches."""

    def __init__(self, times: Iterable[tuple[int, int]]) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in sorted(times):
            if self._ends and begin <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def touch(self, begin: int, end: int) -> bool:
        return self.distance(begin, end) == 0

    def distance(self, begin: int, end: int) -> int:
        """Return how far the nearest is from a time; 0 if they touch."""
        after = bisect_right(self._begins, end)
        if not after:
            return self._begins[0] - end
        before = max(begin - self._ends[after - 1], 0)
        return before if after == len(self._begins) else min(before, self._begins[after] - end)


def _stream(event: Event) -> tuple[str | None, ...]:
    return event.host, event.stream or event.stream_name or event.source


def _on_screen(
    described: Sequence[tuple[tuple[int, int], Event]], at_ms: int, around: tuple[int, int]
) -> Event | None:
    """Return the description that was on a screen, else the first one after it, if that is near."""
    before = [one for one in described if one[0][0] <= at_ms]
    if before:
        (_, end_ms), event = max(before, key=lambda one: one[0])
        if at_ms - end_ms <= PAUSE_MS:
            return event
    after = [one for one in described if at_ms < one[0][0] <= around[1]]
    return min(after, key=lambda one: one[0])[1] if after else None


def _distance(event: Event, points: _Times) -> tuple[int, int, str]:
    first, last = span_of(event) or (0, 0)
    return points.distance(first, last), first, event.text or ""


def _times(missed: Missed) -> tuple[int, int]:
    return missed.since_ms, 1 << 60 if missed.until_ms is None else missed.until_ms


def begin_of(event: Event) -> int:
    """Return when an event began, in Unix ms; that of receipt, if it says none."""
    times = span_of(event)
    return times[0] if times else 0
