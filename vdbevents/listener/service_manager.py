"""Tell the service manager that started this process how it is: systemd's `sd_notify` protocol.

Each message is a datagram to the socket in `NOTIFY_SOCKET`. Without that variable nothing is sent.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final

from vdbevents.terminal import harmless

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What a service manager tells the process that it starts, and no child of it."""

# A sign of life may come late; three in a row may not.
_SIGNS_IN_TIME_LIMIT: Final = 4
_LONGEST_STATUS: Final = 500
# A busy manager takes a moment to read.
_SEND_SECONDS: Final = 0.1


class ServiceManager:
    """The manager of this service, or nobody. Nothing here raises, or blocks for long.

    Attributes:
        watchdog_seconds: it ends a service that gives no sign of life for so long; None: never.
    """

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        """Send nothing yet.

        Args:
            address: the path of its socket, or `@` and an abstract name; empty: nobody listens.
            watchdog_seconds: see the class.
        """
        # Linux's abstract names begin with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""
        self._is_ready = False
        self.watchdog_seconds = watchdog_seconds if address else None

    @classmethod
    def take_from(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Return the manager that the environment names, and remove it there.

        A child process must not speak for this one.
        """
        address, watchdog, pid = (environ.pop(name, "") for name in VARIABLES)
        if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
            return cls()
        is_ours = pid in ("", str(os.getpid()))
        seconds = int(watchdog) / 1e6 if is_ours and watchdog.isascii() and watchdog.isdigit() else 0.0
        return cls(address, seconds or None)

    def show(self, status: str, *, is_ready: bool) -> None:
        """Send what changed: the status, and once that the service is ready."""
        # On one line: the next one would be taken for another message.
        text = harmless(status)[:_LONGEST_STATUS]
        is_ready = is_ready or self._is_ready
        lines = ["READY=1"] if is_ready and not self._is_ready else []
        if text != self._status:
            lines.append(f"STATUS={text}")
        # What does not arrive is sent again with the next change.
        if lines and self._send("\n".join(lines)):
            self._is_ready, self._status = is_ready, text

    def stopping(self) -> None:
        """Send that the service ends: from now on only the time limit of its end counts."""
        self._send("STOPPING=1")

    async def keep_alive(self, ask: Callable[[Callable[[], None]], object]) -> None:
        """Send signs of life until cancelled, as long as the loop runs and another thread answers.

        Args:
            ask: has that thread call what it is given. Whatever holds the thread up for longer than
                `watchdog_seconds` counts as a hang of the service.
        """
        if self.watchdog_seconds is None:
            return
        answers = [True]
        while True:
            if answers:
                self._send("WATCHDOG=1")
                answers = []
                ask(lambda given=answers: given.append(True))  # type: ignore[misc]
            await asyncio.sleep(self.watchdog_seconds / _SIGNS_IN_TIME_LIMIT)

    def _send(self, text: str) -> bool:
        if not self._address:
            return False
        # A manager that is gone, or does not read, must not disturb the recording.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(_SEND_SECONDS)
            sending.sendto(text.encode("utf-8", "replace"), self._address)
            return True
        return False
