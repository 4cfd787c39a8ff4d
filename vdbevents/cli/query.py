"""`vdbevents query`: find events by time, text and place, and print them in many formats."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from vdbevents.cli import journals as cli_journals
from vdbevents.cli.command import put, reports
from vdbevents.cli.diagnostics import ExitCode, is_terminal, wants_colour
from vdbevents.cli.no_match import explain
from vdbevents.cli.options import BoundOptions, EnvironmentOptions
from vdbevents.cli.query_follow import following, journal_to_follow, print_followed, refuse_with_follow
from vdbevents.cli.query_options import (
    TIMES_HELP,
    EngineSourceOptions,
    FilterOptions,
    OutputFormat,
    ResultOptions,
    SourceOptions,
    WindowOptions,
    ZeroPoint,
)
from vdbevents.cli.remainder import Asked
from vdbevents.cli.searching import (
    GapsCommand,
    SearchingAgain,
    remark_on_each,
    remark_on_one,
    searched,
    searched_for_everything,
    searched_for_lines,
    text_hint,
)
from vdbevents.cli.summary_options import too_small
from vdbevents.cli.tables import data_stream, remark
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import tzinfo

    from vdbevents.query.cache.index import Cache
    from vdbevents.query.collapse import Runs
    from vdbevents.query.filters import Filters
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.merge import MergedResult
    from vdbevents.query.output.rows import Output
    from vdbevents.query.output.write import Style, Written
    from vdbevents.query.result_protocols import JournalRows
    from vdbevents.query.search_result import SearchResult

HELP = f"""Find events by time, text, source, channel and more.

Filters combine with AND; without any, all events are shown. Oldest first. docs/query.md has an example of
each option. For what filters cannot say, such as counts and groups, there is SQL: vdbevents sql, docs/sql.md.
For summaries: vdbevents digest, transcript and context.

\b
Examples:
  vdbevents query --last 10m --grep code
  vdbevents query --on friday --source mic --any invoice --any budget --not draft
  vdbevents query --last 2h --grep deploy -n 5 --around 15s
  vdbevents query --on yesterday --channel visual_index --unique
  vdbevents query --since 10:15 --until 10:30 --channel transcript -o md > meeting.md
  vdbevents query --since yesterday --all -o jsonl > yesterday.jsonl
  vdbevents query --last 10m --follow --channel transcript
  vdbevents query yesterday.jsonl --grep invoice --fields time,source,text
  vdbevents query --dir ~/laptop --file 'desk=logs/*.jsonl.gz' --grep invoice
  vdbevents query --lake /mnt/team/lake --host laptop --last 1d --grep invoice

{TIMES_HELP}

\b
Forms of a time (docs/query.md has a table of them):
  10:15, 10am, "yesterday 16:40", friday, "last friday", "29 nov", 29.11.2026, "this morning",
  10m, "2 hours ago", 2026-03-02T10:15:30Z, "2026-03-02 10:15", @1772446530

