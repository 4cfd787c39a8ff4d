"""The emulator's end of a capture runtime: the response that stays open, and what it is told on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from vdbevents.emulator.world import Json


_HEADERS: Final = [(b"content-type", b"application/x-ndjson")]
_LOOK_SECONDS: Final = 0.1
# A runtime that a busy machine keeps waiting for a second is none that does not answer.
_CONFIRMATION_SECONDS: Final = 10


class Attached(Response):
    """The capture runtime that is attached: a line for each change of its faults, and for each order.

    `faults` gives the options of the fault `runtime` now in force; `detached` is called at the end. Each line
    has a number, which the runtime confirms when it has done what the line says.
    """

    def __init__(self, pid: int, faults: Callable[[], Json], detached: Callable[[], None]) -> None:
        super().__init__()
        self.pid = pid
        self.recording: str | None = None
        self._attached_at = time.time()
        self._faults, self._detached = faults, detached
        self._told: Json | None = None
        self._numbers = itertools.count(1)
        self._lines: list[bytes] = []
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._news = asyncio.Event()
        self._ended = False

    def described(self) -> Json:
        """As the control endpoint reports it."""
        return {"pid": self.pid, "attached_at": self._attached_at, "recording": self.recording}

    def end(self) -> None:
        """Ends the response soon."""
        self._ended = True
        self._news.set()

    async def tell(self, order: Json) -> None:
        """Returns when the runtime has done it, or died of it, or has not in a while."""
        await self._confirmed(self._say(order))

    async def tell_faults(self) -> None:
        """The same for a change of its faults, where there was one."""
        if self._faults() != self._told:
            await self._confirmed(self._say_faults())

    def confirm(self, number: int) -> None:
        """The runtime has done what the line with this number says."""
        confirmed = self._unconfirmed.pop(number, None)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Speaks until the runtime is gone, or the emulator ends."""
        watching = asyncio.create_task(self._watch(receive))
        try:
            # Without a length, which is what the base class would give it.
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            while not self._ended:
                self._news.clear()
                if self._faults() != self._told:
                    self._say_faults()
                lines, self._lines = self._lines, []
                if lines:
                    await send({"type": "http.response.body", "body": b"".join(lines), "more_body": True})
                # A fault that ends with its time tells nobody.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._news.wait()
            await send({"type": "http.response.body", "body": b""})
        finally:
            watching.cancel()
            self._detached()
            for number in list(self._unconfirmed):
                self.confirm(number)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    def _say_faults(self) -> asyncio.Future[None]:
        self._told = self._faults()
        return self._say({"faults": self._told})

    def _say(self, what: Json) -> asyncio.Future[None]:
        number = next(self._numbers)
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed[number] = confirmed
        self._lines.append(json.dumps({"line": number, **what}).encode() + b"\n")
        self._news.set()
        return confirmed

    async def _confirmed(self, confirmed: asyncio.Future[None]) -> None:
        await asyncio.wait([confirmed], timeout=_CONFIRMATION_SECONDS)
