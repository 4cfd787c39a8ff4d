"""Webhooks: the unmodified SDK and a real receiver, and the schedule alone."""

import contextlib
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from support.processes import PATIENCE, eventually

from vdbevents.emulator.faults import ActiveFaults
from vdbevents.emulator.webhooks import WebhookResult, WebhookSchedule, pause_after

CHANNELS = [
    {"channel_id": "mic:default", "type": "audio", "store": False},
    {"channel_id": "display:1", "type": "video", "store": True},
]
LIFE = ["capture_session." + status for status in ("active", "stopping", "stopped", "exported")]
HANG = "hang"
CUT = "cut"
REDIRECT = 302


class Receiver(ThreadingHTTPServer):
    """An HTTP server that keeps requests, and answers with `answers` first, then 200."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers = []
        self.received = []
        self.released = threading.Event()

    @property
    def bodies(self):
        return [body for _, _, body in self.received]

    @property
    def events(self):
        return [json.loads(body).get("event", "alert") for body in self.bodies]

    def handle_error(self, *_):
        """Ignore clients that have disconnected."""

    def receives(self, count):
        eventually(lambda: len(self.received) >= count)


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        self.server.received.append((self.path, self.headers, body))
        if answer == HANG:
            self.server.released.wait()
        elif answer != CUT:
            self.send_response(answer)
            if answer == REDIRECT:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"This body is ignored.")

    def log_message(self, *_):
        """Log nothing."""


@contextlib.contextmanager
def receiving():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver():
    with receiving() as server:
        yield server


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Give receivers on a slow machine time to answer."""
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", PATIENCE)


@pytest.fixture
def fast_emulator(start):
    """Start a server whose clock lets the pauses between attempts pass fast."""
    return start(clock_rate=500)


def begin_session(emulator, url, connection_id=None):
    """Start a session with a callback URL; return its id."""
    session = emulator.sdk.create_capture_session("user", callback_url=url, ws_connection_id=connection_id)
    body = {"session_id": session.id, "channels": CHANNELS}
    assert emulator.http("POST", "/capture/session/start", body)[0] == 200
    return session.id


def begin_active_session(emulator, url):
    session_id = begin_session(emulator, url)
    emulator.until(lambda state: state["sessions"][-1]["status"] == "active")
    return session_id


def stop_session(emulator, session_id):
    assert emulator.http("POST", f"/capture/session/{session_id}/stop")[0] == 200


def run_session(emulator, url):
    """Run a session from start to export; return its id."""
    session_id = begin_active_session(emulator, url)
    stop_session(emulator, session_id)
    emulator.until(lambda state: state["sessions"][-1]["exported"])
    return session_id


def webhooks(emulator):
    return emulator.http("GET", "/emulator/webhooks", key=None)[2]["webhooks"]


def settled_webhooks(emulator, count):
    """Wait until so many webhooks are done, and return all."""

    def settled():
        listed = webhooks(emulator)
        return len([entry for entry in listed if entry["state"] != "waiting"]) >= count and listed

    return eventually(settled)


def test_a_session_posts_its_lifecycle_in_order_with_the_bytes_of_the_websocket(emulator, receiver):
    websocket, connection_id = emulator.greeted()
    url = receiver.url + "/webhook/secret?a=b"
    session_id = begin_session(emulator, url, connection_id)
    pushed = [websocket.recv(timeout=PATIENCE) for _ in range(3)]
    stop_session(emulator, session_id)
    pushed += [websocket.recv(timeout=PATIENCE) for _ in range(3)]
    listed = settled_webhooks(emulator, 4)
    assert receiver.events == LIFE
    assert [body.decode() for body in receiver.bodies] == pushed[2:]
    assert {path for path, _, _ in receiver.received} == {"/webhook/secret?a=b"}
    assert {headers["Content-Type"] for _, headers, _ in receiver.received} == {"application/json"}
    assert {headers["Host"] for _, headers, _ in receiver.received} == {receiver.url.removeprefix("http://")}
    described = [(entry["event"], entry["state"], entry["url"]) for entry in listed]
    assert described == [(event, "delivered", url) for event in LIFE]
    assert [entry["body"]["capture_session_id"] for entry in listed] == [session_id] * 4
    assert [[attempt["status"] for attempt in entry["attempts"]] for entry in listed] == [[200]] * 4