\b
Exit codes: 0 matches, 1 no match, 2 wrong input; with --follow 130, if Ctrl-C ends it.
"""

_SUBRIP_MS: Final = 100 * 3_600_000


@reports
def query(
    *,
    named: EngineSourceOptions,
    when: WindowOptions,
    filtering: FilterOptions,
    printing: ResultOptions,
    sized: BoundOptions,
    options: EnvironmentOptions,
) -> ExitCode:
    from datetime import UTC, datetime

    from vdbevents.query.output.rows import parse_fields

    if named.lake is not None and printing.follow:
        raise options_conflict("--follow", "--lake", "follow a journal on its own machine")
    _refuse_conflicts(named, when, filtering, printing, sized)
    zone, now = when.zone(), datetime.now(UTC)
    filters = filtering.parse(when.window(now, zone), zone)
    fields = None
    if printing.fields is not None:
        hosts = named.by_options and not printing.follow
        fields = parse_fields(printing.fields, unique=printing.unique, hosts=hosts)
    asked = Asked(
        named, when, filtering, printing, sized, options, filters.window, round(now.timestamp() * 1000)
    )
    style = _Style(printing, fields, zone, asked)
    gaps_command = GapsCommand(named, when, filters.window, options)
    if printing.follow:
        hint = text_hint(named)
        path = journal_to_follow(cli_journals.to_follow(named), options, hint=hint)
        return _follow(path, filters, style, gaps_command)
    find: Callable[..., AbstractContextManager[tuple[list[HostJournal], MergedResult[Any]]]]
    match printing.output:
        case _ if printing.count and not printing.unique:
            find = partial(searched_for_everything, only_count=True)
        case OutputFormat.PARQUET:
            find = searched
        case OutputFormat.JSONL if printing.is_export and not sized.bound.is_given:
            find = searched_for_lines
        case _:
            find = searched_for_everything
    search = find(named, filters, options, now, cache=printing.cache, colour=printing.color)
    return _search(search, filters, style, gaps_command, archived=named.archived)


class _Style(NamedTuple):
    """How to print the matches."""

    options: ResultOptions
    fields: tuple[str, ...] | None
    zone: "tzinfo"
    asked: Asked
    zero_ms: int | None = None


def _refuse_conflicts(
    named: SourceOptions,
    when: WindowOptions,
    filtering: FilterOptions,
    printing: ResultOptions,
    sized: BoundOptions,
) -> None:
    bounds = {"--max-bytes": sized.max_bytes, "--max-tokens": sized.max_tokens}
    around = filtering.around is not None
    for option, other, are_given in (
        ("--count", "--around", printing.count and around),
        ("--unique", "-o parquet", printing.unique and printing.output is OutputFormat.PARQUET),
        (
            "--zero session",
            f"-o {printing.output.value}",
            printing.zero is ZeroPoint.SESSION and printing.output.value not in ("srt", "vtt"),
        ),
        *(
            (name, "-o parquet", value and printing.output is OutputFormat.PARQUET)
            for name, value in bounds.items()
        ),
    ):
        if are_given:
            raise options_conflict(option, other)
    if not printing.follow:
        for option, value in (("--max-count", printing.max_count), ("--timeout", printing.timeout)):
            if value is not None:
                raise InputError(
                    f"{option}: needs --follow",
                    "add --follow; for the newest N, use -n N",
                    error_id="option-missing",
                )
    else:
        refuse_with_follow(
            until=when.until,
            on=when.on,
            around=filtering.around,
            offset=filtering.offset,
            reverse=filtering.reverse,
            count=printing.count,
            unique=printing.unique,
            archived=named.archived,
            output=printing.output.value,
            **{name.removeprefix("--"): value for name, value in bounds.items()},
        )


def _follow(path: Path, filters: "Filters", style: _Style, gaps_command: GapsCommand) -> ExitCode:
    from vdbevents.query import duck
    from vdbevents.query.cache.seal_policy import present_cache
    from vdbevents.query.hostnames import HostJournal

    options = style.options

    def cache_of(path: Path) -> "Cache | None":
        return present_cache(path) if options.cache else None

    with duck.interruptible(), following(path, filters, cache_of, options.ending()) as followed:
        if followed.found:
            remark_on_one(followed.found, path, filters.window, gaps_command)
            if not followed.found.count:
                again = SearchingAgain([HostJournal("", path, str(path))], cleared=False, cache=options.cache)
                explain(again, filters, follows=True)
        print_followed(followed, filters, options, style.fields, style.zone)
    return ExitCode.DONE if followed.shown else ExitCode.NO_MATCH


def _search(
    search: "AbstractContextManager[tuple[list[HostJournal], MergedResult[JournalRows]]]",
    filters: "Filters",
    style: _Style,
    gaps_command: GapsCommand,
    *,
    archived: bool,
) -> ExitCode:
    unique = style.options.unique
    with search as (journals, answer):
        runs = _runs(answer, filters) if unique else None
        shown = lines = answer.count - (runs.merged if runs else 0)
        if style.options.count:
            put(str(lines))
        else:
            zero_ms = _zero_of(answer, journals, style, archived=archived)
            written = _print(answer, filters, style._replace(zero_ms=zero_ms), runs, hosts=len(journals) > 1)
            if written.least:
                raise too_small(style.asked.sized.bound, written.least)
            shown = written.shown + written.left_out
            if written.left_out and not written.is_told:
                style.asked.remark(answer, written.left_out, written.shown)
        remark_on_each(journals, answer, filters.window, gaps_command)
        if not lines and not filters.offset:
            again = SearchingAgain(journals, cleared=archived, cache=style.options.cache)
            explain(again, filters, zone=style.zone)
        elif style.options.is_export and _lacks_gaps(answer, filters):
            remark("lines about gaps and pauses are left out", "add --all to export whole journals")
        if shown < lines:
            _remark_on_left_out(lines - shown, style.options.output, "line" if unique else "event")
        if style.options.output is OutputFormat.SRT and not style.options.count:
            _remark_on_long_subtitles(answer.span)
    if not lines and (hint := cli_journals.archived_hint([one.path for one in journals], archived=archived)):
        remark("no match", hint)
    return ExitCode.DONE if shown else ExitCode.NO_MATCH


def _runs(answer: "MergedResult[JournalRows]", filters: "Filters") -> "Runs":
    from vdbevents.query import collapse

    return collapse.find(answer, newest_first=filters.newest_first)


def _print(
    answer: "MergedResult[JournalRows]",
    filters: "Filters",
    style: _Style,
    runs: "Runs | None",
    *,
    hosts: bool,
) -> "Written":
    """Print the answer; return what became of its events."""
    from vdbevents.cli.pager import paged
    from vdbevents.query.output import write

    options, asked = style.options, style.asked
    if options.output is OutputFormat.PARQUET:
        tables = cast("MergedResult[SearchResult]", answer)  # `query` searches for them then
        return write.Written(_print_parquet(tables, style.fields))
    output = cast("Output", options.output.value)
    look = _output_style(filters, style, runs, hosts=hosts)
    use_pager = options.pager and options.output is OutputFormat.TEXT
    # The pager may be closed before all is written: that counts as shown.
    written = write.Written(answer.count - (runs.merged if runs else 0))
    with paged(sys.stdout.buffer, os.environ, wanted=use_pager) as pager:
        stream = pager if use_pager else data_stream(output)
        if asked.sized.bound.is_given:
            last_line = partial(asked.last_line, answer)
            written = write.write_within(asked.sized.bound, answer, output, stream, look, last_line=last_line)
        else:
            written = write.Written(write.write(answer, output, stream, look))
    sys.stdout.flush()
    return written


def _output_style(
    filters: "Filters", style: _Style, runs: "Runs | None" = None, *, hosts: bool = False
) -> "Style":
    from vdbevents.query.output.write import Style

    options = style.options
    return Style(
        filters,
        style.zone,
        colour=wants_colour(options.color, sys.stdout, os.environ),
        shape=options.shape,
        fields=style.fields,
        runs=runs,
        hosts=hosts,
        without_formulas=options.no_formulas,
        to_terminal=is_terminal(sys.stdout),
        zero_ms=style.zero_ms,
    )


def _zero_of(
    answer: "MergedResult[JournalRows]", journals: "Sequence[HostJournal]", style: _Style, *, archived: bool
) -> int | None:
    """Return where the times of subtitles count from, in Unix ms."""
    from vdbevents.cli.video_zero import zero_of

    if style.options.zero is ZeroPoint.FIRST:
        return None
    starts = [event.start_ms for batch in answer.events(("start_ms",)) for event in batch]
    known = [start_ms for start_ms in starts if start_ms is not None]
    span = (min(known), max(known)) if known else None
    return zero_of(style.options.zero, span, journals, cleared=archived)


def _print_parquet(answer: "MergedResult[SearchResult]", fields: tuple[str, ...] | None) -> int:
    import shutil

    from vdbevents.query import scratch
    from vdbevents.query.output.rows import FIELDS, OLD_FIELDS

    if is_terminal(sys.stdout):
        raise InputError(
            "-o parquet: stdout is a terminal",
            "redirect it to a file: vdbevents query … -o parquet > events.parquet",
            error_id="stdout-is-terminal",
        )
    if len(answer.answers) > 1:
        raise InputError(
            "-o parquet: not allowed with several journals",
            "query one at a time",
            error_id="parquet-several-journals",
        )
    [(_, result)] = answer.answers
    with scratch.folder("parquet") as folder:
        path = folder / "answer.parquet"
        result.write_parquet(path, [OLD_FIELDS.get(name, name) for name in fields or FIELDS])
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()
    return result.count


def _lacks_gaps(answer: "MergedResult[JournalRows]", filters: "Filters") -> bool:
    """Return whether a journal is printed whole but for lines about gaps and pauses in its time.

    In such a copy, silence and a gap are the same.
    """
    window = filters.window
    return filters.is_everything_but_the_recorder and any(
        any(gap.touches(window.since_ms, window.until_ms) for gap in of.gaps)
        or any(pause.touches(window.since_ms, window.until_ms) for pause in of.pauses)
        for _, of in answer.answers
    )


def _remark_on_left_out(count: int, output: OutputFormat, noun: str) -> None:
    left_out = f"{noun} is" if count == 1 else f"{noun}s are"
    remark(f"{count} {left_out} not in the {output}: without a text or a start time")


def _remark_on_long_subtitles(span: tuple[int, int] | None) -> None:
    # pysubs2 1.8.1 reads 100:00:01 as one second: findings/subrip-hundred-hours.sh.
    if span and span[1] - span[0] >= _SUBRIP_MS:
        remark(
            "the subtitles are longer than 99:59:59, which some programs misread in srt",
            "use -o vtt, or a shorter window",
        )
