"""Pipelines started and stopped over the API, so that a step may be repeated and nothing runs twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vdbevents.cloud import Account, Index, persist
from vdbevents.errors import ServiceRefusedError
from vdbevents.sessions.plan import Pipeline

_ENABLED = "enabled"
_PATIENCE_SECONDS = 30.0
# What the service answers when an event is no more: the pipeline is worth more than its alert.
_OF_THE_EVENT = (400, 404)


class AttachedAlert(NamedTuple):
    """An alert on an index.

    Attributes:
        id: the alert's.
        status: `enabled` or `disabled`, as the service tells it.
        created: whether it was attached just now.
    """

    id: str
    status: str
    created: bool


def start_pipeline(
    account: Account, pipeline: Pipeline, *, ws_id: str | None, name: str, again: bool = False
) -> Pipeline:
    """Starts a pipeline, whose results then come over the WebSocket with `ws_id`.

    Args:
        account: the API.
        pipeline: not yet running.
        ws_id: None sends its results nowhere; they can still be fetched.
        name: for an index; of no other index on the stream.
        again: an attempt was made before, which may have succeeded without an answer.

    Returns:
        The pipeline, running.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: it may be called again, with `again`.
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
    """What the indexes that a capture starts are called; one that is bound anew has a suffix."""
    return f"vdbevents {kind} {session_id}"


def rebind_pipeline(
    account: Account, pipeline: Pipeline, *, ws_id: str, session_id: str, events: Sequence[tuple[str, str]]
) -> Pipeline:
    """Has the results of a pipeline come over the WebSocket with `ws_id` from now on.

    The service binds what runs to an id for good. A transcript, of which a stream has one, is stopped and
    started. An index is followed by a new one that asks the same, with the same alerts; `stop_former` is
    next, once it is written down what that leaves behind: until then both make the same records.

    Args:
        account: the API.
        pipeline: running, or thought to.
        ws_id: of the connection that stands.
        session_id: whose it is.
        events: (label, event id) of the alerts that it has to have, beside those that it has.

    Returns:
        The pipeline as it runs now.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: it may be called again, whatever was done of it.
    """
    stream_id, bindings = pipeline.stream.id, pipeline.bindings + 1
    bound = replace(pipeline, bindings=bindings, alerts={})
    if pipeline.kind == "transcript":
        account.stop_transcript(stream_id, pipeline.settings.get("engine"))
        # Nothing of what is said from here on is written down before it runs again.
        return persist(lambda: start_pipeline(account, bound, ws_id=ws_id, name=""), _PATIENCE_SECONDS)
    # First of all: of an index that is no more this is refused, and nothing is left behind.
    there = account.list_alerts(stream_id, pipeline.id) if pipeline.id else []
    name = f"{index_name(pipeline.kind, session_id)} {ws_id} {bindings}"
    running = start_pipeline(account, bound, ws_id=ws_id, name=name, again=True)
    wanted = {event_id: {"label": label} for label, event_id in events if event_id}
    wanted |= {str(alert["event_id"]): dict(alert) for alert in there if alert.get("event_id")}
    alerts = _copy_alerts(account, running, wanted)
    # An attempt that was cut short may have left one that pushes to nobody, and is paid for.
    strays = [index.id for index in _running_beside(account, running, session_id)]
    former = dict.fromkeys([*pipeline.former, *filter(None, [pipeline.id]), *strays])
    former.pop(running.id, None)
    return replace(running, alerts=alerts, former=tuple(former))


def stop_former(account: Account, pipeline: Pipeline, session_id: str) -> None:
    """Stops the indexes that came before the one of a pipeline that was bound anew.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: it may be called again.
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
    stream_id, index_id, ws_id = pipeline.stream.id, pipeline.id, pipeline.ws_id
    made = {str(alert.get("event_id")): alert for alert in account.list_alerts(stream_id, index_id)}
    found: dict[str, str] = {}
    for event_id, alert in wanted.items():
        alert_id = str(made.get(event_id, {}).get("alert_id") or "")
        if not alert_id:
            callback_url = alert.get("callback_url")
            try:
                alert_id = account.create_alert(stream_id, index_id, event_id, ws_id, callback_url)
            except ServiceRefusedError as error:
                if error.status not in _OF_THE_EVENT:
                    raise
                continue
        if alert.get("status") not in (None, _ENABLED):
            account.set_alert(stream_id, index_id, alert_id, enabled=False)
        found[str(alert.get("label") or event_id)] = alert_id
    return found


def stop_pipeline(account: Account, stream_id: str, index_id: str, *, engine: str | None = None) -> None:
    """Stops an index of a stream or, where no index is named, its transcript, which an engine makes.

    Raises:
        ServiceRefusedError, ServiceUnreachableError: it may be called again.
    """
    if index_id:
        account.stop_index(stream_id, index_id)
    else:
        account.stop_transcript(stream_id, engine)


def find_event(account: Account, label: str, prompt: str) -> str:
    """The id of the event with this label and prompt; it is created where there is none."""
    for event in account.list_events():
        same = event.get("label") == label and event.get("event_prompt") == prompt
        if same and isinstance(event.get("event_id"), str):
            return str(event["event_id"])
    return account.create_event(label, prompt)


def find_events(
    account: Account, alerts: Sequence[tuple[str, str]], known: dict[str, str]
) -> list[tuple[str, str]]:
    """The (label, event id) of each alert (label, prompt).

    `known` has the ids that were found before, by their labels, and gets the others.
    """
    for label, prompt in alerts:
        if label not in known:
            known[label] = find_event(account, label, prompt)
    return [(label, known[label]) for label, _ in alerts]


def attach_alerts(
    account: Account,
    stream_id: str,
    index_id: str,
    events: Sequence[tuple[str, str]],
    ws_id: str | None,
) -> Mapping[str, str]:
    """Watches an index for events as `watch_index` does; answers with the alert's id of each label."""
    attached = watch_index(account, stream_id, index_id, events, ws_id)
    return {label: alert.id for label, alert in attached.items()}


def watch_index(
    account: Account,
    stream_id: str,
    index_id: str,
    events: Sequence[tuple[str, str]],
    ws_id: str | None,
) -> Mapping[str, AttachedAlert]:
    """Watches an index for events, each once: an alert that is attached already stays as it is.

    Args:
        account: the API.
        stream_id: the index's stream.
        index_id: a scene index.
        events: (label, event id).
        ws_id: the WebSocket that alerts are sent to.

    Returns:
        The alert of each label.
    """
    known = {str(alert.get("event_id")): alert for alert in account.list_alerts(stream_id, index_id)}
    found: dict[str, AttachedAlert] = {}
    for label, event_id in events:
        alert = known.get(event_id, {})
        if alert.get("alert_id"):
            found[label] = AttachedAlert(
                str(alert["alert_id"]), str(alert.get("status") or ""), created=False
            )
        else:
            made = account.create_alert(stream_id, index_id, event_id, ws_id)
            found[label] = AttachedAlert(made, _ENABLED, created=True)
    return found
