"""Keep the listener's small files: the connection's id, those of earlier ones, and the status."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from vdbevents.journal import files
from vdbevents.journal.state import StateDirectory

_MOST_IDS = 1000
# The status has room for the words of a failing disk, within the block that it has anyway.
_BLOCK = 4096
_ROOM_TO_GROW = 1024


class StateFiles:
    """For one thread at a time: the one that writes the journal, until it has ended."""

    def __init__(self, directory: StateDirectory, report: Callable[[str], object]) -> None:
        """Write nothing yet; call `report` when a file cannot be written, once for each reason."""
        self._directory = directory
        self._report = report
        self._unwritten: dict[str, bytes] = {}
        self._troubles: dict[str, str] = {}

    def announce(self, ws_id: str) -> None:
        """Write the connection's id, and add it to those that were."""
        ws_ids = [*earlier_ids(self._directory), ws_id][-_MOST_IDS:]
        self._unwritten = {
            self._directory.ws_ids.name: files.to_json({"ws_ids": ws_ids}),
            self._directory.ws_id.name: ws_id.encode(),
        }
        self.retry_ids()

    def withdraw(self) -> None:
        """Remove the connection's id."""
        self._unwritten.pop(self._directory.ws_id.name, None)
        files.remove_file(self._directory.ws_id)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replace the status; on a full disk overwrite it, which takes no room: who asks must be told."""
        content = files.to_json(status)
        size = -(-(len(content) + _ROOM_TO_GROW) // _BLOCK) * _BLOCK
        error = self._attempt(self._directory.listener_status.name, content.ljust(size))
        if error is not None and files.is_disk_full(error):
            with contextlib.suppress(OSError):
                files.overwrite_file(self._directory.listener_status, content)

    def retry_ids(self) -> None:
        """Write the ids that the disk has refused so far."""
        self._unwritten = {
            name: content
            for name, content in self._unwritten.items()
            if self._attempt(name, content) is not None
        }

    def _attempt(self, name: str, content: bytes) -> OSError | None:
        """Replace a file; return why that failed, and report it once."""
        try:
            files.replace_file(self._directory.path / name, content)
        except OSError as error:
            trouble = f"cannot write {name}: {error.strerror or error}"
            if trouble != self._troubles.get(name):
                self._troubles[name] = trouble
                self._report(trouble)
            return error
        self._troubles.pop(name, None)
        return None


def earlier_ids(directory: StateDirectory) -> list[str]:
    """Return the ids of the last connections of a directory's listeners, oldest first."""
    ws_ids = files.read_object(directory.ws_ids).get("ws_ids")
    return [ws_id for ws_id in ws_ids if isinstance(ws_id, str)] if isinstance(ws_ids, list) else []
