"""The rules of the layout that the import contracts do not express; `docs/design.md` says why."""

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

from support.sources import FILES, PACKAGE, tree_of

from vdbevents.cli.overview import COMMANDS

NAMES = tuple(file.relative_to(PACKAGE).as_posix() for file in FILES)
LONGEST_MODULE = 600
LONGEST_FUNCTION = 80
IMPURE = {
    *("asyncio", "os", "pathlib", "random", "socket", "subprocess", "threading", "time", "websockets"),
    *("vdbevents.journal", "duckdb", "videodb", "typer"),
}


def trees():
    """Yield the name of each module within the package, and its syntax tree."""
    yield from zip(NAMES, map(tree_of, FILES), strict=True)


@functools.cache
def pure_modules():
    return [name for name, tree in trees() if "Pure" in (ast.get_docstring(tree) or "")]


def imports_of(tree):
    """The modules that a module imports anywhere, but for type checking."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def body_lines(function):
    return function.end_lineno - function.body[0].lineno + 1


def test_a_module_fits_in_a_head():
    lengths = {
        name: len(file.read_text(encoding="utf-8").splitlines())
        for name, file in zip(NAMES, FILES, strict=True)
    }

    too_long = {name: length for name, length in lengths.items() if length > LONGEST_MODULE}
    assert too_long == {}, "split them by subject"


def test_a_function_fits_on_a_screen():
    # The declaration of a command's options is not counted: it is a table.
    long = [
        f"{name}:{node.lineno} {node.name}: {body_lines(node)} lines"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > LONGEST_FUNCTION
    ]

    assert long == []


def test_no_two_public_classes_share_a_name():
    places = defaultdict(list)
    for name, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)

    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_a_file_is_found_by_its_name_alone():
    # A command's module is called as the command, whatever does its work.
    places = defaultdict(list)
    for name in NAMES:
        if not name.startswith("cli/") and not name.endswith("__init__.py"):
            places[Path(name).name].append(name)

    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_the_design_names_every_module_and_no_other():
    text = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)/` \| .* \| (.*) \|$", text, re.MULTILINE)
    named = {
        f"{package}/{module}.py" for package, modules in rows for module in re.findall(r"`(\w+)`", modules)
    }
    commands = {f"cli/{name}.py" for name in COMMANDS}
    modules = {name for name in NAMES if "/" in name and not name.endswith("__init__.py")}

    assert named == modules - commands


def impure_imports(tree):
    """Return what a module imports that may do input or output, or lies in a package that does."""
    pure = {f"vdbevents.{name.removesuffix('.py').replace('/', '.')}" for name in pure_modules()}
    return {
        name
        for name in imports_of(tree)
        if any(f"{name}.".startswith(f"{module}.") for module in IMPURE)
        and not any(f"{name}.".startswith(f"{module}.") for module in pure)
    }


def test_there_are_pure_modules():
    assert len(pure_modules()) >= 40


def test_a_module_that_calls_itself_pure_does_no_input_or_output():
    imported = {name: impure_imports(tree) for name, tree in trees() if name in pure_modules()}

    assert {name: modules for name, modules in imported.items() if modules} == {}


def test_the_check_for_imports_sees_into_functions_and_not_into_type_checking():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\n"
        "def f():\n    import socket\n    from vdbevents import journal, errors\n"
        "from vdbevents.journal.files import replace_file\nimport os.path, timeit\n"
        "from vdbevents.journal.dropped_events import DroppedEvents\n"
    )

    assert impure_imports(tree) == {
        *("socket", "vdbevents.journal", "vdbevents.journal.files", "vdbevents.journal.files.replace_file"),
        "os.path",
    }
