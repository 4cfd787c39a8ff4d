"""Notices a stream whose events have stopped. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vdbevents.recovery.backfill import LONGEST_LOOK_SECONDS
from vdbevents.sessions import plan

# Streams that should be talking and are not.


class StaleStream(NamedTuple):
    """A stream of which nothing has come for too long; seconds on the monotonic clock."""

    pipeline: plan.Pipeline
    since: float


class StaleWatch:
    """Which screens are described as they should be."""

    def __init__(self, seconds: float) -> None:
        """Watches nothing yet.

        Args:
            seconds: for which a screen may go undescribed; 0: for ever.
        """
        self._seconds = seconds
        self._since: dict[tuple[str, str, int], float] = {}
        self._looked = 0.0
        self.stale: dict[str, StaleStream] = {}

    def look(
        self, pipelines: Iterable[plan.Pipeline], last_seen: Mapping[str, float], now: float
    ) -> tuple[list[StaleStream], list[StaleStream]]:
        """Which streams have just become stale, and which are no more. To be asked every few seconds.

        Args:
            pipelines: all that run and are bound to the connection that stands.
            last_seen: when the last description of each stream came, as far as any did.
            now: seconds on the same clock.
        """
        late, self._looked = now - self._looked > LONGEST_LOOK_SECONDS, now
        running = {it.stream.id: it for it in pipelines if it.kind == "visual_index"}
        # Who did not run for a while cannot tell what came meanwhile, and waits to be read.
        known = {} if late else self._since
        self._since = {_binding(it): known.get(_binding(it), now) for it in running.values()}
        self.stale = {it: silent for it, silent in self.stale.items() if it in running}
        fresh = [silent for it, silent in self.stale.items() if last_seen.get(it, 0.0) > silent.since]
        for silent in fresh:
            del self.stale[silent.pipeline.stream.id]
        stale = []
        for it, pipeline in running.items():
            last = max(self._since[_binding(pipeline)], last_seen.get(it, 0.0))
            if self._seconds and it not in self.stale and now - last > self._seconds:
                stale.append(StaleStream(pipeline, last))
        self.stale |= {silent.pipeline.stream.id: silent for silent in stale}
        return stale, fresh


def _binding(pipeline: plan.Pipeline) -> tuple[str, str, int]:
    return pipeline.stream.id, pipeline.ws_id, pipeline.bindings
