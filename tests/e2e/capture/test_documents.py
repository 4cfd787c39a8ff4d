"""The Python of VideoDB's two capture documents, run as their readers would, with the unmodified SDK.

Changed are the names that the SDK does not have (`start_capture_session`, `stop_capture`), and how a stream
is found where the SDK does not: it compares whole channel ids, and `mic:default` is not `mic`.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import KEY, PATIENCE, Backend, Listener, events_of, eventually

STAND_IN = """
import os

def get_binary_path():
    return os.environ["VDBEVENTS_CAPTURE_RUNTIME"]
"""

# The reference: "Create a Capture Session", "CaptureClient", "Channels", "RTStreams and AI Pipelines".
REFERENCE = """
import asyncio
import os
from pathlib import Path

import videodb
from videodb.capture import CaptureClient

conn = videodb.connect(base_url=os.environ["VIDEO_DB_API"])
ws_id = (Path.home() / ".local" / "state" / "videodb" / "videodb_ws_id").read_text().strip()

session = conn.create_capture_session(
    end_user_id="user-123",  # required
    collection_id="default",
    ws_connection_id=ws_id,
    metadata={"app": "my-app"},
)
print(f"Session ID: {session.id}")
token = conn.generate_client_token()


async def record():
    client = CaptureClient(client_token=token)
    await client.request_permission("microphone")
    await client.request_permission("screen_capture")

    channels = await client.list_channels()
    for ch in channels.all():
        print(f"  {ch.id} ({ch.type}): {ch.name}")

    mic = channels.mics.default
    display = channels.displays.default
    system_audio = channels.system_audio.default
    mic.store = True
    display.store = True

    selected_channels = [c for c in [mic, display, system_audio] if c]
    await client.start_session(
        capture_session_id=session.id,
        channels=selected_channels,
        primary_video_channel_id=display.id if display else None,
    )
    while conn.get_capture_session(session.id).status != "active":
        await asyncio.sleep(0.05)
    start_ai_pipelines(conn.get_capture_session(session.id))
    print(input())
    await client.stop_session()
    await client.shutdown()


def start_ai_pipelines(session):
    def streams(kind):
        return session.get_rtstream(kind) or [s for s in session.rtstreams if s.name.startswith(kind)]

    for rtstream in streams("mic"):
        rtstream.start_transcript(ws_connection_id=ws_id)
        rtstream.index_audio(
            prompt="Summarize what is being discussed",
            ws_connection_id=ws_id,
            batch_config={"type": "time", "value": 30},
        )
    for rtstream in streams("display"):
        rtstream.index_visuals(
            prompt="In one sentence, describe what is on screen",
            ws_connection_id=ws_id,
        )
    print("pipelines started", flush=True)


asyncio.run(record())
"""

# The architecture: all but its Flask server and tunnel; the webhook is called by a look at the session.
ARCHITECTURE = """
import asyncio
import os
import queue
import threading
import time

import videodb
from videodb.capture import CaptureClient

conn = videodb.connect(base_url=os.environ["VIDEO_DB_API"])
heard, seen = threading.Event(), threading.Event()


def start_ws_listener(ws_id_queue, name="Listener"):
    def run():
        async def listen():
            ws_wrapper = conn.connect_websocket()
            ws = await ws_wrapper.connect()
            ws_id = ws.connection_id
            ws_id_queue.put(ws_id)

            async for msg in ws.receive():
                channel = msg.get("channel")
                data = msg.get("data", {})
                text = data.get("text", "")

                if channel == "transcript" and text.strip():
                    print(f"[{name}] {text}", flush=True)
                    heard.set()
                elif channel == "audio_index" and text.strip():
                    print(f"[{name}] Audio Index: {text}")
                elif channel in ["scene_index", "visual_index"] and text.strip():
                    print(f"[{name}] Visual Index: {text}")
                    seen.set()

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(listen())

    t = threading.Thread(target=run, daemon=True)
    t.start()
    return t


