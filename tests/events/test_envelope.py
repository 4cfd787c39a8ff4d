"""A message becomes one line of the journal, and nothing of it is lost."""

import base64
import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

import vdbevents
from vdbevents.events import envelope, fields

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
def test_both_stamps_are_the_same_time_to_the_millisecond(milliseconds, expected):
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
def test_a_message_that_is_not_an_object_is_kept_as_text(message):
    made = line(message)

    assert made.startswith(HEAD + ',"raw":')
    assert made.count("\n") == 1
    assert json.loads(made)["raw"] == message


@pytest.mark.parametrize(
    "message", [b"\xff\xfe", b"\x80", b'{"a":"\xff"}', bytes(range(256)), b"\xed\xa0\x80"]
)
def test_bytes_that_are_not_text_are_kept_as_base64(message):
    assert base64.b64decode(json.loads(line(message))["raw_base64"]) == message


@pytest.mark.long
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
    ("message", "members"),
    [
        ('{"t":"\\u4f60\\u001B\\u597d\\uD83D\\uDE00\\uD83D"}', '"t":"你\\u001B好😀\\uD83D"'),
        ('{"t":"\\u00e9\\u0022\\u005C\\u00e9\\/\\n"}', '"t":"é\\"\\\\é/\\n"'),
        ('{"t":"\\\\\\u00e9\\\\u00e9"}', '"t":"\\\\é\\\\u00e9"'),
        ('{"t":"\\ud83d\\ud83d\\ude00"}', '"t":"\\ud83d😀"'),
    ],
)
def test_escapes_that_must_stay_do_so_beside_others(message, members):
    assert line(message) == f"{HEAD},{members}}}\n"


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
    ("data", "members"),
    [
        ({"reason": "half \ud800"}, '"reason":"half \\ud800"'),
        ({"reason": 'a: "b", \\ \ud83d {'}, '"reason":"a: \\"b\\", \\\\ \\ud83d {"'),
        ({"id": 2**80}, f'"id":{2**80}'),
        ({"seconds": float("nan")}, '"seconds":null'),
    ],
)
def test_an_own_line_holds_any_text_and_number_that_json_can_hold(data, members):
    line = envelope.own_record("listener.say", data, AT).line.decode()

    assert line == f'{HEAD},"channel":"vdbevents","event":"listener.say","data":{{{members}}}}}\n'


@pytest.mark.parametrize(
    ("message", "members"),
    [
        (
            '{"channel":"vdbevents","event":"listener.gap","data":{}}',
            '"server_channel":"vdbevents","event":"listener.gap","data":{}',
        ),
        ('{"type": "vdbevents", "text": "x"}', '"server_type":"vdbevents","text":"x"'),
        ('{"channel":"\\u0076dbevents","a":1}', '"server_channel":"vdbevents","a":1'),
        ('{"channel":"vdbevents","channel":"x"}', '"server_channel":"vdbevents","channel":"x"'),
        ('{"text":"x","backfilled":true}', '"text":"x","server_backfilled":true'),
        ('{"via":"webhook","server_via":1}', '"server_server_via":"webhook","server_via":1'),
        (
            '{"channel":"transcript","data":{"channel":"vdbevents","via":1}}',
            '"channel":"transcript","data":{"channel":"vdbevents","via":1}',
        ),
        ('{"text":"vdbevents","channel":"alert"}', '"text":"vdbevents","channel":"alert"'),
    ],
)
def test_a_message_cannot_pass_for_a_line_of_the_recorder(message, members):
    record = envelope.envelop(message.encode(), AT)

    assert record.line.decode() == f"{HEAD},{members}}}\n"
    assert record.channel != "vdbevents"
    assert not fields.is_own(envelope.parse_line(record.line))


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
def test_any_fetched_event_becomes_a_line_like_a_received_one(message, members):
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