def test_the_start_of_a_session_can_give_the_url_and_without_one_nothing_is_posted(emulator, receiver):
    run_session(emulator, None)
    session = emulator.sdk.create_capture_session("user", callback_url="http://127.0.0.1:1/never")
    body = {"session_id": session.id, "channels": CHANNELS, "callback_url": receiver.url + "/from-start"}
    emulator.http("POST", "/capture/session/start", body)
    (webhook,) = settled_webhooks(emulator, 1)
    assert (webhook["event"], webhook["url"]) == (LIFE[0], receiver.url + "/from-start")


def test_a_session_that_fails_posts_its_error(emulator, receiver):
    emulator.control("faults", activation={"mode": "failed", "error": "no display"})
    begin_session(emulator, receiver.url)
    settled_webhooks(emulator, 1)
    (body,) = map(json.loads, receiver.bodies)
    assert (body["event"], body["data"]["error"]["message"]) == ("capture_session.failed", "no display")


def test_an_export_that_is_asked_for_again_is_posted_once(emulator, receiver):
    session_id = run_session(emulator, receiver.url)
    emulator.sdk.get_capture_session(session_id).export()
    settled_webhooks(emulator, 4)
    emulator.control("session", do="fail", session_id=begin_active_session(emulator, receiver.url))
    settled_webhooks(emulator, 6)
    assert receiver.events == [*LIFE, LIFE[0], "capture_session.failed"]


def test_a_webhook_without_success_is_retried_after_growing_pauses(fast_emulator, receiver):
    receiver.answers = [500, 404, REDIRECT, CUT]
    begin_active_session(fast_emulator, receiver.url + "/webhook")
    (webhook,) = settled_webhooks(fast_emulator, 1)
    assert [attempt["status"] for attempt in webhook["attempts"]] == [500, 404, REDIRECT, None, 200]
    assert [attempt["error"] is None for attempt in webhook["attempts"]] == [True, True, True, False, True]
    times = [attempt["unix_ts"] for attempt in webhook["attempts"]]
    assert all(later - earlier >= 2**n for n, (earlier, later) in enumerate(pairwise(times)))
    # The same bytes each time, and the redirect was not followed.
    assert {path for path, _, _ in receiver.received} == {"/webhook"}
    assert len(receiver.bodies) == 5
    assert len(set(receiver.bodies)) == 1


def test_a_webhook_waits_while_the_one_before_is_retried(fast_emulator, receiver):
    receiver.answers = [503, 503, 503, 503, 503]
    run_session(fast_emulator, receiver.url)
    settled_webhooks(fast_emulator, 4)
    assert receiver.events == [LIFE[0]] * 5 + LIFE


def test_an_answer_that_is_too_late_does_not_count(fast_emulator, receiver, monkeypatch):
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", 0.4)
    receiver.answers = [HANG]
    begin_active_session(fast_emulator, receiver.url)
    (webhook,) = settled_webhooks(fast_emulator, 1)
    # A slow machine may fail to answer the next one in time, too.
    *unanswered, last = [attempt["error"] for attempt in webhook["attempts"]]
    assert set(unanswered) == {"There was no answer within 0.4 s."}
    assert last is None
    assert receiver.bodies[0] == receiver.bodies[1]


def test_a_webhook_that_fails_too_often_is_given_up_and_the_next_is_posted(fast_emulator, receiver):
    receiver.answers = [500] * 8
    stop_session(fast_emulator, begin_active_session(fast_emulator, receiver.url))
    first, *others = settled_webhooks(fast_emulator, 4)
    assert (first["state"], len(first["attempts"])) == ("given_up", 8)
    assert [entry["state"] for entry in others] == ["delivered"] * 3
    assert receiver.events == [LIFE[0]] * 8 + LIFE[1:]


