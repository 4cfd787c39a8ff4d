"""The options of the commands that tell what was recorded in few words, and how their answers are printed."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from vdbevents.cli.declared import Option
from vdbevents.cli.options import AsJsonOption, BoundOptions, CacheOption, FormatOptions
from vdbevents.cli.tables import data_stream, terminal_width
from vdbevents.errors import InputError

if TYPE_CHECKING:
    from vdbevents.query.output.budget import Bound

USUAL_TOKENS: Final = 2000
"""The bound of an answer for which none is given."""

_LEAST_ROOM: Final = 20
# What an answer needs, usually: a heading, and the command that shows more.
_LEAST_BYTES: Final = 800


class SummaryFormat(StrEnum):
    """The output formats of a summary."""

    TEXT = "text"
    MD = "md"
    JSON = "json"


class SummaryOptions(FormatOptions):
    """How a summary is printed."""

    output: Annotated[
        SummaryFormat, Option("-o", "--output", help="json: one object, with times in UTC.")
    ] = SummaryFormat.TEXT
    as_json: AsJsonOption = False
    cache: CacheOption = True


class SummaryBoundOptions(BoundOptions):
    """How large a summary may be."""

    max_tokens: Annotated[
        int | None,
        Option(
            min=1,
            metavar="N",
            help="The same in tokens of a language model, of 4 characters.",
            show_default=f"{USUAL_TOKENS}, without --max-bytes",
        ),
    ] = None

    @property
    def bound(self) -> "Bound":
        """The bound of the answer."""
        from vdbevents.query.output.budget import Bound

        bound = Bound(self.max_bytes, self.max_tokens)
        return bound if bound.is_given else Bound(tokens=USUAL_TOKENS)

    @property
    def larger(self) -> "SummaryBoundOptions":
        """The options for an answer four times as large."""
        bound = self.bound
        return SummaryBoundOptions(
            max_bytes=bound.bytes and 4 * bound.bytes, max_tokens=bound.tokens and 4 * bound.tokens
        )


def too_small(bound: "Bound", least: str | None = None) -> InputError:
    """Return the error of a bound within which nothing can be said.

    Args:
        bound: how large the answer may be.
        least: the smallest answer; None if it is not known.
    """
    from vdbevents.query.output.budget import CHARACTERS_PER_TOKEN

    # Of two bounds, the one that allows less.
    limits = (("--max-bytes", bound.bytes, 1), ("--max-tokens", bound.tokens, CHARACTERS_PER_TOKEN))
    given = [(limit * size, option, limit, size) for option, limit, size in limits if limit is not None]
    _, option, limit, size = min(given)
    enough = max(4 * limit, _LEAST_BYTES // size)
    if least is not None:
        needs_bytes = bound.bytes is not None and len(least.encode("utf-8", "replace")) > bound.bytes
        option = "--max-bytes" if needs_bytes or bound.tokens is None else "--max-tokens"
        limit = (bound.bytes if option == "--max-bytes" else bound.tokens) or 0
        bytes_needed = len(least.encode("utf-8", "replace"))
        enough = bytes_needed if option == "--max-bytes" else -(-len(least) // CHARACTERS_PER_TOKEN)
    return InputError(
        f"{option}: {limit} is too small for an answer",
        f"use {option} {enough} or more",
        error_id="bound-too-small",
    )


def broken(label: str, text: str) -> str:
    """Return a label and a text after it, on a terminal broken into lines of its width below one another."""
    return broken_at(terminal_width(), label, text)


def broken_at(width: int | None, label: str, text: str) -> str:
    """Return a label and a text after it, in lines of at most so many cells; None leaves it whole."""
    from vdbevents.terminal import cells, wrapped

    if width is None:
        return label + text
    indent = cells(label)
    room = max(width - indent, _LEAST_ROOM)
    lines = [text[first:last] for first, last in wrapped(text, room)] or [""]
    return label + f"\n{' ' * indent}".join(lines)


def put_summary(text: str, output: SummaryFormat) -> None:
    """Print a summary, which ends its last line, in UTF-8."""
    stream = data_stream(output.value)
    stream.write(text.encode("utf-8", "replace"))
    stream.flush()
    sys.stdout.flush()
