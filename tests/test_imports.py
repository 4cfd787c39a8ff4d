"""Start-up is a feature: what each command loads, and that every module stands on its own."""

import ast
import doctest
import json
import os
import subprocess
import sys

import pytest
from support.random_journals import AT, said
from support.sources import FILES, PACKAGE, ROOT, tree_of

import vdbevents

SESSION = PACKAGE / "emulator" / "data" / "real-session.jsonl"

POSIX_ONLY = {"fcntl", "pwd", "resource", "termios", "tty", "pty", "grp"}
NETWORK = {"videodb", "websockets", "requests", "urllib3", "http.client", "ssl", "starlette", "uvicorn"}
TYPER = {"typer", "vdbevents.cli.app", "vdbevents.cli.configuration"}
HEAVY = {*NETWORK, "asyncio", "duckdb", "rich", "filelock", "dotenv", "mcp", "pydantic", "vdbevents.mcp"}

QUICK = HEAVY | TYPER

TELL_MODULES = """
import atexit, json, sys
atexit.register(lambda: sys.stderr.write("\\n" + json.dumps(sorted(sys.modules))))
"""

# Runs each command in a fork of a process that has loaded what every command loads; prints for each its exit
# code and the modules that are loaded in the end.
RUN_EACH = """
import io, json, os, sys
from vdbevents.cli.entry import run

def ended(arguments):
    code, printed = 0, sys.stdout
    sys.argv = ["vdbevents", *arguments]
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    try:
        run()
    except SystemExit as stopped:
        code = stopped.code or 0
    said, sys.stdout = sys.stderr.buffer.getvalue().decode(), printed
    return code, sorted(sys.modules), said

def forked(arguments):
    source, target = os.pipe()
    if not os.fork():
        os.close(source)
        with open(target, "w") as stream:
            json.dump(ended(arguments), stream)
        os._exit(0)
    os.close(target)
    with open(source) as stream:
        found = json.load(stream)
    os.wait()
    return found

each = json.load(sys.stdin)
print(json.dumps([*map(forked if len(each) > 1 else ended, each)]))
"""


