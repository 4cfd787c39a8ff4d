#!/usr/bin/env python3
"""Makes a journal of a busy desktop up, as long as one likes, and keeps it.

usage: journal.py EVENTS FOLDER [END]        END in Unix seconds; else that of the folder's journal, else now

An event about every 0.55 s and some 290 bytes a line: transcripts that grow until they are final,
descriptions of a screen, summaries of what was heard, alerts, steps of sessions. The same EVENTS and END
make the same bytes. What was interrupted goes on where it was; what is there already is left as it is.
"""

import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

FORM = 1  # of what is made: another one replaces what was kept
PACE_MS = 550
LEAST_MS = 2  # between two events, so that a time names one of them
BLOCK = 20_000

RARE = "zanzibar"
RARE_TIMES = 7
COMMON = "code"  # in every fifth event or so

# The most common first.
_VOCABULARY = """
    the a to of and in is we it that for on you with this be are at as not have need should can will meeting
    deploy review code function error test server customer pricing budget roadmap release ticket branch merge
    login token database query index schema latency memory cache queue worker retry socket event stream
    capture session window screen panel button page file folder terminal editor Thursday Monday tomorrow later
    quick plan team design feature bug fix issue user account invoice contract email calendar
"""
_APPS = "VS Code", "Slack", "Chrome", "Terminal", "Zoom", "Figma", "Notion", "Gmail", "Linear", "GitHub"
_STATUSES = "starting", "active", "stopping", "stopped", "exported", "failed"
_SPEAKERS = ("rts-1", "mic:default"), ("rts-2", "system_audio:default")


@dataclass(frozen=True)
class Made:
    """A journal in a folder: the `end` in Unix seconds is after its last event."""

    path: Path
    events: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size


