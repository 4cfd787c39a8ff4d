"""Temporary folders: private, removed in the end, and by the next process if theirs was killed."""

import contextlib
import gzip
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vdbevents.errors import StorageError
from vdbevents.query import decompress, scratch
from vdbevents.query.cache.build import seal
from vdbevents.query.engine import search
from vdbevents.query.filters import Filters
from vdbevents.query.sql.sandbox import SqlTables
from vdbevents.query.termination import TerminatedError, ended_in_order

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "example.jsonl"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The temporary directory, which no other test uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_root", scratch._Root())
    return tmp_path


def test_folders_are_private_and_leave_nothing(temporary):
    with scratch.folder("query") as first, scratch.folder("sql") as second:
        (first / "copy").write_text("what was said")
        (second / "below").mkdir()
        assert first.parent == second.parent
        assert first.stat().st_mode & 0o777 == first.parent.stat().st_mode & 0o777 == 0o700
    scratch.remove(first)

    assert list(temporary.iterdir()) == []


def test_all_folders_are_removed_at_once_and_new_ones_can_be_made(temporary):
    gone = scratch.make("query")
    scratch.remove_all()
    with scratch.folder("query") as made:
        assert made.exists()
        assert not gone.exists()
        scratch.remove(gone)
        assert made.exists()

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("depth", [1, 2], ids=["the first", "one within it"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), TerminatedError(signal.SIGTERM)], ids=repr)
def test_a_signal_right_after_a_folder_is_made_leaves_nothing(temporary, monkeypatch, depth, interruption):
    makes_folder, made = os.mkdir, []

    def interrupted(path, *arguments, **options):
        makes_folder(path, *arguments, **options)
        made.append(path)
        if len(made) == depth:
            raise interruption

    monkeypatch.setattr(os, "mkdir", interrupted)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    with contextlib.suppress(KeyboardInterrupt), ended_in_order(), scratch.folder("query"):
        pytest.fail("it was not interrupted")

    assert len(made) == depth
    assert list(temporary.iterdir()) == []


def test_a_signal_while_folders_are_removed_leaves_nothing_and_closes_no_file_of_others(
    temporary, monkeypatch
):
    removes, others = shutil.rmtree, []

    def interrupted(folder, **options):
        if not others and folder.parent == temporary:
            # It gets the number of the lock, which is closed by then.
            others.append((temporary.parent / "other").open("w"))
            raise KeyboardInterrupt
        removes(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with contextlib.suppress(KeyboardInterrupt), ended_in_order(), scratch.folder("query"):
        pass

    assert list(temporary.iterdir()) == []
    with others[0] as file:
        file.write("still open")


KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from vdbevents.query import scratch
(scratch.make("unpacked") / "journal.jsonl").write_text("what was said")
print("made", flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it needs a file lock")
def test_the_next_process_removes_what_a_killed_one_left_and_nothing_else(temporary):
    (temporary / "vdbevents-of-a-user").mkdir()
    (temporary / "vdbevents-linked").symlink_to(temporary / "vdbevents-of-a-user")
    command = [sys.executable, "-c", KILLED, str(temporary)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"made\n"
        [left] = temporary.glob("vdbevents-unpacked-*")
        with scratch.folder("query"):
            assert left.exists()
        other.stdin.close()
        assert other.wait() != 0
    assert left.exists()
    with scratch.folder("query"):
        assert not left.exists()

    assert {path.name for path in temporary.iterdir()} == {"vdbevents-of-a-user", "vdbevents-linked"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_fork_has_folders_of_its_own(temporary):
    code = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from vdbevents.query import scratch
ours = scratch.make("query")
pid = os.fork()
if pid == 0:
    with scratch.folder("query") as theirs:
        assert theirs.parent != ours.parent
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert ours.exists()
pid = os.fork()
if pid == 0:
    scratch.borrow(ours)
    with scratch.folder("query") as theirs:
        assert theirs.parent == ours
    assert ours.exists()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
scratch.remove(ours)
"""
    subprocess.run([sys.executable, "-c", code, str(temporary)], check=True)

    assert list(temporary.iterdir()) == []


@pytest.fixture
def without_temporary(temporary, monkeypatch):
    """A temporary directory in which nothing can be made, and none in memory."""
    (temporary / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "file"))
    monkeypatch.setattr(scratch, "IN_MEMORY", temporary / "file")


@pytest.mark.long
@pytest.mark.usefixtures("without_temporary")
def test_without_a_temporary_directory_what_fits_into_memory_is_answered(tmp_path):
    sealed = seal(EXAMPLE, tmp_path / "cache", piece=500)
    for cache in (None, sealed):
        with search(EXAMPLE, Filters(grep=("invoice",)), cache) as answer:
            assert answer.count == 2
            assert sum(map(len, answer.lines())) == 2
        with search(EXAMPLE, Filters(where="text LIKE '%invoice%'"), cache) as answer:
            assert sum(map(len, answer.events())) == 2
        with SqlTables(EXAMPLE, cache) as tables:
            [batch] = tables.ask("SELECT count(*) FROM events").batches()
            assert batch == [("12",)]


@pytest.mark.usefixtures("without_temporary")
def test_what_needs_a_temporary_directory_says_so(tmp_path):
    packed = tmp_path / "journal.jsonl.gz"
    packed.write_bytes(gzip.compress(EXAMPLE.read_bytes()))
    with scratch.folder("unpacked") as folder, pytest.raises(StorageError) as refused:
        decompress.unpack(packed, folder, "journal.jsonl.gz")

    assert refused.value.error_id == "unpack-failed"
    assert "TMPDIR" in refused.value.hint
    with pytest.raises(StorageError) as refused:
        search(EXAMPLE, Filters(), end=500)
    assert refused.value.error_id == "journal-copy-failed"


@pytest.mark.usefixtures("without_temporary")
def test_without_a_temporary_directory_folders_are_in_memory_where_a_system_has_such_a_directory(
    temporary, tmp_path, monkeypatch
):
    memory = temporary / "memory"
    memory.mkdir()
    monkeypatch.setattr(scratch, "IN_MEMORY", memory)
    packed = tmp_path / "journal.jsonl.gz"
    packed.write_bytes(gzip.compress(EXAMPLE.read_bytes()))

    with scratch.folder("unpacked") as folder:
        journal, trouble = decompress.unpack(packed, folder, "journal.jsonl.gz")
        assert journal.is_relative_to(memory)
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert (journal.read_bytes(), trouble) == (EXAMPLE.read_bytes(), "")
        with search(EXAMPLE, Filters(), end=500) as answer:
            assert answer.count > 0
    assert list(memory.iterdir()) == []
