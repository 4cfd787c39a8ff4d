"""The calls of VideoDB's Node SDK, as it sends them: npm `videodb` 0.2.0, read at a proxy on 2026-11-29.

Without Node, so that it can run anywhere. The SDK turns the names of an answer's members into its own
(`session_id` becomes `sessionId`): those that it reads are checked here.
"""

import json
import subprocess
import sys

import pytest
from support.patience import PATIENCE

from vdbevents.emulator.application import installed_path

CHANNELS = [
    {"channel_id": "mic:default", "type": "audio", "record": True, "transcript": True, "store": True},
    {"channel_id": "display:1", "type": "video", "record": True, "transcript": False, "store": True},
]


class Node:
    """Sends a request as the SDK's `HttpClient` does; returns the `data` of the answer."""

    def __init__(self, emulator):
        self.emulator = emulator

    def __call__(self, method, path, body=None):
        status, _, answer = self.emulator.http(method, path, body)
        assert status in (200, 201), answer
        assert answer["success"] is True
        return answer.get("data")

    def refused(self, method, path, body):
        status, _, answer = self.emulator.http(method, path, body)
        assert status == 400, answer
        return answer["message"]


@pytest.fixture
def node(start):
    return Node(start(numbered=True, clock_rate=100.0))


@pytest.fixture
def recorded(node):
    """An active session: the ids of its microphone's and its screen's streams, and its connection."""
    socket, ws_id = node.emulator.greeted()
    body = {"end_user_id": "u", "ws_connection_id": ws_id, "metadata": {"clientName": "desktop"}}
    session = node("POST", "/collection/default/capture/session", body)
    token = node("POST", "/capture/session/token", {"expires_in": 86400})["token"]
    started = {"session_id": session["session_id"], "channels": CHANNELS}
    assert node.emulator.http("POST", "/capture/session/start", started, key=token)[0] == 200
    path = f"/collection/default/capture/session/{session['session_id']}"
    node.emulator.until(lambda _: node("GET", path)["status"] == "active")
    streams = {it["channel_id"]: it["rtstream_id"] for it in node("GET", path)["rtstreams"]}
    return socket, ws_id, streams["mic:default"], streams["display:1"]


def test_a_session_is_made_found_and_listed(node):
    collection = node("GET", "/collection/default")
    assert collection["id"] == "default"
    assert node("GET", "/collection")["collections"][0]["name"]
    assert node("GET", "/collection/default/websocket")["websocket_url"].startswith("ws://")
    body = {"end_user_id": "u", "callback_url": "http://127.0.0.1:9/x", "metadata": {"a": 1}}
    made = node("POST", "/collection/default/capture/session", body)
    node("POST", "/collection/default/capture/session", {"end_user_id": "other"})
    assert (made["status"], made["end_user_id"], bool(made["created_at"])) == ("created", "u", True)

    found = node("GET", f"/collection/default/capture/session/{made['session_id']}")
    assert (found["status"], found["callback_url"], found["metadata"]) == (
        "created",
        *list(body.values())[1:],
    )
    assert (found["rtstreams"], found["exported_video_id"]) == ([], None)
    path = "/collection/default/capture/session?end_user_id=u&status=created&limit=5"
    assert [it["session_id"] for it in node("GET", path)["sessions"]] == [made["session_id"]]
    assert len(node("GET", "/collection/default/capture/session?limit=1")["sessions"]) == 1


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        # `indexVisuals` without settings leaves the type and the settings out.
        ({"prompt": "p", "model_config": {}}, ("time", {})),
        (
            {
                "extraction_type": "time_based",
                "extraction_config": {"time": 2, "frame_count": 3},
                "name": "n",
            },
            ("time_based", {"time": 2, "frame_count": 3}),
        ),
        (
            {"extraction_type": "shot_based", "extraction_config": {"threshold": 20}, "prompt": "p"},
            ("shot_based", {"threshold": 20}),
        ),
    ],
)
def test_a_visual_index_of_each_kind_describes_and_is_read(node, recorded, body, kept):
    socket, ws_id, _, screen = recorded
    index = node("POST", f"/rtstream/{screen}/index/scene", {**body, "ws_connection_id": ws_id})
    index_id = index["rtstream_index_id"]
    assert (index["extraction_type"], index["extraction_config"]) == kept
    assert index["status"] == "running"

    while json.loads(socket.recv(timeout=PATIENCE)).get("channel") != "visual_index":
        pass
    (listed,) = node("GET", f"/rtstream/{screen}/index/scene")["scene_indexes"]
    assert listed == node("GET", f"/rtstream/{screen}/index/{index_id}") == index
    page = node("GET", f"/rtstream/{screen}/index/scene/{index_id}?page=1&page_size=1&start=1&end=9999999999")
    assert page["scene_index_records"][0]["description"].startswith("screen visual_index 1")
    assert "next_page" in page
    node("PATCH", f"/rtstream/{screen}/index/scene/{index_id}", {"prompt": "new"})
    for action in ("stop", "start"):
        node("PATCH", f"/rtstream/{screen}/index/scene/{index_id}/status", {"action": action})
    for path in (f"/rtstream/{screen}/search", "/rtstream/collection/default/search"):
        (found, *_) = node("POST", path, {"query": "screen", "result_threshold": 1})["results"]
        assert (found["scene_index_id"], found["score"]) == (index_id, 1.0)
    assert (found["rtstream_id"], found["rtstream_name"]) == (screen, "display:1")


