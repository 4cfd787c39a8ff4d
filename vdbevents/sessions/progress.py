"""How far a session is, as events and answers tell it, which overtake each other."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from vdbevents.cloud import Export
from vdbevents.events import fields, lifecycle

_STEPS: Final = ("created", "starting", "active", "stopping", "stopped", "exported")
_OVER: Final = frozenset({"stopping", "stopped", "exported", "failed"})
ENDED: Final = frozenset({"stopped", "exported", "failed"})
"""The statuses of a session that runs no more."""


class SessionProgress:
    """One session's state.

    Attributes:
        status: the service's word for it; empty before there is a session.
        error: of a failed one, the server's reason.
        streams: all that were ever listed, in the order of their coming.
        export: how far its video is.
        export_error: why there is none.
    """

    def __init__(self) -> None:
        self.status = ""
        self.error = ""
        self.streams: tuple[lifecycle.Stream, ...] = ()
        self.export = Export("")
        self.export_error = ""

    @property
    def is_over(self) -> bool:
        """Whether its end has begun."""
        return self.status in _OVER

    @property
    def is_ended(self) -> bool:
        """Whether it runs no more."""
        return self.status in ENDED

    @property
    def is_export_decided(self) -> bool:
        """Whether there is a video, or it is known that there will be none."""
        return self.export.status in ("exported", "failed")

    def take(
        self, status: str, streams: Iterable[lifecycle.Stream] = (), error: str = ""
    ) -> tuple[lifecycle.Stream, ...]:
        """Takes note of a status, which only goes forward, and of streams; answers with the new ones."""
        if status == "failed":
            self.status, self.error = status, error or self.error
        elif status in _STEPS and self.status != "failed":
            known = _STEPS.index(self.status) if self.status in _STEPS else -1
            self.status = _STEPS[max(known, _STEPS.index(status))]
        known_ids = {stream.id for stream in self.streams}
        new = tuple(stream for stream in streams if stream.id not in known_ids)
        self.streams += new
        return new

    def take_export(self, export: Export, error: str = "") -> None:
        """Takes note of how far the video is; one that is there stays."""
        if self.export.status != "exported":
            self.export, self.export_error = export, error


class SessionTally:
    """What a session has brought so far: events a channel, and the last that was heard and seen."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.heard = ""
        self.seen = ""
        self._streams: set[str] = set()

    def expect(self, streams: Iterable[lifecycle.Stream]) -> None:
        """From now on events of these streams belong to the session."""
        self._streams.update(stream.id for stream in streams)

    def take(self, event: Mapping[str, Any], session_id: str) -> None:
        """Counts an event of the journal, if it is one of the session's."""
        channel = fields.channel_of(event)
        stream_id = fields.stream_id_of(event)
        # The documented alert over the WebSocket names no stream.
        nameless_alert = channel == "alert" and not stream_id and bool(self._streams)
        if stream_id not in self._streams and not nameless_alert:
            life = lifecycle.lifecycle_of(event)
            if life is None or not session_id or life.session_id != session_id:
                return
        self.counts[channel] = self.counts.get(channel, 0) + 1
        text = fields.text_of(event)
        if channel == "transcript" and text:
            self.heard = text
        elif channel == "visual_index" and text:
            self.seen = text
