"""`vdbevents sql` as a terminal and a pipe meet it, beyond what docs/sql.md shows."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import forkserver
from support.messages import error_id_in
from support.processes import PATIENCE, Process, all_shown, assert_failed, eventually, run

from vdbevents.query.sql.views import VIEWS

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "example.jsonl"


@pytest.mark.parametrize(
    ("arguments", "error_id", "said"),
    [
        (["SELEC 1", EXAMPLE], None, "syntax error"),
        (["SELECT nope FROM events", EXAMPLE], None, "vdbevents sql --describe"),
        (["FROM read_text('/etc/passwd')", EXAMPLE], "sql-not-allowed", "--describe"),
        (["DROP VIEW events", EXAMPLE], "sql-not-select", "DROP"),
        (["SELECT 1", "nowhere"], "path-missing", "nowhere"),
        ([], "sql-query-missing", "QUERY"),
        (["SELECT 1", EXAMPLE, "--describe"], "options-conflict", "--describe"),
        (["-", EXAMPLE], "sql-not-select", "empty query"),
    ],
)
def test_an_invalid_query_is_refused_with_the_reason(environ, arguments, error_id, said):
    refused = run(["sql", *arguments], environ)

    assert_failed(refused, 2, said)
    assert error_id is None or error_id_in(refused.stderr) == error_id
    assert refused.stdout == ""


def test_no_rows_are_no_match(environ):
    ended = run(["sql", "SELECT text FROM events WHERE false", EXAMPLE], environ)

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "text\n", "")


def test_a_query_may_come_from_stdin(environ):
    ended = run(["sql", "-", EXAMPLE, "-o", "jsonl"], environ, stdin=None, input="SELECT 'ü' AS it; -- so\n")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, '{"it":"ü"}\n', "")


def test_the_views_are_described_without_a_journal(environ):
    text, csv, array, lines = (
        run(["sql", "--describe", "-o", form], environ) for form in ("text", "csv", "json", "jsonl")
    )

    assert [text.returncode, csv.returncode, array.returncode, lines.returncode] == [0] * 4
    assert [view["view"] for view in json.loads(array.stdout)] == list(VIEWS)
    assert json.loads(array.stdout) == [json.loads(line) for line in lines.stdout.splitlines()]
    assert csv.stdout.startswith("view,column,type,meaning\nevents,time,TIMESTAMPTZ,of receipt\n")
    assert all(f"{name}: {view.holds}" in text.stdout for name, view in VIEWS.items())


def test_unreadable_lines_are_reported(environ, tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(EXAMPLE.read_bytes() + b"{torn")
    (tmp_path / "empty.jsonl").touch()

    assert "1 line is unreadable" in run(["sql", "SELECT 1", journal], environ).stderr
    assert "is empty" in run(["sql", "SELECT 1", tmp_path / "empty.jsonl"], environ).stderr


@pytest.mark.skipif(sys.platform == "win32", reason="it sends a signal")
def test_ctrl_c_ends_it_and_a_closed_pipe_is_not_an_error(environ, started):
    # Its first rows tell that it is at it; after them DuckDB looks for others, and finds none.
    query = "FROM range(10000000000000) WHERE range < 100000"
    asked = started(Process(["sql", query, EXAMPLE], environ))
    eventually(lambda: asked.out)
    asked.process.send_signal(signal.SIGINT)
    assert asked.ends() == 130
    assert asked.err == ""
    endless = [sys.executable, "-m", "vdbevents", "sql", "FROM range(10000000000000)", str(EXAMPLE)]
    with subprocess.Popen(endless, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
def test_a_terminal_gets_no_control_character_and_no_longer_line(environ):
    shown = on_a_terminal("SELECT chr(27) || '[2J' || repeat('x', 200) AS a, 1 AS b", environ)

    assert "\x1b" not in shown
    assert [len(line) <= 40 for line in shown.splitlines()] == [True, True]


@pytest.mark.skipif(sys.platform == "win32", reason="it makes a terminal")
@pytest.mark.parametrize("output", ["csv", "json"])
def test_no_output_steers_a_terminal(environ, output):
    shown = on_a_terminal("SELECT chr(27) || chr(155) || chr(8238) AS a, 'ü' AS b", environ, "-o", output)

    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert "ü" in shown


def on_a_terminal(query, environ, *options):
    """Return what a terminal of 40 columns receives."""
    outside, inside = os.openpty()
    command = [sys.executable, "-m", "vdbevents", "sql", query, str(EXAMPLE), *options]
    with forkserver.Popen(command, env={**environ, "COLUMNS": "40"}, stdout=inside) as process:
        assert process.wait(PATIENCE) == 0
    os.close(inside)
    shown = all_shown(outside).decode()
    os.close(outside)
    return shown
