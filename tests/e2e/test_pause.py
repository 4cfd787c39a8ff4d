"""`vdbevents pause` and `resume` where no listener follows; `test_recovery.py` has those with one."""

import json

import pytest
from support.processes import assert_failed, run

from vdbevents.errors import ListenerStateError
from vdbevents.journal.files import replace_file, to_json, wall_ms
from vdbevents.journal.locks import ProcessLock
from vdbevents.listener.pause_request import await_listener
from vdbevents.listener.pause_watch import change_pauses


def pauses_of(state):
    return json.loads(state.pauses.read_text())["pauses"]


def test_without_a_listener_a_pause_is_noted_for_the_next(state, environ):
    begun = run(["pause", "30m", state.path], environ)
    open_ended = run(["pause", state.path], environ)
    resumed = run(["resume", state.path], environ)
    again = run(["resume", state.path], environ)
    wrong = run(["pause", "soon", state.path], environ)

    assert "for 30 min; no listener is running" in begun.stdout
    assert [ended.returncode for ended in (begun, open_ended, resumed, again)] == [0, 0, 0, 0]
    assert again.stdout == "not paused\n"
    assert_failed(wrong, 2, error_id="duration-invalid")
    (pause,) = pauses_of(state)
    assert (pause["until"], pause["noted"]) == (None, "")
    assert pause["since"] < pause["ended"]
    assert state.pauses.stat().st_mode & 0o777 == 0o600


def test_a_listener_that_follows_a_later_pause_is_no_failure_of_the_earlier_one(state):
    now_ms = wall_ms()
    lock = ProcessLock(state.listener_lock, AssertionError)
    try:
        replace_file(state.ws_pid, b"1")
        first = change_pauses(state, lambda known: known.begin("pause-1", now_ms, now_ms + 60_000))
        change_pauses(state, lambda known: known.begin("pause-2", now_ms, now_ms + 600_000))
        replace_file(state.listener_status, to_json({"pid": 1, **first.status(now_ms)}))
        with pytest.raises(ListenerStateError):
            await_listener(state, 0)
        last = change_pauses(state, lambda known: known)
        replace_file(state.listener_status, to_json({"pid": 1, **last.status(now_ms)}))
        assert await_listener(state, 0)
    finally:
        lock.release()
    assert not await_listener(state, 0)


def test_a_listener_that_does_not_confirm_is_reported(state, environ):
    lock = ProcessLock(state.listener_lock, AssertionError)
    try:
        replace_file(state.ws_pid, b"1")
        replace_file(state.listener_status, to_json({"pid": 1, "paused": False}))
        assert_failed(
            run(["pause", state.path, "--timeout", "0.2"], environ), 3, error_id="pause-unconfirmed"
        )
    finally:
        lock.release()
    assert len(pauses_of(state)) == 1
