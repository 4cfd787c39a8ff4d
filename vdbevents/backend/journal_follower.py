"""The events of the journal that concern the backend: those since the last start, and new ones."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from vdbevents.backend.served_session import SERVING_EVENT
from vdbevents.events import envelope, fields
from vdbevents.journal import reader
from vdbevents.sessions.interfaces import Reporter

_NEEDLES: Final = (b"capture_session", b'"backend.', b'"listener.rebound"')
_FOLLOW_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 2.0


class JournalFollower:
    """Read a journal in a thread, and pass its events to a callback on the loop."""

    def __init__(self, path: Path, say: Reporter, stopped: threading.Event) -> None:
        """Read nothing yet; `stopped` ends the thread."""
        self._path = path
        self._say = say
        self._stopped = stopped
        self._end = reader.JournalPlace(0, b"")

    def read_past(self) -> list[dict[str, Any]]:
        """Return the events since a backend last started, in the journal's order; `follow` continues there.

        Raises:
            OSError: the journal cannot be read.
        """
        self._end = reader.end_of(self._path, whole_lines=True)
        events = []
        for line in reader.backward(self._path, _NEEDLES):
            event = envelope.parse_line(line)
            if event is None:
                continue
            events.append(event)
            if fields.is_own(event) and event.get("event") == SERVING_EVENT:
                break
        return events[::-1]

    def follow(self, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        """Start the thread. An event can be passed twice: after an error it reads again from the start."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(loop, on_event), name="journal", daemon=True).start()

    def _run(self, loop: asyncio.AbstractEventLoop, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        def wait() -> bool:
            return not self._stopped.wait(_FOLLOW_SECONDS)

        reported = ""
        while not self._stopped.is_set():
            try:
                for line in reader.follow(self._path, from_end=False, wait=wait, start=self._end):
                    is_ours = any(needle in line for needle in _NEEDLES)
                    event = envelope.parse_line(line) if is_ours else None
                    if event is not None:
                        loop.call_soon_threadsafe(on_event, event)
            except OSError as error:
                if str(error) != reported:
                    self._say(f"cannot read {self._path}: {error.strerror or error}", problem=True)
                reported = str(error)
                self._stopped.wait(_RETRY_SECONDS)
            except RuntimeError:
                return  # the loop has ended
