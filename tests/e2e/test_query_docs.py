"""The pages on query, sql and summaries are tests: each example prints what stands there."""

import gzip
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from support import forkserver
from support.patience import PATIENCE
from test_docs import commands

from vdbevents.query.sql.views import VIEWS

DOCS = Path(__file__).parents[2] / "docs"


def examples(page):
    """The commands of a page, each with what it prints."""
    text = (DOCS / page).read_text("utf-8")
    return [
        tuple(example.split("\n", 1))
        for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]


EXAMPLES = examples("query.md")
SQL_EXAMPLES = examples("sql.md")
SUMMARIES = examples("summaries.md")
FLEET = [one for one in examples("fleet.md") if one[0].startswith("vdbevents query ")]

FOLLOWING = {"-f", "--follow"}


def asked(command, home, cwd, lines):
    """Run an example as a shell with this home would, in UTC; `lines` of one that goes on for ever."""
    name, *words = shlex.split(command)
    assert name == "vdbevents"
    environ = {"HOME": str(home), "TZ": "UTC", "VIDEODB_EVENTS_DIR": str(home / "work"), "LANG": "C.UTF-8"}
    words = [word.replace("~", str(home)) for word in words]
    command = [sys.executable, "-m", "vdbevents", *words]
    if not FOLLOWING.intersection(words):
        return forkserver.run(command, cwd=cwd, env=environ, capture_output=True, check=False)
    # It never ends by itself: after so many lines its reader has had enough, as `head` would.
    with forkserver.Popen(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        shown = b"".join(running.stdout.readline() for _ in range(lines))
        assert running.poll() is None
        running.stdout.close()
        return subprocess.CompletedProcess(command, running.wait(PATIENCE), shown, running.stderr.read())


@pytest.mark.parametrize(
    ("command", "output"),
    EXAMPLES + SQL_EXAMPLES + SUMMARIES,
    ids=[command for command, _ in EXAMPLES + SQL_EXAMPLES + SUMMARIES],
)
def test_an_example_prints_what_the_page_says(tmp_path, command, output):
    (tmp_path / "work").mkdir()
    (tmp_path / "work.env").touch()
    shutil.copy(DOCS / "example.jsonl", tmp_path / "work" / "videodb_events.jsonl")
    for journal in DOCS.glob("example*.jsonl"):
        shutil.copy(journal, tmp_path)
    (tmp_path / "logs").mkdir()
    for name, content, packed in (
        ("2026-02-28.jsonl.gz", "example.jsonl", gzip.compress),
        ("2026-03-01.jsonl.zst", "example-screen.jsonl", zstandard.compress),
    ):
        (tmp_path / "logs" / name).write_bytes(packed((DOCS / content).read_bytes()))

    done = asked(command, tmp_path, tmp_path, output.count("\n"))

    # Without an output it depends on the day: the example is long ago, and nothing may match; and before
    # 10:30, a remark says that `--until 10:30` was yesterday.
    assert done.stderr.count(b"\n") <= (not output)
    assert (done.stdout, done.returncode) == (output.encode(), 0) or (
        not output and done.returncode in (0, 1)
    )


def test_every_option_has_an_example():
    shown = {word.partition("=")[0] for command, _ in EXAMPLES + FLEET for word in shlex.split(command)}
    missing = [
        parameter.opts
        for parameter in commands()["vdbevents query"].params
        if parameter.param_type_name == "option"
        and shown.isdisjoint([*parameter.opts, *parameter.secondary_opts])
    ]

    assert missing == []
    assert len([output for _, output in EXAMPLES if output]) > 30


def test_every_view_has_an_example():
    asked_for = " ".join(command for command, output in SQL_EXAMPLES)

    assert [name for name in VIEWS if not re.search(rf"(FROM|JOIN) {name}\b", asked_for)] == []
    assert len([output for _, output in SQL_EXAMPLES if output]) > 12
