"""Search the journals that a command names, and print remarks on what stands in the way of an answer."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.diagnostics import Color
from vdbevents.cli.options import EnvironmentOptions
from vdbevents.cli.query_follow import remark_on_trouble, remark_on_unreadable
from vdbevents.cli.query_options import SourceOptions, WindowOptions, moment_text
from vdbevents.cli.tables import remark
from vdbevents.terminal import counted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from vdbevents.events.gaps import Gap
    from vdbevents.privacy.pauses import Pause
    from vdbevents.query.cache.index import Cache
    from vdbevents.query.filters import Filters
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.merge import FoundLines, FoundRows, FoundWhole, MergedResult
    from vdbevents.query.plain_events import ParsedLines
    from vdbevents.query.result_protocols import JournalRows
    from vdbevents.query.search_result import SearchResult
    from vdbevents.times import Window

_CLOCKS_DIFFER_MS: Final = 60_000


@contextlib.contextmanager
def searched(
    named: SourceOptions,
    filters: "Filters",
    options: EnvironmentOptions,
    now: datetime,
    *,
    cache: bool = True,
    colour: Color = Color.AUTO,
) -> Iterator[tuple[list["HostJournal"], "MergedResult[SearchResult]"]]:
    """Yield the journals that are named, and the events in them that match, from all journals as one.

    Ctrl-C ends it cleanly. A large journal is sealed first, with a display on stderr.

    Args:
        named: names the journals.
        filters: what matches.
        options: where the journal is, if none is named.
        now: the current time.
        cache: whether to use and extend the query cache.
        colour: when the display of the sealing has colours.

    Raises:
        InputError: a name matches nothing, or a journal cannot be read.
        StorageError: memory and temporary space are used up.
    """
    with (
        opened_journals(named, options, filters) as journals,
        searched_again(journals, named, filters, now, cache=cache, colour=colour) as answer,
    ):
        yield journals, answer


@contextlib.contextmanager
def searched_for_rows(
    named: SourceOptions,
    filters: "Filters",
    options: EnvironmentOptions,
    now: datetime,
    *,
    cache: bool = True,
    colour: Color = Color.AUTO,
    known: "ParsedLines | None" = None,
) -> Iterator[tuple[list["HostJournal"], "MergedResult[FoundRows]"]]:
    """Search as `searched` does, without DuckDB if the end of a journal shows the answer.

    With `known` it keeps what it parses for another search.
    """
    with (
        opened_journals(named, options, filters) as journals,
        rows_searched_again(journals, named, filters, now, cache=cache, colour=colour, known=known) as answer,
    ):
        yield journals, answer


@contextlib.contextmanager
def searched_for_everything(
    named: SourceOptions,
    filters: "Filters",
    options: EnvironmentOptions,
    now: datetime,
    *,
    cache: bool = True,
    colour: Color = Color.AUTO,
    only_count: bool = False,
) -> Iterator[tuple[list["HostJournal"], "MergedResult[FoundWhole]"]]:
    """Search as `searched_for_rows` does, where everything may be asked for: then it is found in portions.

    With `only_count`, the answer need not have the events, but only say how many they are.
    """
    from vdbevents.query import merge

    cache_of = _sealing(filters, now, cache=cache, colour=colour)
    with (
        opened_journals(named, options, filters) as journals,
        merge.search_whole(
            journals, filters, cache_of, cleared=named.archived, only_count=only_count
        ) as answer,
    ):
        yield journals, answer


@contextlib.contextmanager
def searched_for_lines(
    named: SourceOptions,
    filters: "Filters",
    options: EnvironmentOptions,
    now: datetime,
    *,
    cache: bool = True,
    colour: Color = Color.AUTO,
) -> Iterator[tuple[list["HostJournal"], "MergedResult[FoundLines]"]]:
    """Search as `searched_for_everything` does, where only the journals' own lines are printed."""
    from vdbevents.query import merge

    cache_of = _sealing(filters, now, cache=cache, colour=colour)
    with (
        opened_journals(named, options, filters) as journals,
        merge.search_lines(journals, filters, cache_of, cleared=named.archived) as answer,
    ):
        yield journals, answer


@contextlib.contextmanager
def opened_journals(
    named: SourceOptions, options: EnvironmentOptions, filters: "Filters | None" = None
) -> Iterator[list["HostJournal"]]:
    """Yield the journals that are named, for one search or several; the arguments are as in `searched`.

    With `filters`, a lake's journals are those that may have what they ask for.

    Raises:
        InputError: a name matches nothing, or a journal cannot be read.
    """
    from vdbevents.query import duck
    from vdbevents.query.cache import seal_policy

    try:
        opened = cli_journals.opened_as_named(named, options, hint=text_hint(named), filters=filters)
        with duck.interruptible(), opened as journals:
            yield journals
    finally:
        seal_policy.remove_orphans()


