"""The commands as a user runs them: the real program, real files, and a real server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.messages import error_id_in
from support.processes import (
    KEY,
    PATIENCE,
    Listener,
    Process,
    Script,
    Service,
    all_shown,
    end_listener,
    events_of,
    eventually,
    run,
)

from vdbevents import __version__
from vdbevents.cli.demo import _started
from vdbevents.journal import locks
from vdbevents.journal.locks import listener_pid, listener_runs
from vdbevents.journal.state import StateDirectory

ROOT = Path(__file__).parent.parent.parent
SESSION = ROOT / "vdbevents" / "emulator" / "data" / "real-session.jsonl"
CERTIFICATE = Path(__file__).parent / "data" / "self-signed.pem"
WRONG_KEY = "sk-wrong-and-secret"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def transcript(text):
    return {"channel": "transcript", "data": {"text": text, "is_final": True}}


def has_text(text):
    return lambda event: isinstance(event.get("data"), dict) and event["data"].get("text") == text


def texts_of(state):
    return [e["data"]["text"] for e in events_of(state) if e.get("channel") == "transcript"]


def listener_file(state):
    """Return the object in `videodb_listener.json`, empty while there is none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return json.loads(state.listener_status.read_text())
    return {}


def shell(command, environ, **options):
    """A real shell, in which `vdbevents` is the one under test."""
    function = f'vdbevents() {{ "{sys.executable}" -m vdbevents "$@"; }}\n'
    settings = {"capture_output": True, "text": True, "timeout": PATIENCE}
    return subprocess.run(
        ["sh", "-c", function + command], check=False, env=environ, **{**settings, **options}
    )


@pytest.fixture
def at_large(state):
    """Directories whose listener outlives the process that started it; it ends with the test."""
    directories = [state]
    yield directories
    for directory in directories:
        end_listener(directory)


# Refusals by the service.


def calls(service):
    return [r for r in service.state["recent_requests"] if "/websocket" in r["request"].lower()]


def everything_in(state):
    return b"".join(file.read_bytes() for file in state.path.iterdir() if file.is_file()).decode()


def assert_refused(listener, error_id):
    assert listener.ends() == 4
    assert error_id_in(listener.err) == error_id
    assert "https://console.videodb.io" in listener.err
    assert "export VIDEO_DB_API_KEY=sk-…" in listener.err
    assert "Traceback" not in listener.err
    assert listener.out == ""
    assert not listener.state.ws_pid.exists()
    assert WRONG_KEY not in listener.err + everything_in(listener.state)


def test_a_wrong_key_ends_it_at_once_with_4_and_a_hint_and_is_never_shown(service, started, state, environ):
    environ = {**environ, **service.environ, "VIDEO_DB_API_KEY": WRONG_KEY}
    listener = started(Listener(state, environ))

    assert_refused(listener, "key-refused")
    assert "401" in listener.err
    assert len(calls(service)) == 1


@pytest.mark.parametrize("key", [None, "", "  ", f"{WRONG_KEY} ü", f"{WRONG_KEY}\n{WRONG_KEY}"])
def test_a_missing_or_malformed_key_ends_it_before_any_request(service, started, state, environ, key):
    environ = {**environ, **service.environ, "VIDEO_DB_API_KEY": key}
    if key is None:
        del environ["VIDEO_DB_API_KEY"]
    listener = started(Listener(state, environ))

    assert_refused(listener, "key-invalid" if (key or "").strip() else "key-missing")
    assert "VIDEO_DB_API_KEY" in listener.err
    assert calls(service) == []


@pytest.mark.parametrize(
    ("step", "status", "error_id"),
    [("http", 403, "key-forbidden"), ("upgrade", 401, "key-refused"), ("upgrade", 403, "key-forbidden")],
)
def test_a_key_without_the_right_ends_it_at_once(service, listen, step, status, error_id):
    service.fault(**{step: {"status": status}})
    listener = listen()

    assert_refused(listener, error_id)
    assert f"({status})" in listener.err


def test_a_certificate_that_does_not_verify_ends_it_at_once(started, state, environ):
    service = started(Service(["--certificate", CERTIFICATE]))
    listener = started(Listener(state, {**environ, **service.environ}))

    assert listener.ends() == 4
    assert error_id_in(listener.err) == "certificate-invalid"
    assert "SSL_CERT_FILE, REQUESTS_CA_BUNDLE" in listener.err
    assert "retrying" not in listener.err


def test_an_own_certificate_authority_can_be_named(started, state, environ):
    service = started(Service(["--certificate", CERTIFICATE]))
    trusted = {"SSL_CERT_FILE": str(CERTIFICATE), "REQUESTS_CA_BUNDLE": str(CERTIFICATE)}
    listener = started(Listener(state, {**environ, **service.environ, **trusted}))

    listener.connected()


# Retry-After: our own first wait is at most 2 s, so a longer one is the service's.


