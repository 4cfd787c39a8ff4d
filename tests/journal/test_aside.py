"""What is rotated or cleared is set aside, and every line is there once, whenever a crash comes."""

import errno
import os
from pathlib import Path

import pytest
from support.journals import follow_all, open_journal

from vdbevents.journal import append, archive, aside, files, history, packed, reader

DAY_MS = 86_400_000
NOON_MS = 1_772_452_800_000


def line_at(ms, text="x"):
    return f'{{"ts":"2026-03-02T12:00:00.000Z","unix_ts":{ms / 1000:.3f},"text":"{text}"}}\n'.encode()


def lines(count, first=0, at=NOON_MS):
    return [line_at(at + 1000 * number, f"n{number}") for number in range(first, first + count)]


def all_lines(state, *, cleared=False):
    """Every line that a reader finds, in order."""
    file, older = history.open_with_older(state.journal, cleared=cleared)
    with file:
        found = []
        for one in older:
            with history.open_archived(one) as content:
                found += [line for batch in history.line_batches(content) for line in batch]
        return found + [line for batch in history.line_batches(file) for line in batch]


def content_of(path):
    with packed.open_content(path) as file:
        return file.readall()


@pytest.fixture
def journal(state):
    journal = open_journal(state)
    yield journal
    journal.close()


def test_clearing_packs_the_journal_and_empties_it_in_place(state, journal):
    journal.append(lines(3))
    inode = state.journal.stat().st_ino

    cleared = journal.clear()

    [one] = archive.archived(state)
    assert one.path.name == "cleared-20260302T120000.000Z-20260302T120002.000Z.jsonl.zst"
    assert content_of(one.path) == b"".join(lines(3))
    assert one.path.stat().st_mode & 0o777 == 0o600
    assert (state.journal.stat().st_ino, state.journal.stat().st_size) == (inode, 0)
    assert cleared == aside.Contents(
        events=3, size=len(b"".join(lines(3))), since_ms=NOON_MS, moved=((state.journal, one.path),)
    )
    assert all_lines(state) == []
    assert all_lines(state, cleared=True) == lines(3)
    assert sorted(path.name for path in state.archive.iterdir()) == [one.path.name]


def test_clearing_an_empty_journal_sets_nothing_aside(state, journal):
    assert journal.clear() == aside.Contents()
    assert not state.archive.exists()


def test_clearing_takes_what_was_rotated_along(state, journal):
    journal.append(lines(2))
    rotated = journal.rotate(None)
    journal.append(lines(1, 2))

    cleared = journal.clear()

    assert [one.kind for one in archive.archived(state)] == ["cleared", "cleared"]
    assert (cleared.events, cleared.rotated, cleared.since_ms) == (1, 1, NOON_MS)
    assert (rotated.path, archive.archived(state)[0].path) in cleared.moved
    assert all_lines(state) == []
    assert all_lines(state, cleared=True) == lines(3)


def test_lines_that_others_append_meanwhile_are_cleared_or_stay(state, journal, monkeypatch):
    journal.append(lines(2))
    other = open_journal(state)
    waited = []

    def append_meanwhile(packer, data):
        if not waited:
            waited.append(True)
            other.append(lines(1, 2))
        write(packer, data)

    write = packed.Packer.write
    monkeypatch.setattr(packed.Packer, "write", append_meanwhile)
    journal.clear()
    other.append(lines(1, 3))
    other.close()

    assert waited
    assert all_lines(state) == lines(1, 3)
    assert all_lines(state, cleared=True) == lines(4)


def test_deleting_removes_all_but_what_was_cleared_before(state, journal):
    journal.append(lines(1))
    journal.clear()
    journal.append(lines(1, 1))
    journal.rotate(None)
    journal.append(lines(1, 2))
    state.torn.write_bytes(b"{torn\n")
    found = aside.contents(state)

    deleted = journal.delete()

    assert (deleted.events, deleted.rotated) == (found.events, found.rotated) == (1, 1)
    assert all_lines(state, cleared=True) == lines(1)
    assert not state.torn.exists()


def test_a_rotation_moves_whole_days_and_leaves_the_present_one(state, journal):
    journal.append([*lines(2), *lines(2, 2, NOON_MS + DAY_MS)])
    midnight = NOON_MS + DAY_MS // 2

    rotated = journal.rotate(midnight)

    assert rotated.path.name == "rotated-20260302T120000.000Z-20260302T120001.000Z.jsonl"
    assert content_of(rotated.path) == b"".join(lines(2))
    assert state.journal.read_bytes() == b"".join(lines(2, 2, NOON_MS + DAY_MS))
    assert state.journal.stat().st_mode & 0o777 == 0o600
    assert journal.size == state.journal.stat().st_size
    assert journal.rotate(midnight) is None
    journal.append(lines(1, 9, NOON_MS + DAY_MS))
    assert len(all_lines(state)) == 5


