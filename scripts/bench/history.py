#!/usr/bin/env python3
"""Measure questions over a whole sealed history, exports and sealing, each beside its reference.

usage: history.py [--rounds N] [--work DIR] [--rg PROGRAM] [--steps STEP,…] [--slow SECONDS] [--limit SECONDS]
                  [EVENTS|JOURNAL …]
       EVENTS    generate a journal of so many events, in DIR, which is kept; default: 1000000
       JOURNAL   the path of a journal that there is; its cache is kept in DIR, too
       STEP      sealing, questions, exports, growth; default: all. Without sealing, DIR has the caches.
       --slow    what takes longer, in seconds of CPU, runs only once; default: 5
       --limit   what takes longer, in seconds of time, is ended, and counts as missed; default: 120
references: DuckDB on the raw file, `rg -c` (ripgrep, if it is installed), `cat`, `tac`, DuckDB's COPY
targets: see BOUNDS, EXPORTS and main(); those of a journal of ten million events or more are the stricter

All figures are CPU seconds of whole processes, user and system, the median of N rounds in which the tools
take turns: what else the machine does changes them less than the time that passes.
With two journals the last table compares the first with the last: what must not grow.
"""

import argparse
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import VDBEVENTS, cpu_seconds, folder_for, median
from journal import COMMON, RARE, generate

MANY = 10_000_000

Command = Sequence[str]


@dataclass
class Subject:
    """A journal to measure, with the environment that names its cache, and ripgrep, if it is installed."""

    path: Path
    events: int
    end: int
    environ: dict[str, str]
    rg: str | None = None

    def since(self, hours: float) -> tuple[str, str]:
        """Return the option of a window that ends with the journal."""
        return "--since", datetime.fromtimestamp(self.end - hours * 3600, UTC).isoformat()


@dataclass(frozen=True)
class Question:
    """A question, for each tool: options of `query`, a condition for DuckDB, a pattern for ripgrep."""

    options: Command
    condition: str
    pattern: str


QUESTIONS = {
    "rare word": Question(("--grep", RARE), f"data.text ILIKE '%{RARE}%'", RARE),
    "rare phrase": Question(
        ("--grep", "calendar contract email"),
        "data.text ILIKE '%calendar contract email%'",
        "calendar contract email",
    ),
    "common word": Question(("--grep", COMMON), f"data.text ILIKE '%{COMMON}%'", COMMON),
    "expression": Question(
        ("-E", "--grep", "deplo[yi] re[a-z]+"),
        "regexp_matches(data.text, 'deplo[yi] re[a-z]+', 'i')",
        "deplo[yi] re[a-z]+",
    ),
    "two words": Question(
        ("--grep", COMMON, "--grep", "invoice"),
        f"data.text ILIKE '%{COMMON}%' AND data.text ILIKE '%invoice%'",
        f"{COMMON}.*invoice|invoice.*{COMMON}",
    ),
    "--not": Question(("--not", COMMON), f"NOT coalesce(data.text ILIKE '%{COMMON}%', false)", "^"),
    "--channel": Question(("--channel", "alert"), "channel = 'alert'", '"channel":"alert"'),
    "everything": Question((), "true", "^"),
}


@dataclass
class Effort:
    """How long a command may take, and how often it runs."""

    rounds: int = 3
    slow: float = 5.0
    limit: float = 120.0


EFFORT = Effort()


def spent(command: Command, environ: dict[str, str] | None = None, output: object = None) -> float:
    """Return the CPU seconds of a command, with its children; infinite if it fails, or does not end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    sink = subprocess.DEVNULL if output is None else output
    options = {"stdout": sink, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, env=environ, **options) as process:
        try:
            code = process.wait(EFFORT.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return math.inf
    if code not in (0, 1, 3):  # no match; of `status`: nothing records
        print(f"failed with {code}: {' '.join(command)}", file=sys.stderr)
        return math.inf
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(tools: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median of each tool; in each round those that are not slow take turns."""
    runs: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(EFFORT.rounds):
        for name, run in tools.items():
            if not runs[name] or runs[name][0] <= EFFORT.slow:
                runs[name].append(run())
    return {name: median(of) for name, of in runs.items()}


