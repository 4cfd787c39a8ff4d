#!/usr/bin/env python3
"""Measure the server for models: its start beside a bare server, and a search beside the same in Python.

usage: mcp.py [EVENTS] [ROUNDS] [FOLDER]
       EVENTS   in the journal, which is sealed before; default: 1000000
       FOLDER   where the journal is kept; default: a temporary one
targets: start to first answer at most 1.5 times that of a server of the same package with one tool;
         search_events at most 1.5 times the call in Python, both in a warm process. CPU seconds count.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import VDBEVENTS, cpu_seconds, folder_for, median
from journal import COMMON, RARE, generate

import vdbevents

MOST_RATIO = 1.5
LIMIT = 20

BARE = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("bare", log_level="ERROR")

@server.tool()
def add(one: int, other: int) -> int:
    return one + other

server.run()
"""

Call = tuple[str, dict[str, object]]


class Wire:
    """A server and its stdin and stdout."""

    def __init__(self, command: tuple[str, ...], environ: dict[str, str]) -> None:
        """Start it, and shake hands."""
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._number = 0
        hello = {"name": "bench", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": hello})
        self._send({"method": "notifications/initialized"})

    def _send(self, message: dict[str, object]) -> None:
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def ask(self, method: str, parameters: dict[str, object]) -> dict:
        """Return the result of a request."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = json.loads(self._process.stdout.readline())
            if answer.get("id") == self._number:
                return answer["result"]

    def call(self, name: str, arguments: dict[str, object]) -> dict:
        """Return the answer of a tool."""
        result = self.ask("tools/call", {"name": name, "arguments": arguments})
        if result.get("isError"):
            raise SystemExit(result["content"][0]["text"])
        return result

    @property
    def cpu(self) -> float:
        """The CPU seconds it has taken."""
        return cpu_seconds(self._process.pid)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


def started(command: tuple[str, ...], environ: dict[str, str], call: Call) -> tuple[float, float]:
    """Return how long a server takes from its start to its first answer: seconds, and CPU seconds."""
    begin = time.perf_counter()
    wire = Wire(command, environ)
    wire.call(*call)
    shown = time.perf_counter() - begin, wire.cpu
    wire.close()
    return shown


def own_cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(ask: Callable[[], object], cpu: Callable[[], float]) -> float:
    """Return the CPU seconds that a call takes."""
    before = cpu()
    ask()
    return cpu() - before


def compare_starts(small: Path, environ: dict[str, str], rounds: int) -> float:
    """Print how long both servers take to start; return the ratio of the CPU seconds."""
    ours = (*VDBEVENTS, "mcp", str(small)), environ, ("search_events", {"words": RARE})
    bare = (sys.executable, "-c", BARE), environ, ("add", {"one": 1, "other": 2})
    # One after the other: a machine that is busy with other things is so for both.
    pairs = [(started(*bare), started(*ours)) for _ in range(rounds)]
    for name, place in (("bare server", 0), ("vdbevents mcp", 1)):
        seconds, cpu = (median(pair[place][part] for pair in pairs) for part in (0, 1))
        print(f"start to first answer, {name}: {seconds:.2f} s, {cpu:.2f} s of CPU")
    return median(ours[1] / bare[1] for bare, ours in pairs)


def compare_searches(big: Path, environ: dict[str, str], rounds: int) -> float:
    """Print how long a search takes in both; return the larger ratio of the CPU seconds."""
    journal = vdbevents.open(big)
    wire = Wire((*VDBEVENTS, "mcp", str(big)), environ)
    worst = 0.0
    for words in (RARE, COMMON, f"{COMMON} deploy"):

        def in_python(words: str = words) -> None:
            with journal.query(grep=words.split(), limit=LIMIT, newest_first=True, by="event") as found:
                list(found)

        def by_server(words: str = words) -> None:
            wire.call("search_events", {"words": words})

        in_python()
        by_server()
        pairs = [(measured(in_python, own_cpu), measured(by_server, lambda: wire.cpu)) for _ in range(rounds)]
        python, server = (median(pair[place] for pair in pairs) for place in (0, 1))
        ratio = median(ours / theirs for theirs, ours in pairs)
        print(f"search for {words!r}: Python {python:.3f} s of CPU, server {server:.3f} s: {ratio:.2f}")
        worst = max(worst, ratio)
    wire.close()
    return worst


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    given = sys.argv[1:]
    events, rounds, folder = (*given, *("1000000", "5", None)[len(given) :])
    with folder_for(folder) as place:
        environ = {**os.environ, "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(place / "cache"))}
        os.environ["XDG_CACHE_HOME"] = environ["XDG_CACHE_HOME"]
        small, big = (generate(place / str(count), count) for count in (1000, int(events)))
        build = [*VDBEVENTS, "cache", "build", str(big.path)]
        subprocess.run(build, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
        start = compare_starts(small.path, environ, int(rounds))
        search = compare_searches(big.path, environ, int(rounds))
    print(f"start: {start:.2f} of a bare server, search: {search:.2f} of Python, at most {MOST_RATIO}")
    return int(start > MOST_RATIO or search > MOST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
