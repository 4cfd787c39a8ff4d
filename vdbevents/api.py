"""A journal in Python: `vdbevents.open("DIR").query(last="10m", grep="code")`. docs/python.md shows it."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from vdbevents.errors import InputError
from vdbevents.journal.state import locate_state
from vdbevents.query.byte_ranges import Closeable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from vdbevents.events.gaps import Gap
    from vdbevents.query.search_result import SearchResult
    from vdbevents.query.sql.sandbox import SqlRows

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Texts = str | Iterable[str]
"""One text, or several."""


def open(path: str | os.PathLike[str] | None = None) -> "OpenJournal":  # noqa: A001 - as `gzip.open`
    """Return the recording of a state directory, or of a journal's file.

    Args:
        path: None for that of `VIDEODB_EVENTS_DIR`, else `$XDG_STATE_HOME/videodb`.

    Raises:
        InputError: there is no journal.
    """
    argument = None if path is None else Path(path)
    if argument is not None and argument.is_file():
        return OpenJournal(argument)
    journal = locate_state(argument, os.environ, Path.home()).journal
    if not journal.is_file():
        raise InputError(
            f"there is no journal in {journal.parent}", f"record one with: vdbevents listen {journal.parent}"
        )
    return OpenJournal(journal)


class OpenJournal:
    """A journal that can be asked as often as wanted; each question sees what was written until then.

    Attributes:
        journal: its file.
    """

    def __init__(self, journal: Path, cache_root: Path | None = None) -> None:
        """Take a journal's file.

        Args:
            journal: it is read when it is asked.
            cache_root: where sealed segments are; None for `$XDG_CACHE_HOME/vdbevents`. They are used where
                they are, and made by `vdbevents listen`, `query` and `cache build`.
        """
        self.journal = journal
        self._cache_root = cache_root

    def query(
        self,
        *,
        last: str | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        on: str | None = None,
        tz: str | tzinfo = "UTC",
        by: Literal["received", "event"] = "received",
        grep: Texts = (),
        any_of: Texts = (),
        none_of: Texts = (),
        ignore_case: bool | None = None,
        extended: bool = False,
        whole_words: bool = False,
        channel: Texts = (),
        source: Texts = (),
        stream: Texts = (),
        session: Texts = (),
        event: Texts = (),
        label: Texts = (),
        min_confidence: float | None = None,
        where: str | None = None,
        around: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = False,
        interim: bool = False,
    ) -> "QueryResult":
        """Return the events that match all that is given; the arguments are the options of `vdbevents query`.

        Args:
            last: a length of time until now, or until `until`, such as `10m`.
            since: a text as `vdbevents query` takes it, or a `datetime`, in `tz` if it names no zone.
            until: the same.
            on: a day.
            tz: of times that name none: a name, an offset, or a `tzinfo`.
            by: which time counts: that of receipt, or when it was said or shown.
            grep: texts that must all be found.
            any_of: texts of which one at least must be found.
            none_of: texts that may not be found.
            ignore_case: None ignores it for each text that has no upper-case letter.
            extended: the texts are regular expressions (RE2).
            whole_words: the texts are whole words.
            channel: any of these, as are the next five.
            source: `mic`, `system_audio`, `screen`, `camera`.
            stream: ids or names.
            session: ids.
            event: such as `capture_session.active`.
            label: of alerts, exactly.
            min_confidence: what has a confidence of so much at least.
            where: a condition in SQL over the columns of the view `events`.
            around: also all that happened so long before and after each match, such as `15s`.
            limit: the newest so many only.
            offset: without the newest so many, from where `limit` counts on.
            newest_first: the order.
            interim: also transcripts that a final one replaced.

        Raises:
            InputError: something that was given is not understood, or the journal cannot be read.
            StorageError: memory and temporary space are used up.
        """
        from vdbevents.query.cache.index import load
        from vdbevents.query.engine import search
        from vdbevents.query.filters import Filters
        from vdbevents.times import parse_duration, parse_window, parse_zone

        zone = parse_zone(tz) if isinstance(tz, str) else tz
        window = parse_window(
            last=last,
            since=_written(since, zone),
            until=_written(until, zone),
            on=on,
            now=datetime.now(UTC),
            zone=zone,
        )
        filters = Filters(
            window=window,
            by_event=by == "event",
            grep=_texts(grep),
            any_of=_texts(any_of),
            none_of=_texts(none_of),
            ignore_case=ignore_case,
            extended=extended,
            whole_words=whole_words,
            channels=_texts(channel),
            sources=_texts(source),
            streams=_texts(stream),
            sessions=_texts(session),
            names=_texts(event),
            labels=_texts(label),
            least_confidence=min_confidence,
            where=where,
            limit=limit,
            offset=offset,
            around_ms=None if around is None else parse_duration("around", around),
            newest_first=newest_first,
            interim=interim,
        )
        return QueryResult(search(self.journal, filters, load(self.journal, self._root())))

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of one SELECT over the views that `vdbevents sql --describe` lists, as dicts.

        Their values are what JSON knows; a time is a text, in UTC.

        Raises:
            InputError: it is no SELECT, it is not understood, or the journal cannot be read.
            StorageError: memory and temporary space are used up.
        """
        from vdbevents.query.cache.index import load
        from vdbevents.query.sql.sandbox import SqlTables

        with SqlTables(self.journal, load(self.journal, self._root())) as tables:
            return _dicts(tables.ask(query))

    def _root(self) -> Path:
        from vdbevents.query.cache.index import cache_root

        return self._cache_root or cache_root(os.environ, Path.home())


