"""Leave out the later versions of a sentence, of which one was taken while it was still being said. Pure."""

from typing import Final

from vdbevents.query.filters import Event

COLUMNS: Final = frozenset({"channel", "stream", "stream_name", "is_final", "start_ms", "end_ms"})
"""The columns that must be there."""


class SaidOnce:
    """Takes events in the order in which they come."""

    def __init__(self) -> None:
        self._last: dict[str | None, Event] = {}

    def is_new(self, event: Event) -> bool:
        """Return whether no version of the same sentence was taken before; take this one.

        A version is of the same stream, and has the same start; or it follows an unfinished one and overlaps
        it in time, or one of the two has no times.
        """
        if event.channel != "transcript":
            return True
        stream = event.stream or event.stream_name
        last = self._last.get(stream)
        self._last[stream] = event
        return last is None or not _is_version(last, event)


def _is_version(last: Event, event: Event) -> bool:
    if last.start_ms is not None and last.start_ms == event.start_ms:
        return True
    if last.is_final is not False:
        return False
    if None in (last.start_ms, last.end_ms, event.start_ms, event.end_ms):
        return True
    return (last.start_ms or 0) < (event.end_ms or 0) and (event.start_ms or 0) < (last.end_ms or 0)
