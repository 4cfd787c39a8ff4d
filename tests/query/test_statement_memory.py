"""A statement that was executed is not parsed again, on whatever connection; not all are remembered."""

import contextlib

import duckdb
import pytest
from support.databases import shared_database

from vdbevents.query import duck


class Counting:
    """A connection, and the SQL that it parsed."""

    def __init__(self, connection):
        self._connection, self.parsed = connection, []

    def extract_statements(self, sql):
        self.parsed.append(sql)
        return self._connection.extract_statements(sql)

    def execute(self, statement, values):
        return self._connection.execute(statement, values)

    def close(self):
        self._connection.close()


@pytest.fixture
def connected(monkeypatch):
    """Two connections, and no statement remembered."""
    monkeypatch.setattr(duck, "_parsed", {})
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(contextlib.closing(Counting(shared_database().connection(0))))
            for _ in range(2)
        ]


def test_a_statement_is_parsed_once_for_all_connections_and_values(connected):
    one, other = connected

    for connection in (one, other, one):
        for value in (1, "x", None):
            assert duck.execute(connection, "SELECT ?", [value]).fetchall() == [(value,)]
    assert one.parsed + other.parsed == ["SELECT ?"]


def test_a_table_is_looked_up_each_time(connected):
    one, other = connected
    for connection, content in ((one, "1 AS a"), (other, "'x' AS b, 2 AS c")):
        duck.execute(connection, f"CREATE TEMP TABLE held AS SELECT {content}")

    assert duck.execute(one, "FROM held").fetchall() == [(1,)]
    assert duck.execute(other, "FROM held").fetchall() == [("x", 2)]
    duck.execute(one, "DROP TABLE held")
    with pytest.raises(duckdb.CatalogException):
        duck.execute(one, "FROM held")


def test_those_that_were_executed_last_are_remembered(connected):
    one, _ = connected
    for number in range(duck._MOST_PARSED):
        duck.execute(one, f"SELECT {number}")
    duck.execute(one, "SELECT 0")
    duck.execute(one, "SELECT 'new'")
    one.parsed.clear()

    assert duck.execute(one, "SELECT 0").fetchall() == [(0,)]
    assert one.parsed == []
    assert duck.execute(one, "SELECT 1").fetchall() == [(1,)]
    assert one.parsed == ["SELECT 1"]
    assert len(duck._parsed) == duck._MOST_PARSED
