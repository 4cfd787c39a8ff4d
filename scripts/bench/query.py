#!/usr/bin/env python3
"""How fast questions are answered, from shell to shell, beside DuckDB, jq, grep and a few lines of Python."""

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

from journal import COMMON, RARE, Made, make
from support import median, scratch

HELP = """
Every time is that of a whole process, fresh each time: the median of --repeats, the tools in turn, after a
warm-up that does not count; so the journal comes from memory. Of what takes longer than --slow the warm-up
is all there is.

All tools get the same question: so `vdbevents query` has --interim, unless a row says otherwise (by default
it leaves out transcripts that a final one replaced). Whether their answers agree is part of the table.

cases:
  seal  `vdbevents cache build`, from nothing; the cache is there for what follows. DuckDB's is the plain
        copy into Parquet, with the texts in lower case besides
  a     what holds a common word, in the journal's last ten minutes
  b     what holds a rare word, in all of it
  c     the newest 20 that hold a common word
  d     how many of each channel in each hour
  cold  a, with an empty cache each time

What --work keeps is used again: the questions are asked as of a journal's end. A --case without `seal` finds
the cache as it was left. 15 million events are 4.4 GB, and take an hour. What fails is told, and the rest
goes on. Exit codes: 0 measured, 1 answers differ.
"""

PROGRAM = str(Path(sys.executable).with_name("vdbevents"))
LEAST = "import typer, duckdb; duckdb.sql('select 1').fetchall()"

# What is asked for: see `requirements`.
LEAST_RATIO, GROWTH_RATIO, COLD_RATIO = 1.5, 1.2, 1.3
SEAL_SECONDS, SEAL_PERCENT, SEAL_MEGABYTES = 2.0, 30.0, 500.0

OURS, OURS_PLAIN = "vdbevents", "vdbevents, no --interim"
DUCKDB, JQ, PYTHON, LEAST_NAME = "DuckDB", "jq", "Python", "import typer, duckdb"
# What finds words before jq looks at them.
FINDER = "rg" if shutil.which("rg") else "grep"
FINDER_JQ = "ripgrep + jq" if FINDER == "rg" else "grep + jq (no rg)"

# -- The questions, for each tool ------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """The events that hold a word: since when, or only the newest."""

    word: str
    minutes: int | None = None
    newest: int | None = None

    def since(self, made: Made) -> int:
        """In Unix seconds."""
        return made.end - self.minutes * 60

    @property
    def options(self) -> tuple[str, ...]:
        """As a user of `vdbevents query` types it; a window needs `ending` besides."""
        last = ("--last", f"{self.minutes}m") if self.minutes else ()
        newest = ("-n", str(self.newest)) if self.newest else ()
        return (*last, "--grep", self.word, *newest)


class Cache(Enum):
    """What a process finds under $XDG_CACHE_HOME: what is there; nothing; nothing, to fill it for others."""

    KEPT = auto()
    EMPTY = auto()
    ANEW = auto()


@dataclass(frozen=True)
class Tool:
    """A command that answers a question."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    compared: bool = True
    cache: Cache = Cache.KEPT


def vdbevents_query(question: Question, made: Made, *options: str) -> tuple[str, ...]:
    ending = ("--until", f"@{made.end}") if question.minutes else ()
    return (PROGRAM, "query", str(made.path), *question.options, *ending, *options, "-o", "jsonl")


def vdbevents_counts(made: Made) -> tuple[str, ...]:
    # Hours as jq and Python count them; those of a time zone's calendar cost as much as all the rest.
    sql = """SELECT channel, epoch_us(time) // 3600000000 AS hour, count(*)
        FROM events GROUP BY ALL ORDER BY ALL"""
    return (PROGRAM, "sql", " ".join(sql.split()), str(made.path))


def vdbevents_seal(made: Made) -> tuple[str, ...]:
    return (PROGRAM, "cache", "build", str(made.path))


def _journal(made: Made, columns: str) -> str:
    form = f"format = 'newline_delimited', columns = {columns}, ignore_errors = true"
    return f"read_json('{made.path}', {form})"


def _duckdb(sql: str) -> tuple[str, ...]:
    # To DuckDB a program without a file is a person, for whom it draws its progress among the answer.
    script = """
