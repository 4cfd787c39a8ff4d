"""Events to watch for, and the alerts that fire when a scene index mentions one. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.request_checks import NAME, find, invalid, optional_text, read
from vdbevents.emulator.store import EmulatedAlert, iso_time, part_urls, stream_event

if TYPE_CHECKING:
    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedPipeline, EmulatedStore
    from vdbevents.emulator.utterances import Utterance

_PROMPT_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_ENABLE: Final = ("enable", "enabled")
_DISABLE: Final = ("disable", "disabled")


def create_event(store: EmulatedStore, call: RestCall) -> Json:
    """Create an event that an index can be watched for."""
    event = {"event_prompt": read(call.body, "event_prompt", NAME), "label": read(call.body, "label", NAME)}
    event_id = store.new_id("event")
    store.events[event_id] = {"event_id": event_id, **event}
    return {"event_id": event_id}


def create_alert(store: EmulatedStore, call: RestCall) -> Json:
    """Create an alert: watch an index for an event."""
    index = store.index(call["id"], call["index"])
    event = find(store.events, read(call.body, "event_id", NAME), "event")
    connection_id = optional_text(call.body, "ws_connection_id")
    callback_url = optional_text(call.body, "callback_url")
    alert = EmulatedAlert(store.new_id("alert"), event["event_id"], index.id, connection_id, callback_url)
    store.alerts[alert.id] = alert
    return {"alert_id": alert.id}


def list_alerts(store: EmulatedStore, call: RestCall) -> Json:
    """Return the alerts of an index."""
    index = store.index(call["id"], call["index"])
    alerts = [
        {
            "alert_id": alert.id,
            "event_id": alert.event_id,
            "prompt": store.events[alert.event_id]["event_prompt"],
            "label": store.events[alert.event_id]["label"],
            "callback_url": alert.callback_url,
            "status": "enabled" if alert.enabled else "disabled",
        }
        for alert in store.alerts.values()
        if alert.pipeline_id == index.id
    ]
    return {"alerts": alerts}


def change_alert(store: EmulatedStore, call: RestCall) -> None:
    """Enable or disable an alert.

    The SDK sends {"action": "enable"}, the OpenAPI file has {"status": "enabled"}.
    """
    store.index(call["id"], call["index"])
    alert = find(store.alerts, call["alert"], "alert")
    action = call.body.get("action", call.body.get("status"))
    if action not in (*_ENABLE, *_DISABLE):
        raise invalid(f"action: must be enable or disable, got {action!r}")
    alert.enabled = action in _ENABLE


def fire_alerts(store: EmulatedStore, pipeline: EmulatedPipeline, utterance: Utterance) -> None:
    """Queue the messages and webhooks of a pipeline's alerts whose event is mentioned."""
    stream, text = store.streams[pipeline.stream_id], utterance.text
    for alert in store.alerts.values():
        event = store.events[alert.event_id]
        if alert.pipeline_id != pipeline.id or not alert.enabled or not _is_mentioned(event, text):
            continue
        now = store.clock()
        data = {"event_label": event["label"], "timestamp": int(now * 1000), "text": text}
        store.push(alert.connection_id, stream_event("alert", stream, data))
        if alert.callback_url is not None:
            start, end = utterance.seconds(now)
            message = {
                "event_id": event["event_id"],
                "label": event["label"],
                "confidence": 1.0,
                "explanation": text,
                "timestamp": iso_time(now),
                "start_time": start,
                "end_time": end,
                **part_urls(stream, start, end),
            }
            store.callbacks.append((alert.callback_url, "alert", message))


def _is_mentioned(event: Json, text: str) -> bool:
    """Return whether a text holds the event's label, or a word of four or more letters of its prompt."""
    lowered = text.lower()
    words = {word.lower() for word in _PROMPT_WORD.findall(event["event_prompt"])}
    return event["label"].lower() in lowered or any(word in lowered for word in words)
