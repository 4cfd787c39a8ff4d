"""The stand-in for the vendor's capture runtime: the real command as a process."""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support import forkserver
from support.patience import PATIENCE, patient
from videodb.capture import CaptureClient

from vdbevents.emulator.application import EmulatorSettings, installed_path, running
from vdbevents.emulator.fake_runtime import COMMANDS

PREFIX = "videodb_recorder|"
MIC = {"channel_id": "mic:default", "type": "audio", "name": "Microphone", "store": False}
SCREEN = {
    "channel_id": "display:1",
    "type": "video",
    "name": "Screen",
    "store": True,
    "is_primary": True,
}
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="select and signals are POSIX's"),
]


ENVIRON = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


class Runtime:
    """A process of the command, and its lines."""

    def __init__(self):
        pipe = subprocess.PIPE
        # Unbuffered: whether there is something to read is then for `select` to tell.
        self.process = forkserver.Popen(
            [str(installed_path())], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=ENVIRON
        )

    def write(self, line):
        self.process.stdin.write(line.encode() + b"\n")

    def command(self, command, **params):
        message = {"command": command, "commandId": f"id of {command}", "params": params}
        self.write(PREFIX + json.dumps(message))

    def line(self):
        return self.process.stdout.readline().decode().removesuffix("\n")

    def message(self):
        line = self.line()
        assert line.startswith(PREFIX), line
        return json.loads(line.removeprefix(PREFIX))

    def ask(self, command, **params):
        """Return the result of a command that succeeds."""
        self.command(command, **params)
        answer = self.message()
        assert answer == {
            "type": "response",
            "commandId": f"id of {command}",
            "status": "success",
            "result": answer["result"],
        }
        return answer["result"]

    def refusal(self, command, **params):
        """Return the text that a command is refused with."""
        self.command(command, **params)
        answer = self.message()
        assert (answer["commandId"], answer["status"]) == (f"id of {command}", "error")
        return answer["result"]

    def event(self, name):
        message = self.message()
        assert (message["type"], message["event"]) == ("event", name)
        return message["payload"]

    @property
    def is_silent(self):
        return not select.select([self.process.stdout], [], [], 0.3)[0]

    def code(self):
        return self.process.wait(timeout=PATIENCE)

    def close(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def spawn():
    """Start capture runtimes."""
    with contextlib.ExitStack() as exits:

        def begin():
            runtime = Runtime()
            exits.callback(runtime.close)
            return runtime

        yield begin


@pytest.fixture
def runtime(spawn, emulator):
    """Start a runtime that has had its init."""
    runtime = spawn()
    runtime.ask("init", apiUrl=emulator.url)
    return runtime


@pytest.fixture
def recording(emulator, runtime):
    """Return an emulator, a runtime that records a session, and the session's id."""
    session = emulator.sdk.create_capture_session("user")
    token = emulator.sdk.generate_client_token()
    runtime.ask("startRecording", sessionId=session.id, uploadToken=token, channels=[MIC, SCREEN])
    assert runtime.event("recording:started") == {"sessionId": session.id}
    return emulator, runtime, session.id


@pytest.fixture
def sdk_runtime(monkeypatch):
    """Install the module by which the SDK finds the runtime."""
    module = types.ModuleType("videodb_capture_bin")
    module.get_binary_path = lambda: str(installed_path())
    monkeypatch.setitem(sys.modules, "videodb_capture_bin", module)


async def next_event(client, wanted):
    """Return the payload of the next event of this name; skip others."""
    async for event in client.events():
        if event["event"] == wanted:
            return event["payload"]
    raise AssertionError(f"{wanted} never came")


async def wait_for_end(process):
    """Wait until asyncio has closed the pipes, which the SDK does not."""
    await process.wait()
    while not process._transport.is_closing():  # noqa: ASYNC110 - asyncio tells nobody
        await asyncio.sleep(0.01)


def test_the_sdk_captures_a_session_from_created_to_exported(emulator, sdk_runtime):
    socket_, connection_id = emulator.greeted()
    session = emulator.sdk.create_capture_session("user", ws_connection_id=connection_id)
    token = emulator.sdk.generate_client_token()

    async def capture():
        client = CaptureClient(client_token=token, base_url=emulator.url)
        assert await client.request_permission("microphone")
        assert await client.request_permission("screen_capture")
        channels = await client.list_channels()
        named = [channel.id for channel in (*channels.all(), *channels.cameras)]
        chosen = [channels.mics.default, channels.system_audio.default, channels.displays.default]
        chosen[2].store = chosen[2].is_primary = True
        await client.start_session(session.id, chosen)
        assert await next_event(client, "recording:started") == {"sessionId": session.id}
        await asyncio.to_thread(emulator.until, lambda state: state["sessions"][0]["status"] == "active")
        assert emulator.state["runtime"]["recording"] == session.id
        await chosen[0].pause()
        await chosen[0].resume()
        await client.stop_session()
        assert await next_event(client, "recording:stopped") == {"sessionId": session.id}
        assert (await next_event(client, "upload:progress"))["channelId"] == "display:1"
        assert await next_event(client, "upload:complete") == {"channelId": "display:1"}
        process = client._proc
        await client.shutdown()
        await wait_for_end(process)
        # asyncio itself has no exit code of a child that ended before it was terminated.
        return named, process._transport.get_extra_info("subprocess").returncode

    assert asyncio.run(capture()) == (
        ["mic:default", "mic:headset", "display:1", "display:2", "system_audio:default", "camera:1"],
        0,
    )
    events = [json.loads(socket_.recv(timeout=PATIENCE)) for _ in range(6)]
    assert [event["event"].removeprefix("capture_session.") for event in events] == [
        "created",
        "starting",
        "active",
        "stopping",
        "stopped",
        "exported",
    ]
    streams = [stream["name"] for stream in events[2]["data"]["rtstreams"]]
    assert streams == ["mic:default", "system_audio:default", "display:1"]
    session = emulator.sdk.get_capture_session(session.id)
    assert [channel.name for channel in session.displays] == ["Emulated Display 1"]
    assert session.primary_video_channel_id == "display:1"
    assert [channel.store for channel in session.channels] == [False, False, True]


def test_the_state_shows_the_attached_runtime_and_what_it_records(recording):
    emulator, runtime, session_id = recording
    attached = emulator.state["runtime"]
    assert set(attached) == {"pid", "attached_at", "recording"}
    assert (attached["pid"], attached["recording"]) == (runtime.process.pid, session_id)
    runtime.ask("stopRecording", sessionId=session_id)
    assert emulator.state["runtime"]["recording"] is None


def test_the_sdk_understands_a_denial(emulator, sdk_runtime):
    emulator.control("faults", runtime={"deny": ["screen_capture"]})

    async def ask():
        client = CaptureClient(client_token="st", base_url=emulator.url)
        answers = [await client.request_permission(kind) for kind in ("microphone", "screen_capture")]
        process = client._proc
        await client.shutdown()
        await wait_for_end(process)
        return answers

    assert asyncio.run(ask()) == [True, False]


def test_a_script_with_the_sdk_finds_it_through_the_documented_module(emulator, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    module = text.partition("`videodb_capture_bin.py`")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "videodb_capture_bin.py").write_text(module)
    script = """
import asyncio, videodb.capture
async def run():
    client = videodb.capture.CaptureClient("st")
    print(len((await client.list_channels()).all()))
    await client.shutdown()
asyncio.run(run())
"""
    environ = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "VIDEO_DB_API": emulator.url,
        "VDBEVENTS_CAPTURE_RUNTIME": str(installed_path()),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout == "5\n", done.stderr


# Refusals.


def test_every_command_needs_an_init_but_ping_and_shutdown(spawn, emulator):
    runtime = spawn()
    for command in COMMANDS:
        if command not in {"init", "ping", "shutdown"}:
            assert runtime.refusal(command) == f"{command} needs an init first."
    runtime.ask("shutdown")
    assert runtime.event("shutdown") == {"code": 0}
    assert runtime.code() == 0


def test_an_unknown_command_and_an_unknown_permission_are_refused(runtime):
    assert runtime.refusal("dance").startswith("There is no command 'dance'; there are init, ")
    assert "There is no permission 'camera'" in runtime.refusal("requestPermission", permission="camera")
    assert "There is no permission None" in runtime.refusal("requestPermission")
    assert runtime.ask("requestPermission", permission="screen_capture") == {"status": "granted"}


def test_a_second_instance_is_refused_until_the_first_is_gone(runtime, spawn, emulator):
    second = spawn()
    busy = second.refusal("init", apiUrl=emulator.url)
    assert busy == "Another instance of the capture runtime is running."
    runtime.process.kill()
    second.command("init", apiUrl=emulator.url)
    assert second.message()["status"] == "success"
    assert emulator.state["runtime"]["pid"] == second.process.pid
    second.close()
    emulator.until(lambda state: state["runtime"] is None)


@pytest.mark.parametrize("answer", [b"<html>", b'{"success": true}', b"[]"])
def test_another_server_than_the_emulator_is_refused(spawn, answer):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        refusal = spawn().refusal("init", apiUrl=f"http://127.0.0.1:{other.server_port}")
    assert "works with `vdbevents emulator` only" in refusal


def test_an_unreachable_and_an_invalid_url_are_refused(spawn):
    runtime = spawn()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert f"does not answer at {url}" in runtime.refusal("init", apiUrl=url)
    for url in ("127.0.0.1:80", "ftp://x", "http://x:port", "http://[", "", None, 5):
        assert runtime.refusal("init", apiUrl=url).startswith("apiUrl: must be the API's address, got")


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"channels": []}, "There are no channels"),
        ({"channels": None}, "There are no channels"),
        ({"channels": [{"channel_id": "mic:none"}]}, "There is no channel 'mic:none'."),
        ({"channels": ["mic:default"]}, "There is no channel 'mic:default'."),
        ({"channels": [{}]}, "There is no channel {}."),
        ({"uploadToken": None}, "uploadToken is missing."),
        ({"sessionId": ""}, "sessionId is missing."),
        ({"uploadToken": "st-wrong"}, "Invalid API key."),
        ({"uploadToken": "st\nwrong"}, "cannot be reached"),
        ({"sessionId": "cap-none"}, "There is no capture session 'cap-none'."),
    ],
)
def test_a_recording_that_cannot_be_started_says_why(emulator, runtime, wrong, refusal):
    session = emulator.sdk.create_capture_session("user")
    right = {
        "sessionId": session.id,
        "uploadToken": emulator.sdk.generate_client_token(),
        "channels": [MIC],
    }
    assert refusal in runtime.refusal("startRecording", **{**right, **wrong})
    assert emulator.state["runtime"]["recording"] is None
    runtime.ask("startRecording", **right)


