#!/usr/bin/env python3
"""Measure how fast vdbevents, DuckDB, jq, grep and plain Python answer questions, as whole processes."""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path

from harness import median, scratch
from journal import COMMON, RARE, GeneratedJournal, generate

HELP = """
Each time is that of a whole new process: the median of --repeats, all tools in turn, after a warm-up that
does not count, so the journal is in the page cache. A tool that takes longer than --slow is not repeated.

All tools get the same question: `vdbevents query` runs with --interim, unless a row says otherwise (by
default it hides transcripts that a final one replaced). The table says whether the answers agree.

cases:
  seal  `vdbevents cache build` without a cache; later cases use the cache. For DuckDB, a plain copy into
        Parquet with the texts in lower case
  a     events with a common word in the last ten minutes of the journal
  b     events with a rare word in the whole journal
  c     the newest 20 events with a common word
  d     counts by channel and hour
  cold  case a, with an empty cache each time

Journals in --work are used again: questions refer to the end of the journal. A --case without `seal` uses
the existing cache. 15 million events are 4.4 GB and take an hour. Failures are reported, and the other tools
continue. Exit codes: 0 measured, 1 answers differ.
"""

PROGRAM = str(Path(sys.executable).with_name("vdbevents"))
LEAST = "import typer, duckdb; duckdb.sql('select 1').fetchall()"

# Targets: see `requirements`.
LEAST_RATIO, GROWTH_RATIO, COLD_RATIO = 1.5, 1.2, 1.3
SEAL_SECONDS, SEAL_PERCENT, SEAL_MEGABYTES = 2.0, 30.0, 500.0

OURS, OURS_PLAIN = "vdbevents", "vdbevents, no --interim"
DUCKDB, JQ, PYTHON, LEAST_NAME = "DuckDB", "jq", "Python", "import typer, duckdb"
# Finds lines with a word, for jq to parse.
FINDER = "rg" if shutil.which("rg") else "grep"
FINDER_JQ = "ripgrep + jq" if FINDER == "rg" else "grep + jq (no rg)"

# -- The questions, for each tool ------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """Events with a word: of the last minutes, or only the newest."""

    word: str
    minutes: int | None = None
    newest: int | None = None

    def since(self, journal: GeneratedJournal) -> int:
        """Return the begin of the window in Unix seconds."""
        return journal.end - self.minutes * 60

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options of `vdbevents query`, without the end of the window."""
        last = ("--last", f"{self.minutes}m") if self.minutes else ()
        newest = ("-n", str(self.newest)) if self.newest else ()
        return (*last, "--grep", self.word, *newest)


class Cache(Enum):
    """$XDG_CACHE_HOME of a process: kept, empty and removed afterwards, or emptied to be filled."""

    KEPT = auto()
    EMPTY = auto()
    REBUILT = auto()


@dataclass(frozen=True)
class Tool:
    """A command that answers a question."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    compared: bool = True
    cache: Cache = Cache.KEPT


def vdbevents_query(question: Question, journal: GeneratedJournal, *options: str) -> tuple[str, ...]:
    ending = ("--until", f"@{journal.end}") if question.minutes else ()
    return (PROGRAM, "query", str(journal.path), *question.options, *ending, *options, "-o", "jsonl")


def vdbevents_counts(journal: GeneratedJournal) -> tuple[str, ...]:
    # Hours as jq and Python count them: calendar hours of a time zone double the time.
    sql = """SELECT channel, epoch_us(time) // 3600000000 AS hour, count(*)
        FROM events GROUP BY ALL ORDER BY ALL"""
    return (PROGRAM, "sql", " ".join(sql.split()), str(journal.path))


def vdbevents_seal(journal: GeneratedJournal) -> tuple[str, ...]:
    return (PROGRAM, "cache", "build", str(journal.path))


def _journal(journal: GeneratedJournal, columns: str) -> str:
    form = f"format = 'newline_delimited', columns = {columns}, ignore_errors = true"
    return f"read_json('{journal.path}', {form})"


def _duckdb(sql: str) -> tuple[str, ...]:
    # Run with -c, DuckDB takes the program for interactive, and prints a progress bar into the answer.
    script = """
import duckdb, sys
duckdb.execute("SET enable_progress_bar = false")
for row in duckdb.execute(sys.argv[1]).fetchall():
    print(*row)
"""
    return (sys.executable, "-c", script, sql)


