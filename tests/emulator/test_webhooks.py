"""Webhooks: the unmodified SDK and a real receiver, and the schedule alone."""

import contextlib
import json
import socket
import ssl
import subprocess
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
    """A real HTTP server that keeps what it is sent, and answers 200, or first what it is told to."""

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
        """A client that is gone is none of this test's troubles."""

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
            self.wfile.write(b"What is answered is nobody's business.")

    def log_message(self, *_):
        """Says nothing."""


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
    """A receiver that a slow machine holds up is not taken for one that does not answer."""
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", PATIENCE)


@pytest.fixture
def hurried(start):
    """A server whose clock lets the pauses between two attempts pass in no time."""
    return start(clock_rate=500)


def begin(emulator, url, connection_id=None):
    """A session that was started, and calls back."""
    session = emulator.sdk.create_capture_session("user", callback_url=url, ws_connection_id=connection_id)
    body = {"session_id": session.id, "channels": CHANNELS}
    assert emulator.http("POST", "/capture/session/start", body)[0] == 200
    return session.id


def active(emulator, url):
    session_id = begin(emulator, url)
    emulator.until(lambda state: state["sessions"][-1]["status"] == "active")
    return session_id


def stop(emulator, session_id):
    assert emulator.http("POST", f"/capture/session/{session_id}/stop")[0] == 200


def live(emulator, url):
    """A whole session."""
    session_id = active(emulator, url)
    stop(emulator, session_id)
    emulator.until(lambda state: state["sessions"][-1]["exported"])
    return session_id


def webhooks(emulator):
    return emulator.http("GET", "/emulator/webhooks", key=None)[2]["webhooks"]


def settled(emulator, count):
    """All webhooks, once there are so many that are over and done with."""

    def done():
        found = webhooks(emulator)
        return len([it for it in found if it["state"] != "waiting"]) >= count and found

    return eventually(done)


def test_a_session_calls_back_in_the_order_of_its_life_and_says_what_the_websocket_says(emulator, receiver):
    websocket, connection_id = emulator.greeted()
    url = receiver.url + "/webhook/secret?a=b"
    session_id = begin(emulator, url, connection_id)
    pushed = [websocket.recv(timeout=PATIENCE) for _ in range(3)]
    stop(emulator, session_id)
    pushed += [websocket.recv(timeout=PATIENCE) for _ in range(3)]
    found = settled(emulator, 4)
    assert receiver.events == LIFE
    assert [body.decode() for body in receiver.bodies] == pushed[2:]
    assert {path for path, _, _ in receiver.received} == {"/webhook/secret?a=b"}
    assert {headers["Content-Type"] for _, headers, _ in receiver.received} == {"application/json"}
    assert {headers["Host"] for _, headers, _ in receiver.received} == {receiver.url.removeprefix("http://")}
    assert [(it["event"], it["state"], it["url"]) for it in found] == [(e, "delivered", url) for e in LIFE]
    assert [it["body"]["capture_session_id"] for it in found] == [session_id] * 4
    assert [[one["status"] for one in it["attempts"]] for it in found] == [[200]] * 4


def test_a_session_calls_back_where_its_start_says_and_one_without_an_address_nowhere(emulator, receiver):
    live(emulator, None)
    session = emulator.sdk.create_capture_session("user", callback_url="http://127.0.0.1:1/never")
    body = {"session_id": session.id, "channels": CHANNELS, "callback_url": receiver.url + "/from-start"}
    emulator.http("POST", "/capture/session/start", body)
    (found,) = settled(emulator, 1)
    assert (found["event"], found["url"]) == (LIFE[0], receiver.url + "/from-start")


def test_a_session_that_fails_calls_back_with_the_error(emulator, receiver):
    emulator.control("faults", activation={"mode": "failed", "error": "no display"})
    begin(emulator, receiver.url)
    settled(emulator, 1)
    (body,) = map(json.loads, receiver.bodies)
    assert (body["event"], body["data"]["error"]["message"]) == ("capture_session.failed", "no display")


