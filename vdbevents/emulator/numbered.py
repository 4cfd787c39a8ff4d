"""A script without an end, whose events are numbered and known beforehand: a missing one can be named."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.replay import Utterance

if TYPE_CHECKING:
    from collections.abc import Iterator

_PERIODS: Final = {"transcript": 6_000, "visual_index": 2_000, "audio_index": 30_000}
_AUDIBLE: Final = ("mic", "system_audio")
_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_INTERIM: Final = 3


def numbered_text(channel: str, kind: str, number: int) -> str:
    """What the event says that is `number` of its channel on a stream of this kind, counted from 1."""
    digits = " ".join(_DIGITS[int(digit)] for digit in str(number))
    return f"{kind} {channel} {number}: {digits}, and so on"


class Numbered:
    """The numbered script, with a period for each channel.

    Number n of a period p spans, in epoch milliseconds, `origin + (n - 1) * p` to `origin + n * p`, and is
    said at its end; a transcript has three interim ones before, with the first words of its text.
    """

    def said(self, channel: str, kind: str, origin: float, since: float) -> Iterator[tuple[float, Utterance]]:
        """What is said from `since` on where the script began at `origin`, each with when; Unix seconds."""
        if channel == "visual_index" and kind in _AUDIBLE:
            return
        period, origin_ms = _PERIODS[channel], int(origin * 1000 + 0.5)
        # The one that `since` falls into, or the one before: what is too early of it is left out below.
        first = max(1, int((since * 1000 - origin_ms) // period))
        for number in itertools.count(first):
            for said in _said(channel, kind, number, origin_ms + (number - 1) * period, period):
                due = (said.end or 0) / 1000
                if due >= since:
                    yield due, said


def _said(channel: str, kind: str, number: int, start: int, period: int) -> Iterator[Utterance]:
    text = numbered_text(channel, kind, number)
    if channel == "transcript":
        # The last words come one by one: "…: one seven," and then "and", "so", "on".
        for left in range(_INTERIM, 0, -1):
            end = start + period * (_INTERIM + 1 - left) // (_INTERIM + 1)
            yield Utterance(channel, text.rsplit(" ", left)[0], is_final=False, start=start, end=end)
    yield Utterance(channel, text, is_final=True, start=start, end=start + period)
