"""`vdbevents query --follow` and `wait`: the options they allow, how they wait, and what they print."""

import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from vdbevents.cli.diagnostics import is_terminal, wants_colour
from vdbevents.cli.options import EnvironmentOptions
from vdbevents.cli.query_options import ResultOptions
from vdbevents.cli.tables import TerminalSink, data_stream, remark
from vdbevents.errors import InputError, options_conflict

if TYPE_CHECKING:
    from datetime import tzinfo

    from vdbevents.journal.reader import Tail
    from vdbevents.query.cache.index import Cache
    from vdbevents.query.filters import Filters
    from vdbevents.query.follow import Ending, Followed
    from vdbevents.query.hostnames import HostJournal
    from vdbevents.query.output.rows import Output


_POLL_SECONDS: Final = 0.01
_STREAMED: Final = ("text", "jsonl", "csv", "md")


def refuse_with_follow(*, output: str, **others: object) -> None:
    """Refuse what `--follow` cannot do, as it has no end: options by their names, with their values.

    Raises:
        InputError: one of them is given.
    """
    for name, value in others.items():
        if value:
            raise options_conflict("--follow", f"--{name}")
    if output not in _STREAMED:
        hint = f"use -o {', '.join(_STREAMED[:-1])} or {_STREAMED[-1]}"
        raise options_conflict("--follow", f"-o {output}", hint)


def journal_to_follow(argument: Path | None, options: EnvironmentOptions, *, hint: str) -> Path:
    """Return the journal that `options.journal_at` finds, or its future path.

    A journal may be missing in an existing directory, in the environment's directory, and under a name that
    ends in `.jsonl`. Any other missing name is more likely a mistake.

    Raises:
        InputError: nothing has that name.
    """
    try:
        return options.journal_at(argument, hint=hint)
    except InputError:
        if argument is not None and argument.suffix == ".jsonl" and argument.parent.is_dir():
            path = argument
        elif argument is None or argument.is_dir():
            path = options.state_at(argument).journal
        else:
            raise
    remark(f"no journal at {path} yet: waiting for it")
    return path


def following(
    journal: Path,
    filters: "Filters",
    cache_of: "Callable[[Path], Cache | None]",
    ending: "Ending",
    *,
    after: "Tail | None" = None,
    once: bool = False,
) -> "Followed":
    """Return the matches in the journal and those to come, for as long as stdout has a reader.

    Args:
        journal: its file, which need not exist yet.
        filters: what matches.
        cache_of: returns a journal's cache; None reads all of it.
        ending: when it ends by itself.
        after: leave out what is before this place.
        once: whether to take one version of each sentence.
    """
    from vdbevents.query.follow import Followed

    return Followed(
        journal,
        filters,
        cache_of,
        wait=_waiting(),
        on_unreadable=lambda count: remark_on_unreadable(count, journal),
        ending=ending,
        after=after,
        once=once,
    )


def print_followed(
    followed: "Followed",
    filters: "Filters",
    printing: ResultOptions,
    fields: tuple[str, ...] | None,
    zone: "tzinfo",
) -> None:
    """Print the matches as they come."""
    from vdbevents.query.output import write

    output = cast("Output", printing.output.value)
    style = write.Style(
        filters,
        zone,
        colour=wants_colour(printing.color, sys.stdout, os.environ),
        shape=printing.shape,
        fields=fields,
        without_formulas=printing.no_formulas,
        to_terminal=is_terminal(sys.stdout),
    )
    write.write(followed, output, Unbuffered(data_stream(output)), style)


def remark_on_trouble(journal: "HostJournal") -> None:
    """Print a remark on what is wrong with an archive."""
    remark(f"{journal.label} {journal.trouble}: searched what could be unpacked")


def remark_on_unreadable(count: int, journal: Path | str) -> None:
    """Print a remark with the number of unreadable lines."""
    lines = "line is" if count == 1 else "lines are"
    remark(f"{count} {lines} unreadable and left out, in {journal}")


class Unbuffered:
    """Write each batch to a stream as soon as it is read."""

    def __init__(self, stream: "BinaryIO | TerminalSink") -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> None:
        self._stream.write(data)
        self._stream.flush()


def _waiting() -> Callable[[], bool]:
    """Return a pause that raises BrokenPipeError once stdout has no reader, even if nothing is written."""
    try:
        poller: Any = select.poll()
        poller.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        # Windows has no poll, and a closed stdout has no descriptor.
        poller = None

    def wait() -> bool:
        nonlocal poller
        ready = poller.poll(_POLL_SECONDS * 1000) if poller else None
        if ready is None:
            time.sleep(_POLL_SECONDS)
        elif ready and ready[0][1] & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError
        elif ready:
            # Where polling does not work, as for devices on macOS, it would return at once.
            poller = None
        return True

    return wait
