"""What was said and shown is counted as a plain reference counts it, second by second."""

import json
import random
from collections import Counter

import pytest
from support.databases import search

from vdbevents.query.collapse import PAUSE_MS
from vdbevents.query.filters import Filters
from vdbevents.query.screen_time import LONGEST_MS
from vdbevents.query.tally import QUARTER_MS, TabledTally
from vdbevents.times import Window

AT = 1772446500000  # 10:15 UTC, the beginning of a quarter
STREAMS = {
    "rts-1": "mic:default",
    "rts-2": "system_audio:default",
    "rts-3": "display:1",
    "rts-4": "display:2",
}


def event(channel, stream, start_ms, end_ms=None, text="one two  three", **members):
    data = {"text": text, "start": start_ms, "end": end_ms, **members}
    received = (start_ms if end_ms is None else end_ms) / 1000
    return {"unix_ts": received, "channel": channel, "rtstream_id": stream,
            "rtstream_name": STREAMS.get(stream), "data": data}  # fmt: skip


def said(stream, start_s, end_s, **members):
    end_ms = None if end_s is None else AT + end_s * 1000
    return event("transcript", stream, AT + start_s * 1000, end_ms, **{"is_final": True, **members})


def seen(stream, start_s, end_s, text="a desk"):
    return event("visual_index", stream, AT + start_s * 1000, AT + end_s * 1000, text)


def tallied(tmp_path, events, key, window=None, breaks=()):
    """The slices, by their keys."""
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f"{json.dumps(one)}\n" for one in events))
    window = window or Window()
    with search(journal, Filters(window=window, by_event=True)) as answer:
        return {part.key: part for part in TabledTally(answer, window, breaks).by(key)}


