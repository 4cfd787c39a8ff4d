"""The end of a session: its runtime is closed, it is stopped, and its video waited for, whatever fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from vdbevents.capture.runtime import Runtime
from vdbevents.cloud import Account, Export
from vdbevents.errors import CaptureError, ServiceRefusedError, ServiceUnreachableError, VdbeventsError
from vdbevents.sessions.capture_info import CaptureInfo
from vdbevents.sessions.interfaces import Reporter
from vdbevents.sessions.waiting import Waiting

_Answer = TypeVar("_Answer")

_HURRIED_SECONDS = 2.0
_FAREWELL_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_POLL_SECONDS = 2.0
# A start that the runtime sent before it was closed may still arrive.
_LATE_START_SECONDS = 3.0
# The service exports by itself; asked for too early, it would do so twice.
_EXPORT_BY_ITSELF_SECONDS = 5.0


async def end_runtime(
    runtime: Runtime | None, waiting: Waiting, say: Reporter, seconds: float, *, recording: bool
) -> bool:
    """Has the runtime stop what it records, and closes it.

    Args:
        runtime: None where none was ever started.
        waiting: a second signal shortens it.
        say: is told of a runtime that does not stop.
        seconds: for it to stop.
        recording: it has said that it records, and the session has not ended by itself.

    Returns:
        Whether it has said that it stopped.
    """
    if runtime is None:
        return False
    asked = False
    if runtime.runs and recording:
        try:
            asked = await waiting.unless_hurried(runtime.stop(seconds))
        except CaptureError as error:
            say(error.message, problem=True)
    await runtime.close(_HURRIED_SECONDS if waiting.hurried else _FAREWELL_SECONDS)
    return asked


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """Ends one session.

    Attributes:
        step_seconds: for each step of it.
        export_seconds: for the video.
        command: makes the command that does a step of it later: `command("session end")`.
    """

    info: CaptureInfo
    account: Account
    waiting: Waiting
    say: Reporter
    step_seconds: float
    export_seconds: float
    command: Callable[[str], str]

    async def stop(self, *, asked: bool) -> None:
        """Stops a session that may run on the server; its runtime is closed.

        Args:
            asked: the runtime has said that it stopped it.

        Raises:
            VdbeventsError: it may still run, or has not stopped in time.
        """
        life = self.info.life
        if asked or life.is_over:
            done = await self.waiting.until(lambda: self.waiting.hurried or life.is_ended, self.step_seconds)
            if done:
                return
        await self._stop_over_api()

    async def _stop_over_api(self) -> None:
        life, clock = self.info.life, asyncio.get_running_loop().time
        deadline, may_start_until = clock() + self.step_seconds, clock() + _LATE_START_SECONDS
        trouble: VdbeventsError | None = None
        while not life.is_ended:
            try:
                status = await self._stop_once()
                trouble = None
                if status == "created" and (clock() >= may_start_until or self.waiting.hurried):
                    return
            except (ServiceRefusedError, ServiceUnreachableError) as error:
                trouble = error
            if self.waiting.hurried or clock() >= deadline:
                break
            await self.waiting.until(lambda: life.is_ended or self.waiting.hurried, _PAUSE_SECONDS)
        if not life.is_ended:
            self._say_what_is_left(trouble)

    async def _stop_once(self) -> str:
        session = await self._ask(
            partial(self.account.get_session, self.info.session_id, self.info.collection_id)
        )
        self.info.life.take(session.status, session.streams, session.error)
        if session.status in ("starting", "active"):
            await self._ask(partial(self.account.stop_session, self.info.session_id))
        return session.status

    async def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        limit = _HURRIED_SECONDS if self.waiting.hurried else max(self.step_seconds / 2, _HURRIED_SECONDS)
        return await self.waiting.within(call, limit)

    def _say_what_is_left(self, trouble: VdbeventsError | None) -> None:
        session_id, hint = self.info.session_id, f"end it with: {self.command('session end')}"
        if trouble is not None:
            message = f"the session {session_id} may still run on the server: {trouble.message}"
            kind = (
                ServiceRefusedError if isinstance(trouble, ServiceRefusedError) else ServiceUnreachableError
            )
            raise kind(message, hint)
        if not self.waiting.hurried:
            status = self.info.life.status
            raise CaptureError(
                f"the session has not stopped in {self.step_seconds:g} s: it is {status}", hint
            )

    async def export(self) -> None:
        """Waits for the video of a session that has stopped.

        Raises:
            CaptureError: there is none.
        """
        life, clock = self.info.life, asyncio.get_running_loop().time
        began = clock()
        deadline = began + self.export_seconds
        self.say("the session has stopped; waiting for its video")
        while not (life.is_export_decided or self.waiting.hurried):
            pause = min(_POLL_SECONDS, deadline - clock())
            if pause <= 0:
                break
            if not await self.waiting.until(lambda: life.is_export_decided or self.waiting.hurried, pause):
                await self._ask_for_export(by_itself=clock() - began < _EXPORT_BY_ITSELF_SECONDS)
        self._say_export()

    async def _ask_for_export(self, *, by_itself: bool) -> None:
        info = self.info
        try:
            session = await self._ask(partial(self.account.get_session, info.session_id, info.collection_id))
            if session.export_status == "failed":
                info.life.take_export(Export("failed"))
            elif session.export_status == "exported" or session.video_id or not by_itself:
                export = partial(self.account.export_session, info.session_id, info.collection_id)
                info.life.take_export(await self._ask(export))
        except ServiceRefusedError as error:
            info.life.take_export(Export("failed"), error.message)
        except ServiceUnreachableError:
            # Asked again, until the time is over.
            return

    def _say_export(self) -> None:
        export, later = self.info.life.export, self.command("session export")
        if export.status == "exported":
            self.say(f"exported: video {export.video_id}, {export.player_url}")
        elif export.status == "failed":
            reason = f": {self.info.life.export_error}" if self.info.life.export_error else ""
            raise CaptureError(f"the export of the video failed{reason}", f"try it again: {later}")
        elif not self.waiting.hurried:
            raise CaptureError(
                f"the video has not been exported in {self.export_seconds:g} s", f"ask for it later: {later}"
            )
