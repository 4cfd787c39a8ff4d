"""Prune a listener's journals once a day, in a process of its own, so that the recorder is not held up."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from vdbevents.cli.background import detached, end
from vdbevents.cli.diagnostics import ExitCode

_DAY_SECONDS: Final = 86_400.0
_AFTER_FAILURE_SECONDS: Final = 3_600.0
_POLL_SECONDS: Final = 0.2
_FAREWELL_SECONDS: Final = 10.0


class _Say(Protocol):
    def __call__(self, text: str, *, problem: bool = False, hint: str = "") -> None: ...


@contextlib.contextmanager
def kept_pruned(directory: Path, retention: Mapping[str, Any], say: _Say) -> Iterator[None]:
    """Prune now and then once a day, in the background, until the context ends.

    Args:
        directory: the state directory.
        retention: the section `[retention]` of the configuration; an empty one prunes nothing.
        say: shows what was removed, and why nothing could be.
    """
    if not any(retention.values()):
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(
        target=_keep_pruned, args=(directory, say, ended), name="retention", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_FAREWELL_SECONDS)


def _keep_pruned(directory: Path, say: _Say, ended: threading.Event) -> None:
    pause, complaint = 0.0, ""
    while not ended.wait(pause):
        problem = ""
        try:
            problem = _prune(directory, say, ended)
        except Exception as error:  # noqa: BLE001 - whatever fails, recording goes on
            problem = f"{type(error).__name__}: {error}"
        if problem and problem != complaint and not ended.is_set():
            say(f"could not remove what [retention] does not keep: {problem}", problem=True)
        complaint = problem
        pause = _AFTER_FAILURE_SECONDS if problem else _DAY_SECONDS


def _prune(directory: Path, say: _Say, ended: threading.Event) -> str:
    """Remove what is too old; return why that was not possible, or an empty text."""
    # -P: do not import from the working directory. A cwd there would also keep a disk from being unmounted.
    command = [sys.executable, "-P", "-m", "vdbevents", "prune", "--yes", "--low-priority"]
    path = directory.absolute()
    process = subprocess.Popen(
        [*command, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=path.anchor,
        text=True,
        encoding="utf-8",
        **detached(),
    )
    watch = threading.Thread(target=_end_with, args=(process, ended), daemon=True)
    watch.start()
    out, err = process.communicate()
    if process.returncode == ExitCode.DONE and (lines := out.splitlines()):
        say(f"by [retention]: {lines[-1]}")
    if process.returncode in (ExitCode.DONE, ExitCode.NO_MATCH):
        return ""
    first = next(iter(err.splitlines()), f"exit code {process.returncode}")
    return first.removeprefix("vdbevents: ")


def _end_with(process: "subprocess.Popen[str]", ended: threading.Event) -> None:
    while process.poll() is None:
        if ended.wait(_POLL_SECONDS):
            # As by Ctrl-C: each file is as it was, or done.
            end(process)
