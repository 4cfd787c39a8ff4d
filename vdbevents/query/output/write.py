"""Write the result of a query as `text`, `jsonl`, `json`, `csv`, `md`, `srt` or `vtt`.

A format is a `Form`: the items of an answer in batches, and a generator that makes each one piece of text.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from operator import itemgetter
from sys import maxsize
from typing import Any, Final, Generic, NamedTuple, TypeVar

import orjson

from vdbevents.errors import options_conflict
from vdbevents.query.collapse import Runs
from vdbevents.query.filters import Filters
from vdbevents.query.output.budget import Bound, Fitting
from vdbevents.query.output.csv_sql import csv_row
from vdbevents.query.output.highlight import Highlighter
from vdbevents.query.output.rows import (
    COLUMNS,
    ESCAPED,
    FIELDS,
    HOST_FIELD,
    Output,
    Sink,
    Value,
    columns_for,
    ended,
    on_one_line,
    put,
    quoted,
    quoted_as_text,
    rows_of,
    separated,
)
from vdbevents.query.output.text import WHOLE, TextLayout, TextShape, snippet, text_lines
from vdbevents.query.result_protocols import EventBatches, LineBlocks, MadeTexts
from vdbevents.terminal import harmless, harmless_in_file

_T = TypeVar("_T")

FOR_EYES: Final = ("text", "md")
"""The formats in which a last line can say how much more there is: others are read by programs."""


# A line for a person has at least a time, a source and a channel; other pieces at least their ends.
_LEAST_LINE: Final = 8


class Style(NamedTuple):
    """How an answer is written.

    Attributes:
        filters: the patterns to highlight in `text`, or to show snippets around.
        zone: of the times in `text` and `md`.
        colour: whether `text` may hold ANSI colours.
        shape: how much of each text is shown in `text`, and, but for the terminal's width, in `md`.
        fields: from `parse_fields`: only these, in this order. `jsonl` and `json` then hold objects of them;
            `text` holds them whole and without colours, with a tab between them.
        runs: from `query.collapse.find`: each is written as its first event; `text` and `md` add its duration
            and count, `csv` adds `RUN_FIELDS`; in `srt` and `vtt` it is one cue.
        hosts: whether `text`, `md` and `csv` name each event's host.
        without_formulas: whether `csv` marks texts as such that a spreadsheet would take for formulas.
        to_terminal: whether `text` is for a terminal, where no character may change the writing's direction;
            the caller takes care of that in the other formats.
        zero_ms: where the times in `srt` and `vtt` count from, in Unix ms; None for the first cue's start.
    """

    filters: Filters
    zone: tzinfo
    colour: bool = False
    shape: TextShape = WHOLE
    fields: Sequence[str] | None = None
    runs: Runs | None = None
    hosts: bool = False
    without_formulas: bool = False
    to_terminal: bool = False
    zero_ms: int | None = None


@dataclass(frozen=True)
class Form(Generic[_T]):
    """An answer in one format.

    Attributes:
        items: what is written, in batches; it can be read again.
        pieces: returns a piece of text for each item, in batches; the first may begin the others' heading.
        head: comes before them.
        tail: comes after them.
        nothing: is written instead of all this if there are no items.
    """

    items: Callable[[], Iterable[list[_T]]]
    pieces: Callable[[Iterable[list[_T]]], Iterable[list[str]]]
    head: str = ""
    tail: str = ""
    nothing: str = ""


def form_of(answer: EventBatches, output: Output, style: Style) -> Form[Any]:
    """Return the form of an answer.

    `jsonl` and `json` hold the journal's own lines byte for byte, the others folded columns: all of them in
    `csv`, those for a person in `text` and `md` (a list under each local day); `srt` and `vtt` are subtitles
    whose times count from `zero_ms`, which a note in `vtt` gives. They leave out events without a
    text or a start, and sort the others by their starts, so they keep all texts in memory.

    Raises:
        InputError: `fields` are given with `md`, `srt` or `vtt`.
    """
    fields, runs, filters = style.fields, style.runs, style.filters
    if fields is not None and output in ("md", "srt", "vtt"):
        hint = "use -o text, csv, jsonl or json, or leave out --fields"
        raise options_conflict("--fields", f"-o {output}", hint)
    clean = harmless if style.to_terminal else harmless_in_file
    form: Form[Any]
    match output:
        case "jsonl":
            form = Form(lambda: _objects(answer, fields, runs), ended)
        case "json":
            form = Form(lambda: _objects(answer, fields, runs), _in_array, tail="\n]\n", nothing="[]\n")
        case "csv":
            names = tuple(fields or columns_for(FIELDS, unique=runs is not None, hosts=style.hosts))
            form = _csv(answer, names, style)
        case "text" if fields is not None:
            form = Form(lambda: rows_of(answer, fields, runs), partial(_joined, "\t", clean))
        case "text":
            page = partial(
                TextLayout,
                answer.span,
                filters,
                colour=style.colour,
                zone=style.zone,
                shape=style.shape,
                clean=clean,
            )
            form = Form(
                lambda: separated(answer, filters, runs, hosts=style.hosts),
                lambda batches: text_lines(batches, page()),
            )
        case "md":
            form = _markdown(answer, style)
        case "srt":
            from vdbevents.query.output.subtitles import cues_of, subrip

            form = Form(lambda: cues_of(answer, runs, style.zero_ms), partial(subrip, zero_ms=style.zero_ms))
        case "vtt":
            from vdbevents.query.output.subtitles import cues_of, webvtt

            head = "WEBVTT\n"
            form = Form(
                lambda: cues_of(answer, runs, style.zero_ms),
                partial(webvtt, zero_ms=style.zero_ms),
                head,
                nothing=head,
            )
    return form


def _csv(answer: EventBatches, names: Sequence[str], style: Style) -> Form[Any]:
    head = ",".join(names) + "\n"
    if style.runs is None and HOST_FIELD not in names and isinstance(answer, MadeTexts):
        made = csv_row(names, without_formulas=style.without_formulas)
        columns = {COLUMNS.get(name, name) for name in names}
        if answer.texts(made, columns) is not None:
            return Form(lambda: answer.texts(made, columns) or (), iter, head, nothing=head)
    shown = quoted_as_text if style.without_formulas else quoted
    joined = partial(_joined, ",", shown)
    return Form(lambda: rows_of(answer, names, style.runs), joined, head, nothing=head)


def _markdown(answer: EventBatches, style: Style) -> Form[Any]:
    from vdbevents.query.output.markdown import markdown_items, markdown_texts
    from vdbevents.query.output.markdown_sql import MARKDOWN_COLUMNS, markdown_row

    span, filters = answer.span, style.filters
    is_plain = style.runs is None and not style.hosts and style.shape.snippet is None
    if is_plain and filters.around_ms is None and span is not None and isinstance(answer, MadeTexts):
        made = markdown_row(style.zone, span, by_event=filters.by_event)
        columns = {*MARKDOWN_COLUMNS, "start_ms"}
        if made is not None and answer.texts(made, columns) is not None:
            return Form(
                lambda: answer.texts(made, columns) or (), lambda batches: markdown_texts(batches, style.zone)
            )
    return Form(
        lambda: separated(answer, filters, style.runs, hosts=style.hosts),
        lambda batches: markdown_items(batches, style.zone, _shortened(style)),
    )


def write(answer: EventBatches, output: Output, stream: Sink, style: Style) -> int:
    """Write the answer to `stream` batch by batch, in UTF-8, and return the number of events written.

    A run counts as one event. The errors of `stream` (`BrokenPipeError`) reach the caller.

    Raises:
        InputError: as `form_of`.
    """
    if output == "jsonl" and isinstance(answer, LineBlocks) and _is_as_it_is(style):
        blocks = answer.blocks()
        if blocks is not None:
            for block in blocks:
                stream.write(block)
            return answer.count
    form = form_of(answer, output, style)
    # A head that is shown also without items need not wait for the first.
    is_early = bool(form.head) and form.head == form.nothing
    if is_early:
        stream.write(form.head.encode())
    count = put(stream, form.pieces(form.items()))
    if count:
        stream.write(form.tail.encode())
    elif not is_early:
        stream.write(form.nothing.encode())
    return count


def _is_as_it_is(style: Style) -> bool:
    """Return whether the journal's own lines are written, to no terminal, which takes whole ones."""
    return style.fields is None and style.runs is None and not style.to_terminal


