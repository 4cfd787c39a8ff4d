"""`vdbevents query` as a terminal and a pipe meet it, beyond what docs/query.md shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import assert_failed, run

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "example.jsonl"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--count", "--around", "15s"], "--count and --around contradict each other"),
        (["-E", "-F"], "-F and -E contradict each other"),
        (["--on", "friday", "--last", "2h"], "--on and --last both say where to begin"),
        (["--on", "10:15"], "Accepted: 2026-03-02, today"),
        (["--since", "03/04/2026"], "Accepted: 2026-03-02T10:15:30Z"),
        (["--tz", "Mars/Olympus"], "Europe/Berlin"),
        (["--source", "mic,speaker"], "Accepted: mic, system_audio, screen, camera"),
        (["--around", "soon"], "Accepted: 90s"),
        (["--fields", "time,line"], "Accepted, with commas"),
        (["--fields", "time", "-o", "md"], "--fields does not go with -o md"),
        (["--min-confidence", "nan"], "no number to count with"),
        (["-E", "--not", "(code"], "no regular expression"),
        (["-E", "--any", "(code"], "no regular expression"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(environ, arguments, said):
    refused = run(["query", EXAMPLE, *arguments], environ)

    assert_failed(refused, 2, said)
    assert refused.stdout == ""


def test_a_count_of_nothing_is_printed_and_is_no_match(environ):
    ended = run(["query", EXAMPLE, "--grep", "zebra", "--count"], environ)

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "0\n", "")


def test_subtitles_say_how_much_is_not_in_them(environ):
    ended = run(["query", EXAMPLE, "-o", "srt"], environ)

    assert ended.returncode == 0
    assert "3 events are not in the srt" in ended.stderr


def test_a_pager_s_variable_is_no_mistake_in_the_configuration(environ):
    assert run(["config", "query"], {**environ, "VDBEVENTS_PAGER": "less"}).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
@pytest.mark.parametrize("wanted", [True, False])
def test_on_a_terminal_text_goes_through_the_pager_unless_it_is_not_wanted(environ, tmp_path, wanted):
    outside, inside = os.openpty()
    read = tmp_path / "read"
    environ = {**environ, "TERM": "xterm", "TZ": "UTC", "VDBEVENTS_PAGER": f"cat > '{read}'", "NO_COLOR": "1"}
    arguments = ["query", str(EXAMPLE), "--grep", "deploy", *([] if wanted else ["--no-pager"])]
    with subprocess.Popen(
        [sys.executable, "-m", "vdbevents", *arguments], env=environ, stdout=inside
    ) as process:
        os.close(inside)
        assert process.wait(30) == 0
    line = b"10:15:13  mic  transcript  Shall we deploy the code today?"
    if wanted:
        assert read.read_bytes() == line + b"\n"
    else:
        assert os.read(outside, 4096).strip() == line
        assert not read.exists()
    os.close(outside)