import duckdb, sys
duckdb.execute("SET enable_progress_bar = false")
for row in duckdb.execute(sys.argv[1]).fetchall():
    print(*row)
"""
    return (sys.executable, "-c", script, sql)


def _duckdb_select(made: Made, what: str, rest: str) -> tuple[str, ...]:
    columns = "{ts: 'VARCHAR', unix_ts: 'DOUBLE', channel: 'VARCHAR', data: 'STRUCT(text VARCHAR)'}"
    return _duckdb(f"SELECT {what} FROM {_journal(made, columns)} {rest}")


def duckdb_copy(made: Made) -> tuple[str, ...]:
    """The least that there is to sealing: no word is looked up, no line kept, and nothing checked."""
    said = 'STRUCT(text VARCHAR, is_final BOOLEAN, start DOUBLE, "end" DOUBLE)'
    columns = f"""{{ts: 'VARCHAR', unix_ts: 'DOUBLE', channel: 'VARCHAR', rtstream_id: 'VARCHAR',
        rtstream_name: 'VARCHAR', data: '{said}'}}"""
    copied = "* EXCLUDE data, data.*, lower(data.text) AS lower_text"
    copy = f"COPY (SELECT {copied} FROM {_journal(made, columns)}) TO 'copy.parquet' (FORMAT parquet)"
    return _duckdb(copy)


def duckdb_query(question: Question, made: Made) -> tuple[str, ...]:
    window = f"unix_ts >= {question.since(made)} AND unix_ts < {made.end} AND " if question.minutes else ""
    newest = f" ORDER BY unix_ts DESC LIMIT {question.newest}" if question.newest else ""
    return _duckdb_select(
        made, "ts, channel, data.text", f"WHERE {window}data.text ILIKE '%{question.word}%'{newest}"
    )


def duckdb_counts(made: Made) -> tuple[str, ...]:
    hour = "time_bucket(INTERVAL 1 HOUR, epoch_ms((unix_ts * 1000)::BIGINT)) AS hour"
    return _duckdb_select(made, f"channel, {hour}, count(*)", "GROUP BY ALL ORDER BY ALL")


def _shell(*stages: tuple[str, ...]) -> tuple[str, ...]:
    # The C locale: grep and sort take several times as long in others.
    return ("env", "LC_ALL=C", "sh", "-c", " | ".join(map(shlex.join, stages)))


def jq_query(question: Question, made: Made, *, after: tuple[str, ...] = ()) -> tuple[str, ...]:
    """With a command `after` which jq comes, or alone."""
    window = f".unix_ts >= {question.since(made)} and .unix_ts < {made.end} and " if question.minutes else ""
    look = ("jq", "-c", f'select({window}(.data.text // "" | test("{question.word}"; "i")))')
    newest = (("tail", "-n", str(question.newest)),) if question.newest else ()
    if after:
        return _shell((*after, question.word, str(made.path)), look, *newest)
    return _shell((*look, str(made.path)), *newest)


def jq_counts(made: Made) -> tuple[str, ...]:
    keys = r'"\(.channel) \(.unix_ts / 3600 | floor)"'
    add = "{n[$0]++} END {for (key in n) print key, n[key]}"
    return _shell(("jq", "-r", keys, str(made.path)), ("awk", add), ("sort",))


def python_query(question: Question, made: Made) -> tuple[str, ...]:
    window = f"{question.since(made)} <= event['unix_ts'] < {made.end} and " if question.minutes else ""
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
    return (sys.executable, "-c", script, str(made.path))


def python_counts(made: Made) -> tuple[str, ...]:
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
    return (sys.executable, "-c", script, str(made.path))


# -- Their answers, to be compared -----------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What a tool answered: shown, and a digest of what it consists of."""

    shown: str
    digest: str


