"""The gate before the REST endpoints: counts requests, and lets the faults of API calls take effect."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

from vdbevents.emulator.control import PREFIX
from vdbevents.emulator.rest import error_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.request_checks import Json


class HttpGate:
    """Middleware for the faults `slow`, `hang`, `http` and `late`; control endpoints pass untouched."""

    def __init__(self, application: ASGIApp, cloud: EmulatedCloud) -> None:
        self._application = application
        self._cloud = cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; a slash at the end of its path is dropped."""
        path = scope["path"] = scope["path"].rstrip("/") or "/"
        if scope["type"] != "http" or path.startswith(PREFIX + "/"):
            await self._application(scope, receive, send)
            return
        method, faults = scope["method"], self._cloud.faults
        self._cloud.count_request(method, path)
        slow = faults.strike("slow", path, method)
        if slow is not None:
            await asyncio.sleep(slow["seconds"])
        if faults.strike("hang", path, method) is not None:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        failure = faults.strike("http", path, method)
        application = self._application if failure is None else fault_response(failure)
        late = faults.strike("late", path, method)
        send = _send_dated(send, self._cloud.clock.now)
        await application(scope, receive, send if late is None else _send_late(send, late["seconds"]))


def _send_dated(send: Send, now: Callable[[], float]) -> Send:
    """Return a `send` that adds the time of the service's clock, in Unix seconds, to each answer."""

    async def send_dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            date = formatdate(now(), usegmt=True).encode()
            message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
        await send(message)

    return send_dated


def _send_late(send: Send, seconds: float) -> Send:
    """Return a `send` that holds the response back, while the request is carried out at once."""

    async def send_late(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return send_late


def fault_response(fault: Json) -> Response:
    """Return the response of the faults `http` and `upgrade`."""
    status = fault["status"]
    headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
    if "body" in fault:
        return Response(fault["body"], status, headers, media_type="text/plain")
    try:
        name, phrase = HTTPStatus(status).name, HTTPStatus(status).phrase
    except ValueError:
        name, phrase = "UNKNOWN", "Unknown"
    return error_response(status, f"{phrase} (a fault that was asked for)", name, headers)
