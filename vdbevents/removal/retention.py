"""Choose the lines that are too old to keep. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vdbevents.events import fields
from vdbevents.events.gaps import EVENT as GAP_EVENT, gap_from
from vdbevents.events.session_content import SessionBook
from vdbevents.events.session_facts import NEEDLE, session_named
from vdbevents.removal.line_selection import JournalLine, torn_time_ms

RECORDING_MS: Final = 7 * 86_400_000
"""Lines about the recording itself are kept for so long: programs that run now may need them."""

_GAP: Final = b'"%b"' % GAP_EVENT.encode()
_ABOUT_GAPS: Final = frozenset({GAP_EVENT, "listener.dropped", "listener.backfill"})


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long events are kept, in ms.

    Attributes:
        older_than_ms: of all channels that have no rule of their own; None keeps them.
        channels: of single channels, by their names; None keeps them.
    """

    older_than_ms: int | None = None
    channels: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def shortest_ms(self) -> int | None:
        """The shortest time; None without a rule."""
        return min(self._ages(), default=None)

    @property
    def is_for_all(self) -> bool:
        """Whether there is a time for every channel."""
        return self.older_than_ms is not None and None not in self.channels.values()

    @property
    def longest_ms(self) -> int:
        """The longest time that is set; 0 without one."""
        return max(self._ages(), default=0)

    def all_old_ms(self, now_ms: int) -> int:
        """Return before which time of receipt every line is as old as any rule asks for."""
        return now_ms - max(RECORDING_MS, self.longest_ms)

    def _ages(self) -> list[int]:
        return [age for age in (self.older_than_ms, *self.channels.values()) if age is not None]

    def age_of(self, channel: str) -> int | None:
        """Return how long a channel is kept; None for ever."""
        return self.channels.get(channel, self.older_than_ms)


class Retention:
    """The lines that were received longer ago than the rules allow.

    Of the lines about the recording itself those go that are also older than a week, but for the lines about
    gaps that are still to be backfilled.
    """

    def __init__(self, rules: RetentionRules, now_ms: int, *, session: str | None = None) -> None:
        """Choose by the rules; with `session`, only events of that session and its streams."""
        self.found: Mapping[str, int] = {}
        self._rules = rules
        self._now_ms = now_ms
        self._session = session
        self._book = SessionBook()
        self._open: dict[str, str] = {}
        shortest_ms = rules.shortest_ms
        self._oldest_kept_ms = 0 if shortest_ms is None else now_ms - shortest_ms

    @property
    def oldest_kept_ms(self) -> int:
        """Lines received at this time or later are kept, whatever they are."""
        return self._oldest_kept_ms

    @property
    def takes_whole_files(self) -> bool:
        """Whether all of a file goes if all of it is older than `whole_file_ms`."""
        return self._rules.is_for_all and self._session is None

    @property
    def whole_file_ms(self) -> int:
        """Lines received before this time go, whatever they are."""
        return self._rules.all_old_ms(self._now_ms)

    def look(self, line: JournalLine) -> None:
        """Note which gaps are open, and which streams a session has."""
        if _GAP in line.content and line.is_own and (gap := gap_from(line.event or {})):
            self._open.pop(gap.id, None)
            if gap.status == "open":
                self._open[gap.id] = str((line.event or {})["data"].get("since"))
        if self._session is not None and NEEDLE in line.content:
            self._book.take(line.event or {})

    def change(self, line: JournalLine) -> bytes | None:
        """Drop a line that is too old."""
        if line.at_ms is None or line.at_ms >= self._oldest_kept_ms:
            return line.content
        age_ms = self._rules.older_than_ms
        if self._rules.channels or age_ms is None:
            age_ms = self._rules.age_of(line.channel)
        if age_ms is None or line.at_ms >= self._now_ms - age_ms or not self._is_of_session(line):
            return line.content
        if line.is_about_the_recording and self._is_needed(line):
            return line.content
        return None

    def torn_without(self, torn: bytes) -> bytes | None:
        """Return a torn line if it is to be kept: of which channel it was is not known."""
        at_ms = torn_time_ms(torn)
        is_old = self.takes_whole_files and at_ms is not None and at_ms < self.whole_file_ms
        return None if is_old else torn

    def _is_of_session(self, line: JournalLine) -> bool:
        if self._session is None:
            return True
        event = line.event or {}
        if named := session_named(event):
            return named == self._session
        # What belongs to a session by its time alone stays: that is a guess.
        stream, (start_ms, _) = fields.stream_id_of(event), fields.span_of(event)
        at_ms = line.at_ms if start_ms is None else start_ms
        return bool(stream) and self._book.owner(stream, at_ms) == self._session

    def _is_needed(self, line: JournalLine) -> bool:
        if line.at_ms is None or line.at_ms >= self._now_ms - RECORDING_MS:
            return True
        event = line.event or {}
        data = event.get("data")
        if not self._open or event.get("event") not in _ABOUT_GAPS or not isinstance(data, Mapping):
            return False
        if event.get("event") == "listener.dropped":
            # It marks the place of a gap that began then.
            return data.get("since") in self._open.values()
        named = data.get("gaps")
        ids = set(map(str, named)) if isinstance(named, list) else {str(data.get("id"))}
        return bool(ids & self._open.keys())
