"""`vdbevents stats` on directories, archives, stdin and several machines."""

import gzip
import json
import shlex
from pathlib import Path

import pytest
from support.processes import assert_failed, run

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "example-windows.jsonl"


@pytest.fixture
def asked(tmp_path, environ):
    def ask(*words, **options):
        return run(["stats", *map(str, words)], {**environ, "TZ": "UTC"}, cwd=tmp_path, **options)

    return ask


def found(ended):
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_whatever_the_source_is_the_figures_are_the_same(asked, tmp_path, state):
    (tmp_path / "j.jsonl.gz").write_bytes(gzip.compress(EXAMPLE.read_bytes()))
    state.journal.write_bytes(EXAMPLE.read_bytes())

    whole = found(asked(EXAMPLE, "--json"))
    assert json.loads(whole)["total"]["events"] == 108
    for words in ([tmp_path / "j.jsonl.gz"], [state.path], ["--dir", state.path], [EXAMPLE, "--no-cache"]):
        assert found(asked(*words, "-o", "json")) == whole


def test_machines_are_counted_each_by_itself(asked, tmp_path):
    (tmp_path / "copy.jsonl").write_bytes(EXAMPLE.read_bytes())
    both = ["--file", f"a={EXAMPLE}", "--file", "b=copy.jsonl", "--by", "app", "--json"]
    one, two = (json.loads(found(asked(*words))) for words in ([EXAMPLE, "--by", "app", "--json"], both))

    assert two["total"] == {name: 2 * value for name, value in one["total"].items()}
    assert [row["host"] for row in two["rows"]] == ["a", "b"] * len(one["rows"])


def test_a_window_and_a_session_limit_what_counts(asked):
    window = ["--since", "2026-03-03T09:20:00Z", "--until", "2026-03-03T09:30:00Z"]
    [row] = json.loads(found(asked(EXAMPLE, *window, "--by", "window", "--json")))["rows"]

    assert row == {"window": "Incident review - Zoom", "events": 10, "screen_seconds": 545.0}
    assert found(asked(EXAMPLE, "--session", "last", "--json")) == found(
        asked(EXAMPLE, "--session", "cap-2", "--json")
    )


def test_a_name_that_a_spreadsheet_would_run_is_marked(asked, tmp_path):
    line = '{"unix_ts":1772446500,"channel":"visual_index","data":{"text":"[=1+1, \\"x\\"] y"}}\n'
    (tmp_path / "j.jsonl").write_text(line)

    assert found(asked("j.jsonl", "--by", "app", "-o", "csv")) == (
        'app,events,screen_seconds\n"=1+1, ""x""",1,0.0\n'
    )
    marked = found(asked("j.jsonl", "--by", "app", "-o", "csv", "--no-formulas"))
    assert marked.splitlines()[1] == '"\'=1+1, ""x""",1,0.0'


def test_nothing_and_wrong_input_have_their_exit_codes(asked):
    for words in (["--until", "2000-01-01"], ["--session", "no-such"]):
        assert asked(EXAMPLE, *words).returncode == 1
    assert_failed(asked(EXAMPLE, "--json", "-o", "csv"), 2, error_id="options-conflict")
    assert_failed(asked("no-such-file"), 2, error_id="path-missing")
    assert asked(EXAMPLE, "--by", "speaker").returncode == 2


def test_the_largest_names_that_fit_are_shown_and_the_command_shows_all(asked, tmp_path):
    (tmp_path / "j.jsonl").write_bytes(EXAMPLE.read_bytes())
    whole = found(asked("j.jsonl", "--by", "window")).splitlines()

    bounded = found(asked("j.jsonl", "--by", "window", "--max-bytes", "230"))
    assert len(bounded.encode()) <= 230
    *lines, last = bounded.splitlines()
    assert lines[2].split() == whole[2].split()
    assert lines[-1].split() == whole[-1].split()
    assert len(lines) - 3 + int(last.split()[1]) == len(whole) - 3
    command = shlex.split(last.split("vdbevents stats ")[1])
    assert found(asked(*command)).splitlines() == whole
    some = json.loads(found(asked(EXAMPLE, "--by", "hour", "--max-bytes", "500", "--json")))
    assert (len(some["rows"]), some["left_out"]) == (1, 1)
    assert some["rows"][0]["started"].startswith("2026-03-03T10")
    refused = asked(EXAMPLE, "--max-tokens", "3")
    assert_failed(refused, 2, error_id="bound-too-small")
    enough = refused.stderr.split("--max-tokens ")[-1].split()[0]
    assert found(asked(EXAMPLE, "--max-tokens", enough))
