"""`vdbevents streams`: lists the streams of a session."""

import typer

from vdbevents.cli.cloud_client import (
    begin,
    find_session,
    get_session,
)
from vdbevents.cli.command import reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import (
    SessionArgumentOptions,
)
from vdbevents.cli.tables import nothing, show_rows

HELP = """List the streams of a session: id, name, source (mic, system_audio, screen, camera), media.

\b
Examples:
  vdbevents streams
  vdbevents streams cap-5f1d9c20 --json | jq -r '.[] | select(.media == "video") | .id'

\b
Exit codes: 0 there are some, 1 there are none (yet).
"""


@reports
def streams(
    *,
    options: SessionArgumentOptions,
) -> ExitCode:
    service, state = begin(options)
    found = get_session(service, find_session(options, state))
    rows = [stream._asdict() for stream in found.streams]
    show_rows(rows, ("id", "name", "source", "media"), as_json=options.as_json)
    if rows:
        return ExitCode.DONE
    return nothing(f"the session {found.id} is {found.status or 'of unknown status'}, and has no streams")


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(help=HELP)(streams)
