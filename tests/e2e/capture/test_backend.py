"""`vdbevents capture --backend`: a machine without an API key records a session that a backend has made."""

import http.server
import json
import signal
import stat
import sys
import threading

import pytest
import videodb
from support.capturing import assert_left_in_order
from support.messages import error_id_in
from support.processes import KEY, Listener, eventually, run

TOKEN = "bt-very-secret"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="its runtime is a shell script")


class Backend:
    """A small backend, as one writes it with the SDK: it has the key, and makes sessions for others.

    `token` is what it wants, or None; `refusals` are answered first, each once; `made` are its answers.
    """

    def __init__(self, service):
        self.token = TOKEN
        self.refusals = []
        self.made = []
        self.ws_id = None
        self.session_id = None
        self.asked = 0
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                backend.asked += 1
                status, answer = backend.answer(self.path, self.headers.get("Authorization"))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                """Says nothing."""

        self._connection = videodb.connect(api_key=KEY, base_url=service.url)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path, authorization):
        if path != "/init-session":
            return 404, {"error": "not found"}
        if self.token is not None and authorization != f"Bearer {self.token}":
            return 401, {"error": "unauthorized"}
        if self.refusals:
            return self.refusals.pop(0), {"error": "not now"}
        session = self._connection.create_capture_session(
            end_user_id="user-123",
            collection_id="default",
            ws_connection_id=self.ws_id,
            metadata={"app": "my-app"},
        )
        answer = {
            "session_id": self.session_id or session.id,
            "token": self._connection.generate_client_token(),
            "webhook_url": "https://backend.example/webhook",
        }
        self.made.append(answer)
        return 200, answer

    def kill(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def backend(started, service):
    return started(Backend(service))


@pytest.fixture
def environ(environ):
    """What a client's machine has: the address of the service, its runtime, the backend's token. No key."""
    del environ["VIDEO_DB_API_KEY"]
    return {**environ, "VDBEVENTS_BACKEND_TOKEN": TOKEN}


@pytest.fixture
def record(capture, backend):
    def start(*arguments, **options):
        return capture("--backend", backend.url, *arguments, **options)

    return start


def session_of(service):
    return service.state["sessions"][-1]


def assert_no_secret(recorder, backend):
    """Neither the backend's token nor the runtime's is in what was printed or written."""
    written = b"".join(file.read_bytes() for file in recorder.state.path.iterdir())
    for secret in (TOKEN, *(answer["token"] for answer in backend.made)):
        assert secret not in recorder.out + recorder.err
        assert secret.encode() not in written


def records(recorder):
    recorder.says("the runtime records")


# The whole of it.


def test_it_records_the_backend_s_session_until_ctrl_c_and_tells_what_it_knows(record, backend, service):
    recorder = record()
    records(recorder)
    eventually(lambda: session_of(service)["status"] == "active")

    assert recorder.stop() == 0, recorder.err
    session_id = backend.made[0]["session_id"]
    summary = recorder.summary
    assert {name: summary[name] for name in ("session_id", "status", "collection_id", "error")} == {
        "session_id": session_id,
        "status": None,
        "collection_id": None,
        "error": None,
    }
    assert (summary["streams"], summary["pipelines"], summary["events"]) == ([], [], {})
    assert (summary["video_id"], summary["stream_url"], summary["player_url"]) == (None, None, None)
    assert summary["duration_seconds"] > 0
    assert session_of(service)["session_id"] == session_id
    eventually(lambda: session_of(service)["status"] in ("stopped", "exported"))
    told = [event["event"] for event in recorder.events()]
    order = ["capture.started", "recording:started", "recording:stopped", "runtime:ended", "capture.ended"]
    assert set(order) <= set(told)
    assert_no_secret(recorder, backend)
    assert_left_in_order(recorder, service)


def test_it_does_nothing_but_record(record, backend, service, state):
    recorder = record("--duration", "0.3s")

    assert recorder.ends() == 0, recorder.err
    assert "recorded for 0.3 s" in recorder.err
    assert service.state["pipelines"] == []
    assert service.state["connections"] == []
    assert not state.capture_info.exists()
    assert "listener" not in recorder.err
    asked = [it["request"] for it in service.state["recent_requests"] if "/emulator/" not in it["request"]]
    of_the_backend = ["POST /collection/default/capture/session", "POST /capture/session/token"]
    session_id = backend.made[0]["session_id"]
    of_the_runtime = [
        "POST /capture/session/start",
        f"GET /capture/session/{session_id}",
        f"POST /capture/session/{session_id}/stop",
    ]
    assert asked == [*of_the_backend, *of_the_runtime]
    assert_left_in_order(recorder, service)


def test_the_status_of_the_directory_says_that_it_runs(record, environ, state):
    recorder = record()
    records(recorder)
    told = json.loads(run(["status", state.path, "--json"], environ).stdout)

    assert told["capture"].items() >= {"pid": recorder.pid, "status": "running", "session_id": None}.items()
    assert recorder.stop() == 0


@pytest.mark.parametrize("option", ["--mic-device", "--display"])
def test_a_device_that_is_not_there_asks_the_backend_for_nothing(record, backend, service, option):
    recorder = record(option, "7")

    assert recorder.ends() == 2
    assert error_id_in(recorder.err) == "device-unknown"
    assert (backend.made, service.state["sessions"], recorder.out) == ([], [], "")
    assert_left_in_order(recorder, service)


def test_the_client_chooses_what_is_recorded_and_kept(record, service):
    recorder = record("--duration", "0.3s", "--no-mic", "--display", "display:2", "--no-store", "all")

    assert recorder.ends() == 0, recorder.err
    assert "recording system_audio:default, display:2; no video is kept" in recorder.err


def test_a_backend_of_the_document_s_wants_no_token(record, backend, service, environ):
    backend.token = None
    del environ["VDBEVENTS_BACKEND_TOKEN"]
    recorder = record("--duration", "0.2s", environ=environ)

    assert recorder.ends() == 0, recorder.err


def test_a_key_that_is_there_is_not_used(record, environ, backend):
    recorder = record("--duration", "0.2s", environ={**environ, "VIDEO_DB_API_KEY": "sk-wrong"})

    assert recorder.ends() == 0, recorder.err
    assert "sk-wrong" not in recorder.err + recorder.out


@linux_only
def test_no_secret_reaches_the_runtime_s_environment(record, environ, backend, tmp_path):
    spy = tmp_path / "spy"
    runtime = environ["VDBEVENTS_CAPTURE_RUNTIME"]
    spy.write_text(f'#!/bin/sh\nenv > "{tmp_path}/environ"\nexec "{runtime}"\n')
    spy.chmod(0o755)
    spied = {**environ, "VIDEO_DB_API_KEY": "sk-secret", "VDBEVENTS_CAPTURE_RUNTIME": str(spy)}
    recorder = record("--duration", "0.2s", environ=spied)

    assert recorder.ends() == 0, recorder.err
    seen = (tmp_path / "environ").read_text()
    assert "PATH=" in seen
    assert "sk-secret" not in seen
    assert TOKEN not in seen


# The token.


def test_the_token_may_stand_in_an_env_file(record, environ, backend, tmp_path):
    del environ["VDBEVENTS_BACKEND_TOKEN"]
    (tmp_path / "settings").write_text(f"VDBEVENTS_BACKEND_TOKEN={TOKEN}\n")
    recorder = record("--duration", "0.2s", "--env-file", tmp_path / "settings", environ=environ)

    assert recorder.ends() == 0, recorder.err
    assert_no_secret(recorder, backend)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_token_may_stand_in_a_file_of_its_own(record, environ, backend, tmp_path, mode):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(mode)
    arguments = ["--duration", "0.2s", "--backend-token-file", file]
    recorder = record(*arguments, environ={**environ, "VDBEVENTS_BACKEND_TOKEN": "another"})

    assert recorder.ends() == 0, recorder.err
    assert (f"chmod 600 {file}" in recorder.err) is (mode == 0o644)
    assert_no_secret(recorder, backend)


@pytest.mark.parametrize("content", [None, "", " \n", "two words", "tökén"])
def test_a_file_without_a_token_is_said(record, environ, backend, tmp_path, content):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
        file.chmod(stat.S_IRUSR)
    recorder = record("--backend-token-file", file)

    assert recorder.ends() == 2
    assert "vdbevents backend --show-token" in recorder.err
    assert backend.asked == 0
    assert "Traceback" not in recorder.err


# What is the backend's to say.


@pytest.mark.parametrize(
    "given",
    [
        ["--no-transcript"],
        ["--transcript"],
        ["--engine", "e"],
        ["--no-index-audio"],
        ["--audio-prompt", "What?"],
        ["--audio-every", "30s"],
        ["--no-index-visuals"],
        ["--visual-prompt", "What?"],
        ["--visual-every", "2s"],
        ["--frames", "5"],
        ["--model", "m"],
        ["--alert", "deploy=a deployment"],
        ["--end-user-id", "ada"],
        ["--collection", "default"],
        ["--metadata", "a=b"],
        ["--token-ttl", "24h"],
        ["--listen"],
        ["--no-listen"],
        ["--active-timeout", "60"],
        ["--export-timeout", "600"],
    ],
    ids=" ".join,
)
def test_options_that_the_backend_decides_are_refused_by_name(record, backend, given):
    recorder = record(*given)

    assert recorder.ends() == 2
    assert f"the backend decides on {given[0]}\n" in recorder.err
    assert backend.asked == 0


def test_all_that_is_refused_is_named_at_once(record):
    recorder = record("--no-transcript", "--alert", "a=b", "--alert", "c=d")

    assert recorder.ends() == 2
    assert "decides on --no-transcript, --alert\n" in recorder.err


def test_defaults_for_what_the_backend_decides_are_passed_over(record, environ, tmp_path):
    config = tmp_path / ".config" / "vdbevents"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(
        '[capture]\naudio-every = "no span"\nalert = ["no alert"]\nlisten = false\n'
    )
    recorder = record("--duration", "0.2s", environ={**environ, "VDBEVENTS_CAPTURE_COLLECTION": "films"})

    assert recorder.ends() == 0, recorder.err


def test_the_backend_may_be_a_default(capture, backend, environ):
    recorder = capture("--duration", "0.2s", environ={**environ, "VDBEVENTS_CAPTURE_BACKEND": backend.url})

    assert recorder.ends() == 0, recorder.err
    assert recorder.summary["session_id"] == backend.made[0]["session_id"]


def test_a_token_file_without_a_backend_is_refused(capture, tmp_path):
    recorder = capture("--backend-token-file", tmp_path / "token")

    assert recorder.ends() == 2
    assert "--backend" in recorder.err


# A backend that does not do as it should.


def test_a_backend_that_refuses_the_token_ends_it_with_4(record, backend, environ, service):
    recorder = record(environ={**environ, "VDBEVENTS_BACKEND_TOKEN": "bt-wrong"})

    assert recorder.ends() == 4
    assert "the backend refuses the token (401)" in recorder.err
    assert "vdbevents backend --show-token" in recorder.err
    assert "bt-wrong" not in recorder.err
    assert recorder.out == ""
    assert backend.asked == 1
    assert_left_in_order(recorder, service)


def test_a_backend_that_cannot_for_the_moment_is_asked_again(record, backend):
    backend.refusals = [503, 502]
    recorder = record("--duration", "0.2s")

    assert recorder.ends() == 0, recorder.err
    assert backend.asked == 3


def test_a_backend_that_never_can_ends_it_in_time_with_5(record, backend, service):
    backend.refusals = [503] * 100
    # Long enough that a slow machine asks more than once, and has an answer to the last time.
    recorder = record("--timeout", 8)

    assert recorder.ends() == 5
    assert "it answered 503: not now" in recorder.err
    assert 1 < backend.asked < 100
    assert_left_in_order(recorder, service)


def test_a_backend_that_is_not_there_ends_it_with_5(record, backend, service):
    backend.kill()
    recorder = record("--timeout", 1)

    assert recorder.ends() == 5
    assert f"could not get a session from the backend at {backend.url}" in recorder.err
    assert_left_in_order(recorder, service)


def test_ctrl_c_while_the_backend_is_waited_for_is_the_end(record, backend, service):
    backend.refusals = [503] * 100
    recorder = record()
    eventually(lambda: backend.asked)

    assert recorder.stop() == 0
    assert recorder.out == ""
    assert_left_in_order(recorder, service)


def test_an_unencrypted_backend_address_is_refused(capture, service):
    recorder = capture("--backend", "http://backend.example")

    assert recorder.ends() == 2
    assert "https://backend.example" in recorder.err
    assert TOKEN not in recorder.err


def test_a_session_that_the_service_does_not_know_is_refused_by_the_runtime(record, backend, service):
    backend.session_id = "cap-of-somebody-else"
    recorder = record()

    assert recorder.ends() == 6
    assert "could not start the recording: the capture runtime says: " in recorder.err
    assert recorder.summary["error"].startswith("could not start the recording")
    assert_no_secret(recorder, backend)
    assert_left_in_order(recorder, service)


# The runtime, and the end.


def test_a_runtime_that_dies_ends_it_with_6_and_says_who_can_end_the_session(record, backend, service):
    recorder = record()
    records(recorder)
    service.request("runtime", do="die", code=7)

    assert recorder.ends() == 6
    session_id = backend.made[0]["session_id"]
    assert error_id_in(recorder.err) == "runtime-ended"
    assert "exit code 7" in recorder.err
    assert f"session {session_id} may still run on the server" in recorder.err
    assert f"vdbevents session end --session {session_id}" in recorder.err
    assert "exit code 7" in recorder.summary["error"]
    assert_no_secret(recorder, backend)
    assert not recorder.state.capture_pid.exists()


@pytest.mark.parametrize("command", ["init", "requestPermission", "getChannels", "startRecording"])
def test_a_runtime_that_does_not_answer_ends_it_in_time(record, backend, service, command):
    service.fault(runtime={"hang_at": command})
    # All before it has to be done in as long.
    recorder = record("--timeout", 8, "--permission-timeout", 8)

    assert recorder.ends() == 6
    assert "has not answered in 8 s" in recorder.err
    assert ("may still run on the server" in recorder.err) is (command == "startRecording")
    assert_left_in_order(recorder, service)


def test_a_runtime_that_does_not_stop_is_a_failure(record, backend, service):
    service.fault(runtime={"hang_at": "stopRecording"})
    # The runtime has to be there in as long.
    recorder = record("--duration", "0.2s", "--timeout", 8)

    assert recorder.ends() == 6
    assert "could not stop the recording" in recorder.err
    assert "may still run on the server" in recorder.summary["error"]
    assert_left_in_order(recorder, service)


def test_a_second_signal_skips_the_waiting(record, backend, service):
    service.fault(runtime={"hang_at": "stopRecording"})
    recorder = record()
    records(recorder)
    recorder.process.send_signal(signal.SIGINT)
    recorder.says("stopping …")
    recorder.process.send_signal(signal.SIGINT)

    assert recorder.ends() == 130
    assert "may still run on the server" in recorder.err
    assert_left_in_order(recorder, service)


def test_a_second_capture_on_the_directory_asks_no_backend(record, backend):
    first = record()
    records(first)
    second = record()

    assert second.ends() == 6
    assert f"PID {first.pid}" in second.err
    assert backend.asked == 1
    assert first.stop() == 0


# A backend on this machine, which writes the same journal.


@pytest.fixture
def listening(started, state, environ, backend):
    """What a backend has beside it: a listener, to whose connection its sessions are bound."""
    listener = started(Listener(state, {**environ, "VIDEO_DB_API_KEY": KEY}))
    backend.ws_id = listener.connected()
    return listener


def test_the_journals_events_of_the_session_are_used(record, backend, service, listening):
    recorder = record()
    records(recorder)
    listening.receives(lambda event: event.get("event") == "capture_session.active")

    assert recorder.stop() == 0, recorder.err
    summary = recorder.summary
    assert summary["status"] in ("stopped", "exported")
    names = [stream["name"] for stream in summary["streams"]]
    assert names == ["mic:default", "system_audio:default", "display:1"]
    assert summary["events"]["capture_session"] >= 4
    assert_left_in_order(recorder, service, listening=True)


def test_a_session_that_ends_by_itself_ends_it(record, backend, service, listening):
    recorder = record()
    records(recorder)
    listening.receives(lambda event: event.get("event") == "capture_session.active")
    session_id = backend.made[0]["session_id"]
    backend._connection.post(f"capture/session/{session_id}/stop")

    assert recorder.ends() == 0, recorder.err
    assert "the session has ended" in recorder.err
    assert recorder.summary["status"] in ("stopped", "exported")
    assert_left_in_order(recorder, service, listening=True)


def test_a_session_that_fails_ends_it_with_the_server_s_reason(record, backend, service, listening):
    service.fault(activation={"mode": "failed"})
    recorder = record()

    assert recorder.ends() == 6
    assert error_id_in(recorder.err) == "session-failed"
    assert "may still run" not in recorder.err
    assert_left_in_order(recorder, service, listening=True)


def test_the_info_file_is_the_backend_s(record, backend, state):
    content = json.dumps({"pid": 1, "status": "recording", "session": {"id": "cap-0", "status": "active"}})
    state.capture_info.write_text(content)
    recorder = record("--duration", "0.2s")

    assert recorder.ends() == 0, recorder.err
    assert state.capture_info.read_text() == content
