"""The summary of a capture for a person has what its JSON has, in local time."""

from vdbevents.cli.capture_summary import summary_text
from vdbevents.cli.localtime import local_text

BEGAN_MS = 1_772_446_500_000
SUMMARY = {
    "session_id": "cap-1",
    "status": "exported",
    "started": "2026-03-02T10:15:00.000Z",
    "ended": "2026-03-02T10:45:30.000Z",
    "streams": [{"id": "rts-1", "name": "mic:default"}],
    "pipelines": [
        {"kind": "transcript", "stream_id": "rts-1", "id": None, "error": None},
        {"kind": "audio_index", "stream_id": "rts-1", "id": None, "error": "no \x1b[31mcredit"},
    ],
    "events": {"audio_index": 2, "transcript": 1200},
    "video_id": "m-1",
    "stream_url": "https://stream.example",
    "player_url": "https://player.example",
    "journal": "/state/videodb_events.jsonl",
    "error": None,
}


def rows(**changed):
    return dict(line.split(None, 1) for line in summary_text({**SUMMARY, **changed}).splitlines())


def test_a_summary_has_a_line_for_each_fact_in_local_time():
    assert rows() == {
        "session": "cap-1, exported",
        "recorded": f"30 min 30 s, {local_text(BEGAN_MS)} to {local_text(BEGAN_MS + 1_830_000)[11:]}",
        "streams": "mic:default",
        "failed": "audio_index of rts-1: no ␛[31mcredit",
        "events": "1,200 transcript, 2 audio_index",
        "video": "https://player.example",
        "journal": "/state/videodb_events.jsonl",
    }


def test_a_capture_that_failed_before_it_recorded_says_so():
    nothing = {"streams": [], "pipelines": [], "events": {}, "status": None, "video_id": None}
    failed = rows(started=None, ended=None, error="permission denied", **nothing)

    assert {name: failed[name] for name in ("recorded", "events", "video", "error")} == {
        "recorded": "nothing",
        "events": "none",
        "video": "none",
        "error": "permission denied",
    }
