"""A recording is its own script."""

import json

import pytest
from hypothesis import given, strategies

from vdbevents.emulator.faults import ActiveFaults
from vdbevents.emulator.flood import Flood
from vdbevents.emulator.replay_file import load_recording, parse_recording
from vdbevents.emulator.utterances import stream_kind
from vdbevents.emulator.websocket_protocol import BINARY, TEXT

ENVELOPE = b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,'


def payloads(content):
    recording = parse_recording(content)
    return [] if recording is None else [(line.opcode, line.payload) for line in recording.lines]


@pytest.mark.parametrize(
    "own",
    [
        b'"n":1e400,"big":123456789012345678901234567890,"z":-0.0,"x":1.10}',
        b'"a":"\\ud800\\u00e9\\/","a":2, "b" : [ 1,2 ] }',
        b'"data":null}',
        '"data":{"text":"日本語 😀"}}'.encode(),
    ],
)
def test_a_message_leaves_as_it_came_to_the_byte(own):
    assert payloads(ENVELOPE + own + b"\n") == [(TEXT, b"{" + own)]


def test_an_integer_that_python_refuses_to_read_is_replayed():
    own = b'"n":' + b"7" * 5000 + b"}"
    assert payloads(ENVELOPE + own) == [(TEXT, b"{" + own)]


def test_a_line_in_another_order_is_replayed_without_its_envelope():
    line = b'{ "channel": "x", "unix_ts": 1.5, "n": 1.50, "ts": "t" }'
    assert payloads(line) == [(TEXT, b'{"channel":"x","n":1.50}')]


def test_the_servers_own_times_come_back_under_their_own_names():
    line = ENVELOPE + b'"server_ts":"noon","n":1e400,"server_unix_ts":7.0}'
    assert payloads(line) == [(TEXT, b'{"ts":"noon","n":1e400,"unix_ts":7.0}')]


def test_what_was_no_object_goes_out_as_the_frame_it_was():
    lines = [b'"raw":"hello"}', b'"raw":[1,  2e0]}', b'"raw_base64":"//4A"}', b'"raw":"x","channel":"y"}']
    assert payloads(b"\n".join(ENVELOPE + line for line in lines)) == [
        (TEXT, b"hello"),
        (TEXT, b"[1,  2e0]"),
        (BINARY, b"\xff\xfe\x00"),
        (TEXT, b'{"raw":"x","channel":"y"}'),
    ]


def test_an_empty_message_is_replayed_as_an_empty_object():
    assert payloads(ENVELOPE[:-1] + b"}") == [(TEXT, b"{}")]


def test_the_recorders_own_lines_and_what_cannot_be_read_are_left_out():
    torn = [
        b'{"ts":"t","unix_ts":1,"chan',
        b"\xff\xfe",
        b"[1]",
        b"null",
        ENVELOPE + b'"a":1} x',
        b"[" * 99999,
    ]
    own = ENVELOPE + b'"channel":"vdbevents","event":"listener.connected"}'
    recording = parse_recording(b"\n".join([*torn, own, ENVELOPE + b'"a":1}']))
    assert [line.payload for line in recording.lines] == [b'{"a":1}']
    assert recording.skipped == 7


def test_a_clock_that_was_set_back_does_not_hold_the_replay_up():
    times = (100, 101, 50, 52)
    recording = parse_recording(b"\n".join(b'{"ts":"t","unix_ts":%d,"a":1}' % moment for moment in times))
    assert [line.offset for line in recording.lines] == [0, 1, 1, 3]


@given(strategies.binary(max_size=200))
def test_no_bytes_at_all_break_the_reading(content):
    payloads(content)
    payloads(ENVELOPE + content)


def test_the_bundled_session_is_whole():
    recording = load_recording(None)
    assert (len(recording.lines), recording.skipped) == (159, 0)
    assert recording.duration == pytest.approx(130.48)


def test_a_recording_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.jsonl: cannot be read"):
        load_recording(tmp_path / "missing.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(ValueError, match="no message"):
        load_recording(tmp_path / "empty.jsonl")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mic:default", "mic"),
        ("Capture mic - cap-83e6", "mic"),
        ("system_audio:default", "system_audio"),
        ("display:1", "screen"),
        ("screen:1", "screen"),
        ("camera:0", "camera"),
        ("rtsp://somewhere", "other"),
    ],
)
def test_the_kind_of_a_stream_is_in_its_name(name, kind):
    assert stream_kind(name) == kind


@pytest.mark.parametrize("marked", [False, True])
def test_a_flood_is_whole_frames_numbered_without_a_gap(marked):
    flood = Flood(load_recording(None), now=1.7e9, marked=marked)
    data = b"".join(flood.frames(first, 300) for first in (1, 301, 601, 901))
    events, at = [], 0
    while at < len(data):
        assert data[at] == 0x81
        length, size = data[at + 1], 0
        size = {126: 2, 127: 8}.get(length, 0)
        length = int.from_bytes(data[at + 2 : at + 2 + size]) if size else length
        at += 2 + size + length
        events.append(json.loads(data[at - length : at]))
    assert [event["seq"] for event in events] == list(range(1, 1201))
    assert {event["channel"] for event in events} == {"transcript", "visual_index", "audio_index"}
    assert all(event["data"]["start"] <= event["data"]["end"] for event in events)
    assert all(("sent_unix_ts" in event) is marked for event in events)


