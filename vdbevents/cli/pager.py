"""The pager: what is longer than the terminal is high is shown by `less`, as git does it."""

import contextlib
import errno
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from types import FrameType

    from _typeshed import ReadableBuffer

# Unless the user has said otherwise: what fits is just printed, and colours are shown.
_DEFAULTS = {"LESS": "FRX", "LV": "-c"}
# What only a shell understands; words, quotes and backslashes need none.
_OF_THE_SHELL = frozenset("|&;<>()$`*?[#~=%\n")


@contextlib.contextmanager
def paged(output: BinaryIO, environ: Mapping[str, str], *, wanted: bool) -> Iterator[BinaryIO]:
    """Gives where to write: the input of a pager if `wanted` and `output` is a terminal, else `output`.

    A pager has ended when the context is left. One that the user ends earlier ends the context's body where
    it writes, and that is no error.

    Args:
        output: where the pager shows it; what has been written to it comes first.
        environ: names the pager, and is handed to it. `VDBEVENTS_PAGER`, else `PAGER`, else `less`; empty or
            `cat`: none. It has to be the user's own, as it names a program to run.
        wanted: False for none, whatever the environment says.
    """
    command = pager_command(environ) if wanted and not output.closed and output.isatty() else None
    pager = None if command is None else _start(command, output, environ)
    if pager is None:
        yield output
        return
    with _one_interrupt() as interrupts:
        try:
            try:
                yield pager.stream
            finally:
                interrupts.ignored = True
        except _PagerGoneError:
            # The user has seen enough.
            pass
        finally:
            pager.finish()


def pager_command(environ: Mapping[str, str]) -> str | None:
    """The pager that the environment asks for; None where there is to be none."""
    # `less` can do nothing with such a terminal but complain. Windows needs no TERM.
    if environ.get("TERM", "" if os.name == "posix" else "windows") in ("", "dumb"):
        return None
    chosen = environ.get("VDBEVENTS_PAGER", environ.get("PAGER"))
    if chosen is None:
        chosen = "less" if shutil.which("less", path=environ.get("PATH")) else ""
    chosen = chosen.strip()
    return None if chosen in ("", "cat") else chosen


class _PagerGoneError(BrokenPipeError):
    """The pager reads no more; nobody else's pipe raises this."""


class _PagerInput(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # Windows calls a pipe that nobody reads an invalid argument.
            if isinstance(error, BrokenPipeError) or (
                sys.platform == "win32" and error.errno == errno.EINVAL
            ):
                raise _PagerGoneError(*error.args) from error
            raise


class _Pager:
    def __init__(self, process: "subprocess.Popen[bytes]", writing: int) -> None:
        self._process = process
        self.stream = io.BufferedWriter(_PagerInput(writing, "wb"))

    def finish(self) -> None:
        """Hands over the rest, and waits: two programs must not read one terminal."""
        try:
            with contextlib.suppress(_PagerGoneError):
                self.stream.close()
        finally:
            self._process.wait()


def _start(command: str, output: BinaryIO, environ: Mapping[str, str]) -> _Pager | None:
    """Starts a pager; None if that cannot be, and then all can still be printed."""
    output.flush()
    reading, writing = os.pipe()
    try:
        process = _run(command, reading, output, {**_DEFAULTS, **environ})
    except (OSError, ValueError):
        # There is no such program, or a quote is not closed.
        os.close(writing)
        return None
    finally:
        os.close(reading)
    return _Pager(process, writing)


def _run(
    command: str, reading: int, output: BinaryIO, environ: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    arguments: str | list[str] = command
    # Without a shell where none is needed, for only so is it known whether the program is there.
    shell = os.name == "posix" and not _OF_THE_SHELL.isdisjoint(command)
    if os.name == "posix" and not shell:
        arguments = shlex.split(command)
    # On Windows the system itself takes the line apart: a backslash is part of a path there.
    return subprocess.Popen(arguments, stdin=reading, stdout=output, env=environ, shell=shell)


class _Interrupts:
    ignored = False


@contextlib.contextmanager
def _one_interrupt() -> Iterator[_Interrupts]:
    """Has the first Ctrl-C end the writing, and ignores the others, or all once `ignored` is set.

    Ctrl-C goes to the pager as well, which takes it for one of its keys and lives on. A second one that came
    on the heels of the first would end the wait for it before that has begun.
    """
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupts
        return
    raising = before

    def on_interrupt(number: int, frame: "FrameType | None") -> None:
        if not interrupts.ignored:
            interrupts.ignored = True
            raising(number, frame)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
