"""Exports: videos of sessions and streams, and of a part of a stream. Pure."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from vdbevents.emulator.capture_sessions import find_session
from vdbevents.emulator.request_checks import UNIX_TIME, invalid, optional_text, read_number
from vdbevents.emulator.store import lifecycle_event, part_urls

if TYPE_CHECKING:
    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedSession, EmulatedStore


def export_session(store: EmulatedStore, call: RestCall) -> Json:
    """Return the state of a stopped session's export, and begin it when there is none.

    The event of a finished export is also pushed to the `connection_id` given here.
    """
    session = find_session(store, call)
    if session.status != "stopped":
        raise invalid(f"The capture session is {session.status}; it can be exported when it is stopped.")
    stored = [channel["channel_id"] for channel in session.channels if channel["store"]]
    channel_id = optional_text(call.body, "video_channel_id") or (stored[0] if stored else "")
    if channel_id not in stored and (stored or session.exported is None):
        raise invalid("This channel was not stored: there is nothing to export.")
    if session.export_status is None:
        session.export_status = "exporting"
        store.transitions.append(("export", session.id))
    connection_id = optional_text(call.body, "connection_id")
    answer = {
        "session_id": session.id,
        "video_channel_id": channel_id,
        "export_status": session.export_status,
    }
    if session.exported is not None:
        _push_exported(store, session, connection_id)
        return answer | _video(session.exported, "video_id")
    if connection_id is not None:
        session.export_listeners.append(connection_id)
    return answer


def finish_export(store: EmulatedStore, session_id: str) -> None:
    """Turn `exporting` into `exported`; no-op in another status."""
    session = store.sessions[session_id]
    if session.export_status != "exporting":
        return
    session.export_status = "exported"
    session.exported = _video({"exported_video_id": store.new_id("m")}, "exported_video_id")
    for connection_id in dict.fromkeys([session.connection_id, *session.export_listeners]):
        _push_exported(store, session, connection_id)
    store.call_back(session, "exported", session.exported)


def fail_export(store: EmulatedStore, session_id: str) -> None:
    """Turn `exporting` into `failed`, without an event."""
    session = store.sessions[session_id]
    if session.export_status == "exporting":
        session.export_status = "failed"


def export_stream(store: EmulatedStore, call: RestCall) -> Json:
    """Return the video of a stream that was stored and is stopped."""
    stream = store.stream(call["id"])
    if not stream.store or stream.status != "stopped":
        raise invalid("No recordings available: the stream has to be stored, and stopped.")
    return {
        **_video({"exported_video_id": f"m-{stream.id}"}, "video_id"),
        "name": optional_text(call.body, "name") or f"{stream.name} - Recording",
        "duration": round(store.clock() - stream.created_at, 3),
    }


def locate_part(store: EmulatedStore, call: RestCall) -> Json:
    """Return URLs of a stream's part from `start` to `end` (Unix seconds); nothing is behind them."""
    stream = store.stream(call["id"])
    start, end = (read_number(call.query, name, UNIX_TIME.required) for name in ("start", "end"))
    if not -inf < start < end < inf:
        raise invalid(f"end: must be a Unix time after start, got {end!r}")
    return part_urls(stream, start, end)


def _push_exported(store: EmulatedStore, session: EmulatedSession, connection_id: str | None) -> None:
    store.push(connection_id, lifecycle_event(session, "exported", session.exported or {}))


def _video(exported: Json, id_name: str) -> Json:
    video_id = exported["exported_video_id"]
    return {
        id_name: video_id,
        "stream_url": exported.get("stream_url", f"https://stream.example/{video_id}.m3u8"),
        "player_url": exported.get("player_url", f"https://player.example/watch?v={video_id}"),
    }
