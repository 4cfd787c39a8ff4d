"""Write the result of a query as `text`, `jsonl`, `json`, `csv`, `md`, `srt` or `vtt`.

A format is a generator of batches, in which each event is one piece of text; `rows.put` writes them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from functools import partial

import orjson

from vdbevents.errors import options_conflict
from vdbevents.query.collapse import Runs
from vdbevents.query.filters import Filters
from vdbevents.query.output.markdown import markdown_items
from vdbevents.query.output.rows import (
    ESCAPED,
    FIELDS,
    Output,
    Sink,
    Value,
    columns_for,
    ended,
    put,
    put_array,
    quoted,
    quoted_as_text,
    rows_of,
)
from vdbevents.query.output.subtitles import cues_of, subrip, webvtt, webvtt_head
from vdbevents.query.output.text import TextLayout, text_lines
from vdbevents.query.statements import EventBatches
from vdbevents.terminal import harmless, harmless_in_file


def write(
    answer: EventBatches,
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
    without_formulas: bool = False,
    to_terminal: bool = False,
) -> int:
    """Write the answer to `stream` batch by batch, in UTF-8, and return the number of events written.

    A run counts as one event. `srt` and `vtt` leave out events without a text or a start, and sort the others
    by their starts, so they keep all texts in memory.

    Args:
        answer: from `query.engine.search`; it is read once.
        output: `jsonl` and `json` hold the journal's own lines byte for byte, the others folded columns: all
            of them in `csv`, those for a person in `text` and `md` (a list under each local day); `srt` and
            `vtt` are subtitles whose times count from the first one's start, which a note in `vtt` gives.
        stream: its errors (`BrokenPipeError`) reach the caller.
        filters: the patterns to highlight in `text`.
        colour: whether `text` may hold ANSI colours.
        width: the terminal's width in cells, to which `text` cuts its lines; None leaves them whole.
        zone: of the times in `text` and `md`.
        fields: from `parse_fields`: only these, in this order. `jsonl` and `json` then hold objects of them;
            `text` holds them whole and without colours, with a tab between them.
        runs: from `query.collapse.find`: each is written as its first event; `text` and `md` add its duration
            and count, `csv` adds `RUN_FIELDS`; in `srt` and `vtt` it is one cue.
        hosts: whether `text`, `md` and `csv` name each event's host.
        without_formulas: whether `csv` marks texts as such that a spreadsheet would take for formulas.
        to_terminal: whether `text` is for a terminal, where no character may change the writing's direction;
            the caller takes care of that in the other formats.

    Raises:
        InputError: `fields` are given with `md`, `srt` or `vtt`.
    """
    if fields is not None and output in ("md", "srt", "vtt"):
        hint = "use -o text, csv, jsonl or json, or leave out --fields"
        raise options_conflict("--fields", f"-o {output}", hint)
    if output == "json":
        return put_array(stream, _objects(answer, fields, runs))
    head = ""
    clean = harmless if to_terminal else harmless_in_file
    match output:
        case "jsonl":
            pieces = ended(_objects(answer, fields, runs))
        case "csv":
            names = fields or columns_for(FIELDS, unique=runs is not None, hosts=hosts)
            head = ",".join(names) + "\n"
            shown = quoted_as_text if without_formulas else quoted
            pieces = ended(_joined(rows_of(answer, names, runs), ",", shown))
        case "text" if fields is not None:
            pieces = ended(_joined(rows_of(answer, fields, runs), "\t", clean))
        case "text":
            page = TextLayout(answer.span, filters, colour=colour, width=width, zone=zone, clean=clean)
            pieces = text_lines(answer, filters, runs, page, hosts=hosts)
        case "md":
            pieces = markdown_items(answer, filters, zone, runs, hosts=hosts)
        case "srt":
            pieces = subrip(cues_of(answer, runs))
        case "vtt":
            cues = cues_of(answer, runs)
            head, pieces = webvtt_head(cues), webvtt(cues)
    stream.write(head.encode())
    return put(stream, pieces)


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
    rows: Iterable[list[list[Value]]], separator: str, shown: Callable[[str], str]
) -> Iterator[list[str]]:
    for batch in rows:
        yield [separator.join(_cell(value, shown) for value in row) for row in batch]


def _cell(value: Value, shown: Callable[[str], str]) -> str:
    match value:
        case None:
            return ""
        case str():
            return shown(value)
        case bool():
            return str(value).lower()
    return repr(value)
