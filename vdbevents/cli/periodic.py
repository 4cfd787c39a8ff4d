"""Run commands of this program again and again beside a listener, each in a process of its own.

They run with the lowest CPU priority, and end with the listener. Whatever fails, recording goes on.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from vdbevents.cli.background import detached, end

_POLL_SECONDS: Final = 0.2
_FAREWELL_SECONDS: Final = 10.0


@contextlib.contextmanager
def repeated(name: str, step: Callable[[threading.Event], float]) -> Iterator[None]:
    """Call a function in a thread now, and again after the seconds that it returns, until the context ends.

    Args:
        name: the thread's.
        step: gets an event that is set when it should end; must not raise.
    """
    ended = threading.Event()

    def run() -> None:
        pause = 0.0
        while not ended.wait(pause):
            pause = step(ended)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_FAREWELL_SECONDS)


def run_low_priority(
    words: Sequence[str], path: Path, ended: threading.Event
) -> subprocess.CompletedProcess[str]:
    """Run a command that has `--low-priority` on a path, and return its exit code and output.

    Args:
        words: the command and its options.
        path: its argument; absolute.
        ended: ends the process, when set, as SIGTERM does.
    """
    # -P: do not import from the working directory. A cwd there would also keep a disk mounted.
    command = [sys.executable, "-P", "-m", "vdbevents", *words, "--low-priority", str(path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=path.anchor,
        text=True,
        encoding="utf-8",
        errors="replace",
        **detached(),
    )

    def end_with_the_listener() -> None:
        while process.poll() is None:
            if ended.wait(_POLL_SECONDS):
                end(process)

    threading.Thread(target=end_with_the_listener, daemon=True).start()
    out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)
