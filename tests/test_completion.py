"""A shell completes values with what was recorded: at once, without an error, and only plain names."""

import json
import os
import sys
import time

import pytest
from support.patience import patient

from vdbevents.cli import app, surroundings

JOURNAL = [
    {"channel": "transcript", "rtstream_id": "rts-1", "rtstream_name": "mic:default"},
    {"channel": "visual_index", "rtstream_id": "rts-3", "rtstream_name": "display:2"},
    {"channel": "capture_session", "event": "capture_session.active", "capture_session_id": "cap-1"},
    {"channel": "alert", "data": {"label": "invoice"}},
    {"channel": "$(touch x)", "rtstream_name": "a'; b", "data": {"label": "`id`"}},
]


@pytest.fixture
def complete(tmp_path, monkeypatch, capsys):
    """Return the lines that a shell gets for a command line that ends where the cursor is."""
    monkeypatch.setenv("VIDEODB_EVENTS_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("_VDBEVENTS_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setattr(sys, "argv", ["vdbevents"])

    def complete(line):
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"vdbevents {line}")
        with pytest.raises(SystemExit) as ended:
            app.run_with_typer()
        assert ended.value.code in (0, None)
        printed = capsys.readouterr()
        assert printed.err == ""
        return [line for line in printed.out.splitlines() if line]

    return complete


@pytest.fixture
def journal(tmp_path):
    file = tmp_path / "videodb_events.jsonl"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in JOURNAL))
    return file


def test_values_come_from_the_journal_and_are_plain_names(complete, journal):
    assert complete("query --session ") == ["cap-1"]
    assert complete("query --label ") == ["invoice"]
    assert complete("query --event ") == ["capture_session.active"]
    assert complete("query --channel transcript,vi") == ["transcript,visual_index"]
    assert complete("query --stream d") == ["display:2"]
    assert complete("capture --display ") == ["all", "none", "display:2"]
    assert complete("session show --session ") == ["cap-1"]
    assert complete("query --fields time,sp") == ["time,speaker"]
    assert not {name for name in complete("query --channel ") if set(name) & set(" $`'")}


def test_a_journal_that_the_line_names_is_read(complete, journal, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / journal.name).write_text(json.dumps({"channel": "x", "capture_session_id": "cap-2"}) + "\n")

    assert complete(f"query --dir {other} --session ") == ["cap-2"]
    assert complete(f"query {other} --session ") == ["cap-2"]
    assert complete(f"query --file {journal} --session ") == ["cap-1"]


def test_the_info_of_a_capture_is_used_without_a_journal(complete, tmp_path):
    info = {"session": {"id": "cap-7"}, "channels": [{"id": "display:3"}], "streams": [{"id": "rts-9"}]}
    (tmp_path / "videodb_capture_info.json").write_text(json.dumps(info))

    assert complete("query --session ") == ["cap-7"]
    assert complete("query --stream rts") == ["rts-9"]
    assert complete("capture --display d") == ["display:3"]


@pytest.mark.skipif(os.name != "posix", reason="no such files here")
def test_what_cannot_be_read_is_no_error_and_costs_no_time(complete, journal, tmp_path):
    started = time.monotonic()
    journal.write_bytes(b"\x00\xff{\n[1]\n" * 1000)
    assert complete("query --source ") == ["mic", "system_audio", "screen", "camera"]
    journal.unlink()
    os.mkfifo(journal)
    assert complete("query --session ") == []
    (tmp_path / "videodb_capture_info.json").write_text('{"channels": 5, "streams": [1]}')
    assert complete("query --session ") == []
    assert complete("query --dir /no/such --session ") == []
    complete("qery --session ")
    assert time.monotonic() - started < patient(20)


def test_only_the_end_of_a_large_journal_is_read(complete, journal, monkeypatch):
    with journal.open("a") as file:
        file.write(
            "".join(
                json.dumps({"channel": f"c{number % 5}", "data": "x" * 200}) + "\n" for number in range(5000)
            )
        )
        file.write('{"channel":"last","capture_session_id":"cap-9"}\n')

    assert complete("query --session ") == ["cap-9"]


def test_a_command_is_completed_without_loading_any(complete, monkeypatch):
    app.app.registered_commands.clear()
    app.app.registered_groups.clear()
    monkeypatch.setattr(app, "_add_commands", lambda names: pytest.fail("loaded") if names else None)

    assert complete("pi") == ["pipelines\tManage the transcripts and indexes of a session's streams."]
    assert surroundings.words_before({"COMP_WORDS": "vdbevents query -", "COMP_CWORD": "2"}) == ["query"]
