"""A received and a fetched copy of an event have the same identity."""

import pytest

from vdbevents.events import identity

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
def test_copies_of_an_event_have_the_same_identity(one, same):
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
def test_events_that_differ_have_different_identities(one, other):
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
def test_interim_transcripts_and_events_that_are_never_fetched_have_no_identity(event):
    assert identity.identity_of(event) is None


def test_an_event_without_text_is_identified_by_its_times():
    silent = {**SAID, "data": {"start": 5, "end": 6}}

    assert identity.identity_of(silent) == identity.identity_of(
        {**SAID, "data": {"text": None, "start": 5, "end": 6}}
    )
    assert identity.identity_of(silent) != identity.identity_of(SAID)
