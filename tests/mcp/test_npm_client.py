"""The client of the npm package calls every tool on a real journal, and checks what it gets."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import patient

from vdbevents.emulator import replay_file

SDK = "@modelcontextprotocol/sdk@1.32.2"
CLIENT = Path(__file__).parents[1] / "support" / "npm_client.mjs"
SESSION = Path(replay_file.__file__).parent / "data" / "real-session.jsonl"
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
    ("wait_for", {"seconds": 1.5}),
]


@pytest.fixture(scope="module")
def client():
    """Install the package once for this environment; return the path of the client."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    folder = Path(sys.prefix) / "npm-client"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != SDK:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true}')
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", SDK]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install {SDK}: {(done.stderr or done.stdout).strip()[-200:]}")
        stamp.write_text(SDK)
    # It finds packages beside itself.
    return shutil.copy(CLIENT, folder / CLIENT.name)


@pytest.mark.long
def test_it_runs_every_tool_and_is_notified(client, tmp_path):
    journal = tmp_path / "state" / "videodb_events.jsonl"
    journal.parent.mkdir()
    shutil.copy(SESSION, journal)
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TZ": "UTC", "LANG": "C.UTF-8"}
    asked = {"calls": CALLS, "env": environ, "appendTo": str(journal), "line": '{"channel":"x"}\n'}
    command = ["node", client, sys.executable, "-m", "vdbevents", "mcp", str(journal.parent)]

    ended = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=patient(120)
    )

    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert set(answer["tools"]) == {name for name, _ in CALLS}
    for (name, arguments), result in zip(CALLS, answer["results"], strict=True):
        assert not result.get("isError"), (name, result)
        assert result["content"][0]["text"].startswith("Quoted from a recording"), (name, arguments)
        assert result["structuredContent"]["notice"], name
    assert answer["progress"][0]["total"] == 1.5
    assert answer["notified"] == "vdbevents://live"
    assert answer["resources"][0] == "vdbevents://live"
    assert answer["prompts"] == ["meeting_notes", "what_did_i_miss", "standup"]
