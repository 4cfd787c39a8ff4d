"""The state directory: its location, and the names of its files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vdbevents.errors import InputError
from vdbevents.journal.files import make_private


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
    forgotten = _File("videodb_forgotten.json")
    """The times that were forgotten, which no recovery may fetch again: a JSON object, without any text."""
    pruned = _File("videodb_pruned.json")
    """When the rules of `[retention]` were last applied, and which they were: a JSON object."""
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
    service_log = _File("videodb_service.log")
    """The messages of services, where the service manager keeps none."""
    capture_pid = _File("videodb_capture_pid")
    """The capture's process id, nothing else."""
    capture_info = _File("videodb_capture_info.json")
    """The capture's session, streams and pipelines, a JSON object."""
    capture_info_lock = _File("videodb_capture_info.lock")
    """Held during one change of `capture_info`, which the capture and the listener write."""
    capture_lock = _File("videodb_capture.lock")
    """Held by the capture while it runs."""
    pauses = _File("videodb_pauses.json")
    """The pauses of the recording, a JSON object."""
    pauses_lock = _File("videodb_pauses.lock")
    """Held during one change of `pauses`, which the commands and the listener write."""
    lake = _File("videodb_lake.json")
    """The names under which the recording is shipped to lakes, a JSON object."""
    backend_lock = _File("videodb_backend.lock")
    """Held by the backend while it runs."""
    backend_status = _File("videodb_backend.json")
    """The backend's address while it serves, a JSON object; left behind by one that was killed."""
    backend_credentials = _File("videodb_backend_credentials.json")
    """The secrets of the backend's callers, a JSON object."""

    @property
    def is_foreign(self) -> bool:
        """Whether it has files, and none of a recording: nobody is advised to record into `/etc`."""
        try:
            names = [one.name for one in self.path.iterdir() if not one.name.startswith(".")]
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return bool(names) and not any(name.startswith("videodb_") for name in names)

    def create(self) -> None:
        """Create the folder with mode 0700; an existing one keeps its mode.

        Raises:
            InputError: it cannot be created, or is not a writable folder.
        """
        hint = "choose another directory, or set VIDEODB_EVENTS_DIR"
        try:
            make_private(self.path)
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


def locate_state(argument: Path | None, environ: Mapping[str, str], home: Path | None) -> StateDirectory:
    """Return the directory `argument`, else `VIDEODB_EVENTS_DIR`, else `$XDG_STATE_HOME/videodb`.

    If `XDG_STATE_HOME` is unset or relative (the XDG specification ignores that), the last one is
    `~/.local/state/videodb`.

    Raises:
        InputError: the directory is in the home directory, and `home` is None.
    """
    configured = environ.get("VIDEODB_EVENTS_DIR")
    named = argument if argument is not None or not configured else Path(configured)
    if named is not None:
        try:
            return StateDirectory(named.expanduser().absolute())
        except RuntimeError:
            raise _no_home() from None
    base = Path(environ.get("XDG_STATE_HOME") or "")
    if not base.is_absolute():
        if home is None:
            raise _no_home()
        base = home / ".local" / "state"
    return StateDirectory(base / "videodb")


def home_directory() -> Path | None:
    """Return this user's home directory; None for a user without one, as in many containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _no_home() -> InputError:
    return InputError(
        "this user has no home directory: HOME is not set",
        "name a directory, or set VIDEODB_EVENTS_DIR",
        error_id="home-missing",
    )