@pytest.mark.parametrize(("kind", "status"), [("http", 429), ("http", 503), ("upgrade", 429)])
def test_the_seconds_that_the_service_asks_to_wait_are_waited(service, listen, kind, status):
    service.fault(**{kind: {"status": status, "retry_after": 2.5, "times": 1}})
    listener = listen()
    listener.connected()

    first, second = (call["unix_ts"] for call in calls(service) if call["request"].startswith("GET"))
    assert second - first >= 2.4
    listener.says("request rate (429)" if status == 429 else f"answered {status}")


def test_the_date_that_the_service_names_is_waited_for(service, listen):
    named = int(time.time()) + 4
    date = format_datetime(datetime.fromtimestamp(named, UTC), usegmt=True)
    service.fault(http={"status": 503, "retry_after": date, "times": 1})
    listen().connected()

    _, second = (call["unix_ts"] for call in calls(service) if call["request"].startswith("GET"))
    assert second >= named - 0.05


# The connection.


@pytest.mark.long
def test_a_half_open_connection_is_noticed_left_and_marked(service, listen):
    # Long enough that a busy machine does not delay an answer too much.
    listener = listen("--ping-interval", 4)
    first = listener.connected()
    service.send(json=transcript("before"))
    listener.receives(has_text("before"))
    service.fault(mute={})
    listener.says("no answer to pings")
    service.fault(mute=None)
    second = listener.connected(times=2)
    service.send(json=transcript("after"))
    listener.receives(has_text("after"))

    gap, *_ = listener.own("listener.gap")
    (lost,) = listener.own("listener.disconnected")
    lost_at = next(e["ts"] for e in listener.events() if e.get("event") == "listener.disconnected")
    assert first != second
    assert "no answer to pings" in gap["reason"]
    assert lost["ws_id"] == first
    assert gap["since"] < lost_at < gap["until"], "it may have been dead before that was noticed"


# Signals.


def test_a_second_signal_ends_it_at_once(service, listen):
    listener = listen()
    listener.connected()
    service.fault(mute={})  # no answer to its close frame, for which it would wait a moment
    # Both arrive before it handles either, however long sending takes.
    listener.process.send_signal(signal.SIGSTOP)
    listener.process.send_signal(signal.SIGINT)
    listener.process.send_signal(signal.SIGTERM)

    assert listener.stop(signal.SIGCONT) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert listener.own("listener.stopped") == []


def test_a_hangup_is_ignored(service, listen):
    listener = listen()
    listener.connected()
    listener.process.send_signal(signal.SIGHUP)
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    assert listener.stop() == 0


IN_A_TERMINAL = """
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for number in (0, 1, 2):
    os.dup2(terminal, number)
os.execvp("sh", ["sh", "-c", sys.argv[2]])
"""


def test_started_with_an_ampersand_it_survives_its_terminal(service, state, environ, at_large):
    master, slave = os.openpty()
    command = f'"{sys.executable}" -m vdbevents listen "{state.path}" & wait'
    environ = {**environ, **service.environ}
    terminal = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, os.ttyname(slave), command], env=environ, start_new_session=True
    )
    os.close(slave)
    eventually(state.ws_id.exists)
    assert state.ws_pid.read_text() != str(terminal.pid)

    os.close(master)
    terminal.wait(PATIENCE)
    service.send(json=transcript("after"))

    eventually(lambda: "after" in texts_of(state))
    service.request("close", code=1011)
    eventually(lambda: [e for e in events_of(state) if e.get("event") == "listener.disconnected"])
    assert listener_runs(state)


def test_kill_with_the_pid_file_ends_it_as_documented(listen, state, environ):
    listener = listen()
    listener.connected()

    assert shell(f'kill "$(cat {state.path}/videodb_ws_pid)"', environ).returncode == 0
    assert listener.ends() == 0
    assert not state.ws_pid.exists()
    assert not state.ws_id.exists()


# In the background.


def test_daemon_returns_with_the_id_once_it_is_connected_and_the_listener_lives_on(
    service, state, environ, at_large
):
    service.fault(init={"mode": "late", "seconds": 0.5, "times": 1})
    state.create()
    state.journal.write_text('{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"text":"before"}\n')
    done = run(["listen", state.path, "--daemon", "--clear"], {**environ, **service.environ})

    status = json.loads(state.listener_status.read_text())
    assert (done.returncode, done.stdout) == (0, f"WS_ID={state.ws_id.read_text()}\n")
    assert done.stderr.count("set aside 1 event (") == 1
    assert (status["state"], status["ws_id"]) == ("connected", state.ws_id.read_text())
    assert listener_runs(state)
    assert state.listener_log.stat().st_mode & 0o777 == 0o600
    service.send(json=transcript("after"))
    eventually(lambda: "after" in texts_of(state))

    again = run(["listen", state.path, "--daemon", "--clear"], {**environ, **service.environ})
    assert again.returncode == 3
    assert f"PID {listener_pid(state)}" in again.stderr
    assert "after" in texts_of(state)


