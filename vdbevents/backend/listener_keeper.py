"""The listener of the backend's directory: started where none runs, and again when it dies."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection
from typing import Final

from vdbevents.errors import ListenerStateError, VdbeventsError
from vdbevents.journal import locks, state
from vdbevents.sessions.interfaces import OwnListener, Reporter
from vdbevents.sessions.waiting import wait_for_connection_id

_WATCH_SECONDS: Final = 2.0


class ListenerKeeper:
    """Keep a listener connected while a session records."""

    def __init__(
        self,
        directory: state.StateDirectory,
        listener: OwnListener,
        connect_seconds: float,
        say: Reporter,
        stopped: threading.Event,
    ) -> None:
        """Start nothing yet.

        Args:
            directory: the listener's.
            listener: starts and stops it.
            connect_seconds: how long it may take to connect.
            say: shows messages.
            stopped: cancels a start.
        """
        self._directory = directory
        self._listener = listener
        self._connect_seconds = connect_seconds
        self._say = say
        self._stopped = stopped
        self._guard = asyncio.Lock()

    async def connection_id(self) -> str:
        """Return the id of the listener's WebSocket connection; start a listener where none runs.

        Raises:
            VdbeventsError: there is no connection.
        """
        async with self._guard:
            if not locks.listener_runs(self._directory):
                self._say(f"starting a listener on {self._directory.path}")
                # Another process may start one first, which serves as well.
                with contextlib.suppress(ListenerStateError):
                    await asyncio.to_thread(self._listener.start, self._stopped)
            return await wait_for_connection_id(self._directory, self._connect_seconds)

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
                    self._say(str(error), problem=True, hint=getattr(error, "hint", ""))
                reported = str(error)

    async def close(self, active: Collection[str], seconds: float) -> None:
        """Stop the listener if it was started here, unless a session is still active."""
        if active:
            self._say(
                f"left running, with the listener: {', '.join(active)}",
                hint=f"stop it later with: vdbevents stop {self._directory.path}",
            )
        elif await asyncio.to_thread(self._listener.stop, seconds):
            self._say("stopped the listener that was started for this")
