"""Keep a program running where the service manager does not tell failures apart: on macOS and Windows."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from vdbevents.cloud.backoff import Backoff
from vdbevents.service.service_plan import FINAL_EXIT_CODES, RESTART_SECONDS, STOP_SECONDS

_LONGEST_PAUSE_SECONDS: Final = 300.0
# After so long a run the next failure is a new one.
_STABLE_SECONDS: Final = 60.0
_LARGEST_LOG: Final = 4 << 20
_POLL_SECONDS: Final = 0.2


class SupervisedRun:
    """Run a program, and again when it fails, until it ends by itself or a signal ends it.

    It is not restarted after exit code 0, wrong usage or a refused key.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        *,
        first_pause: float = RESTART_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        Args:
            command: the program and its arguments.
            environ: of the program.
            log: gets what it writes to stderr; the last 4 MiB are kept, and the 4 MiB before.
            first_pause: seconds before the first restart; each further one waits twice as long, up to 5 min.
            clock: monotonic seconds.
        """
        self._command = list(command)
        self._environ = dict(environ)
        self._log = log
        self._backoff = Backoff(first_pause, _LONGEST_PAUSE_SECONDS)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ending = False

    def run(self) -> None:
        """Return when there is nothing more to restart."""
        with _signals(self._end):
            while not self._is_ending:
                started = self._clock()
                code = self._run_once()
                if self._is_ending or code == 0 or code in FINAL_EXIT_CODES:
                    break
                if self._clock() - started >= _STABLE_SECONDS:
                    self._backoff.reset()
                pause = self._backoff.next()
                self._note(f"ended with {code}, starting again in {pause:.0f} s")
                # Not an event: a signal's handler could meet its lock taken.
                until = self._clock() + pause
                while not self._is_ending and (left := until - self._clock()) > 0:
                    time.sleep(min(left, _POLL_SECONDS))

    def _run_once(self) -> int:
        with self._opened_log() as log:
            self._process = process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self._environ,
                **_without_window(),
            )
        if self._is_ending:
            process.terminate()
        return process.wait()

    def _end(self) -> None:
        self._is_ending = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            last = threading.Timer(STOP_SECONDS, self._process.kill)
            last.daemon = True
            last.start()

    def _opened_log(self) -> IO[bytes]:
        with contextlib.suppress(OSError):
            if self._log.stat().st_size > _LARGEST_LOG:
                self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.fdopen(os.open(self._log, flags, 0o600), "ab", buffering=0)

    def _note(self, text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with contextlib.suppress(OSError), self._opened_log() as log:
            log.write(f"{now} vdbevents {text}\n".encode())


def _without_window() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {}


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for SIGTERM and SIGINT, in the main thread."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
