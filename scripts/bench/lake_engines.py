#!/usr/bin/env python3
"""Ask a lake on engines of one and two workers, and on DuckDB alone: counts must be equal.

usage: scripts/lake_engines [HOSTS] [EVENTS] [ROUNDS] [FOLDER]
       HOSTS     recorders that ship; default: 20; a lake of one is asked, too
       EVENTS    of each; default: 200,000, a bit more than a day
       FOLDER    where the lakes are kept; default: a temporary one

Sail (PyPI's pysail) reads the Delta table over Spark Connect: in one process, and as a local cluster of two
workers. Spark (PyPI's pyspark, in SPARK_PYTHON's environment) is a real standalone cluster of one and two
workers; it has no classes for Delta Lake, so it reads the Parquet files that `vdbevents lake files` names.
It is skipped without Java. Times are medians in seconds, after a first round that is not counted; CPU seconds
are those of all processes of the engine.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import psutil
from harness import VDBEVENTS, await_true, folder_for, median
from journal import RARE
from lake_query import END, ship

BEGIN = END - 86_400
DAY = time.strftime("%Y-%m-%d", time.gmtime(BEGIN))
WORD = f"""SELECT count(*) AS n FROM ev WHERE date >= DATE '{DAY}' AND lower(text) LIKE '%{RARE}%'
    AND time >= CAST('{time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(BEGIN))}' AS TIMESTAMP)"""
SPEECH = """SELECT host, count(*) AS n, sum(length(text)) AS letters FROM ev
    WHERE channel = 'transcript' AND is_final GROUP BY host ORDER BY host"""
OURS = {
    "a word, one day": ["query", "--since", f"@{BEGIN}", "--grep", RARE, "--count", "--lake"],
    "speech of each host": ["sql", SPEECH.replace("FROM ev", "FROM events"), "-o", "jsonl", "--lake"],
}
QUESTIONS = dict(zip(OURS, (WORD, SPEECH), strict=True))

# Reads questions as JSON from stdin, and writes rows and seconds.
SESSION = """
import json, sys, time
from pyspark.sql import SparkSession
kind, address, lake, files = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.stdin.readline())
builder = SparkSession.builder.config("spark.sql.session.timeZone", "UTC")
if kind == "connect":
    spark = builder.remote(address).getOrCreate()
    spark.read.format("delta").load(lake).createOrReplaceTempView("ev")
else:
    spark = builder.master(address).config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.read.option("basePath", lake).parquet(*files).createOrReplaceTempView("ev")
print("ready", flush=True)
for question in sys.stdin:
    began = time.monotonic()
    rows = [list(row) for row in spark.sql(json.loads(question)).collect()]
    print(json.dumps([time.monotonic() - began, rows]), flush=True)
spark.stop()
"""

Ask = Callable[[str], tuple[float, float, list]]


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def listens(port: int) -> bool:
    """Return whether somebody listens at a port."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def cpu_of(processes: list[subprocess.Popen]) -> float:
    """Return the CPU seconds of processes and all that they started."""
    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            for one in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    seconds += times.user + times.system
    return seconds


@contextlib.contextmanager
def started(
    commands: list[list[str]], environ: dict[str, str], log: Path
) -> Iterator[list[subprocess.Popen]]:
    """Run servers, and end them and what they started."""
    with log.open("ab") as target:
        processes = [subprocess.Popen(one, env=environ, stdout=target, stderr=target) for one in commands]
    try:
        yield processes
    finally:
        for process in processes:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            process.wait()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.terminate()


