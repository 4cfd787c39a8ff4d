"""Rewrite the few lines that DuckDB does not read as most readers do, or as they are written. Pure.

Of a member that stands twice DuckDB takes the first value, others the last. Of a text that is an object it
writes each number by its value: `1E5` as `100000.0`. Whether a line may be such a one, its bytes show.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from vdbevents.events import fields
from vdbevents.query.columns import MEMBER_PATHS

_NAMES: Final = frozenset(name for path in MEMBER_PATHS for name in path.split("."))

_SHOWN: Final = (*fields.TEXT.paths, *fields.LABEL.paths, *fields.SPEAKER.paths)
"""The members that are shown as texts, whatever they are."""

# Regular expressions that are valid in Python and RE2, and mean the same there.
_ODD_NUMBER: Final = r"[0-9][eE]|\.[0-9]*0(?:[^0-9]|$)|[0-9]{16}|-0(?:[^.0-9]|$)"
_SHOWN_NAMES: Final = "|".join(sorted({path.removeprefix("data.") for path in _SHOWN}))
_ODD_VALUE: Final = rf'"(?:{_SHOWN_NAMES})"[ \t\r]*:[ \t\r]*(?:[\[{{].*|[-0-9.]*)(?:{_ODD_NUMBER})'
_ESCAPED_NAME: Final = r"\\u00[4-7]"

_TWICE: Final = (rf'"{name}"[ \t\r]*:.*"{name}"[ \t\r]*:' for name in sorted(_NAMES))
MAY_DIFFER: Final = f"regexp_matches(line, '{'|'.join((_ESCAPED_NAME, _ODD_VALUE, *_TWICE))}')"
"""SQL for whether `mended_line` may have to rewrite a line."""

_NAME: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"[ \t\r]*+:')
_MAY_DIFFER: Final = re.compile(f"{_ESCAPED_NAME}|{_ODD_VALUE}")
_HAS_ODD_NUMBER: Final = re.compile(_ODD_NUMBER)


def mended_line(line: str) -> str | None:
    """Return a line that DuckDB reads as most readers do this one; None if it does so with this one.

    Of each member it has the last value. In place of an object, an array or a number that is shown it has a
    text, if a number would be shown in another form.
    """
    names = _NAME.findall(line)
    if len(names) == len(set(names)) and not _MAY_DIFFER.search(line):
        return None
    repeated = set()

    def taken(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        last: dict[str, Any] = {}
        for name, value in members:
            if name in last:
                repeated.add(name)
                del last[name]  # so that the last member stays the last
            last[name] = value
        return last

    try:
        event = json.loads(
            line, object_pairs_hook=taken, parse_int=_Written, parse_float=_Written, parse_constant=_refuse
        )
        is_changed = not repeated.isdisjoint(_NAMES)
        if isinstance(event, dict):
            is_changed |= _has_texts_for_numbers(event)
        return _written(event) if is_changed else None
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _Written(str):
    """A number as it is written."""

    __slots__ = ()


def _has_texts_for_numbers(event: dict[str, Any]) -> bool:
    """Make texts of what is shown and has a number in an unusual form; return whether there was any."""
    is_changed = False
    data = event.get("data")
    inner = data if isinstance(data, dict) else {}
    for path in _SHOWN:
        name = path.removeprefix("data.")
        holder = inner if name != path else event
        value = holder.get(name)
        if type(value) in (dict, list, _Written) and _HAS_ODD_NUMBER.search(written := _written(value)):
            holder[name] = str(written)
            is_changed = True
    return is_changed


def _written(value: object) -> str:
    match value:
        case dict():
            members = (f"{_quoted(name)}:{_written(of)}" for name, of in value.items())
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(map(_written, value))}]"
        case _Written():
            return value
        case str():
            return _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    # Half a surrogate pair can only be written as an escape.
    is_whole = text.isascii() or not re.search("[\ud800-\udfff]", text)
    return json.dumps(text, ensure_ascii=not is_whole)
