"""Show long text in a pager, as git does.

click's pager is not used: it needs a terminal on stdin, takes no shell command in $PAGER, kills the pager on
an error before its text is read, and hides other broken pipes. 15 of the 37 tests fail with it.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import subprocess
    from types import FrameType

    from vdbevents.query.output.rows import Sink

# Unless the user has set them: print what fits on the screen, and show colours.
_DEFAULTS = {"LESS": "FRX", "LV": "-c"}
# Characters that need a shell; words, quotes and backslashes do not.
_OF_THE_SHELL = frozenset("|&;<>()$`*?[#~=%\n")


@contextlib.contextmanager
def paged(output: BinaryIO, environ: Mapping[str, str], *, wanted: bool) -> Iterator["Sink"]:
    """Yield a pager's input if `wanted` and `output` is a terminal, else `output`; wait for the pager's end.

    If the user quits the pager earlier, writing ends the context's body, without an error.

    Args:
        output: where the pager shows the text, after what was written there before.
        environ: passed to the pager; `VDBEVENTS_PAGER`, else `PAGER`, else `less` names it; empty or `cat`:
            none. It must be the user's own environment, as it names a program to run.
        wanted: False for no pager.
    """
    command = pager_command(environ) if wanted and not output.closed and output.isatty() else None
    process = None if command is None else _start(command, output, environ)
    if process is None or process.stdin is None:
        yield output
        return
    with _one_interrupt() as interrupts:
        try:
            yield _PagerInput(process.stdin)
        except _PagerGoneError:
            pass  # the user has seen enough
        finally:
            interrupts.ignored = True
            with contextlib.suppress(OSError):
                process.stdin.close()
            # Two programs must not read one terminal.
            process.wait()


def pager_command(environ: Mapping[str, str]) -> str | None:
    """Return the pager that the environment names; None for no pager."""
    # On such a terminal `less` would only complain. Windows needs no TERM.
    if environ.get("TERM", "" if os.name == "posix" else "windows") in ("", "dumb"):
        return None
    command = environ.get("VDBEVENTS_PAGER", environ.get("PAGER"))
    if command is None:
        import shutil

        command = "less" if shutil.which("less", path=environ.get("PATH")) else ""
    command = command.strip()
    return None if command in ("", "cat") else command


class _PagerGoneError(BrokenPipeError):
    """The pager has ended; no other broken pipe raises this."""


class _PagerInput:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            # Windows reports a pipe without a reader as an invalid argument.
            if isinstance(error, BrokenPipeError) or (
                sys.platform == "win32" and error.errno == errno.EINVAL
            ):
                raise _PagerGoneError(*error.args) from error
            raise


def _start(command: str, output: BinaryIO, environ: Mapping[str, str]) -> "subprocess.Popen[bytes] | None":
    """Start a pager; return None if that fails, so that the text is printed."""
    import shlex
    import subprocess

    output.flush()
    # Without a shell if possible: only then a missing program is noticed.
    shell = os.name == "posix" and not _OF_THE_SHELL.isdisjoint(command)
    environ = {**_DEFAULTS, **environ}
    try:
        # Windows splits the command itself: a backslash is part of a path there.
        arguments = shlex.split(command) if os.name == "posix" and not shell else command
        return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=output, env=environ, shell=shell)
    except (OSError, ValueError, IndexError):
        return None  # no such program, or a quote that is not closed


class _Interrupts:
    ignored = False


@contextlib.contextmanager
def _one_interrupt() -> Iterator[_Interrupts]:
    """End the writing at the first Ctrl-C, and ignore the others, or all once `ignored` is set.

    The pager gets Ctrl-C as well, takes it for a key and lives on. A second one, right after the first, would
    end the wait for the pager before it begins.
    """
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupts
        return
    raise_interrupt = before

    def on_interrupt(number: int, frame: "FrameType | None") -> None:
        if not interrupts.ignored:
            interrupts.ignored = True
            raise_interrupt(number, frame)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
