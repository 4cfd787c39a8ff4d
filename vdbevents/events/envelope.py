"""Turn messages into lines of the journal, and lines back into events. Pure.

Times are in milliseconds since the epoch. docs/events-format.md is normative.
"""

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as escape_as_ascii
from typing import Any, Final

import orjson

from vdbevents.events import fields
from vdbevents.events.fields import utc_seconds
from vdbevents.events.identity import Identity, identity_of
from vdbevents.events.lifecycle import Lifecycle, lifecycle_of

CAPTURE_CHANNEL = "capture_client"
"""The channel of messages from the capture runtime on this machine, which the service never sees."""

utc_text: Final = fields.utc_text
"""Formats a time of the recorder."""

_STAMPS = frozenset({"ts", "unix_ts"})
_RESERVED = _STAMPS | {"via", "backfilled"}
_OWN_VALUE = b':"%b"' % fields.OWN_CHANNEL.encode("ascii")
BY_WEBHOOK = b',"via":"webhook"}\n'

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s"]++')
_KEY_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+":?|[{}\[\]]')
# Runs of escapes of characters that JSON allows unescaped; two escapes that have a shorter form; and any
# other escape, of which only `\u` is matched, so that its digits stay as they are.
_ESCAPES = re.compile(
    rb"(?:\\u(?:(?!00[01]|0022|005[cC]|007[fF]|00[89]|202[89]|[dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))++|\\u0022|\\u005[cC]|\\.",
    re.DOTALL,
)
_SHORTER = {rb"\/": b"/", rb"\u0022": rb"\"", rb"\u005c": rb"\\", rb"\u005C": rb"\\"}
_HARMLESS_DEPTH = 500
_SHORTEST_DEEP = 2 * _HARMLESS_DEPTH
_WHITE = b" \t\r\n"
# `_ESCAPES` leaves these escaped, and two separators of lines.
_KEPT_ESCAPED = re.compile("[\x7f-\x9f]")


_CLASSIFIERS: Final[dict[str, Callable[[Mapping[str, Any]], object]]] = {
    "source": fields.source_of,
    "stream_id": fields.stream_id_of,
    "text": fields.text_of,
    "is_interim": fields.is_interim,
    "lifecycle": lifecycle_of,
    "identity": identity_of,
}


class Record:
    """A message on its way to the journal, and its classification, which is looked up once.

    Attributes:
        line: the whole line, UTF-8, newline included.
        event: the message's members; only `raw` or `raw_base64` if the message is not a JSON object.
        channel: the kind of event, as `fields.channel_of` returns it.
        source, stream_id, text, is_interim: as the functions of `fields` return them.
        lifecycle: the step of a capture session that the event reports, if any.
        identity: what a received and a fetched copy have in common, if the event may be fetched.
    """

    __slots__ = (
        "channel",
        "event",
        "identity",
        "is_interim",
        "lifecycle",
        "line",
        "source",
        "stream_id",
        "text",
    )
    source: str | None
    stream_id: str
    text: str
    is_interim: bool
    lifecycle: Lifecycle | None
    identity: Identity | None

    def __init__(self, line: bytes, event: Mapping[str, Any]) -> None:
        """Classify the event by its channel; the rest is looked up when it is first used."""
        self.line = line
        self.event = event
        self.channel = fields.channel_of(event)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.line == other.line

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        """Look up an attribute that has no value yet."""
        if name not in _CLASSIFIERS:
            raise AttributeError(name)
        value = _CLASSIFIERS[name](self.event)
        setattr(self, name, value)
        return value


@lru_cache(maxsize=4)
def _head(milliseconds: int) -> bytes:
    seconds, rest = divmod(milliseconds, 1000)
    text = f'{{"ts":"{utc_seconds(seconds)}.{rest:03d}Z","unix_ts":{seconds}.{rest:03d}'
    return text.encode("ascii")


def envelop(message: bytes, received_ms: int) -> Record:
    """Turn a received message into a line of the journal. Never fails.

    Numbers, texts, duplicate keys and the order of keys are preserved. A member that only the recorder may
    write (`ts`, `unix_ts`, `via`, `backfilled`, or a kind `vdbevents`) gets the prefix `server_`. A message
    that is not a JSON object is kept as text under `raw`, one that is not UTF-8 under `raw_base64`.

    Args:
        message: the frame's payload, of any size and content.
        received_ms: the time of receipt.
    """
    try:
        event = orjson.loads(message)
    except ValueError:
        event = _parse(message)
    if type(event) is not dict or (len(message) >= _SHORTEST_DEEP and _is_too_deep(message)):
        return _envelop_raw(message, received_ms)
    body = _proven_compact(message, event) or _compact(message)
    if _OWN_VALUE in body or not _RESERVED.isdisjoint(event):
        body = _rename(body, _RESERVED)
        event = _parse(body)
    if body == b"{}":
        return Record(_head(received_ms) + b"}\n", event)
    return Record(b"%b,%b\n" % (_head(received_ms), body[1:]), event)


def _is_too_deep(message: bytes) -> bool:
    # A line that Python's `json` refuses would break every script that reads the journal with it.
    if message.count(b"[") + message.count(b"{") < _HARMLESS_DEPTH:
        return False
    try:
        json.loads(message, parse_int=_parse_integer)
    except RecursionError:
        return True
    return False


