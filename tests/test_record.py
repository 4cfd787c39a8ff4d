"""The envelope: every message becomes one line, and nothing of it is changed."""

import base64
import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

import vdbevents
from vdbevents.events import duplicate_check, envelope, fields, identity, lifecycle

AT = 1772446530123  # 2026-03-02T10:15:30.123Z
HEAD = '{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123'


def line(message: bytes | str, at: int = AT) -> str:
    content = message.encode() if isinstance(message, str) else message
    return envelope.envelop(content, at).line.decode()


def test_a_line_begins_with_the_time_of_receipt_and_goes_on_with_the_message():
    assert line('{"channel":"transcript","data":{"text":"hi"}}') == (
        HEAD + ',"channel":"transcript","data":{"text":"hi"}}\n'
    )


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0, '{"ts":"1970-01-01T00:00:00.000Z","unix_ts":0.000}\n'),
        (1772446530007, '{"ts":"2026-03-02T10:15:30.007Z","unix_ts":1772446530.007}\n'),
        (4102444800000, '{"ts":"2100-01-01T00:00:00.000Z","unix_ts":4102444800.000}\n'),
    ],
)
def test_both_stamps_tell_the_same_moment_to_the_millisecond(milliseconds, expected):
    assert line("{}", milliseconds) == expected


@pytest.mark.parametrize(
    ("message", "members"),
    [
        pytest.param(
            '{"n":123456789012345678901234567890}', '"n":123456789012345678901234567890', id="big integer"
        ),
        pytest.param('{"n":-0}', '"n":-0', id="negative zero"),
        pytest.param('{"n":1e400}', '"n":1e400', id="beyond a double"),
        pytest.param('{"n":1.50}', '"n":1.50', id="trailing zero"),
        pytest.param('{"n":1E5,"m":0.1e-7}', '"n":1E5,"m":0.1e-7', id="exponents"),
        pytest.param('{"n":' + "9" * 5000 + "}", '"n":' + "9" * 5000, id="five thousand digits"),
        pytest.param('{"z":1,"a":2}', '"z":1,"a":2', id="order of keys"),
        pytest.param(
            '{"":1,"a.b":2,"x\\"y":3,"nul\\u0000":4}', '"":1,"a.b":2,"x\\"y":3,"nul\\u0000":4', id="odd keys"
        ),
        pytest.param('{"a":1,"a":2}', '"a":1,"a":2', id="duplicate keys"),
        pytest.param('{"t":"\\ud800 alone"}', '"t":"\\ud800 alone"', id="lone high surrogate"),
        pytest.param('{"t":"\\udc00\\ud800"}', '"t":"\\udc00\\ud800"', id="surrogates in the wrong order"),
        pytest.param('{"t":"\\ud83d\\ude00"}', '"t":"😀"', id="pair of surrogates"),
        pytest.param('{"t":"caf\\u00e9 \\u4f60"}', '"t":"café 你"', id="escaped letters"),
        pytest.param('{"t":"\\u0022 \\u005c \\/"}', '"t":"\\" \\\\ /"', id="needless escapes"),
        pytest.param('{"t":"\\\\u00e9"}', '"t":"\\\\u00e9"', id="a backslash before u"),
        pytest.param('{"t":"\\u001b[31m\\u009b"}', '"t":"\\u001b[31m\\u009b"', id="control characters"),
        pytest.param('{"t":"a\\u2028b"}', '"t":"a\\u2028b"', id="line separator"),
        pytest.param('{"t":"a  b\\tc"}', '"t":"a  b\\tc"', id="space within text"),
        pytest.param('{ "a" : [ 1 , { "b" :\n\tnull } ] }', '"a":[1,{"b":null}]', id="pretty-printed"),
        pytest.param('{"a": "x \\" y", "b": "c\\\\"}', '"a":"x \\" y","b":"c\\\\"', id="quotes within text"),
        pytest.param(' {"a":1} \n', '"a":1', id="space around"),
        pytest.param(
            '{"a":' * 500 + "1" + "}" * 500, ('{"a":' * 500 + "1" + "}" * 500)[1:-1], id="five hundred deep"
        ),
    ],
)
def test_an_object_keeps_its_numbers_its_text_and_its_order(message, members):
    assert line(message) == f"{HEAD},{members}}}\n"


