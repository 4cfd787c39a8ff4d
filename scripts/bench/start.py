#!/usr/bin/env python3
"""Measure the CPU seconds of whole commands, each beside a Python program that only loads a library.

usage: start.py [ROUNDS]

Aimed at: less than to import typer; of a sealed part, at most 1.1 times DuckDB's start. Python may keep what
it compiles, as in an installation.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import journal as generated
from harness import HERE, journal_of, median, scratch

from vdbevents.events.envelope import envelop, parse_line

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
SESSION = HERE.parent.parent / "vdbevents" / "emulator" / "data" / "real-session.jsonl"
PROGRAM = str(Path(sys.executable).with_name("vdbevents"))
TYPER = (sys.executable, "-c", "import typer")
DUCKDB = (sys.executable, "-c", "import duckdb; duckdb.sql('select 1')")
SEALED_EVENTS = 60_000


def cpu_of(command: tuple[str, ...], environ: dict[str, str]) -> float:
    """Return the CPU seconds of a process, with those of the processes that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    with scratch() as directory, scratch() as sealed, scratch() as cache:
        environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("VDBEVENTS_")},
            "XDG_CACHE_HOME": cache,
            "XDG_CONFIG_HOME": cache,
        }
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        write_recent_session(journal_of(directory))
        long = generated.generate(Path(sealed), SEALED_EVENTS, int(time.time()))
        subprocess.run(
            (PROGRAM, "cache", "build", sealed), stdout=subprocess.DEVNULL, check=True, env=environ
        )
        hours = f"@{long.end - 20_000}", f"@{long.end - 19_400}"
        rows = {
            "--help": (("--help",), TYPER),
            "status": (("status", directory), TYPER),
            "stop": (("stop", directory), TYPER),
            "gaps": (("gaps", directory), TYPER),
            "query --last 10m": (("query", directory, "--last", "10m"), TYPER),
            "query --last 10m --grep code": (("query", directory, "--last", "10m", "--grep", "code"), TYPER),
            "query -n 20": (("query", directory, "-n", "20"), TYPER),
            "query of a sealed part": (("query", sealed, "--since", hours[0], "--until", hours[1]), DUCKDB),
        }
        print(f"{'CPU seconds of':<30} {'':>6} {'reference':>10} {'ratio':>6}")
        for name, (arguments, reference) in rows.items():
            command = (PROGRAM, *arguments)
            pairs = [(cpu_of(command, environ), cpu_of(reference, environ)) for _ in range(ROUNDS + 1)][1:]
            ours, other = (median([pair[side] for pair in pairs]) for side in (0, 1))
            least = 1.1 if reference is DUCKDB else 1.0
            missed = "" if ours <= least * other else ": not reached"
            print(f"{name:<30} {ours:>6.3f} {other:>10.3f} {ours / other:>6.2f} (aimed at: {least}){missed}")


if __name__ == "__main__":
    main()
