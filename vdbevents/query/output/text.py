"""Write events as text for a terminal."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from typing import Final

from vdbevents.query.collapse import Runs
from vdbevents.query.filters import Event, Filters
from vdbevents.query.output.rows import description, local_time, separated
from vdbevents.query.statements import EventBatches, ignores_case
from vdbevents.terminal import cells, cut, harmless, padded, part

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_MATCH: Final = "\x1b[1;31m"
_CHANNEL_COLOURS: Final = {
    "transcript": "\x1b[36m",
    "visual_index": "\x1b[35m",
    "audio_index": "\x1b[34m",
    "alert": "\x1b[33m",
    "capture_session": "\x1b[32m",
    "vdbevents": _DIM,
}


class TextLayout:
    """The layout of one answer: an aligned line for each event, with its host if it has one."""

    def __init__(
        self,
        span: tuple[int, int] | None,
        filters: Filters,
        *,
        colour: bool,
        width: int | None,
        zone: tzinfo,
        clean: Callable[[str], str] = harmless,
    ) -> None:
        self._zone = zone
        self._clean = clean
        self._colour = colour
        self._width = width
        self._match = _matcher(filters, clean)
        self._dated = span is not None and len({local_time(moment, zone).date() for moment in span}) > 1
        self._host_width = self._source_width = self._channel_width = 0

    def widen(self, events: Iterable[Event]) -> None:
        """Widen the columns for `events`; earlier lines stay as they are."""
        for event in events:
            if event.host is not None:
                self._host_width = max(self._host_width, cells(harmless(event.host)))
            self._source_width = max(self._source_width, cells(harmless(event.source or "-")))
            self._channel_width = max(self._channel_width, min(cells(harmless(event.channel or "-")), 20))

    def line(self, event: Event, note: str = "") -> str:
        """Return an event's line, with its line end; the note after its text is never cut."""
        moment = self._when(event.time_ms)
        if event.host is not None:
            moment += f"  {padded(harmless(event.host), self._host_width)}"
        source = padded(harmless(event.source or "-"), self._source_width)
        channel = padded(cut(harmless(event.channel or "-"), 20), self._channel_width)
        room = None
        if self._width is not None:
            room = max(self._width - cells(f"{moment}  {source}  {channel}  {note}"), 1)
        text = self._shown(self._clean(description(event)), room)
        if not self._colour:
            return f"{moment}  {source}  {channel}  {text}{note}".rstrip() + "\n"
        tint = _CHANNEL_COLOURS.get(event.channel or "", "")
        if event.is_final is False:
            text = f"{_DIM}{text.replace(_RESET, _RESET + _DIM)}{_RESET}"
        noted = f"{text}{_DIM}{note}{_RESET}" if note else text
        return f"{_DIM}{moment}{_RESET}  {tint}{source}  {channel}{_RESET if tint else ''}  {noted}\n"

    def _when(self, milliseconds: int | None) -> str:
        if milliseconds is None:
            return "-".ljust(19 if self._dated else 8)
        local = local_time(milliseconds, self._zone)
        return f"{local.date().isoformat()} {local:%H:%M:%S}" if self._dated else f"{local:%H:%M:%S}"

    def _shown(self, text: str, room: int | None) -> str:
        """Cut `text` to `room` cells around its first match, and highlight what matches in it."""
        spans = _spans(self._match, text) if self._match else []
        if room is None or cells(text) <= room:
            return self._highlighted(text, spans)
        first, last = part(text, room, spans[0] if spans else (0, 0))
        before, after = "…" * (first > 0), "…" * (last < len(text))
        inside = [(max(a, first) - first, min(b, last) - first) for a, b in spans if b > first and a < last]
        return before + self._highlighted(text[first:last], inside) + after

    def _highlighted(self, text: str, spans: list[tuple[int, int]]) -> str:
        if not self._colour:
            return text
        pieces, end = [], 0
        for first, last in spans:
            pieces += [text[end:first], _MATCH, text[first:last], _RESET]
            end = last
        return "".join([*pieces, text[end:]])


def text_lines(
    answer: EventBatches, filters: Filters, runs: Runs | None, page: TextLayout, *, hosts: bool
) -> Iterator[list[str]]:
    for batch in separated(answer, filters, runs, hosts=hosts):
        page.widen(item.event for item in batch)
        # As grep does.
        yield [("--\n" if item.is_apart else "") + page.line(item.event, item.note) for item in batch]


def _matcher(filters: Filters, clean: Callable[[str], str]) -> re.Pattern[str] | None:
    """Return one expression for all patterns to highlight; None without any."""
    parts = []
    for pattern in filters.looked_for:
        expression = pattern if filters.extended else re.escape(clean(pattern))
        if filters.whole_words:
            expression = rf"(?<!\w)(?:{expression})(?!\w)"
        expression = f"(?i:{expression})" if ignores_case(pattern, filters) else f"(?:{expression})"
        try:
            re.compile(expression)
        except re.error:
            continue  # RE2 accepts it and Python does not: it matches, but is not highlighted
        parts.append(expression)
    try:
        return re.compile("|".join(parts)) if parts else None
    except re.error:
        return None  # the same group twice


def _spans(match: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [place.span() for place in match.finditer(text) if place.end() > place.start()]
