"""Ask an engine that speaks Spark Connect (Spark, Databricks, Sail), so that only what is found comes here.

Each question is one SQL text in DuckDB's dialect, which `sqlglot` writes in the engine's.
"""

# ruff: noqa: S608 - the SQL consists of constants and our own names; texts are quoted

import importlib.util
import socket
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from vdbevents.errors import InputError, ServiceUnreachableError
from vdbevents.lake.lake_reader import empty_journal, journal_of
from vdbevents.lake.lake_table import is_remote, lake_address
from vdbevents.lake.narrowed_rows import chosen_rows, finals_of
from vdbevents.lake.table_schema import EVENT_COLUMNS
from vdbevents.query.filters import Filters
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.row_journal import RowFile
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    import pyarrow as pa

SCHEME: Final = "sc://"
_MODULES: Final = {"pyspark": "pyspark", "sqlglot": "sqlglot"}
_ROWS: Final = "vdbevents_rows"
_VIEWS: Final = {
    "events": f"SELECT host, {', '.join(f'`{name}`' for name in EVENT_COLUMNS)} FROM {_ROWS} WHERE readable",
    "alerts": "SELECT * FROM events WHERE channel = 'alert'",
}
_MOST_SHOWN: Final = 300
_USUAL_PORT: Final = 15002
_CONNECT_SECONDS: Final = 10.0


