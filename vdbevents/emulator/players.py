"""Players: feed the replay to a WebSocket, and the script to pipelines."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.emulated_pipelines import deliver
from vdbevents.emulator.replayed_messages import apply_message

if TYPE_CHECKING:
    from vdbevents.emulator.emulated_cloud import EmulatedCloud
    from vdbevents.emulator.pipeline_scripts import NumberedScript, RecordedScript
    from vdbevents.emulator.replay_file import ReplayLine
    from vdbevents.emulator.request_checks import Json
    from vdbevents.emulator.store import EmulatedPipeline

_LINES_A_TURN: Final = 200


def usable_speed(speed: float) -> float:
    """Return a speed, infinity for 0 (as fast as possible); raise ValueError when it is not usable."""
    if math.isnan(speed) or speed < 0:
        raise ValueError(f"speed: must be a number from 0, got {speed}")
    return speed or math.inf


@dataclass(slots=True)
class Replay:
    """A replay and its progress."""

    connection_id: str
    speed: float
    loop: bool
    lines: int
    played: int = 0
    rounds: int = 0
    playing: bool = True

    def report(self) -> Json:
        """Return the replay for the control endpoint; infinite speed is 0."""
        fields = asdict(self)
        speed = 0 if math.isinf(self.speed) else self.speed
        return {"ws_connection_id": fields.pop("connection_id"), **fields, "speed": speed}


class Players:
    """One replay at a time, and a player for each running pipeline."""

    def __init__(
        self, cloud: EmulatedCloud, script: RecordedScript | NumberedScript, *, speed: float, loop: bool
    ) -> None:
        self._cloud = cloud
        self._script = script
        self._speed = speed
        self._loop = loop
        self._replaying: asyncio.Task[None] | None = None
        self.replay: Replay | None = None

    def begin_replay(
        self, connection_id: str, speed: float | None = None, *, loop: bool | None = None
    ) -> tuple[Replay, asyncio.Task[None]]:
        """Play the recording to a connection; it replaces a replay that is playing."""
        if self._replaying is not None:
            self._replaying.cancel()
        for stream in self._cloud.store.streams.values():
            stream.replayed = False
        speed = self._speed if speed is None else usable_speed(speed)
        replay = Replay(
            connection_id, speed, self._loop if loop is None else loop, len(self._cloud.recording.lines)
        )
        self.replay = replay
        self._replaying = self._cloud.start(self._play_recording(replay))
        return replay, self._replaying

    def begin_pipeline(self, pipeline: EmulatedPipeline) -> None:
        """Play the script to a pipeline; no-op while a replay feeds its stream."""
        is_playing = self.replay is not None and self.replay.playing
        if not (is_playing and self._cloud.store.streams[pipeline.stream_id].replayed):
            self._cloud.start(self._play_script(pipeline, pipeline.starts))

    async def _play_recording(self, replay: Replay) -> None:
        started = time.monotonic()
        try:
            for number in itertools.count():
                round_start = number * self._cloud.recording.round_seconds
                for line in self._cloud.recording.lines:
                    wait = started + (round_start + line.offset) / replay.speed - time.monotonic()
                    if wait > 0:
                        await asyncio.sleep(wait)
                    await self._play_line(line, replay)
                    if replay.played % _LINES_A_TURN == 0:
                        await asyncio.sleep(0)
                replay.rounds += 1
                # An endless loop without pauses for a closed connection would only keep a processor busy.
                is_idle = math.isinf(replay.speed) and self._cloud.sockets.get(replay.connection_id) is None
                if not replay.loop or is_idle:
                    return
        finally:
            replay.playing = False

    async def _play_line(self, line: ReplayLine, replay: Replay) -> None:
        cloud, event, targets = self._cloud, line.event, [replay.connection_id]
        if event is not None:
            targets = apply_message(cloud.store, event, replay.connection_id)
            if cloud.sockets.is_withheld(event):
                targets = []
        for target in targets:
            cloud.sockets.send(target, line.payload, line.opcode)
        cloud.flush()
        replay.played += 1
        for target in targets:
            await cloud.sockets.drained(target)

    async def _play_script(self, pipeline: EmulatedPipeline, starts: int) -> None:
        cloud, channel = self._cloud, pipeline.script_channel
        stream = cloud.store.streams[pipeline.stream_id]
        origin = stream.script_origins[channel]
        for due, utterance in self._script.utterances(channel, stream.kind, origin, pipeline.started_at):
            await cloud.clock.until(due)
            if pipeline.starts != starts or pipeline.status != "running":
                return
            deliver(cloud.store, pipeline, utterance)
            cloud.flush()
            await cloud.sockets.drained(pipeline.connection_id)