def start_ai_pipelines(session):
    mics = session.get_rtstream("mic") or named(session, "mic:")
    displays = session.get_rtstream("screen") or named(session, "display:")
    system_audios = session.get_rtstream("system_audio") or named(session, "system_audio:")

    for rtstream in mics + system_audios:
        q = queue.Queue()
        start_ws_listener(q, name="TranscriptWatcher")
        ws_id = q.get(timeout=60)
        rtstream.start_transcript(ws_connection_id=ws_id)

        q = queue.Queue()
        start_ws_listener(q, name="AudioIndexWatcher")
        ws_id = q.get(timeout=60)
        rtstream.index_audio(
            prompt="Summarize what is being discussed",
            ws_connection_id=ws_id,
            batch_config={"type": "time", "value": 30},
        )
    for rtstream in displays:
        q = queue.Queue()
        start_ws_listener(q, name="VisualWatcher")
        ws_id = q.get(timeout=60)
        rtstream.index_visuals(
            prompt="In one sentence, describe what is on screen",
            ws_connection_id=ws_id,
        )


def named(session, prefix):
    return [stream for stream in session.rtstreams if stream.name.startswith(prefix)]


def webhook(data):
    event = data.get("event")

    if event == "capture_session.active":
        # Session is streaming -- start AI pipelines
        session = conn.get_capture_session(data["capture_session_id"])
        start_ai_pipelines(session)

    elif event == "capture_session.stopping":
        print("Session stopping...")

    elif event == "capture_session.stopped":
        print("Session stopped. All streams finalized.")


def tell_webhook(session_id, status):
    while conn.get_capture_session(session_id).status != status:
        time.sleep(0.05)
    webhook({"event": f"capture_session.{status}", "capture_session_id": session_id})


session = conn.create_capture_session(
    end_user_id="user-123",
    collection_id="default",
    callback_url="http://127.0.0.1:9/webhook",
    metadata={"app": "my-app"},
)
print(f"Session ID: {session.id}")
token = conn.generate_client_token()


async def record():
    client = CaptureClient(client_token=token)
    await client.request_permission("microphone")
    await client.request_permission("screen_capture")
    channels = await client.list_channels()
    for ch in channels.all():
        print(f"  {ch.id} ({ch.type}): {ch.name}")

    mic = channels.mics.default
    display = channels.displays.default
    system_audio = channels.system_audio.default
    mic.store = True
    display.store = True
    system_audio.store = True

    selected_channels = [c for c in [mic, display, system_audio] if c]
    await client.start_session(
        capture_session_id=session.id,
        channels=selected_channels,
        primary_video_channel_id=display.id if display else None,
    )
    await asyncio.to_thread(tell_webhook, session.id, "active")
    await asyncio.to_thread(heard.wait, 60)
    await asyncio.to_thread(seen.wait, 60)

    await client.stop_session()
    await client.shutdown()
    tell_webhook(session.id, "stopped")


asyncio.run(record())
print(f"heard: {heard.is_set()}, seen: {seen.is_set()}")
"""

# The architecture's client, from "Client Setup", beside `vdbevents backend` in place of the Flask server.
CLIENT = """
import asyncio
import os

import requests
from videodb.capture import CaptureClient

answer = requests.post(
    f"{os.environ['BACKEND_URL']}/init-session",
    headers={"Authorization": f"Bearer {os.environ['BACKEND_TOKEN']}"},
)
session_id, token, webhook_url = (answer.json()[name] for name in ("session_id", "token", "webhook_url"))
print(f"Session ID: {session_id}", flush=True)


async def record():
    client = CaptureClient(client_token=token)
    await client.request_permission("microphone")
    await client.request_permission("screen_capture")

    channels = await client.list_channels()

    # Access channel groups
    mic = channels.mics.default
    display = channels.displays.default
    system_audio = channels.system_audio.default

    # List all available channels
    for ch in channels.all():
        print(f"  {ch.id} ({ch.type}): {ch.name}")

    mic.store = True
    display.store = True
    system_audio.store = True

    selected_channels = [c for c in [mic, display, system_audio] if c]
    await client.start_session(
        capture_session_id=session_id,
        channels=selected_channels,
        primary_video_channel_id=display.id if display else None,
    )
    await asyncio.to_thread(input)
    await client.stop_session()
    await client.shutdown()


