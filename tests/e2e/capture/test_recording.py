"""`vdbevents capture` as a user meets it: the real SDK, a real runtime process, a real server, real files."""

import json
import os
import re
import signal
import stat
import sys
from pathlib import Path

import pytest
from support.capturing import assert_left_in_order
from support.messages import error_id_in
from support.processes import Capture, Listener, ServiceInThread, eventually, run

from vdbevents.journal.locks import listener_runs

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def calls(service, pattern):
    """The requests that the service was sent and that match, in order."""
    return [it["request"] for it in service.state["recent_requests"] if re.fullmatch(pattern, it["request"])]


def session_of(service):
    return service.state["sessions"][-1]


def own_events(capture, channel="vdbevents"):
    return [event["event"] for event in capture.events() if event.get("channel") == channel]


# The whole of it.


def test_it_records_from_the_listener_to_the_video_and_tells_it_in_one_object(capture, service, state):
    recorder = capture()
    recorder.records()
    eventually(lambda: {"transcript", "visual_index"} <= {e.get("channel") for e in recorder.events()})

    assert recorder.stop() == 0
    summary = recorder.summary
    assert summary["status"] == "exported"
    assert summary["session_id"] == session_of(service)["session_id"]
    assert summary["video_id"]
    assert summary["stream_url"].startswith("https://")
    assert summary["player_url"].startswith("https://")
    assert [stream["name"] for stream in summary["streams"]] == [
        "mic:default",
        "system_audio:default",
        "display:1",
    ]
    assert [stream["source"] for stream in summary["streams"]] == ["mic", "system_audio", "screen"]
    assert summary["events"]["capture_session"] == 6
    assert summary["events"]["transcript"] > 0
    assert summary["duration_seconds"] > 0
    assert summary["error"] is None
    told = [e["event"] for e in recorder.events() if str(e.get("event")).startswith("capture_session.")]
    steps = ["created", "starting", "active", "stopping", "stopped", "exported"]
    assert told == [f"capture_session.{step}" for step in steps]
    assert own_events(recorder)[-2:] == ["capture.ended", "listener.stopped"]
    assert_left_in_order(recorder, service)


def test_events_of_a_session_before_the_answer_with_its_id_are_counted(capture, service, listener):
    service.fault(late={"seconds": 1, "path": "/collection/default/capture/session", "method": "POST"})
    recorder = capture()
    listener.receives(lambda event: event.get("event") == "capture_session.created")
    recorder.records()

    assert recorder.stop() == 0
    assert recorder.summary["events"]["capture_session"] == 6


def test_each_step_is_a_plain_line_without_a_terminal(capture):
    recorder = capture("--duration", "0.5s")

    assert recorder.ends() == 0
    lines = [line.removeprefix("vdbevents: ") for line in recorder.err.splitlines()]
    order = ["starting a listener", "the listener is connected as ws-", "session cap-", "recording mic:",
             "active: mic:default", "recorded for 0.5 s", "the session has stopped", "exported: video",
             "stopped the listener"]  # fmt: skip
    positions = [next(n for n, line in enumerate(lines) if line.startswith(start)) for start in order]
    assert positions == sorted(positions)
    assert "\x1b" not in recorder.err


def test_messages_can_be_json(capture):
    recorder = capture("--duration", "0.2s", "--log-format", "json", "--no-store", "all")

    assert recorder.ends() == 0
    assert all(json.loads(line)["level"] == "info" for line in recorder.err.splitlines())


# 1. The listener.


def test_a_listener_that_runs_already_is_used_and_left_running(capture, service, listener):
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0
    assert listener.process.poll() is None
    assert recorder.info["session"]["ws_id"] == listener.connected()
    assert_left_in_order(recorder, service, listening=True)


def test_without_a_listener_it_can_refuse(capture, service):
    recorder = capture("--no-listen")

    assert recorder.ends() == 3
    assert "no listener runs on" in recorder.err
    assert "vdbevents listen" in recorder.err
    assert recorder.out == ""
    assert service.state["sessions"] == []
    assert_left_in_order(recorder, service)


def test_a_listener_that_finds_no_service_ends_it_in_time(capture, service):
    service.fault(http={"status": 503, "path": "/collection/default/websocket"})
    recorder = capture("--timeout", 2)

    assert recorder.ends() == 5
    assert "the listener was not connected in 2 s" in recorder.err
    assert service.state["sessions"] == []
    assert_left_in_order(recorder, service)


