"""Known defects of other listeners, one after the other: the real program on a real server.

The numbers are those of `docs/known-defects.md`.
"""

import base64
import contextlib
import json
import os
import resource
import signal
import stat
import sys
import time

import pytest
from support.patience import patient
from support.processes import KEY, Listener, ServiceInThread, eventually

from vdbevents.journal.state import StateDirectory

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux'")


def transcript(text):
    return {"channel": "transcript", "data": {"text": text, "is_final": True}}


def has_text(text):
    return lambda event: isinstance(event.get("data"), dict) and event["data"].get("text") == text


@pytest.mark.parametrize("fault", ["reset", "close 1011", "close 1006-like", "close 1012", "close 1013"])
def test_1_an_abrupt_drop_or_an_error_close_is_survived(service, listen, fault):
    listener = listen()
    first = listener.connected()
    if fault in ("reset", "close 1006-like"):
        service.request("reset")
    else:
        service.request("close", code=int(fault.split()[1]))
    second = listener.connected(times=2)
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    assert first != second


@pytest.mark.parametrize(
    ("faults", "shown"),
    [
        ({"http": {"status": 500, "times": 1}}, "answered 500"),
        ({"http": {"status": 503, "times": 1}}, "answered 503"),
        ({"http": {"status": 429, "times": 1}}, "request rate (429)"),
        ({"hang": {"times": 1}}, "no answer in time"),
        ({"no_websocket_url": {"times": 1}}, "retrying in"),
        ({"http": {"status": 200, "body": "<html>", "times": 1}}, "retrying in"),
        ({"upgrade": {"status": 503, "times": 1}}, "answered 503"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_2_an_error_of_the_http_call_or_of_the_handshake_is_retried(service, listen, faults, shown):
    service.fault(**faults)
    listener = listen("--connect-timeout", 3)

    listener.connected()
    listener.says(shown)


def test_2_a_service_that_is_down_is_retried(service, listen):
    # By now it has started, and is about to retry.
    service.fault(http={"status": 503, "retry_after": 4, "times": 1})
    listener = listen("--connect-timeout", 3)
    listener.says("answered 503")
    service.fault(down={"for": 10.0})

    listener.says("Connection refused")
    listener.connected()


def test_3_a_name_that_cannot_be_resolved_is_retried(listen, environ, service):
    service.environ = {"VIDEO_DB_API": "http://videodb.invalid"}
    listener = listen()

    listener.says("cannot resolve")
    listener.says("retrying in")
    assert listener.stop() == 0


def test_4_a_server_that_closes_each_connection_is_not_flooded_with_new_ones(service, listen):
    service.fault(accept_then_close={"code": 1000})
    started = time.monotonic()
    listener = listen()
    attempts = eventually(lambda: (count := listener.err.count("retrying in")) >= 2 and count)
    elapsed = time.monotonic() - started

    assert attempts <= 1 + elapsed, "more than one a second"


def test_5_after_a_reconnect_a_warning_names_the_old_and_the_new_id(service, listen):
    # With recovery they are rebound: test_recovery.py.
    listener = listen("--no-recover")
    first = listener.connected()
    service.request("close", code=1011)
    second = listener.connected(times=2)

    assert listener.own("listener.connected")[1]["previous_ws_id"] == first
    listener.says(f"pipelines of {first} still send to it")
    assert listener.state.ws_id.read_text() == second


def test_6_the_time_without_a_connection_is_marked(service, listen):
    listener = listen()
    listener.connected()
    service.request("close", code=1011)
    listener.connected(times=2)

    # A second line closes it.
    gap, *_ = eventually(lambda: listener.own("listener.gap"))
    assert gap["status"] == "open"
    assert gap["since"] < gap["until"]
    assert gap["seconds"] >= 1
    assert "1011" in gap["reason"]


@pytest.mark.parametrize("text", ["[1, 2]", '"text"', "42", "null", "not json", "", '{"a":NaN}'])
def test_7_a_message_that_is_not_an_object_is_kept_and_ends_nothing(service, listen, text):
    listener = listen()
    listener.connected()
    service.send(text=text)
    service.send(json={"channel": "transcript", "data": None})
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    kept, null, _ = [e for e in listener.events() if e.get("channel") != "vdbevents"]
    assert kept["raw"] == text
    assert null["data"] is None


def test_8_a_binary_frame_is_kept_whatever_is_in_it(service, listen):
    listener = listen()
    listener.connected()
    service.send(base64=base64.b64encode(b"\xff\x00\xfe").decode())
    service.send(base64=base64.b64encode(b'{"channel":"transcript"}').decode())

    kept = listener.receives(lambda e: "raw_base64" in e)
    assert base64.b64decode(kept["raw_base64"]) == b"\xff\x00\xfe"
    listener.receives(lambda e: e.get("channel") == "transcript")


def test_8_a_text_frame_that_is_not_utf8_is_kept(service, listen):
    listener = listen()
    listener.connected()
    service.send(raw_base64=base64.b64encode(b"\x81\x03\xff\xfe\xfd").decode())
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    assert any(e.get("raw_base64") == base64.b64encode(b"\xff\xfe\xfd").decode() for e in listener.events())


@pytest.mark.parametrize("mebibytes", [2, 64])
def test_9_a_message_larger_than_a_library_s_default_is_kept(service, listen, mebibytes):
    listener = listen("--quiet")
    listener.connected()
    service.send(size=mebibytes << 20)
    service.send(json=transcript("after"))

    eventually(lambda: listener.state.journal.stat().st_size > mebibytes << 20, 60)
    listener.receives(has_text("after"))
    assert len(listener.own("listener.connected")) == 1


@pytest.mark.parametrize(
    "init",
    [
        {"mode": "preceded", "frames": ['{"channel":"transcript","data":{"text":"early"}}', "noise"]},
        {"mode": "late", "seconds": 0.5},
    ],
    ids=lambda init: init["mode"],
)
def test_10_the_message_with_the_id_need_not_be_first_nor_at_once(service, listen, init):
    service.fault(init=init)
    listener = listen()
    ws_id = listener.connected()
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    eventually(lambda: f"WS_ID={ws_id}\n" == listener.out)
    if "frames" in init:
        listener.receives(has_text("early"))
        listener.receives(lambda e: e.get("raw") == "noise")


def test_10_a_server_that_sends_no_id_is_left_after_the_time_limit(service, listen):
    service.fault(init={"mode": "none", "times": 1})
    listener = listen("--connect-timeout", 3)

    listener.says("no connection id within 3 s")
    listener.connected()


def test_11_a_closed_stdout_ends_nothing(service, listen, environ, started, state):
    reader, writer = os.pipe()
    os.close(reader)
    listener = listen(stdout=writer)
    os.close(writer)
    listener.connected()
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    assert listener.stop() == 0


def test_12_a_connection_that_succeeds_on_a_retry_prints_its_id(service, listen):
    service.fault(http={"status": 503, "times": 1})
    listener = listen()
    ws_id = listener.connected()

    eventually(lambda: listener.out == f"WS_ID={ws_id}\n")


def test_13_giving_up_has_an_exit_code_of_its_own(service, listen):
    service.fault(http={"status": 503})
    listener = listen("--max-retries", 1)

    assert listener.ends() == 5
    assert "gave up after 2 attempts" in listener.err
    assert "Traceback" not in listener.err


def test_14_a_second_listener_ends_with_3_names_the_first_and_touches_nothing(service, listen, state):
    first = listen()
    first.connected()
    files = ("videodb_ws_pid", "videodb_ws_id", "videodb_events.jsonl")
    before = {name: ((state.path / name).read_bytes(), (state.path / name).stat().st_ino) for name in files}

    second = listen("--clear")

    assert second.ends() == 3
    assert f"PID {first.pid}" in second.err
    assert f"vdbevents stop {state.path}" in second.err
    after = {name: ((state.path / name).read_bytes(), (state.path / name).stat().st_ino) for name in files}
    assert before == after
    assert second.out == ""


def test_15_the_id_of_a_dead_run_is_gone_before_the_next_one_connects(service, listen, state):
    killed = listen()
    killed.connected()
    killed.kill()
    assert state.ws_id.exists()
    service.fault(hang={})

    listener = listen()

    eventually(lambda: listener.own("listener.started")[1:])
    assert not state.ws_id.exists()
    assert listener.stop() == 0
    assert not state.ws_pid.exists()


def test_15_the_id_is_gone_while_there_is_no_connection(service, listen, state):
    listener = listen()
    listener.connected()
    service.fault(http={"status": 503})
    service.request("close", code=1011)

    eventually(lambda: not state.ws_id.exists())


def test_16_an_existing_directory_keeps_its_mode_and_every_file_is_private(service, listen, tmp_path):
    shared = StateDirectory(tmp_path / "shared")
    shared.path.mkdir()
    shared.path.chmod(0o777)
    listener = listen(into=shared)
    listener.connected()
    eventually(shared.listener_status.exists)

    assert stat.S_IMODE(shared.path.stat().st_mode) == 0o777
    assert set(modes_in(shared.path)) == {0o600}


def modes_in(directory):
    """Yield the mode of each file; a file may vanish while it is replaced."""
    for file in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield stat.S_IMODE(file.stat().st_mode)


def test_17_clearing_comes_before_connecting_and_keeps_the_file(service, listen, state):
    state.journal.write_bytes(b'{"ts":"old"}\n')
    inode = state.journal.stat().st_ino
    service.fault(hang={})
    listener = listen("--clear")

    eventually(lambda: listener.own("listener.started"))
    assert b"old" not in state.journal.read_bytes()
    assert state.journal.stat().st_ino == inode


def test_18_a_torn_line_is_set_aside_and_the_next_is_not_glued_to_it(service, listen, state):
    state.journal.write_bytes(b'{"ts":"whole"}\n{"ts":"torn","data":{"te')
    listener = listen()
    listener.connected()

    assert [e.get("event", e["ts"]) for e in listener.events()][:3] == [
        "whole", "journal.repaired", "listener.started"
    ]  # fmt: skip
    assert state.torn.read_bytes() == b'{"ts":"torn","data":{"te\n'
    listener.says("was torn")


def test_19_the_server_s_own_stamps_are_kept_and_ours_have_milliseconds_and_z(service, listen, state):
    listener = listen()
    listener.connected()
    service.send(text='{"ts":"2020-01-01T00:00:00+00:00","unix_ts":1577836800,"channel":"x"}')

    event = listener.receives(lambda e: e.get("channel") == "x")
    assert (event["server_ts"], event["server_unix_ts"]) == ("2020-01-01T00:00:00+00:00", 1577836800)
    line = next(line for line in state.journal.read_text().splitlines() if '"channel":"x"' in line)
    assert line[:7] == '{"ts":"'
    assert line[26:42] == line[26:42].strip()
    assert event["ts"][-5:-1].startswith(".")
    assert event["ts"].endswith("Z")
    assert f"{event['unix_ts']:.3f}"[-4:] == event["ts"][-5:-1]


def test_20_every_language_is_written_as_it_is_and_nan_is_kept_as_text(service, listen, state):
    listener = listen()
    listener.connected()
    service.send(text='{"channel": "x", "data": {"text": "caf\\u00e9 \\u4f60\\u597d \\ud83d\\ude00"}}')
    service.send(text='{"channel":"y","score":NaN}')
    listener.receives(lambda e: "raw" in e)

    content = state.journal.read_text(encoding="utf-8")
    assert '"channel":"x","data":{"text":"café 你好 😀"}' in content
    assert '"raw":"{\\"channel\\":\\"y\\",\\"score\\":NaN}"' in content


@linux_only
def test_21_a_full_disk_is_reported_and_survived_and_dropped_events_are_counted(service, listen, state):
    listener = listen("--hold", 0.01)
    listener.connected()
    service.send(json=transcript("before"))
    listener.receives(has_text("before"))
    size = state.journal.stat().st_size
    unlimited = resource.prlimit(listener.pid, resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
    for number in range(30):
        service.send(json=transcript(f"held {number}"))
    listener.says("holding up to")
    # It is shown on arrival, though there is no room for it.
    service.send(size=100_000)
    listener.says("x" * 100)
    assert listener.process.poll() is None
    # The torn line that was written before the disk was full is cut off again.
    eventually(lambda: state.journal.stat().st_size == size)

    resource.prlimit(listener.pid, resource.RLIMIT_FSIZE, unlimited)
    (dropped,) = eventually(lambda: listener.own("listener.dropped"))
    service.send(json=transcript("after"))
    listener.receives(has_text("after"))

    texts = [e["data"]["text"] for e in listener.events() if e.get("channel") == "transcript"]
    assert texts == ["before", *(f"held {number}" for number in range(30)), "after"]
    assert (dropped["count"], dropped["channels"]) == (1, {"transcript": 1})
    assert dropped["bytes"] > 100_000
    listener.says("can be written again")
    listener.says("dropped ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "faults", [{"hang": {}}, {"http": {"status": 503}}, {"init": {"mode": "none"}}, {"mute": {}}, {}], ids=str
)
def test_22_a_signal_ends_it_within_two_seconds_whatever_it_is_doing(service, listen, faults, number):
    service.fault(**faults)
    listener = listen()
    eventually(lambda: listener.own("listener.started"))
    if faults in ({}, {"mute": {}}):
        eventually(lambda: service.state["opened"] if faults else listener.own("listener.connected"))
    elif "hang" in faults:
        eventually(lambda: any("/websocket" in path for path in service.state["requests"]))

    started = time.monotonic()
    code = listener.stop(number)

    # Two seconds on an idle machine; a step that it does not interrupt takes 20 s.
    assert time.monotonic() - started < patient(15)
    assert code == {signal.SIGTERM: 0, signal.SIGINT: 130}[number]
    assert listener.own("listener.stopped") == [{"by": number.name}]


def test_23_words_in_an_error_s_text_do_not_make_it_fatal(service, listen):
    service.fault(http={"status": 500, "times": 1, "body": '{"message":"403 auth backend unavailable"}'})
    listener = listen()

    listener.connected()
    assert listener.process.poll() is None


def test_24_the_env_file_is_that_of_the_user_s_directory(service, started, tmp_path, environ):
    home = tmp_path / "project"
    home.mkdir()
    recording = StateDirectory(tmp_path / "recording")
    (home / ".env").write_text(
        f"VIDEO_DB_API_KEY={KEY}\nVIDEO_DB_API={service.url}\nVIDEODB_EVENTS_DIR={recording.path}\n"
    )
    del environ["VIDEO_DB_API_KEY"]
    process = started(_without_directory(["listen"], recording, environ, cwd=home))

    process.connected()
    assert json.loads(recording.listener_status.read_text() or "{}") is not None


def _without_directory(arguments, recording, environ, **options):
    class Bare(Listener):
        def __init__(self):
            self.state = recording
            super(Listener, self).__init__(arguments, environ, **options)

    return Bare()


def test_the_emulator_can_be_started_twice_at_once(started):
    first, second = started(ServiceInThread()), started(ServiceInThread())

    assert first.url != second.url


def test_the_same_directory_may_be_listened_to_again_after_an_orderly_end(listen):
    for times in (1, 2):
        listener = listen()
        listener.connected(times)
        assert listener.stop() == 0
    assert listener.own("listener.gap") == []
