"""Pipelines started and stopped over the API, so that a step may be repeated and nothing runs twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from vdbevents.capture.plan import Pipeline
from vdbevents.cloud import Account

_ENABLED = "enabled"


class Attached(NamedTuple):
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
        account.start_transcript(stream_id, ws_id, settings["engine"])
        return running
    if again:
        index = next((index for index in account.list_indexes(stream_id) if index.name == name), None)
        if index is not None:
            return replace(running, id=index.id)
    index = account.create_index(
        stream_id,
        pipeline.kind,
        prompt=settings["prompt"],
        batch=settings["batch"],
        model=settings["model"],
        name=name,
        ws_id=ws_id,
    )
    return replace(running, id=index.id)


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
) -> Mapping[str, Attached]:
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
    found: dict[str, Attached] = {}
    for label, event_id in events:
        alert = known.get(event_id, {})
        if alert.get("alert_id"):
            found[label] = Attached(str(alert["alert_id"]), str(alert.get("status") or ""), created=False)
        else:
            made = account.create_alert(stream_id, index_id, event_id, ws_id)
            found[label] = Attached(made, _ENABLED, created=True)
    return found
