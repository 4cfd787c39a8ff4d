"""A lake in an object store that answers late, wrongly or not at all; recorders that are killed or race.

The store is moto's, which has the interface of S3. It runs in a process of its own, as do the recorders: the
clients hold Python's lock while they wait.
"""

import itertools
import json
import random
import re
import signal
import subprocess
import sys
from base64 import b64encode

import pytest
from support.lakes import Recorder, lines_in, rows_in
from support.object_store import BUCKET, SECRET, Faults, environ_of, object_store
from support.patience import patient
from support.processes import assert_failed, run

pytestmark = pytest.mark.long

LAKE = f"s3://{BUCKET}/lake"
SOON = f"{patient(0.5)}s"
UPLOAD, COMMIT = r"\.parquet$", r"_delta_log/\d+\.json$"
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


@pytest.fixture
def assert_all_shipped_once(store, monkeypatch):
    """A function that checks that a lake has each line of a recording once."""

    def check(recorder):
        # Without the proxy: the reader holds Python's lock while it waits, and the proxy needs it.
        for name, value in {**environ_of(store), "AWS_ALLOW_HTTP": "true"}.items():
            monkeypatch.setenv(name, value)
        assert rows_in(recorder.lake) == lines_in(recorder.state)

    return check


def test_a_lake_may_be_in_an_object_store(recorder, environ, assert_all_shipped_once):
    recorder.says("one", "two")
    assert ship(recorder, environ, "--host", "laptop").returncode == 0
    recorder.says("the secret")
    ended = ship(recorder, environ)

    assert "shipped 1 line" in ended.stderr
    assert_all_shipped_once(recorder)
    compacted = json.loads(run(["lake", "compact", recorder.lake, "--json"], environ).stdout)
    assert (compacted["before"], compacted["after"]) == (2, 1)
    assert run(["lake", "forget", recorder.lake, "--grep", "secret", "--yes"], environ).returncode == 0
    state = json.loads(run(["lake", "status", recorder.lake, "--json"], environ).stdout)
    assert (state["files"], state["lines"]) == (1, 2)
    assert [(host["host"], host["lines"]) for host in state["hosts"]] == [("laptop", 2)]


def test_a_commit_of_which_the_answer_is_lost_is_made_once(
    recorder, environ, faults, assert_all_shipped_once
):
    recorder.says("one")
    assert ship(recorder, environ).returncode == 0
    recorder.says("two")
    lost = []

    def lose(method, path):
        if method == "PUT" and re.search(COMMIT, path) and not lost:
            lost.append(path)
            return "lost"
        return None

    faults.choose = lose
    ended = ship(recorder, environ)
    faults.choose = lambda *_: None

    assert (ended.returncode, len(lost)) == (0, 1), ended.stderr
    assert_all_shipped_once(recorder)


@pytest.mark.parametrize("fault", [403, 503, "silent"], ids=str)
def test_an_upload_that_fails_is_an_error_that_passes(recorder, environ, faults, fault):
    recorder.says("one")
    faults.choose = lambda method, path: fault if method == "PUT" and re.search(UPLOAD, path) else None

    ended = ship(recorder, {**environ, "AWS_TIMEOUT": SOON})

    assert ended.returncode == (4 if fault == 403 else 5)
    assert len(ended.stderr.splitlines()) == 2
    faults.choose = lambda *_: None
    assert ship(recorder, environ).returncode == 0


KINDS = [500, 503, "lost", "hung up", "silent", "late"]


def test_a_store_that_fails_again_and_again_gets_each_line_once(
    recorder, environ, faults, assert_all_shipped_once
):
    faults.choose = lambda *_: ODDS.choice(KINDS) if ODDS.random() < 0.15 else None
    ends = []
    for number in range(6):
        recorder.says(f"first {number}", f"second {number}")
        ends.append(ship(recorder, {**environ, "AWS_TIMEOUT": SOON}).returncode)
    failed = {fault for _, _, fault in faults.seen} - {None}
    faults.choose = lambda *_: None
    assert ship(recorder, environ).returncode == 0

    assert set(ends) <= {0, 4, 5}
    assert len(failed) >= 4
    assert_all_shipped_once(recorder)


@pytest.mark.parametrize("missed", list(itertools.product([UPLOAD, COMMIT], ["silent", "late"])), ids=str)
def test_what_the_store_does_not_answer_in_time_is_there_once(
    recorder, environ, faults, missed, assert_all_shipped_once
):
    where, fault = missed
    recorder.says("one")
    assert ship(recorder, environ).returncode == 0
    recorder.says("two")
    unanswered = []

    def leave_unanswered(method, path):
        if method == "PUT" and re.search(where, path) and not unanswered:
            unanswered.append(path)
            return fault
        return None

    faults.choose = leave_unanswered
    ends = [ship(recorder, {**environ, "AWS_TIMEOUT": SOON}).returncode]
    ends.append(ship(recorder, environ).returncode)

    assert (len(unanswered), ends[0] in (0, 5), ends[1]) == (1, True, 0)
    assert_all_shipped_once(recorder)