def _duckdb_select(journal: GeneratedJournal, what: str, rest: str) -> tuple[str, ...]:
    columns = "{ts: 'VARCHAR', unix_ts: 'DOUBLE', channel: 'VARCHAR', data: 'STRUCT(text VARCHAR)'}"
    return _duckdb(f"SELECT {what} FROM {_journal(journal, columns)} {rest}")


def duckdb_copy(journal: GeneratedJournal) -> tuple[str, ...]:
    """Return a lower bound for sealing: no word index, no lines, no checks."""
    said = 'STRUCT(text VARCHAR, is_final BOOLEAN, start DOUBLE, "end" DOUBLE)'
    columns = f"""{{ts: 'VARCHAR', unix_ts: 'DOUBLE', channel: 'VARCHAR', rtstream_id: 'VARCHAR',
        rtstream_name: 'VARCHAR', data: '{said}'}}"""
    copied = "* EXCLUDE data, data.*, lower(data.text) AS lower_text"
    copy = f"COPY (SELECT {copied} FROM {_journal(journal, columns)}) TO 'copy.parquet' (FORMAT parquet)"
    return _duckdb(copy)


def duckdb_query(question: Question, journal: GeneratedJournal) -> tuple[str, ...]:
    window = (
        f"unix_ts >= {question.since(journal)} AND unix_ts < {journal.end} AND " if question.minutes else ""
    )
    newest = f" ORDER BY unix_ts DESC LIMIT {question.newest}" if question.newest else ""
    return _duckdb_select(
        journal, "ts, channel, data.text", f"WHERE {window}data.text ILIKE '%{question.word}%'{newest}"
    )


def duckdb_counts(journal: GeneratedJournal) -> tuple[str, ...]:
    hour = "time_bucket(INTERVAL 1 HOUR, epoch_ms((unix_ts * 1000)::BIGINT)) AS hour"
    return _duckdb_select(journal, f"channel, {hour}, count(*)", "GROUP BY ALL ORDER BY ALL")


def _shell(*stages: tuple[str, ...]) -> tuple[str, ...]:
    # The C locale: grep and sort are several times slower in others.
    return ("env", "LC_ALL=C", "sh", "-c", " | ".join(map(shlex.join, stages)))


