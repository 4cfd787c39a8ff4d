"""The time as the service tells it: real time, which can be made to run faster and to jump ahead."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999, where the clock stands still: no date can tell a later one."""


def usable_rate(rate: float) -> float:
    """The rate of a clock; `ValueError` for what is none."""
    if not 0 < rate <= sys.float_info.max:
        raise ValueError(f"The rate of the clock has to be a finite number above 0, not {rate}.")
    return float(rate)


class Clock:
    """A clock that runs `rate` times as fast as the real one, and jumps when it is told to.

    `real` gives Unix seconds. This clock never goes back and is never behind the real one: at a rate below 1
    it uses up its lead, and then goes with it.
    """

    def __init__(self, real: Callable[[], float], rate: float = 1.0) -> None:
        self._real = real
        self._rate = usable_rate(rate)
        self._since = self._latest = real()
        self._lead = 0.0
        self._changed = asyncio.Event()

    def now(self) -> float:
        """Unix seconds."""
        self._latest = max(self._latest, self._at(self._real()))
        return self._latest

    @property
    def rate(self) -> float:
        """How many times as fast it runs; `ValueError` for one that is set to no finite number above 0."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._change(usable_rate(rate), 0.0)

    def advance(self, seconds: float) -> None:
        """Jumps ahead; `ValueError` for less than nothing, and for more than there are dates."""
        if not 0 <= seconds <= LATEST:
            raise ValueError(f"The clock can be advanced by 0 to {LATEST:.0f} seconds, not by {seconds}.")
        self._change(self._rate, seconds)

    async def until(self, moment: float) -> None:
        """Returns when the clock has come to this moment (Unix seconds); others run first, even if it has."""
        await asyncio.sleep(0)
        while (wait := self._seconds_until(moment)) > 0:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()

    def _at(self, real: float) -> float:
        lead = self._lead + max(0.0, real - self._since) * (self._rate - 1)
        # Real time is added last: at rate 1 it comes out as it went in, to the last bit.
        return min(real + max(0.0, lead), LATEST)

    def _seconds_until(self, moment: float) -> float:
        """Real seconds, as the clock runs now."""
        real = self._real()
        at = self._at(real)
        if max(at, self._latest) >= moment:
            return 0.0
        # A clock that is slower than the real one is overtaken by it.
        return math.inf if moment > LATEST else min((moment - at) / self._rate, moment - real)

    def _change(self, rate: float, seconds: float) -> None:
        now, real = self.now(), self._real()
        self._since, self._rate, self._lead = real, rate, max(0.0, now - real) + seconds
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
