"""What a service, a disk or an earlier run may leave to a listener, and what it makes of it."""

import json

import pytest
from support.processes import eventually

from vdbevents.journal.files import replace_file


def has_text(text):
    return lambda event: isinstance(event.get("data"), dict) and event["data"].get("text") == text


@pytest.mark.parametrize(
    "text",
    [
        '{"channel":"\\ud800","data":{"text":"\\ud800"}}',
        '{"event":' + "[" * 1010 + "]" * 1010 + "}",
        '{"event":["x"],"channel":5,"data":{"text":"\\u001b]0;owned\\u0007"}}',
    ],
    ids=["half a surrogate pair", "a deep nest", "wrong types"],
)
def test_a_message_that_cannot_be_shown_is_recorded_and_the_next_run_starts(service, listen, text):
    for times in (1, 2):
        listener = listen()
        listener.connected(times)
        service.send(text=text)
        service.send(json={"channel": "transcript", "data": {"text": f"after {times}"}})
        listener.receives(has_text(f"after {times}"))
        assert listener.stop() == 0
        assert "Traceback" not in listener.err
        assert "\x1b" not in listener.err
        assert not listener.state.ws_pid.exists()


def test_malformed_stamps_of_other_recorders_do_not_keep_it_from_starting(listen, state):
    odd = ["1e400", "1772446530123456", "1e300", "-1e12", '"x"', "null", "[]"]
    state.journal.write_text("".join(f'{{"unix_ts":{stamp},"channel":"x"}}\n' for stamp in odd))
    listener = listen()

    listener.connected()
    told = eventually(
        lambda: state.listener_status.exists() and json.loads(state.listener_status.read_text())
    )
    assert told["events"]["channels"]["x"]["count"] == len(odd)


def test_a_gap_is_marked_by_the_first_run_that_connects(service, listen):
    killed = listen()
    killed.connected()
    killed.kill()
    service.fault(http={"status": 503})
    unlucky = listen()
    unlucky.says("retrying in")
    assert unlucky.stop() == 0
    service.fault(http=None)
    lucky = listen()
    lucky.connected(times=2)

    gap, *_ = eventually(lambda: lucky.own("listener.gap"))
    assert f"PID {killed.pid} " in gap["reason"]


def test_the_gap_of_a_killed_run_includes_what_it_held_in_memory(service, listen, state):
    status = {"state": "connected", "pid": 7, "written": "2026-03-02T10:15:30.000Z",
              "unwritten_since": "2026-03-02T10:15:20.000Z"}  # fmt: skip
    replace_file(state.listener_status, json.dumps(status).encode())
    listener = listen()
    listener.connected()

    gap, *_ = eventually(lambda: listener.own("listener.gap"))
    assert gap["since"] == "2026-03-02T10:15:20.000Z"


def test_an_id_that_could_not_be_written_is_written_later(service, listen, state):
    service.fault(init={"mode": "none"})
    listener = listen()
    eventually(lambda: service.state["opened"])
    state.ws_id.mkdir()
    (state.ws_id / "in the way").touch()
    service.send(json={"connection_id": service.state["newest"]})
    eventually(lambda: listener.own("listener.connected"))
    listener.says("cannot write videodb_ws_id")
    (state.ws_id / "in the way").unlink()
    state.ws_id.rmdir()
    service.send(json={"channel": "transcript", "data": {"text": "after"}})

    listener.connected()


def test_an_id_is_printed_in_any_terminal_encoding(service, listen, environ):
    service.fault(init={"mode": "preceded", "frames": ['{"connection_id":"wé😀"}']})
    listener = listen(environ={**environ, "PYTHONIOENCODING": "ascii"})

    listener.connected()
    eventually(lambda: listener.out == "WS_ID=wé😀\n")
