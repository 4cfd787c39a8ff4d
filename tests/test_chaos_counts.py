"""What the counting behind `scripts/soak` has to notice: else that nothing is lost would mean nothing."""

import itertools
import json
import struct
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("limits of another process are Linux'", allow_module_level=True)

import duckdb
import zstandard
from support.chaos import (
    DROPS,
    OBSTACLES,
    Silence,
    count,
    files_with_secrets,
    lines_of,
    made_event,
    schedule,
    untold,
)
from support.stepped_clock import step, stepped

from vdbevents.emulator.made_up_secrets import made_up_secret
from vdbevents.events.envelope import utc_text
from vdbevents.events.gaps import Gap

NOON = 1_800_000_000


def records(numbers, channel="visual_index", stream="rts-1", period=2.0):
    return [
        {
            "rtstream_id": stream,
            "channel": channel,
            "start": NOON + (number - 1) * period,
            "end": NOON + number * period,
            "text": f"screen {channel} {number}: so on",
        }
        for number in numbers
    ]


def lines(made, **more):
    """The records as a listener would have received them: times in milliseconds."""
    events = [made_event(one) for one in made]
    for event in events:
        data = event["data"]
        data["start"], data["end"] = int(data["start"] * 1000), int(data["end"] * 1000)
    return [{**event, **more} for event in events]


def written(path, events):
    path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events))
    return path


def test_an_event_that_is_there_once_is_right():
    made = records(range(1, 6))
    found = count([*lines(made[:2]), *lines(made[3:]), *lines(made[2:3], backfilled=True)], made)

    assert found.failures == []
    assert (found.sent, found.live, found.recovered, found.unmade) == (5, 4, 1, 0)


def test_a_missing_event_is_lost():
    made = records(range(1, 6))
    found = count(lines(made[:2] + made[3:]), made)

    assert found.lost == ["visual_index rts-1 'screen visual_index 3: so on'"]
    assert found.missing == 2.0
    assert found.failures == [f"1 lost: {found.lost[0]}"]


def test_an_event_received_and_fetched_is_doubled():
    made = records(range(1, 4))
    found = count([*lines(made), *lines(made[1:2], backfilled=True)], made)

    assert found.duplicates == ["visual_index rts-1 'screen visual_index 2: so on'"]
    assert found.live == 3
    assert found.recovered == 0


def test_an_event_with_two_start_times_is_doubled():
    made = records(range(1, 4))
    late = [{**made[1], "start": made[1]["start"] + 0.001}]
    found = count([*lines(made), *lines(late, backfilled=True)], made)

    assert found.duplicates == ["visual_index 2 of rts-1"]
    assert len(found.foreign) == 1


def test_a_session_event_is_expected_once():
    active = {"event": "capture_session.active", "capture_session_id": "cap-1", "status": "active"}

    assert len(count([active, active], []).duplicates) == 1
    assert count([active, {**active, "capture_session_id": "cap-2"}], []).failures == []


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_is_damaged_at_the_end_and_within_a_line(cut, tmp_path):
    made = records(range(1, 4))
    path = written(tmp_path / "journal", lines(made))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    torn = count(lines_of(path), made)
    path.write_bytes(whole[:-cut] + whole)
    glued = count(lines_of(path), made)

    # A last line that lacks its end of line alone is whole.
    assert torn.damaged == ([] if cut == 1 else [3])
    assert len(torn.lost) == (0 if cut == 1 else 1)
    assert glued.damaged == [3]


def test_a_line_that_is_not_an_object_is_damaged(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b'{"a":1}\n[]\n{"b":\n\xff\xfe\n{"c":2}\n')

    assert count(lines_of(path), []).damaged == [2, 3, 4]


def test_a_missing_file_has_no_lines(tmp_path):
    assert list(lines_of(tmp_path / "journal")) == []


def test_an_event_that_was_never_sent_is_noticed():
    made = records(range(1, 4))
    found = count(lines(made), made[:2])

    assert found.foreign == ["visual_index rts-1 'screen visual_index 3: so on'"]


def test_an_event_with_the_beginning_of_another_one_is_out_of_place():
    made = records(range(1, 4))
    made[0]["start"], made[2]["start"] = made[2]["start"], made[0]["start"]
    found = count(lines(made), made)

    assert found.misplaced == ["visual_index rts-1: 2 after 3", "visual_index rts-1: 1 after 2"]


def test_events_the_service_never_made_are_not_lost():
    made = records([1, 2, 5, 6])
    found = count(lines(made), made)

    assert found.failures == []
    assert found.unmade == 2


def test_numbers_are_counted_by_channel_and_stream():
    made = [
        *records(range(1, 4)),
        *records(range(1, 3), "transcript", period=6.0),
        *records(range(1, 3), "transcript", "rts-2", period=6.0),
    ]

    assert count(lines(made), made).failures == []


def test_interim_transcripts_are_not_counted():
    made = records([1], "transcript")
    interim = lines(made)[0]
    interim["data"]["is_final"] = False

    assert count([interim, interim, *lines(made)], made).failures == []
    assert len(count([interim], made).lost) == 1


