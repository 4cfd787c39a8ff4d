"""The control endpoints under `/emulator`: what the server has seen, and what is to go wrong."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vdbevents.emulator.clock import usable_rate
from vdbevents.emulator.fake_runtime import DIED, LINK_PATH, SHORTEST_LINE
from vdbevents.emulator.faults import is_close_code
from vdbevents.emulator.replay import Flood
from vdbevents.emulator.rest import read_body
from vdbevents.emulator.runtime_link import Attached
from vdbevents.emulator.sockets import BINARY, TEXT, EmulatorProtocol, frame_header
from vdbevents.emulator.world import ApiError, Json

if TYPE_CHECKING:
    from starlette.requests import Request

    from vdbevents.emulator.playback import Service

PREFIX: Final = "/emulator"
_EVENTS_A_CHUNK: Final = 1_000
_LONGEST_REASON: Final = 123
_HIGHEST_CODE: Final = 255
_TEXTS: Final = ("text", "json", "base64", "raw_base64", "size")

Endpoint = Callable[[Json], Awaitable[Json]]


class Control:
    """The control endpoints. They need no key, and are answered whatever fault is in force."""

    def __init__(self, service: Service, go_down: Callable[[], None]) -> None:
        """`go_down` closes the listening socket until the fault `down` is over."""
        self._service = service
        self._go_down = go_down

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            self._route("GET", "/state", self._state),
            self._route("GET", "/records", self._records),
            self._route("GET", "/webhooks", self._webhooks),
            self._route("POST", "/clock", self._change_clock),
            self._route("POST", "/replay", self._replay),
            self._route("POST", "/send", self._send),
            self._route("POST", "/flood", self._flood),
            self._route("GET", "/faults", self._faults),
            self._route("POST", "/faults", self._change_faults),
            self._route("DELETE", "/faults", self._clear_faults),
            self._route("POST", "/close", self._close),
            self._route("POST", "/reset", self._reset),
            self._route("POST", "/stall", self._stall),
            self._route("POST", "/session", self._end_session),
            Route(LINK_PATH, self._attach, methods=["GET"]),
            self._route("PUT", "/runtime", self._reported),
            self._route("POST", "/runtime", self._tell_runtime),
        ]

    def _route(self, method: str, path: str, endpoint: Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            try:
                asked = dict(request.query_params) if method == "GET" else await read_body(request)
                return JSONResponse(await endpoint(asked))
            except ValueError as error:
                raise _invalid(str(error)) from None

        return Route(PREFIX + path, answer, methods=[method])

    async def _state(self, _: Json) -> Json:
        service = self._service
        connections = [connection.described() for connection in service.world.connections.values()]
        return {
            "clock": self._clock(),
            "connections": connections,
            "open": sum(connection["open"] for connection in connections),
            "opened": len(connections),
            "newest": service.newest(),
            "requests": dict(service.requests),
            "recent_requests": list(service.recent),
            "faults": service.faults.in_force(),
            "replay": None if service.replay is None else service.replay.described(),
            "runtime": None if service.runtime is None else service.runtime.described(),
            "sessions": service.world.described_sessions(),
            "pipelines": service.world.described_pipelines(),
            "totals": service.world.totals(),
        }

    async def _records(self, query: Json) -> Json:
        _known(query, "session_id")
        return {"records": self._service.world.described_records(query.get("session_id"))}

    async def _webhooks(self, _: Json) -> Json:
        return {"webhooks": self._service.webhooks.described()}

    def _clock(self) -> Json:
        return {"unix_ts": self._service.clock.now(), "rate": self._service.clock.rate}

    async def _change_clock(self, body: Json) -> Json:
        _known(body, "rate", "advance")
        clock, rate, seconds = self._service.clock, _number(body, "rate"), _number(body, "advance")
        if rate is None and seconds is None:
            raise _invalid("At least one of rate, advance is needed.")
        # Checked first, so that what is refused has changed nothing.
        rate = clock.rate if rate is None else usable_rate(rate)
        clock.advance(seconds or 0)
        clock.rate = rate
        return {"success": True, **self._clock()}

    async def _replay(self, body: Json) -> Json:
        _known(body, "ws_connection_id", "speed", "loop", "wait")
        if self._service.numbered:
            raise _invalid("There is no recording to be replayed: the script is one of numbered events.")
        connection_id = self._one(body)
        speed, loop = _number(body, "speed"), body.get("loop")
        if loop is not None and not isinstance(loop, bool):
            raise _invalid("loop has to be true or false.")
        replay, task = self._service.begin_replay(connection_id, speed, loop=loop)
        if body.get("wait") is True:
            await asyncio.wait([task])
        return {"success": True, "replay": replay.described()}

    async def _send(self, body: Json) -> Json:
        _known(body, "ws_connection_id", "repeat", *_TEXTS)
        data, frames = _written(body, self._service.clock.now())
        repeat = int(_number(body, "repeat", 1) or 0)
        targets = self._several(body, default=None)
        sent = 0
        for connection_id in targets:
            for _ in range(repeat):
                if not self._service.write(connection_id, data, frames):
                    break
                sent += 1
                await self._service.drained(connection_id)
        return {"success": True, "ws_connection_ids": targets, "sent": sent, "bytes": sent * len(data)}

    async def _flood(self, body: Json) -> Json:
        _known(body, "ws_connection_id", "count", "rate", "marked")
        count, rate = int(_number(body, "count", 0) or 0), _number(body, "rate")
        if count < 1 or (rate is not None and rate <= 0):
            raise _invalid("A flood needs a count of at least 1, and its rate has to be above 0.")
        connection_id = self._one(body)
        flood = Flood(
            self._service.recording,
            now=self._service.clock.now(),
            marked=rate is not None or body.get("marked") is True,
        )
        started = time.perf_counter()
        if rate is None:
            sent = await self._pour(flood, connection_id, count)
        else:
            sent = await self._drip(flood, connection_id, count, rate)
        seconds = time.perf_counter() - started
        return {
            "success": True,
            "ws_connection_id": connection_id,
            "sent": sent,
            "seconds": round(seconds, 6),
        }

    async def _pour(self, flood: Flood, connection_id: str, count: int) -> int:
        sent = 0
        while sent < count:
            events = min(_EVENTS_A_CHUNK, count - sent)
            if not self._service.write(connection_id, flood.frames(sent + 1, events), events):
                break
            sent += events
            await self._service.drained(connection_id)
            # `drained` does not yield while there is room, and others want to be served as well.
            await asyncio.sleep(0)
        return sent

    async def _drip(self, flood: Flood, connection_id: str, count: int, rate: float) -> int:
        sent, started = 0, time.perf_counter()
        while sent < count:
            due = min(count, int((time.perf_counter() - started) * rate) + 1)
            for number in range(sent + 1, due + 1):
                if not self._service.write(connection_id, flood.frames(number, 1), 1):
                    return sent
                sent = number
            await self._service.drained(connection_id)
            await asyncio.sleep(max(0.0, started + sent / rate - time.perf_counter()))
        return sent

    async def _faults(self, _: Json) -> Json:
        return {"faults": self._service.faults.in_force()}

    async def _change_faults(self, body: Json) -> Json:
        self._service.faults.change(body)
        if self._service.faults.peek("down") is not None:
            self._go_down()
        await self._tell_faults()
        return {"success": True, "faults": self._service.faults.in_force()}

    async def _clear_faults(self, _: Json) -> Json:
        self._service.faults.clear()
        await self._tell_faults()
        return {"success": True, "faults": {}}

    async def _end_session(self, body: Json) -> Json:
        """A session ends by itself, without anybody having asked for it."""
        _known(body, "do", "session_id", "error")
        world, done = self._service.world, body.get("do")
        session_id = body.get("session_id", next(reversed(world.sessions), None))
        if session_id is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "There is no capture session.")
        if not isinstance(session_id, str) or session_id not in world.sessions:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no capture session {session_id!r}.")
        if done == "fail":
            world.fail_session(session_id, _session_error(body.get("error", {})))
        elif done == "expire":
            if world.expire_session(session_id):
                self._service.begin_export(session_id)
        elif done != "stop":
            raise _invalid("do has to be 'stop', 'fail' or 'expire'.")
        elif world.stop_session(session_id):
            self._service.finish_session(session_id)
        else:
            raise _invalid(f"The capture session is {world.sessions[session_id].status}, and does not run.")
        self._service.push()
        return {"success": True, "session_id": session_id, "status": world.sessions[session_id].status}

    async def _attach(self, request: Request) -> Response:
        """The capture runtime's: it is attached for as long as this response is open."""
        service = self._service
        if service.runtime is not None:
            raise ApiError(HTTPStatus.CONFLICT, f"The capture runtime {service.runtime.pid} is attached.")
        pid = request.query_params.get("pid", "")
        if not pid.isdecimal():
            raise _invalid("pid is required, and has to be a number.")
        service.runtime = Attached(int(pid), self._runtime_faults, self._runtime_gone)
        return service.runtime

    def _runtime_faults(self) -> Json:
        options = self._service.faults.peek("runtime") or {}
        return {name: value for name, value in options.items() if name != "for"}

    def _runtime_gone(self) -> None:
        self._service.runtime = None

    async def _tell_faults(self) -> None:
        if self._service.runtime is not None:
            await self._service.runtime.tell_faults()

    async def _reported(self, body: Json) -> Json:
        """The capture runtime's: what it has done of what it was told, and what it records."""
        runtime = self._service.runtime
        if runtime is not None and runtime.pid == body.get("pid"):
            if "seen" in body:
                runtime.confirm(body["seen"])
            if "recording" in body:
                runtime.recording = body["recording"]
        return {"success": True}

    async def _tell_runtime(self, body: Json) -> Json:
        order, runtime = _order(body), self._service.runtime
        if runtime is None:
            raise ApiError(HTTPStatus.CONFLICT, "No capture runtime is attached.")
        await runtime.tell(order)
        return {"success": True, "pid": runtime.pid}

    async def _close(self, body: Json) -> Json:
        _known(body, "ws_connection_id", "code", "reason")
        code, reason = body.get("code", 1000), body.get("reason", "")
        if not is_close_code(code):
            raise _invalid(f"A close frame cannot carry the code {code!r}.")
        if not isinstance(reason, str) or len(reason.encode("utf-8", "replace")) > _LONGEST_REASON:
            raise _invalid(f"reason has to be a text of at most {_LONGEST_REASON} bytes.")
        targets = self._several(body, default="*")
        sockets = [self._detach(connection_id) for connection_id in targets]
        await asyncio.gather(*(protocol.close_with(code, reason) for protocol in sockets))
        return {"success": True, "ws_connection_ids": targets}

    async def _reset(self, body: Json) -> Json:
        _known(body, "ws_connection_id")
        targets = self._several(body, default="*")
        for connection_id in targets:
            self._detach(connection_id).reset()
        return {"success": True, "ws_connection_ids": targets}

    async def _stall(self, body: Json) -> Json:
        _known(body, "ws_connection_id", "seconds")
        seconds = _number(body, "seconds")
        if seconds is None or seconds < 0:
            raise _invalid("seconds is required, and has to be 0 or more.")
        targets = self._several(body, default="*")
        for connection_id in targets:
            await self._service.sockets[connection_id].stall(seconds)
        return {"success": True, "ws_connection_ids": targets}

    def _detach(self, connection_id: str) -> EmulatorProtocol:
        protocol = self._service.sockets[connection_id]
        self._service.detach(connection_id)
        return protocol

    def _one(self, body: Json) -> str:
        targets = self._several(body, default=None)
        if len(targets) != 1:
            raise _invalid("ws_connection_id has to be one id.")
        return targets[0]

    def _several(self, body: Json, default: str | None) -> list[str]:
        """The open connections meant; without any 404, unless all were meant."""
        wanted = body.get("ws_connection_id", default)
        known = [connection_id for connection_id, socket in self._service.sockets.items() if socket.is_open]
        if wanted == "*":
            return known
        if wanted is None:
            newest = self._service.newest()
            if newest is None:
                raise ApiError(HTTPStatus.NOT_FOUND, "No WebSocket is open.")
            return [newest]
        if wanted not in known:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no open WebSocket with the id {wanted!r}.")
        return [str(wanted)]


