"""Read a text as a person does: other scripts' digits, invisible characters, escapes. Pure.

Each reading knows where its characters are in the text as it was written.
"""

import bisect
import functools
import json
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final

# The zeros of all scripts of Unicode 14, each followed by its other digits.
_ZEROS: Final = (
    "660 6F0 7C0 966 9E6 A66 AE6 B66 BE6 C66 CE6 D66 DE6 E50 ED0 F20 1040 1090 17E0 1810 1946 19D0 1A80 1A90 "
    "1B50 1BB0 1C40 1C50 A620 A8D0 A900 A9D0 A9F0 AA50 ABF0 104A0 10D30 11066 110F0 11136 111D0 112F0 11450 "
    "114D0 11650 116C0 11730 118E0 11950 11C50 11D50 11DA0 16A60 16AC0 16B50 1D7CE 1D7D8 1D7E2 1D7EC 1D7F6 "
    "1E140 1E2F0 1E950 1FBF0"
)
_DIGITS = "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in (int(code, 16) for code in _ZEROS.split()))
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_DASHES = "\u2010-\u2015\u2212\ufe58\ufe63"
_UNSEEN = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_FULL_WIDTH = "\uff01-\uff5e"

UNSEEN_CHARACTERS: Final = re.compile(f"[{_UNSEEN}]+")
"""Characters that take no room: soft hyphens, joiners, marks of direction."""

ODD_CHARACTER: Final = re.compile(f"[{_SPACES}{_DASHES}{_UNSEEN}{_FULL_WIDTH}{_DIGITS}]")
"""A character that looks like an ASCII one, or like nothing."""

# In a text with JSON in it, escapes are still escapes; NUL is every other byte of ASCII as UTF-16.
# A run of backslashes is tried once, from its beginning: else its time is proportional to its square.
_ODD = re.compile(rf"(?<!\\)\\++(?:u[0-9a-fA-F]{{4}}|[\"/bfnrt])|\0|{ODD_CHARACTER.pattern}")
_ESCAPE_OF_JSON = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\."
)
_PLAIN = re.compile(r"[\x01-\x5b\x5d-\x7f]*+")


_PART = 1 << 18
_OVERLAP = 1 << 15


def parts_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield overlapping parts of a text, and where each begins: expressions take memory for its length."""
    for start in range(0, max(1, len(text)), _PART):
        first = max(0, start - _OVERLAP)
        yield first, text[first : start + _PART]


class ReadText:
    """A text as it is read, with the places of its characters in the text as it was written.

    Attributes:
        text: as it is read.
    """

    __slots__ = ("_read", "_written", "text")

    def __init__(self, written: str, changed: re.Pattern[str], read: Callable[[str], str]) -> None:
        """Read each match of `changed` as `read` returns it, and all else as it is."""
        # Where each change begins and ends, in the text as it is read and as it was written.
        self._read, self._written = array("q", [0]), array("q", [0])
        pieces: list[str] = []
        done = size = 0
        for match in changed.finditer(written):
            replacement = read(match[0])
            pieces += [written[done : match.start()], replacement]
            size += match.start() - done
            self._note(size, match.start())
            size += len(replacement)
            done = match.end()
            self._note(size, done)
        self.text = "".join([*pieces, written[done:]]) if pieces else written

    def _note(self, read: int, written: int) -> None:
        self._read.append(read)
        self._written.append(written)

    def start(self, position: int) -> int:
        """Return where what begins at a position of `text` begins in the written text."""
        # What is not seen belongs to neither of its neighbours.
        index = bisect.bisect_right(self._read, position) - 1
        return self._written[index] + position - self._read[index]

    def end(self, position: int) -> int:
        """Return where what ends at a position of `text` ends in the written text."""
        index = bisect.bisect_left(self._read, position)
        if index == len(self._read) or self._read[index] != position:
            index -= 1
        return self._written[index] + position - self._read[index]


def folded(written: str) -> ReadText | None:
    """Return a text with ASCII digits, spaces and dashes, without escapes and what is not seen.

    None: it is as it was written.
    """
    return None if _PLAIN.fullmatch(written) else ReadText(written, _ODD, _folded)


def unescaped(written: str) -> str:
    """Return the text of a JSON string, given without its quotes."""
    return str(json.loads(f'"{written}"')) if "\\" in written else written


def written_places(written: str, places: Iterable[int]) -> list[int]:
    """Return where characters of the text of a JSON string are in it as it was written; `places` rise."""
    found: list[int] = []
    wanted = iter(places)
    place = next(wanted, None)
    # Each escape stands for one character.
    longer = 0
    for escape in _ESCAPE_OF_JSON.finditer(written) if "\\" in written else ():
        while place is not None and place + longer <= escape.start():
            found.append(place + longer)
            place = next(wanted, None)
        if place is None:
            return found
        longer += len(escape[0]) - 1
    while place is not None:
        found.append(place + longer)
        place = next(wanted, None)
    return found


@functools.lru_cache(maxsize=4096)
def _unescaped(escape: str) -> str:
    try:
        return str(json.loads(f'"{escape}"'))
    except ValueError:
        return escape


@functools.lru_cache(maxsize=4096)
def _folded(odd: str) -> str:
    """Return what an odd character, or an escape, stands for."""
    character = _unescaped("\\" + odd.lstrip("\\")) if odd[0] == "\\" else odd
    if character == "\0":
        return ""
    if character.isascii() or not ODD_CHARACTER.fullmatch(character):
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    if unicodedata.category(character) == "Zs":
        return " "
    return "-" if unicodedata.category(character) in ("Pd", "Sm") else ""
