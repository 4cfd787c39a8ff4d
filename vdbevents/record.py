"""The envelope of an event: from a message as it came to a line of the journal, and what a line says.

Pure: time goes in as milliseconds since the epoch. `docs/events-format.md` is the normative text.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

OWN_CHANNEL = "vdbevents"
"""The channel of the lines that tell what happened to the recorder itself."""

CAPTURE_CHANNEL = "capture_client"
"""The channel of what the capture runtime on this machine tells, which never passes through the cloud."""

SHARED_CHANNELS = frozenset({"capture_session", "alert"})
"""The channels of what VideoDB may tell twice: over the WebSocket, and by a webhook."""

_STAMPS = ("ts", "unix_ts")
_BY_WEBHOOK = b',"via":"webhook"}\n'

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

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s"]++')
_KEY_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+":?|[{}\[\]]')
# Runs of escapes that stand for characters which JSON takes as they are; the two that have a shorter escape;
# and any other escape, of which `\u` alone is taken, so that its digits stay as they are.
_ESCAPES = re.compile(
    rb"(?:\\u(?:(?!00[01]|0022|005[cC]|007[fF]|00[89]|202[89]|[dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))++|\\u0022|\\u005[cC]|\\.",
    re.DOTALL,
)
_SHORTER = {rb"\/": b"/", rb"\u0022": rb"\"", rb"\u005c": rb"\\", rb"\u005C": rb"\\"}

# The first of these that is there, and not null, is the member's value: docs/events-format.md, the columns.
_START = (
    *("data.start", "data.startMs", "data.start_ms", "data.start_time", "data.timestamp"),
    *("start", "startMs", "start_ms", "start_time", "timestamp"),
)
_END = (
    *("data.end", "data.endMs", "data.end_ms", "data.end_time"),
    *("end", "endMs", "end_ms", "end_time"),
)
_MOMENT = ("data.timestamp", "timestamp")
_SPAN = tuple(name for name in _START if name not in _MOMENT)
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
_HALF_PAIR = re.compile("[\ud800-\udfff]")

_RECORDED_CHANNELS = frozenset({"transcript", "visual_index", "audio_index"})

_LIFECYCLE = "capture_session."
_LIFECYCLE_KIND = b"capture_session"
_ALERT_KINDS = (b'"alert"', b'"event_id"')
_LONGEST_NAME = 100
_LONGEST_ID = 256
_DEEPEST_REASON = 10
_HARMLESS_DEPTH = 500


class Record(NamedTuple):
    """A message on its way to the journal.

    Attributes:
        line: the whole line, UTF-8, newline included.
        event: the message's members; for a message that is no JSON object, `raw` or `raw_base64` alone.
    """

    line: bytes
    event: Mapping[str, Any]


class Stream(NamedTuple):
    """A live stream of a capture session, as an event or an answer of the service tells of it.

    Attributes:
        id: such as `rts-…`.
        name: the channel that it carries, such as `mic:default`.
        source: `mic`, `system_audio`, `screen`, `camera`, or None where neither name nor id tells.
        media: `audio` or `video`.
    """

    id: str
    name: str
    source: str | None
    media: str


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


class Lifecycle(NamedTuple):
    """A step in the life of a capture session.

    Attributes:
        session_id: whose; empty where the event does not say.
        status: `created`, `starting`, `active`, `stopping`, `stopped`, `exported`, `failed`.
        streams: of an `active` one.
        data: the event's own `data`, or the event.
        error: of a `failed` one, the server's reason.
    """

    session_id: str
    status: str
    streams: tuple[Stream, ...]
    data: Mapping[str, Any]
    error: str


def utc_text(milliseconds: int) -> str:
    """A moment as RFC 3339 in UTC with milliseconds: `2026-03-02T10:15:30.123Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_utc_seconds(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=4)
def _utc_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=4)
def _head(milliseconds: int) -> bytes:
    seconds, rest = divmod(milliseconds, 1000)
    text = f'{{"ts":"{_utc_seconds(seconds)}.{rest:03d}Z","unix_ts":{seconds}.{rest:03d}'
    return text.encode("ascii")


def envelop(message: bytes, received_ms: int) -> Record:
    """Makes the journal's line of one message.

    Numbers, text, duplicate keys and the order of keys stay as they came; what is no JSON object is kept
    as text under `raw`, and bytes that are no UTF-8 under `raw_base64`. Never fails.

    Args:
        message: the frame's payload, of any size and content.
        received_ms: the time of receipt, milliseconds since the epoch.
    """
    event = _parse(message)
    if type(event) is not dict or _is_too_deep(message):
        return _envelop_raw(message, received_ms)
    body = message if _is_compact(message, event) else _compact(message)
    if "ts" in event or "unix_ts" in event:
        body = _rename(body, _STAMPS)
    if body == b"{}":
        return Record(_head(received_ms) + b"}\n", event)
    return Record(b"%b,%b\n" % (_head(received_ms), body[1:]), event)


def _is_too_deep(message: bytes) -> bool:
    # A line that Python's own reader refuses would end every script that reads the journal with it.
    if message.count(b"[") + message.count(b"{") < _HARMLESS_DEPTH:
        return False
    try:
        json.loads(message, parse_int=_parse_integer)
    except RecursionError:
        return True
    return False


def _is_compact(message: bytes, event: Mapping[str, Any]) -> bool:
    # Most of what comes is, and writing it again proves it for less than making it so. What orjson cannot
    # write (a lone surrogate, a deep nest, a large integer) is no proof.
    try:
        return b'": ' not in message and orjson.dumps(event) == message
    except TypeError:
        return False


def _compact(message: bytes) -> bytes:
    # Valid JSON comes in here, so that without a backslash every quote begins or ends a string, and
    # outside of strings there is no NUL: splitting at both is several times as fast as finding tokens.
    if b"\\" in message:
        # Backslashes occur within strings only, so the whole text can be treated as one.
        return _ESCAPES.sub(_unescape_run, b"".join(_TOKEN.findall(message)))
    pieces = message.split(b'"')
    pieces[::2] = b"\0".join(pieces[::2]).translate(None, b" \t\r\n").split(b"\0")
    return b'"'.join(pieces)


def own_record(event: str, data: Any, at_ms: int, channel: str = OWN_CHANNEL) -> Record:  # noqa: ANN401
    """Makes a line about the recorder itself: `channel` is `vdbevents`, `event` tells what happened.

    Args:
        event: such as `listener.connected`; `docs/events-format.md` lists them.
        data: what is to be said of it, in JSON's types.
        at_ms: when, milliseconds since the epoch.
        channel: `CAPTURE_CHANNEL` for what the capture runtime tells.
    """
    content = {"channel": channel, "event": event, "data": data}
    return Record(b"%b,%b\n" % (_head(at_ms), orjson.dumps(content)[1:]), content)


def backfilled_record(message: Mapping[str, Any], written_ms: int) -> Record:
    """Makes the line of an event that was not received as it came, and was fetched later.

    Args:
        message: the event as it would have come, in JSON's types.
        written_ms: when it is written, milliseconds since the epoch.
    """
    content = {name: value for name, value in message.items() if name != "backfilled"}
    content["backfilled"] = True  # the last member: readers find it there without parsing the line
    try:
        body = orjson.dumps(content)
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
        numbers = json.loads(json.dumps(content), parse_constant=lambda _: None)
        body = json.dumps(numbers).encode("ascii")
        return envelop(body, written_ms)
    if "ts" in content or "unix_ts" in content:
        return envelop(body, written_ms)
    return Record(b"%b,%b\n" % (_head(written_ms), body[1:]), content)


def delivered_record(body: bytes, received_ms: int) -> Record:
    """Makes the line of a webhook: what `envelop` makes of its body, with `via` as the last member."""
    made = envelop(body, received_ms)
    line = made.line[:-1]
    if "via" in made.event:
        line = _rename(line, ("via",))
    return Record(line[:-1] + _BY_WEBHOOK, {**made.event, "via": "webhook"})


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The members of a journal's line, or None where it is no JSON object (torn, or foreign)."""
    event = _parse(line)
    return event if type(event) is dict else None


def _parse(message: bytes) -> Any:  # noqa: ANN401 - any JSON value, None for what is none
    try:
        return orjson.loads(message)
    except ValueError:
        pass
    # orjson refuses what JSON allows and a line can keep: 1e400, and lone surrogates as escapes.
    try:
        return json.loads(message.decode("utf-8"), parse_constant=_refuse, parse_int=_parse_integer)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _parse_integer(digits: str) -> int | float:
    # Python refuses to convert more than 4,300 digits; who looks at such a number here wants its size only.
    return int(digits) if len(digits) < 4000 else float(digits)  # noqa: PLR2004 - see above


def _envelop_raw(message: bytes, received_ms: int) -> Record:
    content: dict[str, str]
    try:
        content = {"raw": message.decode("utf-8")}
    except UnicodeDecodeError:
        content = {"raw_base64": base64.b64encode(message).decode("ascii")}
    return Record(b"%b,%b\n" % (_head(received_ms), orjson.dumps(content)[1:]), content)


def _unescape_run(match: re.Match[bytes]) -> bytes:
    run = match[0]
    if run in _SHORTER:
        return _SHORTER[run]
    if len(run) == len(rb"\n"):
        return run
    return bytes.fromhex(run.replace(rb"\u", b"").decode("ascii")).decode("utf-16-be").encode("utf-8")


def _rename(body: bytes, names: tuple[str, ...]) -> bytes:
    members = list(_member_keys(body))
    taken = {_decode_key(body[start:end]) for start, end in members}
    pieces: list[bytes] = []
    done = 0
    for start, end in members:
        key = _decode_key(body[start:end])
        if key not in names:
            continue
        renamed = f"server_{key}"
        while renamed in taken:
            renamed = f"server_{renamed}"
        pieces += [body[done:start], b'"%b"' % renamed.encode("ascii")]
        done = end
    return b"".join([*pieces, body[done:]])


def _member_keys(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the keys of the outermost object of compact JSON stand: (start, end), quotes included."""
    depth = 0
    for token in _KEY_OR_BRACKET.finditer(body):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text.endswith(b":"):
            yield token.start(), token.end() - 1


def _decode_key(token: bytes) -> str:
    if b"\\" not in token:
        return token[1:-1].decode()
    key = json.loads(token)
    return key if isinstance(key, str) else ""


def channel_of(event: Mapping[str, Any]) -> str:
    """What kind of event it is, under one name: `channel`, else `type`, `event_type`, `event`.

    `scene_index` is `visual_index`, `spoken_index` is `audio_index`, and every `capture_session.…` is
    `capture_session`. What has no kind is `unknown`.
    """
    for key in ("channel", "type", "event_type", "event"):
        kind = event.get(key)
        if isinstance(kind, str) and kind:
            if kind.startswith(_LIFECYCLE):
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
    return _first_text(event, *keys) or (_first_text(data, *keys) if isinstance(data, Mapping) else "")


def source_named(name: str) -> str | None:
    """The same from the name of a stream or the id of a channel: `mic:default`, `Capture mic - cap-83e6`."""
    words = name.lower().replace(":", " ").replace("system audio", "system_audio").split()
    return next((source for prefix, source in _SOURCES.items() if prefix in words), None)


def streams_of(holder: Mapping[str, Any]) -> tuple[Stream, ...]:
    """The streams that an event's `data`, or a session in an answer, lists under any of the known names.

    What has no id is no stream; of an id that comes twice the first one counts.
    """
    found: dict[str, Stream] = {}
    for key in ("rtstreams", "streams", "rt_streams", "channels"):
        items = holder.get(key)
        for item in items if isinstance(items, list) else ():
            stream = _stream_from(item) if isinstance(item, Mapping) else None
            if stream is not None:
                found.setdefault(stream.id, stream)
        if found:
            break
    return tuple(found.values())


def _stream_from(item: Mapping[str, Any]) -> Stream | None:
    stream_id = _first_text(item, "rtstream_id", "rtstreamId", "id", "stream_id")
    if not stream_id:
        return None
    names = [_first_text(item, key) for key in ("name", "rtstream_name", "channel_id", "channel_name")]
    source = next((source for name in names if name and (source := source_named(name))), None)
    kinds = item.get("media_types")
    told = kinds if isinstance(kinds, list) else [item.get("type"), item.get("media_type")]
    media = "video" if source in ("screen", "camera") or (source is None and "video" in told) else "audio"
    return Stream(stream_id, next((name for name in names if name), stream_id), source, media)


def lifecycle_of(event: Mapping[str, Any]) -> Lifecycle | None:
    """What an event says of a capture session's life, in any of the known shapes; None for other events."""
    name = next((kind for key in ("event", "type", "event_type", "channel")
                 if (kind := _first_text(event, key)).startswith(_LIFECYCLE)), "")  # fmt: skip
    data = event.get("data")
    data = data if isinstance(data, Mapping) else event
    status = name.removeprefix(_LIFECYCLE)
    if not name and event.get("channel") == _LIFECYCLE.rstrip("."):
        status = _first_text(event, "status") or _first_text(data, "status")
    if not status:
        return None
    keys = ("capture_session_id", "session_id")
    session_id = _first_text(event, *keys) or _first_text(data, *keys)
    error = error_in(event.get("data") or event) if status == "failed" else ""
    return Lifecycle(session_id, status, streams_of(data), data, error)


def error_in(told: object) -> str:
    """The reason in what a service or a runtime says of a failure: a text, or an object around one."""
    for _ in range(_DEEPEST_REASON):
        if not isinstance(told, Mapping):
            break
        told = next((told[key] for key in ("error", "message", "reason", "detail") if told.get(key)), None)
    if isinstance(told, Mapping | list):
        return "it is not said in words"
    return str(told).strip() if told else ""


def _first_text(holder: Mapping[str, Any], *keys: str) -> str:
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
    return unix_ms(_member(event, _START)), unix_ms(_member(event, _END))


def _member(event: Mapping[str, Any], names: tuple[str, ...]) -> object:
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
        return Identity(channel, stream, start_ms, end_ms, _digest(text_of(event)))
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
    return Once(needle, lambda line: line.endswith(_BY_WEBHOOK) and _is_same(event, line))


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
        if is_alert and line.endswith(_BY_WEBHOOK):
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
    channel = channel_of(event)
    # Flat, as a webhook has it, it does not say what it is.
    if channel != "alert" and not (channel == "unknown" and event.get("event_id")):
        return None
    label = _member(event, ("data.event_label", "data.label", "label"))
    moment = unix_ms(_member(event, _MOMENT))
    span = unix_ms(_member(event, _SPAN)), unix_ms(_member(event, _END))
    if not isinstance(label, str) or not label or (moment is None and span[0] is None):
        return None
    return _Alert(label, moment, span, stream_id_of(event), _member(event, ("data.confidence", "confidence")))


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
