"""Error messages and their ids, read from the source of the product.

usage: .venv/bin/python tests/support/messages.py        writes tests/snapshots/messages.txt
"""

import ast
import functools
import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vdbevents"
SNAPSHOT = ROOT / "tests" / "snapshots" / "messages.txt"

# Stands for a value in a template. A source file cannot hold it by accident.
VALUE = "\N{OBJECT REPLACEMENT CHARACTER}"
SHOWN_VALUE = "{…}"
ROOT_CLASS = "VdbeventsError"

_COLOUR = re.compile(r"\x1b\[\d+m")
_PREFIX = "vdbevents: "


class Message(NamedTuple):
    """One way to raise an error: its id (None without one, `VALUE` if it is computed) and its templates."""

    error_id: str
    message: str
    hint: str
    place: str

    @property
    def literal_length(self):
        """The number of characters that are fixed; 0 for a message that is only a variable."""
        return len(self.message.replace(VALUE, "").strip(" :'\"()"))

    def matches(self, text):
        pattern = ".*".join(map(re.escape, self.message.split(VALUE)))
        return re.fullmatch(pattern, text, re.DOTALL) is not None


def error_id_in(stderr):
    """Return the id of the error that a command's stderr ends with.

    Takes the "error_id" of a JSON log, else compares the last `vdbevents: …` lines with all messages of
    the snapshot; the message with the most fixed characters wins.

    Raises:
        AssertionError: no line is an error message that has an id.
    """
    lines = [line for line in _COLOUR.sub("", stderr).splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("{") and (error_id := json.loads(line).get("error_id")):
            return error_id
    texts = [line.removeprefix(_PREFIX) for line in reversed(lines) if line.startswith(_PREFIX)]
    # A message that is only a variable matches anything: it counts last.
    for is_fixed, text in itertools.product((True, False), texts):
        fitting = [it for it in _fitting(text) if bool(it.literal_length) is is_fixed]
        longest = max((it.literal_length for it in fitting), default=0)
        ids = {it.error_id for it in fitting if it.literal_length == longest}
        assert len(ids) <= 1, f"several errors look like this, check the exit code: {ids}: {text}"
        if ids:
            return ids.pop()
    raise AssertionError(f"no error with an id in: {stderr}")


def _fitting(text):
    """Yield the messages with a fixed id that a text may be.

    An error that takes over the id of another ends with the other's message: `could not X: no such Y`.
    """
    known = [it for it in snapshot_messages() if it.error_id != VALUE]
    yield from (it for it in known if it.matches(text))
    if any(it.matches(text) for it in snapshot_messages() if it.error_id == VALUE and it.literal_length):
        _, *endings = _endings(text)
        yield from (it for it in known for ending in endings if it.literal_length and it.matches(ending))


def _endings(text):
    """Yield a text, and what is left of it after each colon."""
    while text:
        yield text
        text = text.partition(": ")[2]


@functools.cache
def messages():
    """Return every call in the product that makes an error: a tuple of `Message`."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))}
    classes = _error_classes(trees.values())
    return tuple(
        message
        for file, tree in trees.items()
        for message in _Collector(file.relative_to(ROOT), tree, classes).collect()
    )


@functools.cache
def snapshot_messages():
    """Return the messages of the snapshot: a tuple of `Message`.

    A test compares it with the source, which takes a second to read: too long for each process of a run.
    """
    found, error_id = [], None
    for line in SNAPSHOT.read_text(encoding="utf-8").replace(SHOWN_VALUE, VALUE).splitlines():
        if line.startswith("    → "):
            found[-1] = found[-1]._replace(hint=line.removeprefix("    → "))
        elif line.startswith("  "):
            found.append(Message(error_id, line[2:], "", ""))
        elif line:
            error_id = line
    return tuple(found)


def snapshot():
    """Return the text of the snapshot: every id with its messages and hints, sorted; computed ids last."""
    parts = []
    by_id = sorted((it.error_id, it.message, it.hint) for it in messages() if it.error_id is not None)
    for error_id, entries in itertools.groupby(by_id, key=lambda entry: entry[0]):
        lines = [error_id]
        for (_, message, hint), _ in itertools.groupby(entries):
            lines += [f"  {message}", *([f"    → {hint}"] if hint else [])]
        parts.append("\n".join(lines).replace(VALUE, SHOWN_VALUE) + "\n")
    return "\n".join(parts)


def _error_classes(trees):
    """The names of `VdbeventsError` and of all classes below it."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {ROOT_CLASS}
    while more := {name for name, above in bases.items() if above & known} - known:
        known |= more
    return known


class _Collector(ast.NodeVisitor):
    """Finds the errors that one file makes."""

    def __init__(self, file, tree, classes):
        self._file, self._tree, self._classes = file, tree, classes
        self._scopes = []
        self._found = []

    def collect(self):
        self._scopes = [_assignments(self._tree.body)]
        self.visit(self._tree)
        return self._found

    def visit_FunctionDef(self, node):
        self._scopes.append(_assignments(node.body))
        self.generic_visit(node)
        self._scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - named by `ast`

    def visit_Call(self, node):
        self.generic_visit(node)
        named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        is_error = ast.unparse(node.func).rpartition(".")[2] in self._classes
        # A function that builds an error takes its id as an error does.
        if not (is_error or "error_id" in named) or "super()" in ast.unparse(node.func):
            return
        error_ids = self._texts(named["error_id"]) if "error_id" in named else [None]
        positional = [it for it in node.args if not isinstance(it, ast.Starred)]
        message = named.get("message", positional[0] if positional else None)
        hint = named.get("hint", positional[1] if len(positional) > 1 else None)
        for error_id, text, advice in itertools.product(
            error_ids, self._texts(message), self._texts(hint) if hint is not None else [""]
        ):
            computed = error_id is not None and VALUE in error_id
            place = f"{self._file}:{node.lineno}"
            self._found.append(Message(VALUE if computed else error_id, text, advice, place))

    def _texts(self, node, depth=0):
        """Every text that an expression can have, with `VALUE` for what is not known."""
        alternatives, parts = [], []
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=parts):
                pass
            case ast.FormattedValue(value=ast.IfExp() as choice):
                alternatives = [choice]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                parts = [left, right]
            case ast.IfExp(body=body, orelse=orelse):
                alternatives = [body, orelse]
            case ast.BoolOp(values=alternatives):
                pass
            case ast.Name(id=name) if depth < 3:
                scopes = [scope for scope in reversed(self._scopes) if name in scope]
                alternatives, depth = (scopes[0][name] if scopes else []), depth + 1
        if parts:
            texts = (self._texts(part, depth) for part in parts)
            return ["".join(combination) for combination in itertools.product(*texts)]
        return [text for it in alternatives for text in self._texts(it, depth)] or [VALUE]


def _assignments(body):
    """The values that each name is given in a body, without those in functions inside."""
    found = {}
    waiting = [*body]
    while waiting:
        match node := waiting.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=value):
                values = value.elts if isinstance(value, ast.Tuple) else [value] * len(names)
                for target, part in zip(names, values, strict=False):
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, []).append(
                            part if isinstance(value, ast.Tuple) else ast.Constant(None)
                        )
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                found.setdefault(name, []).append(value)
        waiting += ast.iter_child_nodes(node)
    return found


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
