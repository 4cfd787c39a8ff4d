"""Read the journal for a capture's session: its status, its streams, its export."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vdbevents import cloud
from vdbevents.capture.capture_context import CaptureContext
from vdbevents.events import envelope, fields, lifecycle
from vdbevents.journal import reader

_FOLLOW_SECONDS: Final = 0.05


class CaptureEvents:
    """Follows the journal, and applies its events to the capture's state."""

    def __init__(
        self, context: CaptureContext, on_streams: Callable[[Sequence[lifecycle.Stream]], None]
    ) -> None:
        """Follow nothing yet.

        Args:
            context: whose state is updated.
            on_streams: called with streams that are added while the session is recorded.
        """
        self._context = context
        self._on_streams = on_streams
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._early: list[Mapping[str, Any]] = []

    def journal_end(self) -> reader.JournalPlace:
        """Return the journal's end, from which to follow it later."""
        return reader.end_of(self._context.directory.journal)

    def follow(self, start: reader.JournalPlace) -> None:
        """Follow the journal from a place on, in a thread."""
        threading.Thread(target=self._follow, args=(start,), daemon=True).start()

    def stop(self) -> None:
        """Follow the journal no longer."""
        self._stopped.set()

    def apply_status(self, status: str, streams: Sequence[lifecycle.Stream] = (), error: str = "") -> None:
        """Apply a status of the session, which an event or the API gave."""
        info = self._context.info
        added = info.life.take(status, streams, error)
        info.tally.expect(added)
        if added and info.phase == "recording":
            self._on_streams(added)
        self._context.waiting.notify()

    def apply_early(self) -> None:
        """Apply the events that came before the session's id was known."""
        early, self._early = self._early, []
        for event in early:
            self._apply(event)

    def _follow(self, start: reader.JournalPlace) -> None:
        def wait() -> bool:
            return not self._stopped.wait(_FOLLOW_SECONDS)

        journal = self._context.directory.journal
        try:
            for line in reader.follow(journal, from_end=False, wait=wait, start=start):
                event = envelope.parse_line(line)
                if event is not None:
                    self._loop.call_soon_threadsafe(self._apply, event)
        except OSError as error:
            # The API is polled for the same.
            self._context.say(f"cannot read the journal: {error.strerror or error}", problem=True)
        except RuntimeError:
            return  # the event loop is closed

    def _apply(self, event: Mapping[str, Any]) -> None:
        info = self._context.info
        if fields.is_own(event):
            self._apply_connection(event)
        life = lifecycle.lifecycle_of(event)
        if not info.session_id:
            if life is not None:
                self._early.append(event)
            return
        self.apply_early()
        info.tally.take(event, info.session_id)
        if event.get("event") == "listener.rebound" and isinstance(event.get("data"), Mapping):
            info.apply_rebinding(event["data"])
        if life is None or life.session_id != info.session_id:
            return
        if life.status == "exported":
            info.life.take_export(cloud.export_from(life.data))
        self.apply_status(life.status, life.streams, life.error)

    def _apply_connection(self, event: Mapping[str, Any]) -> None:
        """Show at once that the listener has lost its connection, and that it is back."""
        context, data = self._context, event.get("data")
        if event.get("event") == "listener.connected":
            context.note_recovery("the listener is connected again,")
        elif event.get("event") == "listener.disconnected" and isinstance(data, Mapping):
            reason = str(data.get("reason") or f"closed with code {data.get('code')}")
            message = f"the listener has lost its connection: {reason}; it reconnects"
            context.note_trouble(f"no connection: {reason}", message)
