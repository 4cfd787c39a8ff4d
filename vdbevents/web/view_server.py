"""Serve the page: its files, and answers to what it asks for. It reads, and changes nothing."""

import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request as PageRequest
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from vdbevents.errors import InputError, VdbeventsError
from vdbevents.query import scratch
from vdbevents.servers.answering import Application, Receive, Scope, Send
from vdbevents.servers.client_work import work_for_client
from vdbevents.servers.journal_state import JournalState, state_of
from vdbevents.servers.loopback import serve
from vdbevents.summaries.activity import By
from vdbevents.web import found_answers, page_files, reading_answers
from vdbevents.web.live_feed import live_events
from vdbevents.web.page_access import HEADERS, PageAccess, Refusal, Request
from vdbevents.web.page_downloads import FORMATS, write_download
from vdbevents.web.page_requests import AskedTime, moment_in, number_in, parts_in, search_in, span_in
from vdbevents.web.session_videos import video_file
from vdbevents.web.statistics_answers import statistics
from vdbevents.web.timeline_answers import timeline
from vdbevents.web.timeline_state import TimelineState
from vdbevents.web.zone_offsets import name_of, offsets_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MakePlayer = Callable[[str, int, int], str]
"""Returns the address of a player of a stream's id between two times, in whole Unix seconds."""

_AT_ONCE: Final = 4
_CLIP_SECONDS: Final = 60
_MOST_OFFSET: Final = 100_000
_NOBODY: Final = 204
_TOKEN_BYTES: Final = 24

_Answer = Callable[[], dict[str, Any]]


