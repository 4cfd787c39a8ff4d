"""Floods: numbered events like the recording's, made as fast as they can be written."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any, Final

from vdbevents.emulator.utterances import Utterance
from vdbevents.emulator.websocket_protocol import TEXT, frame_header

if TYPE_CHECKING:
    from vdbevents.emulator.replay_file import ReplayRecording

_LONGEST_EVENT: Final = 8192


class Flood:
    """The recording's transcript and index events, repeated, with `seq` counting from 1.

    Their times begin at `now` (Unix seconds). With `marked`, each has `sent_unix_ts`: the real time in Unix
    seconds to the microsecond. The service keeps nothing of them.
    """

    def __init__(self, recording: ReplayRecording, *, now: float, marked: bool) -> None:
        self._marked = marked
        self._now_ms = int(now * 1000)
        self._pass_ms = int(recording.duration * 1000) + 1000
        self._templates = [
            (head, tail, *self._times(utterance, recording.started * 1000))
            for head, tail, utterance in _templates(recording)
        ]
        self._digits = 0
        self._frames: list[tuple[bytes, int, int]] = []

    def frames(self, first: int, count: int) -> bytes:
        """Return `count` events from number `first` on, as WebSocket frames ready to write."""
        chunks = []
        while count > 0:
            # A frame's header holds its length, which changes only with the number of digits of `seq`.
            digits = len(str(first))
            end = min(first + count, 10**digits)
            if digits != self._digits:
                self._prepare(digits)
            chunks.append(self._frames_of_one_length(first, end))
            count -= end - first
            first = end
        return b"".join(chunks)

    def _times(self, utterance: Utterance, recorded_ms: float) -> tuple[int, int]:
        """Return start and end in milliseconds within one pass; times outside of it are clamped."""
        start = min(max(0.0, (utterance.start or recorded_ms) - recorded_ms), self._pass_ms)
        length = min(max(0.0, (utterance.end or 0) - (utterance.start or 0)), self._pass_ms)
        return int(start), int(start + length)

    def _frames_of_one_length(self, first: int, end: int) -> bytes:
        frames, now_ms, pass_ms, clock = self._frames, self._now_ms, self._pass_ms, time.time
        kinds = len(frames)
        numbered = zip(
            itertools.islice(itertools.cycle(frames), first % kinds, None), range(first, end), strict=False
        )
        # Two loops, since this limits a flood: testing `marked` for each event would be felt.
        if self._marked:
            filled = [
                frame % ((moment := now_ms + seq // kinds * pass_ms) + start, moment + end, seq, clock())
                for (frame, start, end), seq in numbered
            ]
        else:
            filled = [
                frame % ((moment := now_ms + seq // kinds * pass_ms) + start, moment + end, seq)
                for (frame, start, end), seq in numbered
            ]
        return b"".join(filled)

    def _prepare(self, digits: int) -> None:
        """Build a frame of each template, for a `seq` with this many digits."""
        self._digits = digits
        self._frames = []
        for head, tail, start, end in self._templates:
            mark = b',"sent_unix_ts":%.6f' if self._marked else b""
            body = head + b'"start":%d,"end":%d' + tail + b',"seq":%d' + mark + b"}"
            values = (self._now_ms, self._now_ms, 10 ** (digits - 1), 1e9)
            size = len(body % (values if self._marked else values[:3]))
            header = frame_header(TEXT, size).replace(b"%", b"%%")
            self._frames.append((header + body, start, end))


def _templates(recording: ReplayRecording) -> list[tuple[bytes, bytes, Utterance]]:
    """Return the bytes before and after the times of each event, with `%` doubled."""
    templates = [
        _template(event, utterance)
        for line, event, utterance in recording.utterances()
        if len(line.payload) <= _LONGEST_EVENT
    ]
    if not templates:
        utterance = Utterance("transcript", "This is a test.", is_final=True, start=None, end=None)
        templates.append(_template({"rtstream_id": "rts-1", "rtstream_name": "mic:default"}, utterance))
    return templates


def _template(event: dict[str, Any], utterance: Utterance) -> tuple[bytes, bytes, Utterance]:
    data: dict[str, Any] = {"text": utterance.text}
    if utterance.channel == "transcript":
        data["is_final"] = utterance.is_final
    message = {
        "channel": utterance.channel,
        "rtstream_id": event.get("rtstream_id"),
        "rtstream_name": event.get("rtstream_name"),
        "data": data,
    }
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return (text[:-2] + ",").replace("%", "%%").encode("utf-8", "replace"), b"}", utterance
