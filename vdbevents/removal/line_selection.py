"""What the selections of lines have in common: a line and its time, and a count of what they chose. Pure."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from vdbevents.events import envelope, fields
from vdbevents.events.lifecycle import lifecycle_of

# As the recorder writes it: the time of most lines is known without parsing them.
_HEAD: Final = re.compile(rb'\{"ts":"[^"\\]{24}","unix_ts":(\d{1,11})\.(\d{3})[,}]')
_OWN: Final = b'"channel":"%b"' % fields.OWN_CHANNEL.encode()


class JournalLine:
    """One line of a journal, which is parsed when a member is needed.

    Attributes:
        content: with its newline.
        at_ms: when it was received, in Unix ms; without a time that of the last line before it with one.
    """

    __slots__ = ("_event", "_is_parsed", "at_ms", "content")

    def __init__(self, content: bytes, before_ms: int | None) -> None:
        """Take a line; `before_ms` is the time of the one before it."""
        self.content = content
        self._event: dict[str, Any] | None = None
        self._is_parsed = False
        own_ms = self._received_ms()
        self.at_ms = before_ms if own_ms is None else own_ms

    @property
    def event(self) -> dict[str, Any] | None:
        """Its members; None if it is not a JSON object."""
        if not self._is_parsed:
            self._event, self._is_parsed = envelope.parse_line(self._bare), True
        return self._event

    @property
    def is_own(self) -> bool:
        """Whether it is one of the recorder's own lines."""
        return _OWN in self.content and self.event is not None and fields.is_own(self.event)

    @property
    def is_about_the_recording(self) -> bool:
        """Whether it is one of the recorder's own lines, or a step of a capture session.

        They tell the programs what to rebind and to fetch, and hold nothing that was said or shown.
        """
        if self.is_own:
            return True
        return (
            b"capture_session" in self.content
            and self.event is not None
            and fields.channel_of(self.event) == "capture_session"
            and lifecycle_of(self.event) is not None
        )

    @property
    def channel(self) -> str:
        """The kind of event; `unreadable` if it is not a JSON object."""
        return "unreadable" if self.event is None else fields.channel_of(self.event)

    @property
    def _bare(self) -> bytes:
        # An unclean shutdown leaves NULs, behind which queries find the event.
        return self.content.lstrip(b"\0")

    def _received_ms(self) -> int | None:
        if head := _HEAD.match(self._bare):
            return int(head[1]) * 1000 + int(head[2])
        event = self.event
        return None if event is None else fields.received_ms(event)


def torn_time_ms(torn: bytes) -> int | None:
    """Return when a line was received of which only the beginning is left; None if that is not known."""
    head = _HEAD.match(torn)
    return None if head is None else int(head[1]) * 1000 + int(head[2])


class Selection(Protocol):
    """Which lines go, and what becomes of the others.

    Attributes:
        found: what the last line was chosen for, with a count each; empty if that is not distinguished.
    """

    found: Mapping[str, int]

    def look(self, line: JournalLine) -> None:
        """Take a line of any file before `change` is called for the first."""

    def change(self, line: JournalLine) -> bytes | None:
        """Return the line to keep, changed or not; None drops it."""


@dataclass(slots=True)
class Tally:
    """What a selection chose from one file or several.

    Attributes:
        events, size: how many lines go or are changed, and their bytes.
        channels: how many of each channel.
        kinds: what they were chosen for, with a count each.
        days: the days of receipt, as `day_of` names them.
        since_ms, until_ms: the receipt of the first and the last; None where none has a time.
    """

    events: int = 0
    size: int = 0
    channels: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    days: set[str] = field(default_factory=set)
    since_ms: int | None = None
    until_ms: int | None = None

    def count(self, line: JournalLine, found: Mapping[str, int], day_of: Callable[[int], str]) -> None:
        """Count a line, and what it was chosen for."""
        self.events += 1
        self.size += len(line.content)
        _add(self.channels, {line.channel: 1})
        _add(self.kinds, found)
        if line.at_ms is not None:
            self.days.add(day_of(line.at_ms))
            self._note_times(line.at_ms, line.at_ms)

    def add(self, other: "Tally") -> None:
        """Count what another one has."""
        self.events += other.events
        self.size += other.size
        _add(self.channels, other.channels)
        _add(self.kinds, other.kinds)
        self.days |= other.days
        if other.since_ms is not None and other.until_ms is not None:
            self._note_times(other.since_ms, other.until_ms)

    def _note_times(self, since_ms: int, until_ms: int) -> None:
        self.since_ms = since_ms if self.since_ms is None else min(self.since_ms, since_ms)
        self.until_ms = until_ms if self.until_ms is None else max(self.until_ms, until_ms)

    def data(self) -> dict[str, Any]:
        """Return the facts for a line of the recorder's own, or for a program."""
        times = {"since": self.since_ms, "until": self.until_ms}
        return {
            "events": self.events,
            "bytes": self.size,
            **{name: None if at is None else envelope.utc_text(at) for name, at in times.items()},
            "channels": dict(sorted(self.channels.items())),
            **({"kinds": dict(sorted(self.kinds.items()))} if self.kinds else {}),
        }


def _add(counts: dict[str, int], others: Mapping[str, int]) -> None:
    for name, count in others.items():
        counts[name] = counts.get(name, 0) + count


class Chooser:
    """A selection's function over the lines of one file, which counts what it chooses."""

    def __init__(self, selection: Selection, day_of: Callable[[int], str], looked: int | None = None) -> None:
        """Choose by a selection.

        Args:
            selection: which lines go.
            day_of: returns the day of a time in Unix ms.
            looked: how many lines of the file the selection has looked at; lines after them were appended
                since. None: at all.
        """
        self._selection = selection
        self._day_of = day_of
        self._unlooked_after = looked
        self._count = 0
        self._before_ms: int | None = None
        self.tally = Tally()

    def look(self, content: bytes) -> None:
        """Show a line to the selection."""
        self._selection.look(self._line(content))

    def change(self, content: bytes) -> bytes | None:
        """Return the line to keep; None drops it."""
        line = self._line(content)
        self._count += 1
        if self._unlooked_after is not None and self._count > self._unlooked_after:
            self._selection.look(line)
        new = self._selection.change(line)
        if new != content:
            self.tally.count(line, self._selection.found, self._day_of)
        return new

    def _line(self, content: bytes) -> JournalLine:
        line = JournalLine(content, self._before_ms)
        self._before_ms = line.at_ms
        return line


def strings_replaced(value: object, replace: Callable[[str], str], keep: frozenset[str]) -> object:
    """Return a JSON value whose strings are replaced, but for those of the members that are to keep."""
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, list):
        return [strings_replaced(item, replace, keep) for item in value]
    if isinstance(value, Mapping):
        return {
            name: item if name in keep else strings_replaced(item, replace, keep)
            for name, item in value.items()
        }
    return value


def own_line_with(line: JournalLine, members: Mapping[str, Any]) -> bytes:
    """Return a line with other members and the same beginning: its time is not read and written again."""
    if head := _HEAD.match(line.content):
        rest = {name: value for name, value in members.items() if name not in ("ts", "unix_ts")}
        body = json.dumps(rest, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        return line.content[: head.end() - 1] + (b"," + body[1:] if rest else b"}") + b"\n"
    return json.dumps(members, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
