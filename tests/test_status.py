"""The status of a directory, from the content of its files, as a person and a program see it."""

import io
import json
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from vdbevents.cli import status as command
from vdbevents.cli.status import exit_code, headline, render
from vdbevents.health.observation import Observation, Process, Sealing
from vdbevents.health.recording_status import RecordingStatus, to_dict
from vdbevents.journal.state import StateDirectory
from vdbevents.privacy.pauses import Pauses

NOW = int(datetime(2026, 3, 2, 10, 15, 30, tzinfo=UTC).timestamp() * 1000)
RUNS, NONE = Process(True, 7), Process(False, None)
LISTENER = {
    "pid": 7,
    "state": "connected",
    "since": "2026-03-02T10:10:30Z",
    "ws_id": "ws-1",
    "reconnects": 2,
    "events": {"total": 3, "channels": {"transcript": {"count": 3, "last": "2026-03-02T10:15:28.5Z"}}},
    "streams": [
        {"stream_id": "rts-1", "channel": "transcript", "last": "2026-03-02T10:15:28.5Z"},
        {"stream_id": "rts-2", "channel": "visual_index", "last": "2026-03-02T10:15:29Z"},
    ],
    "gaps": 2,
    "unrecovered": 1,
    "stale_after": 60.0,
    "seals": True,
    "written": "2026-03-02T10:15:29Z",
}
LOST = {
    "state": "waiting",
    "since": "2026-03-02T10:15:20Z",
    "ws_id": None,
    "last_error": "no connection",
    "disconnected_since": "2026-03-02T10:06:30Z",
    "lost_connections": 1,
    "failed_attempts": 14,
    "blind_since": "2026-03-02T10:06:30Z",
    "blind_reason": "closed with code 1006",
}
INFO = {
    "pid": 9,
    "status": "recording",
    "started": "2026-03-02T10:00:30Z",
    "session": {"id": "cap-1", "status": "active"},
    "channels": [{"id": "mic:default"}],
    "streams": [
        {"id": "rts-1", "name": "mic:default", "source": "mic", "media": "audio"},
        {"id": "rts-2", "name": "display:1", "source": "screen", "media": "video"},
    ],
    "pipelines": [
        {"kind": "transcript", "stream_id": "rts-1", "ws_id": "ws-1", "status": "running"},
        {"kind": "visual_index", "stream_id": "rts-2", "ws_id": "ws-1", "status": "running",
         "settings": {"batch": {"type": "time", "value": 2}}},
    ],
}  # fmt: skip
CAPTURES = {"capture": Process(True, 9), "info": INFO}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    """Local times are shown; Windows takes no zone from its environment."""
    set_zone = getattr(time, "tzset", lambda: None)
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC")
        set_zone()
        yield
    set_zone()


def status_of(*, now_ms=NOW, **changes):
    observed = Observation(
        listener=RUNS,
        capture=NONE,
        backend=NONE,
        status=LISTENER,
        info={},
        served={},
        journal_bytes=1500,
        free_bytes=5_000_000_000,
        sealing=Sealing(1000, 500),
    )
    return to_dict(RecordingStatus(observed._replace(**changes), now_ms), "/state", "/state/events.jsonl")


def with_screen(**last):
    """A listener's status in which a screen was described last at a time, or never."""
    streams = [LISTENER["streams"][0], *({**LISTENER["streams"][1], "last": at} for at in last.values())]
    return {**LISTENER, "streams": streams}


def test_a_connected_listener_without_a_capture():
    status = status_of()

    assert (status["state"], status["for_seconds"], status["ws_id"]) == ("connected", 300.0, "ws-1")
    assert status["events"]["channels"]["transcript"]["age_seconds"] == 1.5
    assert (status["capture"], status["problems"], exit_code(status["state"])) == (None, [], 0)
    assert headline(status) == "connected, capture none"
    shown = render(status)
    for row in ("directory  /state\n", "capture    none\n", "backend    none\n", "disk       4.7 GiB left"):
        assert f"\n  {row}" in shown
    assert "archive" not in shown
    assert "archive    2 journals set aside, 2.9 KiB\n" in render(status_of(archive=(1000, 2000)))
    for part in (
        "PID 7, connected for 5 min as ws-1",
        "2, 1 not recovered",
        "1.5 KiB",
        "1000 B sealed, 500 B not yet",
    ):
        assert part in shown


