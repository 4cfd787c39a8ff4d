#!/usr/bin/env python3
"""Measure the timeline page: its server beside a plain aggregate of DuckDB, and the memory of the page.

usage: view.py [ROUNDS] [FOLDER] [EVENTS …]
       ROUNDS   of each window; default: 30
       FOLDER   where the journals are kept; default: a temporary one
       EVENTS   of each journal, which is sealed before; default: 1010313 15000000, which have as much
                unsealed at their ends: each look at single events reads that, whatever was sealed
targets: the first overview of all takes the server at most 1 s; a step of a zoom 150 ms at the median, and
         400 ms at p95; a window as long in the largest journal as in the smallest (at most 1.25 times); after
         1,000 steps the page, with the process that draws it, has less than 300 MB, and no more than after
         500 (at most 1.1 times). CPU seconds count

A step asks for a window of 1,160 parts, as a page of 1,280 pixels does. DuckDB counts the same events by
lanes and parts in the same Parquet files, in a process that has it open. Without Chromium the page is not
measured.
"""

import http.client
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import duckdb
import psutil
from harness import HERE, VDBEVENTS, cpu_seconds, folder_for, median, peak_megabytes
from journal import GeneratedJournal, generate

sys.path.insert(0, str(HERE.parents[1] / "tests"))

from support.browser import browser_path, opened_browser

FIRST_SECONDS, STEP_SECONDS, LATE_SECONDS = 1.0, 0.150, 0.400
MOST_GROWTH, PAGE_MEGABYTES, PAGE_GROWTH = 1.25, 300.0, 1.1
PARTS, MAP_PARTS, STEPS = 1160, 600, 1000
SECONDS = {
    "half a minute": 30,
    "a minute": 60,
    "ten minutes": 600,
    "an hour": 3600,
    "six hours": 6 * 3600,
    "a day": 86_400,
    "three days": 3 * 86_400,
}

Window = tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """What an answer took: CPU seconds of who gives it, and seconds until it was there."""

    cpu: float
    seconds: float


class Server:
    """A running `vdbevents view`, asked as its page asks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Open the page: what it answers then is the cookie."""
        self.pid = process.pid
        self.address = process.stdout.readline().strip().partition("=")[2]
        parts = urlsplit(self.address)
        self._wire = http.client.HTTPConnection(parts.netloc, timeout=600)
        self._wire.request("GET", f"/?{parts.query}")
        answer = self._wire.getresponse()
        answer.read()
        self._cookie = answer.headers["set-cookie"].split(";")[0]

    def get(self, name: str, **parameters: int) -> dict:
        """Return an answer."""
        address = f"/data/{name}?{urlencode(parameters)}"
        try:
            self._wire.request("GET", address, headers={"cookie": self._cookie})
            answer = self._wire.getresponse()
        except http.client.RemoteDisconnected:
            # The machine was too busy to ask within the seconds that a connection is kept.
            self._wire.request("GET", address, headers={"cookie": self._cookie})
            answer = self._wire.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(content.decode())
        return json.loads(content)

    def measured(self, window: Window) -> Cost:
        """Return what a look at a window costs."""
        before, begin = cpu_seconds(self.pid), time.perf_counter()
        self.get("timeline", since=window[0], until=window[1], parts=PARTS)
        return Cost(cpu_seconds(self.pid) - before, time.perf_counter() - begin)


class Plain:
    """DuckDB over the sealed files."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Open it."""
        self._files = [str(file) for file in files]
        self._connection = duckdb.connect()

    def measured(self, window: Window) -> Cost:
        """Return what an aggregate of a window costs."""
        since, until = window
        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        self._connection.execute(
            """SELECT CASE WHEN channel = 'alert' THEN 'alert' ELSE source END AS lane, stream_name,
            (coalesce(start_ms, time_ms) - $since) * $parts // ($until - $since) AS part, count(*)
            FROM read_parquet($files) WHERE coalesce(start_ms, time_ms) BETWEEN $since AND $until - 1
            AND channel IN ('transcript', 'audio_index', 'visual_index', 'alert')
            AND NOT coalesce(channel = 'transcript' AND NOT is_final, false) GROUP BY ALL""",
            {"files": self._files, "since": since, "until": until, "parts": PARTS},
        ).fetchall()
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(cpu, time.perf_counter() - begin)


