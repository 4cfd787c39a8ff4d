"""RTStreams: list, create, start and stop them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vdbevents.emulator.emulated_pipelines import ACTION, stop_stream
from vdbevents.emulator.pipeline_kinds import start_transcript
from vdbevents.emulator.request_checks import (
    NAME,
    invalid,
    list_of,
    one_of,
    optional_text,
    read,
    read_number,
    whole,
)
from vdbevents.emulator.store import EmulatedStream, iso_time

if TYPE_CHECKING:
    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedStore

_MEDIA: Final = list_of(one_of("audio", "video"))
_ORDER: Final = one_of("", *(sign + name for name in ("created_at", "name", "status") for sign in ("", "-")))


def list_streams(store: EmulatedStore, call: RestCall) -> Json:
    """Return a page of streams: `limit`, `offset`, `status`, `name` (a part of it), `ordering`."""
    query = call.query
    limit, offset = read_number(query, "limit", whole(1), 10), read_number(query, "offset", whole(), 0)
    streams = [
        stream
        for stream in store.streams.values()
        if query.get("status") in {None, stream.status}
        and query.get("name", "").lower() in stream.name.lower()
    ]
    ordering = read(query, "ordering", _ORDER, "")
    if ordering:
        name = ordering.removeprefix("-")
        streams.sort(key=lambda stream: str(getattr(stream, name)), reverse=ordering.startswith("-"))
    end = offset + limit
    return {
        "results": [describe_stream(stream) for stream in streams[offset:end]],
        "count": len(streams),
        "next": f"/rtstream/?limit={limit}&offset={end}" if end < len(streams) else None,
        "previous": f"/rtstream/?limit={limit}&offset={max(0, offset - limit)}" if offset else None,
    }


def create_stream(store: EmulatedStore, call: RestCall) -> Json:
    """Create a stream, transcribed unless `enable_transcript` is false.

    Nothing is fetched from its URL: the script is what is heard and seen on it.
    """
    body = call.body
    media_types = read(body, "media_types", _MEDIA, ["video"])
    if not media_types:
        raise invalid("media_types: must not be empty")
    collection_id = optional_text(body, "collection_id") or "default"
    store.collection(collection_id)
    url = read(body, "url", NAME)
    stream = EmulatedStream(
        id=store.new_id("rts"),
        name=optional_text(body, "name") or url,
        collection_id=collection_id,
        media_types=media_types,
        created_at=store.clock(),
        sample_rate=read_number(body, "sample_rate", whole(1), 30),
        store=bool(body.get("store")),
        url=url,
    )
    store.streams[stream.id] = stream
    if "audio" in media_types and body.get("enable_transcript", True) is not False:
        start_transcript(store, stream, {"ws_connection_id": body.get("ws_connection_id")})
    return describe_stream(stream)


def change_stream(store: EmulatedStore, call: RestCall) -> None:
    """Start or stop a stream; its pipelines stop with it."""
    stream = store.stream(call["id"])
    if read(call.body, "action", ACTION) == "stop":
        stop_stream(store, stream)
    else:
        stream.status = "connected"


def describe_stream(stream: EmulatedStream, id_name: str = "id") -> Json:
    """Return a stream as the API does; `id_name` is the name of its id."""
    return {
        id_name: stream.id,
        "name": stream.name,
        "status": stream.status,
        "sample_rate": stream.sample_rate,
        "media_types": stream.media_types,
        "collection_id": stream.collection_id,
        "channel_id": stream.channel_id or None,
        "store": stream.store,
        "created_at": iso_time(stream.created_at),
    }
