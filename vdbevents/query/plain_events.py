"""Fold lines of a journal into events without DuckDB, if they are as services and listeners write them. Pure.

It gives what `query.columns` gives, or `NotPlainError` where only the SQL there knows what a line means: for
other types of values, a member that stands twice, or what is not quite JSON.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from math import floor, isfinite
from typing import Any, Final

import orjson

from vdbevents.events import fields, window_names
from vdbevents.query.filters import Event


class NotPlainError(Exception):
    """A line that has to be folded by SQL."""


_LIKE_A_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ][0-9:.,+Zz-]*", re.ASCII)
_LEAST_USUAL_MS: Final = 10**12
_MOST_USUAL_MS: Final = 10**13
_LEAST_MS_NUMBER: Final = fields.NUMBERS[0][0]
_ODD_BYTES: Final = re.compile(rb'\\u0000|"[ \t]+:')
_FETCHED: Final = (b'"backfilled":true}', b'"backfilled": true}')
_OWN_HEAD: Final = re.compile(r'^\s*\{\s*"ts"\s*:\s*"[^"]*"\s*,\s*"unix_ts"\s*:\s*[^,{}]*,?\s*', re.ASCII)


class PlainEvent:
    """An event whose columns are found out as they are asked for: most are not.

    Attributes:
        line: the journal's line, without its end.
        time_ms: when it was received, in Unix ms; None if that is not known.
        channel: its kind; None if it has none.
        start_ms, end_ms: its own times, in Unix ms.
        is_final: of a transcript, whether it is finished.
    """

    def __init__(self, line: bytes) -> None:
        """Read the line, which begins and ends with a brace.

        Raises:
            NotPlainError: it is not plain JSON, or its kind or times are not of the usual types.
        """
        self._event = _parsed(line)
        self.line = line.decode()
        self.time_ms = _received_ms(self._event)
        self.start_ms = _moment_ms(fields.START.value_in(self._event))
        self.end_ms = _moment_ms(fields.END.value_in(self._event))
        is_final = fields.FINAL.value_in(self._event)
        if not (is_final is None or isinstance(is_final, bool)):
            raise NotPlainError
        self.is_final = is_final
        kind = _name(self._event.get(fields.KIND_KEYS[0])) or next(filter(None, self._names()), None)
        is_lifecycle = kind is not None and kind.startswith(fields.LIFECYCLE_PREFIX)
        self._kind = "capture_session" if is_lifecycle else kind
        if self._kind is None:
            is_alert = self._event.get("event_id") is not None and self._given_label is not None
            self.channel = "alert" if is_alert else None
        else:
            self.channel = fields.CHANNEL_ALIASES.get(self._kind, self._kind)

    @property
    def is_transcript(self) -> bool:
        """Whether it is a transcript, finished or not."""
        return self.channel == "transcript" and self.is_final is not None

    @property
    def owner(self) -> str | None:
        """The id of its stream, or the name of one without an id."""
        return self.stream_name if self.stream is None else self.stream

    @cached_property
    def event(self) -> str | None:
        """The column `event`."""
        _, *others = self._names()
        return next((name for name in reversed(others) if name and name != self._kind), None)

    @cached_property
    def stream(self) -> str | None:
        """The column `stream`."""
        return self._text_under(fields.STREAM)

    @cached_property
    def stream_name(self) -> str | None:
        """The column `stream_name`."""
        return self._text_under(fields.STREAM_NAME)

    @property
    def source(self) -> str | None:
        """The column `source`."""
        return fields.source_named(self.stream_name or "") or fields.source_named(self.stream or "")

    @property
    def session(self) -> str | None:
        """The column `session`."""
        return self._text_under(fields.SESSION)

    @property
    def speaker(self) -> str | None:
        """The column `speaker`."""
        return self._text_under(fields.SPEAKER)

    @cached_property
    def label(self) -> str | None:
        """The column `label`."""
        return self.event if self._given_label is None else self._given_label

    @property
    def confidence(self) -> float | None:
        """The column `confidence`."""
        value = fields.CONFIDENCE.value_in(self._event)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NotPlainError
        return float(value) if isfinite(value) else None

    @cached_property
    def text(self) -> str | None:
        """The column `text`."""
        texts = [text for member in _TEXTS if (text := self._text_under(member)) is not None]
        if texts:
            return next((text for text in texts if text.strip()), texts[0])
        match self.channel:
            case "capture_session":
                return self._lifecycle_text
            case fields.OWN_CHANNEL | fields.RUNTIME_CHANNEL:
                raise NotPlainError
        data = self._event.get("data")
        return data if isinstance(data, str) and data not in ("", "{}") else None

    @cached_property
    def window_name(self) -> str | None:
        """The column `window_name`."""
        return window_names.window_of(self._event)

    @property
    def unsaid_line(self) -> str | None:
        """The line, if the event has neither a text nor a label to show."""
        return self.line if self.text is None and not self.label else None

    @property
    def shown_line(self) -> str | None:
        """That line without the recorder's own two members, as it is shown."""
        return None if self.unsaid_line is None else _OWN_HEAD.sub("{", self.unsaid_line, count=1)

    def columns(self, wanted: Collection[str]) -> Event:
        """Return the event with the columns that are wanted, and None for others."""
        values = {name: getattr(self, _ATTRIBUTES.get(name, name)) for name in wanted if name != "host"}
        return _NOTHING._replace(**values)

    def require(self, names: Iterable[str]) -> None:
        """Check that some columns can be told.

        Raises:
            NotPlainError: only SQL knows one of them.
        """
        for name in names:
            getattr(self, name)

    def _names(self) -> list[str | None]:
        return [_name(self._event.get(key)) for key in fields.KIND_KEYS]

    @property
    def _given_label(self) -> str | None:
        return self._text_under(fields.LABEL)

    @property
    def _lifecycle_text(self) -> str | None:
        status = self._text_under(_STATUS)
        state = status or (self.event or "").partition(".")[2].partition(".")[0] or None
        detail = None
        if state == "failed":
            reasons = (fields.value_at(self._event, path) for path in fields.ERROR_PATHS)
            detail = next((reason for reason in reasons if reason is not None), None)
            if not isinstance(detail, str):  # it may be any value of `data`
                raise NotPlainError
        if state == "exported":
            video = (self._text_under(member) for member in fields.VIDEO)
            detail = ", ".join(part for part in video if part is not None) or None
        return state if detail is None else f"{state}: {detail}"

    def _text_under(self, member: fields.Member) -> str | None:
        value = member.value_in(self._event)
        if not (value is None or isinstance(value, str)):
            raise NotPlainError
        return value


