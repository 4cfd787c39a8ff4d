"""Count events that were dropped because the disk accepted no lines and memory was full. Pure."""

from dataclasses import dataclass, field

from vdbevents.events import envelope


@dataclass(slots=True)
class DroppedEvents:
    """Events that were dropped during one stretch of time.

    Attributes:
        count: how many.
        size: their lines' bytes.
        since_ms, until_ms: when the first and the last one arrived, in milliseconds since the epoch.
        channels: how many of each channel.
    """

    count: int = 0
    size: int = 0
    since_ms: int = 0
    until_ms: int = 0
    channels: dict[str, int] = field(default_factory=dict)

    def add(self, size: int, channel: str, now_ms: int) -> None:
        """Count an event that is dropped now."""
        self.since_ms = self.since_ms or now_ms
        self.until_ms = now_ms
        self.count += 1
        self.size += size
        self.channels[channel] = self.channels.get(channel, 0) + 1

    def record(self, now_ms: int) -> envelope.Record:
        """Return the `listener.dropped` line."""
        data = {
            "count": self.count,
            "bytes": self.size,
            "since": envelope.utc_text(self.since_ms),
            "until": envelope.utc_text(self.until_ms),
            "channels": self.channels,
        }
        return envelope.own_record("listener.dropped", data, now_ms)
