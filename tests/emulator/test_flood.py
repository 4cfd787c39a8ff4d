"""Floods of numbered events."""

import json

import pytest

from vdbevents.emulator.flood import Flood
from vdbevents.emulator.replay_file import load_recording, parse_recording


@pytest.mark.parametrize("marked", [False, True])
def test_a_flood_has_whole_frames_numbered_without_a_gap(marked):
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


def test_a_flood_works_without_utterances_in_the_recording():
    flood = Flood(parse_recording(b'{"ts":"t","unix_ts":1,' + b'"a":"100 %"}'), now=1.7e9, marked=False)
    assert json.loads(flood.frames(7, 1)[4:])["seq"] == 7