@pytest.mark.parametrize(
    ("message", "members"),
    [
        ('{"ts":"2020-01-01T00:00:00Z","a":1}', '"server_ts":"2020-01-01T00:00:00Z","a":1'),
        ('{"unix_ts":5.0}', '"server_unix_ts":5.0'),
        ('{"\\u0074s":1}', '"server_ts":1'),
        ('{"data":{"ts":1,"unix_ts":2},"ts":3}', '"data":{"ts":1,"unix_ts":2},"server_ts":3'),
        ('{"a":["ts",{"ts":1}],"b":"ts","ts":"ts"}', '"a":["ts",{"ts":1}],"b":"ts","server_ts":"ts"'),
        ('{"ts":1,"server_ts":2}', '"server_server_ts":1,"server_ts":2'),
        ('{"data":"},{\\"ts\\":","ts":3}', '"data":"},{\\"ts\\":","server_ts":3'),
    ],
)
def test_the_server_s_own_stamps_are_kept_beside_ours(message, members):
    assert line(message) == f"{HEAD},{members}}}\n"


@pytest.mark.parametrize(
    "message",
    ["", " ", "[1, 2]", '"text"', "42", "1e400", "null", "true", "hello", "NaN", '{"a":NaN}', '{"a":', "{}{}",
     '{"a":1,}', "a\nb\r\nc", "\ufeff{}", "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000],
)  # fmt: skip
def test_what_is_no_object_is_kept_as_the_text_it_was(message):
    made = line(message)

    assert made.startswith(HEAD + ',"raw":')
    assert made.count("\n") == 1
    assert json.loads(made)["raw"] == message


@pytest.mark.parametrize(
    "message", [b"\xff\xfe", b"\x80", b'{"a":"\xff"}', bytes(range(256)), b"\xed\xa0\x80"]
)
def test_bytes_that_are_no_text_are_kept_as_base64(message):
    assert base64.b64decode(json.loads(line(message))["raw_base64"]) == message


def test_a_message_of_64_mebibytes_is_kept_whole():
    text = "word " * (64 * 1024 * 1024 // 5)

    made = envelope.envelop(json.dumps({"data": {"text": text}}).encode(), AT)

    assert json.loads(made.line)["data"]["text"] == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    event=st.dictionaries(st.text() | st.sampled_from(["ts", "unix_ts"]), json_values, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
)
@example(event={"ts": 1, "server_ts": {"unix_ts": '"'}}, indent=2, ascii_only=True)
def test_any_object_reads_back_as_it_was_however_it_was_written(event, indent, ascii_only):
    text = json.dumps(event, indent=indent, ensure_ascii=ascii_only)
    message = text.encode("utf-8", "surrogatepass")

    made = json.loads(envelope.envelop(message, AT).line)

    del made["ts"], made["unix_ts"]
    expected = {}
    for key, value in event.items():
        renamed = key
        while renamed in ("ts", "unix_ts") or (renamed != key and renamed in event):
            renamed = f"server_{renamed}"
        expected[renamed] = value
    assert (expected if "raw_base64" not in made else made) == made


@given(st.binary())
def test_any_bytes_become_one_line_that_is_json(message):
    made = envelope.envelop(message, AT).line

    assert made.endswith(b"\n")
    assert made.count(b"\n") == 1
    assert list(json.loads(made))[:2] == ["ts", "unix_ts"]


def test_a_line_of_the_real_session_is_made_again_from_its_message():
    session = Path(vdbevents.__file__).parent / "emulator" / "data" / "real-session.jsonl"
    for original in session.read_bytes().splitlines(keepends=True):
        event = json.loads(original)
        message = {key: value for key, value in event.items() if key not in ("ts", "unix_ts")}
        made = envelope.envelop(json.dumps(message).encode(), 1000)
        assert original.split(b",", 2)[2] == made.line.split(b",", 2)[2]


@pytest.mark.parametrize(
    ("event", "channel"),
    [
        ({"channel": "transcript"}, "transcript"),
        ({"channel": "scene_index"}, "visual_index"),
        ({"type": "spoken_index"}, "audio_index"),
        ({"event_type": "alert"}, "alert"),
        ({"event": "capture_session.active"}, "capture_session"),
        ({"type": "capture_session.failed", "channel": None}, "capture_session"),
        ({"channel": 5, "event": "new.kind"}, "new.kind"),
        ({"channel": ""}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_kind_of_an_event_has_one_name(event, channel):
    assert fields.channel_of(event) == channel


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mic:default", "mic"),
        ("system_audio:default", "system_audio"),
        ("display:1", "screen"),
        ("screen:1", "screen"),
        ("camera:0", "camera"),
        ("Capture mic - cap-83e6", "mic"),
        ("something", None),
        (7, None),
        (None, None),
    ],
)
def test_the_source_is_read_from_the_stream_s_name(name, source):
    assert fields.source_of({"rtstream_name": name}) == source
    assert fields.source_of({"rtstreamName": name}) == source


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"data": {"text": "a"}}, "a"),
        ({"text": "b"}, "b"),
        ({"data": {"description": "c"}}, "c"),
        ({"explanation": "d"}, "d"),
        ({"raw": "e"}, "e"),
        ({"data": None}, ""),
        ({"data": "text"}, ""),
        ({"data": {"text": 5}}, "5"),
    ],
)
def test_the_text_of_an_event_is_found_where_services_put_it(event, text):
    assert fields.text_of(event) == text


