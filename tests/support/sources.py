"""The product's source files, each parsed once."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vdbevents"
FILES = tuple(sorted(PACKAGE.rglob("*.py")))


@functools.cache
def tree_of(file):
    """Return the syntax tree of a file; do not change it."""
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file):
    """Return the path of a file within the project, with slashes."""
    return file.relative_to(ROOT).as_posix()
