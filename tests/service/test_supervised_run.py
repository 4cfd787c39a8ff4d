"""Restarts where the service manager cannot tell failures apart."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support.processes import eventually

from vdbevents.service import supervised_run
from vdbevents.service.supervised_run import SupervisedRun

# Ends with the next of its arguments at each start.
IN_TURN = """
import os, sys
count = len(open("starts").readlines()) if os.path.exists("starts") else 0
open("starts", "a").write("started\\n")
print("run", count, file=sys.stderr)
sys.exit(int(sys.argv[1 + count]))
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "service.log"


def starts():
    file = Path("starts")
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.parametrize("last", [0, 2, 4])
def test_a_failure_is_restarted_until_a_restart_does_not_help(last, log):
    SupervisedRun([sys.executable, "-c", IN_TURN, "70", str(last)], os.environ, log, first_pause=0.01).run()

    assert starts() == 2
    written = log.read_text()
    assert "run 0" in written
    assert "ended with 70, starting again" in written
    assert "run 1" in written
    assert log.stat().st_mode & 0o777 == 0o600


def test_sigterm_ends_the_program_and_starts_it_no_more(log):
    waits = "import time; open('starts', 'a').write('started\\n'); time.sleep(600)"
    run = SupervisedRun([sys.executable, "-c", waits], os.environ, log, first_pause=0.01)

    def end():
        eventually(starts)
        os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end)
    ending.start()
    before = signal.getsignal(signal.SIGTERM)
    run.run()
    ending.join()

    assert starts() == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_in_a_pause_ends_it(log):
    run = SupervisedRun([sys.executable, "-c", IN_TURN, "5"], os.environ, log, first_pause=600)

    def end():
        eventually(lambda: log.exists() and b"starting again" in log.read_bytes())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end).start()
    started = time.monotonic()
    run.run()

    assert starts() == 1
    assert time.monotonic() - started < 300


def test_a_large_log_is_set_aside(log, monkeypatch):
    monkeypatch.setattr(supervised_run, "_LARGEST_LOG", 10)
    log.write_text("of the last year")
    SupervisedRun([sys.executable, "-c", IN_TURN, "0"], os.environ, log).run()

    assert log.with_name("service.log.1").read_text() == "of the last year"
    assert log.read_text() == "run 0\n"