@pytest.mark.parametrize(
    ("event", "identifier"),
    [
        ({"connection_id": "ws-1"}, "ws-1"),
        ({"connection_id": "ws-1", "type": "init"}, "ws-1"),
        ({"connection_id": ""}, None),
        ({"connection_id": 5}, None),
        ({"connection_id": "a\nb"}, None),
        ({"connection_id": "a b"}, None),
        ({"connection_id": "ws-1", "channel": "transcript"}, None),
        ({"raw": "connection_id"}, None),
    ],
)
def test_only_an_opening_message_with_an_id_of_one_word_opens_a_connection(event, identifier):
    assert fields.connection_id_of(event) == identifier


@pytest.mark.parametrize(
    ("kind", "channel"),
    [("\ud800", "?"), ("caf\udc00é", "caf?é"), ("k" * 5000, "k" * 100), ("名前", "名前")],
)
def test_the_name_of_a_channel_can_be_written_into_any_file(kind, channel):
    assert fields.channel_of({"channel": kind}) == channel


@pytest.mark.parametrize(
    ("message", "members"),
    [
        ('{"t":"\\u4f60\\u001B\\u597d\\uD83D\\uDE00\\uD83D"}', '"t":"你\\u001B好😀\\uD83D"'),
        ('{"t":"\\u00e9\\u0022\\u005C\\u00e9\\/\\n"}', '"t":"é\\"\\\\é/\\n"'),
        ('{"t":"\\\\\\u00e9\\\\u00e9"}', '"t":"\\\\é\\\\u00e9"'),
        ('{"t":"\\ud83d\\ud83d\\ude00"}', '"t":"\\ud83d😀"'),
    ],
)
def test_what_stays_escaped_stays_as_it_was_among_what_does_not(message, members):
    assert line(message) == f"{HEAD},{members}}}\n"


