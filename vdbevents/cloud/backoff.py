"""The waits between attempts that fail. Pure."""


class Backoff:
    """Double the wait after each failure in a row, up to a longest one. All in seconds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = min(first, longest)
        self._longest = longest
        self._next = self._first

    def next(self, retry_after: float | None = None) -> float:
        """Return the wait before the next attempt: at least `retry_after`, if the service asked for it."""
        wait = self._next
        self._next = min(2 * wait, self._longest)
        return max(wait, retry_after or 0.0)

    def reset(self) -> None:
        """Start again with the first wait: an attempt succeeded."""
        self._next = self._first
