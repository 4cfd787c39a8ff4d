"""Change text files that belong to others: atomically, through links, with their mode and a backup."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.journal.files import is_disk_full, real_path, remove_file, sync_file

_BOM: Final = "\ufeff"
_TRIES: Final = 5
_PRIVATE: Final = 0o600


class EditedFile(NamedTuple):
    """What became of a file.

    Attributes:
        path: the file, as it was named.
        before: its text before; None if it was not there.
        after: its text now; None if it is not there.
        backup: where the text before is, if it was replaced.
    """

    path: Path
    before: str | None
    after: str | None
    backup: Path | None = None

    @property
    def is_changed(self) -> bool:
        """Whether anything was written or removed."""
        return self.before != self.after


def text_of(path: Path) -> str | None:
    """Return the text of a file, without a byte order mark; None if there is none.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    content = _content_of(path)
    return None if content is None else _decoded(path, content).removeprefix(_BOM)


def edit(path: Path, change: Callable[[str], str], *, private: bool, backup: bool = True) -> EditedFile:
    """Change the text of a file; a missing one is made, with the folders above it.

    A link is followed, the file keeps its mode and its byte order mark, and what was there is kept beside it,
    in a file whose name ends in `.bak`.
    If another program writes the file at the same time, the change is made to what that wrote.

    Args:
        path: the file.
        change: returns the new text for the one that is there (for a missing file, an empty one).
        private: whether a new file is for its owner alone.
        backup: whether to keep what was there.

    Raises:
        InputError: it cannot be read or written, or is not UTF-8; and what `change` raises.
        StorageError: the disk has no room.
    """
    target = real_path(path)
    for _ in range(_TRIES):
        content = _content_of(path)
        text = "" if content is None else _decoded(path, content)
        mark = _BOM if text.startswith(_BOM) else ""
        before = text.removeprefix(_BOM)
        after = change(before)
        if content is not None and after == before:
            return EditedFile(path, before, before)
        with _refusals(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            kept = _back_up(target, content) if backup and content is not None else None
            if _replace(target, (mark + after).encode(), content, private=private):
                return EditedFile(path, None if content is None else before, after, kept)
            if kept is not None:
                remove_file(kept)
    raise InputError(
        f"{path}: another program writes it all the time",
        "end that program, and try again",
        error_id="edited-file-busy",
    )


def _content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unusable(path, error) from None


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8, at byte {error.start}",
            "save it as UTF-8, and try again",
            error_id="edited-file-encoding",
        ) from None


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageError(
                f"{path}: no room on the disk; it is unchanged",
                "free some space, and try again",
                error_id="edited-file-disk-full",
            ) from None
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: {error.strerror or error}",
        "check its owner and mode, or name another file",
        error_id="edited-file-unusable",
    )


def _back_up(target: Path, content: bytes) -> Path:
    """Keep what a file has in a new one beside it."""
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 - local, for people
    number = 0
    while True:
        backup = target.with_name(f"{target.name}.{moment}{f'-{number}' if number else ''}.bak")
        try:
            _write_new(backup, content, stat.S_IMODE(target.stat().st_mode), like=target)
        except FileExistsError:
            number += 1
        else:
            return backup


def _replace(target: Path, new: bytes, old: bytes | None, *, private: bool) -> bool:
    """Replace a file that still has what was read; return False if it has not."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    remove_file(unfinished)
    try:
        mode = _PRIVATE if private else 0o666 & ~_umask()
        like = target if old is not None else None
        _write_new(unfinished, new, stat.S_IMODE(like.stat().st_mode) if like else mode, like=like)
        if _content_of(target) != old:
            return False
        unfinished.replace(target)
        return True
    finally:
        remove_file(unfinished)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_new(path: Path, content: bytes, mode: int, *, like: Path | None) -> None:
    """Write a new file with a mode, and where possible with the owner of another."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, _PRIVATE)) as file:
        file.write(content)
        if hasattr(os, "fchown") and like is not None:
            owner = like.stat()
            # Only root can give a file away.
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        sync_file(file)
    path.chmod(mode)
