"""Pipelines at the service: a step may be repeated, and nothing runs twice."""

import json
import urllib.request

import pytest
from processes import eventually

from vdbevents import cloud
from vdbevents.capture.pipelines import (
    Attached,
    attach_alerts,
    find_event,
    start_pipeline,
    stop_pipeline,
    watch_index,
)
from vdbevents.capture.plan import PipelineSettings, pipelines_for
from vdbevents.emulator.server import EmulatorSettings, running
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError

KEY = "sk-emulator"
CHANNELS = [
    {"channel_id": "mic:default", "type": "audio", "name": "Microphone"},
    {"channel_id": "display:1", "type": "video", "name": "Display"},
]


class Service:
    """The emulator with one active session, and what it knows."""

    def __init__(self, url):
        self.url = url
        self.account = cloud.Account(cloud.Credentials(KEY, url), 20)
        created = self.account.create_session("user", "default", "ws-1", {})
        self.post("/capture/session/start", session_id=created.id, channels=CHANNELS)
        streams = eventually(lambda: self.account.get_session(created.id, "default").streams)
        pipelines = pipelines_for(
            streams,
            PipelineSettings(engine="deepgram", audio_prompt="What is said?", visual_prompt="What is shown?"),
        )
        self.transcript, self.audio, self.visual = pipelines

    def post(self, path, **body):
        headers = {"x-access-token": KEY}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    @property
    def state(self):
        with urllib.request.urlopen(self.url + "/emulator/state", timeout=30) as answer:
            return json.load(answer)

    @property
    def pipelines(self):
        """(channel, status, connection id) of each."""
        return [(it["channel"], it["status"], it["ws_connection_id"]) for it in self.state["pipelines"]]

    def start(self, pipeline, **options):
        options = {"ws_id": "ws-1", "name": f"{pipeline.title} for ws-1", **options}
        return start_pipeline(self.account, pipeline, **options)


@pytest.fixture
def service():
    with running(EmulatorSettings(autoplay=False)) as url:
        yield Service(url)


def test_each_pipeline_is_started_with_the_connection_that_its_results_go_to(service):
    pipelines = [service.transcript, service.audio, service.visual]
    started = [service.start(pipeline) for pipeline in pipelines]

    assert service.pipelines == [
        ("transcript", "running", "ws-1"),
        ("audio_index", "running", "ws-1"),
        ("visual_index", "running", "ws-1"),
    ]
    assert [(it.kind, it.stream, it.settings) for it in started] == [
        (it.kind, it.stream, it.settings) for it in pipelines
    ]
    assert {(it.status, it.ws_id, it.error) for it in started} == {("running", "ws-1", "")}
    assert [it.id for it in started[1:]] == [it["id"] for it in service.state["pipelines"][1:]]


def test_an_index_is_set_as_it_was_planned(service):
    for pipeline in (service.audio, service.visual):
        started = service.start(pipeline)
        (index,) = service.account.list_indexes(pipeline.stream.id)

        assert (index.id, index.channel) == (started.id, pipeline.kind)
        assert (index.prompt, index.name) == (pipeline.settings["prompt"], f"{pipeline.title} for ws-1")


@pytest.mark.parametrize("name", ["audio", "visual"])
def test_an_index_whose_start_may_have_succeeded_is_found_and_not_made_twice(service, name):
    pipeline = getattr(service, name)
    first = service.start(pipeline)
    second = service.start(pipeline, again=True)

    assert second == first
    assert len(service.pipelines) == 1


def test_an_index_whose_start_was_never_heard_of_is_made_by_the_second_attempt(service):
    started = service.start(service.visual, again=True)

    assert started.id
    assert service.pipelines == [("visual_index", "running", "ws-1")]


def test_an_index_of_another_name_is_not_taken_for_the_one_that_was_tried(service):
    first = service.start(service.visual, name="for another connection", ws_id="ws-0")
    second = service.start(service.visual, again=True)

    assert second.id != first.id
    assert service.pipelines == [("visual_index", "running", "ws-0"), ("visual_index", "running", "ws-1")]


def test_a_first_attempt_does_not_look_for_what_is_there(service):
    service.start(service.visual)

    assert not any("GET" in request and "/index" in request for request in service.state["requests"])


def test_a_start_that_was_answered_with_an_error_is_repeated_and_makes_one_index(service):
    service.post("/emulator/faults", http={"status": 503, "times": 1, "path": "/rtstream", "method": "POST"})
    with pytest.raises(ServiceUnreachableError):
        service.start(service.audio)
    started = service.start(service.audio, again=True)

    assert [it["id"] for it in service.state["pipelines"]] == [started.id]


def test_a_transcript_that_runs_already_is_started_twice_without_harm(service):
    for again in (False, True):
        assert service.start(service.transcript, again=again).status == "running"

    assert service.pipelines == [("transcript", "running", "ws-1")]


