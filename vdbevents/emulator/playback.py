"""The world in motion: its sockets, and the players that let a script speak on them."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import secrets
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vdbevents.emulator.faults import Faults
from vdbevents.emulator.numbered import Numbered
from vdbevents.emulator.replay import Recorded
from vdbevents.emulator.sockets import TEXT, EmulatorProtocol, frame_header
from vdbevents.emulator.webhooks import Webhooks
from vdbevents.emulator.world import Connection, Json, Pipeline, World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vdbevents.emulator.clock import Clock
    from vdbevents.emulator.replay import Recording
    from vdbevents.emulator.runtime_link import Attached


_TRANSITION_SECONDS: Final = 0.1
_PATHS_COUNTED: Final = 1_000
_REQUESTS_REMEMBERED: Final = 500
_LINES_A_TURN: Final = 200
_ACTIVATION_ERROR: Final = {
    "message": "The capture could not be started (a fault that was asked for).",
    "code": "ACTIVATION_FAILED",
}


@dataclass(slots=True)
class Replay:
    """A replay and how far it has come."""

    connection_id: str
    speed: float
    loop: bool
    lines: int
    played: int = 0
    rounds: int = 0
    playing: bool = True

    def described(self) -> Json:
        """As the control endpoint reports it; as fast as it goes is speed 0."""
        return {
            "ws_connection_id": self.connection_id,
            "speed": 0 if math.isinf(self.speed) else self.speed,
            "loop": self.loop,
            "lines": self.lines,
            "played": self.played,
            "rounds": self.rounds,
            "playing": self.playing,
        }


def usable_speed(speed: float) -> float:
    """Zero and infinity both mean as fast as it goes; `ValueError` for what is no speed."""
    if math.isnan(speed) or speed < 0:
        raise ValueError(f"The speed of a replay has to be 0 or more, not {speed}.")
    return speed or math.inf


class Service:
    """Everything that runs behind the endpoints.

    `clock` is the time as the service tells it. With `numbered`, pipelines play the script of numbered
    events, and the recording is not replayed: it only is what the events of a flood are like.
    """

    def __init__(
        self, recording: Recording, clock: Clock, *, numbered: bool, speed: float, loop: bool, autoplay: bool
    ) -> None:
        self.recording, self.clock, self.numbered = recording, clock, numbered
        self.world = World(clock.now, lambda prefix: f"{prefix}-{secrets.token_hex(8)}")
        self.faults = Faults(time.monotonic)
        self.sockets: dict[str, EmulatorProtocol] = {}
        self.replay: Replay | None = None
        self.runtime: Attached | None = None
        self.requests: Counter[str] = Counter()
        self.recent: deque[Json] = deque(maxlen=_REQUESTS_REMEMBERED)
        self._speed, self._loop, self._autoplay = usable_speed(speed), loop, autoplay and not numbered
        self._script = Numbered() if numbered else Recorded(recording, self._speed, loop)
        self._replaying: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.webhooks = Webhooks(clock, self.faults, self.start)

    # Bookkeeping.

    def count(self, kind: str, path: str) -> None:
        """Notes a request, for whoever asks what a client did."""
        key = f"{kind} {path}"
        if key not in self.requests and len(self.requests) >= _PATHS_COUNTED:
            key = f"{kind} (others)"
        self.requests[key] += 1
        self.recent.append({"unix_ts": time.time(), "request": f"{kind} {path}"})

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs something beside the rest, until it is done or the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """Ends all that runs."""
        if self.runtime is not None:
            self.runtime.end()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Sockets.

    def attach(self, protocol: EmulatorProtocol) -> Connection:
        """A WebSocket that was accepted becomes a connection with an id."""
        connection = self.world.open_connection()
        self.sockets[connection.id] = protocol
        protocol.silent = lambda: self._is_muted(connection.id)
        return connection

    def begin_autoplay(self, connection: Connection) -> None:
        """The first WebSocket of all starts the replay."""
        if self._autoplay:
            self._autoplay = False
            self.begin_replay(connection.id)

    def detach(self, connection_id: str) -> None:
        """The WebSocket is closed: its id receives nothing any more."""
        self.sockets.pop(connection_id, None)
        self.world.close_connection(connection_id)

    def newest(self) -> str | None:
        """The id of the WebSocket that was opened last and is open."""
        return next((known for known in reversed(self.sockets) if self.sockets[known].is_open), None)

    def write(self, connection_id: str, data: bytes, frames: int) -> bool:
        """Writes ready-made frames; False when the connection is closed."""
        protocol = self.sockets.get(connection_id)
        if protocol is None or not protocol.write(data):
            return False
        connection = self.world.connections[connection_id]
        connection.frames_sent += frames
        connection.bytes_sent += len(data)
        return True

    def send(self, connection_id: str, payload: bytes, opcode: int = TEXT) -> bool:
        """Sends one message; False when the connection is closed."""
        return self.write(connection_id, frame_header(opcode, len(payload)) + payload, 1)

    async def drained(self, connection_id: str | None) -> None:
        """Back-pressure: returns when the client has made room for more."""
        protocol = self.sockets.get(connection_id or "")
        if protocol is not None:
            await protocol.drained()

    def push(self) -> None:
        """Sends what the world has to say."""
        waiting, self.world.outbox = self.world.outbox, []
        for connection_id, message in waiting:
            if not self._is_withheld(message):
                self.send(connection_id, _encoded(message))
        owed, self.world.webhooks = self.world.webhooks, []
        for url, event, message in owed:
            self.webhooks.send(url, event, _encoded(message))

    def _is_withheld(self, message: Json) -> bool:
        """Whether the fault `withhold` is for this message, by its channel or its kind's first part."""
        withheld = self.faults.peek("withhold")
        if withheld is None:
            return False
        kinds = (str(message.get(name) or "") for name in ("channel", "type", "event_type", "event"))
        return any(kind.split(".")[0] == withheld["channel"] for kind in kinds)

    def _is_muted(self, connection_id: str) -> bool:
        mute = self.faults.peek("mute")
        return mute is not None and mute.get("ws_connection_id", connection_id) == connection_id

    # What the world does by itself.

    def begin_session(self, session_id: str) -> None:
        """A session that is starting becomes active in a moment, unless a fault has it otherwise."""
        fault = self.faults.strike("activation") or {"mode": "late"}
        seconds = fault.get("seconds", _TRANSITION_SECONDS)
        if fault["mode"] == "late":
            self._soon(lambda: self.world.activate_session(session_id), seconds)
        elif fault["mode"] == "failed":
            error = fault.get("error", {})
            error = _ACTIVATION_ERROR | ({"message": error} if isinstance(error, str) else error)
            self._soon(lambda: self._fail_starting(session_id, error), seconds)

    def _fail_starting(self, session_id: str, error: Json) -> None:
        if self.world.sessions[session_id].status == "starting":
            self.world.fail_session(session_id, error)

    def finish_session(self, session_id: str) -> None:
        """A session that is stopping is stopped in a moment, and then exported if there is something to."""

        def finish() -> None:
            if self.world.finish_session(session_id):
                self.begin_export(session_id)

        self._soon(finish)

    def begin_export(self, session_id: str) -> None:
        """An export is done in a moment, unless a fault has it otherwise."""
        fault = self.faults.strike("export") or {"mode": "late"}
        seconds = fault.get("seconds", _TRANSITION_SECONDS)
        if fault["mode"] == "late":
            self._soon(lambda: self.world.finish_export(session_id), seconds)
        elif fault["mode"] == "failed":
            self._soon(lambda: self.world.fail_export(session_id), seconds)

    def _soon(self, change: Callable[[], None], seconds: float = _TRANSITION_SECONDS) -> None:
        """Changes the world in a moment, as a session that has to start up or to wind down."""

        async def later() -> None:
            await asyncio.sleep(seconds)
            change()
            self.push()

        self.start(later())

    # Players.

    def begin_replay(
        self, connection_id: str, speed: float | None = None, *, loop: bool | None = None
    ) -> tuple[Replay, asyncio.Task[None]]:
        """Plays the recording to a connection, instead of what is being played."""
        if self._replaying is not None:
            self._replaying.cancel()
        for stream in self.world.streams.values():
            stream.replayed = False
        speed = self._speed if speed is None else usable_speed(speed)
        replay = Replay(connection_id, speed, self._loop if loop is None else loop, len(self.recording.lines))
        self.replay = replay
        self._replaying = self.start(self._play_recording(replay))
        return replay, self._replaying

    def begin_pipeline(self, pipeline: Pipeline | None) -> None:
        """Plays the script to a pipeline, unless a replay speaks on its stream, which reaches it anyway."""
        if pipeline is None or self._is_replayed(pipeline):
            return
        self.start(self._play_pipeline(pipeline, pipeline.starts))

    def _is_replayed(self, pipeline: Pipeline) -> bool:
        playing = self.replay is not None and self.replay.playing
        return playing and self.world.streams[pipeline.stream_id].replayed

    async def _play_recording(self, replay: Replay) -> None:
        started = time.monotonic()
        try:
            for number in itertools.count():
                begun = number * self.recording.round_seconds
                for line in self.recording.lines:
                    await _until(started, (begun + line.offset) / replay.speed)
                    event = line.event
                    targets = [replay.connection_id]
                    if event is not None:
                        targets = self.world.observe(event, replay.connection_id)
                    if event is not None and self._is_withheld(event):
                        targets = []
                    for target in targets:
                        self.send(target, line.payload, line.opcode)
                    self.push()
                    replay.played += 1
                    for target in targets:
                        await self.drained(target)
                    if replay.played % _LINES_A_TURN == 0:
                        await asyncio.sleep(0)
                replay.rounds += 1
                # Around and around for nobody, without a pause, would only keep a processor busy.
                is_idle = math.isinf(replay.speed) and replay.connection_id not in self.sockets
                if not replay.loop or is_idle:
                    return
        finally:
            replay.playing = False

    async def _play_pipeline(self, pipeline: Pipeline, starts: int) -> None:
        stream = self.world.streams[pipeline.stream_id]
        origin = stream.heard[pipeline.hears]
        for due, said in self._script.said(pipeline.hears, stream.kind, origin, pipeline.started_at):
            await self.clock.until(due)
            if pipeline.starts != starts or pipeline.status != "running":
                return
            self.world.deliver(pipeline, said)
            self.push()
            await self.drained(pipeline.connection_id)


def _encoded(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def _until(started: float, seconds: float) -> None:
    wait = started + seconds - time.monotonic()
    if wait > 0:
        await asyncio.sleep(wait)
