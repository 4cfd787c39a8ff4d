"""Recognise live events that were fetched before they arrived. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from vdbevents.events.envelope import Record
from vdbevents.events.identity import identity_of


class DuplicateFilter:
    """Fetched events whose live copies may still arrive.

    Identities are kept as 64-bit hashes: a fifth of the memory.
    """

    def __init__(self, linger_seconds: float) -> None:
        """Know nothing; keep what is fetched for as long as a live copy may arrive."""
        self._linger_seconds = linger_seconds
        self._known: set[int] | None = None
        self._doubled: set[str] = set()
        self._received: set[int] = set()
        self._fetched_at: float | None = None
        self._is_noting = False

    @property
    def is_active(self) -> bool:
        """Whether events that arrive are compared at all."""
        return self._known is not None

    def connected(self) -> None:
        """Compare what arrives over the new connection."""
        self._known = set()

    def disconnected(self) -> None:
        """Forget: nothing on its way over the old connection will arrive."""
        self._known = self._fetched_at = None
        self._doubled.clear()

    def is_known(self, record: Record) -> bool:
        """Return whether an event that arrives was fetched before; if not, note that a pass has it to see."""
        if self._known is None or not (self._known or self._doubled or self._is_noting):
            return False
        identity = record.identity
        if identity is None:
            return False
        key = hash(identity)
        if key in self._known:
            return True
        if identity.stream in self._doubled:
            self._known.add(key)
        self._received.add(key)
        return False

    def add_fetched(self, events: Iterable[Mapping[str, Any]], now: float) -> None:
        """Note events that were fetched just now."""
        if self._known is not None:
            self._known |= {hash(identity_of(event)) for event in events}
        self._fetched_at = now

    def expect_doubles(self, stream_id: str, now: float) -> None:
        """Keep one copy of each event of a stream on which two indexes run for a moment."""
        self._doubled.add(stream_id)
        self._known, self._fetched_at = self._known or set(), now

    def begin_pass(self) -> None:
        """Note from now on what is received: it is not in the part of the journal that a pass reads."""
        self._known = set() if self._known is None else self._known
        # What the disk has no room for is never journaled, though it was received before.
        self._received = set()
        self._is_noting = True

    def merge_received(self, seen: set[int]) -> None:
        """Add what was received since `begin_pass` to `seen`, and what is received from now on, too."""
        seen |= self._received
        self._received = seen

    def expire(self, now: float) -> None:
        """Forget everything once no live copy of it can be on its way."""
        if self._fetched_at is None or now - self._fetched_at > self._linger_seconds:
            self.disconnected()
            self._received = set()
            self._is_noting = False
