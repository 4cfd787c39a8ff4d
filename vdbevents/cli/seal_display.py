"""Show how a journal is sealed, while a command waits for it."""

import contextlib
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdbevents.cli.command import interrupts_held
from vdbevents.cli.diagnostics import Color, can_redraw, wants_colour
from vdbevents.cli.tables import remark
from vdbevents.errors import StorageError
from vdbevents.journal.state import StateDirectory
from vdbevents.terminal import byte_size

if TYPE_CHECKING:
    from rich.progress import Progress

_QUIET_SECONDS: Final = 1.0
# As in glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3


class SealDisplay:
    """Show the sealing of a journal on stderr, if it takes long: a bar on a terminal, else one line."""

    def __init__(self, color: Color, hint: str = "") -> None:
        self._color = color
        self._hint = hint
        self._start = self._sealed = 0
        self._bar: Progress | None = None

    @contextlib.contextmanager
    def sealing(self, journal: Path, start: int, total: int) -> Iterator[Callable[[int], None]]:
        """Show the progress; a Ctrl-C is raised where the sealing reports it, so that it ends in order."""
        self._start = self._sealed = start
        timer = threading.Timer(_QUIET_SECONDS, self._show, (journal, total))
        timer.daemon = True
        if total:
            timer.start()
        _keep_freed_memory()
        try:
            with interrupts_held() as interrupted:

                def update(sealed: int) -> None:
                    if interrupted.is_set():
                        raise KeyboardInterrupt
                    self._update(sealed)

                yield update
        finally:
            timer.cancel()
            if total:
                timer.join()
            if self._bar is not None:
                self._bar.stop()

    def left_unsealed(self, journal: Path, size: int) -> None:
        """Print the command that makes later queries faster."""
        command = shlex.join(["vdbevents", "cache", "build", str(journal)])
        remark(
            f"{byte_size(size)} of the journal are not in the cache",
            f"speed up later queries with: {command}",
        )

    def failed(self, error: StorageError) -> None:
        """Print why the cache could not be written."""
        remark(error.message, f"{error.hint}, or use --no-cache")

    def _show(self, journal: Path, total: int) -> None:
        if not can_redraw(sys.stderr, StateDirectory(journal.parent)):
            remark(f"indexing {byte_size(total)} of {journal} (first time only)", self._hint)
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        colour = wants_colour(self._color, sys.stderr, os.environ)
        self._bar = Progress(
            TextColumn("indexing the journal (first time only)"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=not colour),
            transient=True,
        )
        self._bar.add_task("", total=total, completed=self._sealed - self._start)
        self._bar.start()

    def _update(self, sealed: int) -> None:
        self._sealed = sealed
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.update(task, completed=sealed - self._start)


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory, where it is the C library: each segment needs as much as the last.

    To get it back from the system each time takes a tenth of the time of sealing.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_MMAP_THRESHOLD, 32 << 20)
        set_option(_TRIM_THRESHOLD, 256 << 20)
