"""What the benchmarks share: a server and listeners as processes, their figures, and medians."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
VDBEVENTS = (sys.executable, "-m", "vdbevents")


@dataclass(frozen=True)
class Server:
    """The emulator: its base URL, and what points a client at it."""

    url: str
    environ: Mapping[str, str]

    def request(self, path: str, **body: object) -> dict:
        """Posts to a control endpoint."""
        content = json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}/emulator/{path}", content, timeout=600) as answer:
            return json.load(answer)


@contextmanager
def server() -> Iterator[Server]:
    """The emulator on a free port, playing nothing by itself."""
    command = [*VDBEVENTS, "emulator", "--no-autoplay"]
    with scratch() as cache, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            settings = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
            environ = {**os.environ, **settings, "XDG_CACHE_HOME": cache}
            yield Server(settings["VIDEO_DB_API"], environ)
        finally:
            process.terminate()


@contextmanager
def recorder(command: tuple[str, ...], running: Server) -> Iterator["subprocess.Popen[str]"]:
    """A listener that has said its WS_ID."""
    with subprocess.Popen(command, env=running.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith("WS_ID="):
                raise SystemExit(f"{command} did not connect")
            yield process
        finally:
            process.terminate()


def journal_of(directory: str) -> Path:
    """The journal in a state directory."""
    return Path(directory) / "videodb_events.jsonl"


def scratch() -> tempfile.TemporaryDirectory:
    """A folder for one run."""
    return tempfile.TemporaryDirectory(prefix="vdbevents-bench-")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """The largest resident size of a process so far (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def await_true(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it did not happen in time")
        time.sleep(0.005)


def count_lines(path: Path, containing: bytes) -> int:
    """How many lines of a file hold some bytes."""
    with path.open("rb") as handle:
        return sum(containing in line for line in handle)


def median(values: list[float]) -> float:
    """The middle of what was measured."""
    return statistics.median(values)


def spread(values: list[float], unit: str, digits: int = 1) -> str:
    """Median and range, to be read."""
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"
