"""Rows to bytes: what a query prints, as `text`, `jsonl`, `json`, `csv`, `md`, `srt` or `vtt`.

A format is a generator of batches, in which each event is one piece of text; `_put` writes them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol

import orjson

from vdbevents.errors import InputError
from vdbevents.query.plan import Answer, Event, Filters, ignores_case
from vdbevents.query.runs import NO_RUNS, Run, Runs, span
from vdbevents.query.window import told_duration
from vdbevents.terminal import cells, cut, harmless, padded, part

Output = Literal["text", "jsonl", "json", "csv", "md", "srt", "vtt"]

FIELDS: Final = (
    *("time", "channel", "event", "source", "stream", "stream_name", "session", "text", "is_final"),
    *("start", "end", "label", "speaker", "confidence"),
)
"""The names of the folded columns, in the order of csv's header."""

RUN_FIELDS: Final = ("count", "until")
"""The columns after them where a line may stand for a run: for how many events, and when the last ended."""

HOST_FIELD: Final = "host"
"""The last column, where there are several journals: the machine whose journal tells of the event."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Sink(Protocol):
    """Whatever takes bytes; `sys.stdout.buffer` for one."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


def parse_fields(text: str, *, unique: bool = False, hosts: bool = False) -> tuple[str, ...]:
    """Return the names in `text`, which commas separate, in their order.

    Raises:
        InputError: a name is none of `FIELDS`, nor of `RUN_FIELDS` where the answer is `unique`, nor
            `HOST_FIELD` where it tells of `hosts`, is empty, or comes twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    known = _columns(FIELDS, unique=unique, hosts=hosts)
    for place, name in enumerate(names):
        if name in known and name not in names[:place]:
            continue
        if name in RUN_FIELDS and not unique:
            raise InputError(
                f"--fields {text!r} holds {name!r}, which only --unique has", "Give --unique too."
            )
        if name == HOST_FIELD and not hosts:
            raise InputError(
                f"--fields {text!r} holds {name!r}, which only --dir and --file have",
                "Name the journals with these.",
            )
        trouble = f"names {name!r} twice" if name in known else f"{text!r} holds {name!r}, which is no field"
        raise InputError(
            f"--fields {trouble}", f"Accepted, with commas between them, each once: {', '.join(known)}."
        )
    return names


def _columns(own: tuple[str, ...], *, unique: bool, hosts: bool) -> tuple[str, ...]:
    return own + (RUN_FIELDS if unique else ()) + ((HOST_FIELD,) if hosts else ())


def write(
    answer: Answer,
    output: Output,
    stream: Sink,
    *,
    filters: Filters,
    colour: bool,
    width: int | None,
    zone: tzinfo,
    fields: Sequence[str] | None = None,
    runs: Runs | None = None,
    hosts: bool = False,
) -> int:
    """Write the answer to `stream` batch by batch, in UTF-8, and return the number of events written.

    That is less than the answer holds by what `runs` merge, and for `srt` and `vtt`, which leave out events
    without a text or a start. They are sorted by their starts, so that these two formats keep the texts of
    all in memory.

    Args:
        answer: from `query.engine.search`; it is read once.
        output: `jsonl` and `json` hold the journal's own lines byte for byte, the others folded columns: all
            in `csv`, what a person reads in `text` and `md` (a list under each local day); `srt` and `vtt`
            are subtitles whose times count from the first one's start; a note in `vtt` tells when that was.
        stream: what it raises (`BrokenPipeError`) is the caller's.
        filters: whose patterns `text` highlights.
        colour: whether `text` may hold ANSI colours.
        width: the terminal's width in cells, to which `text` cuts its lines; None leaves them whole.
        zone: of the times in `text` and `md`.
        fields: from `parse_fields`: only these, in this order. `jsonl` and `json` then hold objects of them;
            `text` holds them whole and without colours, with a tab between them.
        runs: from `query.runs.find`: each is written as its first event, which `text` and `md` follow by its
            duration and count, `csv` by `RUN_FIELDS`; in `srt` and `vtt` it is one cue.
        hosts: whether `text`, `md` and `csv` tell of each event whose journal it is from.

    Raises:
        InputError: `fields` are given with `md`, `srt` or `vtt`.
    """
    if fields is not None and output in ("md", "srt", "vtt"):
        raise InputError(
            f"--fields does not go with -o {output}",
            "Give it with -o text, csv, jsonl or json, or leave it out.",
        )
    if output == "json":
        return put_array(stream, _objects(answer, fields, runs))
    head = ""
    match output:
        case "jsonl":
            pieces = ended(_objects(answer, fields, runs))
        case "csv":
            names = fields or _columns(FIELDS, unique=runs is not None, hosts=hosts)
            head = ",".join(names) + "\n"
            pieces = ended(_joined(_rows(answer, names, runs), ",", quoted))
        case "text" if fields is not None:
            pieces = ended(_joined(_rows(answer, fields, runs), "\t", harmless))
        case "text":
            page = Page(answer.span, filters, colour=colour, width=width, zone=zone)
            pieces = _lines(answer, filters, runs, page, hosts=hosts)
        case "md":
            pieces = _items(answer, filters, zone, runs, hosts=hosts)
        case "srt":
            pieces = _subrip(_cues(answer, runs))
        case "vtt":
            cues = _cues(answer, runs)
            head, pieces = _webvtt_head(cues), _webvtt(cues)
    stream.write(head.encode())
    return put(stream, pieces)


def put(stream: Sink, batches: Iterable[list[str]]) -> int:
    """Write pieces of text to `stream`, in UTF-8, and return how many."""
    count = 0
    for batch in batches:
        stream.write("".join(batch).encode())
        count += len(batch)
    return count


def put_array(stream: Sink, lines: Iterable[list[str]]) -> int:
    """Write values in JSON to `stream`, as one array with a line for each, and return how many."""
    count = 0
    for batch in lines:
        stream.write((("," if count else "[") + "\n" + ",\n".join(batch)).encode())
        count += len(batch)
    stream.write(b"\n]\n" if count else b"[]\n")
    return count


def ended(lines: Iterable[list[str]]) -> Iterator[list[str]]:
    """Return lines with their line ends."""
    for batch in lines:
        yield [f"{line}\n" for line in batch]


def _utc(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _local(milliseconds: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)


# -- Chosen fields: csv, and the others on demand --------------------------------------------------------

_Value = str | bool | float | None

_TIMES: Final = {"time": "time_ms", "start": "start_ms", "end": "end_ms"}

# What the journal escapes though JSON does not ask for it: docs/events-format.md, a line.
ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029]")


def _rows(answer: Answer, fields: Sequence[str], runs: Runs | None) -> Iterator[list[list[_Value]]]:
    """Fold the answer into the values of `fields`, times as text."""
    own = [name for name in fields if name not in RUN_FIELDS]
    columns = [_TIMES.get(name, name) for name in own]
    places = [
        (Event._fields.index(column), name in _TIMES) for name, column in zip(own, columns, strict=True)
    ]

    def values(event: Event) -> list[_Value]:
        return [_told(event[place]) if timed else event[place] for place, timed in places]

    if runs is None:
        yield from (list(map(values, batch)) for batch in answer.events(columns))
        return
    added = [(place, name) for place, name in enumerate(fields) if name in RUN_FIELDS]
    for lines in runs.lines(answer.events({*columns, *_TIMES.values()})):
        rows = [values(event) for _, event in lines]
        for values_of_line, (row, event) in zip(rows, lines, strict=True):
            for place, name in added:
                values_of_line.insert(place, _of_run(name, event, runs.at(row)))
        yield rows


def _of_run(name: str, event: Event, run: Run | None) -> _Value:
    """Return a value of `RUN_FIELDS`; an event that is in no run is one of its own."""
    if name == "count":
        return run.events if run else 1
    lasted = span(event)
    return _told(run.until_ms if run else lasted and lasted[1])


def _told(moment: _Value) -> str | None:
    return _utc(moment) if isinstance(moment, int) else None


def _objects(answer: Answer, fields: Sequence[str] | None, runs: Runs | None) -> Iterable[list[str]]:
    """Return the journal's own lines, or objects of `fields`."""
    if fields is not None:
        return map(partial(_dumped, fields), _rows(answer, fields, runs))
    if runs is None:
        return answer.lines()
    return ([line for _, line in batch] for batch in runs.lines(answer.lines()))


