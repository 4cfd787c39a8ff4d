"""Keep the listener's small files: the connection's id and the status."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from vdbevents.journal import files
from vdbevents.journal.state import StateDirectory


class StateFiles:
    """For one thread at a time: the one that writes the journal, until it has ended."""

    def __init__(self, directory: StateDirectory, report: Callable[[str], object]) -> None:
        """Write nothing yet; call `report` when a file cannot be written, once for each reason."""
        self._directory = directory
        self._report = report
        self._unwritten_id: bytes | None = None
        self._trouble: str | None = None

    def announce(self, ws_id: str) -> None:
        """Write the connection's id."""
        self._unwritten_id = ws_id.encode()
        self.retry_id()

    def withdraw(self) -> None:
        """Remove the connection's id."""
        self._unwritten_id = None
        files.remove_file(self._directory.ws_id)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replace the status."""
        content = json.dumps(status, ensure_ascii=False, indent=1).encode()
        self._write(self._directory.listener_status.name, content)

    def retry_id(self) -> None:
        """Write the connection's id if the disk has refused it so far."""
        if self._unwritten_id is not None and self._write(self._directory.ws_id.name, self._unwritten_id):
            self._unwritten_id = None

    def _write(self, name: str, content: bytes) -> bool:
        try:
            files.replace_file(self._directory.path / name, content)
        except OSError as error:
            trouble = f"cannot write {name}: {error.strerror or error}"
            if trouble != self._trouble:
                self._trouble = trouble
                self._report(trouble)
            return False
        self._trouble = None
        return True