def jq_query(
    question: Question, journal: GeneratedJournal, *, after: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return a pipeline of jq alone, or of a command `after` which jq runs."""
    window = (
        f".unix_ts >= {question.since(journal)} and .unix_ts < {journal.end} and " if question.minutes else ""
    )
    look = ("jq", "-c", f'select({window}(.data.text // "" | test("{question.word}"; "i")))')
    newest = (("tail", "-n", str(question.newest)),) if question.newest else ()
    if after:
        return _shell((*after, question.word, str(journal.path)), look, *newest)
    return _shell((*look, str(journal.path)), *newest)


def jq_counts(journal: GeneratedJournal) -> tuple[str, ...]:
    keys = r'"\(.channel) \(.unix_ts / 3600 | floor)"'
    add = "{n[$0]++} END {for (key in n) print key, n[key]}"
    return _shell(("jq", "-r", keys, str(journal.path)), ("awk", add), ("sort",))


def python_query(question: Question, journal: GeneratedJournal) -> tuple[str, ...]:
    window = f"{question.since(journal)} <= event['unix_ts'] < {journal.end} and " if question.minutes else ""
    script = f"""
import collections, json, sys
found = collections.deque(maxlen={question.newest})
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        event = json.loads(line)
        if {window}{question.word!r} in event["data"].get("text", "").lower():
            found.append(line)
sys.stdout.writelines(found)
"""
    return (sys.executable, "-c", script, str(journal.path))


def python_counts(journal: GeneratedJournal) -> tuple[str, ...]:
    script = """
import collections, json, sys
counts = collections.Counter()
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        event = json.loads(line)
        counts[event["channel"], event["unix_ts"] // 3600] += 1
for (channel, hour), count in sorted(counts.items()):
    print(channel, int(hour), count)
"""
    return (sys.executable, "-c", script, str(journal.path))


# -- Comparing answers -----------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """The answer of a tool: a summary to show, and a digest to compare."""

    shown: str
    digest: str


def lines_answer(output: bytes) -> Answer:
    """Identify the events by their times of receipt, which are distinct."""
    lines = output.splitlines()
    times = sorted(re.findall(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", line)[:1] for line in lines)
    shown = f"{len(lines):,} lines" if lines else "nothing"
    return Answer(shown, hashlib.sha256(repr(times).encode()).hexdigest())


def counts_answer(output: bytes) -> Answer:
    """Identify counts by channel and number, however a tool formats hours; skip the frame of a table."""
    counts = []
    for line in output.decode().splitlines():
        words = re.findall(r"[\w.,:+-]+", line.replace(",", " "))
        if len(words) > 2 and words[-1].isdecimal():
            counts.append((words[0], int(words[-1])))
    total = sum(count for _, count in counts)
    return Answer(
        f"{len(counts):,} rows of {total:,}", hashlib.sha256(repr(sorted(counts)).encode()).hexdigest()
    )


def empty_answer(_: bytes) -> Answer:
    """Return no answer: sealing has none."""
    return Answer("", "")


# -- The cases -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A question, and the tools that answer it."""

    key: str
    events: int
    title: str
    answer_of: Callable[[bytes], Answer]
    tools: tuple[Tool, ...]


RECENT = Question(COMMON, minutes=10)
FINDS = {"a": RECENT, "b": Question(RARE), "c": Question(COMMON, newest=20)}


def cases(journal: GeneratedJournal) -> Iterator[Case]:
    """Yield all cases for one journal; sealing first, because the others use its cache."""
    sealing = Tool(OURS, vdbevents_seal(journal), compared=False, cache=Cache.REBUILT)
    copying = Tool(DUCKDB, duckdb_copy(journal), compared=False)
    yield Case("seal", journal.events, "vdbevents cache build", empty_answer, (sealing, copying))
    finder = ("rg", "-N", "-i", "-F") if FINDER == "rg" else ("grep", "-i", "-F")
    for key, question in FINDS.items():
        tools = [
            Tool(OURS, vdbevents_query(question, journal, "--interim")),
            Tool(OURS_PLAIN, vdbevents_query(question, journal), compared=False),
            Tool(DUCKDB, duckdb_query(question, journal)),
            Tool(FINDER_JQ, jq_query(question, journal, after=finder), (FINDER, "jq")),
            Tool(JQ, jq_query(question, journal), ("jq",)),
            Tool(PYTHON, python_query(question, journal)),
        ]
        if key == "a":
            tools.append(Tool(LEAST_NAME, (sys.executable, "-c", LEAST), compared=False))
        yield Case(
            key, journal.events, f"vdbevents query {shlex.join(question.options)}", lines_answer, tuple(tools)
        )
    counting = (
        Tool(OURS, vdbevents_counts(journal)),
        Tool(DUCKDB, duckdb_counts(journal)),
        Tool(JQ, jq_counts(journal), ("jq", "awk")),
        Tool(PYTHON, python_counts(journal)),
    )
    yield Case("d", journal.events, "vdbevents sql: counts by channel and hour", counts_answer, counting)
    cold = (
        Tool(OURS, vdbevents_query(RECENT, journal, "--interim"), cache=Cache.EMPTY),
        Tool(OURS_PLAIN, vdbevents_query(RECENT, journal), compared=False, cache=Cache.EMPTY),
        Tool(DUCKDB, duckdb_query(RECENT, journal)),
    )
    title = f"vdbevents query {shlex.join(RECENT.options)}, cache empty"
    yield Case("cold", journal.events, title, lines_answer, cold)


# -- Measuring ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunLimits:
    """The number of repeats, and time limits in seconds."""

    repeats: int
    slow: float
    timeout: float


@dataclass
class Result:
    """The measurements of a tool in a case; other tools may use the same cache folder."""

    tool: Tool
    case: Case
    cache: Path
    seconds: list[float] = field(default_factory=list)
    answers: set[Answer] = field(default_factory=set)
    failed: str = ""
    peak_megabytes: float = 0.0
    cache_bytes: int = 0

    def run(self, timeout: float) -> None:
        """Run the tool once more, unless it has failed."""
        missing = [name for name in self.tool.needs if not shutil.which(name)]
        if missing:
            self.failed = f"not installed: {' '.join(missing)}"
        if self.failed:
            return
        with scratch() as directory, self._caching() as cache:
            private = {"XDG_CACHE_HOME": cache, "XDG_STATE_HOME": directory, "XDG_CONFIG_HOME": directory}
            # Without the second, each start compiles the modules that it imports.
            left_out = ("VDBEVENTS_", "PYTHONDONTWRITEBYTECODE")
            environ = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
            out, err = Path(directory, "out"), Path(directory, "err")
            with out.open("wb") as sink, err.open("wb") as complaints:
                seconds, code, peak = run_once(
                    self.tool.command,
                    timeout,
                    env={**environ, "TZ": "UTC", **{name: str(path) for name, path in private.items()}},
                    cwd=directory,
                    stdout=sink,
                    stderr=complaints,
                )
            if code != 0:
                errors = [line for line in err.read_text(errors="replace").splitlines() if line.strip()]
                reason = f"longer than {timeout:g} s" if code is None else f"exit {code}"
                self.failed = f"{reason}: {errors[-1]}" if errors else reason
                return
            self.seconds.append(seconds)
            self.answers.add(self.case.answer_of(out.read_bytes()))
            self.peak_megabytes = max(self.peak_megabytes, peak)
            self.cache_bytes = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())

    @contextmanager
    def _caching(self) -> Iterator[Path]:
        if self.tool.cache is Cache.EMPTY:
            aside = {"prefix": "cold-", "dir": self.cache.parent, "ignore_cleanup_errors": True}
            with tempfile.TemporaryDirectory(**aside) as empty:
                yield Path(empty)
            return
        if self.tool.cache is Cache.REBUILT:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        yield self.cache


def take_turns(results: list[Result], limits: RunLimits) -> list[Result]:
    """Run all tools in turn: a warm-up, then the repeats."""
    for result in results:
        result.run(limits.timeout)
        outcome = result.failed or f"{result.seconds[0]:.2f} s"
        print(
            f"{result.case.events:,} events, {result.case.key}, {result.tool.name}: {outcome}",
            file=sys.stderr,
        )
    again = [result for result in results if result.seconds and result.seconds[0] <= limits.slow]
    for result in again:
        result.seconds.clear()
    for _ in range(limits.repeats):
        for result in again:
            result.run(limits.timeout)
    return results


def run_once(
    command: tuple[str, ...], timeout: float, *, env: Mapping[str, str], **options: object
) -> tuple[float, int | None, float]:
    """Return the seconds, exit code (None after the timeout) and peak megabytes of a new process."""
    overdue = threading.Event()
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True, **options)

    def end() -> None:
        overdue.set()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        end()
        raise
    finally:
        timer.cancel()
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return seconds, None if overdue.is_set() else process.returncode, peak


