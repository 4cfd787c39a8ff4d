"""A recording is its own script: reads a journal, and gives back the messages it was made of.

What was received is cut out of a line as text and never goes through a parser and back, so that `1e400`,
integers beyond 64 bits, the order of keys and escapes are sent exactly as they were recorded.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents.emulator.sockets import BINARY, TEXT, frame_header

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL_SESSION: Final = Path(__file__).parent / "data" / "real-session.jsonl"

# The envelope as the journal's own format puts it: the two members come first.
_ENVELOPE: Final = re.compile(r'\{"ts":"[^"\\]*","unix_ts":(-?[0-9.eE+-]+)(?:,|(?=\}))')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_RECORDER: Final = "vdbevents"
_LONGEST_INTEGER: Final = 4000
_LONGEST_FLOOD_EVENT: Final = 8192
_INDEX_CHANNELS: Final = {"scene_index": "visual_index", "spoken_index": "audio_index"}


def _integer(text: str) -> int | float:
    # Python refuses to read an integer of more than 4,300 digits; only its text is ever sent.
    return int(text) if len(text) < _LONGEST_INTEGER else math.inf


_decoder: Final = json.JSONDecoder(parse_int=_integer)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a transcript or index event says: text, and epoch milliseconds where it has them."""

    channel: str
    text: str
    is_final: bool
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """One recorded message.

    `offset` is in seconds from the first line, `payload` the exact bytes of the frame, `opcode` its kind;
    `event` is the message parsed, or None for what is no JSON object.
    """

    offset: float
    opcode: int
    payload: bytes

    @property
    def event(self) -> dict[str, Any] | None:
        """Parsed on demand: a long recording is kept once, not twice."""
        if self.opcode != TEXT:
            return None
        try:
            value, _ = _decoder.raw_decode(self.payload.decode())
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class Recording:
    """A journal as a script: its messages in order, and what was in it besides."""

    lines: tuple[Line, ...]
    skipped: int
    """Lines that are unreadable, or the recorder's own."""
    started: float
    """The first line's time, in Unix seconds."""

    @property
    def duration(self) -> float:
        """Seconds from the first message to the last."""
        return self.lines[-1].offset

    @property
    def round_seconds(self) -> float:
        """How long it takes when it is played in a loop."""
        return self.duration + 1

    def spoken(self, channel: str, kind: str) -> Iterator[tuple[float, Utterance]]:
        """The transcript or index events of one kind of stream: (offset in seconds, what it says).

        `kind` is `mic`, `system_audio`, `screen` or `camera`; any other one gets the events of the first kind
        there is, since an address given by hand (`connect_rtstream`) does not tell what is behind it.
        """
        wanted = kind
        for line in self.lines:
            event = line.event
            said = None if event is None else utterance(event)
            if event is None or said is None or said.channel != channel:
                continue
            source = stream_kind(str(event.get("rtstream_name") or event.get("rtstreamName") or ""))
            wanted = source if wanted == "other" else wanted
            if source == wanted:
                yield line.offset, said


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording as the script of pipelines: `speed` times as fast, with `loop` again and again."""

    recording: Recording
    speed: float
    """Infinite is as fast as it goes: all of it is said at once, and nothing again."""
    loop: bool

    def said(self, channel: str, kind: str, origin: float, since: float) -> Iterator[tuple[float, Utterance]]:
        """What is said from `since` on where the script began at `origin`, each with when; Unix seconds."""
        is_endless, seconds = self.loop and not math.isinf(self.speed), self.recording.round_seconds
        # Found, not searched for: a clock that jumps may have passed any number of rounds.
        first = int((since - origin) * self.speed / seconds) if is_endless else 0
        for number in itertools.count(first):
            begun, silent = number * seconds, True
            for offset, said in self.recording.spoken(channel, kind):
                silent = False
                due = origin + (begun + offset) / self.speed
                if due >= since:
                    yield due, self._rebased(said, origin, begun)
            if silent or not is_endless:
                return

    def _rebased(self, said: Utterance, origin: float, begun: float) -> Utterance:
        """The same, said now: the recording's time mapped onto today's, and never into the future.

        As fast as it goes, the recording is taken to have just ended, and keeps its lengths.
        """
        recorded_ms = self.recording.started * 1000

        def rebased(moment: float | None) -> int:
            moment_ms = 0.0 if moment is None else moment - recorded_ms
            if math.isinf(self.speed):
                return int(origin * 1000 - self.recording.duration * 1000 + moment_ms)
            return int(origin * 1000 + (begun * 1000 + moment_ms) / self.speed)

        return replace(said, start=rebased(said.start), end=rebased(said.end))


def stream_kind(name: str) -> str:
    """`mic`, `system_audio`, `screen`, `camera` or `other`, from a channel's id or a stream's name.

    The shapes are those of the seed documents and of consumers of the service: `mic:default`, `display:1`,
    `screen:1`, `Capture mic - cap-83e6`.
    """
    lowered = name.lower().removeprefix("capture ")
    for prefix, kind in (
        ("mic", "mic"),
        ("system_audio", "system_audio"),
        ("system audio", "system_audio"),
        ("display", "screen"),
        ("screen", "screen"),
        ("camera", "camera"),
    ):
        if lowered.startswith(prefix):
            return kind
    return "other"


def utterance(event: dict[str, Any]) -> Utterance | None:
    """What a transcript or index event says, whichever of its documented shapes it has; else None."""
    channel = event.get("channel") or event.get("type") or event.get("event_type") or event.get("event")
    if not isinstance(channel, str):
        return None
    channel = _INDEX_CHANNELS.get(channel, channel)
    if channel not in {"transcript", "visual_index", "audio_index"}:
        return None
    data = event.get("data")
    both = {**event, **data} if isinstance(data, dict) else event
    text = both.get("text", both.get("description"))
    return Utterance(
        channel=channel,
        text=text if isinstance(text, str) else "",
        is_final=both.get("is_final", both.get("isFinal", True)) is not False,
        start=_number(both.get("start", both.get("startMs"))),
        end=_number(both.get("end", both.get("endMs"))),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def load_recording(path: Path | None) -> Recording:
    """Reads a journal, None the real session that is bundled; `ValueError` says why it cannot be replayed."""
    source = path or REAL_SESSION
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ValueError(f"The recording {source} cannot be read: {error.strerror or error}.") from error
    recording = parse_recording(content)
    if recording is None:
        raise ValueError(f"The recording {source} holds no message that could be replayed.")
    return recording


def parse_recording(content: bytes) -> Recording | None:
    """The messages of a journal's bytes, or None where there is not one."""
    lines: list[Line] = []
    offset, before, started, skipped = 0.0, None, None, 0
    for raw_line in content.split(b"\n"):
        if not raw_line.strip():
            continue
        try:
            unix_ts, opcode, payload = _message(raw_line.decode().strip())
        except (ValueError, RecursionError):
            skipped += 1
            continue
        if unix_ts is not None:
            # A clock that was set back must not stop the replay for as long.
            offset += max(0.0, unix_ts - (unix_ts if before is None else before))
            before = unix_ts
            started = unix_ts if started is None else started
        lines.append(Line(offset, opcode, payload))
    return Recording(tuple(lines), skipped, started or 0.0) if lines else None


