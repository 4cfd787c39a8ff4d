"""Make texts that look the same equal, in Python and in SQL. Pure.

A file name that macOS shows has an `é` of two characters, a speech service has typographic quotes, a web page
spaces that do not break: a search for what one types finds them all. A letter that differs by its place only
in a word (as the final sigma), or as a symbol (as that of micro), is one as well. A text that holds another
one still does in the form in which they are compared.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

# What is read as another character, each line by what it is read as.
_READ_AS: Final = {
    "'": "\u2018\u2019\u201a\u201b\u02bc\u2032\uff07",
    '"': "\u201c\u201d\u201e\u201f\u2033\uff02",
    "-": "\u2010\u2011",
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000",
    "\n": "\u0085\u2028\u2029",
    # Letters that are another one in the other case: Unicode's simple case folding.
    "s": "\u017f",
    "\u03bc": "\u00b5",
    "\u03c3": "\u03c2",
    "\u03b2": "\u03d0",
    "\u03b8": "\u03d1",
    "\u03c6": "\u03d5",
    "\u03c0": "\u03d6",
    "\u03ba": "\u03f0",
    "\u03c1": "\u03f1",
    "\u03b5": "\u03f5",
    "\u1e61": "\u1e9b",
    "\u03b9": "\u1fbe",
}
# What is not seen: soft hyphens, joiners, marks of direction, the variants of emoji.
_UNSEEN: Final = (
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\ufe0e\ufe0f\ufeff"
)
_FROM: Final = "".join(_READ_AS.values())
_TO: Final = "".join(read * len(written) for read, written in _READ_AS.items())
_TABLE: Final = str.maketrans(_FROM, _TO, _UNSEEN)
_VARIANTS: Final = {read: read + written for read, written in _READ_AS.items()}

BLANK: Final = r"[\t-\r ]+"
"""A regular expression for a run of what a text that is made alike has as white space."""

_Ranges = Iterable[tuple[int, int]]
# Thai and Lao, Myanmar, Khmer, Chinese and Japanese: nothing shows where a word ends.
_UNSPACED: Final[_Ranges] = (
    *((0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007)),
    *((0x3021, 0x3029), (0x3031, 0x3035), (0x303B, 0x303B), (0x3041, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x20000, 0x3FFFD)),
)
UNSPACED: Final = "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in _UNSPACED)
"""Letters of scripts that put no space between words, for a class of RE2."""

UNSPACED_RANGES: Final = "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSPACED)
"""The same for a class of Python."""

DISGUISES: Final = "".join(
    rf"\x{{{ord(character):x}}}" for character in (*_UNSEEN, "\u0130", "\u017f", "\u212a")
)
"""What hides letters of ASCII from a search of bytes, for a class of RE2: what is not seen between them, and
the three that become one."""


def alike(text: str) -> str:
    """Return a text in the form in which it is compared; as it is, if it is ASCII.

    As `looks` does in SQL: DuckDB would cut a text at a NUL as it composes its letters.
    """
    if text.isascii():
        return text
    read = text.translate(_TABLE)
    return read if "\0" in read else unicodedata.normalize("NFC", read)


def spaced(text: str) -> str:
    """Return a text with one space for each run of white space."""
    return re.sub(BLANK, " ", text)


def lower(text: str) -> str:
    """Return a text in lower case, letter by letter, as DuckDB does."""
    if text.isascii():
        return text.lower()
    # Python makes two characters of the one, and of the other what the letters beside it ask for.
    return text.replace("\u0130", "i").replace("\u03a3", "\u03c3").lower()


def is_unspaced(character: str) -> bool:
    """Return whether a character is of a script that puts no space between words."""
    return any(first <= ord(character) <= last for first, last in _UNSPACED)


def looks(column: str) -> str:
    """Return SQL for `alike` of a column where that differs from it; NULL elsewhere."""
    odd = re.escape(_FROM + _UNSEEN)
    read = (
        f"CASE WHEN regexp_matches({column}, '[{odd}]') "
        f"THEN translate({column}, {_quoted(_FROM + _UNSEEN)}, {_quoted(_TO)}) ELSE {column} END"
    )
    composed = f"CASE WHEN contains({column}, chr(0)) THEN {read} ELSE nfc_normalize({read}) END"
    # Almost all texts are ASCII, which is found out fastest by its length.
    return f"CASE WHEN strlen({column}) = length({column}) THEN NULL ELSE nullif({composed}, {column}) END"


def expression(text: str) -> str:
    """Return a regular expression of Python for what looks like a text, wherever it was written.

    It finds more than one way to compose a letter, but not all: what it leaves out is not highlighted.
    """
    wanted = spaced(alike(text))
    return "".join(map(_any_form, wanted)) + r"(?![\u0300-\u036f])"


def _any_form(character: str) -> str:
    if character == " ":
        return rf"[\s{_VARIANTS[' ']}{_VARIANTS[chr(10)]}]+"
    if character in _VARIANTS:
        return f"[{re.escape(_VARIANTS[character])}]"
    apart = unicodedata.normalize("NFD", character)
    if apart == character:
        return re.escape(character)
    return f"(?:{re.escape(character)}|{re.escape(apart)})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
