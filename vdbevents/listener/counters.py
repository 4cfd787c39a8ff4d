"""Count what the listener journals, for the status, the recovery and the next run. Pure."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vdbevents.events import fields
from vdbevents.events.envelope import Record
from vdbevents.events.gaps import Gap, gap_from
from vdbevents.listener.protocol import EventsDropped, Moment

STREAM_CHANNELS: Final = frozenset({"transcript", "audio_index", "visual_index"})
"""What the pipelines of a stream send."""

# A service that keeps inventing channels or streams must not fill the status file, or the memory.
_MOST_CHANNELS = 100
_MOST_STREAMS = 100
_MOST_STREAM_CHANNELS = 300
_LONGEST_ID = 200


@dataclass(slots=True)
class ChannelCount:
    """How many events of a channel were journaled, and when the last one, in ms since the epoch."""

    count: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class ListenerCounts:
    """Counts of the journal, and the latest activity of the streams.

    Attributes:
        channels: a count each.
        gaps: how many there were.
        unrecovered: how many of them lack something, for now or for good.
        open_gaps: those to backfill, by their ids, oldest first.
        unmarked: events that were dropped and have no gap yet, by when that began.
        dropped: how many lines were dropped.
        since_ms: when counting began.
        last_seen: when the last description of each screen arrived, by its stream's id; seconds on the
            monotonic clock.
        last_live_ms: when the last event of each stream and channel arrived live, in ms since the epoch.
        ended_sessions: the ids of sessions of which an end was received.
    """

    channels: dict[str, ChannelCount] = field(default_factory=dict)
    gaps: int = 0
    unrecovered: int = 0
    open_gaps: dict[str, Gap] = field(default_factory=dict)
    unmarked: dict[int, EventsDropped] = field(default_factory=dict)
    dropped: int = 0
    since_ms: int = 0
    last_seen: dict[str, float] = field(default_factory=dict)
    last_live_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    ended_sessions: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_STREAMS))

    def note(self, record: Record, now: Moment) -> str:
        """Count an event that is journaled now; return its channel."""
        channel = record.channel
        if channel == fields.OWN_CHANNEL:
            self.note_own(record.event)
            return channel
        count = self.channels.get(channel)
        if count is None:
            if len(self.channels) >= _MOST_CHANNELS:
                channel = "other"
            count = self.channels.setdefault(channel, ChannelCount())
        count.count += 1
        count.last_ms = now.wall_ms
        if channel in STREAM_CHANNELS:
            self._note_of_stream(record, channel, now)
        elif channel == "capture_session":
            self._note_step(record)
        return channel

    def note_all(self, records: Sequence[Record], now: Moment) -> list[str]:
        """Count events that arrived together as `note` counts each; return their channels."""
        channels = [record.channel for record in records]
        counted = Counter(channels)
        if fields.OWN_CHANNEL in counted or len(self.channels) + len(counted) > _MOST_CHANNELS:
            return [self.note(record, now) for record in records]
        for channel, number in counted.items():
            count = self.channels.setdefault(channel, ChannelCount())
            count.count += number
            count.last_ms = now.wall_ms
        # Of the events of a stream, which are many, the last one says all.
        last: dict[tuple[object, str], Record] = {}
        for record, channel in zip(records, channels, strict=True):
            if channel in STREAM_CHANNELS:
                stream = record.event.get("rtstream_id")
                if type(stream) is str and "backfilled" not in record.event:
                    last[stream, channel] = record
                else:
                    self._note_of_stream(record, channel, now)
            elif channel == "capture_session":
                self._note_step(record)
        for (_, channel), record in last.items():
            self._note_of_stream(record, channel, now)
        return channels

    def _note_of_stream(self, record: Record, channel: str, now: Moment) -> None:
        if "backfilled" not in record.event:
            self.note_live(record.stream_id, channel, now.wall_ms)
            if channel == "visual_index":
                self._note_seen(record.stream_id, now)

    def _note_step(self, record: Record) -> None:
        step = record.lifecycle
        if step is not None and step.status in ("stopping", "stopped", "failed"):
            self.ended_sessions.append(step.session_id)

    def note_unwritten(self, record: Record, now: Moment) -> None:
        """Note an event that arrives and must not be written: its stream lives all the same."""
        if record.channel in STREAM_CHANNELS:
            self.note_live(record.stream_id, record.channel, now.wall_ms)
            if record.channel == "visual_index":
                self._note_seen(record.stream_id, now)

    def note_live(self, stream_id: str, channel: str, at_ms: int) -> None:
        """Note when an event of a stream arrived; beyond a limit forget the stream that was noted first."""
        if not stream_id or len(stream_id) > _LONGEST_ID:
            return
        key = (stream_id, channel)
        if key not in self.last_live_ms and len(self.last_live_ms) >= _MOST_STREAM_CHANNELS:
            del self.last_live_ms[next(iter(self.last_live_ms))]
        self.last_live_ms[key] = at_ms

    def _note_seen(self, stream_id: str, now: Moment) -> None:
        if stream_id in self.last_seen or len(self.last_seen) < _MOST_STREAMS:
            self.last_seen[stream_id] = now.monotonic

    def note_own(self, event: Mapping[str, Any]) -> None:
        """Count a line of the recorder's own: dropped events, or a gap."""
        data, gap = event.get("data"), gap_from(event)
        if event.get("event") == "listener.dropped" and isinstance(data, Mapping):
            since_ms, until_ms = fields.unix_ms(data.get("since")), fields.unix_ms(data.get("until"))
            count = data.get("count")
            if since_ms is not None and until_ms is not None and isinstance(count, int) and count > 0:
                self.unmarked[since_ms] = EventsDropped(count, since_ms, until_ms)
        if gap is not None:
            self._note_gap(gap)
            if gap.dropped:
                self.unmarked.pop(gap.since_ms, None)

    def _note_gap(self, gap: Gap) -> None:
        if gap.id not in self.open_gaps:
            self.gaps += 1
            self.unrecovered += 1
        if gap.status == "open":
            self.open_gaps[gap.id] = gap
            return
        self.open_gaps.pop(gap.id, None)
        self.unrecovered -= gap.is_recovered
