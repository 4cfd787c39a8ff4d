"""Each call of a capture fails, one at a time: it ends in time, says why, and leaves nothing behind."""

import json
import re
import signal
import time

import pytest
from support.capturing import assert_left_in_order
from support.messages import error_id_in
from support.patience import PATIENCE, patient
from support.processes import end_listener, eventually, run

from vdbevents.journal.state import StateDirectory

pytestmark = pytest.mark.long
SESSIONS = "/collection/*/capture/session"
ALERTS = "/rtstream/*/index/*/alert"
# Of each step: short, and long enough for the steps that succeed on a busy machine.
LIMIT = round(patient(4))
SHORT = ["--timeout", LIMIT]

# What each call of the API is for, the exit code when it fails for ever, and what is then said.
CALLS = {
    "session": ("POST", SESSIONS, 5, "could not create a capture session"),
    "token": ("POST", "/capture/session/token", 5, "could not create a client token"),
    "start": ("POST", "/capture/session/start", 6, "could not start the recording"),
    "addresses": ("GET", "/capture/session/*", 6, "could not start the recording"),
    "transcript": ("POST", "/rtstream/*/transcription", 0, "could not start the transcript of rts-"),
    "index": ("POST", "/rtstream/*/index/scene", 0, "could not start the audio_index of rts-"),
    "events": ("GET", "/rtstream/event", 0, "could not list the events"),
    "event": ("POST", "/rtstream/event", 0, "could not create the event 'deploy'"),
    "alerts": ("GET", ALERTS, 0, "could not list the alerts of scene-idx-"),
    "alert": ("POST", ALERTS, 0, "could not create an alert on scene-idx-"),
    "stop": ("POST", "/capture/session/*/stop", 5, "may still run on the server"),
    "poll": ("GET", f"{SESSIONS}/*", 0, "exported: video"),
}
# What is asked while the recording goes on, and is asked again for as long as it does.
OF_PIPELINES = {"transcript", "index", "events", "event", "alerts", "alert"}


