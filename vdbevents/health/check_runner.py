"""Run checks side by side: one that fails or hangs hides no other."""

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from vdbevents.errors import VdbeventsError
from vdbevents.health.finding import Check, Finding, Severity, error


class Result(NamedTuple):
    """A finding, and the name of its check."""

    check: str
    severity: Severity
    message: str
    hint: str


def run_checks(checks: Sequence[Check], seconds: float) -> list[Result]:
    """Run all checks at once, and return what they found in their order, after at most `seconds`."""
    found: list[list[Finding]] = [[] for _ in checks]

    def make(number: int, check: Check) -> None:
        try:
            given = check.run()
            found[number] = [given] if isinstance(given, Finding) else list(given)
        except VdbeventsError as failure:
            found[number] = [error(failure.message, failure.hint)]
        except Exception as failure:  # noqa: BLE001 - a check that fails is a finding, too
            reason = getattr(failure, "strerror", None) or type(failure).__name__
            found[number] = [error(f"the check failed: {reason}")]

    # Daemons: a disk that hangs must not hold up the end of the program.
    threads = [
        threading.Thread(target=make, args=(number, check), name=f"check {check.name}", daemon=True)
        for number, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = error(
        f"no answer in {seconds:g} s", "see what it waits for: a network, a disk, a question on the screen"
    )
    return [
        Result(check.name, *finding)
        for check, findings in zip(checks, found, strict=True)
        for finding in findings or [late]
    ]
