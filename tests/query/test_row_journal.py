"""Journals that are kept as rows: all that an answer tells is what the journals themselves tell."""

import io
import tempfile
from datetime import UTC
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings, strategies as st
from support.effort import examples
from support.random_journals import AT, filters, journals, line, said
from support.row_files import row_journals

from vdbevents.errors import InputError, StorageError
from vdbevents.query import collapse, merge, statements
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.occurring import Occurring
from vdbevents.query.output import write
from vdbevents.query.row_journal import NOTHING_UNSEALED, RowFile
from vdbevents.times import Window

# They seal real journals, or ask many.
pytestmark = pytest.mark.long

FORMATS = ("text", "jsonl", "json", "csv", "md", "srt", "vtt")


def kept(content, folder, cuts=1):
    """The same events as journals, and as rows."""
    paths = {host: folder / f"{host}.jsonl" for host in content}
    for host, path in paths.items():
        path.write_text("".join(f"{one}\n" for one in content[host]), "utf-8")
    plain = [HostJournal(host, path, host) for host, path in paths.items()]
    return plain, row_journals(paths, folder, cuts)


def told(asked_of, asked):
    """All that an answer tells, in every format; or why there is none."""
    try:
        with merge.search(asked_of, asked) as answer:
            runs = collapse.find(answer, newest_first=asked.newest_first)
            return (
                [text for batch in answer.lines() for text in batch],
                [event for batch in answer.events() for event in batch],
                (answer.count, answer.span, answer.breaks),
                [(result.gaps, result.pauses, result.untimed) for _, result in answer.answers],
                [printed(answer, asked, output) for output in FORMATS],
                printed(answer, asked, "text", runs),
            )
    except InputError as error:
        return error.error_id


def printed(answer, asked, output, runs=None):
    stream = io.BytesIO()
    write.write(answer, output, stream, write.Style(asked, UTC, runs=runs, hosts=len(answer.answers) > 1))
    return stream.getvalue()


whole_lines = journals.map(lambda lines: [one for one in lines if isinstance(one, str)])


@settings(max_examples=examples(12), deadline=None)
@given(
    st.lists(whole_lines, min_size=1, max_size=3),
    st.lists(filters, min_size=3, max_size=3),
    st.integers(1, 3),
)
def test_rows_answer_as_the_journals_that_they_are_of(content, each, cuts):
    with tempfile.TemporaryDirectory() as folder:
        hosts = {f"host-{number}": lines for number, lines in enumerate(content)}
        plain, rows = kept(hosts, Path(folder), cuts)
        for asked in each:
            assert told(rows, asked) == told(plain, asked), asked


def test_interim_transcripts_are_replaced_by_final_ones_of_their_own_host_alone(tmp_path):
    begun = said("so", AT, final=False, start=AT)
    _, rows = kept({"desk": [begun], "laptop": [said("so far", AT + 500, start=AT)]}, tmp_path)

    assert [event.text for event in told(rows, Filters())[1]] == ["so", "so far"]


def test_an_event_of_two_hosts_is_two_events_though_one_was_backfilled(tmp_path):
    fetched = said("same", AT, start=AT, backfilled=True)
    _, rows = kept({"desk": [said("same", AT, start=AT)], "laptop": [fetched, fetched]}, tmp_path)

    assert [event.host for event in told(rows, Filters())[1]] == ["desk", "laptop"]


def test_a_condition_fails_with_its_own_error(tmp_path):
    _, rows = kept({"desk": [said("seven")]}, tmp_path)

    with pytest.raises(InputError) as raised, merge.search(rows, Filters(where="text::INT > 3")):
        pass

    assert raised.value.error_id == "condition-failed"


def test_a_condition_is_on_the_columns_of_a_row(tmp_path):
    _, rows = kept({"desk": [said("seven")]}, tmp_path)

    with merge.search(rows, Filters(where="text = 'seven'")) as answer:
        assert answer.count == 1


def test_a_file_that_is_gone_is_an_error_with_what_to_do(tmp_path):
    _, rows = kept({"desk": [said("seven")]}, tmp_path)
    (tmp_path / "0.parquet").unlink()

    with pytest.raises(StorageError) as raised, merge.search(rows, Filters()):
        pass

    assert raised.value.error_id == "lake-file-unreadable"


@pytest.mark.parametrize("by_event", [False, True])
def test_a_search_opens_the_files_of_its_time_alone(tmp_path, by_event):
    _, [journal] = kept({"desk": [said("seven", AT, start=AT)]}, tmp_path)
    near, far = (AT, AT + 1), (AT - 90_000_000, AT - 80_000_000)
    present = journal.rows.files[0].path
    fetched = []
    files = [RowFile(present, near, near, AT + 1, is_untimed=False)]
    files += [RowFile(Path("gone.parquet"), far, far, far[1], is_untimed=False)]
    rows = type(journal.rows)(journal.rows.chosen, files, fetched.extend)

    with merge.search(
        [journal._replace(rows=rows)], Filters(window=Window(AT - 1000, None), by_event=by_event)
    ) as answer:
        assert answer.count == 1
        assert [text for batch in answer.lines() for text in batch] == [said("seven", AT, start=AT)]
    assert {file.path for file in fetched} == {present}


def test_what_has_nothing_unsealed_gets_the_same_tables_as_a_file_without_lines(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with duckdb.connect() as usual, duckdb.connect() as short:
        read = statements.candidates([str(tmp_path / "empty.jsonl")], Filters(), 1 << 20)
        for statement in (read, statements.events(Filters(), Occurring(()))):
            usual.execute(statement.sql, statement.values)
        for sql in NOTHING_UNSEALED:
            short.execute(sql)

        for table in ("candidates", "events"):
            columns = [connection.sql(f"FROM {table}") for connection in (usual, short)]
            assert columns[0].columns == columns[1].columns
            assert columns[0].types == columns[1].types
        assert short.sql(statements.SKIPPED).fetchall() == usual.sql(statements.SKIPPED).fetchall()


def test_a_gap_that_was_written_down_the_next_day_is_known(tmp_path):
    gap = {"id": "gap-1", "since": AT, "until": AT + 9, "status": "open"}
    written = line(AT + 3_600_000, channel="vdbevents", event="listener.gap", data=gap)
    plain, rows = kept({"desk": [said("seven", AT), written]}, tmp_path)
    asked = Filters(window=Window(AT - 1000, AT + 1000))

    assert told(rows, asked) == told(plain, asked)
    assert told(rows, asked)[3][0][0]
