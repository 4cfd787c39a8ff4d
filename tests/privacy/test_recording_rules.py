"""What happens to an event before it is written, live, fetched or delivered."""

import json

from vdbevents.events import envelope
from vdbevents.events.identity import identity_of
from vdbevents.privacy.exclusion import Exclusion, ExclusionRules
from vdbevents.privacy.pauses import Pauses
from vdbevents.privacy.recording_rules import EXCLUDED, RecordingRules
from vdbevents.privacy.redaction import Redactor

NOW = 1772446530123
MINUTE = 60_000


def rules_of(pauses=None, **exclusion):
    return RecordingRules(Redactor(), Exclusion(ExclusionRules(**exclusion)), lambda: pauses or Pauses())


def message(text="hello", start=NOW, **members):
    data = {"text": text, "start": start, "end": start + 1000}
    return {"channel": "transcript", "rtstream_id": "rts-1", "rtstream_name": "mic", **members, "data": data}


def live(event, at_ms=NOW):
    return envelope.envelop(json.dumps(event).encode(), at_ms)


def test_without_rules_all_is_written_as_it_is():
    record = live(message("4111111111111111"))

    assert RecordingRules().received(record, NOW) is record
    assert RecordingRules().fetched(message("4111111111111111"), NOW) == message("4111111111111111")
    assert RecordingRules().excluded_line(NOW, is_last=True) is None


def test_live_and_fetched_are_redacted_alike():
    event, rules = message("card 4111 1111 1111 1111"), rules_of()
    received, fetched = rules.received(live(event), NOW), rules.fetched(event, NOW)

    assert received.event == fetched
    assert received.identity == identity_of(fetched)
    assert b"4111" not in received.line


def test_what_falls_in_a_pause_is_left_out_however_it_comes():
    rules = rules_of(Pauses().begin("pause-1", NOW, NOW + MINUTE))

    assert rules.received(live(message(start=NOW - MINUTE)), NOW + 5) is None, "it arrives in the pause"
    assert rules.received(live(message(start=NOW + 5)), NOW + 2 * MINUTE) is None, "it arrives late"
    assert rules.fetched(message(start=NOW + 6), NOW + 9 * MINUTE) is None, "it is fetched afterwards"
    assert rules.received(live(message(start=NOW - MINUTE)), NOW + 2 * MINUTE) is not None
    assert rules.fetched(message(start=NOW - MINUTE), NOW + 5) is not None, "fetched in it, but from before"
    assert rules.fetched(message(start=NOW + MINUTE), NOW + 9 * MINUTE) is not None
    assert rules.excluded == 3


def test_steps_of_a_session_and_own_lines_are_written_in_a_pause():
    rules = rules_of(Pauses().begin("pause-1", NOW, None))
    step = {
        "event": "capture_session.failed",
        "capture_session_id": "cap-1",
        "data": {"error": "4111111111111111"},
    }

    assert rules.received(live(step), NOW).event["data"] == {"error": "[redacted:card]"}
    assert rules.received(live({"what": "ever"}), NOW) is None
    assert rules.received(envelope.own_record("backend.started", {"served": []}, NOW), NOW) is not None


def test_a_session_says_of_which_source_its_streams_are():
    rules = rules_of(sources=("mic",))
    streams = [{"rtstream_id": "rts-1", "name": "mic:default", "media_types": ["audio"]}]
    rules.received(live({"event": "capture_session.active", "data": {"rtstreams": streams}}), NOW)

    assert rules.received(live(message(rtstream_name=None, channel="alert")), NOW) is None


def test_the_count_of_what_is_left_out_is_written_at_once_and_then_every_minute():
    rules = rules_of(words=("secret",), sources=("screen",))
    for number in range(3):
        rules.received(live(message("a secret", start=NOW + number)), NOW + number)
    line = rules.excluded_line(NOW + 10)

    assert (line.event["event"], line.channel) == (EXCLUDED, "vdbevents")
    assert line.event["data"] == {
        "count": 3,
        "since": "2026-03-02T10:15:30.123Z",
        "until": "2026-03-02T10:15:30.125Z",
        "channels": {"transcript": 3},
        "reasons": {"word": 3},
    }
    rules.received(live(message("a secret", start=NOW + 20)), NOW + 20)
    assert rules.excluded_line(NOW + 30) is None
    assert rules.excluded_line(NOW + 10 + MINUTE).event["data"]["count"] == 1
    assert rules.excluded_line(NOW + 10 + MINUTE, is_last=True) is None
    assert rules.excluded == 4


def test_an_event_that_is_fetched_again_and_again_counts_once():
    rules = rules_of(words=("secret",))
    for at_ms in (NOW, NOW + 1, NOW + 2):
        assert rules.fetched(message("secret"), at_ms) is None
    rules.received(live(message("secret")), NOW)

    assert rules.excluded == 1


def test_the_status_names_the_rules_and_not_the_words():
    rules = rules_of(words=("divorce",), windows=("Vault", "Bank"), sources=("mic",), hours=("22:00-06:00",))

    assert rules.to_dict() == {
        "redact": ["api-key", "token", "private-key", "card"],
        "exclude": {"sources": ["mic"], "hours": ["22:00-06:00"], "windows": 2, "words": 1},
        "excluded": 0,
    }
