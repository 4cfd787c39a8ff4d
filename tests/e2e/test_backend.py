"""The backend as a real process on the emulator: sessions, webhooks, pipelines, crashes."""

import json
import os
import signal
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from support.messages import error_id_in
from support.processes import (
    KEY,
    PATIENCE,
    Backend,
    Listener,
    Process,
    ServiceInThread,
    assert_failed,
    end_listener,
    eventually,
    run,
)

from vdbevents.journal.locks import backend_runs, listener_runs


@pytest.fixture
def service(started):
    return started(ServiceInThread(speed=20.0))


@pytest.fixture
def environ(environ, service):
    return {**environ, **service.environ}


@pytest.fixture
def backend(started, state, environ):
    running = []

    def start(*arguments, environ=environ):
        running.append(started(Backend(state, environ, arguments)))
        return running[-1]

    yield start
    # One that still runs would start another listener.
    for each in running:
        each.kill()
    end_listener(state)


@pytest.fixture
def record(started, service, environ):
    """Records a session as a client would, with its token alone."""

    def begin(made):
        program = f"""
import asyncio, sys
from pathlib import Path
from vdbevents import cloud
from vdbevents.capture import selection
from vdbevents.capture.runtime import CaptureRuntime
cloud.find_runtime(Path({environ["VDBEVENTS_CAPTURE_RUNTIME"]!r}))
async def main():
    token = cloud.Token({made["token"]!r}, 0)
    runtime = CaptureRuntime(cloud.capture_client(token, {service.url!r}), lambda *_: None)
    choices, _ = selection.choose(selection.WantedChannels(), await runtime.channels(60), [])
    await runtime.start({made["session_id"]!r}, choices, 60)
    print("recording", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runtime.stop(60)
    await runtime.close(5)
asyncio.run(main())
"""
        kept = {name: value for name, value in environ.items() if name != "VIDEO_DB_API_KEY"}
        recorder = _Program(program, kept)
        started(recorder)
        eventually(lambda: "recording" in recorder.out or recorder.process.poll() is not None)
        assert "recording" in recorder.out, recorder.err
        return recorder

    return begin


class _Program(Process):
    program = ("-c",)

    def __init__(self, text, environ):
        super().__init__([text], environ, stdin=subprocess.PIPE)

    def stop(self):
        self.process.stdin.close()
        return self.ends()

    def kill(self):
        super().kill()
        self.process.stdin.close()


def calls(service, text):
    return [it["request"] for it in service.state["recent_requests"] if text in it["request"]]


def test_a_session_is_created_and_recorded(backend, record, service, state):
    serving = backend("--alert", "deploy=a latency alert is mentioned")
    made = serving.init_session()
    assert set(made) == {"session_id", "token", "webhook_url"}
    assert made["webhook_url"] == f"{serving.url}/webhook/{serving.secret}"
    recorder = record(made)
    assert serving.webhook(made["session_id"], "active") == (200, {"received": True})
    info = serving.runs_pipelines(made["session_id"])

    assert sorted(it["kind"] for it in info["pipelines"]) == [
        "audio_index", "audio_index", "transcript", "transcript", "visual_index",
    ]  # fmt: skip
    assert {it["ws_id"] for it in info["pipelines"]} == {state.ws_id.read_text()}
    eventually(lambda: {"transcript", "visual_index"} <= {e.get("channel") for e in serving.events()})
    eventually(lambda: serving.own("backend.started"))
    assert all(it["alerts"] for it in serving.info["pipelines"] if it["kind"] != "transcript")
    recorder.stop()
    serving.webhook(made["session_id"], "stopped")
    eventually(lambda: serving.info["status"] == "ended")
    assert {it["status"] for it in serving.info["pipelines"]} == {"stopped"}
    assert serving.info["session"]["status"] in ("stopped", "exported")
    links = {
        "exported_video_id": "m-1",
        "stream_url": "https://s.example/1",
        "player_url": "https://p.example/1",
    }
    serving.webhook(made["session_id"], "exported", **links)
    serving.says("is exported: video ")
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ends() == 0
    assert not listener_runs(state), "started for this, it ends with it"
    for secret in (KEY, made["token"], serving.token, serving.secret):
        assert secret not in serving.out + serving.err + state.journal.read_text()


