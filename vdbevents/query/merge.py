"""Merge the results of several journals, each searched by itself, in the order of time.

Replaced transcripts and repeated events are hidden within each journal only: events of two machines are never
the same, even if they look so.
"""

import contextlib
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from vdbevents.events.session_content import SessionBook, SessionScope, resolved
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import Cache, Span
from vdbevents.query.filters import Event, Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.older import Older
from vdbevents.query.plain_events import ParsedLines
from vdbevents.query.result_protocols import JournalRows, LineBlocks, MadeTexts, SessionRows
from vdbevents.query.tail_search import TailResult, count_tail, search_tail
from vdbevents.times import LEAST_MS

if TYPE_CHECKING:
    from vdbevents.query.copied_lines import CopiedLines
    from vdbevents.query.duck import SharedDatabase
    from vdbevents.query.search_result import SearchResult
    from vdbevents.query.whole_rows import WholeRows

    FoundRows = TailResult | SearchResult
    """What is found in one journal: in memory if its end shows it, else in DuckDB."""

    FoundWhole = FoundRows | WholeRows
    """The same, where everything may be asked for."""

    FoundLines = FoundWhole | CopiedLines
    """The same, where lines alone are asked for."""

_BATCH: Final = 2048
_MOST_HELD: Final = 64

_Item = TypeVar("_Item")
_Timed = tuple[int | None, _Item]

_Ask = Callable[["HostJournal", Filters, "SharedDatabase | None"], "SearchResult"]


_Rows_co = TypeVar("_Rows_co", bound=JournalRows, covariant=True)


