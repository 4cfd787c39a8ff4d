"""Count the events of sessions and channels in sealed segments by the manifest, without reading them. Pure.

A segment's entry has the number of its events by session, stream, channel and part of its time. Of its
interim transcripts it lists those that none of the same segment replaced: one elsewhere may have. Where the
entries do not decide, because of a repetition, a clock that was set back, or a session that begins within a
part, the segment has to be read.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from vdbevents.events.session_content import CONTENT, Claim, SessionBook, SessionSpan
from vdbevents.query.cache.index import Segment, Span, meet

MOST_GROUPS: Final = 2000
MOST_OPEN: Final = 200
"""More groups, or more interim transcripts, are not kept: such a segment is read."""

_Times = tuple[int | None, int | None]

SessionCount = tuple[str, str, int, int | None]
"""How many events of a channel belong to a session: session, channel, count, latest own time in Unix ms."""


ChannelCount = tuple[str, int, int | None, int | None]
"""The events of a channel: its name, their number, and the first and the last receipt, in Unix ms."""


class Group(NamedTuple):
    """Events of one session, stream and channel: how many, and the first and last own time, in Unix ms."""

    session: str | None
    stream: str | None
    channel: str | None
    number: int
    first_ms: int | None
    last_ms: int | None


class OpenInterim(NamedTuple):
    """An interim transcript that none of its segment replaced; times in Unix ms.

    Attributes:
        session, stream: as the event names them.
        speaker: the stream's id or name, which tells whose sentence it is.
        time_ms: when it was received.
        start_ms, end_ms: when it was said.
    """

    session: str | None
    stream: str | None
    speaker: str | None
    time_ms: int | None
    start_ms: int | None
    end_ms: int | None

    @property
    def happened_ms(self) -> int | None:
        """Its own time."""
        return self.time_ms if self.start_ms is None else self.start_ms


class SegmentContent(NamedTuple):
    """What a segment's entry says about its events.

    Attributes:
        groups: all events but interim transcripts, and but the recorder's own.
        interims: the interim ones that were not replaced.
        first_finals: by stream, start and end of the first final transcript that was received.
        starts: by stream, the first and the last start of an interim one.
    """

    groups: Sequence[Group]
    interims: Sequence[OpenInterim]
    first_finals: Mapping[str | None, _Times]
    starts: Mapping[str | None, Span]

    def stored(self) -> str | None:
        """Return it as a text for the manifest; None if it is too much."""
        if len(self.groups) > MOST_GROUPS or len(self.interims) > MOST_OPEN:
            return None
        finals = [[speaker, *times] for speaker, times in self.first_finals.items()]
        starts = [[speaker, *span] for speaker, span in self.starts.items()]
        parts = [[*map(list, self.groups)], [*map(list, self.interims)], finals, starts]
        return orjson.dumps(parts).decode()


def content_of(segment: Segment) -> SegmentContent | None:
    """Return what a segment's entry says; None if it says nothing that can be read."""
    if segment.content is None:
        return None
    try:
        groups, interims, finals, starts = orjson.loads(segment.content)
        return SegmentContent(
            [Group(*one) for one in groups],
            [OpenInterim(*one) for one in interims],
            {speaker: (start, end) for speaker, start, end in finals},
            {speaker: (first, last) for speaker, first, last in starts},
        )
    except (ValueError, TypeError):
        return None


def stored_channels(counts: Sequence[ChannelCount]) -> str | None:
    """Return the events of a segment by channel as a text for the manifest; None if these are too many."""
    return orjson.dumps(counts).decode() if len(counts) <= MOST_GROUPS else None


def channels_of(segment: Segment) -> list[ChannelCount] | None:
    """Return the events of a segment by channel; None if its entry says nothing that can be read."""
    if segment.channels is None:
        return None
    try:
        return [
            (str(channel), int(number), first, last)
            for channel, number, first, last in orjson.loads(segment.channels)
        ]
    except (ValueError, TypeError):
        return None


