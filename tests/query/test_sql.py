"""SQL over a journal: what it answers, how that is written, and that it reaches nothing else."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import orjson
import pytest
from support.sealed_journals import sealed

from vdbevents.errors import InputError, StorageError, VdbeventsError
from vdbevents.events import envelope
from vdbevents.query import scratch
from vdbevents.query.cache.build import seal
from vdbevents.query.sql.sandbox import SqlTables
from vdbevents.query.sql.table import write
from vdbevents.query.sql.views import VIEWS

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "example.jsonl"
# What a query may call a variable of ours, were Python's frames looked through.
variable_of_python = [{"secret": 1}]


def rows(tables, sql):
    return [row for batch in tables.ask(sql).batches() for row in batch]


def written(tables, sql, output="text", width=None):
    stream = io.BytesIO()
    write(tables.ask(sql), output, stream, width)
    return stream.getvalue().decode()


@pytest.fixture(scope="module")
def example():
    with SqlTables(EXAMPLE) as tables:
        yield tables


@pytest.fixture
def journal(tmp_path):
    return shutil.copy(EXAMPLE, tmp_path / "journal.jsonl")


@pytest.fixture
def cache(journal, tmp_path):
    """The journal's, whose every 500 bytes are sealed; what is after them is not."""
    copied = sealed(journal, tmp_path / "cache", piece=500)
    assert len(copied.segments) > 3
    assert copied.end < journal.stat().st_size
    return copied