def test_an_export_that_is_asked_for_again_is_told_once(emulator, receiver):
    session_id = live(emulator, receiver.url)
    emulator.sdk.get_capture_session(session_id).export()
    settled(emulator, 4)
    emulator.control("session", do="fail", session_id=active(emulator, receiver.url))
    settled(emulator, 6)
    assert receiver.events == [*LIFE, LIFE[0], "capture_session.failed"]


def test_what_is_not_answered_with_success_is_sent_again_after_growing_pauses(hurried, receiver):
    receiver.answers = [500, 404, REDIRECT, CUT]
    active(hurried, receiver.url + "/webhook")
    (found,) = settled(hurried, 1)
    assert [it["status"] for it in found["attempts"]] == [500, 404, REDIRECT, None, 200]
    assert [it["error"] is None for it in found["attempts"]] == [True, True, True, False, True]
    times = [it["unix_ts"] for it in found["attempts"]]
    assert all(later - it >= 2**n for n, (it, later) in enumerate(pairwise(times)))
    # The same bytes each time, and the redirect was not followed.
    assert {path for path, _, _ in receiver.received} == {"/webhook"}
    assert len(receiver.bodies) == 5
    assert len(set(receiver.bodies)) == 1


def test_what_comes_while_another_is_tried_again_waits_its_turn(hurried, receiver):
    receiver.answers = [503, 503, 503, 503, 503]
    live(hurried, receiver.url)
    settled(hurried, 4)
    assert receiver.events == [LIFE[0]] * 5 + LIFE


def test_an_answer_that_does_not_come_in_time_is_none(hurried, receiver, monkeypatch):
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", 1)
    receiver.answers = [HANG]
    active(hurried, receiver.url)
    (found,) = settled(hurried, 1)
    # A slow machine may fail to answer the next one in time, too.
    *unanswered, last = [it["error"] for it in found["attempts"]]
    assert set(unanswered) == {"There was no answer within 1 s."}
    assert last is None
    assert receiver.bodies[0] == receiver.bodies[1]


def test_what_fails_too_often_is_given_up_and_the_next_one_has_its_turn(hurried, receiver):
    receiver.answers = [500] * 8
    stop(hurried, active(hurried, receiver.url))
    first, *others = settled(hurried, 4)
    assert (first["state"], len(first["attempts"])) == ("given_up", 8)
    assert [it["state"] for it in others] == ["delivered"] * 3
    assert receiver.events == [LIFE[0]] * 8 + LIFE[1:]


def test_where_nobody_listens_it_is_tried_until_it_is_given_up(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens, nor can another test
        hurried = start(clock_rate=5_000)
        active(hurried, f"http://127.0.0.1:{taken.getsockname()[1]}")
        (found,) = settled(hurried, 1)
    assert (found["state"], len(found["attempts"])) == ("given_up", 8)
    assert all(it["status"] is None and it["error"] for it in found["attempts"])


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "nonsense", "http://", "http://127.0.0.1:99999/", "http://127.0.0.1/a b\r\nc"]
)
def test_what_is_no_address_of_the_web_is_given_up_at_once(emulator, url):
    active(emulator, url)
    (found,) = settled(emulator, 1)
    (attempt,) = found["attempts"]
    assert (found["state"], attempt["status"]) == ("given_up", None)
    assert "The URL cannot be used" in attempt["error"]


def test_https_is_spoken_to_who_can_be_trusted(hurried, receiver, tmp_path, monkeypatch):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout {key} -out {certificate}"
    )
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command.split(), *alternative], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    hurried.control("clock", rate=1)
    active(hurried, receiver.url.replace("http", "https"))
    eventually(lambda: webhooks(hurried)[0]["attempts"])
    refused = webhooks(hurried)[0]["attempts"][0]
    assert "certificate" in refused["error"].lower()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (found,) = settled(hurried, 1)
    assert found["attempts"][-1]["status"] == 200
    assert receiver.events == LIFE[:1]


