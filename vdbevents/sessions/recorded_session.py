"""A session and its pipelines, as the info file describes them, and where to fetch its records. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from vdbevents.events import fields, lifecycle
from vdbevents.sessions import plan
from vdbevents.sessions.progress import ENDED

# For so long events of an ended session may follow: the export of its video takes a while.
_AFTERMATH_MS: Final = 900_000
# The last words may be sent a moment after the end.
_TRAILING_MS: Final = 5_000
REBOUND_EVENT: Final = "listener.rebound"


class StreamChannel(NamedTuple):
    """The records of one channel of a stream, from whichever pipelines."""

    channel: str
    stream_id: str


class RecordSource(NamedTuple):
    """A place to fetch records from: the transcript of a stream, or one of its indexes.

    Attributes:
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
        """Within which its records are distinct."""
        return StreamChannel(self.channel, self.stream_id)

    @property
    def title(self) -> str:
        """Its name in messages: `transcript of mic:default`."""
        return f"{self.channel.replace('_', ' ')} of {self.stream_name}"


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A capture session of `videodb_capture_info.json`.

    Attributes:
        ws_id: the connection that it was created with, the only one that gets its own events.
        began_ms, ended_ms: of its recording; None if unknown.
        events: (label, event id) of its alerts.
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
        """Return whether it may have recorded something before a time."""
        return self.began_ms is None or self.began_ms <= until_ms

    def ran_after(self, since_ms: int) -> bool:
        """Return whether events of it may have been sent after a time."""
        return self.may_run or self.ended_ms is None or self.ended_ms > since_ms - _AFTERMATH_MS

    def had_ended_before(self, since_ms: int) -> bool:
        """Return whether it had ended before a time, so that nothing of it was sent after that."""
        return not self.may_run and self.ended_ms is not None and self.ended_ms <= since_ms - _TRAILING_MS

    def was_sent_to_listener(self, since_ms: int) -> bool:
        """Return whether something may have been sent to its listener after a time."""
        if not any(pipeline.ws_id for pipeline in self.pipelines):
            return False
        return self.may_run or (self.ended_ms is not None and self.ended_ms > since_ms)

    @property
    def sources(self) -> list[RecordSource]:
        """The sources to fetch all records of its pipelines from."""
        sources: list[RecordSource] = []
        for pipeline in self.pipelines:
            stream, engine = pipeline.stream, pipeline.settings.get("engine")
            if pipeline.kind != "transcript":
                ids = dict.fromkeys([*pipeline.former, *filter(None, [pipeline.id])])
                sources += [
                    RecordSource(pipeline.kind, stream.id, stream.name, self.id, index_id) for index_id in ids
                ]
            elif pipeline.ws_id:
                sources.append(RecordSource(pipeline.kind, stream.id, stream.name, self.id, engine=engine))
        return sources


def session_from_info(info: Mapping[str, Any]) -> RecordedSession | None:
    """Return the session of an info file; None if there is none."""
    session = info.get("session")
    if not isinstance(session, Mapping) or not isinstance(session.get("id"), str) or not session["id"]:
        return None
    streams = {stream.id: stream for stream in lifecycle.streams_of(info)}
    pipelines = (plan.pipeline_from(entry, streams) for entry in plan.objects_in(info, "pipelines"))
    events = ((str(alert.get("label")), alert.get("event_id")) for alert in plan.objects_in(info, "alerts"))
    return RecordedSession(
        id=session["id"],
        collection_id=str(session.get("collection_id") or "default"),
        ws_id=str(session.get("ws_id") or ""),
        status=str(session.get("status") or ""),
        began_ms=fields.unix_ms(info.get("started")),
        ended_ms=fields.unix_ms(info.get("ended")),
        pipelines=tuple(pipeline for pipeline in pipelines if pipeline is not None),
        events=tuple((label, event_id) for label, event_id in events if isinstance(event_id, str)),
    )


def unbound(session: RecordedSession, ws_id: str) -> list[plan.Pipeline]:
    """Return the running pipelines that send to another connection than this one."""
    return [
        pipeline
        for pipeline in session.pipelines
        if pipeline.status == "running" and pipeline.ws_id and pipeline.ws_id != ws_id
    ]


def sources_from(data: Mapping[str, Any]) -> Iterator[tuple[RecordSource, int]]:
    """Yield the sources of a `listener.backfill` line, and up to when each is complete; 0: not at all."""
    for entry in plan.objects_in(data, "sources"):
        channel, stream_id, engine = (entry.get(name) for name in ("channel", "stream_id", "engine"))
        if isinstance(channel, str) and isinstance(stream_id, str):
            source = RecordSource(
                channel,
                stream_id,
                str(entry.get("stream_name") or stream_id),
                str(entry.get("session_id") or ""),
                str(entry.get("index_id") or ""),
                engine if isinstance(engine, str) else None,
            )
            yield source, fields.unix_ms(entry.get("done")) or 0
