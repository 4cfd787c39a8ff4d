"""Pack a journal with Zstandard, in frames of their own, so that a part of it is read without the rest.

The file is in Zstandard's seekable format: any program that unpacks `.zst` can read it, and a table at its
end says where each frame is. https://github.com/facebook/zstd/tree/dev/contrib/seekable_format
"""

import errno
import io
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from io import FileIO, RawIOBase
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from zstandard import ZstdCompressor, ZstdDecompressor

FRAME_BYTES: Final = 1 << 20
_LEVEL: Final = 3
_BLOCK: Final = 1 << 17
_SKIPPABLE: Final = 0x184D2A5E
_SEEKABLE: Final = 0x8F92EAB1
_HEAD: Final = struct.Struct("<II")  # a magic number, and the size of the rest of the frame
_FOOT: Final = struct.Struct("<IBI")  # the number of frames, flags, and a magic number
_HAS_CHECKSUMS: Final = 0x80
_MOST_FRAMES: Final = 1 << 24
_KEPT_FRAMES: Final = 4


class NotSeekableError(Exception):
    """The file is not in the seekable format: it has to be unpacked from its beginning."""


class DamagedError(Exception):
    """A packed journal is damaged; the message says how, as in `is damaged (…)`, `ends too early`."""


class Packer:
    """Write a packed journal, piece by piece.

    Attributes:
        size: how many bytes were packed so far.
    """

    def __init__(self, target: BinaryIO) -> None:
        """Write nothing yet; `target` is an empty file."""
        self._target = target
        self._rest = bytearray()
        self._frames: list[tuple[int, int]] = []
        self._compressor: ZstdCompressor | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Pack more of the journal.

        Raises:
            OSError: it cannot be written.
        """
        self.size += len(data)
        self._rest += data
        while len(self._rest) >= FRAME_BYTES:
            self._write_frame(bytes(self._rest[:FRAME_BYTES]))
            del self._rest[:FRAME_BYTES]

    def finish(self) -> None:
        """Write what is left, and the table of the frames.

        Raises:
            OSError: it cannot be written.
        """
        if self._rest or not self._frames:
            self._write_frame(bytes(self._rest))
            self._rest.clear()
        entries = b"".join(_HEAD.pack(*sizes) for sizes in self._frames)
        foot = _FOOT.pack(len(self._frames), 0, _SEEKABLE)
        self._target.write(_HEAD.pack(_SKIPPABLE, len(entries) + len(foot)) + entries + foot)
        self._target.flush()

    def _write_frame(self, data: bytes) -> None:
        import zstandard

        self._compressor = self._compressor or zstandard.ZstdCompressor(_LEVEL, write_checksum=True)
        packed = self._compressor.compress(data)
        self._target.write(packed)
        self._frames.append((len(packed), len(data)))


class PackedFile(RawIOBase):
    """The content of a packed journal, as a file that can be read from any place.

    Attributes:
        size: of the content, in bytes.
        identity: a number that differs for another content.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            NotSeekableError: it is not in the seekable format.
            OSError: it cannot be read.
        """
        self._path = path
        self._file = FileIO(path, "rb")
        try:
            packed, unpacked, table = _read_table(self._file)
        except BaseException:
            self._file.close()
            raise
        self._packed_ends = list(accumulate(packed))
        self._ends = list(accumulate(unpacked))
        self._place = 0
        self._kept: dict[int, bytes] = {}
        self._reader: ZstdDecompressor | None = None
        self.size = self._ends[-1]
        import hashlib

        digest = hashlib.sha256(table + self._read_frame_bytes(len(packed) - 1)).digest()
        self.identity = int.from_bytes(digest[:8]) >> 1

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the content."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer, as far as the present frame goes.

        Raises:
            OSError: the file is damaged.
        """
        view = memoryview(buffer).cast("B")
        if self._place >= self.size or not view:
            return 0
        number = bisect_right(self._ends, self._place)
        frame = self._frame(number)
        start = self._place - (self._ends[number] - len(frame))
        count = min(len(view), len(frame) - start)
        view[:count] = frame[start : start + count]
        self._place += count
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _frame(self, number: int) -> bytes:
        if number not in self._kept:
            import zstandard

            self._reader = self._reader or zstandard.ZstdDecompressor()
            size = self._ends[number] - (self._ends[number - 1] if number else 0)
            try:
                content = self._reader.decompress(self._read_frame_bytes(number), max_output_size=size)
            except zstandard.ZstdError as error:
                raise OSError(errno.EIO, f"it is damaged ({error})", str(self._path)) from None
            if len(content) != size:
                raise OSError(errno.EIO, "it is damaged", str(self._path))
            while len(self._kept) >= _KEPT_FRAMES:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = content
        return self._kept[number]

    def _read_frame_bytes(self, number: int) -> bytes:
        start = self._packed_ends[number - 1] if number else 0
        self._file.seek(start)
        return _read(self._file, self._packed_ends[number] - start)


