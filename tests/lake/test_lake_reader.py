"""Reading a lake: what recorders shipped answers as their journals do, and no other file is opened."""

import os
from urllib.request import Request, urlopen

import duckdb
import obstore
import pytest
from deltalake import DeltaTable
from obstore.store import from_url
from support import random_journals as random
from support.lakes import DAY, two_recorders
from support.processes import assert_failed, run

from vdbevents.errors import InputError, ServiceUnreachableError, StorageError
from vdbevents.lake.lake_reader import LakeReader
from vdbevents.query import merge, row_journal
from vdbevents.query.filters import Filters
from vdbevents.times import Window

# They ship, and run commands.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two recorders that shipped two days each, in commits of their own; nobody changes them."""
    folder = tmp_path_factory.mktemp("fleet")
    return two_recorders(folder, folder / "lake")


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path), "LANG": "C.UTF-8", "PATH": os.environ["PATH"], "TZ": "UTC"}


@pytest.fixture(scope="module")
def object_store():
    """A server with the interface of S3, on loopback."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(object_store, monkeypatch, request):
    """The address of an empty bucket, which the environment leads to."""
    for name, value in {
        "AWS_ENDPOINT_URL": object_store,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"events-{abs(hash(request.node.name)):x}"
    urlopen(Request(f"{object_store}/{name}", method="PUT")).close()
    return f"s3://{name}"


DAYS = ["--since", "2026-03-01", "--until", "2026-03-04", "--tz", "UTC"]


@pytest.mark.parametrize(
    "command",
    [
        ["query", "--all", "-o", "jsonl"],
        ["query", "--grep", "invoice", *DAYS],
        ["query", "-n", "3", "-o", "csv"],
        ["query", "--session", "last", "--count"],
        ["query", "--grep", "release", "--around", "1s", "-o", "md"],
        ["query", "--where", "speaker = 'Ada'", "-o", "json"],
        ["digest", *DAYS],
        ["stats", *DAYS, "--by", "source", "-o", "csv"],
        ["transcript", "-o", "srt"],
        ["sessions", "--json"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_a_command_answers_from_the_lake_as_from_the_journals(fleet, command, environ):
    journals = [f"--dir={recorder.host}={recorder.state.path}" for recorder in fleet]

    of_lake = run([*command, "--lake", fleet[0].lake], environ)

    of_journals = run([*command, *journals], environ)
    assert (of_lake.returncode, of_lake.stdout) == (of_journals.returncode, of_journals.stdout)
    assert of_lake.stdout


def asked(journals, **filters):
    """Return the texts that are found in journals of a lake, with their hosts."""
    with merge.search(journals, Filters(**filters)) as answer:
        return [(event.host, event.text) for batch in answer.events(("host", "text")) for event in batch]


def test_sql_has_the_events_of_all_hosts_and_each_host_its_own_views(fleet, environ):
    def rows(query):
        return run(["sql", query, "--lake", fleet[0].lake, "-o", "csv"], environ).stdout.split()

    assert rows("SELECT host, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL") == [
        *("host,n", "desk,16", "laptop,16")
    ]
    # The interim one was replaced.
    assert rows("SELECT host, count(*) AS n FROM transcripts GROUP BY ALL ORDER BY ALL") == [
        *("host,n", "desk,6", "laptop,6")
    ]
    own = "SELECT session, events, status FROM sessions ORDER BY ALL"
    of_journal = run(["sql", own, fleet[0].state.path, "-o", "csv"], environ).stdout.split()
    assert rows(own.replace("sessions", "sessions WHERE host = 'desk'")) == of_journal
    assert rows("SELECT host, id FROM gaps ORDER BY ALL")[1:3] == ["desk,gap-0-0", "desk,gap-0-1"]


def test_sql_reads_no_file_but_those_of_the_lake(fleet, environ):
    for query in ("FROM read_text('/etc/hostname')", "SELECT getenv('HOME')"):
        assert run(["sql", query, "--lake", fleet[0].lake], environ).returncode == 2


def test_a_host_and_a_day_open_one_file(fleet, monkeypatch):
    opened = set()
    rows_of = row_journal.read_rows

    def noted(paths):
        paths = list(paths)
        opened.update(paths)
        return rows_of(paths)

    monkeypatch.setattr(row_journal, "read_rows", noted)
    asked_for = Filters(window=Window(random.AT + DAY - 1000, random.AT + 2 * DAY), grep=("release",))
    reader = LakeReader(fleet[0].lake, os.environ, None)
    [journal] = reader.journals(["laptop"], asked_for)

    with merge.search([journal], asked_for) as answer:
        assert answer.count == 1
        assert sum(map(len, answer.lines())) == 1

    days = {path.parent.name for path in opened if "1970" not in path.parent.name}
    assert days == {"date=2026-03-03"}
    assert len(opened) == 1 + len([path for path in opened if "1970" in path.parent.name])


def test_the_files_of_a_day_are_enough_to_know_its_hosts(fleet):
    asked_for = Filters(window=Window(random.AT - DAY, random.AT + DAY // 2))
    journals = LakeReader(fleet[0].lake, os.environ, None).journals([], asked_for)

    assert [journal.host for journal in journals] == ["desk", "laptop"]
    assert {file.path.parent.name for journal in journals for file in journal.rows.files} >= {
        "date=2026-03-02"
    }


def test_an_unknown_host_is_named_with_the_closest_one(fleet):
    with pytest.raises(InputError) as raised:
        LakeReader(fleet[0].lake, os.environ, None).journals(["laptp"])

    assert raised.value.error_id == "lake-host-unknown"
    assert "--host laptop" in raised.value.hint


@pytest.mark.parametrize(
    ("words", "error_id"),
    [
        (["query", "--host", "desk"], "option-missing"),
        (["query", "--lake", "LAKE", "--dir", "."], "options-conflict"),
        (["query", "--lake", "LAKE", "--follow"], "options-conflict"),
        (["query", "--lake", "LAKE", "--archived"], "options-conflict"),
        (["sql", "FROM events", ".", "--lake", "LAKE"], "options-conflict"),
        (["digest", "--lake", "no-such-folder"], "lake-not-found"),
        (["stats", "--lake", "LAKE", "--host", "nobody"], "lake-host-unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_options_are_refused(fleet, environ, words, error_id):
    words = [fleet[0].lake if word == "LAKE" else word for word in words]

    assert_failed(run(words, environ), 2, error_id=error_id)


def test_of_an_object_store_the_files_that_are_needed_are_copied(tmp_path, bucket):
    [_, laptop] = two_recorders(tmp_path, f"{bucket}/lake")
    day = Window(random.AT + DAY - 1000, random.AT + 2 * DAY)
    reader = LakeReader(laptop.lake, os.environ, tmp_path / "caches")

    journals = reader.journals(["laptop"], Filters(window=day))

    found = asked(journals, window=day, grep=("release",))
    assert found == [("laptop", "a release")]
    copies = {path.parent.name for path in (tmp_path / "caches").rglob("*.parquet")}
    assert copies == {"date=2026-03-03", "date=1970-01-01"}


def test_a_copy_does_not_outlive_its_file(tmp_path, bucket):
    [_, laptop] = two_recorders(tmp_path, f"{bucket}/lake")
    reader = LakeReader(laptop.lake, os.environ, tmp_path / "caches")
    asked(reader.journals([]))
    removed = sorted((tmp_path / "caches").rglob("*.parquet"))
    DeltaTable(laptop.lake, storage_options={"aws_allow_http": "true"}).delete()

    with pytest.raises(InputError) as raised:
        LakeReader(laptop.lake, os.environ, tmp_path / "caches").journals([])

    assert raised.value.error_id == "lake-empty"
    assert removed
    assert not any(path.exists() for path in removed)


def test_no_copy_on_this_machine_has_what_was_forgotten(tmp_path, bucket):
    [_, laptop] = two_recorders(tmp_path, f"{bucket}/lake")
    asked(LakeReader(laptop.lake, os.environ, tmp_path / "caches" / "vdbevents").journals([]))
    copies = set((tmp_path / "caches").rglob("*.parquet"))
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "caches")}

    ended = run(["lake", "forget", laptop.lake, "--grep", "invoice", "--host", "laptop", "--yes"], environ)

    assert ended.returncode == 0
    kept = {path for path in copies if path.exists()}
    files = ", ".join(f"'{path}'" for path in kept)
    sql = f"SELECT line FROM read_parquet([{files}]) WHERE host = 'laptop'"
    assert kept
    assert kept < copies
    assert not [line for (line,) in duckdb.sql(sql).fetchall() if "invoice" in line.lower()]


def test_a_store_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")

    with pytest.raises(ServiceUnreachableError):
        LakeReader("s3://events/lake", os.environ, tmp_path)


def test_a_file_that_is_gone_from_the_store_is_named_as_the_cause(tmp_path, bucket):
    [_, laptop] = two_recorders(tmp_path, f"{bucket}/lake")
    reader = LakeReader(laptop.lake, os.environ, tmp_path / "caches")
    store = from_url(laptop.lake, client_options={"allow_http": True})
    obstore.delete(store, [found["path"] for found in obstore.list(store, "date=2026-03-03").collect()])

    with pytest.raises(StorageError) as raised:
        asked(reader.journals(["laptop"]))

    assert raised.value.error_id == "lake-file-unreadable"
