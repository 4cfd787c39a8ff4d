"""The identity of an event, by which a received and a fetched copy are recognised as the same. Pure."""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from vdbevents.events import fields
from vdbevents.events.lifecycle import lifecycle_of

_HALF_PAIR = re.compile("[\ud800-\udfff]")

_RECORDED_CHANNELS = frozenset({"transcript", "visual_index", "audio_index"})


class Identity(NamedTuple):
    """The facts that are the same in a received and a fetched copy of an event.

    Attributes:
        channel: as `fields.channel_of` returns it.
        stream: the stream's id; for a step of a session, the session's.
        start_ms, end_ms: in milliseconds since the epoch; None if the event has none.
        digest: of the text; for a step of a session, of its status.
    """

    channel: str
    stream: str
    start_ms: int | None
    end_ms: int | None
    digest: bytes


def identity_of(event: Mapping[str, Any]) -> Identity | None:
    """Return the identity of an event; None for events that are never fetched.

    Final transcripts, records of an index and steps of a session have one. An interim transcript has none:
    the final one replaces it.
    """
    channel = fields.channel_of(event)
    if channel in _RECORDED_CHANNELS:
        stream, (start_ms, end_ms) = repaired(fields.stream_id_of(event)), fields.span_of(event)
        if not stream or start_ms is None or fields.is_interim(event):
            return None
        return Identity(channel, stream, start_ms, end_ms, _digest(fields.text_of(event)))
    step = lifecycle_of(event) if channel == "capture_session" else None
    if step is None or not step.session_id:
        return None
    return Identity(channel, repaired(step.session_id), None, None, _digest(step.status))


def _digest(text: str) -> bytes:
    return blake2b(repaired(text).encode("utf-8"), digest_size=16).digest()


def repaired(text: str) -> str:
    """Return a text in which half a surrogate pair is U+FFFD, as it reads in a query or a fetched copy."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)
