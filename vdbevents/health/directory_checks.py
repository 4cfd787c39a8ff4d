"""Check a state directory: its disk, its folder, its file modes, its locks. Nothing is created in it."""

import itertools
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Final

from vdbevents.errors import InputError
from vdbevents.health import file_systems
from vdbevents.health.finding import Finding, error, ok, warning
from vdbevents.journal import locks
from vdbevents.journal.files import free_bytes, read_object
from vdbevents.journal.state import StateDirectory
from vdbevents.terminal import byte_size

_LOW_BYTES: Final = 1 << 30
_FULL_BYTES: Final = 64 << 20
_LOCK_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05
_MOST_FILES: Final = 1000
_MOST_SHOWN: Final = 5


def check_disk(directory: StateDirectory) -> Iterator[Finding]:
    """Check that the directory can be written, and that there is room."""
    place = _existing(directory.path)
    if not place.is_dir():
        yield error(f"{place} is a file, not a directory", "name another directory")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield error(f"{place} is not writable", "check its owner, or name another directory")
    free = free_bytes(place)
    if free is None:
        yield warning(f"{place} does not say how much room there is", "see that there is some")
        return
    room = f"{byte_size(free)} free for {directory.path}"
    if free < _FULL_BYTES:
        yield error(room, "free disk space: what arrives is held in memory, and then dropped")
    elif free < _LOW_BYTES:
        yield warning(room, "free disk space, or name a directory on another disk")
    else:
        yield ok(room)
    # File systems without a limit have none in total.
    if hasattr(os, "statvfs") and (files := os.statvfs(place)).f_files and not files.f_favail:
        yield error("the disk has room for no more files", "remove some: its inodes are used up")
    if locks.listener_runs(directory):
        trouble = read_object(directory.listener_status).get("disk_trouble")
        if trouble:
            yield error(f"the listener cannot write: {trouble}", "free disk space; it resumes by itself")


