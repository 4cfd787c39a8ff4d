"""Write a transcript as text, Markdown, JSON or subtitles. Pure."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import tzinfo
from operator import itemgetter
from typing import Final, NamedTuple

from vdbevents.query.filters import Event
from vdbevents.query.output.budget import Bound
from vdbevents.query.output.markdown import marked_up
from vdbevents.query.output.rows import ESCAPED, local_time
from vdbevents.summaries.transcript import Paragraph, Part, Silence
from vdbevents.terminal import wrapped

_INDENT: Final = 10
_LEAST_ROOM: Final = 20
_LEAST_PART: Final = 4
_UNFINISHED: Final = "… [unfinished]"


def text_pieces(
    parts: Iterable[Part], zone: tzinfo, *, title: str, clean: Callable[[str], str], width: int | None
) -> Iterator[str]:
    """Yield each part as a line, or with a width as several; before the first of a day, a line with that.

    Args:
        parts: in order.
        zone: of the times.
        title: comes after the first day.
        clean: makes a text fit for where it is printed.
        width: in cells; None wraps nothing.
    """
    for part, heading in _with_days(parts, zone, title):
        above = f"{clean(heading)}\n" if heading else ""
        text = part.words if isinstance(part, Silence) else _said(part)
        if isinstance(part, Paragraph) and part.who:
            text = f"{' '.join(part.who.split())}: {text}"
        room = None if width is None else max(width - _INDENT, _LEAST_ROOM)
        text = clean(text)
        lines = [text] if room is None else [text[first:last] for first, last in wrapped(text, room)]
        clock = _clock(part.start_ms, zone).ljust(_INDENT)
        yield above + clock + ("\n" + " " * _INDENT).join(lines) + "\n"


def markdown_pieces(parts: Iterable[Part], zone: tzinfo, *, title: str) -> Iterator[str]:
    """Yield each part as a paragraph of Markdown; before the first of a day, a heading with that."""
    for part, heading in _with_days(parts, zone, title):
        above = f"## {marked_up(heading)}\n\n" if heading else ""
        clock = _clock(part.start_ms, zone)
        if isinstance(part, Silence):
            yield f"{above}*{clock} {marked_up(part.words)}*\n\n"
        else:
            who = f" {marked_up(part.who)}" if part.who else ""
            yield f"{above}**{clock}{who}:** {marked_up(_said(part))}\n\n"


def json_head(session: str | None) -> str:
    """Return what a JSON object of parts begins with."""
    return f'{{"session":{_json(session)},"parts":[\n'


def json_pieces(parts: Iterable[Part]) -> Iterator[str]:
    """Yield each part as a JSON object on one line, with times in UTC."""
    before = ""
    for part in parts:
        yield before + _json(part.data())
        before = ",\n"


def json_tail(left_out: int) -> str:
    """Return what it ends with."""
    return f'\n],"left_out":{left_out}}}\n'


def _json(value: object) -> str:
    # As in the journal, no control character is written as it is.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class Layout(NamedTuple):
    """How a transcript is written.

    Attributes:
        pieces: makes a piece of each part.
        ending: returns what comes after them, by the number of earlier parts that are left out.
        head: comes before them.
    """

    pieces: Callable[[Sequence[Part]], Iterable[str]]
    ending: Callable[[int], str]
    head: str = ""


class FittedTranscript(NamedTuple):
    """A transcript within a bound.

    Attributes:
        text: all of it.
        left_out: how many earlier parts are not in it.
        is_told: whether its end says so.
    """

    text: str
    left_out: int
    is_told: bool


def fitting(bound: Bound, parts: Sequence[Part], layout: Layout) -> FittedTranscript:
    """Return the newest parts that fit, and an end that says how many earlier ones there are."""
    # A part has at least so many characters: what cannot fit is not written first.
    room = bound.characters
    left_out = 0 if room is None else max(0, len(parts) - room // _LEAST_PART)
    parts = parts[left_out:]
    while True:
        end = layout.ending(left_out)
        # The end of JSON is needed, that of a text only where there is room for it.
        end = end if layout.head or bound.fits(end) else ""
        pieces = list(layout.pieces(parts))
        kept = bound.newest(zip(parts, pieces, strict=True), layout.head + end, itemgetter(1))
        if not kept.left_out:
            return FittedTranscript("".join([layout.head, *pieces, end]), left_out, bool(end))
        parts, left_out = [part for part, _ in kept.pieces], left_out + kept.left_out


class CueEvents:
    """What was said, and where nothing was recorded, as events for subtitles.

    Attributes:
        span: the first and the last start of what was said, in Unix ms; None without any.
        breaks: always empty.
    """

    breaks: Collection[int] = ()

    def __init__(self, events: Sequence[Event], silences: Sequence[Silence]) -> None:
        """Take the utterances, and where nothing was recorded."""
        self._events = [*events, *map(_cue, silences)]
        starts = [start_ms for event in events if (start_ms := event.start_ms) is not None]
        self.span = (min(starts), max(starts)) if starts else None

    def lines(self) -> Iterable[list[str]]:
        """Yield nothing, as a journal does not have these."""
        return ()

    def events(self, columns: Collection[str] = Event._fields) -> Iterable[list[Event]]:
        """Yield the events with all columns, whatever `columns` are asked for."""
        del columns
        yield [
            event._replace(text=f"{event.text} {_UNFINISHED}") if event.is_final is False else event
            for event in self._events
        ]


def _cue(silence: Silence) -> Event:
    empty = Event(*[None] * len(Event._fields))
    return empty._replace(text=silence.words, start_ms=silence.start_ms, end_ms=silence.end_ms)


def _said(paragraph: Paragraph) -> str:
    return f"{paragraph.text} {_UNFINISHED}" if paragraph.is_unfinished else paragraph.text


def _with_days(parts: Iterable[Part], zone: tzinfo, title: str) -> Iterator[tuple[Part, str]]:
    """Yield each part with the heading that comes before it."""
    before: str | None = None
    for part in parts:
        day = "" if part.start_ms is None else f"{local_time(part.start_ms, zone):%Y-%m-%d}"
        heading = ", ".join(filter(None, (day, title if before is None else ""))) if day != before else ""
        before = day
        yield part, heading


def _clock(milliseconds: int | None, zone: tzinfo) -> str:
    return "-" if milliseconds is None else f"{local_time(milliseconds, zone):%H:%M:%S}"
