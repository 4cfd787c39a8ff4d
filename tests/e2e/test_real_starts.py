"""Commands in a new interpreter: most other tests fork a process that has loaded everything already."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from support import forkserver
from support.processes import ServiceInThread, run

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.jsonl"
SESSION = "cap-5f1d9c20"


@pytest.fixture
def service(started):
    return started(ServiceInThread(speed=0.0))


@pytest.fixture
def environ(environ, service, state):
    return {**environ, **service.environ, "VIDEODB_EVENTS_DIR": str(state.path)}


@pytest.fixture
def ends_both_ways(environ, tmp_path, monkeypatch):
    """Run a command in a fork and in a new interpreter, which have to end alike; return how they did."""

    def call(*arguments):
        ended = [run(arguments, environ, cwd=tmp_path)]
        monkeypatch.setenv("VDBEVENTS_TEST_REAL_STARTS", "1")
        ended.append(run(arguments, environ, cwd=tmp_path))
        forked, real = ((it.returncode, it.stdout, it.stderr) for it in ended)
        assert real == forked
        return ended[1]

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        *(("query", "-o", output) for output in ("text", "json", "csv")),
        ("query", "--unique", "--where", "length(text) > 3", "--around", "5s", "-o", "md"),
        *(("sql", "SELECT count(*) FROM events"), ("gaps",), ("cache", "build"), ("config", "--all")),
    ],
    ids=" ".join,
)
def test_a_command_on_a_journal_ends_alike(ends_both_ways, state, arguments):
    shutil.copyfile(EXAMPLE, state.journal)

    ended = ends_both_ways(*arguments)

    assert ended.returncode == (1 if arguments[0] == "gaps" else 0), ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [("streams",), ("pipelines", "list"), ("search", "latency"), ("clip", "--at", "@1795230340")],
    ids=" ".join,
)
def test_a_command_that_calls_the_service_ends_alike(ends_both_ways, service, listen, state, arguments):
    listener = listen()
    listener.connected()
    service.request("replay", wait=True)
    listener.receives(lambda event: event.get("event") == "capture_session.exported")
    state.capture_info.write_text(json.dumps({"session": {"id": SESSION, "collection_id": "default"}}))

    ended = ends_both_ways(*arguments)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


def test_checks_that_need_the_same_library_at_once_get_it_whole(environ, tmp_path, monkeypatch):
    monkeypatch.setenv("VDBEVENTS_TEST_REAL_STARTS", "1")
    elsewhere = {"VIDEO_DB_API": "http://service.invalid", "ALL_PROXY": "http://127.0.0.1:9"}
    ended = run(["doctor"], {**environ, **elsewhere}, cwd=tmp_path)

    assert "error    api          http://service.invalid: cannot connect through the proxy" in ended.stdout
    assert "ok       proxies      http://127.0.0.1:9, from ALL_PROXY" in ended.stdout
    assert "ok       runtime " in ended.stdout
    assert "the check failed" not in ended.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_the_environment_of_end_to_end_tests_lets_their_commands_be_forked(environ):
    with forkserver.Popen([sys.executable, "-m", "vdbevents", "--version"], env=environ) as process:
        assert process.is_forked
        assert process.wait() == 0