def _message(line: str) -> tuple[float | None, int, bytes]:
    """(Unix time, opcode, payload) of a journal's line; `ValueError` for what is not to be sent."""
    if not line.startswith("{"):
        raise ValueError("no object")
    members = list(_members(line))
    values = {key: value for key, value, _, _ in members}
    if values.get("channel") == _RECORDER:
        raise ValueError("the recorder's own line")
    unix_ts = _number(values.get("unix_ts"))
    own = [member for member in members if member[0] not in {"ts", "unix_ts"}]
    if len(own) == 1:
        key, value, _, text = own[0]
        if key == "raw":
            return unix_ts, TEXT, (value if isinstance(value, str) else text).encode("utf-8")
        if key == "raw_base64" and isinstance(value, str):
            return unix_ts, BINARY, _bytes(value)
    return unix_ts, TEXT, _payload(line, own).encode("utf-8")


def _payload(line: str, own: list[tuple[str, Any, str, str]]) -> str:
    envelope = _ENVELOPE.match(line)
    if envelope is not None and not any(key in {"server_ts", "server_unix_ts"} for key, *_ in own):
        return "{" + line[envelope.end() :]
    names = {"server_ts": '"ts"', "server_unix_ts": '"unix_ts"'}
    return "{" + ",".join(f"{names.get(key, written)}:{text}" for key, _, written, text in own) + "}"


def _members(line: str) -> Iterator[tuple[str, Any, str, str]]:
    """The members of a JSON object in its own words: (key, value, key as written, value as written)."""
    at = _skip(line, 1)
    while line[at : at + 1] != "}":
        key, key_end = _decoder.raw_decode(line, at)
        colon = _skip(line, key_end)
        if not isinstance(key, str) or line[colon : colon + 1] != ":":
            raise ValueError("no object")
        begin = _skip(line, colon + 1)
        value, end = _decoder.raw_decode(line, begin)
        yield key, value, line[at:key_end], line[begin:end]
        at = _skip(line, end)
        if line[at : at + 1] == ",":
            at = _skip(line, at + 1)
        elif line[at : at + 1] != "}":
            raise ValueError("a torn line")
    if _skip(line, at + 1) != len(line):
        raise ValueError("something after the object")


