"""A model asks a recording while a listener records it: the real program, and the package's own client."""

import json
import sys

import anyio
import pytest
from support.patience import patient

pytest.importorskip("mcp")

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from vdbevents.mcp.live_updates import LIVE

TOKEN = "ghp_" + "0123456789abcdef" * 2 + "0123"


@pytest.fixture
def asked(state, environ, service):
    """Returns what `use(client)` returns, with a client of `vdbevents mcp STATE …`."""

    def done(use, *arguments, **options):
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "vdbevents", "mcp", str(state.path), *arguments],
            env={**environ, **service.environ},
        )

        async def run():
            with anyio.fail_after(patient(90)):
                async with Client(parameters, **options) as client:
                    return await use(client)

        return anyio.run(run)

    return done


def said(text):
    return json.dumps(
        {"channel": "transcript", "rtstream_id": "rts-1", "data": {"text": text, "is_final": True}}
    )


def texts(result):
    assert not result.is_error, result.content[0].text
    return [event["text"] for event in result.structured_content["events"]]


@pytest.mark.long
def test_a_listener_records_while_a_client_waits_and_listens(asked, listen, service, state):
    listen().connected()
    reported = []

    async def use(client):
        async def note(done, total, message):
            if not reported:
                await anyio.to_thread.run_sync(lambda: service.send(text=said("ship it")))
            reported.append((done, total, message))

        waited = await client.call_tool("wait_for", {"words": "ship", "seconds": 50}, progress_callback=note)
        async with client.listen(resource_subscriptions=[LIVE]) as events:
            await anyio.to_thread.run_sync(lambda: service.send(text=said(f"the token is {TOKEN}")))
            event = await anext(aiter(events))
        # A write may be seen before it is whole.
        since = {"words": "token", "seconds": 20, "cursor": waited.structured_content["next"]}
        secret = await client.call_tool("wait_for", since)
        found = await client.call_tool("search_events", {"words": "token"})
        status = await client.call_tool("recording_status", {})
        live = await client.read_resource(LIVE)
        return waited, event, [secret, found], status, live

    waited, event, secrets, status, live = asked(use)

    assert texts(waited) == ["ship it"]
    assert reported[0][1] == 50
    assert str(event.uri) == LIVE
    for answer in secrets:
        assert texts(answer) == ["the token is [redacted:token]"]
        assert TOKEN not in answer.content[0].text
    assert TOKEN not in live.contents[0].text
    [recording] = status.structured_content["recordings"]
    assert (recording["state"], recording["is_recording"]) == ("connected", True)
    assert recording["directory"] == str(state.path)


@pytest.mark.long
def test_with_control_a_client_pauses_and_without_there_is_no_such_tool(asked, listen, service):
    listener = listen()
    listener.connected()

    async def use(client):
        names = {tool.name for tool in (await client.list_tools()).tools}
        if "pause" not in names:
            return names, []
        paused = await client.call_tool("pause", {"for": "10m"})
        await anyio.to_thread.run_sync(lambda: service.send(text=said("not for the record")))
        await anyio.to_thread.run_sync(lambda: service.send(text=said("nor this")))
        status = await client.call_tool("recording_status", {})
        resumed = await client.call_tool("resume", {})
        await anyio.to_thread.run_sync(lambda: service.send(text=said("again")))
        waited = await client.call_tool("wait_for", {"words": "again", "seconds": 20, "cursor": None})
        found = await client.call_tool("search_events", {"channel": "transcript"})
        return names, [paused, status, resumed, waited, found]

    names, answers = asked(use, "--allow-control")
    without, _ = asked(use)

    paused, status, resumed, _, found = answers
    assert names - without == {"pause", "resume"}
    assert paused.structured_content["is_followed"]
    assert status.structured_content["recordings"][0]["paused"]
    assert not resumed.structured_content["paused"]
    assert "not for the record" not in found.content[0].text


@pytest.mark.long
@pytest.mark.parametrize("speed", [0.0])
def test_a_moment_is_played_by_links_of_the_service(asked, listen, service, speed):
    listener = listen()
    listener.connected()
    service.request("replay", wait=True, speed=speed)
    listener.receives(lambda event: event.get("event") == "capture_session.exported")

    async def use(client):
        arguments = {"at": "2026-11-21T03:05:40Z", "duration": "20s", "session": "last"}
        played = await client.call_tool("play_moment", arguments)
        elsewhere = await client.call_tool("play_moment", {"at": "2020-01-01"})
        return played, elsewhere

    played, elsewhere = asked(use)

    assert not played.is_error, played.content[0].text
    data = played.structured_content
    assert data["stream_url"].startswith("http")
    assert data["player_url"].startswith("http")
    assert data["stream_url"] in played.content[0].text
    assert elsewhere.is_error
    assert "nothing was recorded then" in elsewhere.content[0].text
