"""Choose the lines that hold what was said or shown in a time, or certain words. Pure."""

import base64
import binascii
import json
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from vdbevents.events import fields
from vdbevents.events.envelope import parse_line
from vdbevents.events.forgotten import ForgottenSpan
from vdbevents.query import alike
from vdbevents.removal.line_selection import JournalLine, own_line_with, strings_replaced, torn_time_ms
from vdbevents.times import LEAST_MS, MOST_MS, Window

MARK: Final = "[forgotten]"
"""What words become in a line that has to stay."""

_STAMPS: Final = frozenset({"ts", "unix_ts", "server_ts", "server_unix_ts"})
# What an event is about, not what it says: a word for a stream must not drop all that came from it.
_NAMES: Final = frozenset(
    {
        path.removeprefix("data.")
        for member in (fields.STREAM, fields.STREAM_NAME, fields.SESSION, fields.START, fields.END)
        for path in member.paths
    }
    | set(fields.KIND_KEYS)
)
_OWN_NAMES: Final = _NAMES | frozenset(
    {
        *("id", "ws_id", "ws_ids", "previous_ws_id", "previous_id", "stream_id", "stream_name"),
        *("name", "kind"),
        *("collection_id", "end_user_id", "index_id", "alert_id", "event_id", "status", "source", "media"),
        *("since", "until", "version", "file", "kept_in", "by", "what", "gaps", "streams"),
    }
)
_CLOCKS_APART_MS: Final = 86_400_000
# An unfinished transcript may come a little before the final one of the utterance before.
_NEAR_MS: Final = 600_000
_MOST_RECENT: Final = 1_000
# Not the last member: its digits may have been cut.
_TORN_START: Final = re.compile(rb'"start(?:_ms|Ms|_time)?":(\d+(?:\.\d+)?),')