class _Owners:
    """Whose the events of a group are, as `session_tables.owned` finds it."""

    def __init__(self, book: SessionBook, wanted: Collection[str] | None) -> None:
        self._wanted = wanted
        self._claims: dict[str, list[Claim]] = {}
        for claim in book.claims():
            self._claims.setdefault(claim.stream, []).append(claim)
        spans = sorted(book.spans(), key=lambda span: span.since_ms)
        self._spans = {kind: [one for one in spans if one.is_for_streams is kind] for kind in (False, True)}
        self._begins = {kind: [one.since_ms for one in of] for kind, of in self._spans.items()}

    def of(self, group: Group) -> Sequence[str] | None:
        """Return the sessions that have all events of a group; None if one that is wanted has only some."""
        session, stream, channel, _, first_ms, last_ms = group
        if session is not None:
            return (session,)
        if stream in self._claims:
            return self._within(self._claims[stream], first_ms, last_ms)
        if channel not in CONTENT or first_ms is None or last_ms is None:
            return ()
        # Of the times without a bound at their beginning only the last one before an event counts.
        spans, begins = self._spans[stream is not None], self._begins[stream is not None]
        near = spans[max(bisect_right(begins, first_ms) - 1, 0) : bisect_right(begins, last_ms)]
        return self._within(near, first_ms, last_ms)

    def _within(
        self, times: Sequence[Claim | SessionSpan], first_ms: int | None, last_ms: int | None
    ) -> Sequence[str] | None:
        if first_ms is None or last_ms is None:
            return tuple(one.session for one in times if one.since_ms is None and one.until_ms is None)
        found = []
        for one in times:
            since_ms = first_ms if one.since_ms is None else one.since_ms
            if since_ms > last_ms or (one.until_ms is not None and one.until_ms <= first_ms):
                continue
            if since_ms <= first_ms and (one.until_ms is None or one.until_ms > last_ms):
                found.append(one.session)
            elif self._wanted is None or one.session in self._wanted:
                return None
        return found


class SealedCounts:
    """The segments that need not be read to count the events of sessions, and what they count."""

    def __init__(
        self,
        segments: Sequence[Segment],
        near: Sequence[Segment],
        book: SessionBook,
        wanted: Collection[str] | None,
    ) -> None:
        """Find out which need not be read: `unread`.

        Args:
            segments: all of a journal, in its order.
            near: those that may have events of the sessions.
            book: the journal's sessions.
            wanted: those to count; None for all.
        """
        self._segments = segments
        self._contents = {segment.start: content_of(segment) for segment in segments}
        self._owners = _Owners(book, wanted)
        self._wanted = wanted
        self._near = {segment.start for segment in near}
        self._in_order = set(_in_order(segments))
        self._places = {segment.start: place for place, segment in enumerate(segments)}
        self._replaced: dict[tuple[int, OpenInterim], bool | None] = {}
        self._starts = _starts_by_stream(segments)
        self._untold = {segment.start for segment in segments if segment.finals is None}
        self.unread = [segment for segment in near if self._is_sure(segment)]

    def related(self, unread: Sequence[Segment]) -> list[Segment]:
        """Return those of the unread segments that may have newer versions of sentences in others."""
        left = {segment.start for segment in unread}
        found: set[int] = set()
        for segment in self._segments:
            if segment.start in left or segment.start not in self._near:
                continue
            content = self._contents[segment.start]
            if content is None:
                return list(unread)
            for other in unread:
                found |= {other.start} if self._may_continue(segment, content, other) else set()
        return [segment for segment in unread if segment.start in found]

    def undecided(self, unread: Iterable[Segment]) -> list[tuple[OpenInterim, bool]]:
        """Return the interim transcripts of segments that no sealed one replaced.

        Each comes with whether no sealed final one of its stream follows.
        """
        found = []
        for segment in unread:
            for interim in self._open_in(segment):
                if not self._is_replaced(segment, interim):
                    later = self._after(segment)
                    is_last = not any(interim.speaker in self._firsts(other) for other in later)
                    found.append((interim, is_last))
        return found

    def owners(self, group: Group) -> Sequence[str]:
        """Return the sessions that have the events of a group, but for those that need not be counted."""
        found = self._owners.of(group) or ()
        return [one for one in found if self._wanted is None or one in self._wanted]

    def rows(self, unread: Iterable[Segment], interims: Iterable[OpenInterim]) -> list[SessionCount]:
        """Return what the unread segments count.

        Args:
            unread: the segments.
            interims: those of their interim transcripts that count.
        """
        groups = [*map(_as_group, interims)]
        groups += [group for segment in unread for group in self._groups_of(segment)]
        return self.counted(groups)

    def counted(self, groups: Iterable[Group]) -> list[SessionCount]:
        """Return the events of groups by session and channel."""
        return added(
            (session, group.channel or "unknown", group.number, group.last_ms)
            for group in groups
            for session in self.owners(group)
        )

    def _is_sure(self, segment: Segment) -> bool:
        content = self._contents[segment.start]
        if content is None or segment.finals is None or segment.untimed or segment.has_fetched:
            return False
        return (
            segment.start in self._in_order
            and all(self._owners.of(group) is not None for group in content.groups)
            and all(
                self._owners.of(_as_group(interim)) is not None
                and self._is_replaced(segment, interim) is not None
                for interim in content.interims
            )
        )

    def _is_replaced(self, segment: Segment, interim: OpenInterim) -> bool | None:
        """Return whether a sealed transcript replaced one of a segment; None if that is not sure."""
        key = segment.start, interim
        if key not in self._replaced:
            self._replaced[key] = self._find_replaced(segment, interim)
        return self._replaced[key]

    def _find_replaced(self, segment: Segment, interim: OpenInterim) -> bool | None:
        by_final = self._is_replaced_by_final(segment, interim)
        if by_final or interim.start_ms is None:
            return by_final
        for other in self._after(segment):
            if other.start not in self._near:
                continue
            content = self._contents[other.start]
            if content is None:
                return None
            at_edge = _is_at_edge(interim.start_ms, content.starts.get(interim.speaker))
            if at_edge is not False:
                return at_edge
        return by_final

    def _is_replaced_by_final(self, segment: Segment, interim: OpenInterim) -> bool | None:
        is_sure = True
        if interim.start_ms is not None:
            spans = self._starts.get(interim.speaker, {})
            at_edges = {
                _is_at_edge(interim.start_ms, span) for start, span in spans.items() if start != segment.start
            }
            if True in at_edges:
                return True
            is_sure = None not in at_edges and self._untold <= {segment.start}
        for other in self._after(segment):
            if self._contents[other.start] is None or other.start not in self._in_order:
                is_sure = False
                break
            times = self._firsts(other).get(interim.speaker)
            if times is not None:
                if may_overlap((interim.start_ms, interim.end_ms), times):
                    return True
                break
        return False if is_sure else None

    def _may_continue(self, segment: Segment, content: SegmentContent, other: Segment) -> bool:
        """Return whether `other` may have a newer version of a sentence in a segment that is read."""
        of_other = self._contents[other.start]
        if of_other is None:
            return True
        if segment.start not in self._in_order or segment.untimed:
            return any(meet(span, of_other.starts.get(who)) for who, span in content.starts.items())
        return any(
            _is_at_edge(interim.start_ms, of_other.starts.get(interim.speaker)) is not False
            and self._is_replaced_by_final(segment, interim) is not True
            for interim in content.interims
            if interim.start_ms is not None
        )

    def _after(self, segment: Segment) -> Sequence[Segment]:
        return self._segments[self._places[segment.start] + 1 :]

    def _firsts(self, segment: Segment) -> Mapping[str | None, _Times]:
        content = self._contents[segment.start]
        return {} if content is None else content.first_finals

    def _open_in(self, segment: Segment) -> Sequence[OpenInterim]:
        content = self._contents[segment.start]
        return () if content is None else content.interims

    def _groups_of(self, segment: Segment) -> Sequence[Group]:
        content = self._contents[segment.start]
        return () if content is None else content.groups


