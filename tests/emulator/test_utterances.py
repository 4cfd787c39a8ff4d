"""Utterances and kinds of streams."""

import pytest

from vdbevents.emulator.utterances import stream_kind


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
def test_the_kind_of_a_stream_follows_from_its_name(name, kind):
    assert stream_kind(name) == kind
