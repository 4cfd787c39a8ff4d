"""Start-up is a feature: what each command loads, and that every module stands on its own."""

import ast
import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vdbevents

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vdbevents"
SESSION = PACKAGE / "emulator" / "data" / "real-session.jsonl"
FILES = sorted(PACKAGE.rglob("*.py"))

POSIX_ONLY = {"fcntl", "pwd", "resource", "termios", "tty", "pty", "grp"}
NETWORK = {"videodb", "websockets", "requests", "urllib3", "http.client", "ssl", "starlette", "uvicorn"}
HEAVY = {*NETWORK, "asyncio", "duckdb", "rich", "filelock", "dotenv"}

TELL_MODULES = """
import atexit, json, sys
atexit.register(lambda: sys.stderr.write("\\n" + json.dumps(sorted(sys.modules))))
"""
AS_COMMAND = TELL_MODULES + "from vdbevents.cli.app import run\nrun()\n"


# Imports each module in a process of its own, which starts without any other of ours.
IMPORT_EACH = """
import importlib, json, os, subprocess, sys

def exit_code_of(module):
    if not hasattr(os, "fork"):
        return subprocess.run([sys.executable, "-c", f"import {module}"]).returncode
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        importlib.import_module(module)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)

# What others have written is loaded once: that takes most of the time.
import starlette.applications, typer, uvicorn.server, websockets.asyncio.client

assert "vdbevents" not in sys.modules
print(json.dumps({module: exit_code_of(module) for module in sys.argv[1:]}))
"""


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def fresh(program, *arguments, home):
    """Runs a program in a fresh interpreter, and answers with its exit code and what it loaded."""
    environ = {
        name: os.environ[name]
        for name in ("PATH", "SYSTEMROOT", "PYTHON_KEYRING_BACKEND")
        if name in os.environ
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        check=False,
        env={**environ, "HOME": str(home), "USERPROFILE": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    told, _, modules = done.stderr.rpartition("\n")
    assert modules.startswith("["), told + modules
    return done.returncode, set(json.loads(modules))


@pytest.mark.parametrize(
    ("arguments", "code", "needless"),
    [
        (["--help"], 0, HEAVY),
        (["--version"], 0, HEAVY),
        (["status", "nowhere"], 3, HEAVY),
        (["gaps", SESSION], 1, HEAVY),
        (["status", "nowhere", "--json"], 3, HEAVY),
        (["stop", "nowhere"], 3, HEAVY),
        (["listen", "--help"], 0, HEAVY),
        (["query", "--help"], 0, HEAVY),
        (["capture", "--help"], 0, HEAVY),
        (["backend", "--help"], 0, HEAVY),
        (["backend", "nowhere", "--show-token"], 0, HEAVY - {"filelock", "asyncio", "ssl"}),
        (["session", "create", "--help"], 0, HEAVY),
        (["pipelines", "start", "--help"], 0, HEAVY),
        (["clip", "--help"], 0, HEAVY),
        (["config"], 0, HEAVY),
        (["query", SESSION, "-n", "1"], 0, HEAVY - {"duckdb"}),
        (["query", SESSION, "-n", "1", "-o", "jsonl"], 0, HEAVY - {"duckdb"}),
        (["query", "nowhere"], 2, HEAVY),
        (["sql", "--help"], 0, HEAVY),
        (["sql", "--describe"], 0, HEAVY),
        (["sql", "SELECT 1", SESSION], 0, HEAVY - {"duckdb"}),
        (
            ["listen", "nowhere"],
            4,
            # Without a key there is nothing to connect for; the keyring may have one.
            HEAVY - {"asyncio", "ssl", "http.client"},
        ),
    ],
    ids=lambda value: " ".join(map(str, value)).replace(str(SESSION), "FILE") if type(value) is list else "",
)
def test_a_command_loads_only_what_it_needs(arguments, code, needless, tmp_path):
    found, loaded = fresh(AS_COMMAND, *arguments, home=tmp_path)

    assert found == code
    assert loaded & needless == set()


def test_every_module_can_be_imported_alone(tmp_path):
    modules = [module_of(file) for file in FILES]
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    )

    imported = json.loads(run.stdout)
    assert list(imported) == modules
    assert [module for module, exit_code in imported.items() if exit_code] == []


def imported(tree):
    """The modules imported by statements that run when the module is imported."""
    waiting = list(tree.body)
    while waiting:
        match waiting.pop():
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, level=0):
                yield module
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                pass
            case statement:
                waiting += ast.iter_child_nodes(statement)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_no_module_needs_posix_to_be_imported(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))

    assert {name.partition(".")[0] for name in imported(tree)} & POSIX_ONLY == set()


def test_the_check_for_posix_sees_into_classes_and_conditions_and_not_into_functions():
    tree = ast.parse(
        "import os\nif os:\n    import fcntl\nclass A:\n    try:\n        from pwd import x\n    finally:\n"
        "        pass\ndef f():\n    import tty\n"
    )

    assert set(imported(tree)) == {"os", "fcntl", "pwd"}


def test_every_public_name_is_there_and_loads_nothing_before_it_is_used(tmp_path):
    program = TELL_MODULES + "import vdbevents\n"
    code, loaded = fresh(program, home=tmp_path)
    assert code == 0
    assert {name for name in loaded if name.startswith("vdbevents")} == {"vdbevents"}

    code, loaded = fresh(program + "[getattr(vdbevents, name) for name in vdbevents.__all__]", home=tmp_path)
    assert code == 0
    assert not loaded & {"duckdb", "videodb", "websockets", "typer", "rich"}


def test_the_examples_in_the_package_s_own_words_are_true():

    assert doctest.testmod(vdbevents).attempted == 4
    assert doctest.testmod(vdbevents).failed == 0
