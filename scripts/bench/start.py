#!/usr/bin/env python3
"""Measure how long a command takes as a whole process, relative to importing its libraries alone.

usage: start.py [ROUNDS]        target: at most 1.5 times in both rows
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from harness import HERE, journal_of, median, scratch, spread

from vdbevents.events.envelope import envelop, parse_line

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
SESSION = HERE.parent.parent / "vdbevents" / "emulator" / "data" / "real-session.jsonl"
PROGRAM = Path(sys.executable).with_name("vdbevents")


def time_process(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def write_recent_session(journal: Path) -> None:
    """Write the real session shifted to end now, so that all of it is in the last ten minutes."""
    lines = SESSION.read_bytes().splitlines()
    shift_ms = int(time.time() * 1000) - round(parse_line(lines[-1])["unix_ts"] * 1000)
    with journal.open("wb") as sink:
        for line in lines:
            event = parse_line(line)
            message = {name: value for name, value in event.items() if name not in ("ts", "unix_ts")}
            sink.write(envelop(json.dumps(message).encode(), round(event["unix_ts"] * 1000) + shift_ms).line)


def main() -> None:
    with scratch() as directory:
        write_recent_session(journal_of(directory))
        python = (sys.executable, "-c")
        rows = {
            "status": (
                (str(PROGRAM), "status", directory),
                (*python, "import typer"),
            ),
            "query --last 10m": (
                (str(PROGRAM), "query", directory, "--last", "10m"),
                (*python, "import typer, duckdb; duckdb.sql('select 1').fetchall()"),
            ),
        }
        for name, (command, imports) in rows.items():
            pairs = [(time_process(command), time_process(imports)) for _ in range(ROUNDS + 1)][1:]
            whole, imports_only = ([pair[side] * 1000 for pair in pairs] for side in (0, 1))
            ratio = median([a / b for a, b in pairs])
            print(f"{name:<17} {spread(whole, 'ms', 0)}, imports alone {spread(imports_only, 'ms', 0)}")
            print(f"{'':<17} ratio {ratio:.2f} (target: at most 1.50)")


if __name__ == "__main__":
    main()
