r"""Lay out help for a terminal of any width, so that no line is broken by the terminal itself. Pure.

A paragraph is filled. One that begins with a line `\b` is a block: its lines stay lines. A line of a block
that is too long is broken where a reader can still use it: a command after ` \`, as a shell takes it, with
its remark on a line above.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import Final

_BLOCK: Final = "\b"
_REMARKED: Final = re.compile(r"(\s*\S.*?\S)(?:\s{3,}|\s+# )(\S.*)")
_COMMAND: Final = re.compile(
    r"(?:\$ )?(?:[A-Z_]+=\S* )*(?:vdbevents|cat|curl|export|kill|\(umask|\w+=\$\()\b"
)
_CONTINUATION: Final = " \\"


def laid_out(text: str, width: int) -> str:
    """Return a help text for a width in cells; paragraphs are separated by empty lines."""
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join("\n".join(_paragraph(paragraph.split("\n"), width)) for paragraph in paragraphs)


def _paragraph(lines: list[str], width: int) -> Iterator[str]:
    if lines[0].strip(" ") != _BLOCK:
        yield from textwrap.wrap(" ".join(lines), width, break_on_hyphens=False, break_long_words=False)
        return
    column = _remark_column(lines, width)
    prose: list[str] = []
    for line in lines[1:]:
        if line[:1].isspace():
            yield from _filled(prose, width)
            prose = []
            yield from _block_line(line, width, column)
        else:
            prose.append(line)
    yield from _filled(prose, width)


def _remark_column(lines: list[str], width: int) -> int:
    """Return where the remarks of a block begin; 0 if one does not fit: then all are above their commands."""
    remarked = [match for line in lines if (match := _REMARKED.fullmatch(line))]
    column = max((len(match[1]) + 2 for match in remarked), default=0)
    return 0 if any(column + len(match[2]) + 2 > width for match in remarked) else column


def _filled(lines: list[str], width: int) -> Iterator[str]:
    """Fill lines that are not indented, such as those that list exit codes."""
    yield from textwrap.wrap(
        " ".join(lines), width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )


def _block_line(line: str, width: int, column: int) -> Iterator[str]:
    indent = line[: len(line) - len(line.lstrip())]
    if remarked := _REMARKED.fullmatch(line):
        line, remark = remarked[1], remarked[2]
        if column:
            yield f"{line:<{column}}# {remark}"
            return
        yield from textwrap.wrap(remark, width, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    if len(line) <= width:
        yield line
    elif _COMMAND.match(line.strip()):
        yield from _command(line, indent, width)
    else:
        yield from textwrap.wrap(
            line.strip(),
            width,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
            break_long_words=False,
        )


def _command(line: str, indent: str, width: int) -> Iterator[str]:
    """Break a command between its words; what is in quotes stays whole."""
    current = indent
    for word in _words(line.strip()):
        if current.strip() and len(f"{current} {word}{_CONTINUATION}") > width:
            yield current + _CONTINUATION
            current = f"{indent}    {word}"
        else:
            current = f"{current} {word}" if current.strip() else f"{current}{word}"
    yield current


def _words(command: str) -> Iterator[str]:
    """Yield the words of a command: an option stays with its value."""
    words = re.findall(r"""(?:'[^']*'|"[^"]*"|\S)+""", command)
    held = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        held = f"{held} {word}" if held else word
        is_option = word.startswith("-") and "=" not in word and following[:1] not in ("", "-", "|", ">", "&")
        if not is_option and word not in ("|", ">", "<"):
            yield held
            held = ""
    if held:
        yield held