class Table:
    """A printed table; `missed` has what is not within its bound."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def head(self, title: str, *columns: str) -> None:
        """Begin a table."""
        print(f"\n{title}\n{'':<24}" + "".join(f"{column:>13}" for column in columns))

    def row(self, name: str, *values: float | str, bounds: Sequence[tuple[str, float, float]] = ()) -> None:
        """Print figures, and of each bound what was reached: its name, the figure, the most it may be."""
        shown = (f"{value:13.3f}" if isinstance(value, float) else f"{value:>13}" for value in values)
        verdicts = []
        for what, reached, most in bounds:
            verdicts.append(
                f"{what} {reached:.2f} (at most {most:.3g}){'' if reached <= most else ' MISSED'}"
            )
            if reached > most:
                self.missed.append(f"{name}: {what}")
        print(f"{name:<24}" + "".join(shown) + "   " + "; ".join(verdicts), flush=True)


def raw(subject: Subject) -> str:
    """Return DuckDB's SQL for the lines of a journal."""
    columns = "{unix_ts: 'DOUBLE', channel: 'VARCHAR', data: 'STRUCT(text VARCHAR)'}"
    form = f"format = 'newline_delimited', columns = {columns}, ignore_errors = true"
    return f"read_json('{subject.path}', {form})"


def duckdb_command(sql: str) -> Command:
    """Return a command that runs SQL in a database of its own."""
    script = "import duckdb, sys; duckdb.execute('SET enable_progress_bar = false'); "
    return sys.executable, "-c", script + "print(duckdb.execute(sys.argv[1]).fetchall())", sql


def ours(subject: Subject, *words: str) -> Callable[[], float]:
    """Return what measures a command of ours about a journal."""
    return lambda: spent([*VDBEVENTS, *words, str(subject.path)], subject.environ)


def sealing(subject: Subject, table: Table) -> None:
    """Seal the journal, and copy the same members with DuckDB; at last it is sealed."""
    copied = Path(subject.environ["XDG_CACHE_HOME"]) / "copied.parquet"
    said = """STRUCT(text VARCHAR, is_final BOOLEAN, start DOUBLE, "end" DOUBLE, event_label VARCHAR,
        speaker VARCHAR, confidence DOUBLE, window_title VARCHAR)"""
    names = "ts", "channel", "event", "rtstream_id", "rtstream_name", "capture_session_id"
    texts = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    columns = f"{{{texts}, unix_ts: 'DOUBLE', backfilled: 'BOOLEAN', data: '{said}'}}"
    form = f"format = 'newline_delimited', columns = {columns}, ignore_errors = true"
    selected = f"SELECT * EXCLUDE data, data.* FROM read_json('{subject.path}', {form})"
    copying = duckdb_command(f"COPY ({selected}) TO '{copied}' (FORMAT parquet, COMPRESSION zstd)")

    def build() -> float:
        shutil.rmtree(Path(subject.environ["XDG_CACHE_HOME"]) / "vdbevents", ignore_errors=True)
        return ours(subject, "cache", "build")()

    found = medians({"sealing": build, "COPY": lambda: spent(copying)})
    copied.unlink(missing_ok=True)
    folder = Path(subject.environ["XDG_CACHE_HOME"]) / "vdbevents"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    part = size / subject.path.stat().st_size * 100
    table.head("Sealing, CPU s", "vdbevents", "COPY")
    bounds = [("of COPY", found["sealing"] / found["COPY"], 1.5), ("% of the journal's size", part, 13.0)]
    table.row("cache build", found["sealing"], found["COPY"], bounds=bounds)