def told_lines(output: bytes) -> Told:
    """Which events were found: their times of receipt, of which no two are the same."""
    lines = output.splitlines()
    times = sorted(re.findall(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", line)[:1] for line in lines)
    shown = f"{len(lines):,} lines" if lines else "nothing"
    return Told(shown, hashlib.sha256(repr(times).encode()).hexdigest())


def told_counts(output: bytes) -> Told:
    """How many of which channel in an hour, however the hour is written; frames of a table do not count."""
    counts = []
    for line in output.decode().splitlines():
        words = re.findall(r"[\w.,:+-]+", line.replace(",", " "))
        if len(words) > 2 and words[-1].isdecimal():
            counts.append((words[0], int(words[-1])))
    total = sum(count for _, count in counts)
    return Told(
        f"{len(counts):,} rows of {total:,}", hashlib.sha256(repr(sorted(counts)).encode()).hexdigest()
    )


def told_nothing(_: bytes) -> Told:
    """Where nothing is asked."""
    return Told("", "")


# -- The cases -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A question, and who is asked."""

    key: str
    events: int
    title: str
    told: Callable[[bytes], Told]
    tools: tuple[Tool, ...]


RECENT = Question(COMMON, minutes=10)
FINDS = {"a": RECENT, "b": Question(RARE), "c": Question(COMMON, newest=20)}


def cases(made: Made) -> Iterator[Case]:
    """All of them, for one journal; sealing first, so that the others find what it leaves."""
    sealing = Tool(OURS, vdbevents_seal(made), compared=False, cache=Cache.ANEW)
    copying = Tool(DUCKDB, duckdb_copy(made), compared=False)
    yield Case("seal", made.events, "vdbevents cache build", told_nothing, (sealing, copying))
    finder = ("rg", "-N", "-i", "-F") if FINDER == "rg" else ("grep", "-i", "-F")
    for key, question in FINDS.items():
        tools = [
            Tool(OURS, vdbevents_query(question, made, "--interim")),
            Tool(OURS_PLAIN, vdbevents_query(question, made), compared=False),
            Tool(DUCKDB, duckdb_query(question, made)),
            Tool(FINDER_JQ, jq_query(question, made, after=finder), (FINDER, "jq")),
            Tool(JQ, jq_query(question, made), ("jq",)),
            Tool(PYTHON, python_query(question, made)),
        ]
        if key == "a":
            tools.append(Tool(LEAST_NAME, (sys.executable, "-c", LEAST), compared=False))
        yield Case(
            key, made.events, f"vdbevents query {shlex.join(question.options)}", told_lines, tuple(tools)
        )
    counting = (
        Tool(OURS, vdbevents_counts(made)),
        Tool(DUCKDB, duckdb_counts(made)),
        Tool(JQ, jq_counts(made), ("jq", "awk")),
        Tool(PYTHON, python_counts(made)),
    )
    yield Case("d", made.events, "vdbevents sql: counts by channel and hour", told_counts, counting)
    cold = (
        Tool(OURS, vdbevents_query(RECENT, made, "--interim"), cache=Cache.EMPTY),
        Tool(OURS_PLAIN, vdbevents_query(RECENT, made), compared=False, cache=Cache.EMPTY),
        Tool(DUCKDB, duckdb_query(RECENT, made)),
    )
    title = f"vdbevents query {shlex.join(RECENT.options)}, cache empty"
    yield Case("cold", made.events, title, told_lines, cold)


# -- Taking times ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """How often, and how long."""

    repeats: int
    slow: float
    timeout: float


@dataclass
class Result:
    """What becomes of a tool in a case, with a cache folder that others may have filled."""

    tool: Tool
    case: Case
    cache: Path
    seconds: list[float] = field(default_factory=list)
    told: set[Told] = field(default_factory=set)
    failed: str = ""
    peak_megabytes: float = 0.0
    cache_bytes: int = 0

    def run(self, timeout: float) -> None:
        """Once more; whoever has failed is left alone."""
        missing = [name for name in self.tool.needs if not shutil.which(name)]
        if missing:
            self.failed = f"not installed: {' '.join(missing)}"
        if self.failed:
            return
        with scratch() as directory, self._caching() as cache:
            private = {"XDG_CACHE_HOME": cache, "XDG_STATE_HOME": directory, "XDG_CONFIG_HOME": directory}
            # Without the second each start of each program would compile what it imports.
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
                said = [line for line in err.read_text(errors="replace").splitlines() if line.strip()]
                reason = f"longer than {timeout:g} s" if code is None else f"exit {code}"
                self.failed = f"{reason}: {said[-1]}" if said else reason
                return
            self.seconds.append(seconds)
            self.told.add(self.case.told(out.read_bytes()))
            self.peak_megabytes = max(self.peak_megabytes, peak)
            self.cache_bytes = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())

    @contextmanager
    def _caching(self) -> Iterator[Path]:
        if self.tool.cache is Cache.EMPTY:
            aside = {"prefix": "cold-", "dir": self.cache.parent, "ignore_cleanup_errors": True}
            with tempfile.TemporaryDirectory(**aside) as empty:
                yield Path(empty)
            return
        if self.tool.cache is Cache.ANEW:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        yield self.cache


def take_turns(results: list[Result], limits: Limits) -> list[Result]:
    """All of them in turn: once for warmth, then as often as they are to be repeated."""
    for result in results:
        result.run(limits.timeout)
        told = result.failed or f"{result.seconds[0]:.2f} s"
        print(
            f"{result.case.events:,} events, {result.case.key}, {result.tool.name}: {told}", file=sys.stderr
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
    """Seconds, exit code (None: it was ended for its length) and peak megabytes of a fresh process."""
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


# -- Telling it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """The results of one journal, by the case's key."""

    made: Made
    cases: list[Case]
    results: Mapping[str, list[Result]]
    growth: list[Result]  # `a` once more, with the journals in turn

    def seconds(self, key: str, name: str) -> list[float]:
        """What a tool took in a case; empty if it failed, or was not asked."""
        return seconds_of(self.results.get(key, ()), name)


def seconds_of(results: Iterable[Result], name: str) -> list[float]:
    """What a tool took; empty if it failed, or is not among them."""
    return next((result.seconds for result in results if result.tool.name == name and not result.failed), [])


def ratio(above: list[float], below: list[float]) -> float | None:
    """Of what was measured in turn, the median of the ratios; else the ratio of the medians."""
    if not above or not below:
        return None
    if len(above) == len(below):
        return median([a / b for a, b in zip(above, below, strict=True)])
    return median(above) / median(below)


def agree(results: list[Result]) -> bool:
    """Whether those that are compared said the same, each time that they answered."""
    told = [answer for result in results if result.tool.compared for answer in result.told]
    return len({answer.digest for answer in told}) <= 1


def print_case(report: Report, case: Case) -> None:
    """A row for each tool."""
    results = report.results[case.key]
    print(f"\n{case.key}: {case.title}, {report.made.events:,} events")
    print(f"  {'':<24} {'seconds':>9}  {'least to most':>19}  {'runs':>4}  {'against ours':>12}  answer")
    ours = report.seconds(case.key, OURS)
    for result in results:
        name, seconds = result.tool.name, result.seconds
        if result.failed:
            print(f"  {name:<24} failed: {result.failed}")
            continue
        least_to_most = f"{min(seconds):.3f} to {max(seconds):.3f}"
        against = ratio(seconds, ours)
        shown = "" if against is None else f"{against:.2f}"
        told = " and ".join(sorted({answer.shown for answer in result.told}))
        figures = f"{median(seconds):>9.3f}  {least_to_most:>19}  {len(seconds):>4}  {shown:>12}"
        print(f"  {name:<24} {figures}  {told}".rstrip())
    compared = [result.tool.name for result in results if result.tool.compared and result.told]
    if len(compared) > 1:
        print(f"  the answers of {len(compared)} {'agree' if agree(results) else 'DIFFER'}")


def requirements(reports: list[Report]) -> Iterator[tuple[str, float | None, float]]:
    """What is asked for: the words, the figure, and the most that it may be."""
    for report in reports:
        size = f"{report.made.events:,} events"
        for name in (OURS, OURS_PLAIN):
            least = ratio(report.seconds("a", name), report.seconds("a", LEAST_NAME))
            yield f"a against {LEAST_NAME}, {size}{_manner(name)}", least, LEAST_RATIO
    for fewer, more in pairwise(reports):
        for name in (OURS, OURS_PLAIN):
            growth = ratio(seconds_of(more.growth, name), seconds_of(fewer.growth, name))
            sizes = f"{more.made.events:,} against {fewer.made.events:,} events"
            yield f"a on {sizes}{_manner(name)}", growth, GROWTH_RATIO
    for report in reports:
        size = f"{report.made.events:,} events"
        for name in (OURS, OURS_PLAIN):
            cold = ratio(report.seconds("cold", name), report.seconds("cold", DUCKDB))
            yield f"a, cache empty, against {DUCKDB}, {size}{_manner(name)}", cold, COLD_RATIO
    for report in reports:
        size = f"{report.made.events:,} events"
        took = report.seconds("seal", OURS)
        sealed = report.results["seal"][0] if took else None
        yield (
            f"sealing, seconds a million, {size}",
            median(took) / report.made.events * 1e6 if sealed else None,
            SEAL_SECONDS,
        )
        yield (
            f"cache, % of the journal, {size}",
            sealed.cache_bytes / report.made.size * 100 if sealed else None,
            SEAL_PERCENT,
        )
        yield f"sealing, peak MB, {size}", sealed.peak_megabytes if sealed else None, SEAL_MEGABYTES


def _manner(name: str) -> str:
    return name.removeprefix(OURS)


def print_requirements(reports: list[Report]) -> None:
    """A line for each."""
    print(f"\n{'to reach':<72} {'figure':>9}  {'at most':>8}")
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
    parser.add_argument("--events", **sizes, help="in a journal; repeatable. Default: 1000000 and 15000000")
    parser.add_argument("--repeats", metavar="K", type=int, default=5, help="after the warm-up. Default: 5")
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        help="for journals and caches, which stay. Default: one that is removed",
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
        help="what takes longer is not repeated. Default: 20",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=1800.0,
        help="what takes longer has failed. Default: 1800",
    )
    arguments = parser.parse_args()
    if arguments.repeats < 1 or min(arguments.events or [1]) < 1:
        parser.error("--events and --repeats are 1 or more")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    limits = Limits(arguments.repeats, arguments.slow, arguments.timeout)
    reports: list[Report] = []
    with scratch() as directory:
        work = (arguments.work or Path(directory)).absolute()
        for events in sorted(set(arguments.events or (1_000_000, 15_000_000))):
            print(f"{events:,} events: the journal", file=sys.stderr)
            made = make(work / f"events-{events}", events)
            cache = work / f"cache-{events}"
            chosen = [case for case in cases(made) if case.key in (arguments.case or [case.key])]
            results = {
                case.key: take_turns([Result(tool, case, cache) for tool in case.tools], limits)
                for case in chosen
            }
            growth = [
                Result(result.tool, result.case, cache)
                for result in results.get("a", ())
                if result.tool.name in (OURS, OURS_PLAIN)
            ]
            reports.append(Report(made, chosen, results, growth))
        if len(reports) > 1:
            alternating = zip(*(report.growth for report in reports), strict=True)
            take_turns([result for sizes in alternating for result in sizes], limits)
        for report in reports:
            print(f"\n== {report.made.events:,} events, {report.made.size / 1e6:,.1f} MB")
            for case in report.cases:
                print_case(report, case)
        print_requirements(reports)
    return 0 if all(agree(found) for report in reports for found in report.results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