class MergedResult(Closeable, Generic[_Rows_co]):
    """The matches in several journals, oldest first or newest first; a context manager.

    Events of the same time come in the order of the journals (newest first: reversed). It closes the answers.

    Attributes:
        filters: the conditions on all together.
        count: the number of events shown.
        offset: how many of the answers' matches, merged, come before these.
        skipped: lines that could not be read, in all journals.
        span: the first and the last time among the events shown, in Unix ms; None where none has a time.
        breaks: the rows, from 0, at which the events around another match begin, and none around an earlier
            match follow.
    """

    def __init__(
        self,
        answers: Sequence[tuple[str, _Rows_co]],
        filters: Filters,
        shared: "SharedDatabase | None" = None,
    ) -> None:
        """Take the answers to `filters_for_each(filters)`, and the database they share."""
        self._answers = answers
        self._shared = shared
        self.filters = filters
        total = sum(answer.count for _, answer in answers)
        self.offset, self._last = 0, total
        if is_cut := len(answers) > 1 and filters.around_ms is None and _is_limited(filters):
            self.offset, self._last = _rows(total, filters)
        self.count = self._last - self.offset
        self.skipped = sum(answer.skipped for _, answer in answers)
        self.span = self._span_of_rows() if is_cut else self._span_of_all()
        self.breaks = self._breaks() if len(answers) > 1 else set(answers[0][1].breaks)

    @property
    def answers(self) -> Sequence[tuple[str, _Rows_co]]:
        """Each journal's host and result, in the order of the journals."""
        return self._answers

    def lines(self) -> Iterator[list[str]]:
        """Yield the journals' own lines, without their line ends, in batches that are never empty."""
        if len(self.answers) == 1:
            return self.answers[0][1].lines()
        return self._merge([answer.timed_lines() for _, answer in self.answers if answer.count])

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events, in batches that are never empty; None but in `columns` and the times."""
        if len(self.answers) == 1:
            [(host, answer)] = self.answers
            return _with_host(answer.events(columns), host if "host" in columns else None)
        ordering = {"time_ms", "start_ms"} if self.filters.in_order_of_events else {"time_ms"}
        each = [
            _with_host(answer.events({*columns, *ordering}), host if "host" in columns else None)
            for host, answer in self.answers
            if answer.count
        ]
        return self._merge([map(self._timed, batches) for batches in each])

    def texts(self, made: str, columns: Collection[str]) -> Iterator[list[str]] | None:
        """Yield a text for each event, as `SearchResult` does; None if they are not all in one database."""
        _, answer = self.answers[0]
        return (
            answer.texts(made, columns) if len(self.answers) == 1 and isinstance(answer, MadeTexts) else None
        )

    def blocks(self) -> Iterator[bytes] | None:
        """Yield all lines with their line ends, in blocks of any length; None without such ranges."""
        _, answer = self.answers[0]
        return answer.blocks() if len(self.answers) == 1 and isinstance(answer, LineBlocks) else None

    def names(self, columns: Collection[str]) -> dict[str, set[str]]:
        """Return the values of some columns of the view `events`, whether shown or not, without NULLs."""
        each = [answer.names(columns) for _, answer in self.answers if answer.count]
        return {column: {name for known in each for name in known[column]} for column in columns}

    def close(self) -> None:
        """Close the answers and their database. A second call does nothing."""
        for _, answer in self.answers:
            answer.close()
        if self._shared:
            self._shared.close()

    def origins(self) -> Iterator[int]:
        """Yield the number of its journal for each event shown."""
        numbers = [_numbered(number, of) for number, (_, of) in enumerate(self.answers) if of.count]
        for batch in self._merge(numbers):
            yield from batch

    def _timed(self, batch: Iterable[Event]) -> list[_Timed[Event]]:
        if self.filters.in_order_of_events:
            return [(event.time_ms if event.start_ms is None else event.start_ms, event) for event in batch]
        return [(event.time_ms, event) for event in batch]

    def _merge(self, each: Sequence[Iterable[list[_Timed[_Item]]]]) -> Iterator[list[_Item]]:
        """Merge the answers lazily, and yield the rows that are shown."""
        streams = [chain.from_iterable(batches) for batches in each]
        newest_first = self.filters.newest_first
        if newest_first:
            streams.reverse()
        merged = heapq.merge(*streams, key=_place, reverse=newest_first)
        shown = islice(merged, self.offset, self._last)
        while batch := [item for _, item in islice(shown, _BATCH)]:
            yield batch

    def _span_of_all(self) -> tuple[int, int] | None:
        spans = [answer.span for _, answer in self.answers if answer.span is not None]
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None

    def _span_of_rows(self) -> tuple[int, int] | None:
        times = [of.times() for _, of in self.answers if of.count]
        each = [([(moment, moment) for moment in batch] for batch in of_one) for of_one in times]
        span: tuple[int, int] | None = None
        for moment in chain.from_iterable(self._merge(each)):
            if moment is not None:
                span = (min(span[0], moment), max(span[1], moment)) if span else (moment, moment)
        return span

    def _breaks(self) -> set[int]:
        """Return the rows at which the events around another match begin, and no journal's go on."""
        if self.filters.around_ms is None:
            return set()
        numbers = _numbers_of_groups([answer.groups for _, answer in self.answers])
        seen, group = [0] * len(self.answers), [0] * len(self.answers)
        reaches: dict[int, tuple[int, int]] = {}  # of each group the first and the last row
        for row, number in enumerate(self.origins()):
            group[number] = numbers[number].get(seen[number], group[number])
            seen[number] += 1
            first, _ = reaches.get(group[number], (row, row))
            reaches[group[number]] = first, row
        breaks, end = set(), 0
        for first, last in sorted(reaches.values()):
            if first > end:
                breaks.add(first)
            end = max(end, last)
        return breaks


def _numbers_of_groups(each: Sequence[Mapping[int, Span]]) -> list[dict[int, int]]:
    """Return a number for each row at which a group begins: the same for groups that overlap in time."""
    rows = sorted((span, number, row) for number, groups in enumerate(each) for row, span in groups.items())
    numbered: list[dict[int, int]] = [{} for _ in each]
    group, end = 0, LEAST_MS
    for (first, last), number, row in rows:
        group += first > end
        end = max(end, last)
        numbered[number][row] = group
    return numbered


def _place(timed: _Timed[object]) -> int:
    """Return the sort key: an event without a time is older than all others."""
    return LEAST_MS - 1 if timed[0] is None else timed[0]


def _with_host(batches: Iterator[list[Event]], host: str | None) -> Iterator[list[Event]]:
    if host is None:
        return batches
    # `_replace` takes several times as long, and `host` is the last.
    return ([Event._make((*event[:-1], host)) for event in batch] for batch in batches)


def _numbered(number: int, answer: JournalRows) -> Iterator[list[_Timed[int]]]:
    return ([(moment, number) for moment in batch] for batch in answer.times())


def _is_limited(filters: Filters) -> bool:
    return filters.limit is not None or filters.offset > 0


def _rows(total: int, filters: Filters) -> tuple[int, int]:
    """Return the range of rows to show out of `total`: the first, and the one after the last."""
    left = max(0, total - filters.offset)
    kept = left if filters.limit is None else min(left, filters.limit)
    first = filters.offset if filters.newest_first else left - kept
    return min(first, total), min(first, total) + kept