def test_daemon_fails_as_the_listener_in_the_foreground_would(service, state, environ, at_large):
    environ = {**environ, **service.environ, "VIDEO_DB_API_KEY": WRONG_KEY}
    done = run(["listen", state.path, "--daemon"], environ)

    assert (done.returncode, done.stdout) == (4, "")
    assert "refused the API key (401)" in done.stderr
    assert WRONG_KEY not in done.stderr + everything_in(state)
    assert not listener_runs(state)


def test_daemon_reads_the_settings_of_where_it_was_started(service, environ, tmp_path, at_large):
    project = tmp_path / "project"
    project.mkdir()
    (project / ".env").write_text(f"VIDEO_DB_API_KEY={KEY}\nVIDEO_DB_API={service.url}\n")
    recording = StateDirectory(project / "recording")
    at_large.append(recording)
    del environ["VIDEO_DB_API_KEY"]

    done = run(["listen", "recording", "--daemon"], environ, cwd=project)

    assert done.returncode == 0, done.stderr
    assert listener_runs(recording)


# status and stop.


def status_of(state, environ):
    done = run(["status", state.path, "--json"], environ)
    return done.returncode, json.loads(done.stdout)


def test_status_of_a_listener_that_is_connected(service, listen, state, environ):
    listener = listen()
    ws_id = listener.connected()
    service.send(json=transcript("one"), repeat=3)
    eventually(lambda: listener_file(state).get("events", {}).get("total") == 3)

    code, found = status_of(state, environ)
    text = run(["status", state.path], environ)

    assert (code, found["state"], found["running"]) == (0, "connected", True)
    assert (found["pid"], found["ws_id"], found["reconnects"]) == (listener.pid, ws_id, 0)
    assert found["events"]["channels"]["transcript"]["count"] == 3
    assert 0 <= found["events"]["channels"]["transcript"]["age_seconds"] < PATIENCE
    assert found["journal_bytes"] == state.journal.stat().st_size
    assert (found["gaps"], found["dropped"]) == (0, 0)
    assert text.returncode == 0
    for shown in ("connected", f"PID {listener.pid}", ws_id, "transcript", str(state.journal)):
        assert shown in text.stdout


def test_status_of_a_listener_that_runs_without_a_connection(service, listen, state, environ):
    service.fault(http={"status": 503, "retry_after": 600})
    listen()
    eventually(lambda: listener_file(state).get("state") == "waiting")

    code, found = status_of(state, environ)
    text = run(["status", state.path], environ)

    assert (code, found["state"], found["listener_state"]) == (5, "connecting", "waiting")
    assert "503" in found["last_error"]
    assert text.returncode == 5
    assert "last error the service answered 503" in text.stdout
    assert "next try" in text.stdout


def test_status_of_a_killed_listener_is_not_running(listen, state, environ):
    listener = listen()
    listener.connected()
    eventually(lambda: listener_file(state).get("state") == "connected")
    listener.kill()
    assert state.ws_pid.read_text() == str(listener.pid)

    code, found = status_of(state, environ)
    text = run(["status", state.path], environ)

    assert (code, found["state"], found["pid"], found["ws_id"]) == (3, "not running", None, None)
    assert text.returncode == 3
    assert f"vdbevents listen {state.path}" in text.stdout


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_status_of_a_listener_on_a_full_disk(service, started, environ, tmp_path):
    disk = StateDirectory(tmp_path / "disk")
    disk.create()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk.path]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        listener = started(Listener(disk, {**environ, **service.environ}))
        listener.connected()
        with (disk.path / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * (1 << 20)) == 1 << 20:
                """Until it is full."""
        # Even before an event comes that cannot be written.
        code, found = status_of(disk, environ)
        assert (code, found["state"], found["reason"]) == (5, "not writing", "the disk is full")
        service.send(json=transcript("x" * 5000), repeat=3)
        _, found = eventually(lambda: (told := status_of(disk, environ))[1]["disk_trouble"] and told)
        assert (found["state"], found["reason"]) == ("not writing", "No space left on device")
        assert found["unwritten_since"] is not None
        (disk.path / "filler").unlink()
        _, found = eventually(lambda: (told := status_of(disk, environ))[0] == 0 and told)
        assert found["events"]["total"] == 3
        listener.kill()
    finally:
        subprocess.run(["umount", disk.path], check=True)


def test_a_watched_status_is_shown_again_until_ctrl_c(started, state, environ):
    watching = started(Process(["status", state.path, "--watch", "--short", "--every", "0.1"], environ))
    eventually(lambda: watching.out.count("not running\n") > 2)
    watching.process.send_signal(signal.SIGINT)

    assert (watching.ends(), watching.err) == (130, "")


