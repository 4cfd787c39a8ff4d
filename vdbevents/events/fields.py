"""Read what an event says: its channel, source, stream, text and times. Pure.

Services name the same thing in several ways. The tables here list all known names;
`vdbevents.query.columns` builds its SQL from them, and docs/events-format.md documents them.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

OWN_CHANNEL: Final = "vdbevents"
"""The channel of the recorder's own lines."""

RUNTIME_CHANNEL: Final = "capture_client"
"""The channel of the lines from the capture runtime of this machine."""

_NOTHING: Final[Mapping[str, Any]] = {}


class Member:
    """A value that events carry under one of several paths; the first that is present and not null counts.

    Attributes:
        paths: member names in order of preference; `data.x` is member `x` of the object `data`.
    """

    def __init__(self, *paths: str) -> None:
        self.paths = paths
        self._keys = tuple((path.startswith("data."), path.removeprefix("data.")) for path in paths)
        # Most events have the first name, or none: then that, or a look at all names, is enough.
        self._is_inner, self._first = self._keys[0]
        self._names = frozenset(key for _, key in self._keys)

    def value_in(self, event: Mapping[str, Any]) -> object:
        """Return the value, or None."""
        data = event.get("data")
        inner = data if type(data) is dict or isinstance(data, Mapping) else _NOTHING
        value = (inner if self._is_inner else event).get(self._first)
        if value is not None:
            return value
        if self._names.isdisjoint(event) and self._names.isdisjoint(inner):
            return None
        for is_inner, key in self._keys:
            value = (inner if is_inner else event).get(key)
            if value is not None:
                return value
        return None

    def text_in(self, event: Mapping[str, Any]) -> str:
        """Return the value as text, compact JSON for anything but a string; empty if there is none."""
        return _as_text(self.value_in(event))


STREAM: Final = Member("rtstream_id", "rtstreamId", "data.rtstream_id", "data.rtstreamId")
STREAM_NAME: Final = Member(
    *("rtstream_name", "rtstreamName", "data.rtstream_name", "data.rtstreamName"),
    *("channel_id", "data.channel_id"),
)
SESSION: Final = Member("capture_session_id", "session_id", "data.capture_session_id", "data.session_id")
TEXT: Final = Member(
    *("data.text", "text", "data.description", "description", "data.explanation", "explanation", "raw")
)
FINAL: Final = Member("data.is_final", "data.isFinal", "is_final", "isFinal")
START: Final = Member(
    *("data.start", "data.startMs", "data.start_ms", "data.start_time", "data.timestamp"),
    *("start", "startMs", "start_ms", "start_time", "timestamp"),
)
END: Final = Member(
    *("data.end", "data.endMs", "data.end_ms", "data.end_time", "end", "endMs", "end_ms", "end_time")
)
LABEL: Final = Member("data.event_label", "data.label", "label")
SPEAKER: Final = Member("data.speaker", "speaker")
CONFIDENCE: Final = Member("data.confidence", "confidence")

ERROR_PATHS: Final = ("data.error.message", "data.error", "data.message", "error.message", "error")
"""Where a failure's reason is, in order of preference."""
ERROR_CODE: Final = Member("data.code")
VIDEO: Final = (
    Member("data.exported_video_id", "data.video_id", "exported_video_id", "video_id"),
    Member("data.stream_url", "stream_url"),
    Member("data.player_url", "player_url"),
)
"""The id and the addresses of a session's video."""

RECEIPT: Final = (
    Member("unix_ts"),
    Member("ts"),
    Member("time", "timestamp", "@timestamp", "__REALTIME_TIMESTAMP", "timeUnixNano"),
)
"""The members that may hold the time of receipt; the first whose value is a time counts.

The last one is for lines of other programs: pino, Docker, Logstash, journald, OpenTelemetry.
"""

MOMENT: Final = Member("data.timestamp", "timestamp")
SPAN_START: Final = Member(*(path for path in START.paths if path not in MOMENT.paths))

KIND_KEYS: Final = ("channel", "type", "event_type", "event")
"""The members that may name an event's kind; the first that is a string and not empty counts."""

