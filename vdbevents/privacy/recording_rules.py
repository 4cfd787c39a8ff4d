"""What happens to an event before it is written: it is left out, or redacted, or stays as it is. Pure.

The listener, its back-fill, the backend and the capture all ask the same object.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vdbevents.events import envelope, fields
from vdbevents.events.envelope import Record
from vdbevents.privacy.exclusion import Exclusion, is_content
from vdbevents.privacy.pauses import Pauses
from vdbevents.privacy.redaction import RedactionRules, Redactor

EXCLUDED: Final = "journal.excluded"
"""The event of the line with the count of what was left out."""

_LINE_EVERY_MS: Final = 60_000
_MOST_CHANNELS: Final = 100
_MOST_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class ExcludedEvents:
    """Events that were left out since the last line about them.

    Attributes:
        count: how many.
        since_ms, until_ms: when the first and the last of them arrived, or was fetched.
        channels, reasons: how many of each.
    """

    count: int = 0
    since_ms: int = 0
    until_ms: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, channel: str, reason: str, now_ms: int) -> None:
        """Count an event."""
        if channel not in self.channels and len(self.channels) >= _MOST_CHANNELS:
            channel = "other"
        self.since_ms = self.since_ms or now_ms
        self.until_ms = now_ms
        self.count += 1
        self.channels[channel] += 1
        self.reasons[reason] += 1

    def data(self) -> dict[str, Any]:
        """Return the `data` of the line."""
        return {
            "count": self.count,
            "since": envelope.utc_text(self.since_ms),
            "until": envelope.utc_text(self.until_ms),
            "channels": dict(self.channels),
            "reasons": dict(self.reasons),
        }


class RecordingRules:
    """The rules of one process.

    Attributes:
        redactor, exclusion: the rules themselves.
        excluded: how many events this process has left out so far.
    """

    def __init__(
        self,
        redactor: Redactor | None = None,
        exclusion: Exclusion | None = None,
        pauses: Callable[[], Pauses] = Pauses,
    ) -> None:
        """Follow these rules; without any, write everything as it is.

        Args:
            redactor: what to replace.
            exclusion: what to leave out.
            pauses: returns the pauses; called for each event.
        """
        self.redactor = redactor or Redactor(RedactionRules(frozenset()))
        self.exclusion = exclusion or Exclusion()
        self.pauses = pauses
        self.excluded = 0
        self._excludes = not self.exclusion.is_idle
        self._pending = ExcludedEvents()
        self._told_ms = 0
        # A gap that is filled again must not count the same events again: 64 bits of each identity.
        self._counted: deque[int] = deque(maxlen=_MOST_REMEMBERED)

    def redact(self, record: Record) -> Record:
        """Return a record as it is written; for the recorder's own lines."""
        return self.redactor.record(record)

    def received(self, record: Record, now_ms: int) -> Record | None:
        """Return a record that arrives now as it is written; None if it is left out."""
        return self._pass(record, now_ms, now_ms)

    def received_all(self, records: Sequence[Record], now_ms: int) -> Sequence[Record | None]:
        """Return records that arrive now, in order, as `received` returns each."""
        if not self._excludes and not self.pauses().all:
            return self.redactor.records(records)
        return [self._pass(record, now_ms, now_ms) for record in records]

    def fetched(self, event: Mapping[str, Any], now_ms: int) -> dict[str, Any] | None:
        """Return an event that was fetched as it is written; None if it is left out."""
        record = self._pass(envelope.backfilled_record(event, now_ms), now_ms, None)
        return None if record is None else {k: v for k, v in record.event.items() if k != "backfilled"}

    def _pass(self, record: Record, now_ms: int, arrived_ms: int | None) -> Record | None:
        if not self._excludes and not self.pauses().all:
            return self.redactor.record(record)
        if record.lifecycle is not None:
            self.exclusion.note_streams((stream.id, stream.source) for stream in record.lifecycle.streams)
        elif is_content(record) and (reason := self._reason(record, arrived_ms)) is not None:
            self._count(record, reason, now_ms)
            return None
        return self.redactor.record(record)

    def _reason(self, record: Record, arrived_ms: int | None) -> str | None:
        pauses = self.pauses()
        if pauses.all:
            if arrived_ms is not None and pauses.at(arrived_ms) is not None:
                return "pause"
            start_ms, end_ms = fields.span_of(record.event)
            if start_ms is not None and pauses.covers(start_ms, end_ms):
                return "pause"
        return self.exclusion.reason(record, arrived_ms) if self._excludes else None

    def _count(self, record: Record, reason: str, now_ms: int) -> None:
        if record.identity is not None:
            key = hash(record.identity)
            if key in self._counted:
                return
            self._counted.append(key)
        self.excluded += 1
        self._pending.add(record.channel, reason, now_ms)

    def excluded_line(self, now_ms: int, *, is_last: bool = False) -> Record | None:
        """Return a line with the count of what was left out, if there is something to say and it is time.

        Args:
            now_ms: the time; there is one line a minute.
            is_last: whether to return it at once.
        """
        since_last = now_ms - self._told_ms
        if not self._pending.count or (0 <= since_last < _LINE_EVERY_MS and not is_last):
            return None
        data, self._pending, self._told_ms = self._pending.data(), ExcludedEvents(), now_ms
        return self.redact(envelope.own_record(EXCLUDED, data, now_ms))

    def to_dict(self) -> dict[str, Any]:
        """Return the rules in force for the status: of names and words only how many there are."""
        rules = self.exclusion.rules
        exclude: dict[str, Any] = {"sources": list(rules.sources), "hours": list(rules.hours)}
        counts = {"windows": rules.windows, "apps": rules.apps, "words": rules.words}
        exclude |= {name: len(values) for name, values in counts.items()}
        return {
            "redact": self.redactor.rules.names,
            "exclude": {name: value for name, value in exclude.items() if value},
            "excluded": self.excluded,
        }
