"""Start, rebind and stop pipelines over the API. Each step may be repeated: nothing runs twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vdbevents.cloud import Account, Index, persist
from vdbevents.errors import ServiceRefusedError
from vdbevents.sessions.plan import Pipeline

_ENABLED = "enabled"
_RESTART_SECONDS = 30.0
# The service's answers for an event that was deleted: the pipeline is worth more than its alert.
_EVENT_GONE = (400, 404)


class AttachedAlert(NamedTuple):
    """An alert on an index.

    Attributes:
        status: `enabled` or `disabled`.
        created: whether this call has attached it.
    """

    id: str
    status: str
    created: bool


def start_pipeline(
    account: Account, pipeline: Pipeline, *, ws_id: str | None, name: str, again: bool = False
) -> Pipeline:
    """Start a pipeline that sends its records to a WebSocket; return it as it runs.

    Args:
        account: the API.
        pipeline: not running yet.
        ws_id: None sends its records nowhere; they can still be fetched.
        name: for an index; unique on the stream.
        again: whether an earlier attempt may have succeeded without an answer.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: call it again, with `again`.
    """
    running = replace(pipeline, ws_id=ws_id or "", status="running", error="")
    stream_id, settings = pipeline.stream.id, pipeline.settings
    if pipeline.kind == "transcript":
        account.start_transcript(stream_id, ws_id, settings.get("engine"))
        return running
    if again:
        index = next((index for index in account.list_indexes(stream_id) if index.name == name), None)
        if index is not None:
            return replace(running, id=index.id)
    index = account.create_index(
        stream_id,
        pipeline.kind,
        prompt=settings.get("prompt") or "",
        batch=settings.get("batch"),
        model=settings.get("model"),
        name=name,
        ws_id=ws_id,
    )
    return replace(running, id=index.id)


def index_name(kind: str, session_id: str) -> str:
    """Return the name of a capture's index; a rebound one has a suffix."""
    return f"vdbevents {kind} {session_id}"


def rebind_pipeline(
    account: Account, pipeline: Pipeline, *, ws_id: str, session_id: str, events: Sequence[tuple[str, str]]
) -> Pipeline:
    """Restart a pipeline so that it sends to another WebSocket; return it as it runs then.

    The service binds what runs to one id for good. A transcript, of which a stream has one, is stopped and
    started. An index gets a successor with the same prompt and alerts; write down the result, then call
    `stop_former`: until then both make the same records.

    Args:
        account: the API.
        pipeline: running, as far as known.
        ws_id: of the current connection.
        session_id: the pipeline's.
        events: (label, event id) of alerts that it must have besides those that it has.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: call it again, however far it came.
    """
    stream_id, bindings = pipeline.stream.id, pipeline.bindings + 1
    bound = replace(pipeline, bindings=bindings, alerts={})
    if pipeline.kind == "transcript":
        account.stop_transcript(stream_id, pipeline.settings.get("engine"))
        # Nothing is transcribed until it runs again.
        return persist(lambda: start_pipeline(account, bound, ws_id=ws_id, name=""), _RESTART_SECONDS)
    # First: this is refused if the index was deleted, and nothing is left behind then.
    present = account.list_alerts(stream_id, pipeline.id) if pipeline.id else []
    name = f"{index_name(pipeline.kind, session_id)} {ws_id} {bindings}"
    running = start_pipeline(account, bound, ws_id=ws_id, name=name, again=True)
    wanted = {event_id: {"label": label} for label, event_id in events if event_id}
    wanted |= {str(alert["event_id"]): dict(alert) for alert in present if alert.get("event_id")}
    alerts = _copy_alerts(account, running, wanted)
    # An interrupted attempt may have left an index that sends to nobody, and costs money.
    strays = [index.id for index in _running_beside(account, running, session_id)]
    former = dict.fromkeys([*pipeline.former, *filter(None, [pipeline.id]), *strays])
    former.pop(running.id, None)
    return replace(running, alerts=alerts, former=tuple(former))