class ViewServer:
    """Answers the requests of the page."""

    def __init__(self, state: TimelineState, make_player: MakePlayer | None) -> None:
        """Take what is served.

        Args:
            state: of the journals.
            make_player: None without an API key.
        """
        self._state = state
        self._make_player = make_player
        self._limit: anyio.CapacityLimiter | None = None

    def application(self) -> Application:
        """Return the application, without any check of who asks."""
        answers: Mapping[str, Callable[[PageRequest], _Answer]] = {
            "recording": self._recording,
            "timeline": self._timeline,
            "said": self._said,
            "moment": self._moment,
            "hits": self._hits,
            "marks": self._marks,
            "statistics": self._statistics,
            "play": self._play,
        }
        routes = [Route(f"/data/{name}", self._answering(make)) for name, make in answers.items()]
        routes += [
            Route("/", partial(_file, "timeline.html")),
            Route("/page/{name}", _named_file),
            Route("/data/live", self._live),
            Route("/data/download", self._download),
            Route("/data/video", self._video),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    def _lifespan(self, _application: Starlette) -> AbstractAsyncContextManager[None]:
        @asynccontextmanager
        async def running() -> "AsyncIterator[None]":
            self._limit = anyio.CapacityLimiter(_AT_ONCE)
            yield

        return running()

    def _answering(
        self, make: Callable[[PageRequest], _Answer]
    ) -> Callable[[PageRequest], Awaitable[Response]]:
        async def answer(request: PageRequest) -> Response:
            try:
                data = await work_for_client(request.receive, make(request), self._limit)
            except VdbeventsError as error:
                return _refused(error)
            if data is None:
                return Response(status_code=_NOBODY)
            return Response(_dumped(data), media_type="application/json")

        return answer

    def _recording(self, _request: PageRequest) -> _Answer:
        def run() -> dict[str, Any]:
            known, now_ms, zone = self._state.known(), _now_ms(), self._state.journals.zone
            return {
                "span": known.span,
                "zone": name_of(zone, datetime.now(UTC)),
                "offsets": offsets_of(zone, *(known.span or (now_ms, now_ms))),
                "now": now_ms,
                "hosts": [one.host for one in known.unrecorded] if self._state.journals.are_several else [],
                "can_play": self._make_player is not None,
                "formats": list(FORMATS),
            }

        return run

    def _timeline(self, request: PageRequest) -> _Answer:
        span, parts = span_in(request.query_params), parts_in(request.query_params)
        return lambda: timeline(self._state, span, parts, _now_ms())

    def _said(self, request: PageRequest) -> _Answer:
        from_ms = moment_in(request.query_params, "from")
        earlier = request.query_params.get("earlier") == "1"

        def run() -> dict[str, Any]:
            recorded = AskedTime(*(self._state.known().span or (from_ms, from_ms)))
            return reading_answers.said(self._state.journals, recorded, from_ms, _now_ms(), earlier=earlier)

        return run

    def _moment(self, request: PageRequest) -> _Answer:
        at_ms = moment_in(request.query_params, "at")
        return lambda: reading_answers.moment(self._state, at_ms)

    def _hits(self, request: PageRequest) -> _Answer:
        from vdbevents.times import Window

        filters = search_in(request.query_params, _several(request), Window())
        offset = number_in(request.query_params, "offset", 0, _MOST_OFFSET, 0)
        return lambda: found_answers.hits(self._state.journals, filters, offset)

    def _marks(self, request: PageRequest) -> _Answer:
        span, parts = span_in(request.query_params), parts_in(request.query_params)
        filters = search_in(request.query_params, _several(request), span.window)
        return lambda: found_answers.marks(self._state.journals, filters, span, parts)

    def _statistics(self, request: PageRequest) -> _Answer:
        span, name = span_in(request.query_params), request.query_params.get("by", "hour")
        if name not in {"hour", "day", "window", "app"}:
            raise InputError(
                f"by: not a way to count, got {name!r}", "reload the page", error_id="page-request-invalid"
            )
        return lambda: statistics(self._state.journals, span, By(name), _now_ms())

    def _play(self, request: PageRequest) -> _Answer:
        make, stream = self._make_player, request.query_params.get("stream", "")
        start = moment_in(request.query_params, "at") // 1000
        if make is None or not stream:
            raise InputError(
                "nothing to play" if make else "no API key",
                "choose a moment with a screen" if make else "give one to vdbevents view: see docs/view.md",
                error_id="play-impossible",
            )
        return lambda: {"player": make(stream, start, start + _CLIP_SECONDS)}

    async def _live(self, _request: PageRequest) -> Response:
        journals = self._state.journals

        def look() -> JournalState:
            return state_of(journals.paths())

        messages = live_events(look, await anyio.to_thread.run_sync(look), journals.statuses)
        return StreamingResponse(messages, media_type="text/event-stream")

    async def _video(self, request: PageRequest) -> Response:
        session = request.query_params.get("session", "")
        try:
            found = await work_for_client(
                request.receive, lambda: video_file(self._state, session), self._limit
            )
        except VdbeventsError as error:
            return _refused(error)
        if found is None:
            return Response("no video of this session\n", 404, media_type="text/plain")
        return FileResponse(found.path, media_type=found.media_type)

    async def _download(self, request: PageRequest) -> Response:
        folder = scratch.make("download")
        try:
            span, form = span_in(request.query_params), _format_in(request)
            path = folder / f"recording.{form}"

            def work() -> bool:
                write_download(self._state.journals, span, form, path, _now_ms())
                return True

            is_whole = await work_for_client(request.receive, work, self._limit)
        except BaseException as error:
            scratch.remove(folder)
            if isinstance(error, VdbeventsError):
                return _refused(error)
            raise
        if not is_whole:
            scratch.remove(folder)
            return Response(status_code=_NOBODY)
        name = f"recording-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(span.since_ms / 1000))}.{form}"
        return FileResponse(
            path, media_type=FORMATS[form], filename=name, background=BackgroundTask(scratch.remove, folder)
        )


def serve_view(
    state: TimelineState,
    port: int,
    *,
    make_player: MakePlayer | None,
    announce: Callable[[str], None],
) -> signal.Signals | None:
    """Serve the page on loopback until a signal; return it.

    Args:
        state: of the journals.
        port: to listen on; 0 for any free one.
        make_player: makes players; None without an API key.
        announce: gets the address of the page, with its token, once requests are answered.

    Raises:
        InputError: the port is in use.
    """
    application = ViewServer(state, make_player).application()
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    guarded = _Guarded(application, token)
    return serve(guarded, port, lambda address: announce(guarded.open_at(address)))


class _Guarded:
    """Refuses requests that `PageAccess` refuses, and adds its headers to all answers."""

    def __init__(self, application: Application, token: str) -> None:
        self._application = application
        self._token = token
        self._access: PageAccess | None = None

    def open_at(self, address: str) -> str:
        """Answer requests to an address from now on; return the page's."""
        self._access = PageAccess(address, self._token)
        return self._access.address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http" or self._access is None:
            return

        async def guarded(message: Any) -> None:  # noqa: ANN401 - any message of ASGI
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].decode() not in HEADERS]
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*kept, *ours]}
            await send(message)

        request = _request_of(scope)
        response: Response | None = None
        if refusal := self._access.refusal(request):
            response = _refusing(refusal)
        elif self._access.opens(request):
            response = RedirectResponse("/", 303, headers={"set-cookie": self._access.cookie})
        await (response or self._application)(scope, receive, guarded)


def _request_of(scope: Scope) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers)


def _refusing(refusal: Refusal) -> Response:
    headers = {"allow": "GET, HEAD"} if refusal.status == 405 else {}  # noqa: PLR2004 - method not allowed
    return Response(f"{refusal.reason}\n", refusal.status, headers, media_type="text/plain")


async def _file(name: str, _request: PageRequest) -> Response:
    return Response(page_files.content(name), headers={"content-type": page_files.TYPES[name]})


async def _named_file(request: PageRequest) -> Response:
    name = request.path_params["name"]
    if name not in page_files.TYPES:
        return Response("no such file\n", 404, media_type="text/plain")
    return await _file(name, request)


def _refused(error: VdbeventsError) -> Response:
    data = {"error": str(error), "hint": error.hint, "id": error.error_id}
    status = 400 if isinstance(error, InputError) else 503
    return Response(_dumped(data), status, media_type="application/json")


def _dumped(data: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:
        # A text of a recording may hold half a surrogate pair, which is not UTF-8.
        import json

        return json.dumps(data).encode()


def _format_in(request: PageRequest) -> str:
    form = request.query_params.get("format", "")
    if form not in FORMATS:
        raise InputError(
            f"format: not a format, got {form!r}",
            f"use {', '.join(FORMATS)}",
            error_id="page-request-invalid",
        )
    return form


def _several(request: PageRequest) -> Mapping[str, Sequence[str]]:
    return {name: request.query_params.getlist(name) for name in ("channel", "source")}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
