#!/usr/bin/env python3
"""Measure queries with a year of rotated days beside the journal, relative to the same journal alone.

usage: archive.py [DAYS] [ROUNDS]        target: a query of ten minutes takes at most 1.2 times as long
"""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness import VDBEVENTS, median, scratch

from vdbevents.journal import archive, packed
from vdbevents.journal.state import StateDirectory

DAYS = int(sys.argv[1]) if len(sys.argv) > 1 else 365
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
EVENTS_A_DAY = 2000

QUERIES = {
    "--last 10m": ("query", "--last", "10m", "--count"),
    "--last 10m --around 15s": (
        *("query", "--last", "10m", "--grep", "invoice"),
        *("--around", "15s", "-o", "jsonl"),
    ),
    "one day, half a year ago": ("query", "--on", "{past}", "--count"),
    "--grep in all of it": ("query", "--grep", "event 77 ", "--count"),
    "gaps --last 10m": ("gaps", "--last", "10m"),
    "sql, all of it": ("sql", "SELECT channel, count(*) FROM events GROUP BY ALL"),
}


def lines_of(day: datetime, count: int, seconds: float) -> bytes:
    """Return the lines of a day: transcripts at even steps."""
    lines = []
    for number in range(count):
        moment = (day + timedelta(seconds=seconds / count * number)).timestamp()
        stamp = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        lines.append(
            f'{{"ts":"{stamp}","unix_ts":{int(moment)}.000,"channel":"transcript","rtstream_id":"rts-1",'
            f'"rtstream_name":"mic","data":{{"text":"event {number} about an invoice of {day:%A}",'
            f'"is_final":true,"start":{int(moment)}000,"end":{int(moment)}900}}}}\n'
        )
    return "".join(lines).encode()


def fill(directory: StateDirectory, days: int) -> None:
    """Make a journal of the last hour, and rotated days before it."""
    directory.path.mkdir()
    now = datetime.now(UTC)
    directory.journal.write_bytes(lines_of(now - timedelta(hours=1), EVENTS_A_DAY, 3590))
    archive.create_archive(directory)
    for age in range(1, days + 1):
        day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=age)
        begin = int(day.timestamp() * 1000)
        path = archive.free_path(directory, "rotated", begin, begin + 86_399_000, packed=True)
        with path.open("wb") as target:
            packer = packed.Packer(target)
            packer.write(lines_of(day, EVENTS_A_DAY, 86_399))
            packer.finish()


def seconds_of(command: tuple[str, ...], directory: StateDirectory, environ: dict[str, str]) -> float:
    """Return how long a command takes."""
    past = f"{datetime.now(UTC) - timedelta(days=DAYS // 2):%Y-%m-%d}"
    words = [word.replace("{past}", past) for word in command]
    begin = time.perf_counter()
    subprocess.run([*VDBEVENTS, *words, str(directory.path)], env=environ, capture_output=True, check=False)
    return time.perf_counter() - begin


def main() -> None:
    """Print a line for each query."""
    with scratch() as folder:
        environ = {**os.environ, "XDG_CACHE_HOME": str(Path(folder) / "cache")}
        directories = {}
        for name, days in (("alone", 0), ("year", DAYS)):
            directories[name] = StateDirectory(Path(folder) / name)
            fill(directories[name], days)
            begin = time.perf_counter()
            subprocess.run(
                [*VDBEVENTS, "cache", "build", str(directories[name].path)], env=environ, check=True
            )
            print(f"{days} days: sealed in {time.perf_counter() - begin:.1f} s")
        for title, command in QUERIES.items():
            figures = {
                name: median([seconds_of(command, directory, environ) for _ in range(ROUNDS)])
                for name, directory in directories.items()
            }
            alone, year = figures["alone"], figures["year"]
            print(f"{title:<28} {alone:6.2f} s alone  {year:6.2f} s with {DAYS} days  {year / alone:5.2f}")


if __name__ == "__main__":
    main()
