"""Count what the listener wrote, for `vdbevents status` and for the next run. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vdbevents.events import fields
from vdbevents.events.gaps import Gap, gap_from
from vdbevents.listener.protocol import EventsDropped


@dataclass(slots=True)
class ChannelCount:
    """How many events of a channel were received, and when the last was, in ms since the epoch."""

    count: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class ListenerCounts:
    """What `status` shows besides the state.

    Attributes:
        gaps: how many there were.
        unrecovered: how many of them lack something, for ever or until it is fetched.
        open_gaps: those that are to be filled yet, by their ids.
        untold: what was dropped and no gap tells of yet, by when that began.
    """

    channels: dict[str, ChannelCount] = field(default_factory=dict)
    gaps: int = 0
    unrecovered: int = 0
    open_gaps: dict[str, Gap] = field(default_factory=dict)
    untold: dict[int, EventsDropped] = field(default_factory=dict)
    dropped: int = 0
    since_ms: int = 0

    def note_own(self, event: Mapping[str, Any]) -> None:
        """Takes a line of the recorder's own into account: of what was dropped, or of a gap."""
        told, gap = event.get("data"), gap_from(event)
        if event.get("event") == "listener.dropped" and isinstance(told, Mapping):
            since_ms, until_ms = fields.unix_ms(told.get("since")), fields.unix_ms(told.get("until"))
            count = told.get("count")
            if since_ms is not None and until_ms is not None and isinstance(count, int) and count > 0:
                self.untold[since_ms] = EventsDropped(count, since_ms, until_ms)
        if gap is not None:
            self._note_gap(gap)
            if gap.dropped:
                self.untold.pop(gap.since_ms, None)

    def _note_gap(self, gap: Gap) -> None:
        if gap.id not in self.open_gaps:
            self.gaps += 1
            self.unrecovered += 1
        if gap.status == "open":
            self.open_gaps[gap.id] = gap
            return
        self.open_gaps.pop(gap.id, None)
        self.unrecovered -= gap.is_recovered
