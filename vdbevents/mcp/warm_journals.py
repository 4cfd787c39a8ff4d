"""The journals that the tools read: found once, and read again by each call."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import tzinfo
from typing import Any

from vdbevents.health.status_report import report_on
from vdbevents.journal.state import StateDirectory
from vdbevents.query.byte_ranges import Closeable
from vdbevents.query.merge import HostJournal

OpenJournals = Callable[[], AbstractContextManager[Sequence[HostJournal]]]
"""Finds the journals, unpacks those that are packed, and removes what was unpacked at the end."""

OpenStates = Callable[[], Sequence[StateDirectory]]
"""Finds the directories to report on; a copied journal is named by its file."""


class WarmJournals(Closeable):
    """Journals, opened at the first call that finds them; a context manager.

    Attributes:
        zone: of times that are given without one, and of times in texts.
    """

    def __init__(self, open_journals: OpenJournals, states: OpenStates, zone: tzinfo) -> None:
        """Open nothing yet.

        Args:
            open_journals: finds them.
            states: finds the directories to report on.
            zone: the local one.
        """
        self.zone = zone
        self._open_journals = open_journals
        self._states = states
        self._lock = threading.Lock()
        self._resources = contextlib.ExitStack()
        self._journals: Sequence[HostJournal] | None = None

    def all(self) -> Sequence[HostJournal]:
        """Return the journals.

        Raises:
            InputError: there is none yet, or one cannot be read.
        """
        with self._lock:
            if self._journals is None:
                self._journals = self._resources.enter_context(self._open_journals())
            return self._journals

    def statuses(self) -> Iterator[dict[str, Any]]:
        """Yield the status of each directory, as `health.status_report` has it.

        Raises:
            InputError: a journal is packed, or a lock cannot be opened.
        """
        for state in self._states():
            yield report_on(state, self.zone)

    def close(self) -> None:
        """Remove what was unpacked. A second call does nothing."""
        self._resources.close()
