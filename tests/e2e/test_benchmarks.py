"""The benchmark of queries in small: every tool is asked, and none is fast by being wrong."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.patience import patient

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
FINDERS = ["vdbevents", "vdbevents, no --interim", "DuckDB", "grep + jq", "jq", "Python"]
TOOLS = {
    "seal": ["vdbevents", "DuckDB"],
    "a": [*FINDERS, "import typer, duckdb"],
    "b": FINDERS,
    "c": FINDERS,
    "d": ["vdbevents", "DuckDB", "jq", "Python"],
    "cold": ["vdbevents", "vdbevents, no --interim", "DuckDB"],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="it measures with wait4"),
    pytest.mark.timeout(patient(600)),
]


def command(script, *arguments):
    return [sys.executable, str(BENCH / script), *map(str, arguments)]


def measured(environ, *arguments):
    """The exit code, and the table of each case."""
    ended = subprocess.run(
        command("query.py", *arguments), env=environ, capture_output=True, text=True, timeout=550, check=False
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    sections = [section.lstrip() for section in ended.stdout.split("\n\n")]
    return ended.returncode, {section.partition(":")[0]: section.splitlines() for section in sections}


def rows_of(table):
    """Return the report on each tool."""
    rows = {line[2:26].strip(): line[26:].strip() for line in table[2:] if not line.startswith("  the ans")}
    names = {"grep + jq (no rg)": "grep + jq", "ripgrep + jq": "grep + jq"}
    return {names.get(name, name): told for name, told in rows.items()}


def test_every_tool_is_asked_and_gives_the_same_answer(environ):
    code, tables = measured(environ, "--events", 20_000, "--repeats", 1)
    assert code == 0
    for case, names in TOOLS.items():
        rows = rows_of(tables[case])
        assert list(rows) == names
        failures = [told for told in rows.values() if "failed" in told]
        # A machine may lack a tool, and a version of ours a command.
        assert [
            told for told in failures if "not installed" not in told and "No such command" not in told
        ] == []
        if case != "seal":
            assert tables[case][-1].endswith("agree")
    # Against the least, and without a cache, both with and without --interim; of sealing its three.
    figures = next(lines for name, lines in tables.items() if name.startswith("target"))
    assert len(figures) == 1 + 2 + 2 + 3


def test_a_tool_that_is_not_installed_is_reported_and_the_rest_goes_on(environ, tmp_path):
    arguments = ["--events", 2_000, "--repeats", 1, "--case", "b", "--slow", 0]
    code, tables = measured({**environ, "PATH": str(tmp_path)}, *arguments)
    assert code == 0
    assert rows_of(tables["b"])["jq"] == "failed: not installed: jq"
    assert tables["b"][-1] == "  the answers of 3 agree"


def test_a_tool_that_is_wrong_is_found_out(environ, tmp_path):
    wrong = tmp_path / "jq"
    wrong.write_text("#!/bin/sh\ncat >/dev/null\n")
    wrong.chmod(0o755)
    arguments = ["--events", 2_000, "--repeats", 1, "--case", "b", "--slow", 0]
    code, tables = measured({**environ, "PATH": f"{tmp_path}:{environ['PATH']}"}, *arguments)
    assert code == 1
    assert tables["b"][-1] == "  the answers of 5 DIFFER"


def test_a_journal_whose_making_was_cut_short_is_the_same_in_the_end(environ, tmp_path):
    events, end = 60_000, 1_795_000_000
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command("journal.py", events, whole, end), env=environ, check=True)
    with subprocess.Popen(command("journal.py", events, cut, end), env=environ) as process:
        while process.poll() is None and not (cut / "made.json").exists():
            time.sleep(0.005)
        process.kill()
    subprocess.run(command("journal.py", events, cut), env=environ, check=True)
    made = (whole / "videodb_events.jsonl").read_bytes()
    assert made.count(b"\n") == events
    assert (cut / "videodb_events.jsonl").read_bytes() == made