def test_a_capture_is_shown_with_what_each_stream_delivers():
    status = status_of(**CAPTURES)

    assert (status["state"], headline(status)) == (
        "connected",
        "recording for 15 min: mic:default, display:1",
    )
    capture = status["capture"]
    assert (capture["session_id"], capture["pid"], capture["recorded_by"]) == ("cap-1", 9, "capture")
    assert [(one["name"], one["state"], one["age_seconds"]) for one in capture["streams"]] == [
        ("mic:default", "delivers", 1.5),
        ("display:1", "delivers", 1.0),
    ]
    shown = render(status)
    assert "recording since 2026-03-02 10:00:30 for 15 min, PID 9\n  session    cap-1\n" in shown
    assert "display:1    delivers  visual index 1 s ago" in shown


def test_an_outage_is_told_from_the_moment_of_the_loss():
    status = status_of(status={**LISTENER, **LOST}, **CAPTURES)

    assert (status["state"], status["since"]) == ("disconnected", "2026-03-02T10:06:30.000Z")
    assert (status["disconnected_seconds"], status["reconnects"], exit_code(status["state"])) == (540.0, 2, 5)
    assert headline(status) == "disconnected for 9 min: no connection"
    assert [(gap["since"], gap["until"], gap["ongoing"]) for gap in status["open_gaps"]] == [
        ("2026-03-02T10:06:30.000Z", None, True)
    ]
    assert [one["state"] for one in status["capture"]["streams"]] == ["unknown", "unknown"]
    shown = render(status)
    assert "2, connections lost 1, 14 failed attempts since" in shown
    assert "open from 2026-03-02 10:06:30 to now: closed with code 1006" in shown


def test_a_listener_that_never_connected_is_connecting():
    never = {**LISTENER, **LOST, "blind_since": None, "lost_connections": 0}
    status = status_of(status=never)

    assert (status["state"], status["for_seconds"], status["open_gaps"]) == ("connecting", 540.0, [])


def test_a_listener_that_was_killed_in_an_outage_is_not_running_since_its_last_sign_of_life():
    status = status_of(listener=NONE, status={**LISTENER, **LOST, "written": "2026-03-02T10:10:30Z"})

    assert (status["state"], status["for_seconds"], exit_code(status["state"])) == ("not running", 300.0, 3)
    assert headline(status) == "not running for 5 min: the listener (PID 7) ended unexpectedly"
    assert [gap["since"] for gap in status["open_gaps"]] == ["2026-03-02T10:06:30.000Z"]


def test_a_listener_that_has_ended_keeps_its_counts_and_nothing_live():
    status = status_of(listener=NONE, status={**LISTENER, "state": "stopped"})

    assert (status["state"], status["ws_id"], status["gaps"], status["open_gaps"]) == (
        "not running",
        None,
        2,
        [],
    )
    assert (status["since"], status["reason"]) == ("2026-03-02T10:15:29.000Z", None)
    assert "vdbevents listen /state" in render(status)
    assert headline(status_of(listener=NONE, status={}, journal_bytes=None)) == "not running"


def test_a_copy_on_another_machine_says_nothing_of_an_outage():
    status = status_of(listener=NONE, status={**LISTENER, **LOST, "host": "laptop"}, host="desk")

    assert (status["state"], status["open_gaps"]) == ("not running", [])
    assert headline(status) == "not running for 1 s: its last listener is that of laptop"
    here = status_of(listener=NONE, status={**LISTENER, **LOST, "host": "desk"}, host="desk")
    assert len(here["open_gaps"]) == 1


def test_the_file_of_an_earlier_listener_is_not_used():
    status = status_of(listener=Process(True, 8))

    assert (status["state"], status["pid"], status["gaps"]) == ("starting", 8, 0)


def test_old_information_is_no_health():
    status = status_of(now_ms=NOW + 60_000, **CAPTURES)

    assert (status["state"], status["written_age_seconds"], exit_code(status["state"])) == (
        "not responding",
        61.0,
        5,
    )
    full = status_of(now_ms=NOW + 60_000, free_bytes=0)
    assert full["reason"] == "the disk has no room for its status"
    ahead = status_of(now_ms=NOW - 60_000)
    assert ahead["state"] == "not responding"


def test_a_full_disk_is_noticed_by_its_listener_and_without_it():
    trouble = {"disk_trouble": "No space left on device", "unwritten_since": "2026-03-02T10:15:00Z"}
    status = status_of(status={**LISTENER, **trouble}, **CAPTURES)

    assert (status["state"], headline(status), exit_code(status["state"])) == (
        "not writing", "not writing for 30 s: No space left on device", 5,
    )  # fmt: skip
    assert "holding events in memory since" in render(status)
    assert headline(status_of(free_bytes=4096)) == "not writing: the disk is full"


