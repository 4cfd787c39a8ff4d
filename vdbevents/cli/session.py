"""`vdbevents session`: creates, lists, shows, ends and exports capture sessions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.cloud_client import (
    DEFAULT_COLLECTION,
    Service,
    begin,
    bound_ws_id,
    find_session,
    get_session,
)
from vdbevents.cli.command import as_json as json_text, put, reports
from vdbevents.cli.declared import Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.localtime import local_text
from vdbevents.cli.options import (
    CloudOptions,
    DirectoryOptions,
    SessionArgumentOptions,
    TimeoutOption,
    WsIdOption,
)
from vdbevents.cli.pipeline_options import NewSessionOptions
from vdbevents.cli.tables import nothing, remark, show_rows, table, terminal_width
from vdbevents.errors import CaptureError
from vdbevents.events.fields import unix_ms
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    from vdbevents.cloud import CloudSession, Export


_FINAL_STATUSES: Final = ("stopped", "exported", "failed")

session_app = typer.Typer(
    help="Manage capture sessions, step by step.", no_args_is_help=True, rich_markup_mode=None
)

_CREATE_HELP = """Create a capture session, and print its id.

Its events go to the WebSocket of --ws-id, else of the listener in DIR, if that is connected.

\b
Examples:
  vdbevents session create
  vdbevents session create --end-user-id ada --metadata project=atlas
  id=$(vdbevents session create --json | jq -r .session_id)
"""


@session_app.command(help=_CREATE_HELP)
@reports
def create(
    *,
    place: DirectoryOptions,
    new_session: NewSessionOptions,
    ws_id: WsIdOption = None,
    options: CloudOptions,
) -> None:
    metadata = new_session.parsed_metadata()
    service, state = Service(options), options.state_at(place.directory)
    bound = bound_ws_id(ws_id, state)
    end_user, collection = new_session.end_user, new_session.collection or DEFAULT_COLLECTION
    session = service.ask(lambda: service.account.create_session(end_user, collection, bound, metadata))
    if bound is None:
        remark(
            f"no listener is connected in {state.path}: no events of this session will arrive",
            f"start one before the session: vdbevents listen --daemon {state.path}",
        )
    if not options.as_json:
        put(harmless(session.id))
        return
    put(
        json_text(
            {
                "session_id": session.id,
                "status": session.status,
                "collection_id": session.collection_id,
                "end_user_id": session.end_user_id or end_user,
                "ws_id": bound,
                "metadata": session.metadata or metadata,
            }
        )
    )


_LIST_HELP = """List the capture sessions of a collection.

Columns: id, status, creation time, end user, video. `vdbevents sessions` lists those of a journal, without a
key.

\b
Examples:
  vdbevents session list --status active
  vdbevents session list --json | jq -r '.[] | select(.video_id != "") | .session_id'

\b
Exit codes: 0 some listed, 1 none.
"""


@session_app.command("list", help=_LIST_HELP)
@reports
def list_sessions(
    *,
    collection: Annotated[str, Option(metavar="ID", help="Collection of the sessions.")] = DEFAULT_COLLECTION,
    status: Annotated[
        str | None,
        Option(metavar="STATUS", help="Only sessions with this status: active, stopped, failed, …"),
    ] = None,
    options: CloudOptions,
) -> ExitCode:
    service = Service(options)
    collection = collection or DEFAULT_COLLECTION
    sessions = service.ask(lambda: service.account.list_sessions(collection, status))
    columns = ("session_id", "status", "created", "end_user_id", "video_id")
    rows = [_to_dict(session) for session in sessions]
    show_rows(
        rows if options.as_json else [_in_local_time(row) for row in rows], columns, as_json=options.as_json
    )
    if sessions:
        return ExitCode.DONE
    which = f" with status {status}" if status else ""
    return nothing(f"collection {collection} has no session{which}", "create one: vdbevents session create")


_SHOW_HELP = """Show a capture session: its status, its streams, its video.

