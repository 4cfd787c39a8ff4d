"""The status and the streams of a session are read from events of every known shape."""

import pytest
from hypothesis import example, given, strategies as st

from vdbevents.events import lifecycle

STREAM = {"rtstream_id": "rts-1", "name": "mic:default", "media_types": ["audio"]}


HEARD = lifecycle.Stream("rts-1", "mic:default", "mic", "audio")


@pytest.mark.parametrize(
    ("item", "stream"),
    [
        pytest.param(STREAM, HEARD, id="the document's"),
        pytest.param({"id": "rts-1", "name": "mic:default"}, HEARD, id="id"),
        pytest.param({"stream_id": "rts-1", "name": "mic:default"}, HEARD, id="stream_id"),
        pytest.param({"rtstreamId": "rts-1", "name": "mic:default"}, HEARD, id="rtstreamId"),
        pytest.param(
            {"rtstream_id": "rts-1", "id": "other", "stream_id": "other", "name": "mic:default"},
            HEARD,
            id="more than one id",
        ),
        pytest.param({"id": "rts-1", "channel_id": "mic:default"}, HEARD, id="channel_id"),
        pytest.param({"id": "rts-1", "channel_name": "mic:default"}, HEARD, id="channel_name"),
        pytest.param({"id": "rts-1", "rtstream_name": "mic:default"}, HEARD, id="rtstream_name"),
        pytest.param(
            {"id": "rts-1", "name": "Capture mic - cap-83e6"},
            lifecycle.Stream("rts-1", "Capture mic - cap-83e6", "mic", "audio"),
            id="a name for people",
        ),
        pytest.param(
            {"id": "rts-1", "name": "My desk", "channel_id": "display:1"},
            lifecycle.Stream("rts-1", "My desk", "screen", "video"),
            id="the kind is in the channel's id",
        ),
        pytest.param(
            {"id": "rts-1", "name": "Capture System Audio - cap-1"},
            lifecycle.Stream("rts-1", "Capture System Audio - cap-1", "system_audio", "audio"),
            id="system audio in two words",
        ),
        pytest.param(
            {"id": "rts-1", "name": "screen:1"},
            lifecycle.Stream("rts-1", "screen:1", "screen", "video"),
            id="a screen is video",
        ),
        pytest.param(
            {"id": "rts-1", "name": "camera:0", "type": "audio"},
            lifecycle.Stream("rts-1", "camera:0", "camera", "video"),
            id="a camera is video whatever it says",
        ),
        pytest.param(
            {"id": "rts-1", "name": "x", "type": "video"},
            lifecycle.Stream("rts-1", "x", None, "video"),
            id="type",
        ),
        pytest.param(
            {"id": "rts-1", "name": "x", "media_type": "video"},
            lifecycle.Stream("rts-1", "x", None, "video"),
            id="media_type",
        ),
        pytest.param(
            {"id": "rts-1", "name": "x", "media_types": ["video"]},
            lifecycle.Stream("rts-1", "x", None, "video"),
            id="media_types",
        ),
        pytest.param(
            {"id": "rts-1"}, lifecycle.Stream("rts-1", "rts-1", None, "audio"), id="nothing but an id"
        ),
    ],
)
@pytest.mark.parametrize("key", ["rtstreams", "streams", "rt_streams", "channels"])
def test_a_stream_is_read_under_every_name_that_services_give_it(key, item, stream):
    assert lifecycle.streams_of({key: [item]}) == (stream,)


