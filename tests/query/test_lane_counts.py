"""Events are counted by lanes and parts of a time: alike in memory, in lines and in sealed pieces."""

import json
import random
from collections import Counter

import pytest
from support.sealed_journals import sealed

from vdbevents.query import engine, lane_counts, merge
from vdbevents.query.cache.lane_minutes import LaneMinutes, read_minutes, stored_minutes
from vdbevents.query.filters import Filters
from vdbevents.query.lane_counts import MINUTE_MS, LaneCount, MinuteCounts, counted_in
from vdbevents.query.merge import HostJournal
from vdbevents.query.tail_search import TailResult

pytestmark = pytest.mark.long

NOON = 1_772_449_200_000


def line(at, channel="transcript", name="mic", **data):
    event = {"ts": "", "unix_ts": at / 1000, "channel": channel, "rtstream_name": name, "data": data}
    del event["ts"]
    return json.dumps({"ts": "2026-03-02T11:00:00.000Z", **event}, separators=(",", ":"))


def spoken(at, name="mic", *, is_final=True, start=None):
    times = {"start": at if start is None else start, "end": at + 500}
    return line(at, name=name, text=f"said at {at}", is_final=is_final, **times)


def journal_of(tmp_path, lines):
    path = tmp_path / "videodb_events.jsonl"
    path.write_text("".join(f"{one}\n" for one in lines))
    return path


LINES = [
    spoken(NOON),
    spoken(NOON + 1_000),
    spoken(NOON + 70_000, name="system_audio"),
    line(NOON + 5_000, "visual_index", "display:1", text="a screen", start=NOON + 5_000, end=NOON + 6_000),
    line(NOON + 6_000, "alert", "display:1", label="failed", text="a test failed"),
    line(NOON + 7_000, "vdbevents", "", text="the recorder's own"),
    line(NOON + 8_000, "backend.started", "", text="the backend's own"),
    json.dumps({"unix_ts": NOON / 1000, "event": "capture_session.active", "capture_session_id": "cap-1"}),
]
EXPECTED = [
    LaneCount("alert", "", 0, 1),
    LaneCount("mic", "mic", 0, 2),
    LaneCount("screen", "display:1", 0, 1),
    LaneCount("system_audio", "system_audio", 1, 1),
]


def test_the_recorders_own_lines_and_the_steps_of_sessions_do_not_count(tmp_path):
    journal = journal_of(tmp_path, LINES)

    with engine.search(journal, Filters(by_event=True)) as answer:
        assert sorted(counted_in(answer, NOON, MINUTE_MS)) == EXPECTED


def test_events_in_memory_count_as_those_in_a_table_do(tmp_path):
    journal = journal_of(tmp_path, LINES)
    filters = Filters(by_event=True, recorder=False)

    with merge.search_rows([HostJournal("", journal, "journal")], filters) as answer:
        [(_, result)] = answer.answers
        assert isinstance(result, TailResult)
        assert sorted(counted_in(result, NOON, MINUTE_MS)) == EXPECTED


def test_thousands_of_long_lines_that_match_are_counted(tmp_path):
    shown = [
        line(NOON + 5_000 * number, "visual_index", "display:1", text=f"deploy {number} " + "word " * 400)
        for number in range(3_000)
    ]
    journal = journal_of(tmp_path, shown[:100])
    cache = sealed(journal, tmp_path / "cache", 100_000)
    journal.write_text("".join(f"{one}\n" for one in [*shown, LINES[5]]))

    asked = Filters(grep=("deploy",), ignore_case=True, by_event=True)
    with engine.search(journal, asked, cache) as answer:
        assert answer.sealed_bytes
        [found] = counted_in(answer, NOON, 3_000 * 5_000)

    assert found == LaneCount("screen", "display:1", 0, 3_000)


def test_what_was_before_the_first_part_is_left_out(tmp_path):
    journal = journal_of(tmp_path, LINES)
    filters = Filters(by_event=True, recorder=False)

    with (
        engine.search(journal, filters) as tabled,
        merge.search_rows([HostJournal("", journal, "journal")], filters) as plain,
    ):
        for result in (tabled, plain.answers[0][1]):
            assert counted_in(result, NOON + MINUTE_MS, MINUTE_MS) == [
                LaneCount("system_audio", "system_audio", 0, 1)
            ]


@pytest.fixture
def minutes():
    with MinuteCounts() as counts:
        yield counts


def update(minutes, journal, cache=None):
    filters = Filters(by_event=True, recorder=False)
    with engine.search(journal, filters, cache, sealed=False) as unsealed:
        minutes.update(unsealed)


