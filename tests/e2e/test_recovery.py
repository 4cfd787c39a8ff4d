"""How a listener rebinds and backfills after a gap: the real program on a real server.

The service makes numbered events, and its clock runs fast: an hour of gap is a request away.
"""

import base64
import json
import re
import resource
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support import stepped_clock
from support.chaos import count, files_with_secrets
from support.patience import patient
from support.processes import KEY, Backend, Capture, Listener, ServiceInThread, events_of, eventually, run
from support.stepped_clock import step

from vdbevents.events import envelope, fields, gaps, identity, lifecycle
from vdbevents.journal.files import replace_file, wall_ms
from vdbevents.journal.locks import change_object
from vdbevents.journal.state import StateDirectory
from vdbevents.removal.forgetting import Forgetting
from vdbevents.removal.remover import Remover, Task
from vdbevents.times import Window

pytestmark = pytest.mark.long
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux'")

RATE = 20
KINDS = ["transcript", "audio_index", "visual_index"]
HOURS = 3600
SCENES = "/rtstream/*/index/scene/*"
TRANSCRIPTS = "/rtstream/*/transcription"
# How long a backfill may take, with a margin for a slow machine.
PATIENCE = patient(120.0)


@pytest.fixture
def service(started, request):
    settings = {"clock_rate": RATE, **getattr(request, "param", {})}
    return started(ServiceInThread(numbered=True, **settings))


@pytest.fixture
def environ(environ, service):
    return {**environ, **service.environ}


@pytest.fixture
def recording(service, state):
    """Begins a session as a capture does that was killed: it goes on, and its info file is there."""

    def begin(listener, **options):
        return Recording(service, options.pop("into", state), listener.connected(), **options)

    return begin


@pytest.fixture
def capture(started, state, environ):
    def start(*arguments):
        return started(Capture(state, environ, ["--no-listen", "--no-system-audio", *arguments]))

    return start


