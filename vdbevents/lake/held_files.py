"""Keep copies of a table's files out of an object store, so that DuckDB, which reads files only, reads them.

A file of the table is never changed, and its name is never used again: a copy stays right. One that the log
does not name any more is removed the next time the lake is read, so that nothing outlives its deletion there
for long.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from vdbevents.errors import StorageError
from vdbevents.journal.files import make_private
from vdbevents.lake.lake_files import LakeFiles
from vdbevents.lake.lake_table import lake_errors

_FOLDER: Final = "lakes"
_AT_ONCE: Final = 8


class HeldFiles:
    """Copies of the files of one table.

    Attributes:
        folder: where they are, with the names that they have in the store.
    """

    def __init__(self, address: str, environ: Mapping[str, str], cache_root: Path | None) -> None:
        """Take the table's address, the credentials in the environment, and the folder of all caches."""
        self._files = LakeFiles(address, environ)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if cache_root is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="vdbevents-lake-")
            cache_root = Path(self._scratch.name)
        self.folder = cache_root / _FOLDER / hashlib.sha256(address.encode()).hexdigest()[:32]

    def fetch(self, paths: Sequence[Path]) -> None:
        """Copy the files that are not there yet.

        Raises:
            ServiceRefusedError: the object store refused.
            ServiceUnreachableError: the object store did not answer.
            StorageError: there is no room for them.
        """
        missing = [path for path in paths if not path.exists()]
        if not missing:
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(missing)), "fetching") as pool:
            list(pool.map(self._copy, missing))

    def _copy(self, path: Path) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            make_private(path.parent)
            beside.touch(0o600)
            with lake_errors(self._files.address):
                self._files.get(path.relative_to(self.folder).as_posix(), beside)
            beside.replace(path)
        except OSError as error:
            raise StorageError(
                f"could not keep a copy of the lake's file in {self.folder}: {error.strerror}",
                "make room there, or set XDG_CACHE_HOME to another directory",
                error_id="lake-copy-failed",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()

    def keep_only(self, paths: Iterable[Path]) -> None:
        """Remove the copies of all other files."""
        kept = set(paths)
        for path in self.folder.glob("*/*.parquet"):
            if path not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()
