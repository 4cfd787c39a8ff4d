"""The classes of all commands: how their help is laid out, and the help of the program itself."""

import inspect
import re
from pathlib import Path
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

from vdbevents.cli import overview
from vdbevents.cli.configuration import ConfiguredGroup
from vdbevents.cli.help_layout import laid_out

_DOCUMENT: Final = re.compile(r"\bdocs/([\w-]+\.md)\b")
_INDENT: Final = "  "
_PACKAGE: Final = Path(__file__).resolve().parent.parent


def documents_folder() -> Path | None:
    """Return the folder of the documents that the help names: in the package, or beside it in a checkout."""
    for folder in (_PACKAGE / "docs", _PACKAGE.parent / "docs"):
        if (folder / "cli.md").is_file():
            return folder
    return None


class _LaidOut:
    """Format the text of a command's help, and end it with the documents that it names."""

    help: str | None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - click's
        """Write the text."""
        if self.help:
            formatter.write_paragraph()
            _write(formatter, laid_out(inspect.cleandoc(self.help), formatter.width - len(_INDENT)))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the path of each document that the text names, each on a line that nothing breaks."""
        folder = documents_folder()
        names = dict.fromkeys(_DOCUMENT.findall(self.help or ""))
        if folder is not None and names:
            formatter.write_paragraph()
            formatter.write("Documents:\n")
            _write(formatter, "\n".join(str(folder / name) for name in names))


class ProgramCommand(_LaidOut, TyperCommand):
    """A command."""


class CommandGroup(_LaidOut, TyperGroup):
    """A group of commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the first sentence of each command whole."""
        rows = [
            (name, _first_line(command.help)) for name, command in self.commands.items() if not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Program(_LaidOut, ConfiguredGroup):
    """The program, whose help needs no command to be loaded."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the commands by subject."""
        width = max(len(name) for group in overview.GROUPS.values() for name in group)
        for title, commands in overview.GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the commands and examples before the options."""
        self.format_commands(ctx, formatter)
        with formatter.section("Examples"):
            _write(formatter, "\n".join(overview.EXAMPLES))
        TyperCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the variables, the exit codes, and where the documents are."""
        with formatter.section("Environment"):
            formatter.write_dl(list(overview.ENVIRONMENT.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{code:<3}", text) for code, text in overview.EXIT_CODES.items()])
        formatter.write_paragraph()
        _write(formatter, laid_out("\n\n".join(overview.NOTES), formatter.width), indent="")
        if folder := documents_folder():
            with formatter.section("Documents"):
                _write(formatter, str(folder))


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").split("\n", 1)[0]


def _write(formatter: Any, text: str, indent: str = _INDENT) -> None:  # noqa: ANN401
    for line in text.split("\n"):
        formatter.write(f"{indent}{line}".rstrip() + "\n")
