"""`vdbevents redact`: replace what the redaction rules find in what was recorded before."""

import dataclasses
from typing import Annotated

import typer

from vdbevents.cli.command import reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.removals import RemovalOptions, command_line, run
from vdbevents.errors import options_conflict

HELP = """Find secrets in what was recorded, and with --yes replace them.

The listener applies the rules of [redact] to what arrives; this applies them to the journal, to what was
rotated or cleared, and to torn lines, and removes the cache of the old content. What is found is counted by
its kind, and never shown. A journal.redacted line says what was done.

\b
Examples:
  vdbevents redact --dry-run
  vdbevents redact --yes
  vdbevents redact --json | jq .kinds

\b
Exit codes: 0 something to replace, or replaced; 1 nothing to replace; 2 wrong input; 74 no room, or another
process rewrites the journals.
"""


@reports
def redact(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Only show what would be replaced, as without --yes.")
    ] = False,
    options: RemovalOptions,
) -> ExitCode:
    from vdbevents.cli.recording_rules import redaction_rules
    from vdbevents.privacy.redaction import Redactor
    from vdbevents.removal.redacting import Redacting
    from vdbevents.removal.remover import Task

    if dry_run and options.yes:
        raise options_conflict("--dry-run", "--yes")
    key = options.environ.get("VIDEO_DB_API_KEY")
    rules = dataclasses.replace(redaction_rules(context), secrets=(key,) if key else ())
    redacting = Redacting(Redactor(rules))
    task = Task(
        redacting,
        "journal.redacted",
        {"rules": rules.names},
        torn_without=redacting.torn_without,
        is_thorough=True,
    )
    again = command_line(options, ["redact"])
    return run(task, options, verb="redacted", again=again, none="the rules find nothing")