def test_a_listener_that_is_not_connected_is_not_waited_for_for_ever(
    capture, service, started, state, environ
):
    service.fault(http={"status": 503, "path": "/collection/default/websocket"})
    listening = started(Listener(state, environ))
    listening.says("retrying in")
    recorder = capture("--timeout", 1)

    assert recorder.ends() == 5
    assert "vdbevents status" in recorder.err
    assert_left_in_order(recorder, service, listening=True)


def test_a_key_that_the_service_refuses_ends_it_with_4(capture, environ, service):
    recorder = capture(environ={**environ, "VIDEO_DB_API_KEY": "sk-wrong"})

    assert recorder.ends() == 4
    assert "refused the API key (401)" in recorder.err
    assert_left_in_order(recorder, service)


def test_a_second_capture_on_the_directory_is_refused_and_harms_nothing(capture, service, state):
    first = capture()
    first.records()
    second = capture()

    assert second.ends() == 6
    assert f"PID {first.pid}" in second.err
    assert state.capture_pid.read_text() == str(first.pid)
    assert first.stop() == 0


# 2. The session and its token.


def test_the_session_is_made_as_it_is_asked_for(capture, service, listener, environ):
    arguments = ["--end-user-id", "ada", "--metadata", "project=apollo", "--metadata", "why=a=b"]
    recorder = capture("--duration", "0.2s", *arguments)
    assert recorder.ends() == 0

    shown = json.loads(run(["session", "show", recorder.summary["session_id"], "--json"], environ).stdout)
    assert shown["end_user_id"] == "ada"
    assert shown["metadata"] == {"project": "apollo", "why": "a=b"}
    assert recorder.info["session"]["ws_id"] == listener.connected()


def test_whose_session_it_is_defaults_to_the_user_and_the_host(capture, environ):
    recorder = capture("--duration", "0.2s", environ={**environ, "LOGNAME": "grace", "USER": "grace"})

    assert recorder.ends() == 0
    assert recorder.info["session"]["end_user_id"].startswith("grace@")


@linux_only
def test_the_key_reaches_neither_the_runtime_nor_a_file_nor_a_log(capture, service, environ, tmp_path):
    spy = tmp_path / "spy"
    spy.write_text(
        f'#!/bin/sh\nenv > "{tmp_path}/environ"\nexec "{service.environ["VDBEVENTS_CAPTURE_RUNTIME"]}"\n'
    )
    spy.chmod(0o755)
    key = "sk-very-secret"
    secret = ServiceInThread(api_key=key)
    try:
        spied = {**environ, **secret.environ, "VDBEVENTS_CAPTURE_RUNTIME": str(spy)}
        recorder = capture("--duration", "0.2s", environ=spied)
        assert recorder.ends() == 0, recorder.err
    finally:
        secret.kill()
    written = b"".join(file.read_bytes() for file in recorder.state.path.iterdir())
    assert "PATH=" in (tmp_path / "environ").read_text()
    assert key not in (tmp_path / "environ").read_text()
    assert key.encode() not in written
    assert key not in recorder.err + recorder.out


def test_the_token_is_never_written_and_its_expiry_is(capture, service, environ, state):
    recorder = capture("--token-ttl", "2h")
    recorder.records()
    expires = recorder.info["token"]["expires"]
    assert recorder.stop() == 0

    assert list(recorder.info["token"]) == ["expires"]
    assert expires > recorder.info["started"]
    written = b"".join(file.read_bytes() for file in state.path.iterdir())
    assert re.search(rb"\bst-[0-9a-f]{8}", written) is None


# 3. Permissions.


def test_a_denied_permission_is_reported_with_a_hint_and_the_rest_is_recorded(capture, service):
    service.fault(runtime={"deny": ["microphone"]})
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0
    assert "permission microphone: denied" in recorder.err
    assert "Privacy & Security > Microphone" in recorder.err
    assert [s["source"] for s in recorder.summary["streams"]] == ["system_audio", "screen"]


def test_a_screen_that_is_denied_leaves_the_microphone(capture, service):
    service.fault(runtime={"deny": ["screen-capture"]})
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0
    assert "Screen & System Audio Recording" in recorder.err
    assert [s["source"] for s in recorder.summary["streams"]] == ["mic"]


