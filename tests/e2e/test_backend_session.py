"""A whole session between real processes: service, backend, listener, and a client without the API key."""

import contextlib
import random
import re
import signal
import time
from collections import Counter

import pytest
import videodb
from support.processes import KEY, Backend, Capture, Service, end_listener, eventually, run

from vdbevents.journal.locks import listener_runs
from vdbevents.journal.state import StateDirectory

BY_WEBHOOK = ["active", "stopping", "stopped", "exported"]
LIFE = ["created", "starting", *BY_WEBHOOK]
# What `capture` starts on a microphone, the system's audio and a display.
PIPELINES = {"transcript": 2, "audio_index": 2, "visual_index": 1}
CLIENT_TOKEN = re.compile(r"st-[0-9a-f]{16}")


@pytest.fixture
def service(request, started, environ):
    # Without an end: a pipeline that is rebound late still has events to send.
    return started(Service(getattr(request, "param", ["--speed", "20", "--loop"]), environ))


@pytest.fixture
def environ_of_backend(environ, service):
    return {**environ, **service.environ}


@pytest.fixture
def backend(started, state, environ_of_backend):
    """Starts a backend, also as the one that comes after another on its port."""
    running = []

    def start(*arguments, port=0):
        running.append(started(Backend(state, environ_of_backend, arguments, port=port)))
        return running[-1]

    yield start
    # One that still runs would start another listener.
    for each in running:
        each.kill()
    end_listener(state)


@pytest.fixture(params=["the backend's", "another"])
def client_state(request, state, tmp_path):
    return state if request.param == "the backend's" else StateDirectory(tmp_path / "client")


@pytest.fixture
def record(started, environ_of_backend):
    """Starts `vdbevents capture --backend`, which knows nothing of the API key."""

    def start(serving, into, *arguments):
        environ = {**environ_of_backend, "VDBEVENTS_BACKEND_TOKEN": serving.token}
        del environ["VIDEO_DB_API_KEY"]
        return started(Capture(into, environ, ["--backend", f"http://127.0.0.1:{serving.port}", *arguments]))

    return start


def webhooks(service):
    return service.request("webhooks", "GET")["webhooks"]


def settled(service, last="exported"):
    """Has the service's time pass until every webhook to that of the session's last step was taken."""

    def all_are_done():
        found = webhooks(service)
        assert all(it["state"] != "given_up" for it in found)
        is_whole = any(it["event"] == f"capture_session.{last}" for it in found)
        if is_whole and all(it["state"] == "delivered" for it in found):
            return found
        service.request("clock", advance=0.5)
        return None

    return eventually(all_are_done)


def with_listener(serving):
    """The same backend, once its listener is connected.

    A session that is requested earlier may be bound to no connection; then its events come by webhooks only.
    """
    serving.init_session()
    eventually(lambda: serving.own("listener.connected"))
    return serving


def session_of(serving):
    """The id of the session that the backend made for a client, after that of `with_listener`."""
    _, made = eventually(lambda: (found := serving.own("backend.session"))[1:] and found)
    return made["capture_session_id"]


def steps_in(serving, session_id):
    """Count the lines of the journal about each step of a session."""
    return Counter(
        event["event"].removeprefix("capture_session.")
        for event in serving.events()
        if event.get("capture_session_id") == session_id
    )


def pipelines_of(service, info):
    """Return the service's pipelines, also ended ones, on the streams of an info file's session."""
    ids = {stream["id"] for stream in info["streams"]}
    return [it for it in service.state["pipelines"] if it["stream_id"] in ids]


def assert_each_runs_once(service, info):
    running = [it for it in pipelines_of(service, info) if it["status"] == "running"]
    assert Counter(it["channel"] for it in running) == PIPELINES
    assert len({(it["stream_id"], it["channel"]) for it in running}) == len(running)


def text_of(file):
    # A listener that goes on puts what it has just written in the place of another file.
    with contextlib.suppress(FileNotFoundError):
        return file.read_text()
    return ""


