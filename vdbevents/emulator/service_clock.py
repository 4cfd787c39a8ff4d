"""The service's clock: real time, which can run faster and jump ahead."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999, where the clock stops: dates end there."""


def usable_rate(rate: float) -> float:
    """Return the rate of a clock; raise ValueError when it is not usable."""
    if not 0 < rate <= sys.float_info.max:
        raise ValueError(f"clock rate: must be a finite number above 0, got {rate}")
    return float(rate)


class ServiceClock:
    """A clock that runs `rate` times as fast as the real one, and can jump ahead.

    `real` returns Unix seconds. This clock never goes back and is never behind the real one: at a rate below
    1 it uses up its lead, and then runs with it.
    """

    def __init__(self, real: Callable[[], float], rate: float = 1.0) -> None:
        self._real = real
        self._rate = usable_rate(rate)
        self._since = self._latest = real()
        self._lead = 0.0
        self._changed = asyncio.Event()

    def now(self) -> float:
        """Return Unix seconds."""
        self._latest = max(self._latest, self._at(self._real()))
        return self._latest

    @property
    def rate(self) -> float:
        """Return how many times as fast it runs; setting an unusable rate raises ValueError."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._change(usable_rate(rate), 0.0)

    def advance(self, seconds: float) -> None:
        """Jump ahead; raise ValueError for a negative number, and beyond the last date."""
        if not 0 <= seconds <= LATEST:
            raise ValueError(f"advance: must be a number of seconds from 0 to {LATEST:.0f}, got {seconds}")
        self._change(self._rate, seconds)

    async def until(self, moment: float) -> None:
        """Wait until the clock shows this moment (Unix seconds); yields at least once."""
        await asyncio.sleep(0)
        while (wait := self._seconds_until(moment)) > 0:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()

    def _at(self, real: float) -> float:
        lead = self._lead + max(0.0, real - self._since) * (self._rate - 1)
        # Real time is added last: at rate 1 the result is exact to the last bit.
        return min(real + max(0.0, lead), LATEST)

    def _seconds_until(self, moment: float) -> float:
        """Return real seconds, as the clock runs now."""
        real = self._real()
        at = self._at(real)
        if max(at, self._latest) >= moment:
            return 0.0
        # The real clock overtakes a slower one.
        return math.inf if moment > LATEST else min((moment - at) / self._rate, moment - real)

    def _change(self, rate: float, seconds: float) -> None:
        now, real = self.now(), self._real()
        self._since, self._rate, self._lead = real, rate, max(0.0, now - real) + seconds
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
