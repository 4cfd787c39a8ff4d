"""`vdbevents config`: shows which options the file and the environment set."""

from typing import Annotated

import typer

from vdbevents.cli.command import (
    put,
    reports,
)
from vdbevents.cli.diagnostics import ExitCode

HELP = """Show which options the file and the environment set, to what, and what is wrong there.

An option that no flag sets is taken from VDBEVENTS_<COMMAND>_<OPTION>, else from the table of its command in
$XDG_CONFIG_HOME/vdbevents/config.toml (else ~/.config/vdbevents/config.toml), else it has its own default.

\b
Examples:
  vdbevents config
  vdbevents config listen --all
  VDBEVENTS_QUERY_LIMIT=20 vdbevents config query

\b
Exit codes: 0 nothing is wrong, 2 something is.
"""


@reports
def config(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...", help="Only this command, or group of commands.", show_default=False
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also what has its own default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with all options.")] = False,
) -> ExitCode:
    from vdbevents.cli.configuration import configuration_of, only, render, tell

    found = configuration_of(context)
    if command:
        found = only(found, command)
    put(render(found, everything=everything, as_json=as_json))
    if not found.problems:
        return ExitCode.DONE
    if not as_json:
        tell(found.problems)
    return ExitCode.BAD_INPUT


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(help=HELP)(config)