class Recording:
    """A session with a microphone and a screen, and with pipelines that send to one connection.

    `told` is what `videodb_capture_info.json` has of it at first.
    """

    def __init__(self, service, state, ws_id, *, kinds=KINDS, told_ws_id=None, alerts=()):
        self.service, self.state, self.ws_id = service, state, ws_id
        wanted = {"end_user_id": "ada", "ws_connection_id": ws_id}
        self.id = self.call("POST", "/collection/default/capture/session", **wanted)["session_id"]
        channels = [
            {"channel_id": "mic:default", "type": "audio"},
            {"channel_id": "display:1", "type": "video", "is_primary": True},
        ]
        self.call("POST", "/capture/session/start", session_id=self.id, channels=channels)
        path = f"/collection/default/capture/session/{self.id}"
        found = eventually(lambda: self.call("GET", path)["rtstreams"])
        self.streams = lifecycle.streams_of({"rtstreams": found})
        self.events = {label: self._event(label, prompt) for label, prompt in alerts}
        pipelines = [self._start(kind) for kind in kinds]
        for pipeline in pipelines:
            pipeline["ws_id"] = told_ws_id or ws_id
        self.told = {
            "version": "1",
            "pid": None,
            "status": "recording",
            "session": {"id": self.id, "collection_id": "default", "ws_id": ws_id, "status": "active"},
            "streams": [stream._asdict() for stream in self.streams],
            "pipelines": pipelines,
            "alerts": [
                {"label": label, "prompt": prompt, "event_id": self.events[label]} for label, prompt in alerts
            ],
            "started": envelope.utc_text(time.time_ns() // 1_000_000),
            "ended": None,
        }
        replace_file(state.capture_info, json.dumps(self.told).encode())

    def call(self, method, path, **body):
        """What the service answers to a call of its API."""
        content = json.dumps(body).encode() if body else None
        headers = {"x-access-token": KEY, "Content-Type": "application/json"}
        request = urllib.request.Request(self.service.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer).get("data")

    def stream_of(self, kind):
        media = "video" if kind == "visual_index" else "audio"
        return next(stream.id for stream in self.streams if stream.media == media)

    def _event(self, label, prompt):
        return self.call("POST", "/rtstream/event", label=label, event_prompt=prompt)["event_id"]

    def _start(self, kind):
        path = f"/rtstream/{self.stream_of(kind)}"
        told = {"kind": kind, "id": None, "stream_id": self.stream_of(kind), "status": "running",
                "error": None, "settings": {"engine": None}, "alerts": []}  # fmt: skip
        if kind == "transcript":
            self.call("POST", path + "/transcription", action="start", ws_connection_id=self.ws_id)
            return told
        if kind == "visual_index":
            batch = {"type": "time", "value": 3, "frame_count": 4}
            how = {"extraction_type": "time", "extraction_config": {"time": 3, "frame_count": 4}}
        else:
            batch = {"type": "time", "value": 45}
            how = {"extraction_type": "transcript", "extraction_config": {"segmenter": "time",
                   "segmentation_value": 45}}  # fmt: skip
        prompt, name = f"What is it in {kind}?", f"vdbevents {kind} {self.id}"
        wanted = {**how, "prompt": prompt, "name": name, "ws_connection_id": self.ws_id}
        told["id"] = self.call("POST", path + "/index/scene", **wanted)["rtstream_index_id"]
        told["settings"] = {"prompt": prompt, "batch": batch, "model": None}
        for label, event_id in self.events.items():
            at = f"{path}/index/{told['id']}/alert"
            alert = self.call("POST", at, event_id=event_id, ws_connection_id=self.ws_id)
            told["alerts"].append({"label": label, "alert_id": alert["alert_id"]})
        return told

    def indexes(self, kind):
        """All that were ever started on the stream of a kind, oldest first."""
        return self.call("GET", f"/rtstream/{self.stream_of(kind)}/index/scene")["scene_indexes"]

    def alerts(self, kind, index_id):
        return self.call("GET", f"/rtstream/{self.stream_of(kind)}/index/{index_id}/alert")["alerts"]

    @property
    def info(self):
        return json.loads(self.state.capture_info.read_text())

    @property
    def running(self):
        """Where the service sends what the pipelines of this session make, a list a kind."""
        ids = {stream.id for stream in self.streams}
        found = {}
        for it in self.service.state["pipelines"]:
            if it["status"] == "running" and it["stream_id"] in ids:
                found.setdefault(it["channel"], []).append(it["ws_connection_id"])
        return found

    def is_bound(self, ws_id):
        """Whether each kind of pipeline runs once, and both the service and the file say where to."""
        bound = {(it["kind"], it["ws_id"], it["status"]) for it in self.info["pipelines"]}
        kinds = {it["kind"] for it in self.info["pipelines"]}
        return (
            self.running == {kind: [ws_id] for kind in kinds}
            and bound == {(kind, ws_id, "running") for kind in kinds}
        )  # fmt: skip

    def end(self):
        self.service.request("session", do="stop", session_id=self.id)
        eventually(lambda: self.status == "stopped")

    @property
    def status(self):
        return next(it["status"] for it in self.service.state["sessions"] if it["session_id"] == self.id)

    @property
    def records(self):
        return self.service.request(f"records?session_id={self.id}", "GET")["records"]

    @property
    def counts(self):
        """What became of all that the service has made of this session."""
        return count(events_of(self.state), self.records)


class Captured(Recording):
    """The session of a `vdbevents capture` that runs."""

    def __init__(self, service, capture):
        self.service, self.state = service, capture.state
        info = capture.reaches(lambda info: info["session"]["id"] and info["streams"])
        self.id, self.streams = info["session"]["id"], lifecycle.streams_of(info)


def gaps_of(state):
    return gaps.latest_gaps(events_of(state))


def closed(state, number=1):
    """Waits until there are so many gaps, and none is to be filled; answers with them."""

    def found():
        known = gaps_of(state)
        return len(known) >= number and all(gap.status != "open" for gap in known) and known

    return eventually(found, PATIENCE)


def dropped_connection(service, listener, times):
    """Ends the connection from the other side, and waits for so many connections in all."""
    service.request("close", code=1011)
    return listener.connected(times)


def live(state, channel):
    return [e for e in events_of(state) if e.get("channel") == channel and not e.get("backfilled")]


def fetched(state, channel=None):
    return [e for e in events_of(state) if e.get("backfilled") and channel in (None, fields.channel_of(e))]


def heard(listener, channels=KINDS):
    """Waits until something of each channel has come as it was made."""
    for channel in channels:
        eventually(lambda channel=channel: live(listener.state, channel))


def hours_pass_unheard(service, listener, times, hours=HOURS):
    """The connection ends, time passes before there is a new one, and then there is; answers with its id."""
    service.fault(upgrade={"status": 503})
    service.request("close", code=1011)
    eventually(lambda: not listener.state.ws_id.exists())
    service.request("clock", advance=hours)
    service.fault(upgrade=None)
    return listener.connected(times)


def assert_each_once(listener, recording, *, gaps=1):
    """That all that the service has made is in the journal once, and stays so until the listener ends."""
    if recording.status == "active":
        recording.end()
    closed(listener.state, gaps)
    eventually(lambda: not recording.counts.lost, PATIENCE)
    assert listener.stop() == 0
    assert "Traceback" not in listener.err
    counts = recording.counts
    assert counts.failures == []
    assert counts.sent > 0
    return counts


# Rebinding and backfilling.


def test_after_a_reconnect_every_pipeline_is_rebound_and_the_gap_is_backfilled(
    service, listen, recording, state
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    before = {kind: session.indexes(kind)[0] for kind in KINDS[1:]}
    second = hours_pass_unheard(service, listener, 2, 300)
    eventually(lambda: session.is_bound(second))
    after = {kind: session.indexes(kind) for kind in KINDS[1:]}
    (gap,) = closed(state)

    for kind in KINDS[1:]:
        old, new = after[kind]
        assert (old["rtstream_index_id"], old["status"]) == (before[kind]["rtstream_index_id"], "stopped")
        assert new["prompt"] == old["prompt"] == f"What is it in {kind}?"
        # What the service answers of it besides is what it was told.
        assert {**new, "rtstream_index_id": 0, "name": 0, "status": 0, "created_at": 0} == {
            **old, "rtstream_index_id": 0, "name": 0, "status": 0, "created_at": 0
        }  # fmt: skip
    told = {it["kind"]: it for it in listener.own("listener.rebound")}
    assert len(listener.own("listener.rebound")) == 3
    for pipeline in session.told["pipelines"]:
        line = told[pipeline["kind"]]
        assert line["capture_session_id"] == session.id
        assert (line["previous_id"], line["previous_ws_id"]) == (pipeline["id"], pipeline["ws_id"])
        assert line["ws_id"] == second
        assert line["settings"] == pipeline["settings"]
    assert [p["id"] for p in session.info["pipelines"]] == [told[kind]["id"] for kind in KINDS]
    assert gap.status == "recovered"
    assert set(gap.recovered) == set(KINDS)
    assert sum(gap.recovered.values()) == len(fetched(state))
    counts = assert_each_once(listener, session)
    assert counts.recovered >= 300 / 2 + 300 / 6 + 300 / 30


def test_a_new_listener_takes_over_a_live_session_and_backfills_it(service, listen, recording, state):
    killed = listen()
    session = recording(killed)
    heard(killed)
    killed.kill()
    service.request("clock", advance=300)
    listener = listen()
    ws_id = listener.connected(times=2)
    eventually(lambda: session.is_bound(ws_id))
    (gap,) = closed(state)

    assert gap.status == "recovered"
    assert gap.reason == f"the listener with PID {killed.pid} ended unexpectedly"
    assert assert_each_once(listener, session).recovered >= 300 / 2


def test_a_session_that_has_ended_is_not_touched_and_is_backfilled(service, listen, recording, state):
    before = listen()
    session = recording(before)
    heard(before)
    before.stop()
    service.request("clock", advance=300)
    session.end()
    listener = listen()
    listener.connected(times=2)
    (gap,) = closed(state)
    told = eventually(lambda: [e for e in fetched(state, "capture_session") if e["status"] == "exported"])

    assert (gap.reason, gap.status) == ("no listener was running", "recovered")
    assert listener.own("listener.rebound") == []
    assert [len(session.indexes(kind)) for kind in KINDS[1:]] == [1, 1]
    assert {e["capture_session_id"] for e in told} == {session.id}
    assert assert_each_once(listener, session).recovered >= 300 / 2


def test_a_listener_started_after_the_end_of_a_session_has_no_gap(service, listen, capture, state):
    before = listen()
    before.connected()
    recorder = capture()
    eventually(lambda: live(state, "visual_index") or live(state, "transcript"))
    assert recorder.stop() == 0
    before.stop()
    listener = listen()
    listener.connected(times=2)
    service.send(json={"channel": "transcript", "data": {"text": "after"}})
    listener.receives(lambda e: fields.text_of(e) == "after")

    assert gaps_of(state) == []


def test_alerts_follow_their_index_and_those_of_the_gap_are_reported_lost(
    service, listen, recording, state, environ
):
    listener = listen()
    session = recording(
        listener, kinds=["visual_index"], alerts=[("seven", "seven is seen"), ("eight", "eight is seen")]
    )
    (index,) = session.indexes("visual_index")
    off = session.told["pipelines"][0]["alerts"][1]["alert_id"]
    at = (
        f"/rtstream/{session.stream_of('visual_index')}/index/{index['rtstream_index_id']}/alert/{off}/status"
    )
    session.call("PATCH", at, action="disable")
    heard(listener, ["visual_index"])
    second = hours_pass_unheard(service, listener, 2, 60)
    eventually(lambda: session.is_bound(second))
    fired = len(live(state, "alert"))
    service.request("clock", advance=60)
    eventually(lambda: len(live(state, "alert")) > fired)
    (gap,) = closed(state)

    (pipeline,) = session.info["pipelines"]
    there = {it["label"]: it for it in session.alerts("visual_index", pipeline["id"])}
    assert {it["label"]: it["alert_id"] for it in pipeline["alerts"]} == {
        label: it["alert_id"] for label, it in there.items()
    }
    assert {label: it["status"] for label, it in there.items()} == {"seven": "enabled", "eight": "disabled"}
    assert gap.status == "incomplete"
    assert [one.what for one in gap.missing if one.lost] == ["alerts"]
    counted = eventually(lambda: (told := status(state, environ))["unrecovered"] and told)
    assert (counted["gaps"], counted["unrecovered"]) == (1, 1)
    assert_each_once(listener, session)


def status(state, environ):
    return json.loads(run(["status", "--json", state.path], environ).stdout)


@pytest.mark.parametrize("interruption", ["SIGKILL", "a lost connection"])
def test_hours_are_fetched_page_by_page_and_an_interruption_neither_restarts_nor_doubles(
    service, listen, recording, state, interruption
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    first = session.indexes("visual_index")[0]["rtstream_index_id"]
    pages_of_first = f"/rtstream/{session.stream_of('visual_index')}/index/scene/{first}"
    # So that there is the time to interrupt it in the midst of it.
    service.fault(slow={"seconds": 5, "method": "GET", "path": pages_of_first, "skip": 11})
    hours_pass_unheard(service, listener, 2)
    eventually(lambda: len(fetched(state, "visual_index")) >= 1100)
    if interruption == "SIGKILL":
        listener.kill()
        listener = listen()
        listener.connected(times=3)
    else:
        dropped_connection(service, listener, 3)
    before = len(fetched(state, "visual_index"))
    service.fault(slow=None)
    closed(state, 2)

    assert before < HOURS / 2, "it was not interrupted"
    assert assert_each_once(listener, session, gaps=2).recovered >= HOURS / 2 + HOURS / 6 + HOURS / 30
    pages = [
        it["unix_ts"] for it in service.state["recent_requests"] if it["request"] == f"GET {pages_of_first}"
    ]
    # 18 pages hold an hour; begun again they would be as many as were fetched before.
    assert len(pages) < 18 + 8, "it has begun again"
    assert pages[-1] - pages[0] > 0.1 * 18, "the service is asked without a pause"


def test_an_event_fetched_while_its_live_copy_is_stalled_is_written_once(service, listen, recording, state):
    listener = listen()
    session = recording(listener)
    heard(listener)
    second = hours_pass_unheard(service, listener, 2, 60)
    # Longer than it takes to bind what runs, and to fetch.
    service.request("stall", seconds=patient(15))
    eventually(lambda: session.is_bound(second))
    service.request("clock", advance=60)
    closed(state)
    newest = session.indexes("visual_index")[-1]["rtstream_index_id"]
    path = f"/rtstream/{session.stream_of('visual_index')}/index/scene/{newest}"
    sent = {it["description"] for it in session.call("GET", path)["scene_index_records"]}
    overlap = {e["data"]["text"] for e in fetched(state, "visual_index")} & sent
    since = len(live(state, "transcript"))
    eventually(lambda: len(live(state, "transcript")) > since + 10)

    assert overlap, "nothing came twice"
    assert_each_once(listener, session)


LIVES = [
    {"event": "capture_session.active", "capture_session_id": "cap-1", "data": {"rtstreams": [{"id": name}]}}
    for name in ("rts-1", "rts-2")
]
WORDS = [
    {
        "channel": "transcript",
        "rtstream_id": "rts-1",
        "data": {"text": "yes", "start": 1, "end": 2},
        "of": name,
    }
    for name in ("one engine", "another")
]


@pytest.mark.parametrize("events", [LIVES, WORDS], ids=["lives", "words"])
def test_an_event_that_the_service_sends_twice_is_kept_twice(service, listen, state, events):
    listener = listen()
    listener.connected()
    for event in events:
        service.send(json=event)
    service.send(json={"channel": "other", "data": {"text": "after"}})
    listener.receives(lambda e: e.get("channel") == "other")

    kept = [e for e in events_of(state) if e.get("channel") not in ("vdbevents", "other")]
    assert [{name: it for name, it in e.items() if name not in ("ts", "unix_ts")} for e in kept] == events


# Gaps.


def test_a_refused_source_is_reported_missing_and_the_others_are_fetched(
    service, listen, recording, state, environ
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    body = json.dumps({"success": False, "message": "There is no such transcript."})
    service.fault(http={"status": 404, "method": "GET", "path": TRANSCRIPTS, "body": body})
    second = hours_pass_unheard(service, listener, 2, 60)
    eventually(lambda: session.is_bound(second))
    (gap,) = closed(state)

    assert gap.status == "incomplete"
    (missing,) = [one for one in gap.missing if one.lost]
    assert missing.what == "transcript of mic:default"
    assert "There is no such transcript." in missing.reason
    assert set(gap.recovered) == {"audio_index", "visual_index"}
    listener.says("could not recover: transcript of mic:default")
    eventually(lambda: status(state, environ)["unrecovered"] == 1)


ERRORS = [
    {"http": {"status": 401, "path": "/rtstream/*/transcription"}, "down": {"for": 2}},
    {"http": {"status": 503, "method": "GET", "path": SCENES, "retry_after": 3}},
    {
        "hang": {"method": "GET", "path": SCENES, "times": 1},
        "http": {"status": 503, "method": "GET", "path": SCENES},
    },
]


def lifted(service, faults):
    """Ends faults; False while nobody can be asked to."""
    try:
        service.fault(**dict.fromkeys(faults))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("faults", ERRORS, ids=["down and 401", "503", "hang"])
def test_the_gap_stays_open_while_the_api_fails(  # noqa: PLR0917
    service, listen, recording, state, environ, faults
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    hours_pass_unheard(service, listener, 2, 60)
    service.fault(**faults)
    (gap,) = eventually(lambda: gaps_of(state))
    (open_gap,) = eventually(lambda: json.loads(state.listener_status.read_text())["open_gaps"])
    listener.says("recovery failed: ")
    assert [it.status for it in gaps_of(state)] == ["open"]
    # One that is down hears of nothing until its time is over.
    eventually(lambda: lifted(service, faults))
    (now_closed,) = closed(state)

    assert (gap.status, open_gap["id"]) == ("open", gap.id)
    assert now_closed.id == gap.id
    assert now_closed.status == "recovered"
    counts = eventually(lambda: (told := status(state, environ))["unrecovered"] == 0 and told)
    assert counts["gaps"] == 1
    assert assert_each_once(listener, session).recovered >= 60 / 2


# Stale streams.


def test_a_stale_screen_is_reported_once_and_rebound_once(  # noqa: PLR0917
    service, listen, recording, state, environ, tmp_path
):
    elsewhere = StateDirectory(tmp_path / "elsewhere")
    elsewhere.create()
    patient = listen("--stale-after", 0, into=elsewhere)
    theirs = recording(patient, into=elsewhere)
    # So long that nothing is silent because the machine is busy.
    listener = listen("--stale-after", 5)
    session = recording(listener)
    heard(listener)
    heard(patient)
    for times in (1, 2):
        service.fault(withhold={"channel": "visual_index"})
        eventually(lambda times=times: len(listener.own("listener.stale")) == times)
        told = eventually(lambda: (told := status(state, environ))["stale"] and told)
        assert told["state"] == "stale"
        assert [it["stream_name"] for it in told["stale"]] == ["display:1"]
        # By then the attempt has come to nothing, and more than another such span has passed. A gap for what
        # is made until the silence ends stays open.
        eventually(
            lambda times=times: (
                [it.status for it in gaps_of(state)] == [*["recovered"] * (2 * times - 1), "open"]
            )
        )
        eventually(lambda: [it for it in status(state, environ)["stale"] if it["for_seconds"] > 12])
        assert len(listener.own("listener.rebound")) == len(listener.own("listener.stale")) == times
        service.fault(withhold=None)
        if times == 1:
            eventually(lambda: len(listener.own("listener.fresh")) == 1)
        else:
            session.end()
        eventually(lambda: status(state, environ)["state"] == "connected", PATIENCE)

    assert {it["kind"] for it in listener.own("listener.rebound")} == {"visual_index"}
    assert patient.own("listener.stale") == patient.own("listener.rebound") == []
    assert [len(theirs.indexes(kind)) for kind in KINDS[1:]] == [1, 1]
    assert len(session.indexes("visual_index")) == 3
    # What was withheld after the attempt, too.
    assert_each_once(listener, session, gaps=4)


class Stepped(Listener):
    """A listener whose clock a file can set."""

    program = (str(Path(stepped_clock.__file__)),)

    def __init__(self, clock, state, environ):
        step(clock, 0)
        self.program = (*self.program, str(clock))
        super().__init__(state, environ)


def test_after_a_clock_jump_it_reconnects_at_once_and_backfills(  # noqa: PLR0917
    service, started, recording, state, environ, tmp_path
):
    clock = tmp_path / "clock"
    listener = started(Stepped(clock, state, environ))
    session = recording(listener)
    heard(listener)
    for times, seconds in ((2, 3600), (3, -3600)):
        step(clock, 3600 if times == 2 else 0)
        before = time.time() + (3600 if times > 2 else 0)
        began = time.monotonic()
        ws_id = listener.connected(times)
        elapsed = time.monotonic() - began
        eventually(lambda ws_id=ws_id: session.is_bound(ws_id))
        gap = closed(state, times - 1)[-1]

        assert elapsed < patient(15), "a ping would have told as much"
        assert f"the clocks are {seconds:+} s apart" in gap.reason
        # It begins before the jump: who slept cannot know what was sent meanwhile.
        assert gap.since_ms <= min(before, before + seconds) * 1000 + 1000
        assert gap.since_ms <= gap.until_ms
        assert gap.status == "recovered"
    assert_each_once(listener, session, gaps=2)


# Whose pipelines.


def test_pipelines_bound_elsewhere_are_not_touched(service, listen, recording, state):
    listener = listen()
    foreign = recording(listener, told_ws_id="ws-elsewhere")
    heard(listener)
    before = foreign.running
    info = state.capture_info.read_bytes()
    dropped_connection(service, listener, 2)
    closed(state)

    assert foreign.running == before
    assert listener.own("listener.rebound") == []
    assert state.capture_info.read_bytes() == info


def test_two_listeners_keep_to_the_sessions_of_their_directories(service, listen, recording, state, tmp_path):
    elsewhere = StateDirectory(tmp_path / "elsewhere")
    elsewhere.create()
    listener, other = listen(), listen(into=elsewhere)
    session, their_session = recording(listener), recording(other, into=elsewhere)
    heard(listener)
    heard(other)
    service.request("close", code=1011)
    ws_id, their_ws_id = listener.connected(2), other.connected(2)
    eventually(lambda: session.is_bound(ws_id))
    eventually(lambda: their_session.is_bound(their_ws_id))
    closed(state)
    closed(elsewhere)

    mine = {stream.id for stream in session.streams}
    theirs = {stream.id for stream in their_session.streams}
    for directory, streams in ((state, mine), (elsewhere, theirs)):
        known = {fields.stream_id_of(e) for e in events_of(directory) if fields.channel_of(e) in KINDS}
        assert known == streams
    assert_each_once(listener, session)
    assert_each_once(other, their_session)


def test_after_clear_in_a_session_recording_goes_on_and_old_events_stay_out(
    service, listen, recording, state
):
    # What has happened before the journal was cleared is told by our clock.
    service.request("clock", rate=1)
    listener = listen()
    session = recording(listener, kinds=["transcript", "visual_index"])
    heard(listener, ["transcript"])
    eventually(lambda: [e for e in live(state, "transcript") if not fields.is_interim(e)])
    cleared = {identity.identity_of(e) for e in events_of(state)} - {None}
    for _ in range(2):
        bound = state.ws_id.read_text()
        listener.stop()
        listener = listen("--clear")
        eventually(lambda it=listener: it.pid in [told["pid"] for told in it.own("listener.started")])
        assert bound in listener.own("listener.started")[0]["ws_ids"]
        ws_id = listener.connected()
        eventually(lambda ws_id=ws_id: session.is_bound(ws_id))
    closed(state)
    eventually(lambda: [e for e in live(state, "transcript") if not fields.is_interim(e)])
    dropped_connection(service, listener, 2)
    closed(state, 2)

    there = [identity.identity_of(e) for e in events_of(state)]
    assert [it for it in there if it in cleared and it.channel in KINDS] == []


@pytest.mark.parametrize("rotate", ["moved", "truncated"])
def test_a_session_goes_on_after_its_journal_was_rotated_and_the_listener_restarted(
    service, listen, recording, state, rotate
):
    listener = listen()
    session = recording(listener, kinds=["transcript", "visual_index"])
    heard(listener, ["transcript"])
    listener.stop()
    rotated = state.journal.read_bytes()
    if rotate == "moved":
        state.journal.rename(state.path / "videodb_events.jsonl.1")
    else:
        state.journal.write_bytes(b"")

    listener = listen()
    ws_id = listener.connected()
    eventually(lambda: session.is_bound(ws_id))
    eventually(lambda: [e for e in live(state, "transcript") if not fields.is_interim(e)])
    closed(state)

    assert b"listener.connected" in rotated
    assert ws_id.encode() not in rotated


# Keys, and no recovery.


def test_a_key_refused_in_the_middle_of_a_run_is_retried(service, listen, recording, state):
    listener = listen()
    session = recording(listener)
    heard(listener)
    service.fault(http={"status": 401, "times": 1, "path": "/collection/default/websocket"})
    second = dropped_connection(service, listener, 2)
    eventually(lambda: session.is_bound(second))

    listener.says("refused the API key (401)")
    assert service.state["faults"] == {}


def test_a_key_refused_at_the_start_of_a_run_ends_it(service, listen, recording, state):
    before = listen()
    recording(before)
    heard(before)
    before.stop()
    service.fault(http={"status": 401})

    assert listen().ends() == 4


def test_without_recovery_gaps_stay_open_until_a_listener_with_recovery_runs(
    service, listen, recording, state
):
    listener = listen("--no-recover")
    session = recording(listener)
    heard(listener)
    first = listener.connected()
    for times in (2, 3):
        dropped_connection(service, listener, times)
    listener.says(f"pipelines of {first} still send to it")

    assert session.running == {kind: [first] for kind in KINDS}
    known = eventually(lambda: (found := gaps_of(state))[1:] and found)
    assert [it.status for it in known] == ["open", "open"]
    listener.stop()
    recovering = listen()
    last = recovering.connected(times=4)
    eventually(lambda: session.is_bound(last))
    known = closed(state, 3)
    assert {gap.status for gap in known} == {"recovered"}
    assert_each_once(recovering, session, gaps=3)


# A capture that runs on.


def test_a_capture_describes_its_pipelines_correctly_after_reconnects(service, listen, capture, state):
    listener = listen()
    listener.connected()
    recorder = capture("--alert", "seven=seven is seen")
    recorder.reaches(lambda info: [p for p in info["pipelines"] if p["alerts"]][1:])
    session = Captured(service, recorder)
    heard(listener)
    first = recorder.info
    second = hours_pass_unheard(service, listener, 2, 300)
    eventually(lambda: session.is_bound(second))
    third = hours_pass_unheard(service, listener, 3, 300)
    eventually(lambda: session.is_bound(third))
    closed(state, 2)
    last_index = {kind: session.indexes(kind)[-1]["rtstream_index_id"] for kind in KINDS[1:]}
    alerts = {kind: session.alerts(kind, last_index[kind]) for kind in KINDS[1:]}

    assert recorder.stop() == 0
    info, summary = recorder.info, recorder.summary
    assert info["status"] == "ended"
    assert info["export"]["status"] == "exported"
    assert info["session"]["ws_id"] == first["session"]["ws_id"]
    assert [(p["kind"], p["stream_id"]) for p in info["pipelines"]] == [
        (p["kind"], p["stream_id"]) for p in first["pipelines"]
    ]
    assert {p["kind"]: p["id"] for p in info["pipelines"]} == {"transcript": None, **last_index}
    assert {p["kind"]: p["id"] for p in summary["pipelines"]} == {"transcript": None, **last_index}
    for pipeline in info["pipelines"]:
        assert (pipeline["status"], pipeline["ws_id"]) == ("stopped", third)
        if pipeline["id"]:
            (alert,) = alerts[pipeline["kind"]]
            assert pipeline["alerts"] == [{"label": "seven", "alert_id": alert["alert_id"]}]
    eventually(lambda: {"stopped", "exported"} <= {e.get("status") for e in events_of(state)})
    told = [e["status"] for e in events_of(state) if fields.channel_of(e) == "capture_session"]
    assert sorted(told) == sorted(set(told)), "a step of the session is told twice"
    assert assert_each_once(listener, session, gaps=2).recovered >= 300


def test_a_pipeline_started_with_the_old_id_during_a_reconnect_is_rebound(service, listen, capture, state):
    listener = listen()
    listener.connected()
    service.fault(slow={"seconds": 4, "method": "POST", "path": "/rtstream/*/index/scene"})
    recorder = capture()
    asked = re.compile(r"POST /rtstream/[^/]+/index/scene")
    eventually(lambda: [it for it in service.state["requests"] if asked.fullmatch(it)])
    second = dropped_connection(service, listener, 2)
    session = Captured(service, recorder)
    recorder.records()
    service.fault(slow=None)
    eventually(lambda: session.is_bound(second))
    eventually(lambda: live(state, "visual_index"))

    assert {it["kind"] for it in listener.own("listener.rebound")} >= {"audio_index", "visual_index"}
    assert recorder.stop() == 0
    assert_each_once(listener, session)


def test_alerts_attached_during_a_reconnect_watch_the_rebound_index(service, listen, capture, state):
    listener = listen()
    listener.connected()
    service.fault(slow={"seconds": 5, "method": "POST", "path": "/rtstream/*/index/*/alert"})
    recorder = capture("--alert", "seven=seven is seen", "--no-index-audio", "--no-transcript")
    asked = re.compile(r"POST /rtstream/[^/]+/index/[^/]+/alert")
    eventually(lambda: [it for it in service.state["requests"] if asked.fullmatch(it)])
    second = dropped_connection(service, listener, 2)
    session = Captured(service, recorder)
    eventually(lambda: recorder.info["pipelines"][0]["alerts"])
    eventually(lambda: session.is_bound(second))
    service.fault(slow=None)

    fired = len(live(state, "alert"))
    service.request("clock", advance=60)
    eventually(lambda: len(live(state, "alert")) > fired)
    (pipeline,) = recorder.info["pipelines"]
    (alert,) = session.alerts("visual_index", pipeline["id"])
    assert pipeline["alerts"] == [{"label": "seven", "alert_id": alert["alert_id"]}]
    assert recorder.stop() == 0
    (pipeline,) = recorder.info["pipelines"]
    assert pipeline["alerts"] == [{"label": "seven", "alert_id": alert["alert_id"]}]


# Disks, signals, and odd files.


@linux_only
def test_fetched_events_dropped_by_a_full_disk_are_fetched_again(service, listen, recording, state):
    listener = listen("--hold", 0.002)
    session = recording(listener)
    heard(listener)
    hours_pass_unheard(service, listener, 2)
    eventually(lambda: len(fetched(state, "visual_index")) > 200)
    size = state.journal.stat().st_size
    unlimited = resource.prlimit(listener.pid, resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
    listener.says("in memory")
    began = service.state["clock"]["unix_ts"]
    eventually(lambda: service.state["clock"]["unix_ts"] > began + 2 * RATE)
    resource.prlimit(listener.pid, resource.RLIMIT_FSIZE, unlimited)
    known = closed(state, 2)

    assert [gap for gap in known if gap.dropped], "there was room"
    assert_each_once(listener, session, gaps=2)


@linux_only
@pytest.mark.parametrize("reconnected", [False, True], ids=["at rest", "after a reconnect"])
def test_live_events_dropped_by_a_full_disk_are_fetched(service, listen, recording, state, reconnected):
    listener = listen("--hold", 0.002)
    session = recording(listener)
    heard(listener)
    if reconnected:
        second = dropped_connection(service, listener, 2)
        eventually(lambda: session.is_bound(second))
        closed(state)
    size = state.journal.stat().st_size
    unlimited = resource.prlimit(listener.pid, resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
    service.request("clock", advance=300)
    listener.says("in memory")
    time_of = service.state["clock"]["unix_ts"]
    eventually(lambda: service.state["clock"]["unix_ts"] > time_of + 20)
    resource.prlimit(listener.pid, resource.RLIMIT_FSIZE, unlimited)
    known = closed(state, 1 + reconnected)

    (gap,) = [gap for gap in known if gap.dropped]
    assert gap.status == "recovered"
    assert 0 < gap.recovered.get("visual_index", 0) < gap.dropped
    assert_each_once(listener, session, gaps=len(known))


def test_an_info_file_that_cannot_be_written_is_written_later(service, listen, recording, state):
    listener = listen()
    session = recording(listener)
    heard(listener)
    # It is written under this name first, and nobody can write to a directory as if it were a file.
    unfinished = state.path / ".videodb_capture_info.json.tmp"
    unfinished.mkdir()
    second = dropped_connection(service, listener, 2)
    listener.says("recovery failed: ")
    unfinished.rmdir()
    eventually(lambda: session.is_bound(second), PATIENCE)


def test_a_pipeline_that_cannot_be_rebound_is_reported_and_the_others_go_on(
    service, listen, recording, state
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    body = json.dumps({"success": False, "message": "No more indexes."})
    service.fault(
        http={"status": 400, "method": "POST", "path": "/rtstream/*/index/scene", "body": body, "times": 1}
    )
    second = hours_pass_unheard(service, listener, 2, 60)
    eventually(lambda: session.running.get("visual_index") == [second])
    (gap,) = closed(state)

    assert session.running["transcript"] == [second]
    assert session.running["audio_index"] != [second]
    told = {it["kind"]: it for it in session.info["pipelines"]}
    assert told["audio_index"]["status"] == "failed"
    assert "No more indexes." in told["audio_index"]["error"]
    # What it makes from now on is not received, and who reads the journal alone has to know.
    assert gap.status == "incomplete"
    assert [one.what for one in gap.missing if one.lost and "No more indexes." in one.reason]


@pytest.mark.parametrize(
    ("method", "bound"),
    [("POST", ["audio_index", "visual_index"]), ("GET", KINDS)],
    ids=["binding", "fetching"],
)
def test_a_call_that_keeps_failing_does_not_hold_up_the_others(  # noqa: PLR0917
    service, listen, recording, state, method, bound
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    service.fault(http={"status": 500, "method": method, "path": TRANSCRIPTS})
    second = hours_pass_unheard(service, listener, 2, 60)
    eventually(
        lambda: {kind: session.running.get(kind) for kind in bound} == {kind: [second] for kind in bound}
    )
    if method == "GET":
        eventually(lambda: fetched(state, "visual_index"))
    assert [gap.status for gap in gaps_of(state)] == ["open"]
    service.fault(http=None)

    assert assert_each_once(listener, session).recovered >= 60 / 2


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        ({"hang": {"method": "GET", "path": SCENES}}, r"GET /rtstream/[^/]+/index/scene/.*"),
        ({"hang": {"method": "POST", "path": "/rtstream"}}, r"POST /rtstream/.*"),
        ({"hang": {"path": "/collection/default/capture"}}, r"GET /collection/default/capture/.*"),
        ({}, r"GET /rtstream/[^/]+/index/scene/.*"),
    ],
    ids=["fetching", "binding", "asking", "fetching for long"],
)
def test_a_signal_ends_it_within_two_seconds_in_any_wait(  # noqa: PLR0917
    service, listen, recording, state, fault, asked
):
    listener = listen()
    session = recording(listener)
    heard(listener)
    service.fault(**fault)
    hours_pass_unheard(service, listener, 2)
    begun = len(service.state["recent_requests"])
    expected = re.compile(asked)
    eventually(lambda: [1 for it in service.state["requests"] if expected.fullmatch(it)])
    if not fault:
        eventually(lambda: len(fetched(state)) > 300)
    began = time.monotonic()

    assert listener.stop() == 0
    # Two on a machine that does nothing else. What it waits for would take the 15 s of a call.
    assert time.monotonic() - began < patient(12)
    assert begun
    assert [gap.status for gap in gaps_of(state)] == ["open"]
    assert listener.own("listener.stopped") == [{"by": "SIGTERM"}]
    assert session.status == "active"


def odd(info):
    """What another program, or a damage, may make of an info file."""
    first = info["pipelines"][0]
    changes = [
        {"settings": {"engine": ["x"]}},
        {"settings": {"engine": {"a": 1}}},
        {"kind": "audio_index", "id": "a/b", "former": [None, {}, ".."]},
        {"alerts": [None, {"label": 1, "alert_id": []}], "bindings": "many"},
        {"stream_id": "../..", "status": ["running"]},
    ]
    pipelines = [7, None, *({**first, **change} for change in changes), *info["pipelines"]]
    alerts = [None, {"label": "x", "event_id": "nowhere"}]
    return {**info, "pipelines": pipelines, "alerts": alerts, "ended": "1e400", "unended": 7}


def test_a_malformed_info_file_does_not_end_the_listener(service, listen, recording, state):
    listener = listen()
    session = recording(listener)
    heard(listener)
    change_object(state.capture_info, state.capture_info_lock, odd)
    second = hours_pass_unheard(service, listener, 2, 60)
    eventually(lambda: session.running.get("transcript") == [second])
    closed(state)
    change_object(state.capture_info, state.capture_info_lock, lambda _: session.told)

    assert assert_each_once(listener, session).recovered >= 60 / 2


def test_what_was_forgotten_is_neither_fetched_again_nor_recorded_late(service, listen, recording, state):
    listener = listen()
    session = recording(listener)
    heard(listener)
    starts = [fields.span_of(e)[0] for e in live(state, "transcript")]
    # By the service's clock, which runs ahead of this machine's, this goes on into the gap.
    window = Window(min(starts), max(starts) + 100_000)
    forgetting = Forgetting(window, None)
    task = Task(forgetting, "journal.forgotten", {"by": "time"}, forgotten=lambda: forgetting.spans)
    Remover(state, task, None, clock_ms=wall_ms, day_of=str).carry_out()
    hours_pass_unheard(service, listener, 2, 300)
    (gap,) = closed(state)
    session.end()
    listener.stop()

    events = [e for e in events_of(state) if e.get("channel") in KINDS]
    times = [fields.span_of(e) for e in events]
    assert [(a, b) for a, b in times if a < window.until_ms and b > window.since_ms] == []
    assert gap.status == "recovered"
    assert any(e.get("backfilled") and a >= window.until_ms for e, (a, _) in zip(events, times, strict=True))
    (mark,) = listener.own("journal.forgotten")
    assert mark["by"] == "time"
    assert mark["events"] > 0


# What must not be written.


@pytest.mark.parametrize("service", [{"secrets": True}], indirect=True)
def test_no_secret_reaches_a_file_live_fetched_by_webhook_or_in_words_about_the_connection(  # noqa: PLR0917
    service, listen, recording, started, state, environ, tmp_path
):
    card, token = "4929000000000166", "ghp_" + "0123456789abcdef" * 2 + "0123"
    listener = listen()
    session = recording(listener)
    heard(listener)
    hours_pass_unheard(service, listener, 2, 300)
    (gap,) = closed(state)
    service.send(text=f'["{token}", 4929 0000 0000 0166')
    service.send(base64=base64.b64encode(b"\xff\xfe " + token.encode()).decode())
    service.send(text=json.dumps({"channel": "chat", "data": {"card": int(card), "text": card}}))
    backend = started(Backend(state, environ))
    assert backend.post(f"/webhook/{backend.secret}", {"say": token}) == (200, {"received": True})
    listener.receives(lambda event: event.get("via") == "webhook")
    service.request("close", code=4000, reason=f"no {token}")
    listener.connected(3)
    listener.says("[redacted:token]")
    counts = assert_each_once(listener, session, gaps=2)
    assert run(["cache", "build", state.path], environ).returncode == 0

    assert gap.status == "recovered"
    assert counts.recovered >= 300 / 2
    assert files_with_secrets(tmp_path) == []
    assert "ghp_" not in listener.err + backend.err
    written = state.journal.read_bytes()
    assert min(written.count(f"[redacted:{kind}]".encode()) for kind in ("card", "token", "api-key")) > 10


@pytest.mark.parametrize("service", [{"clock_rate": 1}], indirect=True)
def test_nothing_of_a_pause_is_written_live_after_a_restart_or_fetched_later(
    service, listen, recording, state, environ
):
    killed = listen()
    session = recording(killed, kinds=["visual_index"])
    heard(killed, ["visual_index"])
    assert run(["pause", "1h", state.path], environ).returncode == 0
    began = time.time()
    written = state.journal.read_bytes()
    assert [pause["id"] for pause in killed.own("listener.paused")] == [read_status(state)["pause_id"]]
    eventually(lambda: read_status(state)["excluded"] > 0)
    killed.kill()
    listener = listen()
    listener.connected(2)
    assert read_status(state)["paused"]
    eventually(lambda: time.time() > began + 4)
    ended = time.time()
    assert run(["resume", state.path], environ).returncode == 0
    closed(state)
    seen = len(live(state, "visual_index"))
    eventually(lambda: len(live(state, "visual_index")) > seen + 1)
    records = session.records
    queried = run(["query", state.path, "--count"], environ)
    assert listener.stop() == 0

    assert state.journal.read_bytes().startswith(written)
    assert len(listener.own("listener.paused")) == len(listener.own("listener.resumed")) == 1
    assert sum(line["reasons"].get("pause", 0) for line in listener.own("journal.excluded")) > 0
    assert "a pause of" in queried.stderr
    spans = [fields.span_of(e) for e in live(state, "visual_index") + fetched(state, "visual_index")]
    margin = 0.3
    assert not [span for span in spans if span[0] < ended * 1000 - 300 and span[1] > began * 1000 + 300]
    inside = [r for r in records if r["start"] < ended - margin and r["end"] > began + margin]
    outside = [r for r in records if r["end"] < began - 2 or r["start"] > ended + margin]
    assert len(inside) >= 2
    known = {start for start, _ in spans}
    assert [r for r in outside if round(r["start"] * 1000) not in known and r["end"] < time.time() - 3] == []


def read_status(state):
    return json.loads(state.listener_status.read_text())