@contextmanager
def served(journal: GeneratedJournal, environ: dict[str, str]) -> Iterator[Server]:
    """Serve the page of a journal."""
    command = [*VDBEVENTS, "view", str(journal.path.parent), "--no-open"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.terminate()


def row(name: str, ours: Sequence[Cost], plain: Sequence[Cost]) -> None:
    """Print the medians of a window, and DuckDB's beside them."""
    shown = [1000 * median([cost.cpu for cost in ours]), 1000 * late([cost.cpu for cost in ours])]
    shown += [1000 * median([cost.seconds for cost in ours])]
    shown += [1000 * median([cost.cpu for cost in plain]), 1000 * median([cost.seconds for cost in plain])]
    print(f"{name:<20}" + "".join(f"{number:>10.0f}" for number in shown))


def late(values: Sequence[float]) -> float:
    """Return what 95 of 100 do not exceed."""
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def windows_in(chance: random.Random, span: Window, seconds: int, rounds: int) -> list[Window]:
    """Return windows of a length anywhere in the recording."""
    length = 1000 * seconds
    starts = [chance.randrange(span[0], span[1] - length) for _ in range(rounds)]
    return [(start, start + length) for start in starts]


def measure_server(
    journal: GeneratedJournal, environ: dict[str, str], rounds: int
) -> tuple[bool, dict[str, float]]:
    """Print what the windows of a journal take; return whether that is little enough, and sums."""
    files = sorted(Path(environ["XDG_CACHE_HOME"]).glob("vdbevents/*/*.parquet"))
    plain, chance = Plain(files), random.Random(7)
    firsts, sums, steps = [], {}, []
    print(f"\n{journal.events:,} events, ms{'CPU':>9}{'p95':>10}{'wall':>10}{'DuckDB CPU':>12}{'wall':>8}")
    for _ in range(3):
        with served(journal, environ) as server:
            before, begin = cpu_seconds(server.pid), time.perf_counter()
            span = server.get("recording")["span"]
            server.get("timeline", since=span[0], until=span[1], parts=MAP_PARTS)
            server.measured(tuple(span))
            firsts.append(Cost(cpu_seconds(server.pid) - before, time.perf_counter() - begin))
    row("the first of all", firsts, [plain.measured(tuple(span))])
    with served(journal, environ) as server:
        server.measured(tuple(span))
        server.measured((span[1] - 3_600_000, span[1]))
        row("all again", [server.measured(tuple(span)) for _ in range(rounds)], [plain.measured(tuple(span))])
        for name, seconds in SECONDS.items():
            chosen = windows_in(chance, tuple(span), seconds, rounds)
            pairs = [(server.measured(window), plain.measured(window)) for window in chosen]
            ours = [pair[0] for pair in pairs]
            row(name, ours, [pair[1] for pair in pairs])
            # The clock of processes has steps of 10 ms: sums differ by less.
            sums[name] = sum(cost.cpu for cost in ours)
            steps += [cost.cpu for cost in ours]
        row("all steps", [Cost(step, 0) for step in steps], [Cost(0, 0)])
        print(f"peak memory of the server: {peak_megabytes(server.pid):.0f} MB")
    first = median([cost.cpu for cost in firsts])
    is_fast = first <= FIRST_SECONDS and median(steps) <= STEP_SECONDS and late(steps) <= LATE_SECONDS
    return is_fast, sums


def measure_page(journal: GeneratedJournal, environ: dict[str, str]) -> bool:
    """Print what the page keeps after many steps; return whether that is within the targets."""
    if browser_path() is None:
        print("\nno Chromium: the page is not measured")
        return True
    resident = {}
    with served(journal, environ) as server, opened_browser() as new_page:
        page = new_page()
        page.size(1280, 860)
        page.open(server.address)
        page.call("Performance.enable")
        page.wait_for("document.documentElement.dataset.ready === '1'")
        print(f"\n{'steps':>6}{'heap MB':>9}{'resident MB':>13}{'ms a step':>11}")
        chance, taken = random.Random(3), 0
        for steps in (0, 10, 100, 250, 500, 750, STEPS):
            begin = time.perf_counter()
            while taken < steps:
                page.press(chance.choice(("+", "+", "-", "-", "ArrowLeft", "ArrowRight")))
                page.wait_for("document.getElementById('lanes').getAttribute('aria-busy') === 'false'")
                taken += 1
                if taken % 50 == 0:
                    page.press("a")
            each = 1000 * (time.perf_counter() - begin) / max(1, steps)
            page.call("HeapProfiler.collectGarbage")
            metrics = {one["name"]: one["value"] for one in page.call("Performance.getMetrics")["metrics"]}
            resident[steps] = resident_megabytes()
            heap = metrics["JSHeapUsedSize"] / 1e6
            print(f"{steps:>6}{heap:>9.1f}{resident[steps]:>13.0f}{each:>11.0f}")
    return resident[STEPS] < PAGE_MEGABYTES and resident[STEPS] <= PAGE_GROWTH * resident[STEPS // 2]


def resident_megabytes() -> float:
    """Return the resident size of the process that draws the page: the largest of its kind below this one."""
    found = (one for one in psutil.Process().children(recursive=True) if "--type=renderer" in one.cmdline())
    return max(one.memory_info().rss for one in found) / 1e6


def main() -> int:
    """Measure the journals; return 1 if one is too slow."""
    arguments = dict(enumerate(sys.argv))
    rounds = int(arguments.get(1, 30))
    results, sums = [], []
    with folder_for(arguments.get(2)) as folder:
        for events in [int(one) for one in sys.argv[3:]] or (1_010_313, 15_000_000):
            journal = generate(folder / f"events-{events}", events)
            environ = {**os.environ, "XDG_CACHE_HOME": str(folder / f"view-cache-{events}"), "TZ": "UTC"}
            subprocess.run([*VDBEVENTS, "cache", "build", str(journal.path)], env=environ, check=True)
            is_fast, found = measure_server(journal, environ, rounds)
            results.append(is_fast)
            sums.append(found)
        print("\nCPU of a window in the largest journal, of that in the smallest:")
        for name, least in sums[0].items():
            ratio = sums[-1][name] / max(least, 0.01)
            print(f"{name:<20}{ratio:>10.2f}")
            results.append(ratio <= MOST_GROWTH)
        results.append(measure_page(journal, environ))
    print("all within the targets" if all(results) else "not within the targets")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
