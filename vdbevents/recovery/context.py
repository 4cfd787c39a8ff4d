"""Share the current connection, API calls and journal lines between the parts of the recovery."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from vdbevents.cloud import Account
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.events import envelope, gaps
from vdbevents.journal import files, reader
from vdbevents.journal.state import StateDirectory
from vdbevents.listener.recovery_hook import RecoveryHost
from vdbevents.listener.state_files import earlier_ids
from vdbevents.privacy.recording_rules import RecordingRules
from vdbevents.recovery.duplicates import DuplicateFilter
from vdbevents.recovery.forgotten_times import ForgottenTimes

_Result = TypeVar("_Result")

# 401, 402 and 403 are about the account, not about the call: the key worked when the connection was made.
_ACCOUNT_STATUSES: Final = (401, 402, 403)


class SupersededError(Exception):
    """The connection that this round works for is gone: start again with the next one."""


class RecoveryContext:
    """One connection at a time, and the ways to the API and the journal.

    A round of the recovery works for one connection. Everything it awaits raises `SupersededError` once
    that connection is gone.

    Attributes:
        host: the listener, once `Reconciler.run` was called.
        forgotten: the times whose events the user does not want any more.
        rules: what must not be written; those of the listener.
        connected_id: of the current connection; None while disconnected.
        ws_id: the connection that this round works for.
        connected_at: when it was made; seconds on the monotonic clock.
        connections: how many this run has made.
        deferred: the first transient error of this round; the round goes on with everything else.
    """

    host: RecoveryHost

    def __init__(
        self, directory: StateDirectory, account: Account, linger_seconds: float, rules: RecordingRules
    ) -> None:
        self.directory = directory
        self.account = account
        self.rules = rules
        self.duplicates = DuplicateFilter(linger_seconds)
        self.forgotten = ForgottenTimes(directory.forgotten)
        self.connected_id: str | None = None
        self.ws_id = ""
        self.connected_at = 0.0
        self.connections = 0
        self.deferred: ServiceUnreachableError | None = None
        self._own_ids: dict[str, bool] = {}

    def connected(self, ws_id: str) -> None:
        """Take a new connection."""
        self.connected_id, self.connected_at = ws_id, self.now()
        self.connections += 1
        self._own_ids[ws_id] = True
        self.duplicates.connected()

    def disconnected(self) -> None:
        """Give up the connection, and with it every event on its way."""
        self.connected_id = None
        self.duplicates.disconnected()

    def begin_round(self) -> None:
        """Work for the current connection from now on."""
        self.ws_id = self.connected_id or ""
        self.deferred = None

    def now(self) -> float:
        """Return seconds on the monotonic clock."""
        return time.monotonic()

    def check(self) -> None:
        """Raise SupersededError if this round's connection is gone."""
        if self.connected_id != self.ws_id:
            raise SupersededError

    def in_thread(self, call: Callable[[], _Result]) -> Awaitable[_Result]:
        """Run a blocking call in a thread."""
        return asyncio.get_running_loop().run_in_executor(None, call)

    async def ask(self, call: Callable[[], _Result]) -> _Result:
        """Call the API in a thread.

        Raises:
            ServiceRefusedError: the call is refused for good.
            ServiceUnreachableError: it may succeed later.
            SupersededError: the connection is gone.
        """
        try:
            result = await self.in_thread(call)
        except ServiceRefusedError as error:
            if error.status not in _ACCOUNT_STATUSES:
                raise
            raise ServiceUnreachableError(error.message, error.hint, error_id=error.error_id) from error
        self.check()
        return result

    def defer(self, error: ServiceUnreachableError) -> None:
        """Note a transient error, to raise it at the end of the round."""
        self.deferred = self.deferred or error

    async def flushed(self) -> None:
        """Wait until everything received is in the journal."""
        await self.host.flushed()
        self.check()

    async def is_own(self, ws_id: str) -> bool:
        """Return whether a connection was made by a listener of this directory."""
        if ws_id not in self._own_ids:
            self._own_ids[ws_id] = await self.in_thread(partial(_was_connected, self.directory, ws_id))
        return self._own_ids[ws_id]

    def write(self, event: str, data: Mapping[str, Any]) -> None:
        """Append a line about the listener itself."""
        self.host.supply([envelope.own_record(event, data, files.wall_ms())])

    def admit(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return a fetched event as it is written; None if it must not be."""
        return self.rules.fetched(event, files.wall_ms())

    def write_fetched(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Append fetched events; live copies that arrive later are left out."""
        if events:
            self.duplicates.add_fetched(events, self.now())
            now_ms = files.wall_ms()
            self.host.supply([envelope.backfilled_record(event, now_ms) for event in events])

    def open_gap(self, since_ms: int, until_ms: int, reason: str, streams: tuple[str, ...]) -> str:
        """Append an open gap of some streams; return its id."""
        gap = gaps.Gap(self.host.machine.new_gap_id(), since_ms, until_ms, reason, streams=streams)
        self.write(gaps.EVENT, gap.data())
        return gap.id


def _was_connected(directory: StateDirectory, ws_id: str) -> bool:
    # The journal may have been rotated, moved or removed since; older recorders had the ids in it alone.
    return ws_id in earlier_ids(directory) or ws_id in reader.connection_ids(directory.journal)
