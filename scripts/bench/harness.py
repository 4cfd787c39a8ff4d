"""Shared by the benchmarks: the emulator and listeners as processes, their figures, medians."""

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
    """A running emulator: its base URL, and the environment that points a client at it."""

    url: str
    environ: Mapping[str, str]

    def request(self, path: str, **body: object) -> dict:
        """Post to a control endpoint; return the answer."""
        content = json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}/emulator/{path}", content, timeout=600) as answer:
            return json.load(answer)


@contextmanager
def server(settings: Mapping[str, str] = {}) -> Iterator[Server]:
    """Run the emulator on a free port, without autoplay; `settings` are for its clients' environment."""
    command = [*VDBEVENTS, "emulator", "--no-autoplay"]
    with scratch() as cache, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            where = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
            environ = {**os.environ, **settings, **where, "XDG_CACHE_HOME": cache}
            yield Server(where["VIDEO_DB_API"], environ)
        finally:
            process.terminate()


@contextmanager
def recorder(command: tuple[str, ...], running: Server) -> Iterator["subprocess.Popen[str]"]:
    """Run a listener, from the moment it prints its WS_ID; what it says on stderr is not shown."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=running.environ, **options) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith("WS_ID="):
                raise SystemExit(f"{command} did not connect")
            yield process
        finally:
            process.terminate()


def journal_of(directory: str) -> Path:
    """Return the path of the journal in a state directory."""
    return Path(directory) / "videodb_events.jsonl"


def scratch() -> tempfile.TemporaryDirectory:
    """Return a temporary directory for one run, as a context manager."""
    return tempfile.TemporaryDirectory(prefix="vdbevents-bench-")


@contextmanager
def folder_for(name: str | None) -> Iterator[Path]:
    """Yield a folder for journals: the named one, which is kept, or else a temporary one."""
    if name is not None:
        yield Path(name).absolute()
        return
    with scratch() as made:
        yield Path(made)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process so far, in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """Return the largest resident size of a process so far, in megabytes (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def await_true(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Wait until a condition holds; end the program if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"timed out after {seconds:g} s")
        time.sleep(0.005)


def count_lines(path: Path, containing: bytes) -> int:
    """Count the lines of a file that contain some bytes."""
    with path.open("rb") as handle:
        return sum(containing in line for line in handle)


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def spread(values: list[float], unit: str, digits: int = 1) -> str:
    """Format the median and the range."""
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"