@pytest.mark.parametrize(
    ("holder", "ids"),
    [
        ({}, []),
        ({"rtstreams": None}, []),
        ({"rtstreams": {"id": "rts-1"}}, []),
        ({"rtstreams": "rts-1"}, []),
        ({"rtstreams": ["rts-1", 5, None, [], {}]}, []),
        ({"rtstreams": [{"id": ""}, {"id": 5}, {"name": "mic:default"}]}, []),
        ({"rtstreams": [{"id": 5, "stream_id": "rts-1"}]}, ["rts-1"]),
        ({"rtstreams": [], "streams": [{"id": "rts-1"}]}, ["rts-1"]),
        ({"rtstreams": [{"id": "rts-1"}], "streams": [{"id": "rts-2"}]}, ["rts-1"]),
        ({"rtstreams": [{"name": "x"}], "channels": [{"id": "rts-2"}]}, ["rts-2"]),
        ({"channels": [{"id": "rts-1"}, {"id": "rts-2"}]}, ["rts-1", "rts-2"]),
    ],
)
def test_entries_without_an_id_are_skipped_and_the_first_list_with_streams_counts(holder, ids):
    assert [stream.id for stream in lifecycle.streams_of(holder)] == ids


def test_of_a_stream_that_is_listed_twice_the_first_counts():
    listed = [{"id": "rts-1", "name": "mic:default"}, {"id": "rts-1", "name": "display:1"}]

    assert lifecycle.streams_of({"rtstreams": listed}) == (HEARD,)


@pytest.mark.parametrize(
    "status", ["created", "starting", "active", "stopping", "stopped", "exported", "failed"]
)
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(
            lambda it: {
                "channel": "capture_session",
                "event": f"capture_session.{it}",
                "capture_session_id": "cap-1",
                "data": {},
            },
            id="the document's",
        ),
        pytest.param(
            lambda it: {"event": f"capture_session.{it}", "capture_session_id": "cap-1"}, id="no channel"
        ),
        pytest.param(lambda it: {"type": f"capture_session.{it}", "session_id": "cap-1"}, id="type"),
        pytest.param(
            lambda it: {"event_type": f"capture_session.{it}", "session_id": "cap-1"}, id="event_type"
        ),
        pytest.param(lambda it: {"channel": f"capture_session.{it}", "session_id": "cap-1"}, id="channel"),
        pytest.param(
            lambda it: {"event": f"capture_session.{it}", "data": {"session_id": "cap-1"}},
            id="id in the data",
        ),
        pytest.param(
            lambda it: {"event": f"capture_session.{it}", "data": {"capture_session_id": "cap-1"}},
            id="long id in the data",
        ),
        pytest.param(
            lambda it: {"channel": "capture_session", "status": it, "session_id": "cap-1"}, id="status"
        ),
        pytest.param(
            lambda it: {"channel": "capture_session", "data": {"status": it, "session_id": "cap-1"}},
            id="status in the data",
        ),
        pytest.param(
            lambda it: {
                "channel": "capture_session",
                "event": "update",
                "data": {"status": it, "session_id": "cap-1"},
            },
            id="an event that says nothing",
        ),
        pytest.param(
            lambda it: {
                "channel": "capture_session",
                "event": f"capture_session.{it}",
                "status": "other",
                "session_id": "cap-1",
            },
            id="the name counts more than the status",
        ),
        pytest.param(
            lambda it: {"event": 5, "type": f"capture_session.{it}", "session_id": "cap-1", "data": None},
            id="numbers and nulls",
        ),
    ],
)
def test_a_lifecycle_event_is_read_in_every_shape(shape, status):
    life = lifecycle.lifecycle_of(shape(status))

    assert (life.session_id, life.status, life.streams) == ("cap-1", status, ())


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"channel": "transcript", "status": "active"},
        {"channel": "capture_session"},
        {"channel": "capture_session", "status": 5, "data": {"status": None}},
        {"event": "capture_session."},
        {"event": "capture_session"},
        {"event": "my.capture_session.active"},
        {"status": "active", "capture_session_id": "cap-1"},
        {"raw": "capture_session.active"},
        {"data": {"event": "capture_session.active"}},
    ],
)
def test_other_events_are_not_lifecycle_events(event):
    assert lifecycle.lifecycle_of(event) is None