LIFECYCLE_PREFIX: Final = "capture_session."

CHANNEL_ALIASES: Final = {"scene_index": "visual_index", "spoken_index": "audio_index"}

SOURCE_WORDS: Final = {
    "mic": ("mic", "microphone"),
    "system_audio": ("system audio",),
    "camera": ("camera",),
    "screen": ("screen", "display"),
}
"""The words that give a stream's source away, by source; of a name that has several, the first source counts.

A device is named after what it is part of, such as "Studio Display Camera" or "Webcam Microphone".
"""


def _word_pattern(words: tuple[str, ...]) -> str:
    # Letters are spelled out: the ways in which engines ignore case differ outside of ASCII.
    spelled = (
        "[^A-Za-z]+".join("".join(f"[{letter}{letter.upper()}]" for letter in part) for part in word.split())
        for word in words
    )
    return f"(?:^|[^A-Za-z])(?:{'|'.join(spelled)})(?:[^A-Za-z]|$)"


SOURCE_PATTERNS: Final = {source: _word_pattern(words) for source, words in SOURCE_WORDS.items()}
"""For each source a regular expression, valid in Python and RE2, that finds one of its words in a name."""

_SOURCES = tuple((source, re.compile(pattern)) for source, pattern in SOURCE_PATTERNS.items())

_OWN_MEMBERS = frozenset({"ts", "unix_ts", "channel", "event", "data"})
_DOCUMENTED_CHANNELS = frozenset({"transcript", "visual_index", "audio_index", "capture_session", "alert"})
_LONGEST_NAME = 100
_LONGEST_ID = 256

NUMBERS: Final = ((1e11, 2.5e14, 1e3), (2.5e14, 2.5e17, 1e6), (2.5e17, 2.5e20, 1e9))
"""Which numbers are in milliseconds, microseconds and nanoseconds: above, at most, and a second's worth."""