def test_a_permission_that_is_denied_can_be_fatal(capture, service):
    service.fault(runtime={"deny": ["microphone"]})
    recorder = capture("--require-all")

    assert recorder.ends() == 6
    assert "Privacy & Security > Microphone" in recorder.err
    assert_left_in_order(recorder, service)


def test_if_all_permissions_are_denied_there_is_nothing_to_record(capture, service):
    service.fault(runtime={"deny": ["microphone", "screen-capture"]})
    recorder = capture()

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "channels-none"
    assert_left_in_order(recorder, service)


def test_a_permission_that_nobody_needs_is_not_asked_for(capture, service):
    service.fault(runtime={"deny": ["microphone"]})
    recorder = capture("--duration", "0.2s", "--no-mic")

    assert recorder.ends() == 0
    assert "denied" not in recorder.err


# 4. Channels.


@pytest.mark.parametrize(
    ("arguments", "recorded"),
    [
        (["--no-mic"], ["system_audio:default", "display:1"]),
        (["--no-system-audio"], ["mic:default", "display:1"]),
        (["--display", "none"], ["mic:default", "system_audio:default"]),
        (["--display", "all", "--no-mic", "--no-system-audio"], ["display:1", "display:2"]),
        (["--display", "display:2", "--no-mic"], ["system_audio:default", "display:2"]),
        (
            ["--mic-device", "mic:headset", "--display", "2"],
            ["mic:headset", "system_audio:default", "display:2"],
        ),
    ],
    ids=" ".join,
)
def test_only_what_is_asked_for_is_recorded(capture, arguments, recorded):
    recorder = capture("--duration", "0.2s", *arguments)

    assert recorder.ends() == 0
    assert [stream["name"] for stream in recorder.summary["streams"]] == recorded
    primary = [channel["id"] for channel in recorder.info["channels"] if channel["primary"]]
    assert primary == [name for name in recorded if name.startswith("display")][:1]
    assert "Deprecat" not in recorder.err


@pytest.mark.parametrize(
    ("arguments", "there_are"),
    [(["--mic-device", "foo"], "mic:default, mic:headset"), (["--display", "7"], "display:1, display:2")],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(
    capture, service, state, arguments, there_are
):
    recorder = capture(*arguments)

    assert recorder.ends() == 2
    assert error_id_in(recorder.err) == "device-unknown"
    assert there_are in recorder.err
    assert recorder.out == ""
    assert not state.capture_info.exists()
    # Neither a session nor a token, and no listener.
    requests = [it["request"] for it in service.state["recent_requests"] if "/emulator/" not in it["request"]]
    assert requests == []
    assert_left_in_order(recorder, service)


def test_a_device_that_was_named_and_is_denied_is_not_left_out(capture, service):
    service.fault(runtime={"deny": ["screen-capture"]})
    recorder = capture("--display", "2")

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "permission-denied"
    assert service.state["sessions"] == []
    assert_left_in_order(recorder, service)


def test_no_source_at_all_and_a_device_of_a_source_that_is_off_are_usage_errors(state, environ, tmp_path):
    def error_of(*arguments, **variables):
        ended = run(["capture", state.path, *arguments], {**environ, **variables})
        assert ended.returncode == 2, ended.stderr
        return error_id_in(ended.stderr)

    assert error_of("--no-mic", "--no-system-audio", "--display", "none") == "sources-off"
    assert error_of("--mic-device", "2", "--no-mic") == "options-conflict"
    assert list(state.path.iterdir()) == []
    # What is on the command line counts more than a default of the user.
    off = {"VDBEVENTS_CAPTURE_MIC": "false", "VDBEVENTS_CAPTURE_SYSTEM_AUDIO": "false"}
    assert error_of("--mic-device", "nowhere", **off) == "device-unknown"
    assert error_of("--display", "none", VDBEVENTS_CAPTURE_MIC_DEVICE="x", **off) == "options-conflict"


def test_a_machine_without_a_display_records_what_it_has(capture, service):
    service.fault(runtime={"channels": [{"channel_id": "mic:default", "name": "M", "type": "audio"}]})
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0
    assert "no display to record" in recorder.err
    assert [stream["name"] for stream in recorder.summary["streams"]] == ["mic:default"]


def test_a_machine_without_any_channel_has_nothing_to_record(capture, service):
    service.fault(runtime={"channels": []})
    recorder = capture()

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "channels-none"
    assert_left_in_order(recorder, service)


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], ["mic:default", "system_audio:default", "display:1"]),
        (["--store", "display"], ["display:1"]),
        (["--no-store", "system-audio"], ["mic:default", "display:1"]),
        (["--store", "all", "--no-store", "mic", "--no-store", "display"], ["system_audio:default"]),
    ],
    ids=lambda value: " ".join(value) if value else "default",
)
def test_the_channels_kept_for_the_video_can_be_chosen(capture, arguments, kept):
    recorder = capture("--duration", "0.2s", *arguments)

    assert recorder.ends() == 0
    assert [channel["id"] for channel in recorder.info["channels"] if channel["store"]] == kept
    assert recorder.summary["video_id"]


