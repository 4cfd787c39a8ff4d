"""Distinguish texts from members that programs read: ids, times, names of events. Pure."""

from typing import Final

from vdbevents.events import fields

LONGEST_ID: Final = 256

STRUCTURE: Final = frozenset(
    path.removeprefix("data.")
    for member in (
        *(fields.STREAM, fields.STREAM_NAME, fields.SESSION, fields.FINAL, fields.START, fields.END),
        *(fields.MOMENT, fields.CONFIDENCE),
    )
    for path in member.paths
) | {
    *("ts", "unix_ts", "server_ts", "server_unix_ts", "via", "backfilled", *fields.KIND_KEYS),
    *("id", "status", "pid", "version", "ws_id", "ws_ids", "previous_ws_id", "previous_id", "connection_id"),
    *("ws_connection_id", "collection_id", "end_user_id", "index_id", "rtstream_index_id", "scene_index_id"),
    *("stream_id", "stream_name", "event_id", "alert_id", "video_id", "exported_video_id", "rtstream_ids"),
    *("streams", "media_types", "name", "source", "since", "until", "done", "gaps", "served", "kept_in"),
}
"""Names of members that are never changed, wherever they are in an event."""


def is_structure(name: str, value: str) -> bool:
    """Return whether a string is not a text; with spaces, or longer than an id, it is one under any name."""
    return name in STRUCTURE and len(value) <= LONGEST_ID and len(value.split(None, 1)) <= 1