@pytest.mark.parametrize(
    "event",
    [
        {"event": "capture_session.active", "data": {"rtstreams": [STREAM]}},
        {"event": "capture_session.active", "data": {"streams": [STREAM]}},
        {"event": "capture_session.active", "data": {"rt_streams": [STREAM]}},
        {"event": "capture_session.active", "data": {"channels": [STREAM]}},
        {"event": "capture_session.active", "rtstreams": [STREAM]},
        {"event": "capture_session.active", "data": None, "rtstreams": [STREAM]},
    ],
)
def test_an_active_session_has_its_streams(event):
    assert lifecycle.lifecycle_of(event).streams == (HEARD,)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"data": {"error": "no camera"}}, "no camera"),
        ({"data": {"error": {"message": "no camera", "code": 5}}}, "no camera"),
        ({"data": {"error": {"error": {"detail": " no camera "}}}}, "no camera"),
        ({"data": {"message": "no camera"}}, "no camera"),
        ({"data": {"reason": "no camera"}}, "no camera"),
        ({"data": {"detail": "no camera"}}, "no camera"),
        ({"data": "no camera"}, "no camera"),
        ({"error": "no camera"}, "no camera"),
        ({"data": {}, "error": {"message": "no camera"}}, "no camera"),
        ({"data": {"error": 5}}, "5"),
        ({"data": {"error": None, "message": "no camera"}}, "no camera"),
        ({"data": {"error": {}}}, ""),
        ({"data": {}}, ""),
        ({}, ""),
    ],
)
def test_a_failed_session_says_why(event, error):
    assert lifecycle.lifecycle_of({"event": "capture_session.failed", **event}).error == error


def test_only_a_failed_session_has_an_error():
    event = {"event": "capture_session.stopped", "data": {"message": "All is well."}}

    assert lifecycle.lifecycle_of(event).error == ""


def test_the_data_of_an_event_without_any_are_its_own_members():
    event = {"event": "capture_session.exported", "video_id": "m-1"}

    assert lifecycle.lifecycle_of(event).data == event
    assert lifecycle.lifecycle_of({**event, "data": {"video_id": "m-2"}}).data == {"video_id": "m-2"}


KEYS = ("channel", "type", "event", "event_type", "status", "data", "capture_session_id", "session_id",
        "rtstreams", "streams", "rt_streams", "channels", "rtstream_id", "id", "stream_id", "name",
        "channel_id", "media_types", "error", "message", "reason", "detail")  # fmt: skip


said = st.sampled_from(
    ["capture_session", "capture_session.failed", "capture_session.active", "capture_session.", "failed",
     "rts-1", "mic:default", "video", ""]
)  # fmt: skip


hostile = st.recursive(
    said | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), hostile, max_size=8), hostile)
@example({"event": "capture_session.failed", "data": [[5]]}, None)
@example({"channel": "capture_session", "status": ["active"], "data": []}, [1])
@example(
    {"event": "capture_session.active", "data": {"rtstreams": [{"id": "a", "media_types": [[], {}]}]}}, {}
)
@example({"channel": ["capture_session"], "event": {}, "rtstreams": [[[]]]}, float("nan"))
def test_any_event_is_read_without_an_error(event, told):
    life = lifecycle.lifecycle_of(event)
    streams = lifecycle.streams_of(event)

    assert life is None or (life.status and isinstance(life.session_id, str) and isinstance(life.error, str))
    for stream in (*streams, *(life.streams if life else ())):
        assert stream.id
        assert stream.name
        assert stream.media in ("audio", "video")
    assert isinstance(lifecycle.error_in(told), str)


@pytest.mark.long
def test_a_hundred_thousand_streams_are_read():
    holder = {"rtstreams": [{"id": f"rts-{number % 50_000}", "name": "x" * 50} for number in range(100_000)]}

    assert len(lifecycle.streams_of(holder)) == 50_000


@pytest.mark.parametrize("wrap", [lambda inner: {"error": inner}, lambda inner: [inner]])
def test_an_error_that_is_as_deep_as_a_line_may_be_is_read(wrap):
    told = "no camera"
    for _ in range(1000):
        told = wrap(told)

    assert lifecycle.lifecycle_of({"event": "capture_session.failed", "data": told}).status == "failed"
