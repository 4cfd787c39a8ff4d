"""Capture sessions, from `created` to `stopped` or `failed`. Pure.

A change that leads to another one a moment later queues it in the store's `transitions`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.emulated_pipelines import stop_stream
from vdbevents.emulator.request_checks import (
    NAME,
    OBJECT,
    TEXT,
    ApiError,
    invalid,
    one_of,
    optional_text,
    read,
    read_number,
    whole,
)
from vdbevents.emulator.rtstreams import describe_stream
from vdbevents.emulator.store import EmulatedSession, EmulatedStream, iso_time

if TYPE_CHECKING:
    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedStore

_ENDED: Final = ("stopped", "failed")
_RUNNING: Final = ("starting", "active")
_MEDIA: Final = one_of("audio", "video")


def create_session(store: EmulatedStore, call: RestCall) -> Json:
    """Create a session; its lifecycle is pushed to the `ws_connection_id` given here."""
    store.collection(call["id"])
    session = EmulatedSession(
        id=store.new_id("cap"),
        collection_id=call["id"],
        end_user_id=read(call.body, "end_user_id", NAME),
        connection_id=optional_text(call.body, "ws_connection_id"),
        created_at=store.clock(),
        callback_url=optional_text(call.body, "callback_url"),
        metadata=read(call.body, "metadata", OBJECT, {}),
    )
    store.sessions[session.id] = session
    store.announce(session, "created", {})
    # The SDK's `create_capture_session` fails on streams with an `rtstream_id`: leave them out.
    return _describe_session(session)


def list_sessions(store: EmulatedStore, call: RestCall) -> Json:
    """Return a collection's sessions, newest first: `status`, `end_user_id`, and `limit`."""
    store.collection(call["id"])
    limit = read_number(call.query, "limit", whole(1))
    sessions = [
        _describe_session(session) | _describe_streams(store, session)
        for session in reversed(store.sessions.values())
        if session.collection_id == call["id"]
        and call.query.get("status") in {None, session.status}
        and call.query.get("end_user_id") in {None, session.end_user_id}
    ]
    return {"sessions": sessions[:limit], "next_page": None}


def find_session(store: EmulatedStore, call: RestCall) -> EmulatedSession:
    """Return the session in a path; raise 404 when it is not in the path's collection."""
    store.collection(call["id"])
    session = store.session(call["session"])
    if session.collection_id != call["id"]:
        raise ApiError(
            HTTPStatus.NOT_FOUND, f"There is no capture session {session.id!r} in this collection."
        )
    return session


def get_session(store: EmulatedStore, call: RestCall) -> Json:
    """Return a session with its streams."""
    session = find_session(store, call)
    return _describe_session(session) | _describe_streams(store, session)


def start_session(store: EmulatedStore, call: RestCall) -> Json:
    """Turn `created` into `starting`."""
    session = store.session(read(call.body, "session_id", NAME))
    channels = call.body.get("channels")
    if not isinstance(channels, list) or not channels:
        raise invalid("channels: must be a list with at least one channel")
    if session.status != "created":
        raise invalid(f"The capture session is {session.status}, and can be started only once.")
    session.channels = [_read_channel(channel) for channel in channels]
    session.connection_id = optional_text(call.body, "ws_connection_id") or session.connection_id
    session.callback_url = optional_text(call.body, "callback_url") or session.callback_url
    session.status = "starting"
    store.announce(session, "starting", {})
    store.transitions.append(("activate", session.id))
    return {"session_id": session.id, "status": session.status}


def activate_session(store: EmulatedStore, session_id: str) -> None:
    """Turn `starting` into `active`, with a stream for each channel; no-op in another status."""
    session = store.sessions[session_id]
    if session.status != "starting":
        return
    for channel in session.channels:
        stream = EmulatedStream(
            id=store.new_id("rts"),
            name=channel["channel_id"],
            collection_id=session.collection_id,
            media_types=[channel["type"]],
            created_at=store.clock(),
            channel_id=channel["channel_id"],
            store=channel["store"],
            session_id=session.id,
        )
        store.streams[stream.id] = stream
        session.stream_ids.append(stream.id)
    session.status = "active"
    streams = [store.streams[stream_id] for stream_id in session.stream_ids]
    listed = [
        {"rtstream_id": stream.id, "name": stream.name, "media_types": stream.media_types}
        for stream in streams
    ]
    store.announce(session, "active", {"rtstreams": listed})


