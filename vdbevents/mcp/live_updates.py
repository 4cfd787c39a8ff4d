"""Notice that a journal grows, and notify those who asked for that."""

import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import anyio
from mcp.server.connection import Connection
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent

from vdbevents.servers.journal_state import JournalState, state_of

LIVE: Final = "vdbevents://live"
"""The resource of the newest events."""

_POLL_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 1.0


class LiveUpdates:
    """Clients that want to know of new events: those of the present protocol listen, older ones subscribe."""

    def __init__(self, paths: Callable[[], Iterable[Path]]) -> None:
        """Take what returns the journals' files; it may raise nothing."""
        self.bus = _CountingBus(self._begin)
        self._paths = paths
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._seen: JournalState | None = None

    def subscribe(self, session: ServerSession) -> None:
        """Notify the client of a session of the older protocol for as long as it is connected."""
        self._connections.add(_connection_of(session))
        self._begin()

    def unsubscribe(self, session: ServerSession) -> None:
        """Notify it no longer."""
        self._connections.discard(_connection_of(session))

    @contextlib.asynccontextmanager
    async def watching(self, _server: object) -> AsyncIterator[dict[str, Any]]:
        """Watch the journals meanwhile: the lifespan of a server."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch)
            yield {}
            group.cancel_scope.cancel()

    def _begin(self) -> None:
        # What is written from now on counts, not since the last look.
        if self._seen is None:
            self._seen = self._state()

    async def _watch(self) -> None:
        notified = 0.0
        while True:
            await anyio.sleep(_POLL_SECONDS)
            if not self._connections and not self.bus.count:
                self._seen = None
                continue
            state = await anyio.to_thread.run_sync(self._state)
            if state == self._seen or time.monotonic() - notified < _LEAST_SECONDS:
                continue
            self._seen, notified = state, time.monotonic()
            await self.bus.publish(ResourceUpdated(uri=LIVE))
            for connection in list(self._connections):
                # It says nothing of a client that is gone.
                await connection.send_resource_updated(LIVE)

    def _state(self) -> JournalState:
        return state_of(self._paths())


class _CountingBus(InMemorySubscriptionBus):
    """A bus that knows how many listen.

    Attributes:
        count: how many.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        super().__init__()
        self.count = 0
        self._on_first = on_first

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        unsubscribe = super().subscribe(listener)
        self.count += 1
        self._on_first()
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self.count -= 1
            unsubscribe()

        return end


def _connection_of(session: ServerSession) -> Connection:
    # A session is of one request; what lasts has no public name.
    return session._connection  # noqa: SLF001
