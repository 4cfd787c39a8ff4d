"""`vdbevents digest` and `context` as a pipe meets them, beyond what docs/summaries.md shows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import PATIENCE
from support.processes import assert_failed, run

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLE = DOCS / "example.jsonl"


@pytest.mark.parametrize(
    ("arguments", "error_id", "said"),
    [
        (["digest", EXAMPLE, "--max-tokens", "9"], "bound-too-small", "--max-tokens 200"),
        (["digest", EXAMPLE, "--max-bytes", "9", "-o", "json"], "bound-too-small", "--max-bytes 800"),
        (["digest", EXAMPLE, "--json", "-o", "md"], "options-conflict", "-o md"),
        (["digest", EXAMPLE, "--on", "friday", "--last", "1h"], "options-conflict", "--last"),
        (["context", EXAMPLE], "moment-missing", "--at"),
        (["context", EXAMPLE, "-n", "5"], "moment-missing", "--grep"),
        (["context", EXAMPLE, "--at", "10:15", "--grep", "code"], "options-conflict", "--grep"),
        (["context", EXAMPLE, "--at", "10:15", "--last", "1h"], "options-conflict", "--last"),
        (["transcript", EXAMPLE, "-o", "md", "--zero", "session"], "options-conflict", "-o srt"),
        (["context", EXAMPLE, "--at", "soon"], "time-invalid", "10:15"),
        (["context", EXAMPLE, "--grep", "code", "--around", "wide"], "duration-invalid", "90s"),
        (["context", EXAMPLE, "--grep", "code", "--max-bytes", "20"], "bound-too-small", "--max-bytes 800"),
    ],
)
def test_a_question_that_has_no_answer_says_how_to_ask(environ, arguments, error_id, said):
    assert_failed(run(arguments, environ), 2, said, error_id=error_id)


@pytest.mark.parametrize(
    "arguments",
    [
        ["digest", "--since", "2026-03-02T11:00Z"],
        ["digest", "--last", "1h"],
        ["context", "--grep", "zebra"],
        ["context", "--at", "2026-03-02T12:00Z"],
    ],
)
def test_where_nothing_was_recorded_nothing_is_printed(environ, arguments):
    command, *options = arguments
    ended = run([command, EXAMPLE, *options], environ)

    assert (ended.returncode, ended.stdout) == (1, "")


def test_a_digest_of_lines_that_are_neither_speech_nor_screens_says_that_there_are_others(environ, tmp_path):
    journal = tmp_path / "app.jsonl"
    journal.write_text('{"time":1772446530123,"msg":"up"}\n{"time":1772446531123,"msg":"down"}\n')
    ended = run(["digest", journal], environ)
    known = run(["query", journal, "--count"], environ).stdout

    assert (ended.returncode, ended.stdout, known) == (1, "", "2\n")
    assert "2 other events" in ended.stderr
    assert f"vdbevents query {journal}" in ended.stderr
    journal.write_text('{"unix_ts":1772446530,"channel":"vdbevents","event":"listener.started"}\n')
    assert "other event" not in run(["digest", journal], environ).stderr


def test_a_state_directory_is_told_for_the_last_hour_and_a_file_or_a_pipe_as_a_whole(environ, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(EXAMPLE, state / "videodb_events.jsonl")
    whole = run(["digest", EXAMPLE, "--json"], environ)
    with EXAMPLE.open() as piped:
        from_pipe = run(["digest", "-", "--json"], environ, stdin=piped)

    assert run(["digest", state], environ).returncode == 1
    assert [block["totals"]["said"] for block in json.loads(whole.stdout)["blocks"]] == [2, 1]
    assert from_pipe.stdout == whole.stdout


def test_a_pipe_is_read_once_for_a_match_and_what_is_around_it(environ):
    with EXAMPLE.open() as piped:
        ended = run(["context", "-", "--grep", "decoder", "--json"], environ, stdin=piped)

    [moment] = json.loads(ended.stdout)["moments"]
    assert moment["match"]["text"] == "The decoder is slow."
    assert [one["text"] for one in moment["screens"]] == ["Terminal: a profiler shows code that decodes JSON"]


def test_the_command_that_shows_more_shows_more(environ):
    first = run(["digest", EXAMPLE, "--max-bytes", "300"], environ)
    *_, last = first.stdout.splitlines()
    name, *more = last.partition("left out: ")[2].split()

    assert len(first.stdout.encode()) <= 300
    assert name == "vdbevents"
    assert "left out" not in run(more, environ).stdout


def test_gaps_and_pauses_are_told_where_nothing_else_is(environ):
    window = ["--since", "2026-03-03T10:02Z", "--until", "2026-03-03T10:10Z", "--json"]
    told = json.loads(run(["digest", DOCS / "example-windows.jsonl", *window], environ).stdout)

    gaps = [gap for block in told["blocks"] for gap in block["gaps"]]
    assert [(gap["kind"], gap["since"], gap["status"]) for gap in gaps] == [
        ("gap", "2026-03-03T10:02:00.000Z", "incomplete")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["context", EXAMPLE, "--channel", "transcrip"], "--channel transcript"),
        (["transcript", EXAMPLE, "--speaker", "adda"], "--speaker Ada"),
        (["stats", EXAMPLE, "--session", "cap1"], "--session cap-1"),
    ],
)
def test_a_name_that_nothing_has_is_said_with_the_closest(environ, arguments, said):
    ended = run(arguments, environ)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert said in ended.stderr


def test_a_match_and_what_is_around_it_are_found_in_lines_that_were_parsed_once(environ):
    counted = """
