"""Answer requests, and end in order what is being answered when a server ends, or its client is gone."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import anyio
import anyio.lowlevel

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""

_ENDING: Final = 503


class Answering:
    """An application whose answers can all be ended: streams that would go on, and calls that wait."""

    def __init__(self, application: Application) -> None:
        """Take what answers."""
        self._application = application
        self._answering: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; hand on what starts and stops the application."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        has_come = has_begun = is_whole = False

        async def hearing() -> MutableMapping[str, Any]:
            nonlocal has_come
            message = await receive()
            if message["type"] == "http.disconnect" and not has_come:
                # Nobody is there to be answered: what waits for the rest would report an error.
                answering.cancel()
                await anyio.lowlevel.checkpoint()
            has_come = not message.get("more_body", False)
            return message

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun, is_whole
            has_begun = True
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as answering:
            self._answering.add(answering)
            try:
                await self._application(scope, hearing, noting)
            finally:
                self._answering.discard(answering)
        if not answering.cancel_called or is_whole:
            return
        if not has_begun:
            await send({"type": "http.response.start", "status": _ENDING, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def end(self) -> None:
        """End all answers."""
        for answering in list(self._answering):
            answering.cancel()
