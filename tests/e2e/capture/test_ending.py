"""The end of a capture under signals, lost answers and a service that fails: nothing runs on."""

import json
import os
import re
import signal
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support.capturing import assert_left_in_order
from support.messages import error_id_in
from support.patience import PATIENCE, patient
from support.processes import Capture, Listener, events_of, eventually

from vdbevents.journal.locks import listener_pid, listener_runs

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def session_of(service):
    return service.state["sessions"][-1]


def words_of(pid):
    """The command line of a process; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def children_on(state):
    """The processes that have the state directory on their command line."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if str(state.path).encode() in words_of(pid)]


# Signals.


@linux_only
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.08, 0.15, 0.25, 0.4])
def test_a_signal_at_any_moment_of_the_start_leaves_no_process(capture, service, state, delay):
    recorder = capture()
    recorder.says("starting a listener")
    time.sleep(delay)  # the moment is the point
    recorder.process.send_signal(signal.SIGTERM)

    assert recorder.ends() == 0, recorder.err
    assert children_on(state) == []
    # A listener that has not begun dies on the spot; the next one writes over what it left unfinished.
    (state.path / ".videodb_ws_pid.tmp").unlink(missing_ok=True)
    assert_left_in_order(recorder, service)


@linux_only
@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_three_signals_while_the_listener_starts_leave_no_listener(capture, state, delay):
    recorder = capture()
    recorder.says("starting a listener")
    time.sleep(delay)  # the moment is the point
    for _ in range(3):
        recorder.process.send_signal(signal.SIGTERM)
        time.sleep(0.015)  # so that they are three

    recorder.ends()
    eventually(lambda: children_on(state) == [])


def test_a_signal_after_everything_was_done_changes_nothing(capture):
    recorder = capture("--duration", "0.2s")
    recorder.says("stopped the listener")
    recorder.process.send_signal(signal.SIGINT)

    assert recorder.ends() == 0
    assert recorder.summary["status"] == "exported"


@linux_only
def test_a_listener_that_does_not_react_is_not_waited_for_for_ever(capture, service, state):
    service.fault(hang={"path": "/collection/default/websocket"})
    recorder = capture("--timeout", 6)
    recorder.says("starting a listener")
    # By its command line: between fork and exec it still has that of the capture.
    own = eventually(lambda: [it for it in children_on(state) if b"listen" in words_of(it)])
    os.kill(own[0], signal.SIGSTOP)

    assert recorder.ends() == 5
    assert children_on(state) == []


@pytest.mark.parametrize("path", ["/capture/session/*/stop", "/collection/*/capture/session/*/export"])
def test_a_second_signal_does_not_wait_for_a_call_that_hangs(capture, service, listener, path):
    service.fault(export={"mode": "late", "seconds": 60})
    recorder = capture()
    recorder.records()
    service.fault(hang={"method": "POST", "path": path})
    os.kill(recorder.info["runtime_pid"], signal.SIGKILL)
    recorder.says("ending the capture")
    asked = path.replace("*", "[^/]+")
    eventually(lambda: any(re.fullmatch(f"POST {asked}", it) for it in service.state["requests"]))
    recorder.process.send_signal(signal.SIGINT)
    recorder.says("stopping …")
    begun = time.monotonic()

    assert recorder.stop() == 6
    assert time.monotonic() - begun < patient(10), "not the 15 s of a call"


def test_a_second_signal_while_the_runtime_does_not_stop_still_ends_the_session(capture, service):
    recorder = capture()
    recorder.records()
    service.fault(runtime={"hang_at": "stopRecording"})
    recorder.process.send_signal(signal.SIGINT)
    recorder.says("stopping …")
    begun = time.monotonic()

    assert recorder.stop() == 130
    assert time.monotonic() - begun < patient(15), "not the 30 s of a step"
    eventually(lambda: session_of(service)["status"] == "stopped")
    assert_left_in_order(recorder, service)


def test_a_second_signal_does_not_wait_for_a_service_that_is_gone(capture, service):
    recorder = capture()
    recorder.records()
    service.fault(down={"for": 60})
    os.kill(recorder.info["runtime_pid"], signal.SIGKILL)
    recorder.says("ending the capture")
    begun = time.monotonic()
    recorder.process.send_signal(signal.SIGINT)
    recorder.says("stopping …")

    assert recorder.stop() == 6
    assert time.monotonic() - begun < patient(15), "not the 30 s of a step"
    assert "may still run on the server" in recorder.err
    assert f"vdbevents session end {recorder.summary['session_id']}" in recorder.err


