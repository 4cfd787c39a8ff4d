#!/usr/bin/env python3
"""Measure events per second into the journal, and CPU per event, relative to the listener of VideoDB's docs.

usage: ingest.py [EVENTS] [ROUNDS]        both listeners in turn; targets: 2.0 and 0.5
"""

import sys
import time
from collections.abc import Mapping

from harness import (
    HERE,
    VDBEVENTS,
    await_true,
    count_lines,
    cpu_seconds,
    journal_of,
    median,
    recorder,
    scratch,
    server,
    spread,
)

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5

COMMANDS = {
    "vdbevents": (*VDBEVENTS, "listen", "--quiet"),
    "reference": (sys.executable, str(HERE / "reference_listener.py")),
}


def measure(command: tuple[str, ...], settings: Mapping[str, str] = {}) -> tuple[float, float]:
    """Return (events per second, µs of CPU per event) of one flood, with settings of the environment."""
    with (
        server(settings) as running,
        scratch() as directory,
        recorder((*command, directory), running) as process,
    ):
        journal = journal_of(directory)
        running.request("flood", count=2_000)
        await_true(lambda: journal.exists() and count_lines(journal, b'"seq"') == 2_000)
        size, used, began = journal.stat().st_size, cpu_seconds(process.pid), time.perf_counter()
        running.request("flood", count=EVENTS)
        # Counting lines costs as much as writing them, so wait until the size no longer changes.
        while True:
            before = journal.stat().st_size
            time.sleep(0.02)
            if (
                before > size
                and journal.stat().st_size == before
                and count_lines(journal, b'"seq"') >= EVENTS + 2_000
            ):
                break
        elapsed = time.perf_counter() - began - 0.02
        return EVENTS / elapsed, (cpu_seconds(process.pid) - used) / EVENTS * 1e6


def main() -> None:
    rates: dict[str, list[float]] = {name: [] for name in COMMANDS}
    costs: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            rate, cost = measure(command)
            rates[name].append(rate)
            costs[name].append(cost)
    for name in COMMANDS:
        print(f"{name:<10} {spread(rates[name], 'events/s', 0)}, {spread(costs[name], 'µs CPU per event')}")
    rate = median([a / b for a, b in zip(rates["vdbevents"], rates["reference"], strict=True)])
    cost = median([a / b for a, b in zip(costs["vdbevents"], costs["reference"], strict=True)])
    print(f"ratio      {rate:.2f} times the events per second (target: at least 2.0)")
    print(f"           {cost:.2f} times the CPU per event (target: at most 0.50)")


if __name__ == "__main__":
    main()
