#!/usr/bin/env python3
"""Ship growing journals of several recorders to one lake, kill shippers at random moments, and compare.

usage: soak_lake.py [--recorders N] [--events N] [--kills N] [--work DIR]    20, a million, 100

A third of the time two shippers of one recording run at once. At the end each line of each journal must be in
the lake once, in its order. The journals are generated (bench/journal.py) and grow while they are shipped.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bench"))

from deltalake import DeltaTable, QueryBuilder
from journal import generate


def ship(lake: Path, folder: Path) -> subprocess.Popen:
    """Start a shipper of a recording."""
    command = [
        sys.executable,
        "-m",
        "vdbevents",
        "ship",
        str(lake),
        str(folder),
        "--once",
        "--host",
        folder.name,
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def digest_in(lake: Path, host: str) -> tuple[int, str]:
    """Return the number of a host's lines in a lake, and a digest of them in their order."""
    sql = f"SELECT line FROM ev WHERE host = '{host}' ORDER BY position"
    digest, count = hashlib.sha256(), 0
    for batch in QueryBuilder().register("ev", DeltaTable(str(lake))).execute(sql):
        for line in batch.column(0).to_pylist():
            digest.update(line.encode() + b"\n")
            count += 1
    return count, digest.hexdigest()


def main() -> None:
    """Run it; the exit code is 1 where a line is missing or doubled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorders", type=int, default=20)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="vdbevents-soak-"))
    source = generate(work / f"events-{options.events}", options.events).path.read_bytes()
    lake, chance = work / "lake", random.Random(20_261_201)
    shutil.rmtree(lake, ignore_errors=True)
    written = {}
    for number in range(options.recorders):
        folder = work / f"recorder-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        written[folder] = 0

    def grow(folder: Path, end: int) -> None:
        end = source.rfind(b"\n", 0, end) + 1
        with (folder / "videodb_events.jsonl").open("ab") as file:
            file.write(source[written[folder] : end])
        written[folder] = max(end, written[folder])

    began = time.monotonic()
    first = next(iter(written))
    grow(first, len(source) // options.kills)
    ship(lake, first).communicate()
    usual, killed = time.monotonic() - began, 0
    for number in range(options.kills):
        folder = chance.choice(list(written))
        grow(folder, len(source) * (number + 1) // options.kills)
        shippers = [ship(lake, folder) for _ in range(2 if chance.random() < 1 / 3 else 1)]
        time.sleep(usual * chance.uniform(0.3, 1.5))
        for shipper in shippers:
            if shipper.poll() is None:
                killed += 1
                shipper.kill()
            shipper.communicate()
    for folder in written:
        grow(folder, len(source))
        shipper = ship(lake, folder)
        _, said = shipper.communicate()
        if shipper.returncode:
            sys.exit(f"{folder.name}: {said}")
    expected = source.count(b"\n"), hashlib.sha256(source).hexdigest()
    wrong = [folder.name for folder in written if digest_in(lake, folder.name) != expected]
    orphans = len(list(lake.glob("date=*/*.parquet"))) - len(DeltaTable(str(lake)).file_uris())
    print(
        f"{options.recorders} recorders x {options.events:,} events, {killed} shippers killed, "
        f"{time.monotonic() - began:.0f} s: {len(wrong)} recorders with a line missing or doubled; "
        f"{orphans} data files that nobody committed"
    )
    if options.work is None:
        shutil.rmtree(work)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