# What an event says of a session


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
def test_what_has_no_id_is_no_stream_and_the_first_list_with_any_counts(holder, ids):
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
def test_a_step_of_a_session_s_life_is_read_in_every_shape(shape, status):
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
def test_an_event_of_anything_else_is_no_step_of_a_session_s_life(event):
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
def test_an_active_session_tells_its_streams(event):
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
def test_whatever_an_event_holds_it_is_read_without_an_error(event, told):
    life = lifecycle.lifecycle_of(event)
    streams = lifecycle.streams_of(event)

    assert life is None or (life.status and isinstance(life.session_id, str) and isinstance(life.error, str))
    for stream in (*streams, *(life.streams if life else ())):
        assert stream.id
        assert stream.name
        assert stream.media in ("audio", "video")
    assert isinstance(lifecycle.error_in(told), str)


def test_a_hundred_thousand_streams_are_read():
    holder = {"rtstreams": [{"id": f"rts-{number % 50_000}", "name": "x" * 50} for number in range(100_000)]}

    assert len(lifecycle.streams_of(holder)) == 50_000


@pytest.mark.parametrize("wrap", [lambda inner: {"error": inner}, lambda inner: [inner]])
def test_an_error_that_is_as_deep_as_a_line_may_be_is_read(wrap):
    told = "no camera"
    for _ in range(1000):
        told = wrap(told)

    assert lifecycle.lifecycle_of({"event": "capture_session.failed", "data": told}).status == "failed"


# The recorder's own lines


def test_an_own_line_is_of_the_recorder_s_channel_unless_another_is_named():
    own = envelope.own_record("listener.connected", {"ws_id": "ws-1"}, AT)
    capture = envelope.own_record("recording:started", None, AT, envelope.CAPTURE_CHANNEL)

    assert own.line.decode() == (
        HEAD + ',"channel":"vdbevents","event":"listener.connected","data":{"ws_id":"ws-1"}}\n'
    )
    assert capture.line.decode() == (
        HEAD + ',"channel":"capture_client","event":"recording:started","data":null}\n'
    )
    assert fields.channel_of(capture.event) == "capture_client"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mic:default", "mic"),
        ("MIC:USB", "mic"),
        ("system_audio:default", "system_audio"),
        ("Capture system audio - cap-1", "system_audio"),
        ("display:1", "screen"),
        ("screen:1", "screen"),
        ("camera:0", "camera"),
        ("microphone", "mic"),
        ("", None),
        (":", None),
    ],
)
def test_the_source_is_read_from_the_id_of_a_channel_or_the_name_of_a_stream(name, source):
    assert fields.source_named(name) == source


# What was fetched later


def backfilled(message):
    return envelope.backfilled_record(message, AT).line.decode()


def test_an_event_that_was_fetched_is_written_with_a_mark_that_comes_last():
    message = {"channel": "transcript", "rtstream_id": "rts-1", "data": {"text": "é", "start": 1772446529.25}}

    assert backfilled(message) == (
        HEAD + ',"channel":"transcript","rtstream_id":"rts-1","data":{"text":"é","start":1772446529.25},'
        '"backfilled":true}\n'
    )
    assert backfilled({"backfilled": False, "text": "x"}) == HEAD + ',"text":"x","backfilled":true}\n'
    assert backfilled({}) == HEAD + ',"backfilled":true}\n'


@pytest.mark.parametrize(
    ("message", "members"),
    [
        ({"text": "\ud800 half"}, '"text":"\\ud800 half"'),
        ({"text": "\U0001f600 \ud800"}, '"text":"😀 \\ud800"'),
        ({"n": 10**30, "text": "é"}, f'"n":{10**30},"text":"é"'),
        ({"n": 2**64 - 1}, f'"n":{2**64 - 1}'),
        ({"n": -(2**63) - 1}, f'"n":{-(2**63) - 1}'),
        ({"n": 2**64, "odd": float("inf")}, f'"n":{2**64},"odd":null'),
        ({"odd": float("nan")}, '"odd":null'),
        ({"ts": "2020", "unix_ts": 5, "text": "x"}, '"server_ts":"2020","server_unix_ts":5,"text":"x"'),
        ({"ts": 2**64}, f'"server_ts":{2**64}'),
        ({"deep": [[[[]]]]}, '"deep":[[[[]]]]'),
        ({"deep": json.loads("[" * 400 + "]" * 400)}, '"deep":' + "[" * 400 + "]" * 400),
    ],
)
def test_whatever_was_fetched_becomes_a_line_like_those_that_were_received(message, members):
    assert backfilled(message) == f'{HEAD},{members},"backfilled":true}}\n'


