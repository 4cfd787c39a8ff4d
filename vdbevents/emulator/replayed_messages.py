"""Replayed messages: bring the sessions, streams and pipelines that they name into being. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vdbevents.emulator.emulated_pipelines import add_pipeline, take_in
from vdbevents.emulator.store import LIFECYCLE, EmulatedSession, EmulatedStream
from vdbevents.emulator.utterances import parse_utterance, stream_name

if TYPE_CHECKING:
    from vdbevents.emulator.request_checks import Json
    from vdbevents.emulator.store import EmulatedPipeline, EmulatedStore

_STREAM_LISTS: Final = ("rtstreams", "streams", "rt_streams", "channels")


def apply_message(store: EmulatedStore, event: Json, connection_id: str) -> list[str]:
    """Update the store from a replayed message, and return the connection ids to send it to.

    Entities it names are added as if created with `connection_id`. What was stopped or started over REST
    since then stays so.
    """
    name = event.get("event") or event.get("type")
    if isinstance(name, str) and name.startswith(LIFECYCLE):
        _apply_lifecycle(store, name.removeprefix(LIFECYCLE), event, connection_id)
        return [connection_id]
    utterance, stream_id = parse_utterance(event), event.get("rtstream_id", event.get("rtstreamId"))
    if utterance is None or not isinstance(stream_id, str):
        return [connection_id]
    media = "video" if utterance.channel == "visual_index" else "audio"
    stream = _replayed_stream(store, stream_id, stream_name(event) or stream_id, media)
    pipelines = [
        pipeline
        for pipeline in store.pipelines.values()
        if pipeline.stream_id == stream_id and pipeline.script_channel == utterance.channel
    ]
    targets: list[str] = []
    for pipeline in pipelines or [_add_implicit(store, stream, utterance.channel)]:
        if pipeline.implicit:
            pipeline.connection_id = connection_id
        if pipeline.status == "running":
            take_in(store, pipeline, utterance)
            targets += [pipeline.connection_id] if pipeline.connection_id is not None else []
    return targets


def _add_implicit(store: EmulatedStore, stream: EmulatedStream, channel: str) -> EmulatedPipeline:
    details: Json = {"engine": "default"}
    if channel != "transcript":
        details = {
            "extraction_type": "time" if channel == "visual_index" else "transcript",
            "extraction_config": {},
            "prompt": "Describe the scene",
            "name": f"{channel} of {stream.name}",
            "sandbox_id": None,
        }
    pipeline = add_pipeline(store, stream, channel, None, details)
    pipeline.implicit = True
    return pipeline


def _apply_lifecycle(store: EmulatedStore, status: str, event: Json, connection_id: str) -> None:
    session_id = event.get("capture_session_id", event.get("session_id"))
    if not isinstance(session_id, str):
        return
    session = store.sessions.get(session_id)
    if session is None:
        session = EmulatedSession(session_id, "default", "replay", connection_id, store.clock())
        store.sessions[session_id] = session
    session.connection_id = connection_id
    data: Json = event["data"] if isinstance(event.get("data"), dict) else {}
    if status == "exported":
        session.exported = {"exported_video_id": data.get("exported_video_id", data.get("video_id")), **data}
        session.export_status = "exported"
    else:
        session.status = status
    if status == "active":
        _add_streams(store, session, data)
    for stream_id in session.stream_ids if status == "stopped" else ():
        store.streams[stream_id].status = "stopped"


def _add_streams(store: EmulatedStore, session: EmulatedSession, data: Json) -> None:
    lists = (data[name] for name in _STREAM_LISTS if isinstance(data.get(name), list))
    items: list[Any] = next(lists, [])
    for item in items:
        stream_id = item.get("rtstream_id", item.get("id")) if isinstance(item, dict) else None
        if not isinstance(stream_id, str):
            continue
        name = str(item.get("name") or item.get("channel_id") or stream_id)
        kinds = item.get("media_types", [item.get("type", "audio")])
        stream = _replayed_stream(store, stream_id, name, "audio")
        stream.media_types = [str(kind) for kind in kinds] if isinstance(kinds, list) else ["audio"]
        stream.session_id, stream.collection_id = session.id, session.collection_id
        stream.status = "connected"
        if stream_id not in session.stream_ids:
            session.stream_ids.append(stream_id)
            kind = "video" if "video" in stream.media_types else "audio"
            session.channels.append({"channel_id": name, "name": name, "type": kind, "store": True})


def _replayed_stream(store: EmulatedStore, stream_id: str, name: str, media: str) -> EmulatedStream:
    """Return a stream, added when it is not known, and mark it as fed by the replay."""
    stream = store.streams.get(stream_id)
    if stream is None:
        stream = EmulatedStream(stream_id, name, "default", [media], store.clock(), channel_id=name)
        store.streams[stream_id] = stream
    stream.replayed = True
    return stream
