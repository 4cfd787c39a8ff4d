"""A session as its info file describes it, and where its records can be fetched."""

import pytest
from hypothesis import given, strategies as st
from support.recovery_lines import DISPLAY, MIC, T

from vdbevents.events import envelope
from vdbevents.sessions import recorded_session


def info(**changes):
    return {
        "session": {"id": "s-1", "collection_id": "c-1", "ws_id": "ws-1", "status": "active"},
        "streams": [MIC._asdict(), DISPLAY._asdict()],
        "pipelines": [
            {"kind": "transcript", "stream_id": "rts-mic", "ws_id": "ws-1", "status": "running",
             "settings": {"engine": "deepgram"}},
            {"kind": "visual_index", "stream_id": "rts-display", "id": "idx-2", "ws_id": "ws-1",
             "status": "running", "former": ["idx-1"]},
        ],
        "alerts": [{"label": "deploy", "event_id": "ev-1"}, {"label": "never made", "event_id": None}],
        "ended": None,
        **changes,
    }  # fmt: skip


def test_an_info_file_is_read_as_a_session():
    session = recorded_session.session_from_info(info())

    assert session is not None
    assert (session.id, session.collection_id, session.ws_id) == ("s-1", "c-1", "ws-1")
    assert [(it.kind, it.stream, it.id) for it in session.pipelines] == [
        ("transcript", MIC, ""),
        ("visual_index", DISPLAY, "idx-2"),
    ]
    assert session.events == (("deploy", "ev-1"),)
    assert session.may_run


@pytest.mark.parametrize(
    "content", [{}, {"session": None}, {"session": {"id": ""}}, {"session": {"id": 5}}, {"session": []}]
)
def test_an_info_file_without_a_session_id_has_no_session(content):
    assert recorded_session.session_from_info(content) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*info(), "id", "kind", "stream_id"]), inner, max_size=5)
        ),
        max_leaves=20,
    )
)
def test_any_content_of_an_info_file_gives_a_session_or_none(content):
    wrong = content if isinstance(content, dict) else {"pipelines": content, "streams": content}

    session = recorded_session.session_from_info({"session": {"id": "s-1"}, **wrong})

    assert session is None or session.id


def test_the_sources_are_the_started_transcripts_and_each_index_once():
    content = info()
    content["pipelines"][1]["former"] = ["idx-1", "idx-2", "idx-1"]
    session = recorded_session.session_from_info(content)

    assert [(it.channel, it.stream_id, it.index_id, it.engine) for it in session.sources] == [
        ("transcript", "rts-mic", "", "deepgram"),
        ("visual_index", "rts-display", "idx-1", None),
        ("visual_index", "rts-display", "idx-2", None),
    ]


def test_a_transcript_that_was_never_started_is_not_a_source():
    content = info()
    content["pipelines"][0]["ws_id"] = None

    assert [it.channel for it in recorded_session.session_from_info(content).sources] == ["visual_index"] * 2


@pytest.mark.parametrize(
    ("status", "ended", "since_ms", "expected"),
    [
        ("active", None, T, True),
        ("stopped", None, T, True),
        ("stopped", envelope.utc_text(T), T - 1, True),
        ("stopped", envelope.utc_text(T), T + 899_999, True),
        ("stopped", envelope.utc_text(T), T + 900_000, False),
        ("failed", envelope.utc_text(T), T + 900_000, False),
    ],
)
def test_events_of_a_session_may_follow_for_a_while_after_its_end(status, ended, since_ms, expected):
    session = recorded_session.session_from_info(info(session={"id": "s-1", "status": status}, ended=ended))

    assert session.ran_after(since_ms) is expected


@pytest.mark.parametrize(
    ("status", "ended", "since_ms", "expected"),
    [
        ("active", envelope.utc_text(T), T + 900_000, False),
        ("stopped", None, T, False),
        ("stopped", envelope.utc_text(T), T + 4_999, False),
        ("stopped", envelope.utc_text(T), T + 5_000, True),
        ("failed", envelope.utc_text(T), T + 5_000, True),
    ],
)
def test_nothing_was_sent_of_a_session_a_moment_after_its_end(status, ended, since_ms, expected):
    session = recorded_session.session_from_info(info(session={"id": "s-1", "status": status}, ended=ended))

    assert session.had_ended_before(since_ms) is expected


@pytest.mark.parametrize(
    ("status", "ws_id", "expected"),
    [
        ("running", "ws-1", 1),
        ("running", "ws-2", 0),
        ("running", None, 0),
        ("failed", "ws-1", 0),
        ("stopped", "ws-1", 0),
        ("starting", "ws-1", 0),
    ],
)
def test_running_pipelines_of_another_connection_are_unbound(status, ws_id, expected):
    content = info()
    content["pipelines"] = [{**content["pipelines"][0], "status": status, "ws_id": ws_id}]

    assert len(recorded_session.unbound(recorded_session.session_from_info(content), "ws-2")) == expected
