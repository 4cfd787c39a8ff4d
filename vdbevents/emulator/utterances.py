"""Utterances: the text and times of a transcript or index event. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHANNELS: Final = {
    "transcript": "transcript",
    "visual_index": "visual_index",
    "scene_index": "visual_index",
    "audio_index": "audio_index",
    "spoken_index": "audio_index",
}
_KINDS: Final = {
    "mic": "mic",
    "system_audio": "system_audio",
    "system audio": "system_audio",
    "display": "screen",
    "screen": "screen",
    "camera": "camera",
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """A text on a channel; `start` and `end` in epoch milliseconds, where it has them."""

    channel: str
    text: str
    is_final: bool
    start: float | None
    end: float | None

    def seconds(self, now: float) -> tuple[float, float]:
        """Return start and end in Unix seconds; without a start it begins now."""
        start = now if self.start is None else self.start / 1000
        return start, start if self.end is None else self.end / 1000


def parse_utterance(event: Mapping[str, Any]) -> Utterance | None:
    """Return the utterance of a transcript or index event in any documented shape, None for other events."""
    channel = event.get("channel") or event.get("type") or event.get("event_type") or event.get("event")
    if not isinstance(channel, str) or channel not in _CHANNELS:
        return None
    data = event.get("data")
    fields = {**event, **data} if isinstance(data, dict) else event
    text = fields.get("text", fields.get("description"))
    return Utterance(
        channel=_CHANNELS[channel],
        text=text if isinstance(text, str) else "",
        is_final=fields.get("is_final", fields.get("isFinal", True)) is not False,
        start=finite_number(fields.get("start", fields.get("startMs"))),
        end=finite_number(fields.get("end", fields.get("endMs"))),
    )


def stream_name(event: Mapping[str, Any]) -> str:
    """Return the stream's name in an event, "" without one."""
    return str(event.get("rtstream_name") or event.get("rtstreamName") or "")


def stream_kind(name: str) -> str:
    """Return `mic`, `system_audio`, `screen`, `camera` or `other` for a channel's id or a stream's name.

    Known shapes: `mic:default`, `display:1`, `screen:1`, `Capture mic - cap-83e6`.
    """
    lowered = name.lower().removeprefix("capture ")
    return next((kind for prefix, kind in _KINDS.items() if lowered.startswith(prefix)), "other")


def finite_number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value
