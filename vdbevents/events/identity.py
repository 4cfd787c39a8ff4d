"""When two lines report the same event, so that it is kept once. Pure."""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vdbevents.events.envelope import BY_WEBHOOK, Record, parse_line
from vdbevents.events.fields import (
    CONFIDENCE,
    END,
    LABEL,
    MOMENT,
    SPAN_START,
    channel_of,
    is_interim,
    span_of,
    stream_id_of,
    text_of,
    unix_ms,
)
from vdbevents.events.lifecycle import lifecycle_of

SHARED_CHANNELS = frozenset({"capture_session", "alert"})
"""The channels of what VideoDB may tell twice: over the WebSocket, and by a webhook."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")

_RECORDED_CHANNELS = frozenset({"transcript", "visual_index", "audio_index"})
_LIFECYCLE_KIND = b"capture_session"
_ALERT_KINDS = (b'"alert"', b'"event_id"')


class Identity(NamedTuple):
    """What makes two lines tell of the same thing, though one was received and the other fetched later.

    Attributes:
        channel: as `channel_of` has it.
        stream: the stream's id; for the life of a session, the session's.
        start_ms, end_ms: in milliseconds since the epoch; None where it is not said.
        digest: of the text; for the life of a session, of its status.
    """

    channel: str
    stream: str
    start_ms: int | None
    end_ms: int | None
    digest: bytes


class Once(NamedTuple):
    """What keeps a line out of a journal that tells the same already.

    Attributes:
        needle: a text that every line that might tell the same holds.
        is_told_by: whether a line that holds it does.
    """

    needle: bytes
    is_told_by: Callable[[bytes], bool]


def identity_of(event: Mapping[str, Any]) -> Identity | None:
    """What an event is known by when it is received and fetched; None for what is never fetched.

    That is a final transcript, a record of an index, or a step in the life of a session. An interim
    transcript has none: the final one replaces it.
    """
    channel = channel_of(event)
    if channel in _RECORDED_CHANNELS:
        stream, (start_ms, end_ms) = _mended(stream_id_of(event)), span_of(event)
        if not stream or start_ms is None or is_interim(event):
            return None
        text = text_of(event)
        return Identity(channel, stream, start_ms, end_ms, _digest(text if text.strip() else ""))
    life = lifecycle_of(event) if channel == "capture_session" else None
    if life is None or not life.session_id:
        return None
    return Identity(channel, _mended(life.session_id), None, None, _digest(life.status))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(_mended(text).encode("utf-8"), digest_size=16).digest()


def _mended(text: str) -> str:
    # Half a surrogate pair reads as U+FFFD: what is fetched may have it so.
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)


def once_received(event: Mapping[str, Any]) -> Once | None:
    """For an event of the WebSocket: it is told where a webhook has told of it. None: no webhook could."""
    needle = _shared_needle(event)
    if needle is None:
        return None
    return Once(needle, lambda line: line.endswith(BY_WEBHOOK) and _is_same(event, line))


def once_delivered(made: Record) -> Once:
    """For a webhook: it is told where the same was delivered before, or has come over the WebSocket.

    Several alerts may have one label and one time: another webhook is the same only if all of it is.
    """
    content = _content(made.line)
    needle = _shared_needle(made.event)
    if needle is None:
        return Once(content[:-1], lambda line: _content(line) == content)
    is_alert = lifecycle_of(made.event) is None
    kinds = _ALERT_KINDS if is_alert else (_LIFECYCLE_KIND,)

    def is_told_by(line: bytes) -> bool:
        # Whatever the sender calls it, not every line of the journal is parsed for it.
        if not any(kind in line for kind in kinds):
            return False
        if is_alert and line.endswith(BY_WEBHOOK):
            return _content(line) == content
        return _is_same(made.event, line)

    return Once(needle, is_told_by)


def _content(line: bytes) -> bytes:
    """What follows a line's stamps."""
    return line[line.find(b",", line.find(b'"unix_ts":')) :]


def _is_same(event: Mapping[str, Any], line: bytes) -> bool:
    """Whether a line tells of the same step of a session, or of the same alert, as an event."""
    other = parse_line(line)
    if other is None:
        return False
    if lifecycle_of(event) is not None:
        return identity_of(event) == identity_of(other)
    return _is_same_alert(_alert_of(event), _alert_of(other))


def _shared_needle(event: Mapping[str, Any]) -> bytes | None:
    """A text in every line of what may be told in both ways; None where it says too little to be known by."""
    life = lifecycle_of(event)
    if life is not None:
        return _needle(life.session_id, b"capture_session") if identity_of(event) is not None else None
    alert = _alert_of(event)
    return None if alert is None else _needle(alert.label, b'label"')


def _needle(text: str, otherwise: bytes) -> bytes:
    # What has an escape may be written in more than one way.
    plain = text.isprintable() and not set(text) & set('"\\')
    return f'"{text}"'.encode() if plain else otherwise


class _Alert(NamedTuple):
    label: str
    moment: int | None
    span: tuple[int | None, int | None]
    stream: str
    confidence: object


def _alert_of(event: Mapping[str, Any]) -> _Alert | None:
    if channel_of(event) != "alert":
        return None
    label = LABEL.value_in(event)
    moment = unix_ms(MOMENT.value_in(event))
    span = unix_ms(SPAN_START.value_in(event)), unix_ms(END.value_in(event))
    if not isinstance(label, str) or not label or (moment is None and span[0] is None):
        return None
    return _Alert(label, moment, span, stream_id_of(event), CONFIDENCE.value_in(event))


def _is_same_alert(one: _Alert | None, other: _Alert | None) -> bool:
    if one is None or other is None or one.label != other.label:
        return False
    if one.stream and other.stream and one.stream != other.stream:
        return False
    if None not in (one.confidence, other.confidence) and one.confidence != other.confidence:
        return False
    if one.span[0] is not None and other.span[0] is not None:
        return all(map(_is_near, one.span, other.span))
    return _is_same_moment(one.moment, other.moment)


def _is_same_moment(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return False
    # A time in words may be one of whole seconds.
    whole = one % 1000 == 0 or other % 1000 == 0
    return _is_near(one, other) or (whole and one // 1000 == other // 1000)


def _is_near(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    # Of finer times, one may be told cut and the other rounded.
    return abs(one - other) <= 1
