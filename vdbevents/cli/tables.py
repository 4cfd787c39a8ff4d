"""Answers of the cloud as tables and text."""

import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vdbevents.cli.command import as_json as json_text, put
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, is_terminal
from vdbevents.terminal import cells, cut, harmless, padded


def as_text(value: object) -> str:
    """A text, or an empty one where there is none."""
    return value if isinstance(value, str) else ""


def remark(text: str, hint: str = "") -> None:
    """Says on stderr what is amiss."""
    diagnostics = Diagnostics()
    diagnostics.say(text, problem=True, hint=hint)
    diagnostics.flush()


def nothing(text: str, hint: str = "") -> ExitCode:
    """Says on stderr what was not found, and is the exit code of that."""
    remark(text, hint)
    return ExitCode.NO_MATCH


def terminal_width() -> int | None:
    """In cells; None where stdout is no terminal."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def table(rows: Sequence[Sequence[str]], width: int | None) -> str:
    """Rows whose columns are aligned; nothing is shown as -, and a line is cut to a terminal's width."""
    shown = [[harmless(value) or "-" for value in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(padded(value, size) for value, size in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    return "\n".join(lines if width is None else (cut(line, width) for line in lines))


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Prints rows: all of each as JSON, or some columns of it for a person."""
    if as_json:
        put(json_text(rows))
    elif rows:
        put(table([[as_text(row[name]) for name in columns] for row in rows], terminal_width()))


def iso(seconds: float | None) -> str | None:
    """A moment in Unix seconds as UTC with milliseconds; None where it is no time."""
    from vdbevents.events.envelope import utc_text

    if seconds is None:
        return None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return utc_text(round(seconds * 1000))
    return None
