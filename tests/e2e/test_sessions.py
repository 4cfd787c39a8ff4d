"""`vdbevents sessions` and `query --session` on directories, archives and several machines."""

import csv
import gzip
import io
import json
import shlex
from pathlib import Path

import pytest
from support.processes import assert_failed, run

ROOT = Path(__file__).parents[2]
REAL = ROOT / "vdbevents" / "emulator" / "data" / "real-session.jsonl"
EXAMPLE = ROOT / "docs" / "example.jsonl"
CLIENT = '{"ts":"2026-03-02T10:20:00.000Z","unix_ts":1772446800.0,"channel":"capture_client",'


@pytest.fixture
def asked(tmp_path, environ):
    def ask(*words, **options):
        return run([*map(str, words)], environ, cwd=tmp_path, **options)

    return ask


def found(ended):
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_count_of_a_session_is_that_of_its_query_whatever_the_source(asked, tmp_path):
    (tmp_path / "j.jsonl.gz").write_bytes(gzip.compress(REAL.read_bytes()))
    sources = ["--file", f"real={tmp_path / 'j.jsonl.gz'}", "--file", f"example={EXAMPLE}"]

    listed = json.loads(found(asked("sessions", *sources, "--json")))
    assert [(one["session"], one["host"], one["status"], one["seconds"]) for one in listed] == [
        ("cap-1", "example", "stopped", 1679.8),
        ("cap-5f1d9c20", "real", "exported", 130.48),
    ]
    assert listed[1]["video"].startswith("https://player.example/")
    assert [stream["source"] for stream in listed[1]["streams"]] == ["mic", "screen"]
    for one, rows in (("cap-1", 10), ("last", 40), ("cap-5", 40)):
        assert found(asked("query", *sources, "--session", one, "--count")).strip() == str(rows)
    assert [one["events"] for one in listed] == [10, 40]
    counted = found(asked("sql", "SELECT events FROM sessions", tmp_path / "j.jsonl.gz", "-o", "csv"))
    assert counted == "events\n40\n"


def test_a_directory_is_listed_as_text_and_csv_and_bounded(asked, state):
    why = {"data": {"error": '=no\x1b[31m, "room"'}}
    steps = [
        {"unix_ts": 1772446500 + n, "event": f"capture_session.{status}", "session_id": f"cap-{n:02}"} | more
        for n in range(25)
        for status, more in [("active", {}), ("failed", why)]
    ]
    state.journal.write_text("".join(json.dumps(step) + "\n" for step in steps))

    usual = asked("sessions", state.path)
    assert usual.stdout.count("failed") == 20
    assert "cap-04" not in usual.stdout
    assert "\x1b" not in usual.stdout
    assert usual.stdout.splitlines()[-1].startswith("… 5 earlier")
    rows = list(csv.DictReader(io.StringIO(found(asked("sessions", "-n", "0", "-o", "csv", state.path)))))
    assert [row["session"] for row in rows] == [f"cap-{n:02}" for n in range(25)]
    assert (rows[0]["reason"], rows[0]["alert"]) == ('=no\x1b[31m, "room"', "0")
    safe = asked("sessions", "-n", "1", "-o", "csv", "--no-formulas", state.path).stdout
    assert next(csv.DictReader(io.StringIO(safe)))["reason"].startswith("'=no")


def test_no_session_and_a_mistaken_one_are_told_apart(asked, state):
    state.journal.write_text(CLIENT + '"event":"recording:started","data":{}}\n')

    assert_failed(asked("sessions", state.path), 1)
    assert_failed(asked("query", "--session", "last", state.path), 1)
    assert_failed(asked("sessions", "--last", "1h", EXAMPLE), 1)
    assert_failed(asked("sessions", "nowhere"), 2, error_id="path-missing")
    assert_failed(asked("sessions", "-o", "csv", "--json", EXAMPLE), 2)
    both = EXAMPLE.read_text() + EXAMPLE.read_text().replace("cap-1", "cap-2")
    state.journal.write_text(both)
    assert_failed(asked("query", "--session", "cap-", state.path), 2, error_id="session-ambiguous")


def test_the_newest_sessions_that_fit_are_listed_with_the_command_for_all(asked, state):
    steps = [
        {"unix_ts": 1772446500 + n, "event": "capture_session.active", "session_id": f"cap-{n:02}"}
        for n in range(9)
    ]
    state.journal.write_text("".join(json.dumps(step) + "\n" for step in steps))

    bounded = found(asked("sessions", state.path, "--max-bytes", "400"))
    assert len(bounded.encode()) <= 400
    *lines, last = bounded.splitlines()
    assert lines[-2].startswith("cap-08")
    assert len(lines) // 2 == 9 - int(last.split()[1])
    assert len(json.loads(found(asked(*shlex.split(last.split("vdbevents ")[1]), "--json")))) == 9
    some = asked("sessions", state.path, "--max-bytes", "900", "--json")
    assert len(some.stdout.encode()) <= 900
    assert json.loads(some.stdout)[-1]["session"] == "cap-08"
    assert "--limit 0" in some.stderr
    refused = asked("sessions", state.path, "--max-tokens", "3")
    assert_failed(refused, 2, error_id="bound-too-small")
    enough = refused.stderr.split("--max-tokens ")[-1].split()[0]
    assert found(asked("sessions", state.path, "--max-tokens", enough)).startswith("cap-08")
