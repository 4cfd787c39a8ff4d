"""`vdbevents alerts`: creates, lists, enables and disables the alerts of a session."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.cloud_client import Attempts, Service, begin, bound_ws_id, find_streams
from vdbevents.cli.command import reports
from vdbevents.cli.declared import Argument, Option
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.options import SessionArgumentOptions, SessionOptions, WsIdOption
from vdbevents.cli.tables import as_text, nothing, remark, show_rows
from vdbevents.errors import InputError
from vdbevents.events.lifecycle import Stream

if TYPE_CHECKING:
    from vdbevents.cloud import Index
from vdbevents.cli.pipelines import IndexOption, indexes_of, no_index

_ALERT_COLUMNS: Final = ("alert_id", "status", "stream_name", "index_id", "label", "prompt")
alerts_app = typer.Typer(help="Manage the alerts of a session.", no_args_is_help=True, rich_markup_mode=None)


_CREATE_HELP = """Create an alert for something that is seen or heard.

It is attached to --index, else to every index of the session's streams; an alert that is already attached
stays. Its events go to the WebSocket of --ws-id, else of the listener in --dir.

\b
Examples:
  vdbevents alerts create 'invoice=an invoice or a bill is on screen'
  vdbevents alerts create 'standup=the daily standup begins' --index scene-idx-7 --json

\b
Exit codes: 0 attached, 1 the session has no index.
"""


@alerts_app.command("create", help=_CREATE_HELP)
@reports
def create_alert(
    wanted: Annotated[
        str,
        Argument(metavar="LABEL=PROMPT", help="The alert's label, and what to look for.", show_default=False),
    ],
    *,
    index: IndexOption = None,
    ws_id: WsIdOption = None,
    options: SessionOptions,
) -> ExitCode:
    from vdbevents.sessions.pipelines import find_event
    from vdbevents.sessions.plan import parse_alert

    label, prompt = parse_alert(wanted, "vdbevents alerts create 'invoice=an invoice is on screen'")
    service, state = begin(options)
    bound = bound_ws_id(ws_id, state)
    streams = find_streams(service, state, options)
    watched = [(stream, candidate) for stream in streams for candidate in indexes_of(service, stream)
               if index in (None, candidate.id)]  # fmt: skip
    if index is not None and not watched:
        raise no_index(index)
    if not watched:
        return nothing(
            "the session has no index",
            "start one: vdbevents pipelines start, with --visual-prompt or --audio-prompt",
        )
    event_id = service.ask(lambda: find_event(service.account, label, prompt))
    attempts = Attempts(service)
    event = {"event_id": event_id, "label": label, "prompt": prompt}
    rows = attempts.each([partial(_attach, service, *pair, event, bound) for pair in watched])
    show_rows(rows, _ALERT_COLUMNS, as_json=options.as_json)
    if any(row["status"] == "disabled" for row in rows):
        remark(f"alert {label} is disabled", f"enable it: vdbevents alerts enable --label {label}")
    if bound is None and any(row["created"] for row in rows):
        remark(
            f"no listener is connected in {state.path}: no events of the alert will arrive",
            f"start one before the alert: vdbevents listen --daemon {state.path}",
        )
    return attempts.code


def _attach(
    service: Service, stream: Stream, index: "Index", event: Mapping[str, str], ws_id: str | None
) -> dict[str, Any]:
    from vdbevents.sessions.pipelines import watch_index

    label = event["label"]
    alert = watch_index(service.account, stream.id, index.id, [(label, event["event_id"])], ws_id)[label]
    row = _alert_row(stream, index, {**event, "alert_id": alert.id, "status": alert.status})
    return {**row, "created": alert.created}


def _alert_row(stream: Stream, index: "Index", alert: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "alert_id": as_text(alert.get("alert_id")),
        "status": as_text(alert.get("status")),
        "stream_id": stream.id,
        "stream_name": stream.name,
        "index_id": index.id,
        "event_id": as_text(alert.get("event_id")),
        "label": as_text(alert.get("label")),
        "prompt": as_text(alert.get("prompt")),
    }


def _alerts_of(service: Service, streams: Sequence[Stream]) -> list[dict[str, Any]]:
    return [
        _alert_row(stream, index, alert)
        for stream in streams
        for index in indexes_of(service, stream)
        for alert in _alerts_on(service, stream, index)
    ]


def _alerts_on(service: Service, stream: Stream, index: "Index") -> list[Mapping[str, Any]]:
    return service.ask(lambda: service.account.list_alerts(stream.id, index.id))


_ALERTS_LIST_HELP = """List the alerts of a session.

Columns: id, status, stream, index, label, prompt.

\b
Examples:
  vdbevents alerts list
  vdbevents alerts list --session cap-5f1d9c20 --json | jq '.[] | select(.status == "disabled")'

\b
Exit codes: 0 some listed, 1 none.
"""


@alerts_app.command("list", help=_ALERTS_LIST_HELP)
@reports
def list_alerts(*, options: SessionArgumentOptions) -> ExitCode:
    service, state = begin(options)
    streams = find_streams(service, state, options)
    rows = _alerts_of(service, streams)
    show_rows(rows, _ALERT_COLUMNS, as_json=options.as_json)
    if rows:
        return ExitCode.DONE
    return nothing("the session has no alerts", "create one: vdbevents alerts create --help")


_ENABLE_HELP = """Enable alerts: one by its id, or all with a label.

\b
Examples:
  vdbevents alerts enable alert-3
  vdbevents alerts enable --label invoice --session cap-5f1d9c20
"""
_DISABLE_HELP = """Disable alerts: one by its id, or all with a label.

\b
Examples:
  vdbevents alerts disable alert-3
  vdbevents alerts disable --label invoice --session cap-5f1d9c20
"""


class _AlertOptions(SessionOptions):
    alert: Annotated[str | None, Argument(metavar="ALERT_ID", help="An alert's id.", show_default=False)] = (
        None
    )
    label: Annotated[str | None, Option("--label", metavar="LABEL", help="All alerts with this label.")] = (
        None
    )


@alerts_app.command(help=_ENABLE_HELP)
@reports
def enable(*, options: _AlertOptions) -> ExitCode:
    return _change_alerts(options, enabled=True)


@alerts_app.command(help=_DISABLE_HELP)
@reports
def disable(*, options: _AlertOptions) -> ExitCode:
    return _change_alerts(options, enabled=False)


def _change_alerts(options: _AlertOptions, *, enabled: bool) -> ExitCode:
    if (options.alert is None) == (options.label is None):
        raise InputError(
            "ALERT_ID or --label: give one of them",
            "vdbevents alerts list shows both",
            error_id="alert-not-given",
        )
    service, state = begin(options)
    streams = find_streams(service, state, options)
    field, value = ("label", options.label) if options.alert is None else ("alert_id", options.alert)
    rows = [row for row in _alerts_of(service, streams) if row[field] == value]
    if not rows:
        wanted = f"alert {value}" if field == "alert_id" else f"alert with the label {value}"
        raise InputError(
            f"the session has no {wanted}", "see: vdbevents alerts list", error_id="alert-missing"
        )
    attempts = Attempts(service)
    changed = attempts.each([partial(_change, service, row, enabled=enabled) for row in rows])
    show_rows(changed, _ALERT_COLUMNS, as_json=options.as_json)
    return attempts.code


def _change(service: Service, row: Mapping[str, Any], *, enabled: bool) -> dict[str, Any]:
    service.account.set_alert(row["stream_id"], row["index_id"], row["alert_id"], enabled=enabled)
    return {**row, "status": "enabled" if enabled else "disabled"}
