"""The control endpoints under `/emulator`: what the server has seen, its clock, faults and sessions.

Those for WebSockets are in control_sockets.py, those for the capture runtime in runtime_link.py.
"""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vdbevents.emulator.capture_sessions import expire_session, fail_session, stop_session
from vdbevents.emulator.request_checks import (
    ANY,
    OBJECT,
    TEXT,
    ApiError,
    Json,
    RequestField,
    check_all,
    find,
    invalid,
    number,
    one_of,
)
from vdbevents.emulator.rest import read_body
from vdbevents.emulator.service_clock import usable_rate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.store import EmulatedStore

PREFIX: Final = "/emulator"
_SESSION_ERROR: Final = {"message": "The capture has failed, as it was asked to.", "code": "CAPTURE_FAILED"}
_SESSION: Final = {
    "do": one_of("stop", "fail", "expire").required,
    "session_id": ANY,
    "error": RequestField("a text, or an object", lambda value: TEXT.fits(value) or OBJECT.fits(value)),
}


def control_route(
    method: str, path: str, endpoint: Callable[[Json], Awaitable[Json]], **fields: RequestField
) -> Route:
    """Return a route that needs no key; `fields` are the options it takes, any when there are none."""

    async def answer(request: Request) -> Response:
        try:
            options = dict(request.query_params) if method == "GET" else await read_body(request)
            return JSONResponse(await endpoint(check_all(options, fields) if fields else options))
        except ApiError:
            raise
        except ValueError as error:
            raise invalid(str(error)) from None

    return Route(PREFIX + path, answer, methods=[method])


class ControlApi:
    """The endpoints for the state, records, webhooks, clock, faults and sessions."""

    def __init__(self, cloud: EmulatedCloud, go_down: Callable[[], None]) -> None:
        """`go_down` closes the listening socket until the fault `down` has ended."""
        self._cloud = cloud
        self._go_down = go_down

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            control_route("GET", "/state", self._state),
            control_route("GET", "/records", self._records, session_id=TEXT),
            control_route("GET", "/webhooks", self._webhooks),
            control_route("POST", "/clock", self._change_clock, rate=number(), advance=number()),
            control_route("GET", "/faults", self._faults),
            control_route("POST", "/faults", self._change_faults),
            control_route("DELETE", "/faults", self._clear_faults),
            control_route("POST", "/session", self._end_session, **_SESSION),
        ]

    async def _state(self, _: Json) -> Json:
        cloud = self._cloud
        return {
            "clock": self._clock(),
            **_report_store(cloud.store),
            "newest": cloud.sockets.newest(),
            "requests": dict(cloud.requests),
            "recent_requests": list(cloud.recent_requests),
            "faults": cloud.faults.in_force(),
            "replay": None if cloud.players.replay is None else cloud.players.replay.report(),
            "runtime": None if cloud.runtime is None else cloud.runtime.report(),
        }

    async def _records(self, options: Json) -> Json:
        return {"records": _report_records(self._cloud.store, options.get("session_id"))}

    async def _webhooks(self, _: Json) -> Json:
        return {"webhooks": self._cloud.webhooks.report()}

    def _clock(self) -> Json:
        return {"unix_ts": self._cloud.clock.now(), "rate": self._cloud.clock.rate}

    async def _change_clock(self, options: Json) -> Json:
        if not options:
            raise invalid("rate, advance: give at least one")
        clock = self._cloud.clock
        # Checked first, so that a refused change has no effect.
        rate = usable_rate(options.get("rate", clock.rate))
        clock.advance(options.get("advance", 0))
        clock.rate = rate
        return {"success": True, **self._clock()}

    async def _faults(self, _: Json) -> Json:
        return {"faults": self._cloud.faults.in_force()}

    async def _change_faults(self, body: Json) -> Json:
        self._cloud.faults.change(body)
        if self._cloud.faults.peek("down") is not None:
            self._go_down()
        return await self._forward_faults()

    async def _clear_faults(self, _: Json) -> Json:
        self._cloud.faults.clear()
        return await self._forward_faults()

    async def _forward_faults(self) -> Json:
        if self._cloud.runtime is not None:
            await self._cloud.runtime.send_faults()
        return {"success": True, "faults": self._cloud.faults.in_force()}

    async def _end_session(self, options: Json) -> Json:
        """End a session without a request for it, as if by itself."""
        store = self._cloud.store
        session_id = options.get("session_id", next(reversed(store.sessions), None))
        if session_id is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "There is no capture session.")
        session = find(store.sessions, str(session_id), "capture session")
        if options["do"] == "fail":
            fail_session(store, session.id, _session_error(options.get("error", {})))
        elif options["do"] == "expire":
            expire_session(store, session.id)
        elif not stop_session(store, session.id):
            raise invalid(f"The capture session is {session.status}, and does not run.")
        self._cloud.flush()
        return {"success": True, "session_id": session.id, "status": session.status}


def _session_error(error: str | Json) -> Json:
    """Return the error of a failed session: an object with a `message` and a `code`."""
    given = {"message": error} if isinstance(error, str) else error
    if not TEXT.fits(given.get("message", "")):
        raise invalid(f"error: its message must be a text, got {given['message']!r}")
    return _SESSION_ERROR | given


def _report_store(store: EmulatedStore) -> Json:
    """Return connections, sessions and pipelines in short, and the number of each kind of entity."""
    connections = [
        {"connection_id": fields.pop("id"), "open": fields["closed_at"] is None, **fields}
        for fields in map(asdict, store.connections.values())
    ]
    sessions = [
        {"session_id": session.id, "status": session.status, "exported": session.exported is not None}
        for session in store.sessions.values()
    ]
    pipelines = [
        {
            "id": pipeline.id,
            "stream_id": pipeline.stream_id,
            "channel": pipeline.channel,
            "status": pipeline.status,
            "ws_connection_id": pipeline.connection_id,
        }
        for pipeline in store.pipelines.values()
    ]
    totals = {
        "sessions": len(store.sessions),
        "rtstreams": len(store.streams),
        "pipelines": len(store.pipelines),
        "records": sum(len(pipeline.records) for pipeline in store.pipelines.values()),
        "events": len(store.events),
        "alerts": len(store.alerts),
    }
    return {
        "connections": connections,
        "open": sum(connection["open"] for connection in connections),
        "opened": len(connections),
        "sessions": sessions,
        "pipelines": pipelines,
        "totals": totals,
    }


def _report_records(store: EmulatedStore, session_id: str | None) -> list[Json]:
    """Return the records of all pipelines, or of a session's, each once, ordered by start."""
    stream_ids = store.streams if session_id is None else store.session(session_id).stream_ids
    records = {
        (start, end, pipeline.stream_id, pipeline.channel, text)
        for pipeline in store.pipelines.values()
        if pipeline.stream_id in stream_ids
        for start, end, text in pipeline.records
    }
    return [
        {"rtstream_id": stream_id, "channel": channel, "start": start, "end": end, "text": text}
        for start, end, stream_id, channel, text in sorted(records)
    ]
