"""Sum up the answers of several journals: statistics, moments, transcripts and sessions."""

from collections.abc import Callable, Collection, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, NamedTuple, Self

from vdbevents.events.gaps import Gap
from vdbevents.events.session_content import SessionBook, resolved
from vdbevents.events.session_facts import SessionFacts
from vdbevents.query import merge
from vdbevents.query.filters import Event, Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.merge import MergedResult
from vdbevents.query.older import Older
from vdbevents.query.result_protocols import JournalRows, SessionRows
from vdbevents.query.tail_search import TailResult
from vdbevents.summaries.digest import missed_within
from vdbevents.summaries.moments import Found, Surroundings, surroundings
from vdbevents.summaries.time_blocks import TimeBlock
from vdbevents.summaries.transcript import Silence, end_of, gap_silences, pause_silences, start_of
from vdbevents.times import Window

# One of these takes longer to load than some answers.
if TYPE_CHECKING:
    from vdbevents.query.cache.index import Span
    from vdbevents.query.merge import FoundRows
    from vdbevents.query.tally import AnswerTally
    from vdbevents.summaries.activity import Activity, By
    from vdbevents.summaries.session_list import KnownSession, ListedSession

GapsOf = Callable[[HostJournal, JournalRows], Sequence[Gap]]
"""Returns the gaps of a journal that touch what was searched, and others; also one that goes on now."""


class StatsQuestion(NamedTuple):
    """What to count.

    Attributes:
        by: by what; None for hours, or days if there are many.
        most: at most so many rows; None for all.
        of_sessions: whether only the content of some sessions was searched.
        window: the time that was asked for.
        zone: of hours and days.
        now_ms: the present, in Unix ms.
    """

    by: "By | None"
    most: int | None
    of_sessions: bool
    window: Window
    zone: tzinfo
    now_ms: int


def counted_activity(
    asked: StatsQuestion,
    journals: Sequence[HostJournal],
    answer: "MergedResult[FoundRows]",
    gaps_of: GapsOf,
) -> "Activity":
    """Count the events of each journal, and what it did not record."""
    from vdbevents.summaries import activity

    by = activity.usual(answer.span) if asked.by is None else asked.by
    rows: list[activity.Row] = []
    spans: list[Span | None] = []
    total = activity.Figures()
    for journal, (_, result) in zip(journals, answer.answers, strict=True):
        host = journal.host if len(journals) > 1 else ""
        gaps = gaps_of(journal, result)
        lost = activity.unrecorded(gaps, result.pauses, _within(asked, result), asked.now_ms)
        of_one: list[activity.Row] = []
        if result.count:
            tally = _tally(result, asked.window, lost.breaks)
            of_one = activity.rows_of(tally.by(by.key), by, asked.zone, host)
            total = total.plus(activity.sum_of(map(activity.figures_of, tally.by("channel"))))
            spans.append(tally.span)
        rows += activity.with_unrecorded(of_one, lost, by, asked.zone, host)
        total = total.plus(activity.lost_of(lost))
        spans += [*lost.gaps, *lost.pauses]
    kept, left_out = activity.arranged(rows, by, asked.most)
    of_rows = activity.sum_of(row.figures for row in rows)
    return activity.Activity(by, activity.reach(spans), total, of_rows, kept, left_out)


def _tally(result: "FoundRows", window: Window, breaks: Sequence[int]) -> "AnswerTally":
    if isinstance(result, TailResult):
        from vdbevents.query.plain_tally import PlainTally

        return PlainTally(result.held, window, breaks)
    from vdbevents.query.tally import TabledTally

    return TabledTally(result, window, breaks)


def _within(asked: StatsQuestion, result: JournalRows) -> Window:
    """Return the time of which to know what was not recorded: that of the sessions, if some were named."""
    if not asked.of_sessions:
        return asked.window
    return Window(0, 0) if result.span is None else Window(*result.span)


