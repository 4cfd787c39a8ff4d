"""State files are replaced whole, and read whole or not at all."""

import errno
import json
import os
import stat

import pytest

from vdbevents.journal import files, locks


def test_a_state_file_is_replaced_whole_or_not_at_all(state, monkeypatch):
    files.replace_file(state.ws_id, b"old")

    def refuse(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="No space"):
        files.replace_file(state.ws_id, b"new")
    assert state.ws_id.read_bytes() == b"old"


def test_a_state_file_that_could_not_be_replaced_leaves_nothing_behind(state, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        files.replace_file(state.ws_id, b"ws-1")

    assert list(state.path.iterdir()) == []


def test_a_planted_link_is_replaced_and_not_followed(state, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = state.path / f".{state.ws_id.name}.tmp"
    planted.symlink_to(victim)

    files.replace_file(state.ws_id, b"ws-1")

    assert victim.read_text() == "precious"
    assert state.ws_id.read_bytes() == b"ws-1"
    assert not state.ws_id.is_symlink()


def test_a_link_in_the_place_of_a_file_is_not_overwritten(state, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious content")
    state.listener_status.symlink_to(victim)

    with pytest.raises(OSError, match="symbolic links"):
        files.overwrite_file(state.listener_status, b"7")

    assert victim.read_text() == "precious content"


def test_what_a_crash_left_of_a_file_is_replaced(state):
    left = state.path / f".{state.ws_id.name}.tmp"
    left.write_text("a longer content than the new one")
    left.chmod(0o666)

    files.replace_file(state.ws_id, b"ws-1")

    assert state.ws_id.read_bytes() == b"ws-1"
    assert stat.S_IMODE(state.ws_id.stat().st_mode) == 0o600


def test_all_new_folders_of_a_path_are_private_whatever_the_umask(tmp_path):
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        files.make_private(tmp_path / "a" / "b" / "c")
        files.make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)

    folders = [tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [stat.S_IMODE(it.stat().st_mode) for it in folders] == [0o755, 0o700, 0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.make_private(tmp_path / "file")


def capture_lock(state):
    return locks.ProcessLock(state.capture_lock, lambda: locks.already_capturing(state))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"status":"recording"}', {"status": "recording"}),
        (b' {"a":1}\n', {"a": 1}),
        ('{"name":"名前"}'.encode(), {"name": "名前"}),
        (b"{}", {}),
        (b"", {}),
        (b"\n", {}),
        (b"null", {}),
        (b"[]", {}),
        (b'"text"', {}),
        (b"5", {}),
        (b'{"status":"reco', {}),
        (b'{"a":1}{"b":2}', {}),
        (b"\xff\xfe", {}),
        (b'{"a":"\xff"}', {}),
        (b"\0" * 100, {}),
        (b'{"a":' + b"9" * 5000 + b"}", {}),
        (None, {}),
    ],
)
def test_an_object_is_read_whole_or_not_at_all(state, content, told):
    if content is not None:
        state.capture_info.write_bytes(content)

    assert files.read_object(state.capture_info) == told


def test_an_object_that_is_cut_at_any_byte_reads_as_empty(state):
    whole = json.dumps({"status": "recording", "session": {"id": "cap-1"}}).encode()
    for cut in range(len(whole)):
        state.capture_info.write_bytes(whole[:cut])
        assert files.read_object(state.capture_info) == {}, cut


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000])
def test_an_object_that_is_too_deep_reads_as_empty(state, content):
    state.capture_info.write_bytes(content)

    assert files.read_object(state.capture_info) == {}


def test_the_files_of_a_capture_are_private_and_have_the_documented_names(state):
    lock = capture_lock(state)
    files.replace_file(state.capture_pid, b"1")
    files.replace_file(state.capture_info, b"{}")
    lock.release()

    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.path.iterdir()} == dict.fromkeys(
        ["videodb_capture.lock", "videodb_capture_info.json", "videodb_capture_pid"], 0o600
    )


def test_a_file_is_overwritten_within_its_size_or_not_at_all(state):
    state.listener_status.write_bytes(b'{"a":1}   ')
    files.overwrite_file(state.listener_status, b'{"b":22}')
    assert state.listener_status.read_bytes() == b'{"b":22}  '

    with pytest.raises(OSError, match="No space left"):
        files.overwrite_file(state.listener_status, b'{"b":22333}')
    assert files.read_object(state.listener_status) == {"b": 22}
    with pytest.raises(FileNotFoundError):
        files.overwrite_file(state.ws_pid, b"7")
