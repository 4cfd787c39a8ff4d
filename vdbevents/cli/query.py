"""`vdbevents query`: finds events again by time, text and place, and prints them in many forms."""

import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vdbevents.cli import gaps
from vdbevents.cli.command import (
    ColorOption,
    EnvironmentFile,
    JournalArgument,
    WorkingDirectory,
    journal_to_read,
    put,
    reports,
    require_finite,
)
from vdbevents.cli.diagnostics import Color, ExitCode, wants_colour
from vdbevents.cli.service import remark, terminal_width
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from vdbevents.gaps import Gap
    from vdbevents.query.engine import Answer
    from vdbevents.query.plan import Filters
    from vdbevents.query.window import Window

HELP = """Find events again: by when they were received, what was said or shown, and where.

All that is given has to hold; without anything, everything is shown. Oldest first. docs/query.md has an
example of each option.

\b
Examples:
  vdbevents query --last 10m --grep code
  vdbevents query --on friday --source mic --any invoice --any budget --not draft
  vdbevents query --last 2h --grep deploy -n 5 --around 15s
  vdbevents query --since 10:15 --until 10:30 --channel transcript -o md > meeting.md
  vdbevents query --since yesterday -o jsonl > yesterday.jsonl
  vdbevents query yesterday.jsonl --grep invoice --fields time,source,text

\b
Times are local unless they name a zone, or --tz does:
  2026-03-02T10:15:30Z, "2026-03-02 10:15", 10:15, yesterday, friday, -3h, "2 hours ago", @1772446530

\b
Exit codes: 0 something matched, 1 nothing did, 2 wrong input.
"""

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


class By(StrEnum):
    """Which time of an event counts."""

    RECEIVED = "received"
    EVENT = "event"


@reports
def query(
    journal: JournalArgument = None,
    *,
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
            help="jsonl, json: the journal's own lines; csv: folded columns; srt, vtt: subtitles.",
        ),
    ] = OutputFormat.TEXT,
    pager: Annotated[
        bool, typer.Option(help="Show text in $VDBEVENTS_PAGER, $PAGER or less, on a terminal.")
    ] = True,
    env_file: EnvironmentFile = None,
    cwd: WorkingDirectory = None,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    from datetime import UTC, datetime

    from vdbevents.query import engine
    from vdbevents.query.plan import Filters
    from vdbevents.query.render import parse_fields
    from vdbevents.query.window import parse_duration, parse_window

    if fixed and extended:
        raise InputError("-F and -E contradict each other", "give one of them")
    if count and around is not None:
        raise InputError("--count and --around contradict each other", "give one of them")
    require_finite(min_confidence=min_confidence)
    zone = _zone(tz)
    filters = Filters(
        window=parse_window(last=last, since=since, until=until, on=on, now=datetime.now(UTC), zone=zone),
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
        limit=limit,
        offset=offset,
        newest_first=reverse,
        around_ms=None if around is None else parse_duration("--around", around),
        interim=interim,
    )
    columns = None if fields is None else parse_fields(fields)
    path = journal_to_read(journal, env_file, cwd, otherwise=f"to search for it: --grep {journal}")
    with engine.search(path, filters) as answer:
        if count:
            put(str(answer.count))
            shown = answer.count
        else:
            paged = pager and output is OutputFormat.TEXT
            shown = _print(answer, output, filters, columns, zone=zone, color=color, paged=paged)
        if on is None and tz is None:
            listed_by = gaps.command_line(
                journal, last=last, since=since, until=until, env_file=env_file, cwd=cwd
            )
        else:
            listed_by = gaps.command_line(journal, **_bounds(filters.window), env_file=env_file, cwd=cwd)
        _remark_on(answer, path, filters.window, listed_by)
        if shown < answer.count:
            _remark_on_left_out(answer.count - shown, output)
    return ExitCode.DONE if shown else ExitCode.NO_MATCH


def _zone(name: str | None) -> "tzinfo":
    from vdbevents.cli.localtime import SystemZone
    from vdbevents.query.window import parse_zone

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
    answer: "Answer",
    output: OutputFormat,
    filters: "Filters",
    fields: tuple[str, ...] | None,
    *,
    zone: "tzinfo",
    color: Color,
    paged: bool,
) -> int:
    from vdbevents.cli.pager import paged as through_pager
    from vdbevents.query import render

    colour = wants_colour(color, sys.stdout, os.environ)
    shown = answer.count
    with through_pager(sys.stdout.buffer, os.environ, wanted=paged) as stream:
        shown = render.write(
            answer,
            output.value,
            stream,
            filters=filters,
            colour=colour,
            width=terminal_width(),
            zone=zone,
            fields=fields,
        )
    sys.stdout.flush()
    return shown


def _remark_on(answer: "Answer", path: Path, window: "Window", listed_by: str) -> None:
    if not answer.journal_bytes:
        remark(f"the journal {path} is empty: nothing has been recorded yet")
    if answer.skipped:
        lines = "line is" if answer.skipped == 1 else "lines are"
        remark(f"{answer.skipped} {lines} unreadable and left out, in {path}")
    unrecovered: list[Gap] = [
        gap for gap in answer.gaps if not gap.is_recovered and gap.touches(window.since_ms, window.until_ms)
    ]
    if unrecovered:
        remark(gaps.summary(unrecovered), hint=f"see: {listed_by}")


def _remark_on_left_out(count: int, output: OutputFormat) -> None:
    events = "event is" if count == 1 else "events are"
    remark(f"{count} {events} not in the {output}: without a text, or a start")
