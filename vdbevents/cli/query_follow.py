"""`vdbevents query --follow`: what it goes with, and how it waits."""

import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from vdbevents.cli.diagnostics import Color, wants_colour
from vdbevents.cli.options import (
    EnvironmentOptions,
)
from vdbevents.cli.tables import remark, terminal_width
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from vdbevents.query.cache.index import Cache
    from vdbevents.query.filters import Filters
    from vdbevents.query.follow import Followed
    from vdbevents.query.output.rows import Output


_POLL_SECONDS: Final = 0.01
_STREAMED: Final = ("text", "jsonl", "csv", "md")


def refuse_with_follow(*, output: str, **others: object) -> None:
    """Sees that nothing is asked for that needs an end: options by their names, as they were given.

    Raises:
        InputError: it names what contradicts `--follow`.
    """
    for name, value in others.items():
        if value:
            raise InputError(f"--follow and --{name} contradict each other", "give one of them")
    if output not in _STREAMED:
        raise InputError(
            f"--follow and -o {output} contradict each other: it is whole at its end only",
            f"Accepted: {', '.join(_STREAMED)}.",
        )


def journal_to_follow(argument: Path | None, options: EnvironmentOptions, *, otherwise: str) -> Path:
    """The journal as `options.journal_at` finds it, or where it will be.

    One that is not there yet is waited for in a directory that is there, in that which the environment names,
    and under a name that ends in `.jsonl`. Any other name that nothing has is rather a mistake.

    Raises:
        InputError: there is nothing of that name.
    """
    try:
        return options.journal_at(argument, hint=otherwise)
    except InputError:
        if argument is not None and argument.suffix == ".jsonl" and argument.parent.is_dir():
            path = argument
        elif argument is None or argument.is_dir():
            path = options.state_at(argument).journal
        else:
            raise
    remark(f"there is no journal at {path} yet: it is waited for")
    return path


def following(journal: Path, filters: "Filters", cache_of: "Callable[[Path], Cache | None]") -> "Followed":
    """What matches in the journal, and what will, for as long as somebody reads stdout."""
    from vdbevents.query.follow import Followed

    return Followed(
        journal,
        filters,
        cache_of,
        wait=_waiting(),
        on_unreadable=lambda count: remark_on_unreadable(count, journal),
    )


def print_following(
    followed: "Followed",
    output: str,
    filters: "Filters",
    fields: tuple[str, ...] | None,
    *,
    zone: "tzinfo",
    color: Color,
) -> None:
    """Prints each batch as soon as it is there."""
    from vdbevents.query.output import write as output_write

    output_write.write(
        followed,
        cast("Output", output),
        _Unbuffered(sys.stdout.buffer),
        filters=filters,
        colour=wants_colour(color, sys.stdout, os.environ),
        width=terminal_width(),
        zone=zone,
        fields=fields,
    )


def remark_on_unreadable(count: int, journal: Path | str) -> None:
    """Says on stderr how many lines are no events."""
    lines = "line is" if count == 1 else "lines are"
    remark(f"{count} {lines} unreadable and left out, in {journal}")


class _Unbuffered:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> None:
        self._stream.write(data)
        self._stream.flush()


def _waiting() -> Callable[[], bool]:
    """Pauses; raises BrokenPipeError as soon as nobody reads stdout, for there may be nothing to write."""
    try:
        poller: Any = select.poll()
        poller.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        # Windows has no such thing, and a stdout that is closed has no number.
        poller = None

    def wait() -> bool:
        nonlocal poller
        told = poller.poll(_POLL_SECONDS * 1000) if poller else None
        if told is None:
            time.sleep(_POLL_SECONDS)
        elif told and told[0][1] & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError
        elif told:
            # A stream that cannot be waited for, as devices on macOS, would be asked without a pause.
            poller = None
        return True

    return wait
