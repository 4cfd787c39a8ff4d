"""What an event says: its channel, source, stream, text and times. Pure."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

OWN_CHANNEL = "vdbevents"
"""The channel of the lines that tell what happened to the recorder itself."""

# One name for what services send under two: docs/events-format.md, the kinds of events.
_CHANNEL_ALIASES = {"scene_index": "visual_index", "spoken_index": "audio_index"}

_DOCUMENTED_CHANNELS = frozenset({"transcript", "visual_index", "audio_index", "capture_session", "alert"})

# A stream's kind is the first of these that its name begins with, or holds as a word.
_SOURCES = {
    "mic": "mic",
    "system_audio": "system_audio",
    "display": "screen",
    "screen": "screen",
    "camera": "camera",
}

# The first of these that is there, and not null, is the member's value: docs/events-format.md, the columns.
_START = (
    *("data.start", "data.startMs", "data.start_ms", "data.start_time", "data.timestamp"),
    *("start", "startMs", "start_ms", "start_time", "timestamp"),
)
END_PATHS = (
    *("data.end", "data.endMs", "data.end_ms", "data.end_time"),
    *("end", "endMs", "end_ms", "end_time"),
)
MOMENT_PATHS = ("data.timestamp", "timestamp")
SPAN_PATHS = tuple(name for name in _START if name not in MOMENT_PATHS)
_LEAST_MS = 1e11
_MOST_MS = 2.5e14
_LEAST_SECONDS = -3e10
_MOST_SECONDS = 2.5e11
_ISO_8601 = re.compile(
    r"([1-8]\d{3}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(?:(:[0-5]\d)(?:\.(\d+))?)?"
    r"([Zz]|[+-][01]\d(?::?[0-5]\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LIFECYCLE_PREFIX = "capture_session."
_LONGEST_NAME = 100
_LONGEST_ID = 256


def channel_of(event: Mapping[str, Any]) -> str:
    """What kind of event it is, under one name: `channel`, else `type`, `event_type`, `event`.

    `scene_index` is `visual_index`, `spoken_index` is `audio_index`, and every `capture_session.…` is
    `capture_session`. What has no kind is `unknown`.
    """
    for key in ("channel", "type", "event_type", "event"):
        kind = event.get(key)
        if isinstance(kind, str) and kind:
            if kind.startswith(LIFECYCLE_PREFIX):
                return "capture_session"
            return _CHANNEL_ALIASES.get(kind) or _presentable(kind[:_LONGEST_NAME])
    return "unknown"


def _presentable(name: str) -> str:
    # Names go into state files and onto screens: half a surrogate pair, or a megabyte, would stop both.
    return name if name.isascii() else name.encode("utf-8", "replace").decode("utf-8")


def is_own(event: Mapping[str, Any]) -> bool:
    """Whether it is the recorder's own line. What comes by a webhook can call itself whatever it likes."""
    return event.get("channel") == OWN_CHANNEL and "via" not in event


def source_of(event: Mapping[str, Any]) -> str | None:
    """Which sense it comes from: `mic`, `system_audio`, `screen`, `camera`, or None where it is not said."""
    name = event.get("rtstream_name") or event.get("rtstreamName")
    return source_named(name) if isinstance(name, str) else None


def stream_id_of(event: Mapping[str, Any]) -> str:
    """The id of the stream that an event is of; empty where it does not say."""
    keys = ("rtstream_id", "rtstreamId")
    data = event.get("data")
    return first_text(event, *keys) or (first_text(data, *keys) if isinstance(data, Mapping) else "")


def source_named(name: str) -> str | None:
    """The same from the name of a stream or the id of a channel: `mic:default`, `Capture mic - cap-83e6`."""
    words = name.lower().replace(":", " ").replace("system audio", "system_audio").split()
    return next((source for prefix, source in _SOURCES.items() if prefix in words), None)


def first_text(holder: Mapping[str, Any], *keys: str) -> str:
    return next((value for key in keys if isinstance(value := holder.get(key), str) and value), "")


def text_of(event: Mapping[str, Any]) -> str:
    """What was said or shown, for a person to read; empty where the event has no text."""
    data = event.get("data")
    for holder in (data, event):
        if isinstance(holder, Mapping):
            for key in ("text", "description", "explanation"):
                text = holder.get(key)
                if isinstance(text, str) and text.strip():
                    return text
    raw = event.get("raw")
    return raw if isinstance(raw, str) else ""


def is_interim(event: Mapping[str, Any]) -> bool:
    """Whether it is a transcript that a later one will replace."""
    data = event.get("data")
    for holder in (data, event):
        if isinstance(holder, Mapping):
            for key in ("is_final", "isFinal"):
                if key in holder:
                    return holder[key] is False
    return False


def span_of(event: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """From when to when an event is, in milliseconds since the epoch; None where it does not say."""
    return unix_ms(first_member(event, _START)), unix_ms(first_member(event, END_PATHS))


def first_member(event: Mapping[str, Any], names: tuple[str, ...]) -> object:
    data = event.get("data")
    for name in names:
        holder, _, key = name.rpartition(".")
        value = (data.get(key) if isinstance(data, Mapping) else None) if holder else event.get(key)
        if value is not None:
            return value
    return None


def unix_ms(value: object) -> int | None:
    """Milliseconds of a number, of seconds if it is small, or of an ISO 8601 time; else None.

    The number may be a text. It is rounded half up.
    """
    if isinstance(value, str):
        try:
            number = float(value) if value.isascii() else math.nan
        except ValueError:
            return _iso_ms(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        return None
    seconds = number / 1000 if _LEAST_MS <= abs(number) <= _MOST_MS else number
    return math.floor(seconds * 1000 + 0.5) if _LEAST_SECONDS <= seconds <= _MOST_SECONDS else None


def _iso_ms(text: str) -> int | None:
    found = _ISO_8601.fullmatch(text)
    if found is None:
        return None
    day, clock, second, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{second or ':00'}{(zone or 'Z').upper()}")
    except ValueError:
        return None
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1) + int((fraction or "")[:6].ljust(6, "0"))
    return (microseconds + 500) // 1000


def connection_id_of(event: Mapping[str, Any]) -> str | None:
    """The connection's id if the message is the one that opens a connection, else None.

    It is a message with a `connection_id`, and of none of the documented kinds. An id that would not
    survive a file of one line is none.
    """
    identifier = event.get("connection_id")
    if not isinstance(identifier, str) or not identifier or channel_of(event) in _DOCUMENTED_CHANNELS:
        return None
    one_word = identifier.isprintable() and " " not in identifier and len(identifier) <= _LONGEST_ID
    return identifier if one_word else None
