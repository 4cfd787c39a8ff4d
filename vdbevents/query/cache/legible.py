"""Prepare a piece of a journal for DuckDB, which is to find the same lines at the same places."""

import codecs
from typing import Final

from vdbevents.journal.nul_runs import RUN

_BLOCK: Final = 1 << 20
_BLANK: Final = 1 << 16
_BOM: Final = codecs.BOM_UTF8


def legible(data: bytes | bytearray, start: int) -> bytes | bytearray:
    """Return as many bytes in which DuckDB finds the same lines at the same positions as in the journal.

    DuckDB ends a line at a NUL, and drops the rest up to the line's end. Blank lines do not matter.
    """
    if b"\r" in data:
        data = data.replace(b"\r", b"\n")
    if b"\0" in data:
        data = RUN.sub(lambda run: _blank(len(run[0])), data)
    if data.startswith(_BOM):
        data = (b"?" if start else b"\n") * len(_BOM) + data[len(_BOM) :]
    if not _is_text(data):
        data = b"\n".join(line if _is_text(line) else b"?" * len(line) for line in data.split(b"\n"))
    return data


def _blank(size: int) -> bytes:
    """Return so many bytes of blank lines, of few lines and of none that is long."""
    lines = bytearray(b" " * size)
    lines[::_BLANK] = b"\n" * len(lines[::_BLANK])
    lines[-1:] = b"\n"
    return bytes(lines)


def _is_text(data: bytes | bytearray) -> bool:
    """Return whether data is UTF-8; block by block, as a decoded text takes up to four times the memory."""
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _BLOCK):
            decoder.decode(data[start : start + _BLOCK], final=start + _BLOCK >= len(data))
    except UnicodeDecodeError:
        return False
    return True