# Imports each module with none of ours loaded. What others have written is loaded once: it takes most of the
# time. So would the collection of what each import leaves.
IMPORT_EACH = """
import gc, importlib, json, sys, traceback

gc.disable()
failed = {}
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "vdbevents"]:
        del sys.modules[name]
    try:
        importlib.import_module(module)
    except BaseException:
        failed[module] = traceback.format_exc()
    assert module in sys.modules or module in failed
print(json.dumps(failed))
"""


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run_fresh(program, *, home, text=""):
    """Run a program in a fresh interpreter."""
    environ = {
        name: os.environ[name]
        for name in ("PATH", "SYSTEMROOT", "PYTHON_KEYRING_BACKEND")
        if name in os.environ
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={**environ, "HOME": str(home), "USERPROFILE": str(home)},
        cwd=home,
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def fresh(program, *, home):
    """Run a program in a fresh interpreter; return its exit code and what it loaded."""
    done = run_fresh(program, home=home)
    told, _, modules = done.stderr.rpartition("\n")
    assert modules.startswith("["), told + modules
    return done.returncode, set(json.loads(modules))


# (arguments, exit code, what need not be loaded)
# What makes temporary folders, and what that loads.
UNPACKING = {"tempfile", "shutil", "bz2", "lzma"}
LOADED = [
    (["--help"], 0, QUICK),
    (["--version"], 0, QUICK),
    (["status", "nowhere"], 3, QUICK),
    (["status", str(SESSION.parent)], 3, QUICK | UNPACKING),
    (["gaps", str(SESSION)], 1, QUICK | UNPACKING | {"orjson"}),
    (["status", "nowhere", "--json"], 3, QUICK),
    (["stop", "nowhere"], 3, QUICK),
    (["listen", "--help"], 0, HEAVY),
    (["mcp", "--help"], 0, HEAVY),
    (["mcp", "serve", "--help"], 0, HEAVY),
    (["query", "--help"], 0, HEAVY),
    (["capture", "--help"], 0, HEAVY),
    (["backend", "--help"], 0, HEAVY),
    (["backend", "nowhere", "--show-token"], 0, HEAVY - {"filelock", "asyncio", "ssl"}),
    (["session", "create", "--help"], 0, HEAVY),
    (["pipelines", "start", "--help"], 0, HEAVY),
    (["clip", "--help"], 0, HEAVY),
    (["config"], 0, HEAVY),
    (["query", str(SESSION), "-n", "1"], 0, QUICK | UNPACKING),
    (["query", str(SESSION), "-n", "20", "-o", "jsonl"], 0, QUICK),
    (["query", str(SESSION), "--last", "10m"], 1, QUICK | UNPACKING),
    (["query", str(SESSION), "--grep", "incident", "--full"], 0, QUICK),
    (["query", str(SESSION), "--channel", "transcript", "--unique", "-o", "json"], 0, QUICK),
    (["query", str(SESSION), "-E", "-g", "c.de"], 0, HEAVY - {"duckdb", "rich"}),
    (["query", "nowhere"], 2, QUICK),
    (["sql", "--help"], 0, HEAVY),
    (["sql", "--describe"], 0, QUICK),
    (["sql", "SELECT 1", str(SESSION)], 0, HEAVY - {"duckdb"}),
    # Without a key there is nothing to connect for; the keyring may have one.
    (["listen", "nowhere"], 4, HEAVY - {"asyncio", "ssl", "http.client"}),
]


def test_a_command_loads_only_what_it_needs(tmp_path):
    arguments = [case[0] for case in LOADED]
    batches = [arguments] if hasattr(os, "fork") else [[each] for each in arguments]
    runs = [run_fresh(RUN_EACH, home=tmp_path, text=json.dumps(batch)) for batch in batches]

    ended = [each for run in runs for each in json.loads(run.stdout)]
    loaded = [
        (given, code, set(found) & needless)
        for (given, _, needless), (code, found, _) in zip(LOADED, ended, strict=True)
    ]
    assert loaded == [(given, code, set()) for given, code, _ in LOADED], [stderr for _, _, stderr in ended]
    assert all("vdbevents.cli.entry" in found for _, found, _ in ended)
    assert set(ended[arguments.index(["query", "--help"])][1]) >= TYPER
    # A command that is known to load something has loaded it.
    assert "duckdb" in ended[arguments.index(["query", str(SESSION), "-E", "-g", "c.de"])][1]
    # `sql` loads it in a child process, if there can be one.
    is_here = "duckdb" in ended[arguments.index(["sql", "SELECT 1", str(SESSION)])][1]
    assert is_here != hasattr(os, "fork")


@pytest.mark.parametrize("command", ["digest", "transcript", "stats"])
def test_a_summary_of_a_time_without_events_names_the_newest_one_and_starts_no_engine(tmp_path, command):
    journal = tmp_path / "journal.jsonl"
    # They are more than a search reads without an engine.
    times = range(AT, AT + 30_001)
    journal.write_text("".join(f"{said('x', at, start=at, end=at)}\n" for at in times))
    words = [command, str(journal), "--since", "2026-03-03"]
    program = f"{TELL_MODULES}\nsys.argv = {['vdbevents', *words]}\n"
    ended = run_fresh(f"{program}from vdbevents.cli.entry import run\nrun()", home=tmp_path)
    told, _, loaded = ended.stderr.rpartition("\n")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the newest is of 2026-03-02" in told
    assert "duckdb" not in json.loads(loaded)


@pytest.mark.long
def test_every_module_can_be_imported_alone(tmp_path):
    modules = [module_of(file) for file in FILES]
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    )

    assert len(modules) > 100
    assert json.loads(run.stdout) == {}


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


def test_no_module_needs_posix_to_be_imported():
    assert [
        f"{module_of(file)}: {name}"
        for file in FILES
        for name in imported(tree_of(file))
        if name.partition(".")[0] in POSIX_ONLY
    ] == []


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
