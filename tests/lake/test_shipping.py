"""Shipping: each line is in the lake once, whatever happens when."""

import json
import shutil
from datetime import UTC, datetime

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from hypothesis import given, settings
from support import random_journals as random
from support.effort import examples
from support.lakes import DAY, Recorder, lines_in, rows_in
from support.sealed_journals import sealed

from vdbevents.errors import InputError
from vdbevents.events.envelope import parse_line
from vdbevents.journal.rewrite import OwnMark, rewrite_journal
from vdbevents.lake import lake_rows, shipping
from vdbevents.lake.lake_name import recording_name
from vdbevents.lake.shipped_place import ShippedPlace
from vdbevents.lake.table_schema import COLUMNS, application

pytestmark = pytest.mark.long


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path / "state", tmp_path / "lake")


def content_of(lines):
    return b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)


def texts_of(recorder):
    return [json.loads(line)["data"]["text"] for line in rows_in(recorder.lake)]


def test_each_line_becomes_a_row_with_its_place_and_its_columns(recorder):
    recorder.says("one", "two")

    done = recorder.ships()

    assert (done.lines, done.bytes, done.commits) == (2, recorder.state.journal.stat().st_size, 1)
    assert rows_in(recorder.lake) == lines_in(recorder.state)
    columns = "host, position, length, text, channel, stream, time, started, date, readable, schema_version"
    at = datetime.fromtimestamp(random.AT / 1000, UTC)
    first, second = rows_in(recorder.lake, columns)
    length = len(lines_in(recorder.state)[0])
    assert first[:6] == ("laptop", 0, length, "one", "transcript", "rts-1")
    assert (first[6], first[8], first[9:]) == (at, at.date(), (True, 1))
    assert second[1] == length + 1


def test_what_is_shipped_is_not_shipped_again(recorder):
    recorder.says("one")
    recorder.ships()
    recorder.says("two", "three")

    assert recorder.ships().lines == 2
    assert recorder.ships() == shipping.Shipped()
    assert texts_of(recorder) == ["one", "two", "three"]


def test_a_line_that_is_not_whole_yet_is_shipped_when_it_is(recorder):
    recorder.says("one")
    with recorder.state.journal.open("ab") as file:
        file.write(b'{"channel":"transcript","data":{"te')
    recorder.ships()
    with recorder.state.journal.open("ab") as file:
        file.write(b'xt":"two"}}\n')

    assert recorder.ships().lines == 1
    assert texts_of(recorder) == ["one", "two"]


def test_lines_that_are_not_events_are_rows_without_values(recorder):
    recorder.writes("{}", "not an event", b"\xff\xfe torn", b'{"channel":"x"}', "", "   ")

    recorder.ships()

    rows = rows_in(recorder.lake, "line, readable, date, channel")
    day = datetime(1970, 1, 1, tzinfo=UTC).date()
    assert rows == [
        ("{}", True, day, None),
        ("not an event", False, day, None),
        ("\ufffd\ufffd torn", False, day, None),
        ('{"channel":"x"}', True, day, "x"),
    ]


def test_the_rows_of_a_day_are_in_its_partition_alone(recorder):
    for _ in range(6):
        recorder.says("one")
        recorder.at_ms += DAY

    recorder.ships()

    actions = DeltaTable(recorder.lake).get_add_actions(flatten=True)
    assert [*map(int, actions.column("num_records").to_pylist())] == [1] * 6
    assert len(set(actions.column("partition.date").to_pylist())) == 6
    assert rows_in(recorder.lake, "time::date = date") == [True] * 6


@pytest.mark.long
@settings(max_examples=examples(8))
@given(random.journals)
def test_identities_are_those_of_the_events(tmp_path_factory, journal):
    folder = tmp_path_factory.mktemp("identities")
    recorder = Recorder(folder / "state", folder / "lake")
    recorder.state.journal.write_bytes(content_of(journal))
    if recording_name(recorder.state, "laptop") is None:
        return

    recorder.ships()

    for line, identity, readable in rows_in(recorder.lake, "line, identity, readable"):
        event = parse_line(line.encode()) if readable else None
        assert identity == (lake_rows.identity_text(event) if event else None), line