def _skip(line: str, at: int) -> int:
    match = _SPACE.match(line, at)
    return at if match is None else match.end()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


class Flood:
    """Numbered events like the recording's, made as fast as they can be written.

    The events are the recording's transcript and index events, again and again, each with times of its own
    from `now` on (Unix seconds) and `seq` counting from 1; `marked` ones carry `sent_unix_ts`, the real time
    in Unix seconds to the microsecond. Nothing is kept of them.
    """

    def __init__(self, recording: Recording, *, now: float, marked: bool) -> None:
        self._marked = marked
        self._now_ms = int(now * 1000)
        self._pass_ms = int(recording.duration * 1000) + 1000
        self._spoken = [
            (head, tail, *self._moments(said, recording.started * 1000))
            for head, tail, said in _templates(recording)
        ]
        self._digits = 0
        self._frames: list[tuple[bytes, int, int]] = []

    def frames(self, first: int, count: int) -> bytes:
        """The events `first` up to `first + count`, as WebSocket frames ready to be written."""
        chunks = []
        while count > 0:
            # A frame's header holds its length, which changes with the number of digits of `seq` alone.
            digits = len(str(first))
            upto = min(first + count, 10**digits)
            if digits != self._digits:
                self._prepare(digits)
            chunks.append(self._same_length(first, upto))
            count -= upto - first
            first = upto
        return b"".join(chunks)

    def _moments(self, said: Utterance, recorded_ms: float) -> tuple[int, int]:
        """Start and end in milliseconds within one pass; times from elsewhere are as good as none."""
        start = min(max(0.0, (said.start or recorded_ms) - recorded_ms), self._pass_ms)
        length = min(max(0.0, (said.end or 0) - (said.start or 0)), self._pass_ms)
        return int(start), int(start + length)

    def _same_length(self, first: int, upto: int) -> bytes:
        frames, now_ms, pass_ms, clock = self._frames, self._now_ms, self._pass_ms, time.time
        kinds = len(frames)
        numbered = zip(
            itertools.islice(itertools.cycle(frames), first % kinds, None), range(first, upto), strict=False
        )
        # Two loops, since this is what limits a flood: a test of `marked` for each event would be felt.
        if self._marked:
            moved = [
                frame % ((moment := now_ms + seq // kinds * pass_ms) + start, moment + end, seq, clock())
                for (frame, start, end), seq in numbered
            ]
        else:
            moved = [
                frame % ((moment := now_ms + seq // kinds * pass_ms) + start, moment + end, seq)
                for (frame, start, end), seq in numbered
            ]
        return b"".join(moved)

    def _prepare(self, digits: int) -> None:
        self._digits = digits
        self._frames = []
        for head, tail, start, end in self._spoken:
            mark = b',"sent_unix_ts":%.6f' if self._marked else b""
            body = head + b'"start":%d,"end":%d' + tail + b',"seq":%d' + mark + b"}"
            values = (self._now_ms, self._now_ms, 10 ** (digits - 1), 1e9)
            size = len(body % (values if self._marked else values[:3]))
            header = frame_header(TEXT, size).replace(b"%", b"%%")
            self._frames.append((header + body, start, end))


def _templates(recording: Recording) -> list[tuple[bytes, bytes, Utterance]]:
    """What stands before and after the times of each event of the documented shape, `%` doubled."""
    found = []
    for line in recording.lines:
        event = line.event
        said = None if event is None else utterance(event)
        if event is None or said is None or len(line.payload) > _LONGEST_FLOOD_EVENT:
            continue
        found.append(_template(event, said))
    if not found:
        said = Utterance(
            "transcript", "This is a test, and nobody said it.", is_final=True, start=None, end=None
        )
        found.append(_template({"rtstream_id": "rts-1", "rtstream_name": "mic:default"}, said))
    return found


def _template(event: dict[str, Any], said: Utterance) -> tuple[bytes, bytes, Utterance]:
    data: dict[str, Any] = {"text": said.text}
    if said.channel == "transcript":
        data["is_final"] = said.is_final
    whole = {
        "channel": said.channel,
        "rtstream_id": event.get("rtstream_id"),
        "rtstream_name": event.get("rtstream_name"),
        "data": data,
    }
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return (text[:-2] + ",").replace("%", "%%").encode("utf-8", "replace"), b"}", said