def test_status_of_a_missing_directory_does_not_create_it(environ, tmp_path):
    done = run(["status", tmp_path / "nowhere"], environ)

    assert done.returncode == 3
    assert not (tmp_path / "nowhere").exists()


GARBAGE = [
    b"",
    b"\xff\xfe\x00",
    b"{",
    b"[1]",
    b'{"events": 5, "gaps": [], "since": {}}',
    b'{"events": {"total": "many", "channels": {"x": 5}}}',
    b'{"events": {"total": null, "channels": [1]}, "version": 1}',
    b'{"events": {"channels": {"x": {"count": "1", "last": 7}}}, "state": ["x"]}',
]


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_status_survives_whatever_is_in_the_listener_s_file(state, environ, content):
    state.listener_status.write_bytes(content)

    code, found = status_of(state, environ)
    text = run(["status", state.path], environ)

    assert (code, found["state"]) == (3, "not running")
    assert (text.returncode, text.stderr) == (3, "")


def test_a_listener_starts_whatever_is_in_the_file_of_the_one_before(service, listen, state):
    state.listener_status.write_bytes(b'{"pid": "x", "state": 7, "events": [], "written": {}}')
    state.ws_pid.write_bytes(b"\xff")

    assert listen().connected()


def test_stop_ends_the_listener_and_waits_for_it(listen, state, environ):
    listener = listen()
    listener.connected()

    done = run(["stop", state.path, "--timeout", PATIENCE], environ, timeout=2 * PATIENCE)

    assert done.returncode == 0
    assert f"stopped the listener (PID {listener.pid})" in done.stdout
    assert listener.process.poll() is not None or listener.ends() == 0
    assert run(["stop", state.path], environ).returncode == 3


def test_stop_never_signals_a_process_that_is_not_a_listener(state, environ):
    foreign = subprocess.Popen(["sleep", "600"])
    try:
        state.ws_pid.write_text(str(foreign.pid))
        state.listener_lock.touch()

        done = run(["stop", state.path], environ)

        assert done.returncode == 3
        assert error_id_in(done.stderr) == "listener-not-running"
        assert f"vdbevents listen {state.path}" in done.stderr
        # A listener of another container holds the lock; its PID is somebody else's here.
        lock = locks.ProcessLock(state.listener_lock, lambda: locks.already_listening(state))
        done = run(["stop", state.path], environ)
        lock.release()
        assert done.returncode == 3
        assert error_id_in(done.stderr) == "listener-elsewhere"
        assert "kill" not in done.stderr
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


# The examples in the documents of VideoDB's skill.

READING_EVENTS = """
import json
import time
from pathlib import Path

events_path = Path.home() / ".local" / "state" / "videodb" / "videodb_events.jsonl"
transcripts = []
recent = []
visual = []

cutoff = time.time() - 600
with events_path.open(encoding="utf-8") as handle:
    for line in handle:
        event = json.loads(line)
        if event.get("channel") == "transcript":
            transcripts.append(event)
        if event.get("unix_ts", 0) > cutoff:
            recent.append(event)
        if (
            event.get("channel") == "visual_index"
            and "code" in event.get("data", {}).get("text", "").lower()
        ):
            visual.append(event)
"""


def test_the_documented_way_to_read_events_works_on_a_recording(service, started, environ, tmp_path):
    default = StateDirectory(tmp_path / ".local" / "state" / "videodb")
    listener = started(Listener(default, {**environ, **service.environ}, named=False))
    listener.connected()
    service.request("replay", speed=0, wait=True)
    listener.receives(lambda e: e.get("event") == "capture_session.exported")

    program = READING_EVENTS + "print(len(transcripts), len(recent), len(visual))"
    read = subprocess.run(
        [sys.executable, "-c", program], check=False, env=environ, capture_output=True, text=True
    )

    played = [json.loads(line) for line in SESSION.read_text(encoding="utf-8").splitlines()]
    transcripts = [e for e in played if e.get("channel") == "transcript"]
    code = [e for e in played if e.get("channel") == "visual_index" and "code" in e["data"]["text"].lower()]
    counts = (len(transcripts), len(listener.events()), len(code))
    assert transcripts
    assert (read.stdout, read.stderr) == ("{} {} {}\n".format(*counts), "")


def test_the_script_of_the_documents_takes_what_they_show(service, started, environ, state, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / ".env").write_text(f"VIDEO_DB_API_KEY={KEY}\nVIDEO_DB_API={service.url}\n")
    del environ["VIDEO_DB_API_KEY"]
    state.journal.write_bytes(b'{"ts":"old"}\n')
    listener = started(Script(state, environ, ["--clear", f"--cwd={project}"]))
    ws_id = listener.connected()

    eventually(lambda: listener.out == f"WS_ID={ws_id}\n")
    assert b"old" not in state.journal.read_bytes()
    assert listener.stop() == 0


