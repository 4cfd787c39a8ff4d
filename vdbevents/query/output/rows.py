"""Turn events into text values, for all output formats."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, Protocol

from vdbevents.errors import InputError
from vdbevents.query.collapse import Run, Runs, span
from vdbevents.query.filters import Event, Filters
from vdbevents.query.result_protocols import EventBatches
from vdbevents.terminal import harmless_in_file
from vdbevents.times import format_duration

Output = Literal["text", "jsonl", "json", "csv", "md", "srt", "vtt"]

FIELDS: Final = (
    *("time", "channel", "event", "source", "stream", "stream_name", "session", "text", "is_final"),
    *("started", "ended", "label", "speaker", "confidence", "window"),
)
"""The names of the folded columns, in the order of csv's header."""

OLD_FIELDS: Final = {"start": "started", "end": "ended"}
"""Names that `--fields` still takes until the next release, for the column as it was headed then."""

RUN_FIELDS: Final = ("count", "until")
"""The columns after them with `--unique`: the number of events, and the end of the last."""

HOST_FIELD: Final = "host"
"""The last column if there are several journals: the machine whose journal holds the event."""

FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula."""

_QUOTED: Final = re.compile(r'[,"\r\n]|\A\Z')

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Sink(Protocol):
    """A stream of bytes, such as `sys.stdout.buffer`."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""


def parse_fields(text: str, *, unique: bool = False, hosts: bool = False) -> tuple[str, ...]:
    """Return the comma-separated names in `text`, in order.

    Raises:
        InputError: a name is empty, unknown, or given twice. `RUN_FIELDS` are known only if `unique`,
            `HOST_FIELD` only if `hosts`.
    """
    names = tuple(name.strip() for name in text.split(","))
    known = columns_for(FIELDS, unique=unique, hosts=hosts)
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(
                f"--fields: {name!r} given twice", "give each field once", error_id="field-repeated"
            )
        if name in known or name in OLD_FIELDS:
            continue
        hint = f"use, with commas between them, {', '.join(known)}"
        if name in RUN_FIELDS:
            hint = "add --unique"
        elif name == HOST_FIELD:
            hint = "name the journals with --dir or --file"
        raise InputError(f"--fields: not a field, got {name!r}", hint, error_id="field-unknown")
    return names


def columns_for(own: tuple[str, ...], *, unique: bool, hosts: bool) -> tuple[str, ...]:
    return own + (RUN_FIELDS if unique else ()) + ((HOST_FIELD,) if hosts else ())


def put(stream: Sink, batches: Iterable[list[str]]) -> int:
    """Write pieces of text to `stream`, in UTF-8, and return their number."""
    count = 0
    for batch in batches:
        stream.write("".join(batch).encode())
        count += len(batch)
    return count


def put_array(stream: Sink, lines: Iterable[list[str]]) -> int:
    """Write JSON values to `stream`, as one array with a line for each, and return their number."""
    count = 0
    for batch in lines:
        stream.write((("," if count else "[") + "\n" + ",\n".join(batch)).encode())
        count += len(batch)
    stream.write(b"\n]\n" if count else b"[]\n")
    return count


def ended(lines: Iterable[list[str]]) -> Iterator[list[str]]:
    """Add line ends."""
    for batch in lines:
        yield [f"{line}\n" for line in batch]


def utc_time(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(milliseconds: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)


Value = str | bool | float | None

TIMES: Final = {
    "time": "time_ms",
    **dict.fromkeys(("started", "start"), "start_ms"),
    **dict.fromkeys(("ended", "end"), "end_ms"),
}
"""The fields that are times, and the column of `Event` of each."""

COLUMNS: Final = {**TIMES, "window": "window_name"}
"""The columns of `Event` that have another name than the field."""

# Characters that the journal escapes though JSON does not require it (docs/events-format.md).
ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029]")


def rows_of(answer: EventBatches, fields: Sequence[str], runs: Runs | None) -> Iterator[list[list[Value]]]:
    """Yield the values of `fields` for each event or run, times as text."""
    own = [name for name in fields if name not in RUN_FIELDS]
    columns = [COLUMNS.get(name, name) for name in own]
    places = [(Event._fields.index(column), name in TIMES) for name, column in zip(own, columns, strict=True)]

    def values(event: Event) -> list[Value]:
        return [_time_text(event[place]) if timed else event[place] for place, timed in places]

    if runs is None:
        yield from (list(map(values, batch)) for batch in answer.events(columns))
        return
    added = [(place, name) for place, name in enumerate(fields) if name in RUN_FIELDS]
    for lines in runs.lines(answer.events({*columns, *TIMES.values()})):
        rows = [values(event) for _, event in lines]
        for values_of_line, (row, event) in zip(rows, lines, strict=True):
            for place, name in added:
                values_of_line.insert(place, _of_run(name, event, runs.at(row)))
        yield rows


