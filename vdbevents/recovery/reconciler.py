"""Rebind pipelines and backfill gaps while the listener runs.

The reconciler lives in the listener, on its event loop. What fails is repeated later from the
start: every round looks at the current state of the info file, the journal and the service.
"""

import asyncio
import contextlib
from typing import Any, Final

from vdbevents.cloud import Account
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import VdbeventsError
from vdbevents.events.envelope import Record
from vdbevents.journal.state import StateDirectory
from vdbevents.listener.recovery_hook import RecoveryHost
from vdbevents.privacy.recording_rules import RecordingRules
from vdbevents.recovery.context import RecoveryContext, SupersededError
from vdbevents.recovery.gap_filler import GapFiller
from vdbevents.recovery.known_sessions import KnownSessions
from vdbevents.recovery.rebinding import Rebinder
from vdbevents.recovery.session_follower import SessionFollower
from vdbevents.recovery.stale_streams import StaleWatch, StreamMonitor

_ROUND_SECONDS: Final = 1.0
# A connection that is accepted and closed at once is not worth an index of its own.
_STANDING_SECONDS: Final = 0.5
_SHORTEST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


class Reconciler:
    """The listener's `Recovery`. One instance a run."""

    def __init__(
        self,
        directory: StateDirectory,
        account: Account,
        *,
        stale_seconds: float,
        linger_seconds: float,
        rules: RecordingRules | None = None,
    ) -> None:
        """Read the info file; ask the service nothing yet.

        Args:
            directory: the listener's.
            account: the API, with the limit of one call.
            stale_seconds: how long a screen may go without a description; 0: forever.
            linger_seconds: how long after a fetch the live copy of an event may still arrive.
            rules: those of the listener; None: everything is written.
        """
        rules = rules or RecordingRules()
        context = self._context = RecoveryContext(directory, account, linger_seconds, rules)
        sessions = self._sessions = KnownSessions(context)
        follower = self._follower = SessionFollower(context, sessions)
        rebinder = self._rebinder = Rebinder(context, sessions, follower)
        watch = self._watch = StaleWatch(stale_seconds)
        self._monitor = StreamMonitor(context, follower, rebinder, watch)
        self._filler = GapFiller(context, sessions, follower, rebinder, watch.stale)
        self._connected = asyncio.Event()
        self._complaint = ""

    # `Recovery` says what these are for.

    def was_live(self, since_ms: int) -> bool:
        session = self._sessions.current
        return session is not None and session.was_sent_to_listener(since_ms)

    def connected(self, ws_id: str) -> None:
        self._context.connected(ws_id)
        self._connected.set()

    def disconnected(self) -> None:
        self._context.disconnected()

    def is_known(self, record: Record) -> bool:
        # What was said just before the user deleted it may arrive only now.
        return self._context.duplicates.is_known(record) or self._context.forgotten.covers(record.event)

    @property
    def stale(self) -> list[dict[str, Any]]:
        return self._monitor.to_dicts()

    async def run(self, host: RecoveryHost) -> None:
        context = self._context
        context.host = host
        backoff = Backoff(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            await asyncio.sleep(_ROUND_SECONDS)
            if context.connected_id is None or context.now() - context.connected_at < _STANDING_SECONDS:
                continue
            try:
                await self._round()
            except SupersededError:
                continue
            except (VdbeventsError, OSError) as error:
                self._complain(error)
                context.duplicates.expire(context.now())
                await self._wait(max(backoff.next(), getattr(error, "retry_after", None) or 0.0))
            else:
                backoff.reset()
                self._complaint = ""

    def _complain(self, error: VdbeventsError | OSError) -> None:
        message, hint = str(error), getattr(error, "hint", "")
        if message != self._complaint:
            self._complaint = message
            self._context.host.say(f"recovery failed: {message}; retrying", problem=True, hint=hint)

    async def _wait(self, seconds: float) -> None:
        """Wait, or return as soon as there is a new connection."""
        self._connected.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._connected.wait()

    async def _round(self) -> None:
        context, follower = self._context, self._follower
        context.begin_round()
        self._sessions.refresh()
        session = self._sessions.current
        if session is not None:
            if session.id in context.host.counts.ended_sessions:
                follower.note_end(session.id)
            for pipeline in self._sessions.unwritten:
                await self._sessions.save(session.id, pipeline)
        if session is not None and session.may_run and session.id not in follower.ended_at:
            await self._monitor.check(session)
            await self._rebinder.rebind(session)
        else:
            self._watch.stale.clear()
        await self._filler.fill()
        await follower.poll()
        context.duplicates.expire(context.now())
        if context.deferred is not None:
            raise context.deferred
