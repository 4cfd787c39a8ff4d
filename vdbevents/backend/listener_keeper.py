"""The listener of the backend's directory: started where none runs, and again when it dies."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from vdbevents.errors import ListenerStateError, VdbeventsError
from vdbevents.journal import locks, state
from vdbevents.sessions.interfaces import OwnListener, Reporter
from vdbevents.sessions.waiting import wait_for_connection_id

_WATCH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class ListenerKeeper:
    """Keep a listener connected while a session records."""

    directory: state.StateDirectory
    listener: OwnListener
    connect_seconds: float
    say: Reporter
    stopped: threading.Event
    guard: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def connection_id(self) -> str:
        """Return the id of the listener's WebSocket connection; start a listener where none runs.

        Raises:
            VdbeventsError: there is no connection.
        """
        async with self.guard:
            if not locks.listener_runs(self.directory):
                self.say(f"starting a listener on {self.directory.path}")
                # Another process may start one first, which serves as well.
                with contextlib.suppress(ListenerStateError):
                    await asyncio.to_thread(self.listener.start, self.stopped)
            return await wait_for_connection_id(self.directory, self.connect_seconds)

    async def prepare(self) -> None:
        """Connect a listener if possible; failures are reported when a connection is needed."""
        with contextlib.suppress(VdbeventsError, OSError):
            await self.connection_id()

    async def watch(self, is_needed: Callable[[], bool]) -> None:
        """Keep a listener connected while it is needed, until cancelled."""
        reported = ""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if not is_needed():
                continue
            try:
                await self.connection_id()
                reported = ""
            except (VdbeventsError, OSError) as error:
                if str(error) != reported:
                    self.say(str(error), problem=True, hint=getattr(error, "hint", ""))
                reported = str(error)

    async def close(self, active: Collection[str], seconds: float) -> None:
        """Stop the listener if it was started here, unless a session is still active."""
        if active:
            self.say(
                f"left running, with the listener: {', '.join(active)}",
                hint=f"stop it later with: vdbevents stop {self.directory.path}",
            )
        elif await asyncio.to_thread(self.listener.stop, seconds):
            self.say("stopped the listener that was started for this")

    def drop(self, active: Collection[str]) -> None:
        """Signal the listener to end if it was started here, without waiting, unless a session is active."""
        if not active:
            with contextlib.suppress(VdbeventsError):
                self.listener.stop(0)
