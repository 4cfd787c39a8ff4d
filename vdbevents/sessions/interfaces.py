"""Interfaces that callers of `capture` and `backend` implement: messages, and a listener. Pure."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading


class Reporter(Protocol):
    """Show a message to the user."""

    def __call__(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """Show `text`; a `problem` may have a `hint` how to fix it."""


class OwnListener(Protocol):
    """Start a listener where none runs, and stop it again."""

    def start(self, cancelled: "threading.Event") -> None:
        """Start a listener and return when it is connected; give up when `cancelled` is set.

        Raises:
            ListenerStateError: another one was faster.
            VdbeventsError: it could not be started.
        """

    def stop(self, seconds: float) -> bool:
        """Stop the listener if `start` started it and it still runs; return whether it did.

        Args:
            seconds: how long to wait for its end; 0 does not wait.
        """
