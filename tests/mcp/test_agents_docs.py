"""The page on agents is a test: each answer in it is that of the tool, on the example of the other pages."""

import json
import re
from pathlib import Path

import pytest
from support.mcp_clients import ask, served

from vdbevents.journal.state import StateDirectory
from vdbevents.mcp.play_tool import PlayLinks

pytestmark = pytest.mark.long

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "agents.md"
EXAMPLES = [
    (name, json.loads(arguments), answer)
    for name, arguments, answer in re.findall(
        r"^```text\n> (\w+) (\{[^\n]*\})\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
]
# What names the streams of the session, as a capture writes it.
STARTED = {
    "ts": "2026-03-02T10:15:00.100Z",
    "unix_ts": 1772446500.1,
    "channel": "vdbevents",
    "event": "capture.started",
    "data": {
        "capture_session_id": "cap-1",
        "streams": [{"id": "rts-3", "name": "display:1", "source": "screen", "media": "video"}],
    },
}


def plain(text, folder):
    """What does not depend on the day, the folder and the speed of this machine."""
    text = text.replace(str(folder), "/home/ada/.local/state/videodb")
    return re.sub(r"nothing new after \d+ s", "nothing new after 25 s", text)


@pytest.fixture
def recording(tmp_path):
    journal = tmp_path / "videodb_events.jsonl"
    journal.write_bytes((DOCS / "example.jsonl").read_bytes())

    def make_links(stream, start, end):
        return PlayLinks(
            f"https://stream.example.com/{stream}/{start}-{end}.m3u8", f"https://play.example.com/{stream}"
        )

    return served(journal, make_links=make_links, controlled=StateDirectory(tmp_path))


@pytest.mark.parametrize(("name", "arguments", "answer"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_a_tool_answers_what_the_page_says(recording, tmp_path, name, arguments, answer):
    if name == "play_moment":
        journal = tmp_path / "videodb_events.jsonl"
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join([*lines[:1], json.dumps(STARTED) + "\n", *lines[1:]]))
    calls = [(name, {**arguments, "seconds": 0.1} if name == "wait_for" else arguments)]
    if name == "resume":
        calls.insert(0, ("pause", {}))

    result = ask(recording, *calls)[-1]

    shown = plain(result.content[0].text, tmp_path)
    if name == "resume":
        shown = re.sub(r"\d\.\d s", "12 s", shown)
    assert shown + "\n" == answer


def test_the_page_shows_each_tool(recording):
    import anyio
    from mcp.client import Client

    from vdbevents.mcp.serving import opened_server

    async def listed():
        with opened_server(recording) as server:
            async with Client(server) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

    assert [name for name, _, _ in EXAMPLES if name != "error"] == anyio.run(listed)