def searched_again(
    journals: "Sequence[HostJournal]",
    named: SourceOptions,
    filters: "Filters",
    now: datetime,
    *,
    cache: bool = True,
    colour: Color = Color.AUTO,
) -> "MergedResult[SearchResult]":
    """Return the events in opened journals that match; it must be closed. As `searched`."""
    from vdbevents.query import merge

    cache_of = _sealing(filters, now, cache=cache, colour=colour)
    return merge.search(journals, filters, cache_of, cleared=named.archived)


def rows_searched_again(
    journals: "Sequence[HostJournal]",
    named: SourceOptions,
    filters: "Filters",
    now: datetime,
    *,
    cache: bool = True,
    colour: Color = Color.AUTO,
    known: "ParsedLines | None" = None,
) -> "MergedResult[FoundRows]":
    """Return the events in opened journals that match; it must be closed. As `searched_for_rows`.

    With `known` it does not parse again what another search has.
    """
    from vdbevents.query import merge

    cache_of = _sealing(filters, now, cache=cache, colour=colour)
    return merge.search_rows(journals, filters, cache_of, cleared=named.archived, known=known)


def _sealing(
    filters: "Filters", now: datetime, *, cache: bool, colour: Color
) -> "Callable[[Path], Cache | None]":
    """Return what returns the cache of a journal, sealed first if it is large; None if none is wanted."""
    from vdbevents.cli.seal_display import SealDisplay
    from vdbevents.query.cache import seal_policy

    def cache_of(path: Path) -> "Cache | None":
        display = SealDisplay(colour, "use --no-cache to search without")
        return seal_policy.cache_for(path, filters.window, now, display) if cache else None

    return cache_of


class SearchingAgain:
    """Search journals that were searched, with other filters; it seals nothing."""

    def __init__(
        self,
        journals: "Sequence[HostJournal]",
        *,
        cleared: bool,
        cache: bool,
        known: "ParsedLines | None" = None,
    ) -> None:
        """Take the journals, and the lines that the first search has read."""
        self._journals = journals
        self._cleared = cleared
        self._cache = cache
        self._known = known

    def __call__(self, filters: "Filters") -> "AbstractContextManager[MergedResult[JournalRows]]":
        """Return the events that match; it must be closed."""
        from vdbevents.query import merge

        return merge.search_rows(
            self._journals, filters, self._cache_of, cleared=self._cleared, known=self._known
        )

    def newest_ms(self, filters: "Filters") -> int | None:
        """Return when the newest event of some channels happened, in Unix ms; None without any.

        Args:
            filters: of them, only the channels count.
        """
        from dataclasses import replace

        from vdbevents.query.journal_end import UndecidedError, newest_at_end
        from vdbevents.query.older import Older

        older = Older(self._cache_of, self._cleared)
        try:
            each = [newest_at_end(one.path, filters, older) for one in self._journals if one.rows is None]
        except UndecidedError:
            each = []
        if len(each) == len(self._journals):
            return max((one for one in each if one is not None), default=None)
        with self(replace(filters, limit=1, newest_first=True)) as answer:
            return None if answer.span is None else answer.span[1]

    def _cache_of(self, path: Path) -> "Cache | None":
        from vdbevents.query.cache.seal_policy import present_cache

        return present_cache(path) if self._cache else None


def text_hint(named: SourceOptions) -> str:
    """Return what to do if no journal has the argument's name: it may be a text to search for."""
    return f"to search for that text: vdbevents query --grep {shlex.quote(str(named.journal))}"


class GapsCommand:
    """The command line that lists the gaps of a journal in a command's window."""

    def __init__(
        self, named: SourceOptions, when: WindowOptions, window: "Window", options: EnvironmentOptions
    ) -> None:
        """Take the options of the command, and the window they mean."""
        self._named = named
        self._bounds: Mapping[str, object] = {"last": when.last, "since": when.since, "until": when.until}
        if when.on is not None or when.tz is not None:
            self._bounds = {"since": moment_text(window.since_ms), "until": moment_text(window.until_ms)}
        # A journal that was not named is found by the same settings.
        self._settings = {} if named.by_options else {"env_file": options.env_file, "cwd": options.cwd}

    def line(self, path: Path) -> str:
        """Return the command for one of the journals."""
        journal = path if self._named.by_options else self._named.journal
        from vdbevents.cli import gaps

        return gaps.command_line(journal, **self._bounds, **self._settings)


