"""The small files of a listener: the connection's id, and those of earlier connections."""

import json
import os
import subprocess
import sys

import pytest

from vdbevents.journal.state import StateDirectory
from vdbevents.listener import state_files
from vdbevents.listener.state_files import StateFiles, earlier_ids


@pytest.fixture
def directory(tmp_path):
    return StateDirectory(tmp_path)


@pytest.fixture
def reports():
    return []


@pytest.fixture
def kept(directory, reports):
    return StateFiles(directory, reports.append)


def test_an_id_is_there_while_connected_and_remembered_after_that(directory, kept):
    kept.announce("ws-1")
    assert directory.ws_id.read_text() == "ws-1"
    kept.withdraw()
    kept.announce("ws-2")
    kept.withdraw()

    assert not directory.ws_id.exists()
    assert earlier_ids(directory) == ["ws-1", "ws-2"]


def test_the_last_ids_are_remembered(directory, kept, monkeypatch):
    monkeypatch.setattr(state_files, "_MOST_IDS", 2)
    for number in range(4):
        kept.announce(f"ws-{number}")

    assert earlier_ids(directory) == ["ws-2", "ws-3"]


def test_an_id_that_the_disk_refuses_is_written_later_and_reported_once(directory, kept, reports):
    blocked = directory.path / f".{directory.ws_ids.name}.tmp"
    blocked.mkdir()
    kept.announce("ws-1")
    kept.retry_ids()
    assert directory.ws_id.read_text() == "ws-1"
    assert len(reports) == 1
    assert directory.ws_ids.name in reports[0]

    blocked.rmdir()
    kept.retry_ids()

    assert earlier_ids(directory) == ["ws-1"]


def test_an_id_that_was_withdrawn_is_not_written_later(directory, kept):
    blocked = directory.path / f".{directory.ws_id.name}.tmp"
    blocked.mkdir()
    kept.announce("ws-1")
    kept.withdraw()
    blocked.rmdir()
    kept.retry_ids()

    assert not directory.ws_id.exists()
    assert earlier_ids(directory) == ["ws-1"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ws_ids": 1}', "torn"])
def test_a_file_that_is_not_ours_has_no_ids(directory, content):
    directory.ws_ids.write_text(content)

    assert earlier_ids(directory) == []


def test_what_is_not_an_id_is_left_out(directory):
    directory.ws_ids.write_text(json.dumps({"ws_ids": ["ws-1", 2, None]}))

    assert earlier_ids(directory) == ["ws-1"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_a_full_disk_still_takes_the_status_that_says_so(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        directory, reports = StateDirectory(tmp_path), []
        kept = StateFiles(directory, reports.append)
        kept.write_status({"disk_trouble": None})
        with (tmp_path / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * (1 << 20)) == 1 << 20:
                """Until it is full."""
        kept.write_status({"disk_trouble": "No space left on device", "written": "2026-03-02T10:15:30.123Z"})

        assert json.loads(directory.listener_status.read_text())["disk_trouble"] == "No space left on device"
        assert reports == ["cannot write videodb_listener.json: No space left on device"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
