"""The status of a journal without a listener's status: it was copied, or written by another program."""

import json
import shutil
from pathlib import Path

import pytest

from vdbevents.cli.status import gathered, render
from vdbevents.errors import InputError
from vdbevents.journal.state import StateDirectory

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.jsonl"
COUNTS = {"alert": 1, "audio_index": 1, "capture_session": 2, "transcript": 4, "visual_index": 3}


def counts(shown):
    return {name: channel["count"] for name, channel in shown["events"]["channels"].items()}


def test_its_events_and_gaps_are_those_of_the_journal(tmp_path):
    state = StateDirectory(tmp_path)
    shutil.copy(EXAMPLE, state.journal)
    gap = {"id": "gap-1", "since": "2026-03-02T10:20:00Z", "until": "2026-03-02T10:21:00Z", "status": "open"}
    line = {
        "ts": "2026-03-02T10:21:00Z",
        "unix_ts": 1772446860,
        "channel": "vdbevents",
        "event": "listener.gap",
    }
    with state.journal.open("a") as journal:
        journal.write(json.dumps({**line, "data": {**gap, "reason": "x"}}) + "\n")

    for named in (state, StateDirectory(state.journal)):
        shown = gathered(named)
        assert (shown["state"], shown["directory"]) == ("not running", str(tmp_path))
        assert (shown["events"]["total"], counts(shown)) == (11, COUNTS)
        assert shown["events"]["since"] == "2026-03-02T10:15:00.200Z"
        assert (shown["gaps"], shown["unrecovered"], len(shown["open_gaps"])) == (1, 1, 1)


def test_a_file_of_any_name_has_a_status_and_a_packed_one_is_refused(tmp_path):
    copy = tmp_path / "meeting.jsonl"
    shutil.copy(EXAMPLE, copy)
    shown = gathered(StateDirectory(copy))
    assert (shown["journal"], shown["journal_bytes"]) == (str(copy), EXAMPLE.stat().st_size)
    assert counts(shown) == COUNTS
    assert "vdbevents listen" not in render(shown)

    (tmp_path / "x.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(InputError) as refused:
        gathered(StateDirectory(tmp_path / "x.gz"))
    assert refused.value.error_id == "journal-packed"


def test_nobody_is_advised_to_record_among_the_files_of_others(tmp_path):
    assert not StateDirectory(tmp_path / "missing").is_foreign
    assert not StateDirectory(tmp_path).is_foreign
    (tmp_path / ".hidden").touch()
    assert not StateDirectory(tmp_path).is_foreign
    assert f"vdbevents listen {tmp_path}" in render(gathered(StateDirectory(tmp_path)))

    (tmp_path / "passwd").touch()
    assert StateDirectory(tmp_path).is_foreign
    assert "vdbevents listen" not in render(gathered(StateDirectory(tmp_path)))
    (tmp_path / "videodb_events.jsonl").touch()
    assert not StateDirectory(tmp_path).is_foreign
