"""Query a journal, or a lake, in Python: `vdbevents.open("DIR").query(last="10m", grep="code")`.

See docs/python.md.
"""

# ruff: noqa: A001 - `open`, as `gzip.open`

import contextlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from vdbevents.errors import InputError, options_conflict
from vdbevents.journal.state import home_directory, locate_state
from vdbevents.query.byte_ranges import Closeable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from duckdb import DuckDBPyRelation

    from vdbevents.events.gaps import Gap
    from vdbevents.lake.lake_reader import LakeReader
    from vdbevents.query.cache.index import Cache
    from vdbevents.query.filters import Filters
    from vdbevents.query.merge import MergedResult
    from vdbevents.query.older import Older
    from vdbevents.query.search_result import SearchResult
    from vdbevents.query.sql.sandbox import SqlRows
    from vdbevents.times import Window

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Texts = str | Iterable[str]
"""One text or several."""

_Table = TypeVar("_Table")


@overload
def open(path: str | os.PathLike[str] | None = None, *, archived: bool = False) -> "OpenJournal": ...


@overload
def open(*, lake: str | os.PathLike[str], host: Texts = ()) -> "OpenLake": ...


def open(
    path: str | os.PathLike[str] | None = None,
    *,
    archived: bool = False,
    lake: str | os.PathLike[str] | None = None,
    host: Texts = (),
) -> "OpenJournal | OpenLake":
    """Open the journal of a state directory, or a journal's file; or a lake.

    What was rotated out of a state directory's journal is read with it.

    Args:
        path: the directory or file; None for `VIDEODB_EVENTS_DIR`, else `$XDG_STATE_HOME/videodb`.
        archived: whether to read also what `vdbevents listen --clear` has set aside; a lake has it.
        lake: the table that recorders ship to instead: a folder, or an address such as `s3://BUCKET/PATH`.
        host: the lake's recorders to look at; none for all.

    Raises:
        InputError: there is no journal, or no such lake; or the extra for lakes is missing.
        ServiceRefusedError, ServiceUnreachableError, StorageError: the lake cannot be read.
    """
    hosts = _texts(host)
    if lake is not None:
        if path is not None or archived:
            raise options_conflict("lake", "a path" if path is not None else "archived")
        return OpenLake(os.fspath(lake), hosts)
    if hosts:
        raise InputError("host: only of a lake", "name one: lake=…", error_id="option-missing")
    if path is not None and not os.fspath(path):
        raise InputError("the path is empty", "name a state directory or a file", error_id="path-missing")
    argument = None if path is None else Path(path)
    if argument is not None and argument.is_file():
        return OpenJournal(argument, archived=archived)
    state = locate_state(argument, os.environ, home_directory())
    journal = state.journal
    if not journal.is_file():
        raise InputError(
            f"no journal in {journal.parent}",
            "name a state directory, or the file of a journal"
            if state.is_foreign
            else f"record one with: vdbevents listen {journal.parent}",
            error_id="journal-missing",
        )
    return OpenJournal(journal, archived=archived)