class Words:
    """A text to find in all that an event says."""

    def __init__(self, text: str, *, ignore_case: bool | None = None, exact: bool = False) -> None:
        """Find a text, and what looks the same, as `vdbevents query --grep` does.

        Args:
            text: what to find.
            ignore_case: None: case counts if the text has an upper-case letter.
            exact: find it character for character; case counts.
        """
        self.text = text
        self.ignores_case = not exact and (text == text.lower() if ignore_case is None else ignore_case)
        # What is not seen at all is found as it is.
        self._is_exact = exact or not alike.alike(text)
        self._is_spaced = " " in alike.spaced(alike.alike(text))
        self._sought = self._read(text)
        pattern = re.escape(text) if self._is_exact else alike.expression(text)
        self._pattern = re.compile(pattern, re.IGNORECASE if self.ignores_case else 0)
        # JSON writes these as they are, if not as escapes.
        self._needle = max(re.findall(r"[A-Za-z0-9]+", self._sought), key=len, default="").encode()

    def _read(self, text: str) -> str:
        """Return a text in the form in which a query compares it, or with all forms of a letter as one."""
        if not self._is_exact:
            text = alike.alike(text)
            text = alike.spaced(text) if self._is_spaced else text
        return text.casefold() if self.ignores_case else text

    def are_in(self, text: str) -> bool:
        """Return whether they are in a text."""
        return self._sought in self._read(text) or self._pattern.search(text) is not None

    def replaced_in(self, text: str) -> str:
        """Return a text without them; the whole text becomes a mark where they cannot be cut out."""
        if not self.are_in(text):
            return text
        new = self._pattern.sub(MARK, text)
        return MARK if self.are_in(new.replace(MARK, "")) else new

    def may_be_in(self, content: bytes) -> bool:
        """Return whether they may be in a line: False is certain, and found without parsing it."""
        if not self._needle or b"\\u" in content or b'"raw_base64"' in content or not content.isascii():
            return True
        if self.ignores_case:
            return self._needle.lower() in content.lower()
        return self._needle in content

    def are_said_by(self, content: bytes) -> bool:
        """Return whether they are in what a line says: all of it but times, kinds, and ids and names."""
        text = content.decode("utf-8", "replace")
        try:
            # Of duplicate keys readers take the first or the last. Digits count as they were written.
            members = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            return self.are_in(text)
        return any(map(self.are_in, _texts(members))) or any(map(self._are_in_bytes, _encoded(members)))

    def are_written_in(self, content: bytes) -> bool:
        """Return whether they are in a line at all, be it a name, a time or a member."""
        text = content.decode("utf-8", "replace")
        return self.are_in(text) or self.are_in(_unescaped(text))

    def _are_in_bytes(self, encoded: str) -> bool:
        try:
            content = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            return False
        encodings = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
        texts = (content.decode(encoding, "ignore") for encoding in encodings)
        # Half of a 16-bit character may come first.
        shifted = (content[1:].decode(encoding, "ignore") for encoding in encodings[2:])
        return any(map(self.are_in, (*texts, *shifted)))

    def may_end(self, torn: str) -> bool:
        """Return whether a text ends with a beginning of them."""
        end = self._read(torn)
        return any(end.endswith(self._sought[:length]) for length in range(1, len(self._sought)))


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, also those with the same name."""


def _texts(members: object) -> Iterator[str]:
    """Yield all texts in a line, and the names of its inner members, but for times, kinds, ids and names."""
    stack = [(members, False)]
    while stack:
        item, is_inner = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, _Pairs):
            members = [(name, value) for name, value in item if name not in _STAMPS and name not in _NAMES]
            stack += [(value, True) for _, value in members]
            if is_inner:
                yield from (name for name, _ in members)
        elif isinstance(item, list):
            stack += [(inner, True) for inner in item]


def _encoded(members: object) -> Iterator[str]:
    for name, value in members if isinstance(members, _Pairs) else ():
        if name == "raw_base64" and isinstance(value, str):
            yield value


class _Spans:
    """Times, as spans that include their ends; those that meet are one."""

    def __init__(self) -> None:
        self._given: list[tuple[int, int]] = []
        self._merged: list[tuple[int, int]] | None = None

    def add(self, first: int, last: int) -> None:
        self._given.append((first, last))
        self._merged = None

    def meet(self, first: int, last: int) -> bool:
        if self._merged is None:
            self._merged = []
            for start, end in sorted(self._given):
                if self._merged and start <= self._merged[-1][1]:
                    self._merged[-1] = (self._merged[-1][0], max(end, self._merged[-1][1]))
                else:
                    self._merged.append((start, end))
        place = bisect_right(self._merged, (last, MOST_MS))
        return place > 0 and self._merged[place - 1][1] >= first


class Forgetting:
    """The lines of events that were received, or happened in whole or in part, in a window, and say words.

    With them go the unfinished transcripts that such an event has replaced. Lines about the recording itself
    stay; in them, words become a mark.
    """

    def __init__(self, window: Window, words: Words | None) -> None:
        """Choose by a window, by words, or by both."""
        self.found: Mapping[str, int] = {}
        self._window = window
        self._since_ms = LEAST_MS if window.since_ms is None else window.since_ms
        self._until_ms = MOST_MS if window.until_ms is None else window.until_ms
        self._words = words
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_MOST_RECENT)
        self._near = _Spans()
        self._said: dict[str, _Spans] = {}
        self._received: dict[str, _Spans] = {}
        self._received_untimed: dict[str, _Spans] = {}
        self._chosen: set[ForgottenSpan] = set()

    @property
    def spans(self) -> list[ForgottenSpan]:
        """The times that no recovery may fetch again, once all lines were looked at."""
        if self._words is None:
            return [ForgottenSpan(self._since_ms, self._until_ms)]
        return sorted(self._chosen)

    def look(self, line: JournalLine) -> None:
        """Note the final transcripts that go, and the times of what goes."""
        if self._is_chosen(line) and not line.is_about_the_recording:
            event = line.event or {}
            start_ms, end_ms = fields.span_of(event)
            if start_ms is not None:
                of = fields.channel_of(event), fields.stream_id_of(event)
                self._chosen.add(ForgottenSpan(start_ms, max(start_ms, end_ms or start_ms), *of))
            if _is_final(event) and line.at_ms is not None:
                self._look_for_unfinished(event, line.at_ms)
        # Few of them are needed: they are parsed only then.
        if line.at_ms is not None and b"transcript" in line.content:
            self._recent.append((line.at_ms, line.content))

    def _look_for_unfinished(self, event: Mapping[str, Any], at_ms: int) -> None:
        """Note where the unfinished transcripts are that a final one has replaced."""
        stream, (start_ms, end_ms) = _stream_of(event), fields.span_of(event)
        before_ms = min(self._final_before(stream), at_ms)
        self._near.add(before_ms - _NEAR_MS, at_ms + _NEAR_MS)
        self._received.setdefault(stream, _Spans()).add(before_ms, at_ms)
        if start_ms is None:
            self._received_untimed.setdefault(stream, _Spans()).add(before_ms, at_ms)
        else:
            # Without the end: an utterance that begins as another ends is another one.
            said_ms = max(start_ms, (end_ms or start_ms) - 1)
            self._said.setdefault(stream, _Spans()).add(start_ms, said_ms)

    def _final_before(self, stream: str) -> int:
        """Return when the final transcript of a stream before this line was received."""
        for at_ms, content in reversed(self._recent):
            event = parse_line(content) or {}
            if _is_final(event) and "backfilled" not in event and _stream_of(event) == stream:
                return at_ms
        return self._recent[0][0] if len(self._recent) == _MOST_RECENT else LEAST_MS

    def change(self, line: JournalLine) -> bytes | None:
        """Drop a line that is to be forgotten."""
        words = self._words
        if words is not None and not words.may_be_in(line.content):
            return None if self._was_replaced(line) else line.content
        if line.is_about_the_recording:
            return line.content if words is None else self._without_words(line, words)
        if self._is_chosen(line) or self._was_replaced(line):
            return None
        return line.content

    def _without_words(self, line: JournalLine, words: Words) -> bytes:
        event = line.event
        if event is None or not words.may_be_in(line.content) or not self._is_in_window(line):
            return line.content
        new = strings_replaced(event, words.replaced_in, _STAMPS | _OWN_NAMES)
        if new == event or not isinstance(new, Mapping):
            return line.content
        return own_line_with(line, new)

    def _is_chosen(self, line: JournalLine) -> bool:
        words = self._words
        if words is not None:
            if not words.may_be_in(line.content):
                return False
            if not words.are_said_by(line.content):
                return False
        return self._is_in_window(line)

    def _is_in_window(self, line: JournalLine) -> bool:
        if self._window == Window():
            return True
        if line.at_ms is not None and self._since_ms <= line.at_ms < self._until_ms:
            return True
        start_ms, end_ms = fields.span_of(line.event or {})
        if start_ms is None:
            return False
        # What ends as the window begins was said before it.
        end_ms = start_ms if end_ms is None else end_ms
        return start_ms < self._until_ms and (end_ms > self._since_ms or start_ms == self._since_ms)

    def _was_replaced(self, line: JournalLine) -> bool:
        """Return whether it is an unfinished transcript of one that goes."""
        at_ms = line.at_ms
        if at_ms is None or not self._near.meet(at_ms, at_ms) or b"transcript" not in line.content:
            return False
        event = line.event or {}
        if fields.channel_of(event) != "transcript" or not fields.is_interim(event):
            return False
        stream = _stream_of(event)
        start_ms, end_ms = fields.span_of(event)
        received = (self._received if start_ms is None else self._received_untimed).get(stream)
        if received is not None and received.meet(at_ms, at_ms):
            return True
        said = self._said.get(stream)
        if start_ms is None or said is None:
            return False
        return said.meet(start_ms, max(start_ms, (end_ms or start_ms) - 1))

    def may_be_in_file(self, to_ms: int) -> bool:
        """Return whether a file may hold something to forget, by the receipt of its last event."""
        # What was received before the window was said before it; but for the clocks of two machines.
        return to_ms >= self._since_ms - _CLOCKS_APART_MS

    def torn_without(self, torn: bytes) -> bytes | None:
        """Return a torn line if it surely holds nothing that is to be forgotten."""
        return torn if self._keeps_torn(torn) else None

    def _keeps_torn(self, torn: bytes) -> bool:
        if self._words is not None:
            text = torn.decode("utf-8", "replace")
            if not (
                self._words.are_written_in(torn) or self._words.may_end(text) or self._may_be_replaced(torn)
            ):
                return True
        if self._window == Window():
            return False
        received_ms, started = torn_time_ms(torn), _TORN_START.search(torn)
        if received_ms is not None and received_ms < self._since_ms:
            return True
        # What was received later may have been said before.
        start_ms = None if started is None else fields.unix_ms(started[1].decode())
        return start_ms is not None and start_ms >= self._until_ms

    def _may_be_replaced(self, torn: bytes) -> bool:
        """Return whether a torn line may be an unfinished transcript of one that goes."""
        at_ms = torn_time_ms(torn)
        if at_ms is None:
            return b"transcript" in torn
        return any(received.meet(at_ms, at_ms) for received in self._received.values())


def _is_final(event: Mapping[str, Any]) -> bool:
    return fields.channel_of(event) == "transcript" and not fields.is_interim(event)


def _stream_of(event: Mapping[str, Any]) -> str:
    return fields.stream_id_of(event) or fields.STREAM_NAME.text_in(event)


def _unescaped(text: str) -> str:
    replace: Callable[[re.Match[str]], str] = lambda match: chr(int(match[1], 16))  # noqa: E731
    return re.sub(r"\\u([0-9a-fA-F]{4})", replace, text)