@given(
    st.dictionaries(
        st.text(st.characters(), max_size=5) | st.sampled_from(["ts", "unix_ts", "text", "backfilled"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
        max_size=5,
    )
)
def test_a_line_of_what_was_fetched_begins_with_the_time_and_holds_the_event(message):
    made = envelope.backfilled_record(message, AT)
    event = json.loads(made.line)

    assert made.line.decode().startswith(HEAD + ",")
    assert made.line.endswith(b'"backfilled":true}\n')
    assert made.line.count(b"\n") == 1
    assert (event["ts"], event["unix_ts"], event["backfilled"]) == (
        "2026-03-02T10:15:30.123Z",
        AT / 1000,
        True,
    )
    for name, value in message.items():
        if name not in ("ts", "unix_ts", "server_ts", "server_unix_ts", "backfilled"):
            is_number = not isinstance(value, float) or math.isfinite(value)
            assert event[name] == (value if is_number else None)


# When an event is


@pytest.mark.parametrize(
    ("event", "span"),
    [
        ({"data": {"start": 1772446529123, "end": 1772446530000}}, (1772446529123, 1772446530000)),
        ({"data": {"start": 1772446529.123, "end": 1772446530}}, (1772446529123, 1772446530000)),
        ({"start": 1772446529.1225, "end": 1772446529.1224}, (1772446529123, 1772446529122)),
        ({"start": "1772446529.123", "end": " 1772446529123 "}, (1772446529123, 1772446529123)),
        ({"start": "2026-03-02T10:15:30Z", "end": "2026-03-02T11:15:30.1235+01:00"}, (AT - 123, AT + 1)),
        ({"startMs": "2026-03-02 10:15", "endMs": "2026-03-02t10:15:30.9999999z"}, (AT - 30123, AT + 877)),
        ({"data": {"timestamp": 0}, "start": 5, "end": 0.0004}, (0, 0)),
        ({"data": {"start": None, "startMs": 5}, "start": 6}, (5000, None)),
        ({"data": {"start": "soon"}, "start": 6, "end": True}, (None, None)),
        ({"data": "none", "start_time": 1.5, "end_time": [2]}, (1500, None)),
        ({"start": -3e10, "end": -3.1e10}, (-30_000_000_000_000, None)),
        ({"start": 99_999_999_999, "end": 100_000_000_000}, (99_999_999_999_000, 100_000_000_000)),
        ({"start": 10**400, "end": float("inf")}, (None, None)),
        ({"start": "9" * 400, "end": "nan"}, (None, None)),
        ({"start": "20260302", "end": "2026-03-02"}, (20_260_302_000, None)),
        ({"start": "2026-02-30T10:15:30Z", "end": "2026-03-02T24:00:00Z"}, (None, None)),
        ({"start": "\uff12\uff10", "end": "2026-03-02T10:15:30 Z"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_the_times_of_an_event_are_read_in_every_form_in_which_they_come(event, span):
    assert fields.span_of(event) == span


# What an event is known by

SAID = {"channel": "transcript", "rtstream_id": "rts-1", "data": {"text": "hi", "start": 1772446529123}}
FINISHED = {"event": "capture_session.stopped", "capture_session_id": "cap-1"}


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (SAID, {"type": "transcript", "rtstreamId": "rts-1", "text": "hi", "start": 1772446529.1230001}),
        (SAID, {**SAID, "data": {**SAID["data"], "is_final": True, "confidence": 0.5, "end": None}}),
        (SAID, {**SAID, "backfilled": True, "ts": "2026-03-02T10:15:30Z", "rtstream_name": "mic:default"}),
        ({**SAID, "channel": "scene_index"}, {**SAID, "channel": "visual_index"}),
        ({**SAID, "channel": "spoken_index"}, {**SAID, "channel": "audio_index"}),
        (
            {**SAID, "data": {"description": "hi\ud800", "start": 5, "end": 6}},
            {**SAID, "data": {"text": " ", "description": "hi\ufffd", "start": 5, "end": "6"}},
        ),
        ({**SAID, "rtstream_id": 5}, {**SAID, "rtstream_id": "5"}),
        (FINISHED, {"channel": "capture_session", "status": "stopped", "data": {"session_id": "cap-1"}}),
        (FINISHED, {**FINISHED, "data": {"start": 5}, "timestamp": 7, "status": "active"}),
    ],
)
def test_what_tells_of_the_same_thing_is_known_by_the_same(one, same):
    assert identity.identity_of(one) == identity.identity_of(same) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SAID, {**SAID, "channel": "audio_index"}),
        (SAID, {**SAID, "rtstream_id": "rts-2"}),
        (SAID, {**SAID, "data": {"text": "Hi", "start": 1772446529123}}),
        (SAID, {**SAID, "data": {"text": "hi ", "start": 1772446529123}}),
        (SAID, {**SAID, "data": {"text": "hi", "start": 1772446529124}}),
        (SAID, {**SAID, "data": {"text": "hi", "start": 1772446529123, "end": 1772446529123}}),
        (FINISHED, {**FINISHED, "event": "capture_session.exported"}),
        (FINISHED, {**FINISHED, "capture_session_id": "cap-2"}),
    ],
)
def test_what_differs_in_one_thing_is_another(one, other):
    assert identity.identity_of(one) != identity.identity_of(other)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {**SAID, "rtstream_id": ""},
        {**SAID, "data": {"text": "hi"}},
        {**SAID, "data": {"text": "hi", "start": "soon"}},
        {**SAID, "data": {"text": "hi", "start": 5, "is_final": False}},
        {**SAID, "isFinal": False},
        {**SAID, "channel": "alert"},
        {**SAID, "channel": "vdbevents"},
        {"raw": "hi"},
        {"event": "capture_session.stopped"},
        {"event": "capture_session.", "capture_session_id": "cap-1"},
        {"type": "capture_session", "status": "active", "capture_session_id": "cap-1"},
    ],
)
def test_an_interim_transcript_and_what_is_never_fetched_are_known_by_nothing(event):
    assert identity.identity_of(event) is None


