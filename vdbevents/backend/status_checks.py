"""Ask the API how sessions are: webhooks are not believed, and events can get lost."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

from vdbevents import cloud
from vdbevents.backend.served_session import ServedSession
from vdbevents.backend.tasks import BackgroundTasks
from vdbevents.errors import ServiceRefusedError, VdbeventsError
from vdbevents.events import lifecycle
from vdbevents.journal import files

_POLL_SECONDS: Final = 15.0
# A session that has not started by then is no longer asked about.
_EXPECTED_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class StatusChecks:
    """Update sessions from the API's answers."""

    account: cloud.Account
    tasks: BackgroundTasks
    decide: Callable[[ServedSession], None]
    """Called with a session whose status may have changed."""
    learn: Callable[[ServedSession, lifecycle.Lifecycle], None]
    """Called with a session and a confirmed report of its end."""

    async def fetch(self, session: ServedSession) -> cloud.CloudSession:
        """Update a session's status and streams from the API, and return its answer.

        Raises:
            ServiceRefusedError, ServiceUnreachableError: there was no such answer.
        """
        info = session.info
        answer = await asyncio.to_thread(self.account.get_session, info.session_id, info.collection_id)
        session.progress.take(answer.status, answer.streams, answer.error)
        return answer

    def confirm(self, session: ServedSession) -> None:
        """Ask about the end that webhooks reported; no-op without such reports."""
        reports, session.unconfirmed = session.unconfirmed, []
        if reports:
            step = partial(self._confirm, session, reports)
            self.tasks.start(self.tasks.retry(f"session {session.id}: status not confirmed", step))

    async def _confirm(self, session: ServedSession, reports: Sequence[lifecycle.Lifecycle]) -> None:
        try:
            answer = await self.fetch(session)
        except ServiceRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            for report in reports:
                self.learn(session, report)
            return
        self.decide(session)
        for report in reports:
            video_id = cloud.export_from(report.data).video_id
            if report.status != "exported" or answer.video_id not in ("", video_id):
                continue
            if session.progress.is_ended:
                self.learn(session, report)
            else:
                # The API does not know the end yet: ask again when it does.
                session.unconfirmed = [report]

    async def poll(self, sessions: Iterable[ServedSession]) -> None:
        """Ask about unfinished sessions every 15 s, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            expected_ms = files.wall_ms() - _EXPECTED_MS
            for session in sessions:
                is_awaited = not session.progress.is_over and session.created_ms > expected_ms
                # The webhook of an end can be faster than the API, and comes once.
                if session.is_active or session.is_stopping or is_awaited:
                    with contextlib.suppress(VdbeventsError):
                        await self._check(session)

    async def _check(self, session: ServedSession) -> None:
        status = session.progress.status
        try:
            await self.fetch(session)
        except ServiceRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND or not session.is_stopping:
                raise
            session.progress.take("stopped")
        if session.is_active or session.progress.status != status:
            self.decide(session)