def test_a_url_without_a_server_is_tried_until_it_is_given_up(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens, nor can another test
        fast_emulator = start(clock_rate=5_000)
        begin_active_session(fast_emulator, f"http://127.0.0.1:{taken.getsockname()[1]}")
        (webhook,) = settled_webhooks(fast_emulator, 1)
    assert (webhook["state"], len(webhook["attempts"])) == ("given_up", 8)
    assert all(attempt["status"] is None and attempt["error"] for attempt in webhook["attempts"])


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "nonsense", "http://", "http://127.0.0.1:99999/", "http://127.0.0.1/a b\r\nc"]
)
def test_an_invalid_url_is_given_up_at_once(emulator, url):
    begin_active_session(emulator, url)
    (webhook,) = settled_webhooks(emulator, 1)
    (attempt,) = webhook["attempts"]
    assert (webhook["state"], attempt["status"]) == ("given_up", None)
    assert "The URL cannot be used" in attempt["error"]


def test_a_receiver_on_https_must_be_trusted(emulator, receiver, certificate_and_key, monkeypatch):
    certificate, key = certificate_and_key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    begin_active_session(emulator, receiver.url.replace("http", "https"))
    eventually(lambda: webhooks(emulator)[0]["attempts"])
    refused = webhooks(emulator)[0]["attempts"][0]
    assert "certificate" in refused["error"].lower()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    emulator.control("clock", advance=60)
    (webhook,) = settled_webhooks(emulator, 1)
    assert webhook["attempts"][-1]["status"] == 200
    assert receiver.events == LIFE[:1]


def test_with_a_lost_answer_the_receiver_gets_the_same_bytes_twice(fast_emulator, receiver):
    fast_emulator.control("faults", webhook_lost={"times": 1})
    begin_active_session(fast_emulator, receiver.url)
    (webhook,) = settled_webhooks(fast_emulator, 1)
    assert [attempt["status"] for attempt in webhook["attempts"]] == [200, 200]
    assert "answer was lost" in webhook["attempts"][0]["error"]
    first, second = receiver.bodies
    assert first == second


def test_the_first_answers_of_each_webhook_of_a_kind_are_lost(fast_emulator, receiver):
    fast_emulator.control("faults", webhook_lost={"attempts": 2, "event": "capture_session.stop"})
    run_session(fast_emulator, receiver.url)
    listed = settled_webhooks(fast_emulator, 4)
    assert [len(entry["attempts"]) for entry in listed] == [1, 3, 3, 1]
    assert receiver.events == [LIFE[0], *[LIFE[1]] * 3, *[LIFE[2]] * 3, LIFE[3]]


def test_duplicates_follow_each_other_and_have_the_same_bytes(emulator, receiver):
    emulator.control("faults", webhook_duplicate={"copies": 3, "times": 1})
    run_session(emulator, receiver.url)
    listed = settled_webhooks(emulator, 6)
    assert receiver.events == [LIFE[0]] * 3 + LIFE[1:]
    assert len(set(receiver.bodies[:3])) == 1
    first = listed[0]["id"]
    assert [entry["copy_of"] for entry in listed] == [None, first, first, None, None, None]
    assert len({entry["id"] for entry in listed}) == 6


def test_a_delay_uses_the_service_clock(emulator, receiver):
    emulator.control("faults", webhook_delay={"seconds": 3600, "up_to": 7200, "seed": 3})
    begin_active_session(emulator, receiver.url)
    (webhook,) = eventually(lambda: webhooks(emulator))
    assert 3500 < webhook["due"] - emulator.state["clock"]["unix_ts"] <= 7200
    assert receiver.received == []
    emulator.control("clock", advance=7200)
    settled_webhooks(emulator, 1)
    assert receiver.events == LIFE[:1]


def test_neighbours_are_swapped_as_often_as_asked(emulator, receiver):
    emulator.control("faults", webhook_reorder={"seconds": 600, "times": 1})
    run_session(emulator, receiver.url)
    settled_webhooks(emulator, 4)
    assert receiver.events == [LIFE[1], LIFE[0], LIFE[2], LIFE[3]]


