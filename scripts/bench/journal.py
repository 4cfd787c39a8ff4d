#!/usr/bin/env python3
"""Generate a journal of a busy desktop, of any length, and keep it.

usage: journal.py EVENTS FOLDER [END]        END in Unix seconds; default: that of an existing journal, or now

An event about every 0.55 s, about 290 bytes a line: transcripts that grow until they are final,
summaries of screen and audio, alerts, session states. The same EVENTS and END generate the same bytes.
An interrupted run is resumed; a complete journal is kept.
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

FORM = 1  # version of the generated content; a journal of another version is replaced
PACE_MS = 550
LEAST_MS = 2  # between two events, so that no two have the same time
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
class GeneratedJournal:
    """A generated journal; `end`, in Unix seconds, is after its last event."""

    path: Path
    events: int
    end: int

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.path.stat().st_size


def generate(folder: Path, events: int, end: int | None = None) -> GeneratedJournal:
    """Return the journal of a folder; generate it unless it exists.

    Args:
        folder: holds this journal alone.
        events: the number of lines.
        end: Unix seconds; None: that of an existing journal, or now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    journal, part = folder / "videodb_events.jsonl", folder / "videodb_events.part"
    notes = folder / "made.json"
    with FileLock(folder / "made.lock"):
        progress = _read_progress(notes)
        wanted = {"form": FORM, "events": events, "end": progress.get("end") if end is None else end}
        if wanted != {name: progress.get(name) for name in wanted}:
            journal.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            progress = {**wanted, "end": int(time.time()) if end is None else end, "blocks": 0, "bytes": 0}
        if not (journal.exists() and journal.stat().st_size == progress["bytes"]):
            _resume(part, notes, progress)
            part.replace(journal)
        return GeneratedJournal(journal, events, progress["end"])


def _read_progress(notes: Path) -> dict:
    try:
        return json.loads(notes.read_bytes())
    except (OSError, ValueError):
        return {}


def _resume(part: Path, notes: Path, progress: dict) -> None:
    """Append the missing blocks, and note each as done."""
    part.touch()
    if part.stat().st_size < progress["bytes"]:
        progress |= {"blocks": 0, "bytes": 0}
    with part.open("r+b") as sink:
        sink.truncate(progress["bytes"])
        sink.seek(0, os.SEEK_END)
        while progress["blocks"] * BLOCK < progress["events"]:
            sink.write(block(progress["blocks"], progress["events"], progress["end"]))
            sink.flush()
            progress |= {"blocks": progress["blocks"] + 1, "bytes": sink.tell()}
            aside = notes.with_suffix(".new")
            aside.write_text(json.dumps(progress))
            aside.replace(notes)


def block(number: int, events: int, end: int) -> bytes:
    """Return the lines of one block, which do not depend on other blocks."""
    first = number * BLOCK
    count = min(BLOCK, events - first)
    rng = random.Random(f"{FORM} {number}")
    rare = {(2 * place + 1) * events // (2 * RARE_TIMES) - first for place in range(RARE_TIMES)}
    times = _times(rng, end * 1000 - (events - first) * PACE_MS, count)
    lines = _lines(rng, _Words(rng), times, rare)
    return "".join(lines).encode("ascii")


def _times(rng: random.Random, begin: int, count: int) -> list[int]:
    """Return distinct times in Unix milliseconds with exponentially distributed pauses."""
    pauses = [LEAST_MS + rng.expovariate(1 / PACE_MS) for _ in range(count + 1)]
    scale = count * PACE_MS / sum(pauses)
    return [begin + int(late * scale) for late in itertools.accumulate(pauses[:-1])]


class _Words:
    """An endless supply of words, some far more common than others."""

    def __init__(self, rng: random.Random) -> None:
        words = _VOCABULARY.split()
        weights = [1 / (rank + 1) ** 0.7 for rank in range(len(words))]
        # Two random bytes pick a word: 100 times faster than a call for each.
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
        """Return `low` to `high` words."""
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
    journal = generate(Path(folder), int(events), int(float(end[0])) if end else None)
    print(f"{journal.path}: {journal.events:,} events, {journal.size / 1e6:,.1f} MB, until @{journal.end}")


if __name__ == "__main__":
    main()