@pytest.fixture(scope="module")
def sealed_example(tmp_path_factory):
    """A journal and its cache, as above, of several tests that leave both as they are."""
    folder = tmp_path_factory.mktemp("sealed")
    journal = folder / "journal" / "journal.jsonl"
    journal.parent.mkdir()
    shutil.copy(EXAMPLE, journal)
    return journal, sealed(journal, folder / "cache", piece=500)


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- The views -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_the_columns_that_it_is_said_to_have(example, name):
    found = [(column, kind) for column, kind, *_ in rows(example, f"DESCRIBE {name}")]

    assert [
        (column, kind.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"))
        for column, kind, _ in VIEWS[name].columns
    ] == found


def test_only_the_views_are_described(example):
    assert rows(example, "SHOW TABLES") == [(name,) for name in sorted(VIEWS)]


def test_a_sealed_journal_says_the_same(example, sealed_example):
    with SqlTables(*sealed_example) as sealed:
        for name in VIEWS:
            assert rows(sealed, f"FROM {name} ORDER BY ALL") == rows(example, f"FROM {name} ORDER BY ALL")
            assert sealed.skipped == example.skipped == 0


@pytest.mark.long
def test_unreadable_lines_are_counted_wherever_they_are(journal, tmp_path):
    sound = journal.read_bytes()
    journal.write_bytes(b"{nothing\n" + sound + b"\xff\n[]\n\n" + b'{"torn":')
    with (
        SqlTables(journal, seal(journal, tmp_path / "cache", piece=500)) as sealed,
        SqlTables(journal) as tables,
    ):
        assert sealed.skipped == tables.skipped == 4
        assert rows(sealed, "SELECT count(*) FROM events") == [("12",)]


def test_an_empty_journal_has_views_without_rows(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with SqlTables(tmp_path / "empty.jsonl") as tables:
        assert tables.journal_bytes == 0
        assert [rows(tables, f"FROM {name}") for name in VIEWS] == [[]] * len(VIEWS)


def test_a_gap_is_shown_with_its_latest_status(tmp_path):
    def line(**data):
        event = {"ts": "2026-03-02T10:00:00.000Z", "unix_ts": 1772445600.0, "channel": "vdbevents"}
        return json.dumps({**event, "event": "listener.gap", "data": data}) + "\n"

    told = {"id": "gap-1", "since": "2026-03-02T10:00:00.000Z", "until": "2026-03-02T10:01:30.000Z"}
    journal = tmp_path / "gaps.jsonl"
    journal.write_text(
        line(**told, reason="network", status="open")
        + line(**told, reason="network", status="recovered", recovered={"transcript": 2, "alert": 1})
    )
    with SqlTables(journal) as tables:
        assert rows(tables, "FROM gaps") == [
            (
                *("gap-1", "2026-03-02T10:00:00.000Z", "2026-03-02T10:01:30.000Z", "90.0"),
                *("network", "recovered", "3"),
            )
        ]


@pytest.mark.long
def test_a_session_has_the_status_of_its_last_line_whatever_the_clock_says(tmp_path):
    steps = [
        ("active", {}),
        ("stopped", {}),
        ("exported", {}),
        ("failed", {"error": {"message": "no: room"}}),
    ]
    lines = [
        json.dumps(
            {
                "unix_ts": 1772446530 - number // 2,
                "channel": "capture_session",
                "event": f"capture_session.{step}",
                "capture_session_id": "cap-1",
                "status": step,
                "data": data,
            }
        )
        for number, (step, data) in enumerate(steps)
    ]
    journal = tmp_path / "journal.jsonl"
    for count, status, reason in ((2, "stopped", None), (3, "exported", None), (4, "failed", "no: room")):
        journal.write_text("\n".join(lines[:count]) + "\n")
        for cache in (None, seal(journal, tmp_path / f"cache-{count}", piece=300)):
            with SqlTables(journal, cache) as tables:
                found = rows(tables, "SELECT status, reason, events FROM sessions")
                assert found == [(status, reason, str(count))]


def test_a_gap_is_never_shorter_than_nothing(tmp_path):
    data = {
        "id": "g",
        "since": "2026-03-02T10:17:30.123Z",
        "until": "2026-03-02T10:17:02.611Z",
        "status": "open",
    }
    (tmp_path / "gaps.jsonl").write_bytes(envelope.own_record("listener.gap", data, 1772446622612).line)
    with SqlTables(tmp_path / "gaps.jsonl") as tables:
        assert rows(tables, "SELECT seconds FROM gaps") == [("0.0",)]


# -- Times -----------------------------------------------------------------------------------------------


def test_times_have_a_zone_and_local_ones_have_none(example):
    moment = "TIMESTAMPTZ '2026-07-01 10:15:30.1239+00'"

    assert rows(example, f"SELECT {moment}, {moment} AT TIME ZONE 'Europe/Berlin'") == [
        ("2026-07-01T10:15:30.123Z", "2026-07-01T12:15:30.123")
    ]
    assert rows(example, "SELECT count(*) FROM events WHERE time >= '2026-03-02 11:42+01:00'") == [("3",)]
    assert rows(example, "SELECT DISTINCT date_trunc('hour', time), hour(time) FROM events") == [
        ("2026-03-02T10:00:00.000Z", "10")
    ]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("TIMESTAMPTZ 'infinity'", "infinity"),
        ("TIMESTAMP '290000-01-01'", "290000-01-01T00:00:00.000"),
        ("TIMESTAMP_NS '2026-01-01 00:00:00.123456789'", "2026-01-01T00:00:00.123"),
        ("TIMESTAMP_S '2026-01-01'", "2026-01-01T00:00:00.000"),
        ("DATE '2026-01-01'", "2026-01-01"),
        ("TIME '01:02:03'", "01:02:03"),
        ("INTERVAL 90 MINUTES", "01:30:00"),
    ],
)
def test_any_time_has_a_text(example, moment, text):
    assert rows(example, f"SELECT {moment}") == [(text,)]


# -- Formats ---------------------------------------------------------------------------------------------

VALUES = """SELECT * FROM (VALUES
    (1, 1.10::DECIMAL(9,2), true, 'a', [1, NULL], 'nan'::DOUBLE, 170141183460469231731687303715884105727),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (-20, 0.05, false, '', [], '-inf', 2)) AS given(n, d, b, "t,t", l, f, h)"""


def test_a_table_is_aligned(example):
    assert written(example, VALUES) == (
        "  n     d  b      t,t  l            f                                        h\n"
        "  1  1.10  true   a    [1,null]   nan  170141183460469231731687303715884105727\n"
        "\n"
        "-20  0.05  false       []        -inf                                        2\n"
    )


def test_csv_tells_nothing_from_an_empty_text(example):
    assert written(example, VALUES, "csv") == (
        'n,d,b,"t,t",l,f,h\n'
        '1,1.10,true,a,"[1,null]",nan,170141183460469231731687303715884105727\n'
        ",,,,,,\n"
        '-20,0.05,false,"",[],-inf,2\n'
    )


