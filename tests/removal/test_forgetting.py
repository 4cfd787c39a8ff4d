"""What was said in a time, or with certain words, is found in every form in which it is written."""

import base64
import json

import pytest

from vdbevents.events import envelope
from vdbevents.events.forgotten import MOST_SPANS, Forgotten, ForgottenSpan
from vdbevents.removal.forgetting import MARK, Forgetting, Words
from vdbevents.removal.line_selection import Chooser
from vdbevents.times import Window

T0 = 1_772_446_500_000
MINUTE = 60_000
QUARTER = Window(T0, T0 + 15 * MINUTE)


def event(at, text="hi", *, start=None, end=None, is_final=True, **members):
    """An event received `at` ms after T0."""
    data = {"text": text, "is_final": is_final}
    data |= {} if start is None else {"start": T0 + start}
    data |= {} if end is None else {"end": T0 + end}
    message = {"channel": "transcript", "rtstream_id": "rts-1", "data": data, **members}
    return envelope.envelop(json.dumps(message).encode(), T0 + at).line


def forgotten(forgetting, lines):
    """What becomes of the lines: places of the dropped ones, and the changed ones."""
    looking, changing = Chooser(forgetting, str), Chooser(forgetting, str)
    for line in lines:
        looking.look(line)
    new = [changing.change(line) for line in lines]
    dropped = [place for place, one in enumerate(new) if one is None]
    return dropped, {place: one for place, one in enumerate(new) if one not in {None, lines[place]}}


def test_a_window_is_of_what_was_received_or_happened_in_it_in_part():
    lines = [
        event(-1, start=-9_000, end=-1_000),
        event(5_000, start=-9_000, end=0),  # said before, received in it
        event(MINUTE),
        event(20 * MINUTE, start=14 * MINUTE, end=16 * MINUTE),
        event(20 * MINUTE, start=-MINUTE, end=16 * MINUTE, channel="audio_index"),
        event(9_000 * MINUTE, start=MINUTE, end=2 * MINUTE, backfilled=True),
        event(15 * MINUTE, start=15 * MINUTE, end=16 * MINUTE),
        event(16 * MINUTE, start=-MINUTE, end=0),
        b"no time at all\n",
    ]
    assert forgotten(Forgetting(QUARTER, None), lines) == ([1, 2, 3, 4, 5], {})
    assert forgotten(Forgetting(QUARTER, None), [b"no time at all\n", lines[2], b"unreadable\n"])[0] == [1, 2]


def test_the_unfinished_forms_of_a_transcript_go_with_it():
    lines = [
        event(-5_000, "before", is_final=True),
        event(-3_000, "my pass", is_final=False),
        event(-2_500, "another voice", is_final=False, rtstream_id="rts-2"),
        event(-2_000, "my password is", start=-4_000, end=-2_000, is_final=False),
        event(1_000, "My password is hunter2.", start=-4_000, end=500),
        event(2_000, "and", is_final=False, start=500, end=900),
        event(16 * MINUTE, "something else", is_final=False),
    ]
    words = Words("hunter2")
    assert forgotten(Forgetting(Window(), words), lines)[0] == [1, 3, 4]
    assert forgotten(Forgetting(QUARTER, None), lines)[0] == [1, 3, 4, 5]


def test_an_unfinished_form_of_a_transcript_without_times_goes_by_its_place():
    lines = [
        event(0, "one"),
        event(1, "se", start=0, end=1, is_final=False),
        event(2, "secret"),
        event(3, "th", start=2, end=3, is_final=False),
        event(4, "three"),
    ]
    assert forgotten(Forgetting(Window(), Words("secret")), lines)[0] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        b'{"channel":"transcript","data":{"text":"about project falcon"}}',
        b'{"channel":"transcript","data":{"text":"Project\\u0020Falcon"}}',
        b'{"channel":"transcript","data":{"text":"project \\u0066alcon","text":"harmless"}}',
        b'{"raw":"<x>PROJECT FALCON"}',
        b'{"channel":"alert","label":"x","data":{"deep":[{"notes":["the project falcon"]}]}}',
        b'{"channel":"alert","data":{"project falcon":1}}',
        b'{"raw_base64":"%b"}' % base64.b64encode("\udcff project falcon".encode("utf-8", "surrogateescape")),
        b'{"raw_base64":"%b"}' % base64.b64encode("project falcon".encode("utf-16")),
        b"project falcon, and not JSON",
    ],
)
def test_words_are_found_in_every_form_of_a_text(line):
    assert forgotten(Forgetting(Window(), Words("project falcon")), [line + b"\n"])[0] == [0]


def test_words_are_not_looked_for_in_ids_names_kinds_and_times():
    line = event(0, "hello", start=0, rtstream_name="mic:default", capture_session_id="cap-mic")
    for text in ("mic", "rts-1", "transcript", "1772446500", "data"):
        assert forgotten(Forgetting(Window(), Words(text)), [line]) == ([], {}), text