@pytest.mark.long
@settings(max_examples=examples(8))
@given(random.journals)
def test_what_is_sealed_gives_the_same_rows_as_the_journal_itself(tmp_path_factory, journal):
    folder = tmp_path_factory.mktemp("sealed")
    plain, prepared = (Recorder(folder / name / "state", folder / name / "lake") for name in ("a", "b"))
    for recorder in (plain, prepared):
        recorder.state.journal.write_bytes(content_of(journal))
    sealed(prepared.state.journal, prepared.cache_root, 400)
    if recording_name(plain.state, "laptop") is None:
        return

    plain.ships()
    prepared.ships()

    names = ", ".join(f'"{column.name}"' for column in COLUMNS)
    assert rows_in(prepared.lake, names) == rows_in(plain.lake, names)


def test_a_sealed_piece_that_begins_with_a_byte_order_mark_keeps_its_line(recorder):
    recorder.writes('{"channel":"x"}', b"\xef\xbb\xbf" + b'{"channel":"y"}')
    cache = sealed(recorder.state.journal, recorder.cache_root, 17)
    assert [segment.start for segment in cache.segments] == [0, 16]

    recorder.ships()

    assert rows_in(recorder.lake, "line, readable") == [
        ('{"channel":"x"}', True),
        ('\ufeff{"channel":"y"}', False),
    ]


def test_a_sealed_piece_that_vanishes_is_read_from_the_journal(recorder, monkeypatch):
    recorder.says("one", "two")
    cache = sealed(recorder.state.journal, recorder.cache_root, 100)
    monkeypatch.setattr(shipping.Cache, "holds", lambda *_: True)
    for segment in cache.segments:
        cache.events(segment).unlink()

    recorder.ships()

    assert texts_of(recorder) == ["one", "two"]


