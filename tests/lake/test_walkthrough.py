"""The walkthrough of docs/fleet.md, from shipping to the answer of an engine, as it stands there."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from support.lakes import Recorder
from support.patience import patient
from support.processes import run

# It starts servers.
pytestmark = pytest.mark.long

FLEET = Path(__file__).parents[2] / "docs" / "fleet.md"


def commands():
    """The commands of the walkthrough: those that set it up, and those after."""
    text = FLEET.read_text(encoding="utf-8").partition("## From a laptop")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [
        [shlex.split(line.removeprefix("$ ")) for line in block.replace("\\\n", "").splitlines()]
        for block in blocks
    ]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", int(port)), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def serve(tmp_path):
    """Starts programs that are installed beside this Python, until they listen."""
    started = []

    def start(words, port, environ):
        program = Path(sys.executable).parent / words[0]
        if not program.exists():
            pytest.skip(f"{words[0]} is not installed")
        log = (tmp_path / f"{words[0]}.log").open("wb")
        started.append(subprocess.Popen([program, *words[1:]], env=environ, stdout=log, stderr=log))
        log.close()
        end = time.monotonic() + patient(60.0)
        while not listens(port):
            assert started[-1].poll() is None, (tmp_path / f"{words[0]}.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)

    yield start
    for process in started:
        process.terminate()
        process.wait()


def test_the_walkthrough_leads_from_a_journal_to_the_answer_of_an_engine(tmp_path, serve):
    setting_up, steps = commands()
    ports = {"5000": free_port(), "50051": free_port()}

    def own(word):
        return re.sub(r"\b(5000|50051)\b", lambda found: ports[found[0]], word)

    setting_up, steps = ([[own(word) for word in words] for words in block] for block in (setting_up, steps))
    exported = dict(word.split("=", 1) for words in setting_up[:2] for word in words[1:])
    recorder = Recorder(tmp_path / "state" / "videodb", "none")
    recorder.says("good morning", "the invoice is out")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **exported,
    }
    for words, port in zip(setting_up[2:], ports.values(), strict=True):
        serve(words, port, environ)

    put, *asked = steps
    urlopen(Request(put[-1], method="PUT")).close()
    ended = [run(words[1:], environ) for words in asked]

    assert [one.returncode for one in ended] == [0, 0, 0, 0], [one.stderr for one in ended]
    _, status, found, counted = (one.stdout for one in ended)
    assert "laptop" in status
    assert "the invoice is out" in found
    assert counted.split() == ["host", "n", "laptop", "2"]
