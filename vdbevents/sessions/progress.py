"""The progress of a session, from events and answers, which overtake each other. Pure."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from vdbevents.events import fields, lifecycle

if TYPE_CHECKING:
    from vdbevents.cloud import Export

STEPS: Final = ("created", "starting", "active", "stopping", "stopped", "exported")
"""The statuses of a session in their order; `failed` may follow any."""
_OVER: Final = frozenset({"stopping", "stopped", "exported", "failed"})
ENDED: Final = frozenset({"stopped", "exported", "failed"})
"""The statuses of a session that has ended."""


class SessionProgress:
    """The state of a session. Events and API answers overtake each other; it only goes forward.

    Attributes:
        status: the service's word for it; empty before there is a session.
        error: of a failed session, the service's reason.
        streams: all that were ever listed, oldest first.
        export: the export of its video.
        export_error: why there is none.
    """

    def __init__(self) -> None:
        # Only who follows a session needs the cloud's client, which is slow to import.
        from vdbevents.cloud import Export

        self.status = ""
        self.error = ""
        self.streams: tuple[lifecycle.Stream, ...] = ()
        self.export = Export("")
        self.export_error = ""

    @property
    def is_over(self) -> bool:
        """Whether it is ending, or has ended."""
        return self.status in _OVER

    @property
    def is_ended(self) -> bool:
        """Whether it has ended."""
        return self.status in ENDED

    @property
    def is_export_decided(self) -> bool:
        """Whether the video is exported, or its export has failed."""
        return self.export.status in ("exported", "failed")

    def take(
        self, status: str, streams: Iterable[lifecycle.Stream] = (), error: str = ""
    ) -> tuple[lifecycle.Stream, ...]:
        """Update the status and the streams; return the new streams."""
        if status == "failed":
            self.status, self.error = status, error or self.error
        elif status in STEPS and self.status != "failed":
            known = STEPS.index(self.status) if self.status in STEPS else -1
            self.status = STEPS[max(known, STEPS.index(status))]
        known_ids = {stream.id for stream in self.streams}
        new = tuple(stream for stream in streams if stream.id not in known_ids)
        self.streams += new
        return new

    def take_export(self, export: "Export", error: str = "") -> None:
        """Update the export status; never overwrite a finished export."""
        if self.export.status != "exported":
            self.export, self.export_error = export, error


class SessionTally:
    """Count the events of a session by channel; keep the last transcript and description."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.heard = ""
        self.seen = ""
        self._streams: set[str] = set()

    def expect(self, streams: Iterable[lifecycle.Stream]) -> None:
        """Count events of these streams from now on."""
        self._streams.update(stream.id for stream in streams)

    def take(self, event: Mapping[str, Any], session_id: str) -> None:
        """Count a journaled event if it belongs to the session."""
        channel, stream_id = fields.channel_of(event), fields.stream_id_of(event)
        # The documented alert over the WebSocket names no stream.
        is_nameless_alert = channel == "alert" and not stream_id and bool(self._streams)
        if stream_id not in self._streams and not is_nameless_alert:
            step = lifecycle.lifecycle_of(event)
            if step is None or not session_id or step.session_id != session_id:
                return
        self.counts[channel] = self.counts.get(channel, 0) + 1
        text = fields.text_of(event)
        if channel == "transcript" and text:
            self.heard = text
        elif channel == "visual_index" and text:
            self.seen = text