@linux_only
def test_a_third_signal_ends_it_at_once_and_its_listener_too(capture, service, state):
    service.fault(export={"mode": "never"})
    recorder = capture()
    recorder.records()
    service.fault(runtime={"hang_at": "*", "ignore_sigterm": True})
    for said in ("stopping …", "skipping waiting"):
        recorder.process.send_signal(signal.SIGTERM)
        recorder.says(said)
    recorder.process.send_signal(signal.SIGTERM)

    assert recorder.ends() == 128 + signal.SIGTERM
    eventually(lambda: not listener_runs(state))
    assert not state.capture_pid.exists()
    assert "Traceback" not in recorder.err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
def test_a_terminal_that_closes_does_not_end_what_ignores_it(started, state, environ, leftovers, service):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        recorder = started(Capture(state, environ))
    finally:
        signal.signal(signal.SIGHUP, before)
    recorder.records()
    recorder.process.send_signal(signal.SIGHUP)
    os.kill(recorder.pid, signal.SIGCONT)

    service.send(json={"event": "capture_session.active", "capture_session_id": "cap-other"})
    eventually(lambda: any(e.get("capture_session_id") == "cap-other" for e in recorder.events()))
    assert recorder.process.poll() is None
    assert "stopping …" not in recorder.err
    assert recorder.stop() == 0


# Sessions that would run on.


def test_a_session_that_the_server_starts_late_is_ended_all_the_same(capture, service, listener):
    service.fault(slow={"seconds": 1.5, "path": "/capture/session/start", "method": "POST"})
    recorder = capture("--timeout", 8)
    eventually(lambda: "POST /capture/session/start" in service.state["requests"])

    assert recorder.stop() == 0
    time.sleep(2)  # for the server to do what it does late
    assert session_of(service)["status"] not in ("starting", "active")
    assert_left_in_order(recorder, service, listening=True)


def test_a_session_that_could_not_be_ended_is_ended_by_the_next_capture(capture, service, listener):
    service.fault(http={"status": 503, "path": "/capture/session/*/stop", "method": "POST"})
    first = capture("--duration", "0.2s", "--timeout", 4)
    assert first.ends() == 5
    left = first.summary["session_id"]
    assert session_of(service)["status"] == "active"
    service.fault(http={"status": 503, "path": f"/collection/default/capture/session/{left}", "times": 100})
    second = capture("--duration", "0.2s", "--timeout", 4, "--no-store", "all")
    assert second.ends() == 0
    assert second.info["unended"] == [{"id": left, "collection_id": "default"}]
    service.fault(http=None)
    third = capture("--duration", "0.2s", "--no-store", "all")

    assert third.ends() == 0
    assert f"stopping session {left}, which an earlier capture left running" in third.err
    assert {it["status"] for it in service.state["sessions"]} <= {"stopped", "exported"}
    assert third.info["unended"] == []


def test_a_session_whose_end_the_service_confirms_late_is_not_a_failure(capture, service, listener):
    service.fault(slow={"seconds": 2.5, "path": "/capture/session/*/stop", "method": "POST"})
    recorder = capture("--duration", "0.2s", "--timeout", 6)

    assert recorder.ends() == 0, recorder.err
    assert recorder.summary["video_id"]


def test_without_events_the_end_does_not_take_long(capture, service, listener):
    service.fault(withhold={"channel": "capture_session"})
    recorder = capture()
    recorder.records()
    listener.process.kill()
    listener.ends()
    begun = time.monotonic()

    assert recorder.stop() == 0
    assert time.monotonic() - begun < patient(13), "not the 15 s between two looks while it records"
    assert recorder.summary["status"] in ("stopped", "exported")


def test_an_info_file_that_names_no_session_does_not_stop_the_next_capture(capture, service, state):
    for content in (
        '{"status":"active","session":{"id":"."}}',
        '{"session":{"id":"\\ud800"}}',
        "[1]",
        '{"unended":[7]}',
    ):
        state.capture_info.write_text(content)
        recorder = capture("--duration", "0.1s", "--no-store", "all")
        assert recorder.ends() == 0, recorder.err


# The listener.


def test_a_listener_that_was_faster_is_used_and_left_running(started, capture, service, state, environ):
    recorder = capture()
    recorder.says("starting a listener")
    other = started(Listener(state, environ))
    recorder.records()
    eventually(lambda: other.process.poll() is not None or listener_pid(state) == other.pid)

    assert recorder.stop() == 0, recorder.err
    if other.process.poll() is None:
        assert listener_pid(state) == other.pid
        assert "stopped the listener" not in recorder.err
    else:
        assert other.ends() == 3
        assert "stopped the listener" in recorder.err


