"""A lake in an object store that answers late, wrongly or not at all; recorders that are killed or race.

The store is moto's, which has the interface of S3. It runs in a process of its own, as do the recorders: the
clients hold Python's lock while they wait.
"""

import json
import random
import re
import signal
import subprocess
import sys

import pytest
from support.lakes import Recorder, lines_in, rows_in
from support.object_store import BUCKET, SECRET, Faults, environ_of, object_store
from support.processes import run

pytestmark = pytest.mark.long

LAKE = f"s3://{BUCKET}/lake"
ODDS = random.Random(20_261_201)


@pytest.fixture(scope="module")
def store():
    with object_store() as port:
        yield port


@pytest.fixture
def faults(store):
    proxy = Faults(store)
    yield proxy
    proxy.close()


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path / "state", f"{LAKE}-{tmp_path.name}")


@pytest.fixture
def environ(tmp_path, faults):
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **environ_of(faults.port)}


def ship(recorder, environ, *more):
    return run(["ship", recorder.lake, recorder.state.path, "--once", *more], environ)


def assert_all_shipped_once(recorder, store, monkeypatch):
    # Without the proxy: the reader holds Python's lock while it waits, and the proxy needs it.
    for name, value in {**environ_of(store), "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    assert rows_in(recorder.lake) == lines_in(recorder.state)


def test_a_lake_may_be_in_an_object_store(recorder, environ, store, monkeypatch):
    recorder.says("one", "two")
    assert ship(recorder, environ, "--host", "laptop").returncode == 0
    recorder.says("the secret")
    ended = ship(recorder, environ)

    assert "shipped 1 line" in ended.stderr
    assert_all_shipped_once(recorder, store, monkeypatch)
    compacted = json.loads(run(["lake", "compact", recorder.lake, "--json"], environ).stdout)
    assert (compacted["before"], compacted["after"]) == (2, 1)
    assert run(["lake", "forget", recorder.lake, "--grep", "secret", "--yes"], environ).returncode == 0
    state = json.loads(run(["lake", "status", recorder.lake, "--json"], environ).stdout)
    assert (state["files"], state["lines"]) == (1, 2)
    assert [(host["host"], host["lines"]) for host in state["hosts"]] == [("laptop", 2)]


def test_a_commit_of_which_the_answer_is_lost_is_made_once(recorder, environ, store, faults, monkeypatch):
    recorder.says("one")
    assert ship(recorder, environ).returncode == 0
    recorder.says("two")
    lost = []

    def lose(method, path):
        if method == "PUT" and re.search(r"_delta_log/\d+\.json$", path) and not lost:
            lost.append(path)
            return "lost"
        return None

    faults.choose = lose
    ended = ship(recorder, environ)
    faults.choose = lambda *_: None

    assert (ended.returncode, len(lost)) == (0, 1), ended.stderr
    assert_all_shipped_once(recorder, store, monkeypatch)


def test_a_store_that_fails_again_and_again_gets_each_line_once(
    recorder, environ, store, faults, monkeypatch
):
    kinds = [500, 503, "lost", "hung up"]
    faults.choose = lambda *_: ODDS.choice(kinds) if ODDS.random() < 0.15 else None
    ends = []
    for number in range(6):
        recorder.says(f"first {number}", f"second {number}")
        ends.append(ship(recorder, environ).returncode)
    failed = {fault for _, _, fault in faults.seen} - {None}
    faults.choose = lambda *_: None
    assert ship(recorder, environ).returncode == 0

    assert set(ends) <= {0, 4, 5}
    assert len(failed) >= 3
    assert_all_shipped_once(recorder, store, monkeypatch)


def test_a_store_that_refuses_is_named_without_a_secret(recorder, environ, faults, tmp_path):
    recorder.says("one")
    faults.choose = lambda *_: 403

    ended = ship(recorder, environ)

    assert ended.returncode == 4
    assert "credentials" in ended.stderr
    assert SECRET not in ended.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def test_a_store_that_is_not_there_is_an_error_that_passes(recorder, environ):
    recorder.says("one")

    ended = ship(recorder, {**environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})

    assert ended.returncode == 5
    assert "refused" in ended.stderr


# -- Kills and races, with a lake in a folder -------------------------------------------------------------


def started(recorder, environ):
    command = [sys.executable, "-m", "vdbevents", "ship", recorder.lake, str(recorder.state.path), "--once"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_shippers_that_are_killed_at_any_moment_lose_and_double_nothing(
    tmp_path, environ, store, monkeypatch
):
    recorder = Recorder(tmp_path / "state", tmp_path / "lake")
    recorder.says("first")
    shipping = 1.0
    for number in range(6):
        recorder.says(*(f"utterance {number} {part}" for part in range(50)))
        process = started(recorder, environ)
        try:
            process.wait(timeout=ODDS.uniform(0.2, 1.6) * shipping)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert ship(recorder, environ).returncode == 0

    assert_all_shipped_once(recorder, store, monkeypatch)


def test_two_shippers_of_one_recording_ship_each_line_once(tmp_path, environ, store, monkeypatch):
    recorder = Recorder(tmp_path / "state", tmp_path / "lake")
    for number in range(3):
        recorder.says(*(f"utterance {number} {part}" for part in range(50)))
        pair = [started(recorder, environ), started(recorder, environ)]
        for process in pair:
            _, said = process.communicate()
            assert process.returncode == 0, said

    assert_all_shipped_once(recorder, store, monkeypatch)
