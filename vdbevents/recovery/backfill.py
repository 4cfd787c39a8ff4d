"""What a blind listener has missed: what to bind anew, what to fetch, and what lines come of it. Pure.

What runs comes from `videodb_capture_info.json`, what was seen from the journal's lines, read backward. All
times by which records are told apart are the service's own: the clock of this machine may be wrong, or jump.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from vdbevents.cloud import CloudSession as Answer
from vdbevents.events import fields, identity as events_identity, lifecycle
from vdbevents.events.gaps import Gap, Missing, Status
from vdbevents.sessions.recorded_session import RecordSource, StreamChannel, sources_from

PAGE_SIZE: Final = 100

# Records of a stream may come out of the order of their times by about this much.
_MARGIN_MS: Final = 30_000
LONGEST_LOOK_SECONDS: Final = 15.0
_STEPS: Final = ("created", "starting", "active", "stopping", "stopped", "exported")

BACKFILL_EVENT: Final = "listener.backfill"
STALE_EVENT: Final = "listener.stale"
FRESH_EVENT: Final = "listener.fresh"


# What was seen.


class JournalTail:
    """What the end of a journal tells of some gaps and of the records around them, read backward."""

    def __init__(
        self, gaps: Iterable[Gap], keys: Iterable[StreamChannel], session_ids: Iterable[str] = ()
    ) -> None:
        """Nothing was read yet.

        Args:
            gaps: those that are to be filled.
            keys: whose records matter.
            session_ids: whose life matters; the keys' records are of these sessions.
        """
        self._unmarked = {gap.id: gap for gap in gaps}
        self._passed: dict[str, int] = {}
        self._newest: list[dict[StreamChannel, int]] = [{}]
        self._unsettled = set(keys)
        self._keys = frozenset(self._unsettled)
        self._latest: dict[StreamChannel, int] = {}
        self._session_ids = set(session_ids)
        self._unbegun = set(self._session_ids)
        self._oldest: dict[StreamChannel, int] = {}
        self._first_live: dict[StreamChannel, int] = {}
        self.seen: set[int] = set()
        """The hashes of the identities: of 64 bits, and a fifth of the memory."""
        self.statuses: dict[str, set[str]] = {}
        self.told_sources: dict[RecordSource, int] = {}
        """Where somebody began to fetch, and up to where that is done; 0: not at all."""
        self.begun_ms: int | None = None
        """When the first line of the journal was written, if it was read that far."""

    def take(self, event: Mapping[str, Any]) -> bool:
        """Takes the line before those that were taken; whether there has to be another one."""
        if fields.is_own(event):
            self._take_own(event)
        else:
            self._take_event(event)
        return bool(self._unmarked or (self._unsettled and not self.has_beginning))

    def _take_own(self, event: Mapping[str, Any]) -> None:
        data = event.get("data")
        told = data if isinstance(data, Mapping) else {}
        name = event.get("event")
        if name == BACKFILL_EVENT and self._unmarked:
            gap_ids = told.get("gaps")
            # What was done for others says nothing of a gap that was there and that nobody was filling yet.
            counts = isinstance(gap_ids, list) and self._unmarked.keys() <= set(map(str, gap_ids))
            for source, done_ms in sources_from(told):
                self.told_sources.setdefault(source, done_ms if counts else 0)
        elif name == "capture.started":
            self._unbegun.discard(str(told.get("capture_session_id")))
        for gap in list(self._unmarked.values()):
            if _marks(gap, name, told):
                del self._unmarked[gap.id]
                self._passed[gap.id] = len(self._newest)
                self._newest.append({})

    def _take_event(self, event: Mapping[str, Any]) -> None:
        identity = events_identity.identity_of(event)
        if identity is None:
            return
        if identity.channel == "capture_session":
            self._take_life(event)
            return
        key = StreamChannel(identity.channel, identity.stream)
        start_ms = identity.start_ms
        if key not in self._keys or start_ms is None:
            return
        self.seen.add(hash(identity))
        self._oldest[key] = min(self._oldest.get(key, start_ms), start_ms)
        newest = self._newest[-1]
        newest[key] = max(newest.get(key, start_ms), start_ms)
        if len(self._newest) == 1 and "backfilled" not in event:
            self._first_live[key] = min(self._first_live.get(key, start_ms), start_ms)
        if not self._unmarked:
            latest_ms = self._latest[key] = max(self._latest.get(key, start_ms), start_ms)
            # What is asked for begins a margin before the last one. Of what was fetched later the place tells
            # nothing: lines that came as they were made may stand before it, and begin after it.
            if "backfilled" not in event and start_ms < latest_ms - 2 * _MARGIN_MS:
                self._unsettled.discard(key)

    def _take_life(self, event: Mapping[str, Any]) -> None:
        life = lifecycle.lifecycle_of(event)
        if life is not None and life.session_id in self._session_ids:
            self.statuses.setdefault(life.session_id, set()).add(life.status)
            if life.status == "created":
                self._unbegun.discard(life.session_id)

    def until_ms(self, key: StreamChannel) -> int | None:
        """Up to where records have to be fetched: those that begin later came as they were made."""
        first = self._first_live.get(key)
        return None if first is None else first + _MARGIN_MS

    def earliest_ms(self, key: StreamChannel) -> int | None:
        """From when on records are wanted: of a journal that was cleared, what was before is not.

        None where all that there ever was is wanted.
        """
        if self.has_beginning or self.begun_ms is None:
            return None
        return self._oldest.get(key, self.begun_ms)

    def since_ms(self, gap: Gap, key: StreamChannel) -> int | None:
        """When the last record before a gap begins; None where there is none in the journal."""
        older = self._newest[self._passed.get(gap.id, len(self._newest)) :]
        return max((newest[key] for newest in older if key in newest), default=None)

    @property
    def has_beginning(self) -> bool:
        """Whether it reaches to where the sessions began, before which there is nothing of theirs."""
        return bool(self._session_ids) and not self._unbegun


def _marks(gap: Gap, name: object, told: Mapping[str, Any]) -> bool:
    """Whether a line stands where the gap's events are missing."""
    if gap.dropped:
        return name == "listener.dropped" and fields.unix_ms(told.get("since")) == gap.since_ms
    return told.get("id") == gap.id and told.get("status") == "open"