class QueryResult(Closeable):
    """What a query found, oldest first: an iterable of dicts, which may be read again; a context manager.

    A dict has the columns of the view `events` but `backfilled`: `time`, `started` and `ended` are
    `datetime`s in UTC.

    Attributes:
        gaps: when nothing was received, whatever was asked.
        skipped: how many lines of the journal could not be read.
    """

    def __init__(self, answer: "SearchResult") -> None:
        """Take what `query.engine.search` gave."""
        self._answer = answer
        self.gaps: Collection[Gap] = answer.gaps
        self.skipped = answer.skipped

    def __len__(self) -> int:
        return self._answer.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(names, row, strict=True)) for names, row in self._rows())

    def lines(self) -> Iterator[str]:
        """The journal's own lines, without their line ends."""
        for batch in self._answer.lines():
            yield from batch

    def arrow(self) -> "pa.Table":
        """All of it as an Arrow table.

        Raises:
            InputError: the package `pyarrow` is not installed.
        """
        _require("pyarrow")
        return self._answer.relation().to_arrow_table()

    def df(self) -> "pd.DataFrame":
        """All of it as a data frame.

        Raises:
            InputError: the package `pandas` is not installed.
        """
        _require("pandas")
        return self._answer.relation().df()

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of one SELECT over the table `found`, with the keys of these dicts as columns.

        Raises:
            InputError: it is no SELECT, or is not understood.
        """
        import tempfile

        from vdbevents.query.lines import CONDITION_COLUMNS
        from vdbevents.query.sql.sandbox import SqlRows, table

        columns = [name for name in CONDITION_COLUMNS if name != "backfilled"]
        with tempfile.TemporaryDirectory(prefix="vdbevents-found-") as folder:
            path = Path(folder) / "found.parquet"
            self._answer.write_parquet(path, columns)
            with table(path) as connection:
                return _dicts(SqlRows(connection, query, cached=False))

    def close(self) -> None:
        """Give memory and temporary files back; harmless when repeated."""
        self._answer.close()

    def _rows(self) -> Iterator[tuple[tuple[str, ...], tuple[Any, ...]]]:
        from vdbevents.query.filters import Event
        from vdbevents.query.lines import named_as

        columns = tuple(name for name in Event._fields if name not in {"line", "host"})
        names = tuple(map(named_as, columns))
        moments = [place for place, name in enumerate(columns) if name.endswith("_ms")]
        for batch in self._answer.events(columns):
            for event in batch:
                row = [getattr(event, column) for column in columns]
                for place in moments:
                    row[place] = _moment(row[place])
                yield names, tuple(row)


def _require(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise InputError(f"this needs the Python package {package}", f"install it: pip install {package}")


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def _texts(given: Texts) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _written(moment: str | datetime | None, zone: tzinfo) -> str | None:
    if not isinstance(moment, datetime):
        return moment
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC).isoformat()


def _dicts(rows: "SqlRows") -> list[dict[str, Any]]:
    names = [column.name for column in rows.columns]
    read = [_READ[column.kind.value] for column in rows.columns]
    return [
        {
            name: value if value is None else reads(value)
            for name, reads, value in zip(names, read, row, strict=True)
        }
        for batch in rows.batches()
        for row in batch
    ]


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "text": str,
    "number": _number,
    "boolean": lambda text: text == "true",
    "json": json.loads,
}
