"""Events are counted by lanes and parts of a time: alike in memory, in lines and in sealed pieces."""

import json
from collections import Counter

import pytest
from support.sealed_journals import sealed

from vdbevents.query import engine, merge
from vdbevents.query.filters import Filters
from vdbevents.query.lane_counts import MINUTE_MS, LaneCount, MinuteCounts, counted_in
from vdbevents.query.merge import HostJournal
from vdbevents.query.tail_search import TailResult

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


def test_nothing_recorded_has_no_span(tmp_path, minutes):
    update(minutes, journal_of(tmp_path, []))

    assert minutes.span is None
    assert minutes.counts(0, NOON, MINUTE_MS) == []
