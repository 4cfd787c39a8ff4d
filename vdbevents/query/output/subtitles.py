"""Write events as subtitles: SubRip and WebVTT."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from vdbevents.query.collapse import NO_RUNS, Runs
from vdbevents.query.output.rows import ENTITIES, on_one_line, utc_time
from vdbevents.query.result_protocols import EventBatches

_CUE_COLUMNS: Final = ("source", "text", "start_ms", "end_ms", "speaker")
_CUES: Final = 2048
_CUE_MS: Final = 2000

# SubRip has no escapes, and players interpret tags, `{\an8}`, and lines that look like a cue's times.
_LOOKALIKES: Final = str.maketrans("<>{}", "＜＞｛｝")  # noqa: RUF001 - on purpose


# ffmpeg and players built on it take `\N`, `\n` and `\h` in either format for a line's end or a blank, `\{`
# for an escape, and leave out what begins with `{\`. An invisible word joiner parts them, as with ffmpeg.
_OBEYED: Final = re.compile(r"\\(?=[Nnh{}])|\{(?=\\)")
_JOINER: Final = "\u2060"


class Cue(NamedTuple):
    """A subtitle; times in Unix ms."""

    start_ms: int
    end_ms: int
    speaker: str
    source: str
    text: str

    def times(self, zero_ms: int, point: str) -> str:
        """Return the line of its times, which count from `zero_ms`, with seconds before `point`."""
        begin_ms = max(self.start_ms - zero_ms, 0)
        return f"{_clock(begin_ms, point)} --> {_clock(self.end_ms - zero_ms, point)}"


def cues_of(answer: EventBatches, runs: Runs | None, zero_ms: int | None = None) -> Iterator[list[Cue]]:
    """Yield a cue for each event with a text and a start, sorted by start, then by receipt.

    An event without a later end lasts two seconds. What ended before `zero_ms`, in Unix ms, is left out.
    """
    runs = runs or NO_RUNS
    cues = []
    for batch in runs.lines(answer.events(_CUE_COLUMNS)):
        for row, event in batch:
            text = _plain(event.text)
            if event.start_ms is None or not text:
                continue
            run = runs.at(row)
            end_ms = run.until_ms if run else event.end_ms
            if end_ms is None or end_ms <= event.start_ms:
                end_ms = event.start_ms + _CUE_MS
            if zero_ms is not None and end_ms <= zero_ms:
                continue
            speaker, source = _plain(event.speaker), _plain(event.source)
            cues.append(Cue(event.start_ms, end_ms, speaker, source, text))
    cues.sort(key=lambda cue: cue.start_ms)
    for first in range(0, len(cues), _CUES):
        yield cues[first : first + _CUES]


def _plain(text: str | None) -> str:
    return _OBEYED.sub(rf"\g<0>{_JOINER}", on_one_line(text or ""))


def subrip(batches: Iterable[list[Cue]], zero_ms: int | None = None) -> Iterator[list[str]]:
    """Yield SubRip cues. Times count from `zero_ms`, else the first one's start; no place to note it."""
    number = 0
    for batch in batches:
        pieces = []
        for cue in batch:
            zero_ms = cue.start_ms if zero_ms is None else zero_ms
            number += 1
            text = ": ".join(filter(None, (cue.speaker or cue.source, cue.text))).translate(_LOOKALIKES)
            above = "\n" if number > 1 else ""
            pieces.append(f"{above}{number}\n{cue.times(zero_ms, ',')}\n{text}\n")
        yield pieces


def webvtt(batches: Iterable[list[Cue]], zero_ms: int | None = None) -> Iterator[list[str]]:
    """Yield WebVTT cues. Times count from `zero_ms`, else the first one's start: a note gives it."""
    is_noted = False
    for batch in batches:
        pieces = []
        for cue in batch:
            note = ""
            if not is_noted:
                zero_ms, is_noted = cue.start_ms if zero_ms is None else zero_ms, True
                note = f"\nNOTE {_clock(0, '.')} is {utc_time(zero_ms)}\n"
            pieces.append(f"{note}\n{cue.times(zero_ms or 0, '.')}\n{_voiced(cue)}\n")
        yield pieces


def _voiced(cue: Cue) -> str:
    speaker, source, text = (name.translate(ENTITIES) for name in (cue.speaker, cue.source, cue.text))
    return f"<v {speaker}>{text}" if speaker else ": ".join(filter(None, (source, text)))


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
