"""How far a recording is shipped, as the table itself keeps it. Pure.

Delta Lake keeps a number for each application id, and changes it together with the rows of a commit. What a
recording needs are a few numbers, so each has an id of its own. A commit changes them all, or none.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple, Self

_BITS: Final = 63  # of a number that is not negative
_MOST_BYTES: Final = 4096


def digest_of(data: bytes) -> int:
    """Return a number that differs for other bytes: of a line, its last 4 KiB."""
    return int.from_bytes(blake2b(data[-_MOST_BYTES:], digest_size=8).digest()) >> (64 - _BITS)


class ShippedPlace(NamedTuple):
    """How far a recording is shipped.

    Attributes:
        position: the position that the next line gets in the table; it only grows.
        head: a digest of the first line of the file with the last shipped line.
        end: where that line ends in this file, or in those that follow it: a rotation cuts it in two.
        last: a digest of that line.
        at_ms: when it was shipped, in Unix ms.
    """

    position: int
    head: int
    end: int
    last: int
    at_ms: int

    @classmethod
    def of(cls, version_of: Callable[[str], int | None], application: str) -> Self | None:
        """Return what a table says; None if nothing was shipped.

        Args:
            version_of: returns the number of an application id.
            application: the recording's, from `table_schema.application`.
        """
        numbers = [version_of(name) for name in _names(application)]
        known = [number for number in numbers if number is not None]
        return cls(*known) if len(known) == len(numbers) else None

    def numbers(self, application: str) -> Mapping[str, int]:
        """Return the number for each application id."""
        return dict(zip(_names(application), self, strict=True))


def _names(application: str) -> list[str]:
    return [application, *(f"{application}/{name}" for name in ShippedPlace._fields[1:])]
