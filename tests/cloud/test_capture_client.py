"""Where the capture runtime is, and the client that starts it."""

import os
import sys
import types
from pathlib import Path

import pytest

from vdbevents import cloud
from vdbevents.errors import CaptureError


@pytest.fixture
def no_runtime(monkeypatch):
    """The SDK finds its runtime through a module, which is taken away again."""
    monkeypatch.setitem(sys.modules, "videodb_capture_bin", types.ModuleType("videodb_capture_bin"))
    monkeypatch.setitem(sys.modules, "videodb_capture_bin", None)


def no_file(folder):
    return folder / "nothing"


def no_program(folder):
    path = folder / "text"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o600)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="there every file can be run")
@pytest.mark.parametrize("make", [no_file, lambda folder: folder, no_program])
def test_a_runtime_that_is_not_executable_is_reported_with_the_setting(tmp_path, no_runtime, make):
    path = make(tmp_path)
    if make is no_program and os.access(path, os.X_OK):
        pytest.skip("this user may run anything")

    with pytest.raises(CaptureError) as raised:
        cloud.find_runtime(path)
    assert raised.value.error_id == "runtime-not-executable"
    assert str(path) in raised.value.message
    assert "VDBEVENTS_CAPTURE_RUNTIME" in raised.value.hint


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there VideoDB ships one")
def test_without_a_runtime_the_hint_names_the_emulator(no_runtime):
    with pytest.raises(CaptureError) as raised:
        cloud.find_runtime(None)
    assert raised.value.error_id == "runtime-missing"
    assert "vdbevents emulator" in raised.value.hint
    assert "VDBEVENTS_CAPTURE_RUNTIME" in raised.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="there it is no program")
def test_a_named_runtime_is_started_and_gets_only_the_token(tmp_path, no_runtime):
    path = no_program(tmp_path)
    path.chmod(0o700)

    assert cloud.find_runtime(path) == path
    client = cloud.capture_client(cloud.Token("st-1", 0), "http://127.0.0.1:9")
    assert (client._binary_path, client.client_token, client.base_url) == (
        str(path),
        "st-1",
        "http://127.0.0.1:9",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there it is no program")
def test_a_runtime_in_the_current_directory_is_started_from_there(tmp_path, no_runtime, monkeypatch):
    no_program(tmp_path).chmod(0o700)
    monkeypatch.chdir(tmp_path)

    found = cloud.find_runtime(Path("text"))

    client = cloud.capture_client(cloud.Token("st-1", 0), "http://127.0.0.1:9")
    assert Path(client._binary_path).is_absolute()
    assert found.samefile(tmp_path / "text")
