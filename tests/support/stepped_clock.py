"""Run `vdbevents` on a clock that tests can set: a file holds the offset.

usage: stepped_clock.py FILE ARGUMENT...    FILE holds nanoseconds, a signed integer of eight bytes
"""

import mmap
import os
import struct
import sys
import time
from pathlib import Path

_NANOSECONDS = struct.Struct("=q")


def step(file, seconds):
    """Set the offset of all processes that use this file, in seconds; create the file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, _NANOSECONDS.pack(round(seconds * 1e9)), 0)
    finally:
        os.close(descriptor)


def stepped(file):
    """Return a `time.time_ns` that adds the current offset of a file."""
    true = time.time_ns
    with Path(file).open("rb") as opened:
        # Mapped: it is read at each event.
        view = mmap.mmap(opened.fileno(), _NANOSECONDS.size, access=mmap.ACCESS_READ)
    return lambda: true() + _NANOSECONDS.unpack_from(view)[0]


def main():
    file = sys.argv.pop(1)
    time.time_ns = stepped(file)
    time.time = lambda: time.time_ns() / 1e9
    from vdbevents.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