def test_a_listener_that_was_started_in_place_of_its_own_is_left_running(started, capture, state, environ):
    recorder = capture()
    recorder.records()
    os.kill(listener_pid(state), signal.SIGKILL)
    recorder.says("no events are recorded")
    other = started(Listener(state, environ))
    other.connected()

    assert recorder.stop() == 0
    assert other.process.poll() is None
    assert "stopped the listener" not in recorder.err


def test_no_configuration_has_a_listener_clear_the_journal(capture, state, environ, tmp_path):
    (tmp_path / "vdbevents").mkdir()
    (tmp_path / "vdbevents" / "config.toml").write_text("[listen]\nclear = true\n")
    state.journal.write_text('{"ts":"2026-01-01T00:00:00.000Z","unix_ts":1767225600.000,"kept":true}\n')
    recorder = capture("--duration", "0.2s", environ={**environ, "XDG_CONFIG_HOME": str(tmp_path)})

    assert recorder.ends() == 2
    assert "--clear takes no default" in recorder.err
    assert events_of(state)[0]["kept"] is True


def test_messages_of_a_listener_that_does_not_start_are_json_too(capture, environ):
    recorder = capture("--log-format", "json", environ={**environ, "VIDEO_DB_API_KEY": "sk-wrong"})

    assert recorder.ends() == 4
    told = [json.loads(line) for line in recorder.err.splitlines()]
    assert any("refused the API key (401)" in line["message"] for line in told)


# Streams and pipelines.


def test_streams_that_come_later_get_their_pipelines_too(capture, service, listener):
    recorder = capture()
    recorder.records()
    late = [{"rtstream_id": "rts-late", "name": "mic:late", "media_types": ["audio"]}]
    session_id = recorder.info["session"]["id"]
    event = {"event": "capture_session.active", "capture_session_id": session_id, "data": {"rtstreams": late}}
    service.send(json=event)
    recorder.says("transcript of mic:late")
    recorder.reaches(lambda info: "rts-late" in [stream["id"] for stream in info["streams"]])

    assert recorder.stop() == 0


@pytest.mark.parametrize("odd", [".", "..", "a/b", "x" * 500])
def test_a_stream_with_an_odd_id_costs_its_own_pipelines_alone(capture, service, listener, odd):
    recorder = capture()
    recorder.records()
    session_id = recorder.info["session"]["id"]
    streams = [{"rtstream_id": odd, "name": "mic:odd", "media_types": ["audio"]}]
    event = {
        "event": "capture_session.active",
        "capture_session_id": session_id,
        "data": {"rtstreams": streams},
    }
    service.send(json=event)
    recorder.says("the transcript of mic:odd: ")

    assert recorder.stop() == 0
    assert recorder.summary["status"] == "exported"


def test_nothing_is_started_any_more_once_the_end_has_begun(capture, service):
    service.fault(http={"status": 503, "path": "/rtstream/*/transcription", "method": "POST"})
    recorder = capture()
    recorder.says("retrying")
    recorder.process.send_signal(signal.SIGINT)
    recorder.says("stopping …")
    service.fault(http=None)

    assert recorder.ends() == 0
    assert "started the transcript" not in recorder.err.split("stopping …")[1]


def test_an_export_that_the_service_refuses_is_said_with_its_reason_at_once(capture, service):
    body = json.dumps({"success": False, "message": "Export is not in your plan."})
    service.fault(export={"mode": "never"})
    service.fault(http={"status": 400, "path": "/collection/*/capture/session/*/export", "body": body})
    begun = time.monotonic()
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 6
    assert time.monotonic() - begun < patient(30)
    assert error_id_in(recorder.err) == "export-failed"
    assert "could not export the session" in recorder.err
    assert "Export is not in your plan." in recorder.err


def test_the_command_that_does_it_later_names_the_collection(capture, service, environ):
    service.fault(export={"mode": "never"})
    headers = {"x-access-token": environ["VIDEO_DB_API_KEY"]}
    asked = urllib.request.Request(f"{service.url}/collection", b'{"name":"a","description":"b"}', headers)
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        collection = json.load(answer)["data"]["id"]
    recorder = capture("--duration", "0.2s", "--export-timeout", 1, "--collection", collection)

    assert recorder.ends() == 6
    command = f"vdbevents session export {recorder.summary['session_id']} --collection {collection}"
    assert command in recorder.err


# stdout, stderr, and what the runtime says.


