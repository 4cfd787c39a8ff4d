"""Checks side by side: each is reported, whatever another does."""

import threading
import time

from support.patience import patient

from vdbevents.errors import InputError
from vdbevents.health.check_runner import run_checks
from vdbevents.health.finding import Check, Severity, ok, warning


def fails():
    raise InputError("no such thing", "name one")


def breaks():
    raise ZeroDivisionError("sk-secret")


def test_a_check_that_fails_or_hangs_hides_no_other():
    over = threading.Event()
    checks = [
        Check("hangs", lambda: over.wait(patient(60)) and ok("at last")),
        Check("fails", fails),
        Check("breaks", breaks),
        Check("finds two", lambda: [ok("one"), warning("two", "do this")]),
        Check("fine", lambda: ok("all well")),
    ]
    began = time.monotonic()
    results = run_checks(checks, 0.3)
    over.set()

    assert time.monotonic() - began < patient(30)
    assert [result.check for result in results] == [
        "hangs",
        "fails",
        "breaks",
        "finds two",
        "finds two",
        "fine",
    ]
    hung, failed, broken, *rest = results
    assert (hung.severity, hung.message) == (Severity.ERROR, "no answer in 0.3 s")
    assert (failed.message, failed.hint) == ("no such thing", "name one")
    # Nobody has read the texts of unexpected errors: they may hold anything.
    assert broken.message == "the check failed: ZeroDivisionError"
    assert [result.severity for result in rest] == ["ok", "warning", "ok"]