def assert_no_secret(serving, *processes):
    """That nothing that was printed or written holds what only some may know."""
    printed = [text for it in (serving, *processes) for text in (it.out, it.err)]
    files = [file for it in (serving, *processes) for file in it.state.path.iterdir()]
    kept = {file for file in files if file.is_file() and file != serving.state.backend_credentials}
    for text in (*printed, *map(text_of, kept)):
        for secret in (KEY, serving.token, serving.secret):
            assert secret not in text
        assert not CLIENT_TOKEN.search(text)


FAULTS = {
    "nothing": {},
    "twice": {"webhook_duplicate": {"copies": 2}},
    "late": {"webhook_delay": {"seconds": 0.2, "up_to": 2, "seed": 7}},
    "out of order": {"webhook_reorder": {"window": 2, "seconds": 600}},
    "lost answers": {"webhook_lost": {"attempts": 1}},
    "after the end": {"webhook_withhold": True},
    "by webhook alone": {"withhold": {"channel": "capture_session"}},
    "all at once": {
        "webhook_duplicate": {"copies": 2},
        "webhook_delay": {"seconds": 0, "up_to": 0.5, "seed": 7},
        "webhook_reorder": {"window": 2, "seed": 5, "seconds": 600},
        "webhook_lost": {"attempts": 2},
    },
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_a_whole_session_is_recorded_once(backend, record, service, client_state, faults):
    serving = with_listener(backend("--alert", "deploy=a latency alert is mentioned"))
    service.fault(**faults)
    client = record(serving, client_state)
    session_id = session_of(serving)
    info = serving.runs_pipelines(session_id)
    assert_each_runs_once(service, info)
    eventually(lambda: {"transcript", "visual_index"} <= {e.get("channel") for e in serving.events()})
    # It is looked for in the end.
    eventually(
        lambda: any("latency" in str(e) for e in serving.events() if e.get("channel") == "visual_index")
    )
    assert client.stop() == 0, client.err
    service.fault(webhook_withhold=None)
    delivered = settled(service)
    serving.says("is exported: video ")
    eventually(lambda: serving.info["status"] == "ended" and serving.own("backend.ended"))

    copies = faults.get("webhook_duplicate", {}).get("copies", 1)
    assert Counter(it["body"]["status"] for it in delivered) == dict.fromkeys(BY_WEBHOOK, copies)
    told = BY_WEBHOOK if "withhold" in faults else LIFE
    assert steps_in(serving, session_id) == dict.fromkeys(told, 1)
    assert Counter(it["channel"] for it in pipelines_of(service, info)) == PIPELINES
    assert {it["status"] for it in pipelines_of(service, info)} == {"stopped"}
    assert len(serving.own("backend.started")) == len(serving.own("backend.ended")) == 1
    assert serving.info["session"]["status"] == serving.info["export"]["status"] == "exported"
    assert serving.info["export"]["video_id"] in serving.err
    assert client.summary["session_id"] == session_id
    assert client.summary["error"] is None
    found = run(["query", serving.state.path, "--grep", "latency", "-o", "jsonl"], serving.environ)
    assert found.returncode == 0, found.stderr
    assert all("latency" in line.lower() for line in found.stdout.splitlines())
    assert found.stdout
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ends() == 0
    assert not listener_runs(serving.state)
    assert_no_secret(serving, client)


def test_a_session_without_stored_channels_ends_when_stopped(backend, record, service, client_state):
    serving = with_listener(backend())
    client = record(serving, client_state, "--no-store", "all")
    session_id = session_of(serving)
    serving.runs_pipelines(session_id)
    assert client.stop() == 0, client.err
    serving.says(f"session {session_id} is stopped")
    settled(service, "stopped")
    # What the socket brings is written a little later.
    eventually(lambda: set(LIFE[:-1]) <= set(steps_in(serving, session_id)))
    assert steps_in(serving, session_id) == dict.fromkeys(LIFE[:-1], 1)
    exported = run(["session", "export", session_id], serving.environ)

    assert exported.returncode == 4
    assert "nothing to export" in exported.stderr
    assert serving.info["status"] == "ended"
    assert serving.info["export"]["status"] is None
    assert_no_secret(serving, client)


def test_a_client_token_is_recognised_by_its_form(service):
    token = videodb.connect(api_key=KEY, base_url=service.url).generate_client_token()
    assert CLIENT_TOKEN.fullmatch(token)


# Killed.


def followed_by_another(serving, service, backend):
    """Ends a backend with SIGKILL and starts the next one; what was answered is written down, once."""
    serving.kill()
    answered = [it["body"] for it in webhooks(service) if any(a["status"] == 200 for a in it["attempts"])]
    there = Counter((e.get("capture_session_id"), e.get("event")) for e in serving.events())
    assert {there[it["capture_session_id"], it["event"]] for it in answered} <= {1}
    return backend(port=serving.port)


def recorded(client):
    """The id of the session that a client records."""
    client.says("the runtime records")
    return re.search(r"session (\S+) of the backend", client.err)[1]


def assert_whole(serving, service, client, session_id):
    """That nothing of a session is missing or was done twice, whatever befell the backend."""
    settled(service)
    eventually(lambda: serving.info["status"] == "ended")
    eventually(lambda: session_id in {it["capture_session_id"] for it in serving.own("backend.ended")})
    steps = steps_in(serving, session_id)
    assert {name: steps[name] for name in BY_WEBHOOK} == dict.fromkeys(BY_WEBHOOK, 1)
    assert set(steps.values()) == {1}
    assert Counter(it["channel"] for it in pipelines_of(service, serving.info)) == PIPELINES
    assert client.summary["session_id"] == session_id
    assert client.summary["error"] is None
    told = [event["event"] for event in client.events()]
    assert (told.count("recording:started"), told.count("recording:stopped")) == (1, 1)
    assert "recording:error" not in told


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_at_any_moment_lose_no_webhook_and_no_pipeline(backend, record, service, tmp_path, seed):
    moments = random.Random(seed)
    service.fault(webhook_duplicate={"copies": 2}, webhook_lost={"attempts": 1})
    service.fault(slow={"seconds": 0.05, "path": "/rtstream"})
    serving = backend()
    client = record(serving, StateDirectory(tmp_path / "client"))
    # As the session is made, as it begins, as its pipelines are started, as it ends.
    time.sleep(moments.uniform(0.3, 1.2))
    serving = followed_by_another(serving, service, backend)
    session_id = recorded(client)
    time.sleep(moments.uniform(0, 0.5))
    serving = followed_by_another(serving, service, backend)
    time.sleep(moments.uniform(0, 1))
    serving = followed_by_another(serving, service, backend)
    assert_each_runs_once(service, serving.runs_pipelines(session_id))
    client.process.send_signal(signal.SIGINT)
    time.sleep(moments.uniform(0, 0.5))
    serving = followed_by_another(serving, service, backend)

    assert client.ends() == 0, client.err
    assert_whole(serving, service, client, session_id)
    assert_no_secret(serving, client)


def test_a_kill_between_two_attempts_of_a_webhook_loses_none(backend, record, service, tmp_path):
    def is_tried_again():
        return any(it["attempts"] and it["state"] == "waiting" for it in webhooks(service))

    # Enough of them, the last far from the next, that the moment between two is not missed.
    service.fault(webhook_lost={"attempts": 4})
    serving = backend()
    client = record(serving, StateDirectory(tmp_path / "client"))
    eventually(is_tried_again)
    serving = followed_by_another(serving, service, backend)
    session_id = recorded(client)
    assert_each_runs_once(service, serving.runs_pipelines(session_id))
    settled(service, "active")
    client.process.send_signal(signal.SIGINT)
    eventually(is_tried_again)
    serving = followed_by_another(serving, service, backend)

    assert client.ends() == 0, client.err
    assert_whole(serving, service, client, session_id)


@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8])
def test_after_a_kill_of_backend_and_listener_each_pipeline_runs_once_and_is_recorded(
    backend, record, service, tmp_path, seconds
):
    def are_bound():
        running = [it for it in pipelines_of(service, serving.info) if it["status"] == "running"]
        bound_to = {it["ws_connection_id"] for it in running}
        is_each = Counter(it["channel"] for it in running) == PIPELINES
        return is_each and bound_to == {serving.own("listener.connected")[-1]["ws_id"]}

    service.fault(slow={"seconds": 0.05, "path": "/rtstream"})
    serving = backend()
    client = record(serving, StateDirectory(tmp_path / "client"))
    session_id = recorded(client)
    eventually(lambda: serving.own("listener.connected"))
    time.sleep(seconds)
    end_listener(serving.state)
    serving = followed_by_another(serving, service, backend)
    eventually(lambda: len(serving.own("listener.connected")) == 2)
    serving.runs_pipelines(session_id)
    eventually(are_bound)
    assert_each_runs_once(service, serving.info)
    since = len(serving.events())
    eventually(lambda: {"transcript", "visual_index"} <= {e.get("channel") for e in serving.events()[since:]})
    assert client.stop() == 0, client.err
    settled(service)
    eventually(lambda: serving.info["status"] == "ended")

    assert {it["status"] for it in pipelines_of(service, serving.info)} == {"stopped"}
    assert set(steps_in(serving, session_id).values()) == {1}