# -- Reporting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """The results of one journal, by case key."""

    journal: GeneratedJournal
    cases: list[Case]
    results: Mapping[str, list[Result]]
    growth: list[Result]  # case a again, with the journals in turn

    def seconds(self, key: str, name: str) -> list[float]:
        """Return the times of a tool in a case; empty if it failed or did not run."""
        return seconds_of(self.results.get(key, ()), name)


def seconds_of(results: Iterable[Result], name: str) -> list[float]:
    """Return the times of a tool; empty if it failed or is not among the results."""
    return next((result.seconds for result in results if result.tool.name == name and not result.failed), [])


def ratio(above: list[float], below: list[float]) -> float | None:
    """Return the median of the ratios if measured in turn, else the ratio of the medians."""
    if not above or not below:
        return None
    if len(above) == len(below):
        return median([a / b for a, b in zip(above, below, strict=True)])
    return median(above) / median(below)


def agree(results: list[Result]) -> bool:
    """Return whether all answers of the tools to compare are the same."""
    answers = [answer for result in results if result.tool.compared for answer in result.answers]
    return len({answer.digest for answer in answers}) <= 1


def print_case(report: Report, case: Case) -> None:
    """Print a row for each tool."""
    results = report.results[case.key]
    print(f"\n{case.key}: {case.title}, {report.journal.events:,} events")
    print(f"  {'':<24} {'seconds':>9}  {'least to most':>19}  {'runs':>4}  {'relative':>12}  answer")
    ours = report.seconds(case.key, OURS)
    for result in results:
        name, seconds = result.tool.name, result.seconds
        if result.failed:
            print(f"  {name:<24} failed: {result.failed}")
            continue
        least_to_most = f"{min(seconds):.3f} to {max(seconds):.3f}"
        relative = ratio(seconds, ours)
        shown = "" if relative is None else f"{relative:.2f}"
        summary = " and ".join(sorted({answer.shown for answer in result.answers}))
        figures = f"{median(seconds):>9.3f}  {least_to_most:>19}  {len(seconds):>4}  {shown:>12}"
        print(f"  {name:<24} {figures}  {summary}".rstrip())
    compared = [result.tool.name for result in results if result.tool.compared and result.answers]
    if len(compared) > 1:
        print(f"  the answers of {len(compared)} {'agree' if agree(results) else 'DIFFER'}")


