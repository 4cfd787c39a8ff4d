"""What is wrong with a state directory, and what is not."""

import fcntl
import os

import pytest

from vdbevents.health import directory_checks
from vdbevents.journal.locks import ProcessLock
from vdbevents.journal.state import StateDirectory


@pytest.fixture
def state(tmp_path):
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory


def severities(findings):
    return [finding.severity for finding in findings]


def messages(findings):
    return " | ".join(finding.message for finding in findings)


@pytest.mark.parametrize(("free", "severity"), [(5_000_000, "error"), (5e8, "warning"), (5e10, "ok")])
def test_little_room_is_a_warning_and_none_an_error(free, severity, state, monkeypatch):
    monkeypatch.setattr(directory_checks, "free_bytes", lambda _: free)

    assert severities(directory_checks.check_disk(state)) == [severity]


def test_a_listener_that_cannot_write_is_an_error(state):
    state.listener_status.write_text('{"disk_trouble": "No space left on device"}')
    assert severities(directory_checks.check_disk(state)) == ["ok"]
    lock = ProcessLock(state.listener_lock, AssertionError)
    findings = list(directory_checks.check_disk(state))
    lock.release()

    assert "No space left on device" in messages(findings)
    assert "error" in severities(findings)


def test_a_directory_that_is_still_to_be_made_is_judged_by_the_one_above(tmp_path):
    state = StateDirectory(tmp_path / "not" / "yet")
    for check in (
        directory_checks.check_disk,
        directory_checks.check_processes,
        directory_checks.check_journal,
        lambda state: directory_checks.check_modes(state, None),
    ):
        assert severities(check(state)) == ["ok"]
    assert not state.path.parent.exists()

    (tmp_path / "file").write_text("")
    findings = list(directory_checks.check_disk(StateDirectory(tmp_path / "file" / "x")))
    assert "is a file" in messages(findings)


def test_a_synchronised_folder_is_found_behind_a_link(tmp_path):
    folder = tmp_path / "Dropbox" / "videodb"
    folder.mkdir(parents=True)
    (tmp_path / "state").symlink_to(folder)
    findings = list(directory_checks.check_folder(StateDirectory(tmp_path / "state")))

    assert findings[0].severity == "warning"
    assert "Dropbox" in findings[0].message


@pytest.mark.parametrize(
    ("kind", "severity"), [("nfs4", "warning"), ("tmpfs", "warning"), ("xfs", "ok"), ("", "ok")]
)
def test_a_disk_of_another_machine_is_a_warning(kind, severity, state, monkeypatch):
    monkeypatch.setattr(directory_checks, "_kind_of", lambda _: kind)

    assert severities(directory_checks.check_folder(state)) == [severity]


def test_the_file_system_of_this_machine_is_known(state):
    assert severities(directory_checks.check_folder(state))


def test_files_that_others_can_read_are_named(state, tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("VIDEO_DB_API_KEY=sk-secret")
    env_file.chmod(0o600)
    state.journal.write_text("")
    state.journal.chmod(0o600)
    assert severities(directory_checks.check_modes(state, env_file)) == ["ok"]

    env_file.chmod(0o644)
    state.journal.chmod(0o640)
    state.path.chmod(0o755)
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    findings = list(directory_checks.check_modes(state, env_file, cache))
    assert severities(findings) == ["warning"] * 4
    for part in (".env", "videodb_events.jsonl", "0755", str(cache)):
        assert part in messages(findings)
    assert "sk-secret" not in messages(findings)
    assert any(f"chmod 600 {env_file}" in finding.hint for finding in findings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_another_user_are_an_error(state, monkeypatch):
    state.journal.write_text("")
    state.journal.chmod(0o600)
    os.chown(state.journal, 12345, -1)
    monkeypatch.setattr(directory_checks.os, "geteuid", lambda: 999)
    findings = list(directory_checks.check_modes(state, None))

    assert severities(findings) == ["error", "error"]
    assert "videodb_events.jsonl" in messages(findings)


def test_a_process_id_that_nobody_has_is_a_warning(state):
    state.ws_pid.write_text("4194304")
    state.capture_pid.write_text("4194304")
    findings = list(directory_checks.check_processes(state))
    assert severities(findings) == ["warning", "warning"]
    assert "videodb_ws_pid" in messages(findings)

    state.capture_pid.unlink()
    lock = ProcessLock(state.listener_lock, AssertionError)
    elsewhere = list(directory_checks.check_processes(state))
    state.ws_pid.write_text(str(os.getpid()))
    ours = list(directory_checks.check_processes(state))
    lock.release()

    assert "in another container" in messages(elsewhere)
    assert severities(ours) == ["ok"]


def test_a_journal_that_stays_locked_is_an_error(state):
    state.journal.write_text("{}\n")
    assert severities(directory_checks.check_journal(state)) == ["ok"]
    descriptor = os.open(state.journal_lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    pauses = []
    # Released in the meantime, it was but an append.
    waited = list(directory_checks.check_journal(state, lambda _: fcntl.flock(descriptor, fcntl.LOCK_UN)))
    assert severities(waited) == ["ok"]

    fcntl.flock(descriptor, fcntl.LOCK_EX)
    findings = list(directory_checks.check_journal(state, pauses.append))
    os.close(descriptor)
    assert severities(findings) == ["ok", "error"]
    assert "lsof" in findings[1].hint
    assert pauses


def test_a_torn_journal_is_a_warning_unless_it_is_just_being_written(state):
    state.journal.write_text('{"a":1}\n{"b"')
    assert severities(directory_checks.check_journal(state)) == ["warning"]

    lock = ProcessLock(state.listener_lock, AssertionError)
    assert severities(directory_checks.check_journal(state)) == ["ok"]
    lock.release()
