#!/usr/bin/env python3
"""Count the tries that the commits of many recorders take that all ship to one lake at one moment.

usage: lake_commits.py [--work DIR] [RECORDERS] [ROUNDS]     50 recorders, 3 rounds with each lake

Each recorder is a process. It opens the lake and uploads its rows; then it waits until all are so far, and
all commit at once. Each round begins with a new lake: one in a folder, and one in an object store, which is
`moto` on loopback.
target: each commit lands within 5 tries
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import HERE, folder_for

from vdbevents.journal.state import StateDirectory
from vdbevents.lake import shipping
from vdbevents.lake.lake_name import recording_name

sys.path.insert(0, str(HERE.parents[1] / "tests"))

from support.object_store import BUCKET, environ_of, object_store

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

MOST_TRIES = 5
READY_SECONDS = 120


class ReleasedShipper(shipping.Shipper):
    """Commits when all others are ready, too."""

    start: "Barrier"
    began = 0.0

    def _commit(self, *arguments: Any) -> int:
        self.start.wait(READY_SECONDS)
        self.began = time.monotonic()
        return super()._commit(*arguments)


def ship(folder: Path, lake: str, start: "Barrier", answers: Any) -> None:
    """Ship what a recorder has; put the tries, the seconds and the lines."""
    state = StateDirectory(folder)
    names = recording_name(state, folder.name)
    try:
        with ReleasedShipper(lake, state.journal, names, folder / "cache") as shipper:
            shipper.start = start
            done = shipper.ship()
    except BaseException:
        start.abort()
        raise
    answers.put((done.tries, time.monotonic() - shipper.began, done.lines))


def write_journal(folder: Path) -> None:
    """Write a recording of one event."""
    folder.mkdir(parents=True)
    event = {
        "ts": "2026-03-02T10:15:30.123Z",
        "unix_ts": 1772446530.123,
        "channel": "alert",
        "of": folder.name,
    }
    line = json.dumps(event, separators=(",", ":"))
    (folder / "videodb_events.jsonl").write_text(line + "\n", encoding="utf-8")


def commit_at_once(work: Path, lake: str, recorders: int) -> list[tuple[int, float]]:
    """Let recorders commit at one moment; return the tries and the seconds of each."""
    # A fork of this process has all modules: 50 that load them take longer than all the rest.
    forking = multiprocessing.get_context("fork")
    start, answers = forking.Barrier(recorders), forking.Queue()
    processes = []
    for number in range(recorders):
        folder = work / f"recorder-{number}"
        write_journal(folder)
        processes.append(forking.Process(target=ship, args=(folder, lake, start, answers)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = sum(process.exitcode != 0 for process in processes)
    if failed:
        raise SystemExit(f"{failed} recorders failed")
    found = [answers.get() for _ in processes]
    if sum(lines for *_, lines in found) != recorders:
        raise SystemExit(f"not all was shipped: {found}")
    return [(tries, seconds) for tries, seconds, _ in found]


def report(name: str, found: list[tuple[int, float]]) -> None:
    """Print the figures of some commits to one kind of lake."""
    tries = sorted(Counter(count for count, _ in found).items())
    seconds = [waited for _, waited in found]
    shown = ", ".join(f"{number} after {count}" for count, number in tries)
    print(
        f"{name}: commits by their tries: {shown}; "
        f"seconds at most {max(seconds):.1f}, median {statistics.median(seconds):.1f}",
        flush=True,
    )


def main() -> None:
    """Print the figures, and fail if a commit took more tries."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work")
    parser.add_argument("recorders", nargs="?", type=int, default=50)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    options = parser.parse_args()
    with folder_for(options.work) as work, object_store() as port:
        os.environ.update(environ_of(port))
        most = 0
        for number in range(options.rounds):
            for name, lake in (
                ("folder", str(work / f"lake-{number}")),
                ("object store", f"s3://{BUCKET}/lake-{number}"),
            ):
                found = commit_at_once(work / f"{name} {number}", lake, options.recorders)
                report(name, found)
                most = max(most, *(tries for tries, _ in found))
    if most > MOST_TRIES:
        raise SystemExit(f"missed: a commit took {most} tries")


if __name__ == "__main__":
    main()
