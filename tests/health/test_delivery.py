"""Which streams deliver, by the rules of docs/reliability.md."""

import pytest

from vdbevents.events.lifecycle import Stream
from vdbevents.health.delivery import Connection, Judge, last_events
from vdbevents.sessions.plan import Pipeline
from vdbevents.sessions.recorded_session import RecordedSession

NOW = 1_772_446_530_000
MIC = Stream("rts-1", "mic:default", "mic", "audio")
SCREEN = Stream("rts-2", "display:1", "screen", "video")
EVERY_30_S = {"batch": {"type": "time", "value": 30}}
EVERY_2_S = {"batch": {"type": "time", "value": 2}}
BY_WORDS = {"batch": {"type": "word", "value": 50}}


def ago(seconds):
    return NOW - int(seconds * 1000)


def pipeline(kind, stream, settings=None, **changes):
    return Pipeline(kind, stream, settings or {}, **{"ws_id": "ws-1", "status": "running", **changes})


def state_of(one, *, began=3600, connected=3600, stale_seconds=60.0, **last):
    """The state and the problem of one pipeline; `last` has the seconds since the last event of a kind."""
    session = RecordedSession("cap-1", "default", "ws-1", "active", ago(began), None, (one,), ())
    events = {(one.stream.id, kind): ago(seconds) for kind, seconds in last.items()}
    judge = Judge(session, events, Connection("ws-1", ago(connected)), stale_seconds, NOW)
    [health] = judge.judged([one.stream])
    assert health.state == health.pipelines[0].state
    return health.state, health.pipelines[0].problem


@pytest.mark.parametrize(
    ("every", "stale_seconds", "silent", "state"),
    [
        (EVERY_2_S, 60, 2, "delivers"),
        (EVERY_2_S, 60, 60, "delivers"),
        (EVERY_2_S, 60, 61, "stale"),
        (EVERY_2_S, 600, 599, "delivers"),
        ({"batch": {"type": "time", "value": 120}}, 60, 360, "delivers"),
        ({"batch": {"type": "time", "value": 120}}, 60, 361, "stale"),
        ({}, 60, 61, "stale"),
    ],
)
def test_a_screen_must_be_described_within_its_limit(every, stale_seconds, silent, state):
    one = pipeline("visual_index", SCREEN, every)

    assert state_of(one, stale_seconds=stale_seconds, visual_index=silent)[0] == state


def test_a_screen_has_its_time_after_the_beginning_and_after_each_connection():
    one = pipeline("visual_index", SCREEN, EVERY_2_S)

    assert state_of(one, began=30) == ("waiting", "")
    assert state_of(one, connected=30, visual_index=300) == ("waiting", "")
    assert state_of(one, connected=30, visual_index=3) == ("delivers", "")
    assert state_of(one) == ("stale", "silent")


@pytest.mark.parametrize(("silent", "state"), [(5, "delivers"), (61, "quiet"), (3000, "quiet")])
def test_nobody_need_speak(silent, state):
    assert state_of(pipeline("transcript", MIC), transcript=silent) == (state, "")
    assert state_of(pipeline("audio_index", MIC, EVERY_30_S), audio_index=silent) == (state, "")
    assert state_of(pipeline("transcript", MIC), began=20) == ("waiting", "")
    assert state_of(pipeline("transcript", MIC)) == ("quiet", "")


def test_what_was_transcribed_must_be_summarised_too():
    one = pipeline("audio_index", MIC, EVERY_30_S)

    assert state_of(one, audio_index=200, transcript=2) == ("stale", "silent")
    assert state_of(one, audio_index=200, transcript=111)[0] == "quiet"
    assert state_of(one, transcript=2) == ("stale", "silent")
    # An index by words says nothing for as long as few are spoken.
    assert state_of(pipeline("audio_index", MIC, BY_WORDS), audio_index=200, transcript=2)[0] == "quiet"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "starting"}, "not started"),
        ({"status": "starting", "error": "no credit"}, "not started: no credit"),
        ({"ws_id": "ws-0"}, "sends to the connection ws-0, which is gone"),
    ],
)
def test_a_pipeline_has_a_minute_to_run_and_to_be_bound_to_the_connection(changes, problem):
    one = pipeline("transcript", MIC, **changes)

    assert state_of(one, connected=59, transcript=1) == ("waiting", "")
    assert state_of(one, transcript=1) == ("stale", problem)


def test_a_pipeline_that_was_refused_delivers_nothing_at_once():
    one = pipeline("transcript", MIC, status="failed", error="no credit")

    assert state_of(one, connected=1) == ("stale", "not started: no credit")


def test_a_stream_is_as_good_as_its_pipelines():
    pipelines = (pipeline("transcript", MIC), pipeline("audio_index", MIC, EVERY_30_S))
    session = RecordedSession("cap-1", "default", "ws-1", "active", ago(3600), None, pipelines, ())
    connection = Connection("ws-1", ago(3600))

    def judged(**last):
        events = {("rts-1", kind): ago(seconds) for kind, seconds in last.items()}
        return [it.state for it in Judge(session, events, connection, 60.0, NOW).judged([MIC, SCREEN])]

    assert judged(transcript=2, audio_index=70) == ["delivers", "none"]
    assert judged(transcript=2, audio_index=170) == ["stale", "none"]
    assert judged() == ["quiet", "none"]


def test_the_last_events_are_read_from_the_listeners_status():
    entry = {"stream_id": "rts-1", "channel": "transcript", "last": "2026-03-02T10:15:30Z"}

    assert last_events({"streams": [entry, {**entry, "last": "soon"}, 5]}) == {("rts-1", "transcript"): NOW}
    assert last_events({"streams": 5}) == {}
