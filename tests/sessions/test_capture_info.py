"""The info file has two writers, the capture and the listener: each has something newer."""

import pytest
from hypothesis import given, strategies as st

from vdbevents.events import lifecycle
from vdbevents.sessions import capture_info
from vdbevents.sessions.capture_info import CaptureInfo, merge_bindings
from vdbevents.sessions.plan import Pipeline, objects_in

MIC = lifecycle.Stream("rts-mic", "mic:default", "mic", "audio")
DISPLAY = lifecycle.Stream("rts-display", "display:1", "screen", "video")


def pipeline(kind="visual_index", stream_id="rts-display", **changes):
    return {"kind": kind, "stream_id": stream_id, "id": "idx-1", "ws_id": "ws-1", "status": "running",
            "bindings": 0, **changes}  # fmt: skip


BOUND = {"id": "idx-2", "ws_id": "ws-2", "bindings": 1, "former": ["idx-1"]}


def info(*pipelines, session="s-1", **more):
    return {"session": {"id": session}, "pipelines": list(pipelines), **more}


# Two writers


def test_a_rebinding_made_meanwhile_is_kept():
    other = pipeline("transcript", "rts-mic")
    mine = info(other, pipeline(), status="recording")

    written = info(pipeline("transcript", "rts-mic"), pipeline(**BOUND), status="starting")

    assert merge_bindings(mine, written) == info(other, pipeline(**BOUND), status="recording")


def test_a_newer_state_of_mine_wins():
    assert merge_bindings(info(pipeline(**BOUND)), info(pipeline())) == info(pipeline(**BOUND))
    failed = pipeline(status="failed", error="no")
    assert merge_bindings(info(failed), info(pipeline())) == info(failed)


def test_a_stopped_pipeline_stays_stopped_though_it_was_rebound():
    mine = info(pipeline(status="stopped"))

    assert merge_bindings(mine, info(pipeline(**BOUND))) == info(pipeline(**BOUND, status="stopped"))


def test_pipelines_of_another_kind_or_stream_are_not_merged():
    mine = info(pipeline(), pipeline("audio_index", "rts-mic"))
    written = info(pipeline(stream_id="rts-mic", **BOUND), pipeline("audio_index", **BOUND))

    assert merge_bindings(mine, written) == mine


def test_nothing_is_merged_from_an_earlier_session():
    mine = info(pipeline(), session="s-2")

    assert merge_bindings(mine, info(pipeline(**BOUND), session="s-1")) == mine


def test_a_pipeline_that_only_the_file_has_is_not_added():
    assert merge_bindings(info(), info(pipeline(**BOUND))) == info()


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"session": None},
        {"session": {"id": "s-1"}},
        {"session": {"id": "s-1"}, "pipelines": {}},
        {"session": {"id": "s-1"}, "pipelines": [None, 5, {}, {"kind": []}]},
        info(pipeline(id="idx-9", bindings=True)),
        info(pipeline(id="idx-9", bindings="9")),
    ],
)
def test_malformed_content_of_the_file_changes_nothing(written):
    mine = info(pipeline())

    assert merge_bindings(mine, written) == mine


@given(mine=st.integers(0, 3), written=st.integers(0, 3), status=st.sampled_from(["running", "stopped"]))
def test_merging_twice_changes_nothing(mine, written, status):
    ours = info(pipeline(id=f"mine-{mine}", bindings=mine, status=status))
    theirs = info(pipeline(id=f"written-{written}", bindings=written))
    once = merge_bindings(ours, theirs)

    assert merge_bindings(once, theirs) == once
    assert once["pipelines"][0]["bindings"] == max(mine, written)
    assert once["pipelines"][0]["status"] == status


# What the listener reports


@pytest.fixture
def capture():
    capture = CaptureInfo("user", "default", {}, [])
    capture.session_id = "s-1"
    capture.life.streams = (MIC, DISPLAY)
    capture.pipelines = [
        Pipeline("transcript", MIC, {}, ws_id="ws-1", status="running"),
        Pipeline("visual_index", DISPLAY, {}, id="idx-1", ws_id="ws-1", status="running"),
    ]
    return capture


def rebound(**changes):
    return {"capture_session_id": "s-1", **pipeline(**BOUND), "settings": {"prompt": "?"}, **changes}


def test_a_rebound_index_replaces_the_pipeline(capture):
    transcript = capture.pipelines[0]
    capture.apply_rebinding(rebound())

    assert capture.pipelines[0] is transcript
    bound = capture.pipelines[1]
    assert (bound.id, bound.ws_id, bound.former, bound.bindings) == ("idx-2", "ws-2", ("idx-1",), 1)
    assert bound.status == "running"


def test_a_rebound_transcript_has_no_id(capture):
    capture.apply_rebinding(rebound(kind="transcript", stream_id="rts-mic", id=None, former=[]))

    assert (capture.pipelines[0].id, capture.pipelines[0].ws_id) == ("", "ws-2")


@pytest.mark.parametrize(
    "changes",
    [
        {"capture_session_id": "s-2"},
        {"capture_session_id": None},
        {"bindings": 0},
        {"bindings": None},
        {"stream_id": "rts-other"},
        {"stream_id": "rts-mic"},
        {"kind": "dream"},
    ],
)
def test_older_and_foreign_rebindings_are_ignored(capture, changes):
    before = list(capture.pipelines)
    capture.apply_rebinding(rebound(**changes))

    assert capture.pipelines == before


def test_the_rebinding_with_the_higher_count_wins_in_any_order(capture):
    capture.apply_rebinding(rebound(bindings=2, id="idx-3"))
    capture.apply_rebinding(rebound(bindings=1, id="idx-2"))

    assert capture.pipelines[1].id == "idx-3"


def test_a_rebinding_survives_the_capture_s_next_write(capture):
    capture.apply_rebinding(rebound())
    mine = capture.to_dict(pid=1, version="1", now_ms=0)

    assert mine["pipelines"][1]["bindings"] == 1
    assert merge_bindings(mine, info(pipeline(bindings=0)))["pipelines"][1]["id"] == "idx-2"


# Lists in a file that anybody may have written


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, []),
        ({"a": None}, []),
        ({"a": {"x": 1}}, []),
        ({"a": "text"}, []),
        ({"a": []}, []),
        ({"a": [1, None, "x", [], {}, {"x": 1}]}, [{}, {"x": 1}]),
    ],
)
def test_only_objects_of_a_list_are_returned(content, expected):
    assert objects_in(content, "a") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"session": {"id": "s-1", "status": "active"}}, [("s-1", "default")]),
        ({"session": {"id": "s-1", "status": "stopped"}}, []),
        ({"session": {"id": "s-1"}, "unended": [{"id": "s-0", "collection_id": "c"}, {"id": "s-1"}, 5]},
         [("s-0", "c"), ("s-1", "default")]),
    ],
)  # fmt: skip
def test_each_unended_session_is_listed_once(content, expected):
    assert capture_info.unended_sessions(content) == expected