def test_json_keeps_numbers_and_lists_what_they_are(example):
    lines = [
        '{"n":1,"d":1.10,"b":true,"t,t":"a","l":[1,null],"f":null,"h":170141183460469231731687303715884105727}',
        '{"n":null,"d":null,"b":null,"t,t":null,"l":null,"f":null,"h":null}',
        '{"n":-20,"d":0.05,"b":false,"t,t":"","l":[],"f":null,"h":2}',
    ]

    assert written(example, VALUES, "jsonl") == "\n".join(lines) + "\n"
    assert written(example, VALUES, "json") == "[\n" + ",\n".join(lines) + "\n]\n"


@pytest.mark.parametrize(
    ("output", "text"), [("text", "one  two\n"), ("csv", "one,two\n"), ("json", "[]\n"), ("jsonl", "")]
)
def test_no_rows_are_a_form_as_well(example, output, text):
    assert written(example, "SELECT 1 AS one, '2' AS two LIMIT 0", output) == text


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{'a': now() - now(), 'b': '\\xAA'::BLOB}", {"a": "00:00:00", "b": "\\xAA"}),
        ("MAP {'k': [1.5]}", {"k": [1.5]}),
        ("['nan'::DOUBLE]", "[NaN]"),
        ("'\\x00\\xFF'::BLOB", "\\x00\\xFF"),
        ("1e300::DOUBLE", 1e300),
        ("'{\"a\": [1, 2]}'::JSON", {"a": [1, 2]}),
        ("'{\"a\":\n1}'::JSON", {"a": 1}),
        ("NULL", None),
        ("INTERVAL 3 MONTHS", "3 months"),
        ("'101'::BIT", "101"),
        ("'5b3a7e62-0c4e-4b2e-8f3e-111111111111'::UUID", "5b3a7e62-0c4e-4b2e-8f3e-111111111111"),
        ("[1, 2]::INTEGER[2]", [1, 2]),
        ("union_value(k := 1)", {"k": 1}),
        ("'a'::ENUM('a', 'b]')", "a"),
    ],
)
def test_any_value_is_valid_json(example, value, told):
    line = written(example, f"SELECT {value} AS it", "jsonl")

    assert line.count("\n") == 1
    assert orjson.loads(line) == {"it": told}


def test_columns_of_one_name_stay_apart_in_json(example):
    assert written(example, "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a", "jsonl") == (
        '{"a":1,"a_1":2,"a_1_1":3,"a_2":4}\n'
    )


HOSTILE = "chr(27) || '[31m' || chr(10) || chr(155) || chr(8238) || chr(0) || '\"'"


