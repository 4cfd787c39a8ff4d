"""The progress of a session, and the info file of a capture."""

import json

import pytest
from hypothesis import given, strategies as st

from vdbevents.cloud import Export
from vdbevents.events.lifecycle import Stream
from vdbevents.sessions.capture_info import CaptureInfo, unended_sessions
from vdbevents.sessions.plan import Channel, Choice, Pipeline
from vdbevents.sessions.progress import SessionProgress

MIC = Stream("rts-1", "mic:default", "mic", "audio")
SCREEN = Stream("rts-2", "display:1", "screen", "video")
STATUSES = ["created", "starting", "active", "stopping", "stopped", "exported", "failed"]


@given(st.lists(st.sampled_from([*STATUSES, "", "unheard of"])))
def test_a_status_never_goes_back(statuses):
    life, before = SessionProgress(), -1
    for status in statuses:
        life.take(status)
        now = STATUSES.index(life.status) if life.status else -1
        assert now >= before
        before = now
    known = [status for status in statuses if status in STATUSES]
    assert life.status == (max(known, key=STATUSES.index) if known else "")


def test_a_failure_keeps_its_reason_when_reported_again_without_one():
    life = SessionProgress()
    life.take("failed", error="no credit")
    life.take("failed")

    assert (life.status, life.error, life.is_over, life.is_ended) == ("failed", "no credit", True, True)


def test_all_streams_are_kept_and_new_ones_returned():
    life = SessionProgress()

    assert life.take("active", [MIC]) == (MIC,)
    assert life.take("active", [SCREEN, MIC]) == (SCREEN,)
    assert life.take("active", []) == ()
    assert life.streams == (MIC, SCREEN)


def test_a_finished_export_is_never_overwritten():
    life = SessionProgress()
    life.take_export(Export("exported", "m-1"))
    life.take_export(Export("failed"), "too late")

    assert life.export == Export("exported", "m-1")
    assert life.export_error == ""
    assert life.is_export_decided


@pytest.fixture
def info():
    made = CaptureInfo("ada", "default", {"project": "apollo"}, [("deploy", "a deployment")])
    made.session_id, made.ws_id = "cap-1", "ws-1"
    made.life.take("active", [MIC, SCREEN])
    return made


def test_the_info_file_names_what_runs(info):
    info.choices = [Choice(Channel("mic:default", "M", "mic"), store=True, primary=False)]
    info.pipelines = [Pipeline("transcript", MIC, {"engine": None}, status="running", ws_id="ws-1")]
    info.event_ids["deploy"] = "event-1"
    info.token_expires_ms, info.began_ms = 1_772_446_530_123, 1_772_446_500_000
    content = json.loads(json.dumps(info.to_dict(pid=7, version="1.2.3", now_ms=1_772_446_531_000)))

    assert (content["pid"], content["version"], content["status"]) == (7, "1.2.3", "preparing")
    assert content["session"] == {
        "id": "cap-1",
        "collection_id": "default",
        "end_user_id": "ada",
        "metadata": {"project": "apollo"},
        "ws_id": "ws-1",
        "status": "active",
    }
    assert content["token"] == {"expires": "2026-03-02T10:15:30.123Z"}
    assert [channel["id"] for channel in content["channels"]] == ["mic:default"]
    assert [stream["id"] for stream in content["streams"]] == ["rts-1", "rts-2"]
    assert [(it["kind"], it["status"]) for it in content["pipelines"]] == [("transcript", "running")]
    assert content["alerts"] == [{"label": "deploy", "prompt": "a deployment", "event_id": "event-1"}]
    assert (content["started"], content["ended"]) == ("2026-03-02T10:15:00.000Z", None)
    assert content["export"] == dict.fromkeys(("status", "video_id", "stream_url", "player_url"))


def test_the_summary_has_the_duration_and_the_video(info):
    info.began_ms, info.ended_ms = 1_000, 3_500
    info.life.take_export(Export("exported", "m-1", "s", "p"))
    info.tally.counts.update(transcript=3, alert=1)
    summary = info.summary("/j")

    assert summary["duration_seconds"] == 2.5
    assert list(summary["events"].items()) == [("alert", 1), ("transcript", 3)]
    assert (summary["video_id"], summary["stream_url"], summary["player_url"]) == ("m-1", "s", "p")
    assert summary["journal"] == "/j"


def info_of(status, **more):
    return {"session": {"id": "cap-1", "collection_id": "c-1", "status": status}, **more}


@pytest.mark.parametrize("status", ["stopped", "exported", "failed"])
def test_an_ended_session_is_not_unended(status):
    assert unended_sessions(info_of(status)) == []


@pytest.mark.parametrize("status", ["created", "starting", "active", "stopping", "", None, 7])
def test_a_session_of_any_other_status_may_still_run(status):
    assert unended_sessions({**info_of(status), "status": "failed"}) == [("cap-1", "c-1")]


def test_unended_sessions_of_earlier_captures_are_passed_on_once():
    content = info_of("active", unended=[{"id": "cap-0"}, {"id": "cap-1", "collection_id": "c-1"}])

    assert unended_sessions(content) == [("cap-0", "default"), ("cap-1", "c-1")]


NAMES = st.sampled_from(["session", "unended", "id", "status", "collection_id"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(ANYTHING)
def test_any_info_file_gives_only_ids_that_are_texts(content):
    sessions = unended_sessions(
        content if isinstance(content, dict) else {"session": content, "unended": content}
    )

    assert all(isinstance(part, str) and part for pair in sessions for part in pair)


def test_an_info_file_without_a_session_is_an_object():
    content = CaptureInfo("ada", "default", {}, []).to_dict(pid=1, version="0", now_ms=0)

    assert content["session"]["id"] == ""
    assert unended_sessions(content) == []