def test_a_session_that_gets_no_addresses_is_stopped_again(emulator, runtime):
    emulator.control("faults", http={"status": 503, "method": "GET", "path": "/capture/session/*"})
    session = emulator.sdk.create_capture_session("user")
    token = emulator.sdk.generate_client_token()
    start = {"sessionId": session.id, "uploadToken": token, "channels": [MIC]}
    assert "Service Unavailable" in runtime.refusal("startRecording", **start)
    emulator.until(lambda state: state["sessions"][0]["status"] == "stopped")
    assert runtime.refusal("stopRecording", sessionId=session.id) == "Nothing is being recorded."


def test_an_answer_that_is_not_json_is_reported_by_its_status(emulator, runtime):
    emulator.control("faults", http={"status": 502, "body": "<html>", "path": "/capture/session/start"})
    start = {"sessionId": "cap", "uploadToken": "st", "channels": [MIC]}
    refusal = runtime.refusal("startRecording", **start)
    assert refusal == "The API answered POST /capture/session/start with 502."


def test_commands_for_a_recording_are_refused_without_one(runtime):
    for command in ("stopRecording", "pauseTracks", "resumeTracks"):
        assert runtime.refusal(command, sessionId="cap", tracks=["mic"]) == "Nothing is being recorded."


def test_a_recording_refuses_a_second_one_and_wrong_sessions_and_tracks(recording):
    emulator, runtime, session_id = recording
    token = emulator.sdk.generate_client_token()
    again = {"sessionId": session_id, "uploadToken": token, "channels": [MIC]}
    assert "is being recorded already" in runtime.refusal("startRecording", **again)
    assert "not 'cap-other'" in runtime.refusal("stopRecording", sessionId="cap-other")
    assert runtime.ask("pauseTracks", tracks=["mic", "system_audio"]) == {"tracks": ["mic", "system_audio"]}
    assert "There is no track 'camera'" in runtime.refusal("resumeTracks", tracks=["camera"])
    assert "There are no tracks" in runtime.refusal("resumeTracks", tracks=[])
    emulator.control("faults", http={"status": 500, "times": 1})
    assert "Internal Server Error" in runtime.refusal("stopRecording", sessionId=session_id)
    runtime.ask("stopRecording", sessionId=session_id)