def test_speech_and_screen_time_are_those_of_a_plain_reference(tmp_path):
    chance = random.Random(20260302)
    utterances = []
    descriptions = []
    for _ in range(150):
        start = chance.randrange(7200)
        utterances.append((chance.choice(["rts-1", "rts-2"]), start, start + chance.randrange(1, 40)))
    for _ in range(24):
        start = chance.randrange(7200)
        descriptions.append((chance.choice(["rts-3", "rts-4"]), start, start + chance.randrange(1, 20)))
    window = Window(AT + 600_000, AT + 6_000_000)
    spoken, shown = Counter(), Counter()
    inside = [one for one in utterances if 600 <= one[1] < 6000]
    for stream in ("rts-1", "rts-2"):
        seconds = {second for of, start, end in inside if of == stream for second in range(start, end)}
        spoken.update((AT // 1000 + second) // 900 for second in seconds if second < 6000)
    inside = [one for one in descriptions if 600 <= one[1] < 6000]
    for stream in ("rts-3", "rts-4"):
        of_one = sorted(one for one in inside if one[0] == stream)
        starts = sorted(start for _, start, _ in of_one)
        for _, start, end in of_one:
            following = [other for other in starts if other > start]
            following = following[0] if following else 10**9
            until = min(following if following - end <= PAUSE_MS // 1000 else end, 6000)
            shown.update((AT // 1000 + second) // 900 for second in range(start, until))
    events = [said(*one) for one in utterances] + [seen(*one) for one in descriptions]
    assert len({one[:2] for one in descriptions}) == len(descriptions), "two that begin at once"

    found = tallied(tmp_path, events, "quarter", window)

    assert {key: part.speech_ms for key, part in found.items() if part.speech_ms} == {
        key: seconds * 1000 for key, seconds in spoken.items()
    }
    assert {key: part.screen_ms for key, part in found.items() if part.screen_ms} == {
        key: seconds * 1000 for key, seconds in shown.items()
    }


def test_what_overlaps_in_one_source_counts_once_and_in_two_sources_twice(tmp_path):
    events = [
        said("rts-1", 0, 10),
        said("rts-1", 5, 12),
        said("rts-1", 6, 7),
        said("rts-2", 0, 10),
        said("rts-1", 20, 25, is_final=False),
        said("rts-1", 20, 27, text="to the end"),
    ]

    found = tallied(tmp_path, events, "source")

    assert {key: (part.speech_ms, part.words) for key, part in found.items()} == {
        "mic": (19_000, 12),
        "system_audio": (10_000, 3),
    }


def test_what_was_received_and_fetched_again_counts_once(tmp_path):
    once = said("rts-1", 0, 10)

    found = tallied(tmp_path, [once, {**once, "unix_ts": AT / 1000 + 9000, "backfilled": True}], "channel")

    assert (found["transcript"].events, found["transcript"].words) == (1, 3)
    assert found["transcript"].speech_ms == 10_000


@pytest.mark.parametrize("end_s", [None, 0, -5])
def test_an_utterance_without_a_length_has_words_alone(tmp_path, end_s):
    [part] = tallied(tmp_path, [said("rts-1", 0, end_s)], "source").values()

    assert (part.events, part.words, part.speech_ms) == (1, 3, 0)


def test_a_wrong_end_does_not_make_a_day_of_an_event(tmp_path):
    events = [said("rts-1", 0, 10**7), seen("rts-3", 0, 10**7), said("rts-1", 10**6, 10**6 + 1)]

    found = tallied(tmp_path, events, "channel")

    assert found["transcript"].speech_ms == LONGEST_MS + 1000
    assert found["visual_index"].screen_ms == LONGEST_MS


def test_a_screen_is_not_known_beyond_a_gap_a_pause_or_the_end_of_a_session(tmp_path):
    events = [seen("rts-3", at, at + 5) for at in (0, 200, 400, 800, 820)]
    step = {"event": "capture_session.stopped", "capture_session_id": "cap-1", "unix_ts": AT / 1000 + 230}

    found = tallied(tmp_path, [*events, step], "channel", breaks=[AT + 60_000, AT - 1])

    # Until the gap, the session's end, its own end as the next one is too late, the next, its own end.
    assert found["visual_index"].screen_ms == 60_000 + 30_000 + 5_000 + 20_000 + 5_000


def test_two_screens_at_once_count_both(tmp_path):
    events = [seen(stream, at, at + 1) for at in range(0, 60, 10) for stream in ("rts-3", "rts-4")]

    assert tallied(tmp_path, events, "source")["screen"].screen_ms == 2 * 51_000


def test_windows_are_counted_by_what_descriptions_name(tmp_path):
    texts = ["[a - Editor] x", "[a - Editor] y", "nothing named", '{"app": "Slack"}']
    events = [seen("rts-3", 10 * place, 10 * place + 5, text) for place, text in enumerate(texts)]

    found = tallied(tmp_path, [*events, said("rts-1", 0, 40)], "window")

    assert {key: (part.events, part.screen_ms) for key, part in found.items()} == {
        "a - Editor": (2, 20_000),
        None: (1, 10_000),
        "Slack": (1, 5_000),
    }


def test_an_event_has_the_source_that_others_of_its_stream_name(tmp_path):
    nameless = {**event("alert", "rts-3", AT), "rtstream_name": None}
    strange = {**event("alert", "rts-9", AT), "rtstream_name": None}

    found = tallied(tmp_path, [seen("rts-3", 0, 5), nameless, strange], "source")

    assert {key: part.alerts for key, part in found.items()} == {"screen": 1, None: 1}


def test_the_recorder_s_own_lines_are_no_events(tmp_path):
    own = [{"unix_ts": AT / 1000, "channel": channel, "event": "x", "data": {}}
           for channel in ("vdbevents", "capture_client", "backend.webhook")]  # fmt: skip

    assert tallied(tmp_path, [*own, said("rts-1", 0, 1)], "channel").keys() == {"transcript"}
    assert tallied(tmp_path, own, "channel") == {}


def test_times_before_1970_and_none_at_all_are_counted(tmp_path):
    early = {
        "unix_ts": 5,
        "channel": "transcript",
        "data": {"text": "x", "start": "1969-12-31T23:59:55Z", "end": "1970-01-01T00:00:05Z"},
    }
    timeless = {"channel": "alert", "data": {"text": "x"}}

    found = tallied(tmp_path, [early, timeless], "quarter")

    assert {key: (part.events, part.speech_ms) for key, part in found.items()} == {
        None: (1, 0),
        -1: (1, 5000),
        0: (0, 5000),
    }
    assert QUARTER_MS == 900_000
