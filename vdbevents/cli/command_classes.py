"""The classes of all commands: how their help is laid out, and which words they take beside their options.

Each command takes old names of its options, and for each option that the configuration can set a `--no-`
form, which gives it its default again. A path on the command line counts more than one in the configuration.
"""

import contextlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup, TyperOption

from vdbevents.cli import documents, overview
from vdbevents.cli.completion import complete_values
from vdbevents.cli.configuration import ConfiguredGroup, can_be_set, commands_of, name_of
from vdbevents.cli.diagnostics import columns_of, is_terminal
from vdbevents.cli.help_layout import laid_out
from vdbevents.cli.old_names import old_names_of
from vdbevents.cli.program_help import defined, program_help
from vdbevents.cli.surroundings import is_completing
from vdbevents.terminal import broken_between_words

_INDENT: Final = "  "
_ERROR: Final = "Error: "
_DESCRIBED: Final = re.compile(r"\[default: \(([^()]*)\)")
# Parameters, and those that say the same in another form.
_SAME: Final = {
    "directory": ("named_directory",),
    "journal": ("named_directory", "named_file", "directories", "files"),
    "as_json": ("output",),
    "output": ("as_json",),
}


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
        names = documents.named_in(self.help or "")
        folder = documents.documents_folder() if names else None
        if folder is not None:
            with formatter.section("Documents"):
                _write(formatter, "\n".join(str(folder / name) for name in names))


class ProgramCommand(_LaidOut, TyperCommand):
    """A command."""

    def make_parser(self, ctx: Any) -> Any:  # noqa: ANN401
        """Return click's parser, which also takes old names and `--no-` forms."""
        with _more_names(self, ctx):
            parser = super().make_parser(ctx)
        resets = {form: option for form, option in no_forms(self).items() if not option.is_flag}
        for form, option in resets.items():
            parser.add_option(obj=option, opts=[form], dest=form, action="store_const", const=True)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:  # noqa: ANN401
            values, rest, order = parse(args=args)
            for form, option in resets.items():
                if values.pop(form, False) and ctx.default_map:
                    ctx.default_map.pop(option.name, None)
            return values, rest, order

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Parse a command line; what it has counts more than what the configuration has in another form."""
        rest = super().parse_args(ctx, args)
        by_name = {it.name: it for it in self.params}
        for name, others in _SAME.items():
            for other in others if _is_given(ctx, name) else ():
                if other in by_name and not _is_given(ctx, other):
                    option = by_name[other]
                    is_none = option.default is None
                    ctx.params[other] = None if is_none else option.type_cast_value(ctx, option.default)
        return rest

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the arguments and options."""
        records = [(it.param_type_name, it.get_help_record(ctx)) for it in self.get_params(ctx)]
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            rows = [record for one, record in records if one == kind and record is not None]
            if rows:
                # typer puts a default that is described, not shown, in parentheses.
                _write_rows(
                    formatter, title, [(name, _DESCRIBED.sub(r"[default: \1", text)) for name, text in rows]
                )