def test_the_script_of_the_documents_records_where_the_environment_says(service, started, environ, tmp_path):
    chosen = StateDirectory(tmp_path / "chosen")
    environ = {**environ, **service.environ, "VIDEODB_EVENTS_DIR": str(chosen.path)}

    started(Script(chosen, environ, named=False)).connected()


# Settings.


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({}, ".local/state/videodb"),
        ({"XDG_STATE_HOME": "{}/xdg"}, "xdg/videodb"),
        ({"XDG_STATE_HOME": "relative"}, ".local/state/videodb"),
        ({"XDG_STATE_HOME": "{}/xdg", "VIDEODB_EVENTS_DIR": "{}/chosen"}, "chosen"),
        ({"VIDEODB_EVENTS_DIR": "~/of mine"}, "of mine"),
    ],
)
def test_the_environment_says_where_to_record(service, started, environ, tmp_path, settings, where):  # noqa: PLR0917
    settings = {name: value.format(tmp_path) for name, value in settings.items()}
    recording = StateDirectory(tmp_path / where)
    environ = {**environ, **service.environ, **settings}

    started(Listener(recording, environ, named=False, cwd=tmp_path)).connected()
    assert recording.path.stat().st_mode & 0o777 == 0o700


def test_the_other_name_of_the_base_url_is_understood_too(service, started, state, environ):
    started(Listener(state, {**environ, "VIDEO_DB_BASE_URL": service.url})).connected()


def test_exported_variables_win_over_the_env_file(service, started, state, environ, tmp_path):
    (tmp_path / "settings").write_text(f"VIDEO_DB_API_KEY={WRONG_KEY}\nVIDEO_DB_API={service.url}\n")

    started(Listener(state, environ, ["--env-file", tmp_path / "settings"])).connected()


