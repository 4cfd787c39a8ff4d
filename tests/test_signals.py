"""The tests run the same under `nohup`, and with `&` in a script."""

import subprocess
import sys
from pathlib import Path

CHILD = "import signal; print(signal.getsignal(signal.SIGINT).__name__, int(signal.getsignal(signal.SIGHUP)))"
PARENT = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from support.signals import restore_default_signals
restore_default_signals()
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
"""


def test_children_have_default_signals_if_the_tests_were_started_with_ignored_ones():
    environ = {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", PARENT], check=True, capture_output=True, env=environ)

    assert done.stdout.split() == [b"default_int_handler", b"0"]
