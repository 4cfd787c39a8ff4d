"""How far a session is, as events and answers tell it, which overtake each other."""

from collections.abc import Iterable
from typing import Final

from vdbevents.cloud import Export
from vdbevents.events import lifecycle

_STEPS: Final = ("created", "starting", "active", "stopping", "stopped", "exported")
_OVER: Final = frozenset({"stopping", "stopped", "exported", "failed"})
ENDED: Final = frozenset({"stopped", "exported", "failed"})
"""The statuses of a session that runs no more."""


class Lifecycle:
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
