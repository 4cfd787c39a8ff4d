"""The application: the list of commands, loaded one by one."""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, get_args

import typer

from vdbevents import __version__
from vdbevents.cli.command_classes import CommandGroup, Program, ProgramCommand
from vdbevents.cli.declared import (
    REQUIRED,
    Argument,
    CommandParameter,
    InvalidValueError,
    declaration_of,
    parameters_of,
)
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.overview import COMMANDS, PROGRAM
from vdbevents.cli.program_help import LONGEST_LINE
from vdbevents.cli.surroundings import is_completing, is_silent, words_before

_Result = TypeVar("_Result")

app = typer.Typer(
    name="vdbevents",
    cls=Program,
    help=PROGRAM,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": LONGEST_LINE},
)


def run_with_typer() -> None:
    """Run the `vdbevents` command, or complete a word of it."""
    completing = is_completing(os.environ)
    words = words_before(os.environ) if completing else sys.argv[1:]
    wanted = next(iter(words), "")
    is_alone = wanted in COMMANDS and wanted != "config" and is_silent(os.environ)
    # Building the options of thirty commands takes as long as most of them run.
    if words in ([], ["-h"], ["--help"], ["help"]):
        # What it shows of them is in `overview`.
        sys.argv[1:] = ["--help"] if sys.argv[1:] == ["help"] else sys.argv[1:]
        _add_commands(())
    else:
        _add_commands([wanted] if is_alone or (completing and wanted in COMMANDS) else COMMANDS)
    _complete() if completing else app()


def whole_app() -> typer.Typer:
    """Return the application with all its commands."""
    _add_commands(COMMANDS)
    return app


def _add_commands(names: Iterable[str]) -> None:
    app.registered_commands.clear()
    app.registered_groups.clear()
    for name in names:
        module = importlib.import_module(f"vdbevents.cli.{name}")
        group = getattr(module, f"{name}_app", None)
        if group is not None:
            for command in group.registered_commands:
                command.cls = ProgramCommand
                hand_to_typer(command.callback)
            app.add_typer(group, name=name, cls=getattr(module, "GROUP", CommandGroup))
        else:
            add = app.command(
                help=getattr(module, "HELP", None), cls=getattr(module, "COMMAND", ProgramCommand)
            )
            add(hand_to_typer(getattr(module, name)))


def hand_to_typer(command: Callable[..., Any]) -> Callable[..., Any]:
    """Have typer find its own declarations in a command's signature; return the command."""
    signature = inspect.Signature([_for_typer(parameter) for parameter in parameters_of(command)])
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


def _for_typer(parameter: CommandParameter) -> inspect.Parameter:
    default = inspect.Parameter.empty if parameter.default is REQUIRED else parameter.default
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=_annotation_for_typer(parameter),
    )


def _annotation_for_typer(parameter: CommandParameter) -> Any:  # noqa: ANN401 - any type
    declared = declaration_of(parameter)
    if declared is None:
        return parameter.annotation
    settings = dict(declared.settings)
    if settings["parser"] is not None:
        settings["parser"] = _parser_for_typer(settings["parser"])
    make = typer.Argument if isinstance(declared, Argument) else typer.Option
    return Annotated[get_args(parameter.annotation)[0], make(*declared.names, **settings)]


def _parser_for_typer(parse: Callable[[Any], _Result]) -> Callable[[Any], _Result]:
    @functools.wraps(parse)
    def parsed(value: Any) -> _Result:  # noqa: ANN401 - a text, or the default
        try:
            return parse(value)
        except InvalidValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parsed


def _complete() -> None:
    """Complete a word; a shell that asks for that shows no error."""
    try:
        app()
    except Exception:  # noqa: BLE001 - whatever it is, there is nothing to complete
        sys.exit(ExitCode.DONE)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's form of a callback
    if wanted:
        print(f"vdbevents {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: FBT002 - typer's form of an option
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
