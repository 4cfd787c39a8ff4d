"""The control endpoints for WebSockets: replay, send, flood, close, reset, stall."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.control import control_route
from vdbevents.emulator.faults import CLOSE_CODE
from vdbevents.emulator.flood import Flood
from vdbevents.emulator.request_checks import ANY, FLAG, TEXT, ApiError, RequestField, invalid, number
from vdbevents.emulator.websocket_protocol import BINARY, TEXT as TEXT_FRAME, frame_header

if TYPE_CHECKING:
    from starlette.routing import Route

    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.request_checks import Json
    from vdbevents.emulator.websocket_protocol import EmulatorProtocol

_EVENTS_A_CHUNK: Final = 1_000
_LONGEST_REASON: Final = 123
_BASE64: Final = RequestField("base64", lambda value: TEXT.fits(value) and _decode(value) is not None)
_REASON: Final = RequestField(
    f"a text of at most {_LONGEST_REASON} bytes",
    lambda value: TEXT.fits(value) and len(value.encode("utf-8", "replace")) <= _LONGEST_REASON,
)
_CONTENTS: Final = {"text": TEXT, "json": ANY, "base64": _BASE64, "raw_base64": _BASE64, "size": number()}
_RATE: Final = RequestField("a number above 0", lambda value: number().fits(value) and value > 0)


class SocketControl:
    """The endpoints; `ws_connection_id` is an id, or `*` for all that are open."""

    def __init__(self, cloud: EmulatedCloud) -> None:
        self._cloud = cloud
        self._sockets = cloud.sockets

    def routes(self) -> list[Route]:
        """Return all routes."""
        socket = {"ws_connection_id": ANY}
        replay = {"speed": number(), "loop": FLAG, "wait": ANY}
        flood = {"count": number(1).required, "rate": _RATE, "marked": ANY}
        close = {"code": CLOSE_CODE, "reason": _REASON}
        return [
            control_route("POST", "/replay", self._replay, **socket, **replay),
            control_route("POST", "/send", self._send, **socket, repeat=number(), **_CONTENTS),
            control_route("POST", "/flood", self._flood, **socket, **flood),
            control_route("POST", "/close", self._close, **socket, **close),
            control_route("POST", "/reset", self._reset, **socket),
            control_route("POST", "/stall", self._stall, **socket, seconds=number().required),
        ]

    async def _replay(self, options: Json) -> Json:
        if self._cloud.numbered:
            raise invalid("There is no recording to be replayed: the script is one of numbered events.")
        connection_id = self._one(options)
        replay, task = self._cloud.players.begin_replay(
            connection_id, options.get("speed"), loop=options.get("loop")
        )
        if options.get("wait") is True:
            await asyncio.wait([task])
        return {"success": True, "replay": replay.report()}

    async def _send(self, options: Json) -> Json:
        data, frames = _frames(options, self._cloud.clock.now())
        targets, sent = self._several(options, default=None), 0
        for connection_id in targets:
            for _ in range(int(options.get("repeat", 1))):
                if not self._sockets.write(connection_id, data, frames):
                    break
                sent += 1
                await self._sockets.drained(connection_id)
        return {"success": True, "ws_connection_ids": targets, "sent": sent, "bytes": sent * len(data)}

    async def _flood(self, options: Json) -> Json:
        connection_id, rate, count = self._one(options), options.get("rate"), int(options["count"])
        flood = Flood(
            self._cloud.recording,
            now=self._cloud.clock.now(),
            marked=rate is not None or options.get("marked") is True,
        )
        started = time.perf_counter()
        if rate is None:
            sent = await self._flood_fast(flood, connection_id, count)
        else:
            sent = await self._flood_paced(flood, connection_id, count, rate)
        seconds = round(time.perf_counter() - started, 6)
        return {"success": True, "ws_connection_id": connection_id, "sent": sent, "seconds": seconds}

    async def _flood_fast(self, flood: Flood, connection_id: str, count: int) -> int:
        sent = 0
        while sent < count:
            events = min(_EVENTS_A_CHUNK, count - sent)
            if not self._sockets.write(connection_id, flood.frames(sent + 1, events), events):
                break
            sent += events
            await self._sockets.drained(connection_id)
            # `drained` does not yield while there is room: let other tasks run.
            await asyncio.sleep(0)
        return sent

    async def _flood_paced(self, flood: Flood, connection_id: str, count: int, rate: float) -> int:
        sent, started = 0, time.perf_counter()
        while sent < count:
            due = min(count, int((time.perf_counter() - started) * rate) + 1)
            for number_due in range(sent + 1, due + 1):
                if not self._sockets.write(connection_id, flood.frames(number_due, 1), 1):
                    return sent
                sent = number_due
            await self._sockets.drained(connection_id)
            await asyncio.sleep(max(0.0, started + sent / rate - time.perf_counter()))
        return sent

    async def _close(self, options: Json) -> Json:
        targets = self._several(options, default="*")
        code, reason = options.get("code", 1000), options.get("reason", "")
        await asyncio.gather(*(protocol.close_with(code, reason) for protocol in self._detach(targets)))
        return {"success": True, "ws_connection_ids": targets}

    async def _reset(self, options: Json) -> Json:
        targets = self._several(options, default="*")
        for protocol in self._detach(targets):
            protocol.reset()
        return {"success": True, "ws_connection_ids": targets}

    async def _stall(self, options: Json) -> Json:
        targets = self._several(options, default="*")
        for connection_id in targets:
            protocol = self._sockets.get(connection_id)
            if protocol is not None:
                protocol.stall(options["seconds"])
        return {"success": True, "ws_connection_ids": targets}

    def _detach(self, connection_ids: list[str]) -> list[EmulatorProtocol]:
        protocols = [self._sockets.detach(connection_id) for connection_id in connection_ids]
        return [protocol for protocol in protocols if protocol is not None]

    def _one(self, options: Json) -> str:
        targets = self._several(options, default=None)
        if len(targets) != 1:
            raise invalid("ws_connection_id: must be one id")
        return targets[0]

    def _several(self, options: Json, default: str | None) -> list[str]:
        """Return the ids of the open connections that are meant; None means the newest; raise 404."""
        wanted, open_ids = options.get("ws_connection_id", default), self._sockets.open_ids()
        if wanted == "*":
            return open_ids
        if wanted is None:
            if not open_ids:
                raise ApiError(HTTPStatus.NOT_FOUND, "No WebSocket is open.")
            return [open_ids[-1]]
        if wanted not in open_ids:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no open WebSocket with the id {wanted!r}.")
        return [str(wanted)]


def _frames(options: Json, now: float) -> tuple[bytes, int]:
    """Return the bytes to write for a `send`, and how many frames they are."""
    given = [name for name in _CONTENTS if name in options]
    if len(given) != 1:
        raise invalid(f"{', '.join(_CONTENTS)}: give exactly one")
    kind, content = given[0], options[given[0]]
    opcode = TEXT_FRAME
    if kind == "raw_base64":
        return _decode(content) or b"", 0
    if kind == "base64":
        payload, opcode = _decode(content) or b"", BINARY
    else:
        if kind == "json":
            content = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        elif kind == "size":
            content = _transcript_of_size(int(content), int(now * 1000))
        payload = content.encode("utf-8", "surrogatepass")
    return frame_header(opcode, len(payload)) + payload, 1


def _transcript_of_size(size: int, now_ms: int) -> str:
    """Return a final transcript whose message has `size` bytes, or as few as possible."""
    event = {
        "channel": "transcript",
        "rtstream_id": "rts-1",
        "rtstream_name": "mic:default",
        "data": {"text": "", "is_final": True, "start": now_ms, "end": now_ms},
    }
    before, after = json.dumps(event, separators=(",", ":")).split('""', 1)
    return f'{before}"{"x" * max(0, size - len(before) - len(after) - 2)}"{after}'


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
