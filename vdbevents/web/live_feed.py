"""Tell a page what changes, as server-sent events: new lines in a journal, and whether it is recorded."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import anyio

from vdbevents.errors import VdbeventsError
from vdbevents.servers.journal_state import JournalState

_POLL_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 0.5
_STATUS_SECONDS: Final = 5.0
_BEAT_SECONDS: Final = 10.0


async def live_events(
    look: Callable[[], JournalState],
    seen: JournalState,
    statuses: Callable[[], Iterator[dict[str, Any]]],
) -> AsyncIterator[bytes]:
    """Yield messages until the client is gone.

    `grown` says that a journal has other content than before, at most twice a second; `status` what the
    recorders do, when that changes; `beat` that the server is there.

    Args:
        look: returns the state of the journals.
        seen: that state before the client was answered: it may read them at once.
        statuses: returns what `vdbevents status --json` prints, for each directory.
    """
    shown, looked, beaten, grown = "", 0.0, 0.0, 0.0
    while True:
        now = time.monotonic()
        state = await anyio.to_thread.run_sync(look)
        if state != seen and now - grown >= _LEAST_SECONDS:
            seen, grown = state, now
            yield _message("grown", "{}")
        if not shown or now - looked >= _STATUS_SECONDS:
            looked, text = now, await anyio.to_thread.run_sync(_status_text, statuses)
            if text != shown:
                shown = text
                yield _message("status", text)
        if now - beaten >= _BEAT_SECONDS:
            beaten = now
            yield _message("beat", "{}")
        await anyio.sleep(_POLL_SECONDS)


def _status_text(statuses: Callable[[], Iterator[dict[str, Any]]]) -> str:
    try:
        return json.dumps(
            [
                {
                    "directory": one.get("directory"),
                    "running": bool(one.get("running")),
                    "state": one.get("state"),
                    "since": one.get("since"),
                    "reason": one.get("reason"),
                }
                for one in statuses()
            ]
        )
    except (VdbeventsError, OSError) as error:
        return json.dumps([{"directory": None, "running": False, "state": "unknown", "reason": str(error)}])


def _message(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()
