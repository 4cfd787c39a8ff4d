"""Read JSON with comments, and change members of it in place: all else keeps its bytes. Pure.

Settings of editors have comments, and commas before a closing bracket. No library is used: those for Python
that keep them either print the whole text again or are young bindings with one author, and all that is needed
is a scanner and three edits.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_BLANKS_AND_COMMENTS: Final = re.compile(r"(?:[ \t\r\n]++|//[^\r\n]*+|/\*.*?\*/)*+", re.DOTALL)
_REST_OF_LINE: Final = re.compile(r"(?:[ \t]*+(?://[^\r\n]*+|/\*.*?\*/))*+", re.DOTALL)
_REST_IF_BLANK: Final = re.compile(r"[ \t]*\r?\n")
_BLANK_LINE_END: Final = re.compile(r"[ \t]+(?=\r?\n)")
_BLANK_CHARACTERS: Final = " \t\r\n"
_INDENT: Final = re.compile(r"[ \t]*")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\.)*+"')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])", re.ASCII)
_LITERAL: Final = re.compile(r"(?:true|false|null)\b")
_USUAL_UNIT: Final = "  "


class MalformedJsonError(ValueError):
    """A text is not JSON, or not of the shape that is needed; the message says where and why."""

    @classmethod
    def at(cls, text: str, place: int, problem: str) -> Self:
        """Return the error of a place in a text."""
        line = text.count("\n", 0, place) + 1
        column = place - text.rfind("\n", 0, place)
        return cls(f"line {line}, column {column}: {problem}")


class _Node(NamedTuple):
    """A value in a text: where it begins and ends, and its members if it is an object."""

    start: int
    end: int
    value: Any
    members: "tuple[_Member, ...]" = ()


class _Member(NamedTuple):
    """A member of an object: where its name begins, and its value."""

    start: int
    name: str
    node: _Node


class _Scanner:
    """Reads one text."""

    def __init__(self, text: str, *, comments: bool) -> None:
        self._text = text
        self._comments = comments
        self._between = _BLANKS_AND_COMMENTS if comments else _BLANKS

    def document(self) -> _Node | None:
        """Return the value of the text; None if there is nothing but blanks and comments."""
        start = self.skip(0)
        if start == len(self._text):
            return None
        try:
            node = self._value(start)
        except RecursionError:
            raise MalformedJsonError("nested too deeply") from None
        rest = self.skip(node.end)
        if rest < len(self._text):
            raise self._error(rest, "text after the end of the value")
        return node

    def skip(self, place: int) -> int:
        match = self._between.match(self._text, place)
        return match.end() if match else place

    def _error(self, place: int, problem: str) -> MalformedJsonError:
        if self._text.startswith("/*", place) and self._comments:
            problem = "a comment without an end"
        elif self._text.startswith(("//", "/*"), place):
            problem = "a comment, which this client does not read"
        return MalformedJsonError.at(self._text, place, problem)

    def _value(self, place: int) -> _Node:
        match self._text[place : place + 1]:
            case "{":
                return self._object(place)
            case "[":
                return self._array(place)
            case '"':
                value, end = self._string(place)
                return _Node(place, end, value)
        for form in (_NUMBER, _LITERAL):
            if found := form.match(self._text, place):
                return _Node(place, found.end(), json.loads(found[0]))
        raise self._error(place, "expected a value")

    def _string(self, place: int) -> tuple[str, int]:
        found = _STRING.match(self._text, place)
        if not found:
            raise self._error(place, "a text without its closing quote, or with a control character")
        try:
            return json.loads(found[0]), found.end()
        except json.JSONDecodeError as error:
            raise self._error(place + error.pos, "a malformed escape") from None

    def _object(self, start: int) -> _Node:
        members: list[_Member] = []
        place, is_closed = self._element(start + 1, "}", is_first=True)
        while not is_closed:
            if not self._text.startswith('"', place):
                raise self._error(place, "expected a name in double quotes")
            name, end = self._string(place)
            colon = self.skip(end)
            if not self._text.startswith(":", colon):
                raise self._error(colon, "expected ':'")
            node = self._value(self.skip(colon + 1))
            members.append(_Member(place, name, node))
            place, is_closed = self._element(node.end, "}", is_first=False)
        return _Node(start, place, {it.name: it.node.value for it in members}, tuple(members))

    def _array(self, start: int) -> _Node:
        values: list[Any] = []
        place, is_closed = self._element(start + 1, "]", is_first=True)
        while not is_closed:
            node = self._value(place)
            values.append(node.value)
            place, is_closed = self._element(node.end, "]", is_first=False)
        return _Node(start, place, values)

    def _element(self, place: int, closing: str, *, is_first: bool) -> tuple[int, bool]:
        """Return where the next element begins and False, or the end of the whole and True."""
        place = self.skip(place)
        if self._text.startswith(closing, place):
            return place + 1, True
        if is_first:
            return place, False
        if not self._text.startswith(",", place):
            raise self._error(place, f"expected ',' or '{closing}'")
        following = self.skip(place + 1)
        if self._text.startswith(closing, following):
            if not self._comments:
                raise self._error(place, f"a comma before '{closing}', which this client does not read")
            return following + 1, True
        return following, False


def parsed(text: str, *, comments: bool = True) -> Any:  # noqa: ANN401 - whatever is in the text
    """Return the value of a text; of members with one name the last one counts. None if it has no value.

    Args:
        text: the text.
        comments: whether comments, and commas before a closing bracket, are allowed.

    Raises:
        MalformedJsonError: it is not JSON.
    """
    node = _Scanner(text, comments=comments).document()
    return None if node is None else node.value


def with_member(text: str, path: Sequence[str], value: object, *, comments: bool = True) -> str:
    """Return a text in which the member at a path has a value; missing objects on the path are made.

    Args:
        text: an object, or nothing.
        path: the names from the outermost object on.
        value: of the member.
        comments: as of `parsed`.

    Raises:
        MalformedJsonError: it is not JSON, or what is on the path is not an object.
    """
    root = _Scanner(text, comments=comments).document()
    if root is None:
        lead = text if not text or text.endswith("\n") else text + "\n"
        return lead + _written(_nested(path, value), "", _USUAL_UNIT, _line_end(text)) + _line_end(text)
    node = root
    for depth, name in enumerate(path):
        _require_object(text, node, path[:depth])
        member = _member_of(node, name)
        if member is None:
            return _with_new(text, root, node, name, _nested(path[depth + 1 :], value), comments=comments)
        if member.node.value is None or depth == len(path) - 1:
            wanted = _nested(path[depth + 1 :], value)
            return text if _same(member.node.value, wanted) else _replaced(text, root, member, wanted)
        node = member.node
    raise ValueError("no path")


def without_member(text: str, path: Sequence[str], *, comments: bool = True) -> str:
    """Return a text without the member at a path; as it was if there is none. Comments stay.

    Raises:
        MalformedJsonError: as of `with_member`.
    """
    node = _Scanner(text, comments=comments).document()
    for depth, name in enumerate(path[:-1]):
        if node is None or node.value is None:
            return text
        _require_object(text, node, path[:depth])
        member = _member_of(node, name)
        node = None if member is None else member.node
    if node is None or node.value is None:
        return text
    _require_object(text, node, path[:-1])
    member = _member_of(node, path[-1])
    if member is None:
        return text
    # Of several with one name, an earlier one would count then.
    return without_member(_removed(text, node, member, comments=comments), path, comments=comments)


def _require_object(text: str, node: _Node, path: Sequence[str]) -> None:
    if not isinstance(node.value, dict):
        what = " in ".join(f'"{name}"' for name in reversed(path)) or "the whole"
        raise MalformedJsonError.at(text, node.start, f"{what} is not an object")


def _member_of(node: _Node, name: str) -> _Member | None:
    return next((member for member in reversed(node.members) if member.name == name), None)


def _same(one: object, other: object) -> bool:
    """Return whether two values are equal as JSON, in which true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _nested(path: Sequence[str], value: object) -> object:
    for name in reversed(path):
        value = {name: value}
    return value


