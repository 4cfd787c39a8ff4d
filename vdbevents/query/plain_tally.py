"""Count what was said and shown in events in memory. Pure.

It gives what the SQL of `tally` gives: change both. A property test compares them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from vdbevents.events import fields
from vdbevents.query.cache.index import Span
from vdbevents.query.plain_events import PlainEvent
from vdbevents.query.screen_time import Description, own_end, shown_times
from vdbevents.query.tally import QUARTER_MS, Key, Slice
from vdbevents.times import Window

# The spaces of RE2's `\s` and of Unicode.
_WORD: Final = re.compile("[^\t\n\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class _Counted(NamedTuple):
    """An event; `moment` is when it happened, else when it was received."""

    channel: str | None
    source: str | None
    stream: str | None
    window: str | None
    moment: int | None
    start_ms: int | None
    end_ms: int | None
    words: int


class _Part(NamedTuple):
    """A time in which somebody spoke, or something was on a screen; no longer than a quarter of an hour."""

    source: str | None
    stream: str | None
    window: str | None
    begin: int
    finish: int

    @property
    def quarter(self) -> int:
        return self.begin // QUARTER_MS


class PlainTally:
    """Events in memory, counted."""

    def __init__(self, events: Iterable[PlainEvent], window: Window, breaks: Sequence[int] = ()) -> None:
        """Read the events, of which there are few."""
        counted = [_counted(event) for event in events if not _is_own(event.channel)]
        self._events = list(_with_sources(counted))
        self._spoken = list(_without_overlaps(_divided(_speech(self._events), window)))
        self._shown = list(_divided(_screens(self._events, breaks), window))

    @property
    def span(self) -> Span | None:
        """The first and the last time of what was counted, in Unix ms; None where none has a time."""
        known = [one.moment for one in self._events if one.moment is not None]
        return (min(known), max(known)) if known else None

    def by(self, key: Key) -> list[Slice]:
        """Return the slices, each key once, in no order."""
        sums: dict[int | str | None, list[int]] = defaultdict(lambda: [0] * len(Slice._fields[1:]))
        for one in self._events:
            if key != "window" or one.channel == "visual_index":
                counts = sums[_key_of(one, key)]
                counts[0] += 1
                counts[1] += one.words
                counts[2] += one.channel == "alert"
        for part, length_ms in self._spoken:
            if key != "window":
                sums[_key_of_part(part, key, "transcript")][3] += length_ms
        for part in self._shown:
            sums[_key_of_part(part, key, "visual_index")][4] += part.finish - part.begin
        return [Slice(name, *counts) for name, counts in sums.items()]


def _is_own(channel: str | None) -> bool:
    return channel in (fields.OWN_CHANNEL, fields.RUNTIME_CHANNEL) or (channel or "").startswith("backend.")


def _counted(event: PlainEvent) -> _Counted:
    # As in SQL, a transcript without a text has no words.
    words = len(_WORD.findall(event.text or "")) if event.channel == "transcript" else 0
    return _Counted(
        event.channel,
        event.source,
        event.stream_name if event.stream is None else event.stream,
        event.window_name,
        event.time_ms if event.start_ms is None else event.start_ms,
        event.start_ms,
        event.end_ms,
        words,
    )


def _with_sources(events: Sequence[_Counted]) -> Iterator[_Counted]:
    """Yield events with the source that another event of their stream names."""
    sources: dict[str, str] = {}
    for one in events:
        if one.source is not None and one.stream is not None:
            sources[one.stream] = max(one.source, sources.get(one.stream, ""))
    for one in events:
        if one.source is None and one.stream is not None:
            yield one._replace(source=sources.get(one.stream))
        else:
            yield one


def _speech(events: Iterable[_Counted]) -> Iterator[_Part]:
    for one in events:
        if one.channel == "transcript" and one.start_ms is not None and (one.end_ms or 0) > one.start_ms:
            yield _Part(one.source, one.stream, None, one.start_ms, own_end(one.start_ms, one.end_ms))


def _screens(events: Iterable[_Counted], breaks: Iterable[int]) -> Iterator[_Part]:
    known = [(one, one.moment) for one in events if one.moment is not None]
    described = [
        Description(one.stream, moment, one.end_ms, (one.source, one.window))
        for one, moment in known
        if one.channel == "visual_index"
    ]
    steps = [moment for one, moment in known if one.channel == "capture_session"]
    for one, finish in shown_times(described, [*breaks, *steps]):
        source, window = one.kept
        yield _Part(source, one.stream, window, one.moment, finish)


def _divided(parts: Iterable[_Part], window: Window) -> Iterator[_Part]:
    """Yield parts clipped to the window, and cut at quarters."""
    for one in parts:
        begin = one.begin if window.since_ms is None else max(one.begin, window.since_ms)
        finish = one.finish if window.until_ms is None else min(one.finish, window.until_ms)
        while begin < finish:
            edge = min(finish, (begin // QUARTER_MS + 1) * QUARTER_MS)
            yield one._replace(begin=begin, finish=edge)
            begin = edge


def _without_overlaps(parts: Iterable[_Part]) -> Iterator[tuple[_Part, int]]:
    """Yield parts of speech, and how much of each adds to what the same source said before."""
    reaches: dict[tuple[str | None, int], int] = {}
    for one in sorted(parts, key=lambda part: (part.begin, part.finish)):
        speaking = one.stream if one.source is None else one.source, one.quarter
        reach = max(one.begin, reaches.get(speaking, one.begin))
        yield one, max(0, one.finish - reach)
        reaches[speaking] = max(reach, one.finish)


def _key_of(one: _Counted, key: Key) -> int | str | None:
    match key:
        case "quarter":
            return None if one.moment is None else one.moment // QUARTER_MS
        case "window":
            return one.window
        case "source":
            return one.source
    return one.channel


def _key_of_part(part: _Part, key: Key, channel: str) -> int | str | None:
    match key:
        case "quarter":
            return part.quarter
        case "window":
            return part.window
        case "source":
            return part.source
    return channel
