"""`vdbevents query`: finds events again by time, text and place, and prints them in many forms."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from vdbevents.cli import gaps, journals as cli_journals
from vdbevents.cli.cache import sealed_for, sealed_of
from vdbevents.cli.command import put, reports, require_finite
from vdbevents.cli.diagnostics import Color, ExitCode, is_terminal, wants_colour
from vdbevents.cli.journals import DirectoriesOption, FilesOption, SourceArgument
from vdbevents.cli.options import (
    ColorOption,
    EnvironmentOptions,
)
from vdbevents.cli.query_follow import (
    following,
    journal_to_follow,
    print_following,
    refuse_with_follow,
    remark_on_unreadable,
)
from vdbevents.cli.tables import remark, terminal_width
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from vdbevents.events.gaps import Gap
    from vdbevents.query.cache.index import Cache
    from vdbevents.query.collapse import Runs
    from vdbevents.query.filters import Filters
    from vdbevents.query.merge import HostJournal, MergedResult
    from vdbevents.query.output.rows import Output
    from vdbevents.query.search_result import SearchResult
    from vdbevents.times import Window

HELP = """Find events again: by when they were received, what was said or shown, and where.

All that is given has to hold; without anything, everything is shown. Oldest first. docs/query.md has an
example of each option.

\b
Examples:
  vdbevents query --last 10m --grep code
  vdbevents query --on friday --source mic --any invoice --any budget --not draft
  vdbevents query --last 2h --grep deploy -n 5 --around 15s
  vdbevents query --on yesterday --channel visual_index --unique
  vdbevents query --since 10:15 --until 10:30 --channel transcript -o md > meeting.md
  vdbevents query --since yesterday -o jsonl > yesterday.jsonl
  vdbevents query --last 10m --follow --channel transcript
  vdbevents query yesterday.jsonl --grep invoice --fields time,source,text
  vdbevents query --dir ~/laptop --file 'desk=logs/*.jsonl.gz' --grep invoice

\b
Times are local unless they name a zone, or --tz does:
  2026-03-02T10:15:30Z, "2026-03-02 10:15", 10:15, yesterday, friday, -3h, "2 hours ago", @1772446530

