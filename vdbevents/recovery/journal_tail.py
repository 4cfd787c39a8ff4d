"""Find what the end of a journal says about gaps and the records around them."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vdbevents.events import envelope, fields
from vdbevents.events.gaps import Gap
from vdbevents.events.identity import identity_of
from vdbevents.events.lifecycle import lifecycle_of
from vdbevents.journal import reader
from vdbevents.journal.history import older_journals
from vdbevents.privacy.redaction import Redactor
from vdbevents.sessions.recorded_session import RecordSource, StreamChannel, sources_from

BACKFILL_EVENT: Final = "listener.backfill"
MARGIN_MS: Final = 30_000
"""The records of a stream may be out of the order of their times by about this much."""

_NEEDLES: Final = (b'"listener.', b'"capture.started"', b"capture_session.")


class JournalTail:
    """The lines of a journal, newest first, as far back as some gaps need them.

    Times are the service's own: the clock of this machine may be wrong, or jump.

    Attributes:
        seen: hashes of the identities of the journaled records: 64 bits, a fifth of the memory.
        begun_sources: where a backfill of these gaps was begun, and up to when it is complete; 0: not at all.
        begun_ms: when the first line of the journal was written, if the tail reaches that far.
    """

    def __init__(
        self, gaps: Iterable[Gap], keys: Iterable[StreamChannel], session_ids: Iterable[str] = ()
    ) -> None:
        """Take no line yet; only the records of `keys`, in sessions of these ids, matter."""
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
        self.begun_sources: dict[RecordSource, int] = {}
        self.begun_ms: int | None = None

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take the line before those taken so far; return whether another one is needed."""
        if fields.is_own(event):
            self._take_own(event)
        else:
            self._take_record(event)
        return bool(self._unmarked or (self._unsettled and not self.has_beginning))

    def _take_own(self, event: Mapping[str, Any]) -> None:
        content = event.get("data")
        data = content if isinstance(content, Mapping) else {}
        name = event.get("event")
        if name == BACKFILL_EVENT and self._unmarked:
            gap_ids = data.get("gaps")
            # Progress made for other gaps says nothing about one that was open and not yet worked on.
            counts = isinstance(gap_ids, list) and self._unmarked.keys() <= set(map(str, gap_ids))
            for source, done_ms in sources_from(data):
                self.begun_sources.setdefault(source, done_ms if counts else 0)
        elif name == "capture.started":
            self._unbegun.discard(str(data.get("capture_session_id")))
        for gap in list(self._unmarked.values()):
            if _marks(gap, name, data):
                del self._unmarked[gap.id]
                self._passed[gap.id] = len(self._newest)
                self._newest.append({})

    def _take_record(self, event: Mapping[str, Any]) -> None:
        identity = identity_of(event)
        if identity is None:
            return
        if identity.channel == "capture_session":
            step = lifecycle_of(event)
            if step is not None and step.status == "created":
                self._unbegun.discard(step.session_id)
            return
        key, start_ms = StreamChannel(identity.channel, identity.stream), identity.start_ms
        if key not in self._keys or start_ms is None:
            return
        self.seen.add(hash(identity))
        self._oldest[key] = min(self._oldest.get(key, start_ms), start_ms)
        newest = self._newest[-1]
        newest[key] = max(newest.get(key, start_ms), start_ms)
        is_live = "backfilled" not in event
        if len(self._newest) == 1 and is_live:
            self._first_live[key] = min(self._first_live.get(key, start_ms), start_ms)
        if not self._unmarked:
            latest_ms = self._latest[key] = max(self._latest.get(key, start_ms), start_ms)
            # A backfill starts a margin before the latest record, and live lines are out of order by as much.
            # The place of a backfilled line says nothing: older live lines may follow further up.
            if is_live and start_ms < latest_ms - 2 * MARGIN_MS:
                self._unsettled.discard(key)

    def until_ms(self, key: StreamChannel) -> int | None:
        """Return up to where to fetch: records that start later arrived live."""
        first = self._first_live.get(key)
        return None if first is None else first + MARGIN_MS

    def earliest_ms(self, key: StreamChannel) -> int | None:
        """Return from where to fetch at most: not what was before `--clear`. None: from the beginning."""
        if self.has_beginning or self.begun_ms is None:
            return None
        return self._oldest.get(key, self.begun_ms)

    def since_ms(self, gap: Gap, key: StreamChannel) -> int | None:
        """Return when the last record before a gap starts; None where the journal has none."""
        older = self._newest[self._passed.get(gap.id, len(self._newest)) :]
        return max((newest[key] for newest in older if key in newest), default=None)

    @property
    def has_beginning(self) -> bool:
        """Whether the tail reaches back to the beginning of all the sessions."""
        return bool(self._session_ids) and not self._unbegun


def _marks(gap: Gap, name: object, data: Mapping[str, Any]) -> bool:
    """Return whether a line is where the events of a gap are missing."""
    if gap.dropped:
        return name == "listener.dropped" and fields.unix_ms(data.get("since")) == gap.since_ms
    return data.get("id") == gap.id and data.get("status") == "open"


def read_tail(
    journal: Path,
    gaps: Sequence[Gap],
    sources: Iterable[RecordSource],
    session_ids: Sequence[str],
    redactor: Redactor | None = None,
) -> JournalTail:
    """Read a journal backward, as far as some gaps need it.

    Args:
        journal: the file.
        gaps: the open ones.
        sources: where their records may be fetched; those of an earlier, unfinished backfill are added.
        session_ids: the sessions that may have lost something.
        redactor: of what is fetched; lines from before its rules compare as if they had followed them.
    """
    sources = list(sources)
    keys = {source.key for source in sources}
    tail = JournalTail(gaps, keys, {*session_ids, *(source.session_id for source in sources)})
    needles = [*_NEEDLES, *{key.stream_id.encode("utf-8", "backslashreplace") for key in keys}]
    for line in reader.backward(journal, needles):
        event = envelope.parse_line(line if redactor is None else redactor.line(line).content)
        if event is not None and not tail.take(event):
            break
    else:
        tail.begun_ms = _first_ms(journal)
    # Of an earlier session, which the info file does not name any more: read again for its records, too.
    begun = [source for source in tail.begun_sources if source.key not in keys]
    return read_tail(journal, gaps, [*sources, *begun], session_ids, redactor) if begun else tail


def _first_ms(journal: Path) -> int | None:
    with contextlib.suppress(OSError):
        if rotated := older_journals(journal):
            return rotated[0].from_ms
    with contextlib.suppress(OSError), journal.open("rb") as handle:
        event = envelope.parse_line(handle.readline())
        return None if event is None else fields.unix_ms(event.get("unix_ts"))
    return None