def surroundings_in(
    journals: Sequence[HostJournal],
    answer: MergedResult[JournalRows],
    found: Found,
    width_ms: int,
    *,
    columns: Collection[str],
    gaps_of: GapsOf,
) -> list[Surroundings]:
    """Return what was around moments, without those around which there is nothing.

    Args:
        journals: that were searched.
        answer: the events of the times that `summaries.moments.spans_for` returns.
        found: the moments.
        width_ms: how much is around each.
        columns: of the events.
        gaps_of: returns the gaps of a journal.
    """
    first = min(one.first_ms for one in found.moments) - width_ms
    last = max(one.last_ms for one in found.moments) + width_ms
    missed = [
        (host if len(journals) > 1 else "", one)
        for journal, (host, result) in zip(journals, answer.answers, strict=True)
        for one in missed_within(gaps_of(journal, result), result.pauses, TimeBlock(first, last + 1))
    ]
    events = [event for batch in answer.events(columns) for event in batch]
    chosen = [surroundings(moment, events, missed, width_ms) for moment in found.moments]
    return [
        one for one in chosen if one.moment.matches or one.said or one.screens or one.alerts or one.missed
    ]


def session_asked_for(
    journals: Sequence[HostJournal], older: Older, sessions: Sequence[str]
) -> SessionFacts | None:
    """Return what the journals say about the first of some sessions; None if they do not know it.

    Args:
        journals: to look in.
        older: how to read what was set aside.
        sessions: ids, their beginnings, or `last`.
    """
    books = merge.read_books(journals, older)
    wanted = resolved(books, sessions)
    book = SessionBook(facts for one in books for facts in one.sessions())
    return next((facts for facts in book.sessions() if facts.id in wanted), None)


def transcript_window(filters: Filters, session: SessionFacts | None, events: Sequence[Event]) -> Window:
    """Return the time that a transcript is of: the window that was asked for, and in it the session."""
    since_ms, until_ms = filters.window.since_ms, filters.window.until_ms
    if session is None:
        return filters.window
    moments = [*map(start_of, events), *map(end_of, events), session.first_ms, session.over_ms]
    known = [moment for moment in moments if moment is not None]
    first_ms = min(known, default=None)
    last_ms = max(known) + 1 if session.is_ended and known else None
    return Window(
        max((one for one in (since_ms, first_ms) if one is not None), default=None),
        min((one for one in (until_ms, last_ms) if one is not None), default=None),
    )


def silences_in(
    journals: Sequence[HostJournal],
    answer: MergedResult[JournalRows],
    window: Window,
    now_ms: int,
    gaps_of: GapsOf,
) -> list[Silence]:
    """Return where nothing was recorded in a window, on each machine."""
    silences = []
    for journal, (_, result) in zip(journals, answer.answers, strict=True):
        host = journal.host if len(journals) > 1 else None
        silences += gap_silences(gaps_of(journal, result), window, host)
        silences += pause_silences(result.pauses, window, now_ms, host)
    return silences


class SessionsInWindow(NamedTuple):
    """The sessions of journals that touch a window.

    Attributes:
        chosen: the newest of them, oldest first.
        earlier: how many others there are.
        has_others: whether there are sessions at other times.
        is_whole: whether these are all sessions of the journals.
        books: all sessions of each journal.
    """

    chosen: "Sequence[KnownSession]"
    earlier: int
    has_others: bool
    is_whole: bool
    books: Sequence[SessionBook]

    @property
    def filters(self) -> Filters:
        """What finds their content; that of all needs no filter: it is most of the journal."""
        return Filters(sessions=() if self.is_whole else tuple(one.facts.id for one in self.chosen))

    def without_newest(self, count: int) -> Self:
        """Return the same without the newest ones."""
        if not count:
            return self
        return self._replace(chosen=self.chosen[: max(len(self.chosen) - count, 0)], is_whole=False)

    def listed(
        self, journals: Sequence[HostJournal], answer: MergedResult[SessionRows]
    ) -> "list[ListedSession]":
        """Return them with their content, which `answer` is."""
        from vdbevents.summaries import session_list

        counts = [
            result.session_counts(book) for (_, result), book in zip(answer.answers, self.books, strict=True)
        ]
        return session_list.with_content(self.chosen, [journal.host for journal in journals], counts)


def sessions_in(
    journals: Sequence[HostJournal], window: Window, most: int | None, older: Older
) -> SessionsInWindow:
    """Return the newest sessions of journals that touch a window; None for `most` is all of them."""
    from vdbevents.summaries import session_list

    books = merge.read_books(journals, older)
    known = session_list.in_window(books, window)
    chosen = known[-most:] if most else known
    count = sum(len(book.sessions()) for book in books)
    return SessionsInWindow(chosen, len(known) - len(chosen), count > 0, len(chosen) == count, books)
