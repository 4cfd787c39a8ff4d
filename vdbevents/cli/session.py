"""Capture sessions step by step, for scripts and agents: `session …`, `token`, `streams`."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.cloud_client import (
    Service,
    begin,
    bound_ws_id,
    collection_or_default,
    find_session,
    get_session,
)
from vdbevents.cli.command import as_json as json_text, default_end_user, put, reports
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import (
    CloudOptions,
    DirectoryArgument,
    EndUserOption,
    MetadataOption,
    SessionArgumentOptions,
    TimeoutOption,
    WsIdOption,
)
from vdbevents.cli.tables import nothing, remark, show_rows, table, terminal_width
from vdbevents.errors import CaptureError
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    from vdbevents.cloud import CloudSession, Export


# That of a session that is stopping is none: it changes once more by itself.
_LAST_STATUSES: Final = ("stopped", "exported", "failed")

session_app = typer.Typer(
    help="Capture sessions, one step at a time.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_CREATE_HELP = """Create a capture session, and print its id.

What happens to it is told to the WebSocket of --ws-id, else of the listener in DIR, if it is connected.

\b
Examples:
  vdbevents session create
  vdbevents session create --end-user-id ada --metadata project=atlas
  id=$(vdbevents session create --json | jq -r .session_id)
"""


@session_app.command(help=_CREATE_HELP)
@reports
def create(
    directory: DirectoryArgument = None,
    *,
    end_user_id: EndUserOption = None,
    collection: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Where the recording will be kept.", show_default="default"),
    ] = None,
    metadata: MetadataOption = None,
    ws_id: WsIdOption = None,
    options: CloudOptions,
) -> None:
    from vdbevents.capture.selection import parse_metadata

    kept = parse_metadata(metadata or ())
    service, state = Service(options), options.state_at(directory)
    told = bound_ws_id(ws_id, state)
    end_user = end_user_id or default_end_user()
    made = service.ask(
        lambda: service.account.create_session(end_user, collection_or_default(collection), told, kept)
    )
    if told is None:
        remark(
            f"no listener is connected in {state.path}: no event of this session will arrive",
            f"start one before the session: vdbevents listen --daemon {state.path}",
        )
    if not options.as_json:
        put(harmless(made.id))
        return
    put(
        json_text(
            {
                "session_id": made.id,
                "status": made.status,
                "collection_id": made.collection_id,
                "end_user_id": made.end_user_id or end_user,
                "ws_id": told,
                "metadata": made.metadata or kept,
            }
        )
    )


_LIST_HELP = """List the capture sessions of a collection: id, status, when it was created, end user, video.

\b
Examples:
  vdbevents session list --status active
  vdbevents session list --json | jq -r '.[] | select(.video_id != "") | .session_id'

\b
Exit codes: 0 there are some, 1 there are none.
"""


@session_app.command("list", help=_LIST_HELP)
@reports
def list_sessions(
    *,
    collection: Annotated[
        str | None, typer.Option(metavar="ID", help="Which collection.", show_default="default")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only such as active, stopped, failed.")
    ] = None,
    options: CloudOptions,
) -> ExitCode:
    service = Service(options)
    wanted = collection_or_default(collection)
    found = service.ask(lambda: service.account.list_sessions(wanted, status))
    columns = ("session_id", "status", "created", "end_user_id", "video_id")
    show_rows([_described(one) for one in found], columns, as_json=options.as_json)
    if found:
        return ExitCode.DONE
    which = f" that is {status}" if status else ""
    return nothing(f"the collection {wanted} has no session{which}", "create one: vdbevents session create")


_SHOW_HELP = """Show a capture session: its status, its streams, its video.

\b
Examples:
  vdbevents session show
  vdbevents session show cap-5f1d9c20 --json | jq -r .status
"""


@session_app.command(help=_SHOW_HELP)
@reports
def show(
    *,
    options: SessionArgumentOptions,
) -> None:
    service, state = begin(options)
    found = get_session(service, find_session(options, state))
    _show(found, as_json=options.as_json)


_END_HELP = """End a capture session on the server, and wait until it is stopped, exported or failed.

A capture that still runs on this machine is better ended by a signal, which ends its session, too.

\b
Examples:
  vdbevents session end
  vdbevents session end cap-5f1d9c20 --no-wait

\b
Exit codes: 0 it is over, 6 it failed, or is not over in time.
"""


@session_app.command(help=_END_HELP)
@reports
def end(
    *,
    wait: Annotated[bool, typer.Option(help="Whether to wait until it is over.")] = True,
    options: SessionArgumentOptions,
) -> None:
    service, state = begin(options)
    target = find_session(options, state)
    found = get_session(service, target)
    if found.status not in _LAST_STATUSES:
        if found.status != "stopping":
            service.ask(lambda: service.account.stop_session(target.session_id))
        found = service.until(
            lambda: service.account.get_session(*target),
            lambda asked: not wait or asked.status in _LAST_STATUSES,
        )
    _show(found, as_json=options.as_json)
    if found.status == "failed":
        reason = f": {found.error}" if found.error else ""
        raise CaptureError(f"the session {target.session_id} failed{reason}")
    if wait and found.status not in _LAST_STATUSES:
        raise CaptureError(
            f"session {target.session_id} is still {found.status or 'not over'} after {options.timeout:g} s",
            f"check later: vdbevents session show {target.session_id}",
            error_id="session-not-stopped",
        )


_EXPORT_HELP = """Have the video of a stopped session made, wait for it, and print its id and its addresses.

\b
Examples:
  vdbevents session export
  vdbevents session export cap-5f1d9c20 --json | jq -r .player_url

\b
Exit codes: 0 it is there, 6 the export failed, or is not there in time.
"""


class _ExportOptions(SessionArgumentOptions):
    timeout: TimeoutOption = 300.0


@session_app.command(help=_EXPORT_HELP)
@reports
def export(
    *,
    options: _ExportOptions,
) -> None:
    service, state = begin(options)
    target = find_session(options, state)
    made: Export = service.until(
        lambda: service.account.export_session(*target),
        lambda asked: asked.status in ("exported", "failed"),
    )
    if made.status == "failed":
        raise CaptureError(
            f"the export of the session {target.session_id} failed",
            f"see: vdbevents session show {target.session_id}",
        )
    if made.status != "exported":
        raise CaptureError(
            f"the export of the session {target.session_id} is not there after {options.timeout:g} s",
            "ask again later, or wait longer with --timeout: it goes on",
        )
    shown = {"video_id": made.video_id, "stream_url": made.stream_url, "player_url": made.player_url}
    if options.as_json:
        put(json_text({"session_id": target.session_id, "status": made.status, **shown}))
    else:
        put(table(list(shown.items()), None))


def _show(session: "CloudSession", *, as_json: bool) -> None:
    told = _described(session)
    if as_json:
        put(json_text(told))
        return
    rows = [(name, str(value)) for name, value in told.items() if value and isinstance(value, str)]
    rows += [(f"metadata.{key}", str(value)) for key, value in session.metadata.items()]
    rows += [("stream", " ".join(str(value or "-") for value in one))
             for one in session.streams]  # fmt: skip
    put(table(rows, terminal_width()))


def _described(session: "CloudSession") -> dict[str, Any]:
    return {
        "session_id": session.id,
        "status": session.status,
        "collection_id": session.collection_id,
        "end_user_id": session.end_user_id,
        "created": session.created,
        "streams": [stream._asdict() for stream in session.streams],
        "export_status": session.export_status,
        "video_id": session.video_id,
        "error": session.error,
        "metadata": dict(session.metadata),
    }


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.add_typer(session_app, name="session")
