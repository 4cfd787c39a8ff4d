"""The process beside a listener that seals its journal: DuckDB's memory and time are not the recorder's."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vdbevents.cli.background import detached, end
from vdbevents.query.cache import index

_LOOK_SECONDS: Final = 30.0
_AFTER_FAILURE_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.2
_FAREWELL_SECONDS: Final = 10.0


@contextlib.contextmanager
def kept_sealed(journal: Path) -> Iterator[None]:
    """Have the journal's full pieces sealed as they come, in the background, until the context ends.

    It says nothing and raises nothing: a journal that is not sealed is as good, and slower to search.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_keep_sealed, args=(journal, ended), name="sealer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_FAREWELL_SECONDS)


def _keep_sealed(journal: Path, ended: threading.Event) -> None:
    pause = 0.0
    while not ended.wait(pause):
        try:
            pause = _LOOK_SECONDS if _seal(journal, ended) else _AFTER_FAILURE_SECONDS
        except Exception:  # noqa: BLE001 - whatever it is, recording goes on
            pause = _AFTER_FAILURE_SECONDS


def _seal(journal: Path, ended: threading.Event) -> bool:
    """Seals what is full; answers with whether that did not fail."""
    before = _cache(journal)
    if not index.unsealed(journal, before, index.PART):
        return True
    # -P: the working directory is no place to import from. It would also keep a disk from being unmounted.
    command = [sys.executable, "-P", "-m", "vdbevents", "cache", "build", "--low-priority"]
    path = journal.absolute()
    process = subprocess.Popen(
        [*command, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=path.anchor,
        **detached(),
    )
    while process.poll() is None:
        if ended.wait(_POLL_SECONDS):
            end(process)
    # A process that is content, and yet sealed nothing, would be so again.
    return process.returncode == 0 and _cache(journal) != before


def _cache(journal: Path) -> index.Cache:
    return index.load(journal, index.cache_root(os.environ, Path.home()))