# What is fetched.


class PageRequest(NamedTuple):
    """A page to be asked for; times in Unix seconds, None where there is no bound."""

    source: RecordSource
    page: int
    start: float | None
    end: float | None


@dataclass(slots=True)
class _Range:
    start_ms: int | None
    end_ms: int | None
    gaps: list[tuple[int, str]] = field(default_factory=list)
    """(when the last record before it begins, id) of the gaps, in the order of these times."""


class Backfill:
    """One pass over all sources: what the journal lacks of what they hold."""

    def __init__(
        self,
        gaps: Sequence[Gap],
        sources: Iterable[RecordSource],
        tail: JournalTail,
        *,
        is_unknown: bool = False,
    ) -> None:
        """Nothing was fetched yet.

        Args:
            gaps: those that the pass fills.
            sources: where.
            tail: what the journal holds; what is fetched is added to its `seen`.
            is_unknown: whether something may have been sent that no source tells of.
        """
        self._gaps = list(gaps)
        self._is_unknown = is_unknown
        self._tail = tail
        self.sources = list(dict.fromkeys(sources))
        self._ranges = {source.key: self._range(source.key) for source in self.sources}
        self._recovered: dict[str, dict[str, int]] = {gap.id: {} for gap in self._gaps}
        self._missing: list[tuple[RecordSource, str]] = []
        self._done_ms = {source: tail.told_sources.get(source, 0) for source in self.sources}
        self._left: list[RecordSource] = []
        self._page = 1
        self._before: Sequence[Mapping[str, Any]] = ()
        self._from_ms: int | None = None
        self.begin()

    def _range(self, key: StreamChannel) -> _Range:
        concerned = [gap for gap in self._gaps if not gap.streams or key.stream_id in gap.streams]
        since = sorted((self._tail.since_ms(gap, key) or 0, gap.id) for gap in concerned)
        newest_ms = since[0][0] if since else 0
        # Of a stream of which nothing came before the gap the oldest that is there may have come after it.
        start_ms = None if self._tail.has_beginning else self._tail.begun_ms
        if newest_ms:
            start_ms = max(newest_ms - _MARGIN_MS, self._tail.earliest_ms(key) or 0)
        # A stream that somebody has to ask about is not known to come as it is made.
        end_ms = None if any(gap.streams for gap in concerned) else self._tail.until_ms(key)
        return _Range(start_ms, end_ms, since)

    @property
    def recovered(self) -> int:
        """How many records were not there."""
        return sum(sum(counts.values()) for counts in self._recovered.values())

    def begin(self) -> None:
        """Asks all sources, again from where they had come to: some may have been at work yet."""
        refused = {source for source, _ in self._missing}
        concerned = (it for it in self.sources if it not in refused and self._ranges[it.key].gaps)
        self._left = list(concerned)
        self._start()

    def _start(self) -> None:
        self._page, self._before = 1, ()
        if self._left:
            bounds, done_ms = self._ranges[self._left[0].key], self._done_ms[self._left[0]]
            self._from_ms = max(bounds.start_ms or 0, done_ms - _MARGIN_MS) or None

    def next(self) -> PageRequest | None:
        """What is to be asked next; None when there is no more."""
        if not self._left:
            return None
        source = self._left[0]
        return PageRequest(
            source, self._page, _seconds(self._from_ms), _seconds(self._ranges[source.key].end_ms)
        )

    def take(self, records: Sequence[Mapping[str, Any]], *, more: bool) -> list[dict[str, Any]]:
        """Takes the page that `next` names; answers with the events that are to be written."""
        source = self._left[0]
        found: list[dict[str, Any]] = []
        for one in records:
            event = _event(source, one)
            identity = events_identity.identity_of(event)
            # Of what has no time nobody could tell whether it is there already.
            if identity is None or hash(identity) in self._tail.seen:
                continue
            self._tail.seen.add(hash(identity))
            self._count(source.key, identity.start_ms or 0)
            found.append(event)
        starts = (fields.unix_ms(one.get("start")) for one in records)
        self._note_done(source, [start_ms for start_ms in starts if start_ms is not None], more=more)
        # A service that promises more and gives nothing, or the same again, would be asked for ever.
        if more and records and records != self._before:
            self._page += 1
            self._before = records
        else:
            self._left.pop(0)
            self._start()
        return found

    def _note_done(self, source: RecordSource, starts: Sequence[int], *, more: bool) -> None:
        # Only of a service that tells the oldest first is it known what a page completes.
        is_rising = starts and (starts[0] < starts[-1] or not more)
        if is_rising and min(starts) >= self._done_ms[source] - _MARGIN_MS:
            self._done_ms[source] = max(self._done_ms[source], starts[-1])

    def skip(self) -> None:
        """The source that `next` names does not tell now."""
        self._left.pop(0)
        self._start()

    def refuse(self, reason: str) -> None:
        """The source that `next` names will never tell."""
        self._missing.append((self._left.pop(0), reason))
        self._start()

    def _count(self, key: StreamChannel, start_ms: int) -> None:
        concerned = self._ranges[key].gaps
        _, gap_id = max((it for it in concerned if it[0] <= start_ms), default=concerned[0])
        counts = self._recovered[gap_id]
        counts[key.channel] = counts.get(key.channel, 0) + 1

    def closed(self, others: Sequence[Missing] = ()) -> list[Gap]:
        """The gaps as they are now: all that can be had is there.

        Args:
            others: what else the gaps have cost.
        """
        return [self._closed(gap, others) for gap in self._gaps]

    def _closed(self, gap: Gap, others: Sequence[Missing]) -> Gap:
        concerned = [it for it in self.sources if not gap.streams or it.stream_id in gap.streams]
        missing = [Missing(source.title, reason) for source, reason in self._missing if source in concerned]
        if self._is_unknown:
            what = "what an earlier capture made" if concerned else "everything"
            missing.append(Missing(what, "no capture is known here that could have run then"))
        elif any(source.channel == "transcript" for source in concerned):
            missing.append(Missing("interim transcripts", "the service keeps only final ones", lost=False))
        missing += others
        lost = any(one.lost for one in missing)
        status: Status = "incomplete" if lost else "recovered"
        return replace(gap, status=status, recovered=self._recovered[gap.id], missing=tuple(missing))

    def told(self) -> dict[str, Any]:
        """The `data` of the line that says what is being filled from where, for who goes on with it."""
        return {
            "gaps": [gap.id for gap in self._gaps],
            "sources": [
                {**source._asdict(), "done": _seconds(done_ms or None)}
                for source, done_ms in self._done_ms.items()
            ],
        }


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _event(source: RecordSource, one: Mapping[str, Any]) -> dict[str, Any]:
    """A record as the event that was sent of it, its times as they were fetched."""
    rest = {name: value for name, value in one.items() if name not in ("text", "description")}
    data: dict[str, Any] = {"text": one.get("text") or one.get("description") or ""}
    if source.channel == "transcript":
        data["is_final"] = True
    stream = {"rtstream_id": source.stream_id, "rtstream_name": source.stream_name}
    return {"channel": source.channel, **stream, "data": {**data, **rest}}


