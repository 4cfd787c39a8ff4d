"""End a command on SIGTERM and SIGHUP as on Ctrl-C: in order, so that nothing temporary stays."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, Never

from vdbevents.query import scratch

# Windows has no SIGHUP.
_TERMINATING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


# The signals so far that ask the process to end.
_received: Final[list[int]] = []


class TerminatedError(BaseException):
    """The process was asked to end.

    Like KeyboardInterrupt it is not an Exception: nothing may take it for a failure and go on.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Unwind on SIGTERM and SIGHUP, and then end the process by that signal; for the main thread.

    All temporary folders are gone then, also after Ctrl-C: a signal may come between the making of one and
    the `with` that removes it. A signal that is ignored (`nohup`), or has a handler, keeps that. Within
    another such context it only unwinds.
    """
    numbers = [number for number in _TERMINATING if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _terminate)
    number = None
    try:
        yield
    except KeyboardInterrupt:
        scratch.remove_all()
        raise
    except TerminatedError as error:
        scratch.remove_all()
        if error.number not in numbers:
            raise
        number = error.number
    finally:
        for restored in numbers:
            signal.signal(restored, signal.SIG_DFL)
    if number is not None:
        os.kill(os.getpid(), number)


def is_ending(number: int) -> bool:
    """Return whether a signal is one that ends this process by an exception."""
    return signal.getsignal(number) in (signal.default_int_handler, _terminate)


def interruption() -> BaseException:
    """Return what to raise where a library has swallowed what a signal raised, as DuckDB does."""
    return TerminatedError(_received[0]) if _received else KeyboardInterrupt()


def _terminate(number: int, _: FrameType | None) -> Never:
    _received.append(number)
    raise TerminatedError(number)
