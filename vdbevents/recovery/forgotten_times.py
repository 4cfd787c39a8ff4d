"""The times that `vdbevents forget` deletes while a listener runs."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from vdbevents.events.forgotten import Forgotten
from vdbevents.journal import files

# `removal.remover` waits longer between writing the file and removing what is in the journal by then.
_LOOK_SECONDS: Final = 0.05


class ForgottenTimes:
    """The forgotten times of a directory, read again when they change."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the state file, which need not exist; `clock` returns seconds."""
        self._path = path
        self._clock = clock
        self._look_at = 0.0
        self._state: tuple[int, int] | None = None
        self._known = Forgotten()

    def covers(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event was said or shown in a time that was forgotten."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self.now()
        return bool(self._known.spans) and self._known.covers(event)

    def now(self) -> Forgotten:
        """Return the forgotten times as they are now."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - often, at a third of the cost
        except OSError:
            if self._state is not None:
                self._state, self._known = None, Forgotten()
            return self._known
        state = status.st_ino, status.st_mtime_ns
        if state != self._state:
            self._state, self._known = state, Forgotten.from_object(files.read_object(self._path))
        return self._known
