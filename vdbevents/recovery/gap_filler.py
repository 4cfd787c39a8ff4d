"""Backfill gaps: fetch what the journal lacks, and journal what is missing for good."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from vdbevents.cloud import Page
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.events.gaps import EVENT as GAP_EVENT, Gap, Missing
from vdbevents.journal import files
from vdbevents.recovery.backfill import PAGE_SIZE, Backfill, PageRequest
from vdbevents.recovery.context import RecoveryContext, SupersededError
from vdbevents.recovery.journal_tail import BACKFILL_EVENT, read_tail
from vdbevents.recovery.known_sessions import KnownSessions
from vdbevents.recovery.rebinding import Rebinder
from vdbevents.recovery.session_follower import SessionFollower
from vdbevents.recovery.stale_streams import StaleStream
from vdbevents.sessions.recorded_session import RecordedSession

# Speech from before the connection may become a record a little later.
_SETTLING_SECONDS: Final = 5.0
_PAUSE_BETWEEN_PAGES_SECONDS: Final = 0.1
_PAGES_PER_PROGRESS_LINE: Final = 10


@dataclass(slots=True)
class GapFiller:
    """The open gaps. Those of stale streams (`_lasting`) stay open until the stream is fresh."""

    context: RecoveryContext
    sessions: KnownSessions
    follower: SessionFollower
    rebinder: Rebinder
    stale: Mapping[str, StaleStream]
    _lasting: set[str] = field(default_factory=set)

    async def fill(self) -> None:
        """Backfill all open gaps, if any can be closed."""
        gaps = list(self.context.host.counts.open_gaps.values())
        if any(not self._is_lasting(gap) for gap in gaps):
            await self._fill(gaps)

    def _is_lasting(self, gap: Gap) -> bool:
        """Return whether a gap is that of streams that are still stale."""
        session = self.sessions.current
        runs = session is not None and session.may_run and session.id not in self.follower.ended_at
        is_stale = all(stream_id in self.stale for stream_id in gap.streams)
        return runs and gap.id in self._lasting and is_stale

    async def _fill(self, gaps: Sequence[Gap]) -> None:
        context = self.context
        context.duplicates.begin_pass()
        await context.flushed()
        since_ms = min(gap.since_ms for gap in gaps)
        sessions = [session for session in self.sessions.by_id.values() if session.ran_after(since_ms)]
        sources = [source for session in sessions for source in session.sources]
        session_ids = [session.id for session in sessions]
        tail = await context.in_thread(
            partial(read_tail, context.directory.journal, gaps, sources, session_ids, context.rules.redactor)
        )
        context.check()
        context.duplicates.merge_received(tail.seen)
        # Another capture may have replaced the info file of the one that ran. This run would have noticed:
        # only what was before it can have gone unnoticed.
        all_sessions = self.sessions.by_id.values()
        is_known = context.connections > 1 or any(session.began_before(since_ms) for session in all_sessions)
        is_unknown = not all_sessions or (not is_known and not tail.begun_sources)
        backfill = Backfill(
            gaps,
            [*sources, *tail.begun_sources],
            tail,
            is_unknown=is_unknown,
            had_ended=self.sessions.had_ended_before,
            is_forgotten=context.forgotten.covers,
            admit=context.admit,
        )
        if backfill.sources:
            context.write(BACKFILL_EVENT, backfill.to_dict())
            settled_at = max(context.connected_at, self.rebinder.rebound_at) + _SETTLING_SECONDS
            is_settled = context.now() >= settled_at
            await self._fetch(backfill)
            if not is_settled:
                await asyncio.sleep(max(0.0, settled_at - context.now()))
                context.check()
                backfill.restart()
                await self._fetch(backfill)
        if context.deferred is None:
            await self._close(sessions, backfill)

    async def _fetch(self, backfill: Backfill) -> None:
        context = self.context
        pages, dropped = 0, context.host.counts.dropped
        while (request := backfill.next()) is not None:
            try:
                page = await context.ask(partial(self._page, request))
            except ServiceRefusedError as error:
                backfill.refuse(error.message)
                continue
            except ServiceUnreachableError as error:
                context.defer(error)
                backfill.skip()
                continue
            context.write_fetched(backfill.take(page.records, more=page.more))
            pages += 1
            await context.flushed()
            if context.host.counts.dropped != dropped:
                # The disk is full: what was fetched is not in the journal, and counts as another gap.
                raise SupersededError
            if pages % _PAGES_PER_PROGRESS_LINE == 0:
                context.write(BACKFILL_EVENT, backfill.to_dict())
            # The service has others to serve.
            await asyncio.sleep(_PAUSE_BETWEEN_PAGES_SECONDS)

    def _page(self, request: PageRequest) -> Page:
        account, source = self.context.account, request.source
        bounds = {"start": request.start, "end": request.end}
        if source.index_id:
            return account.get_records(source.stream_id, source.index_id, request.page, PAGE_SIZE, **bounds)
        return account.get_transcript(
            source.stream_id, request.page, PAGE_SIZE, **bounds, engine=source.engine
        )

    async def _close(self, sessions: Sequence[RecordedSession], backfill: Backfill) -> None:
        context = self.context
        for session in sessions:
            await self.follower.write_missing(session)
        others = self.rebinder.take_missing()
        since_ms = min((gap.since_ms for gap in backfill.gaps), default=0)
        if any(
            session.events or any(pipeline.alerts for pipeline in session.pipelines)
            for session in sessions
            if not self.sessions.had_ended_before(session.id, since_ms)
        ):
            others.append(Missing("alerts", "the service keeps no record of sent alerts"))
        now_ms = files.wall_ms()
        closed = [
            replace(gap, until_ms=max(gap.since_ms, now_ms)) if gap.id in self._lasting else gap
            for gap in backfill.close(others)
        ]
        for gap in closed:
            context.write(GAP_EVENT, gap.data())
        self._report(
            backfill.recovered,
            sorted({missing.what for gap in closed for missing in gap.missing if missing.lost}),
        )
        await self._drop_former()
        for stream_id, stale in self.stale.items():
            # Backfill it again once the stream is fresh.
            reason = f"no description of {stale.pipeline.stream.name} yet"
            self._lasting.add(context.open_gap(now_ms, now_ms, reason, (stream_id,)))

    def _report(self, recovered: int, lost: Sequence[str]) -> None:
        context = self.context
        summary = f"backfilled {recovered:,} events" if recovered else ""
        if not lost:
            context.host.say(summary or "nothing to backfill")
            return
        hint = f"see: vdbevents gaps {context.directory.path}"
        if not self.sessions.by_id:
            hint = f"pipelines started with an earlier id still send to it: restart them with {context.ws_id}"
        parts = [*filter(None, [summary]), f"could not recover: {', '.join(lost)}"]
        context.host.say("; ".join(parts), problem=True, hint=hint)

    async def _drop_former(self) -> None:
        """Forget the replaced indexes: they are stopped, and all their records are in the journal."""
        session = self.sessions.current
        if session is None or not self.rebinder.is_settled or self.context.host.counts.open_gaps:
            return
        for pipeline in session.pipelines:
            if pipeline.former:
                await self.sessions.save(session.id, replace(pipeline, former=()))
