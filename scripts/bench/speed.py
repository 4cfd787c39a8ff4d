#!/usr/bin/env python3
"""Print all figures of recording, starting and asking, each beside its reference, one after the other.

usage: speed.py [--work DIR] [--limit SECONDS] [EVENTS …]
       EVENTS    sizes of journals for the whole history, generated in DIR; default: 1000000 15000000

It runs ingest.py, memory.py, latency.py, start.py and history.py, prints what they print as it comes, and
how long each took. What one of them does not reach, it says itself. Most of the time goes into 15 million.
"""

import argparse
import subprocess
import sys
import time

from harness import HERE

PARTS = {
    "recording": ("ingest.py", "20000", "5"),
    "recording, memory": ("memory.py",),
    "recording, from send to line": ("latency.py",),
    "start": ("start.py", "9"),
}


def main() -> int:
    """Run the parts; return how many of them could not be measured."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1], add_help=False)
    parser.add_argument("--work")
    parser.add_argument("--limit", default="120")
    parser.add_argument("events", nargs="*", default=["1000000", "15000000"])
    named = parser.parse_args()
    kept = ("--work", named.work) if named.work else ()
    history = ("history.py", *kept, "--limit", named.limit, *named.events)
    failed = 0
    for title, (script, *words) in {**PARTS, "the whole history": history}.items():
        print(f"\n=== {title}: {script} {' '.join(words)}", flush=True)
        began = time.monotonic()
        done = subprocess.run((sys.executable, str(HERE / script), *words), check=False)
        # 1: something is not within its bound, as it has printed.
        failed += done.returncode not in (0, 1)
        print(f"=== {time.monotonic() - began:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