class RemoteEngine:
    """A session on an engine, in which the events of a lake are a table."""

    def __init__(self, engine: str, given: str) -> None:
        """Connect.

        Args:
            engine: its address, such as `sc://localhost:15002`.
            given: the lake's address, which the engine has to reach by itself.

        Raises:
            InputError: a library is missing, or it is not such an address.
            ServiceUnreachableError: the engine cannot be reached, or cannot read the lake.
        """
        if missing := [name for name, module in _MODULES.items() if importlib.util.find_spec(module) is None]:
            raise InputError(
                f"--engine needs {' and '.join(missing)}, not installed",
                "install the extra: pip install 'vdbevents[spark]'",
                error_id="engine-missing",
            )
        if not engine.startswith(SCHEME):
            raise _no_address(engine)
        self._address = engine.partition(";")[0]  # what follows may be a token
        self._lake = lake_address(given)
        self._check_reachable()
        with self._errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pyspark.sql import SparkSession

            self._session: Any = SparkSession.builder.remote(engine).create()
            self._session.conf.set("spark.sql.session.timeZone", "UTC")
            path = self._lake if is_remote(self._lake) else Path(self._lake).as_uri()
            self._session.read.format("delta").load(path).createOrReplaceTempView(_ROWS)
            for name, sql in _VIEWS.items():
                self._session.sql(sql).createOrReplaceTempView(name)

    def _check_reachable(self) -> None:
        """Connect once: the client itself would try for minutes.

        Raises:
            InputError: the address has no port that is a number.
            ServiceUnreachableError: nothing listens there.
        """
        parts = urlsplit(self._address)
        try:
            place = parts.hostname or "", parts.port or _USUAL_PORT
        except ValueError:
            raise _no_address(self._address) from None
        try:
            socket.create_connection(place, _CONNECT_SECONDS).close()
        except OSError as error:
            raise self._unreachable(error.strerror or str(error)) from None

    def _unreachable(self, reason: str) -> ServiceUnreachableError:
        return ServiceUnreachableError(
            f"the engine {harmless(self._address)} did not answer: {reason}",
            "check that it runs, speaks Spark Connect, and reads Delta tables at the lake's address",
            error_id="engine-unreachable",
        )

    def close(self) -> None:
        """End the session."""
        with self._errors():
            self._session.stop()

    def ask(self, sql: str) -> "pa.Table":
        """Return the rows of SQL in DuckDB's dialect.

        Raises:
            InputError: the engine refuses it.
            ServiceUnreachableError: the engine does not answer.
        """
        import sqlglot

        try:
            [text] = sqlglot.transpile(sql, read="duckdb", write="spark")
        except (sqlglot.errors.SqlglotError, ValueError) as error:
            raise _refused(f"not one statement of SQL: {_first_line(error)}") from None
        with self._errors():
            return self._session.sql(text).toArrow()

    def select(self, sql: str, path: Path) -> None:
        """Write the rows of a user's SELECT over `events` and `alerts` into a Parquet file.

        Raises:
            InputError: it is not one SELECT over these, or the engine refuses it.
            ServiceUnreachableError: the engine does not answer.
        """
        _check(sql)
        _write(self.ask(sql), path)

    def journals(self, hosts: Sequence[str], filters: Filters, folder: Path) -> list[HostJournal]:
        """Return journals that hold what may match, each with what may have replaced it, and the gaps.

        A search in them finds what a search of the lake finds.

        Args:
            hosts: those to look at; none for all.
            filters: what is asked for.
            folder: a scratch folder, for what the engine found.

        Raises:
            InputError: the engine cannot find what the filters ask for.
            ServiceUnreachableError: the engine does not answer.
        """
        found = [self.ask(f"SELECT * FROM {_ROWS} WHERE {chosen_rows(filters, hosts)}")]
        if not filters.interim:
            streams = _interim_streams(found[0])
            if streams:
                found.append(self.ask(f"SELECT * FROM {_ROWS} WHERE {finals_of(filters, streams)}"))
        paths = []
        for number, table in enumerate(found):
            paths.append(folder / f"found-{number}.parquet")
            _write(table.filter(_not_in(found[0], table)) if number else table, paths[-1])
        files = [RowFile(path) for path in paths]
        known = sorted({pair for table in found for pair in _pairs(table, "host", "journal")})
        return [journal_of(self._lake, recording, files) for recording in known] or [
            empty_journal(self._lake)
        ]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise an error of ours where the engine fails."""
        try:
            yield
        except ImportError as error:
            raise InputError(
                f"--engine: {_first_line(error)}",
                "install the extra: pip install 'vdbevents[spark]'",
                error_id="engine-missing",
            ) from None
        except Exception as error:
            from pyspark.errors import AnalysisException, ParseException, PySparkException

            if isinstance(error, (AnalysisException, ParseException)):
                raise _refused(_first_line(error)) from None
            if isinstance(error, PySparkException) or type(error).__module__.startswith("grpc"):
                raise self._unreachable(_first_line(error)) from None
            raise


def _no_address(engine: str) -> InputError:
    return InputError(
        f"--engine: not an address of Spark Connect, got {harmless(engine)!r}",
        "try sc://localhost:15002",
        error_id="engine-address-invalid",
    )


def _refused(reason: str) -> InputError:
    return InputError(
        f"the engine refused the query: {reason}",
        "it has the tables events and alerts: see `vdbevents sql --describe --lake LAKE`",
        error_id="engine-refused",
    )


def _first_line(error: Exception) -> str:
    return harmless((str(error).splitlines() or [type(error).__name__])[0])[:_MOST_SHOWN]


def _check(sql: str) -> None:
    """Check that SQL is one SELECT that names no table but the views.

    Raises:
        InputError: it is not.
    """
    import sqlglot
    from sqlglot import exp

    try:
        statements = sqlglot.parse(sql, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise _refused(_first_line(error)) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise InputError(
            "only one SELECT is allowed", "start with SELECT, FROM or WITH", error_id="sql-not-select"
        )
    own = {one.alias_or_name.lower() for one in statements[0].find_all(exp.CTE)}
    for table in statements[0].find_all(exp.Table):
        name = table.name.lower()
        if isinstance(table.this, exp.Func) or table.db or name not in {*_VIEWS, *own}:
            raise InputError(
                f"--engine: no table {harmless(table.sql())!r} there; there are {', '.join(_VIEWS)}",
                "ask without --engine: it has transcripts, visuals, audio, sessions and gaps as well",
                error_id="engine-table-unknown",
            )


def _write(table: "pa.Table", path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path)


def _pairs(table: "pa.Table", one: str, other: str) -> set[tuple[Any, Any]]:
    return set(zip(table[one].to_pylist(), table[other].to_pylist(), strict=True))


def _interim_streams(table: "pa.Table") -> set[tuple[str, str | None, str | None]]:
    """Return the hosts and streams of the interim transcripts that were found."""
    names = ("host", "stream", "stream_name", "channel", "is_final")
    rows: Iterable[tuple[Any, ...]] = zip(*(table[name].to_pylist() for name in names), strict=True)
    return {
        (host, stream, name)
        for host, stream, name, channel, is_final in rows
        if channel == "transcript" and is_final is False
    }


def _not_in(found: "pa.Table", table: "pa.Table") -> "pa.Array":
    """Return for each row of a table whether it was not found before."""
    import pyarrow as pa

    names = ("host", "journal", "position")
    known = set(zip(*(found[name].to_pylist() for name in names), strict=True))
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return pa.array([row not in known for row in rows], pa.bool_())
