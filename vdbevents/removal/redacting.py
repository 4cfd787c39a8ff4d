"""Choose the lines that hold what the redaction rules replace. Pure."""

from typing import TYPE_CHECKING

from vdbevents.privacy.redaction import Redactor
from vdbevents.removal.line_selection import JournalLine

if TYPE_CHECKING:
    from collections.abc import Mapping


class Redacting:
    """The lines in which the rules replace something.

    Attributes:
        found: how many of each kind were replaced in the last line.
    """

    def __init__(self, redactor: Redactor) -> None:
        """Choose by these rules."""
        self._redactor = redactor
        self.found: Mapping[str, int] = {}

    def look(self, line: JournalLine) -> None:
        """Each line is judged by itself."""

    def change(self, line: JournalLine) -> bytes:
        """Return a line without what the rules replace."""
        content, self.found = self._redactor.line(line.content)
        return content

    def torn_without(self, torn: bytes) -> bytes:
        """Return a torn line without what the rules replace."""
        return self._redactor.text(torn).content