def _is_given(ctx: Any, name: str) -> bool:  # noqa: ANN401
    """Return whether a parameter is on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def no_forms(command: TyperCommand) -> dict[str, TyperOption]:
    """Return the options of a command that the configuration can set, by the form that undoes it.

    An option with two forms, such as `--cache/--no-cache`, is undone by them.
    """
    options = [option for option in command.params if isinstance(option, TyperOption)]
    names = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    forms = {}
    for option in options:
        if can_be_set(option) and not option.secondary_opts:
            name = name_of(option)
            form = f"--{name.removeprefix('no-')}" if name.startswith("no-") else f"--no-{name}"
            form = f"--no-{name}" if form in names else form
            if form not in names:
                forms[form] = option
    return forms


@contextlib.contextmanager
def _more_names(command: TyperCommand, ctx: Any) -> Iterator[None]:  # noqa: ANN401
    """Let options have names that no help shows."""
    by_name = {name: it for it in command.params if isinstance(it, TyperOption) for name in it.opts}
    added = [(by_name[present].opts, old) for old, present in old_names_of(_path_of(ctx)).items()]
    added += [(it.secondary_opts, form) for form, it in no_forms(command).items() if it.is_flag]
    for names, name in added:
        names.append(name)
    try:
        yield
    finally:
        for names, name in added:
            names.remove(name)


def _path_of(ctx: Any) -> str:  # noqa: ANN401
    """Return a command as typed after `vdbevents`."""
    names = []
    while ctx.parent is not None:
        names.append(str(ctx.info_name))
        ctx = ctx.parent
    return " ".join(reversed(names))


class CommandGroup(_LaidOut, TyperGroup):
    """A group of commands."""

    def _rows(self) -> list[tuple[str, str]]:
        """Return the commands with their first sentences, whole."""
        return [(name, _first_line(it.help)) for name, it in self.commands.items() if not it.hidden]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the commands."""
        _write_rows(formatter, "Commands", self._rows())

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401
        """Return the commands and options that begin with a word."""
        return [
            *_completed(self._rows(), ctx, incomplete),
            *TyperCommand.shell_complete(self, ctx, incomplete),
        ]


class DefaultedGroup(CommandGroup):
    """A group of commands of which the first one runs where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Put the first command's name before words that name none."""
        if (
            not args or args[0] not in {*self.commands, *ctx.help_option_names}
        ) and not ctx.resilient_parsing:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


class Program(_LaidOut, ConfiguredGroup):
    """The program, whose help, and the completion of a command's name, need no command to be loaded."""

    def main(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's signature
        """Run it, or complete a word for a shell."""
        if is_completing(os.environ):
            complete_values(command for _, command in commands_of(self))
        return super().main(*arguments, **extra)

    def make_context(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401
        """Read the words before a command's name."""
        with _in_lines():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Read the words of a command, and run it."""
        with _in_lines():
            return super().invoke(ctx)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401
        """Return the commands and options that begin with a word."""
        rows = [row for group in overview.GROUPS.values() for row in group.items()]
        return [*_completed(rows, ctx, incomplete), *TyperCommand.shell_complete(self, ctx, incomplete)]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the help."""
        self.format_usage(ctx, formatter)
        records = (it.get_help_record(ctx) for it in self.get_params(ctx))
        formatter.write(program_help(formatter.width, filter(None, records)))


@contextlib.contextmanager
def _in_lines() -> Iterator[None]:
    """Break click's own errors between words where they go to a terminal."""
    try:
        yield
    except Exception as error:
        text_of = getattr(error, "format_message", None)
        if text_of is not None and is_terminal(sys.stderr):
            text = broken_between_words(f"{_ERROR}{text_of()}", columns_of(sys.stderr), _INDENT)
            error.format_message = lambda: text.removeprefix(_ERROR)  # type: ignore[attr-defined]
        raise


def _completed(rows: list[tuple[str, str]], ctx: Any, incomplete: str) -> Any:  # noqa: ANN401
    """Return the rows whose name begins with a word, as a shell gets them."""
    helper = TyperOption(param_decls=["--command"], autocompletion=lambda *_: rows)
    return helper.shell_complete(ctx, incomplete)


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").split("\n", 1)[0]


def _write_rows(formatter: Any, title: str, rows: list[tuple[str, str]]) -> None:  # noqa: ANN401
    """Write a section of names and texts; click's own would break `--max-bytes` after its hyphen."""
    with formatter.section(title):
        _write(formatter, "\n".join(defined(rows, formatter.width)), "")


def _write(formatter: Any, text: str, indent: str = _INDENT) -> None:  # noqa: ANN401
    for line in text.split("\n"):
        formatter.write(f"{indent}{line}".rstrip() + "\n")
