"""How long tests wait for what should have happened long ago."""

import os


def patient(seconds):
    """Return a time limit for this machine: multiplied by VDBEVENTS_TEST_PATIENCE (1 unless set).

    For limits that only end what hangs; a time that is itself the expectation is not scaled.
    """
    return seconds * float(os.environ.get("VDBEVENTS_TEST_PATIENCE") or 1)


PATIENCE = patient(60.0)
"""Seconds until what has not happened counts as hanging."""
