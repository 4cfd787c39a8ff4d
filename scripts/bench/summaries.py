#!/usr/bin/env python3
"""Measure the commands that sum up a recording, relative to `query` of the same window.

usage: summaries.py [EVENTS] [ROUNDS] [FOLDER]
       EVENTS   in the journal, which is sealed before; default: 200000
       FOLDER   where the journal is kept; default: a temporary one
target: none takes more than 1.5 times as long as `query`

To measure another command, add a line to COMMANDS.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import VDBEVENTS, median, scratch
from journal import generate

MOST_RATIO = 1.5

COMMANDS = {
    "sessions": ("sessions",),
    "stats": ("stats",),
    "stats --by app": ("stats", "--by", "app"),
    "digest": ("digest",),
    "context": ("context", "--grep", "deploy"),
    "transcript": ("transcript",),
}

WINDOWS = {
    "--last 1h": ("--last", "1h"),
    "--last 1d": ("--last", "1d"),
    "all of it": (),
}


def measured(words: tuple[str, ...], journal: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Return how long a command takes, and its CPU time, in seconds."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*VDBEVENTS, *words, str(journal)]
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begin, cpu


@contextmanager
def folder_for(name: str | None) -> Iterator[Path]:
    """Yield the folder of the journal."""
    if name is not None:
        yield Path(name).absolute()
        return
    with scratch() as made:
        yield Path(made)


def main() -> int:
    """Print a line for each command and window; return 1 if one is too slow."""
    arguments = dict(enumerate(sys.argv))
    events, rounds = int(arguments.get(1, 200_000)), int(arguments.get(2, 3))
    slowest = 0.0
    with folder_for(arguments.get(3)) as folder:
        journal = generate(folder / f"events-{events}", events, int(time.time())).path
        environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        subprocess.run([*VDBEVENTS, "cache", "build", str(journal)], env=environ, check=True)
        print(f"{'command':<18} {'window':<10} {'seconds':>8} {'CPU':>6}  {'of query':>8} {'CPU':>6}")
        for title, window in WINDOWS.items():
            # In turns, so that what else the machine does slows down all alike.
            named = {"query": ("query",), **COMMANDS}
            runs = [
                {name: measured((*words, *window), journal, environ) for name, words in named.items()}
                for _ in range(rounds)
            ]
            for name in named:
                seconds, cpu = (median([one[name][place] for one in runs]) for place in (0, 1))
                ratios = [
                    median([one[name][place] / one["query"][place] for one in runs]) for place in (0, 1)
                ]
                slowest = max(slowest, ratios[0]) if name in COMMANDS else slowest
                print(f"{name:<18} {title:<10} {seconds:8.2f} {cpu:6.2f}  {ratios[0]:8.2f} {ratios[1]:6.2f}")
    print(f"slowest: {slowest:.2f} of query, at most {MOST_RATIO}")
    return int(slowest > MOST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
