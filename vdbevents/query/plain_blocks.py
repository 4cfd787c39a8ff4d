"""Count events in memory by blocks of time, and choose what was said in each. Pure.

It gives what the SQL of `block_counts` gives: change both. A property test compares them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, log, sqrt
from typing import Final, NamedTuple, TypeVar

from vdbevents.query import alike
from vdbevents.query.block_counts import (
    CHARACTERS_OF_A_SENTENCE,
    FILLERS,
    LONGEST_SNIPPET,
    LONGEST_TEXT,
    MINUTE_MS,
    PART_OF_WORD,
    WEIGHED,
    WORD,
    Fired,
    Outline,
    Recorded,
    Said,
    Shown,
    Total,
)
from vdbevents.query.plain_events import PlainEvent
from vdbevents.query.screen_time import Description, nulls_last, own_end, shown_times
from vdbevents.times import LEAST_MS

_SPOKEN: Final = ("transcript", "audio_index")
_SPACES: Final = (
    " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_WORD: Final = re.compile(WORD)
_PART_OF_WORD: Final = re.compile(PART_OF_WORD.replace("$", r"\Z"))  # here, $ may be before a line's end


class _Sentence(NamedTuple):
    at_ms: int
    kind: str
    stream: str | None
    who: str | None
    text: str


class _Alert(NamedTuple):
    at_ms: int
    label: str
    text: str | None


class _Screen(NamedTuple):
    name: str | None
    text: str
    at_ms: int
    until_ms: int


class PlainBlocks:
    """Events in memory, counted by blocks of time."""

    def __init__(self, events: Iterable[PlainEvent], until_ms: int, breaks: Iterable[int] = ()) -> None:
        """Read the events, of which there are few."""
        self._times: list[tuple[int, int]] = []
        self._sentences: list[_Sentence] = []
        self._alerts: list[_Alert] = []
        described: list[Description] = []
        stops = [*breaks]
        for event in events:
            at_ms = event.time_ms if event.start_ms is None else event.start_ms
            if at_ms is None:
                continue
            text, end_ms = event.text, own_end(at_ms, event.end_ms)
            match event.channel:
                case "capture_session":
                    stops.append(at_ms)
                    continue
                case "alert":
                    self._alerts.append(_Alert(at_ms, event.label or "", text and _cut(text)))
                case "visual_index" if text and text.strip(_SPACES):
                    kept = event.window_name, text[:LONGEST_SNIPPET]
                    described.append(Description(_stream_of(event), at_ms, end_ms, kept))
                case "transcript" | "audio_index" as kind if text and text.strip(_SPACES):
                    who = _first(event.speaker, event.source, event.stream_name, event.stream)
                    self._sentences.append(_Sentence(at_ms, kind, _stream_of(event), who, _cut(text)))
                case _:
                    continue
            self._times.append((at_ms, end_ms))
        self._screens = [
            _Screen(one.kept[0], one.kept[1] or "", one.moment, min(finish, until_ms))
            for one, finish in shown_times(described, stops)
        ]
        self._unit_ms = 0
        self._blocks: list[tuple[int, int]] = []
        self._heard: list[tuple[int, _Sentence]] = []
        self._fired: list[tuple[int, _Alert]] = []
        self._chosen: dict[int, list[tuple[int, _Sentence]]] = {}

    def outline(self, lengths_ms: Sequence[int]) -> Outline | None:
        """Return what there is to digest."""
        if not self._times:
            return None
        minutes = {_bucket(at_ms, MINUTE_MS) * MINUTE_MS + LEAST_MS for at_ms, _ in self._times}
        kinds = Counter(one.kind for one in self._sentences)
        return Outline(
            (min(at_ms for at_ms, _ in self._times), max(end_ms for _, end_ms in self._times)),
            {length: len({_bucket(minute, length) for minute in minutes}) for length in lengths_ms},
            len(self._sentences),
            sum(len(one.text) for one in self._sentences),
            Recorded(
                kinds["transcript"],
                kinds["audio_index"],
                len({one.name for one in self._screens}),
                len(self._alerts),
            ),
        )

    def units(self, unit_ms: int) -> list[int]:
        """Return the beginnings of the units of time in which something happened."""
        self._unit_ms = unit_ms
        buckets = {_bucket(at_ms, unit_ms) for at_ms, _ in self._times}
        for one in self._screens:
            buckets.update(range(_bucket(one.at_ms, unit_ms), _bucket(one.until_ms - 1, unit_ms) + 1))
        return [bucket * unit_ms + LEAST_MS for bucket in sorted(buckets)]

    def divide(self, blocks: Mapping[int, tuple[int, int]], room: int) -> list[Total]:
        """Divide the events into blocks; return their totals."""
        self._blocks = sorted(set(blocks.values()))
        block_of = {_bucket(unit, self._unit_ms): since_ms for unit, (since_ms, _) in blocks.items()}
        placed = [(block_of[_bucket(one.at_ms, self._unit_ms)], one) for one in self._sentences]
        summed = {(block, one.stream) for block, one in placed if one.kind == "audio_index"}
        self._heard = [
            (block, one)
            for block, one in placed
            if one.kind == "audio_index" or (block, one.stream) not in summed
        ]
        self._fired = [(block_of[_bucket(one.at_ms, self._unit_ms)], one) for one in self._alerts]
        self._choose(max(WEIGHED, room // CHARACTERS_OF_A_SENTENCE))
        said: dict[int, set[str]] = defaultdict(set)
        shown: dict[int, set[str | None]] = defaultdict(set)
        fired: dict[int, set[str]] = defaultdict(set)
        for block, sentence in self._heard:
            said[block].add(alike.lower(sentence.text))
        for block, name, *_ in self._parts():
            shown[block].add(name)
        for block, alert in self._fired:
            fired[block].add(alert.label)
        return [
            Total(block, len(said[block]), len(shown[block]), len(fired[block]))
            for block in sorted({*said, *shown, *fired})
        ]

    def _choose(self, weighed: int) -> None:
        """Number the sentences that are weighed, each once in its block."""
        of_blocks: dict[int, list[_Sentence]] = defaultdict(list)
        for block, one in self._heard:
            of_blocks[block].append(one)
        once: list[tuple[int, _Sentence]] = []
        for block, sentences in of_blocks.items():
            sentences.sort(key=lambda one: (-len(one.text), *_order(one)))
            before: set[str] = set()
            for one in sorted(sentences[:weighed], key=_order):
                if (text := alike.lower(one.text)) not in before:
                    before.add(text)
                    once.append((block, one))
        once.sort(key=lambda item: _order(item[1]))
        self._chosen = defaultdict(list)
        for number, (block, one) in enumerate(once, 1):
            self._chosen[block].append((number, one))

    def said(self, room: int) -> list[Said]:
        """Return of each block the best of what was said."""
        words = {
            number: set(_WORD.findall(alike.lower(one.text))).difference(FILLERS)
            for sentences in self._chosen.values()
            for number, one in sentences
        }
        within = {
            block: Counter(word for number, _ in sentences for word in words[number])
            for block, sentences in self._chosen.items()
        }
        overall: Counter[str] = Counter()
        for counts in within.values():
            overall.update(counts)
        total = sum(map(bool, words.values()))
        found = []
        for block, sentences in sorted(self._chosen.items()):
            ranked = []
            for number, one in sentences:
                weights = [within[block][word] * log(1 + total / overall[word]) for word in words[number]]
                weight = fsum(weights) / sqrt(len(weights)) if weights else 0
                ranked.append((-round(weight, 9), number, one))
            before = 0
            for rank, (_, number, one) in enumerate(sorted(ranked), 1):
                if before >= room:
                    break
                is_summary = one.kind == "audio_index"
                found.append(Said(block, rank, number, one.at_ms, one.who, one.text, is_summary))
                before += len(one.text)
        return found

    def shown(self, most: int) -> list[Shown]:
        """Return of each block the windows that were on the screen."""
        lengths: Counter[tuple[int, str | None]] = Counter()
        longest: dict[tuple[int, str | None], tuple[int, int, str]] = {}
        for block, name, length_ms, one in self._parts():
            lengths[block, name] += length_ms
            part = length_ms, -one.at_ms, one.text
            longest[block, name] = max(part, longest.get((block, name), part))
        ranked = [
            Shown(block, name, length_ms, longest[block, name][2])
            for (block, name), length_ms in lengths.items()
        ]
        return _first_of_each(
            sorted(ranked, key=lambda one: (one.block, -one.shown_ms, nulls_last(one.name))), most
        )

    def fired(self, most: int) -> list[Fired]:
        """Return of each block the alerts by label."""
        groups: dict[tuple[int, str], list[_Alert]] = defaultdict(list)
        for block, one in self._fired:
            groups[block, one.label].append(one)
        ranked = []
        for (block, label), alerts in groups.items():
            texts = [(one.at_ms, one.text) for one in alerts if one.text is not None]
            first_ms = min(one.at_ms for one in alerts)
            ranked.append(Fired(block, label, len(alerts), first_ms, min(texts)[1] if texts else None))
        return _first_of_each(sorted(ranked, key=lambda one: (one.block, -one.times, one.label)), most)

    def _parts(self) -> Iterable[tuple[int, str | None, int, _Screen]]:
        """Yield the block, the window and the length of time of what was on a screen in each block."""
        for one in self._screens:
            for since_ms, until_ms in self._blocks:
                if one.at_ms < until_ms and max(one.until_ms, one.at_ms + 1) > since_ms:
                    length_ms = min(one.until_ms, until_ms) - max(one.at_ms, since_ms)
                    yield since_ms, one.name, length_ms, one


def _stream_of(event: PlainEvent) -> str | None:
    return _first(event.stream, event.stream_name, event.source)


def _first(*names: str | None) -> str | None:
    return next((name for name in names if name is not None), None)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else _PART_OF_WORD.sub("", text[: LONGEST_TEXT - 1]) + "…"


def _bucket(moment_ms: int, unit_ms: int) -> int:
    return (moment_ms - LEAST_MS) // unit_ms


def _order(one: _Sentence) -> tuple[int, tuple[bool, str | int | None], str, str]:
    return one.at_ms, nulls_last(one.who), one.text, one.kind


_Entry = TypeVar("_Entry", Shown, Fired)


def _first_of_each(ranked: Iterable[_Entry], most: int) -> list[_Entry]:
    """Return the first ones of each block."""
    counts: Counter[int] = Counter()
    kept = []
    for one in ranked:
        counts[one.block] += 1
        if counts[one.block] <= most:
            kept.append(one)
    return kept
