"""Tell from the bytes of some lines which members they have, so that SQL need not look for others. Pure.

To plan the SQL for every member that an event may have takes ten times as long as to run it on a few lines.
"""

import re
from collections.abc import Iterable
from typing import Final

from vdbevents.events import fields, window_names as windows
from vdbevents.query.lax_json import is_lax

# In JSON, only a name is a text before a colon. Each with how its value begins: that of a text, or all of a
# number of 13 digits.
_MEMBER: Final = re.compile(r'"([A-Za-z_@][\w@]*)"[ \t\r]*+:[ \t\r]*+("|[1-9][0-9]{12}(?=[,}])|)')
# A character of ASCII that is written as its number: a name, or a word, may be hidden in such.
_ESCAPED: Final = re.compile(r"\\u00[2-7]")
# A text that begins, after blanks, with a sign of `window_names.MARKED`.
_MARKED: Final = re.compile(r':[ \t\r]*"(?: |\\[tnr])*[\[{`\\]')
_STAMPED: Final = re.compile(r'\{"ts":"[^"\\]*","unix_ts":[1-9][0-9]{9}(?:\.[0-9]+)?[,}]')


class Occurring:
    """What may occur in some lines; where that is not known, everything.

    Attributes:
        is_known: whether some lines were looked at, so that something may not occur.
        may_be_lax: whether DuckDB may take a line for JSON that others refuse.
        is_stamped: whether each line begins with its time of receipt, in seconds, as a recorder writes it.
    """

    def __init__(self, lines: Iterable[str] | None = None) -> None:
        """Look at the lines; None, or letters that are written as their numbers, make everything occur."""
        self.is_known = lines is not None
        self.may_be_lax = True
        self.is_stamped = False
        self._text = ""
        self._names: set[str] = set()
        self._of_text: set[str] = set()
        self._of_others: set[str] = set()
        self._of_no_milliseconds: set[str] = set()
        if lines is None:
            return
        lines = list(lines)
        self._text = "\n".join(lines)
        self.may_be_lax = any(map(is_lax, lines))
        if _ESCAPED.search(self._text):
            self.is_known = False
            return
        members = set(_MEMBER.findall(self._text))
        self._names = {name for name, _ in members}
        self._of_text = {name for name, value in members if value == '"'}
        self._of_others = {name for name, value in members if value != '"'}
        self._of_no_milliseconds = {name for name, value in members if not value.isdigit()}
        self.is_stamped = all(map(_STAMPED.match, lines))

    def has(self, *paths: str) -> bool:
        """Return whether a line may have a member under one of the paths, such as `data.start`."""
        return not self.is_known or any(self._names.issuperset(path.split(".")) for path in paths)

    def has_text(self, *paths: str) -> bool:
        """Return whether such a member may be a text."""
        return not self.is_known or any(path.rpartition(".")[2] in self._of_text for path in paths)

    def has_other(self, *paths: str) -> bool:
        """Return whether such a member may be anything but a text."""
        return not self.is_known or any(path.rpartition(".")[2] in self._of_others for path in paths)

    def has_only_milliseconds(self, *paths: str) -> bool:
        """Return whether such a member is a number of 13 digits, wherever it is."""
        names = {path.rpartition(".")[2] for path in paths}
        return self.is_known and self._of_no_milliseconds.isdisjoint(names)

    @property
    def may_name_windows(self) -> bool:
        """Return whether a description may name its window: in a member, or where its text is marked."""
        paths = (*windows.WINDOW_PATHS, *windows.APP_PATHS)
        is_marked = _MARKED.search(self._text) is not None
        return self.has(*paths) or is_marked or self.has_other(*fields.TEXT.paths)

    def says(self, word: str) -> bool:
        """Return whether a word of ASCII letters, dots and `_` may occur in a text."""
        return not self.is_known or word in self._text


EVERYTHING: Final = Occurring()
"""Of lines that were not looked at."""