def _dumped(fields: Sequence[str], rows: Iterable[list[_Value]]) -> list[str]:
    lines = (orjson.dumps(dict(zip(fields, row, strict=True))).decode() for row in rows)
    return [ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in lines]


def _joined(
    rows: Iterable[list[list[_Value]]], separator: str, shown: Callable[[str], str]
) -> Iterator[list[str]]:
    for batch in rows:
        yield [separator.join(_cell(value, shown) for value in row) for row in batch]


def _cell(value: _Value, shown: Callable[[str], str]) -> str:
    match value:
        case None:
            return ""
        case str():
            return shown(value)
        case bool():
            return str(value).lower()
    return repr(value)


def quoted(value: str) -> str:
    """Return a field as RFC 4180 has it: data as it is, in quotes where it needs them."""
    if value == "" or any(character in value for character in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


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
    """The look of one answer: an aligned line an event, with its host if it has one."""

    def __init__(
        self, span: tuple[int, int] | None, filters: Filters, *, colour: bool, width: int | None, zone: tzinfo
    ) -> None:
        self._zone = zone
        self._colour = colour
        self._width = width
        self._match = _matcher(filters)
        self._dated = span is not None and len({_local(moment, zone).date() for moment in span}) > 1
        self._host_width = self._source_width = self._channel_width = 0

    def widen(self, events: Iterable[Event]) -> None:
        """Make the columns wide enough for `events`; what was written before stays as it was."""
        for event in events:
            if event.host is not None:
                self._host_width = max(self._host_width, cells(harmless(event.host)))
            self._source_width = max(self._source_width, cells(harmless(event.source or "-")))
            self._channel_width = max(self._channel_width, min(cells(harmless(event.channel or "-")), 20))

    def line(self, event: Event, note: str = "") -> str:
        """Return an event's line, with its line end; a note, which is not cut, after its text."""
        moment = self._when(event.time_ms)
        if event.host is not None:
            moment += f"  {padded(harmless(event.host), self._host_width)}"
        source = padded(harmless(event.source or "-"), self._source_width)
        channel = padded(cut(harmless(event.channel or "-"), 20), self._channel_width)
        room = None
        if self._width is not None:
            room = max(self._width - cells(f"{moment}  {source}  {channel}  {note}"), 1)
        text = self._shown(harmless(_what(event)), room)
        if not self._colour:
            return f"{moment}  {source}  {channel}  {text}{note}".rstrip() + "\n"
        tint = _CHANNEL_COLOURS.get(event.channel or "", "")
        if event.is_final is False:
            text = f"{_DIM}{text.replace(_RESET, _RESET + _DIM)}{_RESET}"
        told = f"{text}{_DIM}{note}{_RESET}" if note else text
        return f"{_DIM}{moment}{_RESET}  {tint}{source}  {channel}{_RESET if tint else ''}  {told}\n"

    def _when(self, milliseconds: int | None) -> str:
        form = "%H:%M:%S"
        if milliseconds is None:
            return "-".ljust(19 if self._dated else 8)
        local = _local(milliseconds, self._zone)
        return f"{local.date().isoformat()} {local:{form}}" if self._dated else f"{local:{form}}"

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


class _Shown(NamedTuple):
    event: Event
    is_apart: bool
    note: str


def _lines(
    answer: Answer, filters: Filters, runs: Runs | None, page: Page, *, hosts: bool
) -> Iterator[list[str]]:
    for batch in _parted(answer, filters, runs, hosts=hosts):
        page.widen(shown.event for shown in batch)
        # As grep has it.
        yield [("--\n" if shown.is_apart else "") + page.line(shown.event, shown.note) for shown in batch]


def _parted(answer: Answer, filters: Filters, runs: Runs | None, *, hosts: bool) -> Iterator[list[_Shown]]:
    """Tell of each event also whether what is around another match begins with it, and what a run adds."""
    runs = runs or NO_RUNS
    first = 0
    is_apart = False
    for batch in _timed(answer, filters, _columns(_TEXT_COLUMNS, unique=False, hosts=hosts)):
        shown = []
        for row, event in enumerate(batch, first):
            # Newest first, the event at a break may be in the line of an older one.
            is_apart = is_apart or row in answer.breaks
            if not runs.is_merged(row):
                shown.append(_Shown(event, is_apart, _note(runs.at(row))))
                is_apart = False
        first += len(batch)
        yield shown


def _note(run: Run | None) -> str:
    return f" ({told_duration(run.until_ms - run.since_ms)}, {run.events:,} times)" if run else ""


def _timed(answer: Answer, filters: Filters, columns: tuple[str, ...]) -> Iterable[list[Event]]:
    """Return the events with the time in whose order they are as their `time_ms`."""
    if not filters.in_order_of_events:
        return answer.events(columns)
    return map(_as_it_happened, answer.events((*columns, "start_ms")))


def _as_it_happened(batch: Iterable[Event]) -> list[Event]:
    return [event if event.start_ms is None else event._replace(time_ms=event.start_ms) for event in batch]


def _what(event: Event) -> str:
    """Return what a line says of an event: its text, with who said it or what it is about."""
    if event.channel == "capture_session" and event.text is not None:
        return event.text
    about = event.label or event.event or event.speaker
    if event.text is None and about is None:
        # Nothing was understood: the members after the recorder's own two tell more than a blank.
        return re.sub(
            r'^\s*\{\s*"ts"\s*:\s*"[^"]*"\s*,\s*"unix_ts"\s*:\s*[^,{}]*,?\s*', "{", event.line or ""
        )
    return ": ".join(part for part in (about, event.text) if part)


def _matcher(filters: Filters) -> re.Pattern[str] | None:
    """Return one expression for all that is to be highlighted; None without any."""
    parts = []
    for pattern in filters.looked_for:
        expression = pattern if filters.extended else re.escape(harmless(pattern))
        if filters.whole_words:
            expression = rf"(?<!\w)(?:{expression})(?!\w)"
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


# -- md --------------------------------------------------------------------------------------------------

_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

# What CommonMark interprets within a line; what makes a link of a bare address (`.`, `://`); and what common
# dialects add: maths, footnotes, marked text, Obsidian's comments, templates.
_MARKS: Final = re.compile(r"[\\`*_\[\]#|~$^]|\.(?=\w)|:(?=/)|/(?=/)|([=%{}])(?=\1)")


def _items(
    answer: Answer, filters: Filters, zone: tzinfo, runs: Runs | None = None, *, hosts: bool = False
) -> Iterator[list[str]]:
    """Make a list item of each event, before the first one of a local day also the day's heading.

    A rule is between what was around one match, and around the next.
    """
    heading = ""
    for batch in _parted(answer, filters, runs, hosts=hosts):
        items = []
        for event, is_apart, note in batch:
            day, time = "Without a time", "-"
            if event.time_ms is not None:
                day, time = f"{_local(event.time_ms, zone):%Y-%m-%d %H:%M:%S}".split()
            above = "" if day == heading else ("\n" if heading else "") + f"## {day}\n\n"
            rule = "\n---\n" + ("\n" if day == heading else "") if is_apart else ""
            items.append(rule + above + _item(event, time) + note + "\n")
            heading = day
        yield items


def _item(event: Event, time: str) -> str:
    # Whatever an event holds comes after the time: nothing of it begins a line, as a heading or a list would.
    kind = " · ".join(_marked_up(name) for name in (event.host, event.source, event.channel) if name)
    text = _marked_up(_what(event))
    return f"- **{time}** {': '.join(part for part in (kind, text) if part)}".rstrip()


def _marked_up(text: str) -> str:
    """Return text as Markdown that reads as that text on one line, and as nothing else.

    Not all dialects know an escaped `<`, but all know entities. GitHub links an address and calls whom an `@`
    names, though the `@` is escaped; an invisible word joiner after it prevents both.
    """
    escaped = _MARKS.sub(r"\\\g<0>", _on_one_line(text)).translate(_ENTITIES)
    return escaped.replace("@", "@&#8288;")


def _on_one_line(text: str) -> str:
    return harmless(" ".join(text.split())).strip()


# -- srt and vtt -----------------------------------------------------------------------------------------

_CUE_COLUMNS: Final = ("source", "text", "start_ms", "end_ms", "speaker")
_CUES: Final = 2048
_CUE_MS: Final = 2000

# SubRip has no escapes, and players obey tags, `{\an8}`, and a line that looks like a cue's times.
_LOOKALIKES: Final = str.maketrans("<>{}", "＜＞｛｝")  # noqa: RUF001 - that is the purpose


class _Cue(NamedTuple):
    start_ms: int
    end_ms: int
    speaker: str
    source: str
    text: str

    def times(self, zero_ms: int, point: str) -> str:
        return f"{_clock(self.start_ms - zero_ms, point)} --> {_clock(self.end_ms - zero_ms, point)}"


def _cues(answer: Answer, runs: Runs | None) -> list[_Cue]:
    """Return what has a text and a start, by its start; what has no end after that lasts two seconds.

    Of the same start, the event that was received first comes first.
    """
    runs = runs or NO_RUNS
    cues = []
    for batch in runs.lines(answer.events(_CUE_COLUMNS)):
        for row, event in batch:
            text = _on_one_line(event.text or "")
            if event.start_ms is None or not text:
                continue
            run = runs.at(row)
            end_ms = run.until_ms if run else event.end_ms
            if end_ms is None or end_ms <= event.start_ms:
                end_ms = event.start_ms + _CUE_MS
            speaker, source = (_on_one_line(name or "") for name in (event.speaker, event.source))
            cues.append(_Cue(event.start_ms, end_ms, speaker, source, text))
    return sorted(cues, key=lambda cue: cue.start_ms)


def _subrip(cues: Sequence[_Cue]) -> Iterator[list[str]]:
    """Make SubRip of `cues`. Its times count from the first one's start, and nothing in it can say so."""
    for first, batch in _parts(cues):
        yield [
            ("\n" if number > 1 else "")
            + f"{number}\n{cue.times(cues[0].start_ms, ',')}\n"
            + ": ".join(filter(None, (cue.speaker or cue.source, cue.text))).translate(_LOOKALIKES)
            + "\n"
            for number, cue in enumerate(batch, first + 1)
        ]


def _webvtt_head(cues: Sequence[_Cue]) -> str:
    note = f"\nNOTE {_clock(0, '.')} is {_utc(cues[0].start_ms)}\n" if cues else ""
    return f"WEBVTT\n{note}"


def _webvtt(cues: Sequence[_Cue]) -> Iterator[list[str]]:
    """Make WebVTT of `cues`. Its times count from the first one's start, which the head tells."""
    for _, batch in _parts(cues):
        yield [f"\n{cue.times(cues[0].start_ms, '.')}\n{_voiced(cue)}\n" for cue in batch]


def _parts(cues: Sequence[_Cue]) -> Iterator[tuple[int, Sequence[_Cue]]]:
    for first in range(0, len(cues), _CUES):
        yield first, cues[first : first + _CUES]


def _voiced(cue: _Cue) -> str:
    speaker, source, text = (name.translate(_ENTITIES) for name in (cue.speaker, cue.source, cue.text))
    return f"<v {speaker}>{text}" if speaker else ": ".join(filter(None, (source, text)))


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
