"""The events of a session that the journal lacks."""

import pytest
from support.recovery_lines import DISPLAY, MIC

from vdbevents import cloud
from vdbevents.events import lifecycle
from vdbevents.recovery.session_follower import missing_events


def answer(status, export_status="", video_id="", error="", streams=()):
    return cloud.CloudSession("s-1", "c-1", status, "user", "", streams, export_status, video_id, error, {})


@pytest.mark.parametrize(
    ("status", "known", "expected"),
    [
        ("active", [], ["active"]),
        ("active", ["created", "starting"], ["active"]),
        ("active", ["active"], []),
        ("stopped", ["active"], ["stopped"]),
        ("stopping", ["stopped"], []),
        ("starting", ["active"], []),
        ("failed", ["active", "stopping", "stopped"], ["failed"]),
        ("failed", ["failed"], []),
        ("something new", [], []),
        ("", ["active"], []),
    ],
)
def test_only_statuses_beyond_the_known_ones_become_events(status, known, expected):
    assert [it["status"] for it in missing_events(answer(status), known)] == expected


def test_missing_events_have_the_service_s_form():
    (active,) = missing_events(answer("active", streams=(MIC, DISPLAY)), [])
    (failed,) = missing_events(answer("failed", error="the screen is locked"), ["active"])
    stopped, exported = missing_events(answer("stopped", "exported", "m-1"), ["active"])

    assert lifecycle.lifecycle_of(active).streams == (MIC, DISPLAY)
    assert lifecycle.lifecycle_of(failed).error == "the screen is locked"
    assert lifecycle.lifecycle_of(stopped)[:2] == ("s-1", "stopped")
    assert exported == {
        "event": "capture_session.exported",
        "capture_session_id": "s-1",
        "status": "exported",
        "data": {"exported_video_id": "m-1"},
    }
    assert missing_events(answer("stopped", "exported", "m-1"), ["stopped", "exported"]) == []