def questions(subject: Subject, table: Table) -> None:
    """Ask all of the history."""
    rg = subject.rg
    most = 1 / 6 if subject.events >= MANY else 1 / 3
    table.head("Questions, CPU s", "vdbevents", "hiding*", "DuckDB, raw", "rg -c")
    for name, asked in QUESTIONS.items():
        counting = ("query", *asked.options, "--count", "--all")
        tools = {
            "ours": ours(subject, *counting, "--interim"),
            "hiding": ours(subject, *counting),
            "DuckDB": lambda sql=asked.condition: spent(
                duckdb_command(f"SELECT count(*) FROM {raw(subject)} WHERE {sql}")
            ),
        }
        if rg:
            grep = [rg, "-c", "-i", asked.pattern, str(subject.path)]
            tools["rg"] = lambda grep=grep: spent(grep)
        _row(name, medians(tools), most, table)
    by_channel = "SELECT channel, count(*) FROM {} GROUP BY channel"
    tools = {
        "ours": ours(subject, "sql", by_channel.format("events")),
        "DuckDB": lambda: spent(duckdb_command(by_channel.format(raw(subject)))),
    }
    if rg:
        tools["rg"] = lambda: spent([rg, "-c", "^", str(subject.path)])
    _row("sql, by channel", medians(tools), most, table)
    found = medians({"ours": ours(subject, "query", "--unique", "--count")})
    table.row("--unique --count", found["ours"], "-", "-", "-")
    newest = {
        "ours": ours(subject, "query", "-n", "20"),
        "tac": lambda: spent(["sh", "-c", f"tac '{subject.path}' | head -20"]),
    }
    found = medians(newest)
    table.row("-n 20, and tac", found["ours"], "-", "-", found["tac"])
    early = median([first_line(subject) for _ in range(EFFORT.rounds)])
    table.row("until the first line", early, "-", "-", "-", bounds=[("CPU s", early, 0.3)])
    print("* without --interim: transcripts that others replaced are found and left out")


def _row(name: str, found: dict[str, float], most: float, table: Table) -> None:
    """Print what was found; ripgrep is a bound for a long journal only."""
    bounds = [("of DuckDB", found["ours"] / found["DuckDB"], most)]
    if "rg" in found and most < 1 / 3:
        bounds.append(("of rg", found["ours"] / found["rg"], 1.0))
    values = [found.get(tool, "-") for tool in ("ours", "hiding", "DuckDB", "rg")]
    table.row(name, *values, bounds=bounds)


def first_line(subject: Subject) -> float:
    """Return the CPU seconds that a query without filters takes until it prints (Linux)."""
    command = [*VDBEVENTS, "query", str(subject.path)]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=subject.environ, **quiet) as process:
        limit = threading.Timer(EFFORT.limit, process.kill)
        limit.start()
        line = process.stdout.readline()
        seconds = cpu_seconds(process.pid) if line else math.inf
        limit.cancel()
        process.kill()
    return seconds


EXPORTS = {"csv": 2.5, "md": 2.5}


def exports(subject: Subject, table: Table) -> None:
    """Print the last five days in each form."""
    window = subject.since(120)
    table.head("Exports of five days, CPU s", "vdbevents", "rows", "cat")
    with tempfile.TemporaryFile() as shown:
        spent([*VDBEVENTS, "query", *window, "--count", str(subject.path)], subject.environ, shown)
        shown.seek(0)
        rows = int(shown.read() or 1)
    for output, most in EXPORTS.items():
        found = medians({"ours": ours(subject, "query", *window, "-o", output)})
        million = found["ours"] / rows * 1e6
        table.row(f"-o {output}", found["ours"], f"{rows:,}", "-", bounds=[("a million", million, most)])
    for name, options in {"-o jsonl": (), "-o jsonl, all lines": ("--all", "--interim")}.items():
        with tempfile.NamedTemporaryFile() as copy:
            exporting = [*VDBEVENTS, "query", *window, *options, "-o", "jsonl", str(subject.path)]
            spent(exporting, subject.environ, copy)
            tools = {
                "ours": lambda exporting=exporting: spent(exporting, subject.environ),
                "cat": lambda path=copy.name: spent(["sh", "-c", f"cat '{path}' | cat"]),
            }
            found = medians(tools)
        bounds = [("of cat", found["ours"] / max(found["cat"], 0.001), 2.0)] if options else []
        table.row(name, found["ours"], "-", found["cat"], bounds=bounds)


