#!/usr/bin/env python3
"""Ship growing journals to an object store that fails, kill shippers at random moments, and compare.

usage: soak_lake.py [--recorders N] [--events N] [--kills N] [--seed N] [--work DIR]      20, a million, 100

Each recorder has a journal of its own (bench/journal.py), which grows while it is shipped. A third of the
time two shippers of one recording run at once. The store is moto's, on loopback; a proxy before it answers
with 500 or 503, drops answers, or does not answer in time. At the end each line of each journal must be in
the lake once, in its order, with the identity that its event has. It needs some 12 GB in DIR, and 4 GB of
memory for the store; the work is removed at the end, unless DIR was named.
"""

import argparse
import hashlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
sys.path[:0] = [str(SCRIPTS / "bench"), str(SCRIPTS.parent / "tests")]

from deltalake import DeltaTable, QueryBuilder  # noqa: E402 - after the folders of what follows
from journal import BLOCK, PACE_MS, block  # noqa: E402 - it is beside the benchmarks
from support.object_store import BUCKET, Faults, environ_of, object_store  # noqa: E402 - it is beside the tests

from vdbevents.events.envelope import parse_line  # noqa: E402
from vdbevents.lake.lake_rows import identity_text  # noqa: E402

LAKE = f"s3://{BUCKET}/lake"
FAULTS = 500, 503, "lost", "hung up", "silent", "late"
FAULTY = 0.01
END = 1_764_547_200  # Unix seconds: after the last event
MOST_TRIES = 60


class Recorder:
    """A recorder whose journal grows."""

    def __init__(self, work: Path, number: int, events: int, recorders: int) -> None:
        self.host = f"recorder-{number}"
        self.folder = work / self.host
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.journal = self.folder / "videodb_events.jsonl"
        self.written = self.shipped = 0
        self._events = events
        blocks = events // BLOCK
        # Of one long journal each has a part of its own, moved to the same days.
        end = END + (recorders - 1 - number) * events * PACE_MS // 1000
        self._lines = itertools.chain.from_iterable(
            block(number * blocks + place, recorders * events, end).splitlines(keepends=True)
            for place in range(blocks)
        )

    def grow(self, share: float) -> None:
        """Write until so much of the journal is there."""
        wanted = int(self._events * share) - self.written
        with self.journal.open("ab") as file:
            file.writelines(itertools.islice(self._lines, max(wanted, 0)))
        self.written = max(self.written, int(self._events * share))

    def lines(self) -> Iterator[tuple[bytes, str]]:
        """Yield each line of the journal, and the identity of its event."""
        with self.journal.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n"), identity_text(parse_line(line) or {}) or ""


class Shipping:
    """Starts shippers, and knows how long they take."""

    def __init__(self, work: Path, port: int) -> None:
        self._work = work
        self._environ = {
            **os.environ,
            **environ_of(port),
            "AWS_TIMEOUT": "3s",
            "HOME": str(work),
            "XDG_CACHE_HOME": str(work / "cache"),
            "TMPDIR": str(work / "tmp"),
        }
        self.usual = 1.0
        self.rate = 30e6

    def start(self, recorder: Recorder) -> subprocess.Popen:
        """Start a shipper of a recording."""
        (self._work / "tmp").mkdir(exist_ok=True)
        place = [str(recorder.folder), "--once", "--host", recorder.host]
        command = [sys.executable, "-m", "vdbevents", "ship", LAKE, *place]
        return subprocess.Popen(
            command, env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def clean(self) -> None:
        """Remove what killed shippers left in the temporary folder."""
        shutil.rmtree(self._work / "tmp", ignore_errors=True)

    def finish(self, recorder: Recorder) -> int:
        """Ship all that a recorder has; return how many shippers it took."""
        for tries in range(1, MOST_TRIES + 1):
            shipper = self.start(recorder)
            _, said = shipper.communicate()
            if shipper.returncode == 0:
                return tries
            if shipper.returncode not in (4, 5):
                sys.exit(f"{recorder.host}: {shipper.returncode}: {said}")
        sys.exit(f"{recorder.host}: not shipped after {MOST_TRIES} tries: {said}")


def kill_shippers(
    recorders: list[Recorder], shipping: Shipping, kills: int, chance: random.Random
) -> Counter:
    """Ship while the journals grow, until so many shippers were killed; return how the shippers ended."""
    ends: Counter = Counter()
    while ends["killed"] < kills:
        recorder = chance.choice(recorders)
        recorder.grow(0.95 * (ends["killed"] + 1) / kills)
        missing = recorder.journal.stat().st_size - recorder.shipped
        shippers = [shipping.start(recorder) for _ in range(2 if chance.random() < 1 / 3 else 1)]
        began = time.monotonic()
        end = began + shipping.usual * chance.uniform(0.3, 1) + missing / shipping.rate * chance.uniform(0, 1)
        for shipper in shippers:
            try:
                shipper.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                shipper.kill()
            _, said = shipper.communicate()
            name = {-9: "killed", 0: "shipped", 4: "refused", 5: "unreached"}.get(shipper.returncode)
            if name is None:
                sys.exit(f"{recorder.host}: {shipper.returncode}: {said}")
            ends[name] += 1
            if name == "shipped":
                recorder.shipped = recorder.journal.stat().st_size
                seconds = max(time.monotonic() - began - shipping.usual, 0.1)
                shipping.rate += 0.3 * (max(missing, 1e6) / seconds - shipping.rate)
        shipping.clean()
        if name == "killed" and ends["killed"] % 5 == 0:
            say(f"{ends['killed']} shippers killed, {sum(one.written for one in recorders):,} events written")
    return ends


def digest(rows: Iterator[tuple[bytes, str]]) -> tuple[int, str]:
    """Return the number of lines, and a digest of them and their identities in their order."""
    found, count = hashlib.blake2b(digest_size=16), 0
    for line, identity in rows:
        found.update(line + b"\n" + identity.encode() + b"\n")
        count += 1
    return count, found.hexdigest()


def rows_of(table: DeltaTable, host: str) -> Iterator[tuple[bytes, str]]:
    """Yield a host's lines in a lake, with the identities of their events."""
    sql = f"SELECT line, identity FROM ev WHERE host = '{host}' ORDER BY position"
    for batch in QueryBuilder().register("ev", table).execute(sql):
        columns = (batch.column(number).to_pylist() for number in range(2))
        for line, identity in zip(*columns, strict=True):
            yield line.encode(), identity or ""


def orphans_in(table: DeltaTable) -> int:
    """Return how many data files are in the store that nobody committed."""
    return len(table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True))


BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:6.0f} s  {text}", flush=True)


def run(options: argparse.Namespace, work: Path, port: int) -> bool:
    """Ship, kill and compare; return whether each line is in the lake once."""
    chance, faults, seen = random.Random(options.seed), Faults(port), Counter()
    faults.seen = deque(maxlen=1)
    faults.patience = 5.0

    def choose(*_: str) -> int | str | None:
        fault = chance.choice(FAULTS) if chance.random() < FAULTY else None
        seen[fault] += 1
        return fault

    shipping = Shipping(work, faults.port)
    recorders = [
        Recorder(work, number, options.events, options.recorders) for number in range(options.recorders)
    ]
    recorders[0].grow(1 / options.kills)
    began = time.monotonic()
    shipping.finish(recorders[0])
    shipping.usual = time.monotonic() - began
    faults.choose = choose
    ends = kill_shippers(recorders, shipping, options.kills, chance)
    for recorder in recorders:
        recorder.grow(1)
        ends["to the end"] += shipping.finish(recorder)
        shipping.clean()
        say(f"{recorder.host} is shipped")
    faults.close()
    os.environ |= {**environ_of(port), "AWS_ALLOW_HTTP": "true"}
    table, wrong = DeltaTable(LAKE), []
    for recorder in recorders:
        expected, found = digest(recorder.lines()), digest(rows_of(table, recorder.host))
        if expected != found:
            wrong.append(recorder.host)
        say(
            f"{recorder.host}: {found[0]:,} of {expected[0]:,} lines, "
            + ("equal" if expected == found else "NOT EQUAL")
        )
    requests = sum(seen.values())
    del seen[None]
    print(
        f"{options.recorders} recorders x {options.events:,} events, {table.version()} commits, "
        f"{ends['killed']} shippers killed, {ends['unreached'] + ends['refused']} that gave up; "
        f"of {requests:,} requests {sum(seen.values()):,} failed: "
        + ", ".join(f"{count} {fault}" for fault, count in sorted(seen.items(), key=str))
    )
    print(
        f"{len(wrong)} recorders with a line missing, doubled or changed; "
        f"{orphans_in(table)} data files that nobody committed; {time.monotonic() - BEGAN:.0f} s"
    )
    return not wrong


def main() -> None:
    """Run it; the exit code is 1 where a line is missing, doubled or changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorders", type=int, default=20)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20_261_201)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.events % BLOCK:
        parser.error(f"--events: not a multiple of {BLOCK}")
    work = options.work or Path(tempfile.mkdtemp(prefix="vdbevents-soak-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        with object_store() as port:
            is_right = run(options, work, port)
    finally:
        if options.work is None:
            shutil.rmtree(work)
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
