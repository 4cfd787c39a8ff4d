"""The state directory is found where it should be, and is private."""

import stat
from pathlib import Path

import pytest
from support.journals import LINE, open_journal

from vdbevents.errors import InputError
from vdbevents.journal import files
from vdbevents.journal.state import StateDirectory, home_directory, locate_state


def test_an_argument_names_the_directory_before_the_environment_does():
    environ = {"VIDEODB_EVENTS_DIR": "/env", "XDG_STATE_HOME": "/xdg"}

    assert locate_state(Path("/arg"), environ, Path("/home/u")).path == Path("/arg")
    assert locate_state(None, environ, Path("/home/u")).path == Path("/env")
    assert locate_state(None, {"XDG_STATE_HOME": "/xdg"}, Path("/home/u")).path == Path("/xdg/videodb")
    assert locate_state(None, {}, Path("/home/u")).path == Path("/home/u/.local/state/videodb")


def test_a_relative_xdg_state_home_is_ignored_as_its_specification_says():
    assert locate_state(None, {"XDG_STATE_HOME": "x"}, Path("/h")).path == Path("/h/.local/state/videodb")


def test_without_a_home_directory_one_must_be_named(monkeypatch):
    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)
    monkeypatch.setattr(Path, "expanduser", lambda path: refuse() if str(path).startswith("~") else path)
    home = home_directory()

    assert home is None
    assert locate_state(Path("/arg"), {}, home).path == Path("/arg")
    assert locate_state(None, {"VIDEODB_EVENTS_DIR": "/env"}, home).path == Path("/env")
    assert locate_state(None, {"XDG_STATE_HOME": "/xdg"}, home).path == Path("/xdg/videodb")
    for argument in (None, Path("~/state")):
        with pytest.raises(InputError) as raised:
            locate_state(argument, {}, home)
        assert raised.value.error_id == "home-missing"
        assert "VIDEODB_EVENTS_DIR" in raised.value.hint


def test_a_new_directory_is_private_and_an_old_one_keeps_its_mode(tmp_path):
    StateDirectory(tmp_path / "new" / "state").create()
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    old.chmod(0o755)
    StateDirectory(old).create()

    assert stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE(old.stat().st_mode) == 0o755


def test_a_file_instead_of_the_directory_is_an_error_with_a_hint(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(InputError) as raised:
        StateDirectory(tmp_path / "file").create()
    assert raised.value.error_id == "state-directory-is-file"
    assert "VIDEODB_EVENTS_DIR" in raised.value.hint


def test_every_file_is_private(state):
    opened = open_journal(state)
    opened.append([LINE[:-5]])
    opened.append([LINE])
    files.replace_file(state.ws_id, b"ws-1")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.path.iterdir()}

    assert modes == dict.fromkeys(
        ["videodb_events.jsonl", "videodb_events.lock", "videodb_events.torn", "videodb_ws_id"], 0o600
    )
