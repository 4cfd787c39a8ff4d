r"""Read which window or app a description of the screen names. Pure.

Only what is named explicitly counts: a member of the event, or of the JSON object that its text is, or what
stands in brackets before the text. A sentence that mentions an app may be about another one.
`vdbevents.query.columns` builds its SQL from the tables here, and docs/events-format.md documents them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from vdbevents.events import fields

WINDOW_PATHS: Final = (
    *("window.title", "window.name", "window", "window_title", "windowTitle", "window_name"),
    *("active_window.title", "active_window.name", "active_window", "activeWindow"),
)
APP_PATHS: Final = (
    *("app.name", "app", "app_name", "appName", "application.name", "application", "application_name"),
    *("active_app", "activeApp", "window.app", "active_window.app"),
)
TITLE_PATHS: Final = ("title",)
"""The title of what is shown is that of a window only if its app is named as well."""

BLANKS: Final = " \t\r\n"
LONGEST_NAME: Final = 200

# Regular expressions that are valid in Python and RE2, and mean the same there.
MARKED: Final = r"^[ \t\r\n]*[\[{`]"
BRACKETED: Final = r"^\[((?:[^\[\]\r\n]|\[[^\[\]\r\n]*\])+)\](?:[ \t\r\n]|$)"
FENCED: Final = r"^```[A-Za-z]*[ \t\r\n]*(\{(?s:.*)\})[ \t\r\n]*```$"


def _spelled(words: str) -> str:
    # The ways in which engines ignore case differ outside of ASCII.
    return re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", words)


NO_NAME: Final = "|".join(
    (
        r"[{\[](?s:.*)",
        r'"[^"]*"(?: *,(?s:.*))?',
        r"[-+]?[0-9](?:[0-9.,:/ eE+-])*(?:[ap]m|[AP]M)?",
        r"\[?redacted(?s:.*)",
        _spelled("-?(?:inf|nan|infinity)|true|false|none|null|undefined|unknown|n/a|not (?:visible|known)"),
        _spelled("trace|debug|info|notice|warn|warning|error|critical|fatal|failed|ok|done|todo"),
        "x",
        _spelled("(?:scene|frame|shot|image|screen|display|monitor|screenshot)[ #]*[0-9]*"),
    )
)
"""What is not a name: a value that is not a text, a time, a redaction, no window, a log's level, a tick."""

_MEMBERS: Final = frozenset(path.partition(".")[0] for path in (*WINDOW_PATHS, *APP_PATHS, *TITLE_PATHS))


def window_of(event: Mapping[str, Any]) -> str | None:
    """Return the name of the window or app that a description of the screen names; None if it names none.

    Of a window and an app it is `window - app`, as title bars have it, unless the one has the other's name
    in it.
    """
    if fields.channel_of(event) != "visual_index":
        return None
    text = fields.text_of(event).strip(BLANKS)
    # Most events name no window.
    holders = [
        holder
        for holder in (event.get("data"), event, _document(text))
        if isinstance(holder, Mapping) and not _MEMBERS.isdisjoint(holder)
    ]
    window, app = _first(holders, WINDOW_PATHS), _first(holders, APP_PATHS)
    if app is not None:
        window = window or _first(holders, TITLE_PATHS)
        return app if window is None else window if app in window else f"{window} - {app}"
    bracketed = re.match(BRACKETED, text)
    return window or (_name(bracketed[1]) if bracketed else None)


def _document(text: str) -> object:
    fenced = re.match(FENCED, text)
    if fenced is None and not text.startswith("{"):
        return None
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None


def _first(holders: Iterable[object], paths: Iterable[str]) -> str | None:
    values = (fields.value_at(holder, path) for holder in holders for path in paths)
    return _name(next((value for value in values if value is not None), None))


def _name(value: object) -> str | None:
    """Return a value as a name; None if it cannot be one."""
    if not isinstance(value, str):
        return None
    name = value.strip(BLANKS)
    is_name = len(name) <= LONGEST_NAME and re.search(r"[^\W_]", name) and not _no_name().fullmatch(name)
    return name if is_name else None


@cache
def _no_name() -> re.Pattern[str]:
    # It takes as long to compile as a search of the last minutes has for a hundred lines.
    return re.compile(NO_NAME)
