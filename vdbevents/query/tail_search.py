"""Search the unsealed end of a journal without DuckDB, which takes longer to start than to read it.

It answers what the end alone decides, if all lines in it are plain, with exactly what `engine.search` gives;
for all else it gives None, and DuckDB searches.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vdbevents.events.gaps import Gap, gaps_in
from vdbevents.events.session_content import SessionBook, SessionScope
from vdbevents.journal.history import open_with_older
from vdbevents.privacy.pauses import Pause, pauses_in
from vdbevents.query import alike, patterns
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache, Interims, Segment, Span, meet, with_finals_for
from vdbevents.query.cache.sealed_counts import (
    ChannelCount,
    Group,
    OpenInterim,
    SealedCounts,
    SessionCount,
    added,
    may_overlap,
)
from vdbevents.query.filters import ALIASES, Event, Filters
from vdbevents.query.journal_end import (
    MOST_LINES,
    UndecidedError,
    channel_counts,
    own_lines_aside,
    unsealed_lines,
    usual_event,
)
from vdbevents.query.line_tests import (
    happened_beside,
    happened_outside,
    line_test,
    may_be_stamped_again,
    over_before,
    received_outside,
)
from vdbevents.query.older import Older
from vdbevents.query.plain_events import NotPlainError, ParsedLines, PlainEvent, was_backfilled
from vdbevents.query.session_tables import RECORDER
from vdbevents.times import LEAST_MS, Window

_BATCH: Final = 2048
_MARGIN_MS: Final = 60_000  # most utterances are shorter

# The other columns consist of these.
_MAY_REFUSE: Final = ("stream", "stream_name", "session", "speaker", "label", "confidence", "text")

_Test = Callable[[PlainEvent], bool]


@dataclass
class TailResult(Closeable):
    """The matches, as `SearchResult` has them; its attributes are described there."""

    shown: Sequence["_Row"]
    journal_bytes: int
    sealed_bytes: int
    skipped: int
    untimed: int
    gaps: list[Gap]
    pauses: list[Pause]

    @property
    def count(self) -> int:
        """The number of matches."""
        return len(self.shown)

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last time among them, in Unix ms; None where none has a time."""
        known = [row.time_ms for row in self.shown if row.time_ms is not None]
        return (min(known), max(known)) if known else None

    @property
    def groups(self) -> Mapping[int, Span]:
        """Empty: it does not look around matches."""
        return {}

    @property
    def breaks(self) -> Collection[int]:
        """Empty as well."""
        return ()

    def timed_lines(self) -> Iterator[list[tuple[int | None, str]]]:
        """Yield the journal's own lines, each with the time that orders it, in batches."""
        return ([(row.time_ms, row.event.line) for row in batch] for batch in self._batches())

    def lines(self) -> Iterator[list[str]]:
        """Yield the lines alone, in batches."""
        return ([row.event.line for row in batch] for batch in self._batches())

    def times(self) -> Iterator[list[int | None]]:
        """Yield the times alone, in batches."""
        return ([row.time_ms for row in batch] for batch in self._batches())

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches; None in columns not in `columns`."""
        return ([row.event.columns(columns) for row in batch] for batch in self._batches())

    def names(self, columns: Collection[str]) -> dict[str, set[str]]:
        """Return the values of some columns of the view `events`, without NULLs."""
        return {
            column: {name for row in self.shown if (name := getattr(row.event, column)) is not None}
            for column in columns
        }

    @property
    def held(self) -> Sequence[PlainEvent]:
        """The matches, for what sums them up in Python."""
        return [row.event for row in self.shown]

    def channel_counts(self) -> list[ChannelCount]:
        """Return (channel, count, first receipt, last receipt) of the matches, in Unix ms; sorted."""
        return channel_counts(self.held)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _batches(self) -> Iterator[Sequence["_Row"]]:
        return (self.shown[start : start + _BATCH] for start in range(0, len(self.shown), _BATCH))


@dataclass(frozen=True, slots=True)
class _Row:
    """An event, and the time that orders it: its own, if the filters go by that."""

    time_ms: int | None
    event: PlainEvent


def search_tail(
    journal: Path, filters: Filters, cache: Cache | None, older: Older, known: ParsedLines | None = None
) -> TailResult | None:
    """Return the events of a journal that match, if its unsealed end shows which; otherwise None.

    Args:
        journal: its file.
        filters: the conditions.
        cache: its sealed segments.
        older: how to read what was set aside.
        known: lines that another search has read; it gets those that this one reads.
    """
    if not _is_simple(filters):
        return None
    try:
        file, aside = open_with_older(journal, cleared=older.cleared)
        with file:
            own = [*own_lines_aside(aside, filters, older), *(cache.gap_lines if cache else ())]
            lines, size = unsealed_lines(file, cache, known)
        segments = cache.segments if cache else ()
        return _Search(filters, segments, known).run(lines, own, size or int(bool(aside)))
    except (OSError, NotPlainError, UndecidedError):
        return None


def _is_simple(filters: Filters) -> bool:
    has_patterns = any((*filters.grep, *filters.any_of, *filters.none_of))
    return not (
        filters.where is not None
        or filters.around_ms is not None
        or filters.sessions
        or filters.scope is not None
        or filters.windows
        or (has_patterns and (filters.extended or filters.whole_words))
    )


class _Search:
    """Do in Python what the statements of `query.statements` do."""

    def __init__(
        self, filters: Filters, segments: Sequence[Segment], known: ParsedLines | None = None
    ) -> None:
        self._filters = filters
        self._event_of = PlainEvent if known is None else known.event
        self._segments = segments
        self._holding = [one for one in segments if one.may_hold(filters.window, by_event=filters.by_event)]
        self._near = [one for one in self._holding if not filters.spans or one.overlaps(filters.spans)]
        self._tests = [*_membership(filters), *_patterns(filters)]
        is_bounded = filters.window != Window()
        if (
            any(one.doubtful or (is_bounded and one.untimed) for one in segments)
            or (is_bounded and self._near)
            or (self._near and filters.limit is None)
        ):
            raise UndecidedError

    def run(self, lines: Sequence[bytes], own: list[str], size: int) -> TailResult:
        spans = self._filters.spans
        near = None
        if spans and self._filters.by_event:
            near = min(begin for begin, _ in spans) - _MARGIN_MS, max(end for _, end in spans) + _MARGIN_MS
        rows = list(self._rows(lines, near))
        if near is not None and not self._are_enough(rows, near):
            rows = list(self._rows(lines, None))
        within = [row for row in rows if self._is_within(row)]
        found = [row for row in within if self._matches(row)]
        untimed = 0
        if self._filters.window != Window():
            untimed = sum(row.time_ms is None and self._matches(row) for row in rows)
        self._refuse_related(found)
        kept = found if self._filters.interim else list(_without_replaced(within, found))
        kept.sort(key=_place)
        shown = self._newest(kept)
        self._refuse_unsettled(shown)
        for row in shown:
            row.event.require(_MAY_REFUSE)  # before it is known that all are plain, nothing is printed
        own += [row.event.line for row in rows if row.event.channel == "vdbevents"]
        return TailResult(
            shown=shown[::-1] if self._filters.newest_first else shown,
            journal_bytes=size,
            sealed_bytes=self._segments[-1].end if self._segments else 0,
            skipped=sum(segment.unreadable for segment in self._segments),
            untimed=untimed,
            gaps=gaps_in(own),
            pauses=pauses_in(own),
        )

    def _are_enough(self, rows: Sequence[_Row], near: Span) -> bool:
        """Return whether no final transcript beyond `near` could have replaced a match.

        One that replaced a match began before that ended, if all have both times.
        """
        spoken = [row.event for row in rows if row.event.is_transcript]
        if any(event.start_ms is None or event.end_ms is None for event in spoken):
            return False
        return self._filters.interim or all(
            event.is_final
            or not any(_overlaps(event, begin, end) for begin, end in self._filters.spans)
            or near[0] <= (event.start_ms or 0) <= (event.end_ms or 0) <= near[1]
            for event in spoken
        )

    def _rows(self, lines: Sequence[bytes], near: Span | None) -> Iterator[_Row]:
        """Yield the events of the lines that are not known to be outside the window, or not `near`."""
        filters = self._filters
        expression = (happened_outside if filters.by_event else received_outside)(filters.window)
        is_outside = line_test(expression) if expression else None
        is_beside = line_test(beside) if near is not None and (beside := happened_beside(*near)) else None
        left = MOST_LINES
        if not (is_outside or is_beside) and len(lines) > left:
            raise UndecidedError
        for line in lines:
            if not (line.startswith(b"{") and line.endswith(b"}")):
                raise NotPlainError
            if is_beside and is_beside(line):
                continue
            if is_outside and is_outside(line) and not may_be_stamped_again(line):
                continue
            left -= 1
            if left < 0 or was_backfilled(line):
                raise UndecidedError
            event = self._event_of(line)
            own_ms = event.start_ms if filters.by_event else None
            yield _Row(event.time_ms if own_ms is None else own_ms, event)

    def _is_within(self, row: _Row) -> bool:
        window = self._filters.window
        if window == Window():
            return True
        return (
            row.time_ms is not None
            and (window.since_ms is None or row.time_ms >= window.since_ms)
            and (window.until_ms is None or row.time_ms < window.until_ms)
        )

    def _matches(self, row: _Row) -> bool:
        return all(test(row.event) for test in self._tests)

    def _newest(self, rows: list[_Row]) -> list[_Row]:
        end = max(0, len(rows) - self._filters.offset)
        start = 0 if self._filters.limit is None else max(0, end - self._filters.limit)
        return rows[start:end]

    def _refuse_related(self, found: Sequence[_Row]) -> None:
        """Refuse matches that may be shown otherwise because of what is sealed."""
        if not self._holding:
            return
        starts = [row.event.start_ms for row in found if row.event.start_ms is not None]
        span = (min(starts), max(starts)) if starts else None
        is_lifecycle = any(row.event.channel == "capture_session" for row in found)
        if any(
            one.has_fetched and (meet(one.starts, span) or (one.has_lifecycle and is_lifecycle))
            for one in self._near
        ):
            raise UndecidedError
        if not self._filters.interim and with_finals_for(
            _interims(found), self._holding, by_event=self._filters.by_event
        ):
            raise UndecidedError

    def _refuse_unsettled(self, shown: Sequence[_Row]) -> None:
        """Refuse an answer that what is sealed may have newer events for."""
        if self._near and not (
            len(shown) == self._filters.limit
            and (not shown or _place(shown[0]) > max(map(self._newest_of, self._near)))
        ):
            raise UndecidedError

    def _newest_of(self, segment: Segment) -> int:
        span = segment.happened if self._filters.by_event else segment.received
        return LEAST_MS if span is None else span[1]


def _place(row: _Row) -> int:
    return LEAST_MS - 1 if row.time_ms is None else row.time_ms


def _interims(found: Iterable[_Row]) -> list[Interims]:
    """Return the times of the interim transcripts among matches; each one of a stream by itself."""
    return [
        Interims(
            row.event.owner,
            None if row.time_ms is None else (row.time_ms, row.time_ms),
            None if row.event.start_ms is None else (row.event.start_ms, row.event.start_ms),
            row.time_ms is not None,
        )
        for row in found
        if row.event.is_transcript and not row.event.is_final
    ]


def _without_replaced(within: Sequence[_Row], found: Sequence[_Row]) -> Iterator[_Row]:
    """Yield the matches without the interim transcripts that others replaced, as `statements` tells."""
    matching = {id(row) for row in found}
    numbered = sorted(
        (row for row in within if row.event.is_transcript and (row.event.is_final or id(row) in matching)),
        key=_place,
    )
    newest: dict[tuple[str | None, int], int] = {}
    finished: set[tuple[str | None, int]] = set()
    for number, row in enumerate(numbered):
        if row.event.start_ms is not None:
            newest[row.event.owner, row.event.start_ms] = number
            if row.event.is_final:
                finished.add((row.event.owner, row.event.start_ms))
    replaced = set()
    final_after: dict[str | None, PlainEvent] = {}
    for number in range(len(numbered) - 1, -1, -1):
        event = numbered[number].event
        if event.is_final:
            final_after[event.owner] = event
            continue
        final = final_after.get(event.owner)
        begun = None if event.start_ms is None else (event.owner, event.start_ms)
        if (begun is not None and (begun in finished or number < newest[begun])) or (
            final is not None and _may_overlap(event, final)
        ):
            replaced.add(id(numbered[number]))
    return (row for row in found if id(row) not in replaced)


def _may_overlap(interim: PlainEvent, final: PlainEvent) -> bool:
    """Return whether two times overlap, as far as they are known."""
    begins = _is_before(interim.start_ms, final.end_ms)
    ends = _is_before(final.start_ms, interim.end_ms)
    return begins is not False and ends is not False


def _is_before(one: int | None, other: int | None) -> bool | None:
    return None if one is None or other is None else one < other


# -- How many events sessions have -------------------------------------------------------------------------


@dataclass
class TailCounts(TailResult):
    """The unsealed events of sessions, and how many they and the sealed ones are.

    Attributes:
        counted: returns the number of each session and channel.
        sealed_span: the first and the last receipt in sealed segments, in Unix ms.
        left: the sealed interim transcripts that nothing replaced.
        replaced_late: where the segments begin in which an unsealed transcript replaced one.
    """

    counted: Callable[[], list[SessionCount]] = list
    sealed_span: Span | None = None
    left: Sequence[OpenInterim] = ()
    replaced_late: frozenset[int] = frozenset()

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last time, sealed or not, in Unix ms; None where none has a time."""
        known = [span for span in (super().span, self.sealed_span) if span is not None]
        return (min(first for first, _ in known), max(last for _, last in known)) if known else None

    def session_counts(self, book: SessionBook) -> list[SessionCount]:
        """Return the counts; the book is the one by which they were counted."""
        del book
        return self.counted()


