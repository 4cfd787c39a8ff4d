"""Merge consecutive screen descriptions that are nearly the same into runs. Pure.

A screen index describes the screen every few seconds, mostly in nearly the same words. `find` reads an answer
once, and returns which of its events share a line.

Two texts are nearly the same if two thirds of all their different words are in both: of two texts of the same
length, one word in five may differ. Descriptions of different screens share little but `the screen shows a`.
A text in between begins another run: a line too many is harmless, a line too few hides something. Only
letters count, in any case: no clock, no counter, no `2` of `main2.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple, TypeVar

from vdbevents.query.filters import Event
from vdbevents.query.result_protocols import EventBatches

PAUSE_MS: Final = 5 * 60 * 1000
"""Descriptions further apart belong to two runs: a working index sends one every minute or two."""

_COLUMNS: Final = ("time_ms", "channel", "stream", "stream_name", "text", "start_ms", "end_ms", "host")

# For ASCII texts, at a fifth of the cost: everything but letters becomes space.
_ASCII: Final = {code: chr(code).lower() if chr(code).isalpha() else " " for code in range(128)}

_Item = TypeVar("_Item")


class Run(NamedTuple):
    """The events that share a line: their times, in Unix ms, and their number."""

    since_ms: int
    until_ms: int
    events: int


class Runs:
    """The runs of two or more events in an answer, whose rows count from 0.

    Attributes:
        merged: the number of events without a line of their own.
    """

    def __init__(self, runs: Mapping[int, Run], merged: bytearray) -> None:
        """Take the runs by the rows of their lines, and for each row a byte: 1 if it has no own line."""
        self._runs = runs
        self._merged = merged
        self.merged = merged.count(1)

    def is_merged(self, row: int) -> bool:
        """Return whether the event has no line of its own."""
        return row < len(self._merged) and self._merged[row] == 1

    def at(self, row: int) -> Run | None:
        """Return the run of the event's line; None if the line stands for this event alone."""
        return self._runs.get(row)

    def lines(self, batches: Iterable[list[_Item]]) -> Iterator[list[tuple[int, _Item]]]:
        """Yield the items that have a line, each with its row; no batch is empty."""
        first = 0
        for batch in batches:
            kept = [(row, item) for row, item in enumerate(batch, first) if not self.is_merged(row)]
            first += len(batch)
            if kept:
                yield kept


NO_RUNS: Final = Runs({}, bytearray())
"""For an answer in which each event has a line of its own."""


def find(answer: EventBatches, *, newest_first: bool) -> Runs:
    """Return the runs of the answer, which is read once.

    They are the same in both orders: a run begins with its oldest event. So with `newest_first`, all texts
    between two pauses are kept in memory; else the words of one text for each stream.
    """
    runs: dict[int, Run] = {}
    merged = bytearray()  # a byte for each event, up to the last of a run
    begun: dict[_Stream, tuple[_Sight, frozenset[str]]] = {}
    seen = _seen(answer)
    for sight in _turned(seen) if newest_first else seen:
        words = _words(sight.text)
        first, first_words = begun.get(sight.stream, (sight, words))
        if first is sight or first.stretch != sight.stretch or not _are_alike(first_words, words):
            begun[sight.stream] = sight, words
            continue
        run = runs.get(first.row) or Run(first.begin_ms, first.end_ms, 1)
        runs[first.row] = Run(run.since_ms, max(run.until_ms, sight.end_ms), run.events + 1)
        merged.extend(bytes(max(0, sight.row + 1 - len(merged))))
        merged[sight.row] = 1
    return Runs(runs, merged)


def span(event: Event) -> tuple[int, int] | None:
    """Return an event's own times, in Unix ms; without a start, its time of receipt."""
    begin_ms = event.time_ms if event.start_ms is None else event.start_ms
    if begin_ms is None:
        return None
    return begin_ms, begin_ms if event.end_ms is None else max(begin_ms, event.end_ms)


_Stream = tuple[str | None, str | None, str | None]


class _Sight(NamedTuple):
    row: int
    stream: _Stream
    place: int  # the number of breaks before it
    stretch: int  # the number of pauses and breaks before it in its stream
    begin_ms: int
    end_ms: int
    text: str


def _seen(answer: EventBatches) -> Iterator[_Sight]:
    """Yield the descriptions that have a text and a time, in the answer's order."""
    last: dict[_Stream, _Sight] = {}
    row, place, breaks = -1, 0, answer.breaks
    for batch in answer.events(_COLUMNS):
        for event in batch:
            row += 1
            place += row in breaks
            # Most events are of other channels.
            if event.channel != "visual_index":
                continue
            text, lasted = event.text, span(event)
            if not text or text.isspace() or lasted is None:
                continue
            stream = (event.host, event.stream, None if event.stream else event.stream_name)
            before = last.get(stream)
            stretch = before.stretch + _are_apart(before, place, lasted) if before else 0
            last[stream] = _Sight(row, stream, place, stretch, *lasted, text)
            yield last[stream]


def _are_apart(before: _Sight, place: int, lasted: tuple[int, int]) -> bool:
    """Return whether a pause or a break separates two neighbours, in either order."""
    pause_ms = max(before.begin_ms, lasted[0]) - min(before.end_ms, lasted[1])
    return before.place != place or pause_ms > PAUSE_MS


def _turned(seen: Iterable[_Sight]) -> Iterator[_Sight]:
    """Yield each stretch of each stream in reverse; the order of the stretches does not matter."""
    held: dict[_Stream, list[_Sight]] = {}
    for sight in seen:
        stretch = held.setdefault(sight.stream, [])
        if stretch and stretch[0].stretch != sight.stretch:
            yield from reversed(stretch)
            stretch.clear()
        stretch.append(sight)
    for stretch in held.values():
        yield from reversed(stretch)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.translate(_ASCII).split() if text.isascii() else _word().findall(text.lower()))


@cache
def _word() -> re.Pattern[str]:
    # Thai, Lao, Burmese, Khmer, Japanese and Chinese have no spaces between words: each character is a word.
    return re.compile(
        "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
        r"|[^\W\d_]+"
    )


def _are_alike(some: frozenset[str], others: frozenset[str]) -> bool:
    """Return whether two thirds of all the words are in both."""
    both = len(some & others)
    return 3 * both >= 2 * (len(some) + len(others) - both)