def test_case_counts_only_for_words_with_an_upper_case_letter():
    lines = [event(0, "Falcon"), event(1, "falcon"), event(2, "FÄLSCHUNG")]
    for words, expected in (
        (Words("falcon"), [0, 1]),
        (Words("Falcon"), [0]),
        (Words("Falcon", ignore_case=True), [0, 1]),
        (Words("fälschung"), [2]),
    ):
        assert forgotten(Forgetting(Window(), words), lines)[0] == expected


def test_numbers_are_found_as_they_were_written():
    lines = [b'{"channel":"x","pin":4711.50}\n', b'{"channel":"x","pin":4711}\n']
    assert forgotten(Forgetting(Window(), Words("4711.50")), lines)[0] == [0]


def test_lines_about_the_recording_stay_without_the_words():
    lines = [
        envelope.own_record("listener.gap", {"id": "gap-falcon", "reason": "the Falcon landed"}, T0).line,
        event(1, event="capture_session.failed", channel="capture_session", capture_session_id="cap-1",
              data={"error": {"message": "falcon"}}),
    ]  # fmt: skip
    dropped, changed = forgotten(Forgetting(Window(), Words("falcon")), lines)

    assert dropped == []
    assert {place: json.loads(line)["data"] for place, line in changed.items()} == {
        0: {"id": "gap-falcon", "reason": f"the {MARK} landed"},
        1: {"error": {"message": MARK}},
    }
    assert changed[0].startswith(lines[0][:60])
    assert forgotten(Forgetting(QUARTER, None), lines) == ([], {})


def test_words_and_a_window_are_both_needed_where_both_are_given():
    lines = [event(-1, "falcon"), event(1, "falcon"), event(2, "sparrow")]
    assert forgotten(Forgetting(QUARTER, Words("falcon")), lines)[0] == [1]


def test_torn_lines_stay_only_if_they_surely_hold_nothing():
    torn = b'{"ts":"2026-03-02T10:15:00.000Z","unix_ts":%d.000,"channel":"transcript","data":{"text":"%b'
    inside, before, after = (torn % (T0 // 1000 + shift, b"hi") for shift in (60, -60, 3600))
    later = after.replace(b'"text"', b'"start":%d,"text"' % (T0 + 50 * MINUTE))
    by_time = Forgetting(QUARTER, None)
    assert [by_time.torn_without(line) for line in (inside, before, after, later, b"?")] == [
        None, before, None, later, None
    ]  # fmt: skip
    by_words = Forgetting(Window(), Words("falcon"))
    lines = [torn % (T0 // 1000, text) for text in (b"a falcon", b"a fal", b"F", b"sparrow")]
    assert [by_words.torn_without(line) for line in lines] == [None, None, None, lines[3]]


def test_the_times_that_must_not_be_fetched_again_hold_no_text():
    by_time, by_words = Forgetting(QUARTER, None), Forgetting(Window(), Words("falcon"))
    forgotten(by_words, [event(0, "falcon", start=1, end=5), event(0, "falcon", is_final=False)])
    assert by_time.spans == [ForgottenSpan(T0, T0 + 15 * MINUTE)]
    assert by_words.spans == [ForgottenSpan(T0 + 1, T0 + 5, "transcript", "rts-1")]


def test_forgotten_times_are_kept_read_again_and_bounded():
    spans = [ForgottenSpan(at, at + 1, "transcript", "rts-1") for at in range(MOST_SPANS + 5)]
    kept = Forgotten([ForgottenSpan(T0, T0 + 10), *spans, *spans[:3]])

    assert len(kept.spans) == MOST_SPANS
    assert kept.spans[-1] == ForgottenSpan(T0, T0 + 10)
    assert Forgotten.from_object(json.loads(json.dumps(kept.to_object()))).spans == kept.spans
    for broken in ({}, {"forgotten": 1}, {"forgotten": [1, {"since": "x"}]}):
        assert Forgotten.from_object(broken).spans == ()


@pytest.mark.parametrize(
    ("start", "end", "stream", "is_covered"),
    [(-5, 0, "rts-1", False), (-5, 1, "rts-1", True), (10, 12, "rts-1", False), (9, 30, "rts-2", True),
     (100, 102, "rts-1", True), (101, 105, "rts-1", True),
     (95, 100, "rts-1", False), (100, 105, "rts-2", False)],
)  # fmt: skip
def test_a_record_is_covered_by_a_time_of_all_streams_or_of_its_own(start, end, stream, is_covered):
    known = Forgotten((ForgottenSpan(T0, T0 + 10), ForgottenSpan(T0 + 100, T0 + 104, "transcript", "rts-1")))
    line = json.loads(event(0, start=start, end=end, rtstream_id=stream))
    assert known.covers(line) == is_covered
    assert not known.covers({"channel": "transcript"})
