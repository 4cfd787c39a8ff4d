"""What the commands share: their common options, and how what they return or raise is told."""

import contextlib
import functools
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec

import typer

from vdbevents.cli.diagnostics import Color, Diagnostics, ExitCode, LogFormat, exit_code_of
from vdbevents.errors import InputError, VdbeventsError

_Parameters = ParamSpec("_Parameters")

LONGEST_CALL_SECONDS: Final = 20.0
"""What one call of the service may take at most."""

_SHORTEST_TOKEN_MS: Final = 60_000
_LONGEST_TOKEN_MS: Final = 10 * 366 * 86_400_000

Directory = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR",
        help="The state directory. Default: $VIDEODB_EVENTS_DIR, else $XDG_STATE_HOME/videodb, "
        "else ~/.local/state/videodb.",
        show_default=False,
    ),
]
JournalArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR|FILE",
        help="A state directory, or any journal. Default: as for listen.",
        show_default=False,
    ),
]
EnvironmentFile = Annotated[
    Path | None,
    typer.Option("--env-file", metavar="FILE", help="Read settings from this file instead of ./.env."),
]
WorkingDirectory = Annotated[
    Path | None, typer.Option("--cwd", metavar="PATH", help="Read the .env of this directory instead.")
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="How messages on stderr look; json: one object a line.")
]
ColorOption = Annotated[Color, typer.Option("--color", help="When to use colour.")]


def reports(command: Callable[_Parameters, ExitCode | None]) -> Callable[_Parameters, None]:
    """Turns what a command returns or raises into messages and an exit code."""

    @functools.wraps(command)
    def wrapped(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> None:
        chosen: dict[str, Any] = options
        diagnostics = Diagnostics(log_format=chosen.get("log_format", LogFormat.TEXT))
        code: int = ExitCode.DONE
        try:
            code = command(*arguments, **options) or ExitCode.DONE
            sys.stdout.flush()
        except VdbeventsError as error:
            diagnostics.error(error)
            code = exit_code_of(error)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has had enough: no error, and nothing more to flush at exit.
            silence_stdout()
        except typer.Exit:
            raise
        except Exception:  # noqa: BLE001 - what nobody foresaw is reported as the bug it is
            diagnostics.bug()
            code = ExitCode.BUG
        diagnostics.flush()
        raise typer.Exit(code)

    return wrapped


@contextlib.contextmanager
def interrupts_held() -> Iterator[threading.Event]:
    """Has Ctrl-C, and SIGTERM where it does the same, set an event instead of raising wherever it finds us.

    Raises:
        KeyboardInterrupt: it was set, and is only told now. Who raises it before has noticed, and ends the
            process, which neither disturbs any more.
    """
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is signal.default_int_handler
    ]
    asked, noticed = threading.Event(), False
    for number in numbers:
        signal.signal(number, lambda _number, _frame: asked.set())
    try:
        yield asked
    except KeyboardInterrupt:
        noticed = True
        raise
    finally:
        if not noticed:
            for number in numbers:
                signal.signal(number, signal.default_int_handler)
            if asked.is_set():
                raise KeyboardInterrupt


def environment(file: Path | None, directory: Path | None) -> dict[str, str]:
    """The environment, with what it does not set taken from a `.env` file."""
    if file is not None and not file.is_file():
        raise InputError(f"there is no file {file}", "name an existing file with --env-file")
    if directory is not None and not directory.is_dir():
        raise InputError(f"there is no directory {directory}", "name an existing directory with --cwd")
    path = file or (directory or Path()) / ".env"
    if not path.is_file():
        return dict(os.environ)
    from dotenv import dotenv_values

    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", "make it a readable UTF-8 file") from None
    return {**{name: value for name, value in values.items() if value is not None}, **os.environ}


def state_directory(argument: Path | None, environ: Mapping[str, str]) -> "Any":  # noqa: ANN401
    """The state directory that an argument or the environment names."""
    from vdbevents.journal.state import locate_state

    return locate_state(argument, environ, Path.home())


def journal_to_read(
    argument: Path | None,
    env_file: Path | None,
    cwd: Path | None,
    *,
    otherwise: str = "name a state directory, or the file of a journal",
) -> Path:
    """The journal that an argument, a file or a state directory, or the environment names.

    `otherwise` says what to do where nothing has the argument's name.

    Raises:
        InputError: there is none.
    """
    if argument is not None and argument.is_file():
        return argument
    path: Path = state_directory(argument, environment(env_file, cwd)).journal
    if path.is_file():
        return path
    if argument is not None and not argument.exists():
        raise InputError(f"there is no directory or file {argument}", otherwise)
    raise InputError(
        f"there is no journal in {path.parent}",
        f"record one with: vdbevents listen {path.parent}, or name another directory",
    )


def require_finite(**limits: float | None) -> None:
    """Sees that numbers can be counted with, which `nan` and `inf` cannot: options by their names.

    Raises:
        InputError: one cannot; `connect_timeout` is told of as `--connect-timeout`.
    """
    for name, value in limits.items():
        if value is not None and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} {value} is no number to count with", "give a finite one")


def require_text(*values: str | None) -> None:
    """Sees that what is to be sent is text, which bytes of another encoding are not.

    Raises:
        InputError: one is none.
    """
    for value in values:
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            raise InputError(f"{value!a} is no text", "write it in this terminal's encoding") from None


def token_seconds(option: str, text: str) -> int:
    """How long a client token is to be good, of an option that says it as `24h` or `7d`.

    Raises:
        InputError: it is no length of time, or none between a minute and ten years.
    """
    from vdbevents.times import parse_duration

    milliseconds = parse_duration(option, text)
    if milliseconds < _SHORTEST_TOKEN_MS:
        raise InputError(f"{option} {text} is too short to begin with", "give a minute at least")
    if milliseconds > _LONGEST_TOKEN_MS:
        raise InputError(
            f"{option} {text} is longer than ten years", "make another token before this one expires"
        )
    return math.ceil(milliseconds / 1000)


def as_json(value: object, *, indent: int | None = 2) -> str:
    """In ASCII: neither control characters nor what no encoding has reach a terminal."""
    return json.dumps(value, indent=indent)


def put(text: str) -> None:
    """Prints data, at once; what the terminal's encoding does not have is replaced."""
    sys.stdout.buffer.write(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.flush()


def silence_stdout() -> None:
    """Whoever read our output has had enough: what follows goes nowhere, and is no error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def default_end_user() -> str:
    """Who is recorded where nobody says: `user@host`."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user without an entry and without a variable, as in many containers.
        user = "user"
    return f"{user}@{socket.gethostname() or 'localhost'}"
