"""Write the data files of a lake: each under a name of its own, and never twice."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from vdbevents.events.envelope import utc_text
from vdbevents.lake.lake_rows import MEASURED
from vdbevents.lake.lake_table import client_options, is_remote

if TYPE_CHECKING:
    from deltalake.transaction import AddAction
    from obstore.store import ClientConfig, ObjectStore

# An older file, which nobody has committed, may be removed at any moment (`lake compact`).
_FRESH: Final = timedelta(days=1)
_TRY_SECONDS: Final = 60
_SMALL: Final = 1 << 18
# No data file is so large; while one is read, bytes have to come all the time.
_LARGEST: Final = 1 << 30


class DataFile(NamedTuple):
    """A data file that is in the store, and may be committed.

    Attributes:
        path: within the table.
        size: in bytes.
        date: of its partition.
        stats: its statistics, as Delta Lake writes them.
    """

    path: str
    size: int
    date: str
    stats: str

    def action(self, *, data_change: bool = True) -> "AddAction":
        """Return what adds it to the table."""
        from deltalake.transaction import AddAction

        now_ms = time.time_ns() // 1_000_000
        return AddAction(self.path, self.size, {"date": self.date}, now_ms, data_change, self.stats)


def statistics(host: tuple[str, str], journal: tuple[str, str], row: Sequence[Any]) -> str:
    """Return the statistics of a file, from a row of `lake_rows.BY_DATE` without its date.

    Args:
        host: the least and the most of its hosts; of one, it twice.
        journal: the same of its journals.
        row: the number of rows, and of each measured column the least, the most and how many NULLs.
    """
    count, *measured = row
    least: dict[str, Any] = {"host": host[0], "journal": journal[0]}
    most: dict[str, Any] = {"host": host[1], "journal": journal[1]}
    nulls = {"host": 0, "journal": 0}
    for number, name in enumerate(MEASURED):
        low, high, none = measured[3 * number : 3 * number + 3]
        nulls[name] = none
        if low is not None:
            least[name], most[name] = (low, high) if name == "position" else (utc_text(low), utc_text(high))
    return json.dumps(
        {"numRecords": count, "minValues": least, "maxValues": most, "nullCount": nulls}, ensure_ascii=False
    )


class LakeFiles:
    """The files of a lake: in a folder, or in an object store."""

    def __init__(self, address: str, environ: Mapping[str, str] | None = None) -> None:
        """Connect to nothing yet; `address` is as `lake_address` returns it."""
        self._environ = os.environ if environ is None else environ
        self.address = address
        self._stores: dict[int, ObjectStore] = {}

    def put(self, source: Path, name: str, date: str, stats: str) -> DataFile:
        """Upload a file; one of this name that is there already is taken for it.

        Args:
            source: the file.
            name: without what says its date and its kind; another content has another name.
            date: its partition.
            stats: from `statistics`.

        Raises:
            Exception: the store's errors, as `lake_errors` explains them.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        data = source.read_bytes()
        store = self._store(len(data))
        for number in range(1, 1000):
            path = f"date={date}/{name}-{number}.parquet"
            try:
                obstore.put(store, path, data, mode="create")
            except AlreadyExistsError:
                found = obstore.head(store, path)
                if datetime.now(UTC) - found["last_modified"] < _FRESH:
                    return DataFile(path, found["size"], date, stats)
            else:
                return DataFile(path, len(data), date, stats)
        raise FileExistsError(name)

    def get(self, path: str, target: Path) -> None:
        """Write the content of a file of the table into another file."""
        import obstore

        store = self._store(_LARGEST)
        with target.open("wb") as file:
            for chunk in obstore.get(store, path).stream():
                file.write(chunk)

    def _store(self, size: int) -> "ObjectStore":
        """Return a client of the store that waits long enough for a file of a size."""
        most = 0 if size < _SMALL else 1 << (size - 1).bit_length()
        if most not in self._stores:
            self._stores[most] = self._connected(most)
        return self._stores[most]

    def _connected(self, size: int) -> "ObjectStore":
        from obstore.store import LocalStore, from_url

        if not is_remote(self.address):
            return LocalStore(self.address)
        options = client_options(self.address, self._environ, size)
        if size == _LARGEST:
            options["read_timeout"] = client_options(self.address, self._environ)["timeout"]
        return from_url(
            self.address,
            client_options=cast("ClientConfig", options),
            retry_config={"retry_timeout": timedelta(seconds=_TRY_SECONDS), "max_retries": 6},
        )