def test_lines_that_are_not_commands_are_skipped(runtime):
    for line in ("", "hello", PREFIX, PREFIX + "{", PREFIX + "[]", PREFIX + "[" * 100_000, "\udcff"):
        runtime.process.stdin.write(line.encode("utf-8", "surrogateescape") + b"\n")
    assert len(runtime.ask("getChannels")["channels"]) == 6


# The end.


def test_shutdown_stops_what_is_recorded_first(recording):
    emulator, runtime, session_id = recording
    runtime.ask("shutdown")
    assert runtime.event("recording:stopped") == {"sessionId": session_id}
    assert runtime.event("upload:progress")["channelId"] == "display:1"
    assert runtime.event("upload:complete") == {"channelId": "display:1"}
    assert runtime.event("shutdown") == {"code": 0}
    assert runtime.code() == 0
    emulator.until(lambda state: state["sessions"] == [describe(session_id, "stopped", exported=True)])


def describe(session_id, status, *, exported):
    return {"session_id": session_id, "status": status, "exported": exported}


def test_shutdown_ends_it_even_if_the_session_cannot_be_stopped(recording):
    emulator, runtime, _ = recording
    emulator.control("faults", http={"status": 500})
    runtime.ask("shutdown")
    assert "Internal Server Error" in runtime.event("recording:error")["error"]
    runtime.event("shutdown")
    assert runtime.code() == 0


