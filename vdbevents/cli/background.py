"""Start a listener in the background, and stop one."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vdbevents.cli.diagnostics import Diagnostics, ExitCode, error_of
from vdbevents.errors import InputError, ListenerStateError, ServiceUnreachableError
from vdbevents.journal.locks import already_listening, holds, listener_pid, listener_runs
from vdbevents.journal.state import StateDirectory

_POLL_SECONDS = 0.05
_PID_SECONDS = 1.0
_TERMINATE_SECONDS = 8.0


def start_detached(state: StateDirectory, arguments: Sequence[str]) -> ExitCode:
    """Start a listener that outlives this process; return when it is connected, or has failed.

    Its `WS_ID=…` line goes to stdout, and its messages until then to stderr.

    Raises:
        ListenerStateError: a listener already runs.
    """
    process = _spawn(state, arguments)
    code = _await_connection(process, state, sys.stdout.write, sys.stderr.write)
    # It is meant to go on: without this, Python would warn that it still runs.
    process.returncode = code
    return code


class BackgroundListener:
    """A listener that this process starts and stops."""

    def __init__(
        self, state: StateDirectory, seconds: float, observer: Diagnostics, arguments: list[str]
    ) -> None:
        """Create it; this starts nothing yet.

        Args:
            state: the directory to record into.
            seconds: the time limit for its first connection.
            observer: gets its messages until it is connected.
            arguments: further arguments of `vdbevents listen`.
        """
        self._state = state
        self._seconds = seconds
        self._observer = observer
        self._arguments = arguments
        # As it is now: a capture removes the key from it.
        self._environ = dict(os.environ)
        self._process: subprocess.Popen[str] | None = None

    def start(self, cancelled: threading.Event) -> None:
        """Return when it is connected; end it if the event is set before."""
        deadline = time.monotonic() + self._seconds
        self._process = _spawn(self._state, self._arguments, self._environ)
        code = _await_connection(
            self._process,
            self._state,
            lambda _: None,
            self._relay,
            lambda: cancelled.is_set() or time.monotonic() > deadline,
        )
        if code == ExitCode.DONE or cancelled.is_set():
            return
        log = self._state.listener_log
        if time.monotonic() > deadline:
            raise ServiceUnreachableError(
                f"the listener was not connected in {self._seconds:g} s",
                f"wait longer with --timeout; its messages are in {log}",
                error_id="listener-not-connected",
            )
        raise error_of(code)(
            "the listener did not start", f"see its messages in {log}", error_id="listener-not-started"
        )

    def stop(self, seconds: float) -> bool:
        """End it and wait for its end; return whether it was running."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise _still_runs(process.pid, seconds) from None
        return True

    def _relay(self, text: str) -> None:
        for line in text.splitlines():
            self._observer.say(f"the listener: {line.strip().removeprefix('vdbevents: ')}", problem=True)


def detached() -> dict[str, Any]:
    """Return the options of `Popen` that keep Ctrl-C on the terminal from reaching a process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _spawn(
    state: StateDirectory, arguments: Sequence[str], environ: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start a listener whose stderr goes to `videodb_listener.log`."""
    from vdbevents.listener.service_manager import VARIABLES

    if listener_runs(state):
        raise already_listening(state)
    # -P: import nothing from the working directory.
    command = [sys.executable, "-P", "-m", "vdbevents", "listen", str(state.path), "--quiet", *arguments]
    try:
        # A link that somebody planted must not have its target emptied.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        log = os.open(state.listener_log, flags, 0o600)
    except OSError as error:
        raise InputError(
            f"cannot write {state.listener_log}: {error.strerror}",
            "check its owner, or name another directory",
            error_id="listener-log-unwritable",
        ) from error
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=state.path,
            # It must not speak for this process to the service manager.
            env={name: text for name, text in (environ or os.environ).items() if name not in VARIABLES},
            text=True,
            encoding="utf-8",
            **detached(),
        )
    finally:
        os.close(log)


def _await_connection(
    process: "subprocess.Popen[str]",
    state: StateDirectory,
    announce: Callable[[str], object],
    relay: Callable[[str], object],
    gives_up: Callable[[], bool] = lambda: False,
) -> ExitCode:
    """Wait for a listener's first connection; end it when `gives_up` says so.

    Args:
        process: the listener.
        state: its directory.
        announce: gets its first line on stdout.
        relay: gets its messages, as they appear in its log.
        gives_up: called while waiting.

    Returns:
        DONE once it is connected, UNREACHABLE after giving up, else the listener's exit code.
    """
    lines: list[str] = []
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - it is a pipe
    reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    reader.start()
    with state.listener_log.open(encoding="utf-8", errors="replace") as log:
        try:
            while reader.is_alive():
                reader.join(_POLL_SECONDS)
                relay(log.read())
                if gives_up():
                    end(process)
        except KeyboardInterrupt:
            end(process)
            raise
        if gives_up():
            # The exit code of a listener that we end may be 0.
            end(process)
            code: int = ExitCode.UNREACHABLE
        elif lines and lines[0]:
            announce(lines[0])
            code = ExitCode.DONE
        else:
            code = process.wait()
        if code != ExitCode.DONE:
            relay(log.read())
    stdout.close()
    return ExitCode(code) if code in set(ExitCode) else ExitCode.BUG


def end(process: "subprocess.Popen[Any]") -> None:
    """Terminate a process and wait for its end; kill it after 8 s."""
    process.terminate()
    try:
        process.wait(_TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop_listener(state: StateDirectory, timeout: float) -> str:
    """Terminate the listener of a directory, wait for its end, and return a message that says so.

    Raises:
        ListenerStateError: none runs, its process is not here, or it did not end in time.
    """
    if not listener_runs(state):
        raise ListenerStateError(
            f"no listener is running on {state.path}",
            f"start one with: vdbevents listen {state.path}",
            error_id="listener-not-running",
        )
    started = time.monotonic()
    # A listener that is just starting has not yet replaced the PID of the last one.
    while (pid := listener_pid(state)) is None or holds(pid, state.listener_lock) is False:
        if time.monotonic() - started > _PID_SECONDS or not listener_runs(state):
            raise _is_elsewhere(state, pid)
        time.sleep(_POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while listener_runs(state):
        if time.monotonic() - started > timeout:
            raise _still_runs(pid, timeout)
        time.sleep(_POLL_SECONDS)
    return f"stopped the listener (PID {pid}) after {time.monotonic() - started:.1f} s"


def _is_elsewhere(state: StateDirectory, pid: int | None) -> ListenerStateError:
    if pid is None:
        return ListenerStateError(
            f"a listener is running on {state.path}, but {state.ws_pid.name} has no PID",
            "find its process and send it SIGTERM",
            error_id="listener-pid-missing",
        )
    return ListenerStateError(
        f"a listener is running on {state.path}, but PID {pid} is another process here, or another user's",
        "stop it where it runs, in its container or on its machine, and as its user: vdbevents stop",
        error_id="listener-elsewhere",
    )


def _still_runs(pid: int, seconds: float) -> ListenerStateError:
    return ListenerStateError(
        f"the listener (PID {pid}) is still running after {seconds:g} s",
        f"end it at once with: kill -9 {pid}",
        error_id="listener-not-stopped",
    )
