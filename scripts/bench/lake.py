#!/usr/bin/env python3
"""Measure shipping to a lake in a folder, beside what it builds on.

usage: lake.py [--work DIR] [EVENTS]     a million events

Target: 2.5 s of CPU a million events that are sealed.
The reference writes the same sealed columns and lines with the library alone: nothing is once in it.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from harness import VDBEVENTS, folder_for, median
from journal import generate

ROUNDS = 3

# Prints the CPU seconds of the process: it reads what is sealed, and writes it in as many commits.
REFERENCE = """
import sys
from pathlib import Path
import duckdb
from deltalake import WriterProperties, write_deltalake
from vdbevents.query.cache import schema
from vdbevents.query.cache.index import load

journal, root, lake = map(Path, sys.argv[1:4])
properties = WriterProperties(compression="ZSTD", compression_level=1)
cache = load(journal, root)
piece = lake.with_suffix(".jsonl")
with journal.open("rb") as file:
    for segment in cache.segments:
        piece.write_bytes(file.read(segment.end - segment.start))
        connection = duckdb.connect(config={"threads": "1"})
        lines = schema.lines_of([str(piece)], segment.start, 1 << 20)
        sql = lines.sql.replace("?", f"['{piece}']", 1)
        rows = connection.sql(f'''SELECT sealed.* EXCLUDE (line), whole.line,
            make_timestamptz(time_ms * 1000)::DATE AS date
            FROM read_parquet('{cache.events(segment)}') sealed JOIN ({sql}) whole USING (position)''')
        write_deltalake(lake, rows, mode="append", partition_by=["date"], writer_properties=properties)
"""


def cpu_of(command: list[str], environ: dict[str, str]) -> float:
    """Run a command; return its seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_of(folder: Path) -> int:
    """Return the bytes of a lake's data files."""
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def measure_shipping(work: Path, events: int) -> None:
    """Print what it costs to ship a journal, sealed and not, beside the reference."""
    state = work / "state"
    state.mkdir(exist_ok=True)
    journal = state / "videodb_events.jsonl"
    if not journal.exists():
        shutil.copy(generate(work / f"events-{events}", events).path, journal)
    environ = {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}
    unsealed = {**os.environ, "XDG_CACHE_HOME": str(work / "no-cache")}
    sealing = cpu_of([*VDBEVENTS, "cache", "build", str(state)], environ)
    lake = work / "lake"
    ship = [*VDBEVENTS, "ship", str(lake), str(state), "--once"]
    reference = [sys.executable, "-c", REFERENCE, str(journal), str(work / "cache" / "vdbevents"), str(lake)]
    seconds: dict[str, list[float]] = {"sealed": [], "not sealed": [], "the library alone": []}
    sizes = {}
    for _ in range(ROUNDS):
        for name, command, variables in (
            ("sealed", ship, environ),
            ("not sealed", ship, unsealed),
            ("the library alone", reference, environ),
        ):
            shutil.rmtree(lake, ignore_errors=True)
            seconds[name].append(cpu_of(command, variables))
            sizes[name] = size_of(lake)
    million = events / 1_000_000
    print(f"sealing, for comparison: {sealing / million:.2f} s of CPU a million events")
    for name, values in seconds.items():
        print(
            f"shipping, {name}: {median(values) / million:.2f} s of CPU a million events "
            f"({min(values) / million:.2f} to {max(values) / million:.2f}), "
            f"{sizes[name] / events:.0f} bytes an event"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work")
    parser.add_argument("events", nargs="?", type=int, default=1_000_000)
    options = parser.parse_args()
    with folder_for(options.work) as work:
        measure_shipping(work, options.events)


if __name__ == "__main__":
    main()
