"""The help of the program itself, which `vdbevents --help` prints without loading typer."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from vdbevents.cli import documents, overview
from vdbevents.cli.help_layout import laid_out

LONGEST_LINE: Final = 100
"""The width of a terminal, in cells, beyond which no help goes."""

_USAGE: Final = "Usage: vdbevents [OPTIONS] COMMAND [ARGS]..."
_INDENT: Final = "  "
_SHORTEST_LINE: Final = 50
_SHORTEST_TEXT: Final = 10
_LONGEST_NAME: Final = 30


def plain_help() -> str | None:
    """Return the help as typer prints it; None if the program has another name, which is in the usage."""
    if Path(sys.argv[0]).name != "vdbevents":
        return None
    # As click has it: it leaves two cells free.
    width = max(min(shutil.get_terminal_size().columns, LONGEST_LINE) - 2, _SHORTEST_LINE)
    return f"{_USAGE}\n{program_help(width, overview.OPTIONS)}"


def program_help(width: int, options: Iterable[tuple[str, str]]) -> str:
    """Return what is below the usage.

    Args:
        width: of the terminal, in cells.
        options: the names of each option of the program, and what it does.
    """
    longest = max(map(len, overview.COMMANDS))
    sections = [
        "\n" + textwrap.indent(laid_out(overview.PROGRAM, width - len(_INDENT)), _INDENT) + "\n",
        *(
            _section(title, defined([(name.ljust(longest), text) for name, text in rows.items()], width))
            for title, rows in overview.GROUPS.items()
        ),
        _section("Examples", (f"{_INDENT}{line}" for line in overview.EXAMPLES)),
        _section("Options", defined(options, width)),
        _section("Environment", defined(overview.ENVIRONMENT.items(), width)),
        _section(
            "Exit codes",
            defined(((f"{code:<3}", text) for code, text in overview.EXIT_CODES.items()), width),
        ),
        *(f"\n{laid_out(note, width)}\n" for note in overview.NOTES),
    ]
    if folder := documents.documents_folder():
        sections.append(_section("Documents", [f"{_INDENT}{folder}"]))
    return "".join(sections)


def _section(title: str, lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in ("", f"{title}:", *lines))


def defined(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield the lines of names with texts beside them; the text of a long name is below it.

    Args:
        rows: the names and their texts.
        width: of the terminal, in cells.
    """
    rows = list(rows)
    column = min(max(len(name) for name, _ in rows), _LONGEST_NAME) + len(_INDENT)
    room = max(width - column - len(_INDENT), _SHORTEST_TEXT)
    for name, text in rows:
        lines = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
        if len(name) > _LONGEST_NAME:
            yield f"{_INDENT}{name}"
            lines = ["", *lines]
        else:
            yield f"{_INDENT}{name:<{column}}{lines[0] if lines else ''}".rstrip()
        yield from (f"{_INDENT}{'':<{column}}{line}" for line in lines[1:])
