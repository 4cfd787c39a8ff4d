"""Commands of lakes that a signal ends while DuckDB computes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.lakes import Recorder
from support.processes import eventually

pytestmark = pytest.mark.long

# In the place of what takes long with a large journal.
BUSY = """
import sys
from vdbevents.__main__ import main
from vdbevents.lake import compaction
from vdbevents.lake.lake_forgetting import LakeForgetting
from vdbevents.lake.shipping import Shipper

def busy(connection):
    print("busy", flush=True)
    connection.execute("SELECT sum(a.range * b.range % 7) FROM range(1000000) a, range(1000000) b")

Shipper.ship = lambda shipper: busy(shipper._database.connection(600))
LakeForgetting.find = lambda forgetting: busy(forgetting._rewrite.connection)
compaction.compact = lambda rewrite, keep: busy(rewrite.connection)
main()
"""


def seconds_of(process):
    """The CPU time of a process: while it grows, DuckDB computes."""
    times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
@pytest.mark.parametrize(
    ("words", "number", "code"),
    [
        (["ship", "LAKE", "STATE", "--once"], signal.SIGTERM, 0),
        (["ship", "LAKE", "STATE"], signal.SIGTERM, 0),
        (["ship", "LAKE", "STATE"], signal.SIGINT, 130),
        (["lake", "forget", "LAKE", "--grep", "first"], signal.SIGINT, 130),
        (["lake", "forget", "LAKE", "--grep", "first"], signal.SIGTERM, 130),
        (["lake", "compact", "LAKE"], signal.SIGINT, 130),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else str(value),
)
def test_a_signal_ends_what_duckdb_does_in_order(tmp_path, words, number, code):
    recorder = Recorder(tmp_path / "state", tmp_path / "lake")
    recorder.says("first")
    recorder.ships()
    (tmp_path / "temporary").mkdir()
    places = {"LAKE": recorder.lake, "STATE": str(recorder.state.path)}
    command = [sys.executable, "-c", BUSY, *(places.get(word, word) for word in words)]
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "temporary")}

    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "busy\n"
            before = seconds_of(process)
            eventually(lambda: seconds_of(process) > before + 0.2)
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()

    assert (process.returncode, said) == (code, "")
    assert not list((tmp_path / "temporary").iterdir())