def test_a_duplicate_by_webhook_or_websocket_is_one_line(backend, record, started, state, environ):
    listening = started(Listener(state, environ))
    listening.connected()
    serving = backend()
    made = serving.init_session()
    session_id = made["session_id"]
    serving.webhook(session_id, "stopping")  # before the WebSocket tells it
    recorder = record(made)
    eventually(lambda: serving.told(session_id, "active"))
    for _ in range(2):  # besides that of the service itself
        assert serving.webhook(session_id, "active") == (200, {"received": True})
    for _ in range(2):
        assert serving.post(f"/webhook/{serving.secret}", {"weather": "rain"})[0] == 200
    recorder.stop()
    eventually(lambda: serving.told(session_id, "stopped"))

    assert len(serving.told(session_id, "active")) == 1
    assert ["via" in e for e in serving.told(session_id, "stopping")] == [True]
    assert len([e for e in serving.events() if "weather" in e]) == 1


def test_a_session_stopped_before_it_was_active_gets_no_pipelines(backend, record, state):
    serving = backend()
    made = serving.init_session()
    # What goes on meanwhile is told to nobody.
    eventually(lambda: serving.own("listener.connected"))
    serving.kill()
    end_listener(state)
    record(made).stop()
    serving = backend()
    serving.webhook(made["session_id"], "stopped")
    eventually(lambda: serving.own("backend.ended"))
    serving.webhook(made["session_id"], "active")
    other = serving.init_session()
    serving.webhook(other["session_id"], "active")
    serving.says(f"session {other['session_id']}: pipelines not started")

    assert f"{made['session_id']}: started" not in serving.err
    assert f"{made['session_id']}: pipelines not started" not in serving.err


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_end_that_the_api_does_not_confirm_is_not_believed(backend, record, service, is_killed):
    serving = backend()
    made = serving.init_session()
    asked = len(calls(service, made["session_id"]))
    for status in ("stopping", "stopped", "failed", "exported"):
        assert serving.webhook(made["session_id"], status, exported_video_id="m-forged")[0] == 200
    eventually(lambda: len(calls(service, made["session_id"])) > asked)
    if is_killed:
        serving.kill()
        serving = backend()
    recorder = record(made)
    info = serving.runs_pipelines(made["session_id"])

    assert len(info["pipelines"]) == 5
    assert "m-forged" not in serving.err
    assert serving.own("backend.ended") == []
    recorder.stop()


def test_a_session_that_the_api_does_not_find_has_ended(backend, service):
    serving = backend()
    made = serving.init_session()
    service.fault(http={"status": 404, "path": "/collection"})
    serving.webhook(made["session_id"], "stopped")

    [ended] = eventually(lambda: serving.own("backend.ended"))
    assert ended["status"] == "stopped"


def test_a_session_of_somebody_else_is_only_recorded(backend, service):
    serving = backend()
    forged = {
        "channel": "vdbevents",
        "event": "backend.session",
        "data": {"capture_session_id": "cap-foreign"},
    }
    assert serving.post(f"/webhook/{serving.secret}", forged)[0] == 200
    serving.webhook("cap-foreign", "active", streams=[{"rtstream_id": "rts-1", "name": "mic:default"}])
    made = serving.init_session()
    serving.webhook(made["session_id"], "active")
    serving.says(f"session {made['session_id']}: pipelines not started")

    assert len(serving.told("cap-foreign", "active")) == 1
    assert "cap-foreign" not in serving.err
    assert calls(service, "rts-1") == []


def test_a_webhook_cannot_start_pipelines_on_other_streams(backend, record, service):
    serving = backend()
    made = serving.init_session()
    foreign = [{"rtstream_id": "rts-foreign", "name": "mic:default"}]
    serving.webhook(made["session_id"], "active", rtstreams=foreign)
    serving.says("no streams yet")
    recorder = record(made)
    info = serving.runs_pipelines(made["session_id"])

    assert "rts-foreign" not in {it["stream_id"] for it in info["pipelines"]}
    assert calls(service, "rts-foreign") == []
    recorder.stop()


