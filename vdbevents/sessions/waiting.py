"""Waiting that ends when somebody asks to end: for results, for changes, and for blocking calls."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vdbevents.errors import ServiceUnreachableError
from vdbevents.journal import files, state

_Answer = TypeVar("_Answer")

_GRACE_SECONDS = 2.0
_FOLLOW_SECONDS = 0.05
_FOR_EVER = 1e9


class StepAborted(Exception):  # noqa: N818 - it is no error
    """A signal came in the middle of a step."""


class Waiting:
    """What a capture waits with. Asked once, it ends its steps; asked twice, it ends its waiting, too."""

    def __init__(self) -> None:
        """Belongs to the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self.stop_requests = 0
        self.cancelled = threading.Event()
        """Set as soon as the end is near: for who waits in a thread."""

    @property
    def hurried(self) -> bool:
        """Whether the waiting for an orderly end is to be skipped."""
        return self.stop_requests > 1

    def request_stop(self) -> None:
        """A signal came."""
        self.stop_requests += 1
        self.abort_steps()

    def abort_steps(self) -> None:
        """From now on `unless_stopping` begins nothing, and what it has begun is given up."""
        self.cancelled.set()
        self.notify()

    def notify(self) -> None:
        """Something changed that somebody may wait for."""
        self._changed.set()

    async def in_thread(self, call: Callable[[], _Answer]) -> _Answer:
        """What a blocking call answers."""
        return await self._loop.run_in_executor(None, call)

    async def within(self, call: Callable[[], _Answer], seconds: float) -> _Answer:
        """The same within a time limit, after which nobody waits for the thread any more.

        A second signal leaves it a moment, and no more.

        Raises:
            ServiceUnreachableError: the time is over.
        """
        task = asyncio.ensure_future(self.in_thread(call))
        task.add_done_callback(lambda _: self.notify())
        deadline = self._loop.time() + seconds
        try:
            await self.until(lambda: task.done() or self.hurried, seconds)
            left = min(deadline - self._loop.time(), _GRACE_SECONDS)
            await asyncio.wait({task}, timeout=max(left, 0.0))
            if not task.done():
                raise ServiceUnreachableError(f"the service has not answered in {seconds:g} s")
            return task.result()
        finally:
            await _give_up(task)

    async def unless_stopping(self, work: Awaitable[_Answer]) -> _Answer:
        """The outcome of some work.

        Raises:
            AskedToEnd: a signal came first; the work is cancelled, or not begun.
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
        """Whether some work of the end was done: a second signal skips it."""
        task = asyncio.ensure_future(work)
        if not await self._is_done(task, unless=lambda: self.hurried):
            return False
        task.result()
        return True

    async def _is_done(self, task: "asyncio.Future[_Answer]", unless: Callable[[], bool]) -> bool:
        """Waits for a task; whether it is done, or was given up because it is no longer wanted."""
        task.add_done_callback(lambda _: self.notify())
        try:
            await self.until(lambda: task.done() or unless(), _FOR_EVER)
            return task.done()
        finally:
            await _give_up(task)

    async def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Whether something came to be within a time; looked at whenever anything has changed."""
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


async def _give_up(task: "asyncio.Future[_Answer]") -> None:
    if task.done():
        return
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_SECONDS)
    if task.done() and not task.cancelled():
        # Looked at, so that asyncio does not report an error that nobody waits for.
        task.exception()


async def wait_for_connection_id(directory: state.StateDirectory, seconds: float) -> str:
    """The id of the connection of a directory's listener, as soon as it has one.

    Raises:
        ServiceUnreachableError: it has had none for so long.
    """
    deadline = time.monotonic() + seconds
    while not (ws_id := files.read_small_file(directory.ws_id)):
        if time.monotonic() > deadline:
            raise ServiceUnreachableError(
                f"the listener has not been connected for {seconds:g} s",
                f"see why with: vdbevents status {directory.path}",
            )
        await asyncio.sleep(_FOLLOW_SECONDS)
    return ws_id
