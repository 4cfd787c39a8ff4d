#!/usr/bin/env python3
"""Measure the time from the server's send until another process can read the line, at an even rate.

usage: latency.py [EVENTS] [EVENTS_PER_SECOND]        target: p99 under 5 ms at 100 events/s
"""

import sys
import threading
import time

from harness import VDBEVENTS, journal_of, recorder, scratch, server

from vdbevents.events.envelope import parse_line
from vdbevents.journal.reader import follow

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
RATE = float(sys.argv[2]) if len(sys.argv) > 2 else 100.0
POLL_SECONDS = 0.0005
TARGET_MS = 5.0


def main() -> None:
    delays: list[float] = []
    with (
        server() as running,
        scratch() as directory,
        recorder((*VDBEVENTS, "listen", "-q", directory), running),
    ):
        deadline = time.monotonic() + EVENTS / RATE + 30

        def wait() -> bool:
            time.sleep(POLL_SECONDS)
            return time.monotonic() < deadline

        lines = follow(journal_of(directory), from_end=True, wait=wait)
        flood = threading.Thread(
            target=lambda: running.request("flood", count=EVENTS, rate=RATE), daemon=True
        )
        flood.start()
        for line in lines:
            read_at = time.time()
            event = parse_line(line) or {}
            if "sent_unix_ts" in event:
                delays.append((read_at - event["sent_unix_ts"]) * 1000)
            if len(delays) == EVENTS:
                break
    if len(delays) < EVENTS:
        raise SystemExit(f"{len(delays)} of {EVENTS} events arrived")
    delays.sort()
    shares = {
        name: delays[min(int(EVENTS * share), EVENTS - 1)] for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    figures = ", ".join(f"{name} {delay:.2f} ms" for name, delay in shares.items())
    print(f"{EVENTS} events at {RATE:g}/s: {figures}, max {delays[-1]:.2f} ms")
    print(f"p99: {shares['p99'] / TARGET_MS:.2f} of the target of {TARGET_MS:g} ms")


if __name__ == "__main__":
    main()
