"""A recorded session and its pipelines, and which of these to bind to a connection. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from vdbevents.events import fields, lifecycle
from vdbevents.sessions import plan
from vdbevents.sessions.capture_info import objects_in
from vdbevents.sessions.progress import ENDED

# For how long a session that has ended is told of: its video takes a while.
_AFTERMATH_MS: Final = 900_000
REBOUND_EVENT: Final = "listener.rebound"


class StreamChannel(NamedTuple):
    """A stream's records of one channel, whichever pipelines have made them."""

    channel: str
    stream_id: str


class RecordSource(NamedTuple):
    """Where records can be fetched: the transcript of a stream, or one of its indexes.

    Attributes:
        session_id: whose stream it is.
        index_id: empty for a transcript.
        engine: of a transcript.
    """

    channel: str
    stream_id: str
    stream_name: str
    session_id: str
    index_id: str = ""
    engine: str | None = None

    @property
    def key(self) -> StreamChannel:
        """What its records are told apart within."""
        return StreamChannel(self.channel, self.stream_id)

    @property
    def title(self) -> str:
        """For a person: `transcript of mic:default`."""
        return f"{self.channel.replace('_', ' ')} of {self.stream_name}"


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A capture session and its pipelines, as `videodb_capture_info.json` tells of them.

    Attributes:
        ws_id: the connection that its life is told to, for ever.
        began_ms, ended_ms: when its recording did, where that is known.
        events: (label, event id) of its alerts, as far as they have one.
    """

    id: str
    collection_id: str
    ws_id: str
    status: str
    began_ms: int | None
    ended_ms: int | None
    pipelines: tuple[plan.Pipeline, ...]
    events: tuple[tuple[str, str], ...]

    @property
    def may_run(self) -> bool:
        """Whether it is not known to have ended."""
        return self.status not in ENDED

    def began_before(self, until_ms: int) -> bool:
        """Whether it may have recorded something before a time."""
        return self.began_ms is None or self.began_ms <= until_ms

    def ran_after(self, since_ms: int) -> bool:
        """Whether something may have been told of it after a time."""
        return self.may_run or self.ended_ms is None or self.ended_ms > since_ms - _AFTERMATH_MS

    @property
    def sources(self) -> list[RecordSource]:
        """Where all that its pipelines have made can be fetched."""
        found: list[RecordSource] = []
        for pipeline in self.pipelines:
            stream, engine = pipeline.stream, pipeline.settings.get("engine")
            if pipeline.kind != "transcript":
                ids = dict.fromkeys([*pipeline.former, *filter(None, [pipeline.id])])
                found += [RecordSource(pipeline.kind, stream.id, stream.name, self.id, it) for it in ids]
            elif pipeline.ws_id:
                found.append(RecordSource(pipeline.kind, stream.id, stream.name, self.id, engine=engine))
        return found


def session_from_info(told: Mapping[str, Any]) -> RecordedSession | None:
    """The session that an info file tells of; None without one."""
    session = told.get("session")
    if not isinstance(session, Mapping) or not isinstance(session.get("id"), str) or not session["id"]:
        return None
    streams = {stream.id: stream for stream in lifecycle.streams_of(told)}
    found = (plan.pipeline_from(one, streams) for one in objects_in(told, "pipelines"))
    events = ((str(one.get("label")), one.get("event_id")) for one in objects_in(told, "alerts"))
    return RecordedSession(
        id=session["id"],
        collection_id=str(session.get("collection_id") or "default"),
        ws_id=str(session.get("ws_id") or ""),
        status=str(session.get("status") or ""),
        began_ms=fields.unix_ms(told.get("started")),
        ended_ms=fields.unix_ms(told.get("ended")),
        pipelines=tuple(pipeline for pipeline in found if pipeline is not None),
        events=tuple((label, event_id) for label, event_id in events if isinstance(event_id, str)),
    )


def unbound(session: RecordedSession, ws_id: str) -> list[plan.Pipeline]:
    """The pipelines that run, and send to another connection than this one."""
    return [
        pipeline
        for pipeline in session.pipelines
        if pipeline.status == "running" and pipeline.ws_id and pipeline.ws_id != ws_id
    ]


def sources_from(told: Mapping[str, Any]) -> Iterator[tuple[RecordSource, int]]:
    for one in objects_in(told, "sources"):
        engine = one.get("engine")
        if isinstance(one.get("channel"), str) and isinstance(one.get("stream_id"), str):
            source = RecordSource(
                one["channel"],
                one["stream_id"],
                str(one.get("stream_name") or one["stream_id"]),
                str(one.get("session_id") or ""),
                str(one.get("index_id") or ""),
                engine if isinstance(engine, str) else None,
            )
            yield source, fields.unix_ms(one.get("done")) or 0
