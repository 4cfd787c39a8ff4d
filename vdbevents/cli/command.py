"""What the commands share: their common options, and how what they return or raise is told."""

import contextlib
import functools
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import typer

from vdbevents.cli.diagnostics import Diagnostics, ExitCode, LogFormat, exit_code_of
from vdbevents.cli.options import expand_groups
from vdbevents.errors import InputError, VdbeventsError

LONGEST_CALL_SECONDS: Final = 20.0
"""What one call of the service may take at most."""

_SHORTEST_TOKEN_MS: Final = 60_000
_LONGEST_TOKEN_MS: Final = 10 * 366 * 86_400_000


def reports(command: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """Expand a command's option groups; turn what it returns or raises into messages and an exit code."""
    command = expand_groups(command)

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - any command's
        diagnostics = Diagnostics(log_format=options.get("log_format", LogFormat.TEXT))
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