def test_no_control_character_reaches_a_terminal(example):
    shown = written(example, f'SELECT {HOSTILE} AS "a\x1b[0m", [{HOSTILE}] AS l')

    assert shown.count("\n") == 2
    assert not [c for c in shown if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f" or c == "\u202e")]


def test_json_holds_hostile_text_escaped_and_csv_as_it_is(example):
    text = '\x1b[31m\n\x9b\u202e\x00"'
    line = written(example, f"SELECT {HOSTILE} AS a, [{HOSTILE}] AS l", "jsonl")

    assert json.loads(line) == {"a": text, "l": [text]}
    assert not {"\x1b", "\x9b", "\x00"} & set(line)
    assert written(example, f"SELECT {HOSTILE} AS a", "csv") == 'a\n"\x1b[31m\n\x9b\u202e\u2400"""\n'


def test_csv_without_formulas_marks_texts_and_leaves_numbers(example):
    stream = io.BytesIO()
    answer = example.ask("SELECT -1 AS n, '=1+1' AS \"@t\", '-x, y' AS u, ['='] AS l, 'plain' AS p, '' AS e")
    write(answer, "csv", stream, None, without_formulas=True)

    assert stream.getvalue().decode() == ("""n,'@t,u,l,p,e\n-1,'=1+1,"'-x, y","[""=""]",plain,""\n""")


@pytest.mark.parametrize("width", [1, 10, 24, 80])
def test_on_a_terminal_a_line_is_not_wider_than_it(example, width):
    lines = written(
        example, "SELECT repeat('語', 50) AS a, 12 AS b, repeat('b', 99) AS c", width=width
    ).split("\n")

    assert all(engine_cells(line) <= width for line in lines)
    if width > 20:
        assert lines[0].split() == ["a", "b", "c"]
        assert "12" in lines[1]


def engine_cells(line):
    return sum(2 if c == "語" else 1 for c in line)


def test_a_long_answer_is_given_whole_and_in_order(example):
    numbers = written(example, "SELECT i FROM range(5000) t(i) ORDER BY i", "csv").split()

    assert numbers == ["i", *map(str, range(5000))]


def test_an_endless_result_is_yielded_as_it_arrives(example):
    answer = example.ask("SELECT i, repeat('x', 100) FROM range(1000000000000) t(i)")

    assert len(next(answer.batches())) > 1000


# -- What is a query ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("SELECT 1; -- and that is all", ("1",)),
        ("SELECT ';' ; ; ", (";",)),
        ("SELECT 'ü;', 2 /* ; */;", ("ü;", "2")),
        ("-- why\nFROM (VALUES (1)) -- ;", ("1",)),
        ("WITH a AS (SELECT 1) FROM a", ("1",)),
        ("(SELECT 1)", ("1",)),
        ("UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b", ("a", "1")),
        ("PIVOT (SELECT channel, 1 AS n FROM alerts) ON channel USING sum(n)", ("1",)),
        ("FROM (PIVOT (SELECT channel, 1 AS n FROM alerts) ON channel USING sum(n))", ("1",)),
        ("PIVOT (SELECT min(time) AS t, 'a' AS k FROM events) ON k", ("2026-03-02T10:14:58.000Z", "1")),
        ("SUMMARIZE SELECT 1 AS a", None),
    ],
)
def test_every_form_of_a_select_is_one(example, sql, first):
    found = rows(example, sql)

    assert first is None or found[0] == first


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("", "empty query"),
        ("-- nothing", "empty query"),
        ("SELECT 1; SELECT 2", "not SELECT, SELECT"),
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM events", "nope"),
        ("SELECT * FROM evnts", 'Did you mean "events"'),
        ("SELECT 'a'::INTEGER", "Could not convert"),
        ("SELECT ?", "parameter"),
        ("SELECT error('it broke')", "it broke"),
        ("SELECT '\udcff'", "UTF-8"),
        ("SELECT 1)", "syntax error"),
        ("SELECT 1) AS x, (SELECT 2", "syntax error"),
        ("SELECT CASE WHEN i = 4000 THEN error('too late') END FROM range(5000) t(i)", "too late"),
    ],
)
def test_an_invalid_query_is_reported_with_duckdbs_reason(example, sql, said):
    with pytest.raises(InputError) as refused:
        rows(example, sql)

    assert said in refused.value.message
    assert refused.value.error_id in {"sql-failed", "sql-not-select", "sql-query-not-utf8"}
    assert refused.value.hint
    assert "\n" not in refused.value.message
    assert rows(example, "SELECT 1") == [("1",)]


@pytest.mark.parametrize(
    "sql",
    [
        *("COPY events TO '{out}'", "COPY (SELECT 1) TO '{out}'", "EXPORT DATABASE '{out}'"),
        *(
            "COPY (PIVOT events ON channel USING count(*)) TO '{out}'",
            "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
        ),
        *("EXPLAIN SELECT 1", "CALL pragma_version()", "PRAGMA database_list", "PRAGMA version"),
        *("ATTACH '{out}' AS other", "ATTACH '{secret}' AS other (READ_ONLY)", "DETACH memory", "USE memory"),
        *("SET threads = 1", "SET enable_external_access = true", "SET lock_configuration = false"),
        *("RESET allowed_paths", "SET VARIABLE x = 1", "SET GLOBAL allowed_directories = ['/']"),
        *("INSTALL httpfs", "LOAD httpfs", "LOAD '{secret}'", "INSTALL '{secret}'"),
        *(
            "CREATE TABLE x AS SELECT 1",
            "CREATE SECRET (TYPE s3)",
            "CREATE MACRO f() AS 1",
            "DROP VIEW events",
        ),
        *(
            "INSERT INTO journal.told_gaps SELECT NULL",
            "DELETE FROM journal.unsealed",
            "VACUUM",
            "CHECKPOINT",
        ),
        *("PREPARE x AS SELECT 1", "EXECUTE x", "BEGIN", "COMMIT", "IMPORT DATABASE '{out}'"),
        "CREATE TABLE x AS PIVOT events ON channel USING count(*)",
    ],
)
def test_a_statement_that_is_not_a_select_is_refused(example, tmp_path, sql):
    assert_reaches_nothing(example, tmp_path, sql)