# The life of a session.


def life_since(answer: Answer, known: Iterable[str]) -> list[dict[str, Any]]:
    """The events that tell how far a session is, where the journal does not.

    Args:
        answer: the session as the service tells of it.
        known: the statuses that the journal has.
    """
    there = set(known)
    found: list[dict[str, Any]] = []
    furthest = max(map(_step, there), default=-1)
    step = len(_STEPS) if answer.status == "failed" else _step(answer.status)
    if step > furthest and answer.status not in there:
        found.append(_life(answer, answer.status, _life_data(answer)))
    if answer.export_status == "exported" and answer.video_id and "exported" not in there:
        found.append(_life(answer, "exported", {"exported_video_id": answer.video_id}))
    return found


def _step(status: str) -> int:
    return _STEPS.index(status) if status in _STEPS else -1


def _life(answer: Answer, status: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event": f"capture_session.{status}",
        "capture_session_id": answer.id,
        "status": status,
        "data": dict(data),
    }


def _life_data(answer: Answer) -> dict[str, Any]:
    if answer.status == "active":
        streams = [
            {"rtstream_id": it.id, "name": it.name, "media_types": [it.media]} for it in answer.streams
        ]
        return {"rtstreams": streams}
    return {"error": {"message": answer.error}} if answer.status == "failed" and answer.error else {}
