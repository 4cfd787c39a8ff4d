"""Checks a user's `--where` condition."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vdbevents.errors import InputError
from vdbevents.query import lines, statements as query_statements
from vdbevents.query.filters import Filters

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def check_filters(connection: "DuckDBPyConnection", filters: Filters) -> None:
    """See that every pattern can be used, before anything is read."""
    import duckdb

    for pattern in (*filters.grep, *filters.any_of, *filters.none_of):
        try:
            pattern.encode()
        except UnicodeEncodeError:
            raise InputError(f"the pattern {pattern!r} is no text", "Give it in UTF-8.") from None
        if filters.extended:
            try:
                connection.execute("SELECT regexp_matches('', ?)", [pattern]).fetchall()
            except duckdb.Error as error:
                reason = str(error).removeprefix("Invalid Input Error: ").splitlines()[0]
                raise InputError(
                    f"the pattern {pattern!r} is no regular expression: {reason}",
                    "-E takes RE2's syntax; without -E a pattern is literal text.",
                ) from None
    if filters.where is not None:
        _check_condition(connection, filters.where)


def _check_condition(connection: "DuckDBPyConnection", where: str) -> None:
    with with_condition(Filters(where=where)):
        [*statements] = connection.extract_statements(query_statements.condition(where))
        if len(statements) != 1 or statements[0].named_parameters or not _is_expression(connection, where):
            raise InputError(
                f"{where!r} is no condition on an event",
                f"One of SQL's is accepted, without a SELECT in it, over: {_condition_columns()}.",
            )
        connection.execute(statements[0]).fetchall()


def _is_expression(connection: "DuckDBPyConnection", where: str) -> bool:
    """Tell whether SQL is an expression, and nothing in it could read a table, or run a statement.

    DuckDB may run what stands in a text (`json_execute_serialized_sql`), with which a file that may be read
    could be written: a function of tables needs a FROM, and that a subquery.
    """
    import json

    [(told,)] = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({where}\n)"]).fetchall()
    statements = json.loads(told).get("statements", [])
    if len(statements) != 1 or '"SUBQUERY"' in told:
        return False
    node = statements[0]["node"]
    return (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "EMPTY"
        and len(node["select_list"]) == 1
        and not node["modifiers"]
        and not node["cte_map"]["map"]
        and node["where_clause"] is None
    )


def _condition_columns() -> str:
    return ", ".join(lines.CONDITION_COLUMNS)


@contextlib.contextmanager
def with_condition(filters: Filters) -> Iterator[None]:
    """Turn what DuckDB says of a condition in SQL into an error with a cure."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        if filters.where is None:
            raise
        reason = str(error).split("\n\nLINE", maxsplit=1)[0].strip()
        raise InputError(
            f"the condition {filters.where!r} does not work: {reason}",
            f"It may name: {_condition_columns()}; try_cast gives NULL for what cannot be cast.",
        ) from None
