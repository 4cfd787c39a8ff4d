"""The client of the npm package calls every tool on a real session, while a listener records."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.npm_packages import installed_package

pytest.importorskip("mcp")

SDK = "@modelcontextprotocol/sdk@1.32.2"
CLIENT = Path(__file__).parents[1] / "support" / "npm_client.mjs"
CALLS = [
    ("recording_status", {}),
    ("search_events", {"words": "the"}),
    ("search_events", {"words": "nothing has this"}),
    ("get_context", {"words": "the", "moments": 1}),
    ("get_transcript", {}),
    ("summarize_window", {"session": "last"}),
    ("summarize_window", {"last": "1s"}),
    ("list_sessions", {}),
    ("get_stats", {}),
    ("get_stats", {"by": "app"}),
    ("query_sql", {"query": "SELECT channel, count(*) AS n FROM events GROUP BY ALL"}),
    ("play_moment", {"at": "2026-11-21T03:05:40Z", "duration": "20s", "session": "last"}),
    ("wait_for", {"words": "ship", "seconds": 50}),
]


@pytest.fixture(scope="module")
def client():
    """Install the package once for this environment; return the path of the client."""
    folder = installed_package(SDK, "npm-client")
    # It finds packages beside itself.
    return shutil.copy(CLIENT, folder / CLIENT.name)


def said(text):
    message = {"channel": "transcript", "rtstream_id": "rts-1", "data": {"text": text, "is_final": True}}
    return json.dumps(message)


@pytest.mark.long
def test_it_runs_every_tool_and_hears_of_what_a_listener_records(client, listen, service, state, environ):
    listener = listen()
    listener.connected()
    service.request("replay", wait=True, speed=0.0)
    listener.receives(lambda event: event.get("event") == "capture_session.exported")
    command = ["node", client, sys.executable, "-m", "vdbevents", "mcp", str(state.path)]
    asked = {"calls": CALLS, "env": {**environ, **service.environ}}
    reported = []

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        running.stdin.write(json.dumps(asked))
        running.stdin.close()
        for line in running.stdout:
            told = json.loads(line)
            if "progress" in told:
                reported.append(told["progress"])
                if len(reported) == 1:
                    service.send(text=said("ship it"))
            elif "subscribed" in told:
                service.send(text=said("more"))
        assert running.wait() == 0

    answer = told["done"]
    assert set(answer["tools"]) == {name for name, _ in CALLS}
    for (name, arguments), result in zip(CALLS, answer["results"], strict=True):
        assert not result.get("isError"), (name, result)
        assert result["content"][0]["text"].startswith("Quoted from a recording"), (name, arguments)
        assert result["structuredContent"]["notice"], name
    played, waited = (result["structuredContent"] for result in answer["results"][-2:])
    assert played["stream_url"].startswith("http")
    assert [event["text"] for event in waited["events"]] == ["ship it"]
    assert reported[0]["total"] == 50
    assert answer["notified"] == "vdbevents://live"
    assert answer["resources"][0] == "vdbevents://live"
    assert answer["prompts"] == ["meeting_notes", "what_did_i_miss", "standup"]