def filters_for_each(filters: Filters) -> Filters:
    """Return the filters for each of several journals, so that the newest of all are among the answers."""
    limit = None if filters.limit is None else filters.limit + filters.offset
    return replace(filters, limit=limit, offset=0)


def search(
    journals: Sequence[HostJournal],
    filters: Filters,
    cache_of: Callable[[Path], Cache | None] = lambda _: None,
    *,
    cleared: bool = False,
    books: Sequence[SessionBook] = (),
    shared: "SharedDatabase | None" = None,
    counting: bool = False,
    only_count: bool = False,
) -> "MergedResult[SearchResult]":
    """Search one or more journals, and merge the results.

    With `around_ms`, the events around a match are those of the match's journal.

    Args:
        journals: in the order in which they were named.
        filters: the conditions on all together: `limit` counts the newest, wherever they are.
        cache_of: returns a journal's cache; None reads all of it.
        cleared: whether to search also what was cleared.
        books: the sessions of each journal, if they are known already.
        shared: a database to search with, which stays open; without it, each search starts one.
        counting: whether only to count the events of sessions, as `engine.search` does; it needs `books`.
        only_count: as for `engine.search`.

    Raises:
        InputError: a journal cannot be read, or a pattern is not a regular expression.
        StorageError: memory and temporary space are used up.
    """
    # Slow to import: `search_rows` may need nothing of it.
    from vdbevents.query.engine import search as search_one

    older = Older(cache_of, cleared)
    scopes: dict[Path, SessionScope] = {}
    if filters.sessions and (books or len(journals) > 1):
        scopes = _scopes(journals, filters, books or read_books(journals, older))

    known = {journal.path: book for journal, book in zip(journals, books, strict=True)} if counting else {}

    def ask(journal: HostJournal, asked: Filters, database: "SharedDatabase | None") -> "SearchResult":
        asked = replace(asked, scope=scopes.get(journal.path, asked.scope))
        return search_one(
            journal.path,
            asked,
            _cache(journal, older),
            shared=database,
            older=older,
            counting=None if journal.rows else known.get(journal.path),
            rows=journal.rows,
            only_count=only_count,
        )

    each = [filters]
    if len(journals) > 1:
        each = [filters_for_each(filters)] * len(journals)
        if filters.around_ms is not None and _is_limited(filters):
            each = _shares(journals, filters, ask, shared)
    return _answered(journals, each, filters, ask, shared)


def search_rows(
    journals: Sequence[HostJournal],
    filters: Filters,
    cache_of: Callable[[Path], Cache | None] = lambda _: None,
    *,
    cleared: bool = False,
    shared: "SharedDatabase | None" = None,
    known: ParsedLines | None = None,
    only_count: bool = False,
) -> "MergedResult[FoundRows]":
    """Search as `search` does, but for rows alone: without DuckDB if the end of a journal shows the answer.

    With `known` it does not parse again what another search has. The other arguments, and what it raises, are
    those of `search`.
    """
    if len(journals) == 1 and journals[0].rows is None:
        [journal] = journals
        older = Older(cache_of, cleared)
        found = search_tail(journal.path, filters, _cache(journal, older), older, known)
        if found is not None:
            return MergedResult([(journal.host, found)], filters)
    return search(journals, filters, cache_of, cleared=cleared, shared=shared, only_count=only_count)


def search_whole(
    journals: Sequence[HostJournal],
    filters: Filters,
    cache_of: Callable[[Path], Cache | None] = lambda _: None,
    *,
    cleared: bool = False,
    only_count: bool = False,
) -> "MergedResult[FoundWhole]":
    """Search as `search_rows` does, but for everything in portions: it is counted before it is found.

    The arguments and what it raises are those of `search`.
    """
    if len(journals) == 1 and journals[0].rows is None:
        from vdbevents.query.whole_rows import whole_rows

        [journal] = journals
        older = Older(cache_of, cleared)
        found = whole_rows(journal.path, filters, _cache(journal, older), older)
        if found is not None:
            return MergedResult([(journal.host, found)], filters)
    return search_rows(journals, filters, cache_of, cleared=cleared, only_count=only_count)


