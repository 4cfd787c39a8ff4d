"""Rows to bytes: what a query prints, as `text`, `jsonl`, `json` or `csv`."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, Protocol

from vdbevents.query.plan import Answer, Event, Filters, ignores_case
from vdbevents.terminal import cells, cut, harmless, padded, part

Output = Literal["text", "jsonl", "json", "csv"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Sink(Protocol):
    """Whatever takes bytes; `sys.stdout.buffer` for one."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


def write(
    answer: Answer,
    output: Output,
    stream: Sink,
    *,
    filters: Filters,
    colour: bool,
    width: int | None,
    zone: tzinfo,
) -> int:
    """Write the answer to `stream` batch by batch, in UTF-8, and return the number of events written.

    Args:
        answer: from `query.engine.search`; it is read once.
        output: `jsonl` and `json` hold the journal's own lines byte for byte, the others folded columns.
        stream: what it raises (`BrokenPipeError`) is the caller's.
        filters: whose patterns `text` highlights.
        colour: whether `text` may hold ANSI colours.
        width: the terminal's width in cells, to which `text` cuts its lines; None leaves them whole.
        zone: of the times in `text`.
    """
    match output:
        case "jsonl":
            return _write_jsonl(answer, stream)
        case "json":
            return _write_json(answer, stream)
        case "csv":
            return _write_csv(answer, stream)
        case "text":
            return _write_text(
                answer, stream, Page(answer.span, filters, colour=colour, width=width, zone=zone)
            )


def _write_jsonl(answer: Answer, stream: Sink) -> int:
    count = 0
    for batch in answer.lines():
        stream.write(("\n".join(batch) + "\n").encode())
        count += len(batch)
    return count


def _write_json(answer: Answer, stream: Sink) -> int:
    count = 0
    for batch in answer.lines():
        stream.write((("," if count else "[") + "\n" + ",\n".join(batch)).encode())
        count += len(batch)
    stream.write(b"\n]\n" if count else b"[]\n")
    return count


# -- csv -------------------------------------------------------------------------------------------------

_CSV_HEADER: Final = (
    "time,channel,event,source,stream,stream_name,session,text,is_final,start,end,label,speaker,confidence"
)


def _write_csv(answer: Answer, stream: Sink) -> int:
    stream.write(f"{_CSV_HEADER}\n".encode())
    count = 0
    for batch in answer.events():
        stream.write("".join(map(_csv_row, batch)).encode())
        count += len(batch)
    return count


def _csv_row(event: Event) -> str:
    final = "" if event.is_final is None else str(event.is_final).lower()
    fields = (
        _utc(event.time_ms),
        *(_quoted(value) for value in event[1:8]),
        final,
        _utc(event.start_ms),
        _utc(event.end_ms),
        _quoted(event.label),
        _quoted(event.speaker),
        "" if event.confidence is None else repr(event.confidence),
    )
    return ",".join(fields) + "\n"


def _quoted(value: str | None) -> str:
    """Return a field as RFC 4180 has it: data as it is, in quotes where it needs them."""
    if value is None:
        return ""
    if value == "" or any(character in value for character in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


def _utc(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- text ------------------------------------------------------------------------------------------------

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


_TEXT_COLUMNS: Final = (
    "time_ms",
    "channel",
    "event",
    "source",
    "text",
    "is_final",
    "label",
    "speaker",
    "line",
)


class Page:
    """The look of one answer: an aligned line an event."""

    def __init__(
        self, span: tuple[int, int] | None, filters: Filters, *, colour: bool, width: int | None, zone: tzinfo
    ) -> None:
        self._zone = zone
        self._colour = colour
        self._width = width
        self._match = _matcher(filters)
        self._dated = span is not None and len({self._local(moment).date() for moment in span}) > 1
        self._source_width = self._channel_width = 0

    def widen(self, events: Iterable[Event]) -> None:
        """Make the columns wide enough for `events`; what was written before stays as it was."""
        for event in events:
            self._source_width = max(self._source_width, cells(harmless(event.source or "-")))
            self._channel_width = max(self._channel_width, min(cells(harmless(event.channel or "-")), 20))

    def line(self, event: Event) -> str:
        """Return an event's line, with its line end."""
        moment = self._when(event.time_ms)
        source = padded(harmless(event.source or "-"), self._source_width)
        channel = padded(cut(harmless(event.channel or "-"), 20), self._channel_width)
        room = None
        if self._width is not None:
            room = max(self._width - cells(f"{moment}  {source}  {channel}  "), 1)
        text = self._shown(harmless(_what(event)), room)
        if not self._colour:
            return f"{moment}  {source}  {channel}  {text}".rstrip() + "\n"
        tint = _CHANNEL_COLOURS.get(event.channel or "", "")
        if event.is_final is False:
            text = f"{_DIM}{text.replace(_RESET, _RESET + _DIM)}{_RESET}"
        return f"{_DIM}{moment}{_RESET}  {tint}{source}  {channel}{_RESET if tint else ''}  {text}\n"

    def _when(self, milliseconds: int | None) -> str:
        form = "%H:%M:%S"
        if milliseconds is None:
            return "-".ljust(19 if self._dated else 8)
        local = self._local(milliseconds)
        return f"{local.date().isoformat()} {local:{form}}" if self._dated else f"{local:{form}}"

    def _local(self, milliseconds: int) -> datetime:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(self._zone)

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


def _write_text(answer: Answer, stream: Sink, page: Page) -> int:
    count = 0
    for batch in answer.events(_TEXT_COLUMNS):
        page.widen(batch)
        stream.write("".join(map(page.line, batch)).encode())
        count += len(batch)
    return count


def _what(event: Event) -> str:
    """Return what a line says of an event: its text, with who said it or what it is about."""
    if event.channel == "capture_session" and event.text is not None:
        return event.text
    about = event.label or event.event or event.speaker
    if event.text is None and about is None:
        # Nothing was understood: the members after the recorder's own two tell more than a blank.
        return re.sub(r'^\s*\{\s*"ts"\s*:\s*"[^"]*"\s*,\s*"unix_ts"\s*:\s*[^,{}]*,?\s*', "{", event.line)
    return ": ".join(part for part in (about, event.text) if part)


def _matcher(filters: Filters) -> re.Pattern[str] | None:
    """Return one expression for all that is to be highlighted; None without any."""
    parts = []
    for pattern in filter(None, filters.grep):
        expression = pattern if filters.extended else re.escape(harmless(pattern))
        expression = f"(?i:{expression})" if ignores_case(pattern, filters) else f"(?:{expression})"
        try:
            re.compile(expression)
        except re.error:
            continue  # RE2 knows it and Python does not: it is found, and not highlighted
        parts.append(expression)
    try:
        return re.compile("|".join(parts)) if parts else None
    except re.error:
        return None  # the same group twice


def _spans(match: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [found.span() for found in match.finditer(text) if found.end() > found.start()]
