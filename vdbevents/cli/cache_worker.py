"""Seal a listener's journal in a process of its own, so that DuckDB does not slow down the recorder."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vdbevents.cli.background import detached, end
from vdbevents.query.cache import index, seal_policy

_LOOK_SECONDS: Final = 30.0
_AFTER_FAILURE_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.2
_FAREWELL_SECONDS: Final = 10.0


@contextlib.contextmanager
def kept_sealed(journal: Path) -> Iterator[None]:
    """Seal the journal's full segments in the background, until the context ends.

    It prints and raises nothing: an unsealed journal is only slower to search.
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
        except Exception:  # noqa: BLE001 - whatever fails, recording goes on
            pause = _AFTER_FAILURE_SECONDS


def _seal(journal: Path, ended: threading.Event) -> bool:
    """Seal what is full; return False if that failed."""
    before = seal_policy.present_cache(journal)
    if before is None:
        return False
    if not index.unsealed(journal, before, index.PART):
        return True
    # -P: do not import from the working directory. A cwd there would also keep a disk from being unmounted.
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
    # A process that succeeds but seals nothing would do so again.
    return process.returncode == 0 and seal_policy.present_cache(journal) != before
