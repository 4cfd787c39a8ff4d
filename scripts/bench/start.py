#!/usr/bin/env python3
"""How long a command takes from the shell, as a whole process, against the least that its libraries cost.

usage: start.py [ROUNDS]        to reach: 1.5 times in both rows
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from support import HERE, journal_of, median, scratch, spread

from vdbevents.events.envelope import envelop, parse_line

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
SESSION = HERE.parent.parent / "vdbevents" / "emulator" / "data" / "real-session.jsonl"
PROGRAM = Path(sys.executable).with_name("vdbevents")


def seconds(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def record_anew(journal: Path) -> None:
    """Writes the real session as if it had just ended, so that the last ten minutes hold all of it."""
    lines = SESSION.read_bytes().splitlines()
    late = int(time.time() * 1000) - round(parse_line(lines[-1])["unix_ts"] * 1000)
    with journal.open("wb") as sink:
        for line in lines:
            event = parse_line(line)
            message = {name: value for name, value in event.items() if name not in ("ts", "unix_ts")}
            sink.write(envelop(json.dumps(message).encode(), round(event["unix_ts"] * 1000) + late).line)


def main() -> None:
    with scratch() as directory:
        record_anew(journal_of(directory))
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
        for name, (command, least) in rows.items():
            pairs = [(seconds(command), seconds(least)) for _ in range(ROUNDS + 1)][1:]
            ours, theirs = ([pair[side] * 1000 for pair in pairs] for side in (0, 1))
            ratio = median([a / b for a, b in pairs])
            print(f"{name:<17} {spread(ours, 'ms', 0)} against {spread(theirs, 'ms', 0)}")
            print(f"{'':<17} ratio {ratio:.2f} (to reach: 1.50)")


if __name__ == "__main__":
    main()
