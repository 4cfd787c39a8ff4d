"""A capture's processes: the emulator, the runtime that it lends, a listener, and the capture itself."""

import pytest
from support.processes import Capture, Listener, ServiceInThread, end_listener


@pytest.fixture
def service(started):
    return started(ServiceInThread(speed=20.0))


@pytest.fixture
def environ(environ, service):
    return {**environ, **service.environ}


@pytest.fixture
def leftovers(state):
    """Nothing that a capture started may outlive it; what does is ended, so that it harms no other test."""
    yield
    end_listener(state)


@pytest.fixture
def capture(started, state, environ, leftovers):
    """Starts a capture: `capture("--duration", "1s")`."""

    def start(*arguments, into=state, environ=environ, **options):
        return started(Capture(into, environ, map(str, arguments), **options))

    return start


@pytest.fixture
def listener(started, state, environ):
    listening = started(Listener(state, environ))
    listening.connected()
    return listening