import atexit
from vdbevents.cli.entry import run
from vdbevents.query.plain_events import PlainEvent
lines, read = [], PlainEvent.__init__
PlainEvent.__init__ = lambda self, line: lines.append(line) or read(self, line)
atexit.register(lambda: print(len(lines), len(set(lines))))
run()
"""
    command = [sys.executable, "-c", counted, "context", str(EXAMPLE), "--grep", "code"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    parsed, different = map(int, ended.stdout.splitlines()[-1].split())

    assert 0 < parsed == different


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["query", str(EXAMPLE), "--channel", "transcrpt"],
            """vdbevents: --channel: none of 11 events in this time has
  'transcrpt'; there are alert, audio_index,
  capture_session, transcript, vdbevents, visual_index
  → did you mean --channel transcript?
""",
        ),
        (
            ["query", str(EXAMPLE), "--since", "2026-03-05", "--tz", "Pacific/Auckland"],
            """vdbevents: no match: there are 0 events in this time
  → the newest is of 2026-03-02 23:43: use --on 2026-03-02
""",
        ),
        (
            ["query", "--chanel", "x"],
            "Error: No such option: --chanel (Possible options:\n  --channel, --no-channel, --not-channel)\n",
        ),
    ],
)
def test_a_message_on_a_narrow_terminal_is_broken_between_words(environ, arguments, said):
    outside, inside = os.openpty()
    command = [sys.executable, "-m", "vdbevents", *arguments]
    with subprocess.Popen(
        command, env={**environ, "COLUMNS": "60", "NO_COLOR": "1"}, stdout=subprocess.DEVNULL, stderr=inside
    ) as process:
        assert process.wait(PATIENCE) != 0
    os.write(inside, b"[end]")
    shown = b""
    while b"[end]" not in shown:
        shown += os.read(outside, 1 << 16)
    os.close(inside)
    os.close(outside)

    assert said in shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["digest", "transcript", "stats"])
def test_where_all_is_older_than_the_time_asked_for_it_is_said_when_the_newest_was(environ, command):
    ended = run([command, EXAMPLE, "--last", "1h", "--tz", "UTC"], environ)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "→ the newest is of 2026-03-02 10:" in ended.stderr
    assert ": use --on 2026-03-02" in ended.stderr
    assert run([command, EXAMPLE, "--on", "2026-03-02", "--tz", "UTC"], environ).returncode == 0
    later = run([command, EXAMPLE, "--until", "2026-03-01"], environ)
    assert (later.returncode, "newest" in later.stderr) == (1, False)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("digest", "nothing was recorded"),
        ("stats", "nothing was recorded"),
        ("transcript", "nothing was said"),
    ],
)
def test_the_time_is_named_where_nothing_is_found_only_if_there_is_one(environ, tmp_path, command, said):
    journal = tmp_path / "notes.txt"
    journal.write_text("no event\n")

    assert f"vdbevents: {said}\n" in run([command, journal], environ).stderr
    assert f"vdbevents: {said} in this time\n" in run([command, journal, "--last", "1h"], environ).stderr
