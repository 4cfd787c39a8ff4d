"""Decompress gzip and Zstandard journals, and copy piped ones and JSON arrays, into temporary files."""

import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from vdbevents.errors import InputError, StorageError
from vdbevents.journal.packed import DamagedError, unpacked
from vdbevents.query import containers, scratch
from vdbevents.query.byte_ranges import unreadable_journal
from vdbevents.query.hostnames import ARCHIVES

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC: Final = {".gz": _GZIP, ".zst": _ZSTD}

# pzstd, and others, begin with a frame that has no data.
_WITHOUT_DATA: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")

# Damage in an archive loses the whole piece it is in: of gzip this much data, of Zstandard the content of
# this much of the archive.
_PIECE: Final = 1 << 13
_PACKED_PIECE: Final = 1 << 10
_BLOCK: Final = 1 << 20


class ReadableJournal(NamedTuple):
    """A journal with an event a line.

    Attributes:
        path: its file.
        is_copy: whether that is a temporary one, made of another.
        trouble: what is wrong with the other; empty for a whole one.
    """

    path: Path
    is_copy: bool = False
    trouble: str = ""


def readable(path: Path, folder: Callable[[], Path], label: str) -> ReadableJournal:
    """Return a journal itself, or a file made of an archive or of a JSON array.

    Args:
        path: the file.
        folder: returns where to make another.
        label: its name in messages.

    Raises:
        InputError: it cannot be read, or is neither; the hint says how to make a journal of it.
        StorageError: there is no room.
    """
    journal = ReadableJournal(path)
    if is_packed(path):
        unpacked, trouble = unpack(path, folder(), label)
        journal = ReadableJournal(unpacked, is_copy=True, trouble=trouble)
    if not holds_lines(journal.path, label):
        with journal.path.open("rb") as array, _new_file(folder(), label) as file:
            _write(_elements(array), file, label)
        journal = ReadableJournal(Path(file.name), is_copy=True, trouble=journal.trouble)
    return journal


def holds_lines(path: Path, label: str) -> bool:
    """Return whether a file has an event a line; False for a JSON array of them.

    Raises:
        InputError: it cannot be read, or is something else; the hint says how to make a journal of it.
    """
    head = _head_of(path, containers.HEAD_BYTES)
    if container := containers.container_of(head):
        raise InputError(
            f"{label} is {container.what}, not a journal with an event a line",
            container.hint(label),
            error_id="journal-form",
        )
    return not containers.is_line_array(head)


def _elements(array: BinaryIO) -> Iterator[bytes]:
    for line in array:
        if element := containers.element_of(line):
            yield element + b"\n"


def _head_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise unreadable_journal(path, error) from None


def is_packed(path: Path) -> bool:
    """Return whether a file is compressed, by its first bytes, not its name.

    Raises:
        InputError: it cannot be read, or has an archive's name and is neither an archive nor a journal.
    """
    head = _head_of(path, _PIECE)
    if head.startswith(_GZIP) or _is_zstd(head):
        return True
    if path.suffix not in ARCHIVES:
        return False
    if _MAGIC[path.suffix].startswith(head):
        return True  # only its first bytes were written
    if head.lstrip().startswith(b"{"):
        return False
    raise InputError(
        f"{path} is not a {path.suffix} archive",
        f"see its type with `file {path}`; vdbevents reads plain, .gz and .zst journals",
        error_id="archive-invalid",
    )


def unpack(path: Path, folder: Path, label: str) -> tuple[Path, str]:
    """Decompress all members or frames of an archive into a file in `folder`.

    Args:
        path: the archive.
        folder: where to make the file.
        label: the archive's name in messages.

    Returns:
        The file, and what is wrong with the archive: empty for a whole one. Of a damaged one, the file holds
        the content before the damage.

    Raises:
        StorageError: there is no room.
    """
    with path.open("rb") as packed, _new_file(folder, label) as file:
        head = packed.read(4)
        packed.seek(0)
        pieces = unpacked(packed, _PACKED_PIECE) if _is_zstd(head) else _of_gzip(packed)
        trouble = _write(pieces, file, label)
        return Path(file.name), trouble if head else "is empty"


def copy(stream: BinaryIO, folder: Path, label: str) -> Path:
    """Copy a stream into a file in `folder`, and return the file.

    Raises:
        StorageError: there is no room.
    """
    with _new_file(folder, label) as file:
        _write(iter(lambda: stream.read(_BLOCK), b""), file, label)
        return Path(file.name)


def _is_zstd(head: bytes) -> bool:
    return head.startswith(_ZSTD) or _WITHOUT_DATA.match(head) is not None


def _new_file(folder: Path, label: str) -> BinaryIO:
    """Create a file that only its owner may read."""
    try:
        import tempfile

        descriptor, name = tempfile.mkstemp(suffix=".jsonl", dir=folder)
    except OSError as error:
        raise _no_room(label, error) from None
    os.close(descriptor)
    return Path(name).open("wb")


def _no_room(label: str, error: OSError) -> StorageError:
    return StorageError(
        f"could not unpack {label} into {scratch.directory()}: {scratch.folder_error(error)}",
        "make room there, or name another directory with TMPDIR",
        error_id="unpack-failed",
    )


def _write(pieces: Iterator[bytes], file: BinaryIO, label: str) -> str:
    """Write all pieces to `file`; return what is wrong with the archive, or an empty text."""
    trouble = ""
    try:
        try:
            file.writelines(pieces)
        except DamagedError as error:
            trouble = str(error)
        file.flush()
    except OSError as error:
        raise _no_room(label, error) from None
    return trouble


def _of_gzip(packed: BinaryIO) -> Iterator[bytes]:
    import gzip

    with gzip.GzipFile(fileobj=packed) as members:
        try:
            while piece := members.read1(_PIECE):
                yield piece
        except EOFError:
            raise DamagedError("ends too early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DamagedError(f"is damaged ({error})") from None
