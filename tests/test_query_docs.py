"""docs/query.md is a test: each example prints what stands there, and each option has one."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_docs import COMMANDS

DOCS = Path(__file__).parent.parent / "docs"
BLOCKS = re.findall(
    r"^```console\n(.*?)^```$", (DOCS / "query.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
EXAMPLES = [
    tuple(example.split("\n", 1))
    for block in BLOCKS
    for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
]


def asked(command, home, cwd):
    """Run an example as a shell with this home would, in UTC."""
    name, *words = shlex.split(command)
    assert name == "vdbevents"
    environ = {"HOME": str(home), "TZ": "UTC", "VIDEODB_EVENTS_DIR": str(home / "work"), "PYTHONUTF8": "1"}
    words = [word.replace("~", str(home)) for word in words]
    return subprocess.run(
        [sys.executable, "-m", "vdbevents", *words], cwd=cwd, env=environ, capture_output=True, check=False
    )


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_prints_what_the_page_says(tmp_path, command, output):
    (tmp_path / "work").mkdir()
    (tmp_path / "work.env").touch()
    shutil.copy(DOCS / "example.jsonl", tmp_path / "work" / "videodb_events.jsonl")
    shutil.copy(DOCS / "example.jsonl", tmp_path)

    done = asked(command, tmp_path, tmp_path)

    assert done.stderr == b""
    # Without an output it depends on the day: the example is long ago, and nothing may match.
    assert (done.stdout.decode(), done.returncode) == (output, 0) or (
        not output and done.returncode in (0, 1)
    )


def test_every_option_has_an_example():
    shown = {word.partition("=")[0] for command, _ in EXAMPLES for word in shlex.split(command)}
    missing = [
        parameter.opts
        for parameter in COMMANDS["vdbevents query"].params
        if parameter.param_type_name == "option"
        and shown.isdisjoint([*parameter.opts, *parameter.secondary_opts])
    ]

    assert missing == []
    assert len([output for _, output in EXAMPLES if output]) > 30