@pytest.mark.parametrize("fault", ["http", "hang"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_always_fails_ends_in_time_with_a_clear_message(capture, service, listener, call, fault):
    method, path, code, said = CALLS[call]
    # Late enough for somebody to ask how far the session is.
    service.fault(activation={"mode": "late", "seconds": LIMIT / 2})
    status = {"status": 500} if fault == "http" else {}
    service.fault(**{fault: {"method": method, "path": path, **status}})
    duration = () if call in OF_PIPELINES else ("--duration", "0.5s")
    recorder = capture(*duration, "--alert", "deploy=a deployment", *SHORT)
    if call in OF_PIPELINES:
        recorder.says(said)
        recorder.process.send_signal(signal.SIGINT)

    assert recorder.ends() == code, recorder.err
    ended = time.time()
    assert said in recorder.err
    failed = [it for it in service.state["recent_requests"] if asks(it["request"], method, path)]
    assert failed, "nothing failed"
    # From there on: how long a program takes to start says nothing of its limits.
    assert ended - failed[0]["unix_ts"] < patient(30)
    if fault == "http" and code == 5:
        assert "the service answered 500" in recorder.err
    if call == "stop":
        assert f"vdbevents session end {recorder.summary['session_id']}" in recorder.err
        service.fault(**{fault: None})
        # What cannot be reached cannot be ended; who comes next can.
        assert capture("--duration", "0.1s", "--no-store", "all").ends() == 0
    assert_left_in_order(recorder, service, listening=True)


def asks(request, method, path):
    """Whether a request is one of a fault's."""
    return re.fullmatch(f"{method} {re.escape(path).replace(chr(92) + '*', '[^/]+')}", request) is not None


@pytest.mark.parametrize("fault", ["http", "hang"])
def test_a_listener_that_gets_no_answer_ends_it_in_time(capture, service, fault):
    status = {"status": 500} if fault == "http" else {}
    service.fault(**{fault: {"path": "/collection/default/websocket", **status}})
    recorder = capture("--timeout", 3)

    assert recorder.ends() == 5
    assert "the listener was not connected in 3 s" in recorder.err
    assert_left_in_order(recorder, service)


@pytest.mark.parametrize("fault", ["http", "hang"])
def test_an_export_that_cannot_be_asked_for_is_not_waited_for_for_ever(capture, service, listener, fault):
    status = {"status": 500} if fault == "http" else {}
    service.fault(export={"mode": "late", "seconds": 60})
    service.fault(**{fault: {"method": "POST", "path": f"{SESSIONS}/*/export", **status}})
    recorder = capture("--duration", "0.2s", *SHORT, "--export-timeout", 8)

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "export-timeout"
    assert "after 8 s" in recorder.err
    assert f"vdbevents session export {recorder.summary['session_id']}" in recorder.err
    assert_left_in_order(recorder, service, listening=True)


def test_an_index_that_may_have_been_made_is_looked_for_until_the_answer_comes(capture, service, listener):
    service.fault(hang={"method": "POST", "path": "/rtstream/*/index/scene", "times": 1})
    service.fault(http={"status": 500, "method": "GET", "path": "/rtstream/*/index/scene", "times": 2})
    recorder = capture(*SHORT, "--no-mic", "--no-system-audio")
    recorder.records()

    recorder.says("could not start the visual_index")
    recorder.says("could not list the indexes")
    assert recorder.stop() == 0
    assert len(service.state["pipelines"]) == 1


# How many calls a capture with alerts makes until all of its pipelines run.
_CALLS_UNTIL_IT_RUNS = 14


@pytest.mark.parametrize("fault", ["http", "hang"])
@pytest.mark.parametrize("position", range(_CALLS_UNTIL_IT_RUNS))
def test_one_call_that_fails_once_is_made_again(capture, service, listener, position, fault):
    status = {"status": 500} if fault == "http" else {}
    service.fault(**{fault: {"times": 1, "skip": position, **status}})
    recorder = capture("--alert", "deploy=a deployment", "--no-system-audio", "--timeout", 2 * LIMIT)
    eventually(lambda: recorder.process.poll() is not None or _all_runs(recorder))
    if recorder.process.poll() is None:
        recorder.stop()

    # Only the runtime's own calls are not ours to make again: the recording then ends before it began.
    code, refused = recorder.ends(), "could not start the recording" in recorder.err
    assert code == (6 if refused else 0), recorder.err
    assert service.state["faults"] == {}
    assert_left_in_order(recorder, service, listening=True)


def test_that_many_calls_are_made_and_no_more(capture, service, listener):
    before = _calls(service)
    recorder = capture("--alert", "deploy=a deployment", "--no-system-audio")
    eventually(lambda: _all_runs(recorder))
    made = _calls(service) - before

    assert recorder.stop() == 0
    assert made == _CALLS_UNTIL_IT_RUNS - 1, "one more stops the session"


def _calls(service):
    """How many were made; how often it is asked how far a session is depends on how long that takes."""
    made = service.state["requests"].items()
    return sum(times for request, times in made if not asks(request, "GET", f"{SESSIONS}/*"))


def _all_runs(recorder):
    info = recorder.info
    if info.get("pid") != recorder.pid or info["status"] != "recording":
        return False
    pipelines = info["pipelines"]
    watched = [pipeline for pipeline in pipelines if pipeline["id"]]
    return len(pipelines) == 3 and len(watched) == 2 and all(pipeline["alerts"] for pipeline in watched)


def test_an_expired_token_ends_it_with_the_runtime_s_reason(capture, service, listener):
    service.fault(expired_tokens={})
    recorder = capture()

    assert recorder.ends() == 6
    assert "could not start the recording: the capture runtime says: " in recorder.err
    assert_left_in_order(recorder, service, listening=True)


COMMANDS = {
    "init": "could not ask for the permission microphone",
    "requestPermission": "could not ask for the permission microphone",
    "getChannels": "could not list the channels",
    "startRecording": "could not start the recording",
}


@pytest.mark.parametrize("kind", ["die_at", "hang_at"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_runtime_that_fails_before_it_records_ends_it_in_time(capture, service, listener, command, kind):
    service.fault(runtime={kind: command})
    limits = {"die_at": (), "hang_at": (*SHORT, "--permission-timeout", LIMIT)}
    recorder = capture(*limits[kind])

    assert recorder.ends() == 6
    assert COMMANDS[command] in recorder.err
    reason = "has ended (exit code 9)" if kind == "die_at" else f"has not answered in {LIMIT} s"
    assert reason in recorder.err
    assert_left_in_order(recorder, service, listening=True)


@pytest.mark.parametrize("kind", ["die_at", "hang_at"])
@pytest.mark.parametrize("command", ["stopRecording", "shutdown"])
def test_a_runtime_that_fails_in_the_end_costs_nothing_but_a_word(capture, service, listener, command, kind):
    service.fault(runtime={kind: command})
    recorder = capture("--duration", "0.2s", *SHORT)

    assert recorder.ends() == 0, recorder.err
    assert recorder.summary["status"] == "exported"
    if command == "stopRecording":
        assert "could not stop the recording" in recorder.err
    assert_left_in_order(recorder, service, listening=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_runtime_that_refuses_is_quoted(capture, service, listener, command):
    service.fault(runtime={"refuse": {command: "Another instance\x1b[2J is recording."}})
    recorder = capture()

    assert recorder.ends() == 6
    assert COMMANDS[command] in recorder.err
    assert "the capture runtime says: Another instance" in recorder.err
    assert "\x1b" not in recorder.err
    assert_left_in_order(recorder, service, listening=True)


@pytest.mark.parametrize("command", ["getChannels", "startRecording"])
def test_an_answer_that_is_drowned_in_an_over_long_line_or_in_noise_is_heard(
    capture, service, listener, command
):
    service.fault(runtime={"long_line_at": command, "noise": True})
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0, recorder.err
    assert_left_in_order(recorder, service, listening=True)


def test_a_second_recorder_on_this_machine_is_refused(capture, service, state, tmp_path):
    first = capture()
    first.records()
    elsewhere = StateDirectory(tmp_path / "elsewhere")
    second = capture("--display", "none", into=elsewhere)

    assert second.ends() == 6
    assert "Another instance of the capture runtime is running" in second.err
    assert first.stop() == 0


def test_a_disk_that_takes_no_info_file_does_not_stop_the_recording(capture, service, listener, state):
    # It is written under this name first, and nobody can write to a directory as if it were a file.
    (state.path / ".videodb_capture_info.json.tmp").mkdir()
    recorder = capture("--duration", "0.3s")

    assert recorder.ends() == 0
    assert "cannot write videodb_capture_info.json" in recorder.err
    assert recorder.summary["status"] == "exported"


def test_an_outage_is_told_everywhere_while_it_lasts_and_after_its_end(capture, service, state, environ):
    def told():
        done = run(["status", state.path, "--json"], environ)
        return done.returncode, json.loads(done.stdout)

    def gaps():
        return json.loads(run(["gaps", state.path, "--json"], environ).stdout or "[]")

    recorder = capture()
    recorder.records()
    before = eventually(lambda: (found := told())[1]["state"] == "connected" and found)
    assert (before[0], before[1]["capture"]["session_id"]) == (0, recorder.info["session"]["id"])
    assert {one["name"] for one in before[1]["capture"]["streams"]} == {
        *("mic:default", "system_audio:default", "display:1")
    }

    assert run(["pause", state.path], environ).returncode == 0
    recorder.says("the listener is paused")
    assert (told()[0], told()[1]["state"]) == (5, "paused")
    assert run(["resume", state.path], environ).returncode == 0
    recorder.says("the listener writes again, after ")

    service.fault(http={"status": 503, "path": "/collection"}, upgrade={"status": 503})
    service.request("close", code=1011, reason="for a test")
    recorder.says("the listener has lost its connection: for a test")
    code, during = eventually(lambda: (found := told())[1]["failed_attempts"] > 1 and found, PATIENCE)
    assert (code, during["state"], during["lost_connections"], during["reconnects"]) == (
        5,
        "disconnected",
        1,
        0,
    )
    assert during["since"] == during["disconnected_since"]
    # The time goes on from the loss, over all attempts.
    assert during["for_seconds"] > 1
    [gap] = gaps()
    assert (gap["since"], gap["until"], gap["ongoing"]) == (during["since"], None, True)
    assert "nothing is received" in run(["query", state.path, "--last", "1m"], environ).stderr
    short = run(["status", state.path, "--short"], environ)
    assert (short.returncode, short.stdout.count("\n")) == (5, 1)
    assert short.stdout.startswith("disconnected for ")

    service.fault(http=None, upgrade=None)
    recorder.says("the listener is connected again, after ")
    assert eventually(lambda: (found := told())[0] == 0 and found)[1]["disconnected_since"] is None
    assert [(one["since"], one["ongoing"]) for one in gaps()] == [(gap["since"], False)]

    end_listener(state)
    recorder.says("has ended: no events are recorded")
    code, after = told()
    assert (code, after["state"], after["capture"]["pid"]) == (3, "not running", recorder.pid)
    assert after["since"] > gap["since"]
    assert gaps()[-1]["ongoing"]
    recorder.stop()
