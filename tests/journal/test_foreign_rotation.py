"""Another program rotates the journal, or a backup is restored: the recorder and its readers go on."""

import os
import shutil
import subprocess

import pytest
from support.journals import open_journal

from vdbevents.journal import archive, history, reader

NOON_MS = 1_772_452_800_000


def lines(count, first=0):
    begin = NOON_MS // 1000
    return [
        f'{{"ts":"2026-03-02T12:00:00.000Z","unix_ts":{begin + number}.000,"n":{number}}}\n'.encode()
        for number in range(first, first + count)
    ]


def by_logrotate(state, how):
    """Rotate with logrotate itself."""
    state.path.chmod(0o700)  # it refuses folders that others may write into
    configuration = state.path.parent / "logrotate.conf"
    configuration.write_text(f"{state.journal} {{\n rotate 2\n {how}\n}}\n")
    configuration.chmod(0o600)
    status = state.path.parent / "logrotate.status"
    subprocess.run(
        [shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin"), "-f", "-s", status, configuration],
        check=True,
        capture_output=True,
    )


def by_its_calls(state, how):
    """Do the same by system calls, where logrotate is not installed."""
    rotated = state.path / f"{state.journal.name}.1"
    if how == "copytruncate":
        shutil.copyfile(state.journal, rotated)
        os.truncate(state.journal, 0)
    else:
        state.journal.rename(rotated)
        os.close(os.open(state.journal, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@pytest.fixture(params=["logrotate", "its calls"])
def rotate(request):
    if request.param == "its calls":
        return by_its_calls
    if shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("logrotate is not installed")
    return by_logrotate


@pytest.mark.parametrize("how", ["create 0600", "copytruncate"])
def test_the_recorder_and_its_followers_go_on(state, rotate, how):
    journal = open_journal(state)
    journal.append(lines(2))
    steps = iter([
        lambda: (rotate(state, how), journal.append(lines(2, 2))),
        lambda: journal.append(lines(1, 4)),
    ])  # fmt: skip

    def wait():
        step = next(steps, None)
        return step is not None and (step(), True)[1]

    followed = list(reader.follow(state.journal, from_end=False, wait=wait))
    journal.close()

    assert followed == lines(5)
    assert (state.path / "videodb_events.jsonl.1").read_bytes() == b"".join(lines(2))
    assert state.journal.read_bytes() == b"".join(lines(3, 2))


def test_a_file_that_logrotate_renamed_is_part_of_answers_once_it_is_in_the_archive(state):
    journal = open_journal(state)
    journal.append(lines(2))
    by_its_calls(state, "create")
    journal.append(lines(1, 2))
    journal.close()
    archive.create_archive(state)
    target = archive.free_path(state, "rotated", NOON_MS, NOON_MS + 1000, packed=False)
    (state.path / "videodb_events.jsonl.1").rename(target)

    assert list(reader.backward(state.journal, [b"n"])) == [line[:-1] for line in reversed(lines(3))]


def test_a_whole_directory_that_is_restored_has_what_it_had(state, tmp_path):
    journal = open_journal(state)
    journal.append(lines(2))
    journal.rotate(None)
    journal.append(lines(1, 2))
    journal.close()
    backup = tmp_path / "backup"
    shutil.copytree(state.path, backup)
    shutil.rmtree(state.path)
    shutil.copytree(backup, state.path)

    file, older = history.open_with_older(state.journal)
    with file:
        assert file.read() == b"".join(lines(1, 2))
    assert [one.kind for one in older] == ["rotated"]


def test_conflict_copies_of_a_synchronised_folder_are_not_read(state):
    journal = open_journal(state)
    journal.append(lines(2))
    rotated = journal.rotate(None).path
    journal.append(lines(1, 2))
    journal.close()
    for path in (rotated, state.journal):
        shutil.copyfile(path, path.with_name(f"{path.stem} (Ada's conflicted copy 2026-03-02).jsonl"))
        shutil.copyfile(path, path.with_name(f"{path.stem}.sync-conflict-20260302-101530-ABCDEFG.jsonl"))

    assert len(list(reader.backward(state.journal, [b"n"]))) == 3