def stop_former(account: Account, pipeline: Pipeline, session_id: str) -> None:
    """Stop the indexes that a rebound pipeline has replaced.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: call it again.
    """
    if pipeline.kind != "transcript":
        for index in _running_beside(account, pipeline, session_id):
            account.stop_index(pipeline.stream.id, index.id)


def _running_beside(account: Account, pipeline: Pipeline, session_id: str) -> list[Index]:
    name = index_name(pipeline.kind, session_id)
    return [
        index
        for index in account.list_indexes(pipeline.stream.id)
        if (index.id in pipeline.former or index.name == name or index.name.startswith(f"{name} "))
        and index.id != pipeline.id
        and index.status != "stopped"
    ]


def _copy_alerts(
    account: Account, pipeline: Pipeline, wanted: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, str]:
    stream_id, index_id = pipeline.stream.id, pipeline.id
    present = {str(alert.get("event_id")): alert for alert in account.list_alerts(stream_id, index_id)}
    ids: dict[str, str] = {}
    for event_id, alert in wanted.items():
        alert_id = str(present.get(event_id, {}).get("alert_id") or "")
        if not alert_id:
            url = alert.get("callback_url")
            try:
                alert_id = account.create_alert(stream_id, index_id, event_id, pipeline.ws_id, url)
            except ServiceRefusedError as error:
                if error.status not in _EVENT_GONE:
                    raise
                continue
        if alert.get("status") not in (None, _ENABLED):
            account.set_alert(stream_id, index_id, alert_id, enabled=False)
        ids[str(alert.get("label") or event_id)] = alert_id
    return ids


def stop_pipeline(account: Account, stream_id: str, index_id: str, *, engine: str | None = None) -> None:
    """Stop an index of a stream, or, without an id, the transcript of an engine.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: call it again.
    """
    if index_id:
        account.stop_index(stream_id, index_id)
    else:
        account.stop_transcript(stream_id, engine)


def find_event(account: Account, label: str, prompt: str) -> str:
    """Find or create the event with a label and a prompt; return its id."""
    for event in account.list_events():
        is_same = event.get("label") == label and event.get("event_prompt") == prompt
        if is_same and isinstance(event.get("event_id"), str):
            return str(event["event_id"])
    return account.create_event(label, prompt)


def find_events(
    account: Account, alerts: Sequence[tuple[str, str]], known: dict[str, str]
) -> list[tuple[str, str]]:
    """Find or create each event of some alerts (label, prompt); return (label, event id) pairs.

    `known` has ids by label; new ones are added to it.
    """
    for label, prompt in alerts:
        if label not in known:
            known[label] = find_event(account, label, prompt)
    return [(label, known[label]) for label, _ in alerts]


def attach_alerts(
    account: Account, stream_id: str, index_id: str, events: Sequence[tuple[str, str]], ws_id: str | None
) -> Mapping[str, str]:
    """Watch an index as `watch_index` does; return the alert ids by label."""
    attached = watch_index(account, stream_id, index_id, events, ws_id)
    return {label: alert.id for label, alert in attached.items()}


def watch_index(
    account: Account, stream_id: str, index_id: str, events: Sequence[tuple[str, str]], ws_id: str | None
) -> Mapping[str, AttachedAlert]:
    """Attach an alert for each event (label, id) to an index, unless it has one; return them by label."""
    present = {str(alert.get("event_id")): alert for alert in account.list_alerts(stream_id, index_id)}
    alerts: dict[str, AttachedAlert] = {}
    for label, event_id in events:
        alert = present.get(event_id, {})
        if alert.get("alert_id"):
            status = str(alert.get("status") or "")
            alerts[label] = AttachedAlert(str(alert["alert_id"]), status, created=False)
        else:
            alert_id = account.create_alert(stream_id, index_id, event_id, ws_id)
            alerts[label] = AttachedAlert(alert_id, _ENABLED, created=True)
    return alerts