def test_a_window_that_is_not_filled_in_time_keeps_its_order(emulator, receiver):
    emulator.control("faults", webhook_reorder={"window": 3, "seconds": 600, "times": 1})
    session_id = begin_active_session(emulator, receiver.url)
    eventually(lambda: len(webhooks(emulator)) == 1)
    emulator.control("clock", advance=600)
    settled_webhooks(emulator, 1)
    stop_session(emulator, session_id)
    settled_webhooks(emulator, 4)
    assert receiver.events == LIFE


def test_a_withheld_webhook_waits_until_the_fault_is_cleared(emulator, receiver):
    emulator.control("faults", webhook_withhold={"event": "capture_session.stopping"})
    run_session(emulator, receiver.url)
    settled_webhooks(emulator, 1)
    eventually(lambda: len(webhooks(emulator)) == 4)
    assert [entry["state"] for entry in webhooks(emulator)] == ["delivered"] + ["waiting"] * 3
    assert [entry["attempts"] for entry in webhooks(emulator)[1:]] == [[]] * 3
    assert emulator.state["faults"] == {"webhook_withhold": {"event": "capture_session.stopping"}}
    emulator.control("faults", webhook_withhold=None)
    settled_webhooks(emulator, 4)
    assert receiver.events == LIFE


def test_faults_of_websockets_do_not_affect_webhooks(emulator, receiver):
    emulator.control("faults", withhold={"channel": "capture_session"}, mute=True)
    run_session(emulator, receiver.url)
    settled_webhooks(emulator, 4)
    assert receiver.events == LIFE


def test_an_alert_posts_its_flat_form(start, receiver):
    # Without an end: however late the alert is there, a record comes after it.
    emulator = start(speed=40, loop=True)
    websocket, connection_id = emulator.greeted()
    stream = emulator.sdk.get_collection().connect_rtstream("rtsp://x", "screen:1", enable_transcript=False)
    index = stream.index_visuals(prompt="p")
    event_id = emulator.sdk.create_event("the latency is mentioned", "latency")
    index.create_alert(event_id, receiver.url + "/alert", ws_connection_id=connection_id)
    pushed = json.loads(websocket.recv(timeout=PATIENCE))["data"]
    receiver.receives(1)
    path, headers, body = receiver.received[0]
    flat = json.loads(body)
    assert (path, headers["Content-Type"]) == ("/alert", "application/json")
    assert (flat["event_id"], flat["label"], flat["explanation"]) == (event_id, "latency", pushed["text"])
    assert 0 <= flat["confidence"] <= 1
    assert flat["timestamp"].endswith("Z")
    records = [entry for entry in index.get_scenes()["scenes"] if entry["description"] == flat["explanation"]]
    assert (flat["start_time"], flat["end_time"]) in [(entry["start"], entry["end"]) for entry in records]
    assert flat["stream_url"].endswith(".m3u8")
    assert flat["player_url"].startswith("https://")
    assert set(flat) == {
        *("event_id", "label", "confidence", "explanation", "timestamp"),
        *("start_time", "end_time", "stream_url", "player_url"),
    }
    assert webhooks(emulator)[0]["event"] == "alert"


def test_a_receiver_that_hangs_delays_neither_the_service_nor_others(emulator, receiver, monkeypatch):
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", 600)
    websocket, connection_id = emulator.greeted()
    receiver.answers = [HANG]
    session_id = begin_session(emulator, receiver.url, connection_id)
    receiver.receives(1)
    with receiving() as other:
        run_session(emulator, other.url)
        eventually(lambda: other.events == LIFE)
    stop_session(emulator, session_id)
    statuses = [json.loads(websocket.recv(timeout=PATIENCE))["status"] for _ in range(6)]
    assert statuses == ["created", "starting", "active", "stopping", "stopped", "exported"]
    # All of this while the first attempt goes on.
    assert webhooks(emulator)[0]["attempts"] == []
    assert len(receiver.received) == 1