_LEAST_SECONDS = -3e10
_MOST_SECONDS = 2.5e11
_ISO_8601 = re.compile(
    r"([1-8]\d{3}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(?:(:[0-5]\d)(?:[.,](\d+))?)?"
    r"([Zz]|[+-][01]\d(?::?[0-5]\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


stream_id_of: Final = STREAM.text_in


def channel_of(event: Mapping[str, Any]) -> str:
    """Return the kind of an event under its one name, at most 100 characters; `unknown` if it has none.

    `scene_index` becomes `visual_index`, `spoken_index` becomes `audio_index`, each `capture_session.…`
    becomes `capture_session`, and a webhook that has an `event_id` and a label but no kind is an `alert`.
    """
    channel = event.get("channel")
    if type(channel) is str and channel in _DOCUMENTED_CHANNELS:
        return channel
    for key in KIND_KEYS:
        kind = event.get(key)
        if isinstance(kind, str) and kind:
            if kind.startswith(LIFECYCLE_PREFIX):
                return "capture_session"
            return CHANNEL_ALIASES.get(kind) or _presentable(kind[:_LONGEST_NAME])
    is_alert = event.get("event_id") is not None and LABEL.value_in(event) is not None
    return "alert" if is_alert else "unknown"


def _presentable(name: str) -> str:
    # Names go into state files and onto screens: half a surrogate pair, or a megabyte, would stop both.
    return name if name.isascii() else name.encode("utf-8", "replace").decode("utf-8")


def is_own(event: Mapping[str, Any]) -> bool:
    """Return whether an event of the journal is the recorder's own, which has no members but these five.

    `envelope.envelop` renames the kind of a received message that claims to be one. In an older journal such
    a message passes only if it has no members but these.
    """
    return event.get("channel") == OWN_CHANNEL and event.keys() <= _OWN_MEMBERS


def source_of(event: Mapping[str, Any]) -> str | None:
    """Return the source that the event's stream name gives away, else its stream id; None if neither does."""
    return source_named(STREAM_NAME.text_in(event)) or source_named(STREAM.text_in(event))


def source_named(name: str) -> str | None:
    """Return `mic`, `system_audio`, `camera`, `screen` or None, from the name of a stream or channel.

    A word is a run of the letters A to Z in either case: `mic:default`, `Alice's screen`, `mic1`.
    """
    return next((source for source, pattern in _SOURCES if pattern.search(name)), None)


def first_text(holder: Mapping[str, Any], *keys: str) -> str:
    """Return the first member of `keys` that is a string and not empty, else an empty string."""
    return next((value for key in keys if isinstance(value := holder.get(key), str) and value), "")


def text_of(event: Mapping[str, Any]) -> str:
    """Return the event's text for a person to read: the first that is not blank, else an empty string.

    Of the capture runtime's events without one it is the reason of a failure with its code, else their data.
    """
    if TEXT.value_in(event) is None:
        return _runtime_text(event) if channel_of(event) == RUNTIME_CHANNEL else ""
    texts = (member.text_in(event) for member in _TEXTS)
    return next((text for text in texts if text.strip()), "")


_TEXTS = tuple(Member(path) for path in TEXT.paths)


def _runtime_text(event: Mapping[str, Any]) -> str:
    reasons = (value_at(event, path) for path in ERROR_PATHS)
    reason = _as_text(next((reason for reason in reasons if reason is not None), None))
    if reason:
        code = ERROR_CODE.text_in(event)
        return f"{reason} ({code})" if ERROR_CODE.value_in(event) is not None else reason
    data = event.get("data")
    return "" if data == {} else _as_text(data)


def value_at(holder: object, path: str) -> object:
    """Return what is under a path of any depth, as `data.error.message`; None if there is nothing."""
    for name in path.split("."):
        holder = holder.get(name) if isinstance(holder, Mapping) else None
    return holder


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return ""


def is_interim(event: Mapping[str, Any]) -> bool:
    """Return whether an event is an unfinished transcript, which a later one replaces."""
    value = FINAL.value_in(event)
    return value is False or value == "false"


def received_ms(event: Mapping[str, Any]) -> int | None:
    """Return when an event was received, in milliseconds since the epoch; None if that is not known."""
    moments = (unix_ms(member.value_in(event)) for member in RECEIPT)
    return next((moment for moment in moments if moment is not None), None)


def span_of(event: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the event's start and end in milliseconds since the epoch; None for what it does not have."""
    return unix_ms(START.value_in(event)), unix_ms(END.value_in(event))


def unix_ms(value: object) -> int | None:
    """Return a time in milliseconds since the epoch, rounded half up; None if `value` is not a time.

    Args:
        value: a number, or a text with one (in seconds, or larger ones as `NUMBERS` tells), or an ISO 8601
            time.
    """
    if isinstance(value, str):
        try:
            number = float(value) if value.isascii() else math.nan
        except ValueError:
            return _iso_ms(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    size = abs(number)
    seconds = number
    if size >= NUMBERS[0][0]:
        seconds = next((number / per for _, most, per in NUMBERS if size <= most), number)
    return math.floor(seconds * 1000 + 0.5) if _LEAST_SECONDS <= seconds <= _MOST_SECONDS else None


def _iso_ms(text: str) -> int | None:
    match = _ISO_8601.fullmatch(text)
    if match is None:
        return None
    day, clock, second, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{second or ':00'}{(zone or 'Z').upper()}")
    except ValueError:
        return None
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1) + int((fraction or "")[:6].ljust(6, "0"))
    return (microseconds + 500) // 1000


def connection_id_of(event: Mapping[str, Any]) -> str | None:
    """Return the connection's id from the first message of a connection; None for other messages.

    It is a message with a `connection_id` and without a documented kind. An id that does not fit into a file
    of one word is ignored.
    """
    identifier = event.get("connection_id")
    if not isinstance(identifier, str) or not identifier or channel_of(event) in _DOCUMENTED_CHANNELS:
        return None
    one_word = identifier.isprintable() and " " not in identifier and len(identifier) <= _LONGEST_ID
    return identifier if one_word else None


def utc_text(milliseconds: int) -> str:
    """Return a time as RFC 3339 in UTC with milliseconds: `2026-03-02T10:15:30.123Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{utc_seconds(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=4)
def utc_seconds(seconds: int) -> str:
    """Return a time in whole seconds as RFC 3339 in UTC, without a zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