def count_tail(
    journal: Path, filters: Filters, cache: Cache | None, older: Older, book: SessionBook
) -> TailCounts | None:
    """Count the events of sessions, if no sealed segment has to be read for that; otherwise None.

    Args:
        journal: its file.
        filters: without conditions, or with a `scope`: the sessions.
        cache: its sealed segments.
        older: how to read what was set aside.
        book: the journal's sessions.
    """
    try:
        file, aside = open_with_older(journal, cleared=older.cleared)
        with file:
            if aside:
                return None
            lines, size = unsealed_lines(file, cache)
        segments = cache.segments if cache else ()
        own = [*(cache.gap_lines if cache else ())]
        return _Counting(filters.scope, segments, book).run(lines, own, size)
    except (OSError, NotPlainError, UndecidedError):
        return None


class _Counting:
    """Do in Python what `engine.search` does to count."""

    def __init__(self, scope: SessionScope | None, segments: Sequence[Segment], book: SessionBook) -> None:
        self._segments = segments
        self._near = [one for one in segments if scope is None or one.may_be_of(scope)]
        self._scope = scope
        streams = [one.stream for one in scope.claims if one.since_ms is None] if scope else []
        self._names = [name.encode() for name in (*(scope.sessions if scope else ()), *streams)]
        wanted = None if scope is None else frozenset(scope.sessions)
        self._counts = SealedCounts(segments, self._near, book, wanted)
        if len(self._counts.unread) < len(self._near) or any(one.doubtful for one in segments):
            raise UndecidedError

    def run(self, lines: Sequence[bytes], own: list[str], size: int) -> TailCounts:
        undecided = {one.start: self._counts.undecided([one]) for one in self._near}
        rows, found = self._read(lines, is_decided=not any(undecided.values()))
        if with_finals_for(_interims(found), self._segments, by_event=False):
            raise UndecidedError
        kept = list(_without_replaced(rows, found))
        own += [row.event.line for row in rows if row.event.channel == "vdbevents"]
        left = {start: list(of) for start, of in self._left(rows, found, undecided)}
        left_ones = [interim for of in left.values() for interim in of]
        sealed = [moment for one in self._near for moment in one.received or ()]

        def counted() -> list[SessionCount]:
            groups = [_group_of(row) for row in kept if row.event.channel not in RECORDER]
            return added([*self._counts.counted(groups), *self._counts.rows(self._near, left_ones)])

        return TailCounts(
            shown=kept,
            journal_bytes=size,
            sealed_bytes=self._segments[-1].end if self._segments else 0,
            skipped=sum(segment.unreadable for segment in self._segments),
            untimed=0,
            gaps=gaps_in(own),
            pauses=pauses_in(own),
            counted=counted,
            sealed_span=(min(sealed), max(sealed)) if sealed else None,
            left=left_ones,
            replaced_late=frozenset(start for start, of in left.items() if len(of) < len(undecided[start])),
        )

    def _read(self, lines: Sequence[bytes], *, is_decided: bool) -> tuple[Sequence[_Row], Sequence[_Row]]:
        """Return the rows that may matter, and those of the sessions.

        What was over before the sessions began, and names none of them, is not parsed. It may have replaced
        only what was received or begun before it, or is sealed.
        """
        begun_ms = _begun_ms(self._scope)
        is_over = over_before(begun_ms) if begun_ms is not None and is_decided else None
        for kept in ([line for line in lines if self._may_matter(line, is_over)], lines):
            if len(kept) > MOST_LINES:
                raise UndecidedError
            rows = list(map(_counted_row, kept))
            found = [row for row in rows if self._scope is None or self._counts.owners(_group_of(row))]
            if begun_ms is None or all(_is_since(begun_ms, row) for row in found):
                break
        return rows, found

    def _may_matter(self, line: bytes, is_over: Callable[[bytes], bool] | None) -> bool:
        return is_over is None or not is_over(line) or any(name in line for name in self._names)

    def _left(
        self,
        rows: Sequence[_Row],
        found: Sequence[_Row],
        undecided: Mapping[int, Sequence[tuple[OpenInterim, bool]]],
    ) -> Iterator[tuple[int, Iterator[OpenInterim]]]:
        """Yield where each segment begins, and its interim transcripts that nothing replaced."""
        matching = {id(row) for row in found}
        late = [
            row for row in rows if row.event.is_transcript and (row.event.is_final or id(row) in matching)
        ]
        latest = max((one.received[1] for one in self._segments if one.received), default=LEAST_MS)
        if any(row.time_ms is None or row.time_ms < latest for row in late):
            raise UndecidedError
        starts = {(row.event.owner, row.event.start_ms) for row in late}
        finals: dict[str | None, PlainEvent] = {}
        for row in sorted(late, key=_place):
            if row.event.is_final:
                finals.setdefault(row.event.owner, row.event)

        def is_left(interim: OpenInterim, *, is_last: bool) -> bool:
            begun = interim.start_ms is not None and (interim.speaker, interim.start_ms) in starts
            final = finals.get(interim.speaker) if is_last else None
            times = interim.start_ms, interim.end_ms
            return not begun and not (final and may_overlap(times, (final.start_ms, final.end_ms)))

        for start, of in undecided.items():
            yield start, (interim for interim, is_last in of if is_left(interim, is_last=is_last))


