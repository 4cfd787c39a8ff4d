"""The rows of an SQL answer as bytes: an aligned table, `csv`, `json` or `jsonl`. All values come as text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, Protocol

import orjson

from vdbevents.query.output.rows import ESCAPED, Sink, ended, put, put_array, quoted
from vdbevents.query.sql.sandbox import SqlColumn, ValueKind
from vdbevents.terminal import cells, cut, harmless, padded

Output = Literal["text", "csv", "json", "jsonl"]
Row = Sequence[str | None]

_LEAST_CELLS: Final = 4


class SqlRows(Protocol):
    """What `query.sql.SqlRows` is, as far as it is needed here."""

    @property
    def columns(self) -> Sequence[SqlColumn]:
        """What each value is."""

    def batches(self) -> Iterable[Sequence[Row]]:
        """The rows, in batches that are never empty."""


def write(answer: SqlRows, output: Output, stream: Sink, width: int | None) -> int:
    """Write rows to `stream`, batch by batch, in UTF-8, and return how many.

    Args:
        answer: it is read once.
        output: `text` has a line of names; the others hold data as it is. In JSON a column whose name comes
            a second time is told apart by a number, and what is no number there is null.
        stream: what it raises (`BrokenPipeError`) is the caller's.
        width: the terminal's width in cells, to which `text` cuts its lines; None leaves them whole.
    """
    if output == "json":
        return put_array(stream, _objects(answer))
    if output == "jsonl":
        return put(stream, ended(_objects(answer)))
    lines = _table(answer, width) if output == "text" else _separated(answer)
    return put(stream, ended(lines)) - 1


def _objects(answer: SqlRows) -> Iterator[list[str]]:
    keys = [f"{_string(name)}:" for name in _told_apart([column.name for column in answer.columns])]
    kinds = [column.kind for column in answer.columns]
    for batch in answer.batches():
        values = [[_value(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in batch]
        yield ["{" + ",".join(map(str.__add__, keys, row)) + "}" for row in values]


def _told_apart(names: Iterable[str]) -> list[str]:
    told: list[str] = []
    for name in names:
        another, number = name, 1
        while another in told:
            another, number = f"{name}_{number}", number + 1
        told.append(another)
    return told


def _value(value: str | None, kind: ValueKind) -> str:
    if value is None:
        return "null"
    if kind is ValueKind.BOOLEAN:
        return value
    if kind is ValueKind.NUMBER:
        return "null" if value.lstrip("-") in ("nan", "inf") else value
    if kind is ValueKind.JSON and _is_json(value):
        return _escaped(value)
    return _string(value)


def _is_json(text: str) -> bool:
    # DuckDB writes NaN within a list, and takes what is nested deeper than others read.
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return "\n" not in text and "\r" not in text


def _string(text: str) -> str:
    return _escaped(orjson.dumps(text).decode())


def _escaped(text: str) -> str:
    return ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _separated(answer: SqlRows) -> Iterator[list[str]]:
    yield [",".join(quoted(column.name) for column in answer.columns)]
    for batch in answer.batches():
        yield [",".join("" if value is None else quoted(value) for value in row) for row in batch]


def _table(answer: SqlRows, width: int | None) -> Iterator[list[str]]:
    """Return lines whose columns are as wide as the widest value so far; numbers end in the same place."""
    names = [harmless(column.name) for column in answer.columns]
    to_the_right = [column.kind is ValueKind.NUMBER for column in answer.columns]
    widths = list(map(cells, names))
    is_first = True
    for batch in answer.batches():
        shown = [["" if value is None else harmless(value) for value in row] for row in batch]
        widths = [
            max(size, *map(cells, column))
            for size, column in zip(widths, zip(*shown, strict=True), strict=True)
        ]
        sizes = widths if width is None else _fitting(widths, width)
        lines = [_line(row, sizes, to_the_right, width) for row in ([names, *shown] if is_first else shown)]
        is_first = False
        yield lines
    if is_first:
        yield [_line(names, widths, to_the_right, width)]


def _fitting(widths: Sequence[int], width: int) -> list[int]:
    """Return widths that fit into a line: the widest columns give way, to one width."""
    room = max(width - 2 * (len(widths) - 1), 0)
    most = width
    while most > _LEAST_CELLS and sum(min(size, most) for size in widths) > room:
        most -= 1
    return [min(size, most) for size in widths]


def _line(row: Sequence[str], sizes: Sequence[int], to_the_right: Sequence[bool], width: int | None) -> str:
    values = []
    for value, size, right in zip(row, sizes, to_the_right, strict=True):
        text = cut(value, size)
        values.append(" " * (size - cells(text)) + text if right else padded(text, size))
    line = "  ".join(values).rstrip()
    return line if width is None else cut(line, width)
