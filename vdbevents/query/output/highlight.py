"""Find the places in a text that match, as the search does."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vdbevents.query.alike import alike
from vdbevents.query.filters import Filters
from vdbevents.query.patterns import NO_WORD, ignores_case, literal_expression
from vdbevents.terminal import harmless

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Place = tuple[int, int]
"""The begin and the end of a match."""

_MEMORY_MB: Final = 500
# What a shown text cannot hold: the engine marks matches with these.
_BEFORE, _WITHIN, _AFTER, _END = map(chr, range(1, 5))
_MARKED: Final = re.compile(f"{_BEFORE}(.*?){_WITHIN}(.*?){_AFTER}(.*?){_END}", re.DOTALL)


class Highlighter:
    """Finds what the patterns of filters match in texts that are shown.

    Regular expressions are left to the engine of the search: Python's may take forever for one that is
    harmless there, and knows another syntax. Literal texts are found by Python, which starts at once.
    """

    def __init__(self, filters: Filters, clean: Callable[[str], str] = harmless) -> None:
        """Take the filters, and what makes a text fit to be shown, which patterns pass, too."""
        self._expressions = []
        for pattern in filters.looked_for:
            expression = (
                f"(?ms:{pattern})" if filters.extended else literal_expression(clean(pattern), filters)
            )
            flags = "i" if ignores_case(pattern, filters) else ""
            self._expressions.append((expression, flags))
        self._is_extended = filters.extended
        self._whole_words = filters.whole_words
        self.is_needed = bool(self._expressions)

    def places(self, texts: Sequence[str]) -> list[list[Place]]:
        """Return the matches in each text, as they are shown: in order, none within another.

        An expression that the engine refuses, or that needs too much memory, matches nowhere.
        """
        if not self._expressions or not texts:
            return [[] for _ in texts]
        if not self._is_extended:
            return [[place.span() for place in self._literal.finditer(text)] for text in texts]
        found: list[list[Place]] = [[] for _ in texts]
        looks = [_same_places(text) for text in texts]
        for expression, flags in self._expressions:
            for shown in [texts] if looks == list(texts) else [texts, looks]:
                for row, marked in enumerate(self._marked(shown, expression, flags)):
                    found[row] += _places_in(marked)
        return [_without_overlaps(places) for places in found]

    @cached_property
    def _literal(self) -> re.Pattern[str]:
        parts = (f"(?{flags}:{expression})" for expression, flags in self._expressions)
        return re.compile("|".join(parts))

    @cached_property
    def _connection(self) -> "DuckDBPyConnection":
        from vdbevents.query.duck import connect

        return connect("", _MEMORY_MB, 1)

    def _marked(self, texts: Sequence[str], expression: str, flags: str) -> list[str]:
        """Return the texts with marks around each match, and around what is before and after it."""
        import duckdb

        # The rest of a match, after the word, has no number: groups of the user's come before it.
        before = f"(^|{NO_WORD})" if self._whole_words else "()"
        after = f"(?:{NO_WORD}|$)" if self._whole_words else ""
        sql = """SELECT regexp_replace(text, ?, ?, ?) FROM
            (SELECT unnest(?::VARCHAR[]) AS text, unnest(range(?)) AS row) ORDER BY row"""
        sought = f"{before}({expression}){after}"
        marks = rf"{_BEFORE}\1{_WITHIN}\2{_AFTER}\0{_END}"
        try:
            rows = self._connection.execute(
                sql, [sought, marks, f"g{flags}", list(texts), len(texts)]
            ).fetchall()
        except duckdb.InterruptException:
            raise
        except duckdb.Error:
            return list(texts)
        return [text for (text,) in rows]


def _same_places(text: str) -> str:
    """Return what a text looks like, if each character is where it was."""
    looks = alike(text)
    return looks if len(looks) == len(text) else text


def _places_in(marked: str) -> list[Place]:
    places = []
    added = 0
    for match in _MARKED.finditer(marked):
        before, within, whole = match.groups()
        first = match.start() - added + len(before)
        if within:
            places.append((first, first + len(within)))
        added += len(match[0]) - len(whole)
    return places


def _without_overlaps(places: list[Place]) -> list[Place]:
    kept: list[Place] = []
    for first, last in sorted(places):
        if kept and first < kept[-1][1]:
            kept[-1] = kept[-1][0], max(last, kept[-1][1])
        else:
            kept.append((first, last))
    return kept
