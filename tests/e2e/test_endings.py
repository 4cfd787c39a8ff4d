"""How `query` and `sql` end: beyond their limits, by signals, and by a crash; and that they leave nothing."""

import gzip
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from support.processes import Process, assert_failed, eventually, is_gone, run

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "example.jsonl"
LONG = "SELECT count(*) FROM range(10000000000000) WHERE hash(range) = 8"
FILLING = (
    "_[-1](limits(1 << 40, 999)); (scratch.make('sql') / 'copy').write_bytes(bytes(1000)); time.sleep(99)"
)
DEAF = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks, and sends signals")

PROGRAM = """
import hashlib, os, signal, sys, time
from vdbevents.__main__ import main
from vdbevents.cli import sql
from vdbevents.query import duck, scratch
from vdbevents.query.sql import guard, sandbox

def as_asked(*_, **__):
    {instead}

def deaf():
    with duck.interruptible(), scratch.folder("sql") as folder:
        (folder / "copy").write_text("what was said")
        print(os.getpid(), flush=True)
        {deaf}

limits = sandbox.Limits
sandbox.Limits = lambda memory, disk: limits({memory}, disk)
duck._HEEDED_SECONDS = {heeded}
guard._HEEDED_SECONDS = 1.0
if {instead!r} != "pass":
    sql._answer = as_asked
main()
"""


@pytest.fixture
def temporary(tmp_path):
    """The temporary directory of the programs."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def environ(environ, temporary):
    return {**environ, "TMPDIR": str(temporary)}


class Changed(Process):
    """`vdbevents sql` with other limits, or with something else in place of DuckDB."""

    def __init__(self, folder, environ, instead="pass", memory="memory", heeded=0.2):
        path = folder / "program.py"
        path.write_text(PROGRAM.format(instead=instead, memory=memory, heeded=heeded, deaf=DEAF))
        self.program = (str(path),)
        super().__init__(["sql", LONG, EXAMPLE], environ)

    def starts(self):
        """Wait until the child is at work; return its pid."""
        eventually(lambda: self.out)
        return int(self.out)


@pytest.mark.parametrize(
    ("changes", "code", "error_id"),
    [
        ({"memory": "1 << 20"}, 74, "sql-memory-exceeded"),
        ({"instead": FILLING}, 74, "sql-disk-exceeded"),
        ({"instead": "os.kill(os.getpid(), signal.SIGSEGV)"}, 70, "sql-crashed"),
        ({"instead": "os.kill(os.getpid(), signal.SIGKILL)"}, 74, "sql-killed"),
    ],
)
def test_a_query_that_takes_too_much_or_crashes_ends_with_an_error(
    environ, temporary, changes, code, error_id
):
    process = Changed(temporary.parent, environ, **changes)
    process.returncode, process.stdout, process.stderr = process.ends(), process.out, process.err

    assert_failed(process, code, error_id=error_id)
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit of data")
def test_a_text_that_is_longer_than_the_memory_is_refused_by_the_system(environ):
    ended = run(["sql", "SELECT length(repeat('x', 1600000000))", EXAMPLE], environ)

    assert_failed(ended, 74, error_id="search-out-of-room")
    assert "SET" not in ended.stderr


@pytest.mark.parametrize("heeded", [0.2, 60])
def test_ctrl_c_ends_a_query_that_does_not_heed_it(environ, tmp_path, temporary, heeded):
    process = Changed(tmp_path, environ, "deaf()", heeded=heeded)
    child = process.starts()
    process.process.send_signal(signal.SIGINT)

    assert process.ends() == 130
    assert process.err == ""
    assert is_gone(child)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_query_and_leaves_nothing(environ, tmp_path, temporary, name):
    process = Changed(tmp_path, environ, "deaf()")
    child = process.starts()
    process.process.send_signal(getattr(signal, name))

    assert process.ends() == -getattr(signal, name)
    assert is_gone(child)
    assert list(temporary.iterdir()) == []


def test_a_signal_ends_what_duckdb_is_doing(environ, tmp_path, temporary):
    where = "list_sum(range(0, 300000 + length(text))) < 0"
    journal = tmp_path / "journal.jsonl"
    journal.write_text(
        "".join(f'{{"unix_ts":{1772446530 + n},"channel":"x","text":"a{n}"}}\n' for n in range(9000))
    )
    process = Process(["query", journal, "--where", where], environ)
    eventually(lambda: list(temporary.iterdir()))
    process.process.send_signal(signal.SIGTERM)

    assert process.ends() == -signal.SIGTERM
    assert list(temporary.iterdir()) == []


def test_a_query_ends_with_the_process_that_watches_it(environ, tmp_path, temporary):
    process = Changed(tmp_path, environ, "deaf()")
    child = process.starts()
    process.process.kill()

    process.ends()
    eventually(lambda: is_gone(child))
    assert list(temporary.iterdir()) == []


def test_no_copy_of_a_packed_journal_stays(environ, tmp_path, temporary):
    packed = tmp_path / "journal.jsonl.gz"
    events = [{"ts": "2026-03-02T10:15:00.000Z", "unix_ts": 1772446500 + n, "text": "x"} for n in range(3000)]
    packed.write_bytes(gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode()))
    for name in ("SIGTERM", "SIGHUP", "SIGKILL"):
        # Nothing reads what it prints: once it has begun to print, it waits.
        reading, writing = os.pipe()
        process = Process(["query", packed, "-o", "jsonl"], environ, stdout=writing)
        os.close(writing)
        assert os.read(reading, 1)
        assert list(temporary.glob("vdbevents-unpacked-*/*/*.jsonl"))
        process.process.send_signal(getattr(signal, name))
        assert process.ends() == -getattr(signal, name)
        os.close(reading)
        assert (list(temporary.iterdir()) == []) == (name != "SIGKILL")

    assert run(["query", EXAMPLE, "--count", "--all"], environ).stdout == "11\n"
    assert list(temporary.iterdir()) == []