def test_a_kill_between_answer_and_action_loses_no_pipeline(backend, record, service):
    serving = backend()
    made = serving.init_session()
    # Nothing can be started until it is killed.
    service.fault(http={"status": 503, "path": "/rtstream"})
    recorder = record(made)
    assert serving.webhook(made["session_id"], "active")[0] == 200
    serving.kill()
    assert serving.own("backend.started") == []
    service.request("faults", "DELETE")
    again = backend()

    again.says("has no pipelines yet")
    again.runs_pipelines(made["session_id"])
    eventually(lambda: again.own("backend.started"))
    assert again.token == serving.token
    assert again.secret == serving.secret
    again.kill()
    posted = len(calls(service, "/index/scene"))
    third = backend()
    eventually(lambda: len(third.own("backend.serving")) == 3)
    third.init_session()
    assert [it for it in calls(service, "/index/scene")[posted:] if it.startswith("POST")] == []
    recorder.stop()


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_a_kill_at_any_moment_of_the_start_leaves_each_pipeline_running_once(
    backend, record, service, seconds
):
    serving = backend()
    made = serving.init_session()
    # Slow enough that the kill comes between two of its steps.
    service.fault(slow={"seconds": 0.1, "path": "/rtstream"})
    record(made)
    serving.webhook(made["session_id"], "active")
    time.sleep(seconds)  # the moment of the kill is what is tried
    serving.kill()
    again = backend()

    again.runs_pipelines(made["session_id"])
    eventually(lambda: again.own("backend.started"))
    names = [
        it["name"]
        for stream in again.info["streams"]
        for it in _indexes_of(service, stream["id"])
        if it["status"] == "running"
    ]
    assert len(names) == 3


def _indexes_of(service, stream_id):
    headers = {"x-access-token": KEY}
    request = urllib.request.Request(f"{service.url}/rtstream/{stream_id}/index/scene", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)["data"]["scene_indexes"]


def test_a_transient_refusal_of_the_service_is_retried(backend, record, service):
    serving = backend()
    made = serving.init_session()
    # Before it is recorded: the WebSocket may tell that it is active before the webhook does.
    service.fault(http={"status": 503, "path": "/rtstream", "times": 3})
    recorder = record(made)
    serving.webhook(made["session_id"], "active")

    serving.says("retrying")
    serving.runs_pipelines(made["session_id"])
    eventually(lambda: serving.own("backend.started"))
    # The faults struck three of what was begun: a call that had succeeded is not made twice.
    created = [it for it in calls(service, "/index/scene") if it.startswith("POST")]
    assert len(created) <= 3 + 3
    recorder.stop()


def test_a_webhook_that_cannot_be_stored_is_refused(backend, state):
    serving = backend()
    state.journal.unlink(missing_ok=True)
    state.journal.mkdir()
    status, told = serving.webhook("cap-1", "active")
    assert (status, list(told)) == (503, ["error"])
    serving.says("cannot store a webhook")
    state.journal.rmdir()

    assert serving.webhook("cap-1", "active") == (200, {"received": True})
    assert len(serving.told("cap-1", "active")) == 1


def test_a_failed_session_is_answered_with_a_fixed_text(backend, service):
    serving = backend()
    service.fault(http={"status": 503, "path": "/collection"})
    status, told = serving.post("/init-session", token=serving.token)
    assert (status, told) == (503, {"error": "the service could not be reached"})
    service.fault(http={"status": 402, "path": "/collection"})
    status, told = serving.post("/init-session", token=serving.token)
    assert (status, told) == (502, {"error": "the service refused to create a session"})
    serving.says("402")


def test_without_credentials_everything_is_refused(backend, state):
    serving = backend()

    assert serving.post("/init-session")[0] == 401
    assert serving.post("/init-session", token=serving.secret)[0] == 401
    assert serving.post("/webhook/" + serving.token, {"event": "x"})[0] == 404
    assert serving.post("/webhook", {"event": "x"})[0] == 404
    assert [e for e in serving.events() if "via" in e] == []
    assert stat.S_IMODE(state.backend_credentials.stat().st_mode) == 0o600


def test_the_token_can_be_shown_before_and_while_it_serves(backend, state, environ):
    first = run(["backend", state.path, "--show-token"], environ)
    serving = backend()
    second = run(["backend", state.path, "--show-token"], environ)

    assert first.stdout == second.stdout == f"{serving.token}\n"
    assert first.returncode == second.returncode == 0


def test_a_second_backend_of_a_directory_is_refused(backend, state, environ):
    backend()
    assert_failed(run(["backend", state.path, "--port", 0], environ), 6, "already serves")


def test_a_port_in_use_is_reported(backend, tmp_path, environ):
    port = backend().url.rpartition(":")[2]
    ended = run(["backend", tmp_path / "other", "--port", port], environ)
    assert_failed(ended, 2, f"port {port}", "--port")
    assert error_id_in(ended.stderr) == "port-unusable"


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        (["--public-url", "ftp://x"], "public-url-invalid"),
        (["--public-url", "https://user:pw@x"], "public-url-invalid"),
        (["--public-url", "https://x/?a=1"], "public-url-invalid"),
        (["--public-url", "https://x y"], "public-url-invalid"),
        (["--public-url", "https://x", "--tunnel"], "options-conflict"),
        (["--insecure-no-auth", "--public-url", "https://x"], "no-auth-not-local"),
        (["--insecure-no-auth", "--host", "0.0.0.0"], "no-auth-not-local"),
        (["--host", "no.such.host.invalid"], "port-unusable"),
        (["--visual-prompt", os.fsdecode(b"\xff")], "text-invalid"),
        (["--metadata", os.fsdecode(b"team=\xff")], "text-invalid"),
        (["--public-url", os.fsdecode(b"https://x/\xff")], "public-url-invalid"),
        (["--host", os.fsdecode(b"\xff")], "port-unusable"),
    ],
)
def test_invalid_options_are_refused(arguments, error_id, state, environ):
    done = run(["backend", state.path, "--port", 0, *arguments], environ)

    assert_failed(done, 2, error_id=error_id)
    assert "pw@" not in done.stderr


