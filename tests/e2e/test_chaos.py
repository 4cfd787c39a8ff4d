"""A short run of `scripts/soak`: whatever goes wrong, each event is in the journal, and once."""

import os
import sys

import pytest
from support.patience import patient

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux'")

SECONDS = 35.0
LONGEST = 6.0
FEWEST_FAULTS = 12
FEWEST_EVENTS = 1000


def seeds():
    """A fixed one, and one that may be chosen."""
    return dict.fromkeys([1, int(os.environ.get("VDBEVENTS_CHAOS_SEED") or 2)])


@pytest.mark.slow
@pytest.mark.timeout(patient(600))
@pytest.mark.parametrize("seed", seeds())
def test_nothing_is_lost_doubled_or_damaged_by_random_faults(seed, tmp_path):
    from support.chaos import run

    report = run(tmp_path, seed=seed, seconds=SECONDS, longest=LONGEST, patience=120.0)

    told = report.table()
    assert report.failures == [], told
    # Not because nothing has happened.
    assert report.faults.total() >= FEWEST_FAULTS, told
    assert report.ours.sent >= FEWEST_EVENTS, told
    assert report.ours.live >= FEWEST_EVENTS / 10, told
    assert report.ours.recovered >= FEWEST_EVENTS / 10, told
    assert report.ours.live + report.ours.recovered == report.ours.sent, told
    assert len(report.theirs.lost) >= FEWEST_EVENTS / 10, told


@pytest.mark.long
@pytest.mark.timeout(patient(300))
def test_a_recording_that_is_paused_rotated_and_pruned_keeps_all_but_what_must_not_be_kept(tmp_path):
    from support.chaos import run

    report = run(tmp_path, seed=4, seconds=6.0, longest=1.0, patience=120.0, pauses=True, compares=False)

    told = report.table()
    assert report.failures == [], told
    assert report.pauses, told
    assert report.archived, told
    assert report.planted >= 3, told
    assert report.replaced >= 3, told
    assert report.ours.live + report.ours.recovered + report.ours.paused == report.ours.sent > 0, told
