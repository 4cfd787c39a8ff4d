"""Decide which events belong to which capture session. Pure.

docs/events-format.md has the rule: the session that an event names; else the one whose lines name its stream;
else the only one in whose time it happened.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.events.session_facts import SessionFacts, facts_in, joined

LAST: Final = "last"
"""The name of the newest session."""

CONTENT: Final = ("transcript", "visual_index", "audio_index", "alert")
"""The channels whose events may belong to a session by their time alone."""

_MOST_SHOWN: Final = 5
_BEFORE_ALL_MS: Final = -(1 << 60)


class Claim(NamedTuple):
    """A time in which a stream's events belong to a session, in Unix ms.

    Attributes:
        since_ms: at this time or later; None for any time before `until_ms`.
        until_ms: before this time; None for ever.
    """

    session: str
    stream: str
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def is_for_ever(self) -> bool:
        """Whether no other session names the stream."""
        return self.since_ms is None and self.until_ms is None


class SessionSpan(NamedTuple):
    """A time that is no other session's, in Unix ms.

    Attributes:
        since_ms: at this time or later.
        until_ms: before this time; None while the session goes on.
        is_for_streams: whether events of a stream that no session names belong to it; else those without one.
    """

    session: str
    since_ms: int
    until_ms: int | None
    is_for_streams: bool


class SessionScope(NamedTuple):
    """The content of some sessions of a journal.

    Attributes:
        sessions: their ids.
        claims: of their streams.
        spans: of their times.
        named: the ids of all streams that any session of the journal names, if a span needs them.
    """

    sessions: tuple[str, ...]
    claims: tuple[Claim, ...] = ()
    spans: tuple[SessionSpan, ...] = ()
    named: tuple[str, ...] = ()


class SessionBook:
    """The sessions of a journal, as its lines report them."""

    def __init__(self, facts: Iterable[SessionFacts] = ()) -> None:
        """Take facts in the journal's order."""
        self._facts: dict[str, SessionFacts] = {}
        self._by_stream: dict[str, list[Claim]] | None = None
        for one in facts:
            self.add(one)

    def add(self, facts: SessionFacts) -> None:
        """Take what the next lines say about a session."""
        self._by_stream = None
        known = self._facts.get(facts.id)
        self._facts[facts.id] = facts if known is None else joined(known, facts)

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take the next event; return whether it changed what is known."""
        facts = facts_in(event)
        if facts is None:
            return False
        before = self._facts.get(facts.id)
        self.add(facts)
        return self._facts[facts.id] != before

    def sessions(self) -> list[SessionFacts]:
        """Return all sessions, oldest first: by their first line's time, else in the journal's order."""
        return sorted(self._facts.values(), key=_first_ms)

    def scope(self, sessions: Iterable[str]) -> SessionScope:
        """Return the content of sessions."""
        ids = tuple(dict.fromkeys(sessions))
        chosen = set(ids)
        spans = tuple(span for span in self.spans() if span.session in chosen)
        return SessionScope(
            ids,
            tuple(claim for claim in self.claims() if claim.session in chosen),
            spans,
            self.named() if any(span.is_for_streams for span in spans) else (),
        )

    def owner(self, stream: str, at_ms: int | None) -> str:
        """Return the session whose stream it is at a time; empty if none names it."""
        if self._by_stream is None:
            self._by_stream = {}
            for claim in self.claims():
                self._by_stream.setdefault(claim.stream, []).append(claim)
        for claim in self._by_stream.get(stream, ()):
            begun = claim.since_ms is None or (at_ms is not None and at_ms >= claim.since_ms)
            if begun and (claim.until_ms is None or (at_ms is not None and at_ms < claim.until_ms)):
                return claim.session
        return ""

    def named(self) -> tuple[str, ...]:
        """Return the ids of all streams that a session names."""
        return tuple(dict.fromkeys(stream for facts in self._facts.values() for stream, _ in facts.streams))

    def claims(self) -> Iterator[Claim]:
        """Yield whose a stream's events are, and when: of each stream one at a time."""
        owners: dict[str, list[SessionFacts]] = {}
        for facts in self.sessions():
            for stream, _ in facts.streams:
                owners.setdefault(stream, []).append(facts)
        for stream, each in owners.items():
            yield from _claims_in_turn(stream, each)

    def spans(self) -> Iterator[SessionSpan]:
        """Yield the times that are one session's alone: for events without a stream, and for unknown streams.

        A session that names its streams has no others.
        """
        times = list(self.times())
        yield from _alone(times, is_for_streams=False)
        nameless = [time for time in times if not self._facts[time.session].streams]
        yield from _alone(nameless, is_for_streams=True)

    def times(self) -> Iterator["SessionTime"]:
        """Yield from when until when each session was, oldest first; one without a time has none."""
        timed = [facts for facts in self.sessions() if facts.first_ms is not None]
        for place, facts in enumerate(timed):
            begin_ms = facts.first_ms or 0
            following = timed[place + 1].first_ms if place + 1 < len(timed) else None
            if facts.over_ms is not None:
                yield SessionTime(facts.id, begin_ms, max(facts.over_ms, begin_ms) + 1)
            elif facts.is_ended or following is not None:
                # Its end was not received: another one begins, or there is a line that names it.
                last_ms = max(facts.last_ms or 0, begin_ms) + 1
                yield SessionTime(facts.id, begin_ms, max(last_ms, 0 if facts.is_ended else following or 0))
            else:
                yield SessionTime(facts.id, begin_ms, None)