def remark_on_one(result: "JournalRows", path: Path, window: "Window", gaps_command: GapsCommand) -> None:
    """Print remarks on what was found in one journal that is followed."""
    command = partial(gaps_command.line, path)
    _remark_on(result, _with_ongoing(result.gaps, path), str(path), window, command)
    _remark_on_future(result.span, window)


def _remark_on_future(shown: tuple[int, int] | None, window: "Window") -> None:
    """Print a remark if the newest event shown has a time to come: it is not the newest in truth."""
    from vdbevents.journal.files import wall_ms
    from vdbevents.times import format_duration

    if shown is None or window.until_ms is not None or (ahead := shown[1] - wall_ms()) < _CLOCKS_DIFFER_MS:
        return
    remark(
        f"the newest event is {format_duration(ahead)} in the future: the clock was wrong then, or is now",
        "leave it out with --until now",
    )


def remark_on_each(
    journals: "Sequence[HostJournal]",
    answer: "MergedResult[JournalRows]",
    window: "Window",
    gaps_command: GapsCommand,
) -> None:
    """Print remarks on what each journal lacks: events, readable lines, times without a gap or a pause."""
    for journal, (_, result) in zip(journals, answer.answers, strict=True):
        if journal.trouble:
            remark_on_trouble(journal)
        # `gaps` reads plain files only.
        command = str if journal.is_scratch else partial(gaps_command.line, journal.path)
        known = known_gaps(journal, result)
        _remark_on(result, known, journal.label, window, command, name_journal=len(journals) > 1)
    _remark_on_future(answer.span, window)


def known_gaps(journal: "HostJournal", result: "JournalRows") -> "Sequence[Gap]":
    """Return the gaps of a journal that touch the window, and others; also one that goes on now."""
    return result.gaps if journal.is_scratch else _with_ongoing(result.gaps, journal.path)


def remark_on_lines(journals: "Sequence[HostJournal]", answer: "MergedResult[JournalRows]") -> None:
    """Print remarks on what each journal lacks, for an answer that lists gaps and pauses itself."""
    for journal, (_, result) in zip(journals, answer.answers, strict=True):
        if journal.trouble:
            remark_on_trouble(journal)
        _remark_on_unread(result, journal.label)


def _remark_on_unread(result: "JournalRows", label: str) -> None:
    if not result.journal_bytes:
        remark(f"the journal {label} is empty: nothing has been recorded yet")
    if result.skipped:
        remark_on_unreadable(result.skipped, label)
    if result.untimed:
        remark(
            f"{counted(result.untimed, 'event')} in {label} without a known time: not looked for in a window",
            "see them without --last, --since, --until and --on",
        )


def _with_ongoing(known: "Sequence[Gap]", journal: Path) -> "list[Gap]":
    """Return the gaps of an answer, and the one of its journal that has no line yet."""
    from vdbevents.events.gaps import with_ongoing
    from vdbevents.health.outages import ongoing_gap
    from vdbevents.journal.files import wall_ms

    return with_ongoing(known, ongoing_gap(journal, wall_ms()))


def _remark_on(
    result: "JournalRows",
    known: "Sequence[Gap]",
    label: str,
    window: "Window",
    gaps_command: Callable[[], str],
    *,
    name_journal: bool = False,
) -> None:
    """Print remarks on an empty journal, unreadable lines, pauses and unrecovered gaps."""
    _remark_on_unread(result, label)
    paused = [pause for pause in result.pauses if pause.touches(window.since_ms, window.until_ms)]
    if paused:
        summary = _summary_of_pauses(paused)
        remark(f"{label}: {summary}" if name_journal else summary)
    unrecovered = [
        gap for gap in known if not gap.is_recovered and gap.touches(window.since_ms, window.until_ms)
    ]
    if unrecovered:
        from vdbevents.cli import gaps

        summary, command = gaps.summary(unrecovered), gaps_command()
        remark(f"{label}: {summary}" if name_journal else summary, f"see: {command}" if command else "")


def _summary_of_pauses(paused: "Sequence[Pause]") -> str:
    """Say how often, and how long in all, the recording was paused."""
    from vdbevents.journal.files import wall_ms
    from vdbevents.times import format_duration

    now_ms = wall_ms()
    ends = [now_ms if pause.end_ms is None else min(pause.end_ms, now_ms) for pause in paused]
    length_ms = sum(max(0, end_ms - pause.since_ms) for pause, end_ms in zip(paused, ends, strict=True))
    length = format_duration(length_ms)
    if len(paused) == 1:
        return f"a pause of {length} in this time: nothing was recorded in it"
    return f"{len(paused)} pauses in this time, {length} in all: nothing was recorded in them"
