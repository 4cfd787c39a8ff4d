"""Wait for results, changes and blocking calls, unless a stop is requested."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vdbevents.errors import ServiceUnreachableError
from vdbevents.journal import files, state

_Result = TypeVar("_Result")

_GRACE_SECONDS = 2.0
_FOLLOW_SECONDS = 0.05
_FOREVER = 1e9


class StepAborted(Exception):  # noqa: N818 - not an error
    """A stop was requested in the middle of a step."""


class Waiting:
    """The waits of a capture. One stop request aborts its steps, a second one its waiting for the end."""

    def __init__(self) -> None:
        """Wait on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self.stop_requests = 0
        self.cancelled = threading.Event()
        """Set when steps are aborted: for code that waits in a thread."""

    @property
    def hurried(self) -> bool:
        """Whether to skip the waiting for an orderly end."""
        return self.stop_requests > 1

    def request_stop(self) -> None:
        """Abort the steps; the second time, hurry."""
        self.stop_requests += 1
        self.abort_steps()

    def abort_steps(self) -> None:
        """Cancel what `unless_stopping` has begun, and begin nothing more."""
        self.cancelled.set()
        self.notify()

    def notify(self) -> None:
        """Wake all waits, so that they check their conditions."""
        self._changed.set()

    async def in_thread(self, call: Callable[[], _Result]) -> _Result:
        """Run a blocking call in a thread; return its result."""
        return await self._loop.run_in_executor(None, call)

    async def within(self, call: Callable[[], _Result], seconds: float) -> _Result:
        """Run a blocking call in a thread, within a time limit; when hurried, within a moment.

        Raises:
            ServiceUnreachableError: there was no answer in time.
        """
        task = asyncio.ensure_future(self.in_thread(call))
        task.add_done_callback(lambda _: self.notify())
        deadline = self._loop.time() + seconds
        try:
            await self.until(lambda: task.done() or self.hurried, seconds)
            left = min(deadline - self._loop.time(), _GRACE_SECONDS)
            await asyncio.wait({task}, timeout=max(left, 0.0))
            if not task.done():
                raise ServiceUnreachableError(
                    f"no answer from the service within {seconds:g} s", error_id="service-unreachable"
                )
            return task.result()
        finally:
            await _give_up(task)

    async def unless_stopping(self, work: Awaitable[_Result]) -> _Result:
        """Return the result of some work.

        Raises:
            StepAborted: a stop was requested first; the work is cancelled, or not begun.
        """
        if self.cancelled.is_set():
            if asyncio.iscoroutine(work):
                work.close()
            raise StepAborted
        task = asyncio.ensure_future(work)
        if not await self._is_done(task, unless=self.cancelled.is_set):
            raise StepAborted
        return task.result()

    async def unless_hurried(self, work: Awaitable[object]) -> bool:
        """Do some work of the end; return False if a second stop request has skipped it."""
        task = asyncio.ensure_future(work)
        if not await self._is_done(task, unless=lambda: self.hurried):
            return False
        task.result()
        return True

    async def _is_done(self, task: "asyncio.Future[_Result]", unless: Callable[[], bool]) -> bool:
        """Wait for a task; return False if it was cancelled because `unless` came true."""
        task.add_done_callback(lambda _: self.notify())
        try:
            await self.until(lambda: task.done() or unless(), _FOREVER)
            return task.done()
        finally:
            await _give_up(task)

    async def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition is true; return False after a time limit. `notify` has it checked again."""
        deadline = self._loop.time() + seconds
        while not reached():
            left = deadline - self._loop.time()
            if left <= 0:
                return False
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which loses a cancellation that comes together with the event.
                async with asyncio.timeout(left):
                    await self._changed.wait()
        return True


async def _give_up(task: "asyncio.Future[_Result]") -> None:
    if task.done():
        return
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_SECONDS)
    if task.done() and not task.cancelled():
        # So that asyncio does not report an error that nobody waits for.
        task.exception()


async def wait_for_connection_id(directory: state.StateDirectory, seconds: float) -> str:
    """Wait until the listener of a directory is connected; return the connection's id.

    Raises:
        ServiceUnreachableError: it was not connected in time.
    """
    deadline = time.monotonic() + seconds
    while not (ws_id := files.read_small_file(directory.ws_id)):
        if time.monotonic() > deadline:
            raise ServiceUnreachableError(
                f"the listener was not connected within {seconds:g} s",
                f"see: vdbevents status {directory.path}",
                error_id="listener-not-connected",
            )
        await asyncio.sleep(_FOLLOW_SECONDS)
    return ws_id
