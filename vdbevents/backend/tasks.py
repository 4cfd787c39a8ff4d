"""Background tasks of the backend, and retries until a step succeeds."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from vdbevents.cloud.backoff import Backoff
from vdbevents.errors import VdbeventsError
from vdbevents.sessions.interfaces import Reporter

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0


class BackgroundTasks:
    """Run tasks on the running loop, and report those that crash."""

    def __init__(self, say: Reporter) -> None:
        self._say = say
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task and return it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def cancel_all(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()

    async def retry(self, problem: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step until it succeeds; report a reason for its failure when it changes.

        Args:
            problem: what did not work, such as `session cap-1: pipelines not started`.
            step: raises VdbeventsError or OSError to be repeated.
        """
        backoff, reported = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS), ""
        while True:
            try:
                await step()
            except (VdbeventsError, OSError) as error:
                reason = str(error)
                if reason != reported:
                    hint = getattr(error, "hint", "")
                    self._say(f"{problem}: {reason}; retrying", problem=True, hint=hint)
                reported = reason
                await asyncio.sleep(backoff.next(getattr(error, "retry_after", None)))
            else:
                return

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._say(f"this is a bug in vdbevents, please report it: {error!r}", problem=True)
