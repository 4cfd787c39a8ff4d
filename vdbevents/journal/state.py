"""The state directory: its location, and the names of its files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vdbevents.errors import InputError


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The folder of one recording, and the names of the files in it."""

    path: Path

    @property
    def journal(self) -> Path:
        """The events, one JSON object a line."""
        return self.path / "videodb_events.jsonl"

    @property
    def journal_lock(self) -> Path:
        """Held during one append."""
        return self.path / "videodb_events.lock"

    @property
    def torn(self) -> Path:
        """Lines that a crash cut short, one on each line."""
        return self.path / "videodb_events.torn"

    @property
    def ws_id(self) -> Path:
        """The id of the open connection, nothing else."""
        return self.path / "videodb_ws_id"

    @property
    def ws_pid(self) -> Path:
        """The listener's process id, nothing else."""
        return self.path / "videodb_ws_pid"

    @property
    def listener_status(self) -> Path:
        """The listener's status, a JSON object."""
        return self.path / "videodb_listener.json"

    @property
    def listener_lock(self) -> Path:
        """Held by the listener while it runs."""
        return self.path / "videodb_listener.lock"

    @property
    def listener_log(self) -> Path:
        """The messages of a listener in the background."""
        return self.path / "videodb_listener.log"

    @property
    def capture_pid(self) -> Path:
        """The capture's process id, nothing else."""
        return self.path / "videodb_capture_pid"

    @property
    def capture_info(self) -> Path:
        """The capture's session, streams and pipelines, a JSON object."""
        return self.path / "videodb_capture_info.json"

    @property
    def capture_info_lock(self) -> Path:
        """Held during one change of `capture_info`, which the capture and the listener write."""
        return self.path / "videodb_capture_info.lock"

    @property
    def capture_lock(self) -> Path:
        """Held by the capture while it runs."""
        return self.path / "videodb_capture.lock"

    @property
    def backend_lock(self) -> Path:
        """Held by the backend while it runs."""
        return self.path / "videodb_backend.lock"

    @property
    def backend_credentials(self) -> Path:
        """The secrets of the backend's callers, a JSON object."""
        return self.path / "videodb_backend_credentials.json"

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
