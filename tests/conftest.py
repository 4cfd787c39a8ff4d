"""Settings and options of all tests."""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from support.patience import patient
from support.signals import restore_default_signals

restore_default_signals()
# No test may find a key of this machine's user.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# The time that an example takes depends on the machine's load, not on the program.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_addoption(parser):
    parser.addoption(
        "--slowest-files", type=int, default=0, metavar="N", help="show the N files whose tests took longest"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.getoption("timeout", None) is None:
        config.option.timeout = patient(float(config.getini("timeout")))


def pytest_terminal_summary(terminalreporter):
    count = terminalreporter.config.getoption("--slowest-files")
    if not count:
        return
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section(f"slowest {count} files, seconds of all workers")
    for file, duration in seconds.most_common(count):
        terminalreporter.line(f"{duration:7.1f}  {file}")