asyncio.run(record())
"""


@pytest.fixture
def snippet(tmp_path, environ, service):
    """Starts a program of a document; the SDK finds the lent runtime as it finds its own."""
    (tmp_path / "videodb_capture_bin.py").write_text(STAND_IN)
    settings = {**environ, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "default"}
    started = []

    def start(program, **changed):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        seen = {name: value for name, value in {**settings, **changed}.items() if value is not None}
        process = subprocess.Popen([sys.executable, "-c", program], env=seen, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_reference_s_workflow_is_recorded(snippet, service, started, environ, tmp_path):
    from vdbevents.journal.state import locate_state

    state = locate_state(None, environ, Path(environ["HOME"]))
    listener = started(Listener(state, environ, named=False))
    listener.connected()
    program = snippet(REFERENCE)
    told = []
    while not told or told[-1] != "pipelines started\n":
        told.append(program.stdout.readline())
        assert told[-1], program.communicate()
    eventually(lambda: {"transcript", "visual_index"} <= {e.get("channel") for e in events_of(state)})
    _, err = program.communicate("\n", timeout=PATIENCE)

    assert program.returncode == 0, err
    assert told[0].startswith("Session ID: cap-")
    assert told[1:-1] == [
        "  mic:default (audio): Emulated Microphone\n",
        "  mic:headset (audio): Emulated Headset\n",
        "  display:1 (video): Emulated Display 1\n",
        "  display:2 (video): Emulated Display 2\n",
        "  system_audio:default (audio): Emulated System Audio\n",
    ]
    assert "primary_video_channel_id is deprecated" in err
    eventually(lambda: "capture_session.exported" in {e.get("event") for e in events_of(state)})
    ended = {"session_id": told[0].split()[-1], "status": "stopped", "exported": True}
    assert service.state["sessions"][-1] == ended


def test_the_architecture_s_workflow_hears_what_is_said(snippet, service):
    program = snippet(ARCHITECTURE)
    out, err = program.communicate(timeout=3 * PATIENCE)

    assert program.returncode == 0, err
    assert "[TranscriptWatcher] " in out
    assert "[VisualWatcher] Visual Index: " in out
    # A watcher may have something left to print.
    assert "Session stopped. All streams finalized." in out
    assert "heard: True, seen: True" in out
    kinds = [pipeline["channel"] for pipeline in service.state["pipelines"]]
    assert kinds == ["transcript", "audio_index", "transcript", "audio_index", "visual_index"]


@pytest.mark.usefixtures("leftovers")
def test_the_architecture_s_client_records_with_the_backend(snippet, service, started, environ, state):
    serving = started(Backend(state, environ))
    known = {"BACKEND_URL": serving.url, "BACKEND_TOKEN": serving.token}
    program = snippet(CLIENT, VIDEO_DB_API_KEY=None, **known)
    session_id = program.stdout.readline().split()[-1]
    serving.runs_pipelines(session_id)
    eventually(lambda: {"transcript", "visual_index"} <= {e.get("channel") for e in serving.events()})
    out, err = program.communicate("\n", timeout=PATIENCE)

    assert program.returncode == 0, err
    assert "  mic:default (audio): Emulated Microphone\n" in out
    serving.says(f"session {session_id} is stopped")
    serving.says(f"session {session_id} is exported: video ")
    for status in ("active", "stopping", "stopped", "exported"):
        eventually(lambda status=status: serving.told(session_id, status))
        assert len(serving.told(session_id, status)) == 1
    assert [it["status"] for it in service.state["pipelines"]] == ["stopped"] * 5
    assert KEY not in out + err + serving.out + serving.err
