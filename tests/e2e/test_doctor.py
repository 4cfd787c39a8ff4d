"""`vdbevents doctor`, against a service that answers, refuses, hangs, or is not there."""

import json

import pytest
from support.processes import KEY, eventually, run

from vdbevents.health.finding import Severity
from vdbevents.journal.locks import ProcessLock


@pytest.fixture
def examined(environ, service, state, tmp_path):
    """Run the doctor; return what it says of each check, and its exit code."""

    def examine(*arguments, **variables):
        known = {**environ, **service.environ, **variables}
        ended = run(["doctor", state.path, "--json", *arguments], known, cwd=tmp_path)
        assert KEY not in ended.stdout + ended.stderr
        found = {}
        for result in json.loads(ended.stdout)["checks"]:
            found.setdefault(result["check"], []).append(result)
        return found, ended.returncode

    return examine


def worst(found, check):
    order = list(Severity)
    return max((result["severity"] for result in found[check]), key=order.index)


def told(found, check):
    return " | ".join(f"{result['message']} {result['hint']}" for result in found[check])


def test_all_is_well_and_nothing_was_created(examined, service, state):
    before = service.state
    found, code = examined()

    assert {name: worst(found, name) for name in found if worst(found, name) != "ok"} == {}
    assert code == 0
    assert list(found) == [
        *("key", "rights", "api", "proxies", "clock", "disk", "folder", "file modes", "processes", "journal"),
        *("runtime", "permissions", "devices"),
    ]
    assert "display:1" in told(found, "devices")
    after = service.state
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"clock", "requests", "recent_requests", "runtime"}
    assert {request.split()[0] for request in after["requests"]} == {"GET"}
    assert not after["runtime"] or not after["runtime"]["recording"]
    assert list(state.path.iterdir()) == []


def test_a_running_capture_is_not_disturbed_by_another_runtime(examined, service, state):
    lock = ProcessLock(state.capture_lock, AssertionError)
    found, _ = examined()
    lock.release()

    assert told(found, "devices") == told(found, "permissions") == "not asked, while a capture records "
    assert service.state["runtime"] is None


def test_what_the_service_refuses_is_said_with_what_to_do(examined, service):
    found, code = examined(VIDEO_DB_API_KEY="sk-of-somebody")
    assert (worst(found, "key"), worst(found, "api"), code) == ("error", "ok", 1)
    assert "401" in told(found, "key")
    assert "sk-of-somebody" not in json.dumps(found)

    service.fault(http={"status": 403})
    service.request("clock", advance=3600)
    service.fault(runtime={"deny": ["microphone"], "channels": []})
    found, code = examined()
    assert (worst(found, "key"), worst(found, "rights"), worst(found, "clock")) == ("ok", "error", "error")
    assert "3600 s behind" in told(found, "clock")
    assert (worst(found, "permissions"), worst(found, "devices")) == ("error", "warning")
    assert "Privacy" in told(found, "permissions")


def test_what_hangs_hides_nothing_else(examined, service):
    service.fault(hang={})
    service.fault(runtime={"hang_at": "*", "ignore_sigterm": True})
    found, code = examined()

    assert code == 1
    for hanging in ("api", "devices"):
        assert worst(found, hanging) == "error"
    assert (worst(found, "rights"), worst(found, "clock"), worst(found, "permissions")) == ("warning",) * 3
    assert (worst(found, "disk"), worst(found, "journal"), worst(found, "runtime")) == ("ok",) * 3
    # The runtime that hangs has been ended, too.
    eventually(lambda: service.state["runtime"] is None)


def test_without_a_key_and_without_a_network_the_rest_is_checked(environ, state, tmp_path):
    alone = {**environ, "VIDEO_DB_API": "http://127.0.0.1:9", "ALL_PROXY": "socks9://nowhere"}
    del alone["VIDEO_DB_API_KEY"]
    (tmp_path / ".env").write_bytes(b"\xff\xfe=")
    ended = run(["doctor", state.path], alone, cwd=tmp_path)

    assert ended.returncode == 1, ended.stderr
    for line in ("error    settings", "error    key", "error    api", "ok       disk", "ok       journal"):
        assert line in ended.stdout
    assert "warning  rights       not known without a key" in ended.stdout
    assert "→ get a key at" in ended.stdout
    # A file that was named and is missing is a wrong command line.
    assert run(["doctor", "--env-file", "missing"], alone, cwd=tmp_path).returncode == 2
