"""Write the rows of a SQL query as an aligned table, `csv`, `json` or `jsonl`. All values come as text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import orjson

from vdbevents.query.output.rows import ESCAPED, Sink, ended, put, put_array, quoted, quoted_as_text
from vdbevents.query.sql.sandbox import SqlRows, ValueKind
from vdbevents.terminal import cells, cut, harmless, padded

Output = Literal["text", "csv", "json", "jsonl"]
Row = Sequence[str | None]

_LEAST_CELLS: Final = 4


def write(
    answer: SqlRows, output: Output, stream: Sink, width: int | None, *, without_formulas: bool = False
) -> int:
    """Write rows to `stream`, batch by batch, in UTF-8, and return their number.

    Args:
        answer: the rows, which are read once.
        output: `text` begins with a line of names; the others hold data unchanged. In JSON, a repeated column
            name gets a number, and NaN and infinity are null.
        stream: its errors (`BrokenPipeError`) reach the caller.
        width: the terminal's width in cells, to which `text` cuts its lines; None leaves them whole.
        without_formulas: whether `csv` marks texts as such that a spreadsheet would take for formulas.
    """
    if output == "json":
        return put_array(stream, _objects(answer))
    if output == "jsonl":
        return put(stream, ended(_objects(answer)))
    lines = _table(answer, width) if output == "text" else _separated(answer, without_formulas)
    return put(stream, ended(lines)) - 1


def _objects(answer: SqlRows) -> Iterator[list[str]]:
    keys = [f"{_string(name)}:" for name in _distinct([column.name for column in answer.columns])]
    kinds = [column.kind for column in answer.columns]
    for batch in answer.batches():
        values = [[_value(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in batch]
        yield ["{" + ",".join(map(str.__add__, keys, row)) + "}" for row in values]


def _distinct(names: Iterable[str]) -> list[str]:
    distinct: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in distinct:
            candidate, number = f"{name}_{number}", number + 1
        distinct.append(candidate)
    return distinct


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
    # DuckDB writes NaN within lists, and nests deeper than other readers allow.
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return "\n" not in text and "\r" not in text


def _string(text: str) -> str:
    return _escaped(orjson.dumps(text).decode())


def _escaped(text: str) -> str:
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _separated(answer: SqlRows, without_formulas: bool) -> Iterator[list[str]]:  # noqa: FBT001 - as given
    as_text = quoted_as_text if without_formulas else quoted
    yield [",".join(as_text(column.name) for column in answer.columns)]
    # -1 is a number, and no formula.
    shown = [quoted if column.kind is ValueKind.NUMBER else as_text for column in answer.columns]
    for batch in answer.batches():
        yield [
            ",".join("" if value is None else show(value) for value, show in zip(row, shown, strict=True))
            for row in batch
        ]


def _table(answer: SqlRows, width: int | None) -> Iterator[list[str]]:
    """Yield lines with columns as wide as the widest value so far; numbers are aligned to the right."""
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
    """Return widths that fit into a line: the widest columns are cut to one width."""
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
