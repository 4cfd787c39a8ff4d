"""The status of a listener, from the content of its files."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vdbevents.cli.status import StatusFiles, gather, render
from vdbevents.journal.state import StateDirectory

DIRECTORY = StateDirectory(Path("/state"))
NOW = datetime(2026, 3, 2, 10, 15, 30, tzinfo=UTC).timestamp()
LISTENER = {
    "pid": 7,
    "state": "connected",
    "since": "2026-03-02T10:10:30Z",
    "ws_id": "ws-1",
    "reconnects": 2,
    "events": {"total": 3, "channels": {"transcript": {"count": 3, "last": "2026-03-02T10:15:28.5Z"}}},
    "gaps": 2,
    "unrecovered": 1,
    "stale": [],
}


def status_of(**changes):
    files = StatusFiles(
        running=True,
        listener_pid=7,
        listener=LISTENER,
        capture_pid=None,
        capture=None,
        journal_bytes=1500,
    )
    return gather(DIRECTORY, files._replace(**changes), NOW)


def test_a_connected_listener():
    status = status_of()

    assert (status["state"], status["for_seconds"], status["ws_id"]) == ("connected", 300.0, "ws-1")
    assert status["events"]["channels"]["transcript"]["age_seconds"] == 1.5
    shown = render(status)
    for part in ("connected    /state", "PID 7, ", "(for 5 min)", "2, 1 not recovered", "1.5 kB"):
        assert part in shown


def test_a_listener_that_has_ended_keeps_its_counts_and_nothing_live():
    status = status_of(running=False, listener_pid=None)

    assert (status["state"], status["ws_id"], status["gaps"]) == ("not running", None, 2)
    assert "vdbevents listen /state" in render(status)


def test_the_file_of_an_earlier_listener_is_not_used():
    status = status_of(listener_pid=8)

    assert (status["state"], status["pid"], status["gaps"]) == ("starting", 8, 0)


def test_a_stream_without_descriptions_makes_it_stale():
    stream = {"stream_id": "rts-1", "stream_name": "screen", "since": "2026-03-02T10:13:00Z"}
    status = status_of(listener={**LISTENER, "stale": [stream]})

    assert status["state"] == "stale"
    assert status["stale"] == [{**stream, "for_seconds": 150.0}]
    assert "screen, not described (for 2 min)" in render(status)


def test_a_capture_is_shown_with_its_session():
    capture = {"pid": 9, "status": "recording", "session": {"id": "cap-1"}}

    assert "PID 9, recording, session cap-1" in render(status_of(capture_pid=9, capture=capture))
    assert status_of(capture_pid=9, capture={**capture, "pid": 3})["capture"]["status"] == "running"


@pytest.mark.parametrize("value", [None, 5, "x", [1], {"a": 1}])
def test_values_of_a_wrong_type_are_dropped(value):
    wrong = {**dict.fromkeys((*LISTENER, "next_attempt", "disk_trouble", "last_error"), value), "pid": 7}
    status = status_of(listener=wrong)

    assert json.dumps(status)
    assert render(status)