STEADY = {
    "status": ("status",),
    "gaps": ("gaps",),
    "query of ten minutes": ("query", "SINCE"),
    "query --follow": ("query", "SINCE", "--follow", "--timeout", "1"),
    "sessions": ("sessions",),
}


def growth(first: Subject, last: Subject, table: Table) -> None:
    """Compare what must not grow with the journal."""
    table.head("What must not grow, CPU s", f"{first.events:,}", f"{last.events:,}")
    for name, words in STEADY.items():

        def of(subject: Subject, words: Command = words) -> Callable[[], float]:
            return ours(subject, *(part for word in words for part in _window(subject, word)))

        found = medians({"first": of(first), "last": of(last)})
        bounds = [("times", found["last"] / found["first"], 1.2)]
        table.row(name, found["first"], found["last"], bounds=bounds)


def _window(subject: Subject, word: str) -> Command:
    return subject.since(1 / 6) if word == "SINCE" else (word,)


def subjects(named: Sequence[str], work: Path) -> Iterator[Subject]:
    """Yield the journals that are named, by a number of events or by a path."""
    for name in named:
        path = Path(name)
        if name.isdecimal():
            made = generate(work / f"events-{name}", int(name))
            path, events = made.path, made.events
        else:
            path = path / "videodb_events.jsonl" if path.is_dir() else path
            with path.open("rb") as lines:
                events = sum(1 for _ in lines)
        with path.open("rb") as lines:
            lines.seek(max(path.stat().st_size - 4096, 0))
            end = int(json.loads(lines.read().splitlines()[-1])["unix_ts"]) + 1
        cache = work / f"cache-{events}"
        cache.mkdir(exist_ok=True)
        yield Subject(path.absolute(), events, end, {**os.environ, "XDG_CACHE_HOME": str(cache)})


@contextmanager
def arguments() -> Iterator[tuple[argparse.Namespace, Path]]:
    """Yield the arguments, and the folder for journals."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1], add_help=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work")
    parser.add_argument("--rg", default=shutil.which("rg"))
    parser.add_argument("--steps", default="sealing,questions,exports,growth")
    parser.add_argument("--slow", type=float, default=5.0)
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("journals", nargs="*", default=["1000000"])
    named = parser.parse_args()
    with folder_for(named.work) as work:
        work.mkdir(parents=True, exist_ok=True)
        yield named, work


STEPS = {"sealing": sealing, "questions": questions, "exports": exports}


def main() -> int:
    """Measure the journals; return 1 if something is not within its bound."""
    table = Table()
    with arguments() as (named, work):
        EFFORT.rounds, EFFORT.slow, EFFORT.limit = named.rounds, named.slow, named.limit
        chosen = named.steps.split(",")
        if "questions" in chosen and named.rg is None:
            print("ripgrep (rg) is not installed: its column is empty, and its bound is not checked")
        measured = list(subjects(named.journals, work))
        for subject in measured:
            subject.rg = named.rg
            size = subject.path.stat().st_size / 1e6
            print(f"\n== {subject.events:,} events, {size:,.0f} MB", flush=True)
            for name, step in STEPS.items():
                if name in chosen:
                    step(subject, table)
        if len(measured) > 1 and "growth" in chosen:
            growth(measured[0], measured[-1], table)
    print(f"\nmissed: {', '.join(table.missed)}" if table.missed else "\nall within the bounds")
    return int(bool(table.missed))


if __name__ == "__main__":
    sys.exit(main())
