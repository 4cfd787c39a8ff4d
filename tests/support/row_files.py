"""Parquet files of rows, as a lake has them, of journals: several hosts may be in one."""

import tempfile
from pathlib import Path

import duckdb

from vdbevents.query.cache import build
from vdbevents.query.hostnames import HostJournal
from vdbevents.query.row_journal import RowFile, RowJournal

_ROW = """SELECT '{host}' AS host, 'one' AS journal, position, length,
    make_timestamptz(time_ms * 1000) AS time, channel, event, source, stream, stream_name, session, text,
    is_final, make_timestamptz(start_ms * 1000) AS started, make_timestamptz(end_ms * 1000) AS ended, label,
    speaker, confidence, window_name AS "window", fetched AS backfilled, looks, true AS readable,
    whole AS line FROM read_parquet('{path}') JOIN told USING (position)"""


def write_rows(journals, folder, cuts=1):
    """Write the rows of journals, by their hosts, in so many files, each of which has some of every host."""
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        selects = []
        for host, journal in journals.items():
            cache = build.seal(journal, Path(scratch), part=1, to_end=True)
            content = journal.read_bytes()
            for segment in cache.segments:
                path = cache.events(segment)
                places = connection.execute(f"SELECT position, length FROM '{path}'").fetchall()
                lines = [content[start : start + length].decode() for start, length in places]
                connection.execute(
                    "CREATE OR REPLACE TABLE told AS SELECT unnest(?::BIGINT[]) AS position, "
                    "unnest(?::VARCHAR[]) AS whole",
                    [[start for start, _ in places], lines],
                )
                table = f"rows{len(selects)}"
                connection.execute(f"CREATE TABLE {table} AS {_ROW.format(host=host, path=path)}")
                selects.append(f"FROM {table}")
        paths = []
        for number in range(cuts if selects else 0):
            paths.append(folder / f"{number}.parquet")
            # Not by time: a file's rows may be of any.
            connection.execute(
                f"COPY (SELECT * FROM ({' UNION ALL '.join(selects)}) WHERE position // 7 % {cuts} = {number}"
                f" ORDER BY host, position) TO '{paths[-1]}' (FORMAT parquet)"
            )
        return paths


def row_journals(journals, folder, cuts=1):
    """Return the journals that `write_rows` writes, as a search takes them."""
    files = [RowFile(path) for path in write_rows(journals, folder, cuts)]
    return [
        HostJournal(
            host,
            Path(f"lake/{host}"),
            host,
            is_scratch=True,
            rows=RowJournal({"host": host}, files, lambda _: None),
        )
        for host in journals
    ]
