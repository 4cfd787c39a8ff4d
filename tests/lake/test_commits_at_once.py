"""Many recorders, each a process, that commit to one lake at one moment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "scripts" / "bench" / "lake_commits.py"

pytestmark = pytest.mark.long


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_commits_at_one_moment_land_within_five_tries(tmp_path):
    """It fails, too, if a recorder's line is not in the lake, in a folder or in an object store."""
    command = [sys.executable, BENCHMARK, "--work", tmp_path, "8", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["folder", "object store"]