def test_speech_is_transcribed_and_indexed(node, recorded):
    socket, ws_id, mic, _ = recorded
    started = {"action": "start", "engine": "assemblyai", "ws_connection_id": ws_id}
    assert node("POST", f"/rtstream/{mic}/transcription", started)["status"] == "running"
    for settings in ({}, {"extraction_config": {"segmenter": "word", "segmentation_value": 10}}):
        body = {"extraction_type": "transcript", "prompt": "p", "model_config": {}, **settings}
        index = node("POST", f"/rtstream/{mic}/index/scene", {**body, "auto_start_transcript": True})
        assert (index["extraction_type"], index["extraction_config"]) == (
            "transcript",
            settings.get("extraction_config", {}),
        )

    while not json.loads(socket.recv(timeout=PATIENCE)).get("data", {}).get("is_final"):
        pass
    query = "engine=assemblyai&page=1&page_size=5&start=1&end=9999999999"
    records = node("GET", f"/rtstream/{mic}/transcription?{query}")["transcription_records"]
    assert records[0]["text"].startswith("mic transcript 1")
    stopped = {"action": "stop", "mode": "graceful", "engine": "assemblyai"}
    assert node("POST", f"/rtstream/{mic}/transcription", stopped)["status"] == "stopped"


def test_an_alert_is_made_listed_and_switched(node, recorded):
    _, ws_id, _, screen = recorded
    index_id = node("POST", f"/rtstream/{screen}/index/scene", {"prompt": "p"})["rtstream_index_id"]
    event = node("POST", "/rtstream/event", {"event_prompt": "a deploy", "label": "deploy"})["event_id"]
    assert [it["event_id"] for it in node("GET", "/rtstream/event")["events"]] == [event]
    # Without an address for webhooks the key is left out.
    path = f"/rtstream/{screen}/index/{index_id}/alert"
    alert = node("POST", path, {"event_id": event, "ws_connection_id": ws_id})["alert_id"]
    for action in ("disable", "enable"):
        node("PATCH", f"{path}/{alert}/status", {"action": action})
    assert [it["alert_id"] for it in node("GET", path)["alerts"]] == [alert]


@pytest.mark.parametrize("name", ["extraction_type", "extraction_config", "prompt", "name"])
def test_a_list_where_a_text_or_an_object_belongs_is_refused(node, recorded, name):
    screen = recorded[3]

    assert f"{name}: must be " in node.refused("POST", f"/rtstream/{screen}/index/scene", {name: ["time"]})


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_the_runtime_knows_what_the_node_sdk_asks_it(emulator):
    session = emulator.sdk.create_capture_session("user")
    token = emulator.sdk.generate_client_token()
    recording = {
        "uploadToken": token,
        "sessionId": session.id,
        "channels": CHANNELS,
        "primary_video_channel_id": "display:1",
    }
    commands = [
        # The health check begins before the init is answered.
        ("ping", {}),
        ("init", {"sessionToken": token, "apiUrl": emulator.url}),
        *(
            ("requestPermission", {"permission": it})
            for it in ("microphone", "screen-capture", "accessibility")
        ),
        ("getChannels", {}),
        ("startRecording", recording),
        ("ping", {}),
        ("pauseTracks", {"tracks": ["mic"]}),
        ("resumeTracks", {"tracks": ["mic"]}),
        ("stopRecording", {"sessionId": session.id}),
        ("shutdown", {}),
    ]
    lines = [
        "videodb_recorder|" + json.dumps({"command": command, "commandId": str(number), "params": params})
        for number, (command, params) in enumerate(commands)
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([str(installed_path())], **pipes) as runtime:
        runtime.stdin.write("\n".join(lines) + "\n")
        runtime.stdin.flush()
        messages = [json.loads(line.partition("|")[2]) for line in runtime.stdout]

    answers = [message for message in messages if message["type"] == "response"]
    assert [(it["commandId"], it["status"]) for it in answers] == [
        (str(number), "success") for number in range(len(commands))
    ]
    assert [it["result"]["status"] for it in answers[2:5]] == ["granted"] * 3
    status, _, answer = emulator.http("GET", f"/collection/default/capture/session/{session.id}")
    assert (status, answer["data"]["primary_video_channel_id"]) == (200, "display:1")
