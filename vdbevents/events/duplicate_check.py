"""Recognise an event that VideoDB sends twice: over the WebSocket, and by a webhook. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from vdbevents.events import fields
from vdbevents.events.envelope import BY_WEBHOOK, Record, parse_line

SHARED_CHANNELS = frozenset({"capture_session", "alert"})
"""The channels of events that VideoDB may send both ways."""

_LIFECYCLE_KIND = b"capture_session"
_ALERT_KINDS = (b'"alert"', b'"event_id"')


class DuplicateCheck(NamedTuple):
    """A search for a line of the journal that already has an event.

    Attributes:
        needle: bytes that every such line contains.
        matches: returns whether a line that contains them is one.
    """

    needle: bytes
    matches: Callable[[bytes], bool]


def check_received(record: Record) -> DuplicateCheck | None:
    """Return the check of an event from the WebSocket against webhooks; None if no webhook can have it."""
    needle = _shared_needle(record)
    if needle is None:
        return None
    return DuplicateCheck(needle, lambda line: line.endswith(BY_WEBHOOK) and _is_same(record, line))


def check_delivered(record: Record) -> DuplicateCheck:
    """Return the check of a webhook against earlier deliveries and the WebSocket.

    Several alerts may have the same label and time: another webhook is the same only if all of it is.
    """
    content = _content(record.line)
    needle = _shared_needle(record)
    if needle is None:
        return DuplicateCheck(content[:-1], lambda line: _content(line) == content)
    is_alert = record.lifecycle is None
    kinds = _ALERT_KINDS if is_alert else (_LIFECYCLE_KIND,)

    def matches(line: bytes) -> bool:
        # A sender must not be able to have every line of the journal parsed.
        if not any(kind in line for kind in kinds):
            return False
        if is_alert and line.endswith(BY_WEBHOOK):
            return _content(line) == content
        return _is_same(record, line)

    return DuplicateCheck(needle, matches)


def _content(line: bytes) -> bytes:
    """Return a line without its time of receipt."""
    return line[line.find(b",", line.find(b'"unix_ts":')) :]


def _is_same(record: Record, line: bytes) -> bool:
    """Return whether a line reports the same step of a session, or the same alert, as a record."""
    event = parse_line(line)
    if event is None:
        return False
    other = Record(line, event)
    if record.lifecycle is not None:
        # A webhook with a made-up video must not keep the true report out of the journal.
        videos = {video for video in map(_video_of, (record, other)) if video}
        return record.identity == other.identity and len(videos) < 2  # noqa: PLR2004 - two differ
    return _is_same_alert(_alert_of(record), _alert_of(other))


def _video_of(record: Record) -> str:
    return (
        fields.first_text(record.lifecycle.data, "exported_video_id", "video_id") if record.lifecycle else ""
    )


def _shared_needle(record: Record) -> bytes | None:
    """Return bytes of every line that may report the same; None for an event that cannot be recognised."""
    if record.lifecycle is not None:
        return None if record.identity is None else _needle(record.lifecycle.session_id, _LIFECYCLE_KIND)
    alert = _alert_of(record)
    return None if alert is None else _needle(alert.label, b'label"')


def _needle(text: str, fallback: bytes) -> bytes:
    # A text with an escape can be written in several ways.
    plain = text.isprintable() and not set(text) & set('"\\')
    return f'"{text}"'.encode() if plain else fallback


class _Alert(NamedTuple):
    label: str
    moment: int | None
    span: tuple[int | None, int | None]
    stream: str
    confidence: object


def _alert_of(record: Record) -> _Alert | None:
    if record.channel != "alert":
        return None
    event = record.event
    label = fields.LABEL.value_in(event)
    moment = fields.unix_ms(fields.MOMENT.value_in(event))
    span = fields.unix_ms(fields.SPAN_START.value_in(event)), fields.unix_ms(fields.END.value_in(event))
    if not isinstance(label, str) or not label or (moment is None and span[0] is None):
        return None
    return _Alert(label, moment, span, record.stream_id, fields.CONFIDENCE.value_in(event))


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
    # One of the two may be in whole seconds.
    whole = one % 1000 == 0 or other % 1000 == 0
    return _is_near(one, other) or (whole and one // 1000 == other // 1000)


def _is_near(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    # One of the two may be cut to a millisecond, and the other rounded.
    return abs(one - other) <= 1