def test_the_end_of_stdin_ends_it_during_a_call_and_stops_nothing(recording):
    emulator, runtime, session_id = recording
    emulator.control("faults", hang={"path": "/capture"})
    runtime.command("stopRecording", sessionId=session_id)
    emulator.until(lambda state: state["requests"].get(f"POST /capture/session/{session_id}/stop") == 1)
    runtime.process.stdin.close()
    assert runtime.code() == 1
    emulator.until(lambda state: state["runtime"] is None)
    assert emulator.state["sessions"][0]["status"] in {"starting", "active"}


def test_the_end_of_stdout_ends_it_while_it_is_idle(runtime):
    runtime.process.stdout.close()
    assert runtime.code() == 1


def test_sigterm_ends_it(recording):
    _, runtime, _ = recording
    runtime.process.terminate()
    assert runtime.code() == -signal.SIGTERM


def test_sigterm_after_a_granted_shutdown_is_an_orderly_end(runtime, emulator):
    # As the SDK does it, which does not wait; the long line keeps the runtime from being faster.
    emulator.control("faults", runtime={"long_line_at": "shutdown"})
    runtime.command("shutdown")
    assert runtime.process.stdout.read(1)
    runtime.process.terminate()
    assert runtime.code() == 0


def test_it_goes_on_without_the_emulator(spawn):
    runtime = spawn()
    with running(EmulatorSettings(autoplay=False, faults={"runtime": {"deny": ["microphone"]}})) as url:
        runtime.ask("init", apiUrl=url)
    assert runtime.ask("requestPermission", permission="microphone") == {"status": "denied"}
    start = {"sessionId": "cap", "uploadToken": "st", "channels": [MIC]}
    assert f"The API at {url} cannot be reached" in runtime.refusal("startRecording", **start)
    runtime.ask("shutdown")


