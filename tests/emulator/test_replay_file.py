"""Journals read as recordings."""

import pytest
from hypothesis import given, strategies

from vdbevents.emulator.replay_file import load_recording, parse_recording
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
def test_a_message_is_replayed_byte_for_byte(own):
    assert payloads(ENVELOPE + own + b"\n") == [(TEXT, b"{" + own)]


def test_an_integer_that_python_refuses_to_read_is_replayed():
    own = b'"n":' + b"7" * 5000 + b"}"
    assert payloads(ENVELOPE + own) == [(TEXT, b"{" + own)]


def test_a_line_in_another_order_is_replayed_without_its_envelope():
    line = b'{ "channel": "x", "unix_ts": 1.5, "n": 1.50, "ts": "t" }'
    assert payloads(line) == [(TEXT, b'{"channel":"x","n":1.50}')]


def test_the_servers_own_times_get_their_own_names_back():
    line = ENVELOPE + b'"server_ts":"noon","n":1e400,"server_unix_ts":7.0}'
    assert payloads(line) == [(TEXT, b'{"ts":"noon","n":1e400,"unix_ts":7.0}')]


def test_a_message_that_is_not_an_object_is_replayed_as_its_own_frame():
    lines = [b'"raw":"hello"}', b'"raw":[1,  2e0]}', b'"raw_base64":"//4A"}', b'"raw":"x","channel":"y"}']
    assert payloads(b"\n".join(ENVELOPE + line for line in lines)) == [
        (TEXT, b"hello"),
        (TEXT, b"[1,  2e0]"),
        (BINARY, b"\xff\xfe\x00"),
        (TEXT, b'{"raw":"x","channel":"y"}'),
    ]


def test_an_empty_message_is_replayed_as_an_empty_object():
    assert payloads(ENVELOPE[:-1] + b"}") == [(TEXT, b"{}")]


def test_the_recorders_own_lines_and_unreadable_ones_are_skipped():
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


def test_a_clock_that_was_set_back_does_not_delay_the_replay():
    times = (100, 101, 50, 52)
    recording = parse_recording(b"\n".join(b'{"ts":"t","unix_ts":%d,"a":1}' % moment for moment in times))
    assert [line.offset for line in recording.lines] == [0, 1, 1, 3]


@given(strategies.binary(max_size=200))
def test_any_bytes_can_be_parsed(content):
    payloads(content)
    payloads(ENVELOPE + content)


def test_the_bundled_session_is_whole():
    recording = load_recording(None)
    assert (len(recording.lines), recording.skipped) == (159, 0)
    assert recording.duration == pytest.approx(130.48)


def test_a_missing_or_empty_recording_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.jsonl: cannot be read"):
        load_recording(tmp_path / "missing.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    with pytest.raises(ValueError, match="no message"):
        load_recording(tmp_path / "empty.jsonl")
