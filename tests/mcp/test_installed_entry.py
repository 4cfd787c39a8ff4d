"""What `vdbevents mcp install` writes starts the server, in the environment that clients leave it."""

import json
import os

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.journals import recent_journal
from support.patience import patient
from support.processes import run


def test_a_client_starts_the_server_from_its_configuration(tmp_path):
    state = tmp_path / "my state"
    state.mkdir()
    recent_journal(state / "videodb_events.jsonl")
    settings = {
        "VIDEODB_EVENTS_DIR": str(state),
        "TZ": "Asia/Tokyo",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    environ = {"HOME": str(tmp_path), "LANG": "C.UTF-8", "PATH": os.environ["PATH"], **settings}
    assert run(["mcp", "install", "--client", "cursor", "--write"], environ).returncode == 0
    entry = json.loads((tmp_path / ".cursor" / "mcp.json").read_text())["mcpServers"]["vdbevents"]

    async def status():
        # Nothing of this process's environment but HOME, PATH and the like.
        parameters = StdioServerParameters(
            command=entry["command"], args=entry["args"], env=entry.get("env"), cwd="/"
        )
        with anyio.fail_after(patient(60.0)):
            async with Client(stdio_client(parameters)) as client:
                return await client.call_tool("recording_status", {})

    result = anyio.run(status)

    assert entry["env"] == {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TZ": "Asia/Tokyo"}
    assert not result.is_error
    assert str(state) in result.content[0].text
    assert "UTC+09:00" in result.content[0].text