def added(counts: Iterable[SessionCount]) -> list[SessionCount]:
    """Return the sums for each session and channel, sorted."""
    sums: Counter[tuple[str, str]] = Counter()
    latest: dict[tuple[str, str], int] = {}
    for session, channel, count, latest_ms in counts:
        key = session, channel
        sums[key] += count
        if latest_ms is not None:
            latest[key] = max(latest_ms, latest.get(key, latest_ms))
    return sorted((*key, count, latest.get(key)) for key, count in sums.items())


def _starts_by_stream(segments: Iterable[Segment]) -> dict[str | None, dict[int, Span | None]]:
    """Return for each stream the starts of its final transcripts, by where their segment begins."""
    found: dict[str | None, dict[int, Span | None]] = {}
    for segment in segments:
        for finals in segment.finals or ():
            found.setdefault(finals.stream, {})[segment.start] = finals.starts
    return found


def _as_group(interim: OpenInterim) -> Group:
    at_ms = interim.happened_ms
    return Group(interim.session, interim.stream, "transcript", 1, at_ms, at_ms)


def _in_order(segments: Sequence[Segment]) -> Iterator[int]:
    """Yield the starts of the segments that were received after all before them, and before all others."""
    known = [segment for segment in segments if segment.received is not None]
    latest = earliest = None
    late = set()
    for segment in known:
        first, last = segment.received or (0, 0)
        if latest is not None and latest > first:
            late.add(segment.start)
        latest = last if latest is None else max(latest, last)
    for segment in reversed(known):
        first, last = segment.received or (0, 0)
        if (earliest is None or earliest >= last) and segment.start not in late:
            yield segment.start
        earliest = first if earliest is None else min(earliest, first)


def _is_at_edge(moment_ms: int | None, span: Span | None) -> bool | None:
    """Return whether a time is one of a span's ends; None if it is within, and may or may not be there."""
    if moment_ms is None or span is None or not span[0] <= moment_ms <= span[1]:
        return False
    return True if moment_ms in span else None


def may_overlap(interim: _Times, final: _Times) -> bool:
    """Return whether two times overlap, as far as they are known."""
    begins = None in (interim[0], final[1]) or (interim[0] or 0) < (final[1] or 0)
    ends = None in (final[0], interim[1]) or (final[0] or 0) < (interim[1] or 0)
    return begins and ends
