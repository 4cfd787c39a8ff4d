"""The processes of an end-to-end test, which end with it."""

import contextlib
import os

import pytest
from support.processes import KEY, Listener, ServiceInThread

from vdbevents.journal.state import StateDirectory


@pytest.fixture
def state(tmp_path):
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory


@pytest.fixture
def environ(tmp_path):
    """An environment in which nothing of this machine's user is seen."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "SYSTEMROOT", "COVERAGE_PROCESS_START", "PYTHON_KEYRING_BACKEND")
        if name in os.environ
    }
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return {**kept, **own, "TZ": "UTC", "LANG": "C.UTF-8", "VIDEO_DB_API_KEY": KEY}


@pytest.fixture
def started():
    """Starts processes that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(process):
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def service(started, environ):
    return started(ServiceInThread())


@pytest.fixture
def listen(started, state, service, environ):
    """Starts a listener on the service: `listen("--clear")`."""

    def start(*arguments, into=state, environ=environ, **options):
        return started(Listener(into, {**environ, **service.environ}, arguments, **options))

    return start