def test_an_event_without_a_text_is_known_by_its_times():
    silent = {**SAID, "data": {"start": 5, "end": 6}}

    assert identity.identity_of(silent) == identity.identity_of(
        {**SAID, "data": {"text": None, "start": 5, "end": 6}}
    )
    assert identity.identity_of(silent) != identity.identity_of(SAID)


# What comes by two ways


ACTIVE = {"event": "capture_session.active", "capture_session_id": "cap-1", "data": {"streams": []}}
BY_SOCKET = {
    "channel": "capture_session",
    "event": "capture_session.active",
    "data": {"capture_session_id": "cap-1", "status": "active"},
}
FLAT_ALERT = {
    "event_id": "event-1",
    "label": "deploy",
    "confidence": 0.9,
    "explanation": "A deployment",
    "timestamp": "2026-03-02T10:15:30Z",
    "start_time": 1772446528.5,
    "end_time": 1772446530,
}
ALERT_WITH_SPAN = {
    "channel": "alert",
    "rtstream_id": "rts-1",
    "data": {
        "label": "deploy",
        "triggered": True,
        "confidence": 0.9,
        "start": 1772446528500,
        "end": 1772446530000,
    },
}
ALERT_WITH_TIME = {
    "channel": "alert",
    "data": {"event_label": "deploy", "timestamp": 1772446530123, "text": "A deployment"},
}


def is_told(once, line):
    return once.needle in line and once.matches(line)


def delivered(event):
    return envelope.delivered_record(json.dumps(event).encode(), 1)


def received(event):
    return envelope.envelop(json.dumps(event).encode(), 2)