def test_a_screen_that_is_silent_makes_the_status_stale():
    status = status_of(**CAPTURES, status=with_screen(display="2026-03-02T10:13:00Z"))

    assert (status["state"], exit_code(status["state"])) == ("stale", 5)
    assert headline(status) == "stale: display:1: visual index silent for 2 min"
    assert [(one["stream_name"], one["for_seconds"]) for one in status["stale"]] == [("display:1", 150.0)]
    assert status_of(**CAPTURES, status=with_screen(display="2026-03-02T10:14:31Z"))["state"] == "connected"
    assert status_of(**CAPTURES, status=with_screen())["state"] == "stale"


def test_the_listener_s_own_finding_counts_where_no_capture_is_known():
    stream = {"stream_id": "rts-1", "stream_name": "screen", "since": "2026-03-02T10:13:00Z"}
    status = status_of(status={**LISTENER, "stale": [stream]})

    assert status["state"] == "stale"
    assert status["stale"] == [{**stream, "since": "2026-03-02T10:13:00.000Z", "for_seconds": 150.0}]
    assert headline(status) == "stale: screen: visual index silent for 2 min"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"paused": True, "paused_since": "2026-03-02T10:05:30Z"}, "paused for 10 min"),
        ({"paused": True, "paused_until": "2036-03-02T10:30:00Z"}, "paused until 2036-03-02 10:30"),
        ({"exclude": {"hours": ["10:00-11:00"]}}, "paused: the hours 10:00-11:00 are excluded"),
    ],
)
def test_a_pause_is_no_recording_and_judges_no_stream(members, said):
    status = status_of(**CAPTURES, status={**with_screen(), **members})

    assert (status["state"], exit_code(status["state"]), headline(status)) == ("paused", 5, said)
    assert {one["state"] for one in status["capture"]["streams"]} == {"paused"}
    assert ("vdbevents resume /state" in render(status)) is status["paused"]


def test_a_pause_that_the_next_listener_follows_is_shown():
    noted = Pauses().begin("pause-1", NOW - 1000, NOW + 60_000).to_dict()
    status = status_of(listener=NONE, pauses=noted)

    assert (status["state"], status["paused"]) == ("not running", True)
    assert status["paused_until"] == "2026-03-02T10:16:30.000Z"
    assert "\n  pause      until" in render(status)
    assert "vdbevents resume /state" in render(status)
    assert not status_of(listener=NONE, pauses=noted, now_ms=NOW + 60_001)["paused"]


def test_a_pause_ends_at_its_time_and_not_when_it_is_written_down():
    over = {"paused": True, "paused_until": "2026-03-02T10:15:30Z", "exclude": {"hours": ["11:00-12:00"]}}

    assert status_of(status={**LISTENER, **over})["state"] == "connected"


def test_an_excluded_source_is_not_said_to_deliver():
    excluded = {**with_screen(), "exclude": {"sources": ["screen"]}}
    status = status_of(**CAPTURES, status=excluded)

    assert (status["state"], status["capture"]["streams"][1]["state"]) == ("connected", "excluded")
    assert headline(status) == "recording for 15 min: mic:default; excluded: display:1"
    assert "display:1    excluded  not written" in render(status)


def test_the_rules_in_force_are_shown():
    rules = {"redact": ["api_key", "card"], "exclude": {"sources": ["mic"], "words": 2}, "excluded": 7}
    shown = render(status_of(status={**LISTENER, **rules}))

    assert "  redaction  api_key, card\n" in shown
    assert "exclusion  sources mic, words 2; 7 events left out" in shown
    assert "  redaction  none" in render(status_of(status={**LISTENER, "redact": []}))


def test_a_capture_and_a_backend_that_were_killed_are_no_health():
    status = status_of(info=INFO)
    assert (status["state"], status["capture"]) == ("capture ended", None)
    assert headline(status) == "the capture (PID 9) ended unexpectedly"
    assert "vdbevents session end --session cap-1 --dir /state" in render(status)

    ended = {**INFO, "session": {"id": "cap-1", "status": "stopped"}}
    assert status_of(info=ended)["state"] == "connected"
    failed = status_of(info={**INFO, "status": "failed", "error": "no microphone"})
    assert failed["state"] == "connected"
    assert "the last one failed: no microphone" in render(failed)

    served = {"pid": 11, "url": "https://backend.example", "since": "2026-03-02T10:00:30Z"}
    assert status_of(served=served)["state"] == "backend ended"


