"""Everything that can go wrong on demand."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from videodb.exceptions import InvalidRequestError
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus


def test_http_fails_for_as_many_times_as_asked(emulator):
    emulator.control("faults", http={"status": 429, "retry_after": 7, "times": 2})
    for _ in range(2):
        status, headers, answer = emulator.http("GET", "/collection")
        assert (status, headers["Retry-After"], answer["success"]) == (429, "7", False)
    assert emulator.http("GET", "/collection")[0] == 200


def test_http_fails_for_a_path_with_a_body_until_it_is_cleared(emulator):
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    emulator.control(
        "faults", http={"status": 503, "path": "/rtstream", "body": "<html>", "retry_after": date}
    )
    status, headers, answer = emulator.http("GET", "/rtstream")
    assert (status, headers["Retry-After"], answer) == (503, date, "<html>")
    assert emulator.http("GET", "/collection")[0] == 200
    emulator.control("faults", http=None)
    assert emulator.http("GET", "/rtstream")[0] == 200


def test_slow_answers_are_late_and_a_fault_ends_with_its_time(emulator):
    emulator.control("faults", slow={"seconds": 0.3, "for": 0.2})
    started = time.monotonic()
    assert emulator.http("GET", "/collection")[0] == 200
    assert time.monotonic() - started >= 0.3
    assert emulator.state["faults"] == {}


def test_a_hanging_server_never_answers(emulator):
    # The SDK asks twice.
    emulator.control("faults", hang={"times": 2})
    with pytest.raises(InvalidRequestError, match="Connection error"):
        emulator.sdk.get("collection", timeout=0.2)
    assert emulator.http("GET", "/collection")[0] == 200


def test_an_answer_without_a_websocket_url(emulator):
    emulator.control("faults", no_websocket_url=True)
    assert emulator.http("GET", "/collection/default/websocket")[2] == {"success": True, "data": None}


def test_the_upgrade_is_refused_and_the_ticket_stays_good(emulator):
    emulator.control("faults", upgrade={"status": 503, "retry_after": 3, "times": 1})
    with pytest.raises(InvalidStatus) as refused:
        emulator.connect()
    response = refused.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    emulator.greeted()


def test_while_it_is_down_connections_are_refused_and_it_comes_back_on_its_port(emulator):
    socket, _ = emulator.greeted()
    emulator.control("faults", down={"for": 0.4})
    with pytest.raises(OSError, match=r"[Rr]efused"):
        emulator.http("GET", "/collection")
    deadline = time.monotonic() + 5
    while True:
        try:
            assert emulator.http("GET", "/collection")[0] == 200
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    emulator.control("send", text="still here")
    assert socket.recv(timeout=5) == "still here"


@pytest.mark.parametrize(
    ("init", "first"),
    [
        ({"mode": "garbage", "text": "{oops"}, "{oops"),
        ({"mode": "garbage"}, "This is not JSON"),
        ({"mode": "preceded", "frames": ['{"a":1}', "b"]}, '{"a":1}'),
    ],
)
def test_another_frame_comes_first(emulator, init, first):
    emulator.control("faults", init={**init, "times": 1})
    assert emulator.connect().recv(timeout=5) == first


def test_the_init_frame_is_late_or_never_sent(emulator):
    emulator.control("faults", init={"mode": "late", "seconds": 0.2, "times": 1})
    started = time.monotonic()
    emulator.greeted()
    assert time.monotonic() - started >= 0.2
    emulator.control("faults", init={"mode": "none", "times": 1})
    silent = emulator.connect()
    emulator.until(lambda state: state["opened"] == 2)
    emulator.control("send", text="an event")
    assert silent.recv(timeout=5) == "an event"


def test_a_connection_is_accepted_and_closed_at_once(emulator):
    emulator.control("faults", accept_then_close={"code": 1013, "times": 1})
    with pytest.raises(ConnectionClosedError) as closed:
        emulator.connect().recv(timeout=5)
    assert closed.value.rcvd.code == 1013


def test_a_mute_server_leaves_pings_unanswered_and_the_connection_open(emulator):
    socket, _ = emulator.greeted()
    assert socket.ping().wait(5)
    emulator.control("faults", mute={})
    emulator.control("send", text="lost")
    assert not socket.ping().wait(0.2)
    with pytest.raises(TimeoutError):
        socket.recv(timeout=0)
    emulator.http("DELETE", "/emulator/faults", key=None)
    emulator.control("send", text="heard")
    assert socket.recv(timeout=5) == "heard"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4000])
def test_connections_are_closed_with_any_code(emulator, code):
    socket, _ = emulator.greeted()
    emulator.control("close", code=code, reason="because")
    with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as closed:
        socket.recv(timeout=5)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "because")


def test_a_reset_leaves_no_close_frame(emulator):
    socket, connection_id = emulator.greeted()
    other, _ = emulator.greeted()
    emulator.control("reset", ws_connection_id=connection_id)
    with pytest.raises(ConnectionClosedError) as closed:
        socket.recv(timeout=5)
    assert closed.value.rcvd is None
    assert other.ping().wait(5)


def test_a_stalled_connection_goes_on_where_it_was(emulator):
    socket, _ = emulator.greeted()
    started = time.monotonic()
    emulator.control("stall", seconds=0.4)
    pong = socket.ping()
    emulator.control("send", text="after")
    assert socket.recv(timeout=5) == "after"
    assert pong.wait(5)
    assert time.monotonic() - started >= 0.4


def test_any_message_can_be_sent(emulator):
    socket, connection_id = emulator.greeted()
    emulator.control("send", json={"n": None, "é": [1]}, ws_connection_id=connection_id)
    assert socket.recv(timeout=5) == '{"n":null,"é":[1]}'
    emulator.control("send", base64=base64.b64encode(b"\xff\x00").decode(), ws_connection_id="*")
    assert socket.recv(timeout=5) == b"\xff\x00"
    assert emulator.control("send", text="", repeat=3)["sent"] == 3
    assert [socket.recv(timeout=5) for _ in range(3)] == [""] * 3


def test_raw_bytes_reach_the_wire_untouched(emulator):
    socket, _ = emulator.greeted()
    for part in (b"\x01\x02he", b"\x80\x03llo"):
        emulator.control("send", raw_base64=base64.b64encode(part).decode())
    assert socket.recv(timeout=5) == "hello"
    emulator.control("send", raw_base64=base64.b64encode(b"\x81\x01\xff").decode())
    with pytest.raises(ConnectionClosedError) as closed:
        socket.recv(timeout=5)
    assert closed.value.sent.code == 1007


@pytest.mark.parametrize("size", [500, 1024 * 1024 + 1, 64 * 1024 * 1024])
def test_a_message_has_the_size_that_was_asked_for(emulator, size):
    socket, _ = emulator.greeted()
    assert emulator.control("send", size=size)["sent"] == 1
    message = socket.recv(timeout=30)
    assert len(message) == size
    assert json.loads(message)["channel"] == "transcript"


def test_a_flood_arrives_whole_and_in_order_and_is_not_kept(emulator):
    socket, _ = emulator.greeted()
    before = emulator.state["totals"]
    assert emulator.control("flood", count=12_000)["sent"] == 12_000
    assert [json.loads(socket.recv(timeout=5))["seq"] for _ in range(12_000)] == list(range(1, 12_001))
    assert emulator.state["totals"] == before


def test_a_paced_flood_says_when_each_event_was_sent(emulator):
    socket, _ = emulator.greeted()
    answer = emulator.control("flood", count=40, rate=200)
    assert answer["seconds"] >= 0.19
    events = [json.loads(socket.recv(timeout=5)) for _ in range(40)]
    sent = [event["sent_unix_ts"] for event in events]
    assert sent == sorted(sent)
    assert sent[-1] - sent[0] >= 0.19


def test_a_flood_ends_with_its_connection(emulator):
    socket, _ = emulator.greeted(max_queue=1)
    with ThreadPoolExecutor() as threads:
        flood = threads.submit(emulator.control, "flood", count=1_000_000_000)
        emulator.until(lambda state: state["connections"][0]["frames_sent"] > 1000)
        socket.close()
        assert flood.result(timeout=10)["sent"] < 1_000_000_000


def test_a_replay_can_be_asked_for_and_waited_for(start):
    emulator = start(speed=0)
    socket, connection_id = emulator.greeted()
    replay = emulator.control("replay", wait=True)["replay"]
    assert (replay["ws_connection_id"], replay["played"], replay["playing"]) == (connection_id, 159, False)
    assert [json.loads(socket.recv(timeout=5)) for _ in range(159)][-1]["status"] == "exported"


def test_a_replay_keeps_the_time_of_its_recording(start, journal):
    lines = [b'{"ts":"t","unix_ts":%.1f,"n":1}' % (10 + n * 0.4) for n in range(3)]
    emulator = start(speed=2, replay=journal(*lines))
    socket, _ = emulator.greeted()
    started = time.monotonic()
    emulator.control("replay")
    assert [socket.recv(timeout=5) for _ in range(3)] == ['{"n":1}'] * 3
    assert time.monotonic() - started >= 0.4
    emulator.control("replay", loop=True, speed=500)
    assert [socket.recv(timeout=5) for _ in range(9)] == ['{"n":1}'] * 9


@pytest.mark.parametrize(
    ("action", "body", "status"),
    [
        ("faults", {"nonsense": {}}, 400),
        ("send", {}, 404),
        ("send", {"text": "a", "size": 1}, 400),
        ("send", {"text": 1}, 400),
        ("send", {"raw_base64": "?"}, 400),
        ("send", {"text": "x", "typo": 1}, 400),
        ("close", {"code": 1006}, 400),
        ("close", {"ws_connection_id": "ws-none"}, 404),
        ("stall", {}, 400),
        ("flood", {}, 400),
        ("replay", {"speed": -1}, 400),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(emulator, action, body, status):
    if (action, body) != ("send", {}):
        emulator.greeted()
    else:
        body = {"text": "nobody is there"}
    found, _, answer = emulator.http("POST", f"/emulator/{action}", body, key=None)
    assert (found, answer["success"]) == (status, False)