def get_addresses(store: EmulatedStore, call: RestCall) -> Json:
    """Return where the capture runtime would publish each channel; nothing listens there."""
    session = store.session(call["id"])
    streams = [store.streams[stream_id] for stream_id in session.stream_ids]
    paths = {stream.channel_id: stream.id for stream in streams}
    ids = [channel["channel_id"] for channel in session.channels]
    channels = [
        {"channel_id": channel_id, "rtsp_url": f"rtsp://127.0.0.1:8554/{paths.get(channel_id, session.id)}"}
        for channel_id in ids
    ]
    return {"session_id": session.id, "status": session.status, "channels": channels}


def stop_session(store: EmulatedStore, session_id: str) -> bool:
    """Turn a running session's status into `stopping`; return False when it was stopped before."""
    session = store.session(session_id)
    if session.status == "created":
        raise invalid("The capture session was never started.")
    if session.status not in _RUNNING:
        return False
    session.status = "stopping"
    store.announce(session, "stopping", {})
    store.transitions.append(("finish", session_id))
    return True


def finish_session(store: EmulatedStore, session_id: str) -> None:
    """Turn `stopping` into `stopped`; an export follows when a channel was stored."""
    session = store.sessions[session_id]
    if session.status != "stopping":
        return
    _end_session(store, session, "stopped", {})
    if any(channel["store"] for channel in session.channels):
        session.export_status = "exporting"
        store.transitions.append(("export", session_id))


def fail_session(store: EmulatedStore, session_id: str, error: Json) -> None:
    """End a session as `failed`, with an error that has a `message`."""
    session = store.session(session_id)
    if session.status in _ENDED:
        raise invalid(f"The capture session is {session.status} already.")
    _end_session(store, session, "failed", {"error": error})


def expire_session(store: EmulatedStore, session_id: str) -> None:
    """End a running session as `stopped`, without `stopping` before."""
    session = store.session(session_id)
    if session.status not in _RUNNING:
        raise invalid(f"The capture session is {session.status}, and does not run.")
    session.status = "stopping"
    finish_session(store, session_id)


def _end_session(store: EmulatedStore, session: EmulatedSession, status: str, data: Json) -> None:
    for stream_id in session.stream_ids:
        stop_stream(store, store.streams[stream_id])
    session.status = status
    store.announce(session, status, data)


def _read_channel(channel: object) -> Json:
    if not isinstance(channel, dict):
        raise invalid(f"channels: each item must be an object, got {channel!r}")
    channel_id = read(channel, "channel_id", NAME)
    return {
        "channel_id": channel_id,
        "name": optional_text(channel, "channel_name") or read(channel, "name", TEXT) or channel_id,
        "type": read(channel, "type", _MEDIA, "audio"),
        "store": channel.get("store", True) is not False,
        "is_primary": channel.get("is_primary", False) is True,
    }


def _describe_session(session: EmulatedSession) -> Json:
    primary = [channel["channel_id"] for channel in session.channels if channel.get("is_primary")]
    return {
        "session_id": session.id,
        "end_user_id": session.end_user_id,
        "status": session.status,
        "collection_id": session.collection_id,
        "ws_connection_id": session.connection_id,
        "callback_url": session.callback_url,
        "metadata": session.metadata,
        "created_at": iso_time(session.created_at),
        "channels": session.channels,
        "primary_video_channel_id": primary[0] if primary else None,
        "export_status": session.export_status,
        "exported_video_id": (session.exported or {}).get("exported_video_id"),
    }


def _describe_streams(store: EmulatedStore, session: EmulatedSession) -> Json:
    streams = [store.streams[stream_id] for stream_id in session.stream_ids]
    return {"rtstreams": [describe_stream(stream, "rtstream_id") for stream in streams]}
