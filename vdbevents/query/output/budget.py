"""The bound of an answer, in bytes or in tokens of a language model, and which of its pieces fit. Pure.

A token is estimated at four characters, which is about right for English text.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar, cast

_Piece = TypeVar("_Piece")

CHARACTERS_PER_TOKEN: Final = 4
"""The estimate of what a language model counts."""


class Fitting(NamedTuple, Generic[_Piece]):
    """Which pieces of an answer fit.

    Attributes:
        pieces: those that fit, in the order in which they were given.
        left_out: how many others there are.
    """

    pieces: list[_Piece]
    left_out: int


class Bound(NamedTuple):
    """How large an answer may be: each that is not None holds.

    Attributes:
        bytes: the most bytes, in UTF-8.
        tokens: the most tokens.
    """

    bytes: int | None = None
    tokens: int | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is a bound at all."""
        return self.bytes is not None or self.tokens is not None

    @property
    def characters(self) -> int | None:
        """How many characters an answer may have at most; None without a bound."""
        limits = [self.bytes, None if self.tokens is None else self.tokens * CHARACTERS_PER_TOKEN]
        return min((limit for limit in limits if limit is not None), default=None)

    def fits(self, *texts: str) -> bool:
        """Return whether the texts fit, all together."""
        return self._holds(_size_of("".join(texts)))

    def most(self, number: int, text: Callable[[int], str]) -> int:
        """Return how many of so many pieces fit; 0 if not even one does.

        Args:
            number: of pieces, at least 1.
            text: returns the answer with so many of them, at least 1.
        """
        fitting, more = 0, number
        while fitting < more:
            tried = more if fitting == 0 and more == number else (fitting + more + 1) // 2
            if self.fits(text(tried)):
                fitting = tried
            else:
                more = tried - 1
        return fitting

    def newest(
        self, pieces: Iterable[_Piece], also: str = "", text: Callable[[_Piece], str] | None = None
    ) -> Fitting[_Piece]:
        """Return the last pieces that fit, without a break between them; only so many are held in memory.

        Args:
            pieces: whole lines, say, oldest first.
            also: what is printed besides, such as a heading, and a line that says how many more there are.
            text: returns a piece's text; None where the pieces are texts.
        """
        kept: deque[tuple[_Piece, _Size]] = deque()
        size = _size_of(also)
        left_out = 0
        for piece in pieces:
            own = _size_of(text(piece) if text else cast("str", piece))
            kept.append((piece, own))
            size = size.plus(own)
            while kept and not self._holds(size):
                _, oldest = kept.popleft()
                size = size.minus(oldest)
                left_out += 1
        return Fitting([piece for piece, _ in kept], left_out)

    def first(
        self, pieces: Iterable[_Piece], also: str = "", text: Callable[[_Piece], str] | None = None
    ) -> Fitting[_Piece]:
        """Return the first pieces that fit, up to one that does not; the arguments are as in `newest`."""
        kept: list[_Piece] = []
        size = _size_of(also)
        rest = iter(pieces)
        for piece in rest:
            size = size.plus(_size_of(text(piece) if text else cast("str", piece)))
            if not self._holds(size):
                return Fitting(kept, sum(1 for _ in chain([piece], rest)))
            kept.append(piece)
        return Fitting(kept, 0)

    def _holds(self, size: "_Size") -> bool:
        return (self.bytes is None or size.bytes <= self.bytes) and (
            self.tokens is None or size.characters <= self.tokens * CHARACTERS_PER_TOKEN
        )


class _Size(NamedTuple):
    characters: int
    bytes: int

    def plus(self, other: "_Size") -> "_Size":
        return _Size(self.characters + other.characters, self.bytes + other.bytes)

    def minus(self, other: "_Size") -> "_Size":
        return _Size(self.characters - other.characters, self.bytes - other.bytes)


def _size_of(text: str) -> _Size:
    count = len(text)
    return _Size(count, count if text.isascii() else len(text.encode("utf-8", "replace")))


UNBOUNDED: Final = Bound()
"""No bound."""
