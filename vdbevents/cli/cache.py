"""What is sealed of a journal: `vdbevents cache …`, and what a query does so that most need not be read."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vdbevents.cli.command import as_json, interrupts_held, put, reports
from vdbevents.cli.diagnostics import Color, Diagnostics, ExitCode, exit_code_of, is_terminal, wants_colour
from vdbevents.cli.options import (
    ColorOption,
    JournalOptions,
)
from vdbevents.cli.tables import nothing, remark, table
from vdbevents.errors import InputError, StorageError, VdbeventsError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.progress import Progress

    from vdbevents.query.cache.index import Cache
    from vdbevents.times import Window

_LONG_WINDOW_MS: Final = 25 * 3_600_000
_MUCH_UNSEALED: Final = 256 << 20
_QUIET_SECONDS: Final = 1.0
_KIB: Final = 1024
# As malloc.h of glibc has them.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3

cache_app = typer.Typer(
    help="What is sealed of a journal, so that queries need not read it all again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_STATUS_HELP = """Show how much of a journal is sealed, and what its cache takes on the disk.

\b
Examples:
  vdbevents cache status
  vdbevents cache status old/videodb_events.jsonl --json | jq .sealed_bytes

\b
Exit codes: 0 something is sealed, 1 nothing is, 2 wrong input.
"""


@cache_app.command(help=_STATUS_HELP)
@reports
def status(
    *,
    as_json_object: Annotated[bool, typer.Option("--json", help="One JSON object, with bytes.")] = False,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.query.cache import index

    told = _told(options.find_journal(), _root())
    put(as_json(told) if as_json_object else _shown(told, index.PART))
    return ExitCode.DONE if told["segments"] else ExitCode.NO_MATCH


def _told(journal: Path, root: Path) -> dict[str, Any]:
    from vdbevents.query.cache import index

    cache = index.load(journal, root)
    size = cache.end + index.rest_of(journal, cache)
    on_disk = cache.size()
    every = [folder for folder in index.folders(root) if index.is_own(folder)]
    return {
        "journal": str(journal.absolute()),
        "journal_bytes": size,
        "sealed_bytes": cache.end,
        "segments": len(cache.segments),
        "folder": str(cache.folder),
        # What is of another version, or of a journal that was here before, is replaced when one is sealed.
        "fits": bool(cache.segments) if cache.manifest.exists() else None,
        "cache_bytes": on_disk,
        "cache_percent": round(100 * on_disk / size, 1) if size else None,
        "root": str(root),
        "caches": len(every),
        "caches_bytes": sum(map(index.size_of, every)),
    }


def _shown(told: Mapping[str, Any], piece: int) -> str:
    """What a person reads of it."""
    size = told["journal_bytes"]
    if told["segments"]:
        percent = 100 * told["sealed_bytes"] / size
        segments = _counted(told["segments"], "segment")
        sealed = f"{_size(told['sealed_bytes'])} ({percent:.0f} %) in {segments}"
    elif told["fits"] is False:
        sealed = "nothing: what is in the cache does not fit the journal"
    elif size < piece:
        sealed = f"nothing: it is done {_size(piece)} at a time"
    else:
        sealed = "nothing"
    on_disk = "none"
    if told["cache_bytes"]:
        on_disk = (
            f"{_size(told['cache_bytes'])}, {told['cache_percent']} % of the journal, in {told['folder']}"
        )
    rows = [
        ["journal", f"{_size(size)} in {told['journal']}"],
        ["sealed", sealed],
        ["cache", on_disk],
        [
            "all",
            f"{_size(told['caches_bytes'])} in {_counted(told['caches'], 'cache')} in {told['root']}",
        ],
    ]
    return table(rows, None)


_CLEAR_HELP = """Remove a journal's cache, or all there are. The journal itself is not touched.

\b
Examples:
  vdbevents cache clear
  vdbevents cache clear /mnt/gone/videodb_events.jsonl
  vdbevents cache clear --all

\b
Exit codes: 0 removed, 1 there was none, 2 wrong input, 74 it may not be removed, or is being written.
"""


@cache_app.command(help=_CLEAR_HELP)
@reports
def clear(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those of all journals.")] = False,
    options: JournalOptions,
) -> ExitCode:
    from vdbevents.query.cache import index

    root, journal = _root(), options.journal
    if everything and journal is not None:
        raise InputError("--all and a journal contradict each other", "give one of them")
    if everything:
        folders = index.folders(root)
        none = f"there is no cache in {root}"
    else:
        # It need not be there any more, so that nobody knows whether the directory or the file was named.
        journals = [options.state_at(journal).journal]
        journals += [] if journal is None else [journal]
        folders = [index.folder_of(path, root) for path in journals]
        none = f"there is no cache of {journal or journals[0]} in {root}"
    return _clear(folders, none)


def _clear(folders: list[Path], none: str) -> ExitCode:
    from vdbevents.query.cache import build as cache_build

    freed = count = 0
    failed: list[VdbeventsError] = []
    for folder in folders:
        try:
            size = cache_build.clear(folder)
        except (InputError, StorageError) as error:
            failed.append(error)
        else:
            freed, count = freed + size, count + (size > 0)
    if count:
        remark(f"freed {_size(freed)}: {_counted(count, 'cache')} removed")
    for one in failed:
        diagnostics = Diagnostics()
        diagnostics.error(one)
        diagnostics.flush()
    if failed:
        return exit_code_of(failed[-1])
    return ExitCode.DONE if count else nothing(none)


_BUILD_HELP = """Seal all that is full of a journal, now: 32 MiB at a time, or 8 at its end.

