"""Scripts: what pipelines hear and see, from a recording or endless and numbered. Pure."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vdbevents.emulator.made_up_secrets import made_up_secret
from vdbevents.emulator.utterances import Utterance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vdbevents.emulator.replay_file import ReplayRecording

_PERIODS_MS: Final = {"transcript": 6_000, "visual_index": 2_000, "audio_index": 30_000}
_AUDIO_KINDS: Final = ("mic", "system_audio")
_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_INTERIMS: Final = 3


@dataclass(frozen=True, slots=True)
class RecordedScript:
    """A recording, `speed` times as fast as it was recorded, repeated with `loop`."""

    recording: ReplayRecording
    speed: float
    """Infinity says everything at once, and does not repeat."""
    loop: bool

    def utterances(
        self, channel: str, kind: str, origin: float, since: float
    ) -> Iterator[tuple[float, Utterance]]:
        """Yield utterances with the time each is due, from `since` on.

        Args:
            channel: The script's channel.
            kind: The kind of stream, as of `stream_kind`.
            origin: When the script began, in Unix seconds.
            since: The earliest due time to yield, in Unix seconds.
        """
        is_endless, seconds = self.loop and not math.isinf(self.speed), self.recording.round_seconds
        # The round is computed, not searched for: a clock that jumps may have skipped any number of them.
        first = int((since - origin) * self.speed / seconds) if is_endless else 0
        for number in itertools.count(first):
            round_start, is_empty = number * seconds, True
            for offset, utterance in self.recording.utterances_on(channel, kind):
                is_empty = False
                due = origin + (round_start + offset) / self.speed
                if due >= since:
                    yield due, self._moved(utterance, origin, round_start)
            if is_empty or not is_endless:
                return

    def _moved(self, utterance: Utterance, origin: float, round_start: float) -> Utterance:
        """Return the utterance with its times moved from the recording's to now, never into the future.

        At infinite speed the recording has just ended, and keeps its lengths.
        """
        recorded_ms = self.recording.started * 1000

        def moved(moment: float | None) -> int:
            moment_ms = 0.0 if moment is None else moment - recorded_ms
            if math.isinf(self.speed):
                return int(origin * 1000 - self.recording.duration * 1000 + moment_ms)
            return int(origin * 1000 + (round_start * 1000 + moment_ms) / self.speed)

        return replace(utterance, start=moved(utterance.start), end=moved(utterance.end))


@dataclass(frozen=True, slots=True)
class NumberedScript:
    """The numbered script, with a period for each channel.

    Number n of a period p spans, in epoch milliseconds, `origin + (n - 1) * p` to `origin + n * p`, and is
    due at its end. Three interim transcripts come before each final one, with the first words of its text.
    With `secrets`, each text has a made-up one.
    """

    secrets: bool = False

    def utterances(
        self, channel: str, kind: str, origin: float, since: float
    ) -> Iterator[tuple[float, Utterance]]:
        """Yield utterances with the time each is due, from `since` on; arguments as of `RecordedScript`."""
        if channel == "visual_index" and kind in _AUDIO_KINDS:
            return
        period, origin_ms = _PERIODS_MS[channel], int(origin * 1000 + 0.5)
        # The number that `since` falls into, or the one before; too early ones are left out below.
        first = max(1, int((since * 1000 - origin_ms) // period))
        for number in itertools.count(first):
            start = origin_ms + (number - 1) * period
            for end, text, is_final in _parts(self._text(channel, kind, number), channel, period):
                due = (start + end) / 1000
                if due >= since:
                    yield due, Utterance(channel, text, is_final=is_final, start=start, end=start + end)

    def _text(self, channel: str, kind: str, number: int) -> str:
        text = numbered_text(channel, kind, number)
        return text.replace(": ", f": {made_up_secret(number)} is it, ", 1) if self.secrets else text


def numbered_text(channel: str, kind: str, number: int) -> str:
    """Return the text of a channel's event on a kind of stream; numbers count from 1."""
    digits = " ".join(_DIGITS[int(digit)] for digit in str(number))
    return f"{kind} {channel} {number}: {digits}, and so on"


def _parts(text: str, channel: str, period: int) -> Iterator[tuple[int, str, bool]]:
    """Yield (milliseconds from the start, text, whether it is final) of the events that say a text."""
    if channel == "transcript":
        # The last words come one by one: "…: one seven," and then "and", "so", "on".
        for left in range(_INTERIMS, 0, -1):
            yield period * (_INTERIMS + 1 - left) // (_INTERIMS + 1), text.rsplit(" ", left)[0], False
    yield period, text, True
