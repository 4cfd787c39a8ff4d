"""The interface between the listener and its recovery."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vdbevents.events.envelope import Record
from vdbevents.listener.counters import ListenerCounts
from vdbevents.listener.machine import ListenerMachine
from vdbevents.listener.protocol import Input, Supplied


class _Say(Protocol):
    def __call__(self, text: str, *, problem: bool = False, hint: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class RecoveryHost:
    """The part of the listener that a `Recovery` may use, on its loop.

    Attributes:
        machine: to be changed by inputs only.
        feed: hands an input to the machine and carries out its actions.
        flushed: returns when everything received so far is in the journal.
        say: shows a message.
    """

    machine: ListenerMachine
    feed: Callable[[Input], None]
    flushed: Callable[[], Awaitable[None]]
    say: _Say

    @property
    def counts(self) -> ListenerCounts:
        """What the journal holds so far, and the latest activity of the streams."""
        return self.machine.counts

    def supply(self, records: Sequence[Record]) -> None:
        """Append lines to the journal, or count them as dropped."""
        if records:
            self.feed(Supplied(records))


class Recovery(Protocol):
    """Rebind pipelines and backfill gaps, on the listener's loop. Only `run` may take time."""

    def was_live(self, since_ms: int) -> bool:
        """Return whether something may have been sent to this directory's listener after a time."""

    def connected(self, ws_id: str) -> None:
        """Take a new connection."""

    def disconnected(self) -> None:
        """Give up the connection."""

    def is_known(self, record: Record) -> bool:
        """Return whether an event that arrives is in the journal already."""

    @property
    def stale(self) -> list[dict[str, Any]]:
        """The stale streams, as the status file has them."""

    async def run(self, host: RecoveryHost) -> None:
        """Work until cancelled."""
