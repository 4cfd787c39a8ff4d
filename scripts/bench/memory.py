#!/usr/bin/env python3
"""Measure the listener's peak memory after ten thousand events and after a million.

usage: memory.py [EVENTS]        targets: a difference below 10 MB, and a peak below 80 MB
"""

import sys

from harness import VDBEVENTS, await_true, count_lines, journal_of, peak_megabytes, recorder, scratch, server

FEW = 10_000
MANY = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000


def main() -> None:
    with (
        server() as running,
        scratch() as directory,
        recorder((*VDBEVENTS, "listen", "-q", directory), running) as listener,
    ):
        journal = journal_of(directory)
        running.request("flood", count=FEW)
        await_true(lambda: count_lines(journal, b'"seq"') == FEW)
        early = peak_megabytes(listener.pid)
        running.request("flood", count=MANY - FEW)
        await_true(lambda: count_lines(journal, b'"seq"') == MANY)
        late = peak_megabytes(listener.pid)
        print(f"peak after {FEW:,} events {early:.1f} MB, after {MANY:,} {late:.1f} MB")
        print(f"difference {late - early:.1f} MB (target: 10), {late / 80:.2f} of the target of 80 MB")


if __name__ == "__main__":
    main()