def test_without_a_connection_a_pipeline_runs_and_is_sent_nowhere(service):
    started = [service.start(pipeline, ws_id=None) for pipeline in (service.transcript, service.visual)]

    assert service.pipelines == [("transcript", "running", None), ("visual_index", "running", None)]
    assert [it.ws_id for it in started] == ["", ""]


def test_each_pipeline_can_be_stopped_and_stopped_again(service):
    started = [service.start(pipeline) for pipeline in (service.transcript, service.audio, service.visual)]
    for pipeline in started * 2:
        stop_pipeline(service.account, pipeline.stream.id, pipeline.id)

    assert [status for _, status, _ in service.pipelines] == ["stopped"] * 3


def test_what_the_service_does_not_know_is_refused(service):
    with pytest.raises(ServiceRefusedError, match="There is no scene index"):
        stop_pipeline(service.account, service.visual.stream.id, "no")


def test_an_event_is_made_once(service):
    first = find_event(service.account, "deploy", "a deployment is mentioned")
    second = find_event(service.account, "deploy", "a deployment is mentioned")

    assert first == second
    assert service.state["totals"]["events"] == 1


@pytest.mark.parametrize(
    ("label", "prompt"),
    [("deploy", "a roll-back is mentioned"), ("Deploy", "a deployment is mentioned"), ("other", "x")],
)
def test_an_event_of_the_same_label_or_prompt_alone_is_another_event(service, label, prompt):
    first = find_event(service.account, "deploy", "a deployment is mentioned")
    second = find_event(service.account, label, prompt)

    assert second != first
    assert {(it["label"], it["event_prompt"]) for it in service.account.list_events()} == {
        ("deploy", "a deployment is mentioned"),
        (label, prompt),
    }


@pytest.fixture
def watched(service):
    """(stream id, index id, (label, event id) of two events)."""
    started = service.start(service.visual)
    events = [
        (label, find_event(service.account, label, f"{label} is shown")) for label in ("deploy", "outage")
    ]
    return started.stream.id, started.id, events


def test_alerts_are_attached_once(service, watched):
    stream_id, index_id, events = watched
    first = attach_alerts(service.account, stream_id, index_id, events, "ws-1")
    second = attach_alerts(service.account, stream_id, index_id, events, "ws-1")

    assert list(first) == ["deploy", "outage"]
    assert second == first
    assert {it["alert_id"]: it["event_id"] for it in service.account.list_alerts(stream_id, index_id)} == {
        first["deploy"]: events[0][1],
        first["outage"]: events[1][1],
    }


def test_what_is_attached_already_stays_as_it_is_and_is_told_of(service, watched):
    stream_id, index_id, events = watched
    first = watch_index(service.account, stream_id, index_id, events[:1], "ws-1")
    service.account.set_alert(stream_id, index_id, first["deploy"].id, enabled=False)
    second = watch_index(service.account, stream_id, index_id, events, "ws-1")

    assert first == {"deploy": Attached(first["deploy"].id, "enabled", created=True)}
    assert second["deploy"] == Attached(first["deploy"].id, "disabled", created=False)
    assert second["outage"].created
    attached = attach_alerts(service.account, stream_id, index_id, events, "ws-1")
    assert attached == {label: alert.id for label, alert in second.items()}


def test_an_alert_that_is_missing_is_added_to_those_that_are_there(service, watched):
    stream_id, index_id, events = watched
    before = attach_alerts(service.account, stream_id, index_id, events[:1], "ws-1")
    after = attach_alerts(service.account, stream_id, index_id, events, "ws-1")

    assert after["deploy"] == before["deploy"]
    assert service.state["totals"]["alerts"] == 2


def test_the_alerts_of_another_index_do_not_count(service, watched):
    stream_id, index_id, events = watched
    other = service.start(service.visual, name="another")
    first = attach_alerts(service.account, stream_id, index_id, events, "ws-1")
    second = attach_alerts(service.account, stream_id, other.id, events, "ws-1")

    assert not set(first.values()) & set(second.values())


def test_nothing_to_watch_for_attaches_nothing(service, watched):
    stream_id, index_id, _ = watched

    assert attach_alerts(service.account, stream_id, index_id, [], "ws-1") == {}
    assert service.state["totals"]["alerts"] == 0


def test_attaching_that_failed_half_way_is_finished_by_the_next_attempt(service, watched):
    stream_id, index_id, events = watched
    service.post(
        "/emulator/faults", http={"status": 500, "times": 1, "skip": 1, "path": "/rtstream/*/index/*/alert",
                                  "method": "POST"}
    )  # fmt: skip
    with pytest.raises(ServiceUnreachableError):
        attach_alerts(service.account, stream_id, index_id, events, "ws-1")
    attached = attach_alerts(service.account, stream_id, index_id, events, "ws-1")

    assert list(attached) == ["deploy", "outage"]
    assert service.state["totals"]["alerts"] == 2
