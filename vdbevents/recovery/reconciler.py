"""Sees to it that what runs sends to the connection that stands, and that what was missed is fetched.

It lives in the listener, on its loop, and carries out what `recovery` decides: it asks the service, changes
`videodb_capture_info.json`, and supplies the lines. Whatever fails is done again later, from the start: every
step looks at what is there.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from vdbevents import cloud
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError, VdbeventsError
from vdbevents.events import envelope, fields, gaps, identity as events_identity, lifecycle
from vdbevents.journal import files, locks, reader, state
from vdbevents.listener.recovery_hook import RecoveryHost
from vdbevents.recovery import backfill as recovery_backfill, stale_streams
from vdbevents.sessions import pipelines as p, plan, recorded_session
from vdbevents.sessions.capture_info import objects_in
from vdbevents.sessions.progress import ENDED

_Answer = TypeVar("_Answer")

_LOOK_SECONDS: Final = 1.0
# A connection that is accepted and closed at once is not worth an index of its own.
_STANDING_SECONDS: Final = 0.5
# What was said before the connection stood may become a record a little later.
_SETTLING_SECONDS: Final = 5.0
_PAUSE_BETWEEN_PAGES_SECONDS: Final = 0.1
_PAGES_A_LINE: Final = 10
_LIFE_SECONDS: Final = 15.0
_LIFE_AFTER_END_SECONDS: Final = 900.0
_SHORTEST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_OF_THE_ACCOUNT: Final = (401, 402, 403)
_NEEDLES: Final = (b'"listener.', b'"capture.started"', b"capture_session.")


class Reconciler:
    """What a listener does beside receiving. One instance a run."""

    def __init__(
        self,
        directory: state.StateDirectory,
        account: cloud.Account,
        *,
        stale_seconds: float,
        linger_seconds: float,
    ) -> None:
        """Looks at what a capture has left here, and asks nothing yet.

        Args:
            directory: the listener's.
            account: the API, with the limit of one call.
            stale_seconds: after how long a screen that nobody describes is worth an attempt; 0: never.
            linger_seconds: for how long an event that was fetched may still be on its way.
        """
        self._directory = directory
        self._account = account
        self._linger_seconds = linger_seconds
        self._watch = stale_streams.StaleWatch(stale_seconds)
        self._sessions: dict[str, recorded_session.RecordedSession] = {}
        self._current: recorded_session.RecordedSession | None = None
        self._ws_id: str | None = None
        self._connected_at = 0.0
        self._connections = 0
        self._own_ids: dict[str, bool] = {}
        # What was fetched while the connection stands: a copy that comes later is left out.
        self._seen: set[int] | None = None
        # Streams of which two indexes may send the same for a moment.
        self._doubled: set[str] = set()
        # What is known to be in the journal, or to be on its way there, since a pass began to look. What the
        # disk has no room for is never there, although it was seen.
        self._there: set[int] = set()
        self._fetched_at: float | None = None
        self._bound: dict[tuple[str, str, str], plan.Pipeline] = {}
        self._unwritten: list[plan.Pipeline] = []
        self._unstopped: list[tuple[plan.Pipeline, str]] = []
        # What is to be started anew though it is bound to the connection that stands.
        self._silent: set[tuple[str, str]] = set()
        self._unheard: dict[str, float] = {}
        self._refused: list[gaps.Missing] = []
        # Gaps of streams that are silent still.
        self._lasting: set[str] = set()
        self._over: dict[str, float] = {}
        self._statuses: dict[str, set[str]] = {}
        self._life_at = 0.0
        self._complaint = ""
        self._bound_at = 0.0
        self._connected = asyncio.Event()
        self._look_again()

    # What the listener asks.

    def was_live(self, since_ms: int) -> bool:
        """Whether a session of this directory's may have sent something after a time."""
        session = self._current
        bound = session is not None and any(pipeline.ws_id for pipeline in session.pipelines)
        if session is None or not bound:
            return False
        return session.may_run or (session.ended_ms is not None and session.ended_ms > since_ms)

    def connected(self, ws_id: str) -> None:
        """A connection stands: from now on what comes over it is compared with what is fetched."""
        self._ws_id, self._connected_at = ws_id, time.monotonic()
        self._connections += 1
        self._connected.set()
        self._own_ids[ws_id] = True
        self._seen = set()

    def disconnected(self) -> None:
        """The connection is gone, and with it whatever was on its way."""
        self._ws_id, self._seen, self._fetched_at = None, None, None
        self._doubled.clear()

    def is_known(self, event: Mapping[str, Any]) -> bool:
        """Whether an event that comes is in the journal already, because it was fetched."""
        if self._seen is None:
            return False
        identity = events_identity.identity_of(event)
        if identity is None:
            return False
        if hash(identity) in self._seen:
            return True
        if identity.stream in self._doubled:
            self._seen.add(hash(identity))
        self._there.add(hash(identity))
        return False

    def _note_seen(self, events: Iterable[Mapping[str, Any]]) -> None:
        if self._seen is not None:
            self._seen |= {hash(events_identity.identity_of(event)) for event in events}

    @property
    def stale(self) -> list[dict[str, Any]]:
        """The streams that should be talking and are not, in JSON's types."""
        now_ms, now = files.wall_ms(), time.monotonic()
        return [
            {
                "stream_id": silent.pipeline.stream.id,
                "stream_name": silent.pipeline.stream.name,
                "since": envelope.utc_text(now_ms - int((now - silent.since) * 1000)),
            }
            for silent in self._watch.stale.values()
        ]

    # What it does.

    async def run(self, recorder: RecoveryHost) -> None:
        """Goes on until it is cancelled."""
        self._recorder = recorder
        backoff = Backoff(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._ws_id is None or time.monotonic() - self._connected_at < _STANDING_SECONDS:
                continue
            try:
                await self._reconcile(self._ws_id)
            except _Interrupted:
                continue
            except (VdbeventsError, OSError) as error:
                self._complain(error)
                self._forget()
                await self._wait(backoff.next(getattr(error, "retry_after", None)))
            else:
                backoff.reset()
                self._complaint = ""

    def _complain(self, error: VdbeventsError | OSError) -> None:
        message, hint = str(error), ""
        if isinstance(error, VdbeventsError):
            message, hint = error.message, error.hint
        if message != self._complaint:
            self._complaint = message
            what = "what was missed cannot be made good yet"
            self._recorder.say(f"{what}: {message}; trying again", problem=True, hint=hint)

    async def _wait(self, seconds: float) -> None:
        # A new connection is worth a new attempt at once.
        self._connected.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._connected.wait()

    async def _reconcile(self, ws_id: str) -> None:
        self._look_again()
        self._trouble: ServiceUnreachableError | None = None
        session = self._current
        if session is not None:
            if session.id in self._recorder.over:
                self._over.setdefault(session.id, time.monotonic())
            for bound in self._unwritten:
                await self._write_down(session, bound)
        if session is not None and session.may_run and session.id not in self._over:
            await self._look_for_silence(session, ws_id)
            await self._bind(session, ws_id)
        else:
            self._watch.stale.clear()
        if any(not self._goes_on(gap) for gap in self._recorder.open_gaps.values()):
            await self._fill(list(self._recorder.open_gaps.values()), ws_id)
        await self._follow_life(ws_id)
        self._forget()
        if self._trouble is not None:
            raise self._trouble

    def _forget(self) -> None:
        """Compares no more, once nothing that was fetched can be on its way."""
        now = time.monotonic()
        if self._fetched_at is None or now - self._fetched_at > self._linger_seconds:
            self._seen = self._fetched_at = None
            self._there = set()
            self._doubled.clear()

    def _look_again(self) -> None:
        session = recorded_session.session_from_info(files.read_object(self._directory.capture_info))
        self._unwritten = []
        if session is not None:
            pipelines = tuple(self._newest(session.id, pipeline) for pipeline in session.pipelines)
            session = self._sessions[session.id] = replace(session, pipelines=pipelines)
        self._current = session

    def _newest(self, session_id: str, told: plan.Pipeline) -> plan.Pipeline:
        """A pipeline as we have left it, where the disk did not take that."""
        bound = self._bound.get((session_id, told.kind, told.stream.id))
        if bound is None or bound.bindings <= told.bindings:
            return told
        self._unwritten.append(replace(bound, status="stopped") if told.status == "stopped" else bound)
        return self._unwritten[-1]

    async def _ask(self, ws_id: str, call: Callable[[], _Answer]) -> _Answer:
        """A call of the service, which ends nothing but itself if it fails."""
        try:
            answer = await self._in_thread(call)
        except ServiceRefusedError as error:
            if error.status not in _OF_THE_ACCOUNT:
                raise
            # A key that was good when the connection was made says nothing of what is asked for.
            raise ServiceUnreachableError(error.message, error.hint) from error
        self._require(ws_id)
        return answer

    def _require(self, ws_id: str) -> None:
        """Sees that the connection stands that something is done for."""
        if self._ws_id != ws_id:
            raise _Interrupted

    async def _flushed(self, ws_id: str) -> None:
        await self._recorder.flushed()
        self._require(ws_id)

    def _in_thread(self, call: Callable[[], _Answer]) -> Awaitable[_Answer]:
        return asyncio.get_running_loop().run_in_executor(None, call)

    def _own(self, event: str, data: Mapping[str, Any]) -> envelope.Record:
        return envelope.own_record(event, data, files.wall_ms())

    # Binding anew.

    async def _bind(self, session: recorded_session.RecordedSession, ws_id: str) -> None:
        await self._stop_former(ws_id)
        waiting = [it for it in recorded_session.unbound(session, ws_id) if await self._is_ours(it.ws_id)]
        waiting += [
            it for it in session.pipelines if it not in waiting and (it.kind, it.stream.id) in self._silent
        ]
        if not waiting or not await self._runs(session, ws_id):
            return
        # Nothing is bound to an id that the journal might never tell of.
        await self._flushed(ws_id)
        known = list(self._recorder.open_gaps.values())
        streams = dict.fromkeys(pipeline.stream.id for pipeline in waiting)
        untold = [it for it in streams if not any(it in (gap.streams or (it,)) for gap in known)]
        if untold:
            # Started with an id that was none any more: nobody has received what it made so far.
            now_ms = files.wall_ms()
            self._open_gap(now_ms, now_ms, f"bound to {waiting[0].ws_id}, which was closed", tuple(untold))
        # A transcript stands still until it is started again: nothing is to wait for another meanwhile.
        for pipeline in sorted(waiting, key=lambda it: it.kind == "transcript"):
            with self._others_go_on():
                await self._rebind(session, pipeline, ws_id)

    @contextlib.contextmanager
    def _others_go_on(self) -> Iterator[None]:
        """What cannot be had now is tried again when all else is done."""
        try:
            yield
        except ServiceUnreachableError as error:
            self._trouble = self._trouble or error

    def _open_gap(self, since_ms: int, until_ms: int, reason: str, streams: tuple[str, ...]) -> str:
        gap = gaps.Gap(self._recorder.new_gap_id(), since_ms, until_ms, reason, streams=streams)
        self._recorder.supply([self._own(gaps.EVENT, gap.told())])
        return gap.id

    async def _is_ours(self, ws_id: str) -> bool:
        """Whether a connection was this directory's listener's, as its journal tells."""
        if ws_id not in self._own_ids:
            self._own_ids[ws_id] = await self._in_thread(partial(_had, self._directory.journal, ws_id))
        return self._own_ids[ws_id]

    async def _runs(self, session: recorded_session.RecordedSession, ws_id: str) -> bool:
        """Whether the service says so; of one that has ended nothing is touched."""
        answer = await self._get(session, ws_id)
        return answer is not None and answer.status in ("starting", "active")

    async def _get(self, session: recorded_session.RecordedSession, ws_id: str) -> cloud.CloudSession | None:
        """The session as the service tells of it; None where it tells nothing."""
        ask = partial(self._account.get_session, session.id, session.collection_id)
        try:
            answer = await self._ask(ws_id, ask)
        except ServiceRefusedError as error:
            if session.id not in self._over:
                self._recorder.say(error.message, problem=True, hint=error.hint)
            self._over.setdefault(session.id, time.monotonic())
            return None
        if answer.status not in ("created", "starting", "active"):
            self._over.setdefault(session.id, time.monotonic())
        if answer.status in ENDED and session.may_run:
            await self._in_thread(partial(self._note_end, answer))
        return answer

    def _note_end(self, answer: cloud.CloudSession) -> None:
        """Writes down that a session has ended whose capture is not there to do so."""
        directory = self._directory
        if locks.capture_runs(directory):
            return

        def change(there: dict[str, Any]) -> Mapping[str, Any] | None:
            told = there.get("session")
            if not isinstance(told, dict) or told.get("id") != answer.id:
                return None
            return {**there, "session": {**told, "status": answer.status}}

        locks.change_object(directory.capture_info, directory.capture_info_lock, change)

    async def _rebind(
        self, session: recorded_session.RecordedSession, pipeline: plan.Pipeline, ws_id: str
    ) -> None:
        began = time.monotonic()
        rebind = partial(
            p.rebind_pipeline,
            self._account,
            pipeline,
            ws_id=ws_id,
            session_id=session.id,
            events=session.events if pipeline.kind != "transcript" else (),
        )
        try:
            bound = await self._ask(ws_id, rebind)
        except ServiceRefusedError as error:
            # It may have been stopped by somebody, or be no more; the others go on.
            self._recorder.say(f"the {pipeline.title}: {error.message}", problem=True, hint=error.hint)
            failed = replace(pipeline, status="failed", error=error.message, bindings=pipeline.bindings + 1)
            self._silent.discard((pipeline.kind, pipeline.stream.id))
            self._refused.append(gaps.Missing(f"{pipeline.title}, from then on", error.message))
            await self._write_down(session, failed)
            return
        self._silent.discard((bound.kind, bound.stream.id))
        seconds = round(time.monotonic() - began, 3)
        if bound.kind == "transcript":
            self._unheard[bound.stream.name] = self._unheard.get(bound.stream.name, 0.0) + seconds
        told = {
            "capture_session_id": session.id,
            **bound.to_dict(),
            "stream_name": bound.stream.name,
            "previous_id": pipeline.id or None,
            "previous_ws_id": pipeline.ws_id,
            "seconds": seconds,
        }
        self._bound_at = time.monotonic()
        self._unstopped.append((bound, session.id))
        self._recorder.supply([self._own(recorded_session.REBOUND_EVENT, told)])
        self._recorder.say(f"the {bound.title} sends to {ws_id} now")
        # What is left behind is stopped when it is written down where its records are.
        await self._write_down(session, bound)
        await self._stop_former(ws_id)

    async def _stop_former(self, ws_id: str) -> None:
        for pipeline, session_id in list(self._unstopped):
            try:
                await self._ask(ws_id, partial(p.stop_former, self._account, pipeline, session_id))
            except ServiceRefusedError as error:
                self._recorder.say(f"the {pipeline.title}: {error.message}", problem=True, hint=error.hint)
            self._unstopped.remove((pipeline, session_id))

    async def _write_down(self, session: recorded_session.RecordedSession, bound: plan.Pipeline) -> None:
        directory = self._directory
        self._bound[session.id, bound.kind, bound.stream.id] = bound

        def change(there: dict[str, Any]) -> Mapping[str, Any] | None:
            told = there.get("session")
            if not isinstance(told, Mapping) or told.get("id") != session.id:
                return None
            pipelines = [
                bound.to_dict()
                if (it.get("kind"), it.get("stream_id")) == (bound.kind, bound.stream.id)
                else it
                for it in objects_in(there, "pipelines")
            ]
            return {**there, "pipelines": pipelines, "written": envelope.utc_text(files.wall_ms())}

        lock = directory.capture_info_lock
        await self._in_thread(partial(locks.change_object, directory.capture_info, lock, change))
        self._look_again()

    # Streams that should be talking.

    async def _look_for_silence(self, session: recorded_session.RecordedSession, ws_id: str) -> None:
        talking = [it for it in session.pipelines if it.status == "running" and it.ws_id == ws_id]
        now = time.monotonic()
        stale, fresh = self._watch.look(talking, self._recorder.last_seen, now)
        self._recorder.supply(
            [self._own(recovery_backfill.FRESH_EVENT, self._told(silent, now)) for silent in fresh]
        )
        for silent in fresh:
            self._recorder.say(f"{silent.pipeline.stream.name} is described again")
        if not stale or not await self._runs(session, ws_id):
            return
        for silent in stale:
            stream, seconds = silent.pipeline.stream, now - silent.since
            reason = f"nothing of {stream.name} has come for {seconds:.0f} s"
            now_ms = files.wall_ms()
            self._recorder.supply([self._own(recovery_backfill.STALE_EVENT, self._told(silent, now))])
            self._open_gap(now_ms - int(seconds * 1000), now_ms, reason, (stream.id,))
            self._recorder.say(f"{reason}: starting its description anew", problem=True)
            self._silent.add((silent.pipeline.kind, stream.id))
            self._doubled.add(stream.id)
            self._seen, self._fetched_at = self._seen or set(), time.monotonic()

    def _told(self, silent: stale_streams.StaleStream, now: float) -> dict[str, Any]:
        stream = silent.pipeline.stream
        return {
            "stream_id": stream.id,
            "stream_name": stream.name,
            "channel": silent.pipeline.kind,
            "seconds": round(now - silent.since, 3),
        }

    # Filling gaps.

    async def _fill(self, wanted: Sequence[gaps.Gap], ws_id: str) -> None:
        self._seen = set() if self._seen is None else self._seen
        self._there = set()
        await self._flushed(ws_id)
        since_ms = min(gap.since_ms for gap in wanted)
        known = [session for session in self._sessions.values() if session.ran_after(since_ms)]
        sources = [source for session in known for source in session.sources]
        tail = await self._in_thread(
            partial(_read_tail, self._directory.journal, wanted, sources, [session.id for session in known])
        )
        self._require(ws_id)
        tail.seen |= self._there
        self._there = tail.seen
        sources = [*sources, *tail.told_sources]
        # Another capture may have followed, and have put its own words in place of those of the one before.
        # Only what was before this run can have gone unnoticed.
        began = self._connections > 1 or any(it.began_before(since_ms) for it in self._sessions.values())
        is_unknown = not self._sessions or (not began and not tail.told_sources)
        backfill = recovery_backfill.Backfill(wanted, sources, tail, is_unknown=is_unknown)
        if backfill.sources:
            self._recorder.supply([self._own(recovery_backfill.BACKFILL_EVENT, backfill.told())])
            settled_at = max(self._connected_at, self._bound_at) + _SETTLING_SECONDS
            is_settled = time.monotonic() >= settled_at
            await self._fetch(backfill, ws_id)
            if not is_settled:
                await asyncio.sleep(max(0.0, settled_at - time.monotonic()))
                self._require(ws_id)
                backfill.begin()
                await self._fetch(backfill, ws_id)
        if self._trouble is None:
            await self._close(known, backfill, ws_id)

    async def _fetch(self, backfill: recovery_backfill.Backfill, ws_id: str) -> None:
        pages, dropped = 0, self._recorder.dropped
        while (fetch := backfill.next()) is not None:
            try:
                page = await self._ask(ws_id, partial(self._page, fetch))
            except ServiceRefusedError as error:
                backfill.refuse(error.message)
                continue
            except ServiceUnreachableError as error:
                self._trouble = self._trouble or error
                backfill.skip()
                continue
            now_ms = files.wall_ms()
            events = backfill.take(page.records, more=page.more)
            records = [envelope.backfilled_record(event, now_ms) for event in events]
            self._note_seen(events)
            pages += 1
            if records:
                self._fetched_at = time.monotonic()
                self._recorder.supply(records)
            await self._flushed(ws_id)
            if self._recorder.dropped != dropped:
                # What found no room is not there, whatever we remember: another gap tells of it.
                raise _Interrupted
            if pages % _PAGES_A_LINE == 0:
                self._recorder.supply([self._own(recovery_backfill.BACKFILL_EVENT, backfill.told())])
            # The service has others to serve.
            await asyncio.sleep(_PAUSE_BETWEEN_PAGES_SECONDS)

    def _page(self, fetch: recovery_backfill.PageRequest) -> cloud.Page:
        source, bounds = fetch.source, {"start": fetch.start, "end": fetch.end}
        stream_id, page, size = source.stream_id, fetch.page, recovery_backfill.PAGE_SIZE
        if source.index_id:
            return self._account.get_records(stream_id, source.index_id, page, size, **bounds)
        return self._account.get_transcript(stream_id, page, size, **bounds, engine=source.engine)

    async def _close(
        self,
        known: Sequence[recorded_session.RecordedSession],
        backfill: recovery_backfill.Backfill,
        ws_id: str,
    ) -> None:
        others = [
            gaps.Missing(
                f"what was said on {name}", f"its transcript stood still for {seconds:g} s", lost=False
            )
            for name, seconds in self._unheard.items()
        ]
        for session in known:
            await self._tell_life(session, ws_id)
        others += self._refused
        self._unheard.clear()
        self._refused.clear()
        if any(session.events or any(it.alerts for it in session.pipelines) for session in known):
            others.append(gaps.Missing("alerts", "the service keeps no record of those that it sent"))
        now_ms = files.wall_ms()
        closed = [
            replace(gap, until_ms=max(gap.since_ms, now_ms)) if gap.id in self._lasting else gap
            for gap in backfill.closed(others)
        ]
        self._recorder.supply([self._own(gaps.EVENT, gap.told()) for gap in closed])
        what = f"fetched what had been missed: {backfill.recovered:,} events"
        if not backfill.recovered:
            what = "there was nothing to fetch of what had been missed"
        lost = sorted({one.what for gap in closed for one in gap.missing if one.lost})
        if lost:
            hint = f"see: vdbevents gaps {self._directory.path}"
            if not self._sessions:
                hint = f"pipelines started with an earlier id push to it still: start them with {ws_id}"
            self._recorder.say(f"{what}; not to be had: {', '.join(lost)}", problem=True, hint=hint)
        else:
            self._recorder.say(what)
        await self._forget_former()
        for stream_id, silent in self._watch.stale.items():
            # What is made until somebody hears of it again is fetched then.
            reason = f"nothing of {silent.pipeline.stream.name} has come yet"
            self._lasting.add(self._open_gap(now_ms, now_ms, reason, (stream_id,)))

    def _goes_on(self, gap: gaps.Gap) -> bool:
        """Whether a gap is that of a silence that is not over."""
        session = self._current
        runs = session is not None and session.may_run and session.id not in self._over
        return runs and gap.id in self._lasting and all(it in self._watch.stale for it in gap.streams)

    async def _forget_former(self) -> None:
        # All that they hold is in the journal, and they make no more.
        session = self._current
        if session is None or self._unstopped or self._recorder.open_gaps:
            return
        for pipeline in session.pipelines:
            if pipeline.former:
                await self._write_down(session, replace(pipeline, former=()))

    # The life of a session.

    async def _follow_life(self, ws_id: str) -> None:
        """Asks how far the session is: its life is told to the connection that it was created with alone."""
        session, now = self._current, time.monotonic()
        if session is None or session.ws_id in ("", ws_id) or now < self._life_at:
            return
        if now > self._over.get(session.id, now) + _LIFE_AFTER_END_SECONDS:
            return
        self._life_at = now + _LIFE_SECONDS
        if await self._is_ours(session.ws_id):
            await self._tell_life(session, ws_id)

    async def _tell_life(self, session: recorded_session.RecordedSession, ws_id: str) -> None:
        answer = await self._get(session, ws_id)
        if answer is None:
            return
        known = self._statuses.setdefault(session.id, set())
        if not recovery_backfill.life_since(answer, known):
            return
        await self._flushed(ws_id)
        known |= await self._in_thread(partial(_statuses_told, self._directory.journal, session.id))
        now_ms = files.wall_ms()
        events = recovery_backfill.life_since(answer, known)
        known.update(event["status"] for event in events)
        self._note_seen(events)
        self._fetched_at, dropped = time.monotonic(), self._recorder.dropped
        self._recorder.supply([envelope.backfilled_record(event, now_ms) for event in events])
        if self._recorder.dropped != dropped:
            del self._statuses[session.id]


class _Interrupted(Exception):  # noqa: N818 - it is no error
    """The connection that something was done for stands no more."""


def _had(path: Path, ws_id: str) -> bool:
    return ws_id in reader.connection_ids(path)


def _read_tail(
    path: Path,
    wanted: Sequence[gaps.Gap],
    sources: Iterable[recorded_session.RecordSource],
    session_ids: Sequence[str],
) -> recovery_backfill.JournalTail:
    sources = list(sources)
    keys = {source.key for source in sources}
    sessions = {*session_ids, *(source.session_id for source in sources)}
    tail = recovery_backfill.JournalTail(wanted, keys, sessions)
    needles = [*_NEEDLES, *{key.stream_id.encode() for key in keys}]
    for line in reader.backward(path, needles):
        event = envelope.parse_line(line)
        if event is not None and not tail.take(event):
            break
    else:
        tail.begun_ms = _first_ms(path)
    told = [source for source in tail.told_sources if source.key not in keys]
    # Of a session before, whose info file is no more: what is there of it is to be known, too.
    return _read_tail(path, wanted, [*sources, *told], session_ids) if told else tail


def _first_ms(path: Path) -> int | None:
    with contextlib.suppress(OSError), path.open("rb") as handle:
        event = envelope.parse_line(handle.readline())
        return None if event is None else fields.unix_ms(event.get("unix_ts"))
    return None


def _statuses_told(path: Path, session_id: str) -> set[str]:
    found: set[str] = set()
    for line in reader.backward(path, [session_id.encode()]):
        event = envelope.parse_line(line)
        if event is None:
            continue
        life = lifecycle.lifecycle_of(event)
        if life is not None and life.session_id == session_id:
            found.add(life.status)
        if "created" in found:
            break
    return found
