"""Where the `vdbevents` command begins: what is plain runs without typer, and all else with it."""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vdbevents import __version__
from vdbevents.cli.overview import COMMANDS
from vdbevents.cli.surroundings import is_completing, is_silent

if TYPE_CHECKING:
    from vdbevents.cli.diagnostics import ExitCode

_INTERRUPTED = 130


def run() -> None:
    """Run the `vdbevents` command."""
    _fill_closed_streams()
    try:
        code = _run_plainly(sys.argv[1:])
        if code is not None:
            sys.exit(code)
        from vdbevents.cli.app import run_with_typer

        run_with_typer()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except OSError as error:
        # What is printed outside of commands: the help, the version.
        sys.exit(_refuse_output(error))


def _run_plainly(words: list[str]) -> int | None:
    """Run the command of a plain command line, and return its exit code; None if typer must read it."""
    # A shell on Windows leaves it to the program to expand * and %NAME%.
    if is_completing(os.environ) or os.name == "nt":
        return None
    if words in (["-h"], ["--help"], ["help"]):
        return _print_help()
    if words == ["--version"]:
        return _print(f"vdbevents {__version__}\n")
    # What is set may be wrong: only with the options of all commands is that known.
    if words[:1] == ["config"] or not (words and words[0] in COMMANDS and is_silent(os.environ)):
        return None
    module = importlib.import_module(f"vdbevents.cli.{words[0]}")
    command = getattr(getattr(module, words[0], None), "__wrapped__", None)
    if command is None or hasattr(module, "COMMAND"):
        return None
    from vdbevents.cli.command import ended
    from vdbevents.cli.declared import parameters_of
    from vdbevents.cli.plain_words import read_plainly

    values = read_plainly(parameters_of(command), words[1:])
    return None if values is None else ended(command, values)


def _print_help() -> int | None:
    from vdbevents.cli.program_help import plain_help

    text = plain_help()
    return None if text is None else _print(text)


def _print(text: str) -> int:
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _refuse_output(error: OSError) -> "ExitCode":
    from vdbevents.cli.command import exhaustion, silence_stdout
    from vdbevents.cli.diagnostics import Diagnostics, ExitCode

    exhausted = exhaustion(error)
    if exhausted is None:
        raise error
    silence_stdout()
    diagnostics = Diagnostics()
    diagnostics.error(exhausted)
    diagnostics.flush()
    return ExitCode.STORAGE


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