def test_a_stdout_that_nobody_reads_hides_no_failure(started, state, environ, service, leftovers):
    service.fault(export={"mode": "failed"})
    reader, writer = os.pipe()
    os.close(reader)
    recorder = started(Capture(state, environ, ["--duration", "0.2s"], stdout=writer))
    os.close(writer)

    assert recorder.ends() == 6
    assert "export failed" in recorder.err


@linux_only
def test_a_stdout_that_takes_nothing_is_said_without_a_traceback(started, state, environ, leftovers):
    with Path("/dev/full").open("wb") as full:
        recorder = started(Capture(state, environ, ["--duration", "0.2s", "--no-store", "all"], stdout=full))

    assert recorder.ends() == 74
    assert "cannot write the summary to stdout: No space left on device" in recorder.err
    assert "Traceback" not in recorder.err


@linux_only
def test_a_failure_is_the_last_word_also_where_stdout_takes_nothing(
    started, state, environ, service, leftovers
):
    service.fault(activation={"mode": "failed", "error": "no node is free"})
    with Path("/dev/full").open("wb") as full:
        recorder = started(Capture(state, environ, stdout=full))

    assert recorder.ends() == 6
    assert "cannot write the summary" in recorder.err
    assert "the recording itself succeeded" not in recorder.err.split("cannot write")[1]
    assert recorder.err.rstrip().endswith("session failed: no node is free")


def test_a_journal_that_cannot_be_read_any_more_is_said_without_a_traceback(capture, state, listener):
    recorder = capture("--no-store", "all")
    recorder.records()
    listener.process.kill()
    listener.ends()
    state.journal.unlink()
    state.journal.mkdir()
    recorder.says("cannot read the journal")

    assert recorder.stop() == 0
    assert "Traceback" not in recorder.err


def test_json_messages_are_one_line_each_whatever_they_contain(capture, service):
    recorder = capture("--log-format", "json")
    recorder.records()
    service.request("session", do="fail", error="one\u2028two\u009bthree")

    assert recorder.ends() == 6
    told = [json.loads(line) for line in recorder.err.splitlines()]
    assert any("one\u2028two" in line["message"] for line in told)


def test_a_stderr_that_nobody_reads_holds_nothing_up(started, state, environ, service, leftovers):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writer, True)
    recorder = started(Capture(state, {**environ, "VIDEO_DB_API_KEY": "sk-wrong"}, stderr=writer))
    os.close(writer)

    assert recorder.ends() == 4
    os.close(reader)


def test_text_of_the_service_is_escaped_on_stdout(capture, service, environ):
    recorder = capture(environ={**environ, "PYTHONIOENCODING": "ascii"})
    recorder.records()
    service.request("session", do="fail", error="gr\u00f6\u00dfe \u009b2J \u202e evil \x1b[31m")

    assert recorder.ends() == 6
    assert re.search(r"[^\x20-\x7e\n]", recorder.out) is None
    assert "gr\u00f6\u00dfe" in recorder.summary["error"]


def test_a_name_that_cannot_be_written_does_not_deafen_it(capture, service):
    recorder = capture()
    recorder.records()
    service.request("runtime", event="\ud800", payload={})
    service.request("runtime", event="recording:error", payload={"error": "heard after it"})
    recorder.says("heard after it")

    assert recorder.stop() == 0


def test_a_runtime_that_quotes_its_token_does_not_give_it_away(capture, service, environ, tmp_path, state):
    runtime = tmp_path / "quoting"
    runtime.write_text(
        f"""#!{sys.executable}
import json, sys
for line in sys.stdin:
    asked = json.loads(line.partition("|")[2])
    token = asked["params"].get("uploadToken")
    channels = [{{"channel_id": "mic:default", "name": "M", "type": "audio"}}]
    answer = {{"type": "response", "commandId": asked["commandId"], "status": "success",
              "result": {{"status": "granted", "channels": channels}}}}
    if token:
        event = {{"type": "event", "event": "recording:error", "payload": {{"error": "bad token " + token}}}}
        print("videodb_recorder|" + json.dumps(event), flush=True)
        answer |= {{"status": "error", "result": "refused: " + token}}
    print("videodb_recorder|" + json.dumps(answer), flush=True)
"""
    )
    runtime.chmod(0o755)
    recorder = capture(environ={**environ, "VDBEVENTS_CAPTURE_RUNTIME": str(runtime)})

    assert recorder.ends() == 6
    assert "the capture runtime says: refused: …" in recorder.err
    written = b"".join(file.read_bytes() for file in state.path.iterdir()).decode()
    assert "bad token …" in written
    assert re.search(r"st-[0-9a-f]{8}", recorder.err + recorder.out + written) is None
