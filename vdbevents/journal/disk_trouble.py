"""Track whether the disk refuses to write or to sync."""

from collections.abc import Callable


class DiskTrouble:
    """The reason why the disk refuses writes, over repeated attempts.

    Attributes:
        reason: None while the disk accepts writes.
    """

    def __init__(self, report: Callable[[str | None], None]) -> None:
        """Assume that the disk accepts writes.

        Args:
            report: called with the reason when the disk begins to refuse, with None when it accepts again.
        """
        self.reason: str | None = None
        self._report = report
        self._failed: str | None = None

    def attempt(self, name: str, step: Callable[[], object]) -> bool:
        """Call `step`, named `append` or `sync`; return False if it raised OSError."""
        try:
            step()
        except OSError as error:
            if self.reason is None or name == "append":
                # Trouble with appending ends only when lines can be appended, even if a sync succeeds.
                self._failed = name
            if self.reason is None:
                self.reason = error.strerror or str(error)
                self._report(self.reason)
            return False
        if self.reason is not None and self._failed == name:
            self.reason = None
            self._report(None)
        return True