\b
Exit codes: 0 something matched, 1 nothing did, 2 wrong input; with --follow 130, as Ctrl-C ends it.
"""

# SQL has an `end` of its own.
_SQL_NAMES: Final = {"start": "started", "end": "ended"}
_SOURCES: Final = ("mic", "system_audio", "screen", "camera")


class OutputFormat(StrEnum):
    """What `query` prints."""

    TEXT = "text"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    MD = "md"
    SRT = "srt"
    VTT = "vtt"
    PARQUET = "parquet"


class By(StrEnum):
    """Which time of an event counts."""

    RECEIVED = "received"
    EVENT = "event"


@reports
def query(
    journal: SourceArgument = None,
    *,
    directories: DirectoriesOption = None,
    files: FilesOption = None,
    last: Annotated[str | None, typer.Option(metavar="TIME", help="The last 90s, 10m, 2h, 3d, 1w.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="At this time or later.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    on: Annotated[
        str | None, typer.Option(metavar="DAY", help="On this day: 2026-03-02, yesterday, friday.")
    ] = None,
    tz: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="UTC, Europe/Berlin, +02:00: of times given and shown. Default: local."
        ),
    ] = None,
    by: Annotated[
        By, typer.Option(help="Which time counts: that of receipt, or when it was said or shown.")
    ] = By.RECEIVED,
    grep: Annotated[
        list[str] | None,
        typer.Option(
            "--grep", "-g", metavar="TEXT", help="In the text or label; repeatable: all must match."
        ),
    ] = None,
    any_of: Annotated[
        list[str] | None,
        typer.Option("--any", metavar="TEXT", help="Repeatable: one of these must match."),
    ] = None,
    none_of: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="TEXT", help="Repeatable: none of these may match."),
    ] = None,
    ignore_case: Annotated[
        bool,
        typer.Option("--ignore-case", "-i", help="Always; by default where a TEXT has no upper-case letter."),
    ] = False,
    fixed: Annotated[
        bool, typer.Option("--fixed-strings", "-F", help="TEXT is literal (the default).")
    ] = False,
    extended: Annotated[
        bool, typer.Option("--extended-regexp", "-E", help="TEXT is a regular expression (RE2).")
    ] = False,
    whole_words: Annotated[bool, typer.Option("--word-regexp", "-w", help="TEXT is whole words.")] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="transcript, visual_index, audio_index, alert, …; repeatable, or with commas.",
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="mic, system_audio, screen, camera; repeatable, or with commas."),
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="ID|NAME", help="Such as rts-1 or mic:default; repeatable.")
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="What names this capture session; repeatable."),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Such as capture_session.active, listener.gap; repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="An alert's label, exactly; repeatable.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="What has a confidence of so much at least.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL", help="A condition in SQL, over the columns of `vdbevents sql --describe`'s events."
        ),
    ] = None,
    around: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Also all that happened 15s, 2m, … before and after each match."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", min=1, metavar="N", help="The newest N only.")
    ] = None,
    offset: Annotated[
        int, typer.Option(min=0, metavar="N", help="Without the newest N of them; -n counts on from there.")
    ] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="Newest first.")] = False,
    interim: Annotated[
        bool, typer.Option("--interim", help="Also transcripts that a final one replaced.")
    ] = False,
    unique: Annotated[
        bool,
        typer.Option(
            "--unique",
            help="One line for descriptions of the screen that go on saying nearly the same: how long, and "
            "how many times.",
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Then also what matches as it is written, until Ctrl-C."),
    ] = False,
    count: Annotated[bool, typer.Option("--count", help="Print only how many there are.")] = False,
    fields: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="Only these columns, such as time,source,text."),
    ] = None,
    output: Annotated[
        OutputFormat,
        typer.Option(
            "-o",
            "--output",
            help="jsonl, json: the journal's own lines; csv, parquet: folded columns; srt, vtt: subtitles.",
        ),
    ] = OutputFormat.TEXT,
    pager: Annotated[
        bool, typer.Option(help="Show text in $VDBEVENTS_PAGER, $PAGER or less, on a terminal.")
    ] = True,
    cache: Annotated[
        bool, typer.Option(help="Use and extend what is sealed of the journal; --no-cache reads all of it.")
    ] = True,
    options: EnvironmentOptions,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    from datetime import UTC, datetime

    from vdbevents.query import collapse, duck, merge
    from vdbevents.query.filters import Filters
    from vdbevents.query.output.rows import parse_fields
    from vdbevents.times import parse_duration, parse_window

    is_named = bool(directories or files)
    _refuse(
        {
            "-F and -E": fixed and extended,
            "--count and --around": count and around is not None,
            "--unique and -o parquet": unique and output is OutputFormat.PARQUET,
        }
    )
    if follow:
        refuse_with_follow(
            until=until,
            on=on,
            around=around,
            offset=offset,
            reverse=reverse,
            count=count,
            unique=unique,
            output=output.value,
        )
    require_finite(min_confidence=min_confidence)
    zone = _zone(tz)
    now = datetime.now(UTC)
    filters = Filters(
        window=parse_window(last=last, since=since, until=until, on=on, now=now, zone=zone),
        by_event=by is By.EVENT,
        grep=tuple(grep or ()),
        any_of=tuple(any_of or ()),
        none_of=tuple(none_of or ()),
        ignore_case=True if ignore_case else None,
        extended=extended,
        whole_words=whole_words,
        channels=_listed(channel),
        sources=_known_sources(_listed(source)),
        streams=tuple(stream or ()),
        sessions=tuple(session or ()),
        names=tuple(event or ()),
        labels=tuple(label or ()),
        least_confidence=min_confidence,
        where=where,
        limit=limit,
        offset=offset,
        newest_first=reverse,
        around_ms=None if around is None else parse_duration("--around", around),
        interim=interim,
    )
    columns = None if fields is None else parse_fields(fields, unique=unique, hosts=is_named and not follow)
    otherwise = f"to search for it: --grep {journal}"
    bounds: Mapping[str, object] = {"last": last, "since": since, "until": until}
    if on is not None or tz is not None:
        bounds = _bounds(filters.window)

    def listed_by(path: Path) -> str:
        # What was not named is found again by the same settings.
        settings = {} if is_named else {"env_file": options.env_file, "cwd": options.cwd}
        return gaps.command_line(path if is_named else journal, **bounds, **settings)

    if follow:
        followable = cli_journals.to_follow(journal, directories, files)
        path = journal_to_follow(followable, options, otherwise=otherwise)
        with (
            duck.interruptible(),
            following(path, filters, lambda path: sealed_of(path) if cache else None) as followed,
        ):
            if followed.found:
                _remark_on(followed.found, str(path), filters.window, listed_by(path))
            print_following(followed, output.value, filters, columns, zone=zone, color=color)
        return ExitCode.DONE
    named = cli_journals.named_by(journal, directories, files, options, otherwise=otherwise)

    def cache_of(path: Path) -> "Cache | None":
        return sealed_for(path, filters.window, now, color) if cache else None

    with (
        duck.interruptible(),
        cli_journals.opened(named) as journals,
        merge.search(journals, filters, cache_of) as answer,
    ):
        found = collapse.find(answer, newest_first=reverse) if unique else None
        lines = answer.count - (found.merged if found else 0)
        if count:
            put(str(lines))
            shown = lines
        else:
            paged = pager and output is OutputFormat.TEXT
            shown = _print(
                answer,
                output,
                filters,
                columns,
                found,
                zone=zone,
                color=color,
                paged=paged,
                hosts=len(journals) > 1,
            )
        _remark_on_each(journals, answer, filters.window, listed_by)
        if shown < lines:
            _remark_on_left_out(lines - shown, output, "line" if unique else "event")
    return ExitCode.DONE if shown else ExitCode.NO_MATCH


def _refuse(contradictions: Mapping[str, bool]) -> None:
    for options, are_given in contradictions.items():
        if are_given:
            raise InputError(f"{options} contradict each other", "give one of them")


def _zone(name: str | None) -> "tzinfo":
    from vdbevents.cli.localtime import SystemZone
    from vdbevents.times import parse_zone

    return SystemZone() if name is None else parse_zone(name)


def _listed(options: Iterable[str] | None) -> tuple[str, ...]:
    """The names of an option that may be repeated, and may hold several with commas."""
    return tuple(name.strip() for option in options or () for name in option.split(","))


def _known_sources(sources: tuple[str, ...]) -> tuple[str, ...]:
    for source in sources:
        if source not in _SOURCES:
            raise InputError(f"--source {source!r} is none", f"Accepted: {', '.join(_SOURCES)}.")
    return sources


def _bounds(window: "Window") -> dict[str, str]:
    bounds = {"since": window.since_ms, "until": window.until_ms}
    return {name: f"@{moment / 1000:.3f}" for name, moment in bounds.items() if moment is not None}


def _print(
    answer: "MergedResult",
    output: OutputFormat,
    filters: "Filters",
    fields: tuple[str, ...] | None,
    runs: "Runs | None",
    *,
    zone: "tzinfo",
    color: Color,
    paged: bool,
    hosts: bool,
) -> int:
    from vdbevents.cli.pager import paged as through_pager
    from vdbevents.query.output import write

    if output is OutputFormat.PARQUET:
        return _print_parquet(answer, fields)
    colour = wants_colour(color, sys.stdout, os.environ)
    shown = answer.count - (runs.merged if runs else 0)
    with through_pager(sys.stdout.buffer, os.environ, wanted=paged) as stream:
        shown = write.write(
            answer,
            cast("Output", output.value),
            stream,
            filters=filters,
            colour=colour,
            width=terminal_width(),
            zone=zone,
            fields=fields,
            runs=runs,
            hosts=hosts,
        )
    sys.stdout.flush()
    return shown


def _print_parquet(answer: "MergedResult", fields: tuple[str, ...] | None) -> int:
    import shutil
    import tempfile

    from vdbevents.query.output.rows import FIELDS

    if is_terminal(sys.stdout):
        hint = "write it into a file: vdbevents query … -o parquet > events.parquet"
        raise InputError("-o parquet is no text for a terminal", hint)
    if len(answer.answers) > 1:
        raise InputError("-o parquet and several journals contradict each other", "ask for one at a time")
    [(_, of_one)] = answer.answers
    with tempfile.TemporaryDirectory(prefix="vdbevents-parquet-") as folder:
        path = Path(folder) / "answer.parquet"
        of_one.write_parquet(path, [_SQL_NAMES.get(name, name) for name in fields or FIELDS])
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()
    return of_one.count


def _remark_on_each(
    journals: "Sequence[HostJournal]",
    answer: "MergedResult",
    window: "Window",
    listed_by: Callable[[Path], str],
) -> None:
    for journal, (_, of_one) in zip(journals, answer.answers, strict=True):
        if journal.trouble:
            remark(f"{journal.label} {journal.trouble}: what could be unpacked of it was searched")
        # `gaps` reads files as they are.
        listing = "" if journal.is_scratch else listed_by(journal.path)
        _remark_on(of_one, journal.label, window, listing, is_one_of_several=len(journals) > 1)


def _remark_on(
    answer: "SearchResult", told: str, window: "Window", listed_by: str, *, is_one_of_several: bool = False
) -> None:
    if not answer.journal_bytes:
        remark(f"the journal {told} is empty: nothing has been recorded yet")
    if answer.skipped:
        remark_on_unreadable(answer.skipped, told)
    unrecovered: list[Gap] = [
        gap for gap in answer.gaps if not gap.is_recovered and gap.touches(window.since_ms, window.until_ms)
    ]
    if unrecovered:
        summary = gaps.summary(unrecovered)
        remark(
            f"{told}: {summary}" if is_one_of_several else summary,
            hint=f"see: {listed_by}" if listed_by else "",
        )


def _remark_on_left_out(count: int, output: OutputFormat, what: str) -> None:
    left_out = f"{what} is" if count == 1 else f"{what}s are"
    remark(f"{count} {left_out} not in the {output}: without a text, or a start")


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.command(help=HELP)(query)
