"""Pipelines started and stopped over the API, so that a step may be repeated and nothing runs twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vdbevents.capture.plan import Pipeline
from vdbevents.cloud import Account


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


def stop_pipeline(account: Account, pipeline: Pipeline) -> None:
    """Stops a pipeline; raises as `start_pipeline`."""
    if pipeline.kind == "transcript":
        account.stop_transcript(pipeline.stream.id, pipeline.settings.get("engine"))
    else:
        account.stop_index(pipeline.stream.id, pipeline.id)


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
    """Watches an index for events, each once.

    Args:
        account: the API.
        stream_id: the index's stream.
        index_id: a scene index.
        events: (label, event id).
        ws_id: the WebSocket that alerts are sent to.

    Returns:
        Label to alert id.
    """
    known = {str(alert.get("event_id")): alert for alert in account.list_alerts(stream_id, index_id)}
    found: dict[str, str] = {}
    for label, event_id in events:
        alert_id = known.get(event_id, {}).get("alert_id")
        found[label] = alert_id or account.create_alert(stream_id, index_id, event_id, ws_id)
    return found