A query over more than a day does so itself, and so does vdbevents listen.

\b
Examples:
  vdbevents cache build
  vdbevents cache build old/videodb_events.jsonl --low-priority
"""


@cache_app.command(help=_BUILD_HELP)
@reports
def build(
    *,
    low_priority: Annotated[
        bool, typer.Option("--low-priority", help="Leave the processor to whoever else wants it.")
    ] = False,
    options: JournalOptions,
    color: ColorOption = Color.AUTO,
) -> ExitCode:
    path = options.find_journal()
    root = _root()
    if low_priority and hasattr(os, "nice"):
        os.nice(19)
    # As Ctrl-C does, so that nothing unfinished stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _seal(path, root, color)
    told = _told(path, root)
    put(f"{_size(told['sealed_bytes'])} of {_size(told['journal_bytes'])} are sealed")
    return ExitCode.DONE


def sealed_for(journal: Path, window: "Window", now: "datetime", color: Color) -> "Cache | None":
    """What is sealed of a journal that is to be searched, sealed first where the window is a long one.

    What keeps it from being sealed is said on stderr, and keeps nobody from searching.

    Args:
        journal: its file.
        window: that of the query.
        now: the present.
        color: that of the progress that is shown.
    """
    from vdbevents.query.cache import index

    cache = sealed_of(journal)
    if cache is None:
        return None
    if not _is_long(window, now):
        rest = index.rest_of(journal, cache)
        if rest > _MUCH_UNSEALED:
            remark(
                f"{_size(rest)} of the journal are not sealed", "faster from now on with: " + _build(journal)
            )
        return cache
    if not index.unsealed(journal, cache):
        return cache
    try:
        return _seal(journal, _root(), color, "--no-cache asks without")
    except InputError:
        # The search itself will say so.
        return None
    except StorageError as error:
        remark(error.message, error.hint + " --no-cache does not try.")
    return sealed_of(journal)


def _build(journal: Path) -> str:
    import shlex

    return shlex.join(["vdbevents", "cache", "build", str(journal)])


def sealed_of(journal: Path) -> "Cache | None":
    """What is sealed of a journal by now; None where there is no place for caches."""
    from vdbevents.query.cache import index

    try:
        root = _root()
    except InputError:
        return None
    return index.load(journal, root)


def _root() -> Path:
    from vdbevents.query.cache import index

    try:
        return index.cache_root(os.environ, Path.home())
    except RuntimeError:
        raise InputError("there is no home to keep caches in", "set XDG_CACHE_HOME to a directory") from None


def _is_long(window: "Window", now: "datetime") -> bool:
    if window.since_ms is None:
        return True
    until_ms = now.timestamp() * 1000 if window.until_ms is None else window.until_ms
    return until_ms - window.since_ms > _LONG_WINDOW_MS


def _seal(journal: Path, root: Path, color: Color, hint: str = "") -> "Cache":
    from vdbevents.query.cache import index

    cache = index.load(journal, root)
    with _progress(journal, cache.end, index.unsealed(journal, cache, index.PART), color, hint) as progress:
        from vdbevents.query.cache import build as cache_build

        _keep_freed_memory()
        with interrupts_held() as asked:

            def reach(sealed: int) -> None:
                if asked.is_set():
                    raise KeyboardInterrupt
                progress.reach(sealed)

            return cache_build.seal(journal, root, reach)


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed, where it is the C library: each piece needs as much as the one before.

    To get it back from the system each time takes a tenth of what sealing does.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_MMAP_THRESHOLD, 32 << 20)
        set_option(_TRIM_THRESHOLD, 256 << 20)


@contextlib.contextmanager
def _progress(journal: Path, start: int, total: int, color: Color, hint: str) -> Iterator["_Progress"]:
    progress = _Progress(journal, start, total, color, hint)
    begin = threading.Timer(_QUIET_SECONDS, progress.show)
    begin.daemon = True
    if total:
        begin.start()
    try:
        yield progress
    finally:
        begin.cancel()
        if total:
            begin.join()
        progress.end()


class _Progress:
    """What stderr shows of sealing that takes its time: a bar on a terminal, else one line."""

    def __init__(self, journal: Path, start: int, total: int, color: Color, hint: str) -> None:
        self._journal = journal
        self._start = start
        self._total = total
        self._color = color
        self._hint = hint
        self._sealed = start
        self._bar: Progress | None = None

    def show(self) -> None:
        """Begins to show it."""
        if not is_terminal(sys.stderr) or os.environ.get("TERM") == "dumb":
            remark(
                f"sealing {_size(self._total)} of {self._journal}, which then need not be read again",
                self._hint,
            )
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        colour = wants_colour(self._color, sys.stderr, os.environ)
        self._bar = Progress(
            TextColumn("sealing the journal"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=not colour),
            transient=True,
        )
        self._bar.add_task("", total=self._total, completed=self._sealed - self._start)
        self._bar.start()

    def reach(self, sealed: int) -> None:
        """So many bytes of the journal are sealed."""
        self._sealed = sealed
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.update(task, completed=sealed - self._start)

    def end(self) -> None:
        """Shows it no more."""
        if self._bar is not None:
            self._bar.stop()


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(count: int) -> str:
    """A number of bytes as a person reads it."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size >= _KIB:
            size, unit = size / _KIB, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def add_to(app: typer.Typer) -> None:
    """Adds what is here."""
    app.add_typer(cache_app, name="cache")
