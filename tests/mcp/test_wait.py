"""The tool that waits, while lines are written."""

import json
import threading

import anyio
import duckdb
import pytest
from mcp.client import Client
from support.journals import open_journal
from support.mcp_clients import answered, refused, served
from support.patience import patient

from vdbevents.journal.reader import end_of
from vdbevents.journal.state import StateDirectory
from vdbevents.mcp import wait_tool
from vdbevents.mcp.serving import opened_server
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal


def line(text, at=1772445600.0, **data):
    event = {"ts": "2026-03-02T10:00:00.000Z", "unix_ts": at, "channel": "transcript", "rtstream_name": "mic"}
    return json.dumps({**event, "data": {"text": text, "is_final": True, **data}}) + "\n"


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "state" / "videodb_events.jsonl"
    path.parent.mkdir()
    path.write_text(line("code before"))
    return path


def append(path, *lines):
    with path.open("a") as file:
        file.writelines(lines)


def texts(data):
    return [event["text"] for event in data["events"]]


def test_what_comes_while_it_waits_ends_it_with_progress_until_then(journal):
    reported = []

    async def note(done, total, message):
        reported.append((done, total, message))
        if len(reported) == 1:
            append(journal, line("something else"), line("the code"))

    async def asked():
        with opened_server(served(journal)) as server:
            async with Client(server) as client:
                arguments = {"words": "code", "seconds": 50}
                with anyio.fail_after(patient(50)):
                    return await client.call_tool("wait_for", arguments, progress_callback=note)

    data = anyio.run(asked).structured_content

    assert data["came"]
    assert texts(data) == ["the code"]
    assert reported[0][1] == 50
    assert "new line" in reported[0][2]


def test_without_a_match_it_ends_in_time_and_its_cursor_goes_on(journal):
    _, first = answered(served(journal), "wait_for", words="code", seconds=0.2)
    append(journal, line("code after"), line("other"))
    _, second = answered(served(journal), "wait_for", words="code", seconds=0, cursor=first["next"])
    _, third = answered(served(journal), "wait_for", words="code", seconds=0, cursor=second["next"])

    assert (first["came"], first["events"]) == (False, [])
    assert texts(second) == ["code after"]
    assert third["events"] == []


def test_a_cursor_outlives_a_rotation(journal):
    _, first = answered(served(journal), "wait_for", seconds=0)
    writing = open_journal(StateDirectory(journal.parent))
    writing.append([line("in the old file").encode()])
    writing.rotate(None)
    writing.append([line("in the new file", at=1772445700.0).encode()])
    writing.close()

    _, second = answered(served(journal), "wait_for", seconds=0, cursor=first["next"])
    append(journal, line("then"))
    _, third = answered(served(journal), "wait_for", seconds=0, cursor=second["next"])

    assert list((journal.parent / "archive").iterdir())
    assert texts(second) == ["in the old file", "in the new file"]
    assert texts(third) == ["then"]


def test_a_journal_that_was_replaced_is_said_to_be(journal):
    _, first = answered(served(journal), "wait_for", seconds=0)
    journal.unlink()
    journal.write_text(line("in the new file", at=1772445700.0))

    _, second = answered(served(journal), "wait_for", seconds=0, cursor=first["next"])
    append(journal, line("then"))
    _, third = answered(served(journal), "wait_for", seconds=0, cursor=second["next"])

    assert "replaced" in second["remarks"][0]
    assert texts(third) == ["then"]


def test_an_unfinished_sentence_counts_only_if_asked_for(journal):
    _, first = answered(served(journal), "wait_for", seconds=0)
    append(journal, line("the co", is_final=False, start=1.0, end=2.0))

    _, final = answered(served(journal), "wait_for", seconds=0, cursor=first["next"])
    _, early = answered(served(journal), "wait_for", seconds=0, cursor=first["next"], unfinished=True)

    assert texts(final) == []
    assert texts(early) == ["the co"]


def test_much_that_came_is_bounded_and_counted(journal):
    _, first = answered(served(journal), "wait_for", seconds=0)
    append(journal, *(line(f"code {number}", at=1772445600.0 + number) for number in range(100)))

    text, data = answered(served(journal), "wait_for", seconds=0, cursor=first["next"], max_tokens=300)

    assert len(text) <= 1200
    assert len(data["events"]) + data["left_out"] == 100
    assert data["left_out"] > 0


def test_several_journals_are_waited_for_together(journal, tmp_path):
    other = tmp_path / "desk" / "videodb_events.jsonl"
    other.parent.mkdir()
    other.write_text(line("code"))
    recording = served(journal, other)
    _, first = answered(recording, "wait_for", seconds=0)
    append(other, line("on the desk"))

    _, second = answered(recording, "wait_for", seconds=0, cursor=first["next"])
    append(journal, line("here"))
    _, third = answered(recording, "wait_for", seconds=0, cursor=second["next"])

    assert [(event["host"], event["text"]) for event in second["events"]] == [("desk", "on the desk")]
    assert [(event["host"], event["text"]) for event in third["events"]] == [("state", "here")]
    assert "cursor: not one of wait_for" in refused(served(journal), "wait_for", cursor=first["next"])


def test_a_call_that_is_given_up_leaves_no_thread(journal):
    async def asked():
        with opened_server(served(journal)) as server:
            async with Client(server) as client:
                with anyio.move_on_after(0.5):
                    await client.call_tool("wait_for", {"seconds": 50})
                return await client.call_tool("search_events", {"words": "code"})

    after = anyio.run(asked)

    assert texts(after.structured_content) == ["code before"]
    deadline = threading.Event()
    for _ in range(100):
        if not [thread for thread in threading.enumerate() if type(thread).__name__ == "_Watch"]:
            break
        deadline.wait(0.05)
    assert not [thread for thread in threading.enumerate() if type(thread).__name__ == "_Watch"]


def test_a_server_that_ends_interrupts_what_waits_without_a_traceback(journal, monkeypatch):
    class Interrupted:
        def __init__(self, *_):
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")

    monkeypatch.setattr(wait_tool, "Sieve", Interrupted)
    recording = HostJournal("desk", journal, "desk")
    watch = wait_tool._Watch(recording, Filters(), end_of(journal), threading.Event(), several=False)

    watch.run()

    assert watch.has_read.is_set()
    assert not watch.has_found
