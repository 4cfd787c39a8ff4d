"""Recognise, by its first bytes, a file that holds events in another form than one a line. Pure."""

import re
from typing import Final, NamedTuple

HEAD_BYTES: Final = 1 << 16
"""So many bytes at a file's beginning are looked at."""

_UTF8_BOM: Final = b"\xef\xbb\xbf"
_TAR_AT: Final = 257
_OBJECT: Final = re.compile(rb'\{\s*["}]')


class Container(NamedTuple):
    """A file that is not read as it is.

    Attributes:
        what: what it is, with an article.
        advice: how to make a journal of it; `{}` stands for its path.
    """

    what: str
    advice: str

    def hint(self, path: str) -> str:
        """Return the advice for a path, or for `stdin`."""
        import shlex

        return self.advice.format(shlex.quote(path)).replace(" stdin", "")


def _unpacked_by(program: str) -> str:
    return f"unpack it: {program} {{}} > events.jsonl"


def _converted_from(encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8 {{}} > events.jsonl"


_SIGNS: Final = (
    (b"BZh", Container("a bzip2 archive", _unpacked_by("bunzip2 -c"))),
    (b"\xfd7zXZ\x00", Container("an xz archive", _unpacked_by("xz -dc"))),
    (b"\x04\x22\x4d\x18", Container("an lz4 archive", _unpacked_by("lz4 -dc"))),
    (b"PK\x03\x04", Container("a zip archive", "unpack it, and name the journals in it: unzip {}")),
    (b"7z\xbc\xaf\x27\x1c", Container("a 7-Zip archive", "unpack it, and name the journals in it: 7z x {}")),
    (b"PAR1", Container("a Parquet file", "write the events as lines instead: vdbevents query … -o jsonl")),
    (b"SQLite format 3\x00", Container("an SQLite database", "read it with sqlite3 {}")),
    (b"\xff\xfe\x00\x00", Container("a text in UTF-32", _converted_from("UTF-32"))),
    (b"\x00\x00\xfe\xff", Container("a text in UTF-32", _converted_from("UTF-32"))),
    (b"\xff\xfe", Container("a text in UTF-16", _converted_from("UTF-16"))),
    (b"\xfe\xff", Container("a text in UTF-16", _converted_from("UTF-16"))),
    (b'{\x00"\x00', Container("a text in UTF-16", _converted_from("UTF-16LE"))),
    (b'\x00{\x00"', Container("a text in UTF-16", _converted_from("UTF-16BE"))),
)
_TAR: Final = Container("a tar archive", "unpack it, and name the journals in it: tar -xf {}")
_ARRAY: Final = Container("one JSON array", "make a journal of it: jq -c '.[]' {} > events.jsonl")
_OBJECTS: Final = Container(
    "JSON that is not one object a line", "make a journal of it: jq -c . {} > events.jsonl"
)


def container_of(head: bytes) -> Container | None:
    """Return what a file is by its first `HEAD_BYTES`; None for a journal, and for what is not known."""
    for sign, container in _SIGNS:
        if head.startswith(sign) and len(head) > len(sign):
            return container
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return _TAR
    text = head.removeprefix(_UTF8_BOM).lstrip()
    if text.startswith(b"["):
        is_array = not is_line_array(head) and _OBJECT.match(text[1:].lstrip())
        return _ARRAY if is_array else None
    return _OBJECTS if text.startswith(b"{") and _is_spread(text) else None


def _is_spread(text: bytes) -> bool:
    """Return whether the first object goes over several lines, or others follow it without a line end."""
    first, newline, rest = text.partition(b"\n")
    if newline and first.strip() == b"{":
        return rest.lstrip().startswith(b'"')
    # A journal may have one line of which the end was lost: it has others, too.
    if rest.strip() or not re.search(rb"\}\s*\{", first):
        return False
    return all(_is_object(one) for one in re.sub(rb"\}\s*\{", b"}\n{", first).split(b"\n")[:2])


def is_line_array(head: bytes) -> bool:
    """Return whether a file is a JSON array with an object a line, as `query -o json` writes it, or empty."""
    text = head.removeprefix(_UTF8_BOM).lstrip()
    if not text.startswith(b"["):
        return False
    element, newline, _ = text[1:].lstrip().partition(b"\n")
    element = element.strip()
    if element == b"]":
        return True
    if not newline:
        # A line that is longer than what was read, if the bracket has one of its own.
        return text[1:].lstrip(b" \t\r").startswith(b"\n") and element.startswith(b'{"')
    return _is_object(element_of(element))


def element_of(line: bytes) -> bytes:
    """Return the element on a line of an array, without what is around it; empty if there is none."""
    line = line.removeprefix(_UTF8_BOM).strip()
    if line.startswith(b"["):
        line = line[1:].lstrip()
    if line.endswith(b"}]"):
        return line[:-1]
    return b"" if line == b"]" else line.removesuffix(b",")


def _is_object(text: bytes) -> bool:
    import orjson  # seldom needed here, and slow to load

    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False