def _line_end(text: str) -> str:
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def _written(value: object, indent: str, unit: str, line_end: str) -> str:
    lines = json.dumps(value, ensure_ascii=False, indent=unit).split("\n")
    return f"{line_end}{indent}".join(lines)


def _own_indent(text: str, place: int) -> str | None:
    """Return what is before a place in its line if that is an indent, else None."""
    start = text.rfind("\n", 0, place) + 1
    before = text[start:place]
    return before if not before.strip(" \t") else None


def _line_indent(text: str, place: int) -> str:
    found = _INDENT.match(text, text.rfind("\n", 0, place) + 1)
    return found[0] if found else ""


def _unit_of(text: str, root: _Node) -> str:
    """Return by how much a text indents the members of an object."""
    outer = _line_indent(text, root.start)
    for member in root.members:
        indent = _own_indent(text, member.start)
        if indent is not None and len(indent) > len(outer) and indent.startswith(outer):
            return indent[len(outer) :]
    return _USUAL_UNIT


def _replaced(text: str, root: _Node, member: _Member, value: object) -> str:
    indent = _line_indent(text, member.start)
    new = _written(value, indent, _unit_of(text, root), _line_end(text))
    return text[: member.node.start] + new + text[member.node.end :]


def _with_new(text: str, root: _Node, node: _Node, name: str, value: object, *, comments: bool) -> str:
    """Return a text with a new member at the end of an object."""
    line_end, unit = _line_end(text), _unit_of(text, root)
    name_text = json.dumps(name, ensure_ascii=False)
    outer = _line_indent(text, node.start)
    if not node.members:
        inner = outer + unit
        new = f"{line_end}{inner}{name_text}: {_written(value, inner, unit, line_end)}"
        kept = _kept_end(text, node.start + 1, comments=comments)
        rest = text[kept : node.end - 1]
        return text[:kept] + new + (rest if "\n" in rest else line_end + outer) + text[node.end - 1 :]
    last = node.members[-1]
    comma = _comma_after(text, last.node.end, comments=comments)
    if "\n" not in text[node.start : node.end]:
        place = last.node.end if comma is None else comma + 1
        new = f"{name_text}: {json.dumps(value, ensure_ascii=False)}"
        return text[:place] + (f", {new}" if comma is None else f" {new},") + text[place:]
    inner = _own_indent(text, last.start) or outer + unit
    place = last.node.end if comma is None else comma + 1
    end = _line_comments_end(text, place, comments=comments)
    # A text may have both line ends.
    line_end = next((it for it in ("\n", "\r\n") if text.startswith(it, end)), line_end)
    new = f"{line_end}{inner}{name_text}: {_written(value, inner, unit, line_end)}"
    if comma is None:
        return text[:place] + "," + text[place:end] + new + text[end:]
    return text[:end] + new + "," + text[end:]