def _session_error(error: object) -> Json:
    """What a session failed of: a text, or an object with a `message`."""
    given = {"message": error} if isinstance(error, str) else error
    if not isinstance(given, dict) or not isinstance(given.get("message", ""), str):
        raise _invalid("error has to be a text, or an object with a message.")
    return {"message": "The capture has failed, as it was asked to.", "code": "CAPTURE_FAILED"} | given


def _order(body: Json) -> Json:
    """What the capture runtime is told to do, checked."""
    _known(body, "do", "code", "event", "payload", "long_line")
    if sum(name in body for name in ("do", "event", "long_line")) != 1:
        raise _invalid("Exactly one of do, event, long_line is needed.")
    if "event" in body:
        event, payload = body["event"], body.get("payload", {})
        if not isinstance(event, str) or not isinstance(payload, dict):
            raise _invalid("event has to be a text, and payload an object.")
        return {"event": event, "payload": payload}
    if "long_line" in body:
        characters = int(_number(body, "long_line") or 0)
        if characters < SHORTEST_LINE:
            raise _invalid(f"long_line has to be a number from {SHORTEST_LINE}.")
        return {"long_line": characters}
    code = body.get("code", DIED)
    if body["do"] not in ("die", "hang") or type(code) is not int or not 0 <= code <= _HIGHEST_CODE:
        raise _invalid(f"do has to be 'die' or 'hang', and code a number from 0 to {_HIGHEST_CODE}.")
    return {"do": body["do"], "code": code}