class OpenEvents(ABC):
    """Events to query: those of a journal, or of a lake."""

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
        exact: bool = False,
        channel: Texts = (),
        not_channel: Texts = (),
        recorder: bool = False,
        source: Texts = (),
        stream: Texts = (),
        session: Texts = (),
        event: Texts = (),
        label: Texts = (),
        speaker: Texts = (),
        window: Texts = (),
        min_confidence: float | None = None,
        where: str | None = None,
        around: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = False,
        interim: bool = False,
    ) -> "QueryResult":
        """Return the events that match all arguments, which are the options of `vdbevents query`.

        - `last`: a duration until now, or until `until`, such as `10m`.
        - `since`, `until`, `on`: times, which may be `datetime`s in `tz` if they name no zone, or a day.
        - `tz`: the zone of times that name none: a name, an offset, or a `tzinfo`.
        - `by`: compare the time of receipt, or of the event itself.
        - `grep`, `any_of`, `none_of`: texts of which all, at least one, or none must match.
        - `ignore_case`: None ignores case for each text without an upper-case letter.
        - `extended`, `whole_words`: the texts are regular expressions (RE2), or match whole words only.
        - `exact`: the texts match character for character, not what looks the same.
        - `channel`, `source`, `stream`, `event`, `label`: any of these.
        - `session`: all content of these sessions: ids, their beginnings, or `last`.
        - `speaker`: any of these names, in any case.
        - `window`: any of these windows or apps, whole words in any case.
        - `not_channel`: none of these.
        - `recorder`: also what is about the recorder itself, which is left out unless its channel
          (`vdbevents`, `capture_client`), its event or its label is named.
        - `min_confidence`: the confidence is at least this.
        - `where`: a SQL condition over the columns of the view `events`, with times in `tz`.
        - `around`: also all events within this duration before and after each match, such as `15s`.
        - `limit`, `offset`: the newest N only, after the newest M were skipped.
        - `newest_first`: the order.
        - `interim`: also unfinished transcripts that a final one replaced.

        Raises:
            InputError: an argument cannot be parsed, or the journal cannot be read.
            StorageError: memory and temporary space are used up.
        """
        from vdbevents.query.filters import Filters, known_sources
        from vdbevents.times import parse_duration, parse_zone

        zone = parse_zone(tz) if isinstance(tz, str) else tz
        filters = Filters(
            window=_window(zone, last=last, since=since, until=until, on=on),
            by_event=_by_event(by),
            grep=_texts(grep),
            any_of=_texts(any_of),
            none_of=_texts(none_of),
            ignore_case=ignore_case,
            extended=extended,
            whole_words=whole_words,
            exact=exact,
            channels=_texts(channel),
            not_channels=_texts(not_channel),
            recorder=recorder,
            sources=known_sources("source", _texts(source)),
            streams=_texts(stream),
            sessions=_texts(session),
            names=_texts(event),
            labels=_texts(label),
            speakers=_texts(speaker),
            windows=_texts(window),
            least_confidence=min_confidence,
            where=where,
            zone=zone,
            limit=limit,
            offset=offset,
            around_ms=None if around is None else parse_duration("around", around),
            newest_first=newest_first,
            interim=interim,
        )
        return self._found(filters)

    @abstractmethod
    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of one SELECT over the views that `vdbevents sql --describe` lists, as dicts.

        Values have JSON types; a time is a text, in UTC.

        Raises:
            InputError: it is not a SELECT, it fails, or the events cannot be read.
            StorageError: memory and temporary space are used up.
        """

    @abstractmethod
    def _found(self, filters: "Filters") -> "QueryResult":
        """Return the events that match."""


class OpenJournal(OpenEvents):
    """A journal to query; each query sees what was written until then.

    Attributes:
        journal: its file.
    """

    def __init__(self, journal: Path, cache_root: Path | None = None, *, archived: bool = False) -> None:
        """Take a journal's file.

        Args:
            journal: the file, which is read by each query.
            cache_root: the folder of all caches; None for `$XDG_CACHE_HOME/vdbevents`. A present cache is
                used; `vdbevents listen`, `query` and `cache build` write it.
            archived: whether to read also what was cleared.
        """
        self.journal = journal
        self._cache_root = cache_root
        self._archived = archived

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT, as `OpenEvents.sql` does."""
        from vdbevents.query import scratch
        from vdbevents.query.decompress import readable
        from vdbevents.query.sql.sandbox import SqlTables

        with scratch.folder("unpacked") as folder:
            journal = readable(self.journal, lambda: folder, str(self.journal))
            cache = None if journal.is_copy else self._cache(self.journal)
            ongoing = _ongoing(journal.path)
            with SqlTables(journal.path, cache, self._older(), ongoing=ongoing) as tables:
                return _dicts(tables.ask(query))

    def _found(self, filters: "Filters") -> "QueryResult":
        from vdbevents.query import scratch
        from vdbevents.query.decompress import readable
        from vdbevents.query.engine import search
        from vdbevents.query.merge import MergedResult

        folder = scratch.make("unpacked")
        try:
            journal = readable(self.journal, lambda: folder, str(self.journal))
            cache = None if journal.is_copy else self._cache(self.journal)
            answer = search(journal.path, filters, cache, older=self._older())
        except BaseException:
            scratch.remove(folder)
            raise
        found = MergedResult([("", answer)], filters)
        return QueryResult(found, folder, trouble=journal.trouble, ongoing=_ongoing(journal.path))

    def _older(self) -> "Older":
        from vdbevents.query.older import Older

        return Older(self._cache, self._archived)

    def _cache(self, journal: Path) -> "Cache | None":
        from vdbevents.query.cache.seal_policy import present_cache

        return present_cache(journal, self._cache_root)