def test_if_no_channel_is_kept_no_video_is_awaited(capture, service):
    recorder = capture("--duration", "0.2s", "--no-store", "all")

    assert recorder.ends() == 0
    assert recorder.summary["status"] == "stopped"
    assert recorder.summary["video_id"] is None
    assert "waiting for its video" not in recorder.err


# 5. Active.


def test_an_active_event_that_never_comes_is_made_up_for_by_asking(capture, service, listener):
    service.fault(withhold={"channel": "capture_session"})
    recorder = capture("--timeout", 8)
    recorder.records()

    assert recorder.stop() == 0
    assert recorder.summary["status"] in ("stopped", "exported")
    assert recorder.summary["video_id"]
    assert len(recorder.summary["streams"]) == 3
    assert "capture_session" not in recorder.summary["events"]


def test_a_session_that_never_becomes_active_ends_it_in_time(capture, service):
    service.fault(activation={"mode": "never"})
    recorder = capture("--active-timeout", 1)

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "session-not-active"
    assert "after 1 s" in recorder.err
    assert "--active-timeout" in recorder.err
    assert_left_in_order(recorder, service)


def test_a_session_that_fails_ends_it_with_the_server_s_reason(capture, service):
    service.fault(activation={"mode": "failed", "error": "no ingest node is free"})
    recorder = capture()

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "session-failed"
    assert "no ingest node is free" in recorder.err
    assert recorder.summary["error"].endswith("no ingest node is free")
    assert_left_in_order(recorder, service)


def test_a_session_that_becomes_active_late_is_waited_for(capture, service):
    service.fault(activation={"mode": "late", "seconds": 1.5})
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0


# 6. Pipelines.


def test_every_stream_gets_its_pipelines_with_their_settings_bound_to_the_listener(
    capture, service, listener
):
    ws_id = listener.connected()
    recorder = capture("--audio-prompt", "What is decided?", "--audio-every", "5sentences", "--visual-prompt",
                       "Which program?", "--visual-every", "4s", "--frames", "3", "--model", "pro",
                       "--engine", "fast")  # fmt: skip
    info = recorder.records()
    running = service.state["pipelines"]
    assert recorder.stop() == 0

    audio = {"prompt": "What is decided?", "batch": {"type": "sentence", "value": 5}, "model": "pro"}
    visual = {
        "prompt": "Which program?",
        "batch": {"type": "time", "value": 4, "frame_count": 3},
        "model": "pro",
    }
    settings = {"transcript": {"engine": "fast"}, "audio_index": audio, "visual_index": visual}
    kinds = ["transcript", "audio_index", "transcript", "audio_index", "visual_index"]
    assert [pipeline["kind"] for pipeline in info["pipelines"]] == kinds
    for pipeline in info["pipelines"]:
        assert pipeline["status"] == "running"
        assert pipeline["ws_id"] == ws_id
        assert pipeline["settings"] == settings[pipeline["kind"]]
    assert sorted(p["channel"] for p in running) == sorted(kinds)
    assert {p["ws_connection_id"] for p in running} == {ws_id}
    ids = {p["id"] for p in info["pipelines"] if p["kind"] != "transcript"}
    assert ids <= {p["id"] for p in running}


def test_pipelines_can_be_left_out(capture, service):
    recorder = capture("--duration", "0.3s", "--no-transcript", "--no-index-audio")
    assert recorder.ends() == 0

    assert [pipeline["kind"] for pipeline in recorder.info["pipelines"]] == ["visual_index"]
    assert calls(service, r"POST /rtstream/.*/transcription") == []


