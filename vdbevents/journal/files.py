"""Replace and read small files; read and write parts of large ones."""

import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from vdbevents.errors import InputError

_BLOCK = 1 << 16


def wall_ms() -> int:
    """Return milliseconds since the epoch, by the system's clock."""
    return time.time_ns() // 1_000_000


def replace_file(path: Path, content: bytes) -> None:
    """Replace a small file atomically, with mode 0600.

    Raises:
        OSError: the file is unchanged.
    """
    # Each file has one writer at a time, so one temporary name is enough. What is there was left by a crash,
    # or is a link that leads elsewhere: it is removed, never written to.
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with new_file(unfinished) as file:
            write_whole(file.fileno(), content)
            sync_file(file)
        unfinished.replace(path)
    except OSError:
        remove_file(unfinished)
        raise


def new_file(path: Path) -> BinaryIO:
    """Create a file that only its owner may read, in the place of an unfinished one; a link is not followed.

    Raises:
        OSError: it cannot be created.
    """
    remove_file(path)
    return open(path, "xb", _BLOCK, opener=lambda name, flags: os.open(name, flags, 0o600))


def sync_file(file: BinaryIO) -> None:
    """Have what was written to a file on the disk.

    Raises:
        OSError: the disk refuses it.
    """
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where its file system can do that.

    Raises:
        OSError: the disk refuses it.
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def overwrite_file(path: Path, content: bytes) -> None:
    """Write text over that of a file, padded with blanks, without making the file longer.

    A disk without room allows this where `replace_file` fails. A reader may see it half done.

    Raises:
        OSError: the file does not exist, is shorter than the content, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        size = os.fstat(descriptor).st_size
        if len(content) > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(descriptor, content.ljust(size))
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Create a folder, and each missing one above it, with mode 0700; an existing one keeps its mode.

    Raises:
        OSError: it cannot be created, or is a file.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def give_to_owner(path: Path) -> None:
    """Give a file that root has made in the directory of another user to that user: others must read it."""
    if os.name == "posix" and os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)


def free_bytes(folder: Path) -> int | None:
    """Return what a folder's disk has left for this user; None if it does not say."""
    try:
        if hasattr(os, "statvfs") and os.geteuid() == 0:
            # The system's reserve is for root.
            disk = os.statvfs(folder)
            return disk.f_bfree * disk.f_frsize
        import shutil

        return shutil.disk_usage(folder).free
    except OSError:
        return None


def is_disk_full(error: OSError) -> bool:
    """Return whether an error says that the disk, or this user's part of it, has no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def remove_file(path: Path) -> None:
    """Remove a file; no-op if it does not exist."""
    path.unlink(missing_ok=True)


def read_small_file(path: Path) -> str | None:
    """Return the text of a state file without surrounding space; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def to_json(content: Mapping[str, Any]) -> bytes:
    """Return the content of a state file; half a surrogate pair, which UTF-8 does not have, becomes `?`."""
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a state file, such as a listener's status; empty if it cannot be read."""
    try:
        content = json.loads(read_small_file(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def unusable(path: Path, error: OSError) -> InputError:
    """Return the error of a state file that cannot be opened or written."""
    reason = error.strerror or str(error)
    hint = "check its owner, or choose another directory"
    if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        hint = "choose a directory on a local disk: the file system of this one has no locks"
    return InputError(f"cannot use {path}: {reason}", hint, error_id="state-file-unusable")


def real_path(path: Path) -> Path:
    """Return the path of the file itself: to replace a symbolic link would leave its target."""
    return Path(os.path.realpath(path))


def same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def write_whole(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_at(descriptor: int, start: int, length: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    pieces = []
    while length > 0 and (piece := os.read(descriptor, min(length, 1 << 24))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def last_line_start(descriptor: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = read_at(descriptor, start, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
