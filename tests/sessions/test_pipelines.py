"""Pipelines at the service: a step may be repeated, and nothing runs twice."""

import contextlib
import itertools
import json
import urllib.request
from dataclasses import replace

import pytest
from support.patience import PATIENCE
from support.processes import eventually

from vdbevents import cloud
from vdbevents.emulator.application import EmulatorSettings, running
from vdbevents.errors import ServiceRefusedError, ServiceUnreachableError
from vdbevents.sessions import pipelines as p
from vdbevents.sessions.pipelines import (
    AttachedAlert,
    attach_alerts,
    find_event,
    index_name,
    rebind_pipeline,
    start_pipeline,
    stop_former,
    stop_pipeline,
    watch_index,
)
from vdbevents.sessions.plan import PipelineSettings, pipelines_for

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
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    @property
    def state(self):
        with urllib.request.urlopen(self.url + "/emulator/state", timeout=PATIENCE) as answer:
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


def test_each_pipeline_is_started_with_its_connection(service):
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


def test_an_index_is_created_with_its_settings(service):
    for pipeline in (service.audio, service.visual):
        started = service.start(pipeline)
        (index,) = service.account.list_indexes(pipeline.stream.id)

        assert (index.id, index.channel) == (started.id, pipeline.kind)
        assert (index.prompt, index.name) == (pipeline.settings["prompt"], f"{pipeline.title} for ws-1")


@pytest.mark.parametrize("name", ["audio", "visual"])
def test_a_retry_finds_an_index_whose_start_has_succeeded(service, name):
    pipeline = getattr(service, name)
    first = service.start(pipeline)
    second = service.start(pipeline, again=True)

    assert second == first
    assert len(service.pipelines) == 1


def test_a_retry_creates_an_index_whose_start_has_failed(service):
    started = service.start(service.visual, again=True)

    assert started.id
    assert service.pipelines == [("visual_index", "running", "ws-1")]


def test_a_retry_does_not_take_an_index_of_another_name(service):
    first = service.start(service.visual, name="for another connection", ws_id="ws-0")
    second = service.start(service.visual, again=True)

    assert second.id != first.id
    assert service.pipelines == [("visual_index", "running", "ws-0"), ("visual_index", "running", "ws-1")]


def test_a_first_attempt_creates_an_index_without_looking(service):
    service.start(service.visual)

    assert not any("GET" in request and "/index" in request for request in service.state["requests"])


def test_a_start_that_failed_after_the_fact_leads_to_one_index(service):
    service.post("/emulator/faults", http={"status": 503, "times": 1, "path": "/rtstream", "method": "POST"})
    with pytest.raises(ServiceUnreachableError):
        service.start(service.audio)
    started = service.start(service.audio, again=True)

    assert [it["id"] for it in service.state["pipelines"]] == [started.id]


def test_a_transcript_can_be_started_twice(service):
    for again in (False, True):
        assert service.start(service.transcript, again=again).status == "running"

    assert service.pipelines == [("transcript", "running", "ws-1")]


def test_without_a_connection_a_pipeline_sends_nowhere(service):
    started = [service.start(pipeline, ws_id=None) for pipeline in (service.transcript, service.visual)]

    assert service.pipelines == [("transcript", "running", None), ("visual_index", "running", None)]
    assert [it.ws_id for it in started] == ["", ""]


def test_each_pipeline_can_be_stopped_twice(service):
    started = [service.start(pipeline) for pipeline in (service.transcript, service.audio, service.visual)]
    for pipeline in started * 2:
        stop_pipeline(service.account, pipeline.stream.id, pipeline.id)

    assert [status for _, status, _ in service.pipelines] == ["stopped"] * 3


def test_an_unknown_pipeline_is_refused(service):
    with pytest.raises(ServiceRefusedError, match="There is no scene index"):
        stop_pipeline(service.account, service.visual.stream.id, "no")


def test_an_event_is_created_once(service):
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


def test_an_attached_alert_stays_as_it_is_and_is_returned(service, watched):
    stream_id, index_id, events = watched
    first = watch_index(service.account, stream_id, index_id, events[:1], "ws-1")
    service.account.set_alert(stream_id, index_id, first["deploy"].id, enabled=False)
    second = watch_index(service.account, stream_id, index_id, events, "ws-1")

    assert first == {"deploy": AttachedAlert(first["deploy"].id, "enabled", created=True)}
    assert second["deploy"] == AttachedAlert(first["deploy"].id, "disabled", created=False)
    assert second["outage"].created
    attached = attach_alerts(service.account, stream_id, index_id, events, "ws-1")
    assert attached == {label: alert.id for label, alert in second.items()}


