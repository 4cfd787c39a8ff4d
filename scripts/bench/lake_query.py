#!/usr/bin/env python3
"""Measure searches of a lake beside DuckDB over the same files, in one run.

usage: lake_query.py [HOSTS] [EVENTS] [ROUNDS] [FOLDER]
       HOSTS     recorders that ship; default: 20
       EVENTS    of each; default: 200,000, a bit more than a day
       FOLDER    where the lake is kept; default: a temporary one
target: `query --last 1d --grep` of all hosts takes at most 1.5 times the CPU seconds of DuckDB, and that of
        one host at most 0.1 s more than a search of a small journal

CPU seconds are user and system time of a process and its children, the median of the rounds.
"""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from harness import VDBEVENTS, folder_for, median
from journal import RARE, generate

END = 1_796_000_000
DAY = ("--since", f"@{END - 86_400}", "--until", f"@{END}")
MOST_RATIO = 1.5
MOST_OF_ONE = 0.1

REFERENCE = f"""
import sys
import duckdb
from deltalake import DeltaTable
from datetime import datetime, timedelta, UTC
begin, end = datetime.fromtimestamp({END - 86_400}, UTC), datetime.fromtimestamp({END}, UTC)
days = [begin.date().isoformat(), end.date().isoformat()]
files = [path for path in DeltaTable(sys.argv[1]).file_uris() if any(day in path for day in days)]
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute("SET enable_progress_bar = false")  # of a slow one, it would go to stdout
sql = "SELECT count(*) FROM read_parquet(?) WHERE time >= ? AND time < ? AND contains(lower(text), ?)"
print(connection.execute(sql, [files, begin, end, {RARE!r}]).fetchall()[0][0])
"""


def cpu_seconds(command: list[str], environ: dict[str, str]) -> tuple[float, str]:
    """Run a command; return its CPU seconds and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, printed.strip()


def ship(folder: Path, hosts: int, events: int, environ: dict[str, str]) -> Path:
    """Return the lake of some hosts, each of which has the same events."""
    lake = folder / f"lake-{hosts}-{events}"
    if not lake.exists():
        journal = generate(folder / f"journal-{events}", events, END)
        for number in range(hosts):
            state = folder / "state"
            state.mkdir()
            shutil.copy(journal.path, state)
            words = ["ship", str(lake), "--once", "--quiet", "--host", f"host-{number:02d}", str(state)]
            subprocess.run([*VDBEVENTS, *words], env=environ, check=True)
            shutil.rmtree(state)
    return lake


def main() -> None:
    """Print the figures, and fail if a target is missed."""
    given = sys.argv[1:]
    hosts, events, rounds = (
        int(given[place]) if len(given) > place else usual for place, usual in enumerate((20, 200_000, 5))
    )
    with folder_for(given[3] if len(given) > 3 else None) as folder:
        environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        lake = ship(folder, hosts, events, environ)
        compacted = folder / f"{lake.name}-compacted"
        if not compacted.exists():
            shutil.copytree(lake, compacted)
            subprocess.run([*VDBEVENTS, "lake", "compact", str(compacted)], env=environ, check=True)
        small = folder / "small.jsonl"
        small.write_text('{"channel":"alert","data":{"text":"one"}}\n')
        usual = [*VDBEVENTS, "query", *DAY, "--grep", RARE, "--count", "--lake"]
        commands = {
            "a small journal, in DuckDB": [*VDBEVENTS, "query", str(small), "--where", "true", "--count"]
        }
        for name, place in (("as shipped", lake), ("compacted", compacted)):
            commands[f"DuckDB, {name}"] = [sys.executable, "-c", REFERENCE, str(place)]
            commands[f"all hosts, {name}"] = [*usual, str(place)]
            commands[f"one host, {name}"] = [*usual, str(place), "--host", f"host-{hosts - 1:02d}"]
        taken: dict[str, list[float]] = {name: [] for name in commands}
        answers = {}
        for _ in range(rounds):
            for name, command in commands.items():
                seconds, answers[name] = cpu_seconds(command, environ)
                taken[name].append(seconds)
        figures = {name: median(seconds) for name, seconds in taken.items()}
        for name, seconds in figures.items():
            print(f"{name:28} {seconds:6.2f} s  found {answers[name]}")
        start = figures["a small journal, in DuckDB"]
        missed = []
        for name in ("as shipped", "compacted"):
            if answers[f"all hosts, {name}"] != answers[f"DuckDB, {name}"]:
                raise SystemExit(f"the answers differ: {answers}")
            ratio = figures[f"all hosts, {name}"] / figures[f"DuckDB, {name}"]
            more = figures[f"one host, {name}"] - start
            print(f"{name}: {ratio:.2f} times DuckDB; one host {more:.2f} s beside the start")
            missed += [f"{name}, all hosts"] if ratio > MOST_RATIO else []
            missed += [f"{name}, one host"] if more > MOST_OF_ONE else []
        if missed:
            raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
