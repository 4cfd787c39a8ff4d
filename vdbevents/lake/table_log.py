"""What the log of a lake's table says of its data files."""

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from deltalake import DeltaTable

Bounds = tuple[str, str]
"""The least and the most of a column's texts."""


_LONGEST_BOUND: Final = 32
"""A bound of so many letters may be the beginning of a longer text."""


class LoggedColumns:
    """The columns of the log, with a value for each data file of the table as it is."""

    def __init__(self, table: "DeltaTable") -> None:
        """Read the log."""
        self._actions = table.get_add_actions(flatten=True)
        self._names = frozenset(self._actions.column_names)

    def values(self, name: str) -> list[Any]:
        """Return a column, such as `path` or `min.host`; None for each file where the log has no such one."""
        if name not in self._names:
            return [None] * self._actions.num_rows
        return list(self._actions.column(name).to_pylist())

    def texts(self, name: str) -> list[Bounds | None]:
        """Return the bounds of a column of texts; None where the log does not say."""
        pairs = zip(self.values(f"min.{name}"), self.values(f"max.{name}"), strict=True)
        return [None if low is None or high is None else (str(low), str(high)) for low, high in pairs]


def may_hold(hosts: Bounds | None, host: str) -> bool:
    """Return whether a file may have rows of a host; a bound that another engine wrote may be cut short."""
    if hosts is None:
        return True
    first, last = hosts
    return first <= host and (host <= last or host.startswith(last))


def only_recording(hosts: Bounds | None, journals: Bounds | None) -> tuple[str, str] | None:
    """Return the host and the journal that a file is of; None if it has several, or that is not known."""
    if hosts is None or journals is None:
        return None
    if any(low != high or len(low) >= _LONGEST_BOUND for low, high in (hosts, journals)):
        return None
    return hosts[0], journals[0]


class TableFile(NamedTuple):
    """A data file of the table.

    Attributes:
        path: within the table.
        size: in bytes.
        rows: how many it has.
        date: its partition, as text.
        hosts: the least and the most of its hosts; None where the table does not say.
    """

    path: str
    size: int
    rows: int
    date: str
    hosts: Bounds | None

    def may_hold(self, host: str) -> bool:
        """Return whether it may have rows of a host."""
        return may_hold(self.hosts, host)

    @classmethod
    def all_of(cls, table: "DeltaTable") -> list[Self]:
        """Return the files of a table as it is."""
        log = LoggedColumns(table)
        names = ("path", "size_bytes", "num_records", "partition.date")
        files = zip(*map(log.values, names), log.texts("host"), strict=True)
        return [cls(path, size, rows or 0, str(date), hosts) for path, size, rows, date, hosts in files]