def test_the_session_of_a_backend_is_that_of_another_machine():
    served = {"pid": 11, "url": "https://backend.example", "since": "2026-03-02T10:00:30Z"}
    info = {**INFO, "pid": 11, "channels": []}
    status = status_of(backend=Process(True, 11), served=served, info=info)

    assert (status["state"], status["capture"]["recorded_by"], status["capture"]["pid"]) == (
        "connected",
        "backend",
        None,
    )
    shown = render(status)
    assert "recorded elsewhere, for the backend here\n  session    cap-1\n" in shown
    assert "PID 11, https://backend.example for 15 min" in shown
    # A capture of it on this machine has no info file of its own.
    here = status_of(capture=Process(True, 9), backend=Process(True, 11), served=served, info=info)
    assert (here["capture"]["pid"], here["capture"]["session_id"]) == (9, "cap-1")


def test_a_backend_without_a_session_needs_no_listener_yet():
    served = {"pid": 11, "url": "https://backend.example", "since": "2026-03-02T10:00:30Z"}
    backend = {"listener": NONE, "backend": Process(True, 11), "served": served}
    for before in ({}, {**LISTENER, "state": "stopped"}):
        status = status_of(**backend, status=before)
        assert (status["state"], exit_code(status["state"])) == ("serving", 0)
        assert headline(status) == "backend serving, capture none"
    # One that was killed, or that a session is without, is missed.
    assert status_of(**backend)["state"] == "not running"
    session = {**INFO, "pid": 11, "channels": []}
    assert status_of(**backend, status={}, info=session)["state"] == "not running"


def test_a_capture_for_a_backend_elsewhere_cannot_be_judged_here():
    status = status_of(listener=NONE, status={}, capture=Process(True, 9))

    assert (status["state"], exit_code(status["state"])) == ("not running", 3)
    assert "recorded by a backend elsewhere" in headline(status)
    assert "vdbevents listen" not in render(status)


def test_what_is_wrong_besides_is_shown_too():
    status = status_of(status={**LISTENER, **LOST}, info=INFO)

    assert [problem["state"] for problem in status["problems"]] == ["disconnected", "capture ended"]
    assert "also       capture ended: the capture (PID 9) ended unexpectedly" in render(status)


@pytest.mark.parametrize("value", [None, 5, "x", [1], {"a": 1}])
def test_values_of_a_wrong_type_are_dropped(value):
    names = (
        *LISTENER,
        *LOST,
        "next_attempt",
        "disk_trouble",
        "open_gaps",
        "redact",
        "exclude",
        "paused_until",
    )
    wrong = {**dict.fromkeys(names, value), "pid": 7}
    odd = {**dict.fromkeys(INFO, value), "pid": 9}
    for info, runs in ((odd, True), ({**INFO, "pipelines": value, "started": value}, True), (odd, False)):
        ids = {"listener": 7, "capture": 9, "backend": 11}
        processes = {name: Process(runs, pid) for name, pid in ids.items()}
        served = {"pid": 11, "url": value, "since": value}
        status = status_of(status=wrong, info=info, served=served, **processes)
        assert json.dumps(status)
        assert render(status)
        assert headline(status)


def test_text_from_outside_is_harmless():
    status = status_of(status={**LISTENER, **LOST, "last_error": "\x1b[2Jgone"}, info=INFO)

    assert "\x1b" not in headline(status) + render(status)


class _EndsError(Exception):
    """The test has seen enough."""


@pytest.mark.parametrize("size", [(80, 24), (20, 6)])
def test_watching_on_a_terminal_replaces_what_was_shown(monkeypatch, tmp_path, size):
    outside = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(outside, "utf-8"))
    monkeypatch.setattr(command, "is_terminal", lambda _: True)
    monkeypatch.setattr(command, "can_redraw", lambda *_: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: size)
    pauses = iter([None, None])

    def sleep(_):
        if next(pauses, _EndsError) is _EndsError:
            raise _EndsError

    # Threads of other tests may sleep too.
    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(_EndsError):
        command._watch(StateDirectory(tmp_path), 1.0, short=False, as_json=False)

    screens = outside.getvalue().decode().split("\x1b[J")[:-1]
    assert len(screens) == 3
    rows = [screen.count("\n") for screen in screens]
    assert 1 < rows[0] < size[1]
    assert [screen.startswith(f"\x1b[{rows[0]}A") for screen in screens] == [False, True, True]
    assert all(len(line.removeprefix("\x1b[2K")) <= size[0] for line in screens[0].splitlines())


def test_on_a_narrow_terminal_a_path_and_a_command_stay_whole():
    path = "/home/ada/recordings/of the/year/2026"
    shown = render(status_of(listener=NONE) | {"directory": path}, 40)

    assert f"vdbevents listen {path}" in shown.splitlines()[-1]
    assert all(line.startswith(" ") for line in shown.splitlines()[1:])
    assert "…" not in shown
    assert [line for line in shown.splitlines() if len(line) > 40] == [shown.splitlines()[-1]]
