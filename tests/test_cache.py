"""When a query seals first, and how a listener has its journal sealed: what needs no whole process."""

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from support.processes import eventually

from vdbevents.cli import cache_worker, seal_display
from vdbevents.cli.diagnostics import Color
from vdbevents.journal import nul_runs
from vdbevents.query.cache import build, index, seal_policy
from vdbevents.times import Window

NOW = datetime.fromtimestamp(1_772_446_530, UTC)
NOW_MS = 1_772_446_530_000
HOUR_MS = 3_600_000


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A file that only has a size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a journal.jsonl"
    with path.open("wb") as sparse:
        sparse.truncate(300 << 20)
    # A hole would count for nothing.
    monkeypatch.setattr(nul_runs, "data_bytes", lambda file, start, end: end - start)
    return path


@pytest.fixture
def begun(monkeypatch):
    """The journals that were begun to be sealed."""
    found = []
    monkeypatch.setattr(build, "seal", lambda journal, *_: found.append(journal))
    return found


@pytest.mark.parametrize(
    ("window", "is_long"),
    [
        (Window(), True),
        (Window(until_ms=NOW_MS), True),
        (Window(since_ms=NOW_MS - 26 * HOUR_MS), True),
        (Window(since_ms=0, until_ms=26 * HOUR_MS), True),
        (Window(since_ms=NOW_MS - 25 * HOUR_MS), False),
        (Window(since_ms=NOW_MS - HOUR_MS), False),
        (Window(since_ms=0, until_ms=25 * HOUR_MS), False),
    ],
)
def test_only_a_window_of_more_than_a_day_is_sealed_first(journal, begun, window, is_long):
    seal_policy.cache_for(journal, window, NOW, seal_display.SealDisplay(Color.AUTO))

    assert begun == [journal] * is_long


def test_a_short_window_of_a_long_unsealed_journal_says_what_makes_it_faster(journal, begun, capfd):
    seal_policy.cache_for(journal, Window(since_ms=NOW_MS), NOW, seal_display.SealDisplay(Color.AUTO))

    assert capfd.readouterr().err == (
        "vdbevents: 300.0 MiB of the journal are not in the cache\n"
        f"  → speed up later queries with: vdbevents cache build '{journal}'\n"
    )
    assert begun == []


def test_without_a_home_there_is_no_cache_and_no_complaint(journal, begun, monkeypatch):
    def nowhere():
        raise RuntimeError

    monkeypatch.setattr("pathlib.Path.home", nowhere)

    assert seal_policy.cache_for(journal, Window(), NOW, seal_display.SealDisplay(Color.AUTO)) is None
    assert begun == []


@pytest.mark.skipif(sys.platform == "win32", reason="true and false are programs of POSIX")
@pytest.mark.parametrize("program", ["true", "false", "no such program"])
def test_a_sealer_that_seals_nothing_is_not_started_again_soon(journal, monkeypatch, program):
    started = []

    def start(command, **options):
        started.append(command)
        return real([program], **options)

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(cache_worker, "_LOOK_SECONDS", 0.01)
    with cache_worker.kept_sealed(journal):
        eventually(lambda: started)
        time.sleep(0.6)

    assert len(started) == 1
    assert started[0][-1] == str(journal)


@pytest.mark.long
def test_a_sealing_after_which_as_much_is_left_has_not_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    journal = tmp_path / "journal.jsonl"
    line = b'{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"raw":"' + b"x" * 1000 + b'"}\n'
    journal.write_bytes(line * (index.PART // len(line) + 1))
    start = subprocess.Popen

    def start_and_write_more(*arguments, **options):
        process = start(*arguments, **options)
        process.wait()
        with journal.open("ab") as file:
            file.write(line * (index.PART // len(line) + 1))
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_write_more)
    before = index.unsealed(journal, index.Cache(tmp_path), index.PART)

    assert cache_worker._Sealer(journal)._seal(threading.Event())
    after = index.load(journal, index.cache_root(os.environ, tmp_path))
    assert after.end > 0
    assert index.unsealed(journal, after, index.PART) >= before
