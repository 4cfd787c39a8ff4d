"""Ask the listener of a directory to pause or to resume, and wait until it does."""

import time
from collections.abc import Callable
from typing import Final

from vdbevents.errors import ListenerStateError
from vdbevents.journal import files, locks
from vdbevents.journal.files import unusable
from vdbevents.journal.state import StateDirectory
from vdbevents.listener.pause_watch import PauseWatch, change_pauses
from vdbevents.privacy.pauses import Pauses

_POLL_SECONDS: Final = 0.02


def ask_for(state: StateDirectory, how: Callable[[Pauses], Pauses]) -> None:
    """Change the pauses of a directory.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        change_pauses(state, how)
    except OSError as error:
        raise unusable(state.pauses, error) from error


def await_listener(state: StateDirectory, seconds: float) -> bool:
    """Wait until the listener follows what is now asked of it; return False if none runs.

    Raises:
        ListenerStateError: it does not in time.
    """
    deadline = time.monotonic() + seconds
    watch = PauseWatch(state)
    while locks.listener_runs(state):
        # Another pause or resume may have come after this one.
        wanted = watch.current().status(files.wall_ms())
        status = files.read_object(state.listener_status)
        pid = locks.listener_pid(state)
        if status.get("pid") == pid and all(status.get(name) == wanted[name] for name in wanted):
            return True
        if time.monotonic() > deadline:
            raise ListenerStateError(
                f"the listener (PID {pid}) has not confirmed it within {seconds:g} s, and may go on",
                f"see vdbevents status {state.path}, or end it with: vdbevents stop {state.path}",
                error_id="pause-unconfirmed",
            )
        time.sleep(_POLL_SECONDS)
    return False
