"""Rows of an answer as text values, shared by all output formats."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, Protocol

from vdbevents.errors import InputError
from vdbevents.query.collapse import NO_RUNS, Run, Runs, span
from vdbevents.query.filters import Event, Filters
from vdbevents.query.statements import EventBatches
from vdbevents.terminal import harmless
from vdbevents.times import told_duration

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
    known = columns_for(FIELDS, unique=unique, hosts=hosts)
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


def columns_for(own: tuple[str, ...], *, unique: bool, hosts: bool) -> tuple[str, ...]:
    return own + (RUN_FIELDS if unique else ()) + ((HOST_FIELD,) if hosts else ())


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


def utc_time(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(milliseconds: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)


# -- Chosen fields: csv, and the others on demand --------------------------------------------------------

Value = str | bool | float | None

_TIMES: Final = {"time": "time_ms", "start": "start_ms", "end": "end_ms"}

# What the journal escapes though JSON does not ask for it: docs/events-format.md, a line.
ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029]")


def rows_of(answer: EventBatches, fields: Sequence[str], runs: Runs | None) -> Iterator[list[list[Value]]]:
    """Fold the answer into the values of `fields`, times as text."""
    own = [name for name in fields if name not in RUN_FIELDS]
    columns = [_TIMES.get(name, name) for name in own]
    places = [
        (Event._fields.index(column), name in _TIMES) for name, column in zip(own, columns, strict=True)
    ]

    def values(event: Event) -> list[Value]:
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


def _of_run(name: str, event: Event, run: Run | None) -> Value:
    """Return a value of `RUN_FIELDS`; an event that is in no run is one of its own."""
    if name == "count":
        return run.events if run else 1
    lasted = span(event)
    return _told(run.until_ms if run else lasted and lasted[1])


def _told(moment: Value) -> str | None:
    return utc_time(moment) if isinstance(moment, int) else None


def quoted(value: str) -> str:
    """Return a field as RFC 4180 has it: data as it is, in quotes where it needs them."""
    if value == "" or any(character in value for character in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


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


class _Shown(NamedTuple):
    event: Event
    is_apart: bool
    note: str


def separated(
    answer: EventBatches, filters: Filters, runs: Runs | None, *, hosts: bool
) -> Iterator[list[_Shown]]:
    """Tell of each event also whether what is around another match begins with it, and what a run adds."""
    runs = runs or NO_RUNS
    first = 0
    is_apart = False
    for batch in _timed(answer, filters, columns_for(_TEXT_COLUMNS, unique=False, hosts=hosts)):
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


def _timed(answer: EventBatches, filters: Filters, columns: tuple[str, ...]) -> Iterable[list[Event]]:
    """Return the events with the time in whose order they are as their `time_ms`."""
    if not filters.in_order_of_events:
        return answer.events(columns)
    return map(_as_it_happened, answer.events((*columns, "start_ms")))


def _as_it_happened(batch: Iterable[Event]) -> list[Event]:
    return [event if event.start_ms is None else event._replace(time_ms=event.start_ms) for event in batch]


def description(event: Event) -> str:
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


# -- md --------------------------------------------------------------------------------------------------

ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def on_one_line(text: str) -> str:
    return harmless(" ".join(text.split())).strip()
