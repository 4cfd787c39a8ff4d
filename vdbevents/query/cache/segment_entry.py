"""Find out what the manifest says about a segment, from the tables that `fill` made of its lines."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vdbevents.events.envelope import parse_line
from vdbevents.events.session_content import SessionBook
from vdbevents.events.session_facts import SessionFacts
from vdbevents.query.cache import schema
from vdbevents.query.cache.index import Finals, Segment, Span, few, known_finals
from vdbevents.query.cache.sealed_counts import Group, OpenInterim, SegmentContent, stored_channels
from vdbevents.query.duck import execute
from vdbevents.query.session_tables import RECORDER

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_DOUBTFUL: Final = 1000
_MOST_DOUBTFUL_BYTES: Final = 1 << 20


def described(connection: "DuckDBPyConnection", place: Segment, lost: int) -> Segment:
    """Return a segment's entry, without what is known of its files.

    Args:
        connection: with the tables.
        place: the entry as far as it is known; it is not in order if its lines had to be changed for DuckDB.
        lost: the number of lines that are not in the tables, as they could not be read.
    """
    [(unreadable, doubtful)] = _rows(connection, schema.UNREADABLE)
    doubtful = doubtful[:_MOST_DOUBTFUL]
    if sum(length for _, length in doubtful) > _MOST_DOUBTFUL_BYTES:
        doubtful = []
    own_lines = _rows(connection, schema.OWN_LINES)
    sessions = _sessions(connection, [line for line, _, is_of_session in own_lines if is_of_session])
    execute(connection, schema.tally(_edges(sessions)))
    [(received, happened, starts, ended, has_fetched, has_lifecycle, untimed)] = _rows(
        connection, schema.ENTRY
    )
    [(is_in_order,)] = execute(connection, schema.IS_IN_ORDER, [place.end - place.start]).fetchall()
    groups = [_Tallied(*row) for row in _rows(connection, schema.TALLIED)]
    are_few = len(groups) <= schema.MOST_TALLIED
    return dataclasses.replace(
        place,
        is_in_order=place.is_in_order and is_in_order,
        unreadable=unreadable - len(doubtful) + lost,
        doubtful=tuple(map(tuple, doubtful)),
        received=_span(received),
        happened=_span(happened),
        ended=ended,
        starts=_span(starts),
        has_fetched=has_fetched,
        has_lifecycle=has_lifecycle,
        untimed=untimed,
        finals=known_finals(list(_finals(groups))) if are_few else None,
        gaps=tuple(line for line, is_gap, _ in own_lines if is_gap),
        sessions=few(sessions),
        streams=few(sorted({one.stream for one in groups if one.stream is not None})) if are_few else None,
        content=_content(connection, groups).stored() if are_few else None,
        channels=stored_channels(_rows(connection, schema.CHANNELS)),
    )


class _Tallied(NamedTuple):
    """A row of `schema.TALLIED`: events that are alike, with the first and the last of each of their times.

    Attributes:
        speaking: the stream of a transcript, or its name; None of other events.
        part: which part of the time they are in.
        place: where the earliest final transcript is, and `earliest` its start and end.
    """

    session: str | None
    stream: str | None
    speaking: str | None
    channel: str | None
    is_final: bool | None
    part: int
    number: int
    received: Sequence[int] | None
    happened: Sequence[int] | None
    starts: Sequence[int] | None
    place: int | None
    earliest: Sequence[int | None] | None

    @property
    def is_interim(self) -> bool:
        """Whether they are unfinished transcripts."""
        return self.is_final is False


def _rows(connection: "DuckDBPyConnection", sql: str) -> list[tuple[Any, ...]]:
    return execute(connection, sql).fetchall()


def _span(times: Iterable[int] | None) -> Span | None:
    if times is None:
        return None
    first, last = times
    return first, last


def _sessions(connection: "DuckDBPyConnection", lines: Iterable[str]) -> list[SessionFacts]:
    """Return what the lines of a segment say about sessions."""
    book = SessionBook()
    for session, first_ms, last_ms in _rows(connection, schema.SESSIONS_BESIDE):
        book.add(SessionFacts(session, first_ms, last_ms))
    for line in lines:
        book.take(parse_line(line.encode()) or {})
    return book.sessions()


def _edges(sessions: Iterable[SessionFacts]) -> list[int]:
    """Return the times at which a session may begin or end, in order."""
    return sorted(
        {
            edge
            for facts in sessions
            for moment in (facts.first_ms, facts.last_ms, facts.ended_ms, facts.closed_ms)
            if moment is not None
            for edge in (moment, moment + 1)
        }
    )


def _finals(groups: Iterable[_Tallied]) -> Iterator[Finals]:
    """Yield the times of each stream's final transcripts."""
    for stream, own in _by_stream(one for one in groups if one.is_final):
        received, happened, starts = (
            _joined(getattr(one, name) for one in own) for name in ("received", "happened", "starts")
        )
        yield Finals(stream, received, happened, starts)


def _content(connection: "DuckDBPyConnection", groups: Sequence[_Tallied]) -> SegmentContent:
    """Return how many events the segment has, apart where a session may begin or end."""
    interims = [one for one in groups if one.is_interim]
    firsts = {}
    for stream, own in _by_stream(one for one in groups if one.is_final):
        start, end = min(own, key=lambda one: one.place or 0).earliest or (None, None)
        firsts[stream] = start, end
    starts = {stream: _joined(one.starts for one in own) for stream, own in _by_stream(interims)}
    return SegmentContent(
        _counted(one for one in groups if not one.is_interim and one.channel not in RECORDER),
        [OpenInterim(*row) for row in _rows(connection, schema.INTERIMS_LEFT)] if interims else [],
        firsts,
        {stream: span for stream, span in starts.items() if span is not None},
    )


def _counted(groups: Iterable[_Tallied]) -> list[Group]:
    found = defaultdict(list)
    for one in groups:
        found[one.session, one.stream, one.channel, one.part].append(one)
    counted = []
    for (session, stream, channel, _), own in found.items():
        first, last = _joined(one.happened for one in own) or (None, None)
        counted.append(Group(session, stream, channel, sum(one.number for one in own), first, last))
    return counted


def _by_stream(groups: Iterable[_Tallied]) -> list[tuple[str | None, list[_Tallied]]]:
    found = defaultdict(list)
    for one in groups:
        found[one.speaking].append(one)
    return sorted(found.items(), key=lambda item: (item[0] is None, item[0] or ""))


def _joined(spans: Iterable[Sequence[int] | None]) -> Span | None:
    """Return the span from the first beginning to the last end."""
    known = [span for span in spans if span is not None]
    return (min(first for first, _ in known), max(last for _, last in known)) if known else None
