"""What is read from a result, however it was found. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vdbevents.events.gaps import Gap
from vdbevents.events.session_content import SessionBook
from vdbevents.privacy.pauses import Pause
from vdbevents.query.filters import Event

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class EventBatches(Protocol):
    """The events of a result, as `query.output` and `query.collapse` read them."""

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last time in the result, in Unix ms; None without any."""

    @property
    def breaks(self) -> Collection[int]:
        """The rows, from 0, at which the events around another match begin."""

    def lines(self) -> Iterable[list[str]]:
        """Yield the journal's own lines, oldest first, in batches."""

    def events(self, columns: Collection[str] = Event._fields) -> Iterable[list[Event]]:
        """Yield the folded events, oldest first, in batches; None in columns not in `columns`."""


@runtime_checkable
class MadeTexts(Protocol):
    """A result that may be in a database, which makes texts of its events."""

    def texts(self, made: str, columns: Collection[str]) -> Iterator[list[str]] | None:
        """Yield a text for each event, in batches, as `SearchResult` does; None if no database has them."""


@runtime_checkable
class LineBlocks(Protocol):
    """A result whose lines may be ranges of a journal."""

    @property
    def count(self) -> int:
        """The number of lines."""

    def blocks(self) -> Iterator[bytes] | None:
        """Yield all lines with their line ends, in blocks of any length; None without such ranges."""


class JournalRows(Protocol):
    """The matches in one journal, row by row, as `search_result.SearchResult` describes them."""

    @property
    def count(self) -> int:
        """The number of matches."""

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last time among them, in Unix ms."""

    @property
    def groups(self) -> Mapping[int, tuple[int, int]]:
        """Where the events around matches begin."""

    @property
    def breaks(self) -> Collection[int]:
        """The rows at which the events around another match begin."""

    @property
    def skipped(self) -> int:
        """The number of lines that could not be read."""

    @property
    def untimed(self) -> int:
        """How many events match but for the window, as their times are not known."""

    @property
    def gaps(self) -> list[Gap]:
        """All gaps that touch the window, and others."""

    @property
    def pauses(self) -> list[Pause]:
        """All pauses that touch the window, and others."""

    @property
    def journal_bytes(self) -> int:
        """The size of what was searched."""

    def lines(self) -> Iterator[list[str]]:
        """Yield the journal's own lines."""

    def timed_lines(self) -> Iterator[list[tuple[int | None, str]]]:
        """Yield the same lines, each with the time that orders it."""

    def times(self) -> Iterator[list[int | None]]:
        """Yield these times alone."""

    def events(self, columns: Collection[str] = Event._fields) -> Iterator[list[Event]]:
        """Yield the folded events."""

    def names(self, columns: Collection[str]) -> dict[str, set[str]]:
        """Return the values of some columns."""

    def close(self) -> None:
        """Release everything."""


class TabledRows(JournalRows, Protocol):
    """What was found in one journal, which DuckDB can sum up."""

    @property
    def connection(self) -> "DuckDBPyConnection":
        """A connection with temporary tables of this answer alone."""

    def tabulate(self, table: str, select: str, columns: Collection[str]) -> None:
        """Create a temporary table of the matches, as `SearchResult` does."""


class SessionRows(JournalRows, Protocol):
    """What was found in one journal, and how many events its sessions have."""

    def session_counts(self, book: SessionBook) -> list[tuple[str, str, int, int | None]]:
        """Return how many events belong to each session, by channel, as `SearchResult` does."""
