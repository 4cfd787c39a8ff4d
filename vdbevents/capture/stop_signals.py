"""Signals that end a capture: the first stops it, the second skips waiting, the third exits at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from vdbevents.sessions.interfaces import Reporter
from vdbevents.sessions.waiting import Waiting


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into requests to stop."""

    def __init__(self, waiting: Waiting, say: Reporter, leave: Callable[[], None]) -> None:
        """Handle signals from now on; an ignored SIGHUP, as under `nohup`, stays ignored.

        Args:
            waiting: gets the requests.
            say: shows what a signal does.
            leave: called before the third signal ends the process; must not block.
        """
        self._waiting = waiting
        self._say = say
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._handled: list[signal.Signals] = []
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue
            self._handled.append(number)
            try:
                self._loop.add_signal_handler(number, self._handle, number)
            except NotImplementedError:  # Windows' event loop
                signal.signal(number, lambda n, _: self._loop.call_soon_threadsafe(self._handle, n))

    def release(self) -> None:
        """Ignore the next signal; the one after exits, in case nothing reads the summary from stdout."""
        received: list[int] = []

        def handle(number: int, _: object) -> None:
            received.append(number)
            if len(received) > 1:
                os._exit(128 + number)

        for number in self._handled:
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            signal.signal(number, handle)

    def _handle(self, number: int) -> None:
        self._waiting.request_stop()
        if self._waiting.stop_requests == 1:
            self._say("stopping … (Ctrl-C again to skip waiting)")
        elif self._waiting.stop_requests == 2:  # noqa: PLR2004 - see the module's first line
            self._say("skipping waiting (Ctrl-C again to exit at once)")
        else:
            self._leave()
            os._exit(128 + number)
