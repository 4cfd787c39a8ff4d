"""The emulated service: its store, faults, sockets and players, and what happens by itself."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from vdbevents.emulator.access import add_collection
from vdbevents.emulator.capture_sessions import activate_session, fail_session, finish_session
from vdbevents.emulator.exports import fail_export, finish_export
from vdbevents.emulator.faults import ActiveFaults
from vdbevents.emulator.pipeline_scripts import NumberedScript, RecordedScript
from vdbevents.emulator.players import Players, usable_speed
from vdbevents.emulator.store import EmulatedStore
from vdbevents.emulator.webhooks import WebhookPosting
from vdbevents.emulator.websocket_endpoint import OpenSockets

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from vdbevents.emulator.replay_file import ReplayRecording
    from vdbevents.emulator.request_checks import Json
    from vdbevents.emulator.runtime_link import RuntimeLink
    from vdbevents.emulator.service_clock import ServiceClock
    from vdbevents.emulator.store import EmulatedConnection

_TRANSITION_SECONDS: Final = 0.1
_PATHS_COUNTED: Final = 1_000
_REQUESTS_REMEMBERED: Final = 500
_ACTIVATION_ERROR: Final = {
    "message": "The capture could not be started (a fault that was asked for).",
    "code": "ACTIVATION_FAILED",
}


class EmulatedCloud:
    """Everything behind the endpoints.

    With `numbered`, pipelines play the script of numbered events and nothing is replayed: the recording
    only shapes the events of a flood. With `has_secrets`, these events have made-up ones in their texts.
    """

    def __init__(
        self,
        recording: ReplayRecording,
        clock: ServiceClock,
        *,
        numbered: bool,
        has_secrets: bool = False,
        speed: float,
        loop: bool,
        autoplay: bool,
    ) -> None:
        self.recording, self.clock, self.numbered = recording, clock, numbered
        self.faults = ActiveFaults(time.monotonic)
        self.store = EmulatedStore(clock.now, lambda prefix: f"{prefix}-{secrets.token_hex(8)}")
        add_collection(
            self.store, "default", "Default Collection", "The collection every account starts with"
        )
        self.sockets = OpenSockets(self.store, self.faults)
        self.webhooks = WebhookPosting(clock, self.faults, self.start)
        speed = usable_speed(speed)
        script = NumberedScript(has_secrets) if numbered else RecordedScript(recording, speed, loop)
        self.players = Players(self, script, speed=speed, loop=loop)
        self.runtime: RuntimeLink | None = None
        self.requests: Counter[str] = Counter()
        self.recent_requests: deque[Json] = deque(maxlen=_REQUESTS_REMEMBERED)
        self._autoplay = autoplay and not numbered
        self._tasks: set[asyncio.Task[None]] = set()

    def count_request(self, kind: str, path: str) -> None:
        """Count a request by its method and path, and remember when it came."""
        key = f"{kind} {path}"
        if key not in self.requests and len(self.requests) >= _PATHS_COUNTED:
            key = f"{kind} (others)"
        self.requests[key] += 1
        self.recent_requests.append({"unix_ts": time.time(), "request": f"{kind} {path}"})

    def begin_autoplay(self, connection: EmulatedConnection) -> None:
        """Start the replay to the first WebSocket of all."""
        if self._autoplay:
            self._autoplay = False
            self.players.begin_replay(connection.id)

    def flush(self) -> None:
        """Send, post and start what the last changes have queued in the store."""
        store = self.store
        messages, store.messages = store.messages, []
        for connection_id, message in messages:
            if not self.sockets.is_withheld(message):
                self.sockets.send(connection_id, _encode(message))
        callbacks, store.callbacks = store.callbacks, []
        for url, event, message in callbacks:
            self.webhooks.send(url, event, _encode(message))
        started, store.started = store.started, []
        for pipeline in started:
            self.players.begin_pipeline(pipeline)
        transitions, store.transitions = store.transitions, []
        for transition, session_id in transitions:
            fault_name = {"activate": "activation", "export": "export"}.get(transition)
            fault = self.faults.strike(fault_name) if fault_name else None
            self.start(self._change_later(transition, session_id, fault or {"mode": "late"}))

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task until it is done or the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """Cancel all tasks, and detach the capture runtime."""
        if self.runtime is not None:
            self.runtime.end()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _change_later(self, transition: str, session_id: str, fault: Json) -> None:
        """Carry out a session's transition in a moment, or as `activation` and `export` have it."""
        if fault["mode"] == "never":
            return
        await asyncio.sleep(fault.get("seconds", _TRANSITION_SECONDS))
        if fault["mode"] == "late":
            change = {"activate": activate_session, "finish": finish_session, "export": finish_export}[
                transition
            ]
            change(self.store, session_id)
        elif transition == "export":
            fail_export(self.store, session_id)
        elif self.store.sessions[session_id].status == "starting":
            error = fault.get("error", {})
            error = {"message": error} if isinstance(error, str) else error
            fail_session(self.store, session_id, _ACTIVATION_ERROR | error)
        self.flush()


def _encode(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