class UnpackedFile(FileIO):
    """A temporary file with the content of a journal that was packed in another format.

    Attributes:
        identity: a number that differs for another packed file.
    """

    identity: int


def open_content(path: Path) -> FileIO | PackedFile:
    """Open a journal to read its content, whether it is packed or not.

    Raises:
        OSError: it cannot be read, or there is no room to unpack it.
    """
    if path.suffix != ".zst":
        return FileIO(path, "rb")
    try:
        return PackedFile(path)
    except NotSeekableError:
        return _unpacked(path)


def _unpacked(path: Path) -> UnpackedFile:
    import tempfile

    with tempfile.TemporaryFile() as target, FileIO(path, "rb") as packed:
        try:
            target.writelines(unpacked(packed))
        except DamagedError as error:
            raise OSError(errno.EIO, f"it {error}", str(path)) from None
        target.flush()
        file = UnpackedFile(os.dup(target.fileno()), "rb")
        file.seek(0)
        file.identity = os.fstat(packed.fileno()).st_ino % (1 << 63)
        return file


def unpacked(packed: BinaryIO | FileIO, block: int = _BLOCK) -> Iterator[bytes]:
    """Yield the content of a file in any Zstandard format, piece by piece.

    Unlike zstandard's own reader, it notices that the last frame was cut.

    Args:
        packed: the file.
        block: how many bytes to read at once: as much is lost where the file is damaged.

    Raises:
        DamagedError: it is damaged; what is before the damage was yielded.
        OSError: it cannot be read.
    """
    import zstandard

    frame, rest = None, b""
    while data := rest or packed.read(block):
        frame = frame or zstandard.ZstdDecompressor().decompressobj()
        try:
            content = frame.decompress(data)
        except zstandard.ZstdError as error:
            raise DamagedError(f"is damaged ({error})") from None
        if content:
            yield content
        rest = b""
        if frame.eof:
            rest, frame = frame.unused_data, None
    if frame is not None:
        raise DamagedError("ends too early")


def _read_table(file: FileIO) -> tuple[list[int], list[int], bytes]:
    """Return the packed and the unpacked size of each frame, and the table itself."""
    end = file.seek(0, io.SEEK_END)
    if end < _HEAD.size + _FOOT.size:
        raise NotSeekableError
    file.seek(end - _FOOT.size)
    count, flags, magic = _FOOT.unpack(_read(file, _FOOT.size))
    width = 12 if flags & _HAS_CHECKSUMS else 8
    start = end - _FOOT.size - count * width - _HEAD.size
    if magic != _SEEKABLE or not 0 < count <= _MOST_FRAMES or start < 0:
        raise NotSeekableError
    file.seek(start)
    table = _read(file, end - start)
    if _HEAD.unpack_from(table) != (_SKIPPABLE, len(table) - _HEAD.size):
        raise NotSeekableError
    sizes = [_HEAD.unpack_from(table, _HEAD.size + width * number) for number in range(count)]
    if sum(packed for packed, _ in sizes) != start:
        raise NotSeekableError
    return [packed for packed, _ in sizes], [unpacked for _, unpacked in sizes], table


def _read(file: FileIO, size: int) -> bytes:
    data = file.read(size) if size else b""
    if data is None or len(data) != size:
        raise OSError(errno.EIO, "it ends too early", str(file.name))
    return data