def _of_run(name: str, event: Event, run: Run | None) -> Value:
    """Return a value of `RUN_FIELDS`; an event without a run counts as a run of one."""
    if name == "count":
        return run.events if run else 1
    lasted = span(event)
    return _time_text(run.until_ms if run else lasted and lasted[1])


def _time_text(moment: Value) -> str | None:
    return utc_time(moment) if isinstance(moment, int) else None


def quoted(value: str) -> str:
    """Quote a CSV field where RFC 4180 requires it, and an empty text, to tell it from NULL.

    The csv module of Python 3.11 can do neither for NULL nor for a lone carriage return.
    """
    value = value.replace("\0", "␀")  # readers of CSV end a text, or a file, at a NUL
    return '"' + value.replace('"', '""') + '"' if _QUOTED.search(value) else value


def quoted_as_text(value: str) -> str:
    """Quote a CSV field so that no spreadsheet takes it for a formula: with an apostrophe before it."""
    return quoted(f"'{value}" if value.startswith(FORMULAS) else value)


def csv_text(rows: Iterable[Sequence[object]], *, without_formulas: bool) -> str:
    """Return rows as CSV; None is an empty field, and `without_formulas` marks texts as `quoted_as_text`."""
    shown = quoted_as_text if without_formulas else quoted

    def field(value: object) -> str:
        return "" if value is None else shown(value) if isinstance(value, str) else str(value)

    return "".join(",".join(map(field, row)) + "\n" for row in rows)


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


class Item(NamedTuple):
    """An event to print.

    Attributes:
        event: the event.
        is_apart: whether the events around another match begin with it.
        note: the duration and count of the run it stands for; else empty.
    """

    event: Event
    is_apart: bool
    note: str


def separated(
    answer: EventBatches, filters: Filters, runs: Runs | None, *, hosts: bool
) -> Iterator[list[Item]]:
    """Yield the events to print, each with its break and its run's note."""
    first = 0
    is_apart = False
    breaks = answer.breaks
    for batch in _timed(answer, filters, columns_for(_TEXT_COLUMNS, unique=False, hosts=hosts)):
        if runs is None and not breaks:
            yield [Item(event, is_apart=False, note="") for event in batch]
            continue
        items = []
        for row, event in enumerate(batch, first):
            # Newest first, the event at a break may be merged into the line of an older one.
            is_apart = is_apart or row in breaks
            if runs is None or not runs.is_merged(row):
                items.append(Item(event, is_apart, _note(runs.at(row)) if runs else ""))
                is_apart = False
        first += len(batch)
        yield items


def _note(run: Run | None) -> str:
    return f" ({format_duration(run.until_ms - run.since_ms)}, {run.events:,} times)" if run else ""


def _timed(answer: EventBatches, filters: Filters, columns: tuple[str, ...]) -> Iterable[list[Event]]:
    """Yield the events with the time that orders them as `time_ms`."""
    if not filters.in_order_of_events:
        return answer.events(columns)
    return map(_by_own_time, answer.events((*columns, "start_ms")))


def _by_own_time(batch: Iterable[Event]) -> list[Event]:
    return [event if event.start_ms is None else event._replace(time_ms=event.start_ms) for event in batch]


def description(event: Event) -> str:
    """Describe an event in a line: its text, after its label, event or speaker."""
    if event.channel == "capture_session" and event.text is not None:
        return event.text
    about = event.label or event.event or event.speaker
    if event.text is None and about is None:
        # Nothing was recognised: show the members after the recorder's own two.
        return re.sub(
            r'^\s*\{\s*"ts"\s*:\s*"[^"]*"\s*,\s*"unix_ts"\s*:\s*[^,{}]*,?\s*', "{", event.line or ""
        )
    return ": ".join(part for part in (about, event.text) if part)


ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def on_one_line(text: str) -> str:
    """Return a text for a line of a file; what goes to a terminal passes `harmless_output`, too."""
    return harmless_in_file(" ".join(text.split())).strip()
