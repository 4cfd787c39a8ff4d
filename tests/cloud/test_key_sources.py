"""Where the API key is looked for, and which files it is not taken from."""

import os
import threading
from pathlib import Path

import pytest
from support.patience import PATIENCE

from vdbevents.cloud.key_sources import find_key
from vdbevents.errors import InputError, ServiceRefusedError, ServiceUnreachableError

URL = "https://api.videodb.io"

needs_modes = pytest.mark.skipif(os.name != "posix", reason="no file modes here")


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "api-key"
    path.write_text("sk-in-file\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def stored(monkeypatch):
    """The entries of a keyring of this test's own."""
    keyring = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyring.backend")
    entries = {}

    class InMemory(backend.KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            answer = entries.get((service, username))
            return answer() if callable(answer) else answer

        def set_password(self, service, username, password):
            entries[service, username] = password

        def delete_password(self, service, username):
            del entries[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    yield entries
    keyring.set_keyring(before)


def test_a_named_file_wins_over_the_environment_and_that_over_the_keyring(key_file, stored):
    stored["vdbevents", "api.videodb.io"] = "sk-in-keyring"
    environ = {"VIDEO_DB_API_KEY": "sk-in-environment"}

    assert find_key(environ, URL, key_file) == ("sk-in-file", str(key_file))
    assert find_key(environ, URL, None) == ("sk-in-environment", "VIDEO_DB_API_KEY")
    assert find_key({}, URL, None) == ("sk-in-keyring", "the system's keyring")
    assert "sk-in" not in repr(find_key({}, URL, None))


def test_the_keyring_has_a_key_for_each_address(stored):
    stored["vdbevents", "api.videodb.io"] = "sk-for-videodb"
    stored["vdbevents", "127.0.0.1:8800"] = "sk-for-here"

    assert find_key({}, "http://ada@127.0.0.1:8800", None).key == "sk-for-here"
    with pytest.raises(ServiceRefusedError) as raised:
        find_key({}, "https://elsewhere.example", None)
    assert raised.value.error_id == "key-missing"


def test_without_a_home_there_is_no_keyring_to_ask(stored, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    stored["vdbevents", "api.videodb.io"] = homeless
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ServiceRefusedError) as raised:
        find_key({}, URL, None)
    assert raised.value.error_id == "key-missing"


def test_a_keyring_that_is_locked_or_silent_is_worth_another_try(stored):
    def locked():
        raise RuntimeError("password: hunter2")

    stored["vdbevents", "api.videodb.io"] = locked
    with pytest.raises(ServiceUnreachableError) as raised:
        find_key({}, URL, None)
    assert raised.value.error_id == "keyring-unusable"
    assert "hunter2" not in raised.value.message

    is_over = threading.Event()
    stored["vdbevents", "api.videodb.io"] = lambda: is_over.wait(PATIENCE)
    with pytest.raises(ServiceUnreachableError, match="no answer"):
        find_key({}, URL, None, keyring_seconds=0.01)
    is_over.set()


@needs_modes
@pytest.mark.parametrize("mode", [0o604, 0o620, 0o640, 0o644, 0o660, 0o611])
def test_a_file_that_others_can_open_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(InputError) as raised:
        find_key({"VIDEO_DB_API_KEY": "sk-x"}, URL, key_file)

    assert raised.value.error_id == "key-file-not-private"
    assert f"{mode:04o}" in raised.value.message
    assert "sk-in-file" not in raised.value.message + raised.value.hint


@needs_modes
def test_a_file_that_only_its_owner_can_open_is_read(key_file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(key_file)
    key_file.chmod(0o400)

    assert find_key({}, URL, link).key == "sk-in-file"


@needs_modes
def test_a_file_of_another_user_is_refused(key_file, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: key_file.stat().st_uid + 1)
    if key_file.stat().st_uid == 0:
        os.chown(key_file, 12345, -1)
    with pytest.raises(InputError, match="another user"):
        find_key({}, URL, key_file)


@needs_modes
def test_a_pipe_will_do(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_text, args=("sk-piped\n",))
    writing.start()

    assert find_key({}, URL, path).key == "sk-piped"
    writing.join()


def test_a_file_without_a_usable_key_is_an_error_and_no_other_source_is_tried(key_file, tmp_path):
    environ = {"VIDEO_DB_API_KEY": "sk-in-environment"}
    for content, expected in ((" \n", "key-file-empty"), ("sk a", "key-invalid"), ("\xff", "key-invalid")):
        key_file.write_text(content)
        with pytest.raises((InputError, ServiceRefusedError)) as raised:
            find_key(environ, URL, key_file)
        assert raised.value.error_id == expected
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError) as unreadable:
            find_key(environ, URL, path)
        assert unreadable.value.error_id == "key-file-unreadable"
