"""The times that `vdbevents forget` deletes while a listener runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdbevents.events.forgotten import Forgotten
from vdbevents.journal import files


class ForgottenTimes:
    """The forgotten times of a directory, read again whenever they change."""

    def __init__(self, path: Path) -> None:
        """Take the state file, which need not exist."""
        self._path = path
        self._state: tuple[int, int] | None = None
        self._known = Forgotten()

    def covers(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event was said or shown in a time that was forgotten."""
        return self.now().covers(event)

    def now(self) -> Forgotten:
        """Return the forgotten times as they are now."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - once an event, at a third of the cost
        except OSError:
            if self._state is not None:
                self._state, self._known = None, Forgotten()
            return self._known
        state = status.st_ino, status.st_mtime_ns
        if state != self._state:
            self._state, self._known = state, Forgotten.from_object(files.read_object(self._path))
        return self._known
