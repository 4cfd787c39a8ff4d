"""Journals that are packed, by gzip or by Zstandard, and those that come through a pipe: made files again."""

import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from vdbevents.errors import InputError, StorageError
from vdbevents.query.hostnames import ARCHIVES

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC: Final = {".gz": _GZIP, ".zst": _ZSTD}

# pzstd, and others, begin with a frame that has no data.
_WITHOUT_DATA: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")

# Where an archive is damaged, as much is lost as was to be unpacked at once: of gzip's, so much data, of
# Zstandard's, what so much of the archive holds.
_PIECE: Final = 1 << 13
_PACKED_PIECE: Final = 1 << 10
_BLOCK: Final = 1 << 20


class _DamagedError(Exception):
    """Nothing more of it can be unpacked."""


def is_packed(path: Path) -> bool:
    """Tell whether a file is an archive, whatever its name says.

    Raises:
        InputError: it cannot be read, or is named as an archive, and is neither one nor a journal.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_PIECE)
    except OSError as error:
        raise InputError(
            f"the journal {path} cannot be read: {error.strerror}", "Name a file that you may read."
        ) from None
    if head.startswith(_GZIP) or _is_zstd(head):
        return True
    if path.suffix not in ARCHIVES:
        return False
    if _MAGIC[path.suffix].startswith(head):
        return True  # of which next to nothing was written
    if head.lstrip().startswith(b"{"):
        return False
    raise InputError(
        f"{path} is no archive, though it is called {path.suffix}",
        f"See what it is with: file {path}; vdbevents reads journals as they are, .gz and .zst.",
    )


def unpack(path: Path, folder: Path, told: str) -> tuple[Path, str]:
    """Return a file in `folder` with all that an archive's members or frames hold, and what is amiss.

    What is amiss is empty for a whole one. Of a damaged one the file holds what came before that.

    Raises:
        StorageError: there is no room.
    """
    with path.open("rb") as packed, _new_file(folder) as file:
        head = packed.read(4)
        packed.seek(0)
        pieces = _of_zstd(packed) if _is_zstd(head) else _of_gzip(packed)
        trouble = _write(pieces, file, told)
        return Path(file.name), trouble if head else "is empty, as an archive never is"


def copy(stream: BinaryIO, folder: Path, told: str) -> Path:
    """Return a file in `folder` with all that a stream gives.

    Raises:
        StorageError: there is no room.
    """
    with _new_file(folder) as file:
        _write(iter(lambda: stream.read(_BLOCK), b""), file, told)
        return Path(file.name)


def _is_zstd(head: bytes) -> bool:
    return head.startswith(_ZSTD) or _WITHOUT_DATA.match(head) is not None


def _new_file(folder: Path) -> BinaryIO:
    """Open a file that nobody else may read."""
    descriptor, name = tempfile.mkstemp(suffix=".jsonl", dir=folder)
    os.close(descriptor)
    return Path(name).open("wb")


def _write(pieces: Iterator[bytes], file: BinaryIO, told: str) -> str:
    """Write all pieces, and return what is amiss with them."""
    trouble = ""
    try:
        try:
            file.writelines(pieces)
        except _DamagedError as error:
            trouble = str(error)
        file.flush()
    except OSError as error:
        raise StorageError(
            f"{told} could not be unpacked into {tempfile.gettempdir()}: {error.strerror or error}",
            "Make room there, or name another directory with TMPDIR.",
        ) from None
    return trouble


def _of_gzip(packed: BinaryIO) -> Iterator[bytes]:
    import gzip

    with gzip.GzipFile(fileobj=packed) as members:
        try:
            while piece := members.read1(_PIECE):
                yield piece
        except EOFError:
            raise _DamagedError("ends too early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise _DamagedError(f"is damaged ({error})") from None


def _of_zstd(packed: BinaryIO) -> Iterator[bytes]:
    import zstandard

    frame = None
    rest = b""
    while piece := rest or packed.read(_PACKED_PIECE):
        frame = frame or zstandard.ZstdDecompressor().decompressobj()
        try:
            yield frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise _DamagedError(f"is damaged ({error})") from None
        rest = b""
        if frame.eof:
            rest, frame = frame.unused_data, None
    if frame is not None:
        raise _DamagedError("ends too early")
