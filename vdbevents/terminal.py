"""Make text from a screen or a server fit for a terminal: harmless, on one line, cut to a width. Pure.

All text that is not our own must be printed through `harmless`. Numbers of things and of bytes are shown in
one form everywhere: `counted`, `byte_size`.
"""

import re
from collections.abc import Callable, Iterator
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
    # Characters that change the writing direction could disguise a line.
    **dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�"),
    **dict.fromkeys((*range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)), "�"),
    **dict.fromkeys((0x200B, 0x2060, 0xFEFF), ""),
}
# What an output of many lines and columns is made of.
_LAYOUT: Final = {ord("\n"), ord("\t")}
_STEERING: Final = "[" + "".join(f"\\U{code:08x}" for code in _SHOWN if code not in _LAYOUT) + "]"
_PLAIN: Final = re.compile(r"[ -~]*")
# Marks of direction without which a right-to-left text is shown in another order, in Unicode's own terms:
# marks, embeddings and isolates. Overrides stay out: with them, a text reads as another one.
_DIRECTIONS: Final = frozenset((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202D), *range(0x2066, 0x206A)))
_READABLE: Final = {code: text for code, text in _SHOWN.items() if code not in _DIRECTIONS}
# The flag of a region, such as Scotland. Elsewhere these invisible characters could hide a text.
_FLAG: Final = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f)",
)
_KIB: Final = 1024
_NUMBER: Final = re.compile(r"\(?[0-9][0-9,.]*")
_LONGEST_WORD: Final = 20
# A word with the spaces before it, or all that begins as a command.
_UNBROKEN: Final = re.compile(r" *vdbevents [a-z].*| *[^ ]+| +")


def harmless(text: str) -> str:
    """Return `text` on one line, without control characters."""
    if _PLAIN.fullmatch(text):
        return text
    return text.replace("\r\n", "\n").translate(_SHOWN)


def harmless_in_file(text: str) -> str:
    """Return `text` on one line, without control characters; marks of direction and flags stay as they are.

    Only for what no terminal shows: there, `harmless` keeps such marks from disguising a line.
    """
    if _PLAIN.fullmatch(text):
        return text
    # Every other part is a flag.
    parts = _FLAG.split(text.replace("\r\n", "\n"))
    return "".join(part if place % 2 else part.translate(_READABLE) for place, part in enumerate(parts))


def harmless_output(text: str, *, is_json: bool = False) -> str:
    """Return an output of many lines without control characters; its line ends and tabs stay.

    Args:
        text: whole lines.
        is_json: whether these are JSON, in which such characters become escapes of the same meaning.
    """
    if is_json:
        return re.sub(_STEERING, _escape, text)
    shown = {code: text for code, text in _SHOWN.items() if code not in _LAYOUT}
    return text.translate(shown)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))


