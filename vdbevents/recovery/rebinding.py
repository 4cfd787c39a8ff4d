"""Rebind the pipelines of a session to the current connection."""

from dataclasses import dataclass, field, replace
from functools import partial

from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.events.gaps import Missing
from vdbevents.journal import files
from vdbevents.recovery.context import RecoveryContext
from vdbevents.recovery.known_sessions import KnownSessions
from vdbevents.recovery.session_follower import SessionFollower
from vdbevents.sessions import pipelines as p
from vdbevents.sessions.plan import Pipeline
from vdbevents.sessions.recorded_session import REBOUND_EVENT, RecordedSession, unbound


@dataclass(slots=True)
class Rebinder:
    """The rebindings of this run; `rebound_at` is the monotonic time of the last one."""

    context: RecoveryContext
    sessions: KnownSessions
    follower: SessionFollower
    rebound_at: float = 0.0
    _unstopped: list[tuple[Pipeline, str]] = field(default_factory=list)
    _requested: set[tuple[str, str]] = field(default_factory=set)
    _pauses: dict[str, float] = field(default_factory=dict)
    _refused: list[Missing] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether all indexes that were replaced are stopped."""
        return not self._unstopped

    def request(self, pipeline: Pipeline) -> None:
        """Rebind a pipeline in the next round, though it sends to the current connection."""
        self._requested.add((pipeline.kind, pipeline.stream.id))

    def take_missing(self) -> list[Missing]:
        """Return what rebinding has cost since the last call."""
        missing = [
            Missing(f"speech on {name}", f"its transcript was stopped for {seconds:g} s", lost=False)
            for name, seconds in self._pauses.items()
        ]
        missing += self._refused
        self._pauses.clear()
        self._refused.clear()
        return missing

    async def rebind(self, session: RecordedSession) -> None:
        """Rebind all running pipelines that send to an earlier connection of this directory's listeners."""
        context = self.context
        await self._stop_former()
        waiting = [
            pipeline for pipeline in unbound(session, context.ws_id) if await context.is_own(pipeline.ws_id)
        ]
        waiting += [
            pipeline
            for pipeline in session.pipelines
            if pipeline not in waiting and (pipeline.kind, pipeline.stream.id) in self._requested
        ]
        if not waiting or not await self.follower.is_running(session):
            return
        # Never bind to an id that the journal might not have: after a crash nobody would know whose it is.
        await context.flushed()
        self._open_gap(waiting)
        # Transcripts last: each is stopped until it is started again, and must not wait for an index.
        for pipeline in sorted(waiting, key=lambda pipeline: pipeline.kind == "transcript"):
            try:
                await self._rebind(session, pipeline)
            except ServiceUnreachableError as error:
                context.defer(error)

    def _open_gap(self, waiting: list[Pipeline]) -> None:
        """Open a gap for streams of which no gap is open: their events went to a closed connection."""
        known = list(self.context.host.counts.open_gaps.values())
        streams = dict.fromkeys(pipeline.stream.id for pipeline in waiting)
        unmarked = [
            stream for stream in streams if not any(stream in (gap.streams or (stream,)) for gap in known)
        ]
        if unmarked:
            now_ms = files.wall_ms()
            reason = f"bound to {waiting[0].ws_id}, which was closed"
            self.context.open_gap(now_ms, now_ms, reason, tuple(unmarked))

    async def _rebind(self, session: RecordedSession, pipeline: Pipeline) -> None:
        context, began = self.context, self.context.now()
        rebind = partial(
            p.rebind_pipeline,
            context.account,
            pipeline,
            ws_id=context.ws_id,
            session_id=session.id,
            events=session.events if pipeline.kind != "transcript" else (),
        )
        try:
            bound = await context.ask(rebind)
        except ServiceRefusedError as error:
            # Somebody may have stopped or deleted it; the other pipelines go on.
            context.host.say(f"{pipeline.title}: {error.message}", problem=True, hint=error.hint)
            self._requested.discard((pipeline.kind, pipeline.stream.id))
            self._refused.append(Missing(f"{pipeline.title}, from then on", error.message))
            failed = replace(pipeline, status="failed", error=error.message, bindings=pipeline.bindings + 1)
            await self.sessions.save(session.id, failed)
            return
        self._requested.discard((bound.kind, bound.stream.id))
        self.rebound_at = context.now()
        seconds = round(self.rebound_at - began, 3)
        if bound.kind == "transcript":
            self._pauses[bound.stream.name] = self._pauses.get(bound.stream.name, 0.0) + seconds
        self._unstopped.append((bound, session.id))
        data = {
            "capture_session_id": session.id,
            **bound.to_dict(),
            "stream_name": bound.stream.name,
            "previous_id": pipeline.id or None,
            "previous_ws_id": pipeline.ws_id,
            "seconds": seconds,
        }
        context.write(REBOUND_EVENT, data)
        context.host.say(f"rebound {bound.title} to {context.ws_id}")
        # The old index is stopped once the file names it: its records are still to be fetched.
        await self.sessions.save(session.id, bound)
        await self._stop_former()

    async def _stop_former(self) -> None:
        for pipeline, session_id in list(self._unstopped):
            try:
                await self.context.ask(partial(p.stop_former, self.context.account, pipeline, session_id))
            except ServiceRefusedError as error:
                self.context.host.say(f"{pipeline.title}: {error.message}", problem=True, hint=error.hint)
            self._unstopped.remove((pipeline, session_id))