# Alerts.


def watched(serving, service, session_id, webhook_url):
    """Has the session's screen watched for what each description says; the id of the event."""
    info = serving.runs_pipelines(session_id)
    (pipeline,) = [it for it in info["pipelines"] if it["kind"] == "visual_index"]
    sdk = videodb.connect(api_key=KEY, base_url=service.url)
    streams = sdk.get_capture_session(session_id).rtstreams
    (stream,) = [it for it in streams if it.id == pipeline["stream_id"]]
    event_id = sdk.create_event("visual_index", "shown")
    index = stream.get_scene_index(pipeline["id"])
    index.create_alert(event_id, webhook_url, ws_connection_id=pipeline["ws_id"])
    return event_id


def alerts_in(serving):
    """The journal's lines about an alert: the text, and whether it came by webhook."""
    events = serving.events()
    by_webhook = [(it["explanation"], True) for it in events if "explanation" in it and "via" in it]
    return by_webhook + [(it["data"]["text"], False) for it in events if it.get("channel") == "alert"]


@pytest.mark.parametrize("service", [["--numbered", "--clock-rate", "10"]], indirect=True)
@pytest.mark.parametrize("first", ["the WebSocket", "the webhook", "either"])
def test_an_alert_by_webhook_and_websocket_is_one_line(backend, record, service, tmp_path, first):
    serving = backend()
    webhook_url = serving.init_session()["webhook_url"]
    client = record(serving, StateDirectory(tmp_path / "client"))
    session_id = recorded(client)
    if first == "the WebSocket":
        service.fault(webhook_delay={"seconds": 10})
    if first == "either":
        service.fault(webhook_duplicate={"copies": 2}, webhook_lost={"times": 3})
    event_id = watched(serving, service, session_id, webhook_url)

    def comes_so():
        if first == "the webhook":
            # Again, until one was faster.
            service.request("stall", seconds=2)
        is_by_webhook = first == "the webhook"
        return first == "either" or any(is_one is is_by_webhook for _, is_one in alerts_in(serving))

    eventually(comes_so)
    eventually(lambda: len({it["body"].get("explanation") for it in webhooks(service)}) > 20)
    assert client.stop() == 0, client.err
    told = [it["body"] for it in settled(service) if it["event"] == "alert"]

    assert {it["event_id"] for it in told} == {event_id}
    fired = {it["explanation"] for it in told}
    assert len(fired) >= 20
    # What the socket brings is written a little later.
    eventually(lambda: {"stopped", "exported"} <= set(steps_in(serving, session_id)))
    eventually(lambda: fired <= {text for text, _ in alerts_in(serving)})
    assert Counter(text for text, _ in alerts_in(serving)) == dict.fromkeys(fired, 1)
    by_webhook = {is_one for _, is_one in alerts_in(serving)}
    assert first == "either" or (first == "the webhook") in by_webhook
