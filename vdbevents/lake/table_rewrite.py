"""Replace data files of a lake by others, beside recorders that ship to it."""

import os
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vdbevents.lake import lake_rows
from vdbevents.lake.lake_files import DataFile, LakeFiles, statistics
from vdbevents.lake.lake_table import is_remote, lake_address, lake_errors, open_lake
from vdbevents.lake.table_log import TableFile
from vdbevents.lake.table_schema import PARTITIONS
from vdbevents.query.byte_ranges import Closeable, literal
from vdbevents.query.duck import SharedDatabase
from vdbevents.query.lines import listed
from vdbevents.query.row_journal import read_errors

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY_MB: Final = 1000
_MOST_TRIES: Final = 20
_LONGEST_PAUSE_SECONDS: Final = 5.0


class TableRewrite(Closeable):
    """Read data files, write others, and commit the exchange.

    Attributes:
        address: the lake's.
        table: as it was when it was opened, or last refreshed.
        connection: to DuckDB.
    """

    def __init__(self, given: str) -> None:
        """Open the lake.

        Raises:
            InputError, ServiceRefusedError, ServiceUnreachableError, StorageError: as `open_lake` has it.
        """
        self.address = lake_address(given)
        self.table = open_lake(given)
        self._files = LakeFiles(self.address)
        self._random = random.Random()  # noqa: S311 - only spreads tries
        self._database = SharedDatabase(None, _MEMORY_MB)
        self.connection: DuckDBPyConnection = self._database.connection(_MEMORY_MB)

    def close(self) -> None:
        """Remove temporary files."""
        self.connection.close()
        self._database.close()

    def refresh(self) -> list[TableFile]:
        """Read what was committed since; return the files of the table."""
        with lake_errors(self.address):
            self.table.update_incremental()
            return TableFile.all_of(self.table)

    def local(self, files: Iterable[TableFile]) -> list[Path]:
        """Return where the files are on this machine; those of an object store are copied."""
        return [self._local(file) for file in files]

    def _local(self, file: TableFile) -> Path:
        if not is_remote(self.address):
            return Path(self.address) / file.path
        target = self._database.scratch / blake2b(file.path.encode(), digest_size=16).hexdigest()
        if not target.exists():
            with lake_errors(self.address):
                self._files.get(file.path, target)
        return target

    def drop_local(self, paths: Iterable[Path]) -> None:
        """Remove the copies of files of an object store."""
        if is_remote(self.address):
            for path in paths:
                path.unlink(missing_ok=True)

    def reading(self, paths: Sequence[Path], *, named: bool = False) -> str:
        """Return SQL for the rows of files; `named` adds a column `filename`."""
        globs = listed(map(literal, paths))
        # Older files may lack later columns.
        return f"read_parquet({globs}, union_by_name = true, hive_partitioning = false, filename = {named})"

    def written(self, date: str, select: str) -> DataFile | None:
        """Write the rows of a SELECT, of one date, into a new file; None if there are none."""
        descriptor, name = tempfile.mkstemp(suffix=".parquet", dir=self._database.scratch)
        os.close(descriptor)
        path = Path(name)
        try:
            with read_errors():
                self.connection.execute(lake_rows.copying(select), [name])
                [(low, high, first, last, *row)] = self.connection.execute(
                    f"SELECT min(host), max(host), min(journal), max(journal), {lake_rows.MEASURES} "  # noqa: S608
                    f"FROM read_parquet({listed([literal(path)])})"
                ).fetchall()
            if not row[0]:
                return None
            digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
            with lake_errors(self.address):
                return self._files.put(path, digest, date, statistics((low, high), (first, last), row))
        finally:
            path.unlink()

    def exchange(
        self,
        old: Sequence[TableFile],
        new: Sequence[DataFile],
        *,
        data_change: bool,
        tries: int = _MOST_TRIES,
    ) -> bool:
        """Commit that some files are replaced by others; return False if another process has removed one.

        Delta Lake's own check lets two commits remove the same file, and then has both its successors: so the
        commit has to be the next one after a state with all old files, or it is tried again.

        Args:
            old: these are removed.
            new: these are added.
            data_change: whether there are other rows than before.
            tries: recorders commit, too.

        Raises:
            ServiceRefusedError, ServiceUnreachableError, StorageError: it was not committed.
        """
        from deltalake import CommitProperties
        from deltalake.transaction import RemoveAction

        now_ms = time.time_ns() // 1_000_000
        actions: list[Any] = [
            RemoveAction(file.path, data_change, now_ms, file.size, {"date": file.date}) for file in old
        ]
        actions += [file.action(data_change=data_change) for file in new]
        wanted, added = {file.path for file in old}, {file.path for file in new}
        failure: Exception | None = None
        for number in range(tries):
            present = {file.path for file in self.refresh()}
            if number and added and added <= present and not wanted & present:
                return True  # only the answer was lost
            if not wanted <= present:
                return False
            try:
                self.table.create_write_transaction(
                    actions,
                    "append",
                    self.table.schema(),
                    partition_by=list(PARTITIONS),
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except Exception as error:  # noqa: BLE001 - whatever it says, the table knows
                failure = error
                time.sleep(self._random.uniform(0, min(0.1 * 2**number, _LONGEST_PAUSE_SECONDS)))
            else:
                return True
        with lake_errors(self.address):
            raise failure or AssertionError

    def vacuum(self, hours: int, *, orphans: bool) -> list[str]:
        """Delete files for good that have not been in the table for some hours; return their paths.

        Args:
            hours: what was removed later stays, for those who still read it.
            orphans: also delete what no commit has ever named, which a crash leaves: shippers have a day from
                an upload to its commit.
        """
        with lake_errors(self.address):
            self.table.update_incremental()
            return self.table.vacuum(
                retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=orphans
            )
