"""The state directory: its location, and the names of its files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vdbevents.errors import InputError


class _File:
    """The path of a file in a state directory."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, directory: "StateDirectory", owner: object) -> Path:
        return directory.path / self._name


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The folder of one recording, and the paths of its files."""

    path: Path

    journal = _File("videodb_events.jsonl")
    """The events, one JSON object a line."""
    journal_lock = _File("videodb_events.lock")
    """Held during one append."""
    rewrite_lock = _File("videodb_rewrite.lock")
    """Held while journals are rewritten: pruned, forgotten, redacted."""
    torn = _File("videodb_events.torn")
    """Lines that a crash cut short, one on each line."""
    archive = _File("archive")
    """The folder of the journals that were set aside; `journal.archive` names them."""
    ws_id = _File("videodb_ws_id")
    """The id of the open connection, nothing else."""
    ws_ids = _File("videodb_ws_ids.json")
    """The ids of the last connections, oldest first, under `ws_ids`: they outlive the journal."""
    ws_pid = _File("videodb_ws_pid")
    """The listener's process id, nothing else."""
    listener_status = _File("videodb_listener.json")
    """The listener's status, a JSON object."""
    listener_lock = _File("videodb_listener.lock")
    """Held by the listener while it runs."""
    listener_log = _File("videodb_listener.log")
    """The messages of a listener in the background."""
    capture_pid = _File("videodb_capture_pid")
    """The capture's process id, nothing else."""
    capture_info = _File("videodb_capture_info.json")
    """The capture's session, streams and pipelines, a JSON object."""
    capture_info_lock = _File("videodb_capture_info.lock")
    """Held during one change of `capture_info`, which the capture and the listener write."""
    capture_lock = _File("videodb_capture.lock")
    """Held by the capture while it runs."""
    backend_lock = _File("videodb_backend.lock")
    """Held by the backend while it runs."""
    backend_credentials = _File("videodb_backend_credentials.json")
    """The secrets of the backend's callers, a JSON object."""

    def create(self) -> None:
        """Create the folder with mode 0700; an existing one keeps its mode.

        Raises:
            InputError: it cannot be created, or is not a writable folder.
        """
        hint = "choose another directory, or set VIDEODB_EVENTS_DIR"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(
                f"{self.path} is a file, not a directory", hint, error_id="state-directory-is-file"
            ) from None
        except OSError as error:
            raise InputError(
                f"cannot create the directory {self.path}: {error.strerror}",
                hint,
                error_id="state-directory-unusable",
            ) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InputError(
                f"the directory {self.path} is not writable", hint, error_id="state-directory-unusable"
            )


def locate_state(argument: Path | None, environ: Mapping[str, str], home: Path) -> StateDirectory:
    """Return the directory `argument`, else `VIDEODB_EVENTS_DIR`, else `$XDG_STATE_HOME/videodb`.

    If `XDG_STATE_HOME` is unset or relative (the XDG specification ignores that), the last one is
    `~/.local/state/videodb`.
    """
    if argument is not None:
        return StateDirectory(argument.expanduser().absolute())
    if configured := environ.get("VIDEODB_EVENTS_DIR"):
        return StateDirectory(Path(configured).expanduser().absolute())
    base = Path(environ.get("XDG_STATE_HOME") or "")
    return StateDirectory((base if base.is_absolute() else home / ".local" / "state") / "videodb")
