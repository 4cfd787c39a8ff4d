"""A capture with the own account, from its first step to its last: listener, session, pipelines, video.

Whatever happens on the way, it ends in order: the session on the server, the runtime, and the files.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from vdbevents import __version__, cloud
from vdbevents.capture.ending import SessionEnd
from vdbevents.capture.recording import Observer, Options, Outcome, Recording, cancelled, carry_out
from vdbevents.capture.runtime import Runtime
from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import (
    CaptureError,
    InputError,
    ListenerStateError,
    ServiceRefusedError,
    ServiceUnreachableError,
    VdbeventsError,
)
from vdbevents.events import lifecycle
from vdbevents.journal import files, locks
from vdbevents.sessions import pipelines as p, plan
from vdbevents.sessions.capture_info import CaptureInfo, merge_bindings, unended_sessions
from vdbevents.sessions.interfaces import OwnListener
from vdbevents.sessions.waiting import wait_for_connection_id

_FOLLOW_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 2.0
_CALM_POLL_SECONDS: Final = 15.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_LISTENER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class OwnSession:
    """The session to make with the own account, and what to make of it.

    Attributes:
        account: the API, with the limit of one call.
        listener: to be started where none runs; None: refuse to go on without one.
        token_seconds: how long the client token is good.
    """

    account: cloud.Account
    end_user_id: str
    collection_id: str = "default"
    metadata: Mapping[str, str] = field(default_factory=dict)
    token_seconds: int = 86_400
    pipelines: plan.PipelineSettings = field(default_factory=plan.PipelineSettings)
    listener: OwnListener | None = None


def capture(own: OwnSession, options: Options, observer: Observer) -> Outcome:
    """Records a session until its duration is over, a signal asks to end, or it ends by itself.

    Raises:
        CaptureError: there is no runtime, or another capture has this directory. Nothing was touched.
        InputError: the directory's files cannot be written.
    """
    return carry_out(options, lambda: _Capture(options, own, observer))


class _Capture(Recording):
    def __init__(self, options: Options, own: OwnSession, observer: Observer) -> None:
        info = CaptureInfo(own.end_user_id, own.collection_id, own.metadata, own.pipelines.alerts)
        super().__init__(options, info, observer)
        self._own = own
        self._account = own.account
        self._has_own_listener = False
        self._info_trouble = ""
        self._event_guard = asyncio.Lock()
        self._pipeline_tasks: set[asyncio.Task[None]] = set()

    async def _obtain_session(self) -> cloud.Token:
        await self._find_listener()
        await self._end_leftovers()
        return await self._create_session()

    # 1. The listener.

    async def _find_listener(self) -> None:
        directory = self._directory
        journal_size = self._journal_size()
        if locks.listener_runs(directory) or not await self._start_listener():
            self._say(f"a listener records into {directory.path} (PID {locks.listener_pid(directory)})")
        self._info.ws_id = await self._waiting.unless_stopping(
            wait_for_connection_id(self._directory, self._limits.step)
        )
        self._say(f"the listener is connected as {self._info.ws_id}")
        self._begin_to_follow(journal_size)

    async def _start_listener(self) -> bool:
        """Starts one; False where another was faster, and serves as well."""
        own = self._own.listener
        if own is None:
            raise ListenerStateError(
                f"no listener runs on {self._directory.path}",
                f"start one with: vdbevents listen {self._directory.path}, or leave out --no-listen",
            )
        self._say(f"starting a listener on {self._directory.path}")
        try:
            # Not left in the middle, whatever signal comes: what it has started has to be known, to be ended.
            await self._waiting.in_thread(partial(own.start, self._waiting.cancelled))
        except ListenerStateError:
            if not locks.listener_runs(self._directory):
                raise
            return False
        self._has_own_listener = True
        return True

    async def _watch_listener(self) -> None:
        """A recording that nobody writes down is worth a word."""
        runs = True
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with contextlib.suppress(InputError):
                before, runs = runs, locks.listener_runs(self._directory)
                if before and not runs:
                    self._say(
                        f"no listener runs on {self._directory.path} any more: nothing is written down",
                        problem=True,
                        hint=f"start one with: vdbevents listen {self._directory.path}",
                    )

    # 2. The session.

    async def _end_leftovers(self) -> None:
        """A capture that was killed has left its session running, and paid for, on the server."""
        if locks.backend_runs(self._directory):
            return  # what it has begun here is the backend's to end
        for session_id, collection_id in unended_sessions(files.read_object(self._directory.capture_info)):
            try:
                session = await self._call(partial(self._account.get_session, session_id, collection_id))
                if session.status in ("starting", "active"):
                    self._say(f"an earlier capture has left its session {session_id} running: ending it")
                    await self._call(partial(self._account.stop_session, session_id))
            except (InputError, ServiceRefusedError):
                continue  # it is not there any more, or never was
            except ServiceUnreachableError as error:
                self._info.unended.append((session_id, collection_id))
                self._say(f"{session_id}: {error.message}", problem=True, hint="the next capture tries again")

    async def _create_session(self) -> cloud.Token:
        own = self._own
        create = partial(
            self._account.create_session,
            own.end_user_id,
            own.collection_id,
            self._info.ws_id,
            own.metadata,
        )
        session = await self._call(create)
        self._info.session_id, self._info.collection_id = session.id, session.collection_id
        self._move(session.status or "created")
        self._take_early()
        self._say(f"session {session.id} for {own.end_user_id}")
        self._write_info()
        token = await self._call(partial(self._account.create_token, own.token_seconds))
        self._info.token_expires_ms = token.expires_ms
        self._write_info()
        self._begin_task(self._poll_for_ever(), self._tasks)
        self._begin_task(self._watch_listener(), self._tasks)
        return token

    async def _poll_for_ever(self) -> None:
        """Asks for what an event that never comes would have told."""
        while True:
            calm = self._info.phase in ("preparing", "recording")
            seconds = _CALM_POLL_SECONDS if calm else min(_POLL_SECONDS, self._limits.step / 4)
            self._phase_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._phase_changed.wait()
                    continue
            if self._start_tried:
                ask = partial(self._account.get_session, self._info.session_id, self._info.collection_id)
                with contextlib.suppress(VdbeventsError):
                    session = await self._waiting.in_thread(ask)
                    self._move(session.status, session.streams, session.error)

    # 3. It becomes active.

    async def _confirm_begin(self, runtime: Runtime) -> str:
        life, session_id, active_seconds = self._life, self._info.session_id, self._limits.active
        begun = self._waiting.until(
            lambda: life.status == "active" or life.is_over or runtime.ended.done(), active_seconds
        )
        await self._waiting.unless_stopping(begun)
        self._check_that_it_runs(runtime)
        if life.status != "active":
            raise CaptureError(
                f"the session has not become active in {active_seconds:g} s: it is {life.status}",
                "see whether the network lets video out, or give it longer: --active-timeout",
            )
        if not life.streams:
            ask = partial(self._account.get_session, session_id, self._info.collection_id)
            session = await self._call(ask)
            self._move(session.status, session.streams)
        return f"active: {', '.join(stream.name for stream in life.streams)}"

    # 4. Pipelines.

    def _start_pipelines(self, streams: Sequence[lifecycle.Stream]) -> None:
        settings, found = self._own.pipelines, self._info.pipelines
        if not self._life.streams:
            self._say("the session has no streams: nothing is transcribed or described", problem=True)
        first = len(found)
        found += plan.pipelines_for(streams, settings)
        if settings.alerts and not first and all(pipeline.kind == "transcript" for pipeline in found):
            self._say("there is no index that the alerts could watch: they are left out", problem=True)
        for position in range(first, len(found)):
            self._begin_task(self._run_pipeline(position), self._pipeline_tasks)

    async def _run_pipeline(self, position: int) -> None:
        """Starts a pipeline and its alerts, for as long as the recording goes on."""
        backoff, complained = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS), ""
        while True:
            pipeline = self._info.pipelines[position]
            try:
                await self._start_pipeline(position, again=bool(complained))
            except VdbeventsError as error:
                refused = not isinstance(error, ServiceUnreachableError) and pipeline.status != "running"
                status = "failed" if refused else self._info.pipelines[position].status
                self._note(
                    position, replace(self._info.pipelines[position], status=status, error=error.message)
                )
                if error.message != complained:
                    self._say(
                        f"the {pipeline.title}: {error.message}; trying again, the others go on",
                        problem=True,
                        hint=error.hint if refused else "",
                    )
                complained = error.message
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _start_pipeline(self, position: int, *, again: bool) -> None:
        pipeline = self._info.pipelines[position]
        if pipeline.status != "running":
            # An attempt that got no answer may have bound it, for good: all of them name the same connection.
            ws_id = pipeline.ws_id or self._current_ws_id()
            self._info.pipelines[position] = replace(pipeline, ws_id=ws_id)
            name = p.index_name(pipeline.kind, self._info.session_id)
            start = partial(p.start_pipeline, self._account, pipeline, ws_id=ws_id, name=name, again=again)
            pipeline = await self._waiting.in_thread(start)
            self._note(position, pipeline)
            self._say(f"started the {pipeline.title}")
        if pipeline.kind == "transcript" or not self._own.pipelines.alerts:
            return
        while not self._note(position, await self._with_alerts(self._info.pipelines[position])):
            """The listener has bound it anew meanwhile, as another index."""

    def _current_ws_id(self) -> str:
        return files.read_small_file(self._directory.ws_id) or self._info.ws_id

    async def _with_alerts(self, pipeline: plan.Pipeline) -> plan.Pipeline:
        async with self._event_guard:
            find = partial(p.find_events, self._account, self._own.pipelines.alerts, self._info.event_ids)
            events = await self._waiting.in_thread(find)
        stream_id, ws_id = pipeline.stream.id, self._current_ws_id()
        attach = partial(p.attach_alerts, self._account, stream_id, pipeline.id, events, ws_id)
        attached = await self._waiting.in_thread(attach)
        self._say(f"alerts on the {pipeline.title}: {', '.join(attached)}")
        return replace(pipeline, alerts=attached, error="")

    def _note(self, position: int, pipeline: plan.Pipeline) -> bool:
        is_noted = self._info.update_pipeline(position, pipeline)
        if is_noted:
            self._write_info()
        return is_noted

    # 5. The end.

    async def _end_pipelines(self) -> None:
        await cancelled(self._pipeline_tasks)
        if self._info.session_id:
            self._write_info()

    async def _end_session(self, *, asked: bool) -> None:
        end = SessionEnd(
            self._info,
            self._account,
            self._waiting,
            self._say,
            self._limits.step,
            self._limits.export,
            self._later,
        )
        await end.stop(asked=asked)
        stored = any(choice.store for choice in self._info.choices)
        stopped = self._life.status in ("stopped", "exported")
        if stored and stopped and self._info.began_ms is not None and not self._waiting.hurried:
            self._set_phase("exporting")
            self._write_info()
            await end.export()

    def _later(self, command: str) -> str:
        """The command that does later what was not done now."""
        collection = self._info.collection_id
        where = "" if collection == "default" else f" --collection {collection}"
        return f"vdbevents {command} {self._info.session_id}{where}"

    async def _end_listener(self) -> None:
        own = self._own.listener
        if self._has_own_listener:
            await self._waiting.unless_hurried(self._gaps_filled())
        if own is not None and await self._waiting.in_thread(partial(own.stop, _LISTENER_SECONDS)):
            self._say("stopped the listener that was started for this")

    def _drop_listener(self) -> None:
        if self._own.listener is not None:
            self._own.listener.stop(0)

    async def _gaps_filled(self) -> None:
        """Returns when the listener has fetched what it had missed, or cannot in a while."""
        deadline = self._loop.time() + self._limits.step
        told = False
        while files.read_object(self._directory.listener_status).get("open_gaps"):
            if not told:
                self._say("the listener is fetching what it had missed")
                told = True
            if self._loop.time() > deadline:
                self._say(
                    "the listener has not yet fetched all that it had missed",
                    problem=True,
                    hint=f"the next one does: vdbevents listen {self._directory.path}",
                )
                return
            await asyncio.sleep(_FOLLOW_SECONDS)

    # What is written down.

    def _write_info(self) -> None:
        if self._runtime is not None and self._runtime.runs:
            self._info.runtime_pid = self._runtime.pid
        told = self._info.to_dict(pid=os.getpid(), version=__version__, now_ms=files.wall_ms())
        # A disk that does not answer must not keep a signal from being heard.
        self._writer.run(partial(self._replace_info, told))

    def _replace_info(self, told: Mapping[str, Any]) -> None:
        directory = self._directory
        try:
            # The listener writes it, too: it binds the pipelines anew when it has been connected anew.
            locks.change_object(
                directory.capture_info, directory.capture_info_lock, partial(merge_bindings, told)
            )
        except OSError as error:
            reason = f"cannot write {self._directory.capture_info.name}: {error.strerror or error}"
            if reason != self._info_trouble:
                self._say(reason, problem=True, hint="make room: it is tried again with the next change")
            self._info_trouble = reason
        else:
            self._info_trouble = ""
