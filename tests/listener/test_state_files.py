"""The small files of a listener: the connection's id, and those of earlier connections."""

import json

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