def resolved(books: Iterable[SessionBook], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the ids that were meant: of `last` the newest session's, of an id's beginning the whole.

    Args:
        books: the sessions of the journals that are searched together.
        wanted: ids, beginnings of ids, or `last`; what is nothing of these stays as it is.

    Raises:
        InputError: several ids begin so.
    """
    known = SessionBook(facts for book in books for facts in book.sessions())
    ids = [facts.id for facts in known.sessions()]
    return tuple(dict.fromkeys(session for one in wanted for session in _meant(one, ids)))


def _claims_in_turn(stream: str, owners: Sequence[SessionFacts]) -> Iterator[Claim]:
    begins = [None, *(facts.first_ms for facts in owners[1:]), None]
    for facts, since_ms, until_ms in zip(owners, begins, begins[1:], strict=False):
        yield Claim(facts.id, stream, since_ms, until_ms)


class SessionTime(NamedTuple):
    """From when until when a session was, in Unix ms.

    Attributes:
        since_ms: at this time or later.
        until_ms: before this time; None while it goes on.
    """

    session: str
    since_ms: int
    until_ms: int | None


def _alone(times: Sequence[SessionTime], *, is_for_streams: bool) -> Iterator[SessionSpan]:
    """Yield the parts of the times that are in no other one."""
    edges = sorted(
        {edge for _, since_ms, until_ms in times for edge in (since_ms, until_ms) if edge is not None}
    )
    begins: dict[int, list[str]] = {}
    ends: dict[int, list[str]] = {}
    for session, since_ms, until_ms in times:
        begins.setdefault(since_ms, []).append(session)
        if until_ms is not None:
            ends.setdefault(until_ms, []).append(session)
    now: set[str] = set()
    for edge, following in zip(edges, [*edges[1:], None], strict=False):
        now.difference_update(ends.get(edge, ()))
        now.update(begins.get(edge, ()))
        if len(now) == 1:
            yield SessionSpan(next(iter(now)), edge, following, is_for_streams)


def _first_ms(facts: SessionFacts) -> int:
    return _BEFORE_ALL_MS if facts.first_ms is None else facts.first_ms


def _meant(wanted: str, ids: Sequence[str]) -> Sequence[str]:
    if wanted == LAST:
        return ids[-1:]
    if wanted in ids or not wanted:
        return [wanted]
    begun = [session for session in ids if session.startswith(wanted)]
    if len(begun) > 1:
        shown = ", ".join(begun[:_MOST_SHOWN]) + (", …" if len(begun) > _MOST_SHOWN else "")
        raise InputError(
            f"--session: {len(begun)} sessions begin with {wanted}: {shown}",
            "give more of the id; vdbevents sessions lists them",
            error_id="session-ambiguous",
        )
    return begun or [wanted]
