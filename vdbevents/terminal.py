"""Text from a screen or a server, made fit for a terminal: harmless, one line, and as wide as there is room.

Pure. Whoever prints text that it did not write itself, prints it through `harmless`.
"""

import re
from collections.abc import Iterator
from typing import Final

_SHOWN: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    ord("\t"): " ",
    ord("\n"): "⏎",
    ord("\r"): "␍",
    0x7F: "␡",
    **dict.fromkeys(range(0x80, 0xA0), "�"),
    0x85: "⏎",
    0x2028: "⏎",
    0x2029: "⏎",
    # What turns the writing's direction could make a line read as another.
    **dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�"),
    **dict.fromkeys((*range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)), "�"),
    **dict.fromkeys((0x200B, 0x2060, 0xFEFF), ""),
}
_PLAIN: Final = re.compile(r"[ -~]*")


def harmless(text: str) -> str:
    """Return `text` on one line, with nothing in it that a terminal would obey."""
    if _PLAIN.fullmatch(text):
        return text
    return text.replace("\r\n", "\n").translate(_SHOWN)


def cells(text: str) -> int:
    """Return how many cells `text` takes in a terminal; never less than it does."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if character.isascii():
        return 1
    from rich.cells import get_character_cell_size

    return get_character_cell_size(character)


def padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def cut(text: str, room: int) -> str:
    if cells(text) <= room:
        return text
    first, last = part(text, room, (0, 0))
    return text[first:last] + "…"


def part(text: str, room: int, match: tuple[int, int]) -> tuple[int, int]:
    """Return where a part of `text` begins and ends that takes at most `room` cells, each … included.

    It begins at the start if the match ends within it, else a little before the match.
    """
    last = _reach(text, 0, room - 1)
    if match[1] <= last:
        return 0, last
    first = _back(text, match[0], (room - 2) // 4)
    last = _reach(text, first, room - 1)
    if last < len(text):
        return first, _reach(text, first, room - 2)
    return _back(text, len(text), room - 1), len(text)


def _reach(text: str, first: int, room: int) -> int:
    """Return the end of the longest part from `first` on that takes at most `room` cells."""
    return first + _count(iter(text[first : first + 4 * max(room, 0) + 8]), room)


def _back(text: str, last: int, room: int) -> int:
    """Return the start of the longest part up to `last` that takes at most `room` cells."""
    return last - _count(reversed(text[max(0, last - 4 * max(room, 0) - 8) : last]), room)


def _count(characters: Iterator[str], room: int) -> int:
    count = 0
    for character in characters:
        room -= _cell(character)
        if room < 0:
            break
        count += 1
    return count
