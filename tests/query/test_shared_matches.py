"""Words in the rows of several hosts: one look at the files finds what each host's own search would find."""

import pytest
from support.random_journals import AT, line, said
from support.row_files import row_journals

from vdbevents.errors import InputError, StorageError
from vdbevents.query import engine, merge, row_journal
from vdbevents.query.duck import SharedDatabase
from vdbevents.query.filters import Filters
from vdbevents.query.row_journal import RowJournal
from vdbevents.times import Window

# They seal real journals.
pytestmark = pytest.mark.long


@pytest.fixture
def hosts(tmp_path):
    """The rows of two hosts in one file, with the same positions in both."""
    said_on = {"desk": ("seven", "eight"), "laptop": ("seven", "seven again")}
    paths = {host: tmp_path / f"{host}.jsonl" for host in said_on}
    for number, (host, texts) in enumerate(said_on.items()):
        lines = [said(text, AT + 1000 * place + number) for place, text in enumerate(texts)]
        paths[host].write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return row_journals(paths, tmp_path, 1)


@pytest.fixture
def looks(monkeypatch):
    """How many times a host's own search looked for matches in files, as numbers of statements."""
    seen = []
    execute = engine.execute

    def noted(connection, sql, values=()):
        if sql.startswith("INSERT INTO events") and "read_parquet" in sql:
            seen.append(sql)
        return execute(connection, sql, values)

    monkeypatch.setattr(engine, "execute", noted)
    return seen


def found(journals, **asked):
    with merge.search(journals, Filters(**asked)) as answer:
        return [(event.host, event.text) for batch in answer.events() for event in batch]


SEVENS = [("desk", "seven"), ("laptop", "seven"), ("laptop", "seven again")]


@pytest.mark.parametrize("asked", [{"grep": ("seven",)}, {"any_of": ("seven", "nine")}])
def test_words_are_looked_for_once_for_all_hosts(hosts, looks, asked):
    assert found(hosts, **asked) == SEVENS
    assert not looks


def test_the_window_and_the_other_filters_hold_for_each_host(hosts, looks):
    window = Window(AT + 1000, AT + 1001)

    assert found(hosts, grep=("e",), window=window) == [("desk", "eight")]
    assert not looks


def test_the_gaps_of_each_host_are_read_once_for_all(tmp_path, monkeypatch):
    gap = {"id": "gap-1", "since": AT, "until": AT + 9, "status": "open"}
    told = line(AT + 3_600_000, channel="vdbevents", event="listener.gap", data=gap)
    paths = {host: tmp_path / f"{host}.jsonl" for host in ("desk", "laptop")}
    for host, others in (("desk", [told]), ("laptop", [])):
        lines = [said("seven", AT), *others]
        paths[host].write_text("".join(f"{one}\n" for one in lines), "utf-8")
    journals = row_journals(paths, tmp_path, 1)
    read = []
    execute = row_journal.execute
    monkeypatch.setattr(row_journal, "execute", lambda *given: read.append(given) or execute(*given))

    with merge.search(journals, Filters(grep=("seven",), window=Window(AT - 1000, AT + 1000))) as answer:
        gaps = [[one.id for one in result.gaps] for _, result in answer.answers]

    assert gaps == [["gap-1"], []]
    assert len([sql for _, sql in read if '.gap"' in sql]) == 1


def test_without_words_or_with_a_condition_each_host_is_searched_by_itself(hosts, looks):
    assert len(found(hosts)) == 4
    assert found(hosts, grep=("seven",), where="text LIKE '% again'") == SEVENS[2:]
    assert len(looks) == 4


def with_older_files(hosts):
    """The same hosts with files of other days, which have nothing."""
    return [
        journal._replace(rows=RowJournal(of.chosen, [*of.files, *older], of.fetch))
        for journal in hosts
        for of in [journal.rows]
        for older in [
            [of.files[0]._replace(received=(day, day + 1), happened=(day, day + 1)) for day in range(3)]
        ]
    ]


def test_with_a_limit_older_files_stay_closed_unless_each_host_has_as_few(hosts, looks):
    assert found(hosts, grep=("seven",), limit=1) == SEVENS[2:]
    assert not looks

    assert found(with_older_files(hosts), grep=("seven",), limit=1) == SEVENS[2:]
    assert len(looks) >= 2


def test_a_wrong_pattern_is_told_as_for_one_host(hosts):
    raised = []
    for journals in (hosts[:1], hosts):
        with pytest.raises(InputError) as error:
            found(journals, grep=("(",), extended=True)
        raised.append((error.value.error_id, str(error.value)))

    assert raised[0] == raised[1]


def test_a_file_that_is_gone_is_told(hosts):
    hosts[0].rows.files[0].path.unlink()

    with pytest.raises(StorageError) as raised:
        found(hosts, grep=("seven",))

    assert raised.value.error_id == "lake-file-unreadable"


def test_nothing_stays_in_a_database_that_is_shared(hosts):
    with SharedDatabase() as database:
        with merge.search(hosts, Filters(grep=("seven",)), shared=database) as answer:
            assert answer.count == 3

        assert database.connection(100).execute("SELECT table_name FROM duckdb_tables()").fetchall() == []