# Faults.


def test_permissions_are_denied_and_channels_replaced_while_the_fault_lasts(runtime, emulator):
    other = {"channel_id": "mic:usb", "name": "USB", "type": "audio"}
    emulator.control("faults", runtime={"deny": ["microphone"], "channels": [other]})
    assert runtime.ask("requestPermission", permission="microphone") == {"status": "denied"}
    assert runtime.ask("requestPermission", permission="screen-capture") == {"status": "granted"}
    assert runtime.ask("getChannels") == {"channels": [other]}
    emulator.control("faults", runtime={"channels": []})
    assert runtime.ask("getChannels") == {"channels": []}
    emulator.http("DELETE", "/emulator/faults", key=None)
    assert len(runtime.ask("getChannels")["channels"]) == 6


def test_a_fault_that_expires_ends_in_the_runtime_too(runtime, emulator):
    emulator.control("faults", runtime={"deny": ["microphone"]})
    assert runtime.ask("requestPermission", permission="microphone") == {"status": "denied"}
    emulator.control("faults", runtime={"deny": ["microphone"], "for": 0.3})
    answers = iter(lambda: runtime.ask("requestPermission", permission="microphone")["status"], "granted")
    assert set(answers) <= {"denied"}
    assert emulator.state["faults"] == {}


@pytest.mark.parametrize("command", ["init", "getChannels", "shutdown"])
def test_it_dies_at_a_command_without_answering(spawn, start, command):
    emulator = start(faults={"runtime": {"die_at": command}})
    runtime = spawn()
    if command != "init":
        runtime.ask("init", apiUrl=emulator.url)
    runtime.command(command, apiUrl=emulator.url)
    assert (runtime.code(), runtime.line()) == (9, "")
    emulator.until(lambda state: state["runtime"] is None)


def test_one_command_is_never_answered_and_the_others_are(runtime, emulator):
    emulator.control("faults", runtime={"hang_at": "shutdown"})
    runtime.command("shutdown")
    runtime.ask("getChannels")
    runtime.process.terminate()
    assert runtime.code() == -signal.SIGTERM


def test_no_command_is_answered(runtime, emulator):
    emulator.control("faults", runtime={"hang_at": "*"})
    runtime.command("getChannels")
    assert runtime.is_silent
    emulator.control("faults", runtime=None)
    runtime.ask("requestPermission", permission="microphone")


def test_sigterm_is_ignored(runtime, emulator):
    emulator.control("faults", runtime={"ignore_sigterm": True})
    runtime.process.terminate()
    runtime.ask("getChannels")
    emulator.control("faults", runtime=None)
    runtime.process.terminate()
    assert runtime.code() == -signal.SIGTERM


def test_a_command_is_refused_with_a_text(spawn, start):
    emulator = start(faults={"runtime": {"refuse": {"init": "not today", "getChannels": "nothing here"}}})
    runtime = spawn()
    assert runtime.refusal("init", apiUrl=emulator.url) == "not today"
    emulator.control("faults", runtime={"refuse": {"getChannels": "nothing here"}})
    runtime.ask("init", apiUrl=emulator.url)
    assert runtime.refusal("getChannels") == "nothing here"


def test_a_long_line_comes_before_an_answer(runtime, emulator):
    emulator.control("faults", runtime={"long_line_at": "getChannels"})
    runtime.command("getChannels")
    assert len(runtime.line()) == 100_000
    assert runtime.message()["status"] == "success"
    runtime.ask("requestPermission", permission="microphone")


