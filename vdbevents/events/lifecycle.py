"""The steps in the life of a capture session, as events report them. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vdbevents.events.fields import LIFECYCLE_PREFIX, SESSION, first_text, source_named

_DEEPEST_REASON = 10


class Stream(NamedTuple):
    """A live stream of a capture session, as an event or an answer of the service tells of it.

    Attributes:
        id: such as `rts-…`.
        name: the channel that it carries, such as `mic:default`.
        source: `mic`, `system_audio`, `screen`, `camera`, or None where neither name nor id tells.
        media: `audio` or `video`.
    """

    id: str
    name: str
    source: str | None
    media: str


class Lifecycle(NamedTuple):
    """A step in the life of a capture session.

    Attributes:
        session_id: whose; empty where the event does not say.
        status: `created`, `starting`, `active`, `stopping`, `stopped`, `exported`, `failed`.
        streams: of an `active` one.
        data: the event's own `data`, or the event.
        error: of a `failed` one, the server's reason.
    """

    session_id: str
    status: str
    streams: tuple[Stream, ...]
    data: Mapping[str, Any]
    error: str


def streams_of(holder: Mapping[str, Any]) -> tuple[Stream, ...]:
    """The streams that an event's `data`, or a session in an answer, lists under any of the known names.

    What has no id is no stream; of an id that comes twice the first one counts.
    """
    found: dict[str, Stream] = {}
    for key in ("rtstreams", "streams", "rt_streams", "channels"):
        items = holder.get(key)
        for item in items if isinstance(items, list) else ():
            stream = _stream_from(item) if isinstance(item, Mapping) else None
            if stream is not None:
                found.setdefault(stream.id, stream)
        if found:
            break
    return tuple(found.values())


def _stream_from(item: Mapping[str, Any]) -> Stream | None:
    stream_id = first_text(item, "rtstream_id", "rtstreamId", "id", "stream_id")
    if not stream_id:
        return None
    names = [first_text(item, key) for key in ("name", "rtstream_name", "channel_id", "channel_name")]
    source = next((source for name in names if name and (source := source_named(name))), None)
    kinds = item.get("media_types")
    told = kinds if isinstance(kinds, list) else [item.get("type"), item.get("media_type")]
    media = "video" if source in ("screen", "camera") or (source is None and "video" in told) else "audio"
    return Stream(stream_id, next((name for name in names if name), stream_id), source, media)


def lifecycle_of(event: Mapping[str, Any]) -> Lifecycle | None:
    """What an event says of a capture session's life, in any of the known shapes; None for other events."""
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


def error_in(told: object) -> str:
    """The reason in what a service or a runtime says of a failure: a text, or an object around one."""
    for _ in range(_DEEPEST_REASON):
        if not isinstance(told, Mapping):
            break
        told = next((told[key] for key in ("error", "message", "reason", "detail") if told.get(key)), None)
    if isinstance(told, Mapping | list):
        return "it is not said in words"
    return str(told).strip() if told else ""
