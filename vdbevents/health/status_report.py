"""Read the status of a state directory, or of a journal that was copied elsewhere."""

from datetime import tzinfo
from pathlib import Path
from typing import Any

from vdbevents.errors import InputError
from vdbevents.health.observation import Observation, observe, observe_copy
from vdbevents.health.recording_status import RecordingStatus, to_dict
from vdbevents.journal.files import wall_ms
from vdbevents.journal.state import StateDirectory


def report_on(directory: StateDirectory, zone: tzinfo, *, short: bool = False) -> dict[str, Any]:
    """Return the status of a directory as `status --json` prints it.

    Args:
        directory: a state directory; also the file of its journal, or of a copied one.
        zone: by whose clock hours are excluded.
        short: whether to leave out the history.

    Raises:
        InputError: a lock cannot be opened.
    """
    path, journal = directory.path, directory.journal
    if path.is_file() and path.name != journal.name:
        observed, path, journal = _observed_copy(path), path.parent, path
    else:
        # A state directory may be named by the file of its journal.
        directory = StateDirectory(path.parent) if path.is_file() else directory
        path, journal = directory.path, directory.journal
        observed = observe(directory, with_history=not short)
    return to_dict(RecordingStatus(observed, wall_ms(), zone), str(path), str(journal))


def _observed_copy(journal: Path) -> Observation:
    """Read a journal that is in no state directory.

    Raises:
        InputError: it is packed.
    """
    from vdbevents.query import decompress

    if decompress.is_packed(journal):
        raise InputError(
            f"{journal}: a packed journal has no status",
            f"see what is in it: vdbevents sessions {journal}",
            error_id="journal-packed",
        )
    return observe_copy(journal)