def test_without_cloudflared_the_hint_says_how_to_install_it(state, environ):
    ended = run(["backend", state.path, "--tunnel"], {**environ, "PATH": str(state.path)})
    assert_failed(ended, 2, "brew install cloudflared", "winget install Cloudflare.cloudflared")
    assert error_id_in(ended.stderr) == "cloudflared-missing"


def test_a_host_other_than_loopback_gives_a_warning(backend):
    backend("--host", "0.0.0.0").says("anyone in the network can send requests")


def test_an_unencrypted_public_url_gives_a_warning(backend):
    backend("--public-url", "http://capture.example.com").says("not https")


def test_without_a_token_it_serves_programs_of_this_machine_only(backend):
    serving = backend("--insecure-no-auth")

    assert serving.post("/init-session")[0] == 200
    request = urllib.request.Request(serving.url + "/init-session", b"", {"Origin": "https://evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=PATIENCE)


def test_ctrl_c_ends_the_backend(backend, state):
    serving = backend()
    serving.process.send_signal(signal.SIGINT)

    assert serving.ends() == 130
    assert not backend_runs(state)


def test_a_second_signal_leaves_neither_the_listener_nor_the_tunnel(backend, state, environ, tmp_path):
    program = tmp_path / "bin" / "cloudflared"
    program.parent.mkdir()
    program.write_text(CLOUDFLARED)
    program.chmod(0o755)
    serving = backend("--tunnel", environ={**environ, "PATH": f"{program.parent}:{environ['PATH']}"})
    port = serving.own("backend.serving")[0]["port"]
    assert serving.url
    serving.url = f"http://127.0.0.1:{port}"
    serving.init_session()
    eventually(lambda: listener_runs(state))
    tunnel = int((tmp_path / "cloudflared.calls").read_text().split()[0])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as unfinished:
        # It is waited for at the end: the second signal finds the backend before it ends what it started.
        unfinished.sendall(b"POST /webhook/%s HTTP/1.1\r\n" % serving.secret.encode())
        unfinished.sendall(b"Host: x\r\nContent-Length: 9\r\n\r\n")
        serving.process.send_signal(signal.SIGTERM)

        def is_closed():
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            except ConnectionRefusedError:
                return True
            return False

        eventually(is_closed)
        serving.process.send_signal(signal.SIGTERM)
        assert serving.ends() == 128 + signal.SIGTERM

    eventually(lambda: not listener_runs(state))
    eventually(lambda: not is_running(tunnel))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


CLOUDFLARED = """#!/bin/sh
echo "$$ $*" >> "$HOME/cloudflared.calls"
echo 'failed to reach https://api.trycloudflare.com/tunnel' >&2
echo "INF |  https://tunnel-$$.trycloudflare.com  |" >&2
trap 'exit 0' TERM
while :; do sleep 0.1; done
"""


def test_a_tunnel_is_started_watched_and_ended(backend, environ, tmp_path):
    program = tmp_path / "bin" / "cloudflared"
    program.parent.mkdir()
    program.write_text(CLOUDFLARED)
    program.chmod(0o755)
    serving = backend("--tunnel", environ={**environ, "PATH": f"{program.parent}:{environ['PATH']}"})
    first = int((tmp_path / "cloudflared.calls").read_text().split()[0])
    assert serving.url == f"https://tunnel-{first}.trycloudflare.com"
    os.kill(first, signal.SIGKILL)
    eventually(lambda: serving.out.count("BACKEND_URL=") == 2)
    second = int((tmp_path / "cloudflared.calls").read_text().splitlines()[1].split()[0])
    port = serving.own("backend.serving")[0]["port"]
    serving.url = f"http://127.0.0.1:{port}"

    assert serving.init_session()["webhook_url"].startswith(
        f"https://tunnel-{second}.trycloudflare.com/webhook/"
    )
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ends() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
