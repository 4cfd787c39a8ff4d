"""Caches that are removed: only what is ours, and not behind a writer for ever."""

import errno
import os

import pytest
from filelock import FileLock

from vdbevents.errors import InputError, StorageError
from vdbevents.query.cache import build, index

NAME = "0123456789abcdef" * 2


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / NAME
    made.mkdir()
    for name in ("lock", "manifest.json", "000-001.parquet", "000-001.words", ".manifest.json.tmp"):
        (made / name).write_bytes(b"x" * 10)
    return made


def test_clearing_removes_the_folder_and_tells_what_that_freed(folder):
    assert build.clear(folder) == 50
    assert not folder.exists()
    assert build.clear(folder) == 0


def test_clearing_waits_no_longer_than_its_limit(folder):
    with FileLock(folder / "lock"), pytest.raises(StorageError) as raised:
        build.clear(folder, wait_seconds=0.1)
    assert raised.value.error_id == "cache-busy"

    assert (folder / "manifest.json").exists()


def test_on_a_file_system_without_locks_nothing_waits_for_ever(folder, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError) as raised:
        build.clear(folder)
    assert raised.value.error_id == "cache-unremovable"
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b'{"channel":"x","data":{"text":"y"}}\n')
    with pytest.raises(StorageError) as raised:
        build.seal(journal, tmp_path / "caches", piece=10, part=10)
    assert raised.value.error_id == "cache-unwritable"


@pytest.mark.parametrize(
    "kind", ["another name", "a file too many", "a folder within", "a link within", "a link"]
)
def test_a_folder_that_is_not_a_cache_is_left_alone(folder, tmp_path, kind):
    target = folder
    if kind == "another name":
        target = folder.rename(tmp_path / "mine")
    elif kind == "a file too many":
        (folder / "letter.txt").touch()
    elif kind == "a folder within":
        (folder / "folder.parquet").mkdir()
    elif kind == "a link within":
        (folder / "linked.parquet").symlink_to(tmp_path)
    else:
        target = tmp_path / ("f" * 32)
        target.symlink_to(folder)

    with pytest.raises(InputError) as raised:
        build.clear(target)
    assert raised.value.error_id == "cache-foreign"

    assert not index.is_own(target)
    assert (target / "manifest.json").exists()


def test_sealing_leaves_what_it_does_not_know(folder, tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b'{"channel":"transcript"}\n' * 100)
    own = index.folder_of(journal, tmp_path)
    folder.rename(own)
    (own / "letter.txt").touch()

    cache = build.seal(journal, tmp_path, piece=1000)

    assert len(cache.segments) == 2
    assert (own / "letter.txt").exists()
    assert not (own / "000-001.parquet").exists()


def test_a_removed_journal_is_reported_as_such(tmp_path):
    with pytest.raises(InputError) as raised:
        build.seal(tmp_path / "gone.jsonl", tmp_path)
    assert raised.value.error_id == "journal-unreadable"

    assert index.folders(tmp_path) == []
