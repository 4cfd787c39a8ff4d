"""Print tables, JSON and remarks."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from vdbevents.cli.command import as_json as json_text, put
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, columns_of, is_terminal
from vdbevents.terminal import cells, cut, harmless, harmless_output, padded


def as_text(value: object) -> str:
    """Return a text; empty for anything else."""
    return value if isinstance(value, str) else ""


def remark(text: str, hint: str = "") -> None:
    """Show a warning on stderr."""
    diagnostics = Diagnostics()
    diagnostics.say(text, problem=True, hint=hint)
    diagnostics.flush()


def nothing(text: str, hint: str = "") -> ExitCode:
    """Show on stderr that nothing was found; return the exit code for that."""
    remark(text, hint)
    return ExitCode.NO_MATCH


def terminal_width() -> int | None:
    """Return the terminal's width in cells; None if stdout is not a terminal."""
    return columns_of(sys.stdout) if is_terminal(sys.stdout) else None


class TerminalSink:
    """A terminal as a stream of text in UTF-8, in which no character steers it."""

    def __init__(self, stream: BinaryIO, *, is_json: bool) -> None:
        self._stream = stream
        self._is_json = is_json

    def write(self, data: bytes, /) -> object:
        """Write whole lines."""
        return self._stream.write(harmless_output(data.decode(), is_json=self._is_json).encode())

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def data_stream(output: str) -> "BinaryIO | TerminalSink":
    """Return stdout for the data of an output format; `text` is fit for a terminal already."""
    stream = sys.stdout.buffer
    if output == "text" or not is_terminal(sys.stdout):
        return stream
    return TerminalSink(stream, is_json=output in ("json", "jsonl"))


def table(rows: Sequence[Sequence[str]], width: int | None) -> str:
    """Return rows with aligned columns; empty values are shown as -, lines are cut to the width."""
    shown = [[harmless(value) or "-" for value in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(padded(value, size) for value, size in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    return "\n".join(lines if width is None else (cut(line, width) for line in lines))


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: whole as JSON, or some columns as a table."""
    if as_json:
        put(json_text(rows))
    elif rows:
        put(table([[as_text(row[name]) for name in columns] for row in rows], terminal_width()))


def iso(seconds: float | None) -> str | None:
    """Format Unix seconds as UTC with milliseconds; return None for an invalid time."""
    from vdbevents.events.envelope import utc_text

    if seconds is None:
        return None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return utc_text(round(seconds * 1000))
    return None