def alerts_of(recorder):
    return [event for event in recorder.events() if event.get("channel") == "alert"]


def test_an_alert_s_event_is_made_once_and_used_again(capture, service):
    alert = ["--alert", "latency=the latency alert fired", "--alert", "deploy=a deployment is mentioned"]
    for _ in range(2):
        recorder = capture(*alert)
        fired_before = len(alerts_of(recorder))
        recorder.reaches(lambda info: all(len(p["alerts"]) == 2 for p in info["pipelines"] if p["id"])
                         and len([p for p in info["pipelines"] if p["id"]]) == 3)  # fmt: skip
        eventually(lambda recorder=recorder, before=fired_before: len(alerts_of(recorder)) > before)
        assert recorder.stop() == 0

    assert len(calls(service, "POST /rtstream/event")) == 2
    assert {alert["label"] for alert in recorder.info["alerts"]} == {"latency", "deploy"}
    assert recorder.summary["events"]["alert"] >= 1


def test_alerts_without_an_index_are_said_to_watch_nothing(capture):
    recorder = capture("--duration", "0.2s", "--no-index-audio", "--no-index-visuals", "--alert", "a=b c")

    assert recorder.ends() == 0
    assert "--alert needs an index" in recorder.err


def test_a_pipeline_that_does_not_start_is_said_and_tried_again_while_the_others_go_on(capture, service):
    service.fault(http={"status": 500, "path": "/rtstream/*/transcription", "method": "POST", "times": 3})
    recorder = capture()
    info = recorder.records()

    recorder.says("retrying")
    assert {pipeline["status"] for pipeline in info["pipelines"]} == {"running"}
    assert recorder.stop() == 0


def test_a_pipeline_that_the_service_refuses_is_said_with_its_reason_and_the_others_go_on(capture, service):
    body = json.dumps({"success": False, "message": "There is no engine 'x'."})
    service.fault(http={"status": 400, "path": "/rtstream/*/transcription", "method": "POST", "body": body})
    recorder = capture("--engine", "x")
    info = recorder.records()
    recorder.says("There is no engine 'x'.")

    statuses = {pipeline["kind"]: pipeline["status"] for pipeline in info["pipelines"]}
    assert statuses == {"transcript": "failed", "audio_index": "running", "visual_index": "running"}
    assert recorder.stop() == 0


def test_an_index_whose_answer_got_lost_is_not_started_twice(capture, service, listener):
    service.fault(late={"seconds": 3600, "path": "/rtstream/*/index/scene", "method": "POST", "times": 1})
    recorder = capture("--timeout", 5, "--no-index-audio", "--no-mic", "--no-system-audio")
    recorder.records()

    indexes = [p for p in service.state["pipelines"] if p["channel"] == "visual_index"]
    assert len(indexes) == 1
    assert recorder.info["pipelines"][0]["id"] == indexes[0]["id"]
    assert recorder.stop() == 0


# 7. The files.


def test_the_files_tell_another_program_what_runs(capture, service, state):
    recorder = capture()
    info = recorder.records()

    assert state.capture_pid.read_text() == str(recorder.pid)
    assert info["pid"] == recorder.pid
    assert info["runtime_pid"] == service.state["runtime"]["pid"]
    assert info["session"]["id"] == session_of(service)["session_id"]
    assert info["session"]["collection_id"] == "default"
    assert info["status"] == "recording"
    assert [stream["name"] for stream in info["streams"]] == [
        "mic:default",
        "system_audio:default",
        "display:1",
    ]
    assert stat.S_IMODE(state.capture_info.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.capture_pid.stat().st_mode) == 0o600
    assert recorder.stop() == 0
    assert not state.capture_pid.exists()
    assert recorder.info["status"] == "ended"
    assert {pipeline["status"] for pipeline in recorder.info["pipelines"]} == {"stopped"}
    assert recorder.info["export"]["video_id"] == recorder.summary["video_id"]


def test_a_capture_that_was_killed_is_ended_by_the_next_one(capture, service):
    killed = capture()
    killed.records()
    first = session_of(service)["session_id"]
    killed.process.kill()
    killed.ends()
    eventually(lambda: service.state["runtime"] is None)
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 0
    assert f"stopping session {first}, which an earlier capture left running" in recorder.err
    statuses = {session["session_id"]: session["status"] for session in service.state["sessions"]}
    assert statuses[first] == "stopped"


