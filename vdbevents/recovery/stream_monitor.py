"""Journal which screens are not described any more, and have their indexes restarted."""

from dataclasses import dataclass
from typing import Any

from vdbevents.events import envelope
from vdbevents.journal import files
from vdbevents.recovery.context import RecoveryContext
from vdbevents.recovery.rebinding import Rebinder
from vdbevents.recovery.session_follower import SessionFollower
from vdbevents.recovery.stale_streams import FRESH_EVENT, STALE_EVENT, StaleStream, StaleWatch
from vdbevents.sessions.recorded_session import RecordedSession


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
        bound = [it for it in session.pipelines if it.status == "running" and it.ws_id == context.ws_id]
        now = context.now()
        stale, fresh = self.watch.look(bound, context.host.counts.last_seen, now)
        for stream in fresh:
            context.write(FRESH_EVENT, _data(stream, now))
            context.host.say(f"{stream.pipeline.stream.name} is described again")
        if not stale or not await self.follower.is_running(session):
            return
        for stream in stale:
            seconds, now_ms = now - stream.since, files.wall_ms()
            reason = f"no description of {stream.pipeline.stream.name} for {seconds:.0f} s"
            context.write(STALE_EVENT, _data(stream, now))
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
