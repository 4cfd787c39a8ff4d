"""Checks after a capture, however it ended."""

import contextlib

from support.processes import KEY, eventually
from vdbevents.journal.locks import capture_runs, listener_runs


def unfinished(state):
    """Return the names of the temporary files in a state directory."""
    return [file.name for file in state.path.iterdir() if file.name.endswith(".tmp")]


def assert_left_in_order(capture, service, *, listening=False):
    """Assert that nothing is left: no process, temporary file, PID file or running session."""
    state = capture.state
    assert "Traceback" not in capture.err, capture.err
    assert KEY not in capture.err + capture.out
    assert not state.capture_pid.exists()
    assert not capture_runs(state)
    assert listener_runs(state) is listening
    # A listener that goes on writes its own now and then.
    with contextlib.suppress(AssertionError):
        eventually(lambda: not unfinished(state))
    assert unfinished(state) == []
    # The service sees a moment later that the runtime is gone.
    eventually(lambda: service.state["runtime"] is None)
    assert all(session["status"] not in ("starting", "active") for session in service.state["sessions"])
    if capture.info:
        assert capture.info["status"] in ("ended", "failed")