def test_a_lost_answer_has_the_receiver_take_the_same_bytes_twice(hurried, receiver):
    hurried.control("faults", webhook_lost={"times": 1})
    active(hurried, receiver.url)
    (found,) = settled(hurried, 1)
    assert [it["status"] for it in found["attempts"]] == [200, 200]
    assert "answer was lost" in found["attempts"][0]["error"]
    first, second = receiver.bodies
    assert first == second


def test_the_first_answers_of_each_webhook_of_a_kind_are_lost(hurried, receiver):
    hurried.control("faults", webhook_lost={"attempts": 2, "event": "capture_session.stop"})
    live(hurried, receiver.url)
    found = settled(hurried, 4)
    assert [len(it["attempts"]) for it in found] == [1, 3, 3, 1]
    assert receiver.events == [LIFE[0], *[LIFE[1]] * 3, *[LIFE[2]] * 3, LIFE[3]]


def test_duplicates_are_delivered_one_after_the_other_and_are_the_same_to_the_byte(emulator, receiver):
    emulator.control("faults", webhook_duplicate={"copies": 3, "times": 1})
    live(emulator, receiver.url)
    found = settled(emulator, 6)
    assert receiver.events == [LIFE[0]] * 3 + LIFE[1:]
    assert len(set(receiver.bodies[:3])) == 1
    first = found[0]["id"]
    assert [it["copy_of"] for it in found] == [None, first, first, None, None, None]
    assert len({it["id"] for it in found}) == 6


def test_a_delay_goes_by_the_clock_of_the_service(emulator, receiver):
    emulator.control("faults", webhook_delay={"seconds": 3600, "up_to": 7200, "seed": 3})
    active(emulator, receiver.url)
    (found,) = eventually(lambda: webhooks(emulator))
    assert 3500 < found["due"] - emulator.state["clock"]["unix_ts"] <= 7200
    assert receiver.received == []
    emulator.control("clock", advance=7200)
    settled(emulator, 1)
    assert receiver.events == LIFE[:1]


def test_neighbours_are_swapped_as_often_as_asked(emulator, receiver):
    emulator.control("faults", webhook_reorder={"seconds": 600, "times": 1})
    live(emulator, receiver.url)
    settled(emulator, 4)
    assert receiver.events == [LIFE[1], LIFE[0], LIFE[2], LIFE[3]]


def test_a_window_that_is_not_filled_goes_as_it_came_when_its_time_is_over(emulator, receiver):
    emulator.control("faults", webhook_reorder={"window": 3, "seconds": 600, "times": 1})
    session_id = active(emulator, receiver.url)
    eventually(lambda: len(webhooks(emulator)) == 1)
    emulator.control("clock", advance=600)
    settled(emulator, 1)
    stop(emulator, session_id)
    settled(emulator, 4)
    assert receiver.events == LIFE


def test_what_is_withheld_waits_until_it_is_released(emulator, receiver):
    emulator.control("faults", webhook_withhold={"event": "capture_session.stopping"})
    live(emulator, receiver.url)
    settled(emulator, 1)
    eventually(lambda: len(webhooks(emulator)) == 4)
    assert [it["state"] for it in webhooks(emulator)] == ["delivered"] + ["waiting"] * 3
    assert [it["attempts"] for it in webhooks(emulator)[1:]] == [[]] * 3
    assert emulator.state["faults"] == {"webhook_withhold": {"event": "capture_session.stopping"}}
    emulator.control("faults", webhook_withhold=None)
    settled(emulator, 4)
    assert receiver.events == LIFE


def test_a_fault_of_the_websocket_holds_back_no_webhook(emulator, receiver):
    emulator.control("faults", withhold={"channel": "capture_session"}, mute=True)
    live(emulator, receiver.url)
    settled(emulator, 4)
    assert receiver.events == LIFE