def _existing(path: Path) -> Path:
    """Return the folder itself, else the one above in which it would be created."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path(path.anchor))


def check_folder(directory: StateDirectory) -> Iterator[Finding]:
    """Check that no other program changes the directory, and that its disk is here."""
    path = Path(os.path.realpath(directory.path))
    service = file_systems.sync_service(path, os.path.lexists)
    if service:
        yield warning(
            f"{path} is in a folder of {service}, which may replace the journal by another copy",
            "choose a directory outside: set VIDEODB_EVENTS_DIR",
        )
    kind = _kind_of(path)
    if file_systems.is_network(kind):
        yield warning(
            f"{path} is on a network file system ({kind}): locks may fail there, and it may hang",
            "choose a directory on a disk of this machine: set VIDEODB_EVENTS_DIR",
        )
    elif file_systems.is_in_memory(kind):
        yield warning(
            f"{path} is in memory ({kind}): it is gone when the machine restarts",
            "choose a directory on a disk: set VIDEODB_EVENTS_DIR",
        )
    elif not service:
        yield ok(f"on a disk of this machine{f' ({kind})' if kind else ''}, not in a synchronised folder")


def _kind_of(path: Path) -> str:
    if sys.platform == "win32":
        import ctypes

        remote = 4
        return "smbfs" if ctypes.windll.kernel32.GetDriveTypeW(path.anchor) == remote else ""
    if sys.platform == "linux":
        mounts = file_systems.linux_mounts(Path("/proc/self/mountinfo").read_text(errors="replace"))
    else:
        listed = subprocess.run(
            ["/sbin/mount"], capture_output=True, check=False, text=True, errors="replace"
        )
        mounts = file_systems.listed_mounts(listed.stdout)
    return file_systems.kind_of_mount(PurePath(path), mounts)


def check_modes(
    directory: StateDirectory, env_file: Path | None, cache: Path | None = None
) -> Iterator[Finding]:
    """Check that only this user can read what is recorded, the cache of it, and the key in a `.env` file."""
    if os.name != "posix":
        yield ok("not checked: this system has no file modes")
        return
    if env_file is not None and env_file.is_file() and _is_open(env_file) and "API_KEY" in _text(env_file):
        yield warning(f"others can read the key in {env_file}", f"protect it: chmod 600 {env_file}")
    for folder in (directory.archive, cache):
        if folder is not None and folder.is_dir() and _is_open(folder):
            yield warning(f"others can look into {folder}", f"protect it: chmod 700 {folder}")
    if not directory.path.is_dir():
        yield ok("nothing is recorded yet")
        return
    yield from _modes_in(directory)


def _modes_in(directory: StateDirectory) -> Iterator[Finding]:
    mine, folder = os.geteuid(), directory.path.stat()
    names = sorted(entry.name for entry in itertools.islice(directory.path.iterdir(), _MOST_FILES))
    paths = [path for path in map(directory.path.joinpath, names) if path.is_file()]
    strangers = [path.name for path in paths if path.stat().st_uid != mine]
    if folder.st_uid != mine != 0:
        yield error(f"{directory.path} belongs to another user", "name a directory of your own")
    if strangers and mine != 0:
        yield error(
            f"of another user: {_shown(strangers)}", f"take them over: sudo chown $USER {directory.path}/*"
        )
    mode = stat.S_IMODE(folder.st_mode)
    if mode & 0o077:
        yield warning(
            f"others can look into {directory.path}, its mode is {mode:04o}", f"chmod 700 {directory.path}"
        )
    opened = [path.name for path in paths if path.name.startswith("videodb_") and _is_open(path)]
    if opened:
        yield warning(
            f"others could read {_shown(opened)}", f"protect it: chmod 600 {directory.path}/videodb_*"
        )
    if not mode & 0o077 and not opened and not strangers:
        yield ok("only you can read what is recorded")


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _shown(names: list[str]) -> str:
    more = f", and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def check_processes(directory: StateDirectory) -> Iterator[Finding]:
    """Check that the files that name a process are those of a running one."""
    found = False
    for name, runs, file, lock in (
        ("listener", locks.listener_runs, directory.ws_pid, directory.listener_lock),
        ("capture", locks.capture_runs, directory.capture_pid, directory.capture_lock),
    ):
        pid = locks.read_pid(file)
        if not runs(directory):
            if file.exists():
                found = True
                yield warning(
                    f"{file.name} names a {name} that was killed (PID {pid})",
                    f"nothing depends on it; the next {name} replaces it",
                )
        elif pid is None or locks.holds(pid, lock) is False:
            found = True
            yield warning(
                f"a {name} runs, but not as PID {pid}: it is in another container or on another machine",
                f"stop it there: {file.name} means nothing here",
            )
    if not found:
        yield ok("no process id of a program that is gone")


def check_journal(
    directory: StateDirectory, pause: Callable[[float], object] = time.sleep
) -> Iterator[Finding]:
    """Check that the journal can be opened, ends with a whole line, and is not locked for long."""
    journal = directory.journal
    if not journal.exists():
        yield ok("none yet")
    elif not os.access(journal, os.R_OK | os.W_OK):
        yield error(
            f"{journal} cannot be opened for reading and writing",
            f"check its owner and mode: ls -l {journal}",
        )
    else:
        yield _end_of(journal, is_growing=locks.listener_runs(directory))
    if trouble := _lock_trouble(directory.journal_lock, pause):
        yield trouble


def _end_of(journal: Path, *, is_growing: bool) -> Finding:
    with journal.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 1))
        last = opened.read(1)
    # A line of a running listener may be half written.
    if last in (b"", b"\n") or is_growing:
        return ok(byte_size(size))
    return warning(
        "its last line is torn: a power cut, or a copy that was cut short", "the next listener mends it"
    )


def _lock_trouble(lock: Path, pause: Callable[[float], object]) -> Finding | None:
    """Return what is wrong with a lock that is held for an append at a time."""
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while locks.is_held(lock):
            if time.monotonic() > deadline:
                return error(
                    f"another program has locked the journal for {_LOCK_SECONDS:g} s: {lock}",
                    f"see which one, and end it: lsof {lock}",
                )
            pause(_POLL_SECONDS)
    except InputError as failure:
        return error(failure.message, failure.hint)
    return None
