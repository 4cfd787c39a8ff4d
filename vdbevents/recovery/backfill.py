"""Choose what to fetch for open gaps, and which of it the journal lacks. Pure.

Records are compared by the service's own times: the clock of this machine may be wrong, or jump.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from vdbevents.events import fields
from vdbevents.events.gaps import Gap, Missing, Status
from vdbevents.events.identity import identity_of
from vdbevents.recovery.journal_tail import MARGIN_MS, JournalTail
from vdbevents.sessions.recorded_session import RecordSource, StreamChannel

PAGE_SIZE: Final = 100


class PageRequest(NamedTuple):
    """A page to fetch; times in Unix seconds, None where there is no bound."""

    source: RecordSource
    page: int
    start: float | None
    end: float | None


@dataclass(slots=True)
class _Range:
    start_ms: int | None
    end_ms: int | None
    gaps: list[tuple[int, str]] = field(default_factory=list)
    """(when the last record before it starts, id) of the gaps, sorted."""


class Backfill:
    """One pass over all sources of some gaps.

    Attributes:
        gaps: the open ones.
        sources: where to fetch, each once.
    """

    def __init__(
        self,
        gaps: Sequence[Gap],
        sources: Iterable[RecordSource],
        tail: JournalTail,
        *,
        is_unknown: bool = False,
        had_ended: Callable[[str, int], bool] = lambda _session_id, _since_ms: False,
        is_forgotten: Callable[[Mapping[str, Any]], bool] = lambda _event: False,
        admit: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda event: event,
    ) -> None:
        """Start with the first page of the first source.

        Args:
            gaps: the open ones.
            sources: where to fetch.
            tail: what the journal has; what is fetched is added to its `seen`.
            is_unknown: whether events may be missing that no source has.
            had_ended: returns whether a session had ended before a time (Unix ms).
            is_forgotten: returns whether the user does not want an event any more.
            admit: returns an event as it is written; None if it must not be.
        """
        self.gaps = list(gaps)
        self._is_unknown = is_unknown
        self._had_ended = had_ended
        self._is_forgotten = is_forgotten
        self._admit = admit
        self._tail = tail
        self.sources = list(dict.fromkeys(sources))
        self._ranges = {source.key: self._range(source.key) for source in self.sources}
        self._recovered: dict[str, dict[str, int]] = {gap.id: {} for gap in self.gaps}
        self._missing: list[tuple[RecordSource, str]] = []
        self._done_ms = {source: tail.begun_sources.get(source, 0) for source in self.sources}
        self._left: list[RecordSource] = []
        self._page = 1
        self._before: Sequence[Mapping[str, Any]] = ()
        self._from_ms: int | None = None
        self.restart()

    def _range(self, key: StreamChannel) -> _Range:
        gaps = [gap for gap in self.gaps if not gap.streams or key.stream_id in gap.streams]
        since = sorted((self._tail.since_ms(gap, key) or 0, gap.id) for gap in gaps)
        newest_ms = since[0][0] if since else 0
        # Without a record before the gap, the oldest record in the journal may be one from after it.
        start_ms = None if self._tail.has_beginning else self._tail.begun_ms
        if newest_ms:
            start_ms = max(newest_ms - MARGIN_MS, self._tail.earliest_ms(key) or 0)
        # Of a stale stream it is not known whether its records arrive live again.
        end_ms = None if any(gap.streams for gap in gaps) else self._tail.until_ms(key)
        return _Range(start_ms, end_ms, since)

    @property
    def recovered(self) -> int:
        """How many records the journal lacked."""
        return sum(sum(counts.values()) for counts in self._recovered.values())

    def restart(self) -> None:
        """Go through all sources again, each from where it is complete: late records may have been added."""
        refused = {source for source, _ in self._missing}
        self._left = [
            source for source in self.sources if source not in refused and self._ranges[source.key].gaps
        ]
        self._start_source()

    def _start_source(self) -> None:
        self._page, self._before = 1, ()
        if self._left:
            bounds, done_ms = self._ranges[self._left[0].key], self._done_ms[self._left[0]]
            self._from_ms = max(bounds.start_ms or 0, done_ms - MARGIN_MS) or None

    def next(self) -> PageRequest | None:
        """Return the next page to fetch; None at the end."""
        if not self._left:
            return None
        source = self._left[0]
        end_ms = self._ranges[source.key].end_ms
        return PageRequest(source, self._page, _seconds(self._from_ms), _seconds(end_ms))

    def take(self, records: Sequence[Mapping[str, Any]], *, more: bool) -> list[Mapping[str, Any]]:
        """Take the page that `next` returned; return the events to journal.

        Args:
            records: the page's.
            more: whether the service says that there are more pages.
        """
        source = self._left[0]
        events: list[Mapping[str, Any]] = []
        for record in records:
            event = self._admit(_event(source, record))
            # By what would be written: the journal has the received copy so.
            identity = None if event is None else identity_of(event)
            # A record without a time has no identity: nobody could tell whether the journal has it.
            if event is None or identity is None or hash(identity) in self._tail.seen:
                continue
            if self._is_forgotten(event):
                continue
            self._tail.seen.add(hash(identity))
            self._count(source.key, identity.start_ms or 0)
            events.append(event)
        starts = (fields.unix_ms(record.get("start")) for record in records)
        self._note_done(source, [start_ms for start_ms in starts if start_ms is not None], more=more)
        # A service that promises more and returns nothing, or the same page, must not be asked forever.
        if more and records and records != self._before:
            self._page += 1
            self._before = records
        else:
            self.skip()
        return events

    def _note_done(self, source: RecordSource, starts: Sequence[int], *, more: bool) -> None:
        # A page completes what is before it only if the service returns the oldest first.
        is_rising = starts and (starts[0] < starts[-1] or not more)
        if is_rising and min(starts) >= self._done_ms[source] - MARGIN_MS:
            self._done_ms[source] = max(self._done_ms[source], starts[-1])

    def skip(self) -> None:
        """Leave the current source for this time."""
        self._left.pop(0)
        self._start_source()

    def refuse(self, reason: str) -> None:
        """Leave the current source for good."""
        self._missing.append((self._left[0], reason))
        self.skip()

    def _count(self, key: StreamChannel, start_ms: int) -> None:
        gaps = self._ranges[key].gaps
        _, gap_id = max((gap for gap in gaps if gap[0] <= start_ms), default=gaps[0])
        counts = self._recovered[gap_id]
        counts[key.channel] = counts.get(key.channel, 0) + 1

    def close(self, others: Sequence[Missing] = ()) -> list[Gap]:
        """Return the gaps, closed.

        Args:
            others: what else they have cost.
        """
        return [self._close(gap, others) for gap in self.gaps]

    def _close(self, gap: Gap, others: Sequence[Missing]) -> Gap:
        # What had ended before is fetched, too, for what comes late; but nothing of it can be missing.
        sources = [
            source
            for source in self.sources
            if (not gap.streams or source.stream_id in gap.streams)
            and not self._had_ended(source.session_id, gap.since_ms)
        ]
        missing = [Missing(source.title, reason) for source, reason in self._missing if source in sources]
        if self._is_unknown:
            what = "events of an earlier capture" if sources else "everything"
            missing.append(Missing(what, "no capture is known here that could have run then"))
        elif any(source.channel == "transcript" for source in sources):
            missing.append(Missing("interim transcripts", "the service keeps only final ones", lost=False))
        missing += others
        status: Status = "incomplete" if any(item.lost for item in missing) else "recovered"
        return replace(gap, status=status, recovered=self._recovered[gap.id], missing=tuple(missing))

    def to_dict(self) -> dict[str, Any]:
        """Return the `data` of a `listener.backfill` line, from which another run can go on."""
        return {
            "gaps": [gap.id for gap in self.gaps],
            "sources": [
                {**source._asdict(), "done": _seconds(done_ms or None)}
                for source, done_ms in self._done_ms.items()
            ],
        }


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _event(source: RecordSource, record: Mapping[str, Any]) -> dict[str, Any]:
    """Make the event that was sent of a record; its times stay as they were fetched."""
    rest = {name: value for name, value in record.items() if name not in ("text", "description")}
    data: dict[str, Any] = {"text": record.get("text") or record.get("description") or ""}
    if source.channel == "transcript":
        data["is_final"] = True
    stream = {"rtstream_id": source.stream_id, "rtstream_name": source.stream_name}
    return {"channel": source.channel, **stream, "data": {**data, **rest}}