def _proven_compact(message: bytes, event: Mapping[str, Any]) -> bytes | None:
    """Return what `_compact` returns, if writing the event again proves it; most messages pass.

    What orjson writes has the message's texts. If it equals the message but for white space, each number and
    each text was also written as orjson writes it, and no member was there twice.
    """
    try:
        body = orjson.dumps(event)
    except TypeError:  # half a surrogate pair, a deep nest, or an integer of more than 64 bits
        return None
    if body == message:
        return body
    tokens = message.translate(None, _WHITE)
    if b"\\u" in tokens and _is_escaped(body, tokens):
        return body
    return body if body.translate(None, _WHITE) == tokens else None


def _is_escaped(body: bytes, tokens: bytes) -> bool:
    """Return whether tokens are those of a body with escapes for all that is not ASCII, as many services do.

    False if one of these escapes has to stay.
    """
    text = body.decode("utf-8")
    if "\u2028" in text or "\u2029" in text:
        return False
    if text.encode("ascii", "backslashreplace").translate(None, _WHITE) == tokens:
        return True
    # That differs from JSON below U+0100 and above U+FFFF. Of what this escapes, quotes and backslashes are
    # a part of the JSON.
    escaped = escape_as_ascii(text)[1:-1].replace('\\"', '"').replace("\\\\", "\\").encode("ascii")
    return escaped.translate(None, _WHITE) == tokens and not _KEPT_ESCAPED.search(text)


def _compact(message: bytes) -> bytes:
    # In valid JSON without a backslash every quote begins or ends a string, and there is no NUL outside of
    # strings: splitting at both is several times as fast as finding tokens.
    if b"\\" in message:
        # Backslashes occur only in strings, so the whole text can be treated as one.
        return _ESCAPES.sub(_unescape_run, b"".join(_TOKEN.findall(message)))
    pieces = message.split(b'"')
    pieces[::2] = b"\0".join(pieces[::2]).translate(None, b" \t\r\n").split(b"\0")
    return b'"'.join(pieces)


def own_record(event: str, data: Any, at_ms: int, channel: str = fields.OWN_CHANNEL) -> Record:  # noqa: ANN401
    """Return a line of the recorder's own.

    Args:
        event: such as `listener.connected`; docs/events-format.md lists them.
        data: the facts, in JSON's types.
        at_ms: the time of the event.
        channel: `CAPTURE_CHANNEL` for messages from the capture runtime.
    """
    content = {"channel": channel, "event": event, "data": data}
    return Record(b"%b,%b\n" % (_head(at_ms), _json(content)[1:]), content)


def backfilled_record(message: Mapping[str, Any], written_ms: int) -> Record:
    """Return the line of an event that was missed and fetched later.

    Args:
        message: the event as it would have been received, in JSON's types.
        written_ms: the time of writing.
    """
    content = {name: value for name, value in message.items() if name != "backfilled"}
    content["backfilled"] = True  # the last member: readers find it there without parsing the line
    body = _json(content)
    if not _STAMPS.isdisjoint(content):
        body = _rename(body, _STAMPS)
        content = _parse(body)
    return Record(b"%b,%b\n" % (_head(written_ms), body[1:]), content)


def _json(content: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(content)
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
        finite = json.loads(json.dumps(content), parse_constant=lambda _: None)
        return _compact(json.dumps(finite).encode("ascii"))


def delivered_record(body: bytes, received_ms: int) -> Record:
    """Return the line of a webhook: that of `envelop`, with `via` as the last member."""
    received = envelop(body, received_ms)
    return Record(received.line[:-2] + BY_WEBHOOK, {**received.event, "via": "webhook"})


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the members of a journal's line; None if it is not a JSON object (torn, or foreign)."""
    event = _parse(line)
    return event if type(event) is dict else None


def _parse(message: bytes) -> Any:  # noqa: ANN401 - any JSON value, None if it is not JSON
    try:
        return orjson.loads(message)
    except ValueError:
        pass
    # orjson refuses 1e400 and escaped lone surrogates, which JSON allows.
    try:
        return json.loads(message.decode("utf-8"), parse_constant=_refuse, parse_int=_parse_integer)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parse_integer(digits: str) -> int | float:
    # Python refuses to convert more than 4,300 digits; only the size of such a number matters here.
    return int(digits) if len(digits) < 4000 else float(digits)  # noqa: PLR2004 - see above


def _envelop_raw(message: bytes, received_ms: int) -> Record:
    content: dict[str, str]
    try:
        content = {"raw": message.decode("utf-8")}
    except UnicodeDecodeError:
        import base64

        content = {"raw_base64": base64.b64encode(message).decode("ascii")}
    return Record(b"%b,%b\n" % (_head(received_ms), orjson.dumps(content)[1:]), content)


def _unescape_run(match: re.Match[bytes]) -> bytes:
    run = match[0]
    if run in _SHORTER:
        return _SHORTER[run]
    if len(run) == len(rb"\n"):
        return run
    return bytes.fromhex(run.replace(rb"\u", b"").decode("ascii")).decode("utf-16-be").encode("utf-8")


def _rename(body: bytes, names: Container[str]) -> bytes:
    """Put `server_` before the keys in `names`, and before those of kinds that only the recorder has."""
    members = list(_member_keys(body))
    taken = {_decode_key(body[start:end]) for start, end in members}
    pieces: list[bytes] = []
    done = 0
    for start, end in members:
        key = _decode_key(body[start:end])
        if key not in names and not (key in fields.KIND_KEYS and body.startswith(_OWN_VALUE, end)):
            continue
        renamed = f"server_{key}"
        while renamed in taken:
            renamed = f"server_{renamed}"
        pieces += [body[done:start], b'"%b"' % renamed.encode("ascii")]
        done = end
    return b"".join([*pieces, body[done:]])


def _member_keys(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each key of the outermost object of compact JSON, quotes included."""
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
