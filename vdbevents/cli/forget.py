"""`vdbevents forget`: delete what was said or shown in a time, or certain words, wherever it is kept."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.command import reports, require_text
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.removals import RemovalOptions, command_line, run
from vdbevents.cli.tables import remark
from vdbevents.errors import InputError
from vdbevents.terminal import counted

if TYPE_CHECKING:
    from vdbevents.removal.forgetting import Words
    from vdbevents.times import Window

HELP = """Show what was said or shown, and with --yes delete it.

Give the time, or words in it. It goes from the journal, from what was rotated or cleared, from torn lines
and from the cache, with the unfinished transcripts of the same words. It is not fetched again after a gap. A
journal.forgotten line says when it was done and for which time, never what was said. docs/privacy.md says
what is not reached.

\b
Examples:
  vdbevents forget --from 10:15 --to 10:30
  vdbevents forget --from -10m --yes
  vdbevents forget --grep "project falcon" --yes
  vdbevents forget --grep hunter2 --from yesterday --to today

\b
Exit codes: 0 something would go, or is deleted; 1 there is nothing; 2 wrong input; 74 no room, or another
process rewrites the journals.
"""

_LONGEST_WORDS: Final = 10_000


@reports
def forget(
    *,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Said, shown or received at this time or later."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Before this time, at most until now, the default."),
    ] = None,
    grep: Annotated[
        str | None,
        typer.Option("--grep", "-g", metavar="TEXT", help="Only events with this in any of their texts."),
    ] = None,
    ignore_case: Annotated[
        bool,
        typer.Option(
            "--ignore-case", "-i", help="Ignore case. Default: only for a TEXT without an upper-case letter."
        ),
    ] = False,
    tz: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Zone of the times: UTC, Europe/Berlin, +02:00. Default: local."),
    ] = None,
    options: RemovalOptions,
) -> ExitCode:
    from vdbevents.events.envelope import utc_text
    from vdbevents.removal.forgetting import Forgetting
    from vdbevents.removal.remover import Task

    window, words = _window(since, until, tz), _words(grep, ignore_case=ignore_case)
    if since is None and until is None and words is None:
        raise InputError("--from: missing", "give --from and --to, or --grep TEXT", error_id="option-missing")
    forgetting = Forgetting(window, words)
    bounds = {"from": window.since_ms, "to": window.until_ms}
    facts: dict[str, Any] = {name: utc_text(at) for name, at in bounds.items() if at is not None}
    task = Task(
        forgetting,
        "journal.forgotten",
        {**facts, "by": "words" if words else "time"},
        may_hold=lambda journal: forgetting.may_be_in_file(journal.to_ms),
        torn_without=forgetting.torn_without,
        forgotten=lambda: forgetting.spans,
        is_thorough=True,
    )
    again = ["forget"]
    # A time such as -10m would be another one when the command is given again.
    again += [f"--{name}={facts[name]}" for name in bounds if name in facts]
    again += [] if grep is None else [f"--grep={grep}"]
    again += ["--ignore-case"] if ignore_case else []
    code = run(task, options, verb="deleted", again=command_line(options, again), none="nothing to forget")
    if words is not None and (options.yes or code is ExitCode.NO_MATCH):
        _report_left(words, options)
    return code


def _window(since: str | None, until: str | None, tz: str | None) -> "Window":
    from vdbevents.cli.localtime import SystemZone
    from vdbevents.times import Window, parse_moment, parse_zone

    zone, now = SystemZone() if tz is None else parse_zone(tz), datetime.now(UTC)
    if since is None and until is None:
        return Window()
    since_ms = None if since is None else parse_moment("--from", since, now, zone)
    until_ms = parse_moment("--to", "now" if until is None else until, now, zone)
    # What is still to be said must not be forgotten: it would not be recorded.
    until_ms = min(until_ms, parse_moment("--to", "now", now, zone))
    if since_ms is not None and since_ms >= until_ms:
        raise InputError(
            f"--from: must be before --to, got {since} and {until or 'now'}",
            "the window includes --from and excludes --to",
            error_id="window-empty",
        )
    return Window(since_ms, until_ms)


def _words(text: str | None, *, ignore_case: bool) -> "Words | None":
    from vdbevents.removal.forgetting import Words

    if text is None:
        return None
    require_text(text)
    if not text.strip() or len(text) > _LONGEST_WORDS:
        raise InputError(
            f"--grep: must be a text of at most {_LONGEST_WORDS:,} characters",
            "name the words to forget",
            error_id="text-invalid",
        )
    return Words(text, ignore_case=True if ignore_case else None)


def _report_left(words: "Words", options: RemovalOptions) -> None:
    """Say where else in the directory the words still are: this command does not delete them there."""
    from vdbevents.removal.leftovers import files_with

    left = files_with(options.state, words)
    if left and not options.as_json:
        remark(
            f"the words are still in {counted(len(left), 'file')} there: {', '.join(left[:10])}",
            "these are names of streams or sessions, settings, or files of others: see docs/privacy.md",
        )