\b
Examples:
  vdbevents session show
  vdbevents session show --session cap-5f1d9c20 --json | jq -r .status
"""


@session_app.command(help=_SHOW_HELP)
@reports
def show(*, options: SessionArgumentOptions) -> None:
    service, state = begin(options)
    _show(get_session(service, find_session(options, state)), as_json=options.as_json)


_END_HELP = """End a capture session on the server.

Waits until it is stopped, exported or failed. To end a capture that runs on this machine, send it SIGTERM
instead: it ends its session itself.

\b
Examples:
  vdbevents session end
  vdbevents session end --session cap-5f1d9c20 --no-wait

\b
Exit codes: 0 ended, 6 failed, or not ended in time.
"""


@session_app.command(help=_END_HELP)
@reports
def end(
    *, wait: Annotated[bool, Option(help="Wait for the end.")] = True, options: SessionArgumentOptions
) -> None:
    service, state = begin(options)
    target = find_session(options, state)
    session = get_session(service, target)
    if session.status not in _FINAL_STATUSES:
        if session.status != "stopping":
            service.ask(lambda: service.account.stop_session(target.session_id))
        session = service.until(
            lambda: service.account.get_session(*target),
            lambda latest: not wait or latest.status in _FINAL_STATUSES,
        )
    _show(session, as_json=options.as_json)
    if session.status == "failed":
        reason = f": {session.error}" if session.error else ""
        raise CaptureError(f"session {target.session_id} failed{reason}", error_id="session-failed")
    if wait and session.status not in _FINAL_STATUSES:
        status = session.status or "not ended"
        raise CaptureError(
            f"session {target.session_id} is still {status} after {options.timeout:g} s",
            f"check later: vdbevents session show --session {target.session_id}",
            error_id="session-not-stopped",
        )


_EXPORT_HELP = """Export the video of a stopped session, and wait for it.

Prints its id and addresses.

\b
Examples:
  vdbevents session export
  vdbevents session export --session cap-5f1d9c20 --json | jq -r .player_url

\b
Exit codes: 0 exported, 6 failed, or not exported in time.
"""


class _ExportOptions(SessionArgumentOptions):
    timeout: TimeoutOption = 300.0


@session_app.command(help=_EXPORT_HELP)
@reports
def export(*, options: _ExportOptions) -> None:
    service, state = begin(options)
    target = find_session(options, state)
    export: Export = service.until(
        lambda: service.account.export_session(*target),
        lambda latest: latest.status in ("exported", "failed"),
    )
    if export.status == "failed":
        raise CaptureError(
            f"export of session {target.session_id} failed",
            f"see: vdbevents session show --session {target.session_id}",
            error_id="export-failed",
        )
    if export.status != "exported":
        raise CaptureError(
            f"no video of session {target.session_id} after {options.timeout:g} s",
            "retry later, or raise --timeout: the export goes on",
            error_id="export-timeout",
        )
    shown = {"video_id": export.video_id, "stream_url": export.stream_url, "player_url": export.player_url}
    if options.as_json:
        put(json_text({"session_id": target.session_id, "status": export.status, **shown}))
    else:
        put(table(list(shown.items()), None))


def _show(session: "CloudSession", *, as_json: bool) -> None:
    values = _to_dict(session)
    if as_json:
        put(json_text(values))
        return
    values = _in_local_time(values)
    rows = [(name, str(value)) for name, value in values.items() if value and isinstance(value, str)]
    rows += [(f"metadata.{key}", str(value)) for key, value in session.metadata.items()]
    rows += [("stream", " ".join(str(value or "-") for value in stream)) for stream in session.streams]
    put(table(rows, terminal_width()))


def _in_local_time(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session's values with its time of creation as a person reads it."""
    created = unix_ms(values["created"])
    return {**values, "created": values["created"] if created is None else local_text(created)}


def _to_dict(session: "CloudSession") -> dict[str, Any]:
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
