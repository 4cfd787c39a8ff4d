"""Seal large journals beside the server, so that later calls need not read all of them.

Commands seal before a long search, which may take half a minute; a client would give up by then.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.cache.index import rest_of
from vdbevents.query.cache.seal_policy import present_cache
from vdbevents.query.hostnames import HostJournal

_MUCH_UNSEALED: Final = 64 << 20


class BackgroundSealing(Closeable):
    """The processes that seal, one for each journal that needs it; they end with the server."""

    def __init__(self, journals: Sequence[HostJournal]) -> None:
        """Start them; a journal that cannot be sealed is searched as it is."""
        self._processes = [
            _started(journal.path) for journal in journals if not journal.is_scratch and _is_due(journal.path)
        ]

    def close(self) -> None:
        """End those that are not done: what is sealed by then counts."""
        for process in self._processes:
            process.terminate()
            process.wait()


def _is_due(journal: Path) -> bool:
    cache = present_cache(journal)
    return cache is not None and rest_of(journal, cache) > _MUCH_UNSEALED


def _started(journal: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "vdbevents", "cache", "build", "--low-priority", f"--file={journal}"]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
