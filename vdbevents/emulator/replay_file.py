"""Read a journal as a recording: its messages with their times, to the byte.

Messages are cut out of the journal's lines as text and never go through a parser and back, so that `1e400`,
integers beyond 64 bits, the order of keys and escapes are sent exactly as they were recorded.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents.emulator.utterances import Utterance, finite_number, parse_utterance, stream_kind, stream_name
from vdbevents.emulator.websocket_protocol import BINARY, TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL_SESSION: Final = Path(__file__).parent / "data" / "real-session.jsonl"

# The envelope as a journal has it: its two members come first.
_ENVELOPE: Final = re.compile(r'\{"ts":"[^"\\]*","unix_ts":(-?[0-9.eE+-]+)(?:,|(?=\}))')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_RECORDER: Final = "vdbevents"
_LONGEST_INTEGER: Final = 4000

_Member = tuple[str, Any, str, str]
"""(key, value, key as written, value as written)."""


def _integer(text: str) -> int | float:
    # Python refuses to read an integer of more than 4,300 digits; only its text is ever sent.
    return int(text) if len(text) < _LONGEST_INTEGER else math.inf


_decoder: Final = json.JSONDecoder(parse_int=_integer)


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """A recorded message: `offset` in seconds from the first one, the frame's `payload` and `opcode`."""

    offset: float
    opcode: int
    payload: bytes

    @property
    def event(self) -> dict[str, Any] | None:
        """Parse the message; None when it is not a JSON object."""
        if self.opcode != TEXT:
            return None
        try:
            value, _ = _decoder.raw_decode(self.payload.decode())
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class ReplayRecording:
    """The messages of a journal, in order."""

    lines: tuple[ReplayLine, ...]
    skipped: int
    """Number of lines that are unreadable, or the recorder's own."""
    started: float
    """Time of the first line, in Unix seconds."""

    @property
    def duration(self) -> float:
        """Return the seconds from the first message to the last."""
        return self.lines[-1].offset

    @property
    def round_seconds(self) -> float:
        """Return the seconds of one round in a loop."""
        return self.duration + 1

    def utterances(self) -> Iterator[tuple[ReplayLine, dict[str, Any], Utterance]]:
        """Yield each transcript or index event: (line, event, utterance)."""
        for line in self.lines:
            event = line.event
            utterance = None if event is None else parse_utterance(event)
            if event is not None and utterance is not None:
                yield line, event, utterance

    def utterances_on(self, channel: str, kind: str) -> Iterator[tuple[float, Utterance]]:
        """Yield a channel's utterances on one kind of stream: (offset in seconds, utterance).

        The kind `other` gets those of the first kind that is found: the address of a stream connected by
        hand does not tell what is behind it.
        """
        wanted = kind
        for line, event, utterance in self.utterances():
            if utterance.channel != channel:
                continue
            line_kind = stream_kind(stream_name(event))
            wanted = line_kind if wanted == "other" else wanted
            if line_kind == wanted:
                yield line.offset, utterance


def load_recording(path: Path | None) -> ReplayRecording:
    """Read a journal, or the bundled real session for None; raise ValueError when it cannot be replayed."""
    if path is None:
        return _real_session()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
    recording = parse_recording(content)
    if recording is None:
        raise ValueError(f"{path}: no message to replay")
    return recording


@cache
def _real_session() -> ReplayRecording:
    # A program that starts many emulators reads it once.
    return load_recording(REAL_SESSION)


def parse_recording(content: bytes) -> ReplayRecording | None:
    """Parse the bytes of a journal; return None when no message is in it."""
    lines: list[ReplayLine] = []
    offset, previous, started, skipped = 0.0, None, None, 0
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
            offset += max(0.0, unix_ts - (unix_ts if previous is None else previous))
            previous = unix_ts
            started = unix_ts if started is None else started
        lines.append(ReplayLine(offset, opcode, payload))
    return ReplayRecording(tuple(lines), skipped, started or 0.0) if lines else None


def _message(line: str) -> tuple[float | None, int, bytes]:
    """Return (Unix time, opcode, payload) of a journal's line; raise ValueError when it has no message."""
    if not line.startswith("{"):
        raise ValueError("not an object")
    members = list(_members(line))
    values = {key: value for key, value, _, _ in members}
    if values.get("channel") == _RECORDER:
        raise ValueError("the recorder's own line")
    unix_ts = finite_number(values.get("unix_ts"))
    own = [member for member in members if member[0] not in {"ts", "unix_ts"}]
    if len(own) == 1:
        key, value, _, text = own[0]
        if key == "raw":
            return unix_ts, TEXT, (value if isinstance(value, str) else text).encode("utf-8")
        if key == "raw_base64" and isinstance(value, str):
            return unix_ts, BINARY, _decode_base64(value)
    return unix_ts, TEXT, _payload(line, own).encode("utf-8")


def _payload(line: str, own: list[_Member]) -> str:
    envelope = _ENVELOPE.match(line)
    if envelope is not None and not any(key in {"server_ts", "server_unix_ts"} for key, *_ in own):
        return "{" + line[envelope.end() :]
    names = {"server_ts": '"ts"', "server_unix_ts": '"unix_ts"'}
    return "{" + ",".join(f"{names.get(key, written)}:{text}" for key, _, written, text in own) + "}"


def _members(line: str) -> Iterator[_Member]:
    """Yield the members of a JSON object with their own text."""
    at = _skip_space(line, 1)
    while line[at : at + 1] != "}":
        key, key_end = _decoder.raw_decode(line, at)
        colon = _skip_space(line, key_end)
        if not isinstance(key, str) or line[colon : colon + 1] != ":":
            raise ValueError("not an object")
        begin = _skip_space(line, colon + 1)
        value, end = _decoder.raw_decode(line, begin)
        yield key, value, line[at:key_end], line[begin:end]
        at = _skip_space(line, end)
        if line[at : at + 1] == ",":
            at = _skip_space(line, at + 1)
        elif line[at : at + 1] != "}":
            raise ValueError("a torn line")
    if _skip_space(line, at + 1) != len(line):
        raise ValueError("text after the object")


def _skip_space(line: str, at: int) -> int:
    match = _SPACE.match(line, at)
    return at if match is None else match.end()


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