def search_lines(
    journals: Sequence[HostJournal],
    filters: Filters,
    cache_of: Callable[[Path], Cache | None] = lambda _: None,
    *,
    cleared: bool = False,
) -> "MergedResult[FoundLines]":
    """Search as `search_whole` does, where only the lines as they are matter: they may be ranges of bytes.

    The arguments and what it raises are those of `search`.
    """
    if len(journals) == 1 and journals[0].rows is None:
        from vdbevents.query.copied_lines import copied_lines

        [journal] = journals
        older = Older(cache_of, cleared)
        found = copied_lines(journal.path, filters, _cache(journal, older), older)
        if found is not None:
            return MergedResult([(journal.host, found)], filters)
    return search_whole(journals, filters, cache_of, cleared=cleared)


def count_sessions(
    journals: Sequence[HostJournal],
    filters: Filters,
    cache_of: Callable[[Path], Cache | None],
    books: Sequence[SessionBook],
    *,
    cleared: bool = False,
) -> MergedResult[SessionRows]:
    """Count the events of sessions, without reading what is sealed where its manifest says enough.

    Args:
        journals: in the order in which they were named.
        filters: without conditions, or with the `sessions` to count.
        cache_of: returns a journal's cache; None reads all of it.
        books: the sessions of each journal.
        cleared: whether to count also what was cleared.

    Raises:
        InputError: a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    older = Older(cache_of, cleared)
    if len(journals) == 1 and journals[0].rows is None:
        [journal], [book] = journals, books
        asked = filters
        if filters.sessions:
            asked = replace(filters, scope=_scopes(journals, filters, books)[journal.path])
        found = count_tail(journal.path, asked, _cache(journal, older), older, book)
        if found is not None:
            return MergedResult([(journal.host, found)], filters)
    return search(journals, filters, cache_of, cleared=cleared, books=books, counting=True)


def _cache(journal: HostJournal, older: Older) -> Cache | None:
    return None if journal.is_scratch else older.cache_of(journal.path)


def read_books(journals: Sequence[HostJournal], older: Older) -> list[SessionBook]:
    """Return the sessions of each journal.

    Raises:
        InputError: a journal cannot be read.
    """
    from vdbevents.query.session_reader import read_sessions

    return [
        read_sessions(journal.path, _cache(journal, older), older)
        if journal.rows is None
        else journal.rows.sessions()
        for journal in journals
    ]


def _scopes(
    journals: Sequence[HostJournal], filters: Filters, books: Sequence[SessionBook]
) -> dict[Path, SessionScope]:
    """Return the content of the sessions in each journal: `last` is the newest of all."""
    wanted = resolved(books, filters.sessions)
    return {journal.path: book.scope(wanted) for journal, book in zip(journals, books, strict=True)}


def _answered(
    journals: Sequence[HostJournal],
    each: Sequence[Filters],
    filters: Filters,
    ask: _Ask,
    given: "SharedDatabase | None",
) -> "MergedResult[SearchResult]":
    from vdbevents.query.duck import SharedDatabase

    with contextlib.ExitStack() as opened, contextlib.ExitStack() as searched:
        shared = opened.enter_context(SharedDatabase()) if len(journals) > 1 and given is None else None
        database = given or shared
        if database is not None and any(journal.rows for journal in journals):
            from vdbevents.query.shared_matches import with_matches

            journals = searched.enter_context(with_matches(journals, each[0], database))
        answers = []
        for journal, asked in zip(journals, each, strict=True):
            answer = opened.enter_context(ask(journal, asked, database))
            answers.append((journal.host, answer))
            if not answer.count and len(journals) > 1:
                answer.close()  # there may be a journal for each day of a year
            elif len(journals) > _MOST_HELD:
                answer.snapshot.release()
        merged = MergedResult(answers, filters, shared)
        opened.pop_all()
    return merged


def _shares(
    journals: Sequence[HostJournal], filters: Filters, ask: _Ask, given: "SharedDatabase | None"
) -> list[Filters]:
    """Return the filters for each journal with which its matches are those among the newest of all."""
    newest = replace(filters, around_ms=None, offset=0, newest_first=True)
    if filters.limit is not None:
        newest = replace(newest, limit=filters.limit + filters.offset)
    before, chosen = [0] * len(journals), [0] * len(journals)
    with _answered(journals, [newest] * len(journals), newest, ask, given) as merged:
        for row, number in enumerate(merged.origins()):
            (before if row < filters.offset else chosen)[number] += 1
    return [
        replace(filters, offset=offset, limit=None if filters.limit is None else limit)
        for offset, limit in zip(before, chosen, strict=True)
    ]