@pytest.mark.parametrize(
    "sql",
    [
        *(
            "FROM '{secret}'",
            "FROM read_text('{secret}')",
            "FROM read_blob('{secret}')",
            "FROM read_csv('{secret}')",
        ),
        *("FROM read_json('{secret}')", "FROM read_parquet('{secret}')", "FROM sniff_csv('{secret}')"),
        *(
            "FROM parquet_metadata('{secret}')",
            "FROM parquet_schema('{secret}')",
            "FROM query_table('{secret}')",
        ),
        *("FROM glob('{folder}/*')", "FROM glob('/etc/*')", "FROM read_text('/proc/self/environ')"),
        *(
            "FROM read_csv('/dev/stdin')",
            "FROM read_text(['{secret}'])",
            "FROM parquet_kv_metadata('{secret}')",
        ),
        *("FROM query('FROM read_text(''{secret}'')')", "SELECT (SELECT content FROM read_text('{secret}'))"),
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))",
        "FROM query('WITH x AS (COPY (SELECT 1) TO ''{out}'') FROM x')",
        "WITH x AS (COPY (SELECT 1) TO '{out}') FROM x",
        "WITH x AS (INSERT INTO journal.told_gaps(id) VALUES ('forged') RETURNING *) FROM x",
        "WITH x AS (DELETE FROM journal.unsealed RETURNING *) FROM x",
        *(
            "FROM 'https://127.0.0.1:9/x.csv'",
            "FROM read_text('http://127.0.0.1:9/')",
            "FROM 's3://a/b.parquet'",
        ),
        *("SELECT getenv('HOME')", "FROM pg_read_file('{secret}')", "FROM read_duckdb('{secret}')"),
        *("FROM variable_of_python", "FROM connection", "FROM tables", "FROM sys"),
        *("FROM duckdb_secrets()", "FROM enable_logging(storage = 'file', storage_path = '{out}')"),
        *(
            "FROM enable_profiling()",
            "FROM pandas_scan(1)",
            "FROM arrow_scan(1, 2, 3)",
            "SELECT write_blob('{out}')",
        ),
        *("FROM read_csv('{folder}/../{name}/secret.csv')", "FROM read_text('file://{secret}')"),
    ],
)
def test_a_select_reaches_nothing_but_the_views(example, tmp_path, sql):
    assert_reaches_nothing(example, tmp_path, sql)


def assert_reaches_nothing(tables, folder, sql):
    secret = folder / "secret.csv"
    secret.write_text("a,b\nthe secret,2\n")
    before = content(folder)
    with pytest.raises(VdbeventsError) as refused:
        rows(
            tables,
            sql.format(secret=secret, out=folder / "out", folder=folder, name=folder.name),
        )

    assert isinstance(refused.value, InputError)
    assert "the secret" not in refused.value.message
    assert content(folder) == before
    assert rows(tables, "SELECT count(*) FROM events") == [("12",)]
    assert rows(tables, "FROM gaps") == []


def test_the_settings_of_the_connection_stay_locked(example):
    settings = dict(
        rows(
            example,
            "SELECT name, value FROM duckdb_settings() WHERE name IN ('enable_external_access', "
            "'lock_configuration', 'python_enable_replacements', "
            "'autoload_known_extensions', 'allowed_paths')",
        )
    )

    assert settings == {
        "enable_external_access": "false",
        "lock_configuration": "true",
        "python_enable_replacements": "false",
        "autoload_known_extensions": "false",
        "allowed_paths": "[]",
    }


def writing(path, form):
    """What writes into a file, in all the ways in which DuckDB takes it for a SELECT."""
    copy = f"COPY (SELECT 'forged' AS text) TO '{path}' (FORMAT {form})"
    with_copy = f"WITH x AS ({copy}) FROM x"
    quoted = with_copy.replace("'", "''")
    return [
        with_copy,
        f"FROM ({with_copy})",
        f"SELECT (SELECT count(*) FROM ({with_copy}))",
        f"FROM query('{quoted}')",
        f"FROM json_execute_serialized_sql(json_serialize_sql('{quoted}'))",
        f"FROM \"JSON_execute_serialized_SQL\"(json_serialize_sql('{quoted}'))",
        f"PIVOT ({with_copy}) ON text USING count(*)",
        f"FROM (PIVOT ({with_copy}) ON text IN ('a') USING count(*))",
        f"SUMMARIZE {with_copy}",
        f"WITH RECURSIVE x AS ({copy}) FROM x UNION ALL FROM x",
    ]


