"""Prune a listener's journals once a day, in a process of its own, so that the recorder is not held up."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from vdbevents.cli.diagnostics import ExitCode
from vdbevents.cli.periodic import repeated, run_low_priority

_DAY_SECONDS: Final = 86_400.0
_AFTER_FAILURE_SECONDS: Final = 3_600.0


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
    with repeated("retention", _Pruner(directory.absolute(), say).step):
        yield


class _Pruner:
    def __init__(self, directory: Path, say: _Say) -> None:
        self._directory = directory
        self._say = say
        self._complaint = ""

    def step(self, ended: threading.Event) -> float:
        """Remove what is too old; return the seconds until the next time."""
        try:
            problem = self._prune(ended)
        except Exception as error:  # noqa: BLE001 - whatever fails, recording goes on
            problem = f"{type(error).__name__}: {error}"
        if problem and problem != self._complaint and not ended.is_set():
            self._say(f"could not remove what [retention] does not keep: {problem}", problem=True)
        self._complaint = problem
        return _AFTER_FAILURE_SECONDS if problem else _DAY_SECONDS

    def _prune(self, ended: threading.Event) -> str:
        """Remove what is too old; return why that was not possible, or an empty text."""
        done = run_low_priority(["prune", "--yes"], self._directory, ended)
        if done.returncode == ExitCode.DONE and (lines := done.stdout.splitlines()):
            self._say(f"by [retention]: {lines[-1]}")
        if done.returncode in (ExitCode.DONE, ExitCode.NO_MATCH):
            return ""
        first = next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
        return first.removeprefix("vdbevents: ")