def test_a_flood_does_without_a_recording_of_speech():
    flood = Flood(parse_recording(ENVELOPE + b'"a":"100 %"}'), now=1.7e9, marked=False)
    assert json.loads(flood.frames(7, 1)[4:])["seq"] == 7


def test_a_fault_ends_after_its_time_or_its_strikes():
    now = [0.0]
    faults = ActiveFaults(lambda: now[0])
    faults.change({"http": {"status": 503, "for": 2}, "hang": {"times": 1, "path": "/a"}})
    assert faults.strike("hang", "/b") is None
    assert faults.strike("hang", "/a") is not None
    assert faults.strike("hang", "/a") is None
    assert faults.in_force()["http"]["seconds_left"] == 2
    now[0] = 2
    assert faults.in_force() == {}


@pytest.mark.parametrize(
    ("options", "method", "path", "strikes"),
    [
        ({"method": "POST"}, "POST", "/a", True),
        ({"method": "post"}, "POST", "/a", True),
        ({"method": "POST"}, "GET", "/a", False),
        ({"path": "/rtstream/*/transcription"}, "GET", "/rtstream/rts-1/transcription", True),
        ({"path": "/rtstream/*/transcription/"}, "GET", "/rtstream/rts-1/transcription", True),
        ({"path": "/rtstream/*/transcription"}, "GET", "/rtstream/rts-1/transcription/status", False),
        ({"path": "/rtstream/*"}, "GET", "/rtstream/rts-1/transcription", False),
        ({"path": "/rtstream/rts-*/*"}, "GET", "/rtstream/rts-1/search", True),
        ({"path": "/rtstream"}, "GET", "/rtstream/rts-1/search", True),
        ({"path": "/rt*", "method": "GET"}, "POST", "/rtstream", False),
    ],
)
def test_a_fault_is_for_the_calls_it_names(options, method, path, strikes):
    faults = ActiveFaults(lambda: 0.0)
    faults.change({"slow": {"seconds": 0, **options}})
    assert (faults.strike("slow", path, method) is not None) is strikes


def test_a_fault_lets_the_first_calls_pass_and_counts_only_those_it_is_for():
    faults = ActiveFaults(lambda: 0.0)
    faults.change({"http": {"status": 500, "path": "/a", "skip": 2, "times": 1}})
    assert faults.strike("http", "/b") is None
    assert faults.in_force()["http"]["skip_left"] == 2
    struck = [faults.strike("http", "/a") is not None for _ in range(4)]
    assert struck == [False, False, True, False]


@pytest.mark.parametrize(
    "wanted",
    [
        {"nonsense": {}},
        {"http": {"status": 500, "skip": -1}},
        {"http": {"status": 500, "method": "FETCH"}},
        {"hang": {"method": 5}},
        {"withhold": {}},
        {"withhold": {"channel": "transcript", "times": 1}},
        {"expired_tokens": {"token": "st"}},
        {"activation": {"mode": "odd"}},
        {"activation": {"mode": "late"}},
        {"activation": {"mode": "failed", "error": {"code": "E"}}},
        {"activation": {"mode": "failed", "error": 5}},
        {"export": {"mode": "late"}},
        {"export": {"mode": "none"}},
        {"runtime": {"times": 1}},
        {"runtime": {"deny": ["camera"]}},
        {"runtime": {"deny": [["microphone"]]}},
        {"runtime": {"channels": ["mic:default"]}},
        {"runtime": {"die_at": "dance"}},
        {"runtime": {"die_at": "*"}},
        {"runtime": {"hang_at": "dance"}},
        {"runtime": {"long_line_at": "dance"}},
        {"runtime": {"ignore_sigterm": 1}},
        {"runtime": {"noise": "yes"}},
        {"runtime": {"refuse": {"dance": "no"}}},
        {"runtime": {"refuse": {"init": 5}}},
        {"http": {}},
        {"http": {"status": 42}},
        {"http": {"status": "503"}},
        {"slow": {"seconds": -1}},
        {"down": True},
        {"mute": {"times": 1}},
        {"init": {"mode": "odd"}},
        {"init": {"mode": "preceded", "frames": [1]}},
        {"mute": {"volume": 3}},
        {"accept_then_close": {"code": 1006}},
        {"hang": 5},
    ],
)
def test_a_fault_that_is_none_is_refused_and_changes_nothing(wanted):
    faults = ActiveFaults(lambda: 0.0)
    with pytest.raises(ValueError, match=r"fault|close frame"):
        faults.change({"mute": {}, **wanted} if "mute" not in wanted else wanted)
    assert faults.in_force() == {}