@pytest.mark.parametrize("command", ["listen", "status", "stop", "query"])
@pytest.mark.parametrize("option", ["--env-file", "--cwd"])
def test_a_missing_env_file_or_directory_is_reported(environ, tmp_path, command, option):
    done = run([command, option, tmp_path / "nowhere"], environ, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert error_id_in(done.stderr) == f"{option.removeprefix('--')}-missing"
    assert f"{tmp_path}/nowhere" in done.stderr
    assert option in done.stderr
    assert not (tmp_path / ".local").exists()


def test_an_env_file_that_is_not_text_is_reported(environ, state, tmp_path):
    (tmp_path / ".env").write_bytes(b"VIDEO_DB_API_KEY=\xff\xfe\n")
    done = run(["listen", state.path, "--cwd", tmp_path], environ)

    assert done.returncode == 2
    assert error_id_in(done.stderr) == "env-file-unreadable"
    assert f"{tmp_path}/.env" in done.stderr


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8080"])
def test_a_base_url_that_is_not_a_url_is_reported(environ, state, url):
    done = run(["listen", state.path], {**environ, "VIDEO_DB_API": url})

    assert done.returncode == 2
    assert "VIDEO_DB_API" in done.stderr
    assert url not in done.stderr


# Nothing is lost.


def test_after_sigkill_everything_is_there_counts_go_on_and_the_gap_is_marked(
    service, listen, state, environ
):
    killed = listen()
    killed.connected()
    eventually(lambda: listener_file(state).get("state") == "connected")
    service.request("flood", count=500)
    eventually(lambda: len(killed.events()) >= 502)
    killed.kill()
    recorded = state.journal.read_bytes()
    seen = [e["seq"] for e in killed.events() if "seq" in e]

    listener = listen()
    listener.connected(times=2)
    service.send(json=transcript("after"))
    listener.receives(has_text("after"))
    eventually(lambda: listener_file(state).get("events", {}).get("total") == 501)

    assert seen == list(range(1, 501))
    assert state.journal.read_bytes().startswith(recorded)
    gap, *_ = listener.own("listener.gap")
    assert f"PID {killed.pid} " in gap["reason"]
    code, found = status_of(state, environ)
    assert (code, found["events"]["total"], found["gaps"]) == (0, 501, 1)


def test_a_directory_that_is_lost_for_a_while_costs_nothing(service, listen, state):
    listener = listen()
    listener.connected()
    for number in range(10):
        service.send(json=transcript(f"{number}"))
    listener.receives(has_text("9"))
    away = state.path.rename(state.path.with_name("away"))
    for number in range(10, 20):
        service.send(json=transcript(f"{number}"))
    listener.says("holding up to")
    assert not state.path.exists()

    away.rename(state.path)
    service.send(json=transcript("20"))
    listener.receives(has_text("20"))

    assert texts_of(state) == [f"{number}" for number in range(21)]
    listener.says("can be written again")
    assert listener.stop() == 0
    assert not state.ws_pid.exists()


def test_a_removed_journal_is_started_again(service, listen, state):
    listener = listen()
    listener.connected()
    state.journal.unlink()
    service.send(json=transcript("after"))

    listener.receives(has_text("after"))
    assert texts_of(state) == ["after"]
    assert state.journal.stat().st_mode & 0o777 == 0o600


def test_of_two_that_are_started_at_the_same_instant_one_records(service, listen, state):
    both = [listen("--clear"), listen("--clear")]
    eventually(lambda: any(listener.process.poll() is not None for listener in both))
    loser, winner = sorted(both, key=lambda listener: listener.process.poll() is None)

    assert loser.ends() == 3
    winner.connected()
    # The message names the winner's PID only if it was written in time.
    assert f"already records into {state.path}" in loser.err
    assert state.ws_pid.read_text() == str(winner.pid)
    assert [e["pid"] for e in winner.own("listener.started")] == [winner.pid]


def without_streams(state, environ):
    command = f'exec "{sys.executable}" -m vdbevents listen "{state.path}" <&- >&- 2>&-'
    return subprocess.Popen(["sh", "-c", command], env=environ)


def test_without_stdin_stdout_and_stderr_it_records_all_the_same(service, state, environ, at_large):
    process = without_streams(state, {**environ, **service.environ})
    eventually(state.ws_id.exists)
    service.send(json=transcript("after"))
    eventually(lambda: "after" in texts_of(state))

    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert [e["event"] for e in events_of(state) if e.get("channel") == "vdbevents"] == [
        "listener.started", "listener.connected", "listener.stopped"
    ]  # fmt: skip


@linux_only
def test_without_streams_their_numbers_are_not_given_to_the_recording(service, state, environ, at_large):
    process = without_streams(state, {**environ, **service.environ})
    eventually(state.ws_id.exists)

    # Otherwise text that a library writes to descriptor 2 would end up in the journal.
    opened = [Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in (0, 1, 2)]
    process.terminate()
    process.wait(PATIENCE)
    assert opened == [Path("/dev/null")] * 3


def test_a_stderr_that_nobody_reads_stops_nothing(service, listen, state):
    reader, writer = os.pipe()
    listener = listen(stderr=writer)
    os.close(writer)
    listener.connected()
    service.request("flood", count=5000)
    eventually(lambda: state.journal.read_bytes().count(b'"seq":') == 5000)
    service.send(json=transcript("after"))
    listener.receives(has_text("after"))

    assert listener.stop() == 0
    assert os.fstat(reader)
    os.close(reader)


def test_a_flood_is_recorded_in_its_order(service, listen):
    listener = listen("--quiet")
    listener.connected()
    service.request("flood", count=5000)

    eventually(lambda: listener.state.journal.read_bytes().count(b'"seq":') == 5000)
    assert [e["seq"] for e in listener.events() if "seq" in e] == list(range(1, 5001))


# The emulator and the demo.


def test_a_port_in_use_is_reported_with_a_hint(service, environ):
    port = service.url.rpartition(":")[2]
    done = run(["emulator", "--port", port], environ)

    assert (done.returncode, done.stdout) == (2, "")
    assert error_id_in(done.stderr) == "port-unusable"
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr.splitlines()[1]


SETTING = "emulator-setting-invalid"


@pytest.mark.parametrize(
    ("arguments", "error_id", "shown"),
    [
        (["--replay", "nowhere.jsonl"], SETTING, ["nowhere.jsonl", "No such file"]),
        (["--replay", "."], SETTING, ["Is a directory"]),
        (["--fault", "nonsense={}"], SETTING, ["'nonsense'", "there are http,"]),
        (["--fault", "http=oops"], "fault-invalid", ["--fault", "'http=oops'"]),
        (["--fault", "http={}"], SETTING, ["http"]),
        (["--fault", 'http={"status": "many"}'], SETTING, ["status"]),
        (["--fault", 'mute={"oops": 1}'], SETTING, ["oops"]),
        (["--certificate", "nowhere.pem"], SETTING, ["nowhere.pem"]),
        (["--speed", "nan"], SETTING, ["speed"]),
    ],
)
def test_invalid_settings_of_the_emulator_are_reported(environ, tmp_path, arguments, error_id, shown):
    done = run(["emulator", *arguments], environ, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert error_id_in(done.stderr) == error_id
    assert [text for text in shown if text not in done.stderr] == []
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("option", "value"), [("--port", "70000"), ("--speed", "-1")])
def test_numbers_out_of_range_are_usage_errors(environ, option, value):
    done = run(["emulator", option, value], environ)

    assert (done.returncode, done.stdout) == (2, "")
    assert option in done.stderr


def start_demo(environ, scratch):
    """Start the demo as leader of a process group with all that it starts."""
    return subprocess.Popen(
        [sys.executable, "-m", "vdbevents", "demo"],
        env={**environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


@pytest.mark.long
def test_the_demo_records_and_queries_and_leaves_nothing_behind(environ, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # It needs no network: nothing of it goes to a proxy, which is not there.
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "socks5://127.0.0.1:9")
    demo = start_demo({**environ, **proxies}, scratch)
    shown, _ = demo.communicate(timeout=3 * PATIENCE)

    assert demo.returncode == 0
    # On an idle machine it takes little longer than this.
    assert "--duration 10s" in shown
    asked = [line for line in shown.splitlines() if line.startswith("$ vdbevents query")]
    assert len(asked) == 3
    assert "connected as" in shown
    answer = shown.split("--grep 'pull request'")[1].split("\n\n")[0]
    assert "pull request" in answer.lower()
    assert '"event":"capture_session.exported"' in shown
    assert "exported: video m-" in shown
    assert "stopped the listener" in shown
    assert not [word for word in ("Traceback", "this is a bug") if word in shown]
    assert list(scratch.iterdir()) == []
    eventually(lambda: is_gone(demo.pid))


def is_gone(group):
    """Whether no process of a group is left; what has ended may wait a moment for init to notice."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def start_recording_demo(environ, scratch):
    """Start the demo and wait until it records; before, a process may not handle Ctrl-C yet."""
    demo = start_demo(environ, scratch)
    while "vdbevents: active: " not in (line := demo.stdout.readline()):
        assert line
    return demo


def test_an_interrupted_demo_leaves_nothing_behind(environ, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    demo = start_recording_demo(environ, scratch)
    os.killpg(demo.pid, signal.SIGINT)  # as Ctrl-C does
    rest, _ = demo.communicate(timeout=PATIENCE)

    assert demo.returncode == 130
    assert "Traceback" not in rest
    assert list(scratch.iterdir()) == []
    eventually(lambda: is_gone(demo.pid))


def test_an_interrupted_demo_waits_for_a_slow_process(environ, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    demo = start_recording_demo(environ, scratch)
    processes = subprocess.check_output(["ps", "-A", "-o", "pid=,pgid=,args="], text=True).splitlines()
    (emulator,) = [
        int(pid)
        for pid, group, arguments in (line.split(maxsplit=2) for line in processes)
        if int(group) == demo.pid and " vdbevents emulator" in arguments
    ]
    os.kill(emulator, signal.SIGSTOP)
    os.killpg(demo.pid, signal.SIGINT)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            demo.wait(1)
    finally:
        os.kill(emulator, signal.SIGCONT)
    demo.communicate(timeout=PATIENCE)

    assert demo.returncode == 130
    assert list(scratch.iterdir()) == []
    eventually(lambda: is_gone(demo.pid))


def test_an_interrupt_while_the_demo_starts_a_process_ends_that_process(monkeypatch):
    begun = []

    class InterruptedPopen(subprocess.Popen):
        def __init__(self, _, **options):
            super().__init__([sys.executable, "-c", "import time; time.sleep(60)"], **options)
            begun.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", InterruptedPopen)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), _started(("listen",)):
            pytest.fail("it goes on")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)

    assert [process.returncode for process in begun] == [-signal.SIGTERM]


# The end of a process.


def python(environ, *arguments, check=True, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, env=environ, check=check, capture_output=True, text=True, timeout=PATIENCE, **options
    )


def test_a_command_ends_without_python_s_clean_up(environ):
    program = "import atexit; atexit.register(print, 'x'); from vdbevents.__main__ import main; main()"

    assert python(environ, "-c", program, "--version").stdout == f"vdbevents {__version__}\n"


def test_threads_of_a_command_are_waited_for(environ):
    program = (
        "import threading; wait = threading.main_thread().join;"
        "threading.Thread(target=lambda: (wait(), print('worked', flush=True))).start();"
        "from vdbevents.__main__ import main; main()"
    )

    assert "worked" in python(environ, "-c", program, "--version").stdout


def test_ctrl_c_during_imports_shows_no_traceback(environ):
    program = (
        "import signal, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'vdbevents.cli.entry':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from vdbevents.__main__ import main\n"
        "main()"
    )
    done = python(environ, "-c", program, "--version", check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_command_can_be_debugged(environ):
    done = python(environ, "-m", "pdb", "-c", "continue", "-m", "vdbevents", "--version", input="quit\n")

    assert "(Pdb)" in done.stdout


def test_a_command_can_be_profiled(environ, tmp_path):
    python(environ, "-m", "cProfile", "-o", tmp_path / "profile", "-m", "vdbevents", "--version")

    assert (tmp_path / "profile").stat().st_size > 0


# query.


@pytest.fixture
def recording(state):
    """A directory with the real session in it."""
    state.journal.write_bytes(SESSION.read_bytes())
    return state


def test_a_missing_journal_ends_with_2(environ, state):
    done = run(["query", state.path], environ)

    assert (done.returncode, done.stdout) == (2, "")
    assert error_id_in(done.stderr) == "journal-missing"
    assert f"vdbevents listen {state.path}" in done.stderr


@pytest.mark.parametrize("output", ["text", "jsonl", "json", "csv"])
def test_an_empty_journal_ends_with_1(environ, state, output):
    state.journal.touch()
    done = run(["query", state.path, "-o", output], environ)

    assert done.returncode == 1
    assert f"{state.journal} is empty" in done.stderr
    if output == "json":
        assert json.loads(done.stdout) == []
    elif output != "csv":
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "error_id", "shown"),
    [
        (["--since", "tomorrowish"], "time-invalid", "2026-03-02T10:15:30Z"),
        (["--until", "25:00"], "time-invalid", "2026-03-02T10:15:30Z"),
        (["--last", "10 parsecs"], "duration-invalid", "90s, 10m, 2h, 3d, 1w"),
        (["--last", "10m", "--since", "10:15"], "options-conflict", "--since"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "window-empty", "2026-01-02"),
        (["-F", "-E", "--grep", "x"], "options-conflict", "--extended-regexp"),
        (["-E", "--grep", "("], "pattern-invalid", "'('"),
    ],
)
def test_invalid_filters_end_with_2(environ, recording, arguments, error_id, shown):
    done = run(["query", recording.path, *arguments], environ)

    assert (done.returncode, done.stdout) == (2, "")
    assert error_id_in(done.stderr) == error_id
    assert shown in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("option", "value", "shown"), [("-n", "-1", "-n"), ("-o", "xml", "xml")])
def test_invalid_values_of_query_options_are_usage_errors(environ, recording, option, value, shown):
    done = run(["query", recording.path, option, value], environ)

    assert (done.returncode, done.stdout) == (2, "")
    assert shown in done.stderr
    assert "Traceback" not in done.stderr


def test_no_match_ends_with_1_and_without_output(environ, recording):
    done = run(["query", recording.path, "--grep", "no such word anywhere"], environ)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_word_in_place_of_a_directory_gets_a_hint_to_grep(environ, recording, tmp_path):
    environ["VIDEODB_EVENTS_DIR"] = str(recording.path)
    done = run(["query", "latency"], environ, cwd=tmp_path)

    assert done.returncode == 2
    assert "--grep latency" in done.stderr


def test_a_closed_pipe_is_not_an_error(environ, state):
    line = SESSION.read_bytes().splitlines(keepends=True)[-1]
    state.journal.write_bytes(line * 20_000)
    command = f'vdbevents query "{state.path}" -o jsonl; echo "ended with $?" >&2'
    done = shell("{ " + command + "; } | head -n 1", environ, text=False)

    assert (done.stdout, done.stderr) == (line, b"ended with 0\n")


def test_unreadable_lines_are_left_out_and_counted(environ, state):
    good = SESSION.read_bytes().splitlines(keepends=True)[:2]
    state.journal.write_bytes(good[0] + b"no json\n" + b'"\xff\xfe"\n' + good[1] + b'{"ts":"to')
    done = run(["query", state.path, "-o", "jsonl", "--interim"], environ, text=False, encoding=None)

    assert (done.returncode, done.stdout) == (0, b"".join(good))
    assert b"3 lines are unreadable" in done.stderr
    assert str(state.journal).encode() in done.stderr


def test_the_jsonl_of_a_query_is_a_journal(environ, recording, tmp_path):
    first = run(["query", recording.path, "--channel", "transcript", "-o", "jsonl"], environ)
    (tmp_path / "found.jsonl").write_text(first.stdout, encoding="utf-8")
    again = run(["query", tmp_path / "found.jsonl", "-o", "jsonl"], environ)
    fewer = run(["query", tmp_path / "found.jsonl", "-o", "jsonl", "-n", "2"], environ)

    lines = first.stdout.splitlines(keepends=True)
    assert len(lines) == 19
    assert set(lines) <= set(SESSION.read_text(encoding="utf-8").splitlines(keepends=True))
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert fewer.stdout.splitlines(keepends=True) == lines[-2:]


def on_a_terminal(arguments, environ):
    """What a command prints when its stdout is a terminal."""
    master, slave = os.openpty()
    try:
        # Without a pager's own output.
        environ = {**environ, "PAGER": "cat"}
        done = run(arguments, environ, stdout=slave, stderr=subprocess.PIPE, capture_output=False)
    finally:
        os.close(slave)
        shown = all_shown(master).decode()
        os.close(master)
    assert done.returncode == 0, done.stderr
    return shown


def test_colour_is_for_terminals_unless_an_option_says_otherwise(environ, recording):
    ask = ["query", recording.path, "--grep", "pull request", "-n", "1"]
    environ["TERM"] = "xterm-256color"
    match = "\x1b[1;31mpull request\x1b[0m"

    assert match in on_a_terminal(ask, environ)
    assert "\x1b" not in on_a_terminal(ask, {**environ, "NO_COLOR": "1"})
    assert "\x1b" not in on_a_terminal([*ask, "--color", "never"], environ)
    assert "\x1b" not in run(ask, environ).stdout
    assert match in run([*ask, "--color", "always"], {**environ, "NO_COLOR": "1"}).stdout