def test_noise_comes_before_each_answer(runtime, emulator):
    emulator.control("faults", runtime={"noise": True})
    runtime.command("getChannels")
    assert not runtime.line().startswith(PREFIX)
    broken = runtime.line()
    assert broken.startswith(PREFIX)
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.removeprefix(PREFIX))
    assert runtime.message()["status"] == "success"
    assert b"a warning without a meaning" in runtime.process.stderr.readline()


# Orders.


def test_it_dies_on_demand(recording):
    emulator, runtime, session_id = recording
    assert emulator.control("runtime", do="die", code=3)["pid"] == runtime.process.pid
    assert runtime.code() == 3
    state = emulator.until(lambda state: state["runtime"] is None)
    assert state["sessions"][0]["session_id"] == session_id
    assert state["sessions"][0]["status"] in {"starting", "active"}


def test_it_hangs_on_demand_and_can_be_killed(runtime, emulator):
    emulator.control("runtime", do="hang")
    runtime.command("getChannels")
    assert runtime.is_silent
    assert emulator.state["runtime"]["pid"] == runtime.process.pid
    runtime.process.terminate()
    assert runtime.code() == -signal.SIGTERM


def test_it_emits_on_demand(runtime, emulator):
    payload = {"error": "the display went away", "code": "E7"}
    emulator.control("runtime", event="recording:error", payload=payload)
    assert runtime.event("recording:error") == payload
    emulator.control("runtime", event="transcript")
    assert runtime.event("transcript") == {}
    # More than a pipe holds: it is written while it is read.
    with ThreadPoolExecutor() as threads:
        order = threads.submit(emulator.control, "runtime", long_line=70_000)
        line = runtime.line()
        assert order.result(timeout=PATIENCE)["success"]
    assert len(line) == 70_000
    assert set(json.loads(line.removeprefix(PREFIX))["payload"]["text"]) == {"x"}


def test_an_order_without_an_attached_runtime_is_refused(emulator):
    assert emulator.state["runtime"] is None
    status, _, answer = emulator.http("POST", "/emulator/runtime", {"do": "hang"}, key=None)
    assert (status, answer["message"]) == (409, "No capture runtime is attached.")


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"do": "dance"},
        {"do": ["die"]},
        {"do": "die", "code": 256},
        {"do": "die", "code": "9"},
        {"do": "die", "event": "x"},
        {"event": 5},
        {"event": "x", "payload": []},
        {"long_line": 10},
        {"typo": 1},
    ],
)
def test_an_invalid_order_is_refused(runtime, emulator, order):
    status, _, answer = emulator.http("POST", "/emulator/runtime", order, key=None)
    assert (status, answer["success"]) == (400, False)
    assert runtime.ask("getChannels")


def test_the_emulator_ends_while_an_attached_runtime_is_stopped(spawn):
    runtime = spawn()
    with running(EmulatorSettings(autoplay=False)) as url:
        runtime.ask("init", apiUrl=url)
        os.kill(runtime.process.pid, signal.SIGSTOP)
    os.kill(runtime.process.pid, signal.SIGCONT)
    runtime.ask("getChannels")


def test_it_stays_attached_while_the_emulator_is_down(runtime, emulator):
    emulator.control("faults", down={"for": patient(1)})
    start = {"sessionId": "cap", "uploadToken": "st", "channels": [MIC]}
    assert "cannot be reached" in runtime.refusal("startRecording", **start)

    def is_back():
        with contextlib.suppress(OSError):
            return emulator.state["runtime"]["pid"] == runtime.process.pid
        return False

    while not is_back():
        pass


def test_it_needs_the_standard_library_alone():
    program = (
        "import sys, vdbevents.emulator.fake_runtime\n"
        "print(sorted(n for n in sys.modules if n in {'asyncio', 'starlette', 'uvicorn', 'websockets'}\n"
        "  or n.startswith('vdbevents.')\n"
        "  and n not in {'vdbevents.emulator', 'vdbevents.emulator.fake_runtime'}))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