IN_PLACE = "csv, USE_TMP_FILE false"


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "way"),
    [*((IN_PLACE, way) for way in range(10)), ("parquet", 4), ("json, USE_TMP_FILE false", 4)],
)
def test_not_even_the_cache_can_be_written(sealed_example, form, way):
    journal, cache = sealed_example
    before = {**content(cache.folder), **content(journal.parent)}
    with SqlTables(journal, cache) as tables:
        with contextlib.suppress(VdbeventsError):
            rows(tables, writing(cache.events(cache.segments[0]), form)[way])
        with contextlib.suppress(VdbeventsError):
            rows(tables, writing(journal, form)[way])
        assert {**content(cache.folder), **content(journal.parent)} == before
        assert rows(tables, "SELECT count(*) FROM events") == [("12",)]


def allowed(tables):
    [(paths,)] = rows(tables, "SELECT current_setting('allowed_paths')")
    return paths


@pytest.mark.long
def test_the_cache_is_read_where_it_is_if_nothing_can_write_it(journal, cache):
    own = [str(cache.events(segment)) for segment in cache.segments]
    with SqlTables(journal, cache) as tables:
        rows(tables, "WITH a AS (FROM events UNION FROM audio) SELECT * FROM a, range(2), (SUMMARIZE alerts)")
        assert all(path in allowed(tables) for path in own)
        with contextlib.suppress(VdbeventsError):
            rows(tables, "FROM query('FROM events')")
        assert not any(path in allowed(tables) for path in own)


# -- What fails ------------------------------------------------------------------------------------------


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def garble_its_end(path):
    path.write_bytes(path.read_bytes()[:-8] + b"garbage!")


def garble_its_middle(path):
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = b"\xa5" * (len(data) // 2 - 4)
    path.write_bytes(data)


@pytest.mark.long
@pytest.mark.parametrize("place", [0, -1])
def test_a_damaged_cache_is_not_used(example, journal, cache, place):
    expected = rows(example, "FROM events ORDER BY ALL")
    path = cache.events(cache.segments[place])
    sound = path.read_bytes()
    for damage in (remove, empty, garble_its_end, garble_its_middle):
        path.write_bytes(sound)
        damage(path)
        with SqlTables(journal, cache) as tables:
            assert rows(tables, "FROM events ORDER BY ALL") == expected, damage


@pytest.mark.long
def test_a_mistake_is_reported_as_one_with_a_cache_too(journal, cache):
    with SqlTables(journal, cache) as tables:
        for sql in ("SELECT error('it broke') FROM events", "SELECT nope FROM events", "SELECT 'a'::INTEGER"):
            with pytest.raises(InputError):
                rows(tables, sql)


@pytest.mark.long
def test_a_query_beyond_memory_and_disk_limits_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("vdbevents.query.sql.sandbox._MOST_TEMPORARY_MB", 1)
    with SqlTables(EXAMPLE) as tables, pytest.raises(StorageError) as raised:
        rows(tables, "SELECT list(repeat('x', 1000) || i) FROM range(3000000) t(i)")
    assert raised.value.error_id == "search-out-of-room"


def test_nothing_is_left_behind(tmp_path, monkeypatch, journal, cache):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(scratch, "_root", scratch._Root())
    with SqlTables(journal, cache) as tables:
        rows(tables, "FROM events")
        assert list(temporary.iterdir())
    with pytest.raises(InputError):
        SqlTables(tmp_path / "nowhere.jsonl")

    assert list(temporary.iterdir()) == []


def test_half_a_surrogate_pair_in_any_text_of_the_recorder_s_own_does_not_stop_an_answer(tmp_path):
    journal = tmp_path / "journal.jsonl"
    since, until = "2026-03-02T10:15:30.123Z", "2026-03-02T10:16:30.123Z"
    gap = {"id": "\ud800", "since": since, "until": until, "reason": "half \ud800", "status": "open"}
    lines = [
        envelope.own_record("listener.gap", gap, 1772446530123).line,
        envelope.envelop(
            b'{"event":"capture_session.active","capture_session_id":"cap-\\ud83d"}', 1772446530123
        ).line,
    ]
    journal.write_bytes(b"".join(lines))

    with SqlTables(journal) as tables:
        assert rows(tables, "SELECT id, reason FROM gaps") == [("\ufffd", "half \ufffd")]
        assert rows(tables, "SELECT session FROM sessions") == [("cap-\ufffd",)]
