"""The listener that a capture with the user's own account needs: found, or started and ended with it."""

import asyncio
import contextlib
from functools import partial
from typing import Final

from vdbevents.capture.capture_context import CaptureContext
from vdbevents.errors import InputError, ListenerStateError
from vdbevents.journal import files, locks
from vdbevents.sessions.interfaces import OwnListener
from vdbevents.sessions.waiting import wait_for_connection_id

_FOLLOW_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 10.0


class ListenerControl:
    """Finds, starts, watches and ends the listener of the capture's directory."""

    def __init__(self, context: CaptureContext, own: OwnListener | None) -> None:
        """Start nothing yet.

        Args:
            context: of the capture.
            own: starts a listener if none runs; None: fail instead.
        """
        self._context = context
        self._directory = context.directory
        self._own = own
        self._is_started = False

    async def connect(self) -> None:
        """Wait for a connected listener, started if none runs; set the capture's connection id.

        Raises:
            ListenerStateError: no listener runs, and none may be started.
            VdbeventsError: the listener cannot be started, or does not connect in time.
        """
        context, directory = self._context, self._directory
        if locks.listener_runs(directory) or not await self._start():
            context.say(f"using the listener on {directory.path} (PID {locks.listener_pid(directory)})")
        connection = wait_for_connection_id(directory, context.limits.step)
        context.info.ws_id = await context.waiting.unless_stopping(connection)
        context.say(f"the listener is connected as {context.info.ws_id}")

    async def _start(self) -> bool:
        """Start a listener; return False if another process was faster."""
        if self._own is None:
            raise ListenerStateError(
                f"no listener runs on {self._directory.path}",
                f"start one with: vdbevents listen {self._directory.path}, or leave out --no-listen",
                error_id="listener-not-running",
            )
        waiting = self._context.waiting
        self._context.say(f"starting a listener on {self._directory.path}")
        try:
            # Not cancelled by a signal: whatever it starts must be known, to be ended.
            await waiting.in_thread(partial(self._own.start, waiting.cancelled))
        except ListenerStateError:
            if not locks.listener_runs(self._directory):
                raise
            return False
        self._is_started = True
        return True

    async def watch(self) -> None:
        """Warn each time the listener has ended, or writes nothing; runs until cancelled."""
        runs, reported = True, ""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with contextlib.suppress(InputError):
                before, runs = runs, locks.listener_runs(self._directory)
                if before and not runs:
                    self._context.note_trouble(
                        "has ended: no events are recorded",
                        f"the listener on {self._directory.path} has ended: no events are recorded",
                        f"start one with: vdbevents listen {self._directory.path}",
                    )
                reported = self._report(reported) if runs else ""

    def _report(self, reported: str) -> str:
        """Report that the listener writes nothing, though it runs, or that it does again; return why."""
        trouble, hint = self._trouble()
        if trouble and (trouble != reported or not self._context.info.listener_trouble):
            self._context.note_trouble(trouble, f"the listener {trouble}", hint)
        elif reported and not trouble:
            self._context.note_recovery("the listener writes again,")
        return trouble

    def _trouble(self) -> tuple[str, str]:
        """Return why the listener writes nothing, and what to do; both empty if it does."""
        status = files.read_object(self._directory.listener_status)
        if status.get("disk_trouble"):
            hint = "free some disk space: it holds events in memory meanwhile"
            return f"cannot write: {status['disk_trouble']}", hint
        if status.get("paused") is True:
            hint = f"go on with: vdbevents resume {self._directory.path}"
            return "is paused: what is said and shown is not written", hint
        return "", ""

    async def end(self) -> None:
        """End the listener if it was started here, after it has recovered its gaps."""
        waiting = self._context.waiting
        if self._is_started:
            await waiting.unless_hurried(self._wait_for_backfill())
        if self._own is not None and await waiting.in_thread(partial(self._own.stop, _STOP_SECONDS)):
            self._context.say("stopped the listener that this capture started")

    def drop(self) -> None:
        """Signal the listener to end, without waiting."""
        if self._own is not None:
            self._own.stop(0)

    async def _wait_for_backfill(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._context.limits.step
        is_announced = False
        while files.read_object(self._directory.listener_status).get("open_gaps"):
            if not is_announced:
                self._context.say("the listener is fetching missed events")
                is_announced = True
            if loop.time() > deadline:
                self._context.say(
                    "the listener has not yet fetched all missed events",
                    problem=True,
                    hint=f"the next listener will: vdbevents listen {self._directory.path}",
                )
                return
            await asyncio.sleep(_FOLLOW_SECONDS)
