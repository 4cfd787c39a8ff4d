"""Channel, source, text and times are read in every form in which services send them."""

import pytest

from vdbevents.events import fields

AT = 1772446530123  # 2026-03-02T10:15:30.123Z


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
