"""What DuckDB's errors say reaches the user, but no advice to change settings, which are locked."""

import duckdb
import pytest

from vdbevents.errors import VdbeventsError
from vdbevents.query.engine_errors import understood
from vdbevents.query.sql.sandbox import SqlTables

DEEP = "Max expression depth limit of 1000 exceeded."
ZERO = "Division by zero. Use TRY(...) to return NULL for this expression"
MEMORY = "Out of Memory Error: could not allocate."
ORDER = "ORDER BY non-integer literal has no effect."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'{DEEP} Use "SET max_expression_depth TO x" to increase the maximum expression depth.', DEEP),
        (f"{ZERO}, or SET error_on_division_by_zero=false to return NULL for all.", f"{ZERO}."),
        (f"{MEMORY}\nPossible solutions:\n* Reducing the number of threads (SET threads=X)", MEMORY),
        (f"{ORDER}\n* SET order_by_non_integer_literal=true to allow this behavior.", ORDER),
    ],
)
def test_advice_to_set_what_cannot_be_set_is_replaced(text, reason):
    told = understood(duckdb.Error(text))
    assert told.reason == reason
    assert told.advice is not None
    assert "SET" not in told.advice


def test_other_errors_are_told_whole():
    text = 'Binder Error: Referenced column "set" not found\nCandidate bindings: "text"\n\nLINE 1: SELECT'
    assert understood(duckdb.Error(text)) == (
        'Binder Error: Referenced column "set" not found Candidate bindings: "text"',
        None,
    )


@pytest.mark.parametrize(
    ("line", "is_advised"),
    [
        ("SELECT window, count(*) FROM events", True),
        ("SELECT * FROM events WHERE Window = 'x'", True),
        ("""SELECT "window", FROM FROM events""", False),
        ("SELECT windows, FROM FROM events", False),
    ],
)
def test_a_column_named_as_a_keyword_is_advised_to_be_quoted(line, is_advised):
    error = duckdb.ParserException(f'Parser Error: syntax error at or near ","\n\nLINE 1: {line}')

    assert (understood(error).advice is not None) is is_advised


def test_no_error_of_a_query_advises_to_set_anything(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"ts":"2026-03-02T10:15:30.123Z","unix_ts":1772446530.123,"data":{"text":"x"}}\n')
    with SqlTables(journal) as tables:
        for query in (
            "SELECT (SELECT unnest([1, 2]))",
            f"SELECT {'-(' * 1200}1{')' * 1200}",
            "SELECT list_transform([1], x -> x)",
            "FROM events ORDER BY 'x'",
            "SELECT 1 / 0",
        ):
            try:
                list(tables.ask(query).batches())
            except VdbeventsError as error:
                told = f"{error} {error.hint}"
                assert "SET " not in told
                assert "PRAGMA" not in told