def _kept_end(text: str, place: int, *, comments: bool) -> int:
    """Return the end of the comments from a place on, without the blanks after them."""
    end = _Scanner(text, comments=comments).skip(place)
    return place + len(text[place:end].rstrip(_BLANK_CHARACTERS))


def _line_comments_end(text: str, place: int, *, comments: bool) -> int:
    """Return the end of the comments that begin in the line of a place, and of blanks that end a line."""
    found = _REST_OF_LINE.match(text, place) if comments else None
    end = found.end() if found else place
    blanks = _BLANK_LINE_END.match(text, end)
    return blanks.end() if blanks else end


def _comma_after(text: str, place: int, *, comments: bool) -> int | None:
    place = _Scanner(text, comments=comments).skip(place)
    return place if text.startswith(",", place) else None


def _removed(text: str, node: _Node, member: _Member, *, comments: bool) -> str:
    """Return a text without a member, its comma, and its line if nothing else is on that."""
    at = node.members.index(member)
    comma = _comma_after(text, member.node.end, comments=comments)
    start, end = member.start, member.node.end
    # Comments between the value and its comma stay, with the line end that a comment needs.
    kept = "" if comma is None else text[end:comma]
    if not kept.strip(_BLANK_CHARACTERS):
        kept = ""
    if comma is not None:
        end = comma + 1
    rest = _REST_IF_BLANK.match(text, end)
    if not kept and rest and _own_indent(text, start) is not None:
        start, end = text.rfind("\n", 0, start) + 1, rest.end()
    elif not kept and comma is not None and at < len(node.members) - 1:
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
    elif not kept:
        start = len(text[:start].rstrip(" \t"))
    head, tail = text[:start] + kept, text[end:]
    if comma is None and at > 0:
        # The member before is the last one now.
        lost = _comma_after(text, node.members[at - 1].node.end, comments=comments)
        if lost is not None:
            between = head[lost + 1 :]
            head = head[:lost] + (between if between.strip(" \t") else "")
    closing = node.end - 1 - end
    if len(node.members) == 1 and not (head[node.start + 1 :] + tail[:closing]).strip(_BLANK_CHARACTERS):
        return head[: node.start + 1] + tail[closing:]
    return head + tail