def test_sealed_pieces_and_the_rest_add_up_to_all(tmp_path, minutes):
    lines = [spoken(NOON + 7_000 * number, name=f"mic {number % 3}") for number in range(400)]
    journal = journal_of(tmp_path, lines[:300])
    cache = sealed(journal, tmp_path / "cache", 4_000)
    journal.write_text("".join(f"{one}\n" for one in lines))

    update(minutes, journal, cache)

    assert len(cache.segments) > 2
    expected = Counter((f"mic {n % 3}", (NOON + 7_000 * n) // MINUTE_MS) for n in range(400))
    found = minutes.counts(NOON, NOON + 400 * 7_000, MINUTE_MS)
    assert {(one.name, NOON // MINUTE_MS + one.part): one.events for one in found} == expected
    assert minutes.span == (NOON, (NOON + 399 * 7_000) // MINUTE_MS * MINUTE_MS + MINUTE_MS)


def test_a_second_update_counts_what_is_new_once(tmp_path, minutes):
    lines = [spoken(NOON + 1_000 * number) for number in range(60)]
    journal = journal_of(tmp_path, lines[:50])
    update(minutes, journal)
    update(minutes, journal)
    assert sum(one.events for one in minutes.counts(NOON, NOON + MINUTE_MS, MINUTE_MS)) == 50

    cache = sealed(journal, tmp_path / "cache", 2_000)
    journal.write_text("".join(f"{one}\n" for one in lines))
    update(minutes, journal, cache)
    update(minutes, journal, cache)

    assert sum(one.events for one in minutes.counts(NOON, NOON + MINUTE_MS, MINUTE_MS)) == 60


def test_a_cache_that_is_built_again_replaces_what_was_counted(tmp_path, minutes):
    journal = journal_of(tmp_path, [spoken(NOON + 1_000 * number) for number in range(50)])
    update(minutes, journal, sealed(journal, tmp_path / "cache", 2_000))
    journal.unlink()
    journal = journal_of(tmp_path, [spoken(NOON + 1_000 * number, name="other") for number in range(40)])

    update(minutes, journal, sealed(journal, tmp_path / "cache", 2_000))

    counted = minutes.counts(NOON, NOON + MINUTE_MS, MINUTE_MS)
    assert [(one.name, one.events) for one in counted] == [("other", 40)]


def test_unfinished_sentences_of_a_sealed_piece_do_not_count(tmp_path, minutes):
    lines = [
        *(spoken(NOON + 100 * number, is_final=False, start=NOON) for number in range(20)),
        spoken(NOON + 3_000, start=NOON),
    ]
    journal = journal_of(tmp_path, lines)

    update(minutes, journal, sealed(journal, tmp_path / "cache", 1 << 20))

    assert [one.events for one in minutes.counts(NOON, NOON + MINUTE_MS, MINUTE_MS)] == [1]


KINDS = (
    {"channel": "transcript", "is_final": True},
    {"channel": "transcript", "is_final": False},
    {"channel": "visual_index", "name": "display:1"},
    {"channel": "visual_index", "name": ""},
    {"channel": "alert", "name": "display:2", "label": "failed"},
    {"channel": "audio_index", "name": "system_audio"},
    {"channel": "vdbevents"},
    {"channel": "backend.ready"},
    {"channel": "capture_session"},
    {"channel": "other", "name": "desk \u00e4"},
)


def random_lines(chance, first, last, kinds):
    """Lines of some kinds within some hours, not in the order in which they began; some have no start."""
    for number in range(first, last):
        kind = dict(chance.choice(kinds))
        at = NOON + chance.randrange(-3_600_000, 3 * 3_600_000)
        start = {"start": at, "end": at + 900} if chance.random() < 0.8 else {}
        yield line(NOON + 20_000 * number, text=f"text {number}", **kind, **start)


@pytest.mark.parametrize("seed", range(4))
def test_counts_that_were_sealed_are_those_of_the_events(tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    # At the unsealed end an unfinished sentence counts, until it is finished.
    finished = [one for one in KINDS if one.get("is_final", True)]
    lines = [*random_lines(chance, 0, 250, KINDS), *random_lines(chance, 250, 400, finished)]
    journal = journal_of(tmp_path, lines[:350])
    cache = sealed(journal, tmp_path / "cache", 12_000)
    journal.write_text("".join(f"{one}\n" for one in lines))
    looks = []
    for _ in range(30):
        since = NOON + chance.randrange(-4 * 3_600_000, 2 * 3_600_000)
        length = chance.randrange(60_000, 5 * 3_600_000)
        looks.append((since, since + length, max(MINUTE_MS, length / chance.randrange(1, 200))))

    with MinuteCounts() as counts, MinuteCounts() as again:
        with monkeypatch.context() as patched:
            # No event is read where the counts are sealed.
            patched.setattr(lane_counts, "minutes_of", None)
            update(counts, journal, cache)
        for segment in cache.segments:
            cache.minutes(segment).write_bytes(b"damaged")
        update(again, journal, cache)

        assert len(cache.segments) > 3
        assert counts.span == again.span
        for look in looks:
            found = counts.counts(*look)
            assert found == again.counts(*look)
            assert found == expected_counts(journal, *look)
            assert counts.has_unsealed(*look[:2]) == again.has_unsealed(*look[:2])


def expected_counts(journal, since, until, part_ms):
    """Count the events of the minutes of a time one by one, from a search without a cache."""
    counts = Counter()
    minutes = range(since // MINUTE_MS, (until - 1) // MINUTE_MS + 1)
    with engine.search(journal, Filters(by_event=True, interim=True)) as answer:
        for batch in answer.events():
            for event in batch:
                minute = (event.time_ms if event.start_ms is None else event.start_ms) // MINUTE_MS
                is_left_out = event.channel in ("vdbevents", "capture_session", "backend.ready")
                if minute not in minutes or is_left_out or (event.is_final is False):
                    continue
                lane = (
                    ("alert", "")
                    if event.channel == "alert"
                    else (event.source or event.channel, event.stream_name or "")
                )
                counts[*lane, max(0, int((minute * MINUTE_MS - since) // part_ms))] += 1
    return [LaneCount(*lane, number) for lane, number in sorted(counts.items())]


def test_lanes_are_read_as_they_were_stored():
    lanes = [
        LaneMinutes("mic", "caf\u00e9", [-2, 5, 6, 29_000_000], [1, 2, 3, 4]),
        LaneMinutes("alert", "", [0], [1]),
    ]

    assert read_minutes(stored_minutes(lanes)) == lanes
    assert read_minutes(stored_minutes([])) == []


def test_nothing_recorded_has_no_span(tmp_path, minutes):
    update(minutes, journal_of(tmp_path, []))

    assert minutes.span is None
    assert minutes.counts(0, NOON, MINUTE_MS) == []