@pytest.mark.parametrize("command", [["ship", "--once"], ["lake", "status"]], ids=" ".join)
def test_a_store_that_never_answers_is_given_up(recorder, environ, faults, command):
    recorder.says("one")
    faults.choose = lambda *_: "silent"
    place = [recorder.state.path] if command[0] == "ship" else []

    ended = run([*command, recorder.lake, *place], {**environ, "AWS_TIMEOUT": SOON})

    assert ended.returncode == 5
    assert "did not answer" in ended.stderr


def test_a_time_limit_that_is_none_is_refused(recorder, environ):
    recorder.says("one")

    assert_failed(ship(recorder, {**environ, "AWS_TIMEOUT": "soon"}), 2, error_id="duration-invalid")


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


CREDENTIALS = {
    "s3": {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET},
    "gs": {
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(
            {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": SECRET}
        )
    },
    "gs with a key that is cut short": {"GOOGLE_SERVICE_ACCOUNT_KEY": f'{{"private_key":"{SECRET}"'},
    "az": {"AZURE_STORAGE_ACCOUNT_KEY": b64encode(SECRET.encode()).decode()},
    "az with a key that is not one": {"AZURE_STORAGE_ACCOUNT_KEY": f"{SECRET}!"},
    # Each address that is asked for has it.
    "az with a signed address": {"AZURE_STORAGE_SAS_TOKEN": f"sv=2024-11-04&sig={SECRET}&se=2030-01-01"},
}


@pytest.mark.parametrize("fault", [403, "hung up"], ids=str)
@pytest.mark.parametrize("kind", CREDENTIALS)
def test_no_secret_of_any_store_is_in_an_error_or_a_file(kind, fault, recorder, faults, tmp_path):
    recorder.lake = f"{kind[:2]}://{BUCKET}/lake"
    recorder.says("one")
    faults.choose = lambda *_: fault
    at = f"http://127.0.0.1:{faults.port}"
    endpoints = {"AWS_ENDPOINT_URL": at, "GOOGLE_BASE_URL": at, "AZURE_STORAGE_ENDPOINT": at}
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "AWS_REGION": "us-east-1"}
    environ |= {**endpoints, "AZURE_STORAGE_ACCOUNT_NAME": "me", **CREDENTIALS[kind]}

    ended = ship(recorder, environ)

    assert ended.returncode in (4, 5)
    assert len(ended.stderr.splitlines()) == 2
    secrets = [SECRET, b64encode(SECRET.encode()).decode()]
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(secret in ended.stdout + ended.stderr for secret in secrets)
    assert not any(secret.encode() in content for secret in secrets for content in kept)


def test_a_store_that_is_not_there_is_an_error_that_passes(recorder, environ):
    recorder.says("one")

    ended = ship(recorder, {**environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})

    assert ended.returncode == 5
    assert "refused" in ended.stderr


# -- Kills and races: each with a lake in a folder, and in an object store that fails ---------------------


@pytest.fixture(params=["folder", "store"])
def disturbed(request, recorder, tmp_path, faults):
    """A recorder whose lake is in a folder, or in a store that does not do all that it is asked for."""
    if request.param == "folder":
        return Recorder(tmp_path / "state", tmp_path / "lake")
    faults.choose = lambda *_: ODDS.choice(KINDS) if ODDS.random() < 0.05 else None
    return recorder


def started(recorder, environ):
    command = [sys.executable, "-m", "vdbevents", "ship", recorder.lake, str(recorder.state.path), "--once"]
    return subprocess.Popen(
        command,
        env={**environ, "AWS_TIMEOUT": SOON},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_shippers_that_are_killed_at_any_moment_lose_and_double_nothing(
    disturbed, environ, faults, assert_all_shipped_once
):
    disturbed.says("first")
    shipping = 1.0
    killed = 0
    for number in range(6):
        disturbed.says(*(f"utterance {number} {part}" for part in range(50)))
        pair = [started(disturbed, environ) for _ in range(1 + number % 2)]
        for process in pair:
            try:
                process.wait(timeout=ODDS.uniform(0.2, 1.6) * shipping)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.communicate()
    faults.choose = lambda *_: None
    assert ship(disturbed, environ).returncode == 0

    assert killed
    assert_all_shipped_once(disturbed)


def test_two_shippers_of_one_recording_ship_each_line_once(
    disturbed, environ, faults, assert_all_shipped_once
):
    ends = set()
    for number in range(3):
        disturbed.says(*(f"utterance {number} {part}" for part in range(50)))
        pair = [started(disturbed, environ), started(disturbed, environ)]
        for process in pair:
            process.communicate()
            ends.add(process.returncode)
    faults.choose = lambda *_: None
    assert ship(disturbed, environ).returncode == 0

    assert ends <= ({0, 4, 5} if disturbed.lake.startswith("s3:") else {0})
    assert_all_shipped_once(disturbed)
