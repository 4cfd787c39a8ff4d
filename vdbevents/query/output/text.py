"""Write events as text for a terminal, or for a reader of its lines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from vdbevents.query.filters import Event, Filters
from vdbevents.query.output.highlight import Highlighter, Place
from vdbevents.query.output.rows import Item, description, local_time
from vdbevents.terminal import cells, cut, fits, harmless, padded, part_in_words, wrapped

SNIPPET: Final = 200
"""The most cells of a text that a pipe gets, unless another number is chosen."""

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

# On a narrower column than this, text is left to the terminal to wrap.
_LEAST_ROOM: Final = 16


class TextShape(NamedTuple):
    """How much of each text is shown.

    Attributes:
        width: returns the terminal's width in cells, which may change; None without a terminal.
        snippet: the most cells of a text, around its first match; None for the whole text.
        wraps: whether a text that is wider than its column goes on below it; otherwise it is cut.
    """

    width: Callable[[], int | None] = lambda: None
    snippet: int | None = None
    wraps: bool = False


WHOLE: Final = TextShape()
"""Each text whole, on one line."""


class TextLayout:
    """The layout of one answer: an aligned line for each event, with its host if it has one."""

    def __init__(
        self,
        span: tuple[int, int] | None,
        filters: Filters,
        *,
        colour: bool,
        zone: tzinfo,
        shape: TextShape = WHOLE,
        clean: Callable[[str], str] = harmless,
    ) -> None:
        self._zone = zone
        self._clean = clean
        self._colour = colour
        self._shape = shape
        self._highlighter = Highlighter(filters, clean)
        self._dated = span is not None and len({local_time(moment, zone).date() for moment in span}) > 1
        self._host_width = self._source_width = self._channel_width = 0

    def lines(self, events: Sequence[Event], notes: Sequence[str] = ()) -> list[str]:
        """Return each event's line, with its line end; the notes after their texts are never cut.

        The columns are widened for `events`; earlier lines stay as they are. The terminal's width is
        read each time.
        """
        self._widen(events)
        width = self._shape.width()
        notes = notes or [""] * len(events)
        heads = list(map(self._head, events))
        texts = [self._clean(description(event)) for event in events]
        indents = [cells("  ".join(head)) + 2 for head in heads]
        rooms = [self._room(width, indent, note) for indent, note in zip(indents, notes, strict=True)]
        cut_ones = [
            room is not None and not fits(text, room) for text, room in zip(texts, rooms, strict=True)
        ]
        places = self._places(texts, cut_ones)
        lines = []
        for row, event in enumerate(events):
            text, spans = texts[row], places[row]
            room = rooms[row]
            if room is not None and cut_ones[row]:
                text, spans = _snippet(text, spans, room)
            shown = self._shown(text, spans, notes[row], width, indents[row])
            lines.append(self._line(event, heads[row], *shown))
        return lines

    def _widen(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.host is not None:
                self._host_width = max(self._host_width, cells(harmless(event.host)))
            self._source_width = max(self._source_width, cells(harmless(event.source or "-")))
            self._channel_width = max(self._channel_width, min(cells(harmless(event.channel or "-")), 20))

    def _head(self, event: Event) -> tuple[str, str, str]:
        moment = self._when(event.time_ms)
        if event.host is not None:
            moment += f"  {padded(harmless(event.host), self._host_width)}"
        source = padded(harmless(event.source or "-"), self._source_width)
        return moment, source, padded(cut(harmless(event.channel or "-"), 20), self._channel_width)

    def _room(self, width: int | None, indent: int, note: str) -> int | None:
        """Return the most cells of a text; None for all of it."""
        if self._shape.wraps or width is None:
            return self._shape.snippet
        return max(width - indent - cells(note), 1)

    def _places(self, texts: Sequence[str], cut_ones: Sequence[bool]) -> list[list[Place]]:
        """Return the matches in each text, as far as they are needed."""
        rows = [row for row, is_cut in enumerate(cut_ones) if is_cut or self._colour]
        places: list[list[Place]] = [[] for _ in texts]
        if self._highlighter.is_needed:
            found = self._highlighter.places([texts[row] for row in rows])
            for row, of_row in zip(rows, found, strict=True):
                places[row] = of_row
        return places

    def _when(self, milliseconds: int | None) -> str:
        if milliseconds is None:
            return "-".ljust(19 if self._dated else 8)
        local = local_time(milliseconds, self._zone)
        return f"{local.date().isoformat()} {local:%H:%M:%S}" if self._dated else f"{local:%H:%M:%S}"

    def _shown(
        self, text: str, spans: list[Place], note: str, width: int | None, indent: int
    ) -> tuple[str, str]:
        """Return a text, highlighted and maybe wrapped, and the note that comes after it."""
        room = 0 if width is None or not self._shape.wraps else width - indent
        if room < _LEAST_ROOM or fits(text + note, room):
            return self._highlighted(text, spans), note
        below = "\n" + " " * indent
        pieces = list(wrapped(text, room))
        lines = [self._highlighted(text[first:last], _clipped(spans, first, last)) for first, last in pieces]
        if pieces and note and not fits(text[slice(*pieces[-1])] + note, room):
            note = below + note.lstrip()
        return below.join(lines), note

    def _line(self, event: Event, head: tuple[str, str, str], text: str, note: str) -> str:
        moment, source, channel = head
        if not self._colour:
            return f"{moment}  {source}  {channel}  {text}{note}".rstrip() + "\n"
        tint = _CHANNEL_COLOURS.get(event.channel or "", "")
        if event.is_final is False:
            text = f"{_DIM}{text.replace(_RESET, _RESET + _DIM)}{_RESET}"
        noted = f"{text}{_DIM}{note}{_RESET}" if note else text
        return f"{_DIM}{moment}{_RESET}  {tint}{source}  {channel}{_RESET if tint else ''}  {noted}\n"

    def _highlighted(self, text: str, spans: list[Place]) -> str:
        if not self._colour:
            return text
        pieces, end = [], 0
        for first, last in spans:
            pieces += [text[end:first], _MATCH, text[first:last], _RESET]
            end = last
        return "".join([*pieces, text[end:]])


def snippet(text: str, highlighter: Highlighter, room: int) -> str:
    """Return a text as it is if it fits into so many cells, else a part of it, around its first match."""
    if fits(text, room):
        return text
    [spans] = highlighter.places([text])
    return _snippet(text, spans, room)[0]


def text_lines(batches: Iterable[list[Item]], page: TextLayout) -> Iterator[list[str]]:
    """Yield a line for each event, after `--` where the events around another match begin, as grep does."""
    is_first = True
    for batch in batches:
        lines = page.lines([item.event for item in batch], [item.note for item in batch])
        marks = ["--\n" if item.is_apart else "" for item in batch]
        if is_first and marks:
            marks[0], is_first = "", False
        yield [mark + line for mark, line in zip(marks, lines, strict=True)]


def _snippet(text: str, spans: list[Place], room: int) -> tuple[str, list[Place]]:
    """Return whole words of `text` in so many cells around its first match, with the matches in them."""
    first, last = part_in_words(text, room, spans[0] if spans else (0, 0))
    before, after = "…" * (first > 0), "…" * (last < len(text))
    moved = [(a + len(before), b + len(before)) for a, b in _clipped(spans, first, last)]
    return before + text[first:last] + after, moved


def _clipped(spans: list[Place], first: int, last: int) -> list[Place]:
    """Return the spans within a part of a text, counted from its begin."""
    return [(max(a, first) - first, min(b, last) - first) for a, b in spans if b > first and a < last]
