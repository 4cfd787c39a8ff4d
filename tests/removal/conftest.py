"""A state directory of its own for each test."""

import pytest

from vdbevents.journal.state import StateDirectory


@pytest.fixture
def state(tmp_path):
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory
