"""The application: the list of commands, loaded one by one."""

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer

from vdbevents import __version__
from vdbevents.cli.command_classes import CommandGroup, Program, ProgramCommand
from vdbevents.cli.completion import is_completing, words_before
from vdbevents.cli.configuration import is_silent
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.overview import GROUPS

app = typer.Typer(
    name="vdbevents",
    cls=Program,
    help="Save and search the events of a desktop recorded with VideoDB.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


COMMANDS: Final = tuple(name for group in GROUPS.values() for name in group)
"""The commands and groups of commands, in the order of `--help`: each is a module of `vdbevents.cli`.

The module `x` has a function `x`, and its `HELP`, or a group of commands `x_app`. It may have a `COMMAND`, or
a `GROUP`: the class that parses its command line.
"""


def run() -> None:
    """Run the `vdbevents` command."""
    _fill_closed_streams()
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
    try:
        _complete() if completing else app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:
        # What click prints by itself: the help, the version.
        sys.exit(_refuse_output(error))


def _refuse_output(error: OSError) -> ExitCode:
    from vdbevents.cli.command import exhaustion, silence_stdout
    from vdbevents.cli.diagnostics import Diagnostics

    exhausted = exhaustion(error)
    if exhausted is None:
        raise error
    silence_stdout()
    diagnostics = Diagnostics()
    diagnostics.error(exhausted)
    diagnostics.flush()
    return ExitCode.STORAGE


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
            app.add_typer(group, name=name, cls=getattr(module, "GROUP", CommandGroup))
        else:
            add = app.command(
                help=getattr(module, "HELP", None), cls=getattr(module, "COMMAND", ProgramCommand)
            )
            add(getattr(module, name))


def _complete() -> None:
    """Complete a word; a shell that asks for that shows no error."""
    try:
        app()
    except Exception:  # noqa: BLE001 - whatever it is, there is nothing to complete
        sys.exit(ExitCode.DONE)


def _fill_closed_streams() -> None:
    # After `<&- >&- 2>&-` the next open files, such as the journal, would get the descriptors of the streams,
    # and then all that is written to a stream.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - until the end
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


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