def test_the_longest_silence_is_that_of_all_streams_together():
    made = records(range(1, 11))
    heard = records([2], "transcript", "rts-2", period=6.0)
    found = count([*lines(made[:2]), *lines(heard), *lines(made[2:8], backfilled=True)], made + heard)

    # Live until 4, and from 6 on the transcript; fetched until 16; and then nothing until 20.
    assert found.longest_gap == 12.0
    assert found.missing == 4.0


def own(name, at, **data):
    return {"unix_ts": at, "channel": "vdbevents", "event": name, "data": data}


def gap(since, until, at=None):
    told = Gap("g", round(since * 1000), round(until * 1000), "why").data()
    return {
        "ts": utc_text(round(until * 1000)),
        **own("listener.gap", until if at is None else at),
        "data": told,
    }


STARTED, CONNECTED = own("listener.started", NOON), own("listener.connected", NOON + 1)
LOST, BACK = own("listener.disconnected", NOON + 50), own("listener.connected", NOON + 90)


def test_a_lost_connection_must_be_in_a_gap():
    told = [STARTED, CONNECTED, LOST, BACK]

    assert [one.why for one in untold(told)] == ["disconnected"]
    assert list(untold([*told, gap(NOON + 50, NOON + 90)])) == []
    assert len(list(untold([*told, gap(NOON + 50, NOON + 70)]))) == 1
    assert len(list(untold([*told, gap(NOON + 70, NOON + 90)]))) == 1
    assert list(untold([*told, gap(NOON + 40, NOON + 70), {**gap(NOON + 70, NOON + 95)}])) != []


def test_a_killed_run_must_be_in_a_gap():
    event = {"unix_ts": NOON + 40, "channel": "transcript", "data": {}}
    told = [STARTED, CONNECTED, event, own("listener.started", NOON + 80), BACK]

    (stretch,) = untold(told)
    assert (stretch.since_ms - NOON * 1000, stretch.until_ms - NOON * 1000) == (40_000, 90_000)
    assert stretch.why == "killed"
    assert list(untold([*told, gap(NOON + 41, NOON + 90)])) == []


def test_an_orderly_stop_needs_a_gap_only_while_disconnected():
    stopped = own("listener.stopped", NOON + 60)
    again = own("listener.started", NOON + 80)

    assert list(untold([STARTED, CONNECTED, stopped, again, BACK])) == []
    assert len(list(untold([STARTED, CONNECTED, LOST, stopped, again, BACK]))) == 1


def test_a_gap_with_a_clock_change_is_matched_by_one_end():
    back = own("listener.connected", NOON - 900)
    told = [STARTED, CONNECTED, LOST, back]
    steps = [(0, 0), ((NOON + 60) * 1000, -1_000_000)]

    assert len(list(untold(told, steps))) == 1
    assert list(untold([*told, gap(NOON + 50, NOON + 50)], steps)) == []
    assert list(untold([*told, gap(NOON - 900, NOON - 900)], steps)) == []


def test_the_seed_determines_the_faults_and_each_kind_occurs():
    first, again, other = (list(itertools.islice(schedule(seed, 60.0), 60)) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert {fault.kind for strike in first for fault in strike.faults} == {*DROPS, *OBSTACLES}
    assert all(before.at < after.at for before, after in itertools.pairwise(first))
    assert any(len(strike.faults) == 2 for strike in first)


def test_a_clock_can_be_set_from_outside(tmp_path):
    file = tmp_path / "clock"
    step(file, 0)
    clock = stepped(file)
    assert abs(clock() - time.time_ns()) < 10**9
    step(file, -3600.5)

    assert struct.unpack("=q", file.read_bytes()) == (-3_600_500_000_000,)
    assert abs(time.time_ns() - clock() - 3_600_500_000_000) < 10**9


def test_what_was_in_a_pause_is_excused_and_must_not_be_there():
    made = records(range(1, 101))
    pause = Silence(*(int((NOON + second) * 1000) for second in (100, 101, 120, 121)))
    kept = [one for one in made if one["end"] <= NOON + 54 or one["start"] >= NOON + 122]
    found = count(lines(kept), made, [pause])

    assert found.failures == []
    assert found.paused == 34
    inside = next(one for one in made if one["start"] == NOON + 110)
    assert [len(count(lines([*kept, inside]), made, [pause]).leaked)] == [1]
    # Without a confirmation nobody promised anything; and what is far from a pause is lost.
    assert count(lines([*kept, inside]), made, [pause._replace(certain=None)]).failures == []
    assert len(count(lines(kept[1:]), made, [pause]).lost) == 1


def test_a_secret_is_found_in_plain_packed_and_columnar_files(tmp_path):
    card, key = made_up_secret(5), made_up_secret(3)
    (tmp_path / "journal.jsonl").write_text(f"x {card} y")
    (tmp_path / "packed.jsonl.zst").write_bytes(zstandard.compress(f"x {key} y".encode() * 9))
    (tmp_path / "harmless.jsonl").write_text("x [redacted:card] y")
    with duckdb.connect() as connection:
        for name, text in (("cache.parquet", made_up_secret(2)), ("other.parquet", "4928 0000 0000 0000")):
            connection.execute(f"COPY (SELECT '{text}' AS text FROM range(99)) TO '{tmp_path / name}'")

    assert sorted(path.name for path in files_with_secrets(tmp_path, tmp_path / "gone")) == [
        *("cache.parquet", "journal.jsonl", "packed.jsonl.zst"),
    ]
