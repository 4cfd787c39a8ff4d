"""The CPU that each test uses: that of its worker, of what it starts, and of what the server forks for it.

A plugin of pytest. Where many tests run at once, the seconds that a test takes say little of what it costs.
What a fixture of a module or a session uses counts for the first test that asks for it.
"""

import os
from collections import Counter

import pytest

from support import forkserver


def _used():
    """Return the seconds of CPU of this process and of its children that have ended."""
    return sum(os.times()[:4])


_before = _used()


def pytest_runtest_logstart():
    global _before  # noqa: PLW0603 - one for the process
    _before = _used()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    global _before
    report = yield
    now = _used()
    report.cpu, _before = now - _before, now
    return report


def pytest_terminal_summary(terminalreporter):
    """Show which files and which tests used most, if `--most-cpu` asks for it."""
    count = terminalreporter.config.getoption("--most-cpu")
    if not count:
        return
    parts = [
        (report.nodeid, report.cpu)
        for reports in terminalreporter.stats.values()
        for report in reports
        if hasattr(report, "cpu")
    ]
    files, tests = Counter(), Counter()
    for test, seconds in [*parts, *forkserver.cpu_used()]:
        files[test.partition("::")[0]] += seconds
        tests[test] += seconds
    for kind, used in (("files", files), ("tests", tests)):
        terminalreporter.section(f"{count} {kind} that used most CPU, of {files.total():.0f} seconds")
        for name, seconds in used.most_common(count):
            terminalreporter.line(f"{seconds:7.1f}  {name}")