def test_a_rotation_moves_lines_and_ships_none_twice(recorder):
    recorder.says("one", "two")
    recorder.ships()
    recorder.says("three")
    recorder.at_ms += DAY
    recorder.says("four")
    recorder.use(lambda journal: journal.rotate(recorder.at_ms - DAY // 2))
    recorder.says("five")

    assert recorder.ships().lines == 3
    assert texts_of(recorder) == ["one", "two", "three", "four", "five"]
    assert len(list(recorder.state.archive.iterdir())) == 1


def test_a_rotation_within_what_is_shipped_ships_only_what_is_new(recorder):
    recorder.says("one")
    recorder.at_ms += DAY
    recorder.says("two")
    recorder.ships()
    recorder.use(lambda journal: journal.rotate(recorder.at_ms - DAY // 2))

    assert recorder.ships().lines == 0
    recorder.says("three")
    recorder.ships()
    assert texts_of(recorder) == ["one", "two", "three"]


def test_a_cleared_journal_goes_on_after_what_was_cleared(recorder):
    recorder.says("one")
    recorder.ships()
    recorder.says("two")
    recorder.use(lambda journal: journal.clear())
    recorder.says("three")

    recorder.ships()

    assert texts_of(recorder) == ["one", "two", "three"]


def test_a_deleted_journal_goes_on_with_what_is_new(recorder):
    recorder.says("one")
    recorder.ships()
    recorder.use(lambda journal: journal.delete())
    recorder.says("two")

    recorder.ships()

    assert texts_of(recorder) == ["one", "two"]


def test_a_rewritten_journal_ships_only_what_is_new(recorder):
    recorder.says("one", "secret", "three")
    recorder.ships()

    def change(line):
        return None if b"secret" in line else line.replace(b"three", b"[redacted]")

    rewrite_journal(
        recorder.state, change, lambda _: OwnMark("journal.forgotten", {}), clock_ms=lambda: recorder.at_ms
    )
    recorder.says("four")

    recorder.ships()

    texts = [json.loads(line).get("data", {}).get("text") for line in rows_in(recorder.lake)]
    assert [text for text in texts if text] == ["one", "secret", "three", "four"]
    assert recorder.ships().lines == 0


@pytest.mark.parametrize("is_name_lost", [False, True])
def test_a_restored_backup_ships_what_it_records_then(recorder, tmp_path, is_name_lost):
    recorder.says("one")
    recorder.ships()
    restore = recorder.backed_up(tmp_path / "backup")
    recorder.says("two", "three")
    recorder.ships()
    restore()
    if is_name_lost:
        recorder.state.lake.unlink()
    recorder.at_ms += 60_000
    recorder.says("four", "five", "six")

    recorder.ships()

    assert texts_of(recorder) == ["one", "two", "three", "four", "five", "six"]
    assert recorder.ships().lines == 0


def test_a_recording_whose_names_and_oldest_lines_are_gone_is_compared_with_the_lake(recorder):
    recorder.says("one", "two", "three")
    recorder.ships()
    recorder.state.lake.unlink()
    lines = recorder.state.journal.read_bytes().splitlines(keepends=True)
    recorder.state.journal.write_bytes(b"".join(lines[1:]))
    recorder.says("four")

    recorder.ships()

    assert sorted(texts_of(recorder)) == ["four", "one", "three", "two"]


def test_two_recorders_share_a_lake(tmp_path):
    one, other = (Recorder(tmp_path / name, tmp_path / "lake", host=name) for name in ("desk", "laptop"))
    one.says("one")
    other.says("one", "two")

    assert [recorder.ships().lines for recorder in (one, other, one)] == [1, 2, 0]
    assert rows_in(one.lake, "host, text") == [("desk", "one"), ("laptop", "one"), ("laptop", "two")]


def test_two_recordings_of_one_host_may_have_the_same_line_without_a_time(tmp_path):
    one, other = (Recorder(tmp_path / name, tmp_path / "lake") for name in ("one", "other"))
    one.writes("no event")
    one.says("first")
    other.at_ms += 60_000
    other.says("before")
    other.writes("no event")
    other.says("after")

    assert [recorder.ships().lines for recorder in (one, other)] == [2, 3]


@pytest.mark.parametrize("is_name_lost", [False, True])
def test_a_restored_backup_that_ends_with_a_line_without_a_time_ships_none_twice(
    recorder, tmp_path, is_name_lost
):
    recorder.says("one")
    recorder.writes("no event", "another")
    recorder.ships()
    restore = recorder.backed_up(tmp_path / "backup")
    recorder.says("two")
    recorder.ships()
    restore()
    if is_name_lost:
        recorder.state.lake.unlink()
    recorder.at_ms += 60_000
    recorder.says("three")

    assert recorder.ships().lines == 1


def test_a_host_keeps_the_name_under_which_it_is_shipped(recorder):
    recorder.says("one")
    recorder.ships()

    with pytest.raises(InputError) as caught:
        recording_name(recorder.state, "another")

    assert caught.value.error_id == "host-differs"
    assert recording_name(recorder.state, None).host == "laptop"


# -- Ends and rivals --------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for the end of the process."""


def test_what_ends_between_upload_and_commit_ships_nothing_twice(recorder, monkeypatch):
    recorder.says("one", "two")

    def die(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(shipping.Shipper, "_try_commit", die)
        with pytest.raises(KilledError):
            recorder.ships()

    assert rows_in(recorder.lake) == []
    recorder.ships()
    assert texts_of(recorder) == ["one", "two"]
    # What was uploaded before is used.
    assert len(DeltaTable(recorder.lake).file_uris()) == 1
    assert len(list(recorder.state.path.parent.glob("lake/date=*/*"))) == 1


def test_a_commit_whose_answer_was_lost_counts(recorder, monkeypatch):
    recorder.says("one", "two")
    commit = shipping.Shipper._try_commit

    def lose(*arguments):
        commit(*arguments)
        raise OSError(None, "the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(shipping.Shipper, "_try_commit", lose)
        done = recorder.ships()

    assert (done.lines, done.tries) == (2, 1)
    assert texts_of(recorder) == ["one", "two"]


def test_another_shipper_that_commits_first_is_noticed(recorder, monkeypatch):
    recorder.says("one", "two")
    commit, rivals = shipping.Shipper._try_commit, [recorder]

    def be_late(*arguments):
        if rivals:
            recorder.says("three")
            rivals.pop().ships()
        return commit(*arguments)

    monkeypatch.setattr(shipping.Shipper, "_try_commit", be_late)
    recorder.ships()

    assert texts_of(recorder) == ["one", "two", "three"]


def test_a_commit_of_another_recorder_costs_one_more_try(recorder, monkeypatch, tmp_path):
    recorder.says("one")
    other = Recorder(tmp_path / "other", recorder.lake, host="desk")
    other.says("two")
    commit, rivals = shipping.Shipper._try_commit, [other]

    def be_late(*arguments):
        if rivals:
            rivals.pop().ships()
        return commit(*arguments)

    monkeypatch.setattr(shipping.Shipper, "_try_commit", be_late)

    assert recorder.ships().tries == 2
    assert rows_in(recorder.lake, "host, text") == [("desk", "two"), ("laptop", "one")]


def test_a_commit_of_another_recorder_during_a_pause_costs_no_try(recorder, tmp_path):
    recorder.says("one")
    others = [Recorder(tmp_path / host, recorder.lake, host=host) for host in ("desk", "attic", "shed")]
    for other in others:
        other.says("two")
    first, *later = others
    rivals = [first]

    class Late(shipping.Shipper):
        def _try_commit(self, *arguments):
            if rivals:
                rivals.pop().ships()
            return super()._try_commit(*arguments)

    def pause(_):
        while later:
            later.pop().ships()

    name = recording_name(recorder.state, recorder.host)
    with Late(recorder.lake, recorder.state.journal, name, recorder.cache_root, pause=pause) as shipper:
        assert shipper.ship().tries == 2
    assert not later


@pytest.mark.parametrize(
    ("tries", "took", "seconds"),
    [(1, 0.1, 4), (2, 0.1, 16), (9, 0.1, 60), (1, 2, 16), (2, 2, 80), (9, 2, 240)],
)
def test_pauses_grow_with_the_tries_and_with_the_time_that_one_takes(tries, took, seconds):
    assert shipping._longest_pause(tries, took) == seconds


def test_a_commit_during_an_upload_costs_no_try(recorder, monkeypatch, tmp_path):
    recorder.says("one")
    other = Recorder(tmp_path / "other", recorder.lake, host="desk")
    other.says("two")
    upload, rivals = shipping.Shipper._uploaded, [other]

    def be_slow(*arguments):
        if rivals:
            rivals.pop().ships()
        return upload(*arguments)

    monkeypatch.setattr(shipping.Shipper, "_uploaded", be_slow)

    assert recorder.ships().tries == 1


def test_delta_takes_a_lower_number_so_the_place_is_compared_by_us(recorder):
    recorder.says("one", "two")
    recorder.ships()
    name = application("laptop", recording_name(recorder.state, None).journal)
    table = DeltaTable(recorder.lake)
    before = ShippedPlace.of(table.transaction_version, name)
    # This is what must not happen: Delta Lake would allow it.
    table.create_write_transaction(
        [],
        "append",
        table.schema(),
        partition_by=["date"],
        commit_properties=CommitProperties(app_transactions=[Transaction(name, before.position - 1)]),
    )
    assert DeltaTable(recorder.lake).transaction_version(name) == before.position - 1

    assert recorder.ships().lines == 0
    assert texts_of(recorder) == ["one", "two"]


def test_lines_that_are_forgotten_while_they_are_read_are_not_shipped(recorder, monkeypatch):
    recorder.says("one", "secret")
    upload, is_done = shipping.Shipper._uploaded, []

    def forget_meanwhile(*arguments):
        if not is_done:
            is_done.append(True)
            rewrite_journal(
                recorder.state,
                lambda line: None if b"secret" in line else line,
                lambda _: OwnMark("journal.forgotten", {}),
                clock_ms=lambda: recorder.at_ms,
            )
        return upload(*arguments)

    monkeypatch.setattr(shipping.Shipper, "_uploaded", forget_meanwhile)
    recorder.ships()

    assert not any("secret" in line for line in rows_in(recorder.lake))
    assert any('"one"' in line for line in rows_in(recorder.lake))


def test_a_long_journal_goes_in_pieces_each_of_whole_lines(recorder):
    recorder.says(*(f"utterance {number}" for number in range(20)))

    with recorder.shipper(piece=500) as shipper:
        done = shipper.ship()

    assert done.commits > 5
    assert rows_in(recorder.lake) == lines_in(recorder.state)


def test_a_lake_that_vanished_is_made_again_by_shipping_to_it(recorder):
    recorder.says("one")
    recorder.ships()
    shutil.rmtree(recorder.lake)

    assert recorder.ships().lines == 1
