"""Put an answer together: the notice, what is quoted, and how to get more, within its bound. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final, TypeVar

from vdbevents.mcp.quoting import BEGIN, END, NOTICE, neutral, neutral_data, quoted
from vdbevents.mcp.time_window import zone_text
from vdbevents.mcp.tool import ToolAnswer, noticed
from vdbevents.query.output.budget import Bound

_Entry = TypeVar("_Entry")

# What stands around a quotation at most, beside the lines above and below it.
_FRAME: Final = len(f"\n{BEGIN}\n\n{END}\n")


def heading_of(zone: tzinfo, now: datetime) -> str:
    """Return the first line of each answer's text."""
    return f"{NOTICE} Times here are local, {zone_text(zone, now)}."


def text_page(heading: str, above: str, body: str, below: str = "") -> str:
    """Return the text of an answer.

    Args:
        heading: the notice.
        above: what is said of the answer in our words; neutral.
        body: text of the recording, in lines.
        below: how to get more, in our words.
    """
    lines = [heading, above, quoted(body) if body.strip() else "", below]
    return "\n".join(filter(None, lines))


def room_within(bound: Bound, *ours: str) -> Bound:
    """Return what of a bound is left for quoted text beside lines of ours."""
    tokens = bound.tokens or 0
    taken = sum(len(line) + 1 for line in ours) + _FRAME
    return Bound(tokens=max(tokens - -(-taken // 4), 1))


def fitting_count(most: int, fits: Callable[[int], bool]) -> int:
    """Return the greatest number up to `most` that fits, where fewer always fit; 0 if none does."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least


def dumped(data: Mapping[str, Any]) -> str:
    """Return data as a client writes it."""
    return json.dumps(data, ensure_ascii=False, separators=(", ", ": "))


def within(bound: Bound, entries: Sequence[_Entry], render: Callable[[Sequence[_Entry]], str]) -> int:
    """Return how many of the first entries fit, as `render` shows them."""
    return fitting_count(len(entries), lambda count: bound.fits(render(entries[:count])))


def answer_of(text: str, data: Mapping[str, Any]) -> ToolAnswer:
    """Return an answer of a text that is quoted already, and of data that is not neutral yet."""
    return ToolAnswer(text, quoted_data(data))


def quoted_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data of an answer with the notice, and all its texts neutral."""
    neutral_one: dict[str, Any] = neutral_data(noticed(data))
    return neutral_one


def in_one_line(text: str) -> str:
    """Return a text of the recording, neutral, without blanks in a row."""
    return " ".join(neutral(" ".join(text.split())).split())