def test_a_missing_alert_is_added(service, watched):
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


def test_without_events_no_alert_is_attached(service, watched):
    stream_id, index_id, _ = watched

    assert attach_alerts(service.account, stream_id, index_id, [], "ws-1") == {}
    assert service.state["totals"]["alerts"] == 0


def test_a_retry_finishes_attaching_that_failed_half_way(service, watched):
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


# Rebound

SESSION = "s-1"


class CutShort:
    """An account whose n-th call fails, before it is made or once it is, and its answer is lost."""

    def __init__(self, account, number, *, made):
        self._account, self._left, self._made = account, number, made
        self.is_cut = False

    def __getattr__(self, name):
        def call(*arguments, **options):
            self._left -= 1
            if self._left:
                return getattr(self._account, name)(*arguments, **options)
            self.is_cut = True
            if self._made:
                getattr(self._account, name)(*arguments, **options)
            raise ServiceUnreachableError("no answer")

        return call


@pytest.fixture
def bound(service):
    """Pipelines as a capture has started them, each of them bound to ws-1."""

    def start(name):
        pipeline = getattr(service, name)
        return service.start(pipeline, name=index_name(pipeline.kind, SESSION))

    return start


def binds(account, pipeline, ws_id="ws-2", events=()):
    return rebind_pipeline(account, pipeline, ws_id=ws_id, session_id=SESSION, events=events)


def alerts_of(service, pipeline):
    """(event id, status, callback URL) of each alert on an index."""
    there = service.account.list_alerts(pipeline.stream.id, pipeline.id)
    return sorted((it["event_id"], it["status"], it["callback_url"]) for it in there)


def test_a_rebound_transcript_sends_to_the_new_connection(service, bound):
    before = bound("transcript")
    after = binds(service.account, before)

    assert service.pipelines == [("transcript", "running", "ws-2")]
    assert after == replace(before, ws_id="ws-2", bindings=1)
    stop_former(service.account, after, SESSION)
    assert service.pipelines == [("transcript", "running", "ws-2")]


@pytest.mark.parametrize("name", ["audio", "visual"])
def test_a_rebound_index_runs_before_its_predecessor_is_stopped(service, bound, name):
    before = bound(name)
    after = binds(service.account, before)

    assert service.pipelines == [(before.kind, "running", "ws-1"), (before.kind, "running", "ws-2")]
    assert (after.ws_id, after.bindings, after.former) == ("ws-2", 1, (before.id,))
    assert after.id != before.id
    stop_former(service.account, after, SESSION)
    assert service.pipelines == [(before.kind, "stopped", "ws-1"), (before.kind, "running", "ws-2")]


@pytest.mark.parametrize("name", ["audio", "visual"])
def test_a_rebound_index_has_the_same_settings(service, bound, name):
    before = bound(name)
    after = binds(service.account, before)
    first, second = service.account.list_indexes(before.stream.id)

    assert (first.id, second.id) == (before.id, after.id)
    assert (second.prompt, second.settings, second.channel) == (first.prompt, first.settings, first.channel)
    assert after.settings == before.settings
    assert second.name == f"{index_name(before.kind, SESSION)} ws-2 1"


def test_a_pipeline_rebound_repeatedly_keeps_all_former_ids(service, bound):
    first = bound("visual")
    second = binds(service.account, first, "ws-2")
    stop_former(service.account, second, SESSION)
    third = binds(service.account, second, "ws-3")
    stop_former(service.account, third, SESSION)

    assert third.former == (first.id, second.id)
    assert third.bindings == 2
    assert [status for _, status, _ in service.pipelines] == ["stopped", "stopped", "running"]


@pytest.fixture
def alerted(service, bound):
    """An index that is watched for three events: one is told to an address, too, and one is disabled."""
    pipeline = bound("visual")
    stream_id, index_id = pipeline.stream.id, pipeline.id
    events = [(label, find_event(service.account, label, f"{label} is shown")) for label in "abc"]
    ids = [
        service.account.create_alert(stream_id, index_id, event_id, "ws-1", url)
        for (_, event_id), url in zip(events, [None, "https://example.com/b", None], strict=True)
    ]
    service.account.set_alert(stream_id, index_id, ids[2], enabled=False)
    return replace(pipeline, alerts=dict(zip("abc", ids, strict=True))), events


def test_a_rebound_index_has_the_same_alerts(service, alerted):
    before, events = alerted
    after = binds(service.account, before, events=events[:1])

    assert alerts_of(service, after) == alerts_of(service, before)
    assert {status for _, status, _ in alerts_of(service, after)} == {"enabled", "disabled"}
    assert sorted(after.alerts) == ["a", "b", "c"]
    there = service.account.list_alerts(after.stream.id, after.id)
    assert set(after.alerts.values()) == {it["alert_id"] for it in there}
    assert not set(after.alerts.values()) & set(before.alerts.values())


