"""Decide when the listener's journal is rotated, and rotate it between two lines."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.journal import history
from vdbevents.journal.append import Journal

_DAYS: Final = re.compile(r"([1-9]\d{0,3})d")
_SIZE: Final = re.compile(r"([1-9]\d{0,8})(kB|MB|GB|KiB|MiB|GiB)")
_UNITS: Final = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RETRY_SECONDS: Final = 60.0


class RotationRule(NamedTuple):
    """When to rotate: after so many days, or at a size in bytes; 0 is never."""

    days: int = 0
    size: int = 0


def parse_rotation(option: str, text: str) -> RotationRule:
    """Parse `1d`, `7d`, `256MB`, `1GB`.

    Raises:
        InputError: it is not such a text.
    """
    if match := _DAYS.fullmatch(text):
        return RotationRule(days=int(match[1]))
    if match := _SIZE.fullmatch(text):
        return RotationRule(size=int(match[1]) * _UNITS[match[2]])
    raise InputError(
        f"{option}: not a number of days or a size, got {text!r}",
        "use 1d, 7d, 256MB or 1GB",
        error_id="rotation-invalid",
    )


def day_of(moment_ms: int) -> tuple[int, int]:
    """Return when the local day of a time began, and when it ends, in Unix ms."""
    day = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone().date()
    # Without a zone it is local time: the next midnight may be 23 or 25 hours later.
    begin, end = (datetime.combine(day + timedelta(days=days), datetime.min.time()) for days in (0, 1))
    return int(begin.timestamp() * 1000), int(end.timestamp() * 1000)


class Rotator:
    """Rotates a journal when a line is due to be appended; for the thread that appends."""

    def __init__(
        self,
        journal: Journal,
        rule: RotationRule,
        on_trouble: Callable[[str], None],
        *,
        day: Callable[[int], tuple[int, int]] = day_of,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Rotate nothing yet.

        Args:
            journal: to rotate.
            rule: when.
            on_trouble: called with the reason when a rotation fails; it is tried again.
            day: returns the begin and the end of the day of a time.
            monotonic: returns seconds that never go back.
        """
        self._journal = journal
        self._rule = rule
        self._on_trouble = on_trouble
        self._day_of = day
        self._monotonic = monotonic
        self._day = (0, 0)
        self._retry_at = 0.0

    def before(self, line: bytes) -> None:
        """Rotate the journal, if it is due before this line is appended."""
        moment_ms = history.received_ms(line)
        if moment_ms is None:
            return
        if not self._is_today(moment_ms):
            self._day = self._day_of(moment_ms)
        begun_ms = history.received_ms(self._journal.head)
        if not self._is_due(begun_ms) or self._monotonic() < self._retry_at:
            return
        self._retry_at = self._monotonic() + _RETRY_SECONDS
        today_ms = self._day[0]
        is_of_today = begun_ms is None or begun_ms >= today_ms
        try:
            if self._journal.rotate(None if is_of_today else today_ms) is not None:
                self._retry_at = 0.0
        except OSError as error:
            self._on_trouble(error.strerror or str(error))

    def is_same_day(self, line: bytes) -> bool:
        """Return whether a line is of the day of the line that was last given to `before`."""
        moment_ms = history.received_ms(line)
        return moment_ms is None or self._is_today(moment_ms)

    def _is_today(self, moment_ms: int) -> bool:
        return self._day[0] <= moment_ms < self._day[1]

    def _is_due(self, begun_ms: int | None) -> bool:
        if self._rule.size:
            return self._journal.size >= self._rule.size
        if not self._rule.days or begun_ms is None or begun_ms >= self._day[0]:
            return False
        # Days may have 23 or 25 hours.
        return round((self._day[0] - self._day_of(begun_ms)[0]) / 86_400_000) >= self._rule.days
