"""Helpers of all commands: exit codes, Ctrl-C, checks of options, output."""

import contextlib
import errno
import functools
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vdbevents.cli.declared import parameters_of
from vdbevents.cli.diagnostics import Diagnostics, ExitCode, LogFormat, exit_code_of
from vdbevents.cli.options import expand_groups
from vdbevents.errors import InputError, StorageError, VdbeventsError

LONGEST_CALL_SECONDS: Final = 20.0
"""The time limit of one call of the service."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# Windows has no SIGHUP.
_TERMINATING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_SHORTEST_TOKEN_MS: Final = 60_000
_LONGEST_TOKEN_MS: Final = 10 * 366 * 86_400_000


def reports(command: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """Expand a command's option groups, and end the program with what it returns or raises.

    The command itself stays in `__wrapped__`, for `ended`.
    """
    command = expand_groups(command)

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:  # noqa: ANN401 - any command's
        sys.exit(ended(command, options))

    wrapped.parameters = parameters_of(command)  # type: ignore[attr-defined]
    return wrapped


def ended(command: Callable[..., ExitCode | None], options: Mapping[str, Any]) -> int:
    """Run a command; turn what it returns or raises into messages, and return its exit code."""
    diagnostics = Diagnostics(log_format=options.get("log_format", LogFormat.TEXT))
    return reported(functools.partial(command, **options), diagnostics)


def reported(command: Callable[[], ExitCode | None], diagnostics: Diagnostics) -> int:
    """Return the exit code of a command; print the error that it raises."""
    code: int = ExitCode.DONE
    try:
        code = command() or ExitCode.DONE
        sys.stdout.flush()
    except VdbeventsError as error:
        diagnostics.error(error)
        code = exit_code_of(error)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe: not an error, and nothing to flush at exit.
        silence_stdout()
    except Exception as error:  # noqa: BLE001 - an unexpected exception is reported as a bug
        code = _report(error, diagnostics)
    diagnostics.flush()
    return code


def _report(error: Exception, diagnostics: Diagnostics) -> ExitCode:
    """Report an exception that no command expects: the machine has run out of something, or it is a bug."""
    exhausted = exhaustion(error)
    if exhausted is None:
        diagnostics.bug()
        return ExitCode.BUG
    silence_stdout()
    diagnostics.error(exhausted)
    return exit_code_of(exhausted)


def unwritable_output(error: OSError) -> StorageError:
    """Return the error of a file, or of stdout, that takes no more."""
    return StorageError(
        f"writing failed on {error.filename or 'the output'}: {error.strerror or error}",
        "free some space, or write to another disk",
        error_id="output-unwritable",
    )


def exhaustion(error: BaseException) -> StorageError | None:
    """Return the error to report where the disk, the memory or the threads of a machine are used up."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return unwritable_output(error)
    # Python has no class of its own for it.
    is_thread = isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    is_process = isinstance(error, BlockingIOError) and error.strerror == os.strerror(errno.EAGAIN)
    if is_thread or is_process:
        return StorageError(
            f"cannot start a {'thread' if is_thread else 'process'}: "
            "this user's or container's limit is reached",
            "end other programs, or raise the limit: ulimit -u",
            error_id="threads-exhausted",
        )
    if isinstance(error, MemoryError):
        return StorageError(
            "out of memory", "end other programs, or ask for less", error_id="memory-exhausted"
        )
    return None


def run_in_order(*, low_priority: bool) -> None:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does, so that nothing unfinished stays.

    Args:
        low_priority: whether other processes come first.
    """
    for number in _TERMINATING:
        # `nohup` has it ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    if low_priority and hasattr(os, "nice"):
        os.nice(19)


@contextlib.contextmanager
def interrupts_held() -> Iterator[threading.Event]:
    """Hold back Ctrl-C, and SIGTERM and SIGHUP if they raise too: they set the event that this yields.

    Raises:
        KeyboardInterrupt: at the end, if the event was set. If the body raises it itself, the signals stay
            held back, so that nothing disturbs the end of the process.
    """
    numbers = [
        number
        for number in (signal.SIGINT, *_TERMINATING)
        if signal.getsignal(number) is signal.default_int_handler
    ]
    interrupted, is_ending = threading.Event(), False
    for number in numbers:
        signal.signal(number, lambda _number, _frame: interrupted.set())
    try:
        yield interrupted
    except KeyboardInterrupt:
        is_ending = True
        raise
    finally:
        if not is_ending:
            for number in numbers:
                signal.signal(number, signal.default_int_handler)
            if interrupted.is_set():
                raise KeyboardInterrupt


def require_finite(**limits: float | None) -> None:
    """Check that no option is `nan` or `inf`: `connect_timeout=…` is named `--connect-timeout`.

    Raises:
        InputError: one is.
    """
    for name, value in limits.items():
        if value is not None and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option}: must be finite, got {value}", "give a finite number", error_id="number-not-finite"
            )


def require_text(*values: str | None) -> None:
    """Check that values can be encoded, which bytes of another encoding cannot.

    Raises:
        InputError: one cannot.
    """
    for value in values:
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            raise InputError(
                f"not text: {value!a}", "write it in this terminal's encoding", error_id="text-invalid"
            ) from None


def with_unit(length: str, following: Path | None) -> tuple[str, Path | None]:
    """Return a length, with the next argument as its unit if it is one (`30 minutes`); and what is left."""
    from vdbevents.times import is_duration

    whole = f"{length} {following}"
    return (whole, None) if length.isdecimal() and is_duration(whole) else (length, following)


def token_seconds(option: str, text: str) -> int:
    """Return the seconds of an option that says how long a client token is valid: `24h`, `7d`.

    Raises:
        InputError: it is not a duration between a minute and ten years.
    """
    from vdbevents.times import parse_duration

    milliseconds = parse_duration(option, text)
    if milliseconds < _SHORTEST_TOKEN_MS:
        raise InputError(
            f"{option}: must be at least 1m, got {text}", "use 1m or more", error_id="token-ttl-short"
        )
    if milliseconds > _LONGEST_TOKEN_MS:
        raise InputError(
            f"{option}: must be at most ten years, got {text}",
            "create another token before this one expires",
            error_id="token-ttl-long",
        )
    return math.ceil(milliseconds / 1000)


def as_json(value: object, *, indent: int | None = 2) -> str:
    """Format a value as JSON in ASCII, which is safe on any terminal."""
    return json.dumps(value, indent=indent)


def put(text: str, end: str = "\n") -> None:
    """Print data at once; replace characters that the terminal's encoding lacks."""
    sys.stdout.buffer.write(f"{text}{end}".encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.flush()


def silence_stdout() -> None:
    """Send further output nowhere, after the reader has closed the pipe."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def default_end_user() -> str:
    """Return `user@host`, the end user of a session without another."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user without an entry and without a variable, as in many containers.
        user = "user"
    return f"{user}@{socket.gethostname() or 'localhost'}"
