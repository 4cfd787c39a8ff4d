"""Write events as subtitles: SubRip and WebVTT."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from vdbevents.query.collapse import NO_RUNS, Runs
from vdbevents.query.output.rows import ENTITIES, on_one_line, utc_time
from vdbevents.query.statements import EventBatches

_CUE_COLUMNS: Final = ("source", "text", "start_ms", "end_ms", "speaker")
_CUES: Final = 2048
_CUE_MS: Final = 2000

# SubRip has no escapes, and players interpret tags, `{\an8}`, and lines that look like a cue's times.
_LOOKALIKES: Final = str.maketrans("<>{}", "＜＞｛｝")  # noqa: RUF001 - on purpose

# ffmpeg and players built on it take `\N`, `\n` and `\h` in either format for a line's end or a blank, `\{`
# for an escape, and leave out what begins with `{\`. An invisible word joiner parts them, as with ffmpeg.
_OBEYED: Final = re.compile(r"\\(?=[Nnh{}])|\{(?=\\)")
_JOINER: Final = "\u2060"


class _Cue(NamedTuple):
    start_ms: int
    end_ms: int
    speaker: str
    source: str
    text: str

    def times(self, zero_ms: int, point: str) -> str:
        return f"{_clock(self.start_ms - zero_ms, point)} --> {_clock(self.end_ms - zero_ms, point)}"


def cues_of(answer: EventBatches, runs: Runs | None) -> list[_Cue]:
    """Return a cue for each event with a text and a start, sorted by start, then by receipt.

    An event without a later end lasts two seconds.
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
            speaker, source = _plain(event.speaker), _plain(event.source)
            cues.append(_Cue(event.start_ms, end_ms, speaker, source, text))
    return sorted(cues, key=lambda cue: cue.start_ms)


def _plain(text: str | None) -> str:
    return _OBEYED.sub(rf"\g<0>{_JOINER}", on_one_line(text or ""))


def subrip(cues: Sequence[_Cue]) -> Iterator[list[str]]:
    """Yield SubRip cues. Times count from the first one's start; the format has no place to note it."""
    for first, batch in _parts(cues):
        yield [
            ("\n" if number > 1 else "")
            + f"{number}\n{cue.times(cues[0].start_ms, ',')}\n"
            + ": ".join(filter(None, (cue.speaker or cue.source, cue.text))).translate(_LOOKALIKES)
            + "\n"
            for number, cue in enumerate(batch, first + 1)
        ]


def webvtt_head(cues: Sequence[_Cue]) -> str:
    note = f"\nNOTE {_clock(0, '.')} is {utc_time(cues[0].start_ms)}\n" if cues else ""
    return f"WEBVTT\n{note}"


def webvtt(cues: Sequence[_Cue]) -> Iterator[list[str]]:
    """Yield WebVTT cues. Times count from the first one's start, which is in the head."""
    for _, batch in _parts(cues):
        yield [f"\n{cue.times(cues[0].start_ms, '.')}\n{_voiced(cue)}\n" for cue in batch]


def _parts(cues: Sequence[_Cue]) -> Iterator[tuple[int, Sequence[_Cue]]]:
    for first in range(0, len(cues), _CUES):
        yield first, cues[first : first + _CUES]


def _voiced(cue: _Cue) -> str:
    speaker, source, text = (name.translate(ENTITIES) for name in (cue.speaker, cue.source, cue.text))
    return f"<v {speaker}>{text}" if speaker else ": ".join(filter(None, (source, text)))


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
