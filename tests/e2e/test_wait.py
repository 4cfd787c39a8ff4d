"""`vdbevents wait`, and `query --follow` with an end of its own, as a script meets them."""

import itertools
import json
import os
import signal

import pytest
from support.processes import Process, assert_failed, eventually, run

from vdbevents.events.envelope import utc_text
from vdbevents.journal.files import wall_ms


def line(text, **data):
    at_ms = wall_ms()
    event = {"ts": utc_text(at_ms), "unix_ts": at_ms / 1000, "channel": "transcript", "rtstream_id": "rts-1"}
    return json.dumps({**event, "data": {"text": text, **data}}) + "\n"


@pytest.fixture
def append(state):
    def write(*lines):
        with state.journal.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    return write


@pytest.fixture
def waiting(started, state, environ):
    return lambda *words: started(Process([*words, state.path], environ))


def test_what_is_said_ends_the_waiting_and_what_was_said_before_does_not(waiting, append):
    append(line("code before"))
    process = waiting("wait", "--grep", "code", "--fields", "text", "--timeout", "1h")
    numbers = itertools.count()

    # It says nothing when it begins to wait.
    eventually(
        lambda: append(line(f"code {next(numbers)}", is_final=False)) or process.process.poll() is not None
    )

    assert process.ends() == 0
    assert process.out.startswith("code ")
    assert process.out != "code before\n"
    assert (process.out.count("\n"), process.err) == (1, "")


def test_a_missing_journal_is_waited_for_and_a_cleared_one_goes_on(waiting, append, state):
    process = waiting("wait", "--any", "one", "--any", "two", "-m", "2", "-o", "jsonl", "--timeout", "1h")
    eventually(lambda: process.err)

    append(line("one", is_final=False, start=1.0, end=2.0), line("one, finished", start=1.0, end=3.0))
    eventually(lambda: "one" in process.out)
    os.truncate(state.journal, 0)
    append(line("three"), line("two"))

    assert process.ends() == 0
    assert [one["data"]["text"] for one in map(json.loads, process.out.splitlines())] == ["one", "two"]


def test_without_a_match_it_ends_with_the_time_or_with_ctrl_c(waiting, append, state, environ):
    append(line("one"))
    process = waiting("wait", "--grep", "two")
    ended = run(["wait", "--grep", "two", "--since", "-1h", "--timeout", "1s", state.path], environ)
    assert_failed(ended, 1)
    assert ended.stdout == ""
    ended = run(
        ["wait", "--since", "-1h", "--final", "-m", "2", "--timeout", "1s", "-o", "jsonl", state.path],
        environ,
    )
    assert_failed(ended, 1)
    assert ended.stdout == state.journal.read_text()

    eventually(lambda: process.process.poll() is not None or process.process.send_signal(signal.SIGINT))
    assert process.ends() in (130, -signal.SIGINT)


def test_following_ends_after_so_many_matches_or_some_time(append, state, environ):
    append(line("one"), line("two"), line("three"))

    ended = run(["query", "--follow", "-m", "2", "--fields", "text", state.path], environ)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "one\ntwo\n", "")
    ended = run(["query", "--follow", "--timeout", "1s", "--grep", "four", state.path], environ)
    assert_failed(ended, 1)


@pytest.mark.parametrize(
    ("words", "error_id"),
    [
        (["query", "-m", "2"], "option-missing"),
        (["query", "--timeout", "5m"], "option-missing"),
        (["query", "--follow", "--timeout", "soon"], "duration-invalid"),
        (["wait", "-o", "srt"], "options-conflict"),
        (["wait", "--full", "--width", "5"], "options-conflict"),
        (["wait", "-E", "--grep", "("], "pattern-invalid"),
        (["wait", "-m", "0"], None),
    ],
)
def test_what_does_not_end_or_is_wrong_is_refused(append, state, environ, words, error_id):
    append(line("one"))

    assert_failed(run([*words, state.path], environ), 2, error_id=error_id)


def test_a_misspelt_name_is_said_at_once_and_a_plain_number_is_seconds(append, state, environ):
    append(line("code"))
    misspelt = run(["wait", "--channel", "transcrip", "--timeout", "1", state.path], environ)
    assert_failed(misspelt, 1)
    said, hint, *_ = misspelt.stderr.splitlines()
    assert "'transcrip'" in said
    assert "--channel transcript" in hint
    known = run(["wait", "--channel", "alert", "--timeout", "0.1", state.path], environ)
    assert len(known.stderr.splitlines()) == 1
    for timeout in ("nan", "0", "soon"):
        refused = run(["wait", "--timeout", timeout, state.path], environ)
        assert_failed(refused, 2, error_id="duration-invalid")


def test_other_limits_take_seconds_and_durations_too(state, environ):
    for timeout in ("2", "2s", "1m"):
        assert_failed(run(["stop", "--timeout", timeout, state.path], environ), 3)
    for timeout in ("soon", "-1"):
        assert_failed(run(["stop", "--timeout", timeout, state.path], environ), 2)
