"""Faults, and the control endpoints."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.patience import PATIENCE, patient
from videodb.exceptions import InvalidRequestError, RequestTimeoutError
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from vdbevents.emulator.faults import ActiveFaults


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
    emulator.control("faults", slow={"seconds": 0.3})
    started = time.monotonic()
    assert emulator.http("GET", "/collection")[0] == 200
    assert time.monotonic() - started >= 0.3
    assert emulator.control("faults", slow={"seconds": 0.3, "for": 0.2})["faults"]
    emulator.until(lambda state: state["faults"] == {})


def test_a_call_that_is_answered_late_takes_effect_at_once(emulator):
    emulator.control("faults", late={"seconds": 3600, "times": 1})
    with pytest.raises(RequestTimeoutError):
        emulator.sdk.post("collection/default/capture/session", data={"end_user_id": "u"}, timeout=0.2)
    emulator.until(lambda state: state["sessions"])


def test_a_hanging_server_never_answers(emulator):
    # The SDK asks twice.
    emulator.control("faults", hang={"times": 2})
    with pytest.raises(InvalidRequestError, match="Connection error"):
        emulator.sdk.get("collection", timeout=0.2)
    emulator.until(lambda state: state["requests"].get("GET /collection") == 2)
    assert emulator.http("GET", "/collection")[0] == 200


def test_an_answer_without_a_websocket_url(emulator):
    emulator.control("faults", no_websocket_url=True)
    assert emulator.http("GET", "/collection/default/websocket")[2] == {"success": True, "data": None}


def test_calls_fail_by_method_and_pattern_once_the_first_have_passed(emulator):
    stream = emulator.sdk.get_collection().connect_rtstream("rtsp://x", "Door", media_types=["audio"])
    emulator.control(
        "faults", http={"status": 500, "method": "GET", "path": "/rtstream/*/transcription", "skip": 1}
    )
    path = f"/rtstream/{stream.id}/transcription/"
    assert [emulator.http("GET", path)[0] for _ in range(3)] == [200, 500, 500]
    assert emulator.http("POST", path, {"action": "stop"})[0] == 200
    assert emulator.http("GET", path + "status")[0] == 200


def test_a_client_token_expires_and_the_api_key_does_not(emulator):
    token = emulator.sdk.generate_client_token()
    session = emulator.sdk.create_capture_session("user")
    path = f"/capture/session/{session.id}"
    emulator.control("faults", expired_tokens={"times": 1})
    assert emulator.http("GET", path)[0] == 200
    status, _, answer = emulator.http("GET", path, key=token)
    assert (status, answer["message"]) == (401, "The client token has expired.")
    assert emulator.http("GET", path, key=token)[0] == 200


def begin_session(emulator):
    """Start a session; return its WebSocket, without the first two events, and its id."""
    socket, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user", ws_connection_id=connection_id)
    channels = [{"channel_id": "display:1", "type": "video", "store": True}]
    emulator.http("POST", "/capture/session/start", {"session_id": session.id, "channels": channels})
    assert statuses(socket, 2) == ["created", "starting"]
    return socket, session.id


def statuses(socket, count):
    return [json.loads(socket.recv(timeout=PATIENCE))["status"] for _ in range(count)]


def status_of(emulator):
    return emulator.state["sessions"][-1]["status"]


def test_a_session_never_becomes_active_and_the_next_one_does(emulator):
    emulator.control("faults", activation={"mode": "never", "times": 1})
    silent, _ = begin_session(emulator)
    socket, _ = begin_session(emulator)
    assert statuses(socket, 1) == ["active"]
    assert emulator.state["sessions"][0]["status"] == "starting"
    with pytest.raises(TimeoutError):
        silent.recv(timeout=0)


def test_a_session_becomes_active_late(emulator):
    emulator.control("faults", activation={"mode": "late", "seconds": 0.4})
    started = time.monotonic()
    socket, _ = begin_session(emulator)
    assert statuses(socket, 1) == ["active"]
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (
            {},
            {
                "message": "The capture could not be started (a fault that was asked for).",
                "code": "ACTIVATION_FAILED",
            },
        ),
        ({"error": "no display"}, {"message": "no display", "code": "ACTIVATION_FAILED"}),
        ({"error": {"message": "no", "code": "E1"}}, {"message": "no", "code": "E1"}),
    ],
)
def test_a_session_fails_to_start(emulator, wanted, error):
    emulator.control("faults", activation={"mode": "failed", **wanted})
    socket, session_id = begin_session(emulator)
    failed = json.loads(socket.recv(timeout=PATIENCE))
    assert (failed["event"], failed["data"]) == ("capture_session.failed", {"error": error})
    assert emulator.sdk.get_capture_session(session_id).status == "failed"
    assert emulator.http("POST", f"/capture/session/{session_id}/stop")[0] == 200
    assert status_of(emulator) == "failed"


@pytest.mark.parametrize(("mode", "status"), [("never", "exporting"), ("failed", "failed")])
def test_an_export_never_ends_or_fails(emulator, mode, status):
    emulator.control("faults", export={"mode": mode})
    socket, session_id = begin_session(emulator)
    emulator.until(lambda state: state["sessions"][0]["status"] == "active")
    emulator.http("POST", f"/capture/session/{session_id}/stop")
    assert statuses(socket, 3) == ["active", "stopping", "stopped"]
    deadline = time.monotonic() + PATIENCE
    while emulator.sdk.get_capture_session(session_id).export_status != status:
        assert time.monotonic() < deadline
    session = emulator.sdk.get_capture_session(session_id)
    assert session.export()["export_status"] == status
    assert session.exported_video_id is None
    assert emulator.state["sessions"] == [{"session_id": session_id, "status": "stopped", "exported": False}]


def test_events_of_a_channel_are_withheld_and_rest_goes_on(emulator):
    emulator.control("faults", withhold={"channel": "capture_session"})
    socket, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user", ws_connection_id=connection_id)
    channels = [{"channel_id": "display:1", "type": "video"}]
    emulator.http("POST", "/capture/session/start", {"session_id": session.id, "channels": channels})
    emulator.until(lambda state: state["sessions"][0]["status"] == "active")
    emulator.control("faults", withhold=None)
    emulator.http("POST", f"/capture/session/{session.id}/stop")
    assert statuses(socket, 3) == ["stopping", "stopped", "exported"]


def test_a_replay_is_withheld_by_channel_as_well(start):
    emulator = start(speed=0, faults={"withhold": {"channel": "transcript"}})
    socket, _ = emulator.greeted()
    emulator.control("replay", wait=True)
    events = [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(21)]
    assert {event.get("channel") for event in events} == {"capture_session", "visual_index", "audio_index"}
    assert events[-1]["status"] == "exported"
    (index,) = [entry for entry in emulator.state["pipelines"] if entry["channel"] == "transcript"]
    stream = emulator.sdk.get_collection().get_rtstream(index["stream_id"])
    assert stream.get_transcript()["total_count"] == 19


def test_the_state_shows_sessions_and_pipelines(emulator):
    socket, session_id = begin_session(emulator)
    statuses(socket, 1)
    (stream,) = emulator.sdk.get_capture_session(session_id).rtstreams
    connection_id = emulator.state["newest"]
    index = stream.index_visuals(prompt="p", ws_connection_id=connection_id)
    state = emulator.state
    assert state["sessions"] == [{"session_id": session_id, "status": "active", "exported": False}]
    assert state["pipelines"] == [
        {
            "id": index.rtstream_index_id,
            "stream_id": stream.id,
            "channel": "visual_index",
            "status": "running",
            "ws_connection_id": connection_id,
        }
    ]
    emulator.control("session", do="stop")
    assert statuses(socket, 3) == ["stopping", "stopped", "exported"]
    state = emulator.state
    assert state["sessions"][0]["exported"] is True
    assert state["pipelines"][0]["status"] == "stopped"


def test_a_session_ends_by_itself(emulator):
    socket, first = begin_session(emulator)
    statuses(socket, 1)
    other, second = begin_session(emulator)
    statuses(other, 1)
    assert emulator.control("session", do="stop", session_id=first)["status"] == "stopping"
    assert statuses(socket, 3) == ["stopping", "stopped", "exported"]
    assert emulator.control("session", do="expire") == {
        "success": True,
        "session_id": second,
        "status": "stopped",
    }
    assert statuses(other, 2) == ["stopped", "exported"]
    third, _ = begin_session(emulator)
    statuses(third, 1)
    emulator.control("session", do="fail", error="out of disk")
    failed = json.loads(third.recv(timeout=PATIENCE))
    assert failed["data"]["error"] == {"message": "out of disk", "code": "CAPTURE_FAILED"}
    assert status_of(emulator) == "failed"
    for action in ("stop", "expire", "fail"):
        status, _, answer = emulator.http("POST", "/emulator/session", {"do": action}, key=None)
        assert status == 400
        assert "is failed" in answer["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"do": "stop", "session_id": "cap-none"}, 404),
        ({"do": "stop", "session_id": []}, 404),
        ({"do": "dance"}, 400),
        ({}, 400),
        ({"do": "fail", "error": 5}, 400),
        ({"do": "fail", "error": {"message": 5}}, 400),
        ({"do": "stop", "typo": 1}, 400),
    ],
)
def test_an_invalid_end_of_a_session_is_refused(emulator, body, status):
    if "session_id" not in body:
        assert emulator.http("POST", "/emulator/session", {"do": "stop"}, key=None)[0] == 404
    begin_session(emulator)
    code, _, answer = emulator.http("POST", "/emulator/session", body, key=None)
    assert (code, answer["success"]) == (status, False)


def test_the_upgrade_is_refused_and_the_ticket_stays_good(emulator):
    emulator.control("faults", upgrade={"status": 503, "retry_after": 3, "times": 1})
    with pytest.raises(InvalidStatus) as refused:
        emulator.connect()
    response = refused.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    emulator.greeted()


@pytest.mark.long
def test_while_it_is_down_connections_are_refused_and_it_comes_back_on_its_port(emulator):
    socket, _ = emulator.greeted()
    emulator.control("faults", down={"for": patient(1)})
    with pytest.raises(OSError, match=r"[Rr]efused"):
        emulator.http("GET", "/collection")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert emulator.http("GET", "/collection")[0] == 200
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    emulator.control("send", text="still here")
    assert socket.recv(timeout=PATIENCE) == "still here"


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
    assert emulator.connect().recv(timeout=PATIENCE) == first


def test_the_init_frame_is_late_or_never_sent(emulator):
    emulator.control("faults", init={"mode": "late", "seconds": 0.2, "times": 1})
    started = time.monotonic()
    emulator.greeted()
    assert time.monotonic() - started >= 0.2
    emulator.control("faults", init={"mode": "none", "times": 1})
    silent = emulator.connect()
    emulator.until(lambda state: state["opened"] == 2)
    emulator.control("send", text="an event")
    assert silent.recv(timeout=PATIENCE) == "an event"


def test_a_connection_is_accepted_and_closed_at_once(emulator):
    emulator.control("faults", accept_then_close={"code": 1013, "times": 1})
    with pytest.raises(ConnectionClosedError) as closed:
        emulator.connect().recv(timeout=PATIENCE)
    assert closed.value.rcvd.code == 1013


def test_a_mute_server_leaves_pings_unanswered_and_the_connection_open(emulator):
    socket, _ = emulator.greeted()
    assert socket.ping().wait(PATIENCE)
    emulator.control("faults", mute={})
    emulator.control("send", text="lost")
    assert not socket.ping().wait(0.2)
    with pytest.raises(TimeoutError):
        socket.recv(timeout=0)
    emulator.http("DELETE", "/emulator/faults", key=None)
    emulator.control("send", text="heard")
    assert socket.recv(timeout=PATIENCE) == "heard"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 4000])
def test_connections_are_closed_with_any_code(emulator, code):
    socket, _ = emulator.greeted()
    emulator.control("close", code=code, reason="because")
    with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as closed:
        socket.recv(timeout=PATIENCE)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "because")


def test_a_reset_leaves_no_close_frame(emulator):
    socket, connection_id = emulator.greeted()
    other, _ = emulator.greeted()
    emulator.control("reset", ws_connection_id=connection_id)
    with pytest.raises(ConnectionClosedError) as closed:
        socket.recv(timeout=PATIENCE)
    assert closed.value.rcvd is None
    assert other.ping().wait(PATIENCE)


def test_a_stalled_connection_continues_where_it_was(emulator):
    socket, _ = emulator.greeted()
    started = time.monotonic()
    emulator.control("stall", seconds=0.4)
    pong = socket.ping()
    emulator.control("send", text="after")
    assert socket.recv(timeout=PATIENCE) == "after"
    assert pong.wait(PATIENCE)
    assert time.monotonic() - started >= 0.4


def test_any_message_can_be_sent(emulator):
    socket, connection_id = emulator.greeted()
    emulator.control("send", json={"n": None, "é": [1]}, ws_connection_id=connection_id)
    assert socket.recv(timeout=PATIENCE) == '{"n":null,"é":[1]}'
    emulator.control("send", base64=base64.b64encode(b"\xff\x00").decode(), ws_connection_id="*")
    assert socket.recv(timeout=PATIENCE) == b"\xff\x00"
    assert emulator.control("send", text="", repeat=3)["sent"] == 3
    assert [socket.recv(timeout=PATIENCE) for _ in range(3)] == [""] * 3


def test_raw_bytes_reach_the_wire_untouched(emulator):
    socket, _ = emulator.greeted()
    for part in (b"\x01\x02he", b"\x80\x03llo"):
        emulator.control("send", raw_base64=base64.b64encode(part).decode())
    assert socket.recv(timeout=PATIENCE) == "hello"
    emulator.control("send", raw_base64=base64.b64encode(b"\x81\x01\xff").decode())
    with pytest.raises(ConnectionClosedError) as closed:
        socket.recv(timeout=PATIENCE)
    assert closed.value.sent.code == 1007


@pytest.mark.long
@pytest.mark.parametrize("size", [500, 1024 * 1024 + 1, 64 * 1024 * 1024])
def test_a_message_has_the_size_that_was_asked_for(emulator, size):
    socket, _ = emulator.greeted()
    assert emulator.control("send", size=size)["sent"] == 1
    message = socket.recv(timeout=PATIENCE)
    assert len(message) == size
    assert json.loads(message)["channel"] == "transcript"


def test_a_flood_arrives_whole_and_in_order_and_is_not_kept(emulator):
    socket, _ = emulator.greeted()
    before = emulator.state["totals"]
    assert emulator.control("flood", count=12_000)["sent"] == 12_000
    assert [json.loads(socket.recv(timeout=PATIENCE))["seq"] for _ in range(12_000)] == list(range(1, 12_001))
    assert emulator.state["totals"] == before


def test_a_paced_flood_says_when_each_event_was_sent(emulator):
    socket, _ = emulator.greeted()
    answer = emulator.control("flood", count=40, rate=200)
    assert answer["seconds"] >= 0.19
    events = [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(40)]
    sent = [event["sent_unix_ts"] for event in events]
    assert sent == sorted(sent)
    # The first may be late on a busy machine, and the others are not for that.
    assert sent[-1] - sent[0] >= 0.1


def test_a_flood_ends_with_its_connection(emulator):
    socket, _ = emulator.greeted(max_queue=1)
    with ThreadPoolExecutor() as threads:
        flood = threads.submit(emulator.control, "flood", count=1_000_000_000)
        emulator.until(lambda state: state["connections"][0]["frames_sent"] > 1000)
        socket.close()
        assert flood.result(timeout=PATIENCE)["sent"] < 1_000_000_000


def test_a_replay_can_be_asked_for_and_waited_for(start):
    emulator = start(speed=0)
    socket, connection_id = emulator.greeted()
    replay = emulator.control("replay", wait=True)["replay"]
    assert (replay["ws_connection_id"], replay["played"], replay["playing"]) == (connection_id, 159, False)
    assert [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(159)][-1]["status"] == "exported"


def test_a_replay_keeps_the_time_of_its_recording(start, journal):
    lines = [b'{"ts":"t","unix_ts":%.1f,"n":1}' % (10 + n * 0.4) for n in range(3)]
    emulator = start(speed=2, replay=journal(*lines))
    socket, _ = emulator.greeted()
    started = time.monotonic()
    emulator.control("replay")
    assert [socket.recv(timeout=PATIENCE) for _ in range(3)] == ['{"n":1}'] * 3
    assert time.monotonic() - started >= 0.4
    emulator.control("replay", loop=True, speed=500)
    assert [socket.recv(timeout=PATIENCE) for _ in range(9)] == ['{"n":1}'] * 9


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
def test_an_invalid_control_request_is_refused(emulator, action, body, status):
    if (action, body) != ("send", {}):
        emulator.greeted()
    else:
        body = {"text": "nobody is there"}
    code, _, answer = emulator.http("POST", f"/emulator/{action}", body, key=None)
    assert (code, answer["success"]) == (status, False)


# The table of faults alone.


def test_a_fault_ends_after_its_time_or_its_strikes():
    now = [0.0]
    faults = ActiveFaults(lambda: now[0])
    faults.change({"http": {"status": 503, "for": 2}, "hang": {"times": 1, "path": "/a"}})
    assert faults.strike("hang", "/b") is None
    assert faults.strike("hang", "/a") is not None
    assert faults.strike("hang", "/a") is None
    assert faults.in_force()["http"]["seconds_left"] == 2
    now[0] = 2
    assert faults.in_force() == {}


@pytest.mark.parametrize(
    ("options", "method", "path", "strikes"),
    [
        ({"method": "POST"}, "POST", "/a", True),
        ({"method": "post"}, "POST", "/a", True),
        ({"method": "POST"}, "GET", "/a", False),
        ({"path": "/rtstream/*/transcription"}, "GET", "/rtstream/rts-1/transcription", True),
        ({"path": "/rtstream/*/transcription/"}, "GET", "/rtstream/rts-1/transcription", True),
        ({"path": "/rtstream/*/transcription"}, "GET", "/rtstream/rts-1/transcription/status", False),
        ({"path": "/rtstream/*"}, "GET", "/rtstream/rts-1/transcription", False),
        ({"path": "/rtstream/rts-*/*"}, "GET", "/rtstream/rts-1/search", True),
        ({"path": "/rtstream"}, "GET", "/rtstream/rts-1/search", True),
        ({"path": "/rt*", "method": "GET"}, "POST", "/rtstream", False),
    ],
)
def test_a_fault_strikes_only_the_calls_it_names(options, method, path, strikes):
    faults = ActiveFaults(lambda: 0.0)
    faults.change({"slow": {"seconds": 0, **options}})
    assert (faults.strike("slow", path, method) is not None) is strikes


def test_a_fault_skips_the_first_of_the_calls_it_names():
    faults = ActiveFaults(lambda: 0.0)
    faults.change({"http": {"status": 500, "path": "/a", "skip": 2, "times": 1}})
    assert faults.strike("http", "/b") is None
    assert faults.in_force()["http"]["skip_left"] == 2
    struck = [faults.strike("http", "/a") is not None for _ in range(4)]
    assert struck == [False, False, True, False]


@pytest.mark.parametrize(
    "wanted",
    [
        {"nonsense": {}},
        {"http": {"status": 500, "skip": -1}},
        {"http": {"status": 500, "method": "FETCH"}},
        {"hang": {"method": 5}},
        {"withhold": {}},
        {"withhold": {"channel": "transcript", "times": 1}},
        {"expired_tokens": {"token": "st"}},
        {"activation": {"mode": "odd"}},
        {"activation": {"mode": "late"}},
        {"activation": {"mode": "failed", "error": {"code": "E"}}},
        {"activation": {"mode": "failed", "error": 5}},
        {"export": {"mode": "late"}},
        {"export": {"mode": "none"}},
        {"runtime": {"times": 1}},
        {"runtime": {"deny": ["camera"]}},
        {"runtime": {"deny": [["microphone"]]}},
        {"runtime": {"channels": ["mic:default"]}},
        {"runtime": {"die_at": "dance"}},
        {"runtime": {"die_at": "*"}},
        {"runtime": {"hang_at": "dance"}},
        {"runtime": {"long_line_at": "dance"}},
        {"runtime": {"ignore_sigterm": 1}},
        {"runtime": {"noise": "yes"}},
        {"runtime": {"refuse": {"dance": "no"}}},
        {"runtime": {"refuse": {"init": 5}}},
        {"http": {}},
        {"http": {"status": 42}},
        {"http": {"status": "503"}},
        {"slow": {"seconds": -1}},
        {"down": True},
        {"mute": {"times": 1}},
        {"init": {"mode": "odd"}},
        {"init": {"mode": "preceded", "frames": [1]}},
        {"mute": {"volume": 3}},
        {"accept_then_close": {"code": 1006}},
        {"hang": 5},
    ],
)
def test_an_invalid_fault_is_refused_and_changes_nothing(wanted):
    faults = ActiveFaults(lambda: 0.0)
    with pytest.raises(ValueError, match=r"fault|close frame"):
        faults.change({"mute": {}, **wanted} if "mute" not in wanted else wanted)
    assert faults.in_force() == {}
