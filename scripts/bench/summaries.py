#!/usr/bin/env python3
"""Measure the commands that sum up a recording, relative to `query` of the same window.

usage: summaries.py [ROUNDS] [FOLDER] [JOURNAL …]
       FOLDER    where the journals are kept; default: a temporary one
       JOURNAL   of JOURNALS below; default: all
target: none takes more than 1.5 times the CPU seconds of `query`, and `digest --last 1d` of a million sealed
        events at most twice those of `query --last 1d --count`

A ratio is the median of the ratios within each round, in which the commands run in turns. CPU seconds are
user and system time of a process and its children: what else the machine does changes them little.
To measure another command, add a line to COMMANDS.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import VDBEVENTS, folder_for, median
from journal import GeneratedJournal, generate

MOST_RATIO = 1.5
MOST_OF_COUNT = 2.0


class Kept(NamedTuple):
    """A journal to measure.

    Attributes:
        events: how many there are.
        is_sealed: whether it is sealed before, but for its end; else the cache is left out where it can be.
        is_one_session: whether all of it is one session that goes on.
        is_day: whether it is made a day of long screen texts, in which each hour is one session with nothing
            in its last ten minutes; it is too small to be sealed.
    """

    events: int
    is_sealed: bool = True
    is_one_session: bool = False
    is_day: bool = False


JOURNALS = {
    "a day, its end empty": Kept(52_000, is_sealed=False, is_day=True),
    "200,000 events": Kept(200_000),
    "1 million, sealed": Kept(1_000_000),
    "1 million, unsealed": Kept(1_000_000, is_sealed=False),
    "1 million in one session": Kept(1_000_000, is_one_session=True),
}

COMMANDS = {
    "sessions": ("sessions",),
    "stats": ("stats",),
    "stats --by app": ("stats", "--by", "app"),
    "digest": ("digest",),
    "context": ("context", "--grep", "deploy"),
    "transcript": ("transcript",),
}

HOURS = {"last 10m": 1 / 6, "last 1h": 1, "last 1d": 24}

NOTHING_FOUND = 1
HOUR_MS = 3_600_000
EMPTY_MS = 600_000
SCREEN_CHARACTERS = 1500


def measured(words: tuple[str, ...], journal: Path, environ: dict[str, str]) -> float:
    """Return the CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*VDBEVENTS, *words, str(journal)]
    ended = subprocess.run(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if ended.returncode not in (0, NOTHING_FOUND):
        raise SystemExit(f"{command}: {ended.stderr.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def made(folder: Path, kept: Kept) -> GeneratedJournal:
    """Return a journal; it is generated unless it exists."""
    journal = generate(folder / f"events-{kept.events}", kept.events)
    if kept.is_one_session:
        return _made_of(journal, folder / f"one-session-{kept.events}", partial(map, _of_one_session))
    if kept.is_day:
        return _made_of(journal, folder / f"day-{kept.events}", partial(_day, journal.end * 1000))
    return journal


def _made_of(
    journal: GeneratedJournal, folder: Path, change: Callable[[Iterable[bytes]], Iterable[bytes]]
) -> GeneratedJournal:
    target = folder / "videodb_events.jsonl"
    if not target.exists():
        folder.mkdir(exist_ok=True)
        with journal.path.open("rb") as source, target.with_suffix(".part").open("wb") as sink:
            sink.writelines(change(source))
        target.with_suffix(".part").replace(target)
    return GeneratedJournal(target, journal.events, journal.end)


def _of_one_session(line: bytes) -> bytes:
    head, step, rest = line.partition(b'"event":"capture_session.')
    if not step:
        return line
    _, id_name, after = rest.partition(b'"capture_session_id":"')
    _, _, data = after.partition(b'"data":')
    return head + step + b'active",' + id_name + b'cap-one","status":"active","data":' + data


def _day(end_ms: int, lines: Iterable[bytes]) -> Iterator[bytes]:
    session, head = 0, b""
    for number, line in enumerate(lines):
        at_ms = round(float(line.partition(b'"unix_ts":')[2].partition(b",")[0]) * 1000)
        hour, before_end_ms = divmod(end_ms - at_ms, HOUR_MS)
        if before_end_ms < EMPTY_MS or b'"capture_session"' in line:
            continue
        if hour != session:
            if head:
                yield _step(head, session, "stopped")
            session = hour
            yield _step(line, session, "active")
        head = line
        if b'"visual_index"' in line:
            # One in three, each as long as what is on a screen.
            if number % 3:
                continue
            before, name, rest = line.partition(b'"text":"')
            text, end, after = rest.partition(b'","start"')
            yield before + name + (text + b" ") * (SCREEN_CHARACTERS // len(text)) + end + after
        else:
            yield line
    yield _step(head, session, "stopped")


def _step(line: bytes, session: int, status: str) -> bytes:
    """Return a step of a session, received when a line was."""
    head, _, _ = line.partition(b'"channel"')
    words = f'"channel":"capture_session","event":"capture_session.{status}"'
    return head + f'{words},"capture_session_id":"cap-{session}","status":"{status}","data":{{}}}}\n'.encode()


def measure(title: str, kept: Kept, rounds: int, folder: Path) -> bool:
    """Print a line for each command and window; return whether all are fast enough."""
    journal = made(folder, kept)
    environ = {**os.environ, "XDG_CACHE_HOME": str(folder / ("cache" if kept.is_sealed else "no-cache"))}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled once
    no_cache = () if kept.is_sealed else ("--no-cache",)
    if kept.is_sealed:
        subprocess.run([*VDBEVENTS, "cache", "build", str(journal.path)], env=environ, check=True)
    else:
        # It counts sessions whole, so it seals a journal that is large: once.
        measured(("sessions",), journal.path, environ)
    print(f"\n{title:<26} {'window':<9} {'CPU s':>6} {'ratio':>6}")
    is_fast = True
    for window, hours in HOURS.items():
        since = datetime.fromtimestamp(journal.end - hours * 3600, UTC).isoformat()
        named: dict[str, tuple[str, ...]] = {"query": ("query",), **COMMANDS}
        if window == "last 1d":
            named |= {"query --count": ("query", "--count")}
        runs = [
            {
                name: measured(
                    (*words, "--since", since, *(() if name == "sessions" else no_cache)),
                    journal.path,
                    environ,
                )
                for name, words in named.items()
            }
            for _ in range(rounds)
        ]
        for name in named:
            ratio = median([one[name] / one["query"] for one in runs])
            print(f"{name:<26} {window:<9} {median([one[name] for one in runs]):6.2f} {ratio:6.2f}")
            is_fast &= name not in COMMANDS or ratio <= MOST_RATIO
        if window == "last 1d":
            ratio = median([one["digest"] / one["query --count"] for one in runs])
            print(f"{'digest, of query --count':<26} {window:<9} {'':6} {ratio:6.2f}")
            is_fast &= not kept.is_sealed or ratio <= MOST_OF_COUNT
    return is_fast


def main() -> int:
    """Measure the journals; return 1 if a command is too slow."""
    arguments = dict(enumerate(sys.argv))
    rounds = int(arguments.get(1, 3))
    with folder_for(arguments.get(2)) as folder:
        titles = sys.argv[3:] or JOURNALS
        results = [measure(title, JOURNALS[title], rounds, folder) for title in titles]
    print("all within the targets" if all(results) else "slower than the targets")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
