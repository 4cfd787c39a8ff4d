"""Find programs that write to a journal without its lock."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")
_ACCESS_MODE: Final = 3


def foreign_writer(journal: Path, lock: Path, processes: Path = _PROCESSES) -> int | None:
    """Return the PID of a process that has a journal open for writing, and not the lock of its appends.

    Only Linux tells, and only of processes that this user may look into; None elsewhere.

    Args:
        journal: its real path.
        lock: the lock's path.
        processes: the folder of the system's processes.
    """
    locked = os.path.realpath(lock)
    for folder in processes.glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        opened = dict(_open_files(folder))
        if locked not in opened.values() and any(
            path == str(journal) and _is_for_writing(folder, number) for number, path in opened.items()
        ):
            return pid
    return None


def _open_files(folder: Path) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(OSError), os.scandir(folder / "fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield entry.name, os.readlink(entry.path)  # noqa: PTH115 - of thousands of files


def _is_for_writing(folder: Path, number: str) -> bool:
    try:
        lines = (folder / "fdinfo" / number).read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    flags = next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)
    return flags & _ACCESS_MODE != os.O_RDONLY