@pytest.mark.parametrize(
    ("hook", "event"), [(ACTIVE, BY_SOCKET), (FLAT_ALERT, ALERT_WITH_SPAN), (FLAT_ALERT, ALERT_WITH_TIME)]
)
def test_what_came_by_one_way_is_told_already_when_it_comes_by_the_other(hook, event):
    assert is_told(duplicate_check.check_delivered(delivered(hook)), received(event).line)
    assert is_told(duplicate_check.check_received(received(event).event), delivered(hook).line)


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        ({"timestamp": "2026-03-02T10:15:30.123999Z"}, ALERT_WITH_TIME),
        ({"start_time": 1772446528.5009, "end_time": 1772446529.9995}, ALERT_WITH_SPAN),
    ],
)
def test_a_time_that_is_cut_by_one_way_and_finer_by_the_other_is_the_same(hook, event):
    flat = delivered({**FLAT_ALERT, **hook})

    assert is_told(duplicate_check.check_delivered(flat), received(event).line)
    assert is_told(duplicate_check.check_received(received(event).event), flat.line)


def changed(event, **changes):
    return {**event, "data": {**event["data"], **changes}} if "data" in event else {**event, **changes}


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        (ACTIVE, changed(BY_SOCKET, capture_session_id="cap-12")),
        ({**ACTIVE, "event": "capture_session.stopped"}, BY_SOCKET),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, label="deployed")),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, confidence=0.8)),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, start=1772446528502)),
        (FLAT_ALERT, changed(ALERT_WITH_SPAN, end=1772446531000)),
        (FLAT_ALERT, changed(ALERT_WITH_TIME, timestamp=1772446531123)),
        (changed(FLAT_ALERT, timestamp="2026-03-02T10:15:30.125Z"), ALERT_WITH_TIME),
    ],
)
def test_what_differs_is_another(hook, event):
    assert not is_told(duplicate_check.check_delivered(delivered(hook)), received(event).line)
    assert not is_told(duplicate_check.check_received(received(event).event), delivered(hook).line)


@pytest.mark.parametrize("hook", [ACTIVE, FLAT_ALERT, {"weather": "rain"}, [1], "text"])
def test_the_same_webhook_delivered_again_is_told_already(hook):
    again = json.dumps(hook, indent=2).encode() if isinstance(hook, dict) else json.dumps(hook).encode()

    assert is_told(duplicate_check.check_delivered(envelope.delivered_record(again, 5)), delivered(hook).line)


def test_of_one_label_and_time_another_webhook_is_another_alert():
    other = delivered({**FLAT_ALERT, "stream_url": "https://other.example"})

    assert not is_told(duplicate_check.check_delivered(other), delivered(FLAT_ALERT).line)


def test_what_only_looks_like_a_part_of_another_is_not_the_same():
    assert not is_told(duplicate_check.check_delivered(delivered({"b": 1})), delivered({"a": 0, "b": 1}).line)


@pytest.mark.parametrize("event", [ACTIVE, ALERT_WITH_SPAN])
def test_what_the_socket_brings_twice_stays_twice(event):
    assert not is_told(duplicate_check.check_received(event), received(event).line)


@pytest.mark.parametrize(
    "event",
    [{"channel": "alert", "data": {}}, {"channel": "alert", "data": {"label": "x"}},
     {"channel": "capture_session", "data": {}}, {"channel": "transcript", "data": {"text": "x"}}],
)  # fmt: skip
def test_what_says_too_little_of_itself_is_never_left_out(event):
    assert duplicate_check.check_received(event) is None


@pytest.mark.parametrize("label", ['say "deploy"', "back\\slash", "line\nbreak", "tête", "\ud83d"])
def test_a_label_may_be_written_in_any_way(label):
    hook = json.dumps({**FLAT_ALERT, "label": label}, ensure_ascii=True).encode()
    event = received(changed(ALERT_WITH_SPAN, label=label))

    assert is_told(duplicate_check.check_received(event.event), envelope.delivered_record(hook, 1).line)