def make(folder: Path, events: int, end: int | None = None) -> Made:
    """The journal of a folder, which is made unless it is there.

    Args:
        folder: holds this journal alone.
        events: how many lines it has.
        end: Unix seconds; None takes that of what is there, else now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    journal, part = folder / "videodb_events.jsonl", folder / "videodb_events.part"
    notes = folder / "made.json"
    with FileLock(folder / "made.lock"):
        made = _noted(notes)
        wanted = {"form": FORM, "events": events, "end": made.get("end") if end is None else end}
        if wanted != {name: made.get(name) for name in wanted}:
            journal.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            made = {**wanted, "end": int(time.time()) if end is None else end, "blocks": 0, "bytes": 0}
        if not (journal.exists() and journal.stat().st_size == made["bytes"]):
            _go_on(part, notes, made)
            part.replace(journal)
        return Made(journal, events, made["end"])


def _noted(notes: Path) -> dict:
    try:
        return json.loads(notes.read_bytes())
    except (OSError, ValueError):
        return {}


def _go_on(part: Path, notes: Path, made: dict) -> None:
    """Appends the blocks that are not yet there, and notes each."""
    part.touch()
    if part.stat().st_size < made["bytes"]:
        made |= {"blocks": 0, "bytes": 0}
    with part.open("r+b") as sink:
        sink.truncate(made["bytes"])
        sink.seek(0, os.SEEK_END)
        while made["blocks"] * BLOCK < made["events"]:
            sink.write(block(made["blocks"], made["events"], made["end"]))
            sink.flush()
            made |= {"blocks": made["blocks"] + 1, "bytes": sink.tell()}
            aside = notes.with_suffix(".new")
            aside.write_text(json.dumps(made))
            aside.replace(notes)


def block(number: int, events: int, end: int) -> bytes:
    """The lines of one block of a journal; depends on nothing else."""
    first = number * BLOCK
    count = min(BLOCK, events - first)
    rng = random.Random(f"{FORM} {number}")
    rare = {(2 * place + 1) * events // (2 * RARE_TIMES) - first for place in range(RARE_TIMES)}
    times = _times(rng, end * 1000 - (events - first) * PACE_MS, count)
    lines = _lines(rng, _Words(rng), times, rare)
    return "".join(lines).encode("ascii")


def _times(rng: random.Random, begin: int, count: int) -> list[int]:
    """Unix milliseconds, no two the same, as calls arrive: each after a pause of no certain length."""
    pauses = [LEAST_MS + rng.expovariate(1 / PACE_MS) for _ in range(count + 1)]
    scale = count * PACE_MS / sum(pauses)
    return [begin + int(late * scale) for late in itertools.accumulate(pauses[:-1])]


class _Words:
    """Words without end, some far more common than others."""

    def __init__(self, rng: random.Random) -> None:
        words = _VOCABULARY.split()
        weights = [1 / (rank + 1) ** 0.7 for rank in range(len(words))]
        # One byte pair picks a word: a hundred times as fast as to ask for each.
        steps = [round(65_536 * share / sum(weights)) for share in itertools.accumulate(weights)]
        sizes = [after - before for before, after in itertools.pairwise([0, *steps])]
        self._table = [word for word, size in zip(words, sizes, strict=True) for _ in range(size)]
        self._rng = rng
        self._next = self._endless()

    def _endless(self) -> Iterator[str]:
        while True:
            picks = self._rng.randbytes(1 << 16)
            yield from map(self._table.__getitem__, memoryview(picks).cast("H"))

    def some(self, low: int, high: int) -> str:
        """From `low` to `high` words."""
        count = low + int(self._rng.random() * (high - low + 1))
        return " ".join(itertools.islice(self._next, count))


def _lines(rng: random.Random, words: _Words, times: list[int], rare: set[int]) -> Iterator[str]:
    said, began, speaker, session = "", 0, 0, f"cap-{rng.getrandbits(32):08x}"
    second, clock = 0, ""
    for place, ms in enumerate(times):
        if ms // 1000 != second:
            second = ms // 1000
            clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        head = f'{{"ts":"{clock}.{ms % 1000:03d}Z","unix_ts":{second}.{ms % 1000:03d},"channel":"'
        draw = rng.random()
        if draw < 0.55 or place in rare:
            if not said:
                began, speaker = ms - 2500, int(rng.random() < 0.3)
            said = f"{said} {words.some(2, 7)}".lstrip()
            final = place in rare or rng.random() < 0.4
            if place in rare:
                said += f" {RARE}"
            stream, name = _SPEAKERS[speaker]
            yield (
                f'{head}transcript","rtstream_id":"{stream}","rtstream_name":"{name}","data":{{"text":"{said}",'
                f'"is_final":{"true" if final else "false"},"start":{began},"end":{ms - 300}}}}}\n'
            )
            said = "" if final else said
        elif draw < 0.90:
            yield (
                f'{head}visual_index","rtstream_id":"rts-3","rtstream_name":"display:1","data":{{"text":'
                f'"User is viewing {_APPS[int(draw * 1e6) % 10]} with {words.some(10, 40)}",'
                f'"start":{ms - 4000},"end":{ms - 1000}}}}}\n'
            )
        elif draw < 0.985:
            yield (
                f'{head}audio_index","rtstream_id":"rts-2","rtstream_name":"system_audio:default","data":{{"text":'
                f'"Discussion about {words.some(8, 25)}","start":{ms - 30000},"end":{ms - 500}}}}}\n'
            )
        elif draw < 0.995:
            yield (
                f'{head}alert","rtstream_id":"rts-3","data":{{"event_label":"slack_opened","timestamp":{ms},'
                f'"text":"User opened Slack"}}}}\n'
            )
        else:
            status = _STATUSES[int(draw * 1e6) % 6]
            yield (
                f'{head}capture_session","event":"capture_session.{status}","capture_session_id":"{session}",'
                f'"status":"{status}","data":{{}}}}\n'
            )


def main() -> None:
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    events, folder, *end = sys.argv[1:]
    made = make(Path(folder), int(events), int(float(end[0])) if end else None)
    print(f"{made.path}: {made.events:,} events, {made.size / 1e6:,.1f} MB, until @{made.end}")


if __name__ == "__main__":
    main()
