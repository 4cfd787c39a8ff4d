"""`vdbevents` on a clock that can be set from outside: a file says how far it is off.

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
    """Sets the clock of whoever runs on this file, `seconds` away from the true time. Makes the file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, _NANOSECONDS.pack(round(seconds * 1e9)), 0)
    finally:
        os.close(descriptor)


def stepped(file):
    """`time.time_ns` with what the file says added, at each call anew."""
    true = time.time_ns
    with Path(file).open("rb") as opened:
        # Mapped, not read: it is asked for at each event.
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
