"""The documents are true: their commands and options exist, and their links have targets."""

import functools
import importlib.util
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from vdbevents.cli.command_classes import DefaultedGroup
from vdbevents.cli.diagnostics import ExitCode
from vdbevents.journal.state import StateDirectory

ROOT = Path(__file__).parent.parent
CLI = ROOT / "docs" / "cli.md"
# Not `ROOT.rglob`, which looks at all files of the environment, too.
FOLDERS = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in folder.rglob("*.md"))])
WITH_COMMANDS = sorted({ROOT / "README.md", *(ROOT / "docs").glob("*.md")})

# What the shells' own scripts set.
COMPLETION = {"COMP_WORDS", "COMP_CWORD", "_TYPER_COMPLETE_ARGS"}

_MAKER = importlib.util.spec_from_file_location("make_cli_docs", ROOT / "scripts" / "make_cli_docs.py")
maker = importlib.util.module_from_spec(_MAKER)
_MAKER.loader.exec_module(maker)


@functools.cache
def commands():
    return {context.command_path: context.command for context in maker.contexts()}


def name_of(page):
    return str(page.relative_to(ROOT))


def without_code(text):
    return re.sub(r"^(```|~~~).*?^\1\s*$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def fenced(text):
    """Yield the lines in code fences; lines that a backslash continues are joined."""
    for block in re.findall(r"^(?:```|~~~)[^\n]*\n(.*?)^(?:```|~~~)\s*$", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def options_of(command):
    """Return the options of a command: each spelling, and whether a value follows it."""
    options = {"--help": False, "-h": False}
    for parameter in command.params:
        if parameter.param_type_name == "option":
            for name in (*parameter.opts, *parameter.secondary_opts):
                options[name] = not parameter.is_flag
    return options


def words_of(line):
    """Yield the words of each `vdbevents …` in a line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return
    starts = [n for n, word in enumerate(words) if re.fullmatch(r"(\S*/)?vdbevents", word)]
    for start in starts:
        before = words[:start]
        while before and re.fullmatch(r"[A-Z_]+=.*", before[-1]):
            before.pop()
        if before and not (set(before[-1]) <= set("|&;()$#>") or before[-1] in ("uvx", "exec", "time")):
            continue
        end = next((n for n, w in enumerate(words) if n > start and set(w) <= set("|&;<>()")), len(words))
        yield words[start + 1 : end]


def mistakes_in(line):
    """Yield the unknown commands and options of `vdbevents` in a line of a shell."""
    for words in words_of(line):
        name, rest = "vdbevents", list(words)
        while rest and f"{name} {rest[0]}" in commands():
            name = f"{name} {rest.pop(0)}"
        if isinstance(group := commands()[name], DefaultedGroup):
            name = f"{name} {next(iter(group.commands))}"
        if rest and hasattr(commands()[name], "commands") and re.fullmatch(r"[a-z][\w-]*", rest[0]):
            yield f"no command {name} {rest[0]}"
            continue
        options = options_of(commands()[name])
        takes_value = False
        for word in rest:
            option = word.partition("=")[0]
            if takes_value or not word.startswith("-") or word == "-" or "…" in word:
                takes_value = False
                continue
            if option not in options:
                yield f"{name} has no option {option}"
            takes_value = options.get(option, False) and "=" not in word


def test_the_page_about_the_command_line_is_up_to_date():
    assert CLI.read_text(encoding="utf-8") == maker.document(), "run: python scripts/make_cli_docs.py"


@pytest.mark.parametrize(
    "environ", [{"COLUMNS": "40"}, {"COLUMNS": "200", "TERM": "dumb"}, {"FORCE_COLOR": "1"}]
)
def test_the_page_does_not_depend_on_the_environment(environ, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert maker.document() == CLI.read_text(encoding="utf-8")


def test_every_command_and_every_option_is_described():
    page = CLI.read_text(encoding="utf-8")
    for name, command in commands().items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        described = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", section))

        hidden = {name for it in command.params if getattr(it, "hidden", False) for name in it.opts}
        assert set(options_of(command)) - hidden <= described, name
        assert all(getattr(parameter, "help", None) for parameter in command.params), name


def test_every_exit_code_is_described():
    section = CLI.read_text(encoding="utf-8").split("\n## Exit codes\n")[1].split("\n## ")[0]

    assert [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)] == list(ExitCode)


def test_every_variable_that_the_program_reads_is_described():
    read = set()
    for file in (ROOT / "vdbevents").rglob("*.py"):
        if "emulator" not in file.relative_to(ROOT).parts:
            read |= set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", file.read_text(encoding="utf-8")))
    section = CLI.read_text(encoding="utf-8").split("\n## Environment\n")[1]

    assert {"VIDEO_DB_API_KEY", "VIDEODB_EVENTS_DIR"} <= read
    assert {name for name in read - {"TERM", "PATH", *COMPLETION} if f"`{name}`" not in section} == set()


def test_every_event_of_the_recorder_is_described():
    written = set()
    for file in (ROOT / "vdbevents").rglob("*.py"):
        if not {"emulator", "query"} & set(file.relative_to(ROOT).parts):
            names = r'"((?:listener|journal|capture|backend)\.[a-z]+)"'
            written |= set(re.findall(names, file.read_text(encoding="utf-8")))
    section = (ROOT / "docs" / "events-format.md").read_text(encoding="utf-8")
    section = section.split("\n### The recorder's own lines\n")[1].split("\n### ")[0]

    assert set(re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)) == written


@pytest.mark.parametrize("page", ["design.md", "events-format.md"])
def test_every_file_of_a_state_directory_is_described(page):
    directory = StateDirectory(Path("/state"))
    files = {getattr(directory, name) for name in dir(StateDirectory) if not name.startswith("_")}
    names = {path.name for path in files if isinstance(path, Path)} - {"", "state"}
    described = re.findall(r"`([\w.]+)/?`", (ROOT / "docs" / page).read_text(encoding="utf-8"))

    assert len(names) > 20
    assert names - set(described) == set()


def anchors_of(page):
    titles = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    titles += re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_project_has_a_target(page):
    text = without_code(page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(\s*<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\s*\)", text)
    links += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE)
    links += re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for link in links:
        if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / unquote(path) if path else page
        is_there = target.exists() and target.resolve().is_relative_to(ROOT.resolve())
        if not is_there or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_every_command_in_a_fence_can_be_typed(page):
    lines = fenced(page.read_text(encoding="utf-8"))

    assert [mistake for line in lines for mistake in mistakes_in(line)] == []


@pytest.mark.parametrize(
    ("line", "mistakes"),
    [
        ("vdbevents listen --clear &", []),
        ("$ vdbevents query --last 10m --grep code -n 5 | head", []),
        ('kill "$(cat x)" # ends it, as does: vdbevents stop', []),
        ("VIDEODB_EVENTS_DIR=/tmp/x .venv/bin/vdbevents stop --timeout=5", []),
        ("vdbevents emulator --no-autoplay --fault 'http={\"status\": 503}'", []),
        ("vdbevents query --grep --weird", []),
        ("  vdbevents oops", ["no command vdbevents oops"]),
        ("true && vdbevents listen --oops=1", ["vdbevents listen has no option --oops"]),
        ("vdbevents query -z", ["vdbevents query has no option -z"]),
        ("vdbevents: cannot write", []),
        ("pip install vdbevents nothing", []),
    ],
)
def test_the_check_of_commands_finds_a_mistake(line, mistakes):
    assert list(mistakes_in(line)) == mistakes


def drawer_app():
    """A program with a group of commands in a group of commands."""
    program, cabinet, drawer = typer.Typer(), typer.Typer(), typer.Typer()

    @drawer.command("open")
    def open_drawer(*, wide: bool = False) -> None:
        """Open one."""

    @drawer.command("list-all")
    def list_all(*, limit: int = 0) -> None:
        """List all of them."""

    cabinet.add_typer(drawer, name="drawer")
    program.add_typer(cabinet, name="cabinet")
    return program


def test_each_command_of_a_group_has_a_section_after_that_of_its_group():
    assert [context.command_path for context in maker.contexts(drawer_app())] == [
        "vdbevents",
        "vdbevents cabinet",
        "vdbevents cabinet drawer",
        "vdbevents cabinet drawer open",
        "vdbevents cabinet drawer list-all",
    ]


@pytest.mark.parametrize(
    ("line", "mistakes"),
    [
        ("vdbevents cabinet drawer open --wide", []),
        ("vdbevents cabinet drawer list-all --limit 3 | head", []),
        ("vdbevents cabinet drawer", []),
        ("vdbevents cabinet oops", ["no command vdbevents cabinet oops"]),
        ("vdbevents cabinet drawer open-all", ["no command vdbevents cabinet drawer open-all"]),
        ("vdbevents cabinet --wide", ["vdbevents cabinet has no option --wide"]),
        (
            "vdbevents cabinet drawer open --limit 3",
            ["vdbevents cabinet drawer open has no option --limit"],
        ),
    ],
)
def test_the_check_of_commands_finds_a_mistake_in_a_group(line, mistakes, monkeypatch):
    for context in maker.contexts(drawer_app()):
        monkeypatch.setitem(commands(), context.command_path, context.command)

    assert list(mistakes_in(line)) == mistakes
