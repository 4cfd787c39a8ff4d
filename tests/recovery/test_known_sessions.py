"""The sessions that a run knows, and when each had ended."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from support.recovery_lines import T

from vdbevents import cloud
from vdbevents.events import envelope
from vdbevents.journal import files
from vdbevents.journal.state import StateDirectory
from vdbevents.recovery.known_sessions import KnownSessions


@pytest.fixture
def state(tmp_path):
    return StateDirectory(tmp_path)


def write_info(state, session_id, status, **members):
    content = {"session": {"id": session_id, "status": status}, "pipelines": [], **members}
    files.replace_file(state.capture_info, json.dumps(content).encode())


def ended(session_id):
    return cloud.CloudSession(session_id, "c-1", "stopped", "user", "", (), "", "", "", {})


def known_sessions(state):
    async def in_thread(call):
        return call()

    return KnownSessions(SimpleNamespace(directory=state, in_thread=in_thread))


def test_the_end_of_a_session_is_remembered_after_another_one_has_taken_its_place(state):
    write_info(state, "s-1", "stopped", ended=envelope.utc_text(T))
    sessions = known_sessions(state)
    write_info(state, "s-2", "active")
    sessions.refresh()

    assert sessions.had_ended_before("s-1", T + 10_000)
    assert not sessions.had_ended_before("s-1", T)
    assert not sessions.had_ended_before("s-2", T + 10_000)
    assert not sessions.had_ended_before("s-3", T + 10_000)


def test_an_end_that_only_the_service_knows_counts_from_when_it_was_noticed(state):
    write_info(state, "s-1", "active")
    sessions = known_sessions(state)
    write_info(state, "s-2", "active")
    sessions.refresh()
    before_ms = files.wall_ms()

    for session_id in ("s-1", "s-2"):
        asyncio.run(sessions.mark_ended(ended(session_id)))
    sessions.refresh()

    for session_id in ("s-1", "s-2"):
        assert not sessions.had_ended_before(session_id, before_ms)
        assert sessions.had_ended_before(session_id, files.wall_ms() + 5_000)