def test_an_alert_calls_back_with_its_flat_form(start, receiver):
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
    records = [it for it in index.get_scenes()["scenes"] if it["description"] == flat["explanation"]]
    assert (flat["start_time"], flat["end_time"]) in [(it["start"], it["end"]) for it in records]
    assert flat["stream_url"].endswith(".m3u8")
    assert flat["player_url"].startswith("https://")
    assert set(flat) == {
        *("event_id", "label", "confidence", "explanation", "timestamp"),
        *("start_time", "end_time", "stream_url", "player_url"),
    }
    assert webhooks(emulator)[0]["event"] == "alert"


def test_a_receiver_that_hangs_holds_up_neither_the_service_nor_others(emulator, receiver, monkeypatch):
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", 600)
    websocket, connection_id = emulator.greeted()
    receiver.answers = [HANG]
    session_id = begin(emulator, receiver.url, connection_id)
    receiver.receives(1)
    with receiving() as other:
        live(emulator, other.url)
        eventually(lambda: other.events == LIFE)
    stop(emulator, session_id)
    statuses = [json.loads(websocket.recv(timeout=PATIENCE))["status"] for _ in range(6)]
    assert statuses == ["created", "starting", "active", "stopping", "stopped", "exported"]
    # All of this while the first attempt goes on.
    assert webhooks(emulator)[0]["attempts"] == []
    assert len(receiver.received) == 1


def test_the_server_ends_at_once_though_a_receiver_hangs(emulator, receiver, monkeypatch):
    monkeypatch.setattr("vdbevents.emulator.webhooks._ANSWER_SECONDS", 600)
    receiver.answers = [HANG]
    live(emulator, receiver.url)
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
def test_a_fault_that_makes_no_sense_is_refused(emulator, fault, message):
    status, _, answer = emulator.http("POST", "/emulator/faults", fault, key=None)
    assert status == 400
    assert message in answer["message"]


# The schedule alone.


def scheduled(count, **faults):
    """A schedule that owes so many webhooks to one address, all since the moment 100."""
    in_force = ActiveFaults(lambda: 0.0)
    in_force.change(faults)
    schedule = WebhookSchedule(in_force)
    for number in range(count):
        schedule.add("http://x", f"event-{number}", b"{}", 100.0)
    return schedule


def sent(schedule):
    """The events in the order in which they are sent, each with when."""
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
    due = [it["due"] - 100 for it in scheduled(20, webhook_delay=delays).report()]
    assert len(set(due)) == 20
    assert 1 <= min(due) < 3
    assert 7 < max(due) <= 9
    assert {it["due"] for it in scheduled(3, webhook_delay={"seconds": 2}).report()} == {102}


def test_a_window_is_shuffled_by_its_seed_and_goes_at_once_when_it_is_full():
    once, again = (sent(scheduled(8, webhook_reorder={"window": 4, "seed": 5})) for _ in range(2))
    assert once == again
    events = [event for event, _ in once]
    first, second = events[:4], events[4:]
    assert sorted(first) == [f"event-{number}" for number in range(4)] != first
    assert sorted(second) == [f"event-{number}" for number in range(4, 8)]
    assert {now for _, now in once} == {100}


def test_copies_fill_no_window_and_are_reordered_with_it():
    schedule = scheduled(3, webhook_reorder={"window": 3, "times": 1}, webhook_duplicate={"times": 1})
    assert [event for event, _ in sent(schedule)] == ["event-2", "event-1", "event-0", "event-0"]


def test_a_window_that_is_not_filled_holds_for_a_few_seconds():
    assert sent(scheduled(1, webhook_reorder={})) == [("event-0", 105)]


def test_the_last_thousand_that_are_done_are_remembered_and_all_that_are_owed():
    schedule = scheduled(1_500)
    assert len(schedule.report()) == 1_500
    sent(schedule)
    found = schedule.report()
    assert (len(found), found[0]["event"], found[-1]["event"]) == (1_000, "event-500", "event-1499")
