"""The end of a capture: close the runtime, stop the session, wait for the video."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from vdbevents.capture.capture_context import CaptureContext
from vdbevents.cloud import Account, CloudSession, Export
from vdbevents.errors import CaptureError, ServiceRefusedError, ServiceUnreachableError, VdbeventsError

_Answer = TypeVar("_Answer")

_HURRIED_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_POLL_SECONDS = 2.0
# A start that the runtime sent before it was closed may still arrive.
_LATE_START_SECONDS = 3.0
# The service exports by itself; asked too early, it would export twice.
_OWN_EXPORT_SECONDS = 5.0


async def end_runtime(context: CaptureContext, *, recording: bool) -> bool:
    """Stop the recording and close the runtime; a second signal shortens that.

    Args:
        context: of the capture; without a runtime this is a no-op.
        recording: the runtime has confirmed that it records, and the session has not ended.

    Returns:
        Whether the runtime has confirmed that it stopped the session.
    """
    runtime, waiting = context.runtime, context.waiting
    if runtime is None:
        return False
    asked = False
    if runtime.runs and recording:
        try:
            asked = await waiting.unless_hurried(runtime.stop(context.limits.step))
        except CaptureError as error:
            context.say(error.message, problem=True)
    await runtime.close(_HURRIED_SECONDS if waiting.hurried else _CLOSE_SECONDS)
    return asked


class SessionEnd:
    """Stops a session over the API, and waits for its video."""

    def __init__(self, context: CaptureContext, account: Account) -> None:
        """Make no request yet."""
        self._account = account
        self._info = context.info
        self._life = context.info.life
        self._limits = context.limits
        self._say = context.say
        self._waiting = context.waiting

    async def stop(self, *, asked: bool) -> None:
        """Stop a session that may run on the server, after its runtime is closed.

        Args:
            asked: the runtime has confirmed that it stopped the session.

        Raises:
            VdbeventsError: the session may still run, or has not stopped in time.
        """
        life, waiting = self._life, self._waiting
        if (asked or life.is_over) and await waiting.until(self._is_stopped_or_hurried, self._limits.step):
            return
        clock = asyncio.get_running_loop().time
        deadline, may_start_until = clock() + self._limits.step, clock() + _LATE_START_SECONDS
        error: VdbeventsError | None = None
        while not life.is_ended:
            try:
                status = await self._stop_once()
                error = None
                if status == "created" and (clock() >= may_start_until or waiting.hurried):
                    return
            except (ServiceRefusedError, ServiceUnreachableError) as refusal:
                error = refusal
            if waiting.hurried or clock() >= deadline:
                break
            await waiting.until(self._is_stopped_or_hurried, _PAUSE_SECONDS)
        if not life.is_ended:
            self._report_unended(error)

    def _is_stopped_or_hurried(self) -> bool:
        return self._waiting.hurried or self._life.is_ended

    async def _stop_once(self) -> str:
        session = await self._call(self._get_session)
        self._life.take(session.status, session.streams, session.error)
        if session.status in ("starting", "active"):
            await self._call(partial(self._account.stop_session, self._info.session_id))
        return session.status

    def _get_session(self) -> CloudSession:
        return self._account.get_session(self._info.session_id, self._info.collection_id)

    async def _call(self, call: Callable[[], _Answer]) -> _Answer:
        limit = _HURRIED_SECONDS if self._waiting.hurried else max(self._limits.step / 2, _HURRIED_SECONDS)
        return await self._waiting.within(call, limit)

    def _command(self, name: str) -> str:
        """Return the command that makes a step later."""
        collection = self._info.collection_id
        option = "" if collection == "default" else f" --collection {collection}"
        return f"vdbevents {name} {self._info.session_id}{option}"

    def _report_unended(self, error: VdbeventsError | None) -> None:
        hint = f"end it with: {self._command('session end')}"
        if error is not None:
            kind = ServiceRefusedError if isinstance(error, ServiceRefusedError) else ServiceUnreachableError
            raise kind(
                f"session {self._info.session_id} may still run on the server: {error.message}",
                hint,
                error_id="session-may-run",
            )
        if not self._waiting.hurried:
            raise CaptureError(
                f"the session has not stopped in {self._limits.step:g} s: its status is {self._life.status}",
                hint,
                error_id="session-not-stopped",
            )

    async def export(self) -> None:
        """Wait for the video of a session that has stopped.

        Raises:
            CaptureError: the export failed, or takes too long.
        """
        life, waiting, clock = self._life, self._waiting, asyncio.get_running_loop().time

        def is_over() -> bool:
            return life.is_export_decided or waiting.hurried

        began = clock()
        deadline = began + self._limits.export
        self._say("the session has stopped; waiting for its video")
        while not is_over() and (pause := min(_POLL_SECONDS, deadline - clock())) > 0:
            if not await waiting.until(is_over, pause):
                await self._ask_for_export(may_request=clock() - began >= _OWN_EXPORT_SECONDS)
        self._report_export()

    async def _ask_for_export(self, *, may_request: bool) -> None:
        info, life = self._info, self._life
        try:
            session = await self._call(self._get_session)
            if session.export_status == "failed":
                life.take_export(Export("failed"))
            elif session.export_status == "exported" or session.video_id or may_request:
                export = partial(self._account.export_session, info.session_id, info.collection_id)
                life.take_export(await self._call(export))
        except ServiceRefusedError as error:
            life.take_export(Export("failed"), error.message)
        except ServiceUnreachableError:
            return  # the next poll asks again

    def _report_export(self) -> None:
        export, later = self._life.export, self._command("session export")
        if export.status == "exported":
            self._say(f"exported: video {export.video_id}, {export.player_url}")
        elif export.status == "failed":
            reason = f": {self._life.export_error}" if self._life.export_error else ""
            raise CaptureError(f"export failed{reason}", f"retry with: {later}", error_id="export-failed")
        elif not self._waiting.hurried:
            raise CaptureError(
                f"no video after {self._limits.export:g} s",
                f"export it later: {later}",
                error_id="export-timeout",
            )
