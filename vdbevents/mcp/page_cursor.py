"""Where an answer that did not fit goes on: a text that a model hands back with the same question. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.mcp.tool_parameters import Parameter

CURSOR: Final = Parameter("cursor", "text", "`next` of the last answer, all else as before: what follows.")

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(r"([0-9a-z]*)-([0-9a-z]*)-([0-9a-z]+)-([0-9a-f]{6})")
# Of the same question, another answer may be longer.
_FREE: Final = ("cursor", "max_tokens")


class PageCursor(NamedTuple):
    """A place in the answer to a question.

    Attributes:
        since_ms: the begin of the window, in Unix ms, which must not move with the clock; None without one.
        at_ms: the time at which the answer goes on, in Unix ms; None where it does so by numbers alone.
        skip: how many entries to leave out: of those at that time, or of all.
    """

    since_ms: int | None
    at_ms: int | None
    skip: int

    def text_for(self, values: Mapping[str, Any]) -> str:
        """Return it as a text that fits this question only."""
        times = ("" if at_ms is None else _written(at_ms) for at_ms in (self.since_ms, self.at_ms))
        return "-".join((*times, _written(self.skip), _key(values)))


def cursor_in(tool: str, values: Mapping[str, Any]) -> PageCursor | None:
    """Return the place at which an answer goes on; None for its beginning.

    Raises:
        InputError: the cursor is not one of this question.
    """
    text = values[CURSOR.name]
    if text is None:
        return None
    found = _FORM.fullmatch(text.strip())
    if found is None or found[4] != _key(values):
        raise InputError(
            f"{tool}: cursor: not one of this question, got {text[:60]!r}",
            "repeat all other parameters as they were, or leave out the cursor",
            error_id="cursor-invalid",
        )
    since, at, skip = (int(part, 36) if part else None for part in found.groups()[:3])
    return PageCursor(since, at, skip or 0)


def _key(values: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in values.items() if name not in _FREE}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]


def _written(number: int) -> str:
    number, text = max(number, 0), ""
    while number or not text:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text
