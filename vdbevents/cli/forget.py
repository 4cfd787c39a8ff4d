"""`vdbevents forget`: delete what was said or shown in a time, or certain words, wherever it is kept."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from vdbevents.cli.command import reports, require_text
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.query_options import TIMES_HELP, WindowOptions
from vdbevents.cli.removals import RemovalOptions, command_line, run
from vdbevents.cli.tables import remark
from vdbevents.errors import InputError, options_conflict
from vdbevents.terminal import counted

if TYPE_CHECKING:
    from vdbevents.removal.forgetting import Words
    from vdbevents.times import Window

HELP = f"""Show what was said or shown, and with --yes delete it.

Give the time, or words in it. It goes from the journal, from what was rotated or cleared, from torn lines
and from the cache, with the unfinished transcripts of the same words. It is not fetched again after a gap. A
journal.forgotten line says when it was done and for which time, never what was said. docs/privacy.md says
what is not reached.

\b
Examples:
  vdbevents forget --since 10:15 --until 10:30
  vdbevents forget --last 10m --yes
  vdbevents forget --grep "project falcon" --yes
  vdbevents forget --grep hunter2 --on yesterday

{TIMES_HELP}

\b
Exit codes: 0 something to delete, or deleted; 1 nothing to delete; 2 wrong input; 74 no room, or another
process rewrites the journals.
"""

_LONGEST_WORDS: Final = 10_000
# The members of the journal's line, and the options that mean the same.
_BOUNDS: Final = {"from": "--since", "to": "--until"}

GrepOption = Annotated[
    str | None, Option("--grep", "-g", metavar="TEXT", help="Only events with this in any of their texts.")
]
IgnoreCaseOption = Annotated[
    bool,
    Option("--ignore-case", "-i", help="Ignore case. Default: only for a TEXT without an upper-case letter."),
]
ExactOption = Annotated[
    bool, Option("--exact", help="TEXT character for character, not what looks the same.")
]


@reports
def forget(
    *,
    when: WindowOptions,
    grep: GrepOption = None,
    ignore_case: IgnoreCaseOption = False,
    exact: ExactOption = False,
    options: RemovalOptions,
) -> ExitCode:
    from vdbevents.events.envelope import utc_text
    from vdbevents.removal.forgetting import Forgetting
    from vdbevents.removal.remover import Task
    from vdbevents.times import Window

    window, words = window_of(when), words_of(grep, ignore_case=ignore_case, exact=exact)
    if window == Window() and words is None:
        hint = "give --last, --on, or --since and --until, or --grep TEXT"
        raise InputError("--since: missing", hint, error_id="option-missing")
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
    again += [f"{option}={facts[name]}" for name, option in _BOUNDS.items() if name in facts]
    again += [] if grep is None else [f"--grep={grep}"]
    again += ["--ignore-case"] if ignore_case else []
    again += ["--exact"] if exact else []
    code = run(task, options, verb="deleted", again=command_line(options, again), none="nothing to forget")
    if words is not None and (options.yes or code is ExitCode.NO_MATCH):
        _report_left(words, options)
    return code


def window_of(when: WindowOptions) -> "Window":
    """Return the window to forget; it ends now at the latest.

    Raises:
        InputError: an option is invalid, or nothing is in the window.
    """
    from vdbevents.times import Window

    now = datetime.now(UTC)
    window = when.window(now, when.zone())
    if window == Window():
        return window
    # What is still to be said must not be forgotten: it would not be recorded.
    now_ms = math.ceil(now.timestamp() * 1000)
    until_ms = now_ms if window.until_ms is None else min(window.until_ms, now_ms)
    if window.since_ms is not None and window.since_ms >= until_ms:
        raise InputError(
            "--since: must be before --until, and before now",
            "the window includes --since and excludes --until",
            error_id="window-empty",
        )
    return Window(window.since_ms, until_ms)


def words_of(text: str | None, *, ignore_case: bool, exact: bool) -> "Words | None":
    """Return the words to forget; None without a text.

    Raises:
        InputError: the text is not one to look for.
    """
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
    if exact and ignore_case:
        raise options_conflict("--exact", "--ignore-case")
    return Words(text, ignore_case=True if ignore_case else None, exact=exact)


def _report_left(words: "Words", options: RemovalOptions) -> None:
    """Say where else in the directory the words still are: this command does not delete them there."""
    from vdbevents.removal.leftovers import files_with

    left = files_with(options.state, words)
    if left and not options.as_json:
        remark(
            f"the words are still in {counted(len(left), 'file')} there: {', '.join(left[:10])}",
            "these are names of streams or sessions, settings, or files of others: see docs/privacy.md",
        )