class Written(NamedTuple):
    """What became of an answer within a bound.

    Attributes:
        shown: the number of events written.
        left_out: the number of others.
        is_told: whether the last line, which says so, is written.
        least: if nothing is written though there are events, the smallest answer; it does not fit.
    """

    shown: int
    left_out: int = 0
    is_told: bool = False
    least: str = ""


def write_within(
    bound: Bound,
    answer: EventBatches,
    output: Output,
    stream: Sink,
    style: Style,
    *,
    last_line: Callable[[int, int], str],
) -> Written:
    """Write the newest events that fit, as `write` does, and return how many they are.

    Args:
        bound: of all that is written.
        answer: of it no more is formatted than may fit, as each event has a least length.
        output: as in `form_of`.
        stream: as in `write`.
        style: as in `form_of`.
        last_line: returns the line that says how many events are left out, from their number and that of the
            events written. It is written in the formats `FOR_EYES`, where it fits.

    Raises:
        InputError: as `form_of`.
    """
    form = form_of(answer, output, style)
    # Subtitles are sorted by their own times, whatever the order of the answer.
    is_reversed = style.filters.newest_first and output not in ("srt", "vtt")
    is_for_eyes = output in FOR_EYES and style.fields is None
    room, least = bound.characters, _LEAST_LINE if is_for_eyes else 1
    most = maxsize if room is None else room // least + 1
    batches, left_out = _newest_batches(form.items(), most, is_reversed=is_reversed)
    pairs = _paired(form, batches)
    fitting = _newest(bound, pairs, form.head + form.tail, is_reversed=is_reversed)
    items, left_out = [item for item, _ in fitting.pieces], left_out + fitting.left_out
    pieces, line = [piece for _, piece in fitting.pieces], ""
    while left_out:
        # Anew, as a heading or the width of a column may come from an item that is left out.
        pieces = [piece for batch in form.pieces([items]) for piece in batch] if items else []
        line = last_line(left_out, len(items)) if is_for_eyes else ""
        line = line if bound.fits(form.head, form.tail, line) else ""
        fitting = _newest(
            bound, zip(items, pieces, strict=True), form.head + form.tail + line, is_reversed=is_reversed
        )
        if not fitting.left_out:
            break
        items, left_out = [item for item, _ in fitting.pieces], left_out + fitting.left_out
    if left_out and not pieces and not line:
        said = last_line(left_out, 0) if is_for_eyes else ""
        return Written(0, left_out, least=said or _smallest(form, batches, is_first=is_reversed))
    if pieces:
        stream.write("".join([form.head, *pieces, form.tail]).encode())
    elif output == "json" or bound.fits(form.nothing):
        stream.write(form.nothing.encode())
    stream.write(line.encode())
    return Written(len(pieces), left_out, bool(line))


