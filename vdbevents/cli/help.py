"""`vdbevents help`: show the help of the program, or of a command."""

from typing import Annotated

import typer

from vdbevents.cli.declared import Argument

HELP = """Show the help of a command: vdbevents help query.

The same as --help after the command. Without a command, lists the commands by subject.

\b
Examples:
  vdbevents help
  vdbevents help query
  vdbevents help session list
"""


def help(  # noqa: A001 - the command's name
    command: Annotated[
        list[str] | None, Argument(metavar="[COMMAND]...", help="A command.", show_default=False)
    ] = None,
) -> None:
    from vdbevents.cli.app import whole_app

    typer.main.get_command(whole_app()).main([*(command or ()), "--help"], prog_name="vdbevents")
