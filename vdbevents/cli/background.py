"""A listener in the background: how it is started, and how it is asked to end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from vdbevents.cli.diagnostics import Diagnostics, ExitCode, error_of
from vdbevents.errors import InputError, ListenerStateError, ServiceUnreachableError
from vdbevents.journal.locks import already_listening, listener_pid, listener_runs
from vdbevents.journal.state import StateDirectory

_POLL_SECONDS = 0.05
_FAREWELL_SECONDS = 8.0


class StartedListener(NamedTuple):
    """What became of a listener that was started: DONE, or what it exited with before it was connected."""

    code: ExitCode
    process: "subprocess.Popen[str]"


def start_listener(
    state: StateDirectory,
    arguments: Sequence[str],
    *,
    announce: Callable[[str], object] = sys.stdout.write,
    tell: Callable[[str], object] = sys.stderr.write,
    environ: Mapping[str, str] | None = None,
    given_up: Callable[[], bool] = lambda: False,
    on_start: "Callable[[subprocess.Popen[str]], object]" = lambda _: None,
) -> StartedListener:
    """Starts a listener that outlives this process, and returns when its first connection stands.

    What it says is in `videodb_listener.log`.

    Args:
        state: the directory to record into; it exists.
        arguments: further arguments of `vdbevents listen`.
        announce: takes its `WS_ID=…` line.
        tell: takes what it says until then.
        environ: another environment than this process's own.
        given_up: asked all the while; once it says so, the listener is ended.
        on_start: takes the process as soon as there is one.

    Raises:
        ListenerStateError: one runs already.
    """
    if listener_runs(state):
        raise already_listening(state)
    # -P: the working directory is no place to import from.
    command = [sys.executable, "-P", "-m", "vdbevents", "listen", str(state.path), "--quiet", *arguments]
    try:
        log = os.open(state.listener_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        raise InputError(
            f"cannot write {state.listener_log}: {error.strerror}",
            "see who owns it, or name another directory",
        ) from error
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=state.path,
            env=environ,
            text=True,
            encoding="utf-8",
            **detached(),
        )
    finally:
        os.close(log)
    on_start(child)
    with state.listener_log.open(encoding="utf-8", errors="replace") as told:
        code = _await_connection(child, announce, lambda: tell(told.read()), given_up)
    if child.stdout is not None:
        child.stdout.close()
    return StartedListener(code, child)


class BackgroundListener:
    """A listener that this process starts, and ends again."""

    def __init__(
        self, state: StateDirectory, seconds: float, observer: Diagnostics, arguments: list[str]
    ) -> None:
        """Starts nothing yet.

        Args:
            state: the directory to record into.
            seconds: how long it may take to be connected.
            observer: what it says until then is told to it.
            arguments: further ones of `vdbevents listen`.
        """
        self._state = state
        self._seconds = seconds
        self._observer = observer
        self._arguments = arguments
        # Whatever the user's defaults for a listener are: what is recorded already stays.
        self._environ = {**os.environ, "VDBEVENTS_LISTEN_CLEAR": "false"}
        self._process: subprocess.Popen[str] | None = None

    def start(self, cancelled: threading.Event) -> None:
        """Returns when it is connected; it is ended again when the event is set before."""
        deadline = time.monotonic() + self._seconds
        started = start_listener(
            self._state,
            self._arguments,
            announce=lambda _: None,
            tell=self._tell,
            environ=self._environ,
            given_up=lambda: cancelled.is_set() or time.monotonic() > deadline,
            on_start=self._hold,
        )
        if started.code == ExitCode.DONE or cancelled.is_set():
            return
        log = self._state.listener_log
        if time.monotonic() > deadline:
            raise ServiceUnreachableError(
                f"the listener was not connected in {self._seconds:g} s",
                f"give it longer: --timeout; what it said is in {log}",
            )
        raise error_of(started.code)("the listener did not start", f"what it said is in {log}")

    def stop(self, seconds: float) -> bool:
        """Ends it, and waits until it has ended; whether it was still there."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ListenerStateError(
                f"the listener (PID {process.pid}) was asked to end and has not after {seconds:g} s",
                f"end it at once with: kill -9 {process.pid}",
            ) from None
        return True

    def _hold(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _tell(self, text: str) -> None:
        for line in text.splitlines():
            self._observer.say(f"the listener: {line.strip().removeprefix('vdbevents: ')}", problem=True)


def detached() -> dict[str, Any]:
    """What has a process started so that what is typed on the terminal does not reach it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _await_connection(
    child: "subprocess.Popen[str]",
    announce: Callable[[str], object],
    tell: Callable[[], object],
    given_up: Callable[[], bool],
) -> ExitCode:
    first_line: list[str] = []
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    reader = threading.Thread(target=lambda: first_line.append(child.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        while reader.is_alive():
            reader.join(_POLL_SECONDS)
            tell()
            if given_up():
                end(child)
    except KeyboardInterrupt:
        end(child)
        raise
    if first_line and first_line[0] and not given_up():
        announce(first_line[0])
        return ExitCode.DONE
    if given_up():
        # Ended by us, it may say that all is well.
        end(child)
        tell()
        return ExitCode.UNREACHABLE
    code = child.wait()
    tell()
    return ExitCode(code) if code in set(ExitCode) else ExitCode.BUG


def end(child: "subprocess.Popen[Any]") -> None:
    """Asks a process to end, sees that it does, and waits until it has."""
    child.terminate()
    try:
        child.wait(_FAREWELL_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def stop_listener(state: StateDirectory, timeout: float) -> str:
    """Asks the listener to end, waits until it has, and says what was done.

    Raises:
        ListenerStateError: none runs, or it did not end in time.
    """
    pid = listener_pid(state)
    if not listener_runs(state):
        raise ListenerStateError(
            f"no listener runs on {state.path}", f"start one with: vdbevents listen {state.path}"
        )
    if pid is None:
        raise ListenerStateError(
            f"a listener runs on {state.path}, but {state.ws_pid.name} does not tell its PID",
            "find it among the processes, and send it SIGTERM",
        )
    started = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while listener_runs(state):
        if time.monotonic() - started > timeout:
            raise ListenerStateError(
                f"the listener (PID {pid}) was asked to end and has not after {timeout:g} s",
                f"look at {state.listener_status}, or end it at once with: kill -9 {pid}",
            )
        time.sleep(_POLL_SECONDS)
    return f"stopped the listener (PID {pid}) after {time.monotonic() - started:.1f} s"