@contextlib.contextmanager
def session(
    words: list[str], lake: Path, servers: list[subprocess.Popen], environ: dict[str, str], log: Path
) -> Iterator[Ask]:
    """Open a session of an engine, whose client is a Python in `words`, and yield what asks it."""
    files = subprocess.check_output([*VDBEVENTS, "lake", "files", str(lake), "--json"], text=True)
    with log.open("ab") as errors:
        client = subprocess.Popen(
            [words[0], "-c", SESSION, *words[1:], str(lake)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def ask(sql: str) -> tuple[float, float, list]:
        before = cpu_of([*servers, client])
        client.stdin.write(json.dumps(sql) + "\n")
        client.stdin.flush()
        seconds, rows = json.loads(client.stdout.readline())
        return seconds, cpu_of([*servers, client]) - before, rows

    try:
        client.stdin.write(json.dumps(json.loads(files)) + "\n")
        client.stdin.flush()
        if client.stdout.readline() != "ready\n":
            raise SystemExit(f"no session: see {log}")
        yield ask
    finally:
        client.stdin.close()
        client.wait()


@contextlib.contextmanager
def sail(workers: int, lake: Path, folder: Path) -> Iterator[Ask]:
    """Run Sail in one process, or as a local cluster of workers."""
    port, log = free_port(), folder / "sail.log"
    environ = {**os.environ, "SAIL_MODE": "local" if workers == 1 else "local-cluster"}
    if workers > 1:
        environ |= {"SAIL_CLUSTER__WORKER_INITIAL_COUNT": str(workers)}
        environ |= {"SAIL_CLUSTER__WORKER_MAX_COUNT": str(workers), "SAIL_CLUSTER__WORKER_TASK_SLOTS": "4"}
    command = [str(Path(sys.executable).parent / "sail"), "spark", "server", "--port", str(port)]
    with started([command], environ, log) as servers:
        await_true(lambda: listens(port))
        words = [sys.executable, "connect", f"sc://127.0.0.1:{port}"]
        with session(words, lake, servers, environ, log) as ask:
            yield ask


@contextlib.contextmanager
def spark(workers: int, lake: Path, folder: Path) -> Iterator[Ask]:
    """Run a standalone cluster of Spark with workers of one core."""
    python, port, log = os.environ["SPARK_PYTHON"], free_port(), folder / "spark.log"
    home = subprocess.check_output(
        [python, "-c", "import os, pyspark; print(os.path.dirname(pyspark.__file__))"], text=True
    ).strip()
    environ = {
        **os.environ,
        "SPARK_HOME": home,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder),
    }
    runs, at = f"{home}/bin/spark-class", ["--host", "127.0.0.1"]
    master = [runs, "org.apache.spark.deploy.master.Master", *at, "--port", str(port), "--webui-port", "0"]
    worker = [runs, "org.apache.spark.deploy.worker.Worker", *at, "--cores", "1", "--memory", "1500m"]
    address = f"spark://127.0.0.1:{port}"
    with started([master], environ, log) as masters:
        await_true(lambda: listens(port))
        known = log.read_text().count("Registering worker")
        commands = [[*worker, "--webui-port", "0", address] for _ in range(workers)]
        with started(commands, environ, log) as others:
            await_true(lambda: log.read_text().count("Registering worker") - known == workers)
            words, servers = [python, "standalone", address], [*masters, *others]
            with session(words, lake, servers, environ, log) as ask:
                yield ask


@contextlib.contextmanager
def duck(lake: Path) -> Iterator[Ask]:
    """Ask DuckDB over the same files."""
    files = json.loads(subprocess.check_output([*VDBEVENTS, "lake", "files", str(lake), "--json"], text=True))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE VIEW ev AS FROM read_parquet({files!r}, hive_partitioning = true)")

    def ask(sql: str) -> tuple[float, float, list]:
        began, before = time.monotonic(), time.process_time()
        rows = [list(row) for row in connection.execute(sql).fetchall()]
        return time.monotonic() - began, time.process_time() - before, rows

    yield ask
    connection.close()


@contextlib.contextmanager
def ours(lake: Path, environ: dict[str, str]) -> Iterator[Ask]:
    """Ask with a command of this program, each time a new process."""

    def ask(sql: str) -> tuple[float, float, list]:
        [words] = [OURS[name] for name, question in QUESTIONS.items() if question == sql]
        began, before = time.monotonic(), os.times()
        printed = subprocess.check_output([*VDBEVENTS, *words, str(lake)], env=environ, text=True)
        after = os.times()
        rows = [json.loads(line) for line in printed.splitlines()]
        seconds = after.children_user + after.children_system - before.children_user - before.children_system
        return (
            time.monotonic() - began,
            seconds,
            [list(row.values()) if isinstance(row, dict) else [row] for row in rows],
        )

    yield ask


def main() -> None:
    """Print the figures; fail if two counts differ."""
    given = sys.argv[1:]
    hosts, events, rounds = (
        int(given[place]) if len(given) > place else usual for place, usual in enumerate((20, 200_000, 5))
    )
    with folder_for(given[3] if len(given) > 3 else None) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        lakes = {count: ship(folder, count, events, environ) for count in (1, hosts)}
        engines = {
            "DuckDB alone": duck,
            "vdbevents, a new process": lambda lake: ours(lake, environ),
            "Sail, one process": lambda lake: sail(1, lake, folder),
            "Sail, two workers": lambda lake: sail(2, lake, folder),
        }
        if shutil.which("java") is None:
            print("Spark: skipped, as there is no Java")
        elif "SPARK_PYTHON" not in os.environ:
            print("Spark: skipped, as SPARK_PYTHON does not name a Python with pyspark")
        else:
            engines["Spark, one worker"] = lambda lake: spark(1, lake, folder)
            engines["Spark, two workers"] = lambda lake: spark(2, lake, folder)
        print(
            f"{'':26}" + "".join(f"{f'{name}, {count} hosts':>34}" for name in QUESTIONS for count in lakes)
        )
        answers: dict[tuple[str, int], list] = {}
        for engine, opened in engines.items():
            cells = {}
            for count, lake in lakes.items():
                with opened(lake) as ask:
                    for name, sql in QUESTIONS.items():
                        asked = [ask(sql) for _ in range(rounds + 1)]
                        expected = answers.setdefault((name, count), asked[0][2])
                        if any(rows != expected for _, _, rows in asked):
                            raise SystemExit(f"{engine}: {name}: {asked[0][2][:3]}, not {expected[:3]}")
                        wall, cpu = (median([one[part] for one in asked[1:]]) for part in (0, 1))
                        cells[name, count] = f"{wall:.2f} s, {cpu:.2f} of CPU"
            print(
                f"{engine:26}"
                + "".join(f"{cells[name, count]:>34}" for name in QUESTIONS for count in lakes),
                flush=True,
            )
        sentences = sum(row[1] for row in answers["speech of each host", hosts])
        print(f"all counts are equal: {sentences:,} sentences")


if __name__ == "__main__":
    main()