class OpenLake(OpenEvents):
    """A lake to query: what many recorders have shipped; each query sees what was shipped until then.

    Attributes:
        address: where it is: a folder, or an address in an object store.
        hosts: the recorders that are looked at; empty for all.
    """

    def __init__(self, address: str, hosts: Collection[str] = (), cache_root: Path | None = None) -> None:
        """Take a lake's address, and read what it has.

        Args:
            address: a folder, or an address in an object store, whose credentials the environment has.
            hosts: the recorders to look at; empty for all.
            cache_root: the folder of all caches, with the copies of an object store's files; None for
                `$XDG_CACHE_HOME/vdbevents`.

        Raises:
            InputError: there is no such lake, or the extra for lakes is missing.
            ServiceRefusedError, ServiceUnreachableError, StorageError: it cannot be read.
        """
        self.hosts = tuple(hosts)
        self._cache_root = cache_root
        self.address = address
        self.address = self._reader().address

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT, as `OpenEvents.sql` does; each view has `host` first."""
        from vdbevents.query.sql.row_tables import RowTables

        with RowTables(self._reader().journals(self.hosts), query) as tables:
            return _dicts(tables.ask(query))

    def _found(self, filters: "Filters") -> "QueryResult":
        from vdbevents.query import merge, scratch

        found = merge.search(self._reader().journals(self.hosts, filters), filters)
        try:
            return QueryResult(found, scratch.make("unpacked"), has_hosts=True)
        except BaseException:
            found.close()
            raise

    def _reader(self) -> "LakeReader":
        from vdbevents.lake.lake_reader import LakeReader
        from vdbevents.query.cache.seal_policy import find_root

        return LakeReader(self.address, os.environ, self._cache_root or find_root())


class QueryResult(Closeable):
    """The matches of a query, oldest first: an iterable of dicts that can be read again; a context manager.

    A dict has the columns of the view `events` without `backfilled`: `time`, `started` and `ended` are
    `datetime`s in UTC. Of a lake it has `host`, too.

    Attributes:
        gaps: all gaps that touch the times that were asked for, and others; also one that goes on.
        skipped: the number of lines that could not be read.
        untimed: how many events match but for the times that were asked for: their own are not known.
        trouble: what is wrong with an archive, of which only a part could be unpacked; empty if nothing.
    """

    def __init__(
        self,
        found: "MergedResult[SearchResult]",
        folder: Path,
        *,
        has_hosts: bool = False,
        trouble: str = "",
        ongoing: "Gap | None" = None,
    ) -> None:
        """Take what was found, and a folder to remove at the end.

        Args:
            found: the matches in a journal, or in those of a lake.
            folder: for temporary files.
            has_hosts: whether to say of each event which host it is from.
            trouble: what is wrong with an archive.
            ongoing: a gap without a line.
        """
        from vdbevents.events.gaps import with_ongoing

        self._found = found
        self._folder = folder
        self._has_hosts = has_hosts
        self.trouble = trouble
        answers = [answer for _, answer in found.answers]
        self.gaps: Collection[Gap] = with_ongoing([gap for one in answers for gap in one.gaps], ongoing)
        self.skipped = found.skipped
        self.untimed = sum(answer.untimed for answer in answers)

    def __len__(self) -> int:
        return self._found.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(names, row, strict=True)) for names, row in self._rows())

    def lines(self) -> Iterator[str]:
        """Yield the journal's own lines, without their line ends."""
        for batch in self._found.lines():
            yield from batch

    def arrow(self) -> "pa.Table":
        """Return all matches as an Arrow table.

        Raises:
            InputError: the package `pyarrow` is not installed.
        """
        _require("pyarrow")
        return self._as_table(lambda relation: relation.to_arrow_table())

    def df(self) -> "pd.DataFrame":
        """Return all matches as a pandas data frame.

        Raises:
            InputError: the package `pandas` is not installed.
        """
        _require("pandas")
        return self._as_table(lambda relation: relation.df())

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of one SELECT over the table `found`, with the keys of these dicts as columns.

        Raises:
            InputError: it is not a SELECT, or it fails.
        """
        from vdbevents.query.sql.sandbox import SqlRows, table

        with self._parquet() as path, table(path) as connection:
            return _dicts(SqlRows(connection, query, cached=False))

    def close(self) -> None:
        """Release memory and temporary files. A second call does nothing."""
        from vdbevents.query import scratch

        self._found.close()
        scratch.remove(self._folder)

    def _as_table(self, read: "Callable[[DuckDBPyRelation], _Table]") -> "_Table":
        """Return what is read from all matches in their order."""
        from vdbevents.query.sql.sandbox import table

        if not self._has_hosts:
            [(_, answer)] = self._found.answers
            return read(answer.relation())
        with self._parquet() as path, table(path) as connection:
            return read(connection.table("found"))

    @contextlib.contextmanager
    def _parquet(self) -> Iterator[Path]:
        """Yield a file of all matches in their order."""
        from vdbevents.query import scratch
        from vdbevents.query.lines import CONDITION_COLUMNS
        from vdbevents.query.merged_table import write_table

        columns = [name for name in CONDITION_COLUMNS if name != "backfilled"]
        with scratch.folder("found") as folder:
            path = folder / "found.parquet"
            if self._has_hosts:
                write_table(self._found, columns, path)
            else:
                [(_, answer)] = self._found.answers
                answer.write_parquet(path, columns)
            yield path

    def _rows(self) -> Iterator[tuple[tuple[str, ...], tuple[Any, ...]]]:
        from vdbevents.query.filters import Event
        from vdbevents.query.lines import named_as

        columns = tuple(name for name in Event._fields if name not in {"line", "host"})
        if self._has_hosts:
            columns = ("host", *columns)
        names = tuple(map(named_as, columns))
        moments = [place for place, name in enumerate(columns) if name.endswith("_ms")]
        for batch in self._found.events(columns):
            for event in batch:
                row = [getattr(event, column) for column in columns]
                for place in moments:
                    row[place] = _moment(row[place])
                yield names, tuple(row)


def _ongoing(journal: Path) -> "Gap | None":
    """Return the gap of a state directory's journal that goes on now: it has no line yet."""
    from vdbevents.health.outages import ongoing_gap
    from vdbevents.journal.files import wall_ms

    return ongoing_gap(journal, wall_ms())


def _require(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"the Python package {package} is missing",
            f"install it: pip install {package}",
            error_id="package-missing",
        )


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def _texts(given: Texts) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _by_event(by: str) -> bool:
    if by not in ("received", "event"):
        raise InputError(
            f"by: not a time of an event, got {by!r}", "use received or event", error_id="time-basis-invalid"
        )
    return by == "event"


def _window(
    zone: tzinfo,
    *,
    last: str | None,
    since: str | datetime | None,
    until: str | datetime | None,
    on: str | None,
) -> "Window":
    from vdbevents.times import parse_window

    texts = [_as_text(moment, zone) for moment in (since, until)]
    return parse_window(last=last, since=texts[0], until=texts[1], on=on, now=datetime.now(UTC), zone=zone)


def _as_text(moment: str | datetime | None, zone: tzinfo) -> str | None:
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
