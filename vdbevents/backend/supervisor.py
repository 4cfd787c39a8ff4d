"""What goes on behind the answers: the pipelines of each session that the backend made, to its end.

It follows the journal, in which every event is before it is answered, whichever way it came. So whatever a
crash cuts short is begun again from there, and every step may be repeated.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

from vdbevents import __version__, cloud
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import (
    ListenerStateError,
    ServiceRefusedError,
    ServiceUnreachableError,
    VdbeventsError,
)
from vdbevents.events import envelope, fields, lifecycle
from vdbevents.journal import files, locks, reader, state
from vdbevents.sessions import pipelines as p, plan
from vdbevents.sessions.capture_info import CaptureInfo, merge_bindings, unended_sessions
from vdbevents.sessions.interfaces import Notify, OwnListener
from vdbevents.sessions.recorded_session import REBOUND_EVENT, session_from_info
from vdbevents.sessions.waiting import wait_for_connection_id

_Answer = TypeVar("_Answer")

SERVING_EVENT: Final = "backend.serving"
SESSION_EVENT: Final = "backend.session"
STARTED_EVENT: Final = "backend.started"
ENDED_EVENT: Final = "backend.ended"

_NEEDLES: Final = (b"capture_session", b'"backend.', b'"listener.rebound"')
_FOLLOW_SECONDS: Final = 0.05
_WATCH_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 15.0
_PREPARED_SECONDS: Final = 8.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
# A session that is not used, or whose video never comes, is thought of no longer than this.
_REMEMBERED_MS: Final = 7 * 86_400_000
_EXPECTED_MS: Final = 3_600_000
_LONGEST_SHOWN: Final = 500


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """What sessions are made like, and what is to be made of them.

    Attributes:
        directory: the state directory; it exists.
        account: the API, with the limit of one call.
        token_seconds: how long a client's token is good.
        step_seconds: how long the listener may take to be connected.
    """

    directory: state.StateDirectory
    account: cloud.Account
    end_user_id: str
    listener: OwnListener
    collection_id: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict)
    token_seconds: int = 86_400
    pipelines: plan.PipelineSettings = field(default_factory=plan.PipelineSettings)
    step_seconds: float = 30.0


class NewSession(NamedTuple):
    """A session for a client, and the token with which it records."""

    session_id: str
    token: str


@dataclass(slots=True, eq=False)
class _Session:
    """A session of ours.

    Attributes:
        since_ms: when it was made.
        served: ids of the streams whose pipelines run.
        is_told: its end is written down.
        is_video_told: its video is in the info file, as far as that tells of it.
        hearsay: what webhooks alone have told of its end, and the API is yet to be asked about.
    """

    info: CaptureInfo
    since_ms: int
    served: set[str] = field(default_factory=set)
    is_told: bool = False
    is_video_told: bool = False
    hearsay: list[lifecycle.Lifecycle] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None

    @property
    def is_active(self) -> bool:
        return self.info.life.status == "active"

    @property
    def is_stopping(self) -> bool:
        return self.info.life.is_over and not self.info.life.is_ended

    @property
    def is_served(self) -> bool:
        return bool(self.served) and all(it.id in self.served for it in self.info.life.streams)

    def told(self) -> dict[str, Any]:
        info = self.info
        return {
            "capture_session_id": info.session_id,
            "collection_id": info.collection_id,
            "end_user_id": info.end_user_id,
            "ws_id": info.ws_id or None,
            "since": self.since_ms / 1000,
            "status": info.life.status,
            "served": sorted(self.served),
            "ended": self.is_told,
        }


class Sessions:
    """The sessions of one backend. Lives on the loop that runs."""

    def __init__(
        self, options: SupervisorOptions, say: Notify, append: Callable[[envelope.Record], object]
    ) -> None:
        """Nothing happens before `restore`.

        Args:
            options: see there.
            say: tells a person.
            append: puts a line of ours into the journal, and blocks meanwhile; raises OSError.
        """
        self._options = options
        self._directory = options.directory
        self._account = options.account
        self._say = say
        self._append = append
        self._sessions: dict[str, _Session] = {}
        self._is_restored = False
        self._offset = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener_guard = asyncio.Lock()
        self._event_guard = asyncio.Lock()
        self._info_guard = asyncio.Lock()
        self._ended = threading.Event()
        self._loop = asyncio.get_running_loop()

    # What the journal tells.

    async def restore(self, serving: Mapping[str, Any]) -> None:
        """Takes up what an earlier run has left, and says in the journal that this one serves.

        Raises:
            OSError: the journal cannot be read or written.
        """
        path = self._directory.journal
        self._offset = await self._in_thread(partial(_whole_size, path))
        for event in await self._in_thread(partial(_told_since_serving, path)):
            self._take(event)
        self._is_restored = True
        there = files.read_object(self._directory.capture_info)
        told = session_from_info(there)
        session = None if told is None else self._sessions.get(told.id)
        if told is not None and session is not None:
            info = session.info
            info.life.take(info.life.status, lifecycle.streams_of(there))
            info.pipelines, info.began_ms = list(told.pipelines), told.began_ms
            info.event_ids.update(told.events)
            export = there.get("export")
            session.is_video_told = isinstance(export, Mapping) and export.get("status") == "exported"
        kept = [it.told() for it in self._sessions.values() if self._is_remembered(it)]
        await self._write(SERVING_EVENT, {**serving, "sessions": kept})

    async def run(self) -> None:
        """Does what follows from the journal, until it is cancelled."""
        for session in list(self._sessions.values()):
            if session.is_active and not session.is_served:
                self._say(f"session {session.info.session_id} was left without its pipelines: starting them")
            self._decide(session)
            self._confirm(session)
            if session.info.life.export.video_id and not session.is_video_told:
                self._begin(self._announce_video(session))
        threading.Thread(target=self._follow, name="journal", daemon=True).start()
        self._begin(self._watch_listener())
        try:
            await self._poll_for_ever()
        finally:
            self._ended.set()
            for task in list(self._tasks):
                task.cancel()

    def _follow(self) -> None:
        def wait() -> bool:
            return not self._ended.wait(_FOLLOW_SECONDS)

        trouble = ""
        while not self._ended.is_set():
            try:
                path, start = self._directory.journal, self._offset
                for line in reader.follow(path, from_end=False, wait=wait, start=start):
                    event = _event_in(line)
                    if event is not None:
                        self._loop.call_soon_threadsafe(self._take, event)
            except OSError as error:
                # Read again from where this run began: all of it may be taken twice.
                if str(error) != trouble:
                    self._say(f"the journal cannot be read: {error.strerror or error}", problem=True)
                trouble = str(error)
                self._ended.wait(_WATCH_SECONDS)
            except RuntimeError:
                return  # the loop has ended

    def _take(self, event: Mapping[str, Any]) -> None:
        data = event.get("data")
        if fields.is_own(event):
            if isinstance(data, Mapping):
                self._take_own(str(event.get("event")), data)
            return
        life = lifecycle.lifecycle_of(event)
        session = self._sessions.get(life.session_id) if life is not None else None
        if life is None or session is None:
            return
        if "via" not in event:
            self._learn(session, life, life.streams)
        elif life.status == "active":
            # Who has found out the webhook's address shall not name streams of others.
            self._learn(session, life, ())
        else:
            session.hearsay.append(life)
            if self._is_restored:
                self._confirm(session)

    def _learn(
        self, session: _Session, life: lifecycle.Lifecycle, streams: Sequence[lifecycle.Stream]
    ) -> None:
        """Takes note of a step of a session's life, and has done what follows from it."""
        known = session.info.life
        is_new = life.status == "exported" and not known.is_export_decided
        known.take(life.status, streams, life.error[:_LONGEST_SHOWN])
        if is_new:
            known.take_export(cloud.export_from(life.data))
        if not self._is_restored:
            return
        if is_new:
            self._begin(self._announce_video(session))
        self._decide(session)

    def _confirm(self, session: _Session) -> None:
        """Asks the API about what a webhook alone has told: that a session is at its end."""
        told, session.hearsay = session.hearsay, []
        if told:
            self._begin(self._persist(session, "what became of it", partial(self._ask_about, session, told)))

    async def _ask_about(self, session: _Session, told: Sequence[lifecycle.Lifecycle]) -> None:
        try:
            answer = await self._look_up(session)
        except ServiceRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            # It is no more.
            for life in told:
                self._learn(session, life, ())
            return
        self._decide(session)
        for life in told:
            video_id = cloud.export_from(life.data).video_id
            is_video = life.status == "exported" and answer.video_id in ("", video_id)
            if is_video and session.info.life.is_ended:
                self._learn(session, life, ())
            elif is_video:
                # The API does not know of the end yet: it is asked again when it does.
                session.hearsay = [life]

    def _take_own(self, name: str, data: Mapping[str, Any]) -> None:
        if name == SERVING_EVENT and not self._is_restored:
            sessions = data.get("sessions")
            for told in sessions if isinstance(sessions, list) else ():
                if isinstance(told, Mapping):
                    self._remember(told)
        elif name == SESSION_EVENT:
            self._remember(data)
        session = self._sessions.get(str(data.get("capture_session_id")))
        if session is None:
            return
        if name == STARTED_EVENT:
            served = data.get("served")
            session.served.update(map(str, served) if isinstance(served, list) else ())
        elif name == ENDED_EVENT:
            session.is_told = True
        elif name == REBOUND_EVENT:
            session.info.apply_rebinding(data)

    def _remember(self, told: Mapping[str, Any]) -> None:
        session_id, options = told.get("capture_session_id"), self._options
        if not isinstance(session_id, str) or session_id in self._sessions:
            return
        info = CaptureInfo(
            str(told.get("end_user_id") or options.end_user_id),
            str(told.get("collection_id") or "default"),
            options.metadata,
            options.pipelines.alerts,
        )
        info.session_id, info.ws_id = session_id, str(told.get("ws_id") or "")
        info.life.take(str(told.get("status") or "created"))
        served = told.get("served")
        since_ms = fields.unix_ms(told.get("since")) or files.wall_ms()
        served_ids = set(served) if isinstance(served, list) else set()
        self._sessions[session_id] = _Session(info, since_ms, served_ids, told.get("ended") is True)
        for old in [it for it in self._sessions.values() if not self._is_remembered(it)]:
            del self._sessions[old.info.session_id]

    def _is_remembered(self, session: _Session) -> bool:
        life = session.info.life
        is_over = life.status == "failed" or life.is_export_decided
        is_old = files.wall_ms() - session.since_ms > _REMEMBERED_MS and not session.is_active
        return not (is_old or (is_over and session.is_told))

    # Sessions.

    async def create(self, webhook_url: str) -> NewSession:
        """Makes a session, whose life is told to an address, and a token for who records it.

        Raises:
            ServiceRefusedError, ServiceUnreachableError: the service makes none.
            OSError: it cannot be written down that it is ours.
        """
        options = self._options
        # The session's life is told to the connection that it is made with, and no other.
        await asyncio.wait({self._begin(self._prepare_listener())}, timeout=_PREPARED_SECONDS)
        token = await self._in_thread(partial(self._account.create_token, options.token_seconds))
        ws_id = files.read_small_file(self._directory.ws_id)
        create = partial(
            self._account.create_session,
            options.end_user_id,
            options.collection_id,
            ws_id,
            options.metadata,
            webhook_url,
        )
        session = await self._in_thread(create)
        told = {
            "capture_session_id": session.id,
            "collection_id": session.collection_id,
            "end_user_id": options.end_user_id,
            "ws_id": ws_id,
            "since": files.wall_ms() / 1000,
        }
        await self._write(SESSION_EVENT, told)
        self._remember(told)
        self._sessions[session.id].info.token_expires_ms = token.expires_ms
        self._say(f"session {session.id} for {options.end_user_id}")
        return NewSession(session.id, token.value)

    async def _poll_for_ever(self) -> None:
        """Asks for what an event that never comes would have told."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            expected_ms = files.wall_ms() - _EXPECTED_MS
            for session in list(self._sessions.values()):
                life = session.info.life
                # The webhook of an end may be faster than what the API knows of it, and is told once.
                runs = session.is_active or session.is_stopping
                if runs or (not life.is_over and session.since_ms > expected_ms):
                    with contextlib.suppress(VdbeventsError):
                        await self._look_again(session)

    async def _look_again(self, session: _Session) -> None:
        life, status = session.info.life, session.info.life.status
        try:
            await self._look_up(session)
        except ServiceRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND or not session.is_stopping:
                raise
            # It is no more, and cannot be asked about for ever.
            life.take("stopped")
        if session.is_active or life.status != status:
            self._decide(session)

    async def _look_up(self, session: _Session) -> cloud.CloudSession:
        """Takes note of what the API tells of a session now."""
        info = session.info
        ask = partial(self._account.get_session, info.session_id, info.collection_id)
        answer = await self._in_thread(ask)
        info.life.take(answer.status, answer.streams, answer.error)
        return answer

    def _decide(self, session: _Session) -> None:
        """Has done what is to be done about a session, as it is now."""
        life = session.info.life
        if life.is_over:
            if session.task is not None:
                session.task.cancel()
                session.task = None
            if not session.is_told and (session.ending is None or session.ending.done()):
                session.ending = self._begin(self._end(session))
            if life.is_ended:
                self._confirm(session)
        elif session.is_active and not session.is_served and session.task is None:
            session.task = self._begin(self._serve(session))

    def _begin(self, work: Any) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._say(f"this is a bug in vdbevents; please report it: {error!r}", problem=True)

    async def _persist(self, session: _Session, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Does something again until it succeeds; why it does not is said once for each reason."""
        backoff, complained = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS), ""
        while True:
            try:
                await work()
            except (VdbeventsError, OSError) as error:
                message, hint = str(error), getattr(error, "hint", "")
                if message != complained:
                    text = f"session {session.info.session_id}: {what}: {message}; trying again"
                    self._say(text, problem=True, hint=hint)
                complained = message
                await asyncio.sleep(backoff.next(getattr(error, "retry_after", None)))
            else:
                return

    async def _serve(self, session: _Session) -> None:
        await self._persist(session, "its pipelines", partial(self._start_pipelines, session))
        session.task = None
        if session.info.life.is_over or not session.is_served:
            self._decide(session)

    async def _end(self, session: _Session) -> None:
        status = ""
        # It may go on to its end while it is told that it is stopping.
        while status != session.info.life.status:
            status = session.info.life.status
            await self._persist(session, "its end", partial(self._tell_end, session))
        session.ending = None

    async def _announce_video(self, session: _Session) -> None:
        await self._persist(session, "its video", partial(self._tell_video, session))

    async def _tell_video(self, session: _Session) -> None:
        export = session.info.life.export
        await self._write_video(session)
        session.is_video_told = True
        told = (export.video_id, export.stream_url, export.player_url)
        video, *links = (it[:_LONGEST_SHOWN] for it in told)
        shown = ", ".join(filter(None, links))
        self._say(f"session {session.info.session_id} is exported: video {video}, {shown}")

    async def _tell_end(self, session: _Session) -> None:
        info = session.info
        info.pipelines = [plan.mark_stopped(pipeline) for pipeline in info.pipelines]
        info.phase = "stopping"
        is_ended = info.life.is_ended
        if is_ended:
            info.phase = "failed" if info.life.status == "failed" else "ended"
            info.ended_ms = info.ended_ms or files.wall_ms()
        info.error = info.life.error
        await self._write_info(session, take_over=False)
        if is_ended and not session.is_told:
            session.is_told = True
            told = {
                "capture_session_id": info.session_id,
                "status": info.life.status,
                "error": info.error or None,
            }
            try:
                await self._write(ENDED_EVENT, told)
            except OSError:
                session.is_told = False
                raise
            why = f": {info.error}" if info.error else ""
            self._say(f"session {info.session_id} is {info.life.status}{why}", problem=bool(why))

    # Pipelines.

    async def _start_pipelines(self, session: _Session) -> None:
        """Starts what does not run yet on an active session; raises what kept some of it from that."""
        info, life = session.info, session.info.life
        if not life.streams or not session.is_served:
            # It may be over by now: what is told late, or after a crash, is asked for.
            await self._look_up(session)
        if life.is_over:
            return
        if not life.streams:
            raise ServiceUnreachableError("it is active, and has no streams")
        ws_id = await self._connection_id()
        streams = [it for it in life.streams if it.id not in session.served]
        known = {(it.kind, it.stream.id) for it in info.pipelines}
        wanted = plan.pipelines_for(streams, self._options.pipelines)
        info.pipelines += [it for it in wanted if (it.kind, it.stream.id) not in known]
        # Before they are started: an attempt that got no answer may have bound them, for good.
        info.pipelines = [replace(it, ws_id=it.ws_id or ws_id) for it in info.pipelines]
        info.phase, info.began_ms = "recording", info.began_ms or files.wall_ms()
        await self._write_info(session, take_over=True)
        positions = range(len(info.pipelines))
        done = await asyncio.gather(
            *(self._start_pipeline(session, position) for position in positions), return_exceptions=True
        )
        await self._write_info(session, take_over=True)
        for failure in done:
            if failure is not None:
                raise failure
        session.served |= {stream.id for stream in streams}
        told = {"capture_session_id": info.session_id, "served": sorted(session.served)}
        try:
            await self._write(STARTED_EVENT, told)
        except OSError:
            session.served -= {stream.id for stream in streams}
            raise

    async def _start_pipeline(self, session: _Session, position: int) -> None:
        info = session.info
        pipeline = info.pipelines[position]
        try:
            if pipeline.status != "running":
                name = p.index_name(pipeline.kind, info.session_id)
                start = partial(
                    p.start_pipeline, self._account, pipeline, ws_id=pipeline.ws_id, name=name, again=True
                )
                info.update_pipeline(position, await self._in_thread(start))
                self._say(f"session {info.session_id}: started the {pipeline.title}")
            while not await self._attach_alerts(session, position):
                """The listener has bound it anew meanwhile, as another index."""
        except VdbeventsError as error:
            now = info.pipelines[position]
            status = "failed" if now.status != "running" else now.status
            info.update_pipeline(position, replace(now, status=status, error=error.message))
            raise

    async def _attach_alerts(self, session: _Session, position: int) -> bool:
        info, pipeline = session.info, session.info.pipelines[position]
        alerts = self._options.pipelines.alerts
        if pipeline.kind == "transcript" or all(label in pipeline.alerts for label, _ in alerts):
            return True
        async with self._event_guard:
            find = partial(p.find_events, self._account, alerts, info.event_ids)
            events = await self._in_thread(find)
        attach = partial(
            p.attach_alerts, self._account, pipeline.stream.id, pipeline.id, events, pipeline.ws_id
        )
        attached = await self._in_thread(attach)
        return info.update_pipeline(position, replace(pipeline, alerts=attached, error=""))

    # The listener.

    async def _watch_listener(self) -> None:
        """While something is recorded, somebody has to write it down."""
        complained = ""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if not any(it.is_active for it in self._sessions.values()):
                continue
            try:
                await self._connection_id()
                complained = ""
            except (VdbeventsError, OSError) as error:
                if str(error) != complained:
                    self._say(str(error), problem=True, hint=getattr(error, "hint", ""))
                complained = str(error)

    async def _prepare_listener(self) -> None:
        # Why there is none is said when it is needed.
        with contextlib.suppress(VdbeventsError, OSError):
            await self._connection_id()

    async def _connection_id(self) -> str:
        """The id of the connection of this directory's listener, which is started where none runs.

        Raises:
            VdbeventsError: there is no connection.
        """
        directory = self._directory
        async with self._listener_guard:
            if not locks.listener_runs(directory):
                self._say(f"starting a listener on {directory.path}")
                # Another one may be faster, and serves as well.
                with contextlib.suppress(ListenerStateError):
                    await self._in_thread(partial(self._options.listener.start, self._ended))
            return await wait_for_connection_id(directory, self._options.step_seconds)

    async def close(self, seconds: float) -> None:
        """Ends the listener that was started for this, unless something is still recorded."""
        if active := [it.info.session_id for it in self._sessions.values() if it.is_active]:
            self._say(
                f"left running, with the listener: {', '.join(active)}",
                hint=f"later: vdbevents stop {self._directory.path}",
            )
        elif await self._in_thread(partial(self._options.listener.stop, seconds)):
            self._say("stopped the listener that was started for this")

    # What is written down.

    async def _write(self, event: str, data: Mapping[str, Any]) -> None:
        made = envelope.own_record(event, data, files.wall_ms())
        await self._in_thread(partial(self._append, made))

    async def _write_info(self, session: _Session, *, take_over: bool) -> None:
        """Tells of a session in the capture's info file, where the listener looks for what to bind anew.

        It has room for one: that which became active last.
        """
        info = session.info
        told = info.to_dict(pid=os.getpid(), version=__version__, now_ms=files.wall_ms())
        ours = set(self._sessions)

        def change(there: dict[str, Any]) -> Mapping[str, Any] | None:
            before = there.get("session")
            if isinstance(before, Mapping) and before.get("id") == info.session_id:
                # A capture that records it on this machine knows more of it.
                kept = dict(there) if there.get("channels") else told
                names = ("pipelines", "streams", "alerts")
                newer = {name: merge_bindings(told, there)[name] for name in names}
                return {**kept, **newer, "unended": there.get("unended") or []}
            if not take_over:
                return None
            unended = [it for it in unended_sessions(there) if it[0] not in ours]
            return {
                **told,
                "unended": [{"id": it, "collection_id": collection} for it, collection in unended],
            }

        await self._change_info(change)

    async def _write_video(self, session: _Session) -> None:
        """Tells of a session's video in the info file, if that is about it, and leaves the rest as it is."""
        told = session.info.to_dict(pid=os.getpid(), version=__version__, now_ms=files.wall_ms())

        def change(there: dict[str, Any]) -> Mapping[str, Any] | None:
            before = there.get("session")
            if not isinstance(before, Mapping) or before.get("id") != session.info.session_id:
                return None
            status = told["session"]["status"]
            newer = {name: told[name] for name in ("export", "written")}
            return {**there, **newer, "session": {**before, "status": status}}

        await self._change_info(change)

    async def _change_info(self, change: Callable[[dict[str, Any]], Mapping[str, Any] | None]) -> None:
        info, lock = self._directory.capture_info, self._directory.capture_info_lock
        async with self._info_guard:
            await self._in_thread(partial(locks.change_object, info, lock, change))

    async def _in_thread(self, call: Callable[[], _Answer]) -> _Answer:
        return await self._loop.run_in_executor(None, call)


def _event_in(line: bytes) -> dict[str, Any] | None:
    return envelope.parse_line(line) if any(needle in line for needle in _NEEDLES) else None


def _whole_size(path: Any) -> int:  # noqa: ANN401 - a Path
    try:
        tail = reader.Tail(path, None)
    except FileNotFoundError:
        return 0
    tail.close()
    return tail.offset


def _told_since_serving(path: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """What the journal tells since a backend last began to serve, that line included, in its order."""
    found = []
    for line in reader.backward(path, _NEEDLES):
        event = envelope.parse_line(line)
        if event is None:
            continue
        found.append(event)
        if fields.is_own(event) and event.get("event") == SERVING_EVENT:
            break
    return found[::-1]