# 8. Recording.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(capture, service, number):
    recorder = capture()
    recorder.records()

    assert recorder.stop(number) == 0
    assert recorder.summary["status"] == "exported"
    assert_left_in_order(recorder, service)


def test_ctrl_c_on_a_terminal_which_reaches_the_runtime_too_ends_it_in_order(capture, service):
    recorder = capture(start_new_session=True)
    recorder.records()
    os.killpg(recorder.pid, signal.SIGINT)

    assert recorder.ends() == 0
    assert recorder.summary["status"] == "exported"
    assert "runtime has ended" not in recorder.err


def test_a_signal_before_anything_is_recorded_ends_it_too(capture, service):
    service.fault(activation={"mode": "never"})
    recorder = capture()
    eventually(lambda: service.state["sessions"] and session_of(service)["status"] == "starting")

    assert recorder.stop() == 0
    assert_left_in_order(recorder, service)


def test_a_signal_while_the_listener_is_started_leaves_no_listener(capture, service, state):
    service.fault(http={"status": 503, "path": "/collection/default/websocket"})
    recorder = capture()
    eventually(lambda: listener_runs(state))

    assert recorder.stop() == 0
    eventually(lambda: not listener_runs(state))
    assert recorder.out == ""


def test_a_session_that_ends_by_itself_ends_it_without_an_error(capture, service):
    recorder = capture()
    recorder.records()
    service.request("session", do="stop")

    assert recorder.ends() == 0
    assert "the session has ended" in recorder.err
    assert recorder.summary["status"] == "exported"
    assert_left_in_order(recorder, service)


def test_a_session_that_fails_while_it_is_recorded_ends_it_with_6_and_the_reason(capture, service):
    recorder = capture()
    recorder.records()
    service.request("session", do="fail", error="the credit is used up")

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "session-failed"
    assert "the credit is used up" in recorder.err
    assert_left_in_order(recorder, service)


def test_events_of_the_runtime_are_in_the_journal(capture, service):
    recorder = capture()
    recorder.records()
    service.request(
        "runtime", event="recording:error", payload={"error": "the microphone was unplugged", "code": 7}
    )
    recorder.says("the microphone was unplugged")
    assert recorder.stop() == 0

    told = [e for e in recorder.events() if e.get("channel") == "capture_client"]
    error = next(e for e in told if e["event"] == "recording:error")
    assert error["data"]["error"] == "the microphone was unplugged"
    assert error["data"]["code"] == 7
    assert {"recording:started", "recording:stopped"} <= {e["event"] for e in told}


def test_a_runtime_that_dies_ends_the_session_properly_and_the_exit_code_says_so(capture, service):
    recorder = capture()
    recorder.records()
    os.kill(recorder.info["runtime_pid"], signal.SIGKILL)

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "runtime-ended"
    assert "exit code -9" in recorder.err
    assert own_events(recorder, "capture_client")[-1] == "runtime:ended"
    assert recorder.summary["status"] == "exported"
    assert recorder.summary["video_id"]
    assert_left_in_order(recorder, service)


def test_a_line_of_the_runtime_that_is_too_long_harms_nothing(capture, service):
    recorder = capture()
    recorder.records()
    service.request("runtime", long_line=300_000)
    service.request("runtime", event="recording:error", payload={"error": "after it"})
    recorder.says("after it")

    assert recorder.stop() == 0
    assert recorder.summary["status"] == "exported"


def test_a_listener_that_dies_while_recording_is_said(capture, service, listener):
    recorder = capture()
    recorder.records()
    listener.process.kill()
    listener.ends()
    recorder.says("no events are recorded")

    assert recorder.stop() == 0


# 9. The end.


def test_a_video_that_is_never_exported_is_not_waited_for_for_ever(capture, service):
    service.fault(export={"mode": "never"})
    recorder = capture("--duration", "0.2s", "--export-timeout", 1)

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "export-timeout"
    assert "after 1 s" in recorder.err
    assert f"vdbevents session export {recorder.summary['session_id']}" in recorder.err
    assert recorder.summary["status"] == "stopped"
    assert_left_in_order(recorder, service)


