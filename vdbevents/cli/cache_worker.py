"""Seal a listener's journal in a process of its own, so that DuckDB does not slow down the recorder."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vdbevents.cli.background import detached, end
from vdbevents.journal.history import older_journals
from vdbevents.query.cache import index, seal_policy

_LOOK_SECONDS: Final = 30.0
_AFTER_FAILURE_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.2
_FAREWELL_SECONDS: Final = 10.0


@contextlib.contextmanager
def kept_sealed(journal: Path) -> Iterator[None]:
    """Seal the journal's full segments, and seal and pack what was rotated, until the context ends.

    It runs in the background, and prints and raises nothing: an unsealed journal is only slower to search.
    """
    ended = threading.Event()
    sealer = _Sealer(journal, ended)
    thread = threading.Thread(target=sealer.run, name="sealer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_FAREWELL_SECONDS)


class _Sealer:
    def __init__(self, journal: Path, ended: threading.Event) -> None:
        self._journal = journal.absolute()
        self._ended = ended
        self._tidy: set[Path] = set()
        self._has_run = False

    def run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            try:
                pause = _LOOK_SECONDS if self._seal() else _AFTER_FAILURE_SECONDS
            except Exception:  # noqa: BLE001 - whatever fails, recording goes on
                pause = _AFTER_FAILURE_SECONDS

    def _seal(self) -> bool:
        """Seal and pack what is due; return False if that failed."""
        before = seal_policy.present_cache(self._journal)
        if before is None:
            return False
        is_full = index.unsealed(self._journal, before, index.PART) > 0
        untidy = self._untidy()
        if not is_full and not untidy and (self._has_run or not self._has_leftovers(before)):
            self._has_run = True
            return True
        self._has_run = True
        if self._build() != 0:
            return False
        # A process that succeeds but seals nothing would do so again.
        is_sealed = not is_full or seal_policy.present_cache(self._journal) != before
        return is_sealed and (not untidy or self._untidy() != untidy)

    def _untidy(self) -> set[Path]:
        """Return the journals that were set aside, and are not sealed to their ends and packed."""
        found = set()
        for one in older_journals(self._journal, cleared=True):
            if one.path in self._tidy:
                continue
            cache = seal_policy.present_cache(one.path)
            if one.is_packed and cache is not None and not index.rest_of(one.path, cache):
                self._tidy.add(one.path)
            else:
                found.add(one.path)
        return found

    def _has_leftovers(self, cache: index.Cache) -> bool:
        """Return whether there is a cache of what is not in the journal, or not there, any more."""
        is_stale = cache.manifest.exists() and not cache.segments
        return is_stale or any(index.orphans(seal_policy.default_root()))

    def _build(self) -> int:
        # -P: do not import from the working directory. A cwd there would also keep a disk mounted.
        command = [sys.executable, "-P", "-m", "vdbevents", "cache", "build", "--low-priority"]
        process = subprocess.Popen(
            [*command, str(self._journal)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._journal.anchor,
            **detached(),
        )
        while process.poll() is None:
            if self._ended.wait(_POLL_SECONDS):
                end(process)
        return process.returncode