def test_the_server_ends_at_once_though_a_receiver_hangs(emulator, receiver, monkeypatch):
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", 600)
    receiver.answers = [HANG]
    run_session(emulator, receiver.url)
    receiver.receives(1)
    started = time.monotonic()
    emulator._exits.close()
    assert time.monotonic() - started < PATIENCE
    assert receiver.events == LIFE[:1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            {"webhook_duplicate": {"copies": 1}},
            "webhook_duplicate, copies: must be a whole number from 2, got 1",
        ),
        ({"webhook_delay": {}}, "webhook_delay, seconds: must be a number from 0, got None"),
        (
            {"webhook_delay": {"seconds": 3, "up_to": 2}},
            "webhook_delay, up_to: must be a number from 3, got 2",
        ),
        ({"webhook_reorder": {"window": 1}}, "webhook_reorder, window: must be a whole number from 2, got 1"),
        ({"webhook_lost": {"attempts": 0}}, "webhook_lost, attempts: must be a whole number from 1, got 0"),
        ({"webhook_lost": {"event": 5}}, "webhook_lost, event: must be a text, got 5"),
        ({"webhook_withhold": {"times": 2}}, "is a state"),
    ],
)
def test_an_invalid_fault_of_webhooks_is_refused(emulator, fault, message):
    status, _, answer = emulator.http("POST", "/emulator/faults", fault, key=None)
    assert status == 400
    assert message in answer["message"]


# The schedule alone.


def scheduled(count, **faults):
    """Return a schedule with so many webhooks for one URL, all added at the time 100."""
    in_force = ActiveFaults(lambda: 0.0)
    in_force.change(faults)
    schedule = WebhookSchedule(in_force)
    for number in range(count):
        schedule.add("http://x", f"event-{number}", b"{}", 100.0)
    return schedule


def sent(schedule):
    """Settle all webhooks; return (event, time) in the order they are posted."""
    order, now = [], 100.0
    while (webhook := schedule.first("http://x")) is not None:
        now = max(now, webhook.due)
        order.append((webhook.event, now))
        schedule.settle(webhook, now, WebhookResult(status=200), now)
    return order


def test_the_pauses_double_until_the_eighth_attempt():
    assert [pause_after(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 64, None]


def test_delays_are_the_same_for_the_same_seed_and_keep_the_order():
    delays = {"seconds": 1, "up_to": 9}
    once, again, other = (sent(scheduled(20, webhook_delay={**delays, "seed": seed})) for seed in (1, 1, 2))
    assert once == again != other
    assert [event for event, _ in once] == [f"event-{number}" for number in range(20)]
    due = [entry["due"] - 100 for entry in scheduled(20, webhook_delay=delays).report()]
    assert len(set(due)) == 20
    assert 1 <= min(due) < 3
    assert 7 < max(due) <= 9
    assert {entry["due"] for entry in scheduled(3, webhook_delay={"seconds": 2}).report()} == {102}


def test_a_window_is_shuffled_by_its_seed_and_goes_at_once_when_it_is_full():
    once, again = (sent(scheduled(8, webhook_reorder={"window": 4, "seed": 5})) for _ in range(2))
    assert once == again
    events = [event for event, _ in once]
    first, second = events[:4], events[4:]
    assert sorted(first) == [f"event-{number}" for number in range(4)] != first
    assert sorted(second) == [f"event-{number}" for number in range(4, 8)]
    assert {now for _, now in once} == {100}


def test_copies_do_not_fill_a_window_and_are_reordered_with_it():
    schedule = scheduled(3, webhook_reorder={"window": 3, "times": 1}, webhook_duplicate={"times": 1})
    assert [event for event, _ in sent(schedule)] == ["event-2", "event-1", "event-0", "event-0"]


def test_a_window_that_is_not_filled_holds_for_a_few_seconds():
    assert sent(scheduled(1, webhook_reorder={})) == [("event-0", 105)]


def test_all_waiting_and_the_last_thousand_done_webhooks_are_kept():
    schedule = scheduled(1_500)
    assert len(schedule.report()) == 1_500
    sent(schedule)
    listed = schedule.report()
    assert (len(listed), listed[0]["event"], listed[-1]["event"]) == (1_000, "event-500", "event-1499")