def test_an_export_that_fails_is_said(capture, service):
    service.fault(export={"mode": "failed"})
    recorder = capture("--duration", "0.2s")

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "export-failed"
    assert_left_in_order(recorder, service)


def test_a_second_signal_skips_the_waiting(capture, service):
    service.fault(export={"mode": "never"})
    recorder = capture()
    recorder.records()
    recorder.process.send_signal(signal.SIGINT)
    recorder.says("waiting for its video")

    assert recorder.stop() == 130
    assert recorder.summary["status"] == "stopped"
    assert_left_in_order(recorder, service)


def test_a_runtime_that_does_not_stop_is_ended_and_the_session_too(capture, service, listener):
    recorder = capture("--timeout", 4)
    recorder.records()
    service.fault(runtime={"hang_at": "*", "ignore_sigterm": True})
    pid = recorder.info["runtime_pid"]

    assert recorder.stop() in (0, 6)
    assert "has not answered in 4 s" in recorder.err
    assert not Path(f"/proc/{pid}").exists()
    assert_left_in_order(recorder, service, listening=True)


# Without a runtime, and with the document's names.


@linux_only
def test_without_a_runtime_the_hint_names_systems_that_have_one(capture, environ, service):
    del environ["VDBEVENTS_CAPTURE_RUNTIME"]
    recorder = capture(environ=environ)

    assert recorder.ends() == 6
    assert "for macOS and Windows only" in recorder.err
    assert "vdbevents emulator" in recorder.err
    assert service.state["sessions"] == []


def test_a_runtime_that_is_not_executable_is_refused(capture, environ, tmp_path):
    recorder = capture(environ={**environ, "VDBEVENTS_CAPTURE_RUNTIME": str(tmp_path / "nothing")})

    assert recorder.ends() == 6
    assert "VDBEVENTS_CAPTURE_RUNTIME" in recorder.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--duration", "soon"],
        ["--audio-every", "5 parrots"],
        ["--visual-every", "50words"],
        ["--alert", "nothing"],
        ["--metadata", "nothing"],
        ["--store", "camera"],
        ["--token-ttl", "1s"],
        ["--timeout", "nan"],
        ["--active-timeout", "inf"],
        ["--duration", "2h", "--token-ttl", "1h"],
        ["--end-user-id", os.fsdecode(b"\xff")],
    ],
    ids=" ".join,
)
def test_wrong_input_is_refused_before_anything_is_begun(capture, service, state, arguments):
    recorder = capture(*arguments)

    assert recorder.ends() == 2
    assert arguments[0].lstrip("-") in recorder.err.replace("_", "-") or "not text" in recorder.err
    assert recorder.err.count("→") == 1
    assert not state.capture_info.exists()
    assert service.state["requests"] == {}


def test_a_terminal_shows_how_things_are(state, environ, service, started, tmp_path):
    import pty

    controller, terminal = pty.openpty()
    recorder = started(Capture(state, {**environ, "TERM": "xterm", "COLUMNS": "100"}, stderr=terminal))
    os.close(terminal)
    shown = b""
    while b"heard" not in shown or b"recording 00:00:" not in shown:
        shown += os.read(controller, 65536)
    assert b"transcript" in shown
    recorder.process.send_signal(signal.SIGINT)
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    assert recorder.ends() == 0
    assert b"exported: video" in shown


def test_a_listener_on_the_same_terminal_and_a_capture_do_not_overwrite_each_other(state, environ, started):
    import pty

    controller, terminal = pty.openpty()
    environ = {**environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    listening = started(Listener(state, environ, stderr=terminal))
    listening.connected()
    recorder = started(Capture(state, environ, ["--duration", "1s"], stderr=terminal))
    os.close(terminal)
    shown = all_shown_until(controller, b"exported: video")
    watched = run(["status", state.path, "--short"], environ)
    recorder.ends()
    listening.stop()
    os.close(controller)

    assert b"active: mic:default" in shown
    shown = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
    assert b" mic             " in shown
    # Nothing moves the cursor or clears a line: no live status.
    assert b"\x1b" not in shown
    assert watched.returncode == 0


def all_shown_until(controller, text):
    """Read a pseudo-terminal until a text was shown."""
    shown = b""
    while text not in shown:
        shown += os.read(controller, 1 << 16)
    return shown