def _newest_batches(
    batches: Iterable[list[_T]], most: int, *, is_reversed: bool
) -> tuple[Sequence[list[_T]], int]:
    """Return the batches with the newest items, so many at least, and the number of items in the others."""
    kept: deque[list[_T]] = deque()
    count = left_out = 0
    for batch in batches:
        if is_reversed and count >= most:
            left_out += len(batch)
            continue
        kept.append(batch)
        count += len(batch)
        while not is_reversed and count - len(kept[0]) >= most:
            left_out += len(kept[0])
            count -= len(kept.popleft())
    return kept, left_out


def _smallest(form: Form[_T], batches: Iterable[list[_T]], *, is_first: bool) -> str:
    """Return the answer with the newest item alone, or as it is among the others, whichever is longer."""
    pairs = _paired(form, batches)
    newest, among = next(pairs) if is_first else deque(pairs, 1).pop()
    alone = "".join(piece for batch in form.pieces([[newest]]) for piece in batch)
    return "".join([form.head, max(alone, among, key=len), form.tail])


def _newest(
    bound: Bound, pairs: Iterable[tuple[_T, str]], also: str, *, is_reversed: bool
) -> Fitting[tuple[_T, str]]:
    return (bound.first if is_reversed else bound.newest)(pairs, also, itemgetter(1))


def _paired(form: Form[_T], batches: Iterable[list[_T]]) -> Iterator[tuple[_T, str]]:
    """Yield each item with its piece."""
    waiting: deque[list[_T]] = deque()

    def passing() -> Iterator[list[_T]]:
        for batch in batches:
            waiting.append(batch)
            yield batch

    for pieces in form.pieces(passing()):
        yield from zip(waiting.popleft(), pieces, strict=True)


def _shortened(style: Style) -> Callable[[str], str]:
    """Return what makes one line of a text for `md`: all of it, or a snippet."""
    room = style.shape.snippet
    if room is None:
        return on_one_line
    highlighter = Highlighter(style.filters, on_one_line)
    return lambda text: snippet(on_one_line(text), highlighter, room)


def _in_array(batches: Iterable[list[str]]) -> Iterator[list[str]]:
    """Yield each JSON value on a line of its own, after what comes before it in an array."""
    before = "[\n"
    for batch in batches:
        yield [f"{before}{line}" if row == 0 else f",\n{line}" for row, line in enumerate(batch)]
        before = ",\n" if batch else before


def _objects(answer: EventBatches, fields: Sequence[str] | None, runs: Runs | None) -> Iterable[list[str]]:
    """Return the journal's own lines, or objects of `fields`."""
    if fields is not None:
        return map(partial(_dumped, fields), rows_of(answer, fields, runs))
    if runs is None:
        return answer.lines()
    return ([line for _, line in batch] for batch in runs.lines(answer.lines()))


def _dumped(fields: Sequence[str], rows: Iterable[list[Value]]) -> list[str]:
    lines = (orjson.dumps(dict(zip(fields, row, strict=True))).decode() for row in rows)
    return [ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", line) for line in lines]


def _joined(
    separator: str, shown: Callable[[str], str], rows: Iterable[list[list[Value]]]
) -> Iterator[list[str]]:
    for batch in rows:
        yield [separator.join(_cell(value, shown) for value in row) + "\n" for row in batch]


def _cell(value: Value, shown: Callable[[str], str]) -> str:
    match value:
        case None:
            return ""
        case str():
            return shown(value)
        case bool():
            return str(value).lower()
    return repr(value)
