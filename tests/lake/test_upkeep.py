"""Compacting a lake, its state, and forgetting, beside recorders that ship."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from support.lakes import DAY, Recorder, rows_in
from support.processes import assert_failed, run

from vdbevents.errors import InputError
from vdbevents.lake import compaction, lake_state as lake_state_module, lake_table
from vdbevents.lake.lake_forgetting import LakeForgetting
from vdbevents.lake.lake_state import lake_state
from vdbevents.lake.lake_table import open_lake
from vdbevents.lake.table_log import TableFile
from vdbevents.lake.table_rewrite import TableRewrite
from vdbevents.removal.forgetting import Words
from vdbevents.times import Window

pytestmark = pytest.mark.long

WEEK = timedelta(days=7)


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path / "state", tmp_path / "lake")


@pytest.fixture
def rewrite(recorder):
    recorder.says("first")
    recorder.ships()
    with TableRewrite(recorder.lake) as opened:
        yield opened


def data_files(recorder):
    return sorted(Path(recorder.lake).glob("date=*/*.parquet"))


def at(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_small_files_of_a_day_that_is_over_become_one(recorder, rewrite):
    for number in range(4):
        recorder.says(f"utterance {number}")
        recorder.ships()
    recorder.at_ms += DAY
    for number in range(3):
        recorder.says(f"today {number}")
        recorder.ships()
    before = rows_in(recorder.lake, "*")

    done = compaction.compact(rewrite, WEEK, now=at(recorder.at_ms))

    assert done == compaction.CompactionOutcome(days=1, before=5, after=1)
    assert rows_in(recorder.lake, "*") == before
    # Those of today are as they were, and the next line is shipped once.
    assert len(DeltaTable(recorder.lake).file_uris()) == 4
    recorder.says("later")
    assert recorder.ships().lines == 1


def test_the_files_that_are_named_have_each_event_once(recorder, rewrite):
    recorder.says("it's the second")
    recorder.ships()
    compaction.compact(rewrite, WEEK)

    named = run(["lake", "files", recorder.lake], os.environ).stdout.splitlines()
    as_json = json.loads(run(["lake", "files", recorder.lake, "--json"], os.environ).stdout)

    assert len(data_files(recorder)) == 3
    assert named == as_json
    counted = duckdb.read_parquet(named, hive_partitioning=True).query(
        "rows", "SELECT date::VARCHAR, count(*) FROM rows GROUP BY date"
    )
    assert counted.fetchall() == [("2026-03-02", 2)]


def test_a_lake_without_files_names_none(tmp_path):
    lake_table.open_or_create_lake(str(tmp_path / "lake"))

    assert run(["lake", "files", tmp_path / "lake"], os.environ).returncode == 1
    assert_failed(run(["lake", "files", tmp_path / "none"], os.environ), 2, error_id="lake-not-found")


def test_what_is_compacted_is_left_alone_the_next_time(recorder, rewrite):
    recorder.says("second")
    recorder.ships()
    compaction.compact(rewrite, WEEK)

    assert compaction.compact(rewrite, WEEK) == compaction.CompactionOutcome()


def test_the_files_of_one_host_are_beside_each_other():
    def file(number, host, size):
        return TableFile(f"{number}", size, 1, "2026-03-02", (host, host))

    files = [file(number, host, 30) for number, host in enumerate("abcabc")]

    chunks = list(compaction.chunks_of([*files, file(9, "a", 99)], 100))

    assert [[one.hosts[0] for one in chunk] for chunk in chunks] == [["a", "a", "b"], ["b", "c", "c"]]


def test_a_recorder_may_ship_while_a_lake_is_compacted(recorder, rewrite, monkeypatch):
    recorder.says("second")
    recorder.ships()
    written = rewrite.written

    def ship_meanwhile(*arguments):
        recorder.says("third")
        recorder.ships()
        return written(*arguments)

    monkeypatch.setattr(rewrite, "written", ship_meanwhile)

    assert compaction.compact(rewrite, WEEK).busy == 0
    assert rows_in(recorder.lake, "text") == ["first", "second", "third"]


def test_of_two_compactions_one_wins_and_no_row_is_doubled(recorder, rewrite, monkeypatch):
    recorder.says("second")
    recorder.ships()
    written = rewrite.written

    def compact_meanwhile(date, select):
        # Other bytes of the same rows, as another version of the program writes them.
        with TableRewrite(recorder.lake) as other:
            files = other.refresh()
            if len(files) > 1:
                source = other.reading(other.local(files))
                other.exchange(files, [other.written(date, f"FROM {source}")], data_change=False)
        return written(date, f"{select} DESC")

    monkeypatch.setattr(rewrite, "written", compact_meanwhile)

    assert compaction.compact(rewrite, WEEK).busy == 1
    assert rows_in(recorder.lake, "text") == ["first", "second"]


def test_files_that_nobody_committed_are_deleted_when_they_are_old(recorder, rewrite):
    [used] = data_files(recorder)
    old, new = used.with_name("old.parquet"), used.with_name("new.parquet")
    old.write_bytes(b"left by a crash")
    new.write_bytes(b"to be committed")
    long_ago = time.time() - 8 * 86_400
    os.utime(old, (long_ago, long_ago))

    assert compaction.compact(rewrite, WEEK).deleted == 1
    assert data_files(recorder) == sorted([used, new])


def test_the_state_names_each_host_with_what_it_shipped(recorder, rewrite, tmp_path):
    other = Recorder(tmp_path / "other", recorder.lake, host="desk")
    other.says("one", "two")
    other.ships()

    state = lake_state(open_lake(recorder.lake), 1 << 20)

    assert (state.files, state.small, state.days) == (2, 2, 1)
    desk, laptop = state.hosts
    assert (desk.host, desk.lines, laptop.host, laptop.lines) == ("desk", 2, "laptop", 1)
    assert desk.bytes == other.state.journal.stat().st_size
    assert desk.first_ms + 1000 == desk.last_ms
    assert abs(desk.shipped_ms - time.time() * 1000) < 600_000


def test_the_state_of_files_of_one_recording_each_is_what_the_log_says(recorder, rewrite, monkeypatch):
    recorder.writes("no event")
    recorder.ships()
    monkeypatch.setattr(lake_state_module, "rows_of", lambda *_: pytest.fail("it reads the rows"))

    [laptop] = lake_state(open_lake(recorder.lake), 1 << 20).hosts

    assert (laptop.lines, laptop.first_ms) == (2, laptop.last_ms)
    assert at(laptop.first_ms) == rows_in(recorder.lake, "time")[0]


def test_the_state_is_that_of_the_rows_also_where_files_have_several_recordings(recorder, rewrite, tmp_path):
    other = Recorder(tmp_path / "other", recorder.lake, host="desk")
    for number in range(3):
        other.says(f"one {number}", "two")
        other.writes("no event")
        recorder.says(f"first {number}")
        other.ships()
        recorder.ships()
        if number == 0:
            compaction.compact(rewrite, WEEK)
        other.at_ms += DAY
        recorder.at_ms += DAY
    assert any(file.hosts == ("desk", "laptop") for file in TableFile.all_of(open_lake(recorder.lake)))

    state = lake_state(open_lake(recorder.lake), 1 << 20)

    rows = rows_in(recorder.lake, "host, time")
    for found in state.hosts:
        times = [moment for host, moment in rows if host == found.host]
        timed = [moment for moment in times if moment is not None]
        assert found.lines == len(times)
        assert (at(found.first_ms), at(found.last_ms)) == (min(timed), max(timed))
    assert [found.host for found in state.hosts] == ["desk", "laptop"]


# -- Forgetting -------------------------------------------------------------------------------------------


def test_forgotten_words_are_in_no_file_of_the_lake(recorder, rewrite):
    recorder.says("the hunter2", "kept")
    recorder.ships()
    forgetting = LakeForgetting(rewrite, Window(), Words("hunter2"), None)

    assert len(forgetting.find().rows) == 1
    assert len(rows_in(recorder.lake)) == 3
    done = forgetting.delete()

    assert (len(done.rows), done.hosts) == (1, ("laptop",))
    assert rows_in(recorder.lake, "text") == ["first", "kept"]
    assert {str(path) for path in data_files(recorder)} == set(DeltaTable(recorder.lake).file_uris())
    assert recorder.ships().lines == 0


def test_a_window_is_forgotten_of_one_host_alone(recorder, rewrite, tmp_path):
    other = Recorder(tmp_path / "other", recorder.lake, host="desk")
    other.says("before")
    other.at_ms += 5000
    since_ms = other.at_ms - 2000
    other.says("within", "within, too")
    other.at_ms += 5000
    until_ms = other.at_ms - 2000
    other.says("after")
    other.ships()
    recorder.says("within on the laptop")
    recorder.ships()

    LakeForgetting(rewrite, Window(since_ms, until_ms), None, "desk").delete()

    assert rows_in(recorder.lake, "host, text") == [
        ("desk", "before"),
        ("desk", "after"),
        ("laptop", "first"),
        ("laptop", "within on the laptop"),
    ]


def test_an_unknown_host_is_not_taken_for_one_with_nothing_to_forget(rewrite):
    with pytest.raises(InputError) as raised:
        LakeForgetting(rewrite, Window(), Words("first"), "laptp").find()

    assert raised.value.error_id == "lake-host-unknown"
    assert "--host laptop" in raised.value.hint


def test_a_name_is_looked_for_in_files_whose_bounds_another_engine_cut_short():
    file = TableFile("a", 1, 1, "2026-03-02", ("desk", "recorder-of-the-first-floor-to-t"))

    assert file.may_hold("recorder-of-the-first-floor-to-the-left")
    assert not file.may_hold("recorder-of-the-second-floor")


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: os.truncate(path, 300)], ids=["gone", "cut"])
@pytest.mark.parametrize("words", [["status"], ["forget", "--grep", "first"]], ids=lambda words: words[0])
def test_a_lake_that_was_copied_by_half_is_an_error(recorder, rewrite, tmp_path, words, harm):
    other = Recorder(tmp_path / "other", recorder.lake, host="desk")
    other.says("first")
    other.ships()
    compaction.compact(rewrite, WEEK)
    [joined] = TableFile.all_of(open_lake(recorder.lake))
    harm(Path(recorder.lake) / joined.path)

    ended = run(["lake", words[0], recorder.lake, *words[1:]], {"HOME": str(tmp_path), "LANG": "C.UTF-8"})

    expected = "lake-unusable" if words == ["status"] else "lake-file-unreadable"
    assert_failed(ended, 74, error_id=expected)


def test_an_unfinished_transcript_goes_with_the_final_one(recorder, rewrite):
    recorder.writes(
        '{"ts":"2026-03-02T11:00:00.000Z","unix_ts":1772449200.000,"channel":"transcript","rtstream_id":"rts-1",'
        '"data":{"text":"the secr","is_final":false,"start":1772449199000,"end":1772449199500}}',
        '{"ts":"2026-03-02T11:00:01.000Z","unix_ts":1772449201.000,"channel":"transcript","rtstream_id":"rts-1",'
        '"data":{"text":"the secret","is_final":true,"start":1772449199000,"end":1772449200500}}',
    )
    recorder.ships()

    assert len(LakeForgetting(rewrite, Window(), Words("secret"), None).delete().rows) == 2
    assert rows_in(recorder.lake, "text") == ["first"]


def test_forgetting_looks_again_when_a_compaction_was_first(recorder, rewrite, monkeypatch):
    recorder.says("the secret", "kept")
    recorder.ships()
    find, compactions = LakeForgetting.find, []

    def compact_meanwhile(self):
        found = find(self)
        if not compactions:
            with TableRewrite(recorder.lake) as other:
                compactions.append(compaction.compact(other, WEEK))
        return found

    monkeypatch.setattr(LakeForgetting, "find", compact_meanwhile)
    LakeForgetting(rewrite, Window(), Words("secret"), None).delete()

    assert compactions[0].before == 2
    assert rows_in(recorder.lake, "text") == ["first", "kept"]


def test_a_file_without_any_row_left_is_gone(recorder, rewrite):
    LakeForgetting(rewrite, Window(), None, "laptop").delete()

    assert rows_in(recorder.lake) == []
    assert data_files(recorder) == []
    recorder.says("new")
    assert recorder.ships().lines == 1
