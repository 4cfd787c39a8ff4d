"""An engine that speaks Spark Connect finds what a search of the lake finds."""

import os
import socket

import pytest
from support import random_journals as random
from support.lakes import DAY, two_recorders
from support.processes import assert_failed, run

from vdbevents.errors import InputError, ServiceUnreachableError
from vdbevents.lake.lake_reader import LakeReader
from vdbevents.query import merge
from vdbevents.query.filters import Filters
from vdbevents.times import Window

# They start a server, and ship.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def sail():
    """Sail's server of Spark Connect: its address."""
    server = pytest.importorskip("pysail.spark", reason="pysail is not installed").SparkConnectServer(
        ip="127.0.0.1", port=0
    )
    server.start(background=True)
    host, port = server.listening_address
    yield f"sc://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    return two_recorders(folder, folder / "lake")[0].lake


@pytest.fixture(scope="module")
def engine(sail, lake):
    from vdbevents.lake.remote_engine import RemoteEngine

    session = RemoteEngine(sail, lake)
    yield session
    session.close()


def told(journals, asked):
    with merge.search(journals, asked) as answer:
        lines = [line for batch in answer.lines() for line in batch]
        gaps = {gap.id for _, result in answer.answers for gap in result.gaps}
        return lines, [event for batch in answer.events() for event in batch], gaps


DAY_TWO = Window(random.AT + DAY - 1000, random.AT + 2 * DAY)


@pytest.mark.parametrize(
    "asked",
    [
        Filters(window=DAY_TWO, recorder=True),
        Filters(window=DAY_TWO, by_event=True, grep=("the Invoice",), ignore_case=True),
        Filters(grep=("invoice",), none_of=("so",), limit=2),
        Filters(channels=("transcript",), speakers=("ada",)),
        Filters(channels=("transcript",), interim=True, newest_first=True),
        Filters(channels=("visual_index",), any_of=("mail", "nothing")),
        Filters(names=("capture_session.stopped",)),
        Filters(streams=("rts-2",), not_channels=("alert",)),
        Filters(grep=("no such word",)),
    ],
    ids=range(9),
)
def test_the_engine_finds_what_the_lake_has(engine, lake, tmp_path, asked):
    of_lake = told(LakeReader(lake, os.environ, None).journals([], asked), asked)

    of_engine = told(engine.journals([], asked, tmp_path), asked)

    assert of_engine == of_lake


def test_only_what_may_match_comes_back(engine, tmp_path):
    [journal] = engine.journals(["laptop"], Filters(window=DAY_TWO, grep=("release",)), tmp_path)

    from pyarrow import parquet

    rows = [row for file in journal.rows.files for row in parquet.read_table(file.path).to_pylist()]
    assert {row["text"] for row in rows if row["channel"] == "transcript"} == {"a release"}
    assert {row["host"] for row in rows} == {"laptop"}


@pytest.mark.parametrize(
    "asked",
    [Filters(sessions=("last",)), Filters(around_ms=5), Filters(where="true"), Filters(extended=True)],
    ids=["--session", "--around", "--where", "-E"],
)
def test_what_the_engine_cannot_find_is_refused(engine, tmp_path, asked):
    with pytest.raises(InputError) as raised:
        engine.journals([], asked, tmp_path)

    assert raised.value.error_id == "engine-filter-unsupported"


@pytest.mark.parametrize(
    ("sql", "error_id"),
    [
        ("FROM transcripts", "engine-table-unknown"),
        ("SELECT * FROM read_parquet('x')", "engine-table-unknown"),
        ("SELECT (SELECT max(text) FROM other.events) FROM events", "engine-table-unknown"),
        ("DROP VIEW events", "sql-not-select"),
        ("SELECT 1; SELECT 2", "sql-not-select"),
        ("SELECT FROM FROM", "engine-refused"),
        ("SELECT no_such_column FROM events", "engine-refused"),
    ],
)
def test_sql_that_is_not_a_select_of_the_events_is_refused(engine, tmp_path, sql, error_id):
    with pytest.raises(InputError) as raised:
        engine.select(sql, tmp_path / "found.parquet")

    assert raised.value.error_id == error_id


def test_the_commands_print_what_the_engine_found(sail, lake, tmp_path):
    environ = {"HOME": str(tmp_path), "LANG": "C.UTF-8", "PATH": os.environ["PATH"], "TZ": "UTC"}
    sql = """SELECT host, count(*) FILTER (channel = 'transcript') AS spoken, min(time) AS first
        FROM events WHERE text ILIKE '%invoice%' GROUP BY host ORDER BY host"""

    for words in (["sql", sql, "-o", "json"], ["query", "--grep", "invoice", "-o", "csv"]):
        of_engine = run([*words, "--lake", lake, "--engine", sail], environ)
        assert of_engine.stdout == run([*words, "--lake", lake], environ).stdout
        assert of_engine.returncode == 0
    assert_failed(run(["query", "--engine", sail], environ), 2, error_id="option-missing")


def test_an_engine_that_does_not_listen_is_an_error_at_once(lake):
    from vdbevents.lake.remote_engine import RemoteEngine

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ServiceUnreachableError):
            RemoteEngine(f"sc://127.0.0.1:{taken.getsockname()[1]}", lake)


@pytest.mark.parametrize("address", ["http://localhost:15002", "sc://localhost:port"])
def test_an_engine_has_an_address_of_spark_connect(lake, address):
    from vdbevents.lake.remote_engine import RemoteEngine

    with pytest.raises(InputError) as raised:
        RemoteEngine(address, lake)

    assert raised.value.error_id == "engine-address-invalid"