def requirements(reports: list[Report]) -> Iterator[tuple[str, float | None, float]]:
    """Yield each target: its name, the figure, and the maximum."""
    for report in reports:
        size = f"{report.journal.events:,} events"
        for name in (OURS, OURS_PLAIN):
            least = ratio(report.seconds("a", name), report.seconds("a", LEAST_NAME))
            yield f"a relative to {LEAST_NAME}, {size}{_manner(name)}", least, LEAST_RATIO
    for fewer, more in pairwise(reports):
        for name in (OURS, OURS_PLAIN):
            growth = ratio(seconds_of(more.growth, name), seconds_of(fewer.growth, name))
            sizes = f"{more.journal.events:,} relative to {fewer.journal.events:,} events"
            yield f"a on {sizes}{_manner(name)}", growth, GROWTH_RATIO
    for report in reports:
        size = f"{report.journal.events:,} events"
        for name in (OURS, OURS_PLAIN):
            cold = ratio(report.seconds("cold", name), report.seconds("cold", DUCKDB))
            yield f"a, cache empty, relative to {DUCKDB}, {size}{_manner(name)}", cold, COLD_RATIO
    for report in reports:
        size = f"{report.journal.events:,} events"
        took = report.seconds("seal", OURS)
        sealed = report.results["seal"][0] if took else None
        yield (
            f"sealing, seconds per million, {size}",
            median(took) / report.journal.events * 1e6 if sealed else None,
            SEAL_SECONDS,
        )
        yield (
            f"cache, % of the journal, {size}",
            sealed.cache_bytes / report.journal.size * 100 if sealed else None,
            SEAL_PERCENT,
        )
        yield f"sealing, peak MB, {size}", sealed.peak_megabytes if sealed else None, SEAL_MEGABYTES


def _manner(name: str) -> str:
    return name.removeprefix(OURS)


def print_requirements(reports: list[Report]) -> None:
    """Print a line for each target."""
    print(f"\n{'target':<72} {'figure':>9}  {'at most':>8}")
    for words, figure, most in requirements(reports):
        if figure is None:
            print(f"{words:<72} {'-':>9}  {most:>8.2f}  not measured")
        else:
            verdict = "reached" if figure <= most else "NOT REACHED"
            print(f"{words:<72} {figure:>9.2f}  {most:>8.2f}  {verdict}")


# -- The command -----------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = {"metavar": "N", "type": int, "action": "append"}
    parser.add_argument(
        "--events", **sizes, help="size of a journal; repeatable. Default: 1000000 and 15000000"
    )
    parser.add_argument("--repeats", metavar="K", type=int, default=5, help="after the warm-up. Default: 5")
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        help="keep journals and caches here. Default: a temporary directory",
    )
    keys = ("seal", "a", "b", "c", "d", "cold")
    parser.add_argument(
        "--case", choices=keys, action="append", help="only this one; repeatable. Default: all"
    )
    parser.add_argument(
        "--slow",
        metavar="SECONDS",
        type=float,
        default=20.0,
        help="do not repeat what takes longer. Default: 20",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=1800.0,
        help="time limit of a process. Default: 1800",
    )
    arguments = parser.parse_args()
    if arguments.repeats < 1 or min(arguments.events or [1]) < 1:
        parser.error("--events and --repeats: must be at least 1")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    limits = RunLimits(arguments.repeats, arguments.slow, arguments.timeout)
    reports: list[Report] = []
    with scratch() as directory:
        work = (arguments.work or Path(directory)).absolute()
        for events in sorted(set(arguments.events or (1_000_000, 15_000_000))):
            print(f"{events:,} events: generating the journal", file=sys.stderr)
            journal = generate(work / f"events-{events}", events)
            cache = work / f"cache-{events}"
            chosen = [case for case in cases(journal) if case.key in (arguments.case or [case.key])]
            results = {
                case.key: take_turns([Result(tool, case, cache) for tool in case.tools], limits)
                for case in chosen
            }
            growth = [
                Result(result.tool, result.case, cache)
                for result in results.get("a", ())
                if result.tool.name in (OURS, OURS_PLAIN)
            ]
            reports.append(Report(journal, chosen, results, growth))
        if len(reports) > 1:
            alternating = zip(*(report.growth for report in reports), strict=True)
            take_turns([result for sizes in alternating for result in sizes], limits)
        for report in reports:
            print(f"\n== {report.journal.events:,} events, {report.journal.size / 1e6:,.1f} MB")
            for case in report.cases:
                print_case(report, case)
        print_requirements(reports)
    return 0 if all(agree(results) for report in reports for results in report.results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
