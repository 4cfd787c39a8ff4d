"""`vdbevents digest`: a window of time in blocks, in an answer of a bounded size."""

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.no_match import in_window, newest_hint
from vdbevents.cli.options import EnvironmentOptions, words_of
from vdbevents.cli.query_options import TIMES_HELP, LakeSourceOptions, SourceOptions, WindowOptions
from vdbevents.cli.searching import SearchingAgain, known_gaps, remark_on_lines, searched_for_rows
from vdbevents.cli.summary_options import (
    SummaryBoundOptions,
    SummaryFormat,
    SummaryOptions,
    broken,
    put_summary,
    too_small,
)
from vdbevents.cli.tables import nothing
from vdbevents.terminal import counted

if TYPE_CHECKING:
    from vdbevents.summaries.digest import DigestPage

HELP = f"""Summarise what was said and shown in a window of time.

Of each block: what was said, which windows were on the screen and for how long, alerts, gaps and pauses.
Everything is taken word for word from the recording. Blocks last from a minute to a week: the shortest with
which the answer fits. What is left out is counted, with the command that shows more. Without a time it is the
last hour, or all of a file that is named. docs/summaries.md says which sentences are chosen.

\b
Examples:
  vdbevents digest
  vdbevents digest --last 8h --max-tokens 500
  vdbevents digest --on yesterday -o md > yesterday.md
  vdbevents digest --since 10:00 --until 11:30 --json
  vdbevents digest meeting.jsonl.gz
  vdbevents digest --dir laptop=~/laptop --dir desk=~/desk --last 1d

{TIMES_HELP}

\b
Exit codes: 0 something to tell, 1 nothing, 2 wrong input.
"""

_USUAL_LAST: Final = "1h"
_NOTHING: Final = "nothing was recorded"
_CHANNELS: Final = ("transcript", "audio_index", "visual_index", "alert", "capture_session")


@reports
def digest(
    *,
    named: LakeSourceOptions,
    when: WindowOptions,
    printing: SummaryOptions,
    sized: SummaryBoundOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    from vdbevents.query.filters import Filters
    from vdbevents.query.plain_events import ParsedLines
    from vdbevents.summaries.digest_output import DigestJson, DigestText
    from vdbevents.summaries.window_digest import DigestPart, tell

    zone, now = when.zone(), datetime.now(UTC)
    asked = _with_window(when, named)
    window = asked.window(now, zone)
    # What was said counts when it was said, though it was backfilled later.
    filters = Filters(window=window, by_event=True, channels=_CHANNELS)
    command = ["vdbevents", "digest", *words_of(named, when, printing, sized.larger, options)]
    more = shlex.join(command)
    page: DigestPage = DigestText(zone, more, is_markdown=True)
    match printing.output:
        case SummaryFormat.TEXT:
            page = DigestText(zone, more, broken)
        case SummaryFormat.JSON:
            page = DigestJson(more)
    known = ParsedLines()
    with searched_for_rows(named, filters, options, now, cache=printing.cache, known=known) as (
        journals,
        answer,
    ):
        remark_on_lines(journals, answer)
        parts = [
            DigestPart(host, result, known_gaps(journal, result))
            for journal, (host, result) in zip(journals, answer.answers, strict=True)
        ]
        fitting = tell(parts, window, round(now.timestamp() * 1000), zone=zone, bound=sized.bound, page=page)
        if fitting is None:
            paths = [journal.path for journal in journals]
            if hint := cli_journals.archived_hint(paths, archived=named.archived):
                return nothing(in_window(_NOTHING, window), hint)
            again = SearchingAgain(journals, cleared=named.archived, cache=printing.cache, known=known)
            with again(Filters(window=window, by_event=True, recorder=False)) as others:
                if others.count:
                    query = shlex.join(["vdbevents", "query", *words_of(named, asked, options)])
                    what = (
                        f"no speech, screen or alert in that time, but {counted(others.count, 'other event')}"
                    )
                    return nothing(what, f"see: {query}")
            return nothing(in_window(_NOTHING, window), newest_hint(again, filters, zone))
    if not fitting:
        raise too_small(sized.bound)
    put_summary(fitting, printing.output)
    return ExitCode.DONE


def _with_window(when: WindowOptions, named: SourceOptions) -> WindowOptions:
    """Return the options with the usual window, where none is given: a file that is named is read whole."""
    is_given = any(value is not None for value in (when.last, when.since, when.until, when.on))
    journal = named.journal
    is_file = bool(named.files) or (journal is not None and not journal.is_dir())
    return when if is_given or is_file else when.replace(last=_USUAL_LAST)
