"""An event that arrives by WebSocket and webhook is recognised as the same."""

import json

import pytest

from vdbevents.events import duplicate_check, envelope

AT = 1772446530123  # 2026-03-02T10:15:30.123Z


def line(message: bytes | str, at: int = AT) -> str:
    content = message.encode() if isinstance(message, str) else message
    return envelope.envelop(content, at).line.decode()


ACTIVE = {"event": "capture_session.active", "capture_session_id": "cap-1", "data": {"streams": []}}


BY_SOCKET = {
    "channel": "capture_session",
    "event": "capture_session.active",
    "data": {"capture_session_id": "cap-1", "status": "active"},
}


FLAT_ALERT = {
    "event_id": "event-1",
    "label": "deploy",
    "confidence": 0.9,
    "explanation": "A deployment",
    "timestamp": "2026-03-02T10:15:30Z",
    "start_time": 1772446528.5,
    "end_time": 1772446530,
}


ALERT_WITH_SPAN = {
    "channel": "alert",
    "rtstream_id": "rts-1",
    "data": {
        "label": "deploy",
        "triggered": True,
        "confidence": 0.9,
        "start": 1772446528500,
        "end": 1772446530000,
    },
}


ALERT_WITH_TIME = {
    "channel": "alert",
    "data": {"event_label": "deploy", "timestamp": 1772446530123, "text": "A deployment"},
}


EXPORTED_BY_HOOK = {
    "event": "capture_session.exported",
    "capture_session_id": "cap-1",
    "data": {"exported_video_id": "m-1"},
}


EXPORTED_BY_SOCKET = {
    "channel": "capture_session",
    "event": "capture_session.exported",
    "data": {"capture_session_id": "cap-1", "status": "exported", "exported_video_id": "m-1"},
}


def is_told(once, line):
    return once.needle in line and once.matches(line)


def delivered(event):
    return envelope.delivered_record(json.dumps(event).encode(), 1)


def received(event):
    return envelope.envelop(json.dumps(event).encode(), 2)


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        (ACTIVE, BY_SOCKET),
        (EXPORTED_BY_HOOK, EXPORTED_BY_SOCKET),
        ({**EXPORTED_BY_HOOK, "data": {}}, EXPORTED_BY_SOCKET),
        (FLAT_ALERT, ALERT_WITH_SPAN),
        (FLAT_ALERT, ALERT_WITH_TIME),
    ],
)
def test_an_event_that_comes_both_ways_is_a_duplicate(hook, event):
    assert is_told(duplicate_check.check_delivered(delivered(hook)), received(event).line)
    assert is_told(duplicate_check.check_received(received(event)), delivered(hook).line)


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        ({"timestamp": "2026-03-02T10:15:30.123999Z"}, ALERT_WITH_TIME),
        ({"start_time": 1772446528.5009, "end_time": 1772446529.9995}, ALERT_WITH_SPAN),
    ],
)
def test_a_time_that_is_cut_by_one_way_and_finer_by_the_other_is_the_same(hook, event):
    flat = delivered({**FLAT_ALERT, **hook})

    assert is_told(duplicate_check.check_delivered(flat), received(event).line)
    assert is_told(duplicate_check.check_received(received(event)), flat.line)


def changed(event, **changes):
    return {**event, "data": {**event["data"], **changes}} if "data" in event else {**event, **changes}


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        (ACTIVE, changed(BY_SOCKET, capture_session_id="cap-12")),
        ({**ACTIVE, "event": "capture_session.stopped"}, BY_SOCKET),
        (changed(EXPORTED_BY_HOOK, exported_video_id="m-forged"), EXPORTED_BY_SOCKET),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, label="deployed")),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, confidence=0.8)),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, start=1772446528502)),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, end=1772446531000)),
        (FLAT_ALERT, changed(ALERT_WITH_TIME, timestamp=1772446531123)),
        (changed(FLAT_ALERT, timestamp="2026-03-02T10:15:30.125Z"), ALERT_WITH_TIME),
    ],
)
def test_events_that_differ_are_not_duplicates(hook, event):
    assert not is_told(duplicate_check.check_delivered(delivered(hook)), received(event).line)
    assert not is_told(duplicate_check.check_received(received(event)), delivered(hook).line)


@pytest.mark.parametrize("hook", [ACTIVE, FLAT_ALERT, {"weather": "rain"}, [1], "text"])
def test_a_webhook_delivered_again_is_a_duplicate(hook):
    again = json.dumps(hook, indent=2).encode() if isinstance(hook, dict) else json.dumps(hook).encode()

    assert is_told(duplicate_check.check_delivered(envelope.delivered_record(again, 5)), delivered(hook).line)


def test_of_one_label_and_time_another_webhook_is_another_alert():
    other = delivered({**FLAT_ALERT, "stream_url": "https://other.example"})

    assert not is_told(duplicate_check.check_delivered(other), delivered(FLAT_ALERT).line)


def test_a_part_of_another_event_is_not_a_duplicate():
    assert not is_told(duplicate_check.check_delivered(delivered({"b": 1})), delivered({"a": 0, "b": 1}).line)


@pytest.mark.parametrize("event", [ACTIVE, ALERT_WITH_SPAN])
def test_an_event_that_the_websocket_sends_twice_is_kept_twice(event):
    assert not is_told(duplicate_check.check_received(received(event)), received(event).line)


@pytest.mark.parametrize(
    "event",
    [{"channel": "alert", "data": {}}, {"channel": "alert", "data": {"label": "x"}},
     {"channel": "capture_session", "data": {}}, {"channel": "transcript", "data": {"text": "x"}}],
)  # fmt: skip
def test_an_event_that_cannot_be_identified_is_never_skipped(event):
    assert duplicate_check.check_received(received(event)) is None


@pytest.mark.parametrize("label", ['say "deploy"', "back\\slash", "line\nbreak", "tête", "\ud83d"])
def test_a_label_may_be_written_in_any_way(label):
    hook = json.dumps({**FLAT_ALERT, "label": label}, ensure_ascii=True).encode()
    event = received(changed(ALERT_WITH_SPAN, label=label))

    assert is_told(duplicate_check.check_received(event), envelope.delivered_record(hook, 1).line)