def cells(text: str) -> int:
    """Return how many cells `text` takes in a terminal at most."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if character.isascii():
        return 1
    from rich.cells import get_character_cell_size

    return get_character_cell_size(character)


def padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def fits(text: str, room: int) -> bool:
    """Return whether `text` fits into `room` cells; how long it is otherwise does not matter."""
    return len(text) <= room if text.isascii() else _reach(text, 0, room) == len(text)


def cut(text: str, room: int) -> str:
    if fits(text, room):
        return text
    first, last = part(text, room, (0, 0))
    return text[first:last] + "…"


def part(text: str, room: int, match: tuple[int, int]) -> tuple[int, int]:
    """Return the begin and end of a part of `text` that fits into `room` cells, with an … at each cut.

    It begins at the start of `text` if the match is within the room, else a little before the match.
    """
    last = _reach(text, 0, room - 1)
    if match[1] <= last:
        return 0, last
    first = _back(text, match[0], (room - 2) // 4)
    last = _reach(text, first, room - 1)
    if last < len(text):
        return first, _reach(text, first, room - 2)
    return _back(text, len(text), room - 1), len(text)


def cut_in_words(text: str, room: int) -> str:
    """Return `text` as it is if it fits into `room` cells, else its beginning, as `part_in_words` has it."""
    if fits(text, room):
        return text
    first, last = part_in_words(text, room, (0, 0))
    return text[first:last] + "…"


def part_in_words(text: str, room: int, match: tuple[int, int]) -> tuple[int, int]:
    """Return a part as `part` does, that begins and ends with whole words, unless they are long."""
    first, last = part(text, room, match)
    longest = min(_LONGEST_WORD, room // 2)
    if first and 0 <= (space := text.find(" ", first - 1, match[0])) < first + longest:
        before = space - _LONGEST_WORD - 1
        first = space + 1 if before < 0 or text.find(" ", before, space) >= 0 or space <= first else first
    if last < len(text) and (space := text.rfind(" ", match[1], last + 1)) > last - longest:
        after = space + _LONGEST_WORD + 1
        last = space if after >= len(text) or text.find(" ", last, after + 1) >= 0 else last
    return first, last


def wrapped(text: str, room: int) -> Iterator[tuple[int, int]]:
    """Yield the begin and end of each line of `text` in `room` cells, broken at spaces where possible.

    A number stays with the word after it.
    """
    first = 0
    while first < len(text):
        last = max(_reach(text, first, room), first + 1)
        space = text.rfind(" ", first + 1, last + 1) if last < len(text) else -1
        if (before := text.rfind(" ", first + 1, space)) > 0 and _NUMBER.fullmatch(text, before + 1, space):
            space = before
        yield first, last if space < 0 else space
        first = last if space < 0 else space + 1


def broken_between_words(text: str, width: int, indent: str) -> str:
    """Return a message in lines of at most `width` cells, all but the first after `indent`.

    A word that is longer, such as a path, is left to the terminal, as is a command of ours, which begins a
    line then: so one that is copied from the screen is whole.
    """
    lines = [""]
    for word in _UNBROKEN.findall(text):
        room = width - cells(lines[-1])
        if not lines[-1].strip() or cells(word) <= room:
            lines[-1] += word
        else:
            lines.append(indent + word.lstrip(" "))
    return "\n".join(
        line.rstrip(" ") if number < len(lines) - 1 else line for number, line in enumerate(lines)
    )


def _reach(text: str, first: int, room: int) -> int:
    """Return the end of the longest part from `first` on that fits into `room` cells."""
    # A mark that takes no cell belongs to the character before it.
    near = text[first : first + max(room, 0) + 1]
    if near.isascii():
        return first + min(len(near), max(room, 0))
    return first + _count(iter(text[first : first + 4 * max(room, 0) + 8]), room)


def _back(text: str, last: int, room: int) -> int:
    """Return the start of the longest part up to `last` that fits into `room` cells."""
    near = text[max(0, last - max(room, 0) - 1) : last]
    if near.isascii():
        return last - min(len(near), max(room, 0))
    return last - _count(reversed(text[max(0, last - 4 * max(room, 0) - 8) : last]), room)


def _count(characters: Iterator[str], room: int) -> int:
    count = 0
    for character in characters:
        room -= _cell(character)
        if room < 0:
            break
        count += 1
    return count


def counted(number: int, noun: str, plural: str = "") -> str:
    """Format a number of things: `1 event`, `1,200 events`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def with_command(text: str, command: str, broken: Callable[[str, str], str]) -> str:
    """Return a text and the command that it is about: on a line of its own unless both fit on one.

    Args:
        text: without its end.
        command: is never broken.
        broken: breaks a text after a label into lines.
    """
    whole = f"{text}: {command}"
    return whole if broken("", whole) == whole else f"{broken('', f'{text}:')}\n{command}"


def byte_size(count: int) -> str:
    """Format a number of bytes for a person: `512 B`, `3.4 MiB`."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size >= _KIB:
            size, unit = size / _KIB, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
