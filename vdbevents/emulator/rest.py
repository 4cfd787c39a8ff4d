"""The HTTP endpoints of VideoDB that capture uses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vdbevents.emulator.world import ApiError, Json

if TYPE_CHECKING:
    from vdbevents.emulator.playback import Service


# A client token is good for what the vendor's runtime calls on a user's machine, and for nothing else.
_OPEN_TO_TOKENS: Final = "/capture/session/"
_DONE: Final = "Operation successful"
Answer = dict[str, Any] | None
Handler = Callable[[Request, Json], Answer]


class Api:
    """The endpoints, each a method from a request and its body to the `data` of the answer."""

    def __init__(self, service: Service, api_key: str) -> None:
        self._service = service
        self._world = service.world
        self._api_key = api_key

    def routes(self) -> list[Route]:
        """All of them. What comes first wins: `/rtstream/event` is no stream."""
        world, stream, index, understanding = (
            self._world,
            "/rtstream/{id}",
            "/rtstream/{id}/index/{index}",
            "understand/{of}",
        )
        scene = "/rtstream/{id}/index/scene/{index}"
        sessions = "/collection/{id}/capture/session"
        return [
            self._route("GET", "/", lambda _, __: {"service": "VideoDB Server"}),
            self._route("GET", "/collection", lambda _, __: world.list_collections()),
            self._route("POST", "/collection", lambda _, body: world.create_collection(body)),
            self._route("GET", "/collection/{id}", lambda at, _: world.collection(_id(at))),
            self._route("GET", "/collection/{id}/websocket", self._websocket),
            self._route("POST", sessions, lambda at, body: world.create_session(_id(at), body)),
            self._route(
                "GET", sessions, lambda at, _: world.list_sessions(_id(at), at.query_params.get("status"))
            ),
            self._route(
                "GET", sessions + "/{session}", lambda at, _: world.get_session(_id(at), _id(at, "session"))
            ),
            self._route("POST", sessions + "/{session}/export", self._export_session),
            self._route("POST", "/capture/session/token", lambda _, body: world.generate_token(body)),
            self._route("POST", "/capture/session/start", self._start_session),
            self._route("GET", "/capture/session/{id}", lambda at, _: world.session_addresses(_id(at))),
            self._route("POST", "/capture/session/{id}/stop", self._stop_session),
            self._route("POST", "/rtstream/event", lambda _, body: world.create_event(body)),
            self._route("GET", "/rtstream/event", lambda _, __: world.list_events()),
            self._route("GET", "/rtstream", lambda at, _: world.list_streams(at.query_params)),
            self._route("POST", "/rtstream", self._create_stream, HTTPStatus.CREATED),
            self._route("GET", stream, lambda at, _: world.get_stream(_id(at))),
            self._route("PATCH", stream + "/status", lambda at, body: world.change_stream(_id(at), body)),
            self._route("POST", stream + "/export", lambda at, body: world.export_stream(_id(at), body)),
            self._route(
                "GET", stream + "/stream", lambda at, _: world.locate_stream(_id(at), at.query_params)
            ),
            self._route("POST", stream + "/search", lambda at, body: world.search_stream(_id(at), body)),
            self._route(
                "GET", stream + "/transcription/status", lambda at, _: world.transcript_status(_id(at))
            ),
            self._route(
                "GET", stream + "/transcription", lambda at, _: world.get_transcript(_id(at), at.query_params)
            ),
            self._route("POST", stream + "/transcription", self._change_transcript),
            self._route("POST", stream + "/index/scene", self._create_index),
            self._route("GET", stream + "/index/scene", lambda at, _: world.list_indexes(_id(at))),
            self._route(
                "GET", scene, lambda at, _: world.get_scenes(_id(at), _id(at, "index"), at.query_params)
            ),
            self._route(
                "PATCH", scene, lambda at, body: world.change_prompt(_id(at), _id(at, "index"), body)
            ),
            self._route("PATCH", scene + "/status", self._change_index),
            self._route("GET", index, lambda at, _: world.get_index(_id(at), _id(at, "index"))),
            self._route(
                "POST", index + "/alert", lambda at, body: world.create_alert(_id(at), _id(at, "index"), body)
            ),
            self._route("GET", index + "/alert", lambda at, _: world.list_alerts(_id(at), _id(at, "index"))),
            self._route("PATCH", index + "/alert/{alert}/status", self._change_alert),
            self._route("POST", stream + "/understand", self._create_understanding),
            self._route("GET", stream + "/understand", lambda at, _: world.list_understandings(_id(at))),
            self._route(
                "GET",
                f"{stream}/{understanding}",
                lambda at, _: world.get_understanding(_id(at), _id(at, "of")),
            ),
            self._route("PATCH", f"{stream}/{understanding}/status", self._change_understanding),
            self._route("GET", f"{stream}/{understanding}/records", self._get_understood),
        ]

    def _route(self, method: str, path: str, handler: Handler, status: HTTPStatus = HTTPStatus.OK) -> Route:
        async def endpoint(request: Request) -> Response:
            if path != "/":
                self._authorize(request, path)
            answer = handler(request, await read_body(request))
            self._service.push()
            done: Json = {"success": True}
            return JSONResponse(done | ({"message": _DONE} if answer is None else {"data": answer}), status)

        # HEAD is no method of this service, and Starlette would add it to every GET.
        route = Route(path, endpoint, methods=[method])
        route.methods = {method}
        return route

    def _authorize(self, request: Request, path: str) -> None:
        key = request.headers.get("x-access-token")
        if key == self._api_key:
            return
        if not key:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Missing API key: send it in the header x-access-token.")
        for_capture = path.startswith(_OPEN_TO_TOKENS) and path != _OPEN_TO_TOKENS + "token"
        if not (for_capture and self._world.is_token_good(key)):
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Invalid API key.")
        if self._service.faults.strike("expired_tokens") is not None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "The client token has run out.")

    def _websocket(self, request: Request, _: Json) -> Answer:
        self._world.collection(_id(request))
        if self._service.faults.strike("no_websocket_url") is not None:
            raise NoData
        scheme = "wss" if request.url.scheme == "https" else "ws"
        return {"websocket_url": f"{scheme}://{request.url.netloc}/ws?ticket={self._world.issue_ticket()}"}

    def _start_session(self, _: Request, body: Json) -> Answer:
        answer = self._world.start_session(body)
        self._service.begin_session(answer["session_id"])
        return answer

    def _stop_session(self, request: Request, _: Json) -> Answer:
        session_id = _id(request)
        if self._world.stop_session(session_id):
            self._service.finish_session(session_id)
        return None

    def _export_session(self, request: Request, body: Json) -> Answer:
        session_id = _id(request, "session")
        answer, begun = self._world.export_session(_id(request), session_id, body)
        if begun:
            self._service.begin_export(session_id)
        return answer

    def _create_stream(self, _: Request, body: Json) -> Answer:
        answer = self._world.create_stream(body)
        if "audio" in answer["media_types"] and body.get("enable_transcript", True) is not False:
            wanted = {"action": "start", "ws_connection_id": body.get("ws_connection_id")}
            self._service.begin_pipeline(self._world.change_transcript(answer["id"], wanted)[1])
        return answer

    def _change_transcript(self, request: Request, body: Json) -> Answer:
        answer, started = self._world.change_transcript(_id(request), body)
        self._service.begin_pipeline(started)
        return answer

    def _create_index(self, request: Request, body: Json) -> Answer:
        answer, started = self._world.create_index(_id(request), body)
        self._service.begin_pipeline(started)
        return answer

    def _change_index(self, request: Request, body: Json) -> Answer:
        self._service.begin_pipeline(self._world.change_index(_id(request), _id(request, "index"), body))
        return None

    def _change_alert(self, request: Request, body: Json) -> Answer:
        self._world.change_alert(_id(request), _id(request, "index"), _id(request, "alert"), body)
        return None

    def _create_understanding(self, request: Request, body: Json) -> Answer:
        answer, started = self._world.create_understanding(_id(request), body)
        self._service.begin_pipeline(started)
        return answer

    def _change_understanding(self, request: Request, body: Json) -> Answer:
        self._service.begin_pipeline(self._world.change_understanding(_id(request), _id(request, "of"), body))
        return None

    def _get_understood(self, request: Request, _: Json) -> Answer:
        return self._world.get_understood(_id(request), _id(request, "of"), request.query_params)


class NoData(Exception):  # noqa: N818 - it is an answer, not an error
    """An answer of success without data."""


def _id(request: Request, name: str = "id") -> str:
    return str(request.path_params[name])


async def read_body(request: Request) -> Json:
    """The JSON object of a request; {} where there is none; 400 for anything else."""
    content = await request.body()
    if not content.strip():
        return {}
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise ApiError(HTTPStatus.BAD_REQUEST, "The body of the request is no JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "The body of the request has to be a JSON object.")
    return body


ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


async def refuse(_: Request, error: Exception) -> Response:
    """An `ApiError` as the specification has it."""
    if not isinstance(error, ApiError):
        raise error
    return error_answer(error.status, error.message, error.code)


def error_answer(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    """`{"success": false, "message", "error_code"}`."""
    return JSONResponse({"success": False, "message": message, "error_code": code}, status, headers)


async def answer_nothing(_: Request, __: Exception) -> Response:
    """`{"success": true, "data": null}`."""
    return JSONResponse({"success": True, "data": None})
