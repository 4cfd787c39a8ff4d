"""`vdbevents transcript` finds what was said in whatever a query can read."""

import gzip
import json
import re
import shlex
from pathlib import Path

from support.processes import assert_failed, run
from support.random_journals import AT, said

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "example.jsonl"
SCREEN = DOCS / "example-screen.jsonl"


def spoken(done):
    return [part["text"] for part in json.loads(done.stdout)["parts"] if part["kind"] == "speech"]


def test_without_a_window_it_is_the_last_session_else_everything_also_of_a_pipe_and_an_archive(
    environ, tmp_path
):
    (tmp_path / "old.jsonl.gz").write_bytes(gzip.compress(EXAMPLE.read_bytes()))
    said = ["Shall we deploy the code today?", "Not before the invoice is out.", "The decoder is slow."]

    for argument, source in ((EXAMPLE, None), (tmp_path / "old.jsonl.gz", None), ("-", EXAMPLE)):
        options = {} if source is None else {"stdin": None, "input": source.read_text("utf-8")}
        done = run(["transcript", argument, "--json"], environ, **options)
        assert (spoken(done), json.loads(done.stdout)["session"]) == (said, "cap-1"), done.stderr

    options = {"stdin": None, "input": SCREEN.read_text("utf-8")}
    done = run(["transcript", "-", "-o", "json"], environ, **options)
    assert spoken(done) == ["I think it is the line with the cache."]
    assert json.loads(done.stdout)["session"] is None


def test_several_machines_are_one_transcript_and_each_part_names_its_own(environ):
    files = ["--file", f"laptop={EXAMPLE}", "--file", f"desk={SCREEN}"]
    done = run(["transcript", *files, "--since", "2026-03-01", "--tz", "UTC", "--break", "1d"], environ)
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [
        ["10:15:10", "laptop", "mic:"],
        ["10:15:14", "laptop", "Ada:"],
        ["10:42:00", "laptop", "mic:"],
        ["14:00:09", "desk", "mic:"],
    ]


def test_the_command_after_a_bounded_transcript_shows_all_of_it(environ, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(EXAMPLE.read_bytes())
    options = {"cwd": tmp_path}
    bounded = run(
        ["transcript", "a.jsonl", "--since", "2026-03-02", "--max-bytes", "155"], environ, **options
    )
    assert len(bounded.stdout.encode()) <= 155
    command = bounded.stdout.splitlines()[-1].split("vdbevents ")[1]
    whole = run(shlex.split(command), environ, **options)
    assert len(whole.stdout.splitlines()) == 5
    bounded = run([*shlex.split(command)[:-2], "-o", "md", "--max-bytes", "180"], environ, **options)
    [command] = re.findall("^3 earlier parts left out: `vdbevents (.*)`$", bounded.stdout, re.MULTILINE)
    whole = run(shlex.split(command), environ, **options)
    assert whole.stdout.count("**") == 6


def test_a_long_text_is_bounded_and_what_is_for_programs_is_whole(environ, tmp_path):
    at = [AT + 2000 * number for number in range(2000)]
    words = [f"sentence {number} of many" for number in range(2000)]
    lines = [said(text, end, start=end - 900, end=end) for text, end in zip(words, at, strict=True)]
    (tmp_path / "long.jsonl").write_text("".join(f"{one}\n" for one in lines))

    def printed(*options):
        return run(["transcript", *(options or ("long.jsonl",))], environ, cwd=tmp_path)

    read = printed()
    assert 30_000 < len(read.stdout) <= 32_000
    assert words[-1] in read.stdout
    assert words[0] not in read.stdout
    *_, last = read.stdout.splitlines()
    command = last.partition(": vdbevents transcript ")[2]
    assert f"for all: vdbevents transcript {command}" in read.stderr
    for whole in (
        shlex.split(command),
        *(["long.jsonl", "-o", output] for output in ("md", "json", "srt", "vtt")),
    ):
        done = printed(*whole)
        assert [number for number, text in enumerate(words) if text not in done.stdout] == []
        assert done.stderr == ""
    asked = printed("long.jsonl", "--max-tokens", "500")
    assert (len(asked.stdout) <= 2000, asked.stderr) == (True, "")
    assert len(printed("long.jsonl", "--max-bytes", "50000").stdout) > 40_000


def test_what_cannot_be_is_refused_and_what_nobody_said_is_not_found(environ):
    assert_failed(run(["transcript", EXAMPLE, "--json", "-o", "md"], environ), 2, error_id="options-conflict")
    assert_failed(run(["transcript", EXAMPLE, "--break", "soon"], environ), 2, error_id="duration-invalid")
    asked = ["transcript", SCREEN, "-o", "srt", "--zero", "session"]
    assert_failed(run(asked, environ), 2, error_id="zero-session-missing")
    asked = ["query", EXAMPLE, "--zero", "session"]
    assert_failed(run(asked, environ), 2, error_id="options-conflict")
    for arguments in (["--session", "cap-77"], ["--speaker", "nobody"], ["--last", "1m"]):
        done = run(["transcript", EXAMPLE, *arguments], environ)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr
