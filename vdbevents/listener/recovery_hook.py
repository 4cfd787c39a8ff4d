"""What a listener, and who sees to it that nothing stays missing of what it records, need of each other."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from vdbevents.events import envelope, gaps


class RecoveryHost(Protocol):
    """What a `Recovery` may do with the listener, on its loop."""

    @property
    def open_gaps(self) -> Mapping[str, gaps.Gap]:
        """The gaps that are to be filled, oldest first."""

    @property
    def last_seen(self) -> Mapping[str, float]:
        """When the last description of each screen came, by its stream's id, on the monotonic clock."""

    @property
    def ended_sessions(self) -> Collection[str]:
        """The sessions whose end was told of."""

    @property
    def dropped(self) -> int:
        """How many lines found no room."""

    def supply(self, records: Sequence[envelope.Record]) -> None:
        """Writes lines to the journal, or drops them."""

    def new_gap_id(self) -> str:
        """An id that no other gap has."""

    async def flushed(self) -> None:
        """Returns when all that was received is in the journal."""

    def say(self, text: str, *, problem: bool = False, hint: str = "") -> None:
        """Tells a person."""


class Recovery(Protocol):
    """Who sees to it that nothing stays missing. Lives on the listener's loop; only `run` takes its time."""

    def was_live(self, since_ms: int) -> bool:
        """Whether something may have been sent to this directory's listener after a time."""

    def connected(self, ws_id: str) -> None:
        """A connection stands."""

    def disconnected(self) -> None:
        """It does no more."""

    def is_known(self, event: Mapping[str, Any]) -> bool:
        """Whether an event that comes is in the journal already."""

    @property
    def stale(self) -> list[dict[str, Any]]:
        """The streams that should be talking and are not, for the status."""

    async def run(self, recorder: RecoveryHost) -> None:
        """Goes on until it is cancelled."""
