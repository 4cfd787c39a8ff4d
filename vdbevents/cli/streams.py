"""`vdbevents streams`: list the streams of a session."""

from vdbevents.cli.cloud_client import begin, find_session, get_session
from vdbevents.cli.command import reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import SessionArgumentOptions
from vdbevents.cli.tables import nothing, show_rows

HELP = """List the streams of a session.

Columns: id, name, source (mic, system_audio, screen, camera), media.

\b
Examples:
  vdbevents streams
  vdbevents streams --session cap-5f1d9c20 --json | jq -r '.[] | select(.media == "video") | .id'

\b
Exit codes: 0 some listed, 1 none yet.
"""


@reports
def streams(*, options: SessionArgumentOptions) -> ExitCode:
    service, state = begin(options)
    session = get_session(service, find_session(options, state))
    rows = [stream._asdict() for stream in session.streams]
    show_rows(rows, ("id", "name", "source", "media"), as_json=options.as_json)
    if rows:
        return ExitCode.DONE
    if session.status in ("created", "starting"):
        return nothing(f"session {session.id} has not started: no streams yet")
    return nothing(f"session {session.id} has no streams, its status is {session.status or 'unknown'}")
