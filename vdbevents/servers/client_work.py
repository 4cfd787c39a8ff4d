"""Work for a client in a thread, for as long as the client waits for it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from vdbevents.query.duck import CancellableWork, WorkCancelledError

_AGAIN_SECONDS: Final = 0.05

_T = TypeVar("_T")


async def work_for_client(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    function: Callable[[], _T],
    limiter: anyio.CapacityLimiter | None,
) -> _T | None:
    """Call a function in a thread; return what it returns, or None if the client has left before.

    What the function does with DuckDB is interrupted then.

    Args:
        receive: of the request, which was received as a whole.
        function: what to call.
        limiter: of how many threads there are at once.
    """
    work = CancellableWork()
    answers: list[_T] = []
    errors: list[Exception] = []

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        while True:
            work.cancel()
            await anyio.sleep(_AGAIN_SECONDS)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            answers.append(
                await anyio.to_thread.run_sync(work.run, function, limiter=limiter, abandon_on_cancel=True)
            )
        except WorkCancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - outside it is raised as it is, and not in a group
            errors.append(error)
        tasks.cancel_scope.cancel()
    if errors:
        raise errors[0]
    return answers[0] if answers else None
