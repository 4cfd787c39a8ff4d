"""`vdbevents stats`: how much was said and shown, by hours, days, apps, windows, sources or channels."""

import shlex
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.no_match import explain, in_window, newest_hint
from vdbevents.cli.options import (
    AsJsonOption,
    BoundOptions,
    CacheOption,
    EnvironmentOptions,
    FormatOptions,
    FormulasOption,
    words_of,
)
from vdbevents.cli.query_options import TIMES_HELP, LakeSourceOptions, WindowOptions
from vdbevents.cli.searching import SearchingAgain, known_gaps, remark_on_lines, searched_for_rows
from vdbevents.cli.summary_options import too_small
from vdbevents.cli.tables import data_stream, remark, terminal_width
from vdbevents.terminal import counted, harmless

if TYPE_CHECKING:
    from datetime import tzinfo

    from vdbevents.query.output.budget import Bound
    from vdbevents.summaries.activity import Activity

HELP = f"""Count speech, words, screen time, alerts and gaps.

By hours, or by days if there are more than two; --by says otherwise. An app is what a screen description
names: see docs/summaries.md, which also says how speech and screen time are counted. A window is about when
something was said or shown, not when it was received.

\b
Examples:
  vdbevents stats --last 1d
  vdbevents stats --last 1w --by day
  vdbevents stats --on yesterday --by app
  vdbevents stats --session last --by source --json
  vdbevents stats --last 1w --by window --max-tokens 300
  vdbevents stats --last 30d --by app -o csv > apps.csv
  vdbevents stats --dir ~/laptop --dir ~/desk --last 1d

{TIMES_HELP}

\b
Exit codes: 0 something was recorded, 1 nothing, 2 wrong input.
"""

_MOST_ROWS = 50


class StatsOutput(StrEnum):
    """The output formats of `stats`."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


class StatsBy(StrEnum):
    """What `stats` counts by."""

    HOUR = "hour"
    DAY = "day"
    APP = "app"
    WINDOW = "window"
    SOURCE = "source"
    CHANNEL = "channel"


class CountingOptions(FormatOptions):
    """What to count, and how to print it."""

    by: Annotated[
        StatsBy | None, Option(help="What to count by.", show_default="hour, or day if there are many")
    ] = None
    session: Annotated[
        list[str] | None,
        Option(metavar="ID|last", help="Only the content of this session; repeatable."),
    ] = None
    limit: Annotated[
        int,
        Option(
            "-n", "--limit", min=0, metavar="N", help="At most N rows: the newest, or the largest. 0: all."
        ),
    ] = _MOST_ROWS
    output: Annotated[StatsOutput, Option("-o", "--output", help="text: a table; json: an object; csv.")] = (
        StatsOutput.TEXT
    )
    as_json: AsJsonOption = False
    cache: CacheOption = True
    no_formulas: FormulasOption = False


@reports
def stats(
    *,
    named: LakeSourceOptions,
    when: WindowOptions,
    counting: CountingOptions,
    sized: BoundOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    from datetime import UTC, datetime

    from vdbevents.query.filters import Filters
    from vdbevents.summaries.activity import By
    from vdbevents.summaries.journal_answers import StatsQuestion, counted_activity

    zone, now = when.zone(), datetime.now(UTC)
    window = when.window(now, zone)
    filters = Filters(window=window, by_event=True, sessions=tuple(counting.session or ()))
    now_ms = round(now.timestamp() * 1000)
    with searched_for_rows(named, filters, options, now, cache=counting.cache) as (journals, answer):
        by = None if counting.by is None else By(counting.by)
        asked = StatsQuestion(by, counting.limit or None, bool(counting.session), window, zone, now_ms)
        activity = counted_activity(asked, journals, answer, known_gaps)
        remark_on_lines(journals, answer)
        again = SearchingAgain(journals, cleared=named.archived, cache=counting.cache)
        is_explained = not activity.rows and bool(counting.session) and explain(again, filters, zone=zone)
        newest = "" if activity.rows or is_explained else newest_hint(again, filters, zone)
    if activity.rows:
        unbounded = BoundOptions(max_bytes=None, max_tokens=None)
        words = words_of(named, when, counting.replace(limit=0), unbounded, options)
        page = _Page(counting, zone, harmless(shlex.join(["vdbevents", "stats", *words])), len(journals) > 1)
        _print(activity, page, sized.bound)
        return ExitCode.DONE
    hint = cli_journals.archived_hint([one.path for one in journals], archived=named.archived)
    if hint or not is_explained:
        remark(in_window("nothing was recorded", window), hint or newest)
    return ExitCode.NO_MATCH


class _Page(NamedTuple):
    """How to print what was counted; `command` shows all rows."""

    counting: CountingOptions
    zone: "tzinfo"
    command: str
    hosts: bool

    def text_of(self, activity: "Activity") -> str:
        """Return the answer."""
        from vdbevents.query.output.rows import csv_text
        from vdbevents.summaries import activity_pages as pages

        match self.counting.output:
            case StatsOutput.TEXT:
                return pages.text_of(activity, self.zone, terminal_width(), self.command) + "\n"
            case StatsOutput.JSON:
                return pages.json_of(activity, hosts=self.hosts)
        names, rows = pages.csv_table(activity, hosts=self.hosts)
        return csv_text([names, *rows], without_formulas=self.counting.no_formulas)


def _print(activity: "Activity", page: _Page, bound: "Bound") -> None:
    rows = len(activity.rows)
    if bound.is_given:
        fitting = bound.most(rows, lambda number: page.text_of(activity.with_rows(number)))
        if not fitting:
            raise too_small(bound, page.text_of(activity.with_rows(1)))
        activity = activity.with_rows(fitting)
    output = page.counting.output
    stream = data_stream(output.value)
    stream.write(page.text_of(activity).encode("utf-8", "replace"))
    stream.flush()
    sys.stdout.flush()
    if activity.left_out and output is StatsOutput.CSV:
        remark(f"{counted(activity.left_out, 'row')} left out", f"for all: {page.command}")
