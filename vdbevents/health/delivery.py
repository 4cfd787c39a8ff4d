"""Judge which streams of a recorded session deliver. Pure.

What may be silent differs by kind: nobody need speak, but a screen is described all the time.

- A description of the screen must come within `stale_seconds`, and within three of its own intervals.
- A transcript, and a summary of what is heard, may be silent for ever: the stream is quiet, not stale. But
  where speech is transcribed, a summary by time must follow within the same limit.
- A pipeline must be started, and bound to the listener's connection, within a minute.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from vdbevents.events import fields
from vdbevents.events.lifecycle import Stream
from vdbevents.sessions.plan import Pipeline, objects_in
from vdbevents.sessions.recorded_session import RecordedSession

STALE_SECONDS: Final = 60.0
"""How long a screen may go without a description, unless the listener was told otherwise."""

_PREPARING_MS: Final = 60_000
_QUIET_MS: Final = 60_000

State = Literal["delivers", "quiet", "waiting", "stale", "none", "paused", "excluded", "unknown"]
_WORST_FIRST: Final[tuple[State, ...]] = ("stale", "delivers", "waiting", "quiet")

LastEvents = Mapping[tuple[str, str], int]
"""When the last event of each stream and channel arrived live, in ms since the epoch."""


class Connection(NamedTuple):
    """The listener's connection: its id, and since when, in ms since the epoch."""

    ws_id: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class PipelineHealth:
    """A pipeline, and whether it delivers.

    Attributes:
        kind: `transcript`, `audio_index`, `visual_index`.
        state: `delivers`; `quiet`: silent, which is allowed; `waiting`: it has just begun; `stale`.
        last_ms: when its last event arrived live; None if none did.
        problem: in words, if it is stale.
    """

    kind: str
    state: State
    last_ms: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A stream, and whether it delivers.

    Attributes:
        state: that of its pipelines: `stale` if one is, else the best; `none` without pipelines; `paused`,
            `excluded`, or `unknown` without a connection, where it is not judged.
        last_ms: when its last event of any kind arrived live; None if none did.
    """

    stream: Stream
    state: State
    last_ms: int | None
    pipelines: tuple[PipelineHealth, ...] = ()


def last_events(status: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return when the last event of each stream and channel arrived live, by a listener's status."""
    moments = (
        ((str(entry.get("stream_id")), str(entry.get("channel"))), fields.unix_ms(entry.get("last")))
        for entry in objects_in(status, "streams")
    )
    return {key: at_ms for key, at_ms in moments if at_ms is not None}


def unjudged(streams: Iterable[Stream], last: LastEvents, state: State) -> list[StreamHealth]:
    """Return streams that cannot be judged now, all with one state."""
    return [StreamHealth(stream, state, _latest(stream, last)) for stream in streams]


def _latest(stream: Stream, last: LastEvents) -> int | None:
    return max((at_ms for (stream_id, _), at_ms in last.items() if stream_id == stream.id), default=None)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the streams of a session that a connected listener records.

    Attributes:
        session: it is recorded now.
        last: of its streams.
        connection: the listener's.
        stale_seconds: how long a screen may go without a description.
        now_ms: the present, in ms since the epoch.
    """

    session: RecordedSession
    last: LastEvents
    connection: Connection
    stale_seconds: float
    now_ms: int

    def judged(self, streams: Iterable[Stream]) -> list[StreamHealth]:
        """Return the streams of the session with their state."""
        return [self._stream(stream) for stream in streams]

    def _stream(self, stream: Stream) -> StreamHealth:
        pipelines = tuple(
            self._pipeline(pipeline) for pipeline in self.session.pipelines if pipeline.stream.id == stream.id
        )
        states = {pipeline.state for pipeline in pipelines}
        state: State = next((state for state in _WORST_FIRST if state in states), "none")
        return StreamHealth(stream, state, _latest(stream, self.last), pipelines)

    def _pipeline(self, pipeline: Pipeline) -> PipelineHealth:
        last_ms = self.last.get((pipeline.stream.id, pipeline.kind))
        problem = self._not_running(pipeline)
        if problem is not None:
            is_stale = pipeline.status == "failed" or self.now_ms - self._begun_ms > _PREPARING_MS
            state: State = "stale" if is_stale else "waiting"
            return PipelineHealth(pipeline.kind, state, last_ms, problem if is_stale else "")
        if self._is_silent(pipeline, last_ms or 0):
            return PipelineHealth(pipeline.kind, "stale", last_ms, "silent")
        return PipelineHealth(pipeline.kind, self._unless_stale(pipeline, last_ms), last_ms)

    @property
    def _begun_ms(self) -> int:
        return max(self.session.began_ms or self.now_ms, self.connection.since_ms)

    def _not_running(self, pipeline: Pipeline) -> str | None:
        if pipeline.status != "running":
            return f"not started: {pipeline.error}" if pipeline.error else "not started"
        if pipeline.ws_id != self.connection.ws_id:
            return f"sends to the connection {pipeline.ws_id}, which is gone"
        return None

    def _is_silent(self, pipeline: Pipeline, last_ms: int) -> bool:
        is_heard = pipeline.kind == "audio_index" and pipeline.interval_seconds is not None
        if pipeline.kind != "visual_index" and not is_heard:
            return False
        # Speech that is transcribed and not summarised shows that the summaries have ended.
        speech_ms = self.last.get((pipeline.stream.id, "transcript"), 0)
        expected_until_ms = speech_ms if is_heard else self.now_ms
        limit_ms = pipeline.longest_silence(self.stale_seconds) * 1000
        return expected_until_ms - max(last_ms, self._begun_ms) > limit_ms

    def _unless_stale(self, pipeline: Pipeline, last_ms: int | None) -> State:
        if last_ms is not None:
            is_recent = self.now_ms - last_ms <= _QUIET_MS
            if is_recent or (pipeline.kind == "visual_index" and last_ms >= self._begun_ms):
                return "delivers"
        is_new = self.now_ms - self._begun_ms <= _PREPARING_MS
        return "waiting" if is_new or pipeline.kind == "visual_index" else "quiet"