class ParsedLines:
    """What was read of the ends of journals: a second search finds its answer in the same lines.

    A line always means the same, so it does not matter what became of the journal meanwhile.

    Attributes:
        ends: the lines of a file from a place on, and its size, by its number and the place in bytes.
    """

    def __init__(self) -> None:
        """Know no line yet."""
        self.ends: dict[tuple[int, int], tuple[list[bytes], int]] = {}
        self._events: dict[bytes, PlainEvent] = {}

    def event(self, line: bytes) -> PlainEvent:
        """Return the event of a line, as `PlainEvent` reads it.

        Raises:
            NotPlainError: as there.
        """
        event = self._events.get(line)
        if event is None:
            event = self._events[line] = PlainEvent(line)
        return event


_TEXTS: Final = tuple(fields.Member(path) for path in fields.TEXT.paths)
_STATUS: Final = fields.Member("status", "data.status")
_NOTHING: Final = Event(*(None for _ in Event._fields))
_ATTRIBUTES: Final = {"line": "unsaid_line"}


def was_backfilled(line: bytes) -> bool:
    """Return whether a line was backfilled, as `columns.FETCHED` tells."""
    return line.endswith(_FETCHED)


def _parsed(line: bytes) -> dict[str, Any]:
    # Without an escape, each `":` stands behind a name, and then their number is enough.
    if b"\\" in line and _ODD_BYTES.search(line):
        raise NotPlainError
    try:
        event: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise NotPlainError from None
    if not isinstance(event, dict):
        raise NotPlainError
    try:
        # Texts may have such signs, too.
        if _count_of_names(event) != line.count(b'":'):
            if _ODD_BYTES.search(line):
                raise NotPlainError
            event = json.loads(line, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        raise NotPlainError from None
    return event


def _count_of_names(value: dict[str, Any] | list[Any]) -> int:
    count = 0
    if isinstance(value, dict):
        count = len(value)
        value = list(value.values())
    for inner in value:
        if type(inner) in _HOLDERS:
            count += _count_of_names(inner)
    return count


_HOLDERS: Final = frozenset({dict, list})


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotPlainError
    return members


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _received_ms(event: Mapping[str, Any]) -> int | None:
    for member in fields.RECEIPT:
        moment = _moment_ms(member.value_in(event))
        if moment is not None:
            return moment
    return None


def _moment_ms(value: object) -> int | None:
    if value is None:
        return None
    # These two as `fields.unix_ms` has them, which takes any number.
    if type(value) is int and _LEAST_USUAL_MS <= value < _MOST_USUAL_MS:
        return value
    if type(value) is float and 0 <= value < _LEAST_MS_NUMBER:
        return floor(value * 1000 + 0.5)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NotPlainError
    if isinstance(value, str) and not _LIKE_A_TIME.fullmatch(value):
        raise NotPlainError
    return fields.unix_ms(value)
