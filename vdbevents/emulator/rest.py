"""The REST endpoints of VideoDB that capture uses: a table of routes, and how they are answered.

Each is in the vendor's API description, or is called by an SDK: Python's `videodb` 0.5.1, Node's 0.2.0.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vdbevents.emulator import (
    access,
    capture_sessions as sessions,
    exports,
    pipeline_kinds as kinds,
    rtstreams,
    scene_alerts as alerts,
)
from vdbevents.emulator.request_checks import ApiError, Json, RestCall, invalid

if TYPE_CHECKING:
    from starlette.requests import Request

    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.store import EmulatedStore

Handler = Callable[["EmulatedStore", RestCall], Json | None]
"""Returns the `data` of the answer, None for one without data."""

_SESSIONS: Final = "/collection/{id}/capture/session"
_STREAM: Final = "/rtstream/{id}"
_SCENE: Final = _STREAM + "/index/scene"
_ALERT: Final = _STREAM + "/index/{index}/alert"
_UNDERSTANDING: Final = _STREAM + "/understand"


def _stop_session(store: EmulatedStore, call: RestCall) -> None:
    sessions.stop_session(store, call["id"])


# The first route that matches wins: `/rtstream/event` is not a stream.
_ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "/", lambda _, __: {"service": "VideoDB Server"}),
    (
        "GET",
        "/collection",
        lambda store, _: {"collections": list(store.collections.values()), "default_collection": "default"},
    ),
    ("POST", "/collection", access.create_collection),
    ("GET", "/collection/{id}", lambda store, call: store.collection(call["id"])),
    ("POST", "/capture/session/token", access.create_token),
    ("POST", _SESSIONS, sessions.create_session),
    ("GET", _SESSIONS, sessions.list_sessions),
    ("GET", _SESSIONS + "/{session}", sessions.get_session),
    ("POST", _SESSIONS + "/{session}/export", exports.export_session),
    ("POST", "/capture/session/start", sessions.start_session),
    ("GET", "/capture/session/{id}", sessions.get_addresses),
    ("POST", "/capture/session/{id}/stop", _stop_session),
    ("POST", "/rtstream/event", alerts.create_event),
    ("GET", "/rtstream/event", lambda store, _: {"events": list(store.events.values())}),
    ("POST", "/rtstream/collection/{id}/search", kinds.search_collection),
    ("GET", "/rtstream", rtstreams.list_streams),
    ("POST", "/rtstream", rtstreams.create_stream),
    ("GET", _STREAM, lambda store, call: rtstreams.describe_stream(store.stream(call["id"]))),
    ("PATCH", _STREAM + "/status", rtstreams.change_stream),
    ("POST", _STREAM + "/export", exports.export_stream),
    ("GET", _STREAM + "/stream", exports.locate_part),
    ("POST", _STREAM + "/search", kinds.search_indexes),
    ("POST", _STREAM + "/transcription", kinds.change_transcript),
    ("GET", _STREAM + "/transcription", kinds.get_transcript),
    ("GET", _STREAM + "/transcription/status", kinds.get_transcript_status),
    ("POST", _SCENE, kinds.create_index),
    ("GET", _SCENE, kinds.list_indexes),
    ("GET", _SCENE + "/{index}", kinds.get_scenes),
    ("PATCH", _SCENE + "/{index}", kinds.change_prompt),
    ("PATCH", _SCENE + "/{index}/status", kinds.change_index),
    (
        "GET",
        _STREAM + "/index/{index}",
        lambda store, call: kinds.describe_index(store.index(call["id"], call["index"])),
    ),
    ("POST", _UNDERSTANDING, kinds.create_understanding),
    ("GET", _UNDERSTANDING, kinds.list_understandings),
    ("GET", _UNDERSTANDING + "/{of}", kinds.get_understanding),
    ("PATCH", _UNDERSTANDING + "/{of}/status", kinds.change_understanding),
    ("GET", _UNDERSTANDING + "/{of}/records", kinds.get_understood),
    ("POST", _ALERT, alerts.create_alert),
    ("GET", _ALERT, alerts.list_alerts),
    ("PATCH", _ALERT + "/{alert}/status", alerts.change_alert),
]
# A client token is valid for the calls that the vendor's capture runtime makes, and for no other.
_TOKEN_PATHS: Final = ("/capture/session/start", "/capture/session/{id}", "/capture/session/{id}/stop")
_DONE: Final = {"success": True, "message": "Operation successful"}


class RestApi:
    """Answers the endpoints."""

    def __init__(self, cloud: EmulatedCloud, api_key: str) -> None:
        self._cloud = cloud
        self._api_key = api_key

    def routes(self) -> list[Route]:
        """Return all routes."""
        websocket = _exact_route("GET", "/collection/{id}/websocket", self._locate_websocket)
        return [websocket, *(self._route(*route) for route in _ROUTES)]

    def _route(self, method: str, path: str, handler: Handler) -> Route:
        status = HTTPStatus.CREATED if handler is rtstreams.create_stream else HTTPStatus.OK

        async def endpoint(request: Request) -> Response:
            if path != "/":
                self._authorize(request, path)
            call = RestCall(request.path_params, request.query_params, await read_body(request))
            data = handler(self._cloud.store, call)
            self._cloud.flush()
            return JSONResponse(_DONE if data is None else {"success": True, "data": data}, status)

        return _exact_route(method, path, endpoint)

    async def _locate_websocket(self, request: Request) -> Response:
        self._authorize(request, "")
        store = self._cloud.store
        store.collection(request.path_params["id"])
        if self._cloud.faults.strike("no_websocket_url") is not None:
            return JSONResponse({"success": True, "data": None})
        scheme = "wss" if request.url.scheme == "https" else "ws"
        url = f"{scheme}://{request.url.netloc}/ws?ticket={access.issue_ticket(store)}"
        return JSONResponse({"success": True, "data": {"websocket_url": url}})

    def _authorize(self, request: Request, path: str) -> None:
        key = request.headers.get("x-access-token")
        if key == self._api_key:
            return
        if not key:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Missing API key: send it in the header x-access-token.")
        if path not in _TOKEN_PATHS or not access.is_token_valid(self._cloud.store, key):
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Invalid API key.")
        if self._cloud.faults.strike("expired_tokens") is not None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "The client token has expired.")


def _exact_route(method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    route = Route(path, endpoint, methods=[method])
    # The service does not know HEAD, which Starlette adds to every GET.
    route.methods = {method}
    return route


async def read_body(request: Request) -> Json:
    """Return the JSON object of a request, {} for an empty body; raise 400 for anything else."""
    content = await request.body()
    if not content.strip():
        return {}
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise invalid("The body of the request is not JSON.") from None
    if not isinstance(body, dict):
        raise invalid("The body of the request must be a JSON object.")
    return body


async def respond_refused(_: Request, error: Exception) -> Response:
    """Return the response to an `ApiError`."""
    if not isinstance(error, ApiError):
        raise error
    return error_response(error.status, error.message, error.code)


def error_response(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    """Return `{"success": false, "message", "error_code"}`."""
    return JSONResponse({"success": False, "message": message, "error_code": code}, status, headers)
