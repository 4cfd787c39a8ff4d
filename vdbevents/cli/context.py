"""`vdbevents context`: a moment, what was said around it, and what was on each screen then."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Annotated, Final

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import reports
from vdbevents.cli.declared import CommandParameter, Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.no_match import explain
from vdbevents.cli.options import EnvironmentOptions, OptionGroup, words_of
from vdbevents.cli.query_options import TIMES_HELP, FilterOptions, LakeSourceOptions, WindowOptions
from vdbevents.cli.searching import (
    SearchingAgain,
    known_gaps,
    opened_journals,
    remark_on_lines,
    rows_searched_again,
)
from vdbevents.cli.summary_options import (
    SummaryBoundOptions,
    SummaryFormat,
    SummaryOptions,
    broken,
    put_summary,
    too_small,
)
from vdbevents.cli.tables import nothing
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from vdbevents.query.filters import Filters
    from vdbevents.summaries.moment_output import MomentPage
    from vdbevents.summaries.moments import Surroundings

HELP = f"""Show a moment: what was said around it, and each screen.

The moment is that of a match, or a time. Of each match there is what was said for a minute before and after
it, and the one description that was on each screen when it began, of every machine that is named. Matches
whose times overlap are one moment, of ten minutes at most; a text that stays on a screen counts when it
appears. The newest moment comes first.

\b
Examples:
  vdbevents context --grep invoice
  vdbevents context --grep deploy --source mic --last 1d -n 1
  vdbevents context --at 10:15
  vdbevents context --at "2026-03-02 10:15" --around 5m --json
  vdbevents context --channel alert --label test_failed -n 10 --max-tokens 4000
  vdbevents context --dir laptop=~/laptop --dir desk=~/desk --grep invoice

{TIMES_HELP}

\b
Exit codes: 0 a moment, 1 nothing matched, 2 wrong input.
"""

_USUAL_MOMENTS: Final = 3
_ALL: Final = 1 << 40


class MomentOptions(FilterOptions):
    """Which events are moments: the filters of a query, but for those that choose among its lines."""

    around: Annotated[str, Option(metavar="TIME", help="How much before and after: 15s, 2m, …")] = "60s"
    limit: Annotated[
        int, Option("-n", "--limit", min=0, metavar="N", help="The newest N moments; 0: all.")
    ] = _USUAL_MOMENTS

    @classmethod
    def parameters(cls) -> Iterator[CommandParameter]:
        """Yield the parameters of the options that a moment can have."""
        return (one for one in super().parameters() if one.name not in {"offset", "reverse", "interim"})


class AtOptions(OptionGroup):
    """A time to look at."""

    at: Annotated[str | None, Option(metavar="TIME", help="The moment is this time, instead of a match.")] = (
        None
    )


@reports
def context(
    *,
    given: AtOptions,
    filtering: MomentOptions,
    named: LakeSourceOptions,
    when: WindowOptions,
    printing: SummaryOptions,
    sized: SummaryBoundOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    from dataclasses import replace

    from vdbevents.query.filters import Filters
    from vdbevents.query.plain_events import ParsedLines
    from vdbevents.summaries.journal_answers import surroundings_in
    from vdbevents.summaries.moment_output import fitted_moments
    from vdbevents.summaries.moments import CHANNELS, COLUMNS, Found, FoundMoment, newest, spans_for
    from vdbevents.times import Window, parse_duration, parse_moment

    zone, now = when.zone(), datetime.now(UTC)
    filters = replace(
        filtering.parse(when.window(now, zone), zone), around_ms=None, limit=None, newest_first=True
    )
    width_ms = parse_duration("--around", filtering.around)
    _refuse_conflicts(given, filtering, when)
    known = ParsedLines()
    with opened_journals(named, options) as journals:
        hosts = {"host"} if len(journals) > 1 else set()
        columns = {*COLUMNS} - {"host"} | hosts
        if given.at is None:
            with rows_searched_again(
                journals, named, filters, now, cache=printing.cache, known=known
            ) as answer:
                matches = (event for batch in answer.events(columns) for event in batch)
                found = newest(matches, width_ms, filtering.limit or _ALL)
        else:
            at_ms = parse_moment("--at", given.at, now, zone)
            found = Found([FoundMoment(at_ms, at_ms)], has_older=False)
        chosen: list[Surroundings] = []
        is_explained = False
        if given.at is None and not found.moments:
            again = SearchingAgain(journals, cleared=named.archived, cache=printing.cache, known=known)
            is_explained = explain(again, filters, zone=zone)
        if found.moments:
            spans = spans_for(found.moments, width_ms)
            around = Filters(window=Window(), by_event=True, channels=CHANNELS, spans=spans)
            with rows_searched_again(
                journals, named, around, now, cache=printing.cache, known=known
            ) as answer:
                remark_on_lines(journals, answer)
                chosen = surroundings_in(
                    journals, answer, found, width_ms, columns=columns, gaps_of=known_gaps
                )
    if not chosen:
        paths = [journal.path for journal in journals]
        what = "nothing matched" if given.at is None else "nothing was recorded around that time"
        hint = cli_journals.archived_hint(paths, archived=named.archived)
        return ExitCode.NO_MATCH if is_explained and not hint else nothing(what, hint)

    def command(asked: MomentOptions, size: SummaryBoundOptions) -> str:
        words = words_of(given, asked, named, when, printing, size, options)
        return shlex.join(["vdbevents", "context", *words])

    older = command(filtering.replace(limit=2 * filtering.limit), sized) if found.has_older else ""
    page = _page(printing.output, filters, zone, command(filtering, sized.larger), older)
    text = fitted_moments(chosen, sized.bound, page)
    if text is None:
        raise too_small(sized.bound)
    put_summary(text, printing.output)
    return ExitCode.DONE


def _refuse_conflicts(given: AtOptions, filtering: MomentOptions, when: WindowOptions) -> None:
    """Check that there is a moment, and one kind of it.

    Raises:
        InputError: there is not.
    """
    others = [*words_of(filtering.replace(around="60s", limit=_USUAL_MOMENTS))]
    window = when.replace(tz=None)
    if given.at is not None:
        for word in [*others, *words_of(window)]:
            if word.startswith("--"):
                raise options_conflict("--at", word.partition("=")[0])
    elif not others:
        raise InputError(
            "no moment given",
            "use --grep TEXT, another filter, or --at TIME",
            error_id="moment-missing",
        )


def _page(output: SummaryFormat, filters: "Filters", zone: tzinfo, more: str, older: str) -> "MomentPage":
    from vdbevents.query.output.highlight import Highlighter
    from vdbevents.summaries.moment_output import Cutter, MomentJson, MomentText

    cutter = Cutter(Highlighter(filters))
    match output:
        case SummaryFormat.JSON:
            return MomentJson(more, older, cutter)
        case SummaryFormat.MD:
            return MomentText(zone, more, older, cutter, is_markdown=True)
    return MomentText(zone, more, older, cutter, broken)
