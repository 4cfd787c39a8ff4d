"""Tell what the lines of a journal say about each capture session: its time, its state, its streams. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vdbevents.events import fields
from vdbevents.events.identity import repaired
from vdbevents.events.lifecycle import Lifecycle, lifecycle_of, streams_of

ENDED: Final = frozenset({"stopped", "exported", "failed"})
"""The statuses of a session that has ended."""

NEEDLE: Final = b'session_id"'
"""Part of every line that names a session."""

_RUNNING: Final = frozenset({"created", "starting", "active", "stopping"})
_CLOSING: Final = frozenset({"capture.ended", "backend.ended"})
_MOST_STREAMS: Final = 1000
_LONGEST_REASON: Final = 2000


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What some lines of a journal, in their order, say about one session; times in Unix ms.

    Attributes:
        id: the session's.
        first_ms, last_ms: the earliest and the latest receipt of a line that names it; None without a time.
        status: in the last of its steps; empty without one.
        reason: why it failed, by that step.
        has_run: whether one of the steps is before its end.
        ended_ms: when it ended: the first step of its end that none before its end follows.
        closed_ms: when its capture or its backend gave it up; for a session whose end was not received.
        streams: the ids of its streams, each with its name, in the order in which they were first named.
        video_id, player_url, stream_url: its exported video; empty without one.
    """

    id: str
    first_ms: int | None = None
    last_ms: int | None = None
    status: str = ""
    reason: str = ""
    has_run: bool = False
    ended_ms: int | None = None
    closed_ms: int | None = None
    streams: tuple[tuple[str, str], ...] = ()
    video_id: str = ""
    player_url: str = ""
    stream_url: str = ""

    @property
    def is_ended(self) -> bool:
        """Whether its end is in the journal."""
        return self.ended_ms is not None or self.closed_ms is not None or self.status in ENDED

    @property
    def over_ms(self) -> int | None:
        """When it ended, as far as the journal says; None if that is not known."""
        return self.closed_ms if self.ended_ms is None else self.ended_ms

    @property
    def video(self) -> str:
        """The link to its video, else the id; empty without one."""
        return self.player_url or self.stream_url or self.video_id


def session_named(event: Mapping[str, Any]) -> str:
    """Return the id of the session that an event names; empty without one."""
    return fields.SESSION.text_in(event)


def facts_in(event: Mapping[str, Any]) -> SessionFacts | None:
    """Return what an event says about the session that it names; None if it names none."""
    session = repaired(session_named(event))
    if not session:
        return None
    at_ms = fields.unix_ms(event.get("unix_ts"))
    at_ms = fields.unix_ms(event.get("ts")) if at_ms is None else at_ms
    facts = SessionFacts(session, at_ms, at_ms, streams=_streams_in(event))
    step = lifecycle_of(event) if fields.channel_of(event) == "capture_session" else None
    if step is not None:
        return _with_step(facts, step)
    if event.get("event") in _CLOSING and fields.is_own(event):
        return replace(facts, closed_ms=at_ms)
    return facts


def _with_step(facts: SessionFacts, step: Lifecycle) -> SessionFacts:
    facts = replace(
        facts,
        status=repaired(step.status),
        reason=repaired(step.error[:_LONGEST_REASON]),
        has_run=step.status in _RUNNING,
        ended_ms=facts.last_ms if step.status in ENDED else None,
    )
    if step.status != "exported":
        return facts
    return replace(
        facts,
        video_id=repaired(fields.first_text(step.data, "video_id", "exported_video_id")),
        player_url=repaired(fields.first_text(step.data, "player_url")),
        stream_url=repaired(fields.first_text(step.data, "stream_url")),
    )


def _streams_in(event: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the streams that an event lists, or that it tells to be bound again."""
    data = event.get("data")
    inner = data if isinstance(data, Mapping) else {}
    listed = {repaired(stream.id): repaired(stream.name) for stream in streams_of(inner)}
    if event.get("event") == "listener.rebound" and (bound := fields.first_text(inner, "stream_id")):
        listed.setdefault(repaired(bound), repaired(fields.first_text(inner, "stream_name") or bound))
    return tuple(listed.items())[:_MOST_STREAMS]


def joined(earlier: SessionFacts, later: SessionFacts) -> SessionFacts:
    """Return what two runs of lines say about one session, the second of which follows the first."""
    kept = SessionFacts(later.id) if later.has_run else earlier
    streams = dict(earlier.streams)
    for stream, name in later.streams:
        if streams.get(stream, stream) == stream:
            streams[stream] = name
    said = later if later.status else earlier
    video = later if later.video else earlier
    return SessionFacts(
        later.id,
        _first(min, earlier.first_ms, later.first_ms),
        _first(max, earlier.last_ms, later.last_ms),
        said.status,
        said.reason,
        earlier.has_run or later.has_run,
        later.ended_ms if kept.ended_ms is None else kept.ended_ms,
        later.closed_ms if kept.closed_ms is None else kept.closed_ms,
        tuple(streams.items())[:_MOST_STREAMS],
        video.video_id,
        video.player_url,
        video.stream_url,
    )


def _first(choose: Any, one: int | None, other: int | None) -> int | None:  # noqa: ANN401 - min or max
    known = [moment for moment in (one, other) if moment is not None]
    return choose(known) if known else None


def facts_from(stored: Mapping[str, Any]) -> SessionFacts:
    """Read facts that were stored as a JSON object of their attributes.

    Raises:
        TypeError, KeyError, ValueError: they are invalid.
    """
    members: dict[str, Any] = {
        name: _of(str, stored[name])
        for name in ("id", "status", "reason", "video_id", "player_url", "stream_url")
    }
    for name in ("first_ms", "last_ms", "ended_ms", "closed_ms"):
        members[name] = None if stored[name] is None else _of(int, stored[name])
    streams = tuple((_of(str, stream), _of(str, name)) for stream, name in _of(list, stored["streams"]))
    return SessionFacts(**members, has_run=_of(bool, stored["has_run"]), streams=streams)


def _of(kind: type, stored: object) -> Any:  # noqa: ANN401 - a value of that type
    if type(stored) is not kind:
        raise TypeError(stored)
    return stored
