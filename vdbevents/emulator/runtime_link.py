"""The emulator's side of the capture runtime: its open link, and the control endpoints for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from vdbevents.emulator.control import control_route
from vdbevents.emulator.fake_runtime import DIED, LINK_PATH, SHORTEST_LINE
from vdbevents.emulator.request_checks import OBJECT, TEXT, ApiError, invalid, number, one_of, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.request_checks import Json

_HEADERS: Final = [(b"content-type", b"application/x-ndjson")]
_POLL_SECONDS: Final = 0.1
# Long, since a busy machine may hold a runtime up.
_CONFIRMATION_SECONDS: Final = 10
_ORDER: Final = {
    "do": one_of("die", "hang"),
    "code": whole(0, 255),
    "event": TEXT,
    "payload": OBJECT,
    "long_line": number(SHORTEST_LINE),
}


class RuntimeLink(Response):
    """The open response: sends changes of the runtime's faults, and orders.

    `faults` returns the options of the fault `runtime` now in force; `detached` is called at the end. Each
    line has a number, which the runtime confirms when it has carried the line out.
    """

    def __init__(self, pid: int, faults: Callable[[], Json], detached: Callable[[], None]) -> None:
        super().__init__()
        self.pid = pid
        self.recording: str | None = None
        self._attached_at = time.time()
        self._faults, self._detached = faults, detached
        self._sent_faults: Json | None = None
        self._numbers = itertools.count(1)
        self._lines: list[bytes] = []
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._wake_up = asyncio.Event()
        self._ended = False

    def report(self) -> Json:
        """Return the runtime for the control endpoint."""
        return {"pid": self.pid, "attached_at": self._attached_at, "recording": self.recording}

    def end(self) -> None:
        """End the response soon."""
        self._ended = True
        self._wake_up.set()

    async def send(self, order: Json) -> None:
        """Send an order, and wait until the runtime has carried it out, has ended, or a time limit."""
        await asyncio.wait([self._queue(order)], timeout=_CONFIRMATION_SECONDS)

    async def send_faults(self) -> None:
        """Send the runtime's faults as `send` does; no-op when they have not changed."""
        if self._faults() != self._sent_faults:
            await asyncio.wait([self._queue_faults()], timeout=_CONFIRMATION_SECONDS)

    def confirm(self, number: int) -> None:
        """Note that the runtime has carried out the line with this number."""
        confirmed = self._unconfirmed.pop(number, None)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send lines until the runtime disconnects or the emulator ends."""
        watching = asyncio.create_task(self._watch(receive))
        try:
            # Without the length that the base class would send.
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            while not self._ended:
                self._wake_up.clear()
                if self._faults() != self._sent_faults:
                    self._queue_faults()
                lines, self._lines = self._lines, []
                if lines:
                    await send({"type": "http.response.body", "body": b"".join(lines), "more_body": True})
                # Polled as well: a fault that expires does not wake anyone.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wake_up.wait()
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

    def _queue_faults(self) -> asyncio.Future[None]:
        self._sent_faults = self._faults()
        return self._queue({"faults": self._sent_faults})

    def _queue(self, line: Json) -> asyncio.Future[None]:
        number = next(self._numbers)
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed[number] = confirmed
        self._lines.append(json.dumps({"line": number, **line}).encode() + b"\n")
        self._wake_up.set()
        return confirmed


class RuntimeControl:
    """The control endpoints of the capture runtime; one can be attached at a time."""

    def __init__(self, cloud: EmulatedCloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route(LINK_PATH, self._attach, methods=["GET"]),
            control_route("PUT", "/runtime", self._take_report),
            control_route("POST", "/runtime", self._order, **_ORDER),
        ]

    async def _attach(self, request: Request) -> Response:
        """Attach the calling runtime for as long as this response is open."""
        if self._cloud.runtime is not None:
            raise ApiError(HTTPStatus.CONFLICT, f"The capture runtime {self._cloud.runtime.pid} is attached.")
        pid = request.query_params.get("pid", "")
        if not pid.isdecimal():
            raise invalid(f"pid: must be a number, got {pid!r}")
        self._cloud.runtime = RuntimeLink(int(pid), self._faults, self._detach)
        return self._cloud.runtime

    def _faults(self) -> Json:
        options = self._cloud.faults.peek("runtime") or {}
        return {name: value for name, value in options.items() if name != "for"}

    def _detach(self) -> None:
        self._cloud.runtime = None

    async def _take_report(self, body: Json) -> Json:
        """Take the attached runtime's report: lines it has carried out, and the session it records."""
        runtime = self._cloud.runtime
        if runtime is not None and runtime.pid == body.get("pid"):
            if "seen" in body:
                runtime.confirm(body["seen"])
            if "recording" in body:
                runtime.recording = body["recording"]
        return {"success": True}

    async def _order(self, options: Json) -> Json:
        if sum(name in options for name in ("do", "event", "long_line")) != 1:
            raise invalid("do, event, long_line: give exactly one")
        runtime = self._cloud.runtime
        if runtime is None:
            raise ApiError(HTTPStatus.CONFLICT, "No capture runtime is attached.")
        await runtime.send({"code": DIED, "payload": {}} | options)
        return {"success": True, "pid": runtime.pid}