def _written(body: Json, now: float) -> tuple[bytes, int]:
    """The bytes to be written for a `send`, and the number of frames they are."""
    given = [name for name in _TEXTS if name in body]
    if len(given) != 1:
        raise _invalid(f"Exactly one of {', '.join(_TEXTS)} is needed.")
    if "raw_base64" in body:
        return _bytes(body["raw_base64"]), 0
    if "base64" in body:
        payload, opcode = _bytes(body["base64"]), BINARY
    else:
        payload, opcode = _text(body, now).encode("utf-8", "surrogatepass"), TEXT
    return frame_header(opcode, len(payload)) + payload, 1


def _text(body: Json, now: float) -> str:
    if "size" in body:
        return _filler(int(_number(body, "size") or 0), int(now * 1000))
    if "json" in body:
        return json.dumps(body["json"], ensure_ascii=False, separators=(",", ":"))
    if not isinstance(body["text"], str):
        raise _invalid("text has to be a text; json takes anything else.")
    return body["text"]


def _filler(size: int, now_ms: int) -> str:
    """A final transcript whose message is `size` bytes long, or as short as it can be."""
    event = {
        "channel": "transcript",
        "rtstream_id": "rts-1",
        "rtstream_name": "mic:default",
        "data": {"text": "", "is_final": True, "start": now_ms, "end": now_ms},
    }
    before, after = json.dumps(event, separators=(",", ":")).split('""', 1)
    return f'{before}"{"x" * max(0, size - len(before) - len(after) - 2)}"{after}'


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except binascii.Error:
        raise _invalid("This is no base64.") from None


def _number(body: Json, name: str, default: float | None = None) -> float | None:
    value = body.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise _invalid(f"{name} has to be a number from 0.")
    return value


def _known(body: Json, *names: str) -> None:
    unknown = [name for name in body if name not in names]
    if unknown:
        raise _invalid(f"{unknown[0]!r} is not known here; known are {', '.join(names)}.")


def _invalid(message: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message)
