"""Check the user's patterns and `--where` condition."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from vdbevents.errors import InputError
from vdbevents.query import lines, statements as query_statements
from vdbevents.query.condition_zone import use_zone
from vdbevents.query.engine_errors import understood
from vdbevents.query.filters import Filters

_CAST: Final = "try_cast gives NULL where a cast fails"

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def check_filters(connection: "DuckDBPyConnection", filters: Filters) -> None:
    """Check every pattern and the condition, before anything is read.

    Raises:
        InputError: a pattern is not UTF-8 or not a regular expression, or the condition is not one.
    """
    import duckdb

    for pattern in (*filters.grep, *filters.any_of, *filters.none_of):
        try:
            pattern.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"pattern: not UTF-8: {pattern!r}", "give it in UTF-8", error_id="pattern-not-utf8"
            ) from None
        if filters.extended:
            try:
                connection.execute("SELECT regexp_matches('', ?)", [pattern]).fetchall()
            except duckdb.Error as error:
                reason = str(error).removeprefix("Invalid Input Error: ").splitlines()[0]
                raise InputError(
                    f"pattern: not a regular expression: {pattern!r}: {reason}",
                    "use RE2 syntax, or search for the text as it is, not as an expression",
                    error_id="pattern-invalid",
                ) from None
    if filters.where is not None:
        use_zone(connection, filters.where, filters.zone)
        _check_condition(connection, filters.where)


def _check_condition(connection: "DuckDBPyConnection", where: str) -> None:
    with with_condition(Filters(where=where)):
        [*statements] = connection.extract_statements(query_statements.condition(where))
        if len(statements) != 1 or statements[0].named_parameters or not _is_expression(connection, where):
            raise InputError(
                f"--where: not a condition, got {where!r}",
                f"use one SQL condition without a SELECT, over {lines.COLUMN_LIST}",
                error_id="condition-invalid",
            )
        connection.execute(statements[0]).fetchall()


def _is_expression(connection: "DuckDBPyConnection", where: str) -> bool:
    """Return whether SQL is an expression that cannot read a table, or run a statement.

    DuckDB can run SQL from a string (`json_execute_serialized_sql`), which could write a file that may only
    be read. But a table function needs a FROM, and a FROM within an expression needs a subquery.
    """
    import json

    [(parsed,)] = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({where}\n)"]).fetchall()
    statements = json.loads(parsed).get("statements", [])
    if len(statements) != 1 or '"SUBQUERY"' in parsed or '"STAR"' in parsed:
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


@contextlib.contextmanager
def with_condition(filters: Filters) -> Iterator[None]:
    """Raise InputError with a hint where DuckDB fails on the user's `--where` condition."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        if filters.where is None:
            raise
        reason, advice = understood(error)
        raise InputError(
            f"--where: condition {filters.where!r} failed: {reason}",
            advice or f"use the columns {lines.COLUMN_LIST}; {_CAST}",
            error_id="condition-failed",
        ) from None
