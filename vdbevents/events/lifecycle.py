"""Read the state and the streams of a capture session from its events. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vdbevents.events.fields import LIFECYCLE_PREFIX, SESSION, first_text, source_named

_DEEPEST_REASON = 10


class Stream(NamedTuple):
    """A live stream of a capture session, from an event or an answer of the service.

    Attributes:
        id: such as `rts-…`.
        name: the captured channel, such as `mic:default`.
        source: `mic`, `system_audio`, `screen`, `camera`, or None if no name gives it away.
        media: `audio` or `video`.
    """

    id: str
    name: str
    source: str | None
    media: str


class Lifecycle(NamedTuple):
    """A change of a capture session's status.

    Attributes:
        session_id: empty if the event does not have it.
        status: `created`, `starting`, `active`, `stopping`, `stopped`, `exported`, `failed`.
        streams: of an `active` session.
        data: the event's `data`, or the event.
        error: the server's reason, of a `failed` session.
    """

    session_id: str
    status: str
    streams: tuple[Stream, ...]
    data: Mapping[str, Any]
    error: str


def streams_of(holder: Mapping[str, Any]) -> tuple[Stream, ...]:
    """Return the streams that an event's `data`, or a session in an answer, lists under a known name.

    Entries without an id are skipped; of several with one id the first counts.
    """
    streams: dict[str, Stream] = {}
    for key in ("rtstreams", "streams", "rt_streams", "channels"):
        items = holder.get(key)
        for item in items if isinstance(items, list) else ():
            stream = _stream_from(item) if isinstance(item, Mapping) else None
            if stream is not None:
                streams.setdefault(stream.id, stream)
        if streams:
            break
    return tuple(streams.values())


def _stream_from(item: Mapping[str, Any]) -> Stream | None:
    stream_id = first_text(item, "rtstream_id", "rtstreamId", "id", "stream_id")
    if not stream_id:
        return None
    names = [first_text(item, key) for key in ("name", "rtstream_name", "channel_id", "channel_name")]
    source = next((source for name in names if name and (source := source_named(name))), None)
    kinds = item.get("media_types")
    kinds = kinds if isinstance(kinds, list) else [item.get("type"), item.get("media_type")]
    media = "video" if source in ("screen", "camera") or (source is None and "video" in kinds) else "audio"
    return Stream(stream_id, next((name for name in names if name), stream_id), source, media)


def lifecycle_of(event: Mapping[str, Any]) -> Lifecycle | None:
    """Return the status change that an event reports in any known shape; None for other events."""
    name = next((kind for key in ("event", "type", "event_type", "channel")
                 if (kind := first_text(event, key)).startswith(LIFECYCLE_PREFIX)), "")  # fmt: skip
    data = event.get("data")
    data = data if isinstance(data, Mapping) else event
    status = name.removeprefix(LIFECYCLE_PREFIX)
    if not name and event.get("channel") == LIFECYCLE_PREFIX.rstrip("."):
        status = first_text(event, "status") or first_text(data, "status")
    if not status:
        return None
    error = error_in(event.get("data") or event) if status == "failed" else ""
    return Lifecycle(SESSION.text_in(event), status, streams_of(data), data, error)


def error_in(answer: object) -> str:
    """Return the reason of a failure from a service's or runtime's answer: a text, or an object with one."""
    for _ in range(_DEEPEST_REASON):
        if not isinstance(answer, Mapping):
            break
        keys = ("error", "message", "reason", "detail")
        answer = next((answer[key] for key in keys if answer.get(key)), None)
    if isinstance(answer, Mapping | list):
        return "no reason given in words"
    return str(answer).strip() if answer else ""