def test_a_rotation_of_all_needs_no_copy(state, journal):
    journal.append(lines(2))
    inode = state.journal.stat().st_ino

    assert journal.rotate(None).path.stat().st_ino == inode
    assert state.journal.read_bytes() == b""
    assert journal.rotate(None) is None


def test_a_journal_behind_a_symbolic_link_is_rotated_and_the_link_stays(state, journal, tmp_path):
    target = tmp_path / "elsewhere.jsonl"
    target.touch()
    state.journal.symlink_to(target)
    journal.append(lines(2))
    rotated = journal.rotate(None)
    journal.append(lines(1, 2))

    assert not rotated.path.is_symlink()
    assert state.journal.is_symlink()
    assert target.read_bytes() == b"".join(lines(1, 2))
    assert all_lines(state) == lines(3)


def test_a_rotation_works_without_links_and_with_other_writers(state, journal, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    journal.append(lines(2))
    other = open_journal(state)
    other.append(lines(1, 2))

    assert content_of(journal.rotate(None).path) == b"".join(lines(3))
    other.append(lines(1, 3))
    other.close()
    assert all_lines(state) == lines(4)


def test_a_long_last_day_is_left_though_it_is_longer_than_a_block(state, journal, monkeypatch):
    monkeypatch.setattr(history, "BLOCK_BYTES", 200)
    journal.append([*lines(5), *lines(9, 5, NOON_MS + DAY_MS)])

    assert content_of(journal.rotate(NOON_MS + DAY_MS // 2).path) == b"".join(lines(5))
    assert all_lines(state) == [*lines(5), *lines(9, 5, NOON_MS + DAY_MS)]


def test_lines_without_a_time_are_counted_and_moved(state, journal):
    state.journal.write_bytes(b'{"a":1}\n{"unix_ts":1772452800.5}\n[]\n')

    assert journal.rotate(None).path.name == "rotated-20260302T120000.500Z-20260302T120000.500Z.jsonl"


class CrashError(BaseException):
    """The process is gone: nothing that it would do later is done."""


def crash_at(monkeypatch, step):
    """Have the process end before its `step`-th call that changes files; return the counter of the calls."""
    calls = [0]

    def crashing(name, real):
        def call(*arguments, **options):
            calls[0] += 1
            if calls[0] >= step:
                raise CrashError(name)
            return real(*arguments, **options)

        return call

    for place, name in (
        (os, "link"), (os, "ftruncate"), (os, "fsync"), (aside, "new_file"), (Path, "rename"),
        (Path, "replace"), (Path, "unlink"), (aside, "remove_file"),
        (packed.Packer, "write"), (packed.Packer, "finish"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, crashing(name, getattr(place, name)))
    return calls


STEPS = {
    "clear": lambda journal: journal.clear(),
    "rotate all": lambda journal: journal.rotate(None),
    "rotate days": lambda journal: journal.rotate(NOON_MS + 3000),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(state, monkeypatch, name):
    reached = 0
    for step in range(1, 40):
        for path in [*state.archive.glob("*"), *state.archive.glob(".*"), *state.path.glob("videodb*")]:
            path.unlink()
        journal = open_journal(state)
        journal.append(lines(2))
        journal.rotate(None)
        journal.append(lines(4, 2))
        with monkeypatch.context() as patch:
            calls = crash_at(patch, step)
            try:
                STEPS[name](journal)
            except CrashError:
                reached += 1
        journal.close()

        assert all_lines(state, cleared=True) == lines(6), step
        aside.mend(state)
        assert all_lines(state, cleared=True) == lines(6), step
        assert b"".join(lines(6)) == b"".join(
            [content_of(one.path) for one in archive.archived(state)] + [state.journal.read_bytes()]
        )
        assert not [path for path in state.archive.iterdir() if archive.parse_name(path) is None]
        if calls[0] < step:
            break
    assert reached == step - 1 > 5


def test_mending_removes_nothing_that_only_begins_alike(state, journal):
    journal.append(lines(9))
    one = journal.rotate(None).path
    changed = b"".join(lines(9)).replace(b"n4", b"m4")
    state.journal.write_bytes(changed + b"".join(lines(1, 9)))

    aside.mend(state)

    assert one.exists()


def test_a_failed_rotation_leaves_the_journal_as_it_was(state, journal, monkeypatch):
    journal.append(lines(2))

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="No space"):
            journal.rotate(None)

    assert archive.archived(state) == []
    assert all_lines(state) == lines(2)
    assert journal.rotate(None) is not None


def test_a_disk_that_fails_once_the_journal_is_replaced_costs_no_rotated_line(state, journal, monkeypatch):
    """By then the rotated file has the only copy of its lines."""
    journal.append(lines(3))
    asked = []

    def sync(folder):
        asked.append(folder)
        if folder == state.path.resolve():
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(aside, "sync_folder", sync)

    assert journal.rotate(None) is not None
    assert asked == [state.archive, state.path.resolve()]
    assert all_lines(state) == lines(3)


def test_a_restored_backup_counts_once_with_what_was_rotated_since(state, journal):
    journal.append(lines(3))
    backup = state.journal.read_bytes()
    journal.rotate(None)
    state.journal.write_bytes(backup + b"".join(lines(1, 3)))

    assert all_lines(state) == lines(4)


def test_a_webhook_that_was_rotated_is_recognised(state, journal):
    line = b'{"ts":"a","unix_ts":1,"n":"once","via":"webhook"}\n'
    check = append.DuplicateCheck(b"once", lambda found: found == line)
    journal.append([line])
    journal.rotate(None)

    assert journal.append([line], {line: check}) == 1
    journal.append(lines(1))
    journal.rotate(None)
    assert journal.append([line], {line: check}) == 1


def test_reading_backward_goes_on_into_what_was_rotated(state, journal):
    for number in range(3):
        journal.append(lines(2, 2 * number))
        if number < 2:
            journal.rotate(None)

    assert list(reader.backward(state.journal, [b"n"])) == [line[:-1] for line in reversed(lines(6))]
    assert list(reader.backward(state.journal, [b"n1"])) == [lines(1, 1)[0][:-1]]
    assert len(list(reader.backward(state.journal, [b"n"], rotated=False))) == 2


def test_following_misses_nothing_of_what_is_rotated_meanwhile(state, journal):
    def much():
        for number in range(2, 6):
            journal.append(lines(1, number))
            journal.rotate(None)
        journal.append(lines(1, 6))

    def cut():
        journal.append(lines(1, 7))
        journal.rotate(NOON_MS + 7000)

    journal.append(lines(1))
    steps = [lambda: journal.append(lines(1, 1)), much, cut, lambda: journal.append(lines(1, 8))]

    assert follow_all(state.journal, steps, from_end=False) == lines(9)


def test_a_follower_that_read_on_in_the_old_file_does_not_repeat_what_was_left_in_the_new_one(state, journal):
    journal.append(lines(4))

    steps = [lambda: journal.rotate(NOON_MS + 2000), lambda: journal.append(lines(1, 4))]

    assert follow_all(state.journal, steps, from_end=False) == lines(5)
    assert follow_all(state.journal, [], from_end=False) == lines(3, 2)


def test_a_place_is_found_again_after_rotations(state, journal):
    journal.append(lines(2))
    place = reader.end_of(state.journal)
    journal.append(lines(1, 2))
    journal.rotate(None)
    journal.append(lines(1, 3))
    journal.rotate(None)
    journal.append(lines(1, 4))

    assert follow_all(state.journal, [], from_end=False, start=place) == lines(3, 2)
    assert follow_all(state.journal, [], from_end=False, start=reader.JournalPlace(0, b"")) == lines(1, 4)


def test_a_journal_that_was_moved_away_by_others_is_followed_from_its_new_beginning(state, journal):
    journal.append(lines(2))
    place = reader.end_of(state.journal)
    state.journal.rename(state.path / "videodb_events.jsonl.1")
    journal.append(lines(1, 2))

    assert follow_all(state.journal, [], from_end=False, start=place) == lines(1, 2)


def test_a_line_that_is_written_just_before_a_rotation_is_followed(state, journal, monkeypatch):
    journal.append(lines(1))
    written = []
    look = reader.Tail.is_of

    def written_then_rotated(tail, path):
        if not written:
            written.append(True)
            journal.append(lines(1, 1))
            journal.rotate(None)
        return look(tail, path)

    monkeypatch.setattr(reader.Tail, "is_of", written_then_rotated)

    assert follow_all(state.journal, [lambda: None], from_end=False) == lines(2)


def test_a_rotation_between_opening_and_listing_is_noticed(state, journal, monkeypatch):
    journal.append(lines(2))
    look = history.older_journals
    rotated = []

    def rotated_first(path, **options):
        if not rotated:
            rotated.append(journal.rotate(None))
            files.remove_file(state.path / "nothing")
        return look(path, **options)

    monkeypatch.setattr(history, "older_journals", rotated_first)

    assert all_lines(state) == lines(2)
