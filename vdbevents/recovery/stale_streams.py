"""Notice screens that are not described any more. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from vdbevents.sessions.plan import Pipeline

STALE_EVENT: Final = "listener.stale"
FRESH_EVENT: Final = "listener.fresh"

# After a pause this long nothing is known: what came meanwhile is still to be read.
_LONGEST_PAUSE_SECONDS: Final = 15.0


class StaleStream(NamedTuple):
    """A stream without an event since a time, in seconds on the monotonic clock."""

    pipeline: Pipeline
    since: float


class StaleWatch:
    """The screens that an index runs on, and those of them that are stale."""

    def __init__(self, seconds: float) -> None:
        """Let a screen go without a description for some seconds; 0: forever."""
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
        running = {it.stream.id: it for it in pipelines if it.kind == "visual_index"}
        known = {} if was_paused else self._since
        self._since = {_binding(it): known.get(_binding(it), now) for it in running.values()}
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
            if self._seconds and stream_id not in self.stale and now - last > self._seconds:
                stale.append(StaleStream(pipeline, last))
        self.stale |= {stream.pipeline.stream.id: stream for stream in stale}
        return stale, fresh


def _binding(pipeline: Pipeline) -> tuple[str, str, int]:
    return pipeline.stream.id, pipeline.ws_id, pipeline.bindings
