"""Seal a listener's journal in a process of its own, so that DuckDB does not slow down the recorder."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vdbevents.cli.periodic import repeated, run_low_priority
from vdbevents.journal.history import older_journals
from vdbevents.query.cache import index, seal_policy

_LOOK_SECONDS: Final = 30.0
_AFTER_FAILURE_SECONDS: Final = 600.0


@contextlib.contextmanager
def kept_sealed(journal: Path) -> Iterator[None]:
    """Seal the journal's full segments, and seal and pack what was rotated, until the context ends.

    It runs in the background, and prints and raises nothing: an unsealed journal is only slower to search.
    """
    with repeated("sealer", _Sealer(journal).step):
        yield


class _Sealer:
    def __init__(self, journal: Path) -> None:
        self._journal = journal.absolute()
        self._tidy: set[Path] = set()
        self._has_run = False

    def step(self, ended: threading.Event) -> float:
        """Seal and pack what is due; return the seconds until the next look."""
        try:
            return _LOOK_SECONDS if self._seal(ended) else _AFTER_FAILURE_SECONDS
        except Exception:  # noqa: BLE001 - whatever fails, recording goes on
            return _AFTER_FAILURE_SECONDS

    def _seal(self, ended: threading.Event) -> bool:
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
        if run_low_priority(["cache", "build"], self._journal, ended).returncode != 0:
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