def test_rebinding_attaches_alerts_that_were_missing(service, bound):
    before = bound("visual")
    event_id = find_event(service.account, "deploy", "a deployment is shown")
    after = binds(service.account, before, events=[("deploy", event_id), ("never made", "")])

    assert [it[0] for it in alerts_of(service, after)] == [event_id]
    assert list(after.alerts) == ["deploy"]


def test_rebinding_a_deleted_index_leaves_nothing_behind(service, bound):
    before = replace(bound("visual"), id="scene-idx-gone")
    count = len(service.pipelines)

    with pytest.raises(ServiceRefusedError):
        binds(service.account, before)
    assert len(service.pipelines) == count


def test_rebinding_does_not_touch_foreign_indexes(service, bound):
    service.start(service.visual, name=index_name("visual_index", "s-10"))
    service.start(service.visual, name="my own")
    after = binds(service.account, bound("visual"))
    stop_former(service.account, after, SESSION)

    by_name = {it.name: it.status for it in service.account.list_indexes(after.stream.id)}
    running = [name for name, status in by_name.items() if status != "stopped"]
    assert running == [
        index_name("visual_index", "s-10"),
        "my own",
        f"vdbevents visual_index {SESSION} ws-2 1",
    ]


def cut_at_every_call(work, account, *, made):
    """Does some work that is cut short at its first call, then the same at its second, and so on."""
    cuts = 0
    while True:
        cut = CutShort(account, cuts + 1, made=made)
        with contextlib.suppress(ServiceUnreachableError):
            work(cut)
        if not cut.is_cut:
            return cuts
        cuts += 1


@pytest.mark.parametrize("made", [False, True])
def test_rebinding_interrupted_at_any_call_and_repeated_leads_to_one_index(service, alerted, made):
    before, events = alerted

    cuts = cut_at_every_call(lambda it: binds(it, before, events=events), service.account, made=made)
    after = binds(service.account, before, events=events)
    cut_at_every_call(lambda it: stop_former(it, after, SESSION), service.account, made=made)

    assert cuts >= 5
    assert [status for _, status, _ in service.pipelines] == ["stopped", "running"]
    assert after.former == (before.id,)
    assert alerts_of(service, after) == alerts_of(service, before)


@pytest.mark.parametrize("made", [False, True])
def test_rebinding_interrupted_for_several_connections_leaves_no_stray_index(service, alerted, made):
    before, events = alerted
    connections = (f"ws-{number}" for number in itertools.count(2))

    def bind(account):
        return binds(account, before, next(connections), events)

    cut_at_every_call(bind, service.account, made=made)
    after = bind(service.account)
    stop_former(service.account, after, SESSION)

    running = [ws_id for _, status, ws_id in service.pipelines if status == "running"]
    assert running == [after.ws_id]
    # What the strays have made can be fetched: they are not forgotten.
    others = {it["id"] for it in service.state["pipelines"]} - {after.id}
    assert set(after.former) == others
    assert alerts_of(service, after) == alerts_of(service, before)


@pytest.mark.parametrize("made", [False, True])
def test_a_transcript_rebound_with_interruptions_runs_at_the_end(service, bound, monkeypatch, made):
    monkeypatch.setattr(p, "_RESTART_SECONDS", 0.0)
    before = bound("transcript")

    assert cut_at_every_call(lambda it: binds(it, before), service.account, made=made) == 2
    assert service.pipelines == [("transcript", "running", "ws-2")]


def test_a_stopped_transcript_is_restarted_before_anything_else(service, bound, monkeypatch):
    monkeypatch.setattr(cloud.retry, "_FIRST_WAIT_SECONDS", 0.0)
    cut = CutShort(service.account, 2, made=False)
    after = binds(cut, bound("transcript"))

    assert cut.is_cut
    assert after.ws_id == "ws-2"
    assert service.pipelines == [("transcript", "running", "ws-2")]


def test_a_failed_stop_is_reported_and_can_be_repeated(service, bound):
    after = binds(service.account, bound("visual"))
    service.post("/emulator/faults", http={"status": 503, "times": 1, "path": "/rtstream", "method": "PATCH"})
    with pytest.raises(ServiceUnreachableError):
        stop_former(service.account, after, SESSION)
    stop_former(service.account, after, SESSION)

    assert [status for _, status, _ in service.pipelines] == ["stopped", "running"]
