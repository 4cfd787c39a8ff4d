"""Notice screens that are not described any more, and have their indexes restarted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from vdbevents.events import envelope
from vdbevents.journal import files
from vdbevents.recovery.context import RecoveryContext
from vdbevents.recovery.rebinding import Rebinder
from vdbevents.recovery.session_follower import SessionFollower
from vdbevents.sessions.plan import Pipeline
from vdbevents.sessions.recorded_session import RecordedSession

_STALE_EVENT: Final = "listener.stale"
_FRESH_EVENT: Final = "listener.fresh"

# After a pause this long nothing is known: what came meanwhile is still to be read.
_LONGEST_PAUSE_SECONDS: Final = 15.0


class StaleStream(NamedTuple):
    """A stream without an event since a time, in seconds on the monotonic clock."""

    pipeline: Pipeline
    since: float


class StaleWatch:
    """The screens that an index runs on, and those of them that are stale."""

    def __init__(self, seconds: float) -> None:
        """Allow a screen some seconds, and three intervals, without a description; 0: any time."""
        self._seconds = seconds
        self._since: dict[tuple[str, str, int], float] = {}
        self._looked = 0.0
        self.stale: dict[str, StaleStream] = {}

    def look(
        self, pipelines: Iterable[Pipeline], last_seen: Mapping[str, float], now: float
    ) -> tuple[list[StaleStream], list[StaleStream]]:
        """Return the streams that became stale, and those that became fresh. Call it every few seconds.

        Args:
            pipelines: all that run and are bound to the current connection.
            last_seen: when the last description of each stream arrived, on the clock of `now`.
            now: seconds on the monotonic clock.
        """
        was_paused, self._looked = now - self._looked > _LONGEST_PAUSE_SECONDS, now
        running = {pipeline.stream.id: pipeline for pipeline in pipelines if pipeline.kind == "visual_index"}
        known = {} if was_paused else self._since
        self._since = {
            _binding(pipeline): known.get(_binding(pipeline), now) for pipeline in running.values()
        }
        for stream_id in self.stale.keys() - running.keys():
            del self.stale[stream_id]
        fresh = [
            stale for stream_id, stale in self.stale.items() if last_seen.get(stream_id, 0.0) > stale.since
        ]
        for stream in fresh:
            del self.stale[stream.pipeline.stream.id]
        stale = []
        for stream_id, pipeline in running.items():
            last = max(self._since[_binding(pipeline)], last_seen.get(stream_id, 0.0))
            is_silent = now - last > pipeline.longest_silence(self._seconds)
            if self._seconds and stream_id not in self.stale and is_silent:
                stale.append(StaleStream(pipeline, last))
        self.stale |= {stream.pipeline.stream.id: stream for stream in stale}
        return stale, fresh


def _binding(pipeline: Pipeline) -> tuple[str, str, int]:
    return pipeline.stream.id, pipeline.ws_id, pipeline.bindings


@dataclass(slots=True)
class StreamMonitor:
    """The stale streams of the current session."""

    context: RecoveryContext
    follower: SessionFollower
    rebinder: Rebinder
    watch: StaleWatch

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the stale streams as the status file has them."""
        now_ms, now = files.wall_ms(), self.context.now()
        return [
            {
                "stream_id": stale.pipeline.stream.id,
                "stream_name": stale.pipeline.stream.name,
                "since": envelope.utc_text(now_ms - int((now - stale.since) * 1000)),
            }
            for stale in self.watch.stale.values()
        ]

    async def check(self, session: RecordedSession) -> None:
        """Journal what became stale or fresh; open a gap and request a rebinding for each stale stream."""
        context = self.context
        bound = [
            pipeline
            for pipeline in session.pipelines
            if pipeline.status == "running" and pipeline.ws_id == context.ws_id
        ]
        now = context.now()
        stale, fresh = self.watch.look(bound, context.host.counts.last_seen, now)
        for stream in fresh:
            context.write(_FRESH_EVENT, _data(stream, now))
            context.host.say(f"{stream.pipeline.stream.name} is described again")
        if not stale or not await self.follower.is_running(session):
            return
        for stream in stale:
            seconds, now_ms = now - stream.since, files.wall_ms()
            reason = f"no description of {stream.pipeline.stream.name} for {seconds:.0f} s"
            context.write(_STALE_EVENT, _data(stream, now))
            context.open_gap(now_ms - int(seconds * 1000), now_ms, reason, (stream.pipeline.stream.id,))
            context.host.say(f"{reason}: restarting its index", problem=True)
            self.rebinder.request(stream.pipeline)
            context.duplicates.expect_doubles(stream.pipeline.stream.id, context.now())


def _data(stale: StaleStream, now: float) -> dict[str, Any]:
    stream = stale.pipeline.stream
    return {
        "stream_id": stream.id,
        "stream_name": stream.name,
        "channel": stale.pipeline.kind,
        "seconds": round(now - stale.since, 3),
    }