def _begun_ms(scope: SessionScope | None) -> int | None:
    """Return when the first of some sessions began, but for what names them, in Unix ms; None without any."""
    if scope is None:
        return None
    begins = [*(one.since_ms for one in scope.claims), *(one.since_ms for one in scope.spans)]
    return min((at for at in begins if at is not None), default=None)


def _is_since(moment_ms: int, row: _Row) -> bool:
    """Return whether an event was received, and began, at a time or later."""
    begun_ms = row.event.start_ms
    return (
        row.time_ms is not None and moment_ms <= row.time_ms and (begun_ms is None or moment_ms <= begun_ms)
    )


def _counted_row(line: bytes) -> _Row:
    event = usual_event(line)
    return _Row(event.time_ms, event)


def _group_of(row: _Row) -> Group:
    event = row.event
    at_ms = event.time_ms if event.start_ms is None else event.start_ms
    return Group(event.session, event.stream, event.channel, 1, at_ms, at_ms)


# -- Which events match ------------------------------------------------------------------------------------


def _membership(filters: Filters) -> Iterator[_Test]:
    """Yield the tests for all but texts, the cheapest first."""
    if filters.spans:
        yield lambda event: any(_overlaps(event, begin, end) for begin, end in filters.spans)
    if left_out := {ALIASES.get(name, name) for name in (*filters.not_channels, *filters.hidden_channels)}:
        yield lambda event: event.channel not in left_out
    if channels := {ALIASES.get(name, name) for name in filters.channels}:
        yield lambda event: event.channel in channels
    for columns, wanted in (
        (("source",), filters.sources),
        (("stream", "stream_name"), filters.streams),
        (("event",), filters.names),
        (("label",), filters.labels),
    ):
        if wanted:
            yield _one_of(columns, frozenset(wanted))
    if speakers := {alike.lower(name) for name in filters.speakers}:
        yield lambda event: event.speaker is not None and alike.lower(event.speaker) in speakers
    if (least := filters.least_confidence) is not None:
        yield lambda event: event.confidence is not None and event.confidence >= least


def _overlaps(event: PlainEvent, begin: int, end: int) -> bool:
    """Return whether an event happened, at least in part, between two times in Unix ms, these included."""
    first = event.time_ms if event.start_ms is None else event.start_ms
    if first is None:
        return False
    last = first if event.end_ms is None else max(first, event.end_ms)
    return first <= end and last >= begin


def _one_of(columns: Sequence[str], wanted: Collection[str]) -> _Test:
    return lambda event: any(getattr(event, column) in wanted for column in columns)


def _patterns(filters: Filters) -> Iterator[_Test]:
    for pattern in filter(None, filters.grep):
        yield patterns.literal_test(pattern, filters)
    if filters.any_of and all(filters.any_of):
        tests = [patterns.literal_test(pattern, filters) for pattern in filters.any_of]
        yield lambda event: any(test(event) for test in tests)
    for pattern in filters.none_of:
        yield _not(patterns.literal_test(pattern, filters))


def _not(test: _Test) -> _Test:
    return lambda event: not test(event)
