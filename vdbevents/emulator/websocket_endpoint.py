"""The WebSocket endpoint, and the open WebSockets by connection id."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from vdbevents.emulator.access import close_connection, open_connection, redeem_ticket
from vdbevents.emulator.http_gate import fault_response
from vdbevents.emulator.rest import error_response
from vdbevents.emulator.websocket_protocol import PROTOCOL, TEXT, frame_header

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.faults import ActiveFaults
    from vdbevents.emulator.request_checks import Json
    from vdbevents.emulator.store import EmulatedConnection, EmulatedStore
    from vdbevents.emulator.websocket_protocol import EmulatorProtocol


class OpenSockets:
    """Writes to open WebSockets, and counts it; the faults `mute` and `withhold` take effect here."""

    def __init__(self, store: EmulatedStore, faults: ActiveFaults) -> None:
        self._store = store
        self._faults = faults
        self._protocols: dict[str, EmulatorProtocol] = {}

    def attach(self, protocol: EmulatorProtocol) -> EmulatedConnection:
        """Return the new connection of an accepted WebSocket."""
        connection = open_connection(self._store)
        self._protocols[connection.id] = protocol
        protocol.is_silent = lambda: self._is_muted(connection.id)
        return connection

    def detach(self, connection_id: str) -> EmulatorProtocol | None:
        """Close a connection for pushes; return its protocol, None when it was detached before."""
        close_connection(self._store, connection_id)
        return self._protocols.pop(connection_id, None)

    def get(self, connection_id: str | None) -> EmulatorProtocol | None:
        """Return the protocol of a connection, None when it is not attached."""
        return self._protocols.get(connection_id or "")

    def open_ids(self) -> list[str]:
        """Return the ids of the open connections, oldest first."""
        return [known for known, protocol in self._protocols.items() if protocol.is_open]

    def newest(self) -> str | None:
        """Return the id of the newest open connection."""
        return next(reversed(self.open_ids()), None)

    def write(self, connection_id: str, data: bytes, frames: int) -> bool:
        """Write frames that are ready; return False when the connection is closed."""
        protocol = self.get(connection_id)
        if protocol is None or not protocol.write(data):
            return False
        connection = self._store.connections[connection_id]
        connection.frames_sent += frames
        connection.bytes_sent += len(data)
        return True

    def send(self, connection_id: str, payload: bytes, opcode: int = TEXT) -> bool:
        """Send one message; return False when the connection is closed."""
        return self.write(connection_id, frame_header(opcode, len(payload)) + payload, 1)

    async def drained(self, connection_id: str | None) -> None:
        """Wait until the client has taken what was written (back-pressure)."""
        protocol = self.get(connection_id)
        if protocol is not None:
            await protocol.drained()

    def is_withheld(self, message: Json) -> bool:
        """Return whether the fault `withhold` is for a message, by its channel or its kind's first part."""
        withheld = self._faults.peek("withhold")
        if withheld is None:
            return False
        kinds = (str(message.get(name) or "") for name in ("channel", "type", "event_type", "event"))
        return any(kind.split(".")[0] == withheld["channel"] for kind in kinds)

    def _is_muted(self, connection_id: str) -> bool:
        mute = self._faults.peek("mute")
        return mute is not None and mute.get("ws_connection_id", connection_id) == connection_id


async def serve_websocket(cloud: EmulatedCloud, websocket: WebSocket) -> None:
    """Accept or refuse a WebSocket, send its init frame, and read until it is closed.

    The faults `upgrade`, `accept_then_close` and `init` take effect here.
    """
    cloud.count_request("WEBSOCKET", "/ws")
    refusal = cloud.faults.strike("upgrade")
    if refusal is not None:
        await websocket.send_denial_response(fault_response(refusal))
        return
    if not redeem_ticket(cloud.store, websocket.query_params.get("ticket", "")):
        await websocket.send_denial_response(error_response(403, "Invalid ticket.", "FORBIDDEN"))
        return
    await websocket.accept()
    connection = cloud.sockets.attach(cast("EmulatorProtocol", websocket.scope["state"][PROTOCOL]))
    greeting = asyncio.create_task(_greet(cloud, connection))
    try:
        # What clients send is counted and has no other effect.
        while (await websocket.receive())["type"] != "websocket.disconnect":
            connection.frames_received += 1
    finally:
        greeting.cancel()
        cloud.sockets.detach(connection.id)


async def _greet(cloud: EmulatedCloud, connection: EmulatedConnection) -> None:
    closing = cloud.faults.strike("accept_then_close")
    if closing is not None:
        protocol = cloud.sockets.detach(connection.id)
        if protocol is not None:
            await protocol.close_with(closing.get("code", 1000), closing.get("reason", ""))
        return
    init = cloud.faults.strike("init") or {"mode": "normal"}
    if init["mode"] == "late":
        await asyncio.sleep(init.get("seconds", math.inf))
    frames = list(init.get("frames", []))
    if init["mode"] == "garbage":
        frames.append(init.get("text", "This is not JSON"))
    elif init["mode"] != "none":
        frames.append(f'{{"connection_id": "{connection.id}"}}')
    for frame in frames:
        cloud.sockets.send(connection.id, frame.encode("utf-8", "surrogatepass"))
    cloud.begin_autoplay(connection)
